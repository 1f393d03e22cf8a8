"""A table of photographs as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from fidokit.exceptions import SettingsError
from fidokit.readers.cells import numbers_if_all_are
from fidokit.readers.reading import RowNames, read_text
from fidokit.readers.table import OWN_COLUMNS, check_columns


def read_csv(path: Path) -> tuple[pd.DataFrame, RowNames]:
    """The table and the names of its rows, cells stripped, blank ones None.

    Columns of the user's own whose cells are all numbers become numbers.

    Raises:
        SettingsError: the table cannot be read; the message names file and line.
    """
    text = read_text(path)
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                check_columns(header, f"{path}, line {reader.line_num}")
                continue
            if len(cells) != len(header):
                raise SettingsError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns; put cells that "
                    f"contain {delimiter!r} in quotes"
                )
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise SettingsError(f"{path}, line {reader.line_num}: {error}; save the table as plain CSV") from error
    if not rows:
        raise SettingsError(f"{path} is empty; it needs a header with a column path, and one line a photograph")
    columns = {name: [row[position].strip() or None for row in rows] for position, name in enumerate(header)}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    for name in frame.columns:
        if name not in OWN_COLUMNS:
            frame[name] = numbers_if_all_are(frame[name])
    return frame, RowNames(f"{path}, line ", lines)
