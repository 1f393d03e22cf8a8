"""ExplainWidget in a real JupyterLab: every control is used, its effect asserted in the browser and in the kernel."""

import base64
import io
import time

import pytest
from lab import contrasts, unnamed
from PIL import Image

pytestmark = pytest.mark.browser

HARM = "<img src=x onerror=window.harmed=1>"
CELL = f"""
import tempfile, time
import torch
torch.set_num_threads(1)
import fidokit as fk
from fidokit import testbed
from fidokit.models.classifier import Classifier
from fidokit.widgets import ExplainWidget

data = testbed.load(70, seed=0, folder=tempfile.mkdtemp())
data.table.loc[1, "image_id"] = {HARM!r}
network = testbed.classifier()
names = [{HARM!r} if name == "brine piper" else name for name in network.class_names]
p = network.preprocessing
classifier = Classifier(network.module, names, mean=p.mean, std=p.std, size=p.size, precision="float32", micro_batch=8)
widget = ExplainWidget(classifier, data, settings=fk.FidoSettings(steps=100_000, tolerance=0.0))
widget
"""


@pytest.fixture(scope="module")
def notebook(tab):
    opened = tab.open(CELL)
    tab.page.wait_for_selector(".fk-thumbnail img")
    return opened


@pytest.fixture
def page(notebook):
    """The widget at rest; typed words are gone."""
    notebook.kernel("0", setup="widget.stop(); widget.wait(10); widget.state = 'ready'")
    page = notebook.page
    page.locator(".fk-meter").wait_for(state="hidden")
    page.get_by_label("Search file or label").fill("")
    for field in ("Class to explain", "Rather than"):
        page.get_by_label(field).fill("")
        page.keyboard.press("Escape")
    page.get_by_label("Method").select_option("fido")
    page.locator(".fidokit").scroll_into_view_if_needed()
    return page


def start(page):
    page.get_by_role("button", name="Start", exact=True).click()


def wait_for(page, state, seconds=30):
    page.wait_for_function("state => document.querySelector('.fk-state').textContent.startsWith(state)", arg=state,
                           timeout=1000 * seconds)  # fmt: skip


def wait_for_masks(page):
    """The live mask is there."""
    page.wait_for_function("document.querySelectorAll('.fk-layer').length === 6", timeout=30_000)


def choose(page, name):
    page.get_by_role("radio", name=name).first.check(force=True)


def png(colour=(90, 120, 60), size=(300, 200)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_list_is_searched_and_chosen_from(page, notebook):
    assert page.locator(".fk-row").count() == 60
    assert "60 of 70" in page.locator(".fk-found").inner_text()
    page.get_by_label("Search file or label").fill("0-00064")
    assert page.locator(".fk-row").count() == 1
    page.wait_for_selector(".fk-thumbnail img")
    choose(page, "0-00064")
    page.wait_for_function("document.querySelector('.fk-title').textContent === '0-00064'")
    assert notebook.kernel("widget.image_id") == "0-00064"
    page.get_by_label("Search file or label").fill("candle TIT")
    found = page.locator(".fk-label").all_inner_texts()
    assert 0 < len(found) < 30
    assert set(found) == {"candle tit"}
    page.get_by_label("Search file or label").fill("dodo")
    assert page.locator(".fk-found").inner_text() == "No photograph fits"


def test_names_are_text(page):
    assert page.evaluate("window.harmed") is None
    page.get_by_label("Search file or label").fill("onerror")
    choose(page, HARM)
    page.wait_for_function("name => document.querySelector('.fk-title').textContent === name", arg=HARM)
    page.get_by_label("Rather than").fill("onerror")
    assert page.locator("[role=option]").inner_text().split("\n")[0] == HARM
    page.keyboard.press("Escape")
    assert page.evaluate("window.harmed") is None
    assert page.locator(".fidokit img:not([src^=blob])").count() == 0


def test_live_stop_and_a_cell_meanwhile(page, notebook):
    choose(page, "0-00000")
    start(page)
    wait_for_masks(page)
    wait_for(page, "Computing")
    assert page.get_by_role("radio", name="fido joint").is_checked()
    # Another cell is executed while the mask goes on changing.
    count = """() => {
        window.changes = 0;
        const watch = new MutationObserver(() => { window.changes += 1; });
        watch.observe(document.querySelector(".fk-figures dd"), {childList: true});
    }"""
    page.evaluate(count)
    began = time.monotonic()
    assert notebook.kernel("[sum(range(10)), widget.state]", setup="time.sleep(1.5)") == [45, "running"]
    rate = page.evaluate("window.changes") / (time.monotonic() - began)
    assert rate > 2
    terms, texts = (page.locator(f".fk-figures {tag}").all_inner_texts() for tag in ("dt", "dd"))
    figures = dict(zip(terms, texts, strict=True))
    assert "of 200027" in figures["Evaluations"]
    assert float(figures["Rate"].split()[0]) > 5
    assert figures["Time left"].endswith(" s")
    assert 0 <= float(figures["Score dropped"]) < float(figures["Score kept"]) <= 1
    assert float(figures["Loss"])
    # Stop while the kernel is busy with a cell.
    page.evaluate("""() => { const panel = window.jupyterapp.shell.currentWidget;
        panel.sessionContext.session.kernel.requestExecute({code: "time.sleep(3)"}); }""")
    page.wait_for_timeout(200)
    began = time.monotonic()
    page.get_by_role("button", name="Stop").click()
    wait_for(page, "Stopped")
    assert time.monotonic() - began < 1.5
    assert notebook.kernel("[widget.state, bool(widget.result.finished[0]), list(widget.result.joint.shape)]") == [
        "stopped", False, [1, 20, 20],
    ]  # fmt: skip
    assert page.locator(".fk-facts").inner_text().count("region kept") == 4
    # What the picture shows is the result.
    shown = notebook.kernel("[l['name'] for l in widget._layers]")
    assert sorted(shown[:4]) == ["fido SDR", "fido SSR", "fido effect", "fido joint"]  # one that passes its test leads
    assert sorted(shown[4:]) == ["grad-cam", "integrated-gradients"]


def test_a_contrast_with_settings_of_ones_own(page, notebook):
    choose(page, "0-00000")
    page.get_by_label("Rather than").fill("marl")
    assert page.locator("[role=option] bdi").all_inner_texts() == ["marl tit"]
    page.keyboard.press("Enter")
    assert page.get_by_label("Rather than").input_value() == "marl tit"
    page.get_by_label("Settings", exact=True).select_option("default")
    details = page.locator(".fk-settings")
    details.locator("summary").click()
    assert page.get_by_label("steps", exact=True).input_value() == "12"
    page.get_by_label("steps", exact=True).fill("6")
    page.get_by_label("grid", exact=True).fill("(7, 9)")
    page.get_by_label("antithetic").uncheck()
    page.get_by_label("start", exact=True).select_option("flat")
    assert "Near 0" in page.get_by_label("temperature", exact=True).get_attribute("title")
    details.locator("summary").click()
    start(page)
    wait_for(page, "Done")
    expected = "fk.FidoSettings(steps=6, grid=(7, 9), antithetic=False, start='flat')"
    assert notebook.kernel(f"widget.settings == {expected}")
    assert notebook.kernel("[widget.result.against, list(widget.result.ssr.shape)]") == [["marl tit"], [1, 7, 9]]
    assert "rather than marl tit" in page.locator(".fk-facts").inner_text()
    again = f"fk.explain(classifier, data.subset([0]), against='marl tit', settings={expected})"
    same = f"torch.allclose(widget.result.ssr, {again}.ssr, atol=1e-4)"
    assert notebook.kernel(same)


def test_another_method_and_python_sees_what_is_chosen(page, notebook):
    page.get_by_label("Method").select_option("rise")
    page.get_by_label("Settings", exact=True).select_option("published")
    assert page.get_by_text("Single settings").is_visible()
    page.get_by_label("Method").select_option("grad-cam")
    assert page.get_by_label("Settings", exact=True).is_hidden()
    start(page)
    wait_for(page, "Done")
    assert notebook.kernel("[widget.method, widget.result.method, list(widget.baseline_results)]") == [
        "grad-cam", "grad-cam", ["integrated-gradients"],
    ]  # fmt: skip
    # And the other way round.
    notebook.kernel("0", setup="widget.method, widget.target = 'occlusion', 'marl tit'")
    page.wait_for_function("document.querySelector('select[id$=method]').value === 'occlusion'")
    assert page.get_by_label("Class to explain").input_value() == "marl tit"
    notebook.kernel("0", setup="widget.target = None")


def test_what_goes_wrong_is_said_with_its_remedy(page, notebook):
    page.get_by_label("Class to explain").fill("candel tit")
    start(page)
    alert = page.locator(".fidokit [role=alert]")
    alert.get_by_text("did you mean 'candle tit'").wait_for()
    page.get_by_label("Class to explain").fill("")
    page.get_by_label("Settings", exact=True).select_option("default")
    page.locator(".fk-settings summary").click()
    page.get_by_label("steps", exact=True).fill("many")
    page.locator(".fk-settings summary").click()
    start(page)
    alert.get_by_text("steps is 'many'; it must be a whole number").wait_for()
    assert notebook.kernel("widget.state") in ("ready", "done", "stopped")


def test_upload_and_drop(page, notebook):
    page.get_by_label("File of a photograph").set_input_files(
        {"name": f"{HARM}.png", "mimeType": "image/png", "buffer": png()}
    )
    page.wait_for_function("name => document.querySelector('.fk-title').textContent === name", arg=f"{HARM}.png")
    assert notebook.kernel("widget.image_id") == f"{HARM}.png"
    # Five megabytes of noise, in several messages.
    drop = """async ([name, content]) => {
        const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
        const padded = new Uint8Array(5_000_000);
        padded.set(bytes);
        const transfer = new DataTransfer();
        transfer.items.add(new File([padded], name, {type: "image/png"}));
        const target = document.querySelector(".fk-drop");
        for (const kind of ["dragenter", "dragover", "drop"])
            target.dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
    }"""
    page.evaluate(drop, ["dropped.png", base64.b64encode(png((40, 90, 160))).decode()])
    page.wait_for_function("document.querySelector('.fk-title').textContent === 'dropped.png'")
    page.get_by_label("Method").select_option("grad-cam")
    start(page)
    wait_for(page, "Done")
    assert notebook.kernel("widget.result.image_ids") == ["dropped.png"]
    page.evaluate(drop, ["broken.png", base64.b64encode(b"not an image").decode()])
    page.locator(".fidokit [role=alert]").get_by_text("broken.png").wait_for()
    assert notebook.kernel("widget.image_id") == "dropped.png"
    assert page.evaluate("window.harmed") is None


def test_every_control_is_reached_with_the_tab_key_and_has_a_name(page):
    page.locator(".fk-settings summary").click()
    page.get_by_label("Search file or label").focus()
    names, outlines = [], set()
    for _ in range(75):
        inside, name, outline = page.evaluate(
            """() => {
                const e = document.activeElement;
                const seen = e.matches(".fk-layer input, .fk-row input") ? e.parentNode : e;
                return [e.closest(".fidokit") !== null, (e.getAttribute("aria-label") || e.labels?.[0]?.textContent
                    || e.textContent).trim(), getComputedStyle(seen).outlineStyle];
            }"""
        )
        if inside:
            names.append(name)
            outlines.add(outline)
        page.keyboard.press("Tab")
    page.locator(".fk-settings summary").click()
    chooser = ("Search file or label", "Upload a photograph")
    order = ("Class to explain", "Rather than", "Method", "Settings", "Start", "Single settings")
    for name in (*chooser, *order, "steps", "antithetic", "sampler", "Opacity", "Colours", "Zoom in"):
        assert name in names, name
    assert outlines == {"solid"}
    assert unnamed(page) == 0


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_contrast_in_both_themes(tab, page, theme):
    tab.theme(theme)
    page.get_by_label("Class to explain").fill("nothing")
    start(page)
    page.locator(".fidokit [role=alert]").get_by_text("knows no class").wait_for()
    page.wait_for_timeout(300)
    found = contrasts(page)
    assert len(found) > 60
    assert min(found)[0] >= 4.5, min(found)


def test_reopened_without_its_kernel_the_result_is_there(tab, page, notebook):
    choose(page, "0-00000")
    page.get_by_label("Settings", exact=True).select_option("default")
    start(page)
    wait_for(page, "Done")
    page.wait_for_timeout(500)
    assert notebook.save().stat().st_size < 600_000
    notebook.close()
    seen = len(tab.errors)
    again = tab.reopen()
    static = again.page.locator("figure[class^=fidokit-static]")
    static.wait_for(state="visible")
    words = static.inner_text()
    assert "0-00000" in words
    assert words.count("with its region kept") == 4
    assert static.locator("img").evaluate("image => image.naturalWidth") > 600
    assert all("widget model not found" in error for error in tab.errors[seen:])
    del tab.errors[seen:]
