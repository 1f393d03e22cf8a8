from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fidokit.exceptions import SettingsError
from fidokit.figures.improvement import accuracy_figure, classes_figure, gate_figure

STRANGE = "<b>$x$</b>"
SHOWN = "&lt;b&gt;&#36;x&#36;&lt;/b&gt;"


def make_summary() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": ["classifier alone", "masks", STRANGE],
            "accuracy": [0.5, 0.7, 0.6],
            "accuracy_low": [0.4, 0.65, 0.5],
            "accuracy_high": [0.6, 0.8, 0.65],
            "evaluations": [1.0, 46.0, 46.0],
            "equal_cost": [False, False, True],
        }
    )


def make_gates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gate": [0.0, 0.5, 1.0],
            "guided": [0.0, 0.4, 1.0],
            "evaluations": [1.0, 19.0, 46.0],
            "evaluations_kept": [1 / 46, 19 / 46, 1.0],
            "gain_kept": [0.0, 0.9, 1.0],
        }
    )


def make_classes() -> pd.DataFrame:
    return pd.DataFrame(
        {"class": ["a", STRANGE, "c"], "n": [9, 8, 7], "turned_right": [1, 4, 0], "turned_wrong": [0, 2, 0]}
    )


def test_accuracy_of_every_way_with_its_interval():
    figure = accuracy_figure(make_summary())
    assert [trace.x[0] for trace in figure.data] == [0.5, 0.7, 0.6]
    masks = figure.data[1]
    assert masks.error_x.array[0] == pytest.approx(0.1)
    assert masks.error_x.arrayminus[0] == pytest.approx(0.05)
    assert masks.marker.symbol != figure.data[0].marker.symbol
    assert "equal cost" in figure.data[2].customdata[0][2]
    assert figure.layout.shapes[0].x0 == 0.5


def test_gain_kept_against_evaluations():
    (line,) = gate_figure(make_gates()).data
    assert list(line.x) == pytest.approx([1 / 46, 19 / 46, 1.0])
    assert list(line.y) == [0.0, 0.9, 1.0]
    assert line.customdata[1][1] == 0.4


def test_classes_that_turned_in_order_of_how_much():
    right, wrong = classes_figure(make_classes()).data
    assert list(right.x) == [4, 1]
    assert list(wrong.x) == [-2, 0]
    assert classes_figure(make_classes(), most=1).data[0].x == (4,)


def test_names_are_shown_literally():
    for figure in (accuracy_figure(make_summary()), classes_figure(make_classes())):
        text = json.dumps(figure.to_plotly_json(), default=lambda value: np.asarray(value).tolist())
        assert SHOWN in text
        assert STRANGE not in text


def test_tables_that_cannot_be_drawn():
    with pytest.raises(SettingsError, match="accuracy_low"):
        accuracy_figure(make_summary().drop(columns="accuracy_low"))
    with pytest.raises(SettingsError, match="guided"):
        gate_figure(make_gates().drop(columns="guided"))
    with pytest.raises(SettingsError, match="no gain"):
        gate_figure(make_gates().assign(gain_kept=np.nan))
    with pytest.raises(SettingsError, match="no answer turned"):
        classes_figure(make_classes().assign(turned_right=0, turned_wrong=0))
