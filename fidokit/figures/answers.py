"""Answers as what is shown of them: photographs with what to look at outlined, and cells of their table in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from fidokit._util.numbers import number
from fidokit._util.shares import p_words
from fidokit.errors.answer import CORNERS, Answer

#: Two colours, so that one of them is seen on any ground.
_OUTLINE, _AROUND = (255, 214, 10), (20, 20, 20)
#: Columns that say no more than others beside them.
_HIDDEN = ("path",)


@dataclass(frozen=True)
class Cell:
    """A cell of an answer's table.

    Attributes:
        text: what is read.
        remark: its interval, or nothing.
        value: what it is sorted by: a figure, a text, or None where there is none.
    """

    text: str
    remark: str
    value: float | str | None


@dataclass(frozen=True)
class Head:
    """The head of a column: its name in the table, its title, what it holds, and whether that is text."""

    name: str
    title: str
    remark: str
    textual: bool


def with_box(photograph: Image.Image, example: Mapping[Any, Any], longest: int) -> Image.Image:
    """A small copy of a photograph with the box of an example outlined.

    Args:
        photograph: in any size.
        example: a row of `Answer.examples`.
        longest: pixels of the copy's longer side.
    """
    small = photograph.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    corners = np.asarray([example[name] for name in CORNERS], np.float64)
    if np.isfinite(corners).all():
        edges = np.clip(corners, 0, 1) * np.asarray([small.width - 1, small.height - 1] * 2)
        x0, y0, x1, y1 = (round(edge) for edge in edges.tolist())
        width = max(1, round(max(small.size) / 180))
        draw = ImageDraw.Draw(small)
        # Around the box, so that what is in it is not drawn over.
        for grown, colour in ((2 * width, _AROUND), (width, _OUTLINE)):
            draw.rectangle((x0 - grown, y0 - grown, x1 + grown, y1 + grown), outline=colour, width=grown)
    return small


def heads_of(answer: Answer) -> list[Head]:
    """The columns that are shown; the ends of an interval stand beside their figure."""
    table = answer.table
    ends = {f"{name}_{end}" for name in table for end in ("low", "high") if f"{name}_low" in table}
    return [
        Head(
            str(name),
            str(name).replace("_", " ").capitalize(),
            answer.columns.get(str(name), ""),
            _textual(table[name]),
        )
        for name in table
        if name not in ends and name not in _HIDDEN
    ]


def cells_of(answer: Answer, most: int) -> list[list[Cell]]:
    """The first rows of an answer's table, a cell for each of its heads."""
    heads = heads_of(answer)
    return [[_cell(record, head.name) for head in heads] for record in answer.table.head(most).to_dict("records")]


def _textual(column: pd.Series[Any]) -> bool:
    return not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype)


def _cell(record: dict[Any, Any], name: str) -> Cell:
    value = record[name]
    if isinstance(value, list | tuple):
        text = "; ".join(map(str, value))
        return Cell(text, "", text)
    if pd.isna(value):
        return Cell("–", "", None)
    if isinstance(value, bool | np.bool_):
        text = "yes" if value else "no"
        return Cell(text, "", text)
    if isinstance(value, int | np.integer):
        return Cell(f"{value:,}", _interval(record, name), float(value))
    if isinstance(value, float | np.floating):
        tested = name.rpartition("_")[0] in ("p", "q") or name.endswith(("_p", "_q"))
        return Cell(p_words(float(value)) if tested else number(float(value)), _interval(record, name), float(value))
    return Cell(str(value), "", str(value))


def _interval(record: dict[Any, Any], name: str) -> str:
    low, high = (record.get(f"{name}_{end}", np.nan) for end in ("low", "high"))
    return "" if pd.isna(low) or pd.isna(high) else f"{number(float(low))} – {number(float(high))}"
