from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import conv_net, photographs
from sklearn.metrics import average_precision_score
from torch import nn

from fidokit.classifier import Classifier
from fidokit.methods.infill import INFILLS, Mixture
from fidokit.study import metrics
from fidokit.study.metrics import (
    SHARES,
    insertion_and_deletion,
    iou_at_object_area,
    mosaic,
    most_important,
    pixel_average_precision,
    ranks,
)

SIDE = 20
PATCH = (slice(5, 15), slice(5, 15))  # a quarter of the image


class PatchShare(nn.Module):
    """Two logits whose softmax is the mean brightness of the patch, between 0 and 1."""

    def forward(self, x):
        p = x[:, :, PATCH[0], PATCH[1]].mean(dim=(1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([p.log(), (1 - p).log()], dim=1)


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
    monkeypatch.setattr(metrics, "EDGE_SHARE", 1e-3)


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
        before = classifier.tally.evaluations
        insertion_and_deletion(session, WHITE, goal, on_patch(), torch.cat([BLACK, BLACK, BLACK]))
        assert classifier.tally.evaluations - before == 3 * (2 * len(SHARES) + 1) + 1


def test_micro_batches_and_neighbours_do_not_matter():
    torch.manual_seed(0)
    images, masks, panel = photographs(3), torch.rand(3, 8, 8), torch.rand(2, 3, 32, 32)
    net = conv_net()
    together = curves(make(net, 32), images, masks, panel, targets=None)
    for i in range(3):
        alone = curves(make(net, 32, micro_batch=3), images[i : i + 1], masks[i : i + 1], panel, targets=None)
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[i], rtol=0, atol=1e-4)


# The panel


def test_the_mosaic_is_none_of_the_infills_a_method_can_use():
    tile = mosaic((48, 36))
    assert tile.shape == (3, 48, 36)
    cells = tile[:, ::4, ::3]
    assert torch.equal(tile, cells.repeat_interleave(4, 1).repeat_interleave(3, 2))
    assert len({tuple(colour) for colour in cells.flatten(1).T.tolist()}) == 144
    assert torch.equal(tile, mosaic((48, 36)))
    assert (tile - mosaic((48, 36), seed=1)).abs().mean() > 0.1
    images = photographs(2, (48, 36))
    for key in (torch.tensor([0, 1]), torch.tensor([7, 8])):
        for entry in Mixture.parse(list(INFILLS)).bank(images, key, 4).flatten(0, 1):
            assert (entry - tile).abs().mean() > 0.05
    assert mosaic((5, 7)).shape == (3, 5, 7)


# Ranks


def test_ranks_by_hand():
    rank = ranks(torch.tensor([[[0.1, 0.9], [0.5, 0.2]]]))
    torch.testing.assert_close(rank, torch.tensor([[[0.25, 1.0], [0.75, 0.5]]]))


def test_ranks_say_nothing_about_the_scale():
    torch.manual_seed(0)
    masks = torch.rand(2, 9, 11)
    assert torch.equal(ranks(masks), ranks(masks**4))
    for rank in ranks(masks):
        expected = np.empty(99)
        expected[np.argsort(masks[0].flatten().numpy())] = np.arange(1, 100) / 99
        assert sorted(rank.flatten().tolist()) == pytest.approx(sorted(expected))
    np.testing.assert_allclose(ranks(masks)[0].flatten().numpy(), expected, atol=1e-6)


def test_ties_favour_no_corner():
    rank = ranks(torch.zeros(2, 40, 40))
    assert torch.equal(rank[0], rank[1])
    quarters = rank[0].view(2, 20, 2, 20).mean(dim=(1, 3))
    assert (quarters - 0.5).abs().max() < 0.05
    steps = torch.linspace(-1, 1, 40)
    assert abs(float((rank[0].mean(0) * steps).mean())) < 0.02
    assert abs(float((rank[0].mean(1) * steps).mean())) < 0.02
    half = torch.zeros(1, 40, 40)
    half[:, 10:20] = 1
    top = ranks(half)[0, 10:20]
    assert top.min() > 0.75  # what is more important comes first, ties or not


@pytest.mark.parametrize("share", SHARES)
def test_most_important_keeps_that_share(share):
    torch.manual_seed(0)
    kept = most_important(ranks(torch.rand(2, 10, 10)), share)
    torch.testing.assert_close(kept.mean(dim=(1, 2)), torch.full((2,), share), rtol=0, atol=0.02)
    assert kept.min() >= 0
    assert kept.max() <= 1


def test_edges_are_softened():
    mask = torch.zeros(1, 200, 200)
    mask[:, :, :100] = 1
    kept = most_important(ranks(mask), 0.5)
    profile = kept[0, 100]
    assert profile[:90].min() > 0.999
    assert profile[110:].max() < 0.001
    assert profile[99] == pytest.approx(0.6, abs=0.05)  # a Gaussian of 2 pixels, half a pixel inside
    assert (profile.diff() <= 1e-6).all()


# Localisation


def test_average_precision_is_sklearns():
    torch.manual_seed(0)
    masks = torch.rand(4, 12, 15)
    objects = torch.rand(4, 12, 15) < torch.tensor([0.5, 0.1, 0.02, 0.9]).view(4, 1, 1)
    expected = [average_precision_score(o.flatten(), m.flatten()) for o, m in zip(objects, masks, strict=True)]
    np.testing.assert_allclose(pixel_average_precision(masks, objects).numpy(), expected, atol=1e-5)


def test_average_precision_by_hand():
    masks = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
    objects = torch.tensor([[[True, False], [True, False]]])
    torch.testing.assert_close(pixel_average_precision(masks, objects), torch.tensor([(1 + 2 / 3) / 2]))
    torch.testing.assert_close(pixel_average_precision(-masks, objects), torch.tensor([(1 / 2 + 2 / 4) / 2]))


def test_a_mask_that_says_nothing_is_as_good_as_chance():
    objects = torch.zeros(1, 60, 60, dtype=torch.bool)
    for rows, columns in ((slice(0, 20), slice(0, 20)), (slice(40, 60), slice(40, 60)), (slice(20, 40), slice(0, 20))):
        objects[:] = False
        objects[:, rows, columns] = True
        assert float(pixel_average_precision(torch.ones(1, 4, 4), objects)) == pytest.approx(1 / 9, abs=0.03)
        assert float(iou_at_object_area(torch.ones(1, 4, 4), objects)) == pytest.approx(1 / 17, abs=0.03)


def test_iou_by_hand():
    mask = torch.arange(16.0).view(1, 4, 4)
    objects = torch.zeros(1, 4, 4, dtype=torch.bool)
    objects[:, 3, 2:] = True  # the two most important pixels
    assert float(iou_at_object_area(mask, objects)) == 1.0
    objects[:, 0, :2] = True  # now four, of which the mask's four hit two: 2 / (4 + 4 - 2)
    assert float(iou_at_object_area(mask, objects)) == pytest.approx(1 / 3)
    assert float(iou_at_object_area(-mask, objects)) == pytest.approx(1 / 3)
    objects[:] = True
    assert float(iou_at_object_area(mask, objects)) == 1.0


def test_a_perfect_mask_has_an_iou_of_one_whatever_the_area():
    order = torch.arange(49 * 37, dtype=torch.float32).view(1, 49, 37)
    for count in range(1, 49 * 37, 13):
        objects = order >= 49 * 37 - count
        assert float(iou_at_object_area(order, objects)) == 1.0, count
        assert float(pixel_average_precision(order, objects)) == pytest.approx(1.0)


def test_an_object_without_pixels_has_no_value():
    masks = torch.rand(2, 6, 6)
    objects = torch.zeros(2, 6, 6, dtype=torch.bool)
    objects[1, 2, 2] = True
    for metric in (pixel_average_precision, iou_at_object_area):
        values = metric(masks, objects)
        assert values[0].isnan()
        assert not values[1].isnan()
        assert metric(masks[:0], objects[:0]).shape == (0,)


def test_coarse_masks_are_upsampled_to_the_object():
    masks = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    objects = torch.zeros(1, 8, 8, dtype=torch.bool)
    objects[:, 5:, 5:] = True
    assert float(iou_at_object_area(masks, objects)) == 1.0
    assert float(pixel_average_precision(masks, objects)) > 0.99
