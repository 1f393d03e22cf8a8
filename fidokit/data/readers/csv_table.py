"""A table of photographs as CSV."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from fidokit.data.readers.cells import numbers_if_all_are
from fidokit.data.readers.columns import with_known_columns
from fidokit.data.readers.delimited import Dialect, Records
from fidokit.data.readers.reading import Notes, Reading, RowNames, read_text
from fidokit.data.readers.table import OWN_COLUMNS, check_columns
from fidokit.exceptions import SettingsError


def read_csv(path: Path, root: Path | None = None) -> Reading:
    """See `LabelledImages.from_csv`; cells are stripped, blank ones None.

    Columns of the user's own whose cells are all numbers become numbers.

    Raises:
        SettingsError: the table cannot be read; the message names file and line.
    """
    notes = Notes()
    frame, rows, where = read_rows(path)
    frame = with_known_columns(frame, where, notes)
    check_columns([str(name) for name in frame.columns], where)
    for name in frame.columns:
        if name not in OWN_COLUMNS:
            frame[name] = numbers_if_all_are(frame[name])
    return Reading(frame, path.parent if root is None else root, rows, notes=notes)


def read_rows(path: Path) -> tuple[pd.DataFrame, RowNames, str]:
    """The cells of a table, stripped, blank ones None; what messages call its rows, and what they call its header.

    Raises:
        SettingsError: the table cannot be read, or is empty; the message names file and line.
    """
    table = _records(path)
    where = f"{path}, line {table.header_line}"
    header = table.header
    rows: list[list[str]] = []
    lines: list[int] = []
    for line, cells in table:
        rows.append(cells)
        lines.append(line)
    # Each line ends in a delimiter, as some programs write it.
    if len(header) > 1 and not header[-1] and not any(cells[-1].strip() for cells in rows):
        header = header[:-1]
    if header:
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise SettingsError(f"{where}: the column {twice[0]!r} stands there twice; rename one")
    if not rows:
        raise SettingsError(f"{path} is empty; it needs a header with a column path, and one line a photograph")
    frame = pd.DataFrame(
        {
            name: pd.Series([cells[position].strip() or None for cells in rows], dtype=object)
            for position, name in enumerate(header)
        }
    )
    return frame, RowNames(f"{path}, line ", lines), where


def header_of(path: Path) -> list[str]:
    """The columns of a table.

    Raises:
        SettingsError: it cannot be read.
    """
    return _records(path).header


def _records(path: Path) -> Records:
    return Records(read_text(path), Dialect(), lambda line, _, what: SettingsError(f"{path}, line {line}: {what}"))
