"""What a widget shows where something is missing, broken or very large: in a real JupyterLab, wide and narrow.

A screenshot of each is left in the test's folder; what is asserted is that it is no empty picture, that it says what is
there, and that nothing runs off its edge.
"""

import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser

SETUP = """
import tempfile, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np
import torch
torch.set_num_threads(1)
from PIL import Image
import fidokit as fk
from fidokit.methods import register_method
from nets import ConvNet

folder = Path(tempfile.mkdtemp())

def photograph(name="a.png", size=(300, 200)):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1] // 20, size[0] // 20, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize(size).save(folder / name)
    return folder / name

def classifier(names=("robin", "wren", "owl")):
    torch.manual_seed(0)
    options = {"mean": 0.5, "std": 0.5, "size": 32, "precision": "float32", "micro_batch": 8}
    return fk.Classifier(ConvNet(len(names)), list(names), **options)

def widget_of(names=("robin", "wren", "owl"), name="a.png", image_id=None, method="fido", **options):
    import pandas as pd
    table = pd.DataFrame({"path": [name], "label": [list(names)[0]], "image_id": [image_id or name]})
    data = fk.LabelledImages.from_table(table, root=folder)
    return fk.ExplainWidget(classifier(names), data, method=method, baselines=(), check=False, **options)

def done(widget):
    widget.start()
    widget.wait(60)
    return widget
"""
LONG = "Strix nebulosa lapponica " * 12
#: State -> the cell that shows it, and words that must be seen.
STATES = {
    "no photograph": ("fk.ExplainWidget(classifier(), baselines=())", ["No photograph yet", "Upload a photograph"]),
    "no mask": ("photograph(); widget_of()", ["No mask yet", "33 % of this photograph is not seen"]),
    "failed method": (
        "photograph()\n"
        "def breaks(classifier, images, targets):\n"
        "    raise ValueError('the sensor is on fire')\n"
        "register_method('breaks', breaks)\n"
        "done(widget_of(method='breaks'))",
        ["This did not work", "the sensor is on fire"],
    ),
    "missing file": ("widget_of(name='gone.png')", ["gone.png", "No mask yet"]),
    "one class": ("photograph(); done(widget_of(['owl']))", ["Done", "owl"]),
    "1,000 classes": ("photograph(); done(widget_of([f'species {i:04d}' for i in range(1000)]))", ["Done", "species"]),
    "12 megapixels": ("photograph(size=(4000, 3000)); done(widget_of())", ["Done", "25 % of this photograph"]),
    "300-character names": (
        f"photograph(); done(widget_of([{LONG!r} + str(i) for i in range(3)], image_id={LONG!r}))",
        ["Done", LONG[:40]],
    ),
    "comparison of nothing": (
        "photograph()\n"
        "data = fk.LabelledImages.from_folder(folder)\n"
        "study = fk.run_study(classifier(), data, ['grad-cam'], store=folder / 'run', progress=False)\n"
        "w = fk.CompareWidget(study); w.search = 'zebra'; w",
        ["No image fits"],
    ),
    "errors of nothing": (
        "photograph()\n"
        "data = fk.LabelledImages.from_folder(folder)\n"
        "study = fk.run_study(classifier(), data, ['grad-cam'], store=folder / 'run', progress=False)\n"
        "fk.ErrorWidget(fk.find_error_clusters(study))",
        ["There is no cluster", "No cluster fits"],
    ),
}

#: Elements that reach beyond the widget's right edge and can be seen there, though nothing around them scrolls.
OVERFLOWING = """() => {
    const root = document.querySelector(".fidokit");
    const edge = root.getBoundingClientRect().right + 1;
    const scrolls = (e) =>
        e !== root && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
    return [...root.querySelectorAll("*")].filter((element) => element.checkVisibility()
        && !element.closest(".fk-unseen") && element.getBoundingClientRect().right > edge
        && !scrolls(element.parentElement)).map((element) => element.className || element.tagName);
}"""


def look(tab, folder, name):
    """The widget's words; its screenshots, wide and narrow, show something, and nothing runs off the edge."""
    page = tab.page
    for width in (1280, 700):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(600)
        shot = page.locator(".fidokit").first.screenshot()
        (folder / f"{name}-{width}.png").write_bytes(shot)
        pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)
        assert pixels.std() > 10, width
        assert page.evaluate(OVERFLOWING) == [], width
    return page.locator(".fidokit").first.inner_text()


@pytest.fixture
def open_state(tab, tmp_path):
    opened = []

    def show(cell, expected=()):
        tab.page.set_viewport_size({"width": 1280, "height": 1000})
        opened.append(tab.open(SETUP + cell, run=False))
        opened[-1].run()
        tab.page.wait_for_selector(".fidokit")
        for words in expected:
            tab.page.locator(".fidokit", has_text=words).first.wait_for()
        return opened[-1]

    yield show
    tab.page.set_viewport_size({"width": 1280, "height": 1000})
    for notebook in opened:
        notebook.close()


@pytest.mark.parametrize("state", STATES)
def test_states_say_what_is_there(tab, open_state, tmp_path, state):
    cell, expected = STATES[state]
    open_state(cell, expected)
    words = look(tab, tmp_path, state)
    for each in expected:
        assert each.strip() in words.replace("\n", " "), each


def test_at_700_pixels_the_picture_stands_above_the_form(tab, open_state, tmp_path):
    open_state("photograph(); widget_of()", ["No mask yet"])
    look(tab, tmp_path, "order")
    picture, form = (tab.page.locator(name).first.bounding_box() for name in (".fk-canvas", ".fk-order"))
    assert picture["y"] < form["y"]


def test_a_kernel_that_is_gone(tab, open_state, tmp_path):
    open_state("photograph(); widget_of()", ["No mask yet"])
    tab.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    tab.page.wait_for_timeout(1000)
    tab.page.get_by_role("button", name="Start", exact=True).click()
    tab.page.locator(".fidokit", has_text="The kernel is gone").first.wait_for()
    assert "Run the cell again" in look(tab, tmp_path, "kernel gone")
    tab.errors.clear()
