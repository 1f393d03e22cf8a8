"""Tables with a delimiter: where a line ends, where a cell ends, and how many cells a line has."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fidokit.exceptions import SettingsError

#: What tables without a stated delimiter are separated by.
_DELIMITERS = (",", ";", "\t")
#: Excel's own first line, which says what the others are separated by.
_EXCEL = re.compile(r'"?sep=(.)"?[;,\t ]*(?:\r\n|\n|\r|$)', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How the cells of a table are written.

    Attributes:
        delimiter: one character; None takes it from the table: its first line ``sep=;``, or else the one of
            `_DELIMITERS` that the header has most of.
        quote: what cells are put in; None where quotes mean nothing.
        double_quote: whether a quote within a quoted cell is written twice.
        escape: what makes the next character an ordinary one.
        comment: what lines begin with that are no records.
        skip_space: whether blanks after a delimiter are left out.
        names: of the columns of a table without a header.
    """

    delimiter: str | None = None
    quote: str | None = '"'
    double_quote: bool = True
    escape: str | None = None
    comment: str | None = None
    skip_space: bool = False
    names: tuple[str, ...] | None = None


class Records:
    """The header of a table, and then its records one by one; lines without a cell that holds anything are none.

    What ends a line is left to `csv`: a line feed, a carriage return or both, outside of quotes. Other separators,
    which `str.splitlines` knows too, are characters like any other.

    Args:
        text: of the table.
        dialect: how it is written.
        error: an error for what is wrong in a line; called with the number of the line, that of the record in it (0
            for the header), and what it is.

    Attributes:
        header: names of the columns, blanks around them stripped; empty where there is nothing in the table.
        header_line: where it stands.
        delimiter: of the table.
    """

    def __init__(self, text: str, dialect: Dialect, error: Callable[[int, int, str], SettingsError]) -> None:
        self._error = error
        self._skipped = 0
        if dialect.delimiter is None and (excel := _EXCEL.match(text)):
            self.delimiter, text, self._skipped = excel[1], text[excel.end() :], 1
        elif dialect.delimiter is None:
            self.delimiter = max(_DELIMITERS, key=lambda mark: len(_first(text, dialect, mark)))
        else:
            self.delimiter = dialect.delimiter
        self._lines = _Lines(text, dialect.comment)
        self._reader = _reader(self._lines, dialect, self.delimiter)
        self.header: list[str] = [] if dialect.names is None else [*dialect.names]
        self.header_line = 0
        if dialect.names is None:
            self.header_line, cells = next(self._filled(0), (0, []))
            self.header = [cell.strip() for cell in cells]

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """The last line and the cells of each record, as many as the header has."""
        n = len(self.header)
        for number, (line, cells) in enumerate(self._filled(1), start=1):
            if len(cells) != n:
                remedy = (
                    f"put cells that contain {self.delimiter!r} in quotes"
                    if len(cells) > n
                    else "the line is cut off, or a cell with a line end has no quotes"
                )
                raise self._error(line, number, f"{len(cells)} cells under {n} columns; {remedy}")
            yield line, cells

    def _filled(self, first: int) -> Iterator[tuple[int, list[str]]]:
        number = first
        while True:
            self._lines.at_start = True
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                line = self._skipped + self._lines.number
                raise self._error(line, number, f"{error}; save the table as plain CSV") from error
            if any(cell.strip() for cell in cells):
                number += 1
                yield self._skipped + self._lines.number, cells


class _Lines:
    """The lines of a text, without the comments between its records."""

    def __init__(self, text: str, comment: str | None) -> None:
        # newline="": a line end in a quoted cell stays as it is.
        self._lines = iter(io.StringIO(text, newline=""))
        self._comment = comment
        self.number = 0
        self.at_start = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.number += 1
            if self._comment is None or not self.at_start or not line.startswith(self._comment):
                self.at_start = False
                return line
        raise StopIteration


def _reader(lines: Iterator[str], dialect: Dialect, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(
        lines,
        delimiter=delimiter,
        quotechar=dialect.quote,
        doublequote=dialect.double_quote,
        escapechar=dialect.escape,
        skipinitialspace=dialect.skip_space,
        quoting=csv.QUOTE_NONE if dialect.quote is None else csv.QUOTE_MINIMAL,
        # A quote that is never closed would swallow the rest of the table without a word.
        strict=True,
    )


def _first(text: str, dialect: Dialect, delimiter: str) -> Sequence[str]:
    """The cells of the first line that has any, under a delimiter."""
    lines = _Lines(text, dialect.comment)
    reader = _reader(lines, dialect, delimiter)
    while True:
        lines.at_start = True
        try:
            cells = next(reader, None)
        except csv.Error:
            return []
        if cells is None or any(cell.strip() for cell in cells):
            return cells or []
