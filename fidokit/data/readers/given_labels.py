"""Labels that a user has beside a detector's file, for its photographs or for single animals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from fidokit.data.readers.cells import portable, text_of
from fidokit.data.readers.columns import with_known_columns
from fidokit.data.readers.csv_table import read_rows
from fidokit.data.readers.reading import Notes
from fidokit.exceptions import SettingsError

#: None; image_id, or path of a photograph -> label, as a mapping or a Series; a table with such columns, or its CSV; or
#: the name of a column of the table that is read.
Labels: TypeAlias = "Mapping[str, str | None] | pd.Series[Any] | pd.DataFrame | str | Path | None"

_KEYS = ("path", "file", "filepath", "filename", "image")


def give_labels(
    labels: Labels,
    frame: pd.DataFrame,
    files: Sequence[str],
    verified: Sequence[str | None],
    root: Path,
    path: Path,
    notes: Notes,
) -> pd.Series[Any]:
    """The label of each row.

    Args:
        labels: as the user gave them; None: those that people gave in the file itself.
        frame: the rows, with image_id, path (relative to `root`) and file (as the detector wrote it).
        files: paths of all photographs in the file, with or without rows.
        verified: what people said in the file itself, a row each.
        root: folder of the photographs.
        path: of the file.
        notes: for labels that could not be used.

    Raises:
        SettingsError: no such column or file, a table without labels or photographs, or none of it fits a row.
    """
    if labels is None:
        n = sum(label is not None for label in verified)
        if n:
            notes.say(f"{n} labels are those that people gave in the file")
        return pd.Series(list(verified), dtype=object)
    if isinstance(labels, str) and labels in frame.columns:
        return pd.Series([_label(value) for value in frame[labels]], dtype=object)
    pairs = list(_pairs(labels, frame, notes))
    return _joined(pairs, frame, files, root, path, notes)


def _pairs(labels: Labels, frame: pd.DataFrame, notes: Notes) -> Iterable[tuple[str, str | None]]:
    """(image_id or path of a photograph, label)."""
    if isinstance(labels, str | Path):
        file = Path(labels)
        if not file.is_file():
            columns = ", ".join(str(name) for name in frame.columns if name not in ("image_id", "path"))
            raise SettingsError(
                f"labels: {str(labels)!r} is neither a file nor a column of the detections; there are {columns}"
            )
        return _of_table(with_known_columns(read_rows(file)[0], str(file), notes), str(file))
    if isinstance(labels, pd.DataFrame):
        return _of_table(with_known_columns(labels, "labels", notes), "labels")
    if isinstance(labels, pd.Series):
        return _of_mapping(zip(labels.index, labels, strict=True))
    if isinstance(labels, Mapping):
        return _of_mapping(labels.items())
    raise SettingsError(
        f"labels must be a mapping of photograph: label, a table or CSV with the columns path and label, or the name "
        f"of a column, not {type(labels).__name__}"
    )


def _of_mapping(items: Iterable[tuple[Any, Any]]) -> Iterable[tuple[str, str | None]]:
    return [(str(key), _label(value)) for key, value in items]


def _of_table(table: pd.DataFrame, where: str) -> Iterable[tuple[str, str | None]]:
    columns = {str(name).lower(): name for name in table.columns}
    if "label" not in columns:
        raise SettingsError(
            f"{where}: no column label among {', '.join(map(str, table.columns))}; name the column of labels label"
        )
    cells = [_label(value) for value in table[columns["label"]]]
    if "image_id" in columns:
        return [(str(text_of(key)), label) for key, label in zip(table[columns["image_id"]], cells, strict=True)]
    key = next((columns[name] for name in _KEYS if name in columns), None)
    if key is None:
        raise SettingsError(
            f"{where}: no column path or image_id among {', '.join(map(str, table.columns))}; name the column of "
            "photographs path"
        )
    keys = [str(text_of(value)) for value in table[key]]
    if "detection" in columns:
        numbers = [text_of(value) for value in table[columns["detection"]]]
        keys = [one if number is None else f"{one}#{number}" for one, number in zip(keys, numbers, strict=True)]
    return list(zip(keys, cells, strict=True))


def _label(value: Any) -> str | None:
    text = text_of(value)
    return None if text is None else portable(text.strip())


def _key(text: str) -> str:
    return portable(text).strip().replace("\\", "/").removeprefix("./")


def _joined(
    pairs: Sequence[tuple[str, str | None]],
    frame: pd.DataFrame,
    files: Sequence[str],
    root: Path,
    path: Path,
    notes: Notes,
) -> pd.Series[Any]:
    rows = {str(image_id): i for i, image_id in enumerate(frame["image_id"])}
    of_photograph: dict[str, list[int]] = {}
    for i, place in enumerate(frame["path"]):
        of_photograph.setdefault(place, []).append(i)
    photographs = {_key(name): place for place, name in zip(frame["path"], frame["file"], strict=True)}
    photographs |= {_key(str(root / place)): place for place in files} | {place: place for place in files}
    of_row: dict[int, set[str]] = {}
    of_all: dict[str, set[str]] = {}
    used = 0
    for given, label in pairs:
        key = _key(given)
        row, place = rows.get(key), photographs.get(key)
        if place is None and row is None and "#" in key:
            place = photographs.get(key.rpartition("#")[0])
            if place is not None:
                what = "labels belong to detections that have no row, and were left out"
                notes.add(what, f"{path}, {given}")
                used += 1
                continue
        if row is None and place is None:
            notes.add("labels belong to no photograph of the file and were left out", f"labels, {given}")
            continue
        used += 1
        if label is None:
            continue
        if place is not None:
            of_all.setdefault(place, set()).add(label)
            if place not in of_photograph:
                what = "labelled photographs have no detection to explain (empty=True keeps them)"
                notes.add(what, f"{path}, {given}")
        elif row is not None:
            of_row.setdefault(row, set()).add(label)
    if pairs and not used:
        raise SettingsError(
            f"labels: none of {len(pairs)} belongs to a photograph of {path}, such as {frame['path'].iloc[0]!r}; they "
            f"name {pairs[0][0]!r}"
        )
    result: list[str | None] = [None] * len(frame)
    for place, found in of_all.items():
        own = of_photograph.get(place, [])
        if len(found) > 1:
            notes.add("photographs have several labels, and so none", f"{path}, {place}")
        elif found:
            for i in own:
                result[i] = next(iter(found))
            if sum(i not in of_row for i in own) > 1:
                notes.add("photographs with several animals have one label, which each of them has", f"{path}, {place}")
    for i, found in of_row.items():
        if len(found) > 1:
            notes.add("detections have several labels, and so none", f"{path}, {frame['image_id'].iloc[i]}")
        result[i] = next(iter(found)) if len(found) == 1 else None
    return pd.Series(result, dtype=object)
