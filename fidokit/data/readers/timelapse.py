"""The table that Timelapse exports.

Source: https://timelapse.ucalgary.ca (Timelapse 2: File, RelativePath, DateTime, DeleteFlag, and the fields of the
user's own template; several records of one file are its duplicates, one a species).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.readers.cells import numbers_if_all_are
from fidokit.data.readers.choice import EMPTY_NAMES, choose_labels
from fidokit.data.readers.columns import labels_in
from fidokit.data.readers.csv_table import read_rows
from fidokit.data.readers.folder import SUFFIXES
from fidokit.data.readers.left_out import ending_of, told
from fidokit.data.readers.located import locate, look_for
from fidokit.data.readers.reading import Notes, Reading, RowNames
from fidokit.data.readers.table import OWN_COLUMNS
from fidokit.exceptions import SettingsError

_FILE, _FOLDER, _DELETE = "File", "RelativePath", "DeleteFlag"
_TRUE = frozenset(["true", "1", "yes"])
_FALSE = frozenset(["false", "0", "no"])


def is_timelapse(header: Sequence[str]) -> bool:
    """Whether a table with these columns is one of Timelapse."""
    return {_FILE, _FOLDER, _DELETE} <= set(header)


def read_timelapse(path: Path, images: Path | None = None, label: str | Sequence[str] | None = None) -> Reading:
    """See `LabelledImages.from_timelapse`."""
    cells, rows, where = read_rows(path)
    notes = Notes()
    for column in (_FILE, _FOLDER):
        if column not in cells.columns:
            raise SettingsError(
                f"{where}: no column {column} among {', '.join(map(str, cells.columns))}; export the table from "
                "Timelapse, or read another one with LabelledImages.from_csv"
            )
    columns = _label_columns(cells, label, where, notes)
    n = len(set(zip(cells[_FOLDER], cells[_FILE], strict=True)))
    kept = np.flatnonzero(_usable(cells, rows, notes))
    if not len(kept):
        raise SettingsError(f"{path}: none of its {len(cells)} records is of a photograph that can be used: {notes}")
    cells = cells.iloc[kept].reset_index(drop=True)
    rows = RowNames(rows.prefix, [rows.numbers[k] for k in kept.tolist()])
    texts = [
        file if folder is None else f"{folder.rstrip('/' + chr(92))}/{file}"
        for folder, file in zip(cells[_FOLDER], cells[_FILE], strict=True)
    ]
    files, root = locate(texts, path, images, notes)
    places, first = _photographs(files, rows, notes)
    labels, of_record = _labels(cells, columns, rows, notes)
    frame = cells.iloc[first].reset_index(drop=True)
    frame = frame.drop(columns=[name for name in (*OWN_COLUMNS, _DELETE) if name in frame.columns])
    names = RowNames(rows.prefix, [rows.numbers[k] for k in first])
    found = [files[k] for k in first]
    own: dict[str, Any] = {"image_id": pd.Series(found, dtype=object), "path": pd.Series(found, dtype=object)}
    empty = [name for name in set(labels) if name.lower() in EMPTY_NAMES]
    own["label"] = choose_labels(len(first), places[of_record], labels, empty, names, notes)
    times = _times(frame)
    if times is not None and "datetime" not in frame.columns:
        own["datetime"] = times
    for name in frame.columns:
        own[str(name)] = numbers_if_all_are(frame[name]) if name not in (_FILE, _FOLDER) else frame[name]
    look_for(found, root, names, notes)
    return Reading(pd.DataFrame(own), root, names, n - len(first), notes)


def _usable(cells: pd.DataFrame, rows: RowNames, notes: Notes) -> npt.NDArray[np.bool_]:
    """(N,) bool: the records of photographs that are not to be deleted."""
    files = cells[_FILE]
    nameless = files.isna().to_numpy()
    others = np.array([file is not None and Path(file).suffix.lower() not in SUFFIXES for file in files], np.bool_)
    deleted = np.zeros(len(cells), dtype=np.bool_)
    if _DELETE in cells.columns:
        deleted = np.array([str(flag).lower() in _TRUE for flag in cells[_DELETE]], np.bool_)
    endings = told(Counter(ending_of(file) for file in files[others]))
    for what, bad in (
        ("records have no File and were left out", nameless),
        (f"records are of no photographs, such as videos, and were left out ({endings})", others),
        ("records have the DeleteFlag and were left out", deleted & ~others),
    ):
        if bad.any():
            notes.add(what, rows[int(np.flatnonzero(bad)[0])], int(bad.sum()))
    return ~(nameless | others | deleted)


def _photographs(files: Sequence[str], rows: RowNames, notes: Notes) -> tuple[npt.NDArray[np.int64], list[int]]:
    """The photograph of each record, and the first record of each photograph."""
    first: dict[str, int] = {}
    for k, file in enumerate(files):
        first.setdefault(file, k)
    number = {file: i for i, file in enumerate(first)}
    again = [k for k, file in enumerate(files) if first[file] != k]
    if again:
        what = "records are further ones of their photograph, and count for its label alone"
        notes.add(what, rows[again[0]], len(again))
    return np.array([number[file] for file in files], np.int64), list(first.values())


def _label_columns(cells: pd.DataFrame, label: str | Sequence[str] | None, where: str, notes: Notes) -> list[str]:
    if label is None:
        return labels_in(cells, where, notes)
    names = [label] if isinstance(label, str) else list(label)
    missing = [name for name in names if name not in cells.columns]
    if missing or not names:
        there = ", ".join(map(str, cells.columns))
        raise SettingsError(f"{where}: no column {missing[0] if missing else ''!r} for the label among {there}")
    return names


def _labels(
    cells: pd.DataFrame, columns: Sequence[str], rows: RowNames, notes: Notes
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Labels, and the records that they belong to.

    Columns of true and false are flags, and their names are the labels; other columns hold labels.
    """
    table = cells[list(columns)]
    values = [str(cell).lower() for cell in table.to_numpy(dtype=object).ravel() if cell is not None]
    flags = bool(values) and set(values) <= _TRUE | _FALSE
    labels: list[str] = []
    records: list[int] = []
    for name in columns:
        for k, cell in enumerate(table[name]):
            if cell is not None and (not flags or cell.lower() in _TRUE):
                labels.append(name if flags else cell)
                records.append(k)
    without = len(cells) - len(set(records))
    if columns and without:
        missing = sorted(set(range(len(cells))) - set(records))
        notes.add("records have no label", rows[missing[0]], without)
    return labels, np.array(records, np.int64)


def _times(frame: pd.DataFrame) -> pd.Series[Any] | None:
    """DateTime, or the Date and Time of older versions."""
    if "DateTime" in frame.columns:
        return frame["DateTime"]
    if {"Date", "Time"} <= set(frame.columns):
        pairs = zip(frame["Date"], frame["Time"], strict=True)
        texts = [None if day is None else day if time is None else f"{day} {time}" for day, time in pairs]
        return pd.Series(texts, dtype=object)
    return None
