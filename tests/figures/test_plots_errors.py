"""Figures of error clusters from small tables by hand, and sheets of photographs."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from errors_cases import drawn_errors
from PIL import Image

from fidokit.errors.verification import COLUMNS
from fidokit.figures import errors as plots_errors

pytestmark = pytest.mark.usefixtures("quick")


def table(n=6, **changes):
    made = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(n)],
            "label": ["a", "b"] * (n // 2),
            "predicted": ["a"] * n,
            "correct": pd.array([True, False] * (n // 2), dtype="boolean"),
            "score": np.linspace(0, 1, n),
            "half": "discovery",
            "cluster": [-1, 3] * (n // 2),
            "x": np.arange(n, dtype=float),
            "y": 0.0,
        }
    )
    return made.assign(**changes)


def clusters(rows):
    return pd.DataFrame(rows, columns=["cluster", "systematic", "true_class", "predicted_class"])


def test_the_map_has_a_trace_for_each_cluster_and_state():
    made = table(correct=pd.array([True, False, None, False, True, True], dtype="boolean"))
    figure = plots_errors.cluster_map(made)
    found = {(t.name, t.marker.symbol, tuple(t.customdata)) for t in figure.data}
    assert found == {
        ("in no systematic cluster, right", "circle", ("i0", "i4")),
        ("in no systematic cluster, not judged", "circle-open", ("i2",)),
        ("cluster 3, right", "circle", ("i5",)),
        ("cluster 3, wrong", "x", ("i1", "i3")),
    }
    assert len({t.marker.color for t in figure.data if t.name.startswith("cluster 3")}) == 1


def test_clusters_that_are_not_named_are_shown_as_none():
    figure = plots_errors.cluster_map(table(), {7: "another one"})
    assert all(t.name.startswith("in no systematic") for t in figure.data)
    named = plots_errors.cluster_map(table(), {3: "three <b>of</b> them"})
    (text, *_) = next(t.text for t in named.data if t.name == "cluster 3, wrong")
    assert "label b<br>predicted a (0.20)" in text
    assert "three &lt;b&gt;of&lt;/b&gt; them" in text


def test_a_map_of_nothing():
    assert len(plots_errors.cluster_map(table(0)).data) == 0


def test_the_confusion_matrix_counts_and_names_clusters():
    rows = [(4, True, "b", "a"), (9, True, "b", "a"), (5, False, "b", "a"), (6, True, "gone", "a")]
    (heat,) = plots_errors.confusion_figure(table(), clusters(rows)).data
    assert [list(row) for row in heat.text] == [["3", ""], ["3 · cluster 4, 9", ""]]
    assert [list(row) for row in heat.customdata] == [["", ""], ["4,9", ""]]
    assert heat.z[1][0] == 3
    assert heat.z[0][0] is None  # right answers do not take the colours


def test_a_confusion_matrix_of_many_classes_keeps_those_with_errors():
    n = 200
    made = table(n, label=[f"c{k:03d}" for k in range(n)], predicted=[f"c{k:03d}" for k in range(n)])
    made["correct"] = pd.array([True] * n, dtype="boolean")
    made.loc[150, ["predicted", "correct"]] = ["c007", False]
    (heat,) = plots_errors.confusion_figure(made, clusters([])).data
    assert len(heat.text) == 2
    assert heat.text[1][0] == "1"


def test_the_effects_with_their_intervals_and_verdicts():
    made = pd.DataFrame(
        [{"cluster": 1, "effect": 0.8, "effect_low": 0.5, "effect_high": 0.9, "verdict": "proved", "sentence": "<i>$"},
         {"cluster": 2, "effect": np.nan, "verdict": "not shown", "sentence": "too few"}],
        columns=COLUMNS,
    )  # fmt: skip
    figure = plots_errors.effect_figure(made)
    (points,) = figure.data
    assert points.x[0] == 0.8
    assert np.isnan(points.x[1])
    assert points.error_x.array[0] == pytest.approx(0.1)
    assert points.error_x.arrayminus[0] == pytest.approx(0.3)
    assert points.marker.color[0] != points.marker.color[1]
    assert points.text[0] == "&lt;i&gt;&#36;"
    assert figure.layout.yaxis.ticktext[0] == "cluster 1: proved"


def test_colours_of_all_verdicts():
    from fidokit.errors.verification import VERDICTS

    assert set(plots_errors.VERDICT_COLOURS) == set(VERDICTS)


def test_a_sheet_shows_photographs_under_their_masks(tmp_path):
    errors = drawn_errors(tmp_path)
    cluster = int(errors.clusters["cluster"].iloc[0])
    image_id = errors.images(cluster)["image_id"].iloc[0]
    row = errors.features.image_ids.index(image_id)

    def first_picture():
        sheet = Image.open(io.BytesIO(plots_errors.contact_sheet(errors, cluster, n=1, columns=1, side=64)))
        return np.asarray(sheet.convert("RGB")).astype(int)[6:70, 6:70]

    errors.features.masks[row] = 0
    bare = first_picture()
    photograph = errors.study.data.open(errors.study.positions[image_id]).resize((64, 64), Image.Resampling.LANCZOS)
    assert (bare == np.asarray(photograph)).all()
    errors.features.masks[row, :14] = 1
    drawn = first_picture()
    assert np.abs(drawn - bare)[:24].mean() > 30
    assert (drawn[40:] == bare[40:]).all()


def test_a_photograph_that_is_gone_leaves_its_place_empty(tmp_path):
    errors = drawn_errors(tmp_path)
    cluster = int(errors.clusters["cluster"].iloc[0])
    data = errors.study.data
    (tmp_path / "data" / f"{errors.images(cluster)['image_id'].iloc[0][1:]}.png").unlink()
    assert data is errors.study.data
    sheet = Image.open(io.BytesIO(plots_errors.contact_sheet(errors, cluster, n=2, columns=2, side=60)))
    assert sheet.size == (144, 104)
