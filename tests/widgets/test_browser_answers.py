"""AnswerWidget in a real JupyterLab: every control is used, its effect asserted in the browser and in the kernel."""

import pytest
from lab import contrasts, tabbed, unnamed
from report_cases import HARM, SCRIPT_FILE

pytestmark = pytest.mark.browser

CELL = """
import tempfile
from pathlib import Path
import torch
torch.set_num_threads(1)
from answer_cases import made
from fidokit.widgets import AnswerWidget

answer, other = made(Path(tempfile.mkdtemp()))
widget = AnswerWidget(answer)
widget
"""


@pytest.fixture(scope="module")
def notebook(tab):
    opened = tab.open(CELL)
    tab.page.wait_for_selector(".fk-answer-table")
    return opened


@pytest.fixture
def page(notebook):
    """The widget as it was at first."""
    notebook.kernel("0", setup="widget.row = None; widget.image_id = ''; widget._message = ''")
    notebook.page.wait_for_function("document.querySelectorAll('.fk-gallery li').length === 3")
    notebook.page.locator(".fidokit").get_by_label("Search").fill("")
    return notebook.page


def names(page):
    return page.locator(".fk-answer-table tbody th").all_inner_texts()


def test_names_are_text(page):
    page.wait_for_function("document.querySelector('.fk-gallery canvas').width > 10")
    assert names(page)[0] == HARM
    assert page.evaluate("window.harmed") is None
    assert page.locator(".fidokit img").count() == 0
    assert page.locator(".fk-gallery .fk-reason").nth(1).inner_text() != ""  # the one that is gone


def test_sort_and_search(page):
    at_first = names(page)
    page.get_by_role("button", name="N", exact=True).click()
    assert names(page) == ["=1+1", HARM, "ridge"]
    page.get_by_role("button", name="N", exact=True).click()
    assert names(page) == ["ridge", HARM, "=1+1"]
    page.locator(".fidokit").get_by_label("Search").fill("RIDGE")
    assert names(page) == ["ridge"]
    page.locator(".fidokit").get_by_label("Search").fill("")
    assert sorted(names(page)) == sorted(at_first)


def test_a_click_on_a_row_shows_its_photographs(page, notebook):
    line = page.locator(".fk-answer-table tbody tr[data-place='0']")
    line.locator("td").first.click()
    notebook.until("widget.row", 0)
    page.wait_for_function("document.querySelectorAll('.fk-gallery li').length === 2")
    assert "the reeds decide & more" in page.locator(".fk-gallery").inner_text()
    assert "fk-chosen-row" in line.get_attribute("class")
    # The outline is drawn.
    page.wait_for_function("document.querySelector('.fk-gallery canvas').width > 10")
    assert page.locator(".fk-gallery canvas").first.evaluate(
        """canvas => {
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 1] > 150 && pixels[i + 2] < 110) return true;
            return false;
        }"""
    )
    page.get_by_role("button", name="Show all examples").click()
    notebook.until("widget.row", None)


def test_a_row_is_chosen_with_the_keyboard(page, notebook):
    page.get_by_role("radio", name="Row ridge").focus()
    page.keyboard.press("Space")
    notebook.until("widget.row", 1)


def test_a_photograph_is_shown_large(page, notebook):
    page.locator(".fk-gallery .fk-open").first.click()
    notebook.until("widget.image_id", SCRIPT_FILE)
    page.wait_for_selector(".fk-detail:visible")
    assert SCRIPT_FILE in page.locator(".fk-detail h3").inner_text()
    page.get_by_role("button", name="Close").click()
    notebook.until("widget.image_id", "")
    page.locator(".fk-detail").wait_for(state="hidden")


def test_the_table_is_saved(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    assert "ridge" in download.value.path().read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_text_can_be_read_in_both_themes(page, notebook, theme):
    notebook.tab.theme(theme)
    try:
        found = contrasts(page)
        assert len(found) > 20
        assert min(found)[0] >= 4.5, min(found)
    finally:
        notebook.tab.theme("JupyterLab Light")


def test_all_controls_have_names_and_are_reached(page):
    assert unnamed(page) == 0
    page.locator(".fidokit").get_by_label("Search").focus()
    assert {"Search", "Save as CSV", "The table", "Site"} <= set(tabbed(page, 8))


def test_nothing_went_wrong_and_nothing_left_the_machine(notebook):
    assert notebook.tab.errors == []
    assert notebook.tab.strangers == []
