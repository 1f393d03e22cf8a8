"""Figures as people read them: one way to write a number, and one for its interval."""

from __future__ import annotations

import math
from collections.abc import Callable


def number(value: float | None) -> str:
    """A score or another figure: two decimals; its own digits, never 0.00, where it is smaller; none from 100 on.

    A dash where there is none. The widgets write numbers alike (`figure` in their JavaScript).
    """
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 0.01:
        return f"{value:.2f}"
    if size == 0:
        return "0"
    return f"{value:#.2g}" if size >= 0.0001 else f"{value:.1e}".replace("e-0", "e-")


def signed(value: float | None) -> str:
    """A difference: `number` with its sign."""
    return f"+{number(value)}" if value is not None and value > 0 else number(value)


def percentage(share: float | None) -> str:
    """A share in percent, with one decimal."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def with_interval(
    value: float | None, low: float | None, high: float | None, written: Callable[[float | None], str] = number
) -> str:
    """A figure with its interval in brackets, or alone where there is none, as for a single photograph."""
    bounds = [low, high]
    known = all(bound is not None and math.isfinite(bound) for bound in bounds)
    return f"{written(value)} [{written(low)}, {written(high)}]" if known else written(value)
