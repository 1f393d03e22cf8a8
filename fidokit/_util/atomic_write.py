"""Files that appear under their names only when they are complete and on the disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fidokit.exceptions import StoreError

#: How the names of files end that a write which was cut off leaves behind; they begin with a dot.
TEMPORARY = ".tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Write or replace a file: it has all of the content, on the disk, or is as it was.

    Raises:
        OSError: it cannot be written.
    """
    with temporary_file(path, content) as temporary:
        os.replace(temporary, path)  # noqa: PTH105
    sync_folder(path.parent)


def create_atomically(path: Path, content: bytes) -> bool:
    """Write a file as `write_atomically` does if there is nothing of this name; whether that was so.

    Raises:
        OSError: it cannot be written.
    """
    with temporary_file(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if os.path.lexists(path):
                return False
            os.replace(temporary, path)  # noqa: PTH105
    sync_folder(path.parent)
    return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around the writing of a file or folder that a user named.

    Raises:
        StoreError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error


@contextmanager
def temporary_file(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside a path that has the content, and is on the disk; gone afterwards."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a renaming itself survive a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
