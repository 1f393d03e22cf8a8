"""Tables of a Frictionless data package: which files they lie in, and how these are written.

Source: the specifications Data Package, Tabular Data Resource and CSV Dialect (https://specs.frictionlessdata.io).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.readers.cells import portable
from fidokit.data.readers.delimited import Dialect, Records
from fidokit.data.readers.reading import Notes, RowNames, path_inside, read_json, read_text
from fidokit.exceptions import SettingsError

#: What the schemas of the tables count as no value.
_MISSING = frozenset(["", "NaN", "nan", "NA"])
#: What gzip files begin with, whatever they are called: a package may say it in "compression" alone.
_GZIP = b"\x1f\x8b"
#: Line ends that `csv` knows; the specification's default is the first.
_LINE_ENDS = frozenset(["\r\n", "\n", "\r"])


@dataclass(frozen=True)
class Table:
    """A table of the package: texts, None where there is nothing, and what messages call its rows."""

    frame: pd.DataFrame
    rows: RowNames

    def column(self, *names: str) -> pd.Series[Any]:
        """The first of these columns that is there; none need be."""
        for name in names:
            if name in self.frame.columns:
                return self.frame[name]
        return pd.Series([None] * len(self.frame), dtype=object)

    def names_of(self, positions: npt.NDArray[np.int64]) -> RowNames:
        return RowNames(self.rows.prefix, [self.rows.numbers[i] for i in positions.tolist()])

    def take(self, positions: npt.NDArray[np.int64]) -> Table:
        return Table(self.frame.iloc[positions].reset_index(drop=True), self.names_of(positions))


@dataclass(frozen=True)
class _Resource:
    """A table's entry in the descriptor.

    Attributes:
        entry: as it stands there.
        files: in which the table lies, one after the other.
        dialect, encoding: how they are written.
    """

    entry: Mapping[str, Any]
    files: list[Path]
    dialect: Dialect
    encoding: str

    @classmethod
    def find(cls, descriptor: Mapping[str, Any], path: Path, name: str) -> _Resource:
        """That of the table of a name; for the errors see `read_table`."""
        resources = descriptor.get("resources")
        found = [
            resource
            for resource in (resources if isinstance(resources, list) else [])
            if isinstance(resource, dict) and resource.get("name") == name
        ]
        if not found:
            raise SettingsError(f"{path} has no resource {name!r}; the package must list the table and its file")
        parts = found[0].get("path")
        parts = [parts] if isinstance(parts, str) else parts
        if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
            raise SettingsError(f"{path}: the resource {name!r} has no path; save the table as a CSV file")
        for part in parts:
            if "://" in part:
                raise SettingsError(
                    f"{path}: the table {part} lies on a server; download it and give its file name here"
                )
        dialect = _dialect(found[0], path, f"{path.parent / parts[0]} cannot be read as CSV")
        encoding = found[0].get("encoding", "utf-8")
        if not isinstance(encoding, str):
            raise SettingsError(
                f"{path}, resource {name}: the encoding is {encoding!r}; it must be a name such as utf-8"
            )
        files = [path.parent / path_inside(part, f"{path}, resource {name}") for part in parts]
        return cls(found[0], files, dialect, encoding)


def read_table(
    descriptor: Mapping[str, Any], path: Path, name: str, needed: Sequence[str], further: Sequence[str], notes: Notes
) -> Table:
    """A table of the package at `path`, with the columns that are needed and those of the further ones that it has.

    Args:
        descriptor: of the package, as it stands in the file `path`.
        path: of the descriptor.
        name: of the table.
        needed: its columns that must be there; the first is the key.
        further: columns that are read where they are there.
        notes: for what the descriptor does not say of the table.

    Raises:
        SettingsError: the table cannot be read, a column is missing, or the key is empty or stands there twice; the
            message names file and record.
    """
    resource = _Resource.find(descriptor, path, name)
    files = resource.files
    missing = _missing(resource.entry, path)
    frames = [_read_file(resource, file, needed, further, missing, notes) for file in files]
    rows = (
        RowNames(f"{files[0]}, record ", range(1, len(frames[0]) + 1))
        if len(files) == 1
        else RowNames(
            "",
            [f"{file}, record {i + 1}" for file, frame in zip(files, frames, strict=True) for i in range(len(frame))],
        )
    )
    table = Table(pd.concat(frames, ignore_index=True), rows)
    ids = table.frame[needed[0]]
    for what, bad in (
        (f"the {needed[0]} is empty", ids.isna()),
        (f"the {needed[0]} stands there twice", ids.duplicated()),
    ):
        if bad.any():
            place = table.rows[int(np.flatnonzero(bad)[0])]
            raise SettingsError(f"{place}: {what}; each record needs one of its own")
    return table


def _dialect(resource: Mapping[str, Any], path: Path, where: str) -> Dialect:
    """How the files of a resource are written: in its descriptor, or in a file that the descriptor names.

    Raises:
        SettingsError: a property that cannot be used; the message begins with `where` and names it.
    """
    given = resource.get("dialect", {})
    if isinstance(given, str):
        if "://" in given:
            raise SettingsError(f"{where}: the dialect {given} lies on a server; download it and give its file name")
        file = path.parent / path_inside(given, where)
        given = read_json(file)
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: the dialect is {given!r:.80}; it must be a JSON object")
    delimiter = _character(given, "delimiter", where)
    if delimiter is None and resource.get("format") == "tsv":
        delimiter = "\t"
    ends = given.get("lineTerminator")
    if ends is not None and ends not in _LINE_ENDS:
        raise SettingsError(f"{where}: lines end in {ends!r}, which cannot be read; save the table with line feeds")
    for option, usual in (("headerRows", [1]), ("commentRows", [])):
        if given.get(option, usual) not in (usual, None):
            raise SettingsError(f"{where}: {option} {given[option]!r} cannot be read; save the table with one header")
    return Dialect(
        delimiter=delimiter,
        quote=_character(given, "quoteChar", where, '"'),
        double_quote=_flag(given, "doubleQuote", where, True),
        escape=_character(given, "escapeChar", where),
        comment=_character(given, "commentChar", where),
        skip_space=_flag(given, "skipInitialSpace", where, False),
        names=None if _flag(given, "header", where, True) else _names(resource, where),
    )


def _missing(resource: Mapping[str, Any], path: Path) -> frozenset[str]:
    """What counts as no value in a table: what Camtrap DP says, and what the table's own schema says beside it."""
    schema = resource.get("schema")
    if isinstance(schema, str) and "://" not in schema:
        file = path.parent / path_inside(schema, f"{path}, resource {resource.get('name')}")
        schema = read_json(file) if file.is_file() else None
    own = schema.get("missingValues") if isinstance(schema, dict) else None
    values = [value.get("value") if isinstance(value, dict) else value for value in own or [] if own]
    return _MISSING | {value.strip() for value in values if isinstance(value, str)}


def _character(given: Mapping[str, Any], option: str, where: str, default: str | None = None) -> str | None:
    value = given.get(option, default)
    if value is None or value == "":
        return None
    if value == "\\t":
        return "\t"
    if not isinstance(value, str) or len(value) != 1 or value in "\r\n":
        raise SettingsError(f"{where}: the dialect's {option} is {value!r}; it must be one character")
    return value


def _flag(given: Mapping[str, Any], option: str, where: str, default: bool) -> bool:
    value = given.get(option, default)
    if not isinstance(value, bool):
        raise SettingsError(f"{where}: the dialect's {option} is {value!r}; it must be true or false")
    return value


def _names(resource: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The columns of a table without a header, from its schema."""
    schema = resource.get("schema")
    fields = schema.get("fields") if isinstance(schema, dict) else None
    names = [field.get("name") if isinstance(field, dict) else None for field in fields or []]
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"{where}: the table has no header, and its schema lists no fields here; write the names of the columns "
            "into the table's first line"
        )
    return tuple(str(name) for name in names)


def read_records(
    descriptor: Mapping[str, Any], path: Path, name: str, key: str, notes: Notes
) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a table of the package at `path`, as they stand there.

    Args:
        descriptor: of the package, as it stands in the file `path`.
        path: of the descriptor.
        name: of the table.
        key: a column that it has, by which it is told how its cells are separated.
        notes: for what the descriptor does not say of the table.

    Raises:
        SettingsError: the table cannot be read, or its files have not the same columns; the message names the file.
    """
    resource = _Resource.find(descriptor, path, name)
    header: list[str] = []
    cells: list[list[str]] = []
    for file in resource.files:
        records = _opened(resource, file, [key], notes)
        if header and records.header != header:
            raise SettingsError(f"{file} has other columns than {resource.files[0]}; copy the package again")
        header = records.header
        cells += [row for _, row in records]
    return header, cells


def _opened(resource: _Resource, file: Path, needed: Sequence[str], notes: Notes) -> Records:
    """The records of a file of a table.

    Raises:
        SettingsError: it cannot be read.
    """

    def error(line: int, record: int, what: str) -> SettingsError:
        place = f"record {record}, line {line}" if record else f"line {line}"
        return SettingsError(f"{file} cannot be read as CSV ({place}: {what})")

    try:
        data = file.read_bytes()
        packed = file.suffix == ".gz" or data.startswith(_GZIP)
        text = read_text(file, gzip.decompress(data) if packed else data, encoding=resource.encoding)
        return _records(file, text, resource.dialect, needed, error, notes)
    except (OSError, EOFError, zlib.error) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise SettingsError(f"{file} cannot be read ({reason}); check its path, or copy the package again") from problem
    except (csv.Error, ValueError, TypeError) as problem:
        if isinstance(problem, SettingsError):
            raise
        raise SettingsError(f"{file} cannot be read as CSV ({problem}); check the dialect of the package") from problem


def _read_file(
    resource: _Resource,
    file: Path,
    needed: Sequence[str],
    further: Sequence[str],
    missing_values: Collection[str],
    notes: Notes,
) -> pd.DataFrame:
    records = _opened(resource, file, needed, notes)
    if not records.header:
        raise SettingsError(f"{file} cannot be read as CSV (it is empty); copy the package again")
    missing = [column for column in needed if column not in records.header]
    if missing:
        raise SettingsError(
            f"{file}: no column {missing[0]} among {', '.join(records.header)}, as separated by "
            f"{records.delimiter!r}; this table of a Camtrap DP has it"
        )
    places = {column: records.header.index(column) for column in (*needed, *further) if column in records.header}
    columns: dict[str, list[str | None]] = {column: [] for column in places}
    known: dict[str, str | None] = {}
    for _, cells in records:
        for column, place in places.items():
            cell = cells[place]
            if cell not in known:
                known[cell] = _value(cell, missing_values)
            columns[column].append(known[cell])
    return pd.DataFrame({column: pd.Series(cells, dtype=object) for column, cells in columns.items()})


def _records(
    file: Path,
    text: str,
    dialect: Dialect,
    needed: Sequence[str],
    error: Callable[[int, int, str], SettingsError],
    notes: Notes,
) -> Records:
    """The records of a file; one that is not separated as the package says, but plainly otherwise, is noted."""
    if dialect.delimiter is not None:
        return Records(text, dialect, error)
    records = Records(text, dialect, error)
    if records.delimiter != ",":
        if dialect.names is None and not set(needed) <= set(records.header):
            return Records(text, Dialect(**(vars(dialect) | {"delimiter": ","})), error)
        notes.say(f"{file} is separated by {records.delimiter!r}, which the package does not say")
    return records


def _value(cell: str, missing: Collection[str]) -> str | None:
    text = cell.strip()
    return None if text in missing else portable(text)
