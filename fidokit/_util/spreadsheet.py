"""Tables as CSV for spreadsheets, which run some texts as formulas."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

#: A cell that begins so is run as a formula by spreadsheets.
_FORMULAE = ("=", "+", "-", "@", "\t", "\r")


def csv_bytes(table: pd.DataFrame, *, as_they_are: Collection[str] = ()) -> bytes:
    """A table as CSV in UTF-8; a text that a spreadsheet would run as a formula gets an apostrophe before it.

    Args:
        table: lists in it become texts.
        as_they_are: columns whose texts get no apostrophe, since other tables are joined by them.
    """
    # Names of files that are not UTF-8 hold surrogates; they are written as escapes.
    return _plain(table, as_they_are).to_csv(index=False).encode("utf-8", "backslashreplace")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a text."""
    return text.startswith(_FORMULAE)


def defused(text: str) -> str:
    """A text with an apostrophe before it where a spreadsheet would run it."""
    return f"'{text}" if is_formula(text) else text


def _plain(table: pd.DataFrame, as_they_are: Collection[str] = ()) -> pd.DataFrame:
    """A table whose texts a spreadsheet shows and never runs; lists become texts."""
    made = table.copy()
    for name in made.columns:
        if not pd.api.types.is_numeric_dtype(made[name].dtype) and not pd.api.types.is_bool_dtype(made[name].dtype):
            cells = [_text(value) if name in as_they_are else _cell(value) for value in made[name]]
            made[name] = pd.Series(cells, index=made.index, dtype=object)
    return made.rename(columns=_cell)


def _cell(value: Any) -> Any:
    value = _text(value)
    return defused(value) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return "; ".join(" ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for v in value)
    return value
