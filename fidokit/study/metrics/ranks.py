"""Masks by rank: which pixels come first, regions of a given area, and how alike two masks order their pixels."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from fidokit.methods.concrete import uniform

#: Standard deviation of the softened edge, as a share of the shorter side: hard edges are features of their own.
EDGE_SHARE = 0.01


def ranks(masks: Tensor) -> Tensor:
    """(B, H, W) ranks in (0, 1], 1 for the most important pixel; ties are broken at random, but always alike.

    Ties in order of position would favour the corner where the counting starts.
    """
    b, height, width = masks.shape
    order_of_ties = _order_of_ties(height * width).to(masks.device).expand(b, -1)
    order = masks.flatten(1).gather(1, order_of_ties).argsort(dim=1, stable=True)
    steps = torch.arange(1, height * width + 1, dtype=torch.float32, device=masks.device) / (height * width)
    places = order_of_ties.gather(1, order)
    return torch.empty(b, height * width, device=masks.device).scatter_(1, places, steps.expand(b, -1)).view_as(masks)


@lru_cache(maxsize=4)
def _order_of_ties(pixels: int) -> Tensor:
    return uniform(torch.zeros(1, dtype=torch.int64), 0, (pixels,)).argsort(1)


def soften(regions: Tensor) -> Tensor:
    """(B, H, W) regions in [0, 1] with their edges softened by a Gaussian of `EDGE_SHARE` of the shorter side."""
    sigma = EDGE_SHARE * min(regions.shape[-2:])
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=regions.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(regions.float()[:, None], (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]


def most_important(rank: Tensor, share: float) -> Tensor:
    """(B, H, W) in [0, 1]: the most important share of the pixels, its edges softened."""
    return soften(rank > 1 - share)


def region_of_area(masks: Tensor, share: float) -> Tensor:
    """(B, H, W) in [0, 1]: the most important pixels, exactly `share` of the area.

    Pixels tied at the threshold share what is left of the area evenly: which of them to take, the mask does not say.
    """
    flat = masks.flatten(1)
    wanted = share * flat.shape[1]
    threshold = flat.kthvalue(flat.shape[1] - min(int(wanted), flat.shape[1] - 1), dim=1, keepdim=True).values
    above = flat > threshold
    tied = flat == threshold
    rest = (wanted - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
    return (above + tied * rest).view_as(masks)


def mid_ranks(values: Tensor) -> Tensor:
    """(B, N) float64 ranks from 0, tied values with the mean of their ranks."""
    n = values.shape[1]
    ordered, order = values.sort(dim=1)
    steps = torch.arange(n, device=values.device).expand_as(order)
    edge = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    change = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(torch.cat([edge, change], 1), steps, 0).cummax(1).values
    last = torch.where(torch.cat([change, edge], 1), steps, n - 1).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(ordered, dtype=torch.float64).scatter_(1, order, (first + last).double() / 2)


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """(B,) Spearman rank correlations of the rows of two (B, N); NaN where a row is constant."""
    a, b = (mid_ranks(values) for values in (one, other))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    # 0 / 0 is NaN: a constant row orders nothing.
    return ((a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()).clamp(-1, 1)
