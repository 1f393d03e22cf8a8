"""Whether a study was begun by this user on this machine.

A study names files: its photographs, by absolute paths, and sometimes its model. Of a study that somebody else made,
those names are somebody else's wishes: to follow them could show a private photograph in a report that is sent back,
or load a file that was never meant to be loaded. So a study that is begun gets a mark: a code over its table of
photographs, their root and the name of its model, made with a key that stays in the user's data folder. Where the mark
does not fit, the names are only followed if the user says so, see `fidokit.open_study`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir

_KEY_BYTES = 32


def mark(images: bytes, manifest: dict[str, Any]) -> str | None:
    """The mark of a study; None where no key can be kept, as in a container whose home is read-only.

    Args:
        images: content of the file of its table of photographs.
        manifest: of the study, with its dataset and classifier.
    """
    key = _key()
    return None if key is None else _code(key, images, manifest)


def fits(images: bytes, manifest: dict[str, Any]) -> bool:
    """Whether the mark in a manifest is this user's, for this table of photographs."""
    found, key = manifest.get("origin"), _key()
    if key is None or not isinstance(found, str) or not found.isascii():
        return False
    return hmac.compare_digest(found, _code(key, images, manifest))


def _code(key: bytes, images: bytes, manifest: dict[str, Any]) -> str:
    named = [hashlib.sha256(images).hexdigest(), manifest["dataset"]["root"], manifest["classifier"]["name"]]
    return hmac.new(key, json.dumps(named).encode(), hashlib.sha256).hexdigest()


def _key_path() -> Path:
    return Path(user_data_dir("fidokit", appauthor=False)) / "origin.key"


def _key() -> bytes | None:
    """This user's key, made at the first call."""
    path = _key_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        if not path.exists():
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
            try:
                # Of two processes that make one, the first one's stays.
                os.link(made, path)
            except FileExistsError:
                pass
            finally:
                made.unlink()
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None
