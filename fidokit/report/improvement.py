"""The report's section of mask-guided classification: the verdict, what it stands on, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit._util.html import Html
from fidokit.report.templating import limits_of, rendered

if TYPE_CHECKING:
    from fidokit.enhance.judging import Improvement

#: Rows of the tables of classes and of photographs: the page must open at once.
MOST_ROWS = 100


def improvement_section(improvement: Improvement) -> Html:
    """The section: verdict, summary, gates, classes and the photographs whose answer turned."""
    summary = improvement.summary.rename(columns={"low": "difference_low", "high": "difference_high"})
    classes = improvement.classes.assign(n_turned=lambda table: table["turned_right"] + table["turned_wrong"])
    turned = improvement.images[improvement.images["turned"].notna()]
    return rendered(
        "improvement.html",
        verdict=improvement.verdict,
        n=len(improvement.images),
        units=improvement.images["unit"].nunique(),
        unit=improvement.unit,
        top=improvement.top,
        summary=summary.to_dict("records"),
        scales={"accuracy": limits_of(summary, "accuracy")}
        | {name: _around_zero(summary, name) for name in ("difference", "masks_minus")},
        notes=_notes(improvement),
        gates=improvement.gates.to_dict("records"),
        classes=_sorted(classes[classes["n_turned"] > 0], "n_turned"),
        turned=_sorted(turned, "turned"),
        most=MOST_ROWS,
    )


def _notes(improvement: Improvement) -> list[str]:
    chosen = improvement.settings
    if chosen.weight == 0:
        use = "For use: the classifier alone."
    else:
        paddings = ", ".join(f"{padding:g}" for padding in chosen.paddings)
        crops = "" if chosen.way == "fade" else f" of {100 * chosen.share:g} % of the mask's sum, paddings {paddings}"
        use = (
            f"For use, chosen on all photographs: {chosen.way}{crops}, weight {chosen.weight:g}, margin at most "
            f"{chosen.gate:g}."
        )
    lines = [use, *improvement.notes]
    if len(improvement.failures):
        reason = improvement.failures["reason"].iloc[0]
        lines.append(f"{len(improvement.failures):,} photographs could not be measured, the first because: {reason}")
    return lines


def _sorted(table: pd.DataFrame, column: str) -> list[dict[Any, Any]]:
    """The rows, the highest first."""
    return table.sort_values(column, ascending=False, kind="stable").to_dict("records")


def _around_zero(table: pd.DataFrame, name: str) -> tuple[float, float]:
    """A scale with 0 in its middle."""
    values = np.abs(table[[f"{name}_low", f"{name}_high"]].to_numpy(np.float64))
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    return (-most, most) if most else (-1.0, 1.0)
