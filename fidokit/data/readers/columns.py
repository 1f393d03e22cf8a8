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

#: Columns that are read as boxes, see `table`.
_BOXES = (("box_x0", "box_y0", "box_x1", "box_y1"), ("x0", "y0", "x1", "y1"), ("box",))
#: Columns, reduced by `_plain`, in which other programs write boxes.
_OTHER_BOXES = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("bbox",),
    ("boundingbox",),
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
            notes.say(f"the column {str(alike[0])!r} is taken for path", where)
        elif "file" in names and "relativepath" in names:
            folder, file = names["relativepath"], names["file"]
            paths = [_joined(*cells) for cells in zip(frame[folder], frame[file], strict=True)]
            frame = frame.assign(**{str(file): pd.Series(paths, dtype=object, index=frame.index)})
            frame = frame.rename(columns={file: "path"})
            notes.say(f"the columns {str(folder)!r} and {str(file)!r} together are taken for path", where)
    if "label" not in frame.columns:
        alike = labels_in(frame, where, notes)
        if alike:
            frame = frame.rename(columns={alike[0]: "label"})
    _note_boxes(frame, where, notes)
    return frame


def labels_in(frame: pd.DataFrame, where: str, notes: Notes) -> list[Any]:
    """The column that can only be that of the labels, in a list; empty, with a note, where several could be."""
    usual = [column for column in frame.columns if _plain(column) in _LABELS]
    alike = [column for column in usual if _plain(column) == "label"] or usual
    if len(alike) == 1:
        if alike[0] != "label":
            notes.say(f"the column {str(alike[0])!r} is taken for label", where)
        return alike
    if alike:
        notes.say(
            "no column label, so no photograph has one; rename one of "
            f"{', '.join(repr(str(column)) for column in alike)} to label",
            where,
        )
    return []


def _note_boxes(frame: pd.DataFrame, where: str, notes: Notes) -> None:
    """Note boxes in columns of other names: what their numbers mean differs, so they are not guessed."""
    if any(set(names) <= set(frame.columns) for names in _BOXES):
        return
    names = {_plain(column): str(column) for column in frame.columns}
    found = next((group for group in _OTHER_BOXES if all(name in names for name in group)), None)
    if found is not None:
        several = len(found) > 1
        notes.say(
            f"the column{'s' if several else ''} {', '.join(names[name] for name in found)} "
            f"{'are' if several else 'is'} not read as boxes; give them as {', '.join(_BOXES[0])}, the left, upper, "
            "right and lower edge in pixels",
            where,
        )


def _plain(column: Any) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", str(column)).casefold())


def _joined(folder: Any, file: Any) -> str | None:
    name, above = text_of(file), text_of(folder)
    if name is None:
        return None
    return name if above is None else f"{above.strip()}/{name}".replace("\\", "/")
