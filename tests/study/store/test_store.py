import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fidokit.exceptions import StoreError
from fidokit.methods.base import COLUMNS
from fidokit.study.store.manifest import SCHEMA_VERSION
from fidokit.study.store.schemas import STORED_SCHEMA
from fidokit.study.store.store import SCHEMA, Store, mask_arrays, slug

NASTY = ["../../etc/passwd", "a/b", "..", "A/B", "a b", "a-b", "ä", "ö", "", "<b>x</b>", "x" * 500, "CON", "a\nb", "🐦"]


def mask_rows(label, ids, kinds=("ssr", "sdr"), size=(3, 4), seed=0):
    generator = np.random.default_rng(seed)
    rows = []
    for image_id in ids:
        for kind in kinds:
            mask = generator.random(size, dtype=np.float32)
            rows.append(
                {"image_id": image_id, "method": label, "kind": kind, "target": "t", "against": None, "mask": mask}
                | {"height": size[0], "width": size[1], "evaluations": 7, "seconds": 0.5, "converged": True}
                | {"score_full": 0.9, "score_kept": 0.8, "score_dropped": float("nan"), "settings_id": "s"}
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def read(store, labels):
    batches = list(store.mask_batches(labels, SCHEMA.names))
    return pa.Table.from_batches(batches, SCHEMA)


def test_the_table_has_the_columns_that_masks_have():
    # The verdict follows from the scores and is not stored.
    assert [*SCHEMA.names, "verdict"] == list(COLUMNS)
    assert SCHEMA.field("mask").type == pa.list_(pa.float16())


def test_slugs_are_safe_file_names_and_differ():
    slugs = [slug(label) for label in NASTY]
    assert len({s.lower() for s in slugs}) == len(NASTY)
    for text in slugs:
        assert text.isascii()
        assert len(text) < 60
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("label", NASTY)
def test_any_label_is_written_inside_the_store_and_read_back(store, label):
    store.add_masks(label, 0, mask_rows(label, ["a"]))
    written = [path for path in store.path.parent.rglob("*") if path.is_file()]
    assert [path.parent for path in written] == [store.path / "masks"]
    assert set(read(store, [label])["method"].to_pylist()) == {label}


def test_a_label_that_looks_like_the_slug_of_another_keeps_to_its_own_parts(store):
    first = "x"
    second = f"{slug(first)}-00001"
    store.add_masks(first, 0, mask_rows(first, ["a"]))
    store.add_masks(second, 1, mask_rows(second, ["b"]))
    assert store.finished(first, ["ssr", "sdr"]) == {"a"}
    assert store.finished(second, ["ssr", "sdr"]) == {"b"}


def test_masks_of_different_sizes_come_back_as_arrays_of_half_precision(store):
    frame = pd.concat(
        [mask_rows("m", ["a"], size=(3, 4)), mask_rows("m", ["b"], size=(7, 2), seed=1)], ignore_index=True
    )
    store.add_masks("m", 0, frame)
    arrays = mask_arrays(read(store, ["m"]))
    assert [a.shape for a in arrays] == [(3, 4), (3, 4), (7, 2), (7, 2)]
    assert all(a.dtype == np.float32 for a in arrays)
    for got, given in zip(arrays, frame["mask"], strict=True):
        np.testing.assert_array_equal(got, given.astype(np.float16).astype(np.float32))


def test_masks_of_a_slice_of_a_table_are_those_of_its_rows(store):
    frame = mask_rows("m", ["a", "b", "c"])
    store.add_masks("m", 0, frame)
    table = read(store, ["m"])
    for got, given in zip(mask_arrays(table.slice(2, 3)), frame["mask"][2:5], strict=True):
        np.testing.assert_allclose(got, given, atol=1e-3)
    (batch,) = table.slice(3).to_batches()
    np.testing.assert_allclose(mask_arrays(batch)[0], frame["mask"][3], atol=1e-3)


def test_the_file_has_exactly_the_schema(store):
    store.add_masks("m", 0, mask_rows("m", ["a"]))
    (path,) = (store.path / "masks").iterdir()
    assert pq.read_schema(path).equals(STORED_SCHEMA)


def test_only_large_columns_are_packed_tightly(store):
    store.add_masks("m", 0, mask_rows("m", [f"{i:03d}" for i in range(100)], size=(32, 32)))
    (path,) = (store.path / "masks").iterdir()
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    packed = {column.path_in_schema.split(".")[0]: column.compression for column in columns}
    assert packed.pop("mask") == "ZSTD"
    assert set(packed.values()) == {"SNAPPY"}


def test_a_part_that_is_completed_keeps_what_it_had(store):
    store.add_masks("m", 3, mask_rows("m", ["a", "b"]))
    before = {row["image_id"]: row["mask"] for row in read(store, ["m"]).to_pylist()}
    store.add_masks("m", 3, mask_rows("m", ["c", "b"], seed=5))
    rows = read(store, ["m"]).to_pylist()
    assert sorted((row["image_id"], row["kind"]) for row in rows) == [(i, k) for i in "abc" for k in ("sdr", "ssr")]
    after = {row["image_id"]: row["mask"] for row in rows}
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    assert len(list((store.path / "masks").iterdir())) == 1


def test_an_image_is_finished_when_it_has_all_kinds(store):
    store.add_masks("m", 0, mask_rows("m", ["a"], kinds=("ssr", "sdr")))
    store.add_masks("m", 1, mask_rows("m", ["b"], kinds=("ssr",)))
    assert store.finished("m", ["ssr", "sdr"]) == {"a"}
    assert store.finished("m", ["ssr"]) == {"a", "b"}
    assert store.finished("other", ["ssr"]) == set()


@pytest.mark.parametrize("fails_at", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_part_and_no_litter(store, monkeypatch, fails_at):
    store.add_masks("m", 0, mask_rows("m", ["a"]))
    before = read(store, ["m"])

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, fails_at, full)
    with pytest.raises(OSError, match="No space left"):
        store.add_masks("m", 0, mask_rows("m", ["b"]))
    with pytest.raises(OSError, match="No space left"):
        store.add_masks("m", 1, mask_rows("m", ["b"]))
    monkeypatch.undo()
    assert read(store, ["m"]).equals(before)
    assert len(list((store.path / "masks").iterdir())) == 1


def test_half_written_files_are_not_read_and_are_cleared_away(store):
    store.add_masks("m", 0, mask_rows("m", ["a"]))
    (part,) = (store.path / "masks").iterdir()
    leftover = part.with_name(f".{part.name}.0123abcd.tmp")
    leftover.write_bytes(part.read_bytes()[:50])
    assert store.finished("m", ["ssr", "sdr"]) == {"a"}
    with store.locked():
        assert not leftover.exists()
    assert part.exists()


def test_failures_of_images_tried_again_are_replaced(store):
    def row(image_id, reason):
        return {"image_id": image_id, "method": "m", "stage": "mask", "reason": reason}

    store.add_failures("m", 0, ["a", "b"], [row("a", "first"), row("b", "first")])
    store.add_failures("m", 0, ["a", "c"], [row("c", "second")])
    assert sorted(zip(*store.read_failures()[["image_id", "reason"]].T.to_numpy(), strict=True)) == [
        ("b", "first"),
        ("c", "second"),
    ]
    store.add_failures("m", 0, ["b", "c"], [])
    assert store.read_failures().empty
    assert list((store.path / "failures").iterdir()) == []


def test_failures_that_did_not_change_are_not_written_again(store, monkeypatch):
    rows = [{"image_id": "a", "method": None, "stage": "read", "reason": "broken"}]
    store.add_failures(None, 0, ["a"], rows)
    monkeypatch.setattr(os, "replace", lambda *_args: pytest.fail("written again"))
    store.add_failures(None, 0, ["a"], rows)


def test_only_key_columns_are_read_to_find_what_is_missing(store):
    if not sys.platform.startswith("linux"):
        pytest.skip("counts the bytes read as Linux does")
    size = (28, 28)
    for chunk in range(2):  # few, since some 64 kB of each part are read whatever is in it
        store.add_masks("m", chunk, mask_rows("m", [f"{chunk}-{i}" for i in range(2500)], size=size, seed=chunk))

    def bytes_read():
        return int(Path("/proc/self/io").read_text().split()[1])

    store.finished("m", ["ssr"])  # what is imported for it is read here
    before = bytes_read()
    assert len(store.finished("m", ["ssr", "sdr"])) == 5000
    keys = bytes_read() - before
    assert store.mask_bytes() > 10e6
    assert keys < 0.05 * store.mask_bytes()


def test_a_damaged_part_is_named(store):
    store.add_masks("m", 0, mask_rows("m", ["a"]))
    (part,) = (store.path / "masks").iterdir()
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreError, match=f"{part.name}.*run the study again"):
        store.finished("m", ["ssr"])


def test_the_second_run_is_kept_out(store):
    with store.locked(), pytest.raises(StoreError, match="another run is writing"), Store(store.path).locked():
        pass
    with store.locked():
        pass


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match=r"holiday\.jpg"):
        Store(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_folder_that_was_begun_and_never_got_its_manifest_is_taken(store):
    store.write_images(pd.DataFrame({"image_id": ["a"]}))
    (store.path / ".lock").touch()
    (store.path / ".lock.held").touch()
    (store.path / ".study.json.00.tmp").touch()
    store.prepare()


def test_a_store_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="no study can be written to"):
            Store(path).prepare()


def test_a_store_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    # As root, no file mode would refuse anything.
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StoreError, match=r"Permission denied; choose another folder"):
        Store(tmp_path / "store").prepare()


def test_manifests_that_cannot_be_used(store):
    with pytest.raises(StoreError, match="there is no study in"):
        store.read_manifest()
    store.write_manifest({"schema_version": SCHEMA_VERSION + 1, "fidokit_version": "9.0"})
    with pytest.raises(StoreError, match=r"written by fidokit 9\.0 .*pip install --upgrade"):
        store.read_manifest()
    for text in ("{", "[]", json.dumps({"a": 1}), "\xff"):
        (store.path / "study.json").write_text(text, encoding="latin-1")
        with pytest.raises(StoreError, match="damaged"):
            store.read_manifest()


def test_the_table_of_the_dataset_comes_back_as_it_was(store):
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "path": pd.Series(["/x/a.jpg", "/x/caf\udce9.jpg", "/x/ü.jpg"], dtype=object),
            "label": pd.Series(["l", None, "<i>"], dtype=object),
            "box_x0": [1.5, np.nan, 2.0],
            "night": [True, False, True],
            "count": pd.array([1, None, 3], dtype="Int64"),
            "mixed": pd.Series([1, "two", None], dtype=object),
            "when": pd.to_datetime(["2020-01-01", None, "2021-05-05"]),
        }
    )
    store.write_images(table)
    back = store.read_images()
    assert list(back.columns) == list(table.columns)
    for column in ("image_id", "path", "label"):
        assert back[column].tolist() == table[column].tolist()
    assert back["mixed"].tolist() == ["1", "two", None]
    pd.testing.assert_series_equal(back["box_x0"], table["box_x0"])
    pd.testing.assert_series_equal(back["night"], table["night"])
    pd.testing.assert_series_equal(back["count"], table["count"])
    assert back["when"].isna().tolist() == [False, True, False]


def test_a_path_with_a_colon_is_a_path(tmp_path):
    store = Store(tmp_path / "s3:bucket #1 %20")
    store.prepare()
    store.add_masks("m", 0, mask_rows("m", ["a"]))
    assert store.finished("m", ["ssr", "sdr"]) == {"a"}
