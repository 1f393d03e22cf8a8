"""How a review goes: errors found and errors left after each batch, as a plotly figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fidokit.figures.compare import error_bars, need_columns
from fidokit.figures.masks import COLOURS, dressed

if TYPE_CHECKING:
    import plotly.graph_objects as go


def review_figure(left: pd.DataFrame) -> go.Figure:
    """Errors found by photographs looked at, and those left with their 95 % interval and the bound for stopping.

    Args:
        left: of `fidokit.ReviewOrder.errors_left`, a row a batch.

    Raises:
        SettingsError: a column that there is not.
    """
    import plotly.graph_objects as go

    need_columns(left, ["looked_at", "errors_found", "errors_left", "errors_left_low", "errors_left_high", "at_most"])
    lines = {
        "errors found": ("errors_found", COLOURS[0], "circle", "solid"),
        "errors left, probably": ("errors_left", COLOURS[1], "square", "solid"),
        "errors left, at most": ("at_most", COLOURS[1], "triangle-down", "dot"),
    }
    figure = go.Figure()
    for name, (column, colour, symbol, dash) in lines.items():
        figure.add_trace(
            go.Scatter(
                x=left["looked_at"],
                y=left[column],
                name=name,
                mode="lines+markers",
                line={"color": colour, "dash": dash},
                marker={"symbol": symbol, "size": 9},
                error_y=error_bars(left.to_dict("records"), column) if f"{column}_low" in left else None,
            )
        )
    figure.update_xaxes(title="photographs looked at", rangemode="tozero")
    figure.update_yaxes(title="errors", rangemode="tozero")
    return dressed(figure, 380)
