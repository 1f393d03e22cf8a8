"""Tables as Parquet files that carry a checksum of themselves, and are read with suspicion.

The seal stands among the key-value metadata of the file's footer: the SHA-256 of all bytes of the file, the digits of
the seal itself counted as zeros. So a part and its checksum are one file, which appears in one rename; workers that
write at the same time share nothing; and any Parquet reader can read the part. Each page has a checksum too, which
every reading verifies of the pages that it needs, at no cost worth mentioning; the seal is verified by `problem`.

A file may come from a stranger: what its footer promises to decode to is limited before anything is decoded, and
texts, lists and lengths are validated before they are used.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fidokit.exceptions import FidokitError

_SEAL, _STUDY = b"fidokit.seal", b"fidokit.study"
_ZEROS = b"sha256:" + b"0" * 64
_DIGITS = re.compile(rb"sha256:([0-9a-f]{64})")
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
# How many values a column of lists has, in a footer: after its path and codec. Asking pyarrow for it instead would end
# the whole process where the footer is damaged, by an exception that its C++ does not let through.
_LISTED = re.compile(rb"\x04list(?:\x07element|\x04item)\x15.\x16([\x80-\xff]*[\x00-\x7f])", re.DOTALL)
# A value in half precision, and where in its list it stands.
_VALUE_BYTES = 6
#: Bytes that a file may decode to for each of its own: zstd leaves a twentieth of paths and labels.
_MOST_GROWTH = 64


class Damaged(FidokitError):
    """A file that is not as it was written; `Store` says which one and what to do."""


def encode(table: pa.Table, study: str | None = None) -> bytes:
    """A table as a sealed Parquet file.

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
    content = bytearray(sink.getvalue())
    place = content.rindex(_ZEROS) + len("sha256:")
    content[place : place + 64] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def verify(content: bytes) -> bool:
    """Whether a file has a checksum; those of the first versions have none.

    Raises:
        Damaged: its bytes do not fit its checksum.
    """
    place = content.rfind(_SEAL)
    seal = _DIGITS.search(content, place) if place >= 0 else None
    if seal is None:
        if place >= 0:
            raise Damaged("its checksum is damaged")
        return False
    start, end = seal.span(1)
    digest = hashlib.sha256(memoryview(content)[:start])
    digest.update(b"0" * 64)
    digest.update(memoryview(content)[end:])
    if digest.hexdigest().encode() != seal[1]:
        raise Damaged("its bytes do not fit its checksum")
    return True


def study_of(file: Any) -> str | None:
    """Id of the study that a file names, None if it names none."""
    with _suspicious():
        metadata = pq.read_metadata(file).metadata or {}
        name = metadata.get(_STUDY)
        return None if name is None else name.decode("utf-8", "backslashreplace")


def decode(file: Any, schema: pa.Schema | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file, as a whole; see `decode_groups`."""
    with _suspicious():
        most = max(_MOST_BYTES, _MOST_GROWTH * file.size())
        groups, n_bytes = [], 0
        for group in decode_groups(file, schema, columns):
            groups.append(group)
            n_bytes += group.nbytes
            if n_bytes > most:
                raise Damaged(f"it decodes to more than {most:,} bytes")
        return pa.concat_tables(groups)


def decode_groups(
    file: Any, schema: pa.Schema | None = None, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The tables of a file's row groups, of which one at a time is in memory.

    Args:
        file: open for reading.
        schema: the columns that there must be; one that an earlier version did not write is null. None: as they are.
        columns: those of the schema to read; None for all.

    Raises:
        Damaged: it is no Parquet file, is cut off, has other columns, or holds what no part does.
    """
    with _suspicious():
        reader = _reader(file)
        found = reader.schema_arrow
        names = found.names
        if len(names) > _MOST_COLUMNS or len(set(names)) < len(names):
            raise Damaged(f"it has {len(names)} columns, or two of one name")
        columns = columns if columns is not None or schema is None else schema.names
        wanted = names if columns is None else [name for name in columns if name in names]
        coded = _check_promise(reader, found, file, wanted)
        if coded:
            reader = _reader(file, coded)
        for group in range(max(1, reader.num_row_groups)):
            if reader.num_row_groups:
                table = reader.read_row_group(group, columns=wanted, use_threads=False)
            else:
                table = found.empty_table().select(wanted)
            table = _decoded(table, coded)
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


def _reader(file: Any, coded: Sequence[str] = ()) -> pq.ParquetFile:
    return pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True, read_dictionary=list(coded))


def _decoded(table: pa.Table, coded: Sequence[str]) -> pa.Table:
    """The table with its coded columns as texts, unless they become too long."""
    for name in coded:
        if name in table.column_names:
            place, kind = table.column_names.index(name), table.schema.field(name).type.value_type
            if pa.types.is_string(kind) or pa.types.is_binary(kind):
                lengths = (pc.binary_length(piece.dictionary).take(piece.indices) for piece in table[name].chunks)
                length = sum(pc.sum(own).as_py() or 0 for own in lengths)
                if length > _MOST_BYTES:
                    raise Damaged(f"its column {name!r} would decode to {length:,} bytes, of at most {_MOST_BYTES:,}")
            table = table.set_column(place, name, table[name].cast(kind))
    return table


def _check_promise(reader: pq.ParquetFile, found: pa.Schema, file: Any, wanted: Sequence[str]) -> list[str]:
    """Refuse a footer that promises more than fits into memory, before anything is decoded.

    Returns:
        Columns of texts that could become many times as long as they are in the file: they are to be read as codes.
    """
    coded = False
    for group in range(reader.num_row_groups):
        row_group = reader.metadata.row_group(group)
        rows, n_bytes = row_group.num_rows, row_group.total_byte_size
        if not 0 <= rows <= _MOST_ROWS:
            raise Damaged(f"its footer promises {rows:,} rows in a row group, of at most {_MOST_ROWS:,}")
        if not 0 <= n_bytes <= _MOST_BYTES:
            raise Damaged(f"its footer promises {n_bytes:,} bytes in a row group, of at most {_MOST_BYTES:,}")
        coded |= rows * n_bytes > _MOST_BYTES
    types = {name: found.field(name).type for name in wanted}
    if any(pa.types.is_nested(kind) for kind in types.values()):
        most = max(map(_number, _LISTED.findall(_footer(file))), default=0)
        if most * _VALUE_BYTES > _MOST_BYTES:
            raise Damaged(f"its footer promises lists of {most:,} values, of at most {_MOST_BYTES // _VALUE_BYTES:,}")
    texts = [name for name, kind in types.items() if pa.types.is_string(kind) or pa.types.is_binary(kind)]
    return [name for name, kind in types.items() if pa.types.is_dictionary(kind)] + (texts if coded else [])


def _footer(file: Any) -> bytes:
    size = file.size()
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - 8 - length))
    content: bytes = file.read(min(length, size))
    return content


def _number(varint: bytes) -> int:
    """A zigzag variable-length integer, as Thrift writes them."""
    value = sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(varint))
    return (value >> 1) ^ -(value & 1)


@contextmanager
def _suspicious() -> Iterator[None]:
    """Whatever damaged bytes make of the reader becomes `Damaged`."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise Damaged(" ".join(str(error).split()) or type(error).__name__) from error
    except MemoryError as error:
        raise Damaged("it does not fit into memory") from error
