import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
import study_cases
from study_cases import make_data
from test_store import mask_rows

import fidokit as fk
from fidokit.exceptions import StoreError
from fidokit.study.store import lock
from fidokit.study.store.files import LocalFiles, RemoteFiles
from fidokit.study.store.lock import Owner, held
from fidokit.study.store.store import Store


def no_locks(*_args, **_options):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["flock", "record", "memory"])
def files(request, tmp_path, monkeypatch):
    """A folder with file locks, one without, and an object store."""
    monkeypatch.setattr(lock, "_SETTLE", 0.0)
    if request.param == "memory":
        yield RemoteFiles("memory://fidokit-lock")
        fsspec.filesystem("memory").store.pop("/fidokit-lock/.lock", None)
        return
    if request.param == "record":
        monkeypatch.setattr(lock, "FileLock", no_locks)
    yield LocalFiles(tmp_path)


def leave(files, **changes):
    """A lock as a run leaves it that was killed."""
    owner = Owner.parse(Owner.me().content())
    record = vars(owner) | {"process": gone(), "heartbeat": time.time()} | changes
    files.write(".lock", json.dumps(record).encode())


def gone():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_writer_is_told_who_the_first_is(files):
    with held(files), pytest.raises(StoreError) as caught, held(files):
        pass
    message = str(caught.value)
    assert "another run is writing" in message
    for part in (socket.gethostname(), f"process {os.getpid()}", "since 20", "last sign of life"):
        assert part in message
    with held(files):
        pass


def test_it_is_let_go_of_after_an_error(files, recwarn):
    with pytest.raises(ZeroDivisionError), held(files):
        raise ZeroDivisionError
    with held(files):
        pass
    assert not recwarn.list


def test_the_lock_of_a_dead_process_is_taken_over_with_a_note(files):
    leave(files, user="somebody")
    with pytest.warns(RuntimeWarning, match="ended without letting go of it .'somebody' on"), held(files):
        assert Owner.parse(files.read(".lock", 9999)).process == os.getpid()


def test_an_owner_elsewhere_counts_as_dead_when_it_is_silent(files):
    leave(files, host="node-7")
    with pytest.raises(StoreError, match="'node-7', process"), held(files):
        pass
    leave(files, host="node-7", heartbeat=time.time() - lock.STALE_AFTER - 1)
    with pytest.warns(RuntimeWarning, match="'node-7'"), held(files):
        pass


def test_a_live_owner_gives_signs_of_life(files, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    with held(files):
        first = Owner.parse(files.read(".lock", 9999))
        deadline = time.monotonic() + 10
        while Owner.parse(files.read(".lock", 9999)).heartbeat == first.heartbeat:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert Owner.parse(files.read(".lock", 9999)).since == first.since
    assert not [thread for thread in threading.enumerate() if thread.name == "fidokit-lock"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"{}", b"[1]", b'{"host": 1}', b"[" * 4000, b"\xff\xfe", b"x" * 4096],
)
def test_a_record_that_says_nothing_is_no_owner(files, content):
    files.write(".lock", content)
    with held(files):
        pass


def test_absurd_records_do_no_harm(files):
    leave(files, process=-(10**30), since=1e300, heartbeat=float("nan"), host="\x1b[31m")
    with pytest.warns(RuntimeWarning, match="since an unknown time"), held(files):
        pass


@pytest.mark.parametrize("name", [lock.LOCK, lock.HELD])
def test_the_lock_is_no_way_out_of_the_folder(tmp_path, name):
    outside = tmp_path / "profile"
    outside.write_text("mine")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / name).symlink_to(outside)
    with pytest.raises(StoreError, match="symbolic link"), held(LocalFiles(tmp_path / "store")):
        pass
    assert outside.read_text() == "mine"


@pytest.mark.filterwarnings("ignore:.*taken over:RuntimeWarning")
def test_of_two_that_write_the_record_at_once_one_holds_it(monkeypatch):
    files = RemoteFiles("memory://fidokit-race")
    monkeypatch.setattr(lock, "_SETTLE", 0.2)
    leave(files, host="node-7", heartbeat=0.0)
    won, lost, together = [], [], threading.Barrier(2)

    def attempt():
        together.wait()
        try:
            with held(files):
                won.append(1)
                time.sleep(0.6)
        except StoreError:
            lost.append(1)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 1)


# Other processes and threads.

_HOLD = """
import sys, time
from fidokit.study.store.store import Store
with Store(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_another_process_and_its_end(tmp_path):
    store = Store(tmp_path / "s")
    store.prepare()
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, store.path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid}, since"), store.locked():
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with pytest.warns(RuntimeWarning, match=f"process {holder.pid}.* taken over"), store.locked():
            pass
    finally:
        holder.kill()
        holder.stdout.close()
        holder.wait()


_READ = """
import sys
import numpy as np
import fidokit as fk
print("ready", flush=True)
n = seen = 0
while not sys.stdin.closed:
    study = fk.open_study(sys.argv[1])
    frame = study.masks()
    for image_id, mask in zip(frame["image_id"], frame["mask"]):
        assert mask.shape == (4, 4), mask.shape
    assert frame["image_id"].groupby(frame["image_id"]).size().eq(2).all()
    status = study.status()
    study.failures(), study.predictions(), study.summary(10)
    assert status["finished"][0] + status["failed"][0] + status["missing"][0] == len(study)
    assert len(frame) // 2 >= seen
    seen = len(frame) // 2
    n += 1
    if status["missing"][0] == 0:
        break
print(n, seen, flush=True)
"""

_WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
from study_cases import make_classifier, register_counting, run
from fidokit.data.images import LabelledImages
register_counting("counting")
run(make_classifier(), LabelledImages.from_folder(sys.argv[2]), sys.argv[3],
    {"counting": ("counting", {"pause": 0.05})}, part_size=2)
"""


def test_others_read_while_one_writes(tmp_path):
    make_data(tmp_path / "data", 16)
    (tmp_path / "data" / "red" / "003.png").write_bytes(b"broken")
    tests = str(Path(study_cases.__file__).parent)
    store = tmp_path / "s"
    writer = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _WRITE, tests, tmp_path / "data", store])
    try:
        deadline = time.monotonic() + 60
        while not (store / "study.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", _READ, store],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for reader in readers:
            said, errors = reader.communicate(timeout=60)
            assert reader.returncode == 0, errors
            rounds, seen = map(int, said.splitlines()[1].split())
            assert rounds >= 1
            assert seen == 15
        assert writer.wait(timeout=60) == 0
    finally:
        writer.kill()
        writer.wait()
    assert set(fk.open_study(store).check()["state"]) == {"intact"}


def test_workers_write_while_a_driver_holds_the_lock(tmp_path):
    store = Store(tmp_path / "s")
    store.prepare()
    with store.locked():
        threads = [
            threading.Thread(target=lambda n=n: Store(tmp_path / "s").add_masks("m", n, mask_rows("m", [f"{n}"])))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.finished("m", ["ssr", "sdr"]) == {str(n) for n in range(20)}
