from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from fidokit.exceptions import SettingsError
from fidokit.figures.compare import COLOURS, comparison_figure, cost_figure
from fidokit.study.compare import compare

STRANGE = "<b>$x$</b>"
SHOWN = "&lt;b&gt;&#36;x&#36;&lt;/b&gt;"


def make_costs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": ["fido", "fido", STRANGE],
            "kind": ["joint", "ssr", "attribution"],
            "n": [5, 5, 4],
            "insertion": [0.8, 0.7, math.nan],
            "insertion_low": [0.75, 0.6, math.nan],
            "insertion_high": [0.9, 0.8, math.nan],
            "evaluations": [49.0, 49.0, 1.0],
            "seconds": [0.5, 0.5, 0.01],
        }
    )


def make_comparisons() -> pd.DataFrame:
    rows = []
    for i in range(10):
        for method, kind, value in (("fido", "joint", 0.8), (STRANGE, "ssr", 0.5), ("c", "ssr", 0.8)):
            noise = float(np.random.default_rng([i, len(method)]).normal(0, 0.05))
            rows.append({"image_id": i, "method": method, "kind": kind, "insertion": value + noise})
    table = pd.DataFrame(rows).assign(deletion=lambda t: t["insertion"])
    return compare(table, ["insertion", "deletion"])


def test_cost_figure_shows_means_intervals_and_costs():
    figure = cost_figure(make_costs())
    joint, ssr, strange = figure.data
    assert (joint.x, joint.y) == ((49.0,), (0.8,))
    assert joint.error_y.array[0] == pytest.approx(0.1)
    assert joint.error_y.arrayminus[0] == pytest.approx(0.05)
    assert figure.layout.xaxis.type == "log"
    # One method, one colour; its kinds differ in shape.
    assert joint.marker.color == ssr.marker.color != strange.marker.color
    assert joint.marker.symbol != ssr.marker.symbol
    assert joint.customdata[0] == ["fido · joint", "0.80 [0.75, 0.90]", "49", 5]
    assert math.isnan(strange.y[0])
    assert cost_figure(make_costs(), cost="seconds").data[0].x == (0.5,)


def test_methods_beyond_the_colours_are_told_apart_by_shape():
    table = pd.concat([make_costs().head(1).assign(method=f"m{i}") for i in range(len(COLOURS) + 1)])
    first, *_, last = cost_figure(table).data
    assert first.marker.color == last.marker.color
    assert first.marker.symbol != last.marker.symbol


def test_comparison_figure_shows_what_compare_found():
    comparisons = make_comparisons()
    figure = comparison_figure(comparisons)
    points = {
        (name, y): (x, trace.name)
        for trace in figure.data
        for x, y in zip(trace.x, trace.y, strict=True)
        for name in [trace.xaxis]
    }
    assert len(points) == len(comparisons) == 4
    for row in comparisons.to_dict("records"):
        axis = "x" if row["metric"] == "insertion" else "x2"
        x, name = points[axis, 0 if row["method"] == STRANGE else 1]
        assert x == row["difference"]
        assert name == f"better: {row['better']}"
    assert {trace.name for trace in figure.data if len(trace.x)} == {
        "better: reference", "better: other", "better: not shown",
    }  # fmt: skip
    assert figure.layout.yaxis.ticktext == (f"{SHOWN} · SSR", "c · SSR")
    assert figure.layout.title.text == "fido · joint minus each other"


@pytest.mark.parametrize("figure", [cost_figure(make_costs()), comparison_figure(make_comparisons())])
def test_names_are_shown_literally(figure):
    text = json.dumps(json.loads(figure.to_json()), ensure_ascii=False)
    assert STRANGE not in text
    assert "$x$" not in text
    assert SHOWN in text


def test_figures_say_what_is_missing():
    with pytest.raises(SettingsError, match="no column 'deletion', 'deletion_low'"):
        cost_figure(make_costs(), "deletion")
    with pytest.raises(SettingsError, match="no column 'metric'"):
        comparison_figure(make_costs())
    with pytest.raises(SettingsError, match="nothing is compared"):
        comparison_figure(make_comparisons().head(0))
