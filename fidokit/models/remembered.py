"""What was found out about a classifier on a device, kept in the user's cache for the next process.

One small JSON file a question, replaced whole, so that processes do not disturb each other. Nothing in it is needed:
what is missing, damaged, of another question or not writable is found out again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_dir

from fidokit._util.atomic_write import write_atomically
from fidokit._util.checks import Number
from fidokit._version import __version__
from fidokit.models import devices
from fidokit.models.fingerprint import fingerprint_of, fingerprint_parts
from fidokit.models.frozen import PRECISIONS
from fidokit.models.state import ClassifierState

#: Environment variable: another folder for the cache, or "off" for none.
VARIABLE = "FIDOKIT_CACHE"
_OFF = ("off", "0", "no", "none", "false")
#: More files than these are weeded out, the oldest first: a classifier in training is a new one after each step.
MOST_FILES = 256
_MOST_BYTES = 1 << 18
#: No tuning ends with a larger batch.
_SIZE = Number(least=1, most=512, whole=True)

Key = Mapping[str, Any]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) < 2000


def _are_pairs(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair) for pair in value
    )


def _are_batches(value: object) -> bool:
    return isinstance(value, dict) and all(name in PRECISIONS and _SIZE.fits(size) for name, size in value.items())


#: What can be remembered, and when it can be believed.
_FIELDS: dict[str, Callable[[object], bool]] = {
    "agrees": lambda value: isinstance(value, bool),
    "exact_limit": _SIZE.fits,
    "folded": _are_pairs,
    "forward_batches": _are_batches,
    "least_batch": _SIZE.fits,
    "memory_format": lambda value: value in ("channels_last", "contiguous_format"),
    "micro_batch": _SIZE.fits,
    "precision": lambda value: isinstance(value, str) and value in PRECISIONS,
    "reason": _is_text,
}


def folder() -> Path | None:
    """Where it is kept; None if the user wants none."""
    given = os.environ.get(VARIABLE)
    if given is not None and given.strip().lower() in _OFF:
        return None
    return Path(given or user_cache_dir("fidokit", appauthor=False)) / "opening"


def question(classifier: ClassifierState, device: torch.device, **about: Any) -> Key | None:
    """What an answer depends on: the classifier, the device, the versions, and what is asked; None to ask nobody."""
    if folder() is None:
        return None
    return {
        "classifier": fingerprint_of(fingerprint_parts(classifier)),
        "device": devices.describe(device),
        "threads": torch.get_num_threads(),
        "size": list(classifier.size),
        "torch": str(torch.__version__),
        "fidokit": __version__,
        **about,
    }


def recall(key: Key | None) -> dict[str, Any]:
    """What is known in answer to a question, as far as it can be believed; empty if nothing is."""
    path = _path(key)
    try:
        if path is None or not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(written, dict) or written.get("key") != key or not isinstance(written.get("found"), dict):
        return {}
    found: dict[str, Any] = written["found"]
    return {name: found[name] for name, believed in _FIELDS.items() if name in found and believed(found[name])}


def keep(key: Key | None, **found: Any) -> None:
    """Remember more in answer to a question; without a word where that does not work."""
    path = _path(key)
    if path is None:
        return
    text = json.dumps({"key": key, "found": recall(key) | found}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
        _weed(path.parent)
    except (OSError, ValueError):
        return


def _path(key: Key | None) -> Path | None:
    place = folder()
    if key is None or place is None:
        return None
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return place / f"{digest[:32]}.json"


def _weed(place: Path) -> None:
    files = list(place.iterdir())
    if len(files) <= MOST_FILES:
        return
    ages: list[tuple[float, Path]] = []
    for path in files:
        with contextlib.suppress(OSError):  # another process weeds as well
            ages.append((path.stat().st_mtime, path))
    for _, path in sorted(ages)[: len(ages) - MOST_FILES // 2]:
        with contextlib.suppress(OSError):
            path.unlink()
