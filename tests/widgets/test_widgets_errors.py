"""ErrorWidget without a browser: what it sends, how selections are taken, and verification beside the notebook."""

from __future__ import annotations

import io
import threading

import numpy as np
import pandas as pd
import pytest
from errors_cases import drawn_data, drawn_errors

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'fidokit[widgets]'")

import ipywidgets

from fidokit.exceptions import SettingsError
from fidokit.widgets import ErrorWidget
from fidokit.widgets import errors as errors_module
from fidokit.widgets.errors_tables import STATES, cluster_rows, map_picture, members_of, points

pytestmark = pytest.mark.usefixtures("quick")
HARM = "=<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors-widget")
    data = drawn_data(folder / "data", 180)
    data.table.loc[0, "image_id"] = HARM
    return drawn_errors(folder, data=data)


@pytest.fixture
def widget(errors):
    errors.verification = None
    made = ErrorWidget(errors)
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append((content, buffers))
    yield made
    made.close()
    ipywidgets.Widget.close_all()


def say(widget, *, content=None, **message):
    widget._take(widget, message, [] if content is None else [memoryview(content)])


def select(widget, rows, number, view="a", **more):
    say(widget, do="select", view=view, number=number, content=np.asarray(rows, np.uint32).tobytes(), **more)


def heard(widget):
    return [content["number"] for content, _ in widget.sent if content["kind"] == "heard"]


def test_points_are_those_of_the_map(errors, widget):
    table = errors.map
    sent = widget._points
    np.testing.assert_allclose(np.frombuffer(sent["x"], np.float32), table["x"], rtol=1e-6)
    states = [STATES[i] for i in np.frombuffer(sent["state"], np.uint8)]
    assert [state == "wrong" for state in states] == errors.outcome.wrong.tolist()
    labels = [sent["names"][i] for i in np.frombuffer(sent["label"], np.int32)]
    assert labels == table["label"].tolist()
    clusters = [sent["clusters"][i] for i in np.frombuffer(sent["cluster"], np.int32)]
    assert clusters == table["cluster"].tolist()
    assert widget._ids == table["image_id"].tolist()


def test_points_without_labels_or_classes():
    table = pd.DataFrame(
        {"image_id": ["a"], "label": [None], "predicted": ["x"], "correct": pd.array([None], "boolean"), "score": [0.5],
         "cluster": [-1], "x": [0.0], "y": [0.0]}
    )  # fmt: skip
    sent = points(table)
    assert np.frombuffer(sent["label"], np.int32).tolist() == [-1]
    assert STATES[np.frombuffer(sent["state"], np.uint8)[0]] == "not judged"
    assert map_picture(table).size == map_picture(table.iloc[:0]).size


def test_a_selection_is_a_data_frame(widget, errors):
    told = []
    widget.on_select(lambda w: told.append(len(w.selection)))
    select(widget, [5, 2, 9], 1)
    assert widget.selected == tuple(errors.map["image_id"].iloc[[5, 2, 9]])
    pd.testing.assert_frame_equal(widget.selection, errors.map.iloc[[5, 2, 9]].reset_index(drop=True))
    assert told == [3]
    assert np.frombuffer(widget._view["rows"], np.uint32).tolist() == [5, 2, 9]
    listed = [row["cluster"] for row in widget._clusters]
    inside = errors.members[errors.members["image_id"].isin(widget.selected)].groupby("cluster").size()
    assert widget._view["counts"] == [int(inside.get(cluster, 0)) for cluster in listed]


def test_each_selection_is_taken_once_and_in_order(widget):
    told = []
    widget.on_select(lambda w: told.append(list(w._rows)))
    select(widget, [1], 1)
    select(widget, [1], 1)  # came twice
    select(widget, [3], 3)  # the second one is lost
    assert told == [[1]]
    say(widget, do="heard", view="a")
    assert widget.sent[-1][0] == {"kind": "heard", "view": "a", "number": 1, "asked": True}
    select(widget, [2], 2)
    select(widget, [3], 3)
    select(widget, [3], 4)  # the same again is a selection of its own
    select(widget, [7], 1, view="b")
    assert told == [[1], [2], [3], [3], [7]]
    assert heard(widget) == [1, 1, 1, 1, 2, 3, 4, 1]


def test_a_callback_that_fails_costs_no_selection(widget):
    def fail(_widget):
        raise ValueError("mine")

    widget.observe(lambda change: 1 / 0, "selected")
    select(widget, [1], 1)
    assert "ZeroDivisionError" in widget._message
    assert heard(widget) == [1]
    widget.on_select(fail)
    select(widget, [2], 2)
    assert list(widget._rows) == [2]


def test_a_row_that_there_is_not(widget):
    select(widget, [10**6], 1)
    assert "1000000 of 180" in widget._message
    assert widget.selected == ()


def test_choosing_a_cluster_selects_its_images_the_most_typical_first(widget, errors):
    number = int(errors.clusters["cluster"].iloc[0])
    select(widget, [], 1, cluster=number)
    assert widget.cluster == number
    assert widget.selection["image_id"].tolist() == errors.images(number)["image_id"].tolist()
    assert widget._view["cluster"] == number
    select(widget, [4], 2)
    assert widget.cluster is None
    widget.cluster = number
    assert len(widget.selected) == len(members_of(errors, number))
    select(widget, [], 3, cluster=10**6)
    assert "numbered from 1" in widget._message
    with pytest.raises(SettingsError):
        widget.cluster = 10**6


def test_a_selection_from_python(widget):
    told = []
    widget.on_select(lambda w: told.append(w.selected))
    widget.selected = (HARM, "p007")
    assert widget.selection["image_id"].tolist() == [HARM, "p007"]
    assert np.frombuffer(widget._view["rows"], np.uint32).tolist() == [0, 7]
    assert told == [(HARM, "p007")]
    with pytest.raises(SettingsError, match="no image 'dodo'"):
        widget.selected = ("dodo",)
    widget.on_select(told.clear, remove=True)


def test_the_selection_as_csv_runs_no_formula(widget):
    widget.selected = (HARM, "p007")
    say(widget, do="csv")
    content, (data,) = widget.sent[-1]
    assert content["name"] == "selection.csv"
    table = pd.read_csv(io.BytesIO(data))
    assert table["image_id"].tolist() == [f"'{HARM}", "p007"]


def test_the_selection_as_a_variable(widget, monkeypatch):
    class Shell:
        def __init__(self):
            self.names = {}

        def push(self, names):
            self.names |= names

    shell = Shell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    widget.selected = ("p007",)
    say(widget, do="put", name="chosen")
    assert shell.names["chosen"]["image_id"].tolist() == ["p007"]
    assert widget.sent[-1][0] == {"kind": "put", "name": "chosen", "count": 1}
    for name in ("1x", "for", "a b", "_", "__import__('os')"):
        say(widget, do="put", name=name)
        assert "cannot be the name" in widget._message
    assert list(shell.names) == ["chosen"]
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    say(widget, do="put", name="chosen")
    assert "widget.selection" in widget._message


def test_pictures_bring_the_mask_of_the_cluster(widget, errors):
    say(widget, do="pictures", images=[3])
    content, (photograph, mask) = widget.sent[-1]
    assert content["image"] == 3
    assert photograph[:4] == b"\x89PNG"
    expected = np.round(errors.features.masks[3].clip(0, 1) * 255).astype(np.uint8)
    assert mask == expected.tobytes()


def test_one_image_large(widget):
    say(widget, do="open", image=0)
    assert widget.image_id == HARM
    assert widget._about["image"] == HARM
    assert [layer["name"] for layer in widget._layers] == ["counting SSR", "counting SDR"]
    say(widget, do="open", image=None)
    assert widget._about == {}
    assert widget._layers == []


def test_a_cluster_is_verified_as_errors_would(widget, errors):
    number = int(errors.clusters["cluster"].iloc[0])
    say(widget, do="verify", cluster=number)
    assert widget.wait(60)
    assert widget.state == "ready"
    assert widget._progress[0] == widget._progress[1] > 0
    found = errors.verification.table
    errors.verification = None
    pd.testing.assert_frame_equal(errors.verify([number], progress=False), found)
    row = next(row for row in widget._clusters if row["cluster"] == number)
    assert row["verdict"] == found["verdict"].iloc[0]
    assert row["proof"] == found["sentence"].iloc[0]


def test_a_verification_is_stopped_and_one_at_a_time(widget, errors, monkeypatch):
    gate = threading.Event()

    def slow(self, done, total):
        gate.wait(10)
        return self._stop.is_set()

    monkeypatch.setattr(errors_module.Verifying, "_watch", slow)
    widget.verify()
    with pytest.raises(SettingsError, match="stop it first"):
        widget.verify()
    say(widget, do="stop")
    assert widget.state == "stopping"
    gate.set()
    assert widget.wait(30)
    assert widget.state == "ready"
    assert len(errors.verification.table) == 0


def test_what_goes_wrong_in_the_thread_is_said(widget, monkeypatch):
    monkeypatch.setattr(type(widget.errors), "verify", lambda *_a, **_k: 1 / 0)
    widget.verify()
    assert widget.wait(30)
    assert "ZeroDivisionError" in widget._message
    assert isinstance(widget.error, ZeroDivisionError)
    assert widget.state == "ready"


def test_what_a_cell_verified_is_there_after_refresh(widget, errors):
    errors.verify(progress=False)
    assert not any(row["verdict"] for row in widget._clusters)
    widget.refresh()
    assert [row["verdict"] for row in cluster_rows(errors)] == [row["verdict"] for row in widget._clusters]
    assert any(row["verdict"] for row in widget._clusters)


def test_the_static_form(widget):
    bundle = widget._static_bundle()
    assert "<img src=x" not in bundle["text/html"]
    assert "are classified wrongly" in bundle["text/html"]
    assert len(bundle["image/png"]) > 1000
    assert repr(widget) == f"ErrorWidget(180 images, {len(widget.errors)} clusters, 0 selected)"
    # The blue of the first systematic cluster is there.
    assert (0, 114, 178) in {colour for _, colour in map_picture(widget._map).getcolors(10**6)}
