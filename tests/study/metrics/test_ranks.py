from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from fidokit.methods.base import resize_masks
from fidokit.study.metrics.curves import SHARES
from fidokit.study.metrics.ranks import mid_ranks, most_important, rank_correlation, ranks, region_of_area


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


def test_ranks_with_ties_are_scipys():
    torch.manual_seed(0)
    values = torch.randint(0, 6, (5, 40)).float()
    expected = stats.rankdata(values.numpy(), axis=1) - 1
    np.testing.assert_array_equal(mid_ranks(values).numpy(), expected)


def test_rank_correlation_is_scipys():
    torch.manual_seed(0)
    one, other = torch.rand(6, 50), torch.rand(6, 50)
    other[:3] = (one[:3] + 0.5 * other[:3]).mul(8).round()  # with ties
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(rank_correlation(one, other).numpy(), expected, atol=1e-12)
    torch.testing.assert_close(rank_correlation(one, one**3), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(rank_correlation(one, -one), -torch.ones(6, dtype=torch.float64))


def test_a_constant_row_correlates_with_nothing():
    assert rank_correlation(torch.ones(1, 9), torch.rand(1, 9)).isnan().all()


def test_a_region_has_exactly_its_area():
    torch.manual_seed(0)
    masks = torch.cat([torch.rand(1, 9, 7), torch.rand(1, 9, 7).mul(3).round(), torch.zeros(1, 9, 7)])
    for share in (0.05, 0.2, 0.5, 0.99):
        region = region_of_area(masks, share)
        torch.testing.assert_close(region.mean(dim=(1, 2)), torch.full((3,), share))
        assert region.min() >= 0
        assert region.max() <= 1


def test_ties_share_what_is_left_of_a_region():
    region = region_of_area(torch.tensor([[[3.0, 1.0], [1.0, 0.0]]]), 0.5)
    torch.testing.assert_close(region, torch.tensor([[[1.0, 0.5], [0.5, 0.0]]]))


def test_grids_are_averaged_or_interpolated():
    masks = torch.arange(16.0).view(1, 4, 4)
    assert resize_masks(masks, (4, 4)) is masks
    assert resize_masks(masks, (2, 2)).mean() == pytest.approx(7.5)
    assert resize_masks(torch.full((1, 50, 50), 0.3), (7, 9)).sub(0.3).abs().max() < 1e-6
    noise = torch.rand(1, 64, 64)
    assert resize_masks(noise, (8, 8)).std() < 0.5 * noise.std()  # averaged, not picked
