"""Boxes and part points in a scale of their own: relative ones, and those of pictures in another size than the files.

Only some headers are read here, to say early what is so: every photograph's own comes when it is opened, see `placing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.photographs import Header, read_header
from fidokit.data.placing import RELATIVE, Placing, reaches_beyond
from fidokit.data.readers.cells import file_of, portable
from fidokit.data.readers.reading import Notes
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import ImageError, SettingsError

#: Photographs whose headers are looked at; on a slow network drive, about a second.
_SAMPLE = 64
#: What relative boxes may reach, a little beyond the edge; a box in pixels that ends there is a speck in the corner.
_MOST = 1.05
#: Share of photographs whose boxes reach beyond them, above which no box of the dataset is trusted.
_RESIZED = 0.1


def complete_annotated(table: pd.DataFrame, names: Sequence[str], notes: Notes) -> pd.DataFrame:
    """The table with `ANNOTATED_COLUMNS` where boxes or part points are not in pixels of the photographs.

    Boxes that all lie within 0 to 1 are relative; a few such boxes among boxes in pixels are left out.

    Raises:
        SettingsError: a size that is none, or boxes and part points of which only the ones are relative.
    """
    sizes = _given_sizes(table, names)
    boxes = table[BOX_COLUMNS].to_numpy(np.float64) if BOX_COLUMNS[0] in table.columns else np.empty((len(table), 0))
    judged = np.isfinite(boxes).all(axis=1) if boxes.size else np.zeros(len(table), dtype=np.bool_)
    judged &= ~(sizes == 1).all(axis=1)
    small = np.zeros(len(table), dtype=np.bool_)
    small[judged] = (np.abs(boxes[judged]) <= _MOST).all(axis=1)
    relative_points = _points_are_relative(table, sizes)
    if small.any() and bool(small[judged].all()):
        if relative_points is False:
            raise SettingsError(
                f"{names[int(np.flatnonzero(small)[0])]}: the boxes are relative, from 0 to 1, and the part points are "
                "not; give both in pixels"
            )
        sizes[small] = RELATIVE
        what = "boxes lie within 0 to 1 and are taken as relative to the width and height of their photographs"
        notes.add(what, names[int(np.flatnonzero(small)[0])], int(small.sum()))
    elif small.any():
        table.loc[small, BOX_COLUMNS] = np.nan
        what = "boxes lie within 0 to 1 among boxes in pixels, so that their scale is not clear, and were left out"
        notes.add(what, names[int(np.flatnonzero(small)[0])], int(small.sum()))
    if relative_points:
        if (judged & ~small).any():
            raise SettingsError(
                f"{names[int(np.flatnonzero(judged & ~small)[0])]}: the part points are relative, from 0 to 1, and the "
                "boxes are not; give both in pixels"
            )
        pointed = table["part_points"].notna().to_numpy()
        sizes[pointed] = RELATIVE
        what = "photographs have part points within 0 to 1, which are taken as relative to their width and height"
        notes.add(what, names[int(np.flatnonzero(pointed)[0])], int(pointed.sum()))
    if ANNOTATED_COLUMNS[0] in table.columns or np.isfinite(sizes).any():
        for position, column in enumerate(ANNOTATED_COLUMNS):
            table[column] = sizes[:, position]
    return table


def _given_sizes(table: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.float64]:
    if ANNOTATED_COLUMNS[0] not in table.columns:
        return np.full((len(table), 2), np.nan)
    given = table[ANNOTATED_COLUMNS]
    sizes = np.column_stack([pd.to_numeric(given[column], errors="coerce") for column in ANNOTATED_COLUMNS])
    sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    fine = (np.isfinite(sizes) & (sizes > 0)).all(axis=1)
    odd = np.flatnonzero(~fine & given.notna().any(axis=1).to_numpy())
    if len(odd):
        cells = " x ".join(str(cell) for cell in given.iloc[int(odd[0])])
        raise SettingsError(
            f"{names[int(odd[0])]}: {' and '.join(ANNOTATED_COLUMNS)} are {cells}; they must be the width and height, "
            "in pixels, of the picture that was annotated, or both be empty"
        )
    sizes[~fine] = np.nan
    return sizes


def _points_are_relative(table: pd.DataFrame, sizes: npt.NDArray[np.float64]) -> bool | None:
    """Whether all part points without a given size lie within 0 to 1, and not in corners alone; None without any."""
    if "part_points" not in table.columns:
        return None
    texts = table["part_points"][np.isnan(sizes).any(axis=1) & table["part_points"].notna().to_numpy()]
    fractions = False
    none = True
    for text in texts.unique():
        for point in json.loads(text).values():
            none = False
            if not all(abs(number) <= _MOST for number in point):
                return False
            fractions |= any(number % 1 for number in point)
    return None if none else fractions


def note_sizes(frame: pd.DataFrame, root: Path, rows: Sequence[str], notes: Notes) -> None:
    """Note, from some photographs, what becomes of annotations whose pictures have another size than the files."""
    scaled: list[int] = []
    turned: list[int] = []
    refused: list[int] = []
    unknown: list[int] = []
    sizes = frame[ANNOTATED_COLUMNS].to_numpy(np.float64)
    known = np.isfinite(sizes).all(axis=1) & _annotated(frame)
    n = 0
    for i, header in _headers(frame, root, known):
        n += 1
        annotated = (float(sizes[i, 0]), float(sizes[i, 1]))
        if header is None:
            if annotated == RELATIVE:
                unknown.append(i)
            continue
        try:
            placing = Placing.find(annotated, header)
        except ImageError:
            refused.append(i)
            continue
        if placing.is_scaled:
            (turned if placing.turned else scaled).append(i)
    for what, places in (
        ("have another size than the dataset says, and their boxes are scaled to it", scaled),
        ("were annotated without their EXIF orientation, and their boxes are turned upright", turned),
        ("have another shape than the dataset says, and their boxes are not used", refused),
        ("have relative boxes that cannot be used, since the size of their photographs cannot be read", unknown),
    ):
        if places:
            notes.add(f"of the {n} photographs looked at {what}", rows[places[0]], len(places))


def without_resized(frame: pd.DataFrame, root: Path, rows: Sequence[str], notes: Notes) -> pd.DataFrame:
    """The frame of a dataset that does not say how large its photographs were, without boxes and part points where the
    photographs turn out to be smaller than these reach."""
    beyond: list[int] = []
    n = 0
    for i, header in _headers(frame, root, _annotated(frame)):
        if header is not None:
            n += 1
            if any(reaches_beyond(box, header.size) for box in _extents(frame, i)):
                beyond.append(i)
    if not beyond or len(beyond) <= _RESIZED * n:
        return frame
    notes.add(
        f"of {n} photographs looked at are smaller than their boxes and part points reach: the photographs were "
        "resized and the annotations were not, so all boxes and part points were left out",
        rows[beyond[0]],
        len(beyond),
    )
    return frame.drop(columns=[column for column in (*BOX_COLUMNS, "part_points") if column in frame.columns])


def _extents(frame: pd.DataFrame, i: int) -> Iterator[tuple[float, float, float, float]]:
    if BOX_COLUMNS[0] in frame.columns:
        x0, y0, x1, y1 = (float(frame[column].iloc[i]) for column in BOX_COLUMNS)
        if np.isfinite([x0, y0, x1, y1]).all():
            yield x0, y0, x1, y1
    if "part_points" in frame.columns:
        for x, y in json.loads(frame["part_points"].iloc[i] or "{}").values():
            yield x, y, x, y


def _annotated(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """(N,) bool: which photographs have a box or part points."""
    result = np.zeros(len(frame), dtype=np.bool_)
    if BOX_COLUMNS[0] in frame.columns:
        result |= frame[BOX_COLUMNS[0]].notna().to_numpy()
    if "part_points" in frame.columns:
        result |= ~frame["part_points"].isin([None, "{}"]).to_numpy()
    return result


def _headers(frame: pd.DataFrame, root: Path, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Header | None]]:
    """Positions and headers of some of the wanted photographs, spread over the table; None where one cannot be read."""
    places = np.flatnonzero(wanted)
    spread = np.unique(np.linspace(0, len(places) - 1, min(len(places), _SAMPLE)).round().astype(np.int64))
    for i in places[spread].tolist():
        try:
            yield i, read_header(file_of(portable(str(root / frame["path"].iloc[i]))))
        except ImageError:
            yield i, None
