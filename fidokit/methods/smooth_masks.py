"""The masks of extremal perturbations: never rougher than a spot, and of a given area.

Source: Fong, Patrick, Vedaldi, "Understanding deep networks via extremal perturbations and smooth masks", ICCV 2019
(arXiv 1910.08485), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Inverse temperature of the smooth maximum.
_COLDNESS = 20.0
#: Spots end where they have fallen below this, at a distance of so many radii.
_LEAST = 0.01
_REACH = 0.5 + math.sqrt(-math.log(_LEAST) / 2)
#: Mask values closer than this count as equal.
_TIE = 1e-3
#: Multiples of these shares fill the unit square evenly (the two-dimensional counterpart of the golden ratio).
_EVEN = (0.7548776662, 0.5698402910)


def spot(distance: Tensor) -> Tensor:
    """Height of the spot around a seed at a distance in radii: 1 up to a half, then ``exp(-2 (distance - 1/2)^2)``."""
    return torch.exp(-2 * (distance - 0.5).clamp(min=0).square())


class SmoothMasks:
    """Masks that cannot be rougher than a spot: the smooth maximum of spots around the seeds of a lattice.

    The mask at u is ``smax_v k(|u - v| / sigma) seed(v)`` with ``smax_v f = sum_v f exp(c f) / sum_v exp(c f)``, where
    v runs over the seeds within the reach of a spot; those beyond the border are 0.

    Args:
        lattice: (n, m) seeds, at the centres of as many equal cells of the image.
        detail: cells of the mask per seed and axis.
        sigma: radius of a spot in pixels.
        size: (H, W) of the image in pixels.
        device: where the masks are made.
    """

    def __init__(
        self, lattice: tuple[int, int], detail: int, sigma: float, size: tuple[int, int], device: torch.device
    ) -> None:
        self.lattice, self.detail = lattice, detail
        step = [pixels / seeds for pixels, seeds in zip(size, lattice, strict=True)]
        self.radius = [min(math.ceil(_REACH * sigma / s), n - 1) for s, n in zip(step, lattice, strict=True)]
        inside = (torch.arange(detail, dtype=torch.float64) + 0.5) / detail - 0.5
        down, across = (
            s * (torch.arange(-r, r + 1, dtype=torch.float64)[:, None] - inside)
            for s, r in zip(step, self.radius, strict=True)
        )
        distance = torch.sqrt(down[:, None, :, None].square() + across[None, :, None, :].square()) / sigma
        height = spot(distance).flatten(0, 1).flatten(1)
        # Spots in the corners of the window reach no cell of the mask.
        reached = (height >= _LEAST).any(1)
        self.offsets = reached.nonzero().flatten().to(device)
        self.weight = height[reached].float().T.contiguous().to(device)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the masks."""
        return self.lattice[0] * self.detail, self.lattice[1] * self.detail

    def __call__(self, seeds: Tensor) -> Tensor:
        """(M, h, w) masks of (M, n, m) seeds in [0, 1]."""
        masks: Tensor = _SmoothMax.apply(seeds, self)
        return masks

    def neighbours(self, seeds: Tensor) -> Tensor:
        """(M, K, n m) seeds around each seed."""
        around = functional.unfold(seeds[:, None], self._window(), padding=tuple(self.radius))
        return around[:, self.offsets]

    def spread(self, gradient: Tensor) -> Tensor:
        """The transpose of `neighbours`: (M, K, n m) -> (M, n, m)."""
        height, width = self._window()
        around = gradient.new_zeros(len(gradient), height * width, gradient.shape[-1])
        around[:, self.offsets] = gradient
        return functional.fold(around, self.lattice, self._window(), padding=tuple(self.radius))[:, 0]

    def _window(self) -> tuple[int, int]:
        return 2 * self.radius[0] + 1, 2 * self.radius[1] + 1


class _SmoothMax(torch.autograd.Function):
    """Computes the neighbours again on the way back: kept, they would take a hundred times the memory of the masks."""

    @staticmethod
    def forward(ctx: Any, seeds: Tensor, kernel: SmoothMasks) -> Tensor:
        around = kernel.neighbours(seeds)
        values, totals = [], []
        for weight in kernel.weight.to(seeds.dtype):
            height = around * weight[None, :, None]
            power = torch.exp(_COLDNESS * height)
            totals.append(power.sum(1))
            values.append((height * power).sum(1) / totals[-1])
        value, total = torch.stack(values, 2), torch.stack(totals, 2)
        ctx.save_for_backward(seeds, value, total)
        ctx.kernel = kernel
        (n, m), d = kernel.lattice, kernel.detail
        return value.view(-1, n, m, d, d).permute(0, 1, 3, 2, 4).reshape(-1, n * d, m * d)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        seeds, value, total = ctx.saved_tensors
        kernel: SmoothMasks = ctx.kernel
        (n, m), d = kernel.lattice, kernel.detail
        outer = gradients[0].reshape(-1, n, d, m, d).permute(0, 1, 3, 2, 4).reshape(-1, n * m, d * d) / total
        around = kernel.neighbours(seeds)
        inner = torch.zeros_like(around)
        for cell, weight in enumerate(kernel.weight.to(seeds.dtype)):
            height = around * weight[None, :, None]
            slope = torch.exp(_COLDNESS * height) * (1 + _COLDNESS * (height - value[:, None, :, cell]))
            inner += slope * outer[:, None, :, cell] * weight[None, :, None]
        return kernel.spread(inner), None


def area_template(areas: Sequence[float], cells: int, device: torch.device) -> Tensor:
    """(A, cells) sorted values of binary masks of these areas: zeros, then ones."""
    rank = torch.arange(cells, device=device)
    ones = torch.tensor([max(1, round(area * cells)) for area in areas], device=device)
    return (rank[None] >= cells - ones[:, None]).float()


def area_loss(masks: Tensor, template: Tensor) -> Tensor:
    """(M,) mean squared distance of the sorted values of (M, h, w) masks to an (M, h w) template; eq. 3 of the paper.

    It vanishes for a binary mask of the right area alone, so it asks for sharpness as well. Where values are equal, as
    all are at the start, those that count as the larger ones are spread evenly over the image: in the order of their
    memory, the constraint alone would push the mask to one side.
    """
    height, width = masks.shape[-2:]
    down, across = (
        torch.arange(side, device=masks.device) * share for side, share in zip((height, width), _EVEN, strict=True)
    )
    evenly = torch.frac(down[:, None] + across).to(masks.dtype)
    order = (masks.detach() + _TIE * evenly).flatten(1).argsort(dim=1)
    return (masks.flatten(1).gather(1, order) - template).square().mean(1)
