"""Where the photographs lie that a program of another machine wrote about."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fidokit._util.wording import argument
from fidokit.data.readers.cells import common_folder, file_of
from fidokit.data.readers.reading import Notes, path_inside
from fidokit.exceptions import SettingsError

#: Photographs whose files are looked for; on a slow network drive, about a second.
_SAMPLE = 64
#: Paths of Windows with a drive or a server, their backslashes turned, and those of other systems.
_ABSOLUTE = re.compile(r"[A-Za-z]:/|/")


def locate(files: Sequence[str], path: Path, images: Path | None, notes: Notes) -> tuple[list[str], Path]:
    """The path of each photograph, with "/" between its parts, and the folder to which these are relative.

    Absolute paths are taken as they stand where their files are there and no folder is given. Else the files are looked
    for below the folder, by what remains of a path without its first parts.

    Args:
        files: as they are written.
        path: where they are written.
        images: the folder of the photographs, if the user gave one; otherwise that of `path`.
        notes: for what was made of absolute paths.

    Raises:
        SettingsError: a relative path leads out of the folder, or names nothing.
    """
    root = path.parent if images is None else images
    places = []
    for file in files:
        text = file.replace("\\", "/")
        if _ABSOLUTE.match(text):
            places.append(posixpath.normpath(text))
        else:
            places.append(_plain(path_inside(text, f"{path}, {file}"), f"{path}, {file}"))
    absolute = [i for i, place in enumerate(places) if _ABSOLUTE.match(place)]
    if not absolute:
        return places, root
    if images is None and any(file_of(places[i]).is_file() for i in _spread(absolute)):
        notes.say(f"{len(absolute)} paths are absolute, and are taken as they stand")
        if len(absolute) < len(places):
            return places, root
        root = common_folder(places)
        prefixes = [str(root / "x")[:-1]]
    else:
        prefixes = _prefixes([places[i] for i in absolute], root)
        if prefixes:
            where = ", ".join(repr(prefix) for prefix in prefixes)
            notes.say(f"{len(absolute)} paths are absolute; what comes after {where} is looked for in {root}")
    for i in absolute:
        prefix = next((prefix for prefix in prefixes if places[i].startswith(prefix)), "")
        places[i] = places[i][len(prefix) :]
    return places, root


def look_for(places: Sequence[str], root: Path, names: Sequence[str], notes: Notes) -> None:
    """Note, from some photographs, how many are not there.

    Args:
        places: their paths, relative to `root`; a path may stand there several times.
        root: their folder.
        names: what messages call them.
        notes: for what is missing.

    Raises:
        SettingsError: none of them is there.
    """
    first = {place: i for i, place in reversed(list(enumerate(places)))}
    looked = _spread(sorted(first.values()))
    missing = [i for i in looked if not file_of(str(root / places[i])).is_file()]
    if not missing:
        return
    if len(missing) == len(looked):
        raise SettingsError(
            f"{names[missing[0]]}: there is no photograph {root / places[missing[0]]}, nor any other of the "
            f"{len(looked)} that were looked for; give the folder to which the paths are relative as "
            f"`{argument('images')}`"
        )
    notes.add(
        f"of the {len(looked)} photographs looked for are not there, and become failures",
        names[missing[0]],
        len(missing),
    )


def _plain(text: str, where: str) -> str:
    plain = posixpath.normpath(text) if "./" in text or "//" in text or text.endswith("/") else text
    if plain in ("", "."):
        raise SettingsError(f"{where}: the path names no file; correct the file")
    return plain


def _spread(places: Sequence[int]) -> list[int]:
    """Some of the places, spread over all."""
    spread = np.linspace(0, len(places) - 1, min(len(places), _SAMPLE)).round().astype(np.int64)
    return [places[k] for k in np.unique(spread).tolist()] if places else []


def _prefixes(paths: Sequence[str], root: Path) -> list[str]:
    """The beginnings of absolute paths below which the photographs lie in `root`, found by looking for some of them."""
    prefixes: list[str] = []
    for path in (paths[k] for k in _spread(range(len(paths)))):
        if any(path.startswith(prefix) for prefix in prefixes):
            continue
        parts = path.split("/")
        for k in range(1, len(parts)):
            rest = "/".join(parts[k:])
            if rest and file_of(str(root / rest)).is_file():
                prefixes.append(path[: len(path) - len(rest)])
                break
    return prefixes
