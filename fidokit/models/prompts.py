"""What classes are called in texts: their names, the templates around these, and files of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fidokit._util.checks import is_number
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.class_names import read_class_names

Names: TypeAlias = "Iterable[Any] | Mapping[str, str | Iterable[str]]"
"""Classes in the order of the logits; or a mapping, class -> what it is called in texts, one or several."""
Templates: TypeAlias = "str | Iterable[str | Callable[[str], str]]"

#: Without an article, since scientific names have none.
TEMPLATES = ("a photo of {}.",)
_PLACE = "{}"


@dataclass(frozen=True)
class Prompts:
    """The texts that stand for each class.

    Attributes:
        names: class -> what it is called in texts, each once.
        templates: texts with a ``{}`` where that goes.
    """

    names: Mapping[str, tuple[str, ...]]
    templates: tuple[str, ...]

    @classmethod
    def of(cls, names: Names, templates: Templates | None = None) -> Prompts:
        """Names and templates as users have them.

        Args:
            names: classes in order; or class -> what it is called in texts. Something that a class is called twice
                counts once.
            templates: one or several, as texts with ``{}`` or as functions of a name; None means `TEMPLATES`.

        Raises:
            SettingsError: no names, a name twice, a class without a prompt, a template without ``{}``, or the same text
                for two classes.
        """
        called = _called(names)
        if not called:
            raise SettingsError("there are no names: give those of the classes to choose from")
        made = cls(called, _read_templates(TEMPLATES if templates is None else templates))
        owners: dict[str, str] = {}
        for name, text in made.texts():
            if owners.setdefault(text, name) != name:
                raise SettingsError(
                    f"the prompt {text!r} stands for two classes, {owners[text]!r} and {name!r}, which no picture "
                    "could tell apart; give each a prompt of its own"
                )
        return made

    def texts(self) -> Iterator[tuple[str, str]]:
        """(class, text) of every prompt, class by class; a text that two templates make of one name comes once."""
        for name, called in self.names.items():
            # Not `str.format`, which would follow what a stranger's name has in braces.
            filled = [template.replace(_PLACE, text) for text in called for template in self.templates]
            yield from ((name, text) for text in dict.fromkeys(filled))

    def describe(self) -> dict[str, Any]:
        """As JSON has it; `of` takes it back as ``names`` and ``templates``."""
        return {"names": {name: list(called) for name, called in self.names.items()}, "templates": list(self.templates)}

    @property
    def note(self) -> str:
        """One line on what was taken for the prompts, with an example."""
        texts = [text for _, text in self.texts()]
        return f"{len(texts)} prompt{'s' if len(texts) > 1 else ''} such as {texts[-1]!r}"


def _called(names: Names) -> dict[str, tuple[str, ...]]:
    if isinstance(names, Mapping) and not (_all_numbers(names.keys()) or _all_numbers(names.values())):
        listed = [_text(name, "a class name") for name in names]
        prompts = [_prompts_of(name, given) for name, given in zip(listed, names.values(), strict=True)]
    else:
        try:
            listed = read_class_names(names)
        except ClassifierError as error:
            raise SettingsError(str(error).replace("class_names", "names")) from error
        prompts = [(name,) for name in listed]
    if len(set(listed)) != len(listed):
        twice = next(name for i, name in enumerate(listed) if name in listed[:i])
        raise SettingsError(f"names must differ, {twice!r} is there twice; add a qualifier to it")
    return dict(zip(listed, prompts, strict=True))


def _all_numbers(values: Iterable[object]) -> bool:
    values = list(values)
    return len(values) > 0 and all(is_number(value) for value in values)


def _prompts_of(name: str, given: object) -> tuple[str, ...]:
    if given is None or isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        listed: list[object] = [] if given is None else [given]
    else:
        listed = [given] if isinstance(given, str) else list(given)
    texts = [_text(text, f"a prompt of {name!r}") for text in listed if not _is_blank(text)]
    if not texts:
        raise SettingsError(f"the class {name!r} has no prompt; give what it is called in texts, or leave it out")
    return tuple(dict.fromkeys(texts))


def _is_blank(text: object) -> bool:
    return text is None or (isinstance(text, str) and not text.strip())


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{what} must be a text, not {value!r}")
    return value.strip()


def _read_templates(given: Templates) -> tuple[str, ...]:
    listed = [given] if isinstance(given, str) or callable(given) else list(given)
    templates = []
    for template in listed:
        # Templates of open_clip's are functions of a name.
        text = template(_PLACE) if callable(template) else template
        if not isinstance(text, str) or _PLACE not in text:
            raise SettingsError(
                f"the template {text!r} has no {{}} for the name, so that it says the same of every class; write "
                "'a photo of {}.', or '{}' for the name alone"
            )
        templates.append(text)
    if not templates:
        raise SettingsError("there are no templates; leave them out, or give '{}' for the name alone")
    return tuple(dict.fromkeys(templates))


def read_names(path: Path) -> list[str] | dict[str, list[str]]:
    """The classes in a file: a text with one name a line, or JSON with a list, or with class -> prompts.

    Names stand in the order of the logits; all lines of a text may begin with their position, from 0. Tabs part a name
    from what the class is called in prompts, where that is something else.

    Raises:
        SettingsError: it cannot be read, or holds something else; the message names the file and the line.
    """
    if path.suffix.lower() in (".csv", ".xlsx", ".xls"):
        raise SettingsError(
            f"{path}: names are read from a text with one name a line (and prompts after tabs) or from JSON, since a "
            "table may have them in any column; save the column of names as a text"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix.lower() == ".json":
        return _from_json(path, text)
    names: dict[str, list[str]] = {}
    lines = text.rstrip().split("\n") if text.strip() else []
    numbered = [re.fullmatch(rf"\s*{i}[\s:,;]\s*(.*\S)\s*", line) for i, line in enumerate(lines)]
    plain = [match[1] for match in numbered if match is not None]
    for number, line in enumerate(plain if len(plain) == len(lines) else lines, start=1):
        name, *prompts = (cell.strip() for cell in line.split("\t"))
        # An empty line would move all names after it to other logits.
        if not name or name in names:
            raise SettingsError(f"{path}, line {number}: {f'{name!r} is there twice' if name else 'the name is empty'}")
        names[name] = [prompt for prompt in prompts if prompt] or [name]
    if not names:
        raise SettingsError(f"{path} is empty; write the names of the classes into it, one a line")
    return names if any(prompts != [name] for name, prompts in names.items()) else list(names)


def _from_json(path: Path, text: str) -> list[str] | dict[str, list[str]]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no JSON: {error}") from error
    if isinstance(read, dict):
        return {name: [given] if isinstance(given, str) else given for name, given in read.items()}
    if isinstance(read, list):
        return read
    raise SettingsError(f"{path} must hold a list of names, or names with their prompts, not {read!r}")
