"""AnswerWidget without a browser: what it sends, and what choosing a row and opening a photograph do."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from answer_cases import photographs, sites
from PIL import Image
from report_cases import HARM, NAMES, SCRIPT_FILE, make_study

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'fidokit[widgets]'")

import ipywidgets

from fidokit.exceptions import SettingsError
from fidokit.widgets import AnswerWidget
from fidokit.widgets import answers as answers_module

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("answers-widget"))


@pytest.fixture
def widget(study):
    made = AnswerWidget(sites(study))
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append((content, buffers))
    yield made
    made.close()
    ipywidgets.Widget.close_all()


def say(widget, **message):
    widget._take(widget, message, [])


def yellow(data):
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return bool(((pixels[..., :2] > 150).all(-1) & (pixels[..., 2] < 110)).any())


def test_what_the_browser_gets(widget):
    sent = widget._answer
    assert [sent[name] for name in ("question", "headline", "notes", "total")] == [
        *("Which site?", "One of 3 sites.", ["Said by nobody."], 3)
    ]
    assert sent["heads"][2] == ("background", "Background", "share of the decision", False)
    assert sent["rows"][0][2] == ("0.40", "0.30 – 0.50", 0.4)
    assert sent["rows"][2][2] == ("–", "", None)


def test_a_long_table_is_cut_for_the_browser_alone(study, monkeypatch):
    monkeypatch.setattr(answers_module, "MOST_ROWS", 2)
    made = AnswerWidget(sites(study))
    assert (len(made._answer["rows"]), made._answer["total"]) == (2, 3)
    made.row = 2
    made.close()


def test_a_row_shows_its_photographs(widget):
    assert [shown["group"] for shown in widget._shown] == [HARM, HARM, "ridge"]
    say(widget, do="choose", row=0)
    assert widget.row == 0
    assert [(shown["key"], shown["image"], shown["caption"]) for shown in widget._shown] == [
        ("0:0", SCRIPT_FILE, "the reeds decide & more"),
        ("0:1", "gone <i>.png", "the reeds again"),
    ]
    widget.row = 2
    assert widget._shown == []
    say(widget, do="choose", row=None)
    assert len(widget._shown) == 3
    with pytest.raises(SettingsError, match="rows 0 to 2"):
        widget.row = 3
    say(widget, do="choose", row=-1)
    assert "rows 0 to 2" in widget._message


def test_photographs_come_one_by_one_with_their_box(widget):
    say(widget, do="pictures", images=[":0", ":1", ":2"])
    (first, boxed), (gone, nothing), (third, bare) = widget.sent
    assert (first["image"], gone["image"], third["image"]) == (":0", ":1", ":2")
    assert yellow(boxed[0])
    assert not yellow(bare[0])
    assert (nothing, "gone.png" in gone["photograph"]["reason"]) == ([b""], True)


def test_a_photograph_large_has_its_box_and_its_masks(widget):
    say(widget, do="open", image=":0")
    assert widget.image_id == SCRIPT_FILE
    assert yellow(widget._photograph["data"])
    assert len(widget._layers) == 4
    assert widget._about["label"] == NAMES[0]
    widget.image_id = "b2.png"
    assert not yellow(widget._photograph["data"])
    say(widget, do="open", image=":1")
    assert widget._photograph == {"reason": widget._message}
    assert "gone.png" in widget._message
    say(widget, do="open", image=None)
    assert (widget.image_id, widget._message, widget._about) == ("", "", {})
    with pytest.raises(SettingsError, match="no photograph 'other'"):
        widget.image_id = "other"


def test_the_table_as_a_file(widget):
    say(widget, do="csv")
    content, (data,) = widget.sent[0]
    assert content["name"].endswith(".csv")
    assert pd.read_csv(io.BytesIO(data))["site"].tolist() == [HARM, "ridge", "'=1+1"]


def test_rows_that_are_photographs_have_their_own(study):
    made = AnswerWidget(photographs(study))
    assert [shown["group"] for shown in made._shown] == [""]  # the only one
    made.row = 0
    assert [shown["image"] for shown in made._shown] == ["b3.png"]
    made.close()


def test_what_stays_in_a_saved_notebook(widget):
    bundle = widget._static_bundle()
    assert "One of 3 sites." in bundle["text/html"]
    assert repr(widget) == "AnswerWidget(Answer('Which site?', 3 rows: One of 3 sites.))"
