"""Which masks can be believed: the standing metrics, measured of every mask, and the tables they are kept in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from fidokit.data.geometry import UNKNOWN_PLACE
from fidokit.exceptions import ImageError
from fidokit.methods.base import resize_masks
from fidokit.models.goals import Goal
from fidokit.study.metrics import localisation
from fidokit.study.metrics.curves import curves, variants
from fidokit.study.metrics.ranks import ranks
from fidokit.study.metrics.road import ROAD_SHARES, road_score, road_variants

if TYPE_CHECKING:
    from fidokit.data.geometry import Geometry, Preprocessing
    from fidokit.data.images import LabelledImages
    from fidokit.models.session import Session

#: Shares at which the standing metrics read insertion and deletion: with `ROAD_SHARES` and two infills, 26 evaluations
#: a mask, which cost less than computing it.
STANDING_SHARES: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.7)
CAUSAL = ("insertion", "deletion", "sufficient_area", "destroying_area", "road")
AGAINST_OBJECT = ("average_precision", "energy_inside", "pointing_game", "iou_at_object_area")
AGAINST_BOX = ("iou", "false_discovery_rate")
STANDING = (*CAUSAL, *AGAINST_OBJECT, *AGAINST_BOX, "total_variation", "entropy", "area")
#: What is measured only where it is asked for.
ON_REQUEST = ("stability", "sanity", "part_correlation")

KEYS = ("image_id", "method", "kind")


def _schema(texts: tuple[str, ...], numbers: tuple[str, ...]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in texts] + [(name, pa.float64()) for name in numbers])


#: The tables of each group of metrics: one part per method and chunk, but for the effects, which no method changes.
SCHEMAS: dict[str, pa.Schema] = {
    "standing": _schema((*KEYS, "reason"), STANDING),
    "agreement": _schema((*KEYS, "other"), ("agreement",)),
    "stability": _schema((*KEYS, "reason"), ("stability", "seeds")),
    "sanity": _schema((*KEYS, "reason"), ("sanity",)),
    "parts": _schema((*KEYS, "reason", "removal"), ("part_correlation_sum", "part_correlation_mean")),
    "effects": _schema(("image_id", "part", "removal", "reason", "target", "against"), ("effect",)),
}
#: The columns that name a row of each group.
ROW_KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("standing", "stability", "sanity", "parts"), KEYS),
    "agreement": (*KEYS, "other"),
    "effects": ("image_id", "part", "target", "against"),
}

Values = dict[str, float]
Reasons = dict[str, str]


def sentence(reasons: Reasons) -> str | None:
    """Metric -> why it is missing, as one text; metrics that share a reason stand together."""
    together: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        together.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in together.items()) or None


@dataclass(frozen=True)
class Place:
    """Where the object is in an image, as far as that is annotated.

    Attributes:
        object: (H, W) bool, the object mask, or else the box; None where there is none in sight.
        box: (H, W) bool, the box, or else the rectangle around the object mask; None where there is none in sight.
        no_object, no_box: why there is none.
    """

    object: Tensor | None = None
    box: Tensor | None = None
    no_object: str = ""
    no_box: str = ""


def find_place(data: LabelledImages, i: int, geometry: Geometry, preprocessing: Preprocessing) -> Place:
    """The place of the object in the photograph at position i."""
    if preprocessing.transform is not None:
        return Place(None, None, UNKNOWN_PLACE, UNKNOWN_PLACE)
    box, no_box = _box(data, i, geometry)
    try:
        mask = data.load_object_mask(i, preprocessing)
    except ImageError as error:
        return Place(None, box, str(error), no_box)
    if mask is None:
        return Place(box, box, no_box, no_box)
    if not mask.any():
        return Place(None, box, "the object mask has no pixel in the input", no_box)
    found = torch.from_numpy(np.ascontiguousarray(mask))
    return Place(found, _rectangle(mask) if box is None else box, "", "")


def _box(data: LabelledImages, i: int, geometry: Geometry) -> tuple[Tensor | None, str]:
    box = data.box(i, (geometry.width, geometry.height))
    if box is None:
        return None, "no box or object mask"
    if not np.isfinite(box).all():
        return None, "the box has a missing coordinate"
    # The part of the box that lies in the photograph: a window may reach beyond it.
    x0, y0, x1, y1 = box
    inner = (max(x0, 0.0), max(y0, 0.0), min(x1, float(geometry.width)), min(y1, float(geometry.height)))
    if inner[2] <= inner[0] or inner[3] <= inner[1]:
        return None, "the box lies outside the photograph"
    mask = torch.from_numpy(geometry.box_mask(inner))
    return (mask, "") if bool(mask.any()) else (None, "the box lies outside the input")


def _rectangle(mask: npt.NDArray[np.bool_]) -> Tensor:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    rectangle = torch.zeros(mask.shape, dtype=torch.bool)
    rectangle[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return rectangle


@dataclass(frozen=True)
class Subject:
    """One image and all that its masks are measured with, the same for every method.

    Attributes:
        image: (3, H, W) in [0, 1], on the session's device.
        goal: what its masks explain.
        whole: (1, K) logits of the image.
        infills: (P, 3, H, W) of the panel, on the session's device.
        empty: (P, K) logits of the infills alone.
        noise: (3, H, W) on the pixels that ROAD imputes.
        place: where the object is.
    """

    image: Tensor
    goal: Goal
    whole: Tensor
    infills: Tensor
    empty: Tensor
    noise: Tensor
    place: Place


@torch.no_grad()
def standing(
    session: Session,
    subject: Subject,
    masks: Tensor,
    shares: Sequence[float] = STANDING_SHARES,
    road_shares: Sequence[float] = ROAD_SHARES,
    at_once: int | None = None,
) -> list[tuple[Values, Reasons]]:
    """The standing metrics of masks of one image, and why others are missing.

    It takes ``2 * (P * len(shares) + len(road_shares))`` evaluations a mask, none of one that is the same everywhere.

    Args:
        session: an open session of the classifier.
        subject: the image.
        masks: (M, h, w).
        shares: at which insertion and deletion are read, rising, inside (0, 1).
        road_shares: that ROAD removes, inside (0, 1).
        at_once: evaluations that go through at once, at most the session's micro-batch, which is the default.
    """
    size = (subject.image.shape[-2], subject.image.shape[-1])
    masks = masks.float().to(session.device)
    upsampled = resize_masks(masks, size)
    rank = ranks(upsampled)
    constant = (masks.flatten(1).amax(1) == masks.flatten(1).amin(1)).tolist()
    found: list[tuple[Values, Reasons]] = []
    for m, mask in enumerate(masks):
        values: Values = {"entropy": float(localisation.entropy(mask)), "area": float(mask.double().mean())}
        reasons: Reasons = {}
        _localise(values, reasons, subject.place, upsampled[m : m + 1], rank[m : m + 1])
        if constant[m]:
            why = "the mask is 0 everywhere" if not bool(mask.any()) else "the mask is the same everywhere"
            for name in STANDING:
                if name not in ("entropy", "area", "energy_inside") or (name == "energy_inside" and not mask.any()):
                    values.pop(name, None)
                    reasons.setdefault(name, why)
        else:
            values["total_variation"] = float(localisation.coherence(upsampled[m : m + 1]))
        found.append((values, reasons))
    telling = [m for m in range(len(masks)) if not constant[m]]
    per_mask = 2 * (len(subject.infills) * len(shares) + len(road_shares))
    at_once = at_once or session.micro_batch
    together = max(1, at_once // per_mask)
    if telling:
        removed = road_variants(subject.image, rank[telling], subject.noise, road_shares)
        imputed = dict(zip(telling, removed, strict=True))
    for start in range(0, len(telling), together):
        group = telling[start : start + together]
        made = [
            images for m in group for images in (variants(subject.image, subject.infills, rank[m], shares), imputed[m])
        ]
        parts = torch.cat(made).split_with_sizes(_split(len(group) * per_mask, at_once))
        logits = torch.cat([session.logits(part) for part in parts]).view(len(group), per_mask, -1)
        for m, own in zip(group, logits, strict=True):
            _cause(*found[m], subject, own, shares)
    return found


def _split(n: int, at_once: int) -> list[int]:
    """Sizes of as few batches as hold n, equal but for one."""
    batches = -(-n // at_once)
    return [(n + i) // batches for i in range(batches)]


def _localise(values: Values, reasons: Reasons, place: Place, mask: Tensor, rank: Tensor) -> None:
    if place.object is None:
        reasons |= dict.fromkeys(AGAINST_OBJECT, place.no_object)
    else:
        target = place.object[None].to(mask.device)
        values |= {
            "average_precision": float(localisation.precision_of_ranks(rank, target)),
            "energy_inside": float(localisation.energy_inside(mask, target)),
            "pointing_game": float(localisation.pointing_game(mask, target)),
            "iou_at_object_area": float(localisation.iou_of_ranks(rank, target)),
        }
    if place.box is None:
        reasons |= dict.fromkeys(AGAINST_BOX, place.no_box)
    else:
        target = place.box[None].to(mask.device)
        region = localisation.thresholded(mask, (target.shape[-2], target.shape[-1]))
        values |= {
            "iou": float(localisation.iou(region, target)),
            "false_discovery_rate": float(localisation.false_discovery_rate(region, target)),
        }


def _cause(values: Values, reasons: Reasons, subject: Subject, logits: Tensor, shares: Sequence[float]) -> None:
    if not bool(torch.isfinite(logits).all() and torch.isfinite(subject.empty).all()):
        reasons |= dict.fromkeys(CAUSAL, "the classifier gives NaN or infinite logits for the filled-in image")
        return
    along, road = logits.tensor_split([2 * len(subject.empty) * len(shares)])
    curve = curves(subject.goal, subject.whole, subject.empty, along, shares)
    scores = subject.goal.repeat(1 + len(road)).score(torch.cat([subject.whole, road]))
    if scores[0] > 0:
        values |= {"insertion": float(curve.insertion()), "deletion": float(curve.deletion())}
        values["road"] = float(road_score((scores[1:] / scores[0]).clamp(0, 1)))
    else:
        why = "the classifier gives the target a probability of 0"
        reasons |= dict.fromkeys(("insertion", "deletion", "road"), why)
    areas = ("sufficient_area", "destroying_area")
    if not bool(curve.kept_held[0, -1]):
        reasons |= dict.fromkeys(areas, "the target is not what the classifier decides for the whole image")
    elif not bool(curve.informative().any()):
        reasons |= dict.fromkeys(areas, "every infill holds the class by itself")
    else:
        values |= {"sufficient_area": float(curve.sufficient_area())}
        values |= {"destroying_area": float(curve.destroying_area())}


def row(image_id: str, method: str, kind: str, values: Values, reasons: Reasons, **others: Any) -> dict[str, Any]:
    """A row of a group's table."""
    return {"image_id": image_id, "method": method, "kind": kind, **values, "reason": sentence(reasons), **others}
