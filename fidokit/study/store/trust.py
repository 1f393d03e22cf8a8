"""Whether a study was begun by this user on this machine.

The one rule for a store, whoever made it: nothing in it is run, no path leads out of its folder, and no file that it
names is read that was not given or trusted. A study names files: its photographs, by absolute paths, and sometimes its
model. Of a study that somebody else made, those names are somebody else's wishes: to follow them could show a private
photograph in a report that is sent back, or load a file that was never meant to be loaded. So the user's data folder
keeps a list of the studies that were begun here, by a digest of all that they name; the names of others are only
followed if the user says so, see `fidokit.open_study`.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir


def remember(images: bytes, manifest: dict[str, Any]) -> None:
    """Note that this user began a study; not where nothing can be kept, as in a container whose home is read-only.

    Args:
        images: content of the file of its table of photographs.
        manifest: of the study, with its dataset and classifier.
    """
    path = _list_path()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{_digest(images, manifest)}\n")


def is_remembered(images: bytes, manifest: dict[str, Any]) -> bool:
    """Whether this user began the study that has this table of photographs and this manifest."""
    with suppress(OSError):
        return _digest(images, manifest).encode() in _list_path().read_bytes().split()
    return False


def _digest(images: bytes, manifest: dict[str, Any]) -> str:
    named = [hashlib.sha256(images).hexdigest(), manifest["dataset"]["root"], manifest["classifier"]["name"]]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _list_path() -> Path:
    return Path(user_data_dir("fidokit", appauthor=False)) / "studies.txt"
