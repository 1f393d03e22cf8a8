"""ErrorWidget in a real JupyterLab: every control is used, its effect asserted in the browser and in the kernel."""

import io

import numpy as np
import pandas as pd
import pytest
from lab import contrasts, tabbed, unnamed

pytestmark = pytest.mark.browser

HARM = "<img src=x onerror=window.harmed=1>"
CELL = f"""
import tempfile, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from errors_cases import ManyErrors, drawn_data, drawn_errors
from fidokit.widgets import ErrorWidget

folder = Path(tempfile.mkdtemp())
data = drawn_data(folder / "data", 180)
data.table.loc[0, "image_id"] = {HARM!r}
errors = drawn_errors(folder, data=data)
widget = ErrorWidget(errors)
told = []
widget.on_select(lambda widget: told.append(list(widget.selected)))
widget
"""
#: As the map places its points: in 94 % of the shorter side, the middle of their range in the middle.
SIDE = 0.94


@pytest.fixture(scope="module")
def notebook(tab):
    opened = tab.open(CELL)
    tab.page.wait_for_selector(".fk-map")
    return opened


@pytest.fixture
def page(notebook):
    """The widget as it was at first; what is selected is cleared."""
    notebook.kernel(
        "0", setup="widget.stop(); widget.wait(30); widget.selected = (); widget.image_id = ''; told.clear()"
    )
    page = notebook.page
    page.wait_for_function("document.querySelector('.fk-gallery-box .fk-count').textContent === 'No image is selected'")
    page.get_by_role("button", name="Show all images").click()
    page.get_by_role("radio", name="Box").check()
    page.get_by_label("Listed clusters").select_option("systematic")
    page.get_by_label("Search class or cause").fill("")
    page.locator(".fk-map").scroll_into_view_if_needed()
    return page


@pytest.fixture(scope="module")
def points(notebook):
    """The map's table: image_id, x, y, correct."""
    return pd.DataFrame(notebook.kernel("errors.map[['image_id', 'x', 'y', 'correct']].astype(object).to_dict('list')"))


def placed(page, points):
    """(N, 2) places of the points in pixels of the page."""
    box = page.locator(".fk-map").bounding_box()
    places = points[["x", "y"]].to_numpy(float)
    low, high = places.min(0), places.max(0)
    shares = SIDE * (places - (low + high) / 2) / (high - low).max() * [1, -1]
    return shares * min(box["width"], box["height"]) + [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]


def drag(page, *corners, shift=False):
    page.mouse.move(*corners[0])
    if shift:
        page.keyboard.down("Shift")
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()
    if shift:
        page.keyboard.up("Shift")


def names(points, inside):
    return points["image_id"][np.asarray(inside)].tolist()


def test_names_are_text(page, points):
    x, y = placed(page, points)[0]
    page.mouse.move(x, y)
    page.locator(".fk-map-label").wait_for(state="visible")
    page.mouse.click(x, y)
    page.wait_for_selector(".fk-gallery li")
    assert page.evaluate("window.harmed") is None
    assert page.locator(".fidokit img").count() == 0


def test_the_map_explains_itself(page, notebook, points):
    name = notebook.kernel("errors.clusters['name'].iloc[0]")
    legend = page.locator(".fk-map-legend li").all_inner_texts()
    assert [text.split()[-1] for text in legend[:3]] == ["wrong", "right", "judged"]
    assert f"1 · {name}" in legend
    # The evidence is there from the start: that of the clearest cluster.
    assert page.locator(".fk-evidence h3").inner_text() == f"Cluster 1 · {name}"
    assert "clearest" in page.locator(".fk-hint").inner_text()
    page.get_by_text("What the columns mean").click()
    assert page.locator(".fk-clusters-box dt").first.is_visible()
    page.get_by_text("What the columns mean").click()
    # A photograph stands in the label of a point.
    x, y = placed(page, points)[5]
    page.mouse.move(x, y)
    page.locator(".fk-map-label canvas").wait_for(state="visible")


def test_a_box_selects_what_lies_in_it(page, notebook, points):
    where = placed(page, points)
    left, top = np.quantile(where, 0.2, axis=0)
    right, bottom = np.quantile(where, 0.7, axis=0)
    drag(page, (left, top), (right, bottom))
    expected = names(points, ((where >= [left, top]) & (where <= [right, bottom])).all(1))
    assert 5 < len(expected) < 170
    notebook.until("list(widget.selected)", expected)
    assert notebook.kernel("widget.selection['image_id'].tolist()") == expected
    assert page.locator(".fk-gallery-box .fk-count").inner_text().startswith(f"{len(expected)} selected")
    assert page.locator(".fk-gallery li").count() == min(24, len(expected))


def test_a_lasso_selects_what_lies_in_it_and_shift_adds(page, notebook, points):
    where = placed(page, points)
    box = page.locator(".fk-map").bounding_box()
    corners = [
        (box["x"] + 5, box["y"] + 5),
        (box["x"] + 5, box["y"] + 400),
        (box["x"] + 0.7 * box["width"], box["y"] + 5),
    ]
    page.get_by_role("radio", name="Lasso").check()
    drag(page, *corners, corners[0])
    # Right of no edge of the triangle.
    a, b, c = (np.array(corner) for corner in corners)
    turns = [(q - p)[0] * (where - p)[:, 1] - (q - p)[1] * (where - p)[:, 0] for p, q in ((a, b), (b, c), (c, a))]
    first = set(names(points, np.all(np.array(turns) <= 0, axis=0)))
    assert 5 < len(first) < 170
    notebook.until("sorted(widget.selected)", sorted(first))
    page.get_by_role("radio", name="Box").check()
    middle = np.median(where, axis=0)
    drag(page, tuple(middle), tuple(middle + 60), shift=True)
    more = set(names(points, ((where >= middle) & (where <= middle + 60)).all(1)))
    notebook.until("sorted(widget.selected)", sorted(first | more))


def test_click_and_keys(page, notebook, points):
    where = placed(page, points)
    # The one that is furthest from all others.
    apart = np.linalg.norm(where[:, None] - where[None], axis=2) + np.diag([np.inf] * len(where))
    row = int(apart.min(1).argmax())
    page.mouse.click(*where[row])
    notebook.until("list(widget.selected)", names(points, [row]))
    page.keyboard.press("Escape")
    notebook.until("list(widget.selected)", [])
    page.keyboard.press("ArrowRight")
    spoken = page.locator(".fk-map-box > [role=status]").inner_text()
    assert "label" in spoken
    page.keyboard.press("Enter")
    notebook.until("len(widget.selected)", 1)
    (first,) = notebook.kernel("list(widget.selected)")
    assert first == spoken.split(", label")[0]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    notebook.until("len(widget.selected)", 2)
    page.keyboard.press(" ")
    notebook.until("list(widget.selected)", [first])
    page.keyboard.press("a")
    notebook.until("len(widget.selected)", 180)


def test_zoom_and_move(page, notebook, points):
    where = placed(page, points)
    box = page.locator(".fk-map").bounding_box()
    middle = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    page.get_by_role("group", name="Zoom of the map").get_by_role("button", name="Zoom in").click()
    page.get_by_role("radio", name="Move").check()
    drag(page, tuple(middle), tuple(middle + np.array([40, 25])))
    page.locator(".fk-map").press("a")
    seen = (where - middle) * 1.5 + middle + [40, 25]
    inside = ((seen >= [box["x"], box["y"]]) & (seen <= [box["x"] + box["width"], box["y"] + box["height"]])).all(1)
    assert inside.sum() < 180
    notebook.until("sorted(widget.selected)", sorted(names(points, inside)))
    page.locator(".fk-map").press("0")
    page.locator(".fk-map").press("a")
    notebook.until("len(widget.selected)", 180)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -600)
    page.locator(".fk-map").press("a")
    notebook.until("len(widget.selected) < 180", True)


def test_a_cluster_is_chosen_and_its_evidence_shown(page, notebook):
    page.get_by_label("Listed clusters").select_option("all that are listed")
    count = notebook.kernel("len(widget._clusters)")
    assert page.locator(".fk-clusters tbody tr").count() == count
    number = notebook.kernel("int(errors.clusters['cluster'].iloc[0])")
    page.get_by_role("radio", name=f"Cluster {number}:").check()
    notebook.until("widget.cluster", number)
    page.wait_for_selector(".fk-chosen-row")
    expected = notebook.kernel(f"errors.images({number})['image_id'].tolist()")
    assert notebook.kernel("list(widget.selected)") == expected
    tiles = page.locator(".fk-gallery li").evaluate_all("tiles => tiles.map((tile) => tile.title)")
    assert tiles == expected[:24]
    evidence = page.locator(".fk-evidence").inner_text()
    assert notebook.kernel("errors.clusters['sentence'].iloc[0]") in evidence
    assert "not verified" in evidence
    # The table says how many of the selection each cluster holds.
    assert page.locator(".fk-chosen-row td").last.inner_text() == str(len(expected))


def test_the_table_is_searched_and_sorted(page, notebook):
    page.get_by_label("Listed clusters").select_option("all that are listed")
    page.get_by_role("button", name="Errors", exact=True).click()
    page.get_by_role("button", name="Errors", exact=True).click()
    errors = page.locator(".fk-clusters tbody tr td:nth-child(5)").all_inner_texts()
    counts = [int(text.split()[0]) for text in errors]
    assert counts == sorted(counts, reverse=True)
    assert page.locator(".fk-clusters th[aria-sort=descending]").inner_text().startswith("Errors")
    page.get_by_label("Search class or cause").fill("red TAKEN FOR green")
    sentences = page.locator(".fk-clusters tbody .fk-sentence").evaluate_all("cells => cells.map((cell) => cell.title)")
    assert 0 < len(sentences) < len(counts)
    assert all("red" in text and "taken for" in text and "green" in text for text in sentences)
    page.get_by_label("Search class or cause").fill("dodo")
    assert page.get_by_text("No cluster fits").is_visible()


def test_verify_and_stop(page, notebook):
    number = notebook.kernel("int(errors.clusters['cluster'].iloc[0])")
    page.get_by_role("radio", name=f"Cluster {number}:").check()
    page.wait_for_selector(".fk-chosen-row")
    page.get_by_role("button", name="Verify this cluster").click()
    page.wait_for_function(
        "document.querySelector('.fk-evidence').textContent.includes(' turn right when ')", timeout=60_000
    )
    notebook.until("widget.state", "ready")
    verdict = notebook.kernel("errors.verification.table['verdict'].iloc[0]")
    assert notebook.kernel("errors.verification.table['sentence'].iloc[0]") in page.locator(".fk-evidence").inner_text()
    assert page.locator(".fk-chosen-row td").nth(1).inner_text() == verdict
    # The name says what was proved, and cause and effect are seen.
    name = notebook.kernel("errors.clusters['name'].iloc[0]")
    assert page.locator(".fk-chosen-row td").first.inner_text() == name
    page.wait_for_function("[...document.querySelectorAll('.fk-changes img')].some((img) => img.naturalWidth > 300)")
    assert page.locator(".fk-changes figcaption").first.inner_text().endswith("right")
    # Stopped, it keeps what was there.
    slow = """from fidokit.widgets.verifying import Verifying as V
kept, V._watch = V._watch, lambda self, *counts: (time.sleep(0.3), self._stop.is_set())[1]"""
    notebook.kernel("0", setup=slow)
    page.get_by_role("button", name="Verify all systematic ones").click()
    page.get_by_text("Changing pixels").first.wait_for()
    page.locator(".fk-evidence").get_by_role("button", name="Stop").click()
    notebook.until("widget.state", "ready")
    notebook.kernel("0", setup="V._watch = kept")
    assert page.locator(".fk-evidence progress").is_hidden()


def test_the_gallery_is_turned_and_linked_with_the_map(page, notebook, points):
    page.locator(".fk-map").press("a")
    notebook.until("len(widget.selected)", 180)
    first = page.locator(".fk-gallery li").first
    page.get_by_role("button", name="Next photographs").click()
    assert "25 to 48 shown" in page.locator(".fk-gallery-box .fk-count").inner_text()
    page.get_by_role("button", name="Previous photographs").click()
    page.wait_for_function("document.querySelector('.fk-gallery canvas').width > 60")
    # Without masks the photograph is as it is.
    tile = """() => { const canvas = document.querySelector(".fk-gallery canvas");
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].join(); }"""
    with_mask = page.evaluate(tile)
    page.get_by_role("checkbox", name="Masks").uncheck()
    assert page.evaluate(tile) != with_mask
    page.get_by_role("checkbox", name="Masks").check()
    assert page.evaluate(tile) == with_mask
    # Pointing at a photograph rings its point, pointing at a point frames its photograph.
    ring = """([x, y]) => { const canvas = document.querySelector(".fk-map"), box = canvas.getBoundingClientRect();
        const scale = canvas.width / box.width, side = 24 * scale;
        const [left, top] = [(x - box.left) * scale - side / 2, (y - box.top) * scale - side / 2];
        return canvas.getContext("2d").getImageData(left, top, side, side).data.some((value) => value > 0); }"""
    first.hover()
    row = int(first.get_attribute("data-row"))
    assert page.evaluate(ring, placed(page, points)[row].tolist())
    page.locator(".fk-map").scroll_into_view_if_needed()
    where = placed(page, points)
    page.mouse.move(*where[5])
    marked = page.locator(".fk-gallery li.fk-pointed")
    pointed = page.locator(".fk-map-label div").first.inner_text()
    assert marked.count() == int(pointed in points["image_id"].tolist()[:24])


def test_one_image_large(page, notebook, points):
    notebook.kernel("0", setup="widget.selected = ('p007',)")
    page.get_by_role("button", name="Show p007 large").click()
    page.locator(".fk-detail .fk-layer").first.wait_for()
    assert page.locator(".fk-detail .fk-layer bdi").all_inner_texts() == ["counting SSR", "counting SDR"]
    assert "p007" in page.locator(".fk-detail h3").inner_text()
    assert notebook.kernel("widget.image_id") == "p007"
    page.get_by_role("button", name="Close").click()
    page.locator(".fk-detail").wait_for(state="hidden")
    notebook.until("widget.image_id", "")


def test_the_selection_goes_into_a_file_and_into_the_notebook(page, notebook):
    notebook.kernel("0", setup=f"widget.selected = ({HARM!r}, 'p007')")
    page.wait_for_function("document.querySelectorAll('.fk-gallery li').length === 2")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as CSV").click()
    saved = pd.read_csv(io.BytesIO(waiting.value.path().read_bytes()))
    assert waiting.value.suggested_filename == "selection.csv"
    assert saved["image_id"].tolist() == [HARM, "p007"]
    assert saved["label"].tolist() == notebook.kernel("widget.selection['label'].tolist()")
    page.get_by_label("as", exact=True).fill("two_birds")
    page.get_by_role("button", name="Put into the notebook").click()
    page.get_by_text("The variable two_birds has 2 rows").wait_for()
    assert notebook.kernel("two_birds['image_id'].tolist()") == [HARM, "p007"]
    page.get_by_label("as", exact=True).fill("import os")
    page.get_by_role("button", name="Put into the notebook").click()
    page.locator(".fidokit [role=alert]").get_by_text("cannot be the name of a variable").wait_for()
    page.get_by_role("button", name="Clear").click()
    notebook.until("list(widget.selected)", [])
    assert page.get_by_role("button", name="Save as CSV").is_disabled()


@pytest.mark.parametrize("beside", [True, False], ids=["beside the cell", "behind the cell"])
def test_twenty_selections_while_the_kernel_is_busy_all_arrive_in_order(page, notebook, points, beside):
    where = placed(page, points)
    box = page.locator(".fk-map").bounding_box()
    kernel = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
    page.evaluate(f"() => {{ {kernel}.requestExecute({{code: 'time.sleep(3)'}}); }}")
    if not beside:
        # As with kernels that answer widgets in the thread of the cells.
        page.evaluate(f"""() => {{ window.comms = [...{kernel}._comms.values()];
            window.before = window.comms.map((comm) => comm.commsOverSubshells);
            for (const comm of window.comms) comm.commsOverSubshells = "disabled"; }}""")
    expected = []
    for k in range(20):
        right = box["x"] + box["width"] * (0.3 + 0.035 * k)
        drag(page, (box["x"] + 2, box["y"] + 2), (right, box["y"] + box["height"] - 2))
        expected.append(names(points, where[:, 0] <= right))
    notebook.until("told", expected)
    assert len({len(selected) for selected in expected}) > 5
    if not beside:
        page.evaluate("() => window.comms.forEach((comm, i) => { comm.commsOverSubshells = window.before[i]; })")


def test_a_selection_that_is_lost_is_sent_again(page, notebook, points):
    lose = """lost, own = [], widget._actions
def losing():
    return own() | {"select": lambda **given: lost.append(given["number"])}
widget._actions = losing"""
    notebook.kernel("0", setup=lose)
    page.locator(".fk-map").focus()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    notebook.until("len(lost)", 2)
    notebook.kernel("0", setup="widget._actions = own")
    notebook.until("[len(selected) for selected in told]", [180, 0])


def test_a_map_of_many_points(page, notebook):
    cells = "many = ErrorWidget(ManyErrors(errors, 112)); from IPython.display import display; display(many)"
    notebook.page.evaluate(
        """async code => {
            const {NotebookActions} = window; const panel = window.jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = 0;
            await window.jupyterapp.commands.execute("notebook:insert-cell-below");
            panel.content.activeCell.model.sharedModel.setSource(code);
            await window.jupyterapp.commands.execute("notebook:run-cell");
        }""",
        cells,
    )
    page.wait_for_function("document.querySelectorAll('.fk-map').length === 2")
    many = page.locator(".fk-map").nth(1)
    many.scroll_into_view_if_needed()
    box = many.bounding_box()
    drag(page, (box["x"] + 2, box["y"] + 2), (box["x"] + box["width"] - 2, box["y"] + box["height"] / 2))
    assert notebook.kernel("len(many._map)") == 20160
    notebook.until("len(many.selected) > 1000", True)
    above = notebook.kernel("int((many._map['y'] >= (many._map['y'].min() + many._map['y'].max()) / 2).sum())")
    assert notebook.kernel("len(many.selected)") == pytest.approx(above, rel=0.02)
    notebook.kernel("0", setup="many.close()")
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:delete-cell')")
    page.wait_for_function("document.querySelectorAll('.fk-map').length === 1")


def test_every_control_is_reached_with_the_tab_key_and_has_a_name(page):
    page.locator(".fk-map").press("a")
    page.wait_for_selector(".fk-gallery li")
    page.get_by_label("Listed clusters").focus()
    found = tabbed(page, 45)
    for name in ("Listed clusters", "Search class or cause", "Errors", "Box", "Zoom out", "Map of the images", "Keys",
                 "Verify all systematic ones", "Save as CSV", "Put into the notebook", "Clear", "Masks"):  # fmt: skip
        assert name in found, name
    assert unnamed(page) == 0


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_contrast_in_both_themes(tab, page, theme):
    tab.theme(theme)
    page.locator(".fk-map").press("a")
    page.wait_for_selector(".fk-gallery li")
    page.wait_for_timeout(300)
    found = contrasts(page)
    assert len(found) > 60
    assert min(found)[0] >= 4.5, min(found)


def test_reopened_without_its_kernel_the_clusters_are_there(tab, page, notebook):
    sentence = notebook.kernel("errors.clusters['sentence'].iloc[0]")
    assert notebook.save().stat().st_size < 600_000
    notebook.close()
    seen = len(tab.errors)
    static = tab.reopen().page.locator("figure[class^=fidokit-static]").first
    static.wait_for(state="visible")
    assert sentence in static.inner_text()
    assert static.locator("img").evaluate("image => image.naturalWidth") == 560
    assert page.evaluate("window.harmed") is None
    assert all("widget model not found" in error for error in tab.errors[seen:])
    del tab.errors[seen:]
