"""Warnings that name the user's line, however many of the package's own lie between."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1])
#: Files whose functions only stand around others: decorators made of context managers.
_AROUND = (contextlib.__file__, "torch/utils/_contextlib.py")


def warn(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn at the innermost line that is not the package's own; where there is none, at the outermost."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_own(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


def _is_own(filename: str) -> bool:
    return filename.startswith(_PACKAGE) or filename.endswith(_AROUND)
