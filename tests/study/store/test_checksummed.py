import hashlib
import io
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store import mask_rows

from fidokit.study.store import checksummed
from fidokit.study.store.schemas import STORED_SCHEMA, masks_to_arrow


@pytest.fixture(scope="module")
def table():
    return masks_to_arrow(mask_rows("m", ["a", "b", "ä"]))


@pytest.fixture(scope="module")
def content(table):
    return checksummed.encode(table, "study-1")


def test_a_sealed_table_is_a_plain_parquet_file(table, content):
    assert pq.read_table(io.BytesIO(content)).equals(table)
    assert checksummed.decode(pa.BufferReader(content), STORED_SCHEMA).equals(table)
    assert checksummed.verify(content)
    assert checksummed.study_of(pa.BufferReader(content)) == "study-1"
    assert checksummed.study_of(pa.BufferReader(checksummed.encode(table))) is None


def test_the_seal_is_the_hash_of_all_other_bytes(content):
    start = content.rindex(b"sha256:") + 7
    zeroed = content[:start] + b"0" * 64 + content[start + 64 :]
    assert content[start : start + 64].decode() == hashlib.sha256(zeroed).hexdigest()


def test_every_flipped_byte_is_noticed(content):
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x20
        try:
            whole = checksummed.verify(bytes(damaged))
        except checksummed.CorruptPartError:
            continue
        # Where the name of the seal itself is hit the file looks like one without a seal, which check() says.
        assert not whole
        assert place in range(content.rindex(b"fidokit.seal"), content.rindex(b"fidokit.seal") + 12)


def verify_and_decode(content):
    if not checksummed.verify(content):
        checksummed.decode(pa.BufferReader(content), STORED_SCHEMA)


def test_every_torn_write_is_noticed(content):
    for length in range(len(content)):
        with pytest.raises(checksummed.CorruptPartError):
            verify_and_decode(content[:length])


def test_ordinary_reading_notices_damaged_pages(table, content):
    """A flipped bit in a mask is seen without the seal: pages have checksums of their own."""
    values = np.concatenate(table["mask"].to_numpy()).view(np.uint16)
    quiet = 0
    for place in range(4, len(content) - 3000, 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        try:
            read = checksummed.decode(pa.BufferReader(bytes(damaged)), STORED_SCHEMA)
        except checksummed.CorruptPartError:
            continue
        quiet += not np.array_equal(np.concatenate(read["mask"].to_numpy()).view(np.uint16), values)
    assert quiet == 0


def test_a_table_without_rows(table):
    content = checksummed.encode(table.slice(0, 0))
    assert checksummed.verify(content)
    assert checksummed.decode(pa.BufferReader(content), STORED_SCHEMA).equals(STORED_SCHEMA.empty_table())


def test_large_tables_come_in_groups(monkeypatch, table):
    monkeypatch.setattr(checksummed, "_GROUP_BYTES", 300)
    content = checksummed.encode(table)
    groups = list(checksummed.decode_groups(pa.BufferReader(content), STORED_SCHEMA, ["image_id", "mask"]))
    assert len(groups) > 1
    assert pa.concat_tables(groups).equals(table.select(["image_id", "mask"]))


def parquet(table, **options):
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_files_of_the_first_versions_have_no_seal(table):
    content = parquet(table)
    assert not checksummed.verify(content)
    assert checksummed.decode(pa.BufferReader(content), STORED_SCHEMA).equals(table)


def test_columns_that_an_earlier_version_did_not_write_are_null(table):
    read = checksummed.decode(pa.BufferReader(parquet(table.drop_columns(["seconds"]))), STORED_SCHEMA)
    assert read["seconds"].null_count == len(table)
    assert read.schema.equals(STORED_SCHEMA)


def flat(n, length=100):
    return pa.table({"image_id": pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), ["x" * length])})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        pickle.dumps(print),
        parquet(pa.table({"image_id": [1.5, 2.5], "height": ["a", "b"]})),
        parquet(pa.table({"image_id": ["a"], "height": pa.array([2**40])})),
        b"PAR1" + b"\0" * 99 + b"PAR1",
        parquet(pa.table([pa.array(["a"]), pa.array(["b"])], names=["image_id", "image_id"])),
    ],
    ids=["empty", "magic", "pickle", "types", "overflow", "zeros", "twice"],
)
def test_what_is_no_part_is_refused(content):
    with pytest.raises(checksummed.CorruptPartError):
        checksummed.decode(pa.BufferReader(content), STORED_SCHEMA)


def test_texts_that_are_none_are_refused():
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")]
    )
    with pytest.raises(checksummed.CorruptPartError, match="UTF8"):
        checksummed.decode(pa.BufferReader(parquet(pa.table({"image_id": bad}))), STORED_SCHEMA)


def test_a_footer_that_promises_too_much_is_refused():
    content = parquet(flat(3_000_000), row_group_size=2**26, compression="zstd")
    assert len(content) < 2**19
    with pytest.raises(checksummed.CorruptPartError, match="3,000,000 rows"):
        checksummed.decode(pa.BufferReader(content), STORED_SCHEMA, ["image_id"])


def test_a_footer_that_promises_too_many_bytes_is_refused(monkeypatch, content):
    monkeypatch.setattr(checksummed, "_MOST_BYTES", 10)
    with pytest.raises(checksummed.CorruptPartError, match="bytes in a row group, of at most 10"):
        checksummed.decode(pa.BufferReader(content), STORED_SCHEMA)


def test_a_footer_that_ends_the_process_elsewhere_is_refused():
    """Asked for the metadata of this column, pyarrow ends the process: its histogram of levels lacks one."""
    content = parquet(pa.table({"image_id": pa.array(["a", None, "b"])}))
    histogram = b"\x19\x26\x02\x04\x00"
    assert content.count(histogram) == 1
    length = int.from_bytes(content[-8:-4], "little") - 1
    damaged = content.replace(histogram, b"\x19\x16\x02\x00")[:-8] + length.to_bytes(4, "little") + b"PAR1"
    with pytest.raises(checksummed.CorruptPartError, match="histogram"):
        checksummed.decode(pa.BufferReader(damaged), STORED_SCHEMA, ["image_id"])
