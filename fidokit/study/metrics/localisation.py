"""Where a mask lies beside the annotated object, by rank, sum and threshold; how coherent and how decided it is."""

from __future__ import annotations

import torch
from torch import Tensor

from fidokit.methods.base import resize_masks
from fidokit.models import goals as objective
from fidokit.study.metrics.ranks import ranks, region_of_area

#: Share of the area whose boundary `coherence` measures.
COHERENCE_AREA = 0.2


def _size(places: Tensor) -> tuple[int, int]:
    return places.shape[-2], places.shape[-1]


def pixel_average_precision(masks: Tensor, objects: Tensor) -> Tensor:
    """(B,) average precision of the pixels' ranks against (B, H, W) bool objects; NaN where an object has no pixel."""
    return precision_of_ranks(ranks(resize_masks(masks.float(), _size(objects))), objects)


def precision_of_ranks(rank: Tensor, objects: Tensor) -> Tensor:
    """`pixel_average_precision` from (B, H, W) `ranks`."""
    pixels = rank.shape[-2] * rank.shape[-1]
    place = (pixels - (rank.flatten(1) * pixels).round()).long()
    hits = torch.zeros(place.shape, device=rank.device).scatter_(1, place, objects.flatten(1).float())
    precision = hits.cumsum(1) / torch.arange(1, pixels + 1, device=rank.device)
    return (precision * hits).sum(1) / hits.sum(1)


def iou_at_object_area(masks: Tensor, objects: Tensor) -> Tensor:
    """(B,) intersection over union of the object with as many most important pixels as it has; NaN without pixels."""
    return iou_of_ranks(ranks(resize_masks(masks.float(), _size(objects))), objects)


def iou_of_ranks(rank: Tensor, objects: Tensor) -> Tensor:
    """`iou_at_object_area` from (B, H, W) `ranks`."""
    pixels = rank.shape[-2] * rank.shape[-1]
    # Counted in whole pixels: 1 - share need not round to the rank it stands for.
    top = (rank * pixels).round() > pixels - objects.flatten(1).sum(1)[:, None, None]
    return _overlap(top, objects)


def energy_inside(masks: Tensor, objects: Tensor) -> Tensor:
    """(B,) share of the mask's sum that lies inside the object; NaN for a mask that is 0 everywhere.

    Source: "energy-based pointing game" of Wang et al., "Score-CAM", CVPR workshops 2020.
    """
    values = resize_masks(masks.float(), _size(objects)).flatten(1)
    return (values * objects.flatten(1)).sum(1) / values.sum(1)


def pointing_game(masks: Tensor, objects: Tensor) -> Tensor:
    """(B,) 1 where the mask's maximum lies inside the object, 0 where not; of tied maxima, the share that does.

    Source: Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016, without a tolerance in pixels.
    """
    values = resize_masks(masks.float(), _size(objects)).flatten(1)
    tied = values == values.amax(1, keepdim=True)
    return (tied & objects.flatten(1)).sum(1) / tied.sum(1)


def thresholded(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) bool: where the upsampled mask exceeds its own mean.

    The mean suits masks of every scale: a half would leave next to nothing of an attribution, whose scale means
    nothing.
    """
    values = resize_masks(masks.float(), size)
    return values > values.mean(dim=(1, 2), keepdim=True)


def iou(regions: Tensor, objects: Tensor) -> Tensor:
    """(B,) intersection over union of two (B, H, W) bool; NaN where an object has no pixel."""
    return torch.where(objects.flatten(1).any(1), _overlap(regions, objects), torch.nan)


def false_discovery_rate(regions: Tensor, objects: Tensor) -> Tensor:
    """(B,) share of the region's pixels that lie outside the object; NaN where the region is empty."""
    return (regions & ~objects).flatten(1).sum(1) / regions.flatten(1).sum(1)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    return (one & other).flatten(1).sum(1).float() / (one | other).flatten(1).sum(1)


def coherence(masks: Tensor) -> Tensor:
    """(B,) total variation of the most important fifth of the (B, H, W) masks: mean absolute difference of neighbours,
    down plus across. Low is coherent.

    All masks are brought to the same grid before, and to the same area by this: raising a mask to a power, or a larger
    area, changes the total variation of its values but not what it says.
    """
    return objective.total_variation(region_of_area(masks, COHERENCE_AREA))


def entropy(masks: Tensor) -> Tensor:
    """(B,) mean entropy of the cells in bits, each a Bernoulli probability: 0 is decided, 1 is a half everywhere."""
    p = masks.double()
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).mean(dim=(-2, -1)) / torch.log(torch.tensor(2.0))
