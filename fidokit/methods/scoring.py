"""The score of an image with its mask kept and with its mask dropped: the two columns every row of a table has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.methods.base import resize_masks
from fidokit.methods.infill import blur
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    from fidokit.models.session import Session


@torch.no_grad()
def kept_and_dropped(session: Session, images: Tensor, goal: Goal, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of ``m * x + (1 - m) * blur(x)`` and of ``(1 - m) * x + m * blur(x)``; two evaluations an image.

    The infill is the same for every method, so that the columns can be compared; it is a description, not a metric,
    since a method may have optimised with it.

    Args:
        session: an open session of the classifier.
        images: (B, 3, H, W) in [0, 1].
        goal: what the masks explain.
        mask: (B, h, w) in [0, 1].

    Returns:
        Two (B,) tensors in [0, 1], on the CPU.
    """
    size = (images.shape[-2], images.shape[-1])
    kept, dropped = [], []
    half = max(1, session.micro_batch // 2)
    for start in range(0, len(images), half):
        rows = slice(start, start + half)
        x = images[rows].to(session.device)
        m = resize_masks(mask[rows].to(session.device), size)[:, None]
        filled = blur(x)
        scores = goal[rows].repeat(2)
        pair = torch.stack([torch.lerp(filled, x, m), torch.lerp(x, filled, m)], dim=1).flatten(0, 1)
        both = scores.score(session.logits(pair)).view(-1, 2)
        kept.append(both[:, 0])
        dropped.append(both[:, 1])
    return torch.cat(kept), torch.cat(dropped)
