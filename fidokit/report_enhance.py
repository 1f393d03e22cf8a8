"""The report's section of mask-guided classification: the verdict, what it stands on, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit.markup import Html, joined, name_tag, number, tag
from fidokit.report_tables import interval_cell, limits_of, scrolled

if TYPE_CHECKING:
    from fidokit.enhance.judging import Improvement

#: Rows of the tables of classes and of photographs: the page must open at once.
MOST_ROWS = 100

_NOTE = (
    "What a second look is made of was chosen on other images than those it is reported of. Every control was chosen "
    "by the same rule; one of equal cost could spend as many evaluations as the masks, but takes fewer where more do "
    "not help. “Masks minus this” is what the masks have right beyond it. A gain is only claimed if the classifier "
    "alone and every control of equal cost are beaten, each by interval and test. Intervals are 95 % bootstrap "
    "intervals over units that are independent."
)


def improvement_section(improvement: Improvement) -> Html:
    """The section: verdict, summary, gates, classes and the photographs whose answer turned."""
    title_id = "improvement-title"
    units = improvement.images["unit"].nunique()
    about = f"{len(improvement.images):,} photographs, {units:,} independent units ({improvement.unit})."
    return tag(
        "section",
        tag("h2", "Classified again with masks", id=title_id),
        tag("p", tag("strong", improvement.verdict)),
        tag("p", about, class_="quiet small"),
        scrolled(_summary(improvement), title_id),
        tag("p", _NOTE, class_="note"),
        _notes(improvement),
        _gates(improvement.gates),
        _classes(improvement.classes),
        _turned(improvement.images),
    )


def _summary(improvement: Improvement) -> Html:
    table = improvement.summary
    difference = table.rename(columns={"low": "difference_low", "high": "difference_high"})
    scales = {
        "accuracy": limits_of(table, "accuracy"),
        "difference": _around_zero(difference, "difference"),
        "masks_minus": _around_zero(table, "masks_minus"),
    }
    heads = _heads(
        ("Answered by", ""), ("Right", "share"), ("Difference", "to the classifier alone"), ("p", ""),
        ("Turned", "right / wrong"), (f"Top {improvement.top}", "share"), ("Calibration error", "lower is better"),
        ("Masks minus this", ""), ("p", ""),
        ("Evaluations", "a photograph"), ("Seconds", "extra"), ("Equal cost", ""),
    )  # fmt: skip
    rows = []
    for row in difference.to_dict("records"):
        first = row["method"] == table["method"].iloc[0]
        cells = [
            tag("th", name_tag(row["method"]), scope="row", class_="text"),
            _cell(row, "accuracy", scales),
            tag("td", "–") if first else _cell(row, "difference", scales),
            tag("td", _p(row["p_value"])),
            tag("td", "–" if first else f"{row['turned_right']:,} / {row['turned_wrong']:,}"),
            tag("td", number(row["top_k"])),
            tag("td", number(row["calibration_error"])),
            _cell(row, "masks_minus", scales),
            tag("td", _p(row["masks_minus_p"])),
            tag("td", f"{row['evaluations']:,.1f}"),
            tag("td", "–" if first else f"{row['seconds']:.2f}"),
            tag("td", "yes" if row["equal_cost"] else "–"),
        ]
        rows.append(tag("tr", *cells))
    return tag("table", heads, tag("tbody", *rows))


def _notes(improvement: Improvement) -> Html:
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
    return tag("ul", *(tag("li", line) for line in lines), class_="small")


def _gates(gates: pd.DataFrame) -> Html:
    heads = _heads(
        ("Margin at most", ""), ("Looked at again", "of the photographs"), ("Evaluations", "a photograph"),
        ("Evaluations kept", ""), ("Right", "share"), ("Gain kept", ""),
    )  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("th", f"{row['gate']:g}", scope="row", class_="text"),
            tag("td", _percent(row["guided"])),
            tag("td", f"{row['evaluations']:,.1f}"),
            tag("td", _percent(row["evaluations_kept"])),
            tag("td", number(row["accuracy"])),
            tag("td", _percent(row["gain_kept"])),
        )
        for row in gates.to_dict("records")
    ]
    return _folded(
        "What is left of the gain when only unsure photographs are looked at again", "gates-title", heads, rows
    )


def _classes(classes: pd.DataFrame) -> Html | None:
    changed = classes.assign(turned=classes["turned_right"] + classes["turned_wrong"])
    changed = changed[changed["turned"] > 0].sort_values("turned", ascending=False, kind="stable")
    if changed.empty:
        return None
    heads = _heads(
        ("Class", ""), ("Photographs", ""), ("Right before", "share"), ("Right", "share"), ("Turned right", ""),
        ("Turned wrong", ""),
    )  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("th", name_tag(row["class"]), scope="row", class_="text"),
            tag("td", f"{row['n']:,}"),
            tag("td", number(row["accuracy_before"])),
            tag("td", number(row["accuracy"])),
            tag("td", f"{row['turned_right']:,}"),
            tag("td", f"{row['turned_wrong']:,}"),
        )
        for row in changed.head(MOST_ROWS).to_dict("records")
    ]
    return _folded(_counted("Classes whose answers turned", len(changed)), "turned-classes-title", heads, rows)


def _turned(images: pd.DataFrame) -> Html | None:
    turned = images[images["turned"].notna()].sort_values("turned", ascending=False, kind="stable")
    if turned.empty:
        return None
    heads = tag(
        "thead",
        tag("tr", *(tag("th", text, scope="col", class_="text")
                    for text in ("Photograph", "Turned", "Label", "Without masks", "With masks"))),
    )  # fmt: skip
    rows = [
        tag(
            "tr",
            tag("th", name_tag(row["image_id"]), scope="row", class_="text"),
            tag("td", {"right": "✓ right", "wrong": "✗ wrong"}[row["turned"]], class_=f"text {row['turned']}"),
            *(tag("td", name_tag(row[name]), class_="text") for name in ("label", "predicted_before", "predicted")),
        )
        for row in turned.head(MOST_ROWS).to_dict("records")
    ]
    return _folded(_counted("Photographs whose answer turned", len(turned)), "turned-title", heads, rows)


def _folded(title: str, title_id: str, heads: Html, rows: list[Html]) -> Html:
    table = tag("table", heads, tag("tbody", *rows))
    return tag("details", tag("summary", title, id=title_id), scrolled(table, title_id), class_="more")


def _counted(title: str, n: int) -> str:
    return f"{title} ({n:,})" if n <= MOST_ROWS else f"{title} (the first {MOST_ROWS:,} of {n:,})"


def _heads(*titles: tuple[str, str]) -> Html:
    cells = (
        tag("th", title, tag("small", remark) if remark else None, scope="col", class_=None if i else "text")
        for i, (title, remark) in enumerate(titles)
    )
    return tag("thead", tag("tr", joined(cells)))


def _cell(row: dict[Any, Any], name: str, scales: dict[str, tuple[float, float]]) -> Html:
    return interval_cell(row[name], row[f"{name}_low"], row[f"{name}_high"], *scales[name])


def _around_zero(table: pd.DataFrame, name: str) -> tuple[float, float]:
    """A scale with 0 in its middle."""
    values = np.abs(table[[f"{name}_low", f"{name}_high"]].to_numpy(np.float64))
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    return (-most, most) if most else (-1.0, 1.0)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "–"


def _p(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.2f}" if value >= 0.01 else f"{value:.1g}"
