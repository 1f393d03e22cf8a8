"""Photographs in folders, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fidokit.data.readers.left_out import LeftOut, is_left_out, told
from fidokit.data.readers.reading import Notes, Reading, RowNames
from fidokit.exceptions import SettingsError

SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff"),
        *(".webp", ".avif", ".jp2", ".mpo", ".ppm", ".pgm", ".pbm", ".pnm"),
    ]
)
"""Suffixes (lower case) of the files that `LabelledImages.from_folder` takes."""

#: Folders (lower case) that hold the parts of a dataset, each with one folder a class.
_PARTS = frozenset(["train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"])


def read_folder(root: Path) -> Reading:
    """path (relative to root) and label of every image below root.

    Folders of thumbnails and the like, and hidden ones, are not entered, see `left_out`.

    Raises:
        SettingsError: no such folder, or no photograph in it.
    """
    if not root.is_dir():
        raise SettingsError(f"{root} is not a folder; pass the folder that holds one folder a class")
    found, left_out = _list_images(root)
    if not found:
        raise SettingsError(
            f"{root} holds no images ({left_out.files} other files){_among(left_out)}; expected are files such as "
            f"{root}/class name/photo.jpg with one of the suffixes {', '.join(sorted(SUFFIXES))}"
        )
    relative = [path.relative_to(root) for path in found]
    labels = [path.parts[0] if len(path.parts) > 1 else None for path in relative]
    frame = pd.DataFrame({"path": [path.as_posix() for path in relative], "label": labels}, dtype=object)
    notes = Notes()
    if str(left_out):
        notes.say(str(left_out))
    if doubt := _doubtful([path.parts for path in relative]):
        notes.say(doubt)
    return Reading(frame, root, RowNames("row ", range(len(frame))), left_out.files, notes, left_out.counts)


def _doubtful(paths: Sequence[tuple[str, ...]]) -> str | None:
    """Why the upper folders are likely not the classes; None if they can be."""
    classes = {parts[0] for parts in paths if len(parts) > 1}
    below = {parts[1] for parts in paths if len(parts) > 2}
    if not classes or any(len(parts) < 3 for parts in paths) or len(below) < 2:
        return None
    first = min(classes)
    if {name.lower() for name in classes} <= _PARTS:
        why = f"the classes are the folders {', '.join(sorted(classes))}, which sounds like parts of a dataset"
    elif len(classes) == 1:
        why = f"all photographs are of one class, since they lie in one folder, {first}"
    else:
        return None
    return f"{why}; pass {first} itself if the classes are the folders in it ({', '.join(sorted(below)[:3])}, ...)"


def _among(left_out: LeftOut) -> str:
    return f": {told(left_out.counts)}" if left_out.counts else ""


def _list_images(root: Path) -> tuple[list[Path], LeftOut]:
    found: list[Path] = []
    left_out = LeftOut()
    for folder, folders, files in os.walk(root, followlinks=True):
        # A linked class folder is followed, a link that leads back up would never end.
        for name in filter(is_left_out, folders):
            left_out.add_folder(Path(folder, name))
        folders[:] = [name for name in folders if not is_left_out(name) and not _leads_up(Path(folder), name)]
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                left_out.add_file(name)
            else:
                found.append(Path(folder) / name)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix()), left_out


def _leads_up(folder: Path, name: str) -> bool:
    return folder.resolve().is_relative_to((folder / name).resolve())
