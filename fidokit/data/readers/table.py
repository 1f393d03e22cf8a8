"""The table that every reader ends in: checked, and completed."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fidokit._util.checks import is_number
from fidokit.data.geometry import Box
from fidokit.data.readers.cells import common_folder, join_all, portable, relative_all, text_of
from fidokit.data.readers.columns import with_known_columns
from fidokit.data.readers.reading import Notes, RowNames
from fidokit.exceptions import SettingsError

BOX_COLUMNS = ["box_x0", "box_y0", "box_x1", "box_y1"]
#: Size of the picture to which boxes and part points refer, where that is not the upright photograph in its file.
ANNOTATED_COLUMNS = ["annotated_width", "annotated_height"]

_SHORT_BOX_COLUMNS = ["x0", "y0", "x1", "y1"]
_PART_COLUMNS = ["part_map", "parts", "part_points"]

#: The columns with a meaning of their own; all others are the user's.
OWN_COLUMNS = frozenset(
    [
        *("path", "label", "image_id", "split", "object_mask", "box"),
        *(*_PART_COLUMNS, *BOX_COLUMNS, *_SHORT_BOX_COLUMNS, *ANNOTATED_COLUMNS),
    ]
)
#: Paths of Windows with a drive or a server.
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
#: What `portable` writes for a byte that is none of UTF-8.
_SURROGATE = re.compile(r"\\udc[89a-f][0-9a-f]")
#: What columns that no analysis may read begin with.
SECRET_PREFIX = "planted_"


def check_columns(columns: list[str], where: str) -> None:
    """Raise `SettingsError` if path is missing, a column stands there twice, or a box is incomplete."""
    if "path" not in columns:
        raise SettingsError(
            f"{where}: no column path among {', '.join(columns) or 'none'}; name the files' column path"
        )
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise SettingsError(f"{where}: the column {twice[0]!r} stands there twice; rename one")
    for together, what in ((BOX_COLUMNS, "a box"), (ANNOTATED_COLUMNS, "the size of the annotated picture")):
        missing = [column for column in together if column not in columns]
        if 0 < len(missing) < len(together):
            raise SettingsError(f"{where}: no column {missing[0]}; {what} needs {', '.join(together)}")
    if ("part_map" in columns) != ("parts" in columns):
        raise SettingsError(f"{where}: part_map and parts belong together: parts lists the names of the map's indices")


def complete_table(
    frame: pd.DataFrame,
    root: str | Path | None = None,
    rows: Sequence[str] | None = None,
    notes: Notes | None = None,
) -> tuple[pd.DataFrame, Path]:
    """The checked table of `LabelledImages.from_table`, and the folder to which its image_ids are relative.

    How its columns and boxes were understood, where that could be otherwise, is added to `notes`.

    Raises:
        SettingsError: see `LabelledImages.from_table`.
    """
    names: Sequence[str] = rows if rows is not None else RowNames("row ", range(len(frame)))
    notes = Notes() if notes is None else notes
    table = with_known_columns(frame.reset_index(drop=True).copy(), "the table", notes)
    check_columns([str(column) for column in table.columns], "the table")
    given = [text_of(value) for value in table["path"]]
    if None in given:
        raise SettingsError(f"{names[given.index(None)]}: the path is empty; fill it in or remove the row")
    folder = Path(root) if root is not None else Path()
    paths = join_all(folder, _with_slashes([text for text in given if text is not None], folder, names, notes))
    anchor = folder if root is not None else common_folder(paths)
    derived = [portable(path) for path in relative_all(paths, anchor)]
    table["path"] = pd.Series([portable(path) for path in paths], dtype=object)
    table["label"] = pd.Series(
        [None if (text := text_of(value)) is None else portable(text) for value in table["label"]]
        if "label" in table.columns
        else [None] * len(table),
        dtype=object,
    )
    table["image_id"] = pd.Series(_image_ids(table, derived, names), dtype=object)
    table = _complete_boxes(table, names)
    for column in ("object_mask", "part_map"):
        if column in table.columns:
            texts = [text_of(value) for value in table[column]]
            joined = iter(join_all(folder, [text for text in texts if text is not None]))
            table[column] = pd.Series(
                [None if text is None else portable(next(joined)) for text in texts], dtype=object
            )
    for column, check in (("parts", _checked_names), ("part_points", _checked_points)):
        if column in table.columns:
            table[column] = _complete_json(table[column], names, column, check)
    first = ["image_id", "path", "label"]
    return table[first + [column for column in table.columns if column not in first]], anchor


def _with_slashes(texts: list[str], folder: Path, names: Sequence[str], notes: Notes) -> list[str]:
    """Paths as they are, those that Windows wrote with its backslashes turned, unless there are such files.

    Paths of drives and servers stay: nobody knows where they lie on this machine. They are noted.
    """
    if os.sep != "/":
        return texts
    rows = [
        row for row, text in enumerate(texts) if text[1:2] == ":" or ("\\" in text and "\\" in _SURROGATE.sub("", text))
    ]
    absolute = [row for row in rows if _OF_WINDOWS.match(texts[row])]
    if absolute:
        what = "paths are those of a drive or server under Windows; make them relative, and give their folder as root"
        notes.add(what, names[absolute[0]], len(absolute))
    relative = [row for row in rows if not _OF_WINDOWS.match(texts[row])]
    if not relative or os.path.lexists(folder / texts[relative[0]]):
        return texts
    notes.add("paths have backslashes, which are taken for slashes", names[relative[0]], len(relative))
    turned = set(relative)
    return [text.replace("\\", "/") if row in turned else text for row, text in enumerate(texts)]


def _image_ids(table: pd.DataFrame, derived: list[str], names: Sequence[str]) -> list[str]:
    if "image_id" not in table.columns:
        taken: set[str] = set(derived)
        if len(taken) == len(derived):
            return derived
        seen: set[str] = set()
        ids = []
        for base in derived:
            candidate, copy = base, 1
            while candidate in seen or (copy > 1 and candidate in taken):
                copy += 1
                candidate = f"{base}#{copy}"
            seen.add(candidate)
            ids.append(candidate)
        return ids
    first: dict[str, int] = {}
    for row, value in enumerate(table["image_id"]):
        text = text_of(value)
        if text is None:
            raise SettingsError(f"{names[row]}: the image_id is empty; fill it in, or leave the column out")
        text = portable(text)
        if text in first:
            raise SettingsError(
                f"{names[row]}: the image_id {text!r} stands in {names[first[text]]} as well; each must be unique"
            )
        first[text] = row
    return list(first)


def _complete_boxes(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Boxes in whichever columns they came, checked, in `BOX_COLUMNS`."""
    if BOX_COLUMNS[0] in table.columns:
        source = BOX_COLUMNS
    elif all(column in table.columns for column in _SHORT_BOX_COLUMNS):
        source = _SHORT_BOX_COLUMNS
    elif "box" in table.columns:
        source = ["box"]
    else:
        return table
    values = np.full((len(table), 4), math.nan)
    if len(source) == 4:
        numbers = np.column_stack([pd.to_numeric(table[column], errors="coerce") for column in source])
        values = np.asarray(numbers, dtype=np.float64).reshape(-1, 4)
    fine = np.isfinite(values).all(axis=1) & (values[:, 2] > values[:, 0]) & (values[:, 3] > values[:, 1])
    odd = np.flatnonzero(~fine & table[source].notna().to_numpy().any(axis=1))
    values[~fine] = math.nan
    for row, cells in zip(odd.tolist(), table[source].iloc[odd].to_numpy(dtype=object).tolist(), strict=True):
        box = _parse_box(cells, names[row])
        if box is not None:
            values[row] = box
    table = table.drop(columns=source)
    for position, column in enumerate(BOX_COLUMNS):
        table[column] = values[:, position]
    return table


def _parse_box(cells: list[Any], name: str) -> Box | None:
    texts = [text_of(cell) for cell in cells]
    if all(text is None for text in texts):
        return None
    parts = [text or "" for text in texts] if len(texts) == 4 else re.split(r"[\s,;]+", (texts[0] or "").strip("[]() "))
    shown = " ".join(parts)
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise SettingsError(
            f"{name}: the box {shown!r} is not four numbers x0 y0 x1 y1 (leave it empty if there is none)"
        )
    x0, y0, x1, y1 = values
    if x1 <= x0 or y1 <= y0:
        raise SettingsError(f"{name}: the box {shown!r} has no area; it must be x0 y0 x1 y1 with x1 > x0 and y1 > y0")
    return x0, y0, x1, y1


def _complete_json(
    column: pd.Series[Any], names: Sequence[str], name: str, check: Callable[[Any], str]
) -> pd.Series[Any]:
    """The column as JSON text, None where it is empty; a value that stands in many rows is checked once."""
    known: dict[str, str] = {}
    texts: list[str | None] = []
    for row, value in enumerate(column):
        text = json.dumps(value) if isinstance(value, (list, tuple, dict)) else text_of(value)
        if text is not None and text not in known:
            try:
                known[text] = check(json.loads(text))
            except (ValueError, TypeError, RecursionError) as error:
                raise SettingsError(f"{names[row]}: {name} cannot be used: {error}") from error
        texts.append(None if text is None else known[text])
    return pd.Series(texts, dtype=object)


def _checked_names(value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise ValueError('it must be a JSON list of names, such as ["bill", "tail"]')
    if len(set(value)) < len(value):
        raise ValueError("a name stands there twice")
    if len(value) > 255:
        raise ValueError(f"{len(value)} names; a part map of 8 bits holds 255")
    return json.dumps(value)


def _checked_points(value: Any) -> str:
    fine = isinstance(value, Mapping) and all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in value.values()
    )
    if not fine:
        raise ValueError('it must be a JSON object of name: [x, y] in pixels, such as {"bill": [120, 64.5]}')
    return json.dumps(value)
