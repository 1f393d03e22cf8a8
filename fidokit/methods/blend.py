"""Keep and fill: the input of a sample from its mask, its image and its infill.

The step loop does this once an evaluation, so it is written for speed: torch broadcasts a one-channel weight over
channels-last images several times slower than it multiplies equal shapes, and bilinear upsampling is two small matrix
products. The result is that of ``torch.lerp`` with `fidokit.methods.base.resize_masks`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def interpolation_matrix(cells: int, pixels: int, device: torch.device) -> Tensor:
    """(pixels, cells) weights of linear interpolation, cell centres aligned to pixel areas."""
    return functional.interpolate(torch.eye(cells, device=device)[:, None], size=pixels, mode="linear")[:, 0].T


def upsample_kept(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(E, 1, h, w) values bilinearly at (E, 1, H, W)."""
    h, w = cells.shape[-2:]
    if (h, w) == tuple(size):
        return cells
    down = interpolation_matrix(h, size[0], cells.device)
    across = interpolation_matrix(w, size[1], cells.device)
    return down @ cells @ across.T


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cells: Tensor, x: Tensor, filled: Tensor) -> Tensor:
        ctx.save_for_backward(x, filled)
        ctx.grid = tuple(cells.shape[-2:])
        last = x.is_contiguous(memory_format=torch.channels_last)
        share = upsample_kept(cells, (x.shape[-2], x.shape[-1])).to(x.dtype).expand_as(x)
        return torch.lerp(
            filled, x, share.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        x, filled = ctx.saved_tensors
        product = gradients[0] * (x - filled)
        # Adding the three planes is faster than a sum over the innermost of channels-last memory.
        pixels = product[:, :1].float() + product[:, 1:2].float() + product[:, 2:].float()
        (h, w), (height, width) = ctx.grid, pixels.shape[-2:]
        if (h, w) == (height, width):
            return pixels, None, None
        down = interpolation_matrix(h, height, pixels.device)
        across = interpolation_matrix(w, width, pixels.device)
        return down.T @ pixels @ across, None, None


def blend(cells: Tensor, x: Tensor, filled: Tensor) -> Tensor:
    """``k * x + (1 - k) * filled`` with k the cells at the image's resolution; differentiable in the cells alone.

    Args:
        cells: (E, 1, h, w) float32 kept shares.
        x, filled: (E, 3, H, W) in any precision, which is that of the result.
    """
    blended: Tensor = _Blend.apply(cells, x, filled)
    return blended
