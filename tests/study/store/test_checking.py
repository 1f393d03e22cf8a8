import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study_cases import make_classifier, make_data, register_counting, run, tables_equal

import fidokit as fk
from fidokit import cli
from fidokit.exceptions import StoreError
from fidokit.study.store.store import Store, part_name, slug

pytestmark = pytest.mark.usefixtures("quick")

METHODS = ["counting", "other"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study of 10 photographs, 4 a part, one of them unreadable, with metrics."""
    folder = tmp_path_factory.mktemp("check")
    data = make_data(folder / "data", 10)
    Path(data.table["path"][5]).write_bytes(b"broken")
    register_counting("counting")
    register_counting("other")
    with pytest.warns(RuntimeWarning, match="could not be computed"):
        study = run(make_classifier(), data, folder / "s", METHODS)
    study.metrics(progress=False)
    return study, data, list(data.table["image_id"])


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made[0].path, tmp_path / "s")
    return Store(tmp_path / "s")


def mask_part(label, chunk):
    return part_name("masks", slug(label), chunk)


def found(store, *states):
    frame = fk.open_study(store.path).check()
    frame = frame[frame["state"].isin(states)] if states else frame[frame["state"] != "intact"]
    return {row.part: (row.state, row.image_ids) for row in frame.itertuples()}


def again(store, made, **options):
    """Run again; the image_ids that each method computed."""
    counts = {label: register_counting(label) for label in METHODS}
    study = run(make_classifier(), made[1], store.path, METHODS, **options)
    return study, counts


def flip(path, place=-300):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_study_as_it_was_written(store):
    frame = fk.open_study(store.path).check()
    assert list(frame.columns) == ["part", "state", "reason", "image_ids"]
    assert set(frame["state"]) == {"intact"}
    assert frame["reason"].isna().all()
    assert set(frame["image_ids"]) == {()}
    parts = {str(path.relative_to(store.path)) for path in store.path.rglob("*.parquet")}
    assert set(frame["part"]) == parts


@pytest.mark.parametrize("harm", [flip, cut, lambda path: path.write_bytes(b""), lambda path: flip(path, 100)])
def test_a_damaged_part_is_found_set_aside_and_computed_again(store, made, harm):
    name = mask_part("counting", 1)
    ids = tuple(made[2][i] for i in (4, 6, 7))
    harm(store.path / name)
    damaged = (store.path / name).read_bytes()
    assert found(store) == {name: ("damaged", ids)}
    with pytest.warns(RuntimeWarning, match=r"1 files of .* damaged or not its own.*3 photographs is computed again"):
        study, computed = again(store, made)
    assert computed == {"counting": list(ids), "other": []}
    tables_equal(study, made[0])
    assert found(store) == {}
    (aside,) = (store.path / "damaged").iterdir()
    assert aside.read_bytes() == damaged
    pd.testing.assert_frame_equal(study.metrics(progress=False), made[0].metrics(progress=False))


def test_a_lost_part_is_found_and_computed_again(store, made):
    (store.path / mask_part("other", 2)).unlink()
    assert found(store) == {mask_part("other", 2): ("missing", tuple(made[2][8:]))}
    study, computed = again(store, made)
    assert computed == {"counting": [], "other": made[2][8:]}
    tables_equal(study, made[0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_lost_and_damaged_predictions_and_failures(store, made):
    predictions, failures = part_name("predictions", "", 0), part_name("failures", "images", 1)
    (store.path / predictions).unlink()
    flip(store.path / failures)
    assert found(store) == {
        predictions: ("missing", tuple(made[2][:4])),
        failures: ("damaged", (made[2][5],)),
        mask_part("counting", 1): ("incomplete", (made[2][5],)),
        mask_part("other", 1): ("incomplete", (made[2][5],)),
    }
    study, computed = again(store, made)
    assert computed == {"counting": [], "other": []}
    tables_equal(study, made[0])
    assert found(store) == {}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_metrics_are_measured_again(store, made):
    part = next((store.path / "metrics").glob("part-standing-*-00001.parquet"))
    flip(part)
    assert found(store) == {f"metrics/{part.name}": ("damaged", tuple(made[2][4:8]))}
    study, _ = again(store, made)
    assert study.metrics(progress=False).equals(made[0].metrics(progress=False))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_the_table_of_the_dataset_is_written_anew(store, made, harm):
    before = pq.read_table(store.path / "images.parquet")
    harm(store.path / "images.parquet")
    (row,) = found(store).items()
    assert row[0] == "images.parquet"
    assert row[1][0] in ("damaged", "missing")
    study, computed = again(store, made)
    assert computed == {"counting": [], "other": []}
    assert pq.read_table(store.path / "images.parquet").equals(before)
    assert fk.open_study(store.path).data.fingerprint() == study.data.fingerprint()


def rewrite(path, change):
    """A part changed by somebody who knows how to seal one."""
    from fidokit.study.store import checksummed

    path.write_bytes(checksummed.encode(change(pq.read_table(path))))


def column(name, value):
    def change(table):
        place = table.column_names.index(name)
        return table.set_column(place, table.schema.field(name), pa.array([value] * len(table), table[name].type))

    return change


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda s: shutil.copy(s / mask_part("counting", 0), s / mask_part("counting", 1)), "not of this chunk"),
        (lambda s: shutil.copy(s / mask_part("other", 1), s / mask_part("counting", 1)), "of another method"),
        (lambda s: rewrite(s / mask_part("counting", 1), column("settings_id", "x")), "other settings"),
        (lambda s: rewrite(s / mask_part("counting", 1), column("image_id", "x")), "not of this chunk"),
        (lambda s: rewrite(s / mask_part("counting", 1), column("height", 2**31 - 1)), "height x width"),
        (lambda s: rewrite(s / mask_part("counting", 1), column("height", -4)), "height x width"),
        (lambda s: rewrite(s / mask_part("counting", 1), column("width", None)), "missing in a row"),
        (lambda s: rewrite(s / mask_part("counting", 1), column("mask", None)), "missing in a row"),
    ],
)
def test_a_part_that_is_not_of_this_place(store, made, harm, reason):
    harm(store.path)
    frame = fk.open_study(store.path).check()
    (row,) = frame[frame["state"] != "intact"].itertuples()
    assert row.part == mask_part("counting", 1)
    assert reason in row.reason
    with pytest.warns(RuntimeWarning, match="set aside|damaged or not its own"):
        study, computed = again(store, made)
    assert computed == {"counting": [made[2][i] for i in (4, 6, 7)], "other": []}
    tables_equal(study, made[0])


def test_a_part_of_another_study(store, made, tmp_path):
    """Same photographs, same settings, another classifier: only the id that the parts name tells."""
    for label in METHODS:
        register_counting(label)
    with pytest.warns(RuntimeWarning):
        other = run(make_classifier(gain=2.0), made[1], tmp_path / "other", METHODS)
    shutil.copy(Path(other.path) / mask_part("counting", 0), store.path / mask_part("counting", 0))
    frame = fk.open_study(store.path).check()
    (row,) = frame[frame["state"] != "intact"].itertuples()
    assert (row.part, row.state, row.reason) == (mask_part("counting", 0), "foreign", "it belongs to another study")
    assert row.image_ids == tuple(made[2][:4])


@pytest.mark.parametrize(
    "name",
    [
        "masks/holiday.jpg",
        "masks/part-none-00000.parquet",
        "masks/part-00000.parquet",
        "predictions/part-00009.parquet",
    ],
)
def test_files_that_no_study_writes_are_told_and_not_read(store, made, name):
    (store.path / name).write_bytes(b"x")
    assert found(store) == {name: ("foreign", ())}
    assert len(fk.open_study(store.path).masks()) == len(made[0].masks())
    with pytest.warns(RuntimeWarning, match="not its own"):
        again(store, made)
    assert not (store.path / name).exists()


def test_a_link_in_place_of_a_part(store, made, tmp_path):
    outside = tmp_path / "secret.parquet"
    name = mask_part("counting", 1)
    (store.path / name).rename(outside)
    (store.path / name).symlink_to(outside)
    assert found(store) == {name: ("foreign", tuple(made[2][i] for i in (4, 6, 7)))}
    with pytest.raises(StoreError, match="symbolic link"):
        fk.open_study(store.path).masks()
    with pytest.warns(RuntimeWarning, match="symbolic link"):
        study, _ = again(store, made)
    tables_equal(study, made[0])
    assert outside.exists()


@pytest.mark.filterwarnings("ignore:.*could not be computed:RuntimeWarning")
def test_an_unfinished_study_lists_what_is_missing(made, tmp_path):
    stopped = []

    def stop(batch):
        stopped.append(batch)
        if len(stopped) > 1:
            raise KeyboardInterrupt

    register_counting("counting", spoil=stop)
    register_counting("other")
    study = run(make_classifier(), made[1], tmp_path / "s", METHODS)
    frame = study.check()
    assert set(frame["state"]) == {"intact", "missing"}
    status = study.status().set_index("method")["missing"]
    for label in METHODS:
        missing = frame[frame["part"].str.contains(slug(label)) & (frame["state"] == "missing")]
        # The unreadable one is not known to be so before its chunk is read.
        assert status[label] - missing["image_ids"].map(len).sum() == 0


def test_stores_of_the_first_versions_open_and_are_told(store, made):
    """Without checksums, without an id in the manifest: as they were written before parts were sealed."""
    manifest = json.loads((store.path / "study.json").read_text())
    del manifest["study_id"]
    (store.path / "study.json").write_text(json.dumps(manifest))
    for path in store.path.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path, compression="zstd")
    study = fk.open_study(store.path)
    tables_equal(study, made[0])
    assert set(study.check()["state"]) == {"unsealed"}
    study, computed = again(store, made)
    assert computed == {"counting": [], "other": []}
    assert set(study.check()["state"]) == {"unsealed"}
    (store.path / mask_part("counting", 0)).write_bytes(b"PAR1")
    assert found(store, "damaged") == {mask_part("counting", 0): ("damaged", tuple(made[2][:4]))}


def test_damage_is_never_read_silently(store):
    path = store.path / mask_part("counting", 1)
    masks = pq.read_metadata(path).row_group(0).column(5)
    assert masks.path_in_schema == "mask.list.element"
    flip(path, masks.data_page_offset + masks.total_compressed_size - 20)
    study = fk.open_study(store.path)
    with pytest.raises(StoreError, match="run the study again"):
        study.masks()
    with pytest.raises(StoreError, match="00001"):
        list(study.iter_masks())
    assert len(study.masks("other")) == 18


def test_set_aside_on_request(store):
    flip(store.path / mask_part("counting", 1))
    frame = fk.open_study(store.path).check(set_aside=True)
    assert (frame["state"] == "damaged").sum() == 1
    assert not (store.path / mask_part("counting", 1)).exists()
    assert set(found(store).values()) == {("missing", frame["image_ids"][frame["state"] == "damaged"].iloc[0])}


def test_the_command_says_what_to_compute_again(store, made, capsys, tmp_path):
    assert cli.main(["check", str(store.path)]) == 0
    assert "intact" in capsys.readouterr().out
    flip(store.path / mask_part("counting", 1))
    (store.path / mask_part("other", 2)).unlink()
    csv = tmp_path / "again.csv"
    assert cli.main(["check", str(store.path), "--csv", str(csv)]) == 1
    out = capsys.readouterr().out
    assert "1 damaged" in out
    assert "1 missing" in out
    assert "5 photographs are to be computed again" in out
    assert sorted(pd.read_csv(csv)["image_id"]) == sorted([made[2][i] for i in (4, 6, 7, 8, 9)])
    assert cli.main(["check", str(store.path), "--set-aside"]) == 1
    assert len(list((store.path / "damaged").iterdir())) == 1
    assert cli.main(["check", str(tmp_path / "nothing")]) == 2


def test_a_write_that_was_cut_off_leaves_no_part(store, made):
    """What a power cut leaves: a temporary file, or a part of which only the beginning reached the disk."""
    name = mask_part("counting", 1)
    content = (store.path / name).read_bytes()
    generator = np.random.default_rng(0)
    for length in generator.integers(0, len(content), 20):
        (store.path / name).write_bytes(content[:length] + b"\0" * (len(content) - length))
        assert found(store)[name][0] == "damaged"
