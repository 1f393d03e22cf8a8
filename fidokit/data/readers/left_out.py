"""What a folder holds beside its photographs, and how that is told."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

#: Folders (lower case, with wildcards) in which programs and systems keep thumbnails, deleted files and earlier states.
_FOLDERS = (
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler"),
    *("thumb", "thumbs", "thumbnail", "thumbnails", "_thumb*"),
    *("__macosx", "system volume information", "lost+found", "*.lrdata", "*.lrcat-data", "*.cocatalogdb"),
)
#: Files (lower case) that systems write by themselves, so that nobody misses them.
_OF_SYSTEMS = frozenset(["thumbs.db", "ehthumbs.db", "desktop.ini"])
_HIDDEN = "hidden"


class LeftOut:
    """Counts files and folders that a reader passed over.

    Attributes:
        counts: files by their ending, entries of folders as "in NAME", and hidden files.
        files: how many files there were, without those in folders.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.files = 0
        self._missed = False

    def add_file(self, name: str) -> None:
        self.files += 1
        hidden = name.startswith(".")
        self.counts[_HIDDEN if hidden else ending_of(name)] += 1
        self._missed |= not hidden and name.lower() not in _OF_SYSTEMS

    def add_folder(self, folder: Path) -> None:
        """A folder that is not entered: its entries are counted, not what lies below them."""
        try:
            n = sum(1 for _ in folder.iterdir())
        except OSError:
            return
        if n:
            self.counts[f"in {folder.name}"] += n
            self._missed = True

    def __str__(self) -> str:
        """What was left out; empty if nobody can miss it."""
        return f"left out: {told(self.counts)}" if self._missed else ""


def is_left_out(folder: str) -> bool:
    """Whether a folder of this name is hidden, or holds no photographs of its own."""
    return folder.startswith(".") or any(fnmatch.fnmatchcase(folder.lower(), pattern) for pattern in _FOLDERS)


def ending_of(name: str) -> str:
    """What a file is counted as: its suffix in lower case."""
    return Path(name).suffix.lower() or "without an ending"


def told(counts: Mapping[str, int]) -> str:
    """ "12 .heic, 3 .cr2, 4 in @eaDir", the most first, endings before folders."""
    order = sorted(counts, key=lambda what: (what.startswith("in "), -counts[what], what))
    return ", ".join(f"{counts[what]} {what}" for what in order)
