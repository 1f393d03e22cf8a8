"""Mask-guided classification as plotly figures; everything shown stands in a table of `Improvement`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fidokit._util.numbers import percentage, with_interval
from fidokit.exceptions import SettingsError
from fidokit.figures.compare import error_bars, need_columns
from fidokit.figures.masks import COLOURS, dressed, plotly_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MASKS = "masks"


def accuracy_figure(summary: pd.DataFrame) -> go.Figure:
    """Accuracy with its interval: the classifier alone, the masks, and every control.

    Args:
        summary: of `Improvement`.

    Raises:
        SettingsError: a column that there is not.
    """
    import plotly.graph_objects as go

    need_columns(summary, ["method", "accuracy", "accuracy_low", "accuracy_high", "evaluations", "equal_cost"])
    figure = go.Figure()
    rows = summary.to_dict("records")
    for place, row in enumerate(rows):
        own = row["method"] == _MASKS
        cost = f"{row['evaluations']:.4g} evaluations an image" + (", equal cost" if row["equal_cost"] else "")
        interval = with_interval(row["accuracy"], row["accuracy_low"], row["accuracy_high"], percentage)
        figure.add_trace(
            go.Scatter(
                x=[row["accuracy"]],
                y=[place],
                mode="markers",
                marker={"size": 11, "color": COLOURS[1 if own else 0], "symbol": "diamond" if own else "circle"},
                error_x=error_bars([row], "accuracy"),
                customdata=[[plotly_text(row["method"], None), interval, cost]],
                hovertemplate="%{customdata[0]}<br>right %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            )
        )
    before = rows[0]["accuracy"]
    figure.add_vline(x=before, line={"color": "#555555", "width": 1, "dash": "dot"})
    figure.update_xaxes(title="share of answers that are right", tickformat=".0%", zeroline=False)
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[plotly_text(row["method"]) for row in rows],
        zeroline=False,
    )
    return dressed(figure, height=130 + 34 * len(rows), legend=False)


def gate_figure(gates: pd.DataFrame) -> go.Figure:
    """The share of the gain that is kept against the share of the evaluations, a point for each gate.

    Args:
        gates: of `Improvement`.

    Raises:
        SettingsError: a column that there is not, or no gain of which something could be kept.
    """
    import plotly.graph_objects as go

    need_columns(gates, ["gate", "guided", "evaluations", "evaluations_kept", "gain_kept"])
    if gates["gain_kept"].isna().all():
        raise SettingsError("the masks turned the accuracy neither up nor down; there is no gain to keep a share of")
    figure = go.Figure(
        go.Scatter(
            x=gates["evaluations_kept"].tolist(),
            y=gates["gain_kept"].tolist(),
            mode="lines+markers",
            line={"color": COLOURS[0], "width": 2},
            marker={"size": 8},
            customdata=gates[["gate", "guided", "evaluations"]].to_numpy().tolist(),
            hovertemplate=(
                "margin at most %{customdata[0]:.2f}<br>%{customdata[1]:.0%} of the images looked at again, "
                "%{customdata[2]:.4g} evaluations an image<br>%{y:.0%} of the gain for %{x:.0%} of the evaluations"
                "<extra></extra>"
            ),
        )
    )
    figure.update_xaxes(title="evaluations kept", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(title="gain kept", tickformat=".0%", rangemode="tozero")
    return dressed(figure, height=420, legend=False)


def classes_figure(classes: pd.DataFrame, most: int = 30) -> go.Figure:
    """Answers that turned right and wrong by class, those with most changes first.

    Args:
        classes: of `Improvement`.
        most: classes shown.

    Raises:
        SettingsError: a column that there is not, or no answer turned.
    """
    import plotly.graph_objects as go

    need_columns(classes, ["class", "n", "turned_right", "turned_wrong"])
    turned = classes.assign(turned=classes["turned_right"] + classes["turned_wrong"])
    turned = turned[turned["turned"] > 0].sort_values("turned", ascending=False, kind="stable").head(most)
    if turned.empty:
        raise SettingsError("no answer turned; there is nothing to show by class")
    places = list(range(len(turned)))
    figure = go.Figure()
    for name, sign, colour in (("turned_right", 1, COLOURS[0]), ("turned_wrong", -1, COLOURS[1])):
        word = name.removeprefix("turned_")
        figure.add_trace(
            go.Bar(
                x=(sign * turned[name]).tolist(),
                y=places,
                orientation="h",
                name=f"turned {word}",
                marker={"color": colour},
                customdata=[
                    [plotly_text(str(row["class"]), None), row[name], row["n"]] for row in turned.to_dict("records")
                ],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]} of %{customdata[2]} turned "
                + word
                + "<extra></extra>",
            )
        )
    figure.update_layout(barmode="relative", bargap=0.3)
    figure.update_xaxes(title="answers: wrong to the left, right to the right", zeroline=True, zerolinecolor="#555555")
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=places,
        ticktext=[plotly_text(str(name)) for name in turned["class"]],
    )
    return dressed(figure, height=150 + 24 * len(places))
