"""ROAD, remove and debias: pixels are removed by noisy linear imputation, which hides where they were.

Source: Rong, Leemann, Borisov, Kasneci, Kasneci, "A consistent and efficient evaluation strategy for attribution
methods", ICML 2022 (arXiv 2202.00449). The combined score, least minus most relevant first, is pytorch-grad-cam's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from fidokit.methods.concrete import uniform

#: Shares of the pixels that are removed.
ROAD_SHARES: tuple[float, ...] = (0.1, 0.5, 0.9)
#: Standard deviation of the noise on imputed pixels, as in the published code, here of images in [0, 1].
NOISE = 0.01
# Relaxations at the finest grid that is solved; each coarser one gets twice as many.
_SWEEPS = 2
# Corrections of what is still wrong after the first way from coarse to fine.
_CORRECTIONS = 2
_COARSEST = 4
_MOST_SWEEPS = 16


def impute(image: Tensor, removed: Tensor) -> Tensor:
    """The image with removed pixels as weighted means of their neighbours, imputed or not.

    Direct neighbours weigh 1/6 and diagonal ones 1/12, as far as they are inside the image (the paper's section 4.1,
    with its published weights). The linear system is solved by relaxation from coarse grids to fine ones, up to cells
    of two pixels, corrected twice, and interpolated between them: to about the size of the noise.

    Args:
        image: (C, H, W).
        removed: (V, H, W) bool.

    Returns:
        (V, C, H, W). Where nothing is left, the image's mean colour.
    """
    v, (c, height, width) = len(removed), image.shape
    known = (~removed)[:, None].to(image.dtype)
    values, cells = _coarsen(image * known, known)
    # One image of V * C channels, channels-last: then a sweep is one depthwise convolution.
    values = values.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    cells = cells.expand(v, c, -1, -1).flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    start = image.mean(dim=(-2, -1)).repeat(v)[None, :, None, None]
    solution = _solve(values, cells, start, _SWEEPS)
    for _ in range(_CORRECTIONS):
        solution += _correction((1 - cells) * (_relaxed(solution) - solution), cells, _SWEEPS)
    filled = _refine(solution[0].contiguous().view(v, c, *values.shape[-2:]), (height, width))
    return torch.where(removed[:, None], filled, image)


def _coarsen(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of two pixels a side: the means of what is known in them, and whether anything is, as 0 or 1."""
    share = functional.avg_pool2d(known, 2, ceil_mode=True)
    means = functional.avg_pool2d(values, 2, ceil_mode=True) / share.clamp(min=1e-6)
    return means, (share > 0).to(known.dtype)


def _refine(cells: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(cells, scale_factor=2.0, mode="bilinear")[..., : size[0], : size[1]]


def _solve(values: Tensor, known: Tensor, start: Tensor, sweeps: int) -> Tensor:
    """(1, N, H, W) channels, imputed where they are not known; `values` are 0 there."""
    height, width = values.shape[-2:]
    if min(height, width) > _COARSEST:
        coarse = _solve(*_coarsen(values, known), start, min(2 * sweeps, _MOST_SWEEPS))
        guess = _refine(coarse, (height, width))
    else:
        guess = start.expand_as(values)
    missing = 1 - known
    solution = torch.addcmul(values, missing, guess)
    for _ in range(sweeps):
        solution = torch.addcmul(values, missing, _relaxed(solution))
    return solution


def _correction(residual: Tensor, known: Tensor, sweeps: int) -> Tensor:
    """What has to be added to a solution that a relaxation would still change by `residual`; 0 where it is known."""
    height, width = residual.shape[-2:]
    missing = 1 - known
    if min(height, width) > _COARSEST:
        coarse, coarse_known = _coarsen(residual, torch.ones_like(known))[0], _coarsen(known, known)[1]
        # One relaxation changes a curved surface by four times as much on cells that are twice as large.
        found = _correction(4 * coarse * (1 - coarse_known), coarse_known, min(2 * sweeps, _MOST_SWEEPS))
        correction = missing * _refine(found, (height, width))
    else:
        correction = torch.zeros_like(residual)
    for _ in range(sweeps):
        correction = torch.addcmul(residual, missing, _relaxed(correction))
    return correction


def _relaxed(channels: Tensor) -> Tensor:
    """(1, N, H, W) weighted means of each pixel and its neighbours, as far as they are inside the image.

    [1 2 1] down and across holds the neighbours' weights, and the pixel itself, which only damps the step: its fixed
    points are those of the linear system.
    """
    n, height, width = channels.shape[1:]
    kernel, inverse = _weights(height, width, channels.device, channels.dtype)
    return functional.conv2d(channels, kernel.expand(n, 1, 3, 3), padding=1, groups=n).mul_(inverse)


@lru_cache(maxsize=64)
def _weights(height: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The (3, 3) kernel of a relaxation, and one over the (H, W) sum of its weights that are inside the image."""
    line = torch.tensor([0.25, 0.5, 0.25], device=device, dtype=dtype)
    kernel = line[:, None] * line
    ones = torch.ones(1, 1, height, width, device=device, dtype=dtype)
    inside = functional.conv2d(ones, kernel[None, None], padding=1)
    return kernel, 1 / inside[0, 0]


def road_variants(image: Tensor, rank: Tensor, noise: Tensor, shares: Sequence[float] = ROAD_SHARES) -> Tensor:
    """(M, 2 * N, 3, H, W): the image without its most, then without its least important shares, imputed with noise.

    Args:
        image: (3, H, W) in [0, 1].
        rank: (M, H, W) from `ranks.ranks`, of M masks; all are imputed at once.
        noise: (3, H, W) from `imputation_noise`.
        shares: N of them.
    """
    removed = torch.stack([*(rank > 1 - share for share in shares), *(rank <= share for share in shares)], dim=1)
    imputed = impute(image, removed.flatten(0, 1)).view(*removed.shape[:2], *image.shape)
    return torch.where(removed[:, :, None], imputed + noise, image).clamp(0, 1)


def imputation_noise(key: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) Gaussian noise of standard deviation `NOISE`, a function of the image's (1,) key."""
    u = uniform(key, 0, (3, *size))[0]
    noise: Tensor = NOISE * torch.special.ndtri(u)
    return noise


def road_score(relative: Tensor) -> Tensor:
    """Mean over the shares of ``(p without the least - p without the most important) / 2``.

    Args:
        relative: (2 * N,) scores of the `road_variants` relative to the whole image, in [0, 1].

    Returns:
        A scalar in [-1/2, 1/2]; high is good, 0 is what a random order gets.
    """
    most, least = relative.view(2, -1)
    score: Tensor = (least - most).mean() / 2
    return score
