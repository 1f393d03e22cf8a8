"""How arguments are named where the user is: as Python has them, or as the options of the command that runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import EllipsisType


@dataclass(frozen=True)
class Option:
    """An argument on a command line.

    Attributes:
        name: ``--model``, or what a positional one is called.
        value: what stands for its value, ``NAME``; empty for a flag.
        off: the flag that says no, ``--no-boxes``; empty where there is none.
    """

    name: str
    value: str = ""
    off: str = ""


_OPTIONS: ContextVar[Mapping[str, Option] | None] = ContextVar("options", default=None)


@contextmanager
def worded_by(options: Mapping[str, Option]) -> Iterator[None]:
    """Messages name these options, argument -> option, instead of the arguments."""
    token = _OPTIONS.set(options)
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def either(python: str, command_line: str) -> str:
    """One of two wordings, where they differ in more than the name of an argument."""
    return python if _OPTIONS.get() is None else command_line


def argument(name: str) -> str:
    """An argument's own name, or that of the option; the name where the command has no such option."""
    option = (_OPTIONS.get() or {}).get(name)
    return name if option is None else option.name


def field_of(settings: object, name: str) -> str:
    """A field of a settings object: ``FidoSettings.steps`` or ``--set steps``, or the option of this name."""
    options = _OPTIONS.get()
    if options is None:
        return f"{type(settings).__name__}.{name}"
    return options[name].name if name in options or "fields" not in options else f"{options['fields'].name} {name}"


def given(call: str = "", *, option: str | None = None, **values: object) -> str:
    """How arguments are given: ``trust=True`` or ``--trust``.

    Args:
        call: the beginning of the call that takes them, ``fidokit.open_study('runs'``, said in Python alone.
        option: the argument whose option it is on the command line, where that is called otherwise.
        values: argument -> value; ``...`` where it is the user's.
    """
    options = _OPTIONS.get()
    written = ", ".join(f"{name}={'...' if value is ... else repr(value)}" for name, value in values.items())
    python = f"{call}, {written})" if call else written
    if options is None:
        return python
    found = [(options.get(option or name), value) for name, value in values.items()]
    if all(own is not None for own, _ in found):
        return " ".join(_typed(own, value) for own, value in found if own is not None)
    if "model" in options:
        return f"{written}, in a function of yours that returns the classifier: --model python:module:function"
    return f"{python} in Python"


def _typed(option: Option, value: object | EllipsisType) -> str:
    if not option.value:
        return option.name if value is not False else option.off or f"no {option.name}"
    if not option.name.startswith("-"):
        return option.name
    return f"{option.name} {option.value if value is ... else shlex.quote(_text(value))}"


def _text(value: object) -> str:
    return "none" if value is None else str(value)
