"""Text into the command line and out of it: settings parsed by type, aligned tables, strangers' names made harmless."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, TextIO, Union, get_args, get_origin, get_type_hints

from fidokit.data.names import there_are
from fidokit.exceptions import SettingsError

_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "none"}


def parse_fields(settings: type[Any], assignments: Sequence[str]) -> dict[str, Any]:
    """``FIELD=VALUE`` texts as fields of a settings class.

    Tuples are separated by commas, (name, weight) pairs within them by a colon: ``infill=blur,shuffle:2``; a size may
    also be written ``20x20``.

    Raises:
        SettingsError: no ``=``, no such field, one given twice, or a value of another type.
    """
    hints = get_type_hints(settings)
    known = [field.name for field in fields(settings)]
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise SettingsError(f"--set {assignment}: write it as FIELD=VALUE")
        if name not in known:
            there = there_are(name, known, "its settings are")
            raise SettingsError(f"--set {assignment}: there is no setting {name!r} of this method{there}")
        if name in values:
            raise SettingsError(f"--set {assignment}: {name} is given twice")
        try:
            values[name] = parse_value(hints[name], text.strip())
        except ValueError as error:
            raise SettingsError(f"--set {assignment}: {name} takes {described(hints[name])}") from error
    return values


def parse_value(hint: Any, text: str) -> Any:
    """A text as a value of a type: int, float, str, bool, None, Literal, tuple, or a union of these.

    Raises:
        ValueError: it is none.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        for part in sorted(parts, key=lambda part: _rank(part, text)):
            try:
                return parse_value(part, text)
            except ValueError:
                continue
    elif origin is Literal:
        for option in parts:
            if text == str(option):
                return option
    elif origin is tuple:
        return _parse_tuple(parts, text)
    elif hint is NoneType and text.lower() == "none":
        return None
    elif hint is bool and text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    elif hint is int:
        return int(text)
    elif hint is float and math.isfinite(value := float(text)):
        return value
    elif hint is str:
        return text
    raise ValueError(text)


def _parse_tuple(parts: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    separator = "," if "," in text else "x" if re.fullmatch(r"\d+(x\d+)+", text) else ":" if ":" in text else ","
    items = [item.strip() for item in text.strip("()").split(separator)]
    if len(parts) == 2 and parts[1] is Ellipsis:
        parts = (parts[0],) * len(items)
    if len(parts) != len(items):
        raise ValueError(text)
    return tuple(parse_value(part, item) for part, item in zip(parts, items, strict=True))


def _rank(part: Any, text: str) -> int:
    """The order in which the members of a union are tried: a text is anything, so it comes late, but before a tuple
    of one."""
    if get_origin(part) is tuple:
        return 1 if re.search(r"[,:]|\dx\d", text) else 3
    return 2 if part is str else 0


def described(hint: Any) -> str:
    """A type in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        # Functions cannot be given on a command line.
        return _either([described(part) for part in parts if _can_be_written(part)])
    if origin is Literal:
        return _either([str(part) for part in parts])
    if origin is tuple:
        return "several separated by commas" if parts[-1] is Ellipsis else f"{len(parts)} values separated by commas"
    return _PLAIN.get(hint, "a value that cannot be given here")


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _can_be_written(hint: Any) -> bool:
    return hint in _PLAIN or get_origin(hint) in (tuple, Literal, Union, UnionType)


def described_fields(settings: type[Any]) -> Iterator[str]:
    """One line a field: ``name=default (what it takes)``."""
    hints = get_type_hints(settings)
    for field in fields(settings):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield f"{field.name}={_written(default)}  ({described(hints[field.name])})"


def _written(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, tuple):
        return ",".join(":".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows in aligned columns: texts to the left, figures to the right."""
    if not rows:
        return ""
    cells = [list(rows[0]), *([cut(plain(cell).replace("\n", " ")) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [column[1][:1].isdigit() for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    )


def cut(text: str, longest: int = 44) -> str:
    """Text of at most so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def plain(text: str) -> str:
    """Text that a terminal only shows: names come from strangers and may hold its control sequences."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def tell(message: str) -> None:
    """Print to the error stream, so that the output holds results alone."""
    print(plain(message), file=sys.stderr)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A stand-in for `warnings.showwarning`: what a run has to say, as one line; what concerns programmers, not."""
    if issubclass(category, RuntimeWarning):
        tell(f"fidokit: {message}")
