"""Expected gradients against closed forms on linear and quadratic nets."""

import pytest
import torch
from PIL import Image
from torch import nn

import fidokit as fk
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.expected_gradients import ExpectedGradientsSettings

SIZE = (12, 16)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def normalised(images):
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class Quadratic(nn.Module):
    """Logits (f, -f) with f = |x|^2 / 2, whose gradient is the image."""

    def forward(self, x):
        value = x.square().flatten(1).sum(1, keepdim=True) / 2
        return torch.cat([value, -value], 1)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1], 3))


def classifier(module, micro_batch=8):
    return fk.Classifier(
        module, mean=MEAN, std=STD, size=SIZE, device="cpu", precision="float32", micro_batch=micro_batch
    )


IMAGES = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def photographs(tmp_path):
    """Two of one colour each."""
    for name, colour in (("dark", (51, 102, 0)), ("light", (204, 255, 102))):
        Image.new("RGB", (SIZE[1], SIZE[0]), colour).save(tmp_path / f"{name}.png")
    return [tmp_path / "dark.png", tmp_path / "light.png"]


def test_a_linear_net_gives_weights_times_the_distance_to_the_mean_reference():
    # The mean colour is the same in all of an image's shuffled patches, and in every draw of `mean`.
    net = linear()
    found = fk.explain(classifier(net), IMAGES, "expected-gradients", 2, references="mean", samples=7)
    weight = net[1].weight[2].view(3, *SIZE).detach()
    mean = IMAGES.mean((2, 3), keepdim=True).expand_as(IMAGES)
    torch.testing.assert_close(found.raw, weight * (normalised(IMAGES) - normalised(mean)), rtol=1e-4, atol=1e-5)
    assert found.evaluations.tolist() == [7 + 3] * 3


def test_references_are_drawn_with_their_weights(photographs):
    net = linear()
    weight = net[1].weight[2].view(3, *SIZE).detach()
    found = fk.explain(classifier(net), IMAGES, "expected-gradients", 2, photographs=photographs, samples=600)
    dark, light = (torch.tensor(c).view(3, 1, 1) / 255 for c in ((51.0, 102, 0), (204.0, 255, 102)))
    # Each image's own share of the light one, from its attribution, which is linear in it.
    share = []
    for i in range(3):
        reference = normalised(IMAGES[i]) - found.raw[i] / weight
        share.append(((reference - normalised(dark)) / (normalised(light) - normalised(dark))).median())
    share = torch.stack(share)
    assert ((share - 0.5).abs() < 0.08).all()
    assert len(share.unique()) > 1


def test_a_quadratic_net_is_complete_in_expectation():
    # (x - b) . (b + a (x - b)) has the mean (|x|^2 - |b|^2) / 2 over the places a.
    found = fk.explain(classifier(Quadratic()), IMAGES, "expected-gradients", 0, references="zeros", samples=64)
    x, b = normalised(IMAGES), normalised(torch.zeros_like(IMAGES))
    torch.testing.assert_close(found.raw, (x - b) * (x + b) / 2, rtol=0.02, atol=0.02)


def test_more_samples_come_closer_to_many():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 10 * 14, 2))
    torch.manual_seed(2)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    clf = classifier(net, 64)

    def raw(**settings):
        return fk.explain(clf, IMAGES, "expected-gradients", 0, **settings).raw

    truth = raw(samples=4000, seed=9)
    errors = [(raw(samples=n) - truth).pow(2).mean() for n in (4, 64)]
    assert errors[1] < errors[0] / 4


def test_the_default_references_are_nobodys_neighbours():
    clf = classifier(Quadratic())
    whole = fk.explain(clf, IMAGES, "expected-gradients", 0, samples=5)
    alone = fk.explain(clf, IMAGES[1:2], "expected-gradients", 0, samples=5)
    torch.testing.assert_close(whole.raw[1:2], alone.raw)
    other = fk.explain(clf, IMAGES, "expected-gradients", 0, samples=5, seed=1)
    assert (other.raw - whole.raw).abs().max() > 0.01


def test_what_is_wrong_is_named(photographs, tmp_path):
    assert ExpectedGradientsSettings.published().samples == 200
    assert ExpectedGradientsSettings(photographs=photographs).photographs == tuple(map(str, photographs))
    for wrong, word in (({"samples": 0}, "samples"), ({"references": "inpaint"}, "do not depend on a mask"),
                        ({"references": "x"}, "unknown infill"), ({"photographs": "a.jpg"}, "photographs"),
                        ({"seed": 0.5}, "seed")):  # fmt: skip
        with pytest.raises(SettingsError, match=word):
            ExpectedGradientsSettings(**wrong)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"reference of expected-gradients.*broken\.png"):
        fk.explain(classifier(linear()), IMAGES, "expected-gradients", photographs=[str(tmp_path / "broken.png")])
