from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import PATCH, SIDE, PatchShare, conv_net, photographs
from torch import nn

from fidokit.models.classifier import Classifier
from fidokit.study.metrics import ranks
from fidokit.study.metrics.curves import SHARES, Curves, held, insertion_and_deletion


def make(module=None, size=SIDE, **options) -> Classifier:
    defaults = {"mean": (0, 0, 0), "std": (1, 1, 1), "device": "cpu", "precision": "float32", "micro_batch": 64}
    return Classifier(PatchShare() if module is None else module, size=(size, size), **(defaults | options))


def curves(classifier, images, masks, panel, targets=0, **options):
    with classifier.session() as session:
        goal = classifier.goal(session.logits(images), targets)
        return insertion_and_deletion(session, images, goal, masks, panel, **options)


@pytest.fixture
def _hard(monkeypatch):
    """Edges without softening, so that areas are whole pixels."""
    monkeypatch.setattr(ranks, "EDGE_SHARE", 1e-3)


def on_patch(side=SIDE):
    mask = torch.zeros(1, side, side)
    mask[:, PATCH[0], PATCH[1]] = 1
    return mask


WHITE = torch.ones(1, 3, SIDE, SIDE)
BLACK = torch.zeros(1, 3, SIDE, SIDE)


def area_under(curve, shares=SHARES):
    x = [0.0, *shares, 1.0]
    return np.trapezoid([curve(f) for f in x], x)


@pytest.mark.usefixtures("_hard")
def test_insertion_and_deletion_of_a_perfect_mask():
    # The patch is a quarter of a white image; of it, a share min(f / 0.25, 1) is kept or dropped at a share f.
    insertion, deletion = curves(make(), WHITE, on_patch(), BLACK)
    assert float(insertion) == pytest.approx(area_under(lambda f: min(4 * f, 1)), abs=2e-3)
    assert float(deletion) == pytest.approx(area_under(lambda f: 1 - min(4 * f, 1)), abs=2e-3)
    # By hand, from the shares 0, .05, .1, .15, .2, .3: four trapezoids up to 0.2, then 0.09, then 0.7 of ones.
    assert float(insertion) == pytest.approx(0.2 * 0.4 + 0.1 * 0.9 + 0.7, abs=2e-3)


@pytest.mark.usefixtures("_hard")
def test_insertion_and_deletion_of_an_inverted_mask():
    insertion, deletion = curves(make(), WHITE, 1 - on_patch(), BLACK)
    assert float(insertion) == pytest.approx(area_under(lambda f: max(0, 4 * f - 3)), abs=2e-3)
    assert float(deletion) == pytest.approx(area_under(lambda f: 1 - max(0, 4 * f - 3)), abs=2e-3)


@pytest.mark.usefixtures("_hard")
def test_a_mask_that_says_nothing_keeps_a_share_of_everything():
    # Ties are broken at random, so a share f of the patch is kept at a share f.
    insertion, deletion = curves(make(), WHITE, torch.full((1, 4, 4), 0.5), BLACK)
    assert float(insertion) == pytest.approx(0.5, abs=0.02)
    assert float(deletion) == pytest.approx(0.5, abs=0.02)


@pytest.mark.usefixtures("_hard")
def test_the_ends_of_the_curves_are_measured():
    # With an infill that keeps 0.4 of the score, no curve falls below 0.4.
    insertion, deletion = curves(make(), WHITE, on_patch(), torch.full((1, 3, SIDE, SIDE), 0.4))
    assert float(insertion) == pytest.approx(area_under(lambda f: 0.4 + 0.6 * min(4 * f, 1)), abs=2e-3)
    assert float(deletion) == pytest.approx(area_under(lambda f: 1 - 0.6 * min(4 * f, 1)), abs=2e-3)


@pytest.mark.usefixtures("_hard")
def test_the_score_is_relative_to_the_whole_image_and_clipped():
    grey = torch.full((1, 3, SIDE, SIDE), 0.5)
    insertion, deletion = curves(make(), grey, on_patch(), BLACK)
    assert float(insertion) == pytest.approx(area_under(lambda f: min(4 * f, 1)), abs=2e-3)
    assert float(deletion) == pytest.approx(area_under(lambda f: 1 - min(4 * f, 1)), abs=2e-3)
    insertion, deletion = curves(make(), grey, on_patch(), WHITE)  # the infill scores twice as much
    assert float(insertion) == float(deletion) == pytest.approx(1.0)


@pytest.mark.usefixtures("_hard")
def test_the_mean_is_over_the_panel_and_a_panel_may_be_an_images_own():
    images = WHITE.repeat(2, 1, 1, 1)
    masks = on_patch().repeat(2, 1, 1)
    both = curves(make(), images, masks, torch.cat([BLACK, WHITE]))
    black, white = curves(make(), images, masks, BLACK), curves(make(), images, masks, WHITE)
    for mean, one, other in zip(both, black, white, strict=True):
        torch.testing.assert_close(mean, (one + other) / 2)
    own = curves(make(), images, masks, torch.stack([BLACK, WHITE]))
    for value, one, other in zip(own, black, white, strict=True):
        torch.testing.assert_close(value, torch.stack([one[0], other[1]]))


@pytest.mark.usefixtures("_hard")
def test_a_target_without_any_score_has_no_curve():
    class Never(nn.Module):
        def forward(self, x):
            return torch.where(x.mean(dim=(1, 2, 3), keepdim=True)[:, 0, 0] > 0.99, -torch.inf, 0.0).expand(-1, 3)

    classifier = make(Never(), head="sigmoid")
    insertion, deletion = curves(classifier, WHITE, on_patch(), BLACK)
    assert insertion.isnan().all()
    assert deletion.isnan().all()


def test_the_evaluations_are_as_many_as_said():
    classifier = make(micro_batch=7)
    with classifier.session() as session:
        goal = classifier.goal(session.logits(WHITE), 0)
        before = classifier.counter.evaluations
        insertion_and_deletion(session, WHITE, goal, on_patch(), torch.cat([BLACK, BLACK, BLACK]))
        assert classifier.counter.evaluations - before == 3 * (2 * len(SHARES) + 1) + 1


def test_micro_batches_and_neighbours_do_not_matter():
    torch.manual_seed(0)
    images, masks, panel = photographs(3), torch.rand(3, 8, 8), torch.rand(2, 3, 32, 32)
    net = conv_net()
    together = curves(make(net, 32), images, masks, panel, targets=None)
    for i in range(3):
        alone = curves(make(net, 32, micro_batch=3), images[i : i + 1], masks[i : i + 1], panel, targets=None)
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[i], rtol=0, atol=1e-4)


# Areas


def areas(kept, dropped, shares=(0.25, 0.5)):
    """Sufficient and destroying area from what is held at the shares 0, .25, .5 and 1, a row for each infill."""
    kept, dropped = torch.tensor(kept), torch.tensor(dropped)
    nothing = torch.zeros(kept.shape)
    curve = Curves(torch.tensor([0.0, *shares, 1.0]), nothing, nothing, kept, dropped)
    return float(curve.sufficient_area()), float(curve.destroying_area())


def test_areas_by_hand():
    yes, no = True, False
    assert areas([[no, yes, yes, yes]], [[yes, yes, no, no]]) == (0.25, 0.5)
    assert areas([[no, no, no, yes]], [[yes, yes, yes, no]]) == (1.0, 1.0)
    # The first share counts, also where the class is lost again after it.
    assert areas([[no, yes, no, yes]], [[yes, no, yes, no]]) == (0.25, 0.25)
    # The mean is over infills; one that alone holds the class tells nothing.
    assert areas([[no, yes, yes, yes], [no, no, yes, yes]], [[yes, no, no, no]] * 2) == (0.375, 0.25)
    assert areas([[no, yes, yes, yes], [yes] * 4], [[yes, no, no, no], [yes] * 4]) == (0.25, 0.25)
    assert all(np.isnan(areas([[yes] * 4], [[yes] * 4])))


def test_what_counts_as_held():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-1.0, 0.5, -2.0]])
    softmax, sigmoid = make(three()), make(three(), head="sigmoid")
    assert held(softmax.goal(logits, [2, 2, 1]), logits).tolist() == [True, False, True]
    assert held(sigmoid.goal(logits, [1, 1, 0]), logits).tolist() == [True, True, False]
    assert held(softmax.goal(logits, [1, 2, 0], against=[0, 0, 2]), logits).tolist() == [True, False, True]


def three():
    class Three(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    return Three()
