"""Values that a user gives, checked in one place: numbers, choices and flags of all settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from fidokit._util.wording import argument, either, field_of
from fidokit.exceptions import SettingsError


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite real number; True and False are none, and neither is a text that reads like one."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and _finite(value)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number by its type: 2, not 2.0, which only happens to be one."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


@dataclass(frozen=True)
class Number:
    """What a number must be.

    Attributes:
        least, most: bounds that it may reach; None for none.
        above, below: bounds that it may not reach.
        whole: whether it must be a whole number.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False

    def fits(self, value: object) -> bool:
        """Whether a value is such a number."""
        if not (is_whole(value) if self.whole else is_number(value)):
            return False
        number: Any = value
        return (
            (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        words = [("of at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below)]
        bounds = [f"{word} {bound:g}" for word, bound in words if bound is not None]
        return " ".join(["a whole number" if self.whole else "a number", " and ".join(bounds)]).strip()


COUNT = Number(least=1, whole=True)
#: Of which there may be none; a seed is one too.
COUNT_OR_ZERO = Number(least=0, whole=True)
WHOLE = Number(whole=True)
FINITE = Number()
POSITIVE = Number(above=0)
NOT_NEGATIVE = Number(least=0)
#: Of which 0 would be nothing.
SHARE = Number(above=0, most=1)
UNIT = Number(least=0, most=1)


def require(settings: object, name: str, good: bool, needed: object) -> None:
    """Raise `SettingsError`, which names class, field and value, unless a field is good."""
    if not good:
        value = getattr(settings, name)
        raise SettingsError(f"{field_of(settings, name)} is {value!r}; it must be {needed}")


def require_numbers(settings: object, **needed: Number) -> None:
    """Check fields that hold one number each.

    Raises:
        SettingsError: one that does not fit.
    """
    for name, number in needed.items():
        require(settings, name, number.fits(getattr(settings, name)), number)


def require_choice(settings: object, name: str, choices: Sequence[str]) -> None:
    """Check a field that holds one of some words.

    Raises:
        SettingsError: another one; the message lists them.
    """
    value = getattr(settings, name)
    if not isinstance(value, str) or value not in choices:
        raise SettingsError(
            f"unknown {name} {value!r} in {type(settings).__name__}; choose one of {', '.join(choices)}"
        )


def require_flags(settings: object, *names: str) -> None:
    """Check fields that are True or False.

    Raises:
        SettingsError: one that is something else.
    """
    for name in names:
        require(settings, name, isinstance(getattr(settings, name), bool), "True or False")


def check_number(name: str, value: object, needed: Number, *, or_none: str | None = None) -> None:
    """Check an argument of a function.

    Args:
        name: of the argument, as the user knows it.
        value: what was given.
        needed: what it must be.
        or_none: what None means, where it may be None.

    Raises:
        SettingsError: it does not fit; the message names it.
    """
    if not needed.fits(value) and (or_none is None or value is not None):
        other = "" if or_none is None else either(f", or None for {or_none}", f", or left out for {or_none}")
        raise SettingsError(f"{argument(name)} is {value!r}; it must be {needed}{other}")
