"""CompareWidget without a browser: what it sends, what it does with messages, and its static form."""

from __future__ import annotations

import gzip
import json

import pytest
from report_cases import HARM, SCRIPT_FILE, classifier, make_study

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'fidokit[widgets]'")

import ipywidgets

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.study.ordering import mask_figures
from fidokit.study.run import run_study
from fidokit.widgets import CompareWidget
from fidokit.widgets.plotly_source import plotly_source

pytestmark = pytest.mark.usefixtures("quick")
LEFT = f"left {HARM}"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = make_study(tmp_path_factory.mktemp("compare"))
    made.metrics(progress=False)
    return made


@pytest.fixture
def widget(study):
    made = CompareWidget(study)
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append((content, buffers))
    yield made
    ipywidgets.Widget.close_all()


def say(widget, **content):
    widget._take(widget, content, [])


def images(widget):
    return [row["image"] for row in widget._rows]


def test_the_main_kind_of_every_method_is_shown(widget, study):
    assert widget.names == ["counting SSR", "counting SDR", LEFT, "fails-once"]
    assert widget.panels == ["counting SSR", LEFT, "fails-once"]
    assert widget.metrics == ["insertion", "deletion", "agreement"]
    assert images(widget) == study.predictions()["image_id"].tolist()[:4]
    assert widget._count == [7, 7, 2]


def test_values_are_those_of_the_table(widget, study):
    own = mask_figures(study).set_index(["image_id", "method", "kind"])
    row = widget._rows[2]
    for (method, kind), cell in zip([("counting", "ssr"), (LEFT, "attribution")], row["cells"], strict=False):
        expected = own.loc[(row["image"], method, kind), ["insertion", "deletion", "agreement"]]
        assert cell["values"] == [f"{value:.2f}" for value in expected]


def test_a_mask_that_is_missing_and_a_photograph_that_is_gone(widget):
    say(widget, do="look", page=1)
    rows = {row["image"]: row for row in widget._rows}
    assert not rows["b5.png"]["cells"][2]["there"]
    assert rows["b5.png"]["cells"][2]["values"] == ["–"] * 3
    gone = rows["gone <i>.png"]
    assert not any(cell["there"] for cell in gone["cells"])
    assert "gone" in gone["reason"]
    say(widget, do="pictures", images=["gone <i>.png"])
    (content, buffers) = widget.sent[-1]
    assert buffers == [b""]
    assert "gone.png does not exist" in content["photograph"]["reason"]


def test_several_attributes_at_once(widget, study):
    widget.page = 1
    say(widget, do="look", sort="insertion", of=LEFT, descending=True)
    assert (widget.sort, widget.of, widget.descending, widget.page) == ("insertion", LEFT, True, 0)
    values = widget.order["value"].dropna().tolist()
    assert values == sorted(values, reverse=True)
    assert images(widget) == widget.order["image_id"].tolist()[:4]
    assert not widget._message


def test_python_and_the_browser_change_the_same(widget):
    widget.state = "wrong"
    assert {row["state"] for row in widget._rows} == {"wrong"}
    widget.search = "no such file"
    assert widget._rows == []
    assert widget._count == [0, 7, 1]
    widget.search, widget.state, widget.page_size = "", "all", 2
    assert len(widget._rows) == 2
    widget.page = 100
    assert widget.page == 3


def test_what_goes_wrong_is_said_and_changes_nothing(widget):
    say(widget, do="look", sort="beauty")
    assert "no figure 'beauty'" in widget._message
    assert widget.sort == "dataset"
    say(widget, do="look", harm=1)
    assert "no attribute 'harm'" in widget._message
    say(widget, do="look", state="odd")
    assert widget.state == "all"
    say(widget, do="look", page=0)
    assert not widget._message
    with pytest.raises(SettingsError, match="no masks 'x'"):
        widget.panels = ["x"]
    with pytest.raises(SettingsError, match="no image"):
        widget.image_id = "x"
    say(widget, do="pictures", images=["../../etc/passwd"])
    assert "no image" in widget._message
    say(widget, do="nothing that is known")


def test_options_are_checked(study):
    for options in ({"panels": ["x"]}, {"metrics": ["x"]}, {"page_size": 0}):
        with pytest.raises(SettingsError):
            CompareWidget(study, **options)


def test_pictures_bring_the_masks_that_are_shown(widget, study):
    say(widget, do="pictures", images=["b3.png"])
    content, buffers = widget.sent[-1]
    assert [layer["name"] for layer in content["layers"]] == ["counting SSR", LEFT, "fails-once"]
    assert buffers[0][:4] == b"\x89PNG"
    mask = study.masks("counting", "ssr").set_index("image_id")["mask"]["b3.png"]
    assert list(buffers[1]) == [round(255 * value) for value in mask.astype("float32").ravel().tolist()]


def test_one_image_large(widget):
    say(widget, do="look", image_id="b3.png")
    assert [layer["name"] for layer in widget._layers] == widget.names
    assert widget._photograph["width"] == 48
    lines = {line[0]: line[2:] for line in widget._detail["lines"]}
    assert len(lines["insertion"]) == 4
    say(widget, do="look", image_id="")
    assert widget._layers == []
    assert widget._detail == {}


def test_the_figure_and_a_click_on_it(widget, study):
    assert widget._plot == []
    say(widget, do="plot")
    figure = json.loads(widget._plot[0])
    summary = study.summary()
    deletion = figure["data"][1]
    assert len(figure["data"]) == 3
    text = json.dumps(figure)
    assert "<img" not in text
    say(widget, do="clicked", trace=1, point=0)
    assert (widget.sort, widget.of, widget.descending) == ("deletion", "counting SSR", True)
    assert "counting SSR" in widget.panels
    assert deletion["customdata"][0][0].startswith("counting")
    assert summary.iloc[0]["kind"] == "ssr"


def test_plotly_is_sent_when_it_is_asked_for(widget):
    say(widget, do="plotly")
    content, buffers = widget.sent[-1]
    assert content["version"] == plotly_source()[0]
    assert b"plotly.js" in gzip.decompress(buffers[0])[:200]
    # And is no part of what a notebook would save.
    assert len(json.dumps({k: str(v) for k, v in widget.get_state().items()})) < 300_000


def test_what_is_measured_later_is_there_after_refresh(tmp_path):
    study = make_study(tmp_path)
    widget = CompareWidget(study)
    assert widget.metrics == ["score_kept", "score_dropped"]
    assert "disagreement" not in [name for name, _ in widget._orders]
    say(widget, do="look", sort="disagreement")
    assert "study.metrics()" in widget._message
    study.metrics(progress=False)
    widget.refresh()
    widget.sort, widget.metrics = "disagreement", ["insertion"]
    assert widget.order["value"].notna().sum() == 6
    run_study(classifier(), study.data, {"once more": "counting"}, store=study.path, progress=False)
    widget.refresh()
    assert widget.names[-2:] == ["once more SSR", "once more SDR"]
    widget.panels = ["once more SSR"]
    assert widget._rows[0]["cells"][0]["there"]
    ipywidgets.Widget.close_all()


def test_photographs_that_have_moved(tmp_path):
    study = make_study(tmp_path)
    (tmp_path / "photographs").rename(tmp_path / "elsewhere")
    widget = CompareWidget(fk.open_study(study.path))
    assert "have moved" in widget._remark
    assert widget._static_picture() is None
    say(widget, do="look", image_id="b3.png")
    assert len(widget._layers) == 4
    assert "b3.png" in widget._message or "3.png" in widget._message
    ipywidgets.Widget.close_all()


def test_the_static_form(widget):
    bundle = widget._static_bundle()
    assert len(bundle["image/png"]) > 1000
    assert HARM not in bundle["text/html"]
    assert SCRIPT_FILE not in bundle["text/html"]
    assert bundle["text/html"].count("insertion") >= 12
    assert "by order of the dataset (insertion: higher is better; deletion: lower is better" in bundle["text/html"]
    assert repr(widget).startswith("CompareWidget(7 photographs, counting SSR")


def test_verdicts_stand_beneath_each_mask_and_regions_where_they_were_cut(tmp_path):
    made = make_study(tmp_path)
    shown = CompareWidget(made)
    own = mask_figures(made).set_index(["image_id", "method", "kind"])
    cell = shown._rows[2]["cells"][0]
    assert cell["words"] == [own.loc[(shown._rows[2]["image"], "counting", "ssr"), "verdict"]]
    assert not any(row[0] == "regions" for row in shown._all_figures(images(shown)[0], shown.names)["lines"])
    made.regions("counting", "ssr", progress=False)
    shown.refresh()
    table = made.regions("counting", "ssr", progress=False).set_index("image_id")
    assert shown._rows[2]["cells"][0]["words"][1] == f"region: {table.loc[shown._rows[2]['image'], 'verdict']}"
    lines = {row[0]: row[2:] for row in shown._all_figures(images(shown)[0], shown.names)["lines"]}
    assert lines["regions"][0].startswith("region: ")
    assert lines["regions"][1] == "not cut"
    assert lines["verdict"][0] == own.loc[(images(shown)[0], "counting", "ssr"), "verdict"]
    ipywidgets.Widget.close_all()
