"""The report in a real browser: its controls, its looks on a phone, and that it neither calls home nor runs names."""

import shutil
import socket
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
import torch
from report_cases import HARM, LONG, NAMES, SCRIPT_FILE, make_study
from study_cases import run

from fidokit.methods import register_method
from fidokit.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(make_study(folder), folder / "report.html").as_uri()


class Opened:
    """The report in a tab that notes what it asks for and what goes wrong."""

    def __init__(self, browser, address, **options):
        self.requests, self.errors = [], []
        self.tab = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.errors.append(message.text))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.goto(address)

    def files(self):
        """File names of the photographs that are shown, in order."""
        return self.tab.locator("article:visible p.file").all_text_contents()

    def states(self):
        return [a.get_attribute("data-state") for a in self.tab.locator("article:visible").all()]


@pytest.fixture
def opened(browser, address):
    made = Opened(browser, address)
    yield made
    made.tab.close()


def scroll_through(tab):
    for position in range(tab.locator("article").count()):
        tab.locator("article").nth(position).scroll_into_view_if_needed()
    tab.wait_for_timeout(100)


def test_nothing_goes_wrong_and_nothing_leaves_the_machine(opened, address):
    scroll_through(opened.tab)
    assert opened.errors == []
    assert [request for request in opened.requests if not request.startswith("data:")] == [address]


def test_names_do_not_run(opened):
    scroll_through(opened.tab)
    assert opened.tab.evaluate("window.harmed") is None
    assert opened.tab.locator("img:not([src^='data:image/png'])").count() == 0
    assert opened.tab.locator("script").count() == 1
    assert opened.tab.locator("h3", has_text=HARM).count() > 0
    assert SCRIPT_FILE in opened.files()


def test_even_html_that_got_in_neither_runs_nor_calls(browser, address, tmp_path):
    # The policy is the second wall: it must hold if an escape were ever forgotten.
    page = tmp_path / "broken.html"
    text = Path(unquote(urlparse(address).path)).read_text(encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        picture = f"<img src='http://127.0.0.1:{server.getsockname()[1]}/call.png'>"
        added = f"<main>{HARM}<script>window.harmed=3</script>{picture}"
        page.write_text(text.replace("<main>", added), encoding="utf-8")
        made = Opened(browser, page.as_uri())
        with pytest.raises(TimeoutError):
            server.accept()
    assert made.tab.evaluate("window.harmed") is None
    assert sum("Content Security Policy" in error for error in made.errors) >= 3
    made.tab.close()


def test_filter(opened):
    everything = opened.files()
    assert len(everything) == 6
    opened.tab.get_by_role("radio", name="Wrong").check()
    assert opened.states() == ["wrong"]
    assert opened.tab.locator("#shown").inner_text() == "1 of 6 photographs"
    opened.tab.get_by_role("radio", name="Right").check()
    assert set(opened.states()) == {"right"}
    opened.tab.get_by_role("radio", name="All").check()
    assert opened.files() == everything


def test_search_by_class_and_by_file(opened):
    field = opened.tab.get_by_label("Search class or file")
    field.fill("B3.PNG")
    assert opened.files() == ["b3.png"]
    field.fill("GRAU specht")
    assert 0 < len(opened.files()) < 6
    for article in opened.tab.locator("article:visible").all():
        article.scroll_into_view_if_needed()  # what is out of sight may not be laid out yet, and has no text then
        assert NAMES[2] in article.inner_text()
    field.fill("no such thing")
    assert opened.files() == []
    assert opened.tab.get_by_text("No photograph fits").is_visible()
    field.fill("")
    assert len(opened.files()) == 6
    assert not opened.tab.get_by_text("No photograph fits").is_visible()


def test_order(opened):
    at_first = opened.files()
    choice = opened.tab.get_by_label("Order")
    choice.select_option("margin")
    margins = [float(a.get_attribute("data-margin")) for a in opened.tab.locator("article").all()]
    assert margins == sorted(margins)
    choice.select_option("label")
    labels = [a.get_attribute("data-label") for a in opened.tab.locator("article").all()]
    assert labels == [
        "",
        *[HARM] * labels.count(HARM),
        *[NAMES[2]] * labels.count(NAMES[2]),
        *[LONG] * labels.count(LONG),
    ]
    choice.select_option("page")
    assert opened.files() == at_first


def test_opacity_of_all_masks(opened):
    slider = opened.tab.get_by_label("Strength")
    images = opened.tab.locator("article img.mask")

    def opacities():
        return {float(value) for value in images.evaluate_all("all => all.map(i => getComputedStyle(i).opacity)")}

    assert opacities() == {0.75}
    slider.fill("20")
    assert opacities() == {0.2}
    slider.focus()
    opened.tab.keyboard.press("End")
    assert opacities() == {1.0}
    assert opened.tab.locator("output").inner_text() == "100 %"


def test_masks_can_be_put_away(opened):
    first = opened.tab.locator("article").first
    before = first.locator("figure:visible").count()
    opened.tab.get_by_role("checkbox", name="counting SDR").uncheck()
    assert first.locator("figure:visible").count() == before - 1
    assert not first.locator("figcaption", has_text="countingSDR").is_visible()
    opened.tab.get_by_role("checkbox", name="counting SDR").check()
    assert first.locator("figure:visible").count() == before


def test_controls_are_reached_with_the_keyboard_in_order(opened):
    reached = []
    for _ in range(60):
        opened.tab.keyboard.press("Tab")
        reached.append(opened.tab.evaluate("document.activeElement.id || document.activeElement.name"))
    places = [reached.index(name) for name in ("search", "state", "sort", "drawn-dim", "opacity", "contours", "mask")]
    assert places == sorted(places)


def test_masks_lie_exactly_on_their_photograph(opened):
    for frame in opened.tab.locator("article:visible figure:has(img) .frame").all():
        box, image = frame.bounding_box(), frame.locator("img.mask").bounding_box()
        np.testing.assert_allclose([image[k] for k in box], [box[k] for k in box], atol=0.5)
        assert box["width"] / box["height"] == pytest.approx(1.5, rel=0.02)
    scroll_through(opened.tab)
    assert opened.tab.locator("img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 0)")


def test_nothing_is_wider_than_the_screen(opened):
    for width in (320, 390, 700, 820, 1280, 1920):
        opened.tab.set_viewport_size({"width": width, "height": 800})
        scroll_through(opened.tab)
        assert opened.tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A page whose masks are small in the photograph, and the path of it."""
    folder = tmp_path_factory.mktemp("small")

    def corner(_classifier, images, _targets):
        masks = torch.zeros(len(images), 14, 14)
        masks[:, 3:5, 3:5] = 1
        return masks

    register_method("corner", corner, replace=True)
    made = make_study(folder)
    study = run(made.classifier, made.data, folder / "corner", ["corner", "counting"])
    return write_report(study, folder / "report.html").as_uri()


def test_pictures_open_on_the_place_of_the_mask_and_the_whole_is_a_press_away(browser, small):
    made = Opened(browser, small)
    frame = made.tab.locator("article.zoomed figure:has(.mask) .frame").first
    inset = made.tab.locator("article.zoomed .inset").first

    def share():
        """Of the frame's height that the box of the mask's line takes."""
        line = frame.locator("svg path").last.evaluate("e => e.getBoundingClientRect().height")
        return line / frame.bounding_box()["height"]

    assert share() >= 0.25
    assert inset.is_visible()
    made.tab.get_by_role("radio", name="Whole photograph").check()
    assert share() < 0.25
    assert not inset.is_visible()
    box, sheet = frame.bounding_box(), frame.locator(".sheet").bounding_box()
    np.testing.assert_allclose([sheet[k] for k in box], [box[k] for k in box], atol=0.5)
    assert made.errors == []
    made.tab.close()


def test_pictures_are_enlarged_and_walked_through_by_keyboard(opened):
    tab = opened.tab
    buttons = tab.locator("article").first.locator("button.enlarge")
    buttons.first.focus()
    assert buttons.first.get_attribute("aria-label").startswith("Enlarge: Photograph ")
    before = tab.locator("article .frame").first.bounding_box()["width"]
    tab.keyboard.press("Enter")
    light = tab.get_by_role("dialog")
    assert light.is_visible()
    assert light.locator(".frame").bounding_box()["width"] > before
    assert tab.evaluate("document.activeElement.id") == "light-close"
    titles = [tab.locator("#light-title").inner_text()]
    for _ in range(buttons.count()):
        tab.keyboard.press("ArrowRight")
        titles.append(tab.locator("#light-title").inner_text())
    assert len(set(titles[:-1])) == buttons.count()
    # After the last picture of a photograph comes the next photograph.
    assert titles[-1].startswith("Photograph")
    assert titles[-1] != titles[0]
    tab.keyboard.press("ArrowUp")
    assert tab.locator("#light-title").inner_text() == titles[0]
    tab.keyboard.press("ArrowRight")
    assert light.locator("img.mask").get_attribute("alt")
    tab.keyboard.press("Escape")
    assert not light.is_visible()
    # Where she has walked to; the browser says after a while that a dialog is closed.
    tab.wait_for_function("document.activeElement === document.querySelectorAll('article .enlarge')[1]")
    assert opened.errors == []


def test_masks_can_be_drawn_in_other_ways(opened):
    mask = opened.tab.locator("article img.mask").first
    seen = {mask.evaluate("e => getComputedStyle(e).filter")}
    for name in ("Inferno", "Viridis"):
        opened.tab.get_by_role("radio", name=name).check()
        seen.add(mask.evaluate("e => getComputedStyle(e).filter"))
    assert len(seen) == 3
    opened.tab.get_by_role("checkbox", name="Mask", exact=True).uncheck()
    assert not opened.tab.locator("article .contour").first.is_visible()


def test_paper_holds_several_photographs_a_page_and_cuts_none(browser, address, tmp_path):
    made = Opened(browser, address)
    made.tab.emulate_media(media="print")
    assert not made.tab.locator("#tools").is_visible()
    width = 794  # A4 at 96 dots an inch
    made.tab.set_viewport_size({"width": width, "height": 1123})
    assert made.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert made.tab.locator("table").evaluate_all(
        "all => all.every(t => t.getBoundingClientRect().right <= innerWidth)"
    )
    for article in made.tab.locator("article").all():
        assert article.evaluate("e => getComputedStyle(e).breakInside") == "avoid"
        assert article.bounding_box()["height"] < 1123 / 2
    made.tab.close()


def test_dark_scheme(browser, address):
    grounds = []
    for scheme in ("light", "dark"):
        made = Opened(browser, address, color_scheme=scheme)
        colour = made.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(part) for part in colour.strip("rgb()").split(",")))
        made.tab.close()
    assert grounds[0] > 600 > 150 > grounds[1]


def test_without_scripts_all_is_shown_and_no_control_is_dead(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address)
    assert tab.locator("article:visible").count() == 6
    assert tab.locator("#tools").is_hidden()
    context.close()
