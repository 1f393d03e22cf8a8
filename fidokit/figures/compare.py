"""Comparisons as plotly figures: quality against cost, differences with intervals.

Everything shown stands in a table of `fidokit.study.compare`; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from fidokit._util.numbers import signed, with_interval
from fidokit.exceptions import SettingsError
from fidokit.figures.masks import COLOURS, KIND_NAMES, directed, dressed, plotly_text, readable

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Colour is never alone: a second sign repeats after another number than the colours.
_KIND_SYMBOLS = {"joint": "circle", "ssr": "square", "sdr": "diamond", "effect": "star", "attribution": "cross"}
_BETTER_SIGNS = {
    "reference": {"color": "#0072B2", "symbol": "circle"},
    "other": {"color": "#D55E00", "symbol": "square"},
    "not shown": {"color": "#777777", "symbol": "circle-open"},
}


def cost_figure(table: pd.DataFrame, metric: str = "insertion", cost: str = "evaluations") -> go.Figure:
    """Quality against cost, a point with its interval for each method and kind.

    Args:
        table: of `fidokit.study.compare.cost_table`: method, kind, the cost, and NAME, NAME_low, NAME_high.
        metric: NAME.
        cost: ``evaluations`` or ``seconds``; on a logarithmic axis.

    Raises:
        SettingsError: a column that there is not.
    """
    import plotly.graph_objects as go

    need_columns(table, ["method", "kind", "n", metric, f"{metric}_low", f"{metric}_high", cost])
    methods = [str(name) for name in table["method"].drop_duplicates()]
    figure = go.Figure()
    for row in table.to_dict("records"):
        place = methods.index(str(row["method"]))
        name = _line(row["method"], row["kind"])
        figure.add_trace(
            go.Scatter(
                x=[row[cost]],
                y=[row[metric]],
                mode="markers",
                name=name,
                marker={
                    "size": 11,
                    "color": COLOURS[place % len(COLOURS)],
                    "symbol": _KIND_SYMBOLS.get(row["kind"], "circle") + ("" if place < len(COLOURS) else "-open"),
                },
                error_y=error_bars([row], metric),
                customdata=[
                    [
                        _line(row["method"], row["kind"], None),
                        _with_interval(row, metric),
                        f"{row[cost]:.4g}",
                        row["n"],
                    ]
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>" + readable(metric) + " %{customdata[1]}<br>" + readable(cost)
                    + " %{customdata[2]}, %{customdata[3]} images<extra></extra>"
                ),
            )
        )  # fmt: skip
    figure.update_xaxes(type="log", title=f"{readable(cost)} per image")
    figure.update_yaxes(title=directed(metric))
    return dressed(figure, height=460)


def comparison_figure(comparisons: pd.DataFrame) -> go.Figure:
    """Paired differences with their intervals, a panel for each metric: right of 0 the reference is higher.

    Args:
        comparisons: of `fidokit.study.compare.compare`.

    Raises:
        SettingsError: nothing is compared in it, or a column is missing.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    need_columns(comparisons, ["metric", "method", "kind", "n", "difference", "low", "high", "q_value", "better"])
    if not len(comparisons):
        raise SettingsError("nothing is compared in this table; a comparison needs a second method or kind")
    metrics = [str(name) for name in comparisons["metric"].drop_duplicates()]
    lines = list(dict.fromkeys(zip(comparisons["method"], comparisons["kind"], strict=True)))
    figure = make_subplots(
        cols=len(metrics),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        column_titles=[directed(name) for name in metrics],
    )
    for metric, better in ((metric, better) for metric in metrics for better in _BETTER_SIGNS):
        own = comparisons[(comparisons["metric"] == metric) & (comparisons["better"] == better)]
        rows = own.to_dict("records")
        figure.add_trace(
            go.Scatter(
                x=own["difference"].tolist(),
                y=[lines.index((row["method"], row["kind"])) for row in rows],
                mode="markers",
                name=f"better: {better}",
                marker={"size": 9, **_BETTER_SIGNS[better]},
                error_x=error_bars(rows, "difference", "low", "high"),
                customdata=[
                    [
                        _line(row["method"], row["kind"], None),
                        with_interval(row["difference"], row["low"], row["high"], signed),
                        f"{row['q_value']:.3g}",
                        row["n"],
                        better,
                    ]
                    for row in rows
                ],
                hovertemplate=(
                    "%{customdata[0]}<br>reference minus this %{customdata[1]}<br>corrected p %{customdata[2]}, "
                    "%{customdata[3]} images; better: %{customdata[4]}<extra></extra>"
                ),
            ),
            row=1,
            col=metrics.index(metric) + 1,
        )
    figure.add_vline(x=0, line={"color": "#555555", "width": 1, "dash": "dot"})
    figure.update_yaxes(
        autorange="reversed",
        tickmode="array",
        tickvals=list(range(len(lines))),
        ticktext=[_line(*line) for line in lines],
        zeroline=False,
    )
    reference = comparisons[["reference_method", "reference_kind"]].iloc[0]
    figure.update_layout(title={"text": f"{_line(*reference)} minus each other", "font": {"size": 14}})
    return dressed(figure, height=130 + 34 * len(lines), legend=False)


def need_columns(table: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise SettingsError(
            f"the table has no column {', '.join(map(repr, missing))}; it has {', '.join(map(str, table.columns))}"
        )


def _line(method: Any, kind: Any, longest: int | None = 48) -> str:
    return plotly_text(f"{method} · {KIND_NAMES.get(str(kind), str(kind))}", longest)


def error_bars(rows: Sequence[Any], name: str, low: str | None = None, high: str | None = None) -> dict[str, Any]:
    low, high = low or f"{name}_low", high or f"{name}_high"
    return {
        "type": "data",
        "symmetric": False,
        "array": [row[high] - row[name] for row in rows],
        "arrayminus": [row[name] - row[low] for row in rows],
        "thickness": 2,
        "width": 0,
    }


def _with_interval(row: Any, name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
