"""Which columns of a stranger's table hold the paths and the labels."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pandas as pd

from fidokit.data.readers.cells import text_of
from fidokit.data.readers.reading import Notes

#: Names of columns that hold labels, reduced by `_plain`; a table has one of them, or it is not clear which.
_LABELS = frozenset(
    [
        *("label", "labels", "species", "speciesname", "scientificname", "commonname", "taxon", "taxonname"),
        *("class", "classname", "category", "categoryname"),
    ]
)


def with_known_columns(frame: pd.DataFrame, where: str, notes: Notes) -> pd.DataFrame:
    """The table with the columns path and label, where other columns can only be these.

    A column that is called like them but for its case is taken, and for labels one of the usual names, if it is the
    only one. Timelapse writes the path into RelativePath and File. What was taken is noted.

    Args:
        frame: the table.
        where: what notes call it.
        notes: for what was taken.
    """
    names = {_plain(column): column for column in frame.columns}
    if "path" not in frame.columns:
        alike = [column for column in frame.columns if _plain(column) == "path"]
        if len(alike) == 1:
            frame = frame.rename(columns={alike[0]: "path"})
            notes.say(f"{where}: the column {str(alike[0])!r} is taken for path")
        elif "file" in names and "relativepath" in names:
            folder, file = names["relativepath"], names["file"]
            paths = [_joined(*cells) for cells in zip(frame[folder], frame[file], strict=True)]
            frame = frame.assign(**{str(file): pd.Series(paths, dtype=object, index=frame.index)})
            frame = frame.rename(columns={file: "path"})
            notes.say(f"{where}: the columns {str(folder)!r} and {str(file)!r} together are taken for path")
    if "label" not in frame.columns:
        usual = [column for column in frame.columns if _plain(column) in _LABELS]
        alike = [column for column in usual if _plain(column) == "label"] or usual
        if len(alike) == 1:
            frame = frame.rename(columns={alike[0]: "label"})
            notes.say(f"{where}: the column {str(alike[0])!r} is taken for label")
        elif alike:
            notes.say(
                f"{where}: no column label, so no photograph has one; rename one of "
                f"{', '.join(repr(str(column)) for column in alike)} to label"
            )
    return frame


def _plain(column: Any) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", str(column)).casefold())


def _joined(folder: Any, file: Any) -> str | None:
    name, above = text_of(file), text_of(folder)
    if name is None:
        return None
    return name if above is None else f"{above.strip()}/{name}".replace("\\", "/")
