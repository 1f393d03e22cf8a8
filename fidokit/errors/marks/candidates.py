"""What may be a mark: parts, or groups of places alike to the classifier, on which contrastive masks recur."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans

from fidokit.errors.marks.sights import Bools, Floats, Sight
from fidokit.methods.base import resize_masks

#: Marks of a pair that are put to the proof: each costs evaluations, and a stricter correction of all.
MOST = 6
#: Photographs of the discovery half in which a part must be in sight.
_LEAST_SIGHTS = 3
#: Groups of cells that are looked for in each class.
_GROUPS = 5
#: Starts of k-means, of which the best is taken: with one, groups depend on the seed.
_STARTS = 4
#: Cells of a photograph that belong to its evidence: the strongest, up to this share of what the mask holds on the box.
_EVIDENCE = 0.5
#: A group recurs if it is found in this share of the photographs of its class.
_RECURS = 0.5
#: Share of a group's own cells that are less like its middle than a cell may be that is taken for it.
_UNLIKE = 0.1


class Candidate(Protocol):
    """Something that can be found in a photograph."""

    @property
    def name(self) -> str:
        """Of the part, or empty."""

    @property
    def evidence(self) -> float:
        """What the contrastive masks of the discovery half say for it; only the order means anything."""

    def find(self, sight: Sight) -> Bools | None:
        """(H, W), where it is in a photograph; None where it is not in sight."""


@dataclass(frozen=True)
class NamedPart:
    """A part that the dataset names."""

    name: str
    evidence: float

    def find(self, sight: Sight) -> Bools | None:
        """See `Candidate`."""
        return sight.parts.get(self.name)


@dataclass(frozen=True)
class LikeCells:
    """Places whose features are alike.

    Attributes:
        centre: (C,) unit vector.
        least: cosine similarity with it that a place must have.
        cells: places in one photograph, at most.
        evidence: see `Candidate`.
    """

    centre: Floats
    least: float
    cells: int
    evidence: float
    name: str = ""

    def find(self, sight: Sight) -> Bools | None:
        """See `Candidate`."""
        assert sight.features is not None
        height, width, _ = sight.features.shape
        likeness = (sight.features @ self.centre).ravel()
        likeness[~_in_box(sight, (height, width))] = -1.0
        best = np.argsort(-likeness, kind="stable")[: self.cells]
        found = np.zeros(height * width, np.float32)
        found[best[likeness[best] >= self.least]] = 1.0
        if not found.any():
            return None
        return (resize_masks(torch.from_numpy(found.reshape(height, width)), sight.size) > 0.5).numpy()


def named_parts(seen: Iterable[Sight], masks: Mapping[str, Floats]) -> list[Candidate]:
    """The parts on which the masks of photographs are strongest, relative to the animal.

    Args:
        seen: photographs, with their parts.
        masks: image_id -> (h, w) contrastive mask, in [0, 1].
    """
    strengths: dict[str, list[float]] = defaultdict(list)
    for sight in seen:
        mask = resize_masks(torch.from_numpy(masks[sight.image_id]), sight.size).numpy()
        usual = float(mask[sight.animal].mean())
        for name, part in sight.parts.items():
            strengths[name].append(float(mask[part].mean()) / usual if usual > 0 else 0.0)
    found: list[Candidate] = [
        NamedPart(name, float(np.mean(own))) for name, own in strengths.items() if len(own) >= _LEAST_SIGHTS
    ]
    return _strongest(found)


def alike_cells(
    seen: Iterable[Sight], masks: Mapping[str, Floats], classes: Mapping[str, int], seed: int
) -> list[Candidate]:
    """Groups of cells of one class that hold the evidence of its photographs and are alike in their features.

    The strongest cells of each mask within the animal's box are grouped by k-means on unit vectors, weighted by the
    mask, class by class.

    Args:
        seen: photographs, with features.
        masks: image_id -> (h, w) contrastive mask, in [0, 1].
        classes: image_id -> its class.
        seed: of the groups.
    """
    cells: dict[int, list[Floats]] = defaultdict(list)
    weights: dict[int, list[Floats]] = defaultdict(list)
    for sight in seen:
        assert sight.features is not None
        height, width, channels = sight.features.shape
        mask = resize_masks(torch.from_numpy(masks[sight.image_id]), (height, width)).numpy().ravel()
        mask = np.where(_in_box(sight, (height, width)), mask, 0.0)
        if mask.sum() <= 0:
            continue
        order = np.argsort(-mask, kind="stable")
        chosen = order[: 1 + int(np.searchsorted(np.cumsum(mask[order]), _EVIDENCE * mask.sum()))]
        own = classes[sight.image_id]
        cells[own].append(sight.features.reshape(-1, channels)[chosen])
        weights[own].append((mask[chosen] / mask.sum()).astype(np.float32))
    found: list[Candidate] = []
    for own in cells:
        found += _groups(cells[own], weights[own], seed)
    return _strongest(found)


def _groups(cells: Sequence[Floats], weights: Sequence[Floats], seed: int) -> list[Candidate]:
    """The recurring groups among (n, C) cells of each photograph of a class."""
    together, weight = np.concatenate(cells), np.concatenate(weights)
    photograph = np.repeat(np.arange(len(cells)), [len(own) for own in cells])
    if len(together) < 2 * _GROUPS:
        return []
    found_groups = KMeans(_GROUPS, n_init=_STARTS, random_state=seed).fit(together, sample_weight=weight)
    centres, group = found_groups.cluster_centers_, found_groups.labels_
    found: list[Candidate] = []
    for k, centre in enumerate(centres):
        counts = np.bincount(photograph[group == k], minlength=len(cells))
        if (counts > 0).mean() < _RECURS:
            continue
        unit = (centre / np.linalg.norm(centre)).astype(np.float32)
        least = float(np.quantile(together[group == k] @ unit, _UNLIKE))
        usual = round(float(np.median(counts[counts > 0])))
        found.append(LikeCells(unit, least, usual, float(weight[group == k].sum()) / len(cells)))
    return found


def _strongest(found: list[Candidate]) -> list[Candidate]:
    return sorted(found, key=lambda one: -one.evidence)[:MOST]


def _in_box(sight: Sight, grid: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(h * w,) the cells whose middle lies in the animal's box."""
    height, width = grid
    x0, y0, x1, y1 = sight.box
    across = (np.arange(width) + 0.5) * sight.size[1] / width
    down = (np.arange(height) + 0.5) * sight.size[0] / height
    inside: npt.NDArray[np.bool_] = np.outer((down >= y0) & (down <= y1), (across >= x0) & (across <= x1)).ravel()
    return inside
