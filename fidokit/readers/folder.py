"""Photographs in folders, one folder a class."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from fidokit.exceptions import SettingsError

SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff"),
        *(".webp", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"),
    ]
)
"""Suffixes (lower case) of the files that `LabelledImages.from_folder` takes."""


def read_folder(root: Path) -> tuple[pd.DataFrame, int]:
    """path (relative to root) and label of every image below root, and the number of other files.

    Raises:
        SettingsError: no such folder, or no photograph in it.
    """
    if not root.is_dir():
        raise SettingsError(f"{root} is not a folder; pass the folder that holds one folder a class")
    found, skipped = _list_images(root)
    if not found:
        raise SettingsError(
            f"{root} holds no images ({skipped} other files); expected are files such as "
            f"{root}/class name/photo.jpg with one of the suffixes {', '.join(sorted(SUFFIXES))}"
        )
    relative = [path.relative_to(root) for path in found]
    labels = [path.parts[0] if len(path.parts) > 1 else None for path in relative]
    return pd.DataFrame({"path": [path.as_posix() for path in relative], "label": labels}, dtype=object), skipped


def _list_images(root: Path) -> tuple[list[Path], int]:
    found: list[Path] = []
    skipped = 0
    for folder, folders, files in os.walk(root, followlinks=True):
        # A linked class folder is followed, a link that leads back up would never end.
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_up(Path(folder), name)]
        images = [name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
        found.extend(Path(folder) / name for name in images)
        skipped += len(files) - len(images)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix()), skipped


def _leads_up(folder: Path, name: str) -> bool:
    return folder.resolve().is_relative_to((folder / name).resolve())
