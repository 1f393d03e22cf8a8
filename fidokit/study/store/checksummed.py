"""Tables as Parquet files that carry a checksum of themselves, and are read with suspicion.

The seal stands among the key-value metadata of the file's footer: the SHA-256 of all bytes of the file, the digits of
the seal itself counted as zeros. So a part and its checksum are one file, which appears in one rename; workers that
write at the same time share nothing; and any Parquet reader can read the part. Each page has a checksum too, which
every reading verifies of the pages that it needs, at no cost worth mentioning; the seal is verified by `verify`.

A file may be damaged, or come from a stranger: how many rows and bytes its footer may promise is limited, and texts,
lists and lengths are validated before they are used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fidokit.exceptions import FidokitError

_SEAL, _STUDY = b"fidokit.seal", b"fidokit.study"
_ZEROS = b"sha256:" + b"0" * 64
#: Bytes of Arrow data in a row group as it is written: what a reader of a large part has in memory at once.
_GROUP_BYTES = 64 * 2**20
# Bytes of a column that is read in less time than zstd takes to begin; a study's parts have thousands of them.
_SMALL = 2**16
#: Rows of a row group; by Arrow's default, earlier versions wrote no more either.
_MOST_ROWS = 2**20
#: Bytes of Arrow data that a row group may promise: masks of 32 photographs at full resolution have 10 to 60 MB.
_MOST_BYTES = 2**30
#: Nothing that a study writes has more columns; a table of the user's own may have hundreds.
_MOST_COLUMNS = 4096


class CorruptPartError(FidokitError):
    """A file that is not as it was written; `Store` says which one and what to do."""


def encode(table: pa.Table, study: str | None = None) -> bytes:
    """A table as a Parquet file with its checksum inside.

    Args:
        table: the table.
        study: id of the study that it belongs to, which the file then names.
    """
    # Random mask values gain nothing from a dictionary; texts, the same in every row, nearly everything.
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    codecs = {
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name: (
            "snappy" if table[field.name].nbytes < _SMALL else "zstd"
        )
        for field in table.schema
    }
    rows = min(max(1, _GROUP_BYTES * table.num_rows // max(1, table.nbytes)), _MOST_ROWS)
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink, table.schema, compression=codecs, use_dictionary=texts, write_page_checksum=True
    ) as writer:
        writer.write_table(table, row_group_size=rows)
        writer.add_key_value_metadata({_SEAL: _ZEROS, **({} if study is None else {_STUDY: study.encode()})})
    content = sink.getvalue()
    before, _, after = content.rpartition(_ZEROS)
    return before + _seal(content) + after


def verify(content: bytes) -> bool:
    """Whether a file has a checksum; those of the first versions have none.

    Raises:
        CorruptPartError: its bytes do not fit its checksum.
    """
    # The bytes are searched, not the footer read: that may be what is damaged.
    place = content.rfind(_SEAL)
    if place < 0:
        return False
    start = max(place, content.find(b"sha256:", place))
    end = start + len(_ZEROS)
    if content[start:end] != _seal(content[:start] + _ZEROS + content[end:]):
        raise CorruptPartError("its bytes do not fit its checksum")
    return True


def study_of(file: Any) -> str | None:
    """Id of the study that a file names, None if it names none."""
    with _suspicious():
        name = (pq.read_metadata(file).metadata or {}).get(_STUDY)
        return None if name is None else name.decode("utf-8", "backslashreplace")


def _seal(content: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(content).hexdigest().encode()


def decode(file: Any, schema: pa.Schema | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file, as a whole; see `decode_groups`."""
    with _suspicious():
        return pa.concat_tables(decode_groups(file, schema, columns))


def decode_groups(
    file: Any, schema: pa.Schema | None = None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The tables of a file's row groups, of which one at a time is in memory.

    Args:
        file: open for reading.
        schema: the columns that there must be; one that an earlier version did not write is null. None: as they are.
        columns: those of the schema to read; None for all.

    Raises:
        CorruptPartError: it is no Parquet file, is cut off, has other columns, or holds what no part does.
    """
    with _suspicious():
        reader = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
        found = reader.schema_arrow
        names = found.names
        if len(names) > _MOST_COLUMNS or len(set(names)) < len(names):
            raise CorruptPartError(f"it has {len(names)} columns, or two of one name")
        columns = columns if columns is not None or schema is None else schema.names
        wanted = names if columns is None else [name for name in columns if name in names]
        _check_promise(reader)
        for group in range(max(1, reader.num_row_groups)):
            if reader.num_row_groups:
                table = reader.read_row_group(group, columns=wanted, use_threads=False)
            else:
                table = found.empty_table().select(wanted)
            table.validate(full=True)
            yield table if schema is None or columns is None else _conformed(table, schema, columns)


def _conformed(table: pa.Table, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    target = pa.schema([schema.field(name) for name in columns])
    if table.schema.equals(target):
        return table
    arrays = []
    for name in columns:
        kind = schema.field(name).type
        if name not in table.column_names:
            arrays.append(pa.nulls(len(table), kind))
            continue
        array = table[name]
        arrays.append(array if array.type == kind else array.cast(kind))
    return pa.table(arrays, schema=target)


def _check_promise(reader: pq.ParquetFile) -> None:
    """Refuse a footer that promises more than fits into memory, before anything is decoded."""
    for group in range(reader.num_row_groups):
        row_group = reader.metadata.row_group(group)
        for found, most, what in (
            (row_group.num_rows, _MOST_ROWS, "rows"),
            (row_group.total_byte_size, _MOST_BYTES, "bytes"),
        ):
            if not 0 <= found <= most:
                raise CorruptPartError(f"its footer promises {found:,} {what} in a row group, of at most {most:,}")


@contextmanager
def _suspicious() -> Iterator[None]:
    """Whatever damaged bytes make of the reader becomes `CorruptPartError`."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise CorruptPartError(" ".join(str(error).split()) or type(error).__name__) from error
    except MemoryError as error:
        raise CorruptPartError("it does not fit into memory") from error
