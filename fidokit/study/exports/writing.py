"""Files written whole, and never over one that is there unless that is asked for."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fidokit._util.atomic_write import TEMPORARY, create_atomically, sync_folder, write_atomically, writing
from fidokit._util.wording import given
from fidokit.exceptions import SettingsError


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse to write over what is there, before anything is computed.

    Raises:
        SettingsError: there is something of this name, or it is a folder.
    """
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; give the name of a file in it")
    if os.path.lexists(path) and not overwrite:
        raise _taken(path)


def write_whole(path: Path, content: bytes, overwrite: bool) -> None:
    """Write a file, with the folders above it.

    Raises:
        SettingsError: there is one of this name by now.
        StoreError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if overwrite:
            write_atomically(path, content)
        elif not create_atomically(path, content):
            raise _taken(path)


def check_folder(folder: Path, overwrite: bool) -> None:
    """As `check_free`, for a folder: one that is empty is as good as none."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; give the name of one")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise _taken(folder)


@contextmanager
def whole_folder(folder: Path, last: str, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, which gets its name when all is in it; nothing of it is left after an error.

    Where the folder is there already, its files are replaced one by one.

    Args:
        folder: its name.
        last: the file that is replaced last, since it says what the others are.
        overwrite: whether to write over what is there.

    Raises:
        SettingsError: there is something of this name by now.
        StoreError: it cannot be written.
    """
    stage = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            stage.mkdir()
            yield stage
            check_folder(folder, overwrite)
            if folder.is_dir() and any(folder.iterdir()):
                _replace(stage, folder, last)
            else:
                if folder.is_dir():
                    folder.rmdir()
                stage.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(stage: Path, folder: Path, last: str) -> None:
    files = sorted((path for path in stage.rglob("*") if path.is_file()), key=lambda path: path == stage / last)
    for path in files:
        target = folder / path.relative_to(stage)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        sync_folder(target.parent)


def _taken(path: Path) -> SettingsError:
    return SettingsError(f"{path} is there already; choose another name, or say {given(overwrite=True)}")
