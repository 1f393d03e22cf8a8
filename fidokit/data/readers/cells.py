"""Cells and paths of tables that strangers wrote."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def text_of(value: Any) -> str | None:
    """A cell as text; None, NaN and blanks are None."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    # pandas turns a column of whole numbers with a gap into floats.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text if text.strip() else None


def numbers_if_all_are(column: pd.Series[Any]) -> pd.Series[Any]:
    """The column as numbers, or as it is where one of its cells is none."""
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def common_folder(paths: Sequence[str]) -> Path:
    try:
        return Path(os.path.commonpath({str(Path(path).parent) for path in paths}))
    except ValueError:
        return Path()


#: Relative paths that `Path` leaves as they are. It takes microseconds a path, which tables of millions would feel.
_PLAIN = re.compile(r"(?:[^/\\:.][^/\\:]*/)*[^/\\:.][^/\\:]*").fullmatch


def join_all(folder: Path, texts: Sequence[str]) -> list[str]:
    """str(folder / text) of each text."""
    if os.sep != "/":
        return [str(folder / text) for text in texts]
    prefix = str(folder / "x")[:-1]
    return [
        prefix + text if _PLAIN(text) else text if text[0] == "/" and _PLAIN(text[1:]) else str(folder / text)
        for text in texts
    ]


def relative_all(paths: Sequence[str], root: Path) -> list[str]:
    """Each path relative to root, with "/" between its parts; the whole path where it does not lie in root."""
    prefix = str(root / "x")[:-1]
    n = len(prefix)
    return [
        path[n:] if os.sep == "/" and path.startswith(prefix) and _PLAIN(path[n:]) else _relative(Path(path), root)
        for path in paths
    ]


def _relative(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def portable(text: str) -> str:
    """File names that are not UTF-8 hold surrogates, which neither Parquet nor JSON takes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def file_of(path: str) -> Path:
    """The file of a `portable` path."""
    if "\\u" not in path:
        return Path(path)
    return Path(
        path if os.path.lexists(path) else re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda m: chr(int(m[1], 16)), path)
    )
