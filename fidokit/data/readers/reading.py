"""What all readers share: their result, what they left out, and files and paths that strangers wrote."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.readers.cells import portable, text_of
from fidokit.exceptions import SettingsError


class RowNames(Sequence[str]):
    """What messages call the rows of a table, such as "birds.csv, line 7"; put together only when one is asked for."""

    def __init__(self, prefix: str, numbers: Sequence[Any]) -> None:
        self.prefix = prefix
        self.numbers = numbers

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> RowNames: ...
    def __getitem__(self, row: int | slice) -> str | RowNames:
        if isinstance(row, slice):
            return RowNames(self.prefix, self.numbers[row])
        return f"{self.prefix}{self.numbers[row]}"

    def __len__(self) -> int:
        return len(self.numbers)


class Notes:
    """What was left out: how often, and where it came up first; and how the dataset was understood."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}
        self._said: dict[str, str] = {}

    def add(self, what: str, where: str, n: int = 1) -> None:
        if n:
            self._counts[what] = self._counts.get(what, 0) + n
            self._first.setdefault(what, where)

    def say(self, text: str, where: str | None = None) -> None:
        """Note what concerns the whole dataset, once; `where` is what comes before it."""
        self._said.setdefault(text, text if where is None else f"{where}: {text}")

    def __str__(self) -> str:
        counted = [f"{n} {what} (first: {self._first[what]})" for what, n in self._counts.items()]
        return "; ".join([*counted, *self._said.values()])


#: Fields of photographs that have a name in common among the readers.
_RENAMED = {"seq_id": "sequence", "sequence_id": "sequence", "date": "datetime", "location_id": "location"}
#: Fields of photographs that are identifiers, even where they are written as numbers.
_IDENTIFIERS = frozenset(["sequence", "location", "site", "deployment"])


@dataclass
class Reading:
    """A dataset as `LabelledImages.from_table` takes it.

    Attributes:
        frame: one row a photograph.
        root: folder to which its paths are relative.
        rows: what messages call its rows.
        skipped: photographs of the dataset that are not in the frame.
        notes: what was left out, for one warning.
        left_out: files of a folder that were passed over, by their ending.
    """

    frame: pd.DataFrame
    root: Path
    rows: Sequence[str]
    skipped: int = 0
    notes: Notes = field(default_factory=Notes)
    left_out: Mapping[str, int] = field(default_factory=dict)


#: Byte order marks and what they stand for; that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, data: bytes | None = None, errors: str = "strict", encoding: str = "utf-8") -> str:
    """The text of a file without its byte order mark, which goes before `encoding`.

    Args:
        path: of the file.
        data: its bytes, if they are known.
        errors: what becomes of bytes that are none of the encoding, as in `bytes.decode`.
        encoding: of a file without a byte order mark; default UTF-8.

    Raises:
        SettingsError: it cannot be read, has another encoding, or there is no such encoding; the message names file and
            line.
    """
    name = encoding.upper()
    try:
        data = path.read_bytes() if data is None else data
        found = next((own for mark, own in _MARKS if data.startswith(mark)), None)
        name = name if found is None else found.removesuffix("-sig").upper()
        text = data.decode(found or encoding, errors)
    except UnicodeError as error:
        line = (data or b"")[: getattr(error, "start", 0)].count(b"\n") + 1
        raise SettingsError(f"{path}, line {line}: not {name}; save the file with the encoding UTF-8") from error
    except LookupError as error:
        raise SettingsError(f"{path}: there is no encoding {encoding!r}; save the file as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SettingsError(f"{path}, line {line}: not {name}, or damaged; save the file with the encoding UTF-8")
    return text


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        SettingsError: it cannot be read, is cut off, or holds no object; the message names file and line.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"{path}, line {error.lineno}, column {error.colno}: no JSON, or cut off ({error.msg}); copy the file again"
        ) from error
    except (RecursionError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as JSON ({error}); copy the file again") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{path} holds a JSON {type(value).__name__}, not an object; pass another file")
    return value


def path_inside(text: str, where: str) -> str:
    """A relative path with "/" between its parts.

    Raises:
        SettingsError: it is absolute or leads upwards, so that it could name any file of this machine.
    """
    if "\\" in text:
        text = text.replace("\\", "/")
    if text.startswith("/") or re.match(r"[A-Za-z]:/", text) or (".." in text and ".." in text.split("/")):
        raise SettingsError(
            f"{where}: the path {text!r} leads out of the dataset; make it relative to the folder of the photographs"
        )
    return text


def column_of(values: Sequence[Any]) -> pd.Series[Any] | None:
    """A column of one type: numbers, booleans, or texts with None for nothing; None if no cell holds anything.

    Lists and objects count as nothing. What is neither all numbers nor all booleans becomes text.
    """
    cells = [None if isinstance(value, (list, dict)) or value != value else value for value in values]
    kinds = {type(value) for value in cells} - {type(None)}
    if not kinds:
        return None
    if kinds <= {int, float} and all(abs(cell) < 2**63 for cell in cells if cell is not None):
        return pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    if kinds == {bool}:
        return pd.Series(cells, dtype=object) if None in cells else pd.Series(cells, dtype=bool)
    return texts_of(cells)


def texts_of(values: Sequence[Any]) -> pd.Series[Any]:
    texts = [text_of(value) for value in values]
    return pd.Series([None if text is None else portable(text.strip()) for text in texts], dtype=object)


def add_fields(frame: pd.DataFrame, records: Sequence[Mapping[str, Any]], used: Collection[str]) -> None:
    """The further fields of the records of photographs, one a row of the frame, as columns.

    Args:
        frame: gets the columns.
        records: of its rows.
        used: names of fields and columns that are used up, or that the files know better.
    """
    names = list(dict.fromkeys(key for record in records for key in record))
    for name in names:
        column = portable(_RENAMED.get(name, name))
        if column in names:
            column = name
        if column in used or column in frame.columns:
            continue
        values = [record.get(name) for record in records]
        cells = texts_of(values) if column in _IDENTIFIERS else column_of(values)
        if cells is not None:
            frame[column] = cells


def distinct_labels(names: Mapping[str, str]) -> dict[str, str]:
    """Class id -> label; classes of the same name are told apart by their ids."""
    counts: dict[str, int] = {}
    for name in names.values():
        counts[name] = counts.get(name, 0) + 1
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def corners(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 4) x, y, width, height -> x0, y0, x1, y1."""
    result: npt.NDArray[np.float64] = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return result


def usable_boxes(
    boxes: npt.NDArray[np.float64], given: npt.NDArray[np.bool_], rows: Sequence[str], notes: Notes
) -> npt.NDArray[np.bool_]:
    """(N,) bool: which of the x, y, width, height (N, 4) are boxes; those that are given and are none are noted."""
    with np.errstate(invalid="ignore", over="ignore"):
        ends = corners(boxes)
        finite = np.isfinite(ends).all(axis=1)
        # Not width and height: far enough out, a pixel more makes no difference to a float.
        has_area = (ends[:, 2] > ends[:, 0]) & (ends[:, 3] > ends[:, 1])
    for what, bad in (
        ("boxes are not four numbers and were left out", given & ~finite),
        ("boxes have no area and were left out", given & finite & ~has_area),
    ):
        places = np.flatnonzero(bad)
        if len(places):
            notes.add(what, rows[int(places[0])], len(places))
    usable: npt.NDArray[np.bool_] = given & finite & has_area
    return usable
