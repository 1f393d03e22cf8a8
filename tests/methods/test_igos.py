"""iGOS++ against a plain second implementation, and on classifiers whose regions are known."""

import pytest
import torch
from nets import LEFT, PATCH_SIZE, RIGHT, PatchLogit, conv_net, photographs
from torch import nn

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods.igos import IgosSettings, bilateral_total_variation, to_mask
from fidokit.methods.infill import blur

pytestmark = pytest.mark.usefixtures("quick")

IMAGES = photographs(2, (24, 32))


def classifier(module, size=(24, 32), micro_batch=16):
    return fk.Classifier(
        module, mean=(0, 0, 0), std=(1, 1, 1), size=size, device="cpu", precision="float32", micro_batch=micro_batch
    )


def sharp_net():
    """A net whose scores depend on much of the image."""
    net = conv_net(seed=1)
    net.head.weight.data *= 4
    return net


def enlarged(mask, size=(24, 32)):
    return nn.functional.interpolate(mask[None, None], size=size, mode="bilinear")[0, 0]


class Plain:
    """The paper's words, one picture and one place on the way at a time, without noise."""

    def __init__(self, net, image, target, settings):
        self.net, self.x, self.target, self.s = net, image, target, settings
        self.baseline = blur(image[None], settings.blur)[0] if settings.baseline == "blur" else torch.zeros_like(image)

    def score(self, mask, x, baseline):
        return self.net((mask * x + (1 - mask) * baseline)[None]).softmax(1)[0, self.target]

    def regularisers(self, deletion, insertion):
        both = deletion * insertion
        s = self.s
        return s.area_weight * (1 - both).mean() + s.smoothness_weight * self.roughness(both)

    def roughness(self, mask):
        fine, total = enlarged(mask), 0.0
        for axis in (0, 1):
            total = total + mask.diff(dim=axis).pow(2).mean()
            edge = self.x.diff(dim=axis + 1).pow(2).mean(0)
            total = total + (torch.exp(-edge / self.s.edge) * fine.diff(dim=axis).pow(2)).mean()
        return total / 2

    def says(self, deletion, insertion, share=1.0):
        d, i = enlarged(deletion), enlarged(insertion)
        x, b = self.x, self.baseline
        return (self.score(share * d, x, b) - self.score(share * i, b, x) + self.score(share * d * i, x, b)
                - self.score(share * d * i, b, x))  # fmt: skip

    def loss(self, masks):
        with torch.no_grad():
            return self.says(*masks) + self.regularisers(*masks)

    def optimise(self):
        masks = [torch.ones(self.s.grid, self.s.grid) for _ in range(2)]
        tries = 0
        for _ in range(self.s.iterations):
            masks = [mask.requires_grad_(True) for mask in masks]
            way = sum(self.says(*masks, share=k / self.s.steps) for k in range(1, self.s.steps + 1)) / self.s.steps
            gradients = torch.autograd.grad(way + self.regularisers(*masks), masks)
            masks = [mask.detach() for mask in masks]
            promised = 1e-4 * sum(g.pow(2).sum() for g in gradients)
            length = self.s.step
            while True:
                moved = [(m - length * g).clamp(0, 1) for m, g in zip(masks, gradients, strict=True)]
                tries += 1
                if self.loss(moved) <= self.loss(masks) - length * promised or length < 1e-5:
                    break
                length *= 0.2
            masks = moved
        return torch.stack(masks), 4 * self.s.iterations * (self.s.steps + 1) + 4 * tries


@pytest.mark.parametrize(("baseline", "area_weight"), [("black", 0.3), ("blur", 0.05)])
def test_it_is_the_plain_optimisation(baseline, area_weight):
    net = sharp_net()
    settings = IgosSettings(grid=6, iterations=4, steps=5, noise=0.0, area_weight=area_weight, smoothness_weight=0.3,
                            step=50.0, blur=0.4, baseline=baseline)  # fmt: skip
    masks = fk.explain(classifier(net), IMAGES, "igos++", 3, settings=settings)
    for i in range(2):
        wanted, spent = Plain(net, IMAGES[i], 3, settings).optimise()
        torch.testing.assert_close(masks.raw[i], 1 - wanted, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(masks.attribution[i], 1 - wanted.prod(0), atol=1e-3, rtol=1e-3)
        assert int(masks.evaluations[i]) == spent + 3  # the prediction, kept, dropped
        assert (masks.attribution[i].max() - masks.attribution[i].min()) > 0.1


def test_every_evaluation_is_counted():
    seen = []
    clf = classifier(conv_net())
    with clf.session(), clf.session(exact=True) as session:
        handle = session.module.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
        masks = fk.explain(clf, IMAGES, "igos++", grid=6, iterations=3, steps=4, area_weight=0.1)
        handle.remove()
    # The prediction and the scores kept and dropped may go through another session.
    assert int(masks.evaluations.sum()) - sum(seen) in (0, 2, 4, 6)
    assert masks.evaluations.max() <= 3 * 4 * (4 + 13) + 3


@pytest.mark.parametrize("how", ["one", "minimum"])
def test_a_patch_that_decides_is_found(how):
    # The more of the patch is black, the lower the logit; its bias makes the whole image certain, not more.
    class Certain(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = PatchLogit(how)

        def forward(self, x):
            return (self.patch(x) - 45) / 3

    clf = classifier(Certain(), PATCH_SIZE, 32)
    masks = fk.explain(
        clf, torch.ones(1, 3, *PATCH_SIZE), "igos++", 1, grid=20, baseline="black", iterations=8, steps=8
    )
    found = masks.at("attribution")[0]
    assert found[LEFT].mean() > 0.8
    rest = torch.ones(PATCH_SIZE, dtype=torch.bool)
    rest[LEFT] = rest[RIGHT] = False
    assert found[rest].mean() < 0.1


def test_bilateral_total_variation_by_hand():
    mask = torch.tensor([[[0.0, 1.0]] * 2])
    flat = torch.zeros(1, 3, 2, 2)
    # Of two cells and two pixels a row: one difference of 1 for the cells, and one for the pixels.
    assert bilateral_total_variation(mask, flat, 1.0).tolist() == [1.0]
    edge = flat.clone()
    edge[..., 1] = 2.0
    torch.testing.assert_close(
        bilateral_total_variation(mask, edge, 1.0), torch.tensor([0.5 + 0.5 * 2.718281828**-4.0])
    )
    torch.testing.assert_close(
        bilateral_total_variation(mask, edge, 4.0), torch.tensor([0.5 + 0.5 * 2.718281828**-1.0])
    )


def test_the_mask_is_what_either_points_at():
    raw = torch.tensor([[[[0.0, 1.0, 0.5]], [[0.0, 0.25, 0.5]]]])
    assert to_mask(raw).tolist() == [[[0.0, 1.0, 0.75]]]


def test_noise_is_the_images_own():
    clf = classifier(sharp_net())

    def explain(images, **settings):
        return fk.explain(clf, images, "igos++", 3, grid=6, iterations=2, steps=3, area_weight=0.05, step=50.0,
                          blur=0.4, **settings).raw  # fmt: skip

    both = explain(IMAGES)
    torch.testing.assert_close(explain(IMAGES[1:]), both[1:], atol=1e-4, rtol=1e-4)
    assert (explain(IMAGES, seed=1) - both).abs().max() > 1e-3


def test_settings():
    for wrong in ({"grid": 1}, {"iterations": 0}, {"edge": 0}, {"step": -1}, {"baseline": "x"}, {"noise": "a"}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            IgosSettings(**wrong)
