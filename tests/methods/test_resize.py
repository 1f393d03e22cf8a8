"""Masks at another resolution: bilinear where that is finer, averaged where it is coarser."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from study_cases import make_classifier, make_data
from torch.nn import functional

import fidokit as fk
from fidokit.errors.features import _scaled
from fidokit.methods import register_method
from fidokit.methods.base import resize_masks


def spotted(side=32):
    """(side, side) mask of mean 0.75: 0 at one place of four, where bilinear samples would be taken."""
    mask = torch.ones(side, side)
    mask[1::4, 1::4] = mask[2::4, 1::4] = mask[1::4, 2::4] = mask[2::4, 2::4] = 0
    return mask


def test_shrinking_averages():
    mask = spotted()
    assert mask.mean() == 0.75
    assert functional.interpolate(mask[None, None], size=(8, 8), mode="bilinear").mean() == 0.0  # what it must not be
    torch.testing.assert_close(resize_masks(mask, (8, 8)), torch.full((8, 8), 0.75))
    assert resize_masks(mask, (1, 1)).item() == pytest.approx(0.75)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 7), (13, 31), (31, 2), (32, 5)])
def test_the_mean_is_kept_at_sizes_that_do_not_divide(size):
    mask = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small = resize_masks(mask, size)
    assert small.shape == (2, 3, *size)
    torch.testing.assert_close(small.mean(dim=(2, 3)), mask.mean(dim=(2, 3)))
    assert (small.min() >= 0, small.max() <= 1) == (True, True)


def test_by_hand_where_cells_are_cut():
    row = torch.tensor([[0.0, 3.0, 6.0]])
    torch.testing.assert_close(resize_masks(row, (1, 2)), torch.tensor([[1.0, 5.0]]))


def test_growing_is_bilinear_and_each_axis_is_for_itself():
    mask = torch.rand(4, 8, 6, generator=torch.Generator().manual_seed(1))
    bilinear = functional.interpolate(mask[:, None], size=(20, 9), mode="bilinear")[:, 0]
    torch.testing.assert_close(resize_masks(mask, (20, 9)), bilinear)
    rows_only = resize_masks(mask, (4, 6))
    torch.testing.assert_close(rows_only, mask.view(4, 4, 2, 6).mean(2))
    wanted = functional.interpolate(rows_only[:, None], size=(4, 13), mode="bilinear")[:, 0]
    torch.testing.assert_close(resize_masks(mask, (4, 13)), wanted)


@pytest.mark.parametrize("value", [1.0, 0.3, 0.1234567])
def test_what_is_the_same_everywhere_stays_so_to_the_last_bit(value):
    for size in ((3, 3), (7, 5), (28, 28), (50, 11), (224, 224)):
        assert torch.equal(resize_masks(torch.full((1, 29, 31), value), size), torch.full((1, *size), value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dtypes_stay_and_so_do_masks_of_that_size(dtype):
    assert resize_masks(torch.ones(4, 4, dtype=dtype), (2, 9)).dtype == dtype
    mask = torch.rand(3, 4)
    assert resize_masks(mask, (3, 4)) is mask


def test_the_gradient_passes():
    mask = torch.rand(8, 8, requires_grad=True)
    resize_masks(mask, (4, 4)).sum().backward()
    torch.testing.assert_close(mask.grad, torch.full((8, 8), 0.25))


def test_mask_arrays_and_masks_are_averaged(tmp_path):
    register_method("spotted", lambda _classifier, images, _targets: spotted()[None].repeat(len(images), 1, 1))
    data = make_data(tmp_path / "data", 3)
    study = fk.run_study(make_classifier(), data, "spotted", store=tmp_path / "s", progress=False)
    np.testing.assert_allclose(study.mask_array("spotted", "attribution", size=(8, 8)), 0.75)
    masks = fk.explain(make_classifier(), data, "spotted")
    torch.testing.assert_close(masks.at("attribution", (8, 8)), torch.full((3, 8, 8), 0.75))
    torch.testing.assert_close(masks.at("attribution"), torch.full((3, 16, 16), 0.75))


def test_what_error_features_see_is_averaged():
    used = torch.zeros(1, 112, 112)
    used[0, ::4, ::4] = 1.0  # one cell of 16, where a bilinear sample at 28 x 28 does not look
    assert np.array_equal(_scaled(used), np.ones((1, 28, 28), np.float32))
