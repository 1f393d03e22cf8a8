"""Faults at random places of a study, and whether a plain rerun makes good for them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from study_cases import make_classifier, make_data, register_counting, run

from fidokit.data.images import LabelledImages
from fidokit.exceptions import FidokitError, ImageError
from fidokit.models.session import Session
from fidokit.study.store import files as study_files
from fidokit.study.study import Study

N = 24
METHODS = {"counting": "counting", "fido": ("fido", {"steps": 2, "grid": 4}), "cam": "grad-cam"}
#: Places that a run comes by, and about how often it does.
PLACES = {"read": N, "forward": 90, "write": 25, "fsync": 25, "replace": 25, "mask": 6}
#: Bytes of a whole store, roughly: a full disk holds a part of them.
_STORE = 190_000


@dataclass(frozen=True)
class Fault:
    """One fault; `seed` says where it strikes."""

    kind: str
    seed: int


class Hooks:
    """Calls a function before each thing of a kind that the run does in this process."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(PLACES, 0)
        self.actions: dict[str, Callable[[int], object]] = {}

    def at(self, place: str) -> object:
        number = self.counts[place]
        self.counts[place] += 1
        action = self.actions.get(place)
        return None if action is None else action(number)

    def install(self) -> None:
        load, forward, write = LabelledImages.load, Session.forward, study_files.LocalFiles.write
        fsync, replace = os.fsync, os.replace

        def hooked_load(data, i, preprocessing):
            self.at("read")
            return load(data, i, preprocessing)

        def hooked_forward(session, normalised):
            spoilt = self.at("forward")
            logits = forward(session, normalised)
            return logits if spoilt is None else logits * spoilt

        def hooked_write(own, name, content):
            self.at("write")
            return write(own, name, content)

        LabelledImages.load, Session.forward = hooked_load, hooked_forward
        study_files.LocalFiles.write = hooked_write
        os.fsync = lambda descriptor: (self.at("fsync"), fsync(descriptor))[1]
        os.replace = lambda source, target: (self.at("replace"), replace(source, target))[1]
        register_counting("counting", spoil=lambda _batch: self.at("mask") and None)


def _raise(error: BaseException):
    raise error


def _once(dice: random.Random, place: str, action: Callable[[], object], times: int = 1):
    first = dice.randrange(PLACES[place])
    return place, lambda number: action() if first <= number < first + times else None


def _read_error(dice):
    error = dice.choice([ImageError("the drive is not there"), OSError(errno.EIO, "I/O error"), MemoryError()])
    return [_once(dice, "read", lambda: _raise(error), dice.randrange(1, 6))]


def _write_error(dice):
    code = dice.choice([errno.EIO, errno.ESTALE, errno.EACCES, errno.EROFS])
    place = dice.choice(["write", "fsync", "replace"])
    return [_once(dice, place, lambda: _raise(OSError(code, os.strerror(code))), dice.randrange(1, 4))]


def _exit(dice):
    return [_once(dice, dice.choice(list(PLACES)), lambda: os._exit(3))]


def _interrupt(dice):
    return [_once(dice, dice.choice(list(PLACES)), lambda: signal.raise_signal(signal.SIGINT))]


def _nan(dice):
    return [_once(dice, "forward", lambda: float("nan"), dice.randrange(1, 8))]


def _out_of_memory(dice):
    error = dice.choice([torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no room")])
    return [_once(dice, dice.choice(["forward", "mask"]), lambda: _raise(error), dice.randrange(1, 12))]


def _method_error(dice):
    return [_once(dice, "mask", lambda: _raise(ValueError("not this one")), dice.randrange(1, 4))]


def _clock(dice):
    """The clock on the wall goes back, by seconds or by years; the one that measures times cannot."""
    back, now = dice.choice([1.0, 3600.0, 1e8, 1.7e9]), time.time

    def turn():
        time.time = lambda: now() - back

    return [_once(dice, dice.choice(list(PLACES)), turn)]


IN_PROCESS = {
    "read error": _read_error,
    "write error": _write_error,
    "process exit": _exit,
    "ctrl-c": _interrupt,
    "NaN from the network": _nan,
    "out of memory": _out_of_memory,
    "method error": _method_error,
    "clock going back": _clock,
}
KINDS = (*IN_PROCESS, "full disk", "process killed", "damaged part", "worker killed", "worker exit")


class Campaign:
    """Faults on one dataset, each on a store of its own.

    Args:
        folder: for photographs and stores.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = make_data(folder / "data", N)
        register_counting("counting")
        self.whole = run(make_classifier(), self.data, folder / "undisturbed", METHODS)
        self.expected = _masks(self.whole)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["fault_cases"])

    def suffer(self, fault: Fault) -> tuple[str, list[str]]:
        """Let a fault strike a run, and run again: how the first one ended, and what is wrong with the table now."""
        store = self.folder / f"{fault.kind.replace(' ', '-')}-{fault.seed}"
        dice = random.Random(f"{fault.kind} {fault.seed}")
        if fault.kind == "full disk":
            with _small_disk(store, dice.randrange(4096, _STORE)) as enlarge:
                end = self._disturbed(fault, store)
                enlarge()
                return end, self._rerun(store)
        if fault.kind == "damaged part":
            run(make_classifier(), self.data, store, METHODS)
            end = damage(store, dice)
        elif fault.kind == "process killed":
            end = self._disturbed(fault, store, kill_after=dice.uniform(0.0, 0.35))
        elif fault.kind.startswith("worker"):
            end = self._on_a_cluster(fault, store, dice)
        else:
            end = self._disturbed(fault, store)
        return end, self._rerun(store)

    def _disturbed(self, fault: Fault, store: Path, kill_after: float | None = None) -> str:
        """The run of a fault, in a process of its own."""
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_disturbed, args=(fault, self.folder / "data", store, theirs))
        process.start()
        theirs.close()
        end = ""
        try:
            with suppress(EOFError):
                assert ours.recv() == "ready"
                if kill_after is not None:
                    time.sleep(kill_after)
                    process.kill()
                end = ours.recv()
        finally:
            process.join(60)
            process.kill()
            ours.close()
        return end or f"exit {process.exitcode}"

    def _on_a_cluster(self, fault: Fault, store: Path, dice: random.Random) -> str:
        """A run with two workers, one of which ends."""
        from cluster_cases import cluster_of

        with cluster_of(2) as client:
            methods = METHODS
            if fault.kind == "worker exit":
                register_counting("counting", spoil=_exits_in(self.folder / f"{store.name}.flag", dice))
            else:
                methods = {"counting": ("counting", {"pause": 0.01}), **{k: METHODS[k] for k in ("fido", "cam")}}
                pids = sorted(client.run(os.getpid).values())
                wait = f"sleep {dice.uniform(0.0, 0.8)}; kill -9 {dice.choice(pids)}"
                killer = subprocess.Popen(["sh", "-c", wait], stderr=subprocess.DEVNULL)
            end = _ended(lambda: run(make_classifier(), self.data, store, methods, client=client))
            if fault.kind == "worker killed":
                killer.wait()
        register_counting("counting")
        return end

    def _rerun(self, store: Path) -> list[str]:
        methods = METHODS
        if "worker-killed" in store.name:
            methods = {"counting": ("counting", {"pause": 0.01}), **{k: METHODS[k] for k in ("fido", "cam")}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                study = run(make_classifier(), self.data, store, methods)
            except Exception as error:
                return [f"the rerun ended with {type(error).__name__}: {error}"]
        problems = self.differences(study)
        stamps = _stamps(store)
        calls = register_counting("counting")
        run(make_classifier(), self.data, store, methods)
        if calls or _stamps(store) != stamps:
            problems.append("a third run had something to do")
        problems += [f"left behind: {path.name}" for path in store.rglob("*.tmp")]
        return problems

    def differences(self, study: Study) -> list[str]:
        """How a table differs from the undisturbed one, apart from failures with a reason."""
        failures = study.failures()
        problems = [f"a failure without a reason: {row.image_id}" for row in failures.itertuples() if not row.reason]
        ids = list(self.data.table["image_id"])
        failed = {
            (image_id, label)
            for image_id, method in zip(failures["image_id"], failures["method"], strict=True)
            for label in ([method] if method is not None else METHODS)
        }
        table = study.masks()
        if table.duplicated(["image_id", "method", "kind"]).any():
            problems.append("rows stand there twice")
        found = _masks(study)
        for key, (target, mask) in self.expected.items():
            if (key[0], key[1]) in failed:
                if key in found:
                    problems.append(f"{key} is there and has failed")
            elif key not in found:
                problems.append(f"{key} is missing")
            elif found[key][0] != target or np.abs(found[key][1] - mask).max() > 1e-3:
                problems.append(f"{key} differs")
        problems += [f"{key} should not be there" for key in found.keys() - self.expected.keys()]
        if not (table["seconds"] >= 0).all():
            problems.append("a mask took less than no time")
        mine, theirs = study.predictions(), self.whole.predictions()
        if mine["image_id"].tolist() != ids:
            problems.append("predictions are missing")
        general = set(failures["image_id"][failures["method"].isna()])
        for own, other in zip(mine.to_dict("records"), theirs.to_dict("records"), strict=True):
            if own["reason"] is not None:
                if own["image_id"] not in general:
                    problems.append(f"{own['image_id']} is not predicted, and no failure: {own['reason']}")
            elif own["predicted"] != other["predicted"] or abs(own["score"] - other["score"]) > 1e-5:
                problems.append(f"the prediction of {own['image_id']} differs")
        return problems


def _masks(study: Study) -> dict[tuple[str, str, str], tuple[str, np.ndarray]]:
    columns = ["image_id", "method", "kind", "target", "mask"]
    rows = study.masks(columns=columns).itertuples(index=False, name=None)
    return {(image_id, method, kind): (target, mask) for image_id, method, kind, target, mask in rows}


def _stamps(store: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}


def _ended(call: Callable[[], object]) -> str:
    """How a call ended, in a word; errors that are not fidokit's own are shown in full."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            call()
        except (FidokitError, KeyboardInterrupt) as error:
            return type(error).__name__
        except BaseException as error:
            import traceback

            return "UNEXPECTED " + "".join(traceback.format_exception(error))
    return "finished"


def _disturbed(fault: Fault, folder: Path, store: Path, pipe) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    classifier, data = make_classifier(), LabelledImages.from_folder(folder)
    hooks = Hooks()
    hooks.install()
    if fault.kind in IN_PROCESS:
        hooks.actions.update(IN_PROCESS[fault.kind](random.Random(f"{fault.kind} {fault.seed}")))
    pipe.send("ready")
    pipe.send(_ended(lambda: run(classifier, data, store, METHODS)))


def _exits_in(flag: Path, dice: random.Random):
    """Ends the first worker that comes to one of the photographs."""
    place = dice.randrange(N)

    def spoil(batch):
        if any(int(image_id.split("/")[1][:3]) == place for image_id in batch.image_ids) and not flag.exists():
            flag.touch()
            os._exit(3)

    return spoil


def damage(store: Path, dice: random.Random) -> str:
    """Cut off, empty, spoil, remove or exchange one to three files of a store."""
    done = []
    for _ in range(dice.randrange(1, 4)):
        path = dice.choice(sorted(store.rglob("*.parquet")))
        content = path.read_bytes()
        how = dice.choice(["cut", "empty", "flip", "remove", "exchange", "zeros"])
        if how == "cut":
            path.write_bytes(content[: dice.randrange(len(content))])
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "flip" and content:
            place = dice.randrange(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :])
        elif how == "zeros":
            start = dice.randrange(len(content) + 1)
            path.write_bytes(content[:start] + b"\0" * (len(content) - start))
        elif how == "remove":
            path.unlink()
        else:
            path.write_bytes(dice.choice(sorted(store.rglob("*.parquet"))).read_bytes())
        done.append(how)
    return ", ".join(done)


@contextmanager
def _small_disk(path: Path, n_bytes: int):
    """A file system of a few pages at a path; gives the function that makes it large."""
    path.mkdir()
    size = -(-n_bytes // 4096) * 4096
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if not sys.platform.startswith("linux") or subprocess.run(command, capture_output=True).returncode:
        raise NotImplementedError("a small disk needs Linux and the right to mount one")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(path)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
