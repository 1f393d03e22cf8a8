"""Which masks can be believed: causal curves under infills that no method optimises with, and localisation by rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from fidokit.methods.base import upsample
from fidokit.methods.concrete import uniform
from fidokit.methods.objective import Goal

if TYPE_CHECKING:
    from fidokit.session import Session

#: Shares of the image at which the curves are read; denser where masks differ, at small shares.
SHARES: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
#: Standard deviation of the softened edge, as a share of the shorter side: hard edges are features of their own.
EDGE_SHARE = 0.01


def mosaic(size: tuple[int, int], *, cells: int = 12, seed: int = 0) -> Tensor:
    """(3, H, W) mosaic of flat random colours, cells x cells of them: an infill that no method optimises with."""
    colours = uniform(torch.tensor([seed]), 0, (3, cells, cells))
    return functional.interpolate(colours, size=size, mode="nearest")[0]


def ranks(masks: Tensor) -> Tensor:
    """(B, H, W) ranks in (0, 1], 1 for the most important pixel; ties are broken at random, but always alike.

    Ties in order of position would favour the corner where the counting starts.
    """
    b, height, width = masks.shape
    order_of_ties = uniform(torch.zeros(1, dtype=torch.int64), 0, (height * width,)).argsort(1)
    shuffled = masks.flatten(1).gather(1, order_of_ties.expand(b, -1))
    order = shuffled.argsort(dim=1, stable=True)
    steps = torch.arange(1, height * width + 1, dtype=torch.float32) / (height * width)
    ranked = torch.empty(b, height * width).scatter_(1, order, steps.expand(b, -1))
    return torch.empty_like(ranked).scatter_(1, order_of_ties.expand(b, -1), ranked).view(b, height, width)


def most_important(rank: Tensor, share: float) -> Tensor:
    """(B, H, W) in [0, 1]: the most important share of the pixels, its edges softened."""
    kept = (rank > 1 - share).float()[:, None]
    sigma = EDGE_SHARE * min(rank.shape[-2:])
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(kept, (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]


@torch.no_grad()
def insertion_and_deletion(
    session: Session, images: Tensor, goal: Goal, masks: Tensor, panel: Tensor, shares: Sequence[float] = SHARES
) -> tuple[Tensor, Tensor]:
    """Areas under the insertion and the deletion curve, mean over a panel of infills.

    At a share f, insertion keeps the f most important pixels and fills in the rest, deletion the other way round; both
    read ``p(target) / p(target | whole image)``, clipped to [0, 1], and are integrated over f from 0 to 1 by the
    trapezoid rule. It takes ``P * (2 * len(shares) + 1) + 1`` evaluations an image: one end of both curves is the whole
    image, the other one the infill alone.

    Args:
        session: an open session of the classifier.
        images: (B, 3, H, W) in [0, 1].
        goal: what the masks explain.
        masks: (B, h, w).
        panel: (P, 3, H, W), or (B, P, 3, H, W) for a panel of each image's own.
        shares: the shares f, rising, inside (0, 1).

    Returns:
        Two (B,) tensors in [0, 1]; high insertion and low deletion are good. NaN where p of the whole image is 0.
    """
    size = (images.shape[-2], images.shape[-1])
    rank = ranks(upsample(masks.float(), size))
    whole = goal.score(session.logits(images))
    own_panels = panel if panel.ndim == 5 else panel.expand(len(images), *panel.shape)
    insertion, deletion = [], []
    for i in range(len(images)):
        one = goal[slice(i, i + 1)]
        keep = torch.cat([most_important(rank[i : i + 1], share) for share in shares])[:, None]
        infills = own_panels[i]
        kept = torch.cat([torch.lerp(f, images[i], keep) for f in infills])
        dropped = torch.cat([torch.lerp(images[i].expand_as(f), f, keep) for f in infills])
        variants = torch.cat([kept, dropped, infills])
        scores = one.repeat(len(variants)).score(session.logits(variants))
        relative = (scores / whole[i] if whole[i] > 0 else torch.full_like(scores, torch.nan)).clamp(0, 1)
        nothing, all_of_it = relative[2 * len(kept) :].mean(), torch.ones(())
        inserted, deleted = relative[: 2 * len(kept)].view(2, len(infills), len(shares)).mean(1)
        insertion.append(_area_under(nothing, inserted, all_of_it, shares))
        deletion.append(_area_under(all_of_it, deleted, nothing, shares))
    return torch.stack(insertion), torch.stack(deletion)


def _area_under(first: Tensor, values: Tensor, last: Tensor, shares: Sequence[float]) -> Tensor:
    return torch.trapezoid(torch.cat([first[None], values, last[None]]), torch.tensor([0.0, *shares, 1.0]))


def pixel_average_precision(masks: Tensor, objects: Tensor) -> Tensor:
    """(B,) average precision of the pixels' ranks against (B, H, W) bool objects; NaN where an object has no pixel."""
    rank = ranks(upsample(masks.float(), (objects.shape[-2], objects.shape[-1]))).flatten(1)
    hits = objects.flatten(1).gather(1, rank.argsort(1, descending=True)).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(1) / hits.sum(1)


def iou_at_object_area(masks: Tensor, objects: Tensor) -> Tensor:
    """(B,) intersection over union of the object with as many most important pixels as it has; NaN without pixels."""
    rank = ranks(upsample(masks.float(), (objects.shape[-2], objects.shape[-1])))
    pixels = objects[0].numel() if len(objects) else 0
    # Counted in whole pixels: 1 - share need not round to the rank it stands for.
    top = (rank * pixels).round() > pixels - objects.flatten(1).sum(1)[:, None, None]
    inside = (top & objects).flatten(1).sum(1).float()
    return inside / (top | objects).flatten(1).sum(1)
