"""Perturbed images: what RISE and extremal perturbations show the classifier in place of a photograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.methods.gradient_settings import Baseline
from fidokit.methods.infill import blur

if TYPE_CHECKING:
    from fidokit.models.session import Session


def baseline_images(session: Session, images: Tensor, name: Baseline) -> Tensor:
    """(B, 3, H, W) normalised baselines of (B, 3, H, W) images in [0, 1]; the names are those of `BASELINES`."""
    if name == "blur":
        return session.normalise(blur(images))
    flat = session.normalise(torch.full_like(images[:1], float(name == "white"))).expand(len(images), -1, -1, -1)
    return torch.zeros_like(flat) if name == "mean" else flat


def pyramid(session: Session, images: Tensor, name: Baseline, max_blur: float, levels: int) -> Tensor:
    """Normalised images from the most perturbed one to the image itself, to be read by `perturbed`.

    Args:
        session: where they will be evaluated.
        images: (B, 3, H, W) in [0, 1].
        name: ``blur`` blurs less from level to level; any other baseline and the image are the only two levels, so that
            it fades.
        max_blur: standard deviation of the first level's blur, as a share of the shorter side.
        levels: L, of ``blur``.

    Returns:
        (B, L, H, W, 3), the channels last so that a pixel is one piece of memory.
    """
    images = images.to(session.device)
    if name == "blur":
        blurred = (blur(images, share) for share in torch.linspace(max_blur, 0, levels).tolist()[:-1])
        made = [session.normalise(level) for level in blurred]
    else:
        made = [baseline_images(session, images, name)]
    return torch.stack([*made, session.normalise(images)], dim=1).permute(0, 1, 3, 4, 2).contiguous()


def perturbed(levels: Tensor, image: Tensor, masks: Tensor) -> Tensor:
    """Images whose pixels come from the level that the mask names, interpolated linearly between levels.

    Args:
        levels: (B, L, H, W, 3), a `pyramid`.
        image: (E,) which of the B images each mask is for.
        masks: (E, H, W) in [0, 1]: 0 takes the first level, 1 the last.

    Returns:
        (E, 3, H, W), differentiable in the masks.
    """
    _, count, height, width, channels = levels.shape
    position = masks * (count - 1)
    # At 1 itself the slope is that from below, not zero.
    lower = position.detach().floor().clamp(max=count - 2)
    pixel = torch.arange(height * width, device=masks.device).view(height, width)
    index = ((image * count)[:, None, None] + lower.long()) * (height * width) + pixel
    pixels = levels.reshape(-1, channels)
    below = pixels.index_select(0, index.flatten()).view(*masks.shape, channels)
    above = pixels.index_select(0, index.flatten() + height * width).view(*masks.shape, channels)
    share = (position - lower).to(levels.dtype)[..., None]
    return (below + share * (above - below)).permute(0, 3, 1, 2)
