"""The files of a store, on this machine or behind an fsspec URL: read and written whole, by names within the store.

On this machine a file appears under its name only when it is complete and on the disk, and nothing in the folder may
be a symbolic link: a folder that came from somebody else can neither show files from elsewhere nor have them
overwritten. Object stores take whole objects, which is the same promise.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from fidokit._util.atomic_write import TEMPORARY, create_atomically, sync_folder, write_atomically
from fidokit.exceptions import StoreError

_PROBE = b"fidokit"


class Files(ABC):
    """The files of one store. Names have "/" between their parts and begin with none.

    Attributes:
        location: the folder, or the URL: what makes the same files again, in another process too.
    """

    location: Path | str

    def __str__(self) -> str:
        return str(self.location)

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    @abstractmethod
    def names(self, folder: str = "") -> list[str]:
        """What lies in a folder, sorted, without the folder's name; nothing where there is no such folder."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file."""

    @abstractmethod
    def open(self, name: str) -> pa.NativeFile:
        """A file to read from."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file as a whole."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none of this name; whether that was so."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is no error."""

    @abstractmethod
    def move(self, name: str, target: str) -> None:
        """Give a file another name, whatever it is; folders are made."""

    @abstractmethod
    def prepare(self, folders: Iterable[str]) -> None:
        """Make the folders and see that they can be written to; OSError if not."""

    @abstractmethod
    def clear_temporary(self, folders: Iterable[str]) -> None:
        """Delete what a write that was cut off left behind."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Room that is left; None where that is not known."""

    def read(self, name: str, most: int) -> bytes:
        """The content of a file.

        Args:
            name: of the file.
            most: bytes.

        Raises:
            StoreError: it is larger.
        """
        size = self.size(name)
        if size > most:
            raise StoreError(
                f"{self}/{name} has {size:,} bytes, a study's has at most {most:,}; remove it, or put back a copy"
            )
        with self.open(name) as file:
            content: bytes = file.read()
        return content

    def ahead(self, names: Sequence[str]) -> Iterator[tuple[str, pa.NativeFile]]:
        """Files one after the other, open for reading; those that another process has removed are left out."""
        for name in names:
            with suppress(FileNotFoundError):
                yield name, self.open(name)


def files_at(location: str | Path) -> Files:
    """The files of a store.

    Args:
        location: a folder, or an fsspec URL such as ``s3://bucket/study`` or ``memory://study``.

    Raises:
        StoreError: no filesystem is known for the URL, or its package is not installed.
    """
    if not is_url(location):
        return LocalFiles(Path(location))
    local = re.fullmatch(r"(?:file|local)://(.*)", str(location), re.DOTALL)
    return LocalFiles(Path(local[1])) if local else RemoteFiles(str(location))


def is_url(location: str | Path) -> bool:
    """Whether a location is an fsspec URL and no folder; a folder's name may hold colons."""
    return isinstance(location, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)", location) is not None


class LocalFiles(Files):
    """A folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self.location: Path = folder

    def path(self, name: str) -> Path:
        """The path of a name.

        Raises:
            StoreError: it, or the folder it lies in, is a symbolic link, or something else than a file or folder.
        """
        path = self.location
        for part in name.split("/") if name else ():
            path = path / part
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
                raise StoreError(
                    f"{path} is {what}, which a study's folder must not hold; put the file itself there, or remove it "
                    "(the folder of the study as a whole may be a link)"
                )
        return path

    def exists(self, name: str) -> bool:
        return self.path(name).is_file()

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self.path(folder)))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, name: str) -> int:
        return self.path(name).stat().st_size

    def open(self, name: str) -> pa.NativeFile:
        return pa.OSFile(os.fsencode(self.path(name)), "rb")

    def write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)

    def create(self, name: str, content: bytes) -> bool:
        return create_atomically(self.path(name), content)

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def move(self, name: str, target: str) -> None:
        folder, _, own = name.rpartition("/")
        path, place = self.path(folder) / own, self.path(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)  # noqa: PTH105
        sync_folder(path.parent)
        sync_folder(place.parent)

    def prepare(self, folders: Iterable[str]) -> None:
        for folder in folders:
            path = self.path(folder)
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path, suffix=TEMPORARY) as file:
                file.write(_PROBE)

    def clear_temporary(self, folders: Iterable[str]) -> None:
        for folder in folders:
            for leftover in self.path(folder).glob(f".*{TEMPORARY}"):
                leftover.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self.location).free


class RemoteFiles(Files):
    """What is behind an fsspec URL. Errors of its package come as OSError, which callers know how to tell."""

    # Objects are small and far away: what counts is how many are on their way at once.
    _AT_ONCE = 16

    def __init__(self, url: str) -> None:
        import fsspec

        self.location: str = url.rstrip("/")
        try:
            self.system, self.root = fsspec.core.url_to_fs(self.location)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"{self} cannot be opened: {error}; install the fsspec package for such URLs (s3fs for s3://, gcsfs "
                "for gs://, adlfs for abfs://), or give a folder"
            ) from error

    def __str__(self) -> str:
        # A password in a URL must not get into messages and reports.
        return re.sub(r"://[^/@]*@", "://", str(self.location))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def exists(self, name: str) -> bool:
        with _as_os_errors():
            self.system.invalidate_cache()
            return bool(self.system.isfile(self._path(name)))

    def names(self, folder: str = "") -> list[str]:
        with _as_os_errors():
            self.system.invalidate_cache()
            try:
                found = self.system.ls(self._path(folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def size(self, name: str) -> int:
        with _as_os_errors():
            return int(self.system.size(self._path(name)))

    def open(self, name: str) -> pa.NativeFile:
        with _as_os_errors():
            return pa.BufferReader(self.system.cat_file(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        with _as_os_errors():
            try:
                self.system.pipe_file(self._path(name), content)
            except FileNotFoundError:
                self.system.makedirs(self._path(name.rpartition("/")[0]), exist_ok=True)
                self.system.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        with _as_os_errors():
            try:
                self.system.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError):
                if self.exists(name):
                    return False
                self.system.pipe_file(self._path(name), content)
        return True

    def remove(self, name: str) -> None:
        with _as_os_errors(), suppress(FileNotFoundError):
            self.system.rm_file(self._path(name))

    def move(self, name: str, target: str) -> None:
        with _as_os_errors():
            self.system.makedirs(self._path(target.rpartition("/")[0]), exist_ok=True)
            self.system.mv(self._path(name), self._path(target))

    def prepare(self, folders: Iterable[str]) -> None:
        for folder in folders:
            with _as_os_errors():
                self.system.makedirs(self._path(folder), exist_ok=True)
        probe = f".probe-{secrets.token_hex(4)}{TEMPORARY}"
        self.write(probe, _PROBE)
        self.remove(probe)

    def clear_temporary(self, folders: Iterable[str]) -> None:
        """Nothing: an object that was not written whole does not exist."""

    def free_bytes(self) -> int | None:
        return None

    def ahead(self, names: Sequence[str]) -> Iterator[tuple[str, pa.NativeFile]]:
        from collections import deque
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(self._AT_ONCE, thread_name_prefix="fidokit-store")
        coming: deque[tuple[str, Future[pa.NativeFile]]] = deque()
        try:
            for name in names:
                coming.append((name, pool.submit(self.open, name)))
                if len(coming) == self._AT_ONCE:
                    yield from _arrived(*coming.popleft())
            while coming:
                yield from _arrived(*coming.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _arrived(name: str, coming: Any) -> Iterator[tuple[str, pa.NativeFile]]:
    with suppress(FileNotFoundError):
        yield name, coming.result()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
