"""One row an animal, from what a detector wrote; its formats are those of `detector_results`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit._util.ambient import without_collection
from fidokit._util.checks import UNIT, check_number
from fidokit.data.readers.detector_results import (
    NOT_ANIMALS,
    Detection,
    Photograph,
    Recorded,
    Results,
    read_results,
)
from fidokit.data.readers.folder import SUFFIXES
from fidokit.data.readers.given_labels import Labels, give_labels
from fidokit.data.readers.left_out import ending_of, told
from fidokit.data.readers.located import locate, look_for
from fidokit.data.readers.reading import Notes, Reading, RowNames, add_fields, corners, usable_boxes
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS, OWN_COLUMNS
from fidokit.exceptions import SettingsError

#: What detectors let their boxes reach, from 0 to 1: they are clipped without a word.
_EDGE = 0.01
#: Share of boxes that reach far beyond the picture, above which they are in pixels.
_MOST_BEYOND = 0.5
#: What fields begin with that fidokit itself adds to such files.
_ADDED = "fidokit"
_OWN = frozenset(
    [
        *("file", "detection", "detection_category", "detection_confidence", "n_boxes"),
        *("recorded_label", "recorded_score", "recorded_taxon", "recorded_source", "recorded_classifications"),
    ]
)


def read_detections(
    path: Path,
    images: Path | None = None,
    labels: Labels = None,
    threshold: float | None = None,
    categories: Sequence[str] | str | None = None,
    empty: bool = False,
) -> Reading:
    """See `LabelledImages.from_detections`."""
    if threshold is not None:
        check_number("threshold", threshold, UNIT)
    with without_collection():
        return _read(path, images, labels, threshold, categories, empty)


def _read(
    path: Path,
    images: Path | None,
    labels: Labels,
    threshold: float | None,
    categories: Sequence[str] | str | None,
    empty: bool,
) -> Reading:
    notes = Notes()
    results = read_results(path, notes)
    listed = _usable(results, path, notes)
    places, root = locate([photograph.file for photograph in listed], path, images, notes)
    photographs, files = _distinct(listed, places, path, notes)
    wanted = None if categories is None else _wanted(categories, photographs, path)
    least = results.threshold if threshold is None else float(threshold)
    chosen = _choose(photographs, files, wanted, least, path, notes)
    if threshold is None and chosen.below:
        notes.say(
            f"detections below {least:g}, {results.reason}, count as none ({chosen.below} of {chosen.total}); "
            "`threshold` changes that"
        )
    owners = chosen.owners
    without = sorted(set(range(len(photographs))) - set(owners))
    without = [i for i in without if photographs[i].detections is not None]
    if without and not empty:
        notes.add(
            "photographs have no detection to explain and were left out (empty=True keeps them)",
            f"{path}, {photographs[without[0]].file}",
            len(without),
        )
        without = []
    rows = sorted(
        [*zip(owners, chosen.detections, chosen.boxes, strict=True), *((i, None, None) for i in without)],
        key=lambda row: (row[0], -1 if row[1] is None else row[1].index),
    )
    if not rows:
        raise SettingsError(f"{path}: none of its {len(listed)} photographs has anything to explain: {notes}")
    frame = _frame(rows, photographs, files)
    names = RowNames(f"{path}, ", frame["image_id"].tolist())
    look_for(frame["path"].tolist(), root, names, notes)
    verified = [_verified(photographs[i], detection) for i, detection, _ in rows]
    frame["label"] = give_labels(labels, frame, files, verified, root, path, notes)
    further = [photographs[i].fields for i, _, _ in rows]
    added = {name for fields in further for name in fields if name.startswith(_ADDED)}
    add_fields(frame, further, _OWN | OWN_COLUMNS | added)
    first = ["image_id", "path", "label", "file"]
    frame = frame[first + [name for name in frame.columns if name not in first]]
    kept = len({i for i, _, _ in rows})
    return Reading(frame, root, names, len(results.photographs) - kept, notes)


_Row = tuple[int, Detection | None, Any]


def _usable(results: Results, path: Path, notes: Notes) -> list[Photograph]:
    """The photographs that the detector could read; videos and failures are noted."""
    if not results.photographs:
        told_why = f": {notes}" if str(notes) else ""
        raise SettingsError(f"{path} lists no photographs{told_why}; pass another file")
    others = [one.file for one in results.photographs if Path(one.file).suffix.lower() not in SUFFIXES]
    if others:
        endings = told(Counter(ending_of(file.replace("\\", "/")) for file in others))
        what = f"files are no photographs, such as videos, and were left out ({endings})"
        notes.add(what, f"{path}, {others[0]}", len(others))
    left = set(others)
    usable = []
    for one in results.photographs:
        if one.file in left:
            continue
        if one.detections is None:
            reason = one.failure or "no reason given"
            notes.add(
                "photographs could not be read by the detector and were left out",
                f"{path}, {one.file}: {reason:.80}",
            )
            continue
        usable.append(one)
    if not usable:
        raise SettingsError(f"{path}: none of its {len(results.photographs)} photographs can be used: {notes}")
    return usable


def _distinct(
    photographs: Sequence[Photograph], places: Sequence[str], path: Path, notes: Notes
) -> tuple[list[Photograph], list[str]]:
    """The photographs with their paths, those that are listed again left out."""
    first: dict[str, Photograph] = {}
    for photograph, place in zip(photographs, places, strict=True):
        if place in first:
            what = "photographs are listed again, and what is said of them there was left out"
            notes.add(what, f"{path}, {photograph.file}")
        else:
            first[place] = photograph
    return list(first.values()), list(first)


# Which detections.


@dataclass(frozen=True)
class _Chosen:
    """The detections that become rows.

    Attributes:
        owners: the position of the photograph of each.
        detections: themselves.
        boxes: (N, 4) corners, from 0 to 1.
        below: how many others had a confidence below the threshold.
        total: all that were of a category wanted.
    """

    owners: list[int]
    detections: list[Detection]
    boxes: npt.NDArray[np.float64]
    below: int
    total: int


def _wanted(categories: Sequence[str] | str, photographs: Sequence[Photograph], path: Path) -> frozenset[str]:
    names = [categories] if isinstance(categories, str) else list(categories)
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"categories must be names, such as ['animal'], not {categories!r}")
    wanted = frozenset(name.strip().lower() for name in names)
    there = {one.category for photograph in photographs for one in photograph.detections or () if one.category}
    unknown = sorted(wanted - {name.lower() for name in there})
    if unknown:
        raise SettingsError(
            f"{path} has no detection of the category {unknown[0]!r}, only of {', '.join(sorted(there)) or 'none'}"
        )
    return wanted


def _choose(
    photographs: Sequence[Photograph],
    files: Sequence[str],
    wanted: Collection[str] | None,
    least: float,
    path: Path,
    notes: Notes,
) -> _Chosen:
    owners: list[int] = []
    detections: list[Detection] = []
    below = total = 0
    for i, photograph in enumerate(photographs):
        for one in photograph.detections or ():
            reason = _unwanted(one, wanted)
            if reason is None and one.confidence is None:
                reason = "detections have a confidence that is no number from 0 to 1 and were left out"
            if reason is not None:
                notes.add(reason, f"{path}, {files[i]}#{one.index}")
                continue
            total += 1
            if one.confidence is not None and one.confidence < least:
                below += 1
                continue
            owners.append(i)
            detections.append(one)
    names = RowNames(f"{path}, ", [f"{files[i]}#{one.index}" for i, one in zip(owners, detections, strict=True)])
    boxes, usable = _boxes(detections, names, path, notes)
    usable &= ~_repeated(owners, detections, boxes, usable, names, notes)
    kept = np.flatnonzero(usable).tolist()
    return _Chosen([owners[k] for k in kept], [detections[k] for k in kept], boxes[usable], below, total)


def _unwanted(one: Detection, wanted: Collection[str] | None) -> str | None:
    """Why a detection is none of those that are asked for."""
    if one.category is None:
        return "detections have a category that the file does not name, and count as none"
    name = one.category.lower()
    if wanted is None and name in NOT_ANIMALS:
        return f"detections are of the category {one.category} and were left out (`categories` asks for them)"
    if wanted is not None and name not in wanted:
        return f"detections are of the category {one.category}, which is not asked for"
    return None


def _boxes(
    detections: Sequence[Detection], names: Sequence[str], path: Path, notes: Notes
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Corners (N, 4) within 0 to 1, and which of them are boxes in the picture."""
    raw = np.full((len(detections), 4), np.nan)
    for i, one in enumerate(detections):
        box = one.box
        if isinstance(box, list) and len(box) == 4 and all(type(x) in (int, float) and abs(x) < 1e100 for x in box):
            raw[i] = box
    usable = usable_boxes(raw, np.ones(len(raw), dtype=np.bool_), names, notes)
    ends = corners(raw)
    far = usable & (np.abs(ends) > 1 + 0.05).any(axis=1)
    if far.sum() > _MOST_BEYOND * max(1, usable.sum()):
        place = int(np.flatnonzero(far)[0])
        raise SettingsError(
            f"{names[place]}: the box {raw[place].tolist()} is not relative, and so are {int(far.sum())} of "
            f"{int(usable.sum())}; a detector's file gives boxes as x, y, width, height from 0 to 1 of the picture"
        )
    outside = usable & ((ends[:, 2:] <= 0).any(axis=1) | (ends[:, :2] >= 1).any(axis=1))
    beyond = usable & ~outside & ((ends < -_EDGE) | (ends > 1 + _EDGE)).any(axis=1)
    for what, bad in (
        ("boxes lie outside the picture and were left out", outside),
        ("boxes reach beyond the picture and were cut off at its edge", beyond),
    ):
        if bad.any():
            notes.add(what, names[int(np.flatnonzero(bad)[0])], int(bad.sum()))
    return np.clip(ends, 0.0, 1.0), usable & ~outside


def _repeated(
    owners: Sequence[int],
    detections: Sequence[Detection],
    boxes: npt.NDArray[np.float64],
    usable: npt.NDArray[np.bool_],
    names: Sequence[str],
    notes: Notes,
) -> npt.NDArray[np.bool_]:
    """(N,) bool: which detections say again what one before them of the same photograph said."""
    again = np.zeros(len(detections), dtype=np.bool_)
    seen = set()
    for i in np.flatnonzero(usable).tolist():
        key = (owners[i], detections[i].category, *boxes[i].tolist())
        if key in seen:
            again[i] = True
            notes.add("detections have the box and category of one before them and were left out", names[i])
        seen.add(key)
    return again


# The table.


def _frame(rows: Sequence[_Row], photographs: Sequence[Photograph], files: Sequence[str]) -> pd.DataFrame:
    n = Counter(i for i, detection, _ in rows if detection is not None)
    found: list[Recorded] = [
        photographs[i].recorded if detection is None else detection.recorded for i, detection, _ in rows
    ]
    own = [detection for _, detection, _ in rows]
    frame = pd.DataFrame(
        {
            "image_id": _texts(
                [files[i] if detection is None else f"{files[i]}#{detection.index}" for i, detection, _ in rows]
            ),
            "path": _texts([files[i] for i, _, _ in rows]),
            "file": _texts([photographs[i].file for i, _, _ in rows]),
        }
    )
    frame[BOX_COLUMNS] = np.array([np.full(4, np.nan) if box is None else box for _, _, box in rows]).reshape(-1, 4)
    for column in ANNOTATED_COLUMNS:
        # The size of a picture whose annotations are relative.
        frame[column] = np.where(frame[BOX_COLUMNS[0]].isna(), np.nan, 1.0)
    frame["n_boxes"] = [n[i] for i, _, _ in rows]
    indices = [None if one is None else one.index for one in own]
    frame["detection"] = pd.array(indices, dtype="Int64" if None in indices else "int64")
    frame["detection_category"] = _texts([None if one is None else one.category for one in own])
    frame["detection_confidence"] = np.array([np.nan if one is None else one.confidence for one in own], np.float64)
    if any(recorded.answers for recorded in found):
        frame["recorded_label"] = _texts([recorded.label for recorded in found])
        scores = [np.nan if recorded.score is None else recorded.score for recorded in found]
        frame["recorded_score"] = np.array(scores, np.float64)
        frame["recorded_classifications"] = _texts(
            [json.dumps(recorded.answers, ensure_ascii=False) if recorded.answers else None for recorded in found]
        )
        for column, values in (
            ("recorded_taxon", [recorded.taxon for recorded in found]),
            ("recorded_source", [recorded.source for recorded in found]),
        ):
            if any(value is not None for value in values):
                frame[column] = _texts(values)
    return frame


def _texts(values: Sequence[str | None]) -> pd.Series[Any]:
    return pd.Series(values, dtype=object)


def _verified(photograph: Photograph, detection: Detection | None) -> str | None:
    """The label that a person gave in the file."""
    if detection is not None:
        return detection.verified
    return "blank" if photograph.verified and not photograph.detections else None
