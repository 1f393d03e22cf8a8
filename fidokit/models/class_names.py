"""Names of classes as people have them: lists, columns, and mappings from or to the positions of the logits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fidokit._util.checks import is_number
from fidokit.data.readers.cells import text_of
from fidokit.exceptions import ClassifierError

if TYPE_CHECKING:
    import pandas as pd

ClassNames: TypeAlias = "Iterable[Any] | Mapping[Any, Any] | pd.Series[Any]"
"""K names in the order of the logits; or a mapping, position -> name or name -> position (``class_to_idx``)."""

_LIST = "give a list of names in the order of the logits"
_MAX_SHOWN = 5
#: Byte order marks and spaces without width, which files and web pages leave in names.
_INVISIBLE = re.compile(r"[\ufeff\u200b\u2060]")


def class_names(given: ClassNames | None, own: object, outputs: int) -> list[str]:
    """The names given, which must fit; else the module's own, made to fit; else numbers.

    Args:
        given: the user's.
        own: those of the module's configuration, which may be of a head that it had before.
        outputs: number of logits K; of a single logit there may be one name, whose opposite becomes "not NAME".

    Raises:
        ClassifierError: names that cannot be read, that stand there twice, or another number of them.
    """
    if given is None:
        names = _own_names(own)
        return _distinct(names) if names is not None and len(names) == outputs > 1 else numbers(max(outputs, 2))
    names = read_class_names(given)
    if outputs == 1:
        names = [f"not {names[0]}", names[0]] if len(names) == 1 else names
        outputs = 2
    if len(names) != outputs:
        raise ClassifierError(f"the classifier gives {outputs} logits, but there are {len(names)} class names")
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ClassifierError(f"class names must differ, {twice!r} is there twice; add the index or a qualifier to it")
    return names


def read_class_names(given: ClassNames) -> list[str]:
    """The names in the order of the logits, without spaces around them.

    Raises:
        ClassifierError: a set, which has no order; a text; positions with gaps; something that is no name.
    """
    if isinstance(given, str | bytes):
        raise ClassifierError(f"class_names must be a list of names, not the text {given!r}")
    if isinstance(given, set | frozenset):
        raise ClassifierError(f"class_names cannot be a set, which has another order in every process; {_LIST}")
    if isinstance(given, type) and issubclass(given, Enum):
        given = _of_enum(given)
    if isinstance(given, Mapping):
        return _by_position(dict(given))
    if hasattr(given, "columns"):
        raise ClassifierError(f"class_names cannot be a whole table; {_LIST}, such as table['name'].tolist()")
    if hasattr(given, "index") and hasattr(given, "items"):
        return _of_series(given)
    if getattr(given, "ndim", 1) != 1:
        dimensions = getattr(given, "ndim", 0)
        raise ClassifierError(f"class_names must be one name a class, not an array of {dimensions} dimensions")
    if not isinstance(given, Iterable):
        raise ClassifierError(f"class_names must be a list of names, not {given!r}")
    values = given.tolist() if hasattr(given, "tolist") else list(given)
    return [_name(value, i) for i, value in enumerate(values)]


def _name(value: object, position: int) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, Enum):
        value = value.value if isinstance(value.value, str) else value.name
    is_nan = isinstance(value, np.floating) and bool(np.isnan(value))
    is_nothing = not isinstance(value, str) and text_of(value) is None
    if is_nan or is_nothing or isinstance(value, Mapping | Set | list | tuple):
        raise ClassifierError(f"class_names has {value!r} where the name of class {position} should be; {_LIST}")
    name = _INVISIBLE.sub("", str(value)).strip()
    if not name:
        raise ClassifierError(f"class_names has an empty name for class {position}; {_LIST}")
    return name


def _of_enum(kind: type[Enum]) -> list[Enum] | dict[str, object]:
    """The members of an enumeration: by their values where these are positions, else in their order."""
    members = list(kind)
    values = [member.value for member in members]
    if any(_position(value) is None for value in values):
        return members
    return {member.name: value for member, value in zip(members, values, strict=True)}


def _position(value: object) -> int | None:
    """A position given as a whole number, or as its digits: the keys of JSON are texts."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if value.isascii() and value.isdigit() else None
    return int(value) if is_number(value) and value == int(value) else None


def _by_position(mapping: Mapping[Any, Any]) -> list[str]:
    keys, values = list(mapping), list(mapping.values())
    if not keys:
        raise ClassifierError(f"class_names is an empty mapping; {_LIST}")
    readings = []
    for positions, names in ((keys, values), (values, keys)):
        found = [_position(position) for position in positions]
        if all(position is not None for position in found):
            readings.append((found, names, positions))
    if len(readings) == 2:
        # Names may be digits too. Positions are numbers rather than texts, and run from 0 without gaps.
        numbers = [r for r in readings if not any(isinstance(position, str) for position in r[2])]
        whole = [r for r in readings if sorted(r[0]) == list(range(len(keys)))]  # type: ignore[type-var]
        readings = next((group for group in (numbers, whole) if len(group) == 1), readings)
    if not readings:
        raise ClassifierError(
            "class_names is a mapping without positions; map each position, from 0 on, to its name, or each name to "
            f"its position, or {_LIST}"
        )
    ordered = [_ordered([p for p in found if p is not None], names) for found, names, _ in readings]
    if any(other != ordered[0] for other in ordered):
        raise ClassifierError(
            f"class_names maps numbers to numbers, which can be read both ways; {_LIST}, such as {ordered[0]!r}"
        )
    return ordered[0]


def _ordered(positions: Sequence[int], names: Sequence[object]) -> list[str]:
    for i, position in enumerate(positions):
        if position in positions[:i]:
            both = names[positions.index(position)], names[i]
            raise ClassifierError(f"class_names gives position {position} to {both[0]!r} and to {both[1]!r}")
    missing = [str(i) for i in range(max(positions) + 1) if i not in set(positions)]
    if missing or min(positions) < 0:
        shown = ", ".join(missing[:_MAX_SHOWN]) + (", …" if len(missing) > _MAX_SHOWN else "")
        why = f"there is no name for {shown}" if missing else "there are negative ones"
        raise ClassifierError(
            f"class_names must have the positions 0 to {len(positions) - 1}, as the logits have, but {why}; renumber "
            f"them, or {_LIST}"
        )
    by_position = dict(zip(positions, names, strict=True))
    return [_name(by_position[i], i) for i in range(len(positions))]


def _of_series(series: Any) -> list[str]:
    """A pandas column: in its own order, unless its index tells positions."""
    index, values = list(series.index), series.tolist()
    positions = [_position(label) for label in index]
    if any(position is None for position in positions):
        if values and all(_position(value) is not None for value in values):
            return _by_position(dict(zip(index, values, strict=True)))
    elif positions != list(range(len(index))):
        raise ClassifierError(
            "class_names is a column whose index is not 0, 1, 2, …, so that its order can mean two things; give "
            "dict(column) if the index holds the positions of the logits, or column.tolist() if the order does"
        )
    return [_name(value, i) for i, value in enumerate(values)]


def _own_names(own: object) -> list[str] | None:
    if not isinstance(own, Mapping | list | tuple):
        return None
    try:
        return read_class_names(own)
    except ClassifierError:
        return None


def numbers(n: int) -> list[str]:
    """Names of classes of which nobody knows the names."""
    return [str(i) for i in range(n)]


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, those that stand there more than once with their index: ImageNet has two classes "crane"."""
    marked = [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return marked if len(set(marked)) == len(marked) else numbers(len(names))
