"""One writer at a time: who writes to a store, since when, and whether they still live.

The lock is a small file, ``.lock``: its owner's host, process and user, and a heartbeat. Where the system has file
locks, one is held beside it: it goes with the process however that ends, which no record can promise. On object
stores, and on drives without file locks, the record is all there is, so an owner elsewhere counts as dead when its
heartbeat is older than `STALE_AFTER`; clocks of the machines may differ by about a minute.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from filelock import FileLock, Timeout

from fidokit._util.warning import warn
from fidokit.exceptions import StoreError
from fidokit.study.store.files import Files, LocalFiles

LOCK = ".lock"
HELD = ".lock.held"
HEARTBEAT = 15.0
"""Seconds between two signs of life."""
STALE_AFTER = 120.0
"""Seconds without a sign of life after which an owner on another machine counts as dead."""
# Two that write the record at the same moment see, this much later, which one was the last.
_SETTLE = 0.5
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Owner:
    """Who holds, or held, a lock."""

    host: str
    process: int
    user: str
    since: float
    heartbeat: float
    token: str

    @classmethod
    def me(cls) -> Owner:
        """This process, now."""
        now = time.time()
        return cls(socket.gethostname(), os.getpid(), _user(), now, now, secrets.token_hex(8))

    @classmethod
    def parse(cls, content: bytes) -> Owner | None:
        """The owner that a record names; None for an empty or unreadable one."""
        try:
            record: dict[str, Any] = json.loads(content)
            owner = cls(**{f.name: record[f.name] for f in fields(cls)})
            texts = (owner.host, owner.user, owner.token)
            numbers = (owner.process, owner.since, owner.heartbeat)
            if all(isinstance(text, str) for text in texts) and all(isinstance(n, int | float) for n in numbers):
                return owner
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return None

    def content(self) -> bytes:
        """The record, now."""
        return json.dumps(asdict(self) | {"heartbeat": time.time()}).encode()

    def __str__(self) -> str:
        try:
            since = f"{datetime.fromtimestamp(self.since):%Y-%m-%d %H:%M:%S}"
        except (ValueError, OverflowError, OSError):
            since = "an unknown time"
        return f"{self.user!r} on {self.host!r}, process {self.process}, since {since}"

    def is_dead(self) -> bool:
        """Whether it cannot be writing any more: its process is gone from this machine, or it is silent for long."""
        if self.host == socket.gethostname() and not _runs(self.process):
            return True
        return not self.silence() < STALE_AFTER

    def silence(self) -> float:
        """Seconds since its last sign of life."""
        return time.time() - self.heartbeat


@contextmanager
def held(files: Files) -> Iterator[None]:
    """Holds the lock of a store.

    Raises:
        StoreError: another run holds it; the message says which.

    Warns:
        RuntimeWarning: it was taken over from a run that ended without letting go of it.
    """
    with ExitStack() as stack:
        locked = isinstance(files, LocalFiles) and _file_lock(files, stack)
        me, before = Owner.me(), _ended(files, locked)
        if before is not None:
            warn(f"{files} was locked by a run that ended without letting go of it ({before}); its lock was taken over")
        if locked:
            # The record only says whose lock it is; that no more can be written, the run itself will say.
            with suppress(OSError):
                files.write(LOCK, me.content())
        else:
            if before is not None or not files.create(LOCK, me.content()):
                _ended(files, locked)
                files.write(LOCK, me.content())
                time.sleep(_SETTLE)
            if not _is_mine(files, me):
                raise _busy(files, _read(files))
        stack.callback(_let_go, files, me)
        with _beating(files, me):
            yield


def _file_lock(files: LocalFiles, stack: ExitStack) -> bool:
    """Whether the system locked a file of the folder; there are no locks on some network drives."""
    try:
        files.path(LOCK)
        stack.enter_context(FileLock(files.path(HELD), timeout=0, thread_local=False, fallback_to_soft=False))
    except Timeout:
        raise _busy(files, _read(files)) from None
    except (OSError, NotImplementedError):
        return False
    return True


def _ended(files: Files, locked: bool) -> Owner | None:
    """The owner that the record names, which is dead, or None; with the file lock in hand, all of this machine are.

    Raises:
        StoreError: it lives.
    """
    owner = _read(files)
    if owner is not None and not owner.is_dead() and not (locked and owner.host == socket.gethostname()):
        raise _busy(files, owner)
    return owner


def _read(files: Files) -> Owner | None:
    try:
        return Owner.parse(files.read(LOCK, _MOST_BYTES))
    except FileNotFoundError:
        return None


def _is_mine(files: Files, me: Owner) -> bool:
    now = _read(files)
    return now is not None and now.token == me.token


def _let_go(files: Files, me: Owner) -> None:
    if _is_mine(files, me):
        files.remove(LOCK)


def _busy(files: Files, owner: Owner | None) -> StoreError:
    who = "" if owner is None else f" ({owner}; last sign of life {max(0.0, owner.silence()):.0f} s ago)"
    return StoreError(
        f"another run is writing to {files}{who}; wait for it to end, or choose another folder. A run that was killed "
        f"is noticed, on another machine {STALE_AFTER:.0f} s after its last sign of life"
    )


@contextmanager
def _beating(files: Files, me: Owner) -> Iterator[None]:
    """Gives a sign of life every `HEARTBEAT` seconds, from a thread of its own."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(HEARTBEAT):
            # One that is lost on its way is made good by the next.
            with suppress(OSError):
                if _is_mine(files, me):
                    files.write(LOCK, me.content())

    thread = threading.Thread(target=run, name="fidokit-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _runs(process: int) -> bool:
    """Whether a process of this machine is alive; on Windows, where asking would end it, it is taken for alive."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    except OSError:
        return True
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
