"""COCO Camera Traps JSON (https://lila.science/coco-camera-traps) and iNaturalist JSON (competitions 2017 to 2021).

Both are COCO's images, categories and annotations with further fields.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit._util.checks import is_number
from fidokit.data.placing import RELATIVE
from fidokit.data.readers.cells import text_of
from fidokit.data.readers.choice import EMPTY_NAMES, choose_boxes, choose_labels
from fidokit.data.readers.reading import (
    Notes,
    Reading,
    RowNames,
    add_fields,
    corners,
    distinct_labels,
    path_inside,
    read_json,
    usable_boxes,
)
from fidokit.data.readers.sizes import note_sizes
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS, OWN_COLUMNS
from fidokit.exceptions import SettingsError

#: Fields of the images that are used up, or that the files know better.
_USED = frozenset(["id", "file_name", "width", "height", "corrupt", *OWN_COLUMNS])
#: Fields of the categories that are worth a column.
_TAXONOMY = ("supercategory", "common_name", "kingdom", "phylum", "class", "order", "family", "genus")
_OF_SEQUENCE = "sequence_level_annotation"


def read_coco(path: Path, root: Path | None = None) -> Reading:
    """See `LabelledImages.from_coco`."""
    content = read_json(path)
    if "detection_categories" in content:
        raise SettingsError(
            f"{path} holds the results of a detector, no dataset in COCO's format; read it with "
            "LabelledImages.from_detections"
        )
    images = _records(content, "images", path)
    categories = _records(content, "categories", path, needed=content.get("annotations") is not None)
    annotations = _records(content, "annotations", path, needed=False)
    notes = Notes()
    folder = path.parent if root is None else root
    names = _categories(categories, path)
    listed = {text_of(image.get("id")) for image in images}
    images, skipped = _usable_images(images, path, notes)
    ids = [_id(image, "id", path, "image") for image in images]
    rows = RowNames(f"{path}, image ", ids)
    position = {key: i for i, key in enumerate(ids)}
    if len(position) < len(ids):
        twice = next(key for i, key in enumerate(ids) if position[key] != i)
        raise SettingsError(f"{path}, image {twice}: the id stands there twice; each must be unique")
    files = [path_inside(image["file_name"], rows[i]) for i, image in enumerate(images)]
    frame = pd.DataFrame({"image_id": pd.Series(ids, dtype=object), "path": pd.Series(files, dtype=object)})
    found = _known_annotations(annotations, position, listed, names, path, notes)
    _add_labels(frame, found, categories, names, rows, notes)
    _add_boxes(frame, found, images, folder, rows, notes)
    add_fields(frame, images, _USED)
    of_sequence = np.array([record.get(_OF_SEQUENCE) is True for record in found.records], dtype=np.bool_)
    if of_sequence.any():
        frame[_OF_SEQUENCE] = np.isin(np.arange(len(frame)), found.places[of_sequence])
    return Reading(frame, folder, rows, skipped, notes)


@dataclass(frozen=True)
class _Annotations:
    """The annotations of images that are there.

    Attributes:
        records: as they stand in the file.
        places: (N,) position of their image.
        classes: their category.
        rows: what messages call them.
    """

    records: list[dict[str, Any]]
    places: npt.NDArray[np.int64]
    classes: list[str]
    rows: Sequence[str]


def _records(content: Mapping[str, Any], name: str, path: Path, needed: bool = True) -> list[dict[str, Any]]:
    if content.get(name) is None and not needed:
        return []
    records = content.get(name)
    if not isinstance(records, list):
        raise SettingsError(
            f"{path} has no list {name!r}; COCO JSON holds the lists images, categories and annotations"
        )
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise SettingsError(f"{path}, {name}[{i}]: {record!r:.80} is no JSON object; correct the file")
    return records


def _id(record: Mapping[str, Any], name: str, path: Path, what: str) -> str:
    value = record.get(name)
    text = value if isinstance(value, str) and value.strip() else str(value) if type(value) is int else text_of(value)
    if text is None:
        raise SettingsError(f"{path}: the {what} {str(record)[:120]} has no {name}; correct the file")
    return text


def _categories(categories: Sequence[Mapping[str, Any]], path: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    for category in categories:
        key = _id(category, "id", path, "category")
        if key in names:
            raise SettingsError(f"{path}, category {key}: the id stands there twice; each must be unique")
        names[key] = _id(category, "name", path, "category").strip()
    return names


def _usable_images(images: list[dict[str, Any]], path: Path, notes: Notes) -> tuple[list[dict[str, Any]], int]:
    """The images with a file that could be read when the dataset was made, and the number of others."""
    if not images:
        raise SettingsError(f"{path} lists no images; pass another file")
    usable = []
    for image in images:
        file = image.get("file_name")
        if not isinstance(file, str) or not file.strip():
            notes.add("images have no file_name and were left out", f"{path}, image {image.get('id')}")
        elif image.get("corrupt") is True:
            notes.add("images are marked as corrupt and were left out", f"{path}, image {image.get('id')}")
        else:
            usable.append(image)
    if not usable:
        raise SettingsError(f"{path}: none of its {len(images)} images can be used: {notes}")
    return usable, len(images) - len(usable)


def _known_annotations(
    annotations: list[dict[str, Any]],
    position: Mapping[str, int],
    listed: Collection[str | None],
    names: Mapping[str, str],
    path: Path,
    notes: Notes,
) -> _Annotations:
    """Those of images that are used; those of images that are not even listed are noted."""
    kept, places, classes = [], [], []
    for annotation in annotations:
        key = _id(annotation, "image_id", path, "annotation")
        category = _id(annotation, "category_id", path, "annotation")
        if category not in names:
            raise SettingsError(
                f"{path}, annotation {annotation.get('id')}: there is no category {category!r}; correct the file"
            )
        if key in position:
            kept.append(annotation)
            places.append(position[key])
            classes.append(category)
        elif key not in listed:
            what = "annotations belong to images that are not there and were left out"
            notes.add(what, f"{path}, annotation {annotation.get('id')}")
    rows = RowNames(f"{path}, annotation ", [annotation.get("id") for annotation in kept])
    return _Annotations(kept, np.asarray(places, dtype=np.int64), classes, rows)


def _add_labels(
    frame: pd.DataFrame,
    found: _Annotations,
    categories: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    rows: Sequence[str],
    notes: Notes,
) -> None:
    """The label, and what its category says of its place in the taxonomy."""
    labels = distinct_labels({key: names[key] for key in dict.fromkeys(found.classes)})
    empty = [label for key, label in labels.items() if names[key].lower() in EMPTY_NAMES]
    given = [labels[key] for key in found.classes]
    frame["label"] = choose_labels(len(frame), found.places, given, empty, rows, notes)
    category_of = {labels[key]: category for category in categories if (key := text_of(category["id"])) in labels}
    for name in _TAXONOMY:
        values = {label: text_of(category.get(name)) for label, category in category_of.items()}
        if any(value is not None for value in values.values()):
            frame[name] = pd.Series([values.get(label) for label in frame["label"]], dtype=object)


def _add_boxes(
    frame: pd.DataFrame,
    found: _Annotations,
    images: Sequence[Mapping[str, Any]],
    folder: Path,
    rows: Sequence[str],
    notes: Notes,
) -> None:
    """Boxes in pixels of a picture of the size that the JSON says, or relative ones."""
    sizes = np.asarray([_size(image) for image in images], dtype=np.float64)
    sized: npt.NDArray[np.bool_] = np.isfinite(sizes[:, 0])
    boxes = np.full((len(found.records), 4), np.nan)
    given, relative = np.zeros((2, len(found.records)), dtype=np.bool_)
    for i, record in enumerate(found.records):
        pixels, shares = record.get("bbox"), record.get("bbox_relative")
        # A size that is not known says nothing about pixels; the relative box needs none.
        box = shares if shares and (not pixels or not sized[found.places[i]]) else pixels
        if box:
            given[i], relative[i] = True, box is shares
            if isinstance(box, list) and len(box) == 4 and all(_is_number(number) for number in box):
                boxes[i] = box
    if not given.any():
        return
    usable = usable_boxes(boxes, given, found.rows, notes)
    in_pixels = np.zeros(len(images), dtype=np.bool_)
    in_pixels[found.places[usable & ~relative]] = True
    # One photograph has one scale: beside boxes in pixels, relative ones become such.
    beside = usable & relative & in_pixels[found.places]
    lost = np.flatnonzero(beside & ~sized[found.places])
    if len(lost):
        what = "relative boxes stand beside boxes in pixels of a picture of unknown size and were left out"
        notes.add(what, found.rows[int(lost[0])], len(lost))
        usable[lost] = False
    boxes[beside] *= np.tile(sizes[found.places[beside]], 2)
    chosen, counts = choose_boxes(len(frame), found.places[usable], corners(boxes[usable]))
    frame[BOX_COLUMNS] = chosen
    frame["n_boxes"] = counts
    sizes[~in_pixels] = RELATIVE
    sizes[counts == 0] = np.nan
    frame[ANNOTATED_COLUMNS] = sizes
    note_sizes(frame, folder, rows, notes)


def _number(value: Any) -> Any:
    """A number that was written as a text, as programs do that make JSON from a table; else the value itself."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _is_number(value: Any) -> bool:
    return is_number(value) and abs(value) < 1e100


def _size(image: Mapping[str, Any]) -> tuple[float, float]:
    """(width, height) as the JSON says; NaN where it does not."""
    given = [_number(image.get("width")), _number(image.get("height"))]
    sides = [float(side) if _is_number(side) and side > 0 else np.nan for side in given]
    return (np.nan, np.nan) if np.isnan(sides).any() else (sides[0], sides[1])
