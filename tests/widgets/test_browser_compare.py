"""CompareWidget in a real JupyterLab: every control is used, its effect asserted in the browser and in the kernel."""

import pytest
from lab import contrasts, tabbed, unnamed
from report_cases import HARM

pytestmark = pytest.mark.browser

CELL = """
import tempfile
from pathlib import Path
import torch
torch.set_num_threads(1)
from report_cases import make_study
from fidokit.widgets import CompareWidget

study = make_study(Path(tempfile.mkdtemp()))
study.metrics(progress=False)
widget = CompareWidget(study, page_size=2)
widget
"""
LEFT = f"left {HARM}"


@pytest.fixture(scope="module")
def notebook(tab):
    opened = tab.open(CELL)
    tab.page.wait_for_selector(".fk-page canvas")
    return opened


@pytest.fixture
def page(notebook):
    """The widget as it was at first."""
    reset = (
        f"widget._look(panels=['counting SDR', {LEFT!r}, 'fails-once'], metrics=['insertion', 'deletion'], page=0, "
        "sort='dataset', of='mean', descending=False, state='all', search='', image_id='')"
    )
    notebook.kernel("0", setup=reset)
    notebook.page.wait_for_function("document.querySelectorAll('.fk-page thead th').length === 4")
    notebook.page.wait_for_function("document.querySelector('.fk-count').textContent.startsWith('Page 1 of 4')")
    notebook.page.locator(".fk-detail").wait_for(state="hidden")
    notebook.page.get_by_label("Search file, label or class").fill("")
    notebook.page.locator(".fidokit").scroll_into_view_if_needed()
    return notebook.page


def shown(page):
    """image_ids of the rows, from the top."""
    return page.locator(".fk-page tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.image)")


def wait_for_rows(page, ids):
    page.wait_for_function(
        "ids => JSON.stringify([...document.querySelectorAll('.fk-page tbody tr')].map((r) => r.dataset.image ?? null))"
        " === JSON.stringify(ids)",
        arg=ids,
    )


def kernel_order(notebook):
    return notebook.kernel("[row['image'] for row in widget._rows]")


def colour(page, row, panel, x, y):
    """(red, green, blue) of a tile, at shares of it; the panel 0 is the photograph."""
    return page.evaluate(
        """([row, panel, x, y]) => {
            const canvas = document.querySelectorAll(".fk-page tbody tr")[row].querySelectorAll("canvas")[panel];
            const [left, top] = [x * canvas.width, y * canvas.height];
            return [...canvas.getContext("2d").getImageData(left, top, 1, 1).data].slice(0, 3);
        }""",
        [row, panel, x, y],
    )


def wait_for_tiles(page):
    page.wait_for_function("[...document.querySelectorAll('.fk-page canvas')].every((canvas) => canvas.width > 100)")


def test_names_are_text(page):
    assert page.evaluate("window.harmed") is None
    heads = page.locator(".fk-page thead bdi").all_inner_texts()
    assert heads == ["counting SDR", LEFT, "fails-once"]
    assert page.locator(".fidokit img").count() == 0
    page.locator(".fk-plot .main-svg").first.wait_for()
    assert page.locator(".fk-plot").inner_text().count("<img") >= 1


def test_masks_lie_over_the_photograph_on_one_colour_scale(page):
    wait_for_tiles(page)
    page.get_by_label("Whole pictures").check()
    # The mask is 1 on the left half: the light end of the colours at 75 %, the photograph on the right.
    bare, left = colour(page, 1, 0, 0.3, 0.5), colour(page, 1, 2, 0.3, 0.5)
    expected = [0.75 * top + 0.25 * ground for top, ground in zip((252, 255, 164), bare, strict=True)]
    assert all(abs(a - b) < 12 for a, b in zip(left, expected, strict=True))
    assert colour(page, 1, 2, 0.8, 0.5) == colour(page, 1, 0, 0.8, 0.5)
    page.get_by_label("Opacity").first.fill("0")
    assert colour(page, 1, 2, 0.3, 0.5) == bare
    page.get_by_label("Opacity").first.fill("75")


def test_order_by_a_figure_of_a_mask(page, notebook):
    page.get_by_label("Order by").select_option("deletion")
    page.get_by_label("of", exact=True).select_option("counting SDR")
    page.get_by_label("Direction").select_option("highest first")
    notebook.until("[widget.sort, widget.of, widget.descending]", ["deletion", "counting SDR", True])
    expected = notebook.kernel(
        "study.metrics('counting', 'sdr', progress=False).sort_values('deletion', ascending=False, kind='stable')"
        "['image_id'].tolist()[:2]"
    )
    wait_for_rows(page, expected)
    # What stands beneath the masks is what they are ordered by.
    first = page.locator(".fk-page tbody tr").first.locator("td").first.locator("dd").nth(1).inner_text()
    values = "study.metrics('counting', 'sdr', progress=False)['deletion']"
    assert float(first) == pytest.approx(notebook.kernel(f"float({values}.max())"), abs=0.006)


def test_order_by_disagreement(page, notebook):
    page.get_by_label("Order by").select_option("disagreement of the methods")
    page.get_by_label("Direction").select_option("highest first")
    agreement = "study.metrics(progress=False).groupby('image_id')['agreement'].mean()"
    expected = notebook.kernel(f"{agreement}.sort_values(kind='stable').index.tolist()[:1]")
    page.wait_for_function(
        "id => document.querySelector('.fk-page tbody tr')?.dataset.image === id", arg=expected[0], timeout=10_000
    )
    assert page.locator(".fk-value").first.inner_text().startswith("disagreement")


def test_right_wrong_and_search(page, notebook):
    page.get_by_label("Answers").select_option("wrong")
    wait_for_rows(page, ["b2.png"])
    assert page.locator(".fk-verdict").first.inner_text().endswith("wrong")
    page.get_by_label("Answers").select_option("all")
    page.get_by_label("Search file, label or class").fill("B4")
    wait_for_rows(page, ["b4.png"])
    assert notebook.kernel("widget.search") == "B4"
    page.get_by_label("Search file, label or class").fill("dodo")
    page.get_by_text("No image fits").wait_for()


def test_pages(page, notebook):
    first = shown(page)
    assert page.get_by_role("button", name="Previous page").is_disabled()
    page.get_by_role("button", name="Next page").click()
    page.wait_for_function("document.querySelector('.fk-count').textContent.startsWith('Page 2 of 4; 7 of 7')")
    assert not set(shown(page)) & set(first)
    wait_for_tiles(page)
    page.get_by_role("button", name="Previous page").click()
    wait_for_rows(page, first)
    # And from Python.
    notebook.kernel("0", setup="widget.page = 3")
    page.wait_for_function("document.querySelectorAll('.fk-page tbody tr').length === 1")
    assert page.get_by_role("button", name="Next page").is_disabled()
    assert "gone.png does not exist" in page.locator(".fk-page").inner_text()
    assert page.locator(".fk-page").get_by_text("No mask", exact=True).count() == 3


def test_masks_and_figures_are_chosen(page, notebook):
    page.locator("summary", has_text="Masks shown").click()
    page.get_by_role("checkbox", name="counting SSR").check()
    page.wait_for_function("document.querySelectorAll('.fk-page thead th').length === 5")
    page.get_by_role("checkbox", name="fails-once").uncheck()
    page.wait_for_function("document.querySelectorAll('.fk-page thead th').length === 4")
    assert notebook.kernel("widget.panels") == ["counting SSR", "counting SDR", LEFT]
    page.locator("summary", has_text="Masks shown").click()
    wait_for_tiles(page)
    page.locator("summary", has_text="Figures shown").click()
    page.get_by_role("checkbox", name="ROAD").check()
    page.wait_for_function("document.querySelectorAll('.fk-page tbody tr:first-child td:nth-child(2) dt').length === 3")
    page.locator("summary", has_text="Figures shown").click()
    assert notebook.kernel("widget.metrics") == ["insertion", "deletion", "road"]
    page.wait_for_function("document.querySelectorAll('.fk-plot .errorbars').length >= 3")


def test_a_click_on_a_mean_goes_to_the_images_behind_it(page, notebook):
    page.locator(".fk-plot .main-svg").first.wait_for()
    page.wait_for_function("document.querySelectorAll('.fk-plot .point').length === 8")
    # The second panel is deletion, its second point counting SDR.
    point = page.locator(".fk-plot .point").nth(5)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function("document.querySelector('select[id$=-sort]').value === 'deletion'")
    assert notebook.kernel("[widget.sort, widget.of, widget.descending]") == ["deletion", "counting SDR", True]
    assert page.get_by_label("of", exact=True).input_value() == "counting SDR"
    wait_for_rows(page, kernel_order(notebook))


def test_one_image_large(page, notebook):
    page.get_by_role("button", name="Show b1.png large").click()
    page.locator(".fk-detail").wait_for(state="visible")
    page.locator(".fk-detail .fk-layer").first.wait_for()
    assert page.locator(".fk-detail .fk-layer bdi").all_inner_texts() == [
        "counting SSR", "counting SDR", LEFT, "fails-once",
    ]  # fmt: skip
    assert notebook.kernel("widget.image_id") == "b1.png"
    table = page.locator(".fk-detail .fk-table")
    assert table.locator("tbody tr").count() == notebook.kernel("1 + len(widget._figures)")  # the verdict
    assert "higher is better" in table.inner_text()
    assert "insertion" in table.inner_text()
    page.get_by_role("button", name="Close").click()
    page.locator(".fk-detail").wait_for(state="hidden")
    notebook.until("widget.image_id", "")


def test_plotly_is_fetched_once_a_page(page, notebook):
    page.locator(".fk-plot .main-svg").first.wait_for()
    with notebook.sent() as messages:
        notebook.kernel("0", setup="from IPython.display import display")
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_timeout(500)
        page.locator(".fk-plot .main-svg").first.wait_for()
    asked = [message["data"]["content"]["do"] for message in messages if message["data"].get("method") == "custom"]
    assert "plot" in asked
    assert "plotly" not in asked
    assert page.evaluate("typeof window.Plotly") == "undefined"


def test_every_control_is_reached_with_the_tab_key_and_has_a_name(page):
    page.locator(".fk-summary-figure summary").focus()
    names = tabbed(page, 30)
    for name in ("Order by", "Direction", "Answers", "Search file, label or class", "Masks shown", "Figures shown",
                 "Next page", "Opacity", "Masks by image and method", "Show b1.png large"):  # fmt: skip
        assert name in names, name
    assert unnamed(page) == 0


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_contrast_in_both_themes(tab, page, theme):
    page.locator(".fk-plot .main-svg").first.wait_for()
    tab.theme(theme)
    page.locator("summary", has_text="Masks shown").click()
    page.wait_for_timeout(300)
    found = contrasts(page)
    page.locator("summary", has_text="Masks shown").click()
    assert len(found) > 60
    assert min(found)[0] >= 4.5, min(found)


def test_reopened_without_its_kernel_the_masks_are_there(tab, page, notebook):
    page.wait_for_timeout(500)
    assert notebook.save().stat().st_size < 600_000
    notebook.close()
    seen = len(tab.errors)
    static = tab.reopen().page.locator("figure[class^=fidokit-static]")
    static.wait_for(state="visible")
    words = static.inner_text()
    assert "images 1 to 2 of 7, by order of the dataset" in words
    # A figure for each of six masks, and the caption that says which way is good.
    assert words.count("insertion") == 7
    assert static.locator("img").evaluate("image => image.naturalWidth") > 600
    assert page.evaluate("window.harmed") is None
    assert all("widget model not found" in error for error in tab.errors[seen:])
    del tab.errors[seen:]
