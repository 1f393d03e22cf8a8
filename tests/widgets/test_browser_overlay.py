"""MaskOverlay in a real JupyterLab: every control, by mouse and by keyboard, and that none of them needs the kernel."""

import pytest
from lab import contrasts

pytestmark = pytest.mark.browser

CELL = """
import numpy as np
from fidokit.data.geometry import Geometry
from fidokit.widgets import MaskOverlay

# Grey, with masks whose value at every place is known: SSR rises to the right, SDR downwards.
image = np.full((300, 500, 3), 128, np.uint8)
image[:, :100] = 40
rise = (np.arange(100) + 0.5) / 100
masks = {
    "SSR": np.tile(rise, (100, 1)),
    "SDR": np.tile(rise[:, None], (1, 100)),
    "<img src=x onerror=window.harmed=1>": np.ones((1, 1)),
}
# The classifier saw the middle 300 x 300 pixels.
overlay = MaskOverlay(image, masks, geometry=Geometry(500, 300, (100.0, 0.0, 400.0, 300.0), (100, 100)))
overlay
"""


@pytest.fixture(scope="module")
def notebook(tab):
    opened = tab.open(CELL)
    tab.page.wait_for_selector(".fk-layer canvas")
    tab.page.locator(".fk-canvas").scroll_into_view_if_needed()
    wait_for_pixels(opened)
    return opened


@pytest.fixture
def view(notebook):
    """A fresh view for every test, so that none sees what another one changed."""
    again = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
    notebook.page.evaluate(again)
    notebook.page.wait_for_selector(".fk-layer canvas")
    wait_for_pixels(notebook)
    return notebook.page


def wait_for_pixels(notebook):
    notebook.page.wait_for_function(
        """() => {
            const canvas = document.querySelector(".fk-canvas");
            return canvas?.width > 300 && canvas.getContext("2d").getImageData(3, 3, 1, 1).data[0] > 0;
        }"""
    )


def pixel(page, x, y):
    """(red, green, blue) at shares of the canvas, once what was asked for is drawn."""
    return page.evaluate(
        """([x, y]) => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
            const canvas = document.querySelector(".fk-canvas");
            const data = canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data;
            done([...data].slice(0, 3));
        })))""",
        [x, y],
    )


def point_at(page, x, y):
    box = page.locator(".fk-canvas").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def values(page):
    """Name -> value under the pointer."""
    words = page.locator(".fk-readout > span").all_inner_texts()[1:]
    return {word.rpartition(" ")[0]: float(word.rpartition(" ")[2]) for word in words}


def test_names_are_text(view):
    assert view.evaluate("window.harmed") is None
    assert view.locator(".fk-layer bdi").all_inner_texts() == ["SSR", "SDR", "<img src=x onerror=window.harmed=1>"]
    assert view.locator(".fidokit img").count() == 0


def test_colours_opacity_and_threshold(view):
    # At the window's right edge the mask is 1 and opaque to its opacity: inferno ends in a light yellow.
    ground, top = 128, (252, 255, 164)
    seen = pixel(view, 0.797, 0.5)
    expected = [0.75 * colour + 0.25 * ground for colour in top]
    assert all(abs(a - b) < 6 for a, b in zip(seen, expected, strict=True))
    view.get_by_label("Opacity").fill("0")
    assert pixel(view, 0.797, 0.5) == [ground] * 3
    view.get_by_label("Opacity").fill("100")
    assert all(abs(a - b) < 8 for a, b in zip(pixel(view, 0.797, 0.5), top, strict=True))
    view.get_by_label("Colours").select_option("viridis")
    assert all(abs(a - b) < 8 for a, b in zip(pixel(view, 0.797, 0.5), (253, 231, 37), strict=True))
    # Half way the mask is 0.5.
    assert pixel(view, 0.5, 0.5) != [ground] * 3
    view.get_by_label("Show values from").fill("60")
    assert pixel(view, 0.5, 0.5) == [ground] * 3
    assert pixel(view, 0.797, 0.5) != [ground] * 3


def test_outside_of_the_input_is_hatched_and_said_whatever_is_shown(view):
    def lights():
        return [pixel(view, 0.9 + step / 400, 0.5)[0] for step in range(10)]

    def hatched():
        return min(lights()) < 80 and max(lights()) > 140

    assert hatched()
    assert view.locator(".fk-cut").inner_text().startswith("Hatched: 40 % of this photograph is not seen")
    view.get_by_label("Opacity").fill("0")
    assert hatched()
    view.locator(".fk-canvas").press(" ")
    assert hatched()


def test_an_outline_or_dimmed_surroundings_leave_the_photograph_visible(view):
    ground = [128] * 3
    view.get_by_label("Mask drawn as").select_option("dimmed surroundings")
    assert all(abs(a - b) < 4 for a, b in zip(pixel(view, 0.797, 0.5), ground, strict=True))
    assert pixel(view, 0.21, 0.5)[0] < 50
    view.get_by_label("Mask drawn as").select_option("outline")
    assert pixel(view, 0.21, 0.5) == ground
    row = [pixel(view, 0.5 + step / 400, 0.5)[0] for step in range(-4, 5)]
    assert max(row) > 220
    assert not view.get_by_label("Colours").is_visible()
    view.get_by_label("Mask drawn as").select_option("colours")


def test_a_small_mask_opens_large_with_an_inset_and_the_whole_picture_one_click_away(notebook, view):
    small = "import numpy as np; one = np.zeros((20, 20)); one[8:10, 8:10] = 1"
    notebook.kernel("0", setup=f"{small}; overlay.update('SSR', one); overlay._layers = overlay._layers[:2]")
    inset = view.get_by_role("button", name="Where this part lies")
    inset.wait_for()
    # Two cells of twenty take half of what is seen: the middle is coloured, the edges are not.
    assert pixel(view, 0.5, 0.5) != [128] * 3
    assert pixel(view, 0.5, 0.95) == [128] * 3
    frame = view.locator(".fk-here").bounding_box()
    whole = inset.bounding_box()
    assert 0.1 < frame["height"] / whole["height"] < 0.45
    inset.click()
    assert not inset.is_visible()
    view.get_by_role("button", name="Show the mask's region").click()
    assert inset.is_visible()


def test_outline(view):
    view.get_by_label("Opacity").fill("0")
    view.get_by_label("Outline").check()
    # At 0.5, that is in the middle of the picture, there is a light line, dark at both sides.
    row = [pixel(view, 0.5 + step / 400, 0.5)[0] for step in range(-4, 5)]
    assert max(row) > 220
    assert min(row) < 110
    view.get_by_label("Show values from").fill("90")
    assert pixel(view, 0.5, 0.5) == [128] * 3
    assert max(pixel(view, 0.2 + 0.6 * 0.9 + step / 400, 0.5)[0] for step in range(-3, 4)) > 220


def test_value_under_the_pointer(view):
    for x, y in ((0.5, 0.5), (0.35, 0.2), (0.7, 0.9)):
        point_at(view, x, y)
        seen = values(view)
        assert seen["SSR"] == pytest.approx((x - 0.2) / 0.6, abs=0.02)
        assert seen["SDR"] == pytest.approx(y, abs=0.02)
    assert (
        "x 350, y 270" in view.locator(".fk-readout").inner_text()
        or "x 349" in view.locator(".fk-readout").inner_text()
    )
    point_at(view, 0.05, 0.5)
    assert "outside" in view.locator(".fk-readout").inner_text()


def test_swipe_between_two_masks(view):
    view.get_by_label("Opacity").fill("100")
    assert view.get_by_label("Divider").is_hidden()
    view.get_by_label("Compare with").select_option(label="SDR")
    # At (0.7, 0.02) SSR is 0.83, SDR 0.02: right of the divider there is next to nothing.
    assert abs(pixel(view, 0.7, 0.02)[0] - 128) < 12
    view.get_by_label("Divider").fill("80")
    assert pixel(view, 0.7, 0.02)[0] > 180
    # With the mouse: from the handle to the left.
    box = view.locator(".fk-canvas").bounding_box()
    y = box["y"] + 0.3 * box["height"]
    view.mouse.move(box["x"] + 0.8 * box["width"], y)
    view.mouse.down()
    view.mouse.move(box["x"] + 0.6 * box["width"], y, steps=4)
    view.mouse.up()
    assert abs(pixel(view, 0.7, 0.02)[0] - 128) < 12
    assert view.get_by_label("Divider").input_value() == "60"


def test_zoom_and_pan_with_the_mouse(view):
    point_at(view, 0.5, 0.5)
    view.mouse.wheel(0, -400)
    point_at(view, 0.9, 0.5)
    before = view.locator(".fk-readout").inner_text()
    assert before.startswith("x 450") or before.startswith("x 449")  # a wheel over a picture without focus scrolls
    view.get_by_role("button", name="Zoom in").click()
    view.get_by_role("button", name="Zoom in").click()
    point_at(view, 0.99, 0.5)
    assert values(view)["SSR"] == pytest.approx((0.5 + 0.49 / 2.25 - 0.2) / 0.6, abs=0.03)
    box = view.locator(".fk-canvas").bounding_box()
    view.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    view.mouse.down()
    view.mouse.move(box["x"] + 0.725 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    view.mouse.up()
    point_at(view, 0.5, 0.5)
    assert values(view)["SSR"] == pytest.approx((0.5 - 0.225 / 2.25 - 0.2) / 0.6, abs=0.03)
    # In focus now: the wheel zooms towards the pointer.
    point_at(view, 0.25, 0.5)
    at_pointer = values(view)
    view.mouse.wheel(0, -500)
    view.wait_for_timeout(100)
    point_at(view, 0.2501, 0.5)
    assert values(view)["SSR"] == pytest.approx(at_pointer["SSR"], abs=0.03)
    view.get_by_role("button", name="Show the whole picture").click()
    point_at(view, 0.8, 0.5)
    assert values(view)["SSR"] == pytest.approx(1, abs=0.02)


def test_keyboard(view):
    canvas = view.locator(".fk-canvas")
    canvas.focus()
    view.keyboard.press("ArrowRight")
    first = values(view)["SSR"]
    for _ in range(5):
        view.keyboard.press("ArrowRight")
    assert values(view)["SSR"] == pytest.approx(first + 5 * 0.02 / 0.6, abs=0.02)
    view.keyboard.press("Shift+ArrowDown")
    assert values(view)["SDR"] == pytest.approx(0.6, abs=0.02)
    assert "SSR" in view.locator(".fidokit [role=status]").inner_text()
    view.keyboard.press("2")
    assert view.get_by_role("radio", name="SDR").is_checked()
    view.keyboard.press("9")
    assert view.get_by_role("radio", name="SDR").is_checked()
    view.keyboard.press("+")
    view.keyboard.press("+")
    point_at(view, 0, 0)
    point_at(view, 0.5, 0.5)
    zoomed = values(view)
    assert zoomed["SDR"] != pytest.approx(0.5, abs=0.02)
    view.keyboard.press("0")
    point_at(view, 0.5, 0.51)
    assert values(view)["SDR"] == pytest.approx(0.51, abs=0.02)
    view.keyboard.press("-")
    assert values(view)["SDR"] == pytest.approx(0.51, abs=0.02)
    # JupyterLab's own shortcuts stay out of it: "0", twice, would ask to restart the kernel.
    view.keyboard.press("0")
    view.keyboard.press("0")
    assert view.locator(".jp-Dialog").count() == 0


def test_every_control_is_reached_with_the_tab_key_and_has_a_name(view):
    view.get_by_label("Compare with").select_option(label="SDR")
    view.locator(".fk-canvas").focus()
    reached = []
    for _ in range(14):
        reached.append(
            view.evaluate(
                """() => {
                    const element = document.activeElement;
                    const style = getComputedStyle(element.matches(".fk-layer input") ? element.parentNode : element);
                    const name = element.getAttribute("aria-label") || element.labels?.[0]?.textContent
                        || element.textContent;
                    return [element.closest(".fidokit") !== null, name.trim(), style.outlineStyle, element.tagName];
                }"""
            )
        )
        view.keyboard.press("Tab")
    inside = [row[1:] for row in reached if row[0]]
    names = [name for name, *_ in inside]
    for name in ("Zoom out", "Zoom in", "Show the whole picture", "SSR", "Opacity", "Show values from", "Outline",
                 "Compare with", "Divider", "Colours", "Keys"):  # fmt: skip
        assert name in names, name
    assert all(outline == "solid" for _, outline, _ in inside)
    unnamed = view.evaluate(
        """() => [...document.querySelectorAll(".fidokit :is(input, select, button)")].filter(
            (element) => !element.getAttribute("aria-label") && !element.labels?.length).length"""
    )
    assert unnamed == 0


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_contrast_in_both_themes(tab, view, theme):
    tab.theme(theme)
    point_at(view, 0.5, 0.5)
    found = contrasts(view)
    assert len(found) > 15
    assert min(found)[0] >= 4.5, min(found)


def test_no_control_sends_anything_to_the_kernel(notebook, view):
    with notebook.sent() as messages:
        for value in range(0, 100, 5):
            view.get_by_label("Opacity").fill(str(value))
        view.get_by_label("Show values from").fill("30")
        view.get_by_label("Outline").check()
        view.get_by_label("Colours").select_option("cividis")
        view.get_by_label("Compare with").select_option(label="SDR")
        view.get_by_label("Divider").fill("20")
        view.get_by_role("radio", name="SDR").check(force=True)
        view.get_by_role("button", name="Zoom in").click()
        point_at(view, 0.4, 0.4)
        view.wait_for_timeout(200)
    assert messages == []


def test_the_kernel_sets_options_and_updates_masks_alive(notebook, view):
    notebook.kernel("0", setup="overlay.opacity, overlay.layer, overlay.colours = 1.0, 'SDR', 'magma'")
    view.wait_for_function("document.querySelector('select[id$=colours]').value === 'magma'")
    assert view.get_by_label("Opacity").input_value() == "100"
    assert view.get_by_role("radio", name="SDR").is_checked()
    notebook.kernel("0", setup="overlay.update('SDR', np.ones((2, 2)))")
    view.wait_for_timeout(300)
    assert all(abs(a - b) < 8 for a, b in zip(pixel(view, 0.5, 0.02), (252, 253, 191), strict=True))
    # A second view has the new values as well.
    point_at(view, 0.5, 0.02)
    assert values(view)["SDR"] == 1


def test_reopened_without_its_kernel_the_static_form_is_there(tab, notebook):
    notebook.kernel("0")
    static = notebook.page.locator("figure[class^=fidokit-static]")
    assert static.count() == 1
    assert static.is_hidden()
    assert notebook.save().stat().st_size < 600_000
    notebook.close()
    seen = len(tab.errors)
    again = tab.reopen()
    image = again.page.locator("figure[class^=fidokit-static] img")
    image.wait_for(state="visible")
    assert image.evaluate("image => image.naturalWidth") > 500
    again.page.wait_for_timeout(3000)
    assert not again.page.get_by_text("Error displaying widget").is_visible()
    # JupyterLab notes that the widget is gone; that is all that may have gone wrong.
    assert all("widget model not found" in error for error in tab.errors[seen:])
    del tab.errors[seen:]
