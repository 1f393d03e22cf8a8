"""What the templates of the report share: how they are read, and how figures are written in them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined

from fidokit._util.glossary import GLOSSARY, anchor
from fidokit._util.html import Html, printable
from fidokit._util.numbers import number
from fidokit._util.shares import p_words


def rendered(template: str, **values: object) -> Html:
    """A template with its values; all that is not `Html` is escaped."""
    return Html(_environment().get_template(template).render(values))


def data_file(name: str) -> Html:
    """A style sheet or script of the package."""
    return Html(files("fidokit.report").joinpath(name).read_text(encoding="utf-8"))


def png_source(picture: bytes) -> Html:
    """A PNG as the source of an image."""
    return Html(f"data:image/png;base64,{base64.b64encode(picture).decode()}")


def limits_of(table: pd.DataFrame, name: str) -> tuple[float, float]:
    """The ends of a column's scale: 0 and 1 where all values lie there."""
    values = table[[f"{name}_low", f"{name}_high"]].to_numpy(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    least, most = min(0.0, float(values.min())), float(values.max())
    return least, 1.0 if most <= 1 else most


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, finalize=_shown
    )
    environment.globals |= {"whisker": _whisker, "glossary": GLOSSARY, "anchor": anchor}
    environment.filters |= {
        "count": lambda value: f"{int(value):,}",
        "cost": _cost,
        "cut": _cut,
        "meter": lambda value: f"{100 * float(np.clip(np.nan_to_num(np.nan if value is None else value), 0, 1)):.1f}",
        "number": number,
        "p_value": lambda p: p_words(p) or "–",
        "percent": lambda share: f"{100 * share:.0f} %" if np.isfinite(share) else "–",
        "shortened": lambda text, longest=80: text if len(text) <= longest else text[: longest - 1] + "…",
    }
    return environment


def _source(name: str) -> str:
    """A template without the line breaks beside its tags, which would be spaces on the page."""
    text = files("fidokit.report").joinpath("templates", name).read_text(encoding="utf-8")
    return re.sub(r"\s*\n\s*(?=[<{])|(?<=[>}])\s*\n\s*", "", text)


def _shown(value: object) -> object:
    if value is None:
        return ""
    return value if hasattr(value, "__html__") else printable(str(value))


def _whisker(row: dict[str, Any], name: str, limits: tuple[float, float]) -> dict[str, str] | Literal[False]:
    """Where a figure and its interval lie on a scale, in per cent; False where one of the three is not known."""
    values = np.asarray([row[name], row[f"{name}_low"], row[f"{name}_high"]], np.float64)
    if not np.isfinite(values).all():
        return False
    dot, left, right = 100 * (values - limits[0]) / (limits[1] - limits[0])
    return {"dot": f"{dot:.1f}", "left": f"{left:.1f}", "width": f"{max(right - left, 0.5):.1f}"}


def _cost(value: float, name: str) -> str:
    if not np.isfinite(value):
        return "–"
    return number(value) if name == "seconds" else f"{value:,.0f}"


def _cut(rows: Sequence[object], most: int) -> str:
    n = len(rows)
    return f" ({n:,})" if n <= most else f" (the first {most:,} of {n:,})"
