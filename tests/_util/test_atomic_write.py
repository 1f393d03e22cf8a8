import os

import pytest

from fidokit._util.atomic_write import TEMPORARY, create_atomically, temporary_file, write_atomically


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "file.json"
    write_atomically(path, b"first, and longer")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_cut_off_leaves_the_file_as_it_was(tmp_path, monkeypatch, call, error):
    path = tmp_path / "file.json"
    path.write_bytes(b"before")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    write_atomically(tmp_path / "file", b"content")
    assert done[:2] == ["sync", "replace"]


def test_a_temporary_file_is_beside_it_hidden_and_told_by_its_name(tmp_path):
    with temporary_file(tmp_path / "file.json", b"content") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".file.json.")
        assert temporary.suffix == TEMPORARY
        assert temporary.read_bytes() == b"content"
    assert not temporary.exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"content")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_only_made_where_there_is_none(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise OSError(1, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file"
    assert create_atomically(path, b"first")
    assert not create_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
