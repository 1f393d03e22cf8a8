"""Sites as a plotly figure, from the table of `SiteComparison`; no computation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fidokit.figures.compare import error_bars, need_columns
from fidokit.figures.masks import COLOURS, dressed, plotly_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Column -> what it is called, its colour, its symbol: colour is never alone.
_MARKS = {
    "background": ("decided by the background", COLOURS[1], "diamond"),
    "accuracy": ("right, by labels", COLOURS[0], "circle"),
    "forecast": ("right, by forecast", COLOURS[0], "circle-open"),
}


def site_figure(table: pd.DataFrame) -> go.Figure:
    """A forest plot: for each site the share of answers that the background decides, and of those that are right.

    A forecast is shown where there is no accuracy. Sites to mistrust have their names in bold.

    Args:
        table: of `SiteComparison`.

    Returns:
        A trace for each figure; ``customdata`` holds the names of the sites.

    Raises:
        SettingsError: a column that there is not.
    """
    import plotly.graph_objects as go

    ends = [f"{name}_{end}" for name in _MARKS for end in ("low", "high")]
    need_columns(table, [*_MARKS, *ends, "mistrust", "instead"])
    rows = [(place, row) for place, row in enumerate(table.to_dict("records"))]
    title = str(table.columns[0])
    figure = go.Figure()
    for name, (words, colour, symbol) in _MARKS.items():
        shown = [
            (place, row)
            for place, row in rows
            if row[name] == row[name] and not (name == "forecast" and row["accuracy"] == row["accuracy"])
        ]
        shift = -0.15 if name == "background" else 0.15
        figure.add_trace(
            go.Scatter(
                x=[row[name] for _, row in shown],
                y=[place + shift for place, _ in shown],
                mode="markers",
                name=words,
                marker={"size": 10, "color": colour, "symbol": symbol},
                error_x=error_bars([row for _, row in shown], name),
                customdata=[str(row[title]) for _, row in shown],
                text=[
                    "<br>".join(plotly_text(str(part), None) for part in (row[title], *_texts(row["instead"]), words))
                    for _, row in shown
                ],
                hovertemplate="%{text}<br>%{x:.0%}<extra></extra>",
            )
        )
    names = [(plotly_text(str(row[title])), row["mistrust"]) for _, row in rows]
    figure.update_xaxes(title="share of the answers", tickformat=".0%", range=[-0.02, 1.02], zeroline=False)
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=[place for place, _ in rows],
        ticktext=[f"<b>{name}</b>" if bold else name for name, bold in names],
        zeroline=False,
    )
    return dressed(figure, height=130 + 34 * len(rows))


def _texts(value: object) -> list[str]:
    """The text, if it is one."""
    return [value] if isinstance(value, str) else []
