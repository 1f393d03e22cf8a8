"""CUB-200-2011 and NABirds: text files with an id and its values on each line.

Sources: the README of Caltech-UCSD Birds-200-2011 (Wah et al., CNS-TR-2011-001) and the files of NABirds (Van Horn et
al., CVPR 2015), which follow the same layout.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fidokit.data.readers.cells import portable
from fidokit.data.readers.reading import (
    Notes,
    Reading,
    RowNames,
    corners,
    distinct_labels,
    path_inside,
    read_text,
    usable_boxes,
)
from fidokit.data.readers.sizes import note_sizes, without_resized
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import SettingsError

_REQUIRED = ("images.txt", "image_class_labels.txt", "classes.txt")
CUB_FOLDER = "CUB_200_2011"


def is_birds_folder(root: Path) -> bool:
    return all((root / name).is_file() for name in _REQUIRED)


def is_nabirds(root: Path) -> bool:
    """Whether a folder with CUB's files is NABirds: only there are a hierarchy and photographers."""
    return (root / "hierarchy.txt").is_file() or (root / "photographers.txt").is_file()


def read_cub(root: Path, readable: bool = True) -> Reading:
    """See `LabelledImages.from_cub`."""
    if not is_birds_folder(root) and is_birds_folder(root / CUB_FOLDER):
        root = root / CUB_FOLDER
    reading, _ = _read(root, _readable if readable else str)
    beside = root.absolute().parent / "segmentations"
    folder = "segmentations" if (root / "segmentations").is_dir() else str(beside) if beside.is_dir() else None
    if folder is not None:
        masks = [folder + str(Path(path).with_suffix(".png")).removeprefix("images") for path in reading.frame["path"]]
        reading.frame["object_mask"] = pd.Series(
            [mask if (root / mask).is_file() else None for mask in masks], dtype=object
        )
    return reading


def read_nabirds(root: Path) -> Reading:
    """See `LabelledImages.from_nabirds`."""
    reading, classes = _read(root, str)
    names = _class_names(root)
    parents = dict(cells for _, cells in _rows(root / "hierarchy.txt", 2, optional=True))
    if parents:
        groups = {key: _ancestors(key, parents, root / "hierarchy.txt") for key in set(classes) if key is not None}
        for column, place in (("parent", 0), ("group", -1)):
            found = {key: names.get(line[place]) for key, line in groups.items() if line}
            reading.frame[column] = pd.Series([found.get(key or "") for key in classes], dtype=object)
    # Nobody's name is worth a warning, or a dataset that cannot be read.
    people = dict(cells for _, cells in _rows(root / "photographers.txt", 2, optional=True, notes=Notes()))
    if people:
        reading.frame["photographer"] = pd.Series([people.get(key) for key in reading.frame["image_id"]], dtype=object)
    return reading


_UNLISTED = "lines name a photograph that is not in images.txt and were left out"
_SHORT = "lines are cut off and were left out"
_BLANKS = " \t"


def _read(root: Path, label_of: Callable[[str], str]) -> tuple[Reading, list[str | None]]:
    """What both datasets have, and the class ids of the photographs."""
    if not root.is_dir():
        raise SettingsError(f"{root} is not a folder; pass the folder that holds images.txt")
    missing = [name for name in _REQUIRED if not (root / name).is_file()]
    if missing:
        raise SettingsError(
            f"{root} has no {missing[0]}; pass the folder that holds {', '.join(_REQUIRED)} and the folder images"
        )
    notes = Notes()
    lines, ids, paths = [], [], []
    seen: dict[str, int] = {}
    for line, (key, path) in _rows(root / "images.txt", 2):
        where = f"{root / 'images.txt'}, line {line}"
        if key in seen:
            raise SettingsError(f"{where}: the id {key!r} stands in line {seen[key]} as well; each must be unique")
        seen[key] = line
        lines.append(line)
        ids.append(key)
        paths.append("images/" + path_inside(path, where))
    if not ids:
        raise SettingsError(f"{root / 'images.txt'} is empty; copy the dataset again")
    position = {key: i for i, key in enumerate(ids)}
    names = _class_names(root)
    classes = _classes(root, names, position, notes)
    used = {key: label_of(names[key]) for key in dict.fromkeys(classes) if key is not None}
    labels = distinct_labels(used)
    frame = pd.DataFrame(
        {
            "image_id": pd.Series(ids, dtype=object),
            "path": pd.Series(paths, dtype=object),
            "label": pd.Series([None if key is None else labels[key] for key in classes], dtype=object),
        }
    )
    _add_split(frame, root, position, notes)
    _add_boxes(frame, root, position, notes)
    _add_points(frame, root, position, notes)
    rows = RowNames(f"{root / 'images.txt'}, line ", lines)
    if _add_sizes(frame, root, position, notes):
        note_sizes(frame, root, rows, notes)
    else:
        frame = without_resized(frame, root, rows, notes)
    return Reading(frame, root, rows, notes=notes), classes


def _classes(root: Path, names: Mapping[str, str], position: Mapping[str, int], notes: Notes) -> list[str | None]:
    path = root / "image_class_labels.txt"
    classes: list[str | None] = [None] * len(position)
    for i, (key,), line in _known(path, 2, position, notes):
        if key not in names:
            raise SettingsError(
                f"{path}, line {line}: there is no class {key!r} in classes.txt; correct the line or the file"
            )
        if classes[i] not in (None, key):
            raise SettingsError(
                f"{path}, line {line}: the photograph has the class {classes[i]!r} as well; leave one of them"
            )
        classes[i] = key
    notes.add("photographs have no label", str(path), classes.count(None))
    return classes


def _class_names(root: Path) -> dict[str, str]:
    path = root / "classes.txt"
    names: dict[str, str] = {}
    for line, (key, name) in _rows(path, 2):
        if key in names:
            raise SettingsError(f"{path}, line {line}: the class {key!r} stands there twice; each id must be unique")
        names[key] = portable(name)
    return names


def _readable(name: str) -> str:
    return re.sub(r"^\d+\.", "", name).replace("_", " ").strip() or name


def _add_split(frame: pd.DataFrame, root: Path, position: Mapping[str, int], notes: Notes) -> None:
    path = root / "train_test_split.txt"
    if not path.is_file():
        return
    splits: list[str | None] = [None] * len(position)
    names = {"1": "train", "0": "test"}
    for i, (flag,), line in _known(path, 2, position, notes):
        if flag not in names:
            notes.add("lines of the split are neither 0 nor 1 and were left out", f"{path}, line {line}")
        else:
            splits[i] = names[flag]
    frame["split"] = pd.Series(splits, dtype=object)


def _add_boxes(frame: pd.DataFrame, root: Path, position: Mapping[str, int], notes: Notes) -> None:
    path = root / "bounding_boxes.txt"
    if not path.is_file():
        return
    boxes = np.full((len(position), 4), np.nan)
    given = np.zeros(len(position), dtype=np.bool_)
    lines = [0] * len(position)
    for i, cells, line in _known(path, 5, position, notes):
        if given[i]:
            notes.add("photographs have a second box, which was left out", f"{path}, line {line}")
            continue
        given[i], lines[i] = True, line
        boxes[i] = [_number(cell) for cell in cells]
    usable = usable_boxes(boxes, given, RowNames(f"{path}, line ", lines), notes)
    frame[BOX_COLUMNS] = np.where(usable[:, None], corners(boxes), np.nan)


def _add_sizes(frame: pd.DataFrame, root: Path, position: Mapping[str, int], notes: Notes) -> bool:
    """sizes.txt says how large the photographs were that were annotated; only NABirds has it."""
    path = root / "sizes.txt"
    if not path.is_file():
        return False
    sizes = np.full((len(position), 2), np.nan)
    for i, cells, line in _known(path, 3, position, notes):
        size = [_number(cell) for cell in cells]
        if all(math.isfinite(side) and side > 0 for side in size):
            sizes[i] = size
        else:
            notes.add("sizes are not two numbers and were left out", f"{path}, line {line}")
    frame[ANNOTATED_COLUMNS] = sizes
    return True


def _add_points(frame: pd.DataFrame, root: Path, position: Mapping[str, int], notes: Notes) -> None:
    """parts/parts.txt names the parts, parts/part_locs.txt says: photograph, part, x, y, visible (0 or 1)."""
    path = root / "parts" / "part_locs.txt"
    if not path.is_file():
        return
    if not (root / "parts" / "parts.txt").is_file():
        raise SettingsError(f"{path} has no parts.txt beside it, which names the parts; copy the dataset again")
    names = {key: name for _, (key, name) in _rows(root / "parts" / "parts.txt", 2)}
    points: list[dict[str, list[float]]] = [{} for _ in position]
    for i, (part, x, y, visible), line in _known(path, 5, position, notes):
        point = [_number(x), _number(y)]
        if part not in names:
            raise SettingsError(f"{path}, line {line}: there is no part {part!r} in parts.txt; correct one of them")
        if not (math.isfinite(point[0]) and math.isfinite(point[1]) and visible in ("0", "1")):
            notes.add("part points are not x, y and 0 or 1 and were left out", f"{path}, line {line}")
        elif visible == "1":
            points[i][names[part]] = point
    frame["part_points"] = pd.Series([json.dumps(point) for point in points], dtype=object)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _ancestors(key: str, parents: Mapping[str, str], path: Path) -> list[str]:
    """The classes above one, its parent first, without the root; empty for one right below the root."""
    line: list[str] = []
    while (above := parents.get(key)) is not None:
        if above in line:
            raise SettingsError(f"{path}: the class {above!r} stands above itself; correct the file")
        line.append(above)
        key = above
    return line[:-1]


def _known(path: Path, n: int, position: Mapping[str, int], notes: Notes) -> Iterator[tuple[int, list[str], int]]:
    """Position of the photograph, the other cells and the number of every line whose photograph is listed."""
    for line, (key, *cells) in _rows(path, n, notes=notes):
        if key in position:
            yield position[key], cells, line
        else:
            notes.add(_UNLISTED, f"{path}, line {line}")


def _rows(path: Path, n: int, *, optional: bool = False, notes: Notes | None = None) -> Iterable[tuple[int, list[str]]]:
    """Line number and the n cells of every line that is not blank; the last cell may hold spaces.

    Lines with fewer cells are noted, or an error where there is nothing to note them in. Of an optional file, bytes
    that are no UTF-8 are replaced.
    """
    if optional and not path.is_file():
        return
    text = read_text(path, errors="replace" if optional else "strict").replace("\r\n", "\n").replace("\r", "\n")
    # Neither splitlines nor split(None): names may hold characters that these take for line ends and blanks.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(_BLANKS)
        if not line:
            continue
        cells = re.split(f"[{_BLANKS}]+", line, maxsplit=n - 1)
        if len(cells) == n:
            yield number, cells
        elif notes is None:
            raise SettingsError(
                f"{path}, line {number}: {len(cells)} of {n} values; the line is cut off, copy it again"
            )
        else:
            notes.add(_SHORT, f"{path}, line {number}")
