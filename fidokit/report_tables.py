"""Tables of the report: cells with intervals drawn to scale, and the frame in which a wide table scrolls."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fidokit.markup import Html, number, tag


def scrolled(table: Html, title_id: str) -> Html:
    """A table that scrolls by itself where it is wider than the page."""
    # A region that scrolls must be reachable with the keyboard.
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_labelledby=title_id)


def interval_cell(middle: float, low: float, high: float, least: float, most: float) -> Html:
    """A cell with a figure and its interval, in digits and as a whisker on a scale from `least` to `most`."""
    if not np.isfinite([middle, low, high]).all():
        return tag("td", number(middle))
    left, right, dot = (100 * (value - least) / (most - least) for value in (low, high, middle))
    whisker = tag(
        "span",
        tag("i", style=f"left:{left:.1f}%;width:{max(right - left, 0.5):.1f}%"),
        tag("b", style=f"left:{dot:.1f}%"),
        class_="whisker",
        aria_hidden="true",
    )
    return tag("td", number(middle), tag("span", f"{number(low)} – {number(high)}", class_="interval"), whisker)


def limits_of(summary: pd.DataFrame, name: str) -> tuple[float, float]:
    """The ends of a column's scale: 0 and 1 where all values lie there."""
    values = summary[[f"{name}_low", f"{name}_high"]].to_numpy(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    least, most = min(0.0, float(values.min())), float(values.max())
    return least, 1.0 if most <= 1 else most
