"""Smooth masks and their area constraint, against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fidokit.methods.base import resize_masks
from fidokit.methods.smooth_masks import SmoothMasks, area_loss, area_template, spot

CPU = torch.device("cpu")


def seeds_of(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def by_loops(seeds, detail, sigma, size):
    """The smooth maximum over all seeds near enough, one cell of the mask after the other."""
    n, m = seeds.shape
    step = size[0] / n, size[1] / m
    reach = [math.ceil((0.5 + math.sqrt(math.log(100) / 2)) * sigma / s) for s in step]
    mask = np.zeros((n * detail, m * detail))
    for y in range(n * detail):
        for x in range(m * detail):
            above = below = 0.0
            for i in range(y // detail - reach[0], y // detail + reach[0] + 1):
                for j in range(x // detail - reach[1], x // detail + reach[1] + 1):
                    # Every cell of the patch around a seed has the same neighbours: those near to any of them.
                    near = 0.0
                    for a in range(detail):
                        for b in range(detail):
                            dy = (y // detail + (a + 0.5) / detail - i - 0.5) * step[0]
                            dx = (x // detail + (b + 0.5) / detail - j - 0.5) * step[1]
                            near = max(near, math.exp(-2 * max(math.hypot(dy, dx) / sigma - 0.5, 0) ** 2))
                    if near < 0.01:
                        continue
                    dy = ((y + 0.5) / detail - i - 0.5) * step[0]
                    dx = ((x + 0.5) / detail - j - 0.5) * step[1]
                    inside = 0 <= i < n and 0 <= j < m
                    height = math.exp(-2 * max(math.hypot(dy, dx) / sigma - 0.5, 0) ** 2) * inside
                    height *= float(seeds[i, j]) if inside else 0.0
                    above += height * math.exp(20 * height)
                    below += math.exp(20 * height)
            mask[y, x] = above / below
    return torch.from_numpy(mask).float()


@pytest.mark.parametrize(
    ("lattice", "detail", "sigma", "size"),
    [((5, 7), 2, 4.0, (20, 21)), ((4, 4), 1, 2.0, (8, 8)), ((6, 5), 3, 3.0, (12, 20))],
)
def test_masks_are_the_smooth_maximum_of_spots(lattice, detail, sigma, size):
    kernel = SmoothMasks(lattice, detail, sigma, size, CPU)
    seeds = seeds_of(2, *lattice)
    masks = kernel(seeds)
    assert masks.shape == (2, *kernel.grid) == (2, lattice[0] * detail, lattice[1] * detail)
    for mask, one in zip(masks, seeds, strict=True):
        torch.testing.assert_close(mask, by_loops(one, detail, sigma, size), atol=1e-5, rtol=1e-4)


def test_a_spot_is_flat_up_to_half_its_radius_and_then_falls():
    heights = spot(torch.tensor([0.0, 0.5, 1.0, 1.5]))
    torch.testing.assert_close(heights, torch.tensor([1.0, 1.0, math.exp(-0.5), math.exp(-2)]))


def test_full_seeds_give_a_full_mask_and_empty_ones_an_empty_mask():
    kernel = SmoothMasks((8, 8), 2, 6.0, (32, 32), CPU)
    assert kernel(torch.ones(1, 8, 8)).min() > 0.85
    assert (kernel(torch.zeros(1, 8, 8)) == 0).all()


def test_the_gradient_agrees_with_finite_differences():
    kernel = SmoothMasks((4, 5), 2, 3.0, (12, 15), CPU)
    seeds = seeds_of(2, 4, 5).double().requires_grad_(True)
    assert torch.autograd.gradcheck(kernel, (seeds,), atol=1e-6)


def test_two_cells_a_seed_say_what_a_cell_a_pixel_says():
    seeds = (seeds_of(1, 32, 32) > 0.97).float()
    masks = []
    for detail in (1, 2, 7):
        masks.append(resize_masks(SmoothMasks((32, 32), detail, 21.0, (224, 224), CPU)(seeds), (224, 224)))
    one, two = (float((mask - masks[2]).abs().mean()) for mask in masks[:2])
    assert two < 0.01 < one


def test_the_area_loss_by_hand():
    masks = torch.tensor([[[0.9, 0.1], [0.4, 0.6]], [[0.0, 1.0], [0.0, 1.0]]])
    template = area_template([0.5, 0.5], 4, CPU)
    assert template.tolist() == [[0, 0, 1, 1]] * 2
    # sorted: 0.1 0.4 0.6 0.9
    assert area_loss(masks, template).tolist() == pytest.approx([(0.01 + 0.16 + 0.16 + 0.01) / 4, 0])
    quarter = area_template([0.25, 0.5], 4, CPU)
    assert quarter.tolist() == [[0, 0, 0, 1], [0, 0, 1, 1]]
    assert area_loss(masks, quarter).tolist() == pytest.approx([(0.01 + 0.16 + 0.36 + 0.01) / 4, 0])


def test_the_area_loss_raises_the_largest_values_and_lowers_the_others():
    masks = torch.tensor([[[0.9, 0.1], [0.4, 0.6]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(area_loss(masks, area_template([0.5], 4, CPU)).sum(), masks)
    torch.testing.assert_close(gradient, torch.tensor([[[-0.1, 0.1], [0.4, -0.4]]]) * 2 / 4)


def test_of_equal_values_those_that_are_to_stay_are_spread_evenly():
    masks = torch.ones(1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(area_loss(masks, area_template([0.25], 1024, CPU)).sum(), masks)
    stay = (gradient[0] == 0).float()
    assert stay.mean() == 0.25
    quarters = stay.view(2, 16, 2, 16).mean(dim=(1, 3))
    assert (quarters - 0.25).abs().max() < 0.03


@pytest.mark.parametrize("area", [1e-4, 0.999])
def test_an_area_is_at_least_one_cell(area):
    template = area_template([area], 100, CPU)
    assert template.sum() == (1 if area < 0.5 else 100)
