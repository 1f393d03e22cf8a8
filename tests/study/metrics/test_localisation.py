from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score

from fidokit.study.metrics.localisation import (
    COHERENCE_AREA,
    coherence,
    energy_inside,
    entropy,
    false_discovery_rate,
    iou,
    iou_at_object_area,
    pixel_average_precision,
    pointing_game,
    thresholded,
)
from fidokit.study.metrics.ranks import region_of_area


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


# By sum, maximum and threshold


MASK = torch.tensor([[[0.0, 0.2], [0.4, 0.4]]])
LEFT = torch.tensor([[[True, False], [True, False]]])


def test_energy_inside_by_hand():
    torch.testing.assert_close(energy_inside(MASK, LEFT), torch.tensor([0.4]))
    assert energy_inside(torch.zeros(1, 2, 2), LEFT).isnan().all()
    assert float(energy_inside(torch.ones(1, 2, 2), LEFT)) == 0.5


def test_pointing_game_by_hand():
    assert float(pointing_game(MASK, LEFT)) == 0.5  # two tied maxima, one of them inside
    assert float(pointing_game(MASK + torch.tensor([[[0.0, 0.0], [0.1, 0.0]]]), LEFT)) == 1
    assert float(pointing_game(MASK + torch.tensor([[[0.0, 0.0], [0.0, 0.1]]]), LEFT)) == 0


def test_threshold_and_false_discovery_by_hand():
    region = thresholded(MASK, (2, 2))  # the mean is 0.25
    assert region.tolist() == [[[False, False], [True, True]]]
    torch.testing.assert_close(iou(region, LEFT), torch.tensor([1 / 3]))
    torch.testing.assert_close(false_discovery_rate(region, LEFT), torch.tensor([0.5]))
    assert false_discovery_rate(torch.zeros(1, 2, 2, dtype=torch.bool), LEFT).isnan().all()
    assert iou(region, torch.zeros_like(LEFT)).isnan().all()


def test_a_masks_scale_does_not_move_its_threshold():
    mask = torch.rand(1, 9, 9)
    assert torch.equal(thresholded(mask, (9, 9)), thresholded(0.01 * mask, (9, 9)))


def test_iou_and_false_discovery_are_those_of_torchmetrics():
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch.manual_seed(0)
    regions, objects = torch.rand(4, 11, 13) < 0.4, torch.rand(4, 11, 13) < 0.3
    for region, target, overlap, rate in zip(
        regions, objects, iou(regions, objects), false_discovery_rate(regions, objects), strict=True
    ):
        torch.testing.assert_close(overlap, classification.binary_jaccard_index(region.int(), target.int()))
        torch.testing.assert_close(1 - rate, classification.binary_precision(region.int(), target.int()))


# Coherence and decidedness


def test_coherence_by_hand():
    # A fifth of a 10 x 10 mask is two full rows at the top, whose only boundary is 10 of the 90 pairs down.
    rows = torch.zeros(1, 10, 10)
    rows[:, :2] = 1
    assert float(coherence(rows)) == pytest.approx(10 / 90)
    # Twenty pixels on their own, away from the border, have a boundary of 4 each.
    torch.manual_seed(0)
    assert float(coherence(torch.rand(1, 60, 60))) > 10 * float(coherence(torch.nn.functional.interpolate(
        torch.rand(1, 1, 3, 3), size=(60, 60), mode="bilinear")[0]))  # fmt: skip


def test_coherence_is_torchmetrics_total_variation_of_the_region():
    image = pytest.importorskip("torchmetrics.functional.image")
    torch.manual_seed(0)
    masks = torch.rand(3, 12, 12)
    region = region_of_area(masks, COHERENCE_AREA)
    # On a square, both directions have the same number of pairs.
    expected = image.total_variation(region[:, None], reduction="none") / (12 * 11)
    torch.testing.assert_close(coherence(masks), expected)


def test_coherence_knows_no_scale_and_no_power():
    masks = torch.rand(2, 16, 16)
    torch.testing.assert_close(coherence(masks), coherence(0.1 * masks**3))


def test_entropy_by_hand():
    assert float(entropy(torch.full((2, 2), 0.5))) == pytest.approx(1)
    assert float(entropy(torch.tensor([[0.0, 1.0]]))) == 0
    assert float(entropy(torch.tensor([[0.0, 0.25]]))) == pytest.approx(0.5 * 0.8112781)
    values = torch.rand(5, 5)
    expected = np.mean([stats.entropy([p, 1 - p], base=2) for p in values.flatten().double().numpy()])
    assert float(entropy(values)) == pytest.approx(expected)
