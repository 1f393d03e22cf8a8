"""Finer-CAM on a linear head over maps, where everything can be worked out by hand."""

import pytest
import torch
from torch import nn

import fidokit as fk
from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods.finer_cam import FinerCamSettings, difference
from fidokit.models.goals import Goal

CLASSES = ("wren", "tit", "jay", "crow")
#: Nearest to the wren are, by their logits below, the tit, the jay and the crow.
WEIGHT = torch.tensor([[2.0, 1.0, 0.0], [1.8, 0.0, 0.3], [1.0, 0.0, 0.5], [-3.0, 0.2, 0.1]])


class Head(nn.Module):
    """The channels are the maps; logits are linear in their means."""

    def __init__(self):
        super().__init__()
        self.maps = nn.AvgPool2d(2)
        self.last = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Linear(3, 4, bias=False)
        self.last.weight.data = torch.eye(3)[:, :, None, None]
        self.head.weight.data = WEIGHT.clone()

    def forward(self, x):
        return self.head(self.last(self.maps(x)).mean(dim=(2, 3)))


def classifier(**options):
    return fk.Classifier(
        Head(), CLASSES, mean=(0, 0, 0), std=(1, 1, 1), size=(8, 8), device="cpu", precision="float32", **options
    )


IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def expected(logits, images, target, others, strength):
    """Grad-CAM of a linear head: weights of the target less the weighted mean of the others', over the h w cells."""
    share = logits[:, others].softmax(1)
    weight = WEIGHT[target] - strength * share @ WEIGHT[others]
    maps = nn.functional.avg_pool2d(images, 2)
    return (weight[:, :, None, None] * maps).sum(1) / maps[0, 0].numel()


@pytest.mark.parametrize(("references", "others"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_a_linear_head_in_closed_form(references, others):
    clf = classifier()
    logits = clf.logits(IMAGES)
    assert (logits.argsort(1, descending=True) == torch.arange(4)).all()
    found = fk.explain(clf, IMAGES, "finer-cam", targets="wren", references=references, strength=0.7)
    wanted = expected(logits, IMAGES, 0, others, 0.7)
    torch.testing.assert_close(found.raw[:, 0], wanted)
    torch.testing.assert_close(found.attribution, wanted.relu() / wanted.relu().amax((1, 2), keepdim=True))


@pytest.mark.parametrize("cam", ["grad-cam", "layer-cam", "hires-cam"])
def test_without_comparison_it_is_the_plain_map(cam):
    clf = classifier()
    plain = fk.explain(clf, IMAGES, cam, targets="jay")
    torch.testing.assert_close(fk.explain(clf, IMAGES, "finer-cam", "jay", strength=0.0, cam=cam).raw, plain.raw)


def test_what_the_similar_class_shares_is_gone():
    # The first channel speaks for wren and tit alike, the second for the wren alone.
    clf = classifier()
    finer = fk.explain(clf, IMAGES, "finer-cam", "wren", references=1, strength=1.0)
    own = nn.functional.avg_pool2d(IMAGES, 2)[:, 1]
    plain = fk.explain(clf, IMAGES, "grad-cam", "wren")
    for i in range(2):
        agreement = [torch.corrcoef(torch.stack([m[i].flatten(), own[i].flatten()]))[0, 1] for m in
                     (finer.raw[:, 0], plain.raw[:, 0])]  # fmt: skip
        assert agreement[0] > 0.9 > agreement[1]


def test_a_class_to_contrast_with_is_the_only_reference():
    clf = classifier()
    found = fk.explain(clf, IMAGES, "finer-cam", "wren", against="crow", strength=0.5)
    torch.testing.assert_close(found.raw[:, 0], expected(clf.logits(IMAGES), IMAGES, 0, [3], 0.5))


def test_similar_classes_are_those_of_the_nearest_logits():
    logits = torch.tensor([[0.0, 5.0, 4.0, -1.0, 9.0]])
    goal = Goal(list("abcde"), "softmax", torch.tensor([1]))
    share = torch.tensor([4.0, 9.0]).softmax(0)
    wanted = 5 - 0.6 * (share[0] * 4 + share[1] * 9)
    torch.testing.assert_close(difference(logits, goal, 2, 0.6), wanted[None])


def test_weights_are_constant_to_the_gradient_and_certainty_is_no_nan():
    logits = torch.tensor([[300.0, 20.0, -400.0]], requires_grad=True)
    goal = Goal(list("abc"), "softmax", torch.tensor([0]))
    (gradient,) = torch.autograd.grad(difference(logits, goal, 2, 0.6).sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -0.6, 0.0]]))


def test_what_it_cannot_do_is_said():
    clf = classifier()
    with pytest.raises(SettingsError, match="finer-cam compares a class with similar ones"):
        fk.explain(clf, IMAGES, "finer-cam", targets=lambda logits: logits[:, 0])
    for wrong, word in (({"references": 0}, "references"), ({"strength": -1}, "strength"), ({"cam": "x"}, "cam"),
                        ({"layer": 3}, "layer")):  # fmt: skip
        with pytest.raises(SettingsError, match=word):
            FinerCamSettings(**wrong)
    flat = fk.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), size=(8, 8), device="cpu", precision="float32")
    with pytest.raises(MethodNotApplicable):
        fk.explain(flat, IMAGES, "finer-cam")
