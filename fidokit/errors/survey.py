"""Which columns of a user's table tell the camera, the burst and the time."""

from __future__ import annotations

import pandas as pd

from fidokit._util.wording import given
from fidokit.data.readers.table import OWN_COLUMNS, SECRET_PREFIX
from fidokit.exceptions import SettingsError

#: What a column is asked for -> the names that the readers give it, the best first.
_USUAL = {
    "site": ("location", "site", "deployment"),
    "sequence": ("sequence",),
    "time": ("datetime",),
}


def site_column(table: pd.DataFrame, by: str | None = None) -> str:
    """The column that names the camera of each photograph.

    Args:
        table: of the dataset (`LabelledImages.table`) or of a study (`Study.images`), one row a photograph.
        by: its name; default the first of location, site and deployment, which the readers give, that is not empty.

    Raises:
        SettingsError: there is none; the message lists the columns that would do.
    """
    found = _column(table, "site", by)
    if found is None:
        raise SettingsError(f"no column says at which camera a photograph was taken; {_remedy(table)}")
    return found


def sequence_column(table: pd.DataFrame, by: str | None = None) -> str | None:
    """The column that names the burst of each photograph, default sequence; None where there is no such column.

    Raises:
        SettingsError: there is no column `by`; the message lists those that would do.
    """
    return _column(table, "sequence", by)


def time_column(table: pd.DataFrame, by: str | None = None) -> str | None:
    """The column with the date and time of each photograph, default datetime; None where there is no such column.

    Raises:
        SettingsError: there is no column `by`; the message lists those that would do.
    """
    return _column(table, "time", by)


def _column(table: pd.DataFrame, what: str, by: str | None) -> str | None:
    if by is not None:
        if by not in table.columns or str(by).startswith(SECRET_PREFIX):
            raise SettingsError(f"no column {by!r} that could name the {what}; {_remedy(table)}")
        return by
    return next((name for name in _USUAL[what] if name in table.columns and table[name].notna().any()), None)


def _remedy(table: pd.DataFrame) -> str:
    """The user's columns in which at least two photographs have the same value, and not all."""
    own = [str(c) for c in table.columns if c not in OWN_COLUMNS and not str(c).startswith(SECRET_PREFIX)]
    repeated = [name for name in own if 1 < table[name].astype(str).nunique() < table[name].notna().sum()]
    if not repeated:
        return "add one to the dataset's table: no column there has the same value for some of the photographs"
    return f"name one with {given(by=...)}: {', '.join(repeated)}"
