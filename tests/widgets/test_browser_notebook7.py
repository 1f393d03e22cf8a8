"""The widgets in a real Notebook 7, which shows a notebook without JupyterLab around it."""

import pytest
from lab import Notebook7, NotebookTab, serving, watched

pytestmark = pytest.mark.browser

OVERLAY = """
import numpy as np
from fidokit.widgets import MaskOverlay

overlay = MaskOverlay(np.full((60, 100, 3), 128, np.uint8), {"first": np.ones((2, 2)), "second": np.zeros((2, 2))})
overlay
"""
EXPLAIN = """
import tempfile
from pathlib import Path
from study_cases import make_classifier, make_data
from fidokit.widgets import ExplainWidget

data = make_data(Path(tempfile.mkdtemp()), 4)
widget = ExplainWidget(make_classifier(), data, baselines=())
widget
"""
ERRORS = """
import torch
torch.set_num_threads(1)
from errors_cases import drawn_errors
from fidokit.widgets import CompareWidget, ErrorWidget

errors = drawn_errors(Path(tempfile.mkdtemp()), n=60)
clusters = ErrorWidget(errors)
clusters
"""
COMPARE = """
compared = CompareWidget(errors.study, page_size=2)
compared
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    with serving(Notebook7, tmp_path_factory.mktemp("notebook7")) as running, watched(NotebookTab, running) as tab:
        yield tab.open(OVERLAY, EXPLAIN, ERRORS, COMPARE)


def test_it_is_notebook_7(notebook):
    assert notebook.page.evaluate("() => window.jupyterapp.name") == "Jupyter Notebook"
    assert notebook.page.url.split("?")[0].endswith("/notebooks/test.ipynb")


def test_a_mask_is_chosen_and_its_opacity_set(notebook):
    page = notebook.page
    page.locator(".fk-layer canvas").first.wait_for()
    page.wait_for_function("() => document.querySelector('.fk-canvas').width > 90")
    # The first mask is 1 throughout, drawn over grey in a pale yellow; the second is 0, so that the grey is left.
    colour = """() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
        const canvas = document.querySelector(".fk-canvas");
        done([...canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data]);
    })))"""
    red, _, blue, _ = page.evaluate(colour)
    assert red > blue + 40
    page.get_by_role("radio", name="second").check()
    assert page.evaluate(colour) == [128, 128, 128, 255]
    page.get_by_role("radio", name="first").check()
    page.get_by_label("Opacity").first.fill("0")
    assert page.evaluate(colour) == [128, 128, 128, 255]


def test_a_photograph_is_chosen_and_explained(notebook):
    page = notebook.page
    page.get_by_role("radio", name="002.png").first.check(force=True)
    page.get_by_label("Method", exact=True).select_option("fido")
    page.get_by_role("button", name="Start", exact=True).click()
    page.wait_for_function("() => document.querySelector('.fk-state').textContent.startsWith('Done')")
    assert notebook.kernel("[widget.image_id, widget.state, list(widget.result.kinds)]") == [
        "blue/002.png",
        "done",
        ["ssr", "sdr", "joint", "effect"],
    ]
    assert "with its region kept" in page.locator(".fk-explain").inner_text()


def test_images_are_selected_on_the_map_and_compared(notebook):
    page = notebook.page
    page.locator(".fk-map").press("a")
    notebook.until("len(clusters.selection)", 60)
    page.locator(".fk-gallery canvas").first.wait_for()
    page.locator(".fk-plot .main-svg").first.wait_for()
    page.get_by_role("button", name="Next page").click()
    notebook.until("compared.page", 1)
    page.wait_for_function("() => [...document.querySelectorAll('.fk-page canvas')].every((c) => c.width > 100)")


def test_its_static_form_is_in_the_saved_notebook(notebook):
    saved = notebook.save().read_text(encoding="utf-8")
    assert saved.count("data:image/jpeg;base64,") == 4
    assert notebook.page.locator("figure[class^=fidokit-static]").count() == 4
    assert notebook.page.locator("figure[class^=fidokit-static]:visible").count() == 0


def test_nbconverts_page_shows_the_static_forms_without_network(notebook):
    from nbconvert import HTMLExporter

    file = notebook.save()
    file.with_suffix(".html").write_text(HTMLExporter().from_filename(str(file))[0], encoding="utf-8")
    page = notebook.page.context.browser.new_page()
    # nbconvert's own page asks for programs of formulas and of widgets; there is no network to get them from.
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    page.goto(file.with_suffix(".html").as_uri())
    images = page.locator("figure[class^=fidokit-static] img:visible")
    assert images.count() == 4
    assert all(width > 300 for width in images.evaluate_all("images => images.map(image => image.naturalWidth)"))
    words = page.locator("figure[class^=fidokit-static]").all_inner_texts()
    assert "Photograph and masks: first, second" in words[0]
    assert "blue/002.png" in words[1]
    assert words[1].count("with its region kept") == 4
    assert "of 60 images are classified wrongly" in words[2]
    assert "images 3 to 4 of 60" in words[3]
    page.close()
