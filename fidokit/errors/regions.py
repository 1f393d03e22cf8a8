"""Regions that an intervention fills in: rules that say where, from the evidence and the place of the animal.

A rule knows the evidence for the class that was called, never whether that was right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from fidokit.methods.base import resize_masks
from fidokit.study.metrics.ranks import ranks

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: (h, w) evidence for the called class against the runner-up, (H, W) animal or None, and (H, W) of the input -> (H, W)
#: region to fill in, or None where the rule has nothing to say.
_Finder = Callable[[Floats, Bools | None, tuple[int, int]], Bools | None]

#: Of the shorter side; kept around the animal, so that its outline stays as it is.
_MARGIN_SHARE = 1 / 24
#: A region smaller than this share of the input changes nothing that could be measured.
LEAST_SHARE = 0.005
#: Masks on either side that a common place is looked for with, and its largest share of the input.
LEAST_MASKS, MOST_PLACE = 4, 0.3
#: Standard errors by which masks must differ in a cell of a common place: of a thousand cells without a difference, one
#: is as far in 15 looks.
_CLEAR = 4.0


@dataclass(frozen=True)
class Rule:
    """Where to fill in.

    Attributes:
        name: in tables and sentences.
        find: the region of one image.
    """

    name: str
    find: _Finder


def outside_animal(contrast: Floats, animal: Bools | None, size: tuple[int, int]) -> Bools | None:
    """(H, W) everything outside the animal and a margin around it; None without an animal, or with nothing outside."""
    if animal is None or not animal.any():
        return None
    return _usable(~_widened(animal, max(1, round(_MARGIN_SHARE * min(size)))))


def _strongest(share: float, *, outside: bool) -> _Finder:
    """The most important share of the input's pixels, where asked for only outside the animal."""

    def find(contrast: Floats, animal: Bools | None, size: tuple[int, int]) -> Bools | None:
        if not np.isfinite(contrast).all() or contrast.max() - contrast.min() < 1e-9 or (outside and animal is None):
            return None
        evidence = resize_masks(torch.from_numpy(np.ascontiguousarray(contrast, np.float32)), size)
        if outside and animal is not None:
            allowed = torch.from_numpy(~animal)
            evidence = torch.where(allowed, evidence, evidence.min() - 1)
        region = (ranks(evidence[None])[0] > 1 - share).numpy()
        return _usable(region & ~animal if outside and animal is not None else region)

    return find


def common_place(own: Floats, others: Floats) -> Bools | None:
    """The place that masks have in common and others have not, such as that of a watermark.

    Each mask counts by its shares, so that a strong one says no more than a weak one. A cell belongs to the place where
    the means differ by more than `_CLEAR` standard errors and by more than half of the largest difference; the place is
    widened by a cell.

    Args:
        own: (n, h, w) masks.
        others: (m, h, w) masks of other images.

    Returns:
        (h, w) bool, or None where there are too few masks, or no such place, or one that is no place any more.
    """
    own, others = (masks[np.isfinite(masks).all((1, 2))] for masks in (own, others))
    if min(len(own), len(others)) < LEAST_MASKS:
        return None
    one, other = _shares(own), _shares(others)
    difference = one.mean(0) - other.mean(0)
    error = np.sqrt(one.var(0, ddof=1) / len(one) + other.var(0, ddof=1) / len(other))
    clear = difference > _CLEAR * np.maximum(error, 1e-12)
    found = clear & (difference > difference.max() / 2)
    if not found.any() or found.mean() > MOST_PLACE:
        return None
    return _widened(found, 1)


def at_place(place: Bools) -> _Finder:
    """A (h, w) place of the input, the same in every image, without the animal where that is known."""

    def find(contrast: Floats, animal: Bools | None, size: tuple[int, int]) -> Bools | None:
        region = (resize_masks(torch.from_numpy(place.astype(np.float32)), size) > 0.5).numpy()
        return _usable(region if animal is None else region & ~animal)

    return find


#: From small regions to large ones: of rules that do equally well the first one is taken.
RULES: tuple[Rule, ...] = (
    Rule("the strongest 10 % of the evidence outside the animal", _strongest(0.1, outside=True)),
    Rule("the strongest 10 % of the evidence", _strongest(0.1, outside=False)),
    Rule("the strongest 20 % of the evidence outside the animal", _strongest(0.2, outside=True)),
    Rule("the strongest 20 % of the evidence", _strongest(0.2, outside=False)),
    Rule("everything outside the animal", outside_animal),
)
PLACE = "the place that the masks of this cluster have in common"


def _widened(region: Bools, cells: int) -> Bools:
    widened: Bools = ndimage.maximum_filter(region, 2 * cells + 1, mode="constant")
    return widened


def _shares(masks: Floats) -> npt.NDArray[np.float64]:
    values = masks.astype(np.float64) - masks.min((1, 2), keepdims=True)
    shares: npt.NDArray[np.float64] = values / np.maximum(values.sum((1, 2), keepdims=True), 1e-12)
    return shares


def _usable(region: Bools) -> Bools | None:
    return region if region.mean() >= LEAST_SHARE else None
