"""A method's settings as a form: from the fields of its dataclass to inputs, and back from what was typed."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from fidokit._util.checks import Number
from fidokit.exceptions import SettingsError
from fidokit.methods import get_method

#: Class methods of settings that make a named set of them.
PRESETS = ("fast", "quality", "published")
#: The settings an object was given for, not a named set.
GIVEN = "given"


def method_form(name: str, given: Any = None) -> dict[str, Any]:
    """What a form needs to know of a method, ready for JSON.

    Args:
        name: of the method.
        given: a settings object of this method that becomes a set of its own, the first; or None.

    Returns:
        name; summary; fields: name, kind (``number``, ``whole``, ``check``, ``choice`` or ``text``), choices and help
        of each; presets: name -> the fields' texts.
    """
    method = get_method(name)
    kinds = _kinds(method.settings)
    help_texts = field_help(method.settings)
    described = [{"name": f.name, "help": help_texts.get(f.name, ""), **kinds[f.name]} for f in fields(method.settings)]
    filled = {preset: _texts(settings) for preset, settings in presets(name, given).items()}
    return {"name": name, "summary": method.summary, "fields": described, "presets": filled}


def presets(name: str, given: Any = None) -> dict[str, Any]:
    """The named sets of a method's settings, the one to begin with first."""
    settings = get_method(name).settings
    found = {} if given is None else {GIVEN: given}
    found["default"] = settings()
    return found | {preset: getattr(settings, preset)() for preset in PRESETS if hasattr(settings, preset)}


def filled_in(name: str, base: Any, typed: dict[str, Any]) -> Any:
    """The settings `base` of a method with what was typed into some fields.

    Raises:
        SettingsError: a text that is no such value, or a value outside its range; the message names the field.
    """
    method = get_method(name)
    kinds = _kinds(method.settings)
    before = _texts(base)
    values = {}
    for field, raw in typed.items():
        if field not in kinds:
            raise SettingsError(f"{name} has no setting {field!r}; it has {', '.join(kinds) or 'none'}")
        # What nobody changed stays as it is: not every value can be written down, a function for one.
        if raw != before[field]:
            values[field] = _value(field, raw, kinds[field]["kind"])
    try:
        return method.resolve(base, values)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, SettingsError) else SettingsError(f"{name}: {error}") from error


def field_help(settings: type[Any]) -> dict[str, str]:
    """Field -> its words in the section "Attributes" of the docstring."""
    text = inspect.getdoc(settings) or ""
    body = textwrap.dedent(text.partition("Attributes:\n")[2].split("\n\n")[0])
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", body):
        names, colon, words = entry.partition(":")
        if colon and re.fullmatch(r"\w+(, \w+)*", names):
            found |= dict.fromkeys(names.split(", "), " ".join(words.split()).replace("`", ""))
    return found


def _kinds(settings: type[Any]) -> dict[str, dict[str, Any]]:
    try:
        hints = get_type_hints(settings)
    except Exception:
        # A user's own annotations may name what only a type checker sees.
        hints = {}
    default = settings()
    return {f.name: _kind(hints.get(f.name, type(getattr(default, f.name)))) for f in fields(settings)}


def _kind(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is Literal and all(isinstance(choice, str) for choice in get_args(hint)):
        return {"kind": "choice", "choices": list(get_args(hint))}
    return {"kind": {bool: "check", int: "whole", float: "number"}.get(hint, "text"), "choices": []}


def _texts(settings: Any) -> dict[str, str | bool]:
    return {f.name: _text(getattr(settings, f.name)) for f in fields(settings)}


def _text(value: Any) -> str | bool:
    if isinstance(value, str | bool):
        return value
    if callable(value):
        return f"function {getattr(value, '__name__', type(value).__name__)}"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def _value(field: str, raw: Any, kind: str) -> Any:
    if isinstance(raw, bool) or kind == "choice":
        return raw
    text = str(raw).strip()
    try:
        if kind == "whole":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError as error:
        raise SettingsError(f"{field} is {text!r}; it must be {Number(whole=kind == 'whole')}") from error
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
