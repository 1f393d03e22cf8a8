import os
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from study_cases import make_classifier, make_data, register_counting, run, tables_equal
from test_store import mask_rows

import fidokit as fk
from fidokit import cli
from fidokit.exceptions import StoreError
from fidokit.study.store.files import LocalFiles, RemoteFiles, files_at
from fidokit.study.store.store import Store, slug

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def memory():
    yield "memory://fidokit-tests"
    system = fsspec.filesystem("memory")
    if system.exists("/fidokit-tests"):
        system.rm("/fidokit-tests", recursive=True)


@pytest.fixture(params=["folder", "file", "dir", "memory"])
def location(request, tmp_path, memory):
    (tmp_path / "deep").mkdir()
    return {
        "folder": tmp_path / "deep" / "store",
        "file": f"file://{tmp_path}/deep/store",
        "dir": f"dir://store::file://{tmp_path}/deep",
        "memory": memory,
    }[request.param]


def test_locations_are_told_apart(tmp_path):
    for folder in ("runs/birds", "s3:bucket #1", tmp_path, Path("memory://x"), "C:\\runs"):
        assert isinstance(files_at(folder), LocalFiles)
    assert files_at(f"file://{tmp_path}/s").location == tmp_path / "s"
    assert isinstance(files_at("memory://x"), RemoteFiles)


def test_urls_without_a_filesystem_say_what_to_install():
    with pytest.raises(StoreError, match="nosuch"):
        files_at("nosuch://bucket")


def test_a_password_in_a_url_is_not_shown():
    assert str(files_at("memory://name:secret@host/s")) == "memory://host/s"


def test_files_are_written_listed_read_moved_and_removed(location):
    files = files_at(location)
    files.prepare(["masks"])
    assert files.names("masks") == []
    assert not files.exists("masks/a")
    files.write("masks/a", b"one")
    files.write("masks/a", b"two")
    assert files.exists("masks/a")
    assert files.names("masks") == ["a"]
    assert files.names("") == ["masks"]
    assert files.names("nowhere") == []
    assert files.size("masks/a") == 3
    assert files.read("masks/a", 3) == b"two"
    with pytest.raises(StoreError, match="3 bytes, a study's has at most 2"):
        files.read("masks/a", 2)
    with pytest.raises(FileNotFoundError):
        files.read("masks/b", 2)
    assert [(name, file.read()) for name, file in files.ahead(["masks/b", "masks/a"])] == [("masks/a", b"two")]
    assert not files.create("masks/a", b"three")
    assert files.create("b", b"three")
    files.move("masks/a", "damaged/a")
    assert files.names("masks") == []
    assert files.read("damaged/a", 9) == b"two"
    files.remove("b")
    files.remove("b")
    assert files.names("") == ["damaged", "masks"]


def test_a_study_lives_anywhere(location, tmp_path):
    data = make_data(tmp_path / "data", 6)
    calls = register_counting("counting")
    register_counting("other")
    undisturbed = run(make_classifier(), data, tmp_path / "plain", ["counting", "other"])
    calls.clear()
    study = run(make_classifier(), data, location)
    assert len(calls) == 6
    run(make_classifier(), data, location, ["counting", "other"])
    assert len(calls) == 6
    study = fk.open_study(location, make_classifier())
    tables_equal(study, undisturbed)
    assert study.status()["finished"].tolist() == [6, 6]
    plain = fk.open_study(tmp_path / "plain", make_classifier())
    pd.testing.assert_frame_equal(study.metrics(progress=False), plain.metrics(progress=False))
    costs = ["seconds"]
    pd.testing.assert_frame_equal(study.summary(50).drop(columns=costs), plain.summary(50).drop(columns=costs))
    assert set(study.check()["state"]) == {"intact"}
    page = fk.write_report(study, tmp_path / "page.html").read_text()
    assert str(study.store).rpartition("/")[2] in page
    assert page.count("<img") == undisturbed_pictures(plain, tmp_path)


def undisturbed_pictures(study, folder):
    return fk.write_report(study, folder / "plain.html").read_text().count("<img")


def test_a_part_removed_while_others_are_read_is_left_out(location):
    store = Store(location)
    store.prepare()
    for chunk in range(3):
        store.add_masks("m", chunk, mask_rows("m", [str(chunk)]))
    batches = store.mask_batches(["m"], ["image_id"])
    names = list(store.parts("masks", slug("m")).values())
    store.files.remove(names[1])
    assert {i for batch in batches for i in batch["image_id"].to_pylist()} == {"0", "2"}


def test_errors_of_a_filesystem_are_ours(memory, monkeypatch):
    store = Store(memory)
    store.prepare()
    store.add_masks("m", 0, mask_rows("m", ["a"]))

    def broken(*_args, **_options):
        raise RuntimeError("the bucket is on fire")

    monkeypatch.setattr(type(store.files.system), "cat_file", broken)
    with pytest.raises(StoreError, match="on fire"):
        store.finished("m", ["ssr"])
    monkeypatch.setattr(type(store.files.system), "ls", broken)
    with pytest.raises(StoreError, match="on fire"):
        store.read_failures()
    monkeypatch.setattr(type(store.files.system), "pipe_file", broken)
    with pytest.raises(OSError, match="on fire"):
        store.add_masks("m", 1, mask_rows("m", ["a"]))
    monkeypatch.undo()


def test_commands_take_urls(location, tmp_path, capsys):
    data = make_data(tmp_path / "data", 3)
    register_counting("counting")
    run(make_classifier(), data, location)
    assert cli.main(["check", str(location)]) == 0
    assert "3 intact" in capsys.readouterr().out
    assert cli.main(["report", str(location), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000
    if isinstance(files_at(location), RemoteFiles):
        capsys.readouterr()
        assert cli.main(["report", str(location)]) == 2
        assert "say with --out FILE where to write" in capsys.readouterr().err


# Links out of the folder.


@pytest.mark.parametrize("name", ["masks", "masks/part", "study.json", ".lock"])
def test_symbolic_links_are_neither_read_nor_written_through(tmp_path, name):
    files = LocalFiles(tmp_path / "store")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    files.prepare(["masks"])
    link = tmp_path / "store" / name
    if link.is_dir():
        link.rmdir()
        link.symlink_to(outside)
        inside = f"{name}/file"
    else:
        link.symlink_to(outside / "file")
        inside = name
    for act in (
        lambda: files.exists(inside),
        lambda: files.read(inside, 99),
        lambda: files.size(inside),
        lambda: files.open(inside),
        lambda: files.write(inside, b"x"),
        lambda: files.remove(inside),
        lambda: list(files.ahead([inside])),
    ):
        with pytest.raises(StoreError, match="is a symbolic link"):
            act()
    assert (outside / "file").read_bytes() == b"secret"
    assert [path.name for path in outside.iterdir()] == ["file"]


def test_the_folder_of_a_study_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = Store(tmp_path / "store")
    store.prepare()
    store.add_masks("m", 0, mask_rows("m", ["a"]))
    assert store.finished("m", ["ssr", "sdr"]) == {"a"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    store = Store(tmp_path)
    os.mkfifo(tmp_path / "study.json")
    with pytest.raises(StoreError, match="no regular file"):
        store.read_manifest()
