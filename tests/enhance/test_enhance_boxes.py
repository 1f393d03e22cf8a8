"""Boxes of masks: hand cases, windows in the photograph, boxes of the controls."""

from __future__ import annotations

import numpy as np
import pytest

from fidokit.data.geometry import Preprocessing
from fidokit.enhance import boxes


def blob(rows, columns, size=(20, 20), value=1.0):
    mask = np.zeros(size, np.float32)
    mask[rows, columns] = value
    return mask


def test_the_box_of_all_of_the_sum_is_the_region_itself():
    mask = blob(slice(4, 8), slice(10, 16))
    assert boxes.mask_box(mask, 1.0) == pytest.approx((10 / 20, 4 / 20, 16 / 20, 8 / 20))


def test_the_box_of_half_the_sum_is_half_as_wide():
    mask = blob(slice(4, 8), slice(8, 16))
    assert boxes.mask_box(mask, 0.5) == pytest.approx((10 / 20, 5 / 20, 14 / 20, 7 / 20))


def test_stray_cells_hardly_move_the_box():
    mask = blob(slice(8, 12), slice(8, 12))
    mask[0, 0] = mask[19, 19] = 1.0
    x0, y0, x1, y1 = boxes.mask_box(mask, 0.5)
    assert 0.4 <= x0 < x1 <= 0.6
    assert 0.4 <= y0 < y1 <= 0.6


def test_a_mirrored_mask_has_the_mirrored_box():
    mask = np.random.default_rng(0).random((7, 9))
    x0, y0, x1, y1 = boxes.mask_box(mask, 0.6)
    assert boxes.mask_box(mask[:, ::-1], 0.6) == pytest.approx((1 - x1, y0, 1 - x0, y1))
    assert boxes.mask_box(mask[::-1], 0.6) == pytest.approx((x0, 1 - y1, x1, 1 - y0))


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, np.nan])
def test_a_mask_that_points_at_nothing_has_the_whole_input(value):
    assert boxes.mask_box(np.full((5, 5), value), 0.5) == boxes.WHOLE


def test_a_square_is_padded_and_kept_in_its_limits():
    assert boxes.square((0.4, 0.45, 0.6, 0.55), 0.0, 0.0) == pytest.approx((0.4, 0.4, 0.6, 0.6))
    assert boxes.square((0.4, 0.45, 0.6, 0.55), 0.5, 0.0) == pytest.approx((0.3, 0.3, 0.7, 0.7))
    assert boxes.square((0.5, 0.5, 0.5, 0.5), 0.5, 0.2) == pytest.approx((0.4, 0.4, 0.6, 0.6))
    assert boxes.square((0.0, 0.0, 0.9, 0.9), 1.0, 0.2) == pytest.approx((-0.05, -0.05, 0.95, 0.95))


def test_a_crop_fit_reaches_into_the_photograph_beyond_the_input():
    geometry = Preprocessing(size=(100, 100)).geometry(400, 200)
    assert geometry.window == (100, 0, 300, 200)
    # Half of the box lies left of the input: the photograph goes on there.
    assert boxes.to_window((-0.25, 0.25, 0.25, 0.75), geometry) == pytest.approx((50, 50, 150, 150))
    # Beyond the photograph it is moved, not cut.
    assert boxes.to_window((0.25, -0.25, 0.75, 0.25), geometry) == pytest.approx((150, 0, 250, 100))


def test_a_squash_fit_keeps_the_stretch_of_the_whole():
    geometry = Preprocessing(size=(100, 100), fit="squash").geometry(400, 200)
    x0, y0, x1, y1 = boxes.to_window((0.25, 0.25, 0.75, 0.75), geometry)
    assert (x1 - x0, y1 - y0) == pytest.approx((200, 100))


def test_a_window_and_back():
    geometry = Preprocessing(size=(60, 80), crop_share=0.8).geometry(500, 300)
    box = (0.2, 0.3, 0.6, 0.7)
    assert boxes.from_window(boxes.to_window(box, geometry), geometry) == pytest.approx(box)


def test_random_boxes_lie_in_the_input_and_have_the_sides_in_turn():
    made = boxes.random_boxes([0.2, 0.5], 6, np.random.default_rng(0))
    assert [round(boxes.side(box), 6) for box in made] == [0.2, 0.5] * 3
    assert all(min(box) >= -1e-9 and max(box) <= 1 + 1e-9 for box in made)
    assert len({box[0] for box in made}) == 6


def test_further_boxes_begin_with_those_given():
    base = [(0.2, 0.2, 0.4, 0.4), (0.1, 0.1, 0.5, 0.5)]
    made = boxes.around(base, 8, np.random.default_rng(0))
    assert made[:2] == base
    assert len(made) == 8
    for i, box in enumerate(made[2:]):
        side = boxes.side(base[i % 2])
        assert 0.75 * side - 1e-9 <= boxes.side(box) <= 1.5 * side + 1e-9
        assert abs((box[0] + box[2]) / 2 - 0.3) <= 0.15 * side + 1e-9


def test_ten_crop_is_corners_and_centre_mirrored():
    views = boxes.multi_crop(10)
    assert sum(mirrored for _, mirrored in views) == 5
    low = {round(box[0], 6) for box, _ in views}
    assert low == {0.0, round(0.5 - 224 / 512, 6), round(1 - 224 / 256, 6)}
    assert len(boxes.multi_crop(47)) == 47


def test_random_numbers_are_an_images_own():
    assert boxes.seed_of("a", 0).random() == boxes.seed_of("a", 0).random()
    assert boxes.seed_of("a", 0).random() != boxes.seed_of("b", 0).random()
    assert boxes.seed_of("a", 0).random() != boxes.seed_of("a", 1).random()


def test_connected_evidence_is_the_fewest_pieces_that_hold_the_share():
    region = np.zeros((8, 8), bool)
    region[0:3, 0:3] = region[5:7, 5:7] = region[7, 0] = True
    mask = np.zeros((8, 8))
    mask[0:3, 0:3], mask[5:7, 5:7], mask[7, 0], mask[3, 7] = 0.5, 1.0, 0.1, 9.0
    # 4.5, 4 and 0.1 lie inside; what lies outside the region does not count.
    one = boxes.connected_evidence(region, mask, 0.5)
    assert one.sum() == 9
    assert one[0:3, 0:3].all()
    two = boxes.connected_evidence(region, mask, 0.9)
    assert two.sum() == 13
    assert not two[7, 0]
    assert np.array_equal(boxes.connected_evidence(region, mask, 1.0), region)
    assert boxes.mask_box(one, 1.0) == pytest.approx((0, 0, 3 / 8, 3 / 8))
    # Pixels that touch at a corner are one piece.
    corner = np.eye(4, dtype=bool)
    assert np.array_equal(boxes.connected_evidence(corner, corner, 0.1), corner)
    assert not boxes.connected_evidence(np.zeros((3, 3), bool), np.ones((3, 3)), 0.5).any()
