"""ExplainWidget without a browser: through its attributes and the messages that the browser would send."""

import io
import threading

import pytest
import torch
from PIL import Image
from study_cases import CLASSES, make_classifier, make_data, paint

import fidokit as fk
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.base import Masks

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'fidokit[widgets]'")

import ipywidgets

from fidokit.widgets import ExplainWidget
from fidokit.widgets.answering import _answer_beside_cells
from fidokit.widgets.overlay import layer_values
from fidokit.widgets.static_form import BUNDLES

SETTINGS = fk.FidoSettings(grid=4, steps=8, tolerance=0.0)
LONG = fk.FidoSettings(grid=4, steps=100_000, tolerance=0.0)
HARM = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def closed():
    """No widget is left for the interpreter's end."""
    yield
    ipywidgets.Widget.close_all()


@pytest.fixture
def widget(quick, classifier, data):
    made = ExplainWidget(classifier, data, settings=SETTINGS)
    yield made
    made.stop()
    assert made.wait(30)


def say(widget, buffers=(), **content):
    """What a message of the browser does."""
    widget._handle_custom_msg(content, list(buffers))


def explained(widget):
    widget.start()
    assert widget.wait(30)
    return widget


def started(widget):
    """Running, with a mask to be seen."""
    seen = threading.Event()
    widget.observe(lambda _change: seen.set(), "_progress")
    widget.settings = LONG
    widget.start()
    seen.clear()
    assert seen.wait(30)
    return widget


def names(widget):
    return [layer["name"] for layer in widget._layers]


def upload(size=(30, 20)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (60, 160, 60)).save(buffer, "PNG")
    return buffer.getvalue()


class TestBefore:
    def test_what_can_be_chosen(self, widget, data):
        state = widget.get_state()
        assert state["_photographs"][3] == [data.table["image_id"][3], data.table["label"][3]]
        assert state["_classes"] == CLASSES
        assert [method["name"] for method in state["_methods"]] == fk.list_methods()
        assert list(state["_methods"][0]["presets"]) == ["given", "default", "fast", "quality", "published"]
        assert (widget.image_id, widget.state, widget.result) == (data.table["image_id"][0], "ready", None)
        assert "settings" not in state
        assert "result" not in state

    def test_choosing_shows_the_photograph(self, widget, data):
        before = widget._photograph
        say(widget, do="choose", image=data.table["image_id"][5])
        assert widget.image_id == data.table["image_id"][5]
        assert widget._photograph != before
        assert (widget._photograph["width"], widget._photograph["height"]) == (16, 16)

    def test_a_method_brings_its_settings(self, widget):
        widget.method = "rise"
        assert type(widget.settings).__name__ == "RiseSettings"
        assert widget._preset == "default"
        widget.method = "fido"
        assert (widget.settings, widget._preset) == (SETTINGS, "given")

    def test_a_part_of_a_name_is_enough(self, widget):
        widget.target, widget.against = "gree", "BLU"
        assert (widget.target, widget.against) == ("green", "blue")
        with pytest.raises(SettingsError, match=r"'e' fits \d names: "):
            widget.target = "e"

    def test_what_is_not_there(self, widget, classifier, data):
        wrong = [
            ("image_id", "x", "no photograph 'x'"),
            ("target", "gren", "did you mean 'green'"),
            ("against", "x", "no class 'x'"),
            ("method", "magic", "unknown method"),
        ]
        for name, value, words in wrong:
            with pytest.raises(SettingsError, match=words):
                setattr(widget, name, value)
        with pytest.raises(SettingsError, match="unknown method"):
            ExplainWidget(classifier, data, baselines=["magic"])
        with pytest.raises(SettingsError, match="FidoSettings"):
            ExplainWidget(classifier, data, settings=3)

    def test_without_photographs(self, quick, classifier):
        empty = ExplainWidget(classifier)
        assert empty.image_id == ""
        with pytest.raises(SettingsError, match="choose a photograph"):
            empty.start()
        assert empty._repr_mimebundle_()[0]["text/html"].count("<img") == 0

    def test_a_photograph_that_cannot_be_read(self, widget, data):
        path = data.table["path"][4]
        open(path, "w").close()  # noqa: PTH123
        say(widget, do="choose", image=data.table["image_id"][4])
        assert path in widget._message
        assert path in widget._photograph["reason"]
        widget.image_id = ""
        with pytest.raises(ImageError):
            widget.image_id = data.table["image_id"][4]


class TestRun:
    def test_the_result_is_that_of_explain(self, widget, classifier, data):
        explained(widget)
        assert (widget.state, widget._message) == ("done", "")
        wanted = fk.explain(classifier, data.subset([0]), settings=SETTINGS)
        assert isinstance(widget.result, Masks)
        for kind in ("ssr", "sdr", "joint", "effect"):
            torch.testing.assert_close(widget.result[kind], wanted[kind])
        assert widget.result.settings_id == wanted.settings_id
        assert names(widget) == [
            *("fido joint", "fido SSR", "fido SDR", "fido effect", "grad-cam", "integrated-gradients"),
            *("fido SSR sufficient region", "fido SDR destroying region"),
        ]
        assert layer_values(widget._layers[0]) == pytest.approx(wanted.joint[0].numpy(), abs=1 / 255)
        assert set(widget.baseline_results) == {"grad-cam", "integrated-gradients"}
        assert widget._shown == "fido joint"
        facts = dict(widget._facts)
        # One number for one thing: the last progress is what the facts say.
        progress = widget._progress
        assert progress["evaluations"] == progress["total"] == int(wanted.evaluations[0])
        assert facts["Cost"].startswith(f"{progress['total']} evaluations")
        assert progress["kept"] == pytest.approx(float(wanted.score_kept["ssr"][0]))
        assert progress["dropped"] == pytest.approx(float(wanted.score_dropped["sdr"][0]))
        assert facts["Predicted"].startswith(wanted.target[0])
        assert "kept" in facts["Mask joint"]

    def test_a_contrast_typed_in_the_browser(self, widget, classifier, data):
        fields = widget._methods[0]["presets"]["default"] | {"steps": "3", "grid": "5"}
        say(widget, do="start", method="fido", preset="default", fields=fields, target="blue", against="red")
        assert widget.wait(30)
        assert widget.settings == fk.FidoSettings(steps=3, grid=5)
        assert (widget.target, widget.against, widget._preset) == ("blue", "red", "default")
        wanted = fk.explain(classifier, data.subset([0]), targets="blue", against="red", steps=3, grid=5)
        torch.testing.assert_close(widget.result.ssr, wanted.ssr)
        assert dict(widget._facts)["Explained"] == "blue rather than red"

    def test_another_method(self, widget):
        say(
            widget, do="start", method="grad-cam", preset="default", fields={"layer": "None"}, target=None, against=None
        )
        assert widget.wait(30)
        assert widget.result.method == "grad-cam"
        regions = ["grad-cam sufficient region", "grad-cam destroying region"]
        assert names(widget) == ["grad-cam", "integrated-gradients", *regions]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"target": "bleu"}, "did you mean 'blue'"),
            ({"target": "blue", "against": "blue"}, "cannot be contrasted with itself"),
            ({"method": "magic"}, "unknown method 'magic'"),
            ({"preset": "best"}, "no settings 'best'"),
            ({"fields": {"steps": "x"}}, "steps is 'x'; it must be a whole number"),
            ({"fields": {"lr": "-1"}}, "lr"),
        ],
    )
    def test_what_is_typed_wrong_is_said_in_the_widget(self, widget, changes, words):
        given = {"method": "fido", "preset": "default", "fields": {}, "target": None, "against": None}
        say(widget, do="start", **(given | changes))
        assert words in widget._message
        assert widget.state == "ready"

    def test_errors_of_the_run_are_said_too(self, widget, data):
        paint(data, 3, 255)
        widget.image_id = data.table["image_id"][3]
        explained(widget)
        assert widget.state == "failed"
        assert "NaN" in widget._message
        assert isinstance(widget.error, ImageError)
        assert widget.result is None
        # The next one begins anew.
        widget.image_id = data.table["image_id"][1]
        assert (widget.state, widget._message) == ("ready", "")
        assert explained(widget).state == "done"

    def test_errors_that_nobody_thought_of(self, widget):
        def broken(*_arguments):
            raise ZeroDivisionError("nothing there")

        fk.register_method("broken", broken)
        widget.method = "broken"
        explained(widget)
        assert "ZeroDivisionError: nothing there" in widget._message
        assert isinstance(widget.error, ZeroDivisionError)

    def test_stop_keeps_the_mask_so_far(self, widget):
        started(widget)
        assert widget.state == "running"
        with pytest.raises(SettingsError, match="stop it first"):
            widget.start()
        with pytest.raises(SettingsError, match="stop it before"):
            widget.image_id = ""
        say(widget, do="stop")
        assert widget.wait(1)
        assert widget.state == "stopped"
        assert not widget.result.finished.any()
        assert layer_values(widget._layers[1]) == pytest.approx(widget.result.ssr[0].numpy(), abs=1 / 255)
        assert "Stopped" in dict(widget._facts)
        widget.stop()
        assert widget.state == "stopped"

    def test_the_result_can_be_observed(self, widget):
        seen = []
        widget.observe(lambda change: seen.append(change["new"]), "result")
        explained(widget)
        assert seen == [widget.result]

    def test_live_masks_are_bytes_alone(self, widget):
        sent = []

        class Wire:
            comm_id = "wire"

            def send(self, data=None, buffers=None, metadata=None):
                sent.append((data, buffers))

            def on_msg(self, _callback): ...

            def close(self, *_arguments, **_options): ...

        widget.comm = Wire()
        widget.settings = fk.FidoSettings(grid=4, steps=200, tolerance=0.0)
        explained(widget)
        masks = [(data["content"], buffers) for data, buffers in sent if data["method"] == "custom"]
        assert masks
        for content, buffers in masks:
            assert content["kind"] == "masks"
            assert [len(buffer) for buffer in buffers] == [16, 16, 16, 400]
        # All layers are sent only when more are there: each of the two baselines, the three kinds, and their regions.
        assert sum("_layers" in data.get("state", {}) for data, _ in sent) == 4


class TestUploads:
    def test_an_upload_is_chosen_and_explained(self, widget, data):
        widget.upload("mine.png", upload())
        assert widget.image_id == "mine.png"
        assert widget._photographs[-1] == ["mine.png", "uploaded"]
        assert explained(widget).result.image_ids == ["mine.png"]
        # The input is the middle 20 x 20 pixels.
        assert widget._photograph["window"] == pytest.approx([1 / 6, 0, 5 / 6, 1])

    def test_in_pieces(self, widget):
        content = upload()
        for part in range(3):
            assert widget.image_id != "p.png"
            piece = content[part * 40 : (part + 1) * 40] if part < 2 else content[80:]
            say(widget, [memoryview(piece)], do="upload", name="p.png", part=part, parts=3)
        assert widget.image_id == "p.png"
        say(widget, [b"x"], do="upload", name="q.png", part=1, parts=2)
        assert "did not arrive whole" in widget._message

    def test_what_is_no_photograph(self, widget):
        say(widget, [b"no image"], do="upload", name=f"{HARM}.jpg", part=0, parts=1)
        assert widget._message.startswith(HARM)
        assert "convert it" in widget._message
        with pytest.raises(ImageError):
            widget.upload("empty.png", b"")

    def test_thumbnails_when_they_are_asked_for(self, widget, monkeypatch):
        sent = []
        monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append((content, buffers)))
        image = widget._photographs[2][0]
        say(widget, do="thumbnails", images=[image, "gone"])
        assert widget._looking.wait(30)
        assert [content["image"] for content, _ in sent] == [image, "gone"]
        assert Image.open(io.BytesIO(sent[0][1][0])).size == (16, 16)
        assert sent[1][1] == [b""]

    def test_what_the_classifier_says_of_photographs_in_sight(self, widget, classifier, data):
        images = data.table["image_id"].tolist()
        data.table.loc[1, "label"] = next(name for name in CLASSES if name != data.table["label"][1])
        say(widget, do="thumbnails", images=images[:4])
        assert widget._looking.wait(30)
        table = classifier.predict(data).set_index("image_id")
        assert list(widget._looked) == images[:4]
        for image, look in widget._looked.items():
            assert look["predicted"] == table["predicted"][image] == look["likely"][0][0]
            assert look["likely"][0][1] == pytest.approx(table["score"][image], abs=1e-4)
            assert look["state"] == ("right" if table["correct"][image] else "wrong")
        assert {look["state"] for look in widget._looked.values()} == {"right", "wrong"}
        widget.upload("mine.png", upload())
        say(widget, do="likely")
        assert widget._looking.wait(30)
        assert widget._looked["mine.png"]["state"] == "not judged"

    def test_an_upload_is_answered(self, widget, monkeypatch):
        sent = []
        monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append(content))
        for _ in range(2):
            say(widget, [b"no image"], do="upload", name="bad.png", part=0, parts=1)
        say(widget, [upload()], do="upload", name="good.png", part=0, parts=1)
        say(widget, [upload()], do="upload", name="cut.png", part=1, parts=2)
        assert [message["kind"] for message in sent] == ["uploaded"] * 4
        assert sent[0]["refused"] == sent[1]["refused"] != ""
        assert sent[0]["refused"].startswith("bad.png")
        assert [sent[2]["refused"], sent[3]["refused"]] == ["", "cut.png did not arrive whole; upload it again"]

    def test_the_figures_at_the_end_are_those_of_the_result(self, widget):
        explained(widget)
        result, progress = widget.result, widget._progress
        assert progress["evaluations"] == progress["total"] == int(result.evaluations[0])
        assert progress["kept"] == float(result.score_kept["ssr"][0])
        assert progress["dropped"] == float(result.score_dropped["sdr"][0])
        assert dict(widget._facts)["Cost"].startswith(f"{progress['evaluations']} evaluations")


class TestStaticForm:
    def test_what_is_left_of_it(self, quick, tmp_path):
        harm = [HARM, "green", "blue"]
        data = make_data(tmp_path, 3)
        data.table["image_id"] = [f"{HARM}{i}" for i in range(3)]
        widget = ExplainWidget(make_classifier(names=harm), data, settings=SETTINGS)
        widget.target = HARM
        before = widget._static_bundle()
        explained(widget)
        after = widget._static_bundle()
        assert len(after["image/png"]) > 2 * len(before["image/png"])
        assert "Explained" in after["text/html"]
        assert 'alt=""' not in before["text/html"]
        assert "photograph and masks: " in after["text/html"]
        for bundle in (before, after):
            assert HARM not in bundle["text/html"]
            assert "&lt;img src=x" in bundle["text/html"]

    def test_it_is_refreshed_when_a_run_ends(self, widget, monkeypatch):
        from IPython import display

        updates = []
        monkeypatch.setattr(display, "display", lambda *_arguments, **_options: None)
        monkeypatch.setattr(display, "update_display", lambda bundle, **_options: updates.append(bundle))
        widget._ipython_display_()
        explained(widget)
        assert len(updates) == 1
        assert "with its region kept" in updates[0]["text/html"]


def test_unknown_messages_do_nothing(widget):
    say(widget, do="format disk")
    say(widget)
    assert (widget.state, widget._message) == ("ready", "")
    say(widget, do="choose")
    assert "TypeError" in widget._message


def test_messages_go_where_the_browser_sends_them():
    class Comm:
        def _reply_subshell_for(self, _data, _addressed):
            return None

    comm = Comm()
    _answer_beside_cells(comm)
    assert comm._reply_subshell_for({"method": "custom"}, "subshell-1") == "subshell-1"
    plain = object()
    _answer_beside_cells(plain)
    assert not hasattr(plain, "_reply_subshell_for")


def test_scripts_fetch_nothing_and_write_no_html():
    text = "".join((BUNDLES / name).read_text(encoding="utf-8") for name in ("explain.js", "explain.css"))
    html = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    network = ("http:", "https:", "import ", "import(", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket")
    for forbidden in (*html, *network):
        assert forbidden not in text


def test_regions_are_checked_in_the_end(widget):
    explained(widget)
    kinds = [(one.kind, one.claim) for one in widget.regions]
    assert kinds == [("ssr", "sufficient"), ("sdr", "destroying")]
    facts = dict(map(tuple, widget._facts))
    for one, name in zip(widget.regions, ("SSR", "SDR"), strict=True):
        assert facts[f"Region {name}"] == one.verdict
        layer = next(layer for layer in widget._layers if layer["name"] == f"fido {name} {one.claim} region")
        values = layer_values(layer)
        assert values.shape == one.region.shape
        assert ((values > 0) == one.region).all()
    assert facts["Mask SSR"].endswith(widget.result.verdict("ssr", 0))
    assert not any("converged" in text.lower() for fact in widget._facts for text in fact)


def test_the_check_can_be_switched_off(quick, classifier, data):
    made = ExplainWidget(classifier, data, settings=SETTINGS, check=False)
    explained(made)
    assert made.regions is None
    assert not any(term.startswith("Region") for term, _ in made._facts)
    made.check = True
    explained(made)
    assert made.regions is not None


def test_a_check_that_fails_does_not_cost_the_mask(widget, monkeypatch):
    from fidokit.widgets import running

    def fail(*_arguments, **_options):
        raise RuntimeError("no room")

    monkeypatch.setattr(running, "find_regions", fail)
    explained(widget)
    assert widget.state == "done"
    assert widget.result is not None
    assert ["Regions", "not checked: RuntimeError: no room"] in widget._facts
