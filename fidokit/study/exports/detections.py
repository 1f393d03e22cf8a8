"""A detector's JSON with what the study found added to it, in MegaDetector's format and SpeciesNet's.

Format: https://lila.science/megadetector-output-format, 1.3 to 1.6. Its readers pass over fields that they do not know.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fidokit._util.checks import is_number, is_whole
from fidokit._util.warning import warn
from fidokit._version import __version__
from fidokit.data.geometry import Box
from fidokit.data.readers.cells import portable
from fidokit.data.readers.reading import read_json
from fidokit.exceptions import SettingsError
from fidokit.study.exports.results import relative_boxes, rows_of
from fidokit.study.exports.writing import check_free, write_whole
from fidokit.study.stored import StoredStudy

#: Lists of a file's photographs, and what each calls the photograph: MegaDetector's, SpeciesNet's.
_LISTS = {"images": "file", "predictions": "filepath"}
#: Boxes are written with three to five decimals, and may have been cut at the edges.
_CLOSE = 1e-4
#: Columns of data that `LabelledImages.from_detections` read: the photograph's path as it stands in the file, and the
#: place of the detection in its list.
_FILE, _INDEX = "file", "detection"
#: The name of our objects.
_OWN = "fidokit"


def to_detections(
    study: StoredStudy,
    file: Path,
    results: pd.DataFrame,
    *,
    source: str | Path,
    replace_classifications: bool,
    overwrite: bool,
) -> Path:
    """See `Study.to_detections`."""
    check_free(file, overwrite)
    source = Path(source)
    document = read_json(source)
    name = next((name for name in _LISTS if isinstance(document.get(name), list)), None)
    if name is None:
        raise SettingsError(f"{source} has neither a list 'images' nor 'predictions'; give the JSON of a detector")
    entries = [entry for entry in document[name] if isinstance(entry, dict)]
    rows = rows_of(study, results)
    found = _entries_of(study, entries, _LISTS[name])
    lost = [row["image_id"] for row, place in zip(rows, found, strict=True) if place is None]
    if len(lost) == len(rows):
        raise SettingsError(
            f"{source} names none of the {len(rows)} photographs of {study.path} (such as {lost[0]}); give the file of "
            "the detector that saw them"
        )
    categories = _Categories(document) if name == "images" else None
    for entry in entries:
        for detection in _detections(entry):
            detection.pop(_OWN, None)
        entry.pop(_OWN, None)
    boxes = relative_boxes(study)
    loose: list[str] = []
    taken: set[int] = set()
    for row, place, box, index in zip(rows, found, boxes, _column(study, _INDEX), strict=True):
        if place is None:
            continue
        drawn: dict[str, Any] | None = None if box is None else _detection_at(entries[place], box, index, taken)
        if drawn is None:
            # Of the photograph as a whole, or of a box that the detector did not draw.
            entries[place].setdefault(_OWN, []).append(_described(row, box))
            loose += [] if box is None else [str(row["image_id"])]
            continue
        drawn[_OWN] = _described(row, None)
        replaced = replace_classifications or not drawn.get("classifications")
        if categories is not None and row["predicted"] is not None and replaced:
            drawn["classifications"] = categories.of(row)
    if lost:
        warn(f"{source} does not name {len(lost)} of the {len(rows)} photographs (first: {lost[0]}); they are left out")
    if loose:
        warn(
            f"{source} has no detection where {len(loose)} of the boxes are (first: {loose[0]}); what is known of them "
            "stands with the photograph"
        )
    _sign(study, document, categories)
    # ASCII alone: names that are no UTF-8 stay what they were.
    write_whole(file, (json.dumps(document, indent=1) + "\n").encode("ascii"), overwrite)
    return file


def _entries_of(study: StoredStudy, entries: Sequence[Mapping[str, Any]], key: str) -> list[int | None]:
    """The entry of each photograph: the one whose file is its path, or the only one that it ends in."""
    given = [entry.get(key) for entry in entries]
    named = [_posix(portable(name)) if isinstance(name, str) else "" for name in given]
    exact = {name: i for i, name in enumerate(named) if name}
    by_last: dict[str, list[int]] = {}
    for name, i in exact.items():
        by_last.setdefault(name.rpartition("/")[2], []).append(i)
    root = _posix(str(study.manifest["dataset"]["root"])).rstrip("/") + "/"
    places: list[int | None] = []
    for path, file in zip(study.images["path"], _column(study, _FILE), strict=True):
        whole = _posix(str(path))
        relative = whole.removeprefix(root)
        place = exact.get(_posix(str(file or "")), exact.get(relative, exact.get(whole)))
        if place is None:
            ends = [
                i
                for i in by_last.get(whole.rpartition("/")[2], [])
                if f"/{whole}".endswith(f"/{named[i]}") or f"/{named[i]}".endswith(f"/{relative}")
            ]
            place = ends[0] if len(ends) == 1 else None
        places.append(place)
    return places


def _posix(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _detections(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    detections = entry.get("detections")
    return [one for one in detections if isinstance(one, dict)] if isinstance(detections, list) else []


def _column(study: StoredStudy, name: str) -> list[Any]:
    """A column of the dataset's table, if it has such."""
    images = study.images
    return images[name].tolist() if name in images.columns else [None] * len(images)


def _detection_at(entry: Mapping[str, Any], box: Box, index: Any, taken: set[int]) -> dict[str, Any] | None:
    """The detection that a box was read from: the one of its index, or else the first alike that no other row has."""
    detections = entry.get("detections")
    if is_whole(index) and isinstance(detections, list) and 0 <= index < len(detections):
        first = detections[index : index + 1]
        detections = [*first, *detections[:index], *detections[index + 1 :]]
    for detection in _detections({"detections": detections}):
        if id(detection) not in taken and _is_at(detection.get("bbox"), box):
            taken.add(id(detection))
            return detection
    return None


def _is_at(given: Any, box: Box) -> bool:
    """Whether x, y, width, height are those of a box, which may have been cut off at the photograph's edge."""
    if not isinstance(given, list) or len(given) != 4 or not all(map(is_number, given)):
        return False
    x, y, width, height = given
    corners = np.clip([x, y, x + width, y + height], 0.0, 1.0)
    return float(np.abs(corners - np.array(box)).max()) <= _CLOSE


def _described(row: Mapping[Any, Any], box: Box | None) -> dict[str, Any]:
    """What is known of one row, without what is not."""
    mask = {"method": row["method"], "kind": row["kind"], "verdict": row["verdict"]}
    mask |= {name: None if np.isnan(row[name]) else round(float(row[name]), 4) for name in ("kept", "dropped")}
    review = {"state": row["review"], "label": row["review_label"], "by": row["reviewed_by"]}
    review |= {"at": row["reviewed_at"], "comment": row["review_comment"]}
    described: dict[str, Any] = {
        "image_id": row["image_id"],
        "bbox": None if box is None else [round(v, 5) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])],
        "state": row["state"],
        "prediction": row["predicted"],
        "score": None if np.isnan(row["score"]) else round(float(row["score"]), 5),
        "runner_up": row["runner_up"],
        "label": row["label"],
        "mask": _known(mask) if row["method"] is not None else None,
        "clusters": row["clusters"],
        "sentences": row["sentences"],
        "review": _known(review) if row["review"] is not None else None,
        "note": row["note"],
    }
    return _known(described)


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value == value}


class _Categories:
    """The classification categories of a file, with those that are needed added."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.written = False
        self._document = document
        known = document.get("classification_categories")
        self._names: dict[str, str] = known if isinstance(known, dict) else {}
        self._ids = {str(name): key for key, name in reversed(self._names.items())}
        self._next = 1 + max((int(key) for key in self._names if key.isdecimal()), default=-1)

    def of(self, row: Mapping[Any, Any]) -> list[list[Any]]:
        """``[[category, confidence], ...]``, the highest confidence first: the prediction and its runner-up."""
        pairs = [(str(row["predicted"]), float(row["score"]))]
        if row["runner_up"] is not None:
            pairs.append((str(row["runner_up"]), float(row["score"]) - float(row["margin"])))
        self.written = True
        return [[self._id(name), round(score, 5)] for name, score in pairs]

    def _id(self, name: str) -> str:
        if name not in self._ids:
            self._ids[name] = str(self._next)
            self._next += 1
            self._names[self._ids[name]] = name
            self._document["classification_categories"] = self._names
            # The format asks for a description of each category where there are any.
            if isinstance(described := self._document.get("classification_category_descriptions"), dict):
                described[self._ids[name]] = name
        return self._ids[name]


def _sign(study: StoredStudy, document: dict[str, Any], categories: _Categories | None) -> None:
    """Say in the file's own head what was added, and by which classifier."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    classifier = study.manifest["classifier"]
    name = classifier["name"] or classifier["module"]
    info = document.get("info")
    info = document["info"] = dict(info) if isinstance(info, dict) else {}
    info[_OWN] = {"version": __version__, "classifier": name, "methods": list(study.methods), "written": f"{now} UTC"}
    if categories is not None and categories.written and "classifier" not in info:
        info["classifier"] = name
        info["classification_completion_time"] = now
