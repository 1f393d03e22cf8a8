"""The documentation as a site: built without a warning, no link is dead, and a search finds every exported name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from inspect import isfunction
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from docs_cases import SITE

import fidokit as fk
from fidokit import samples

pytestmark = pytest.mark.long
NAMES = [*fk.__all__, *fk._WIDGETS]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for module in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install 'fidokit[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "doctrees")]
    built = subprocess.run(
        [*command, str(SITE), str(folder / "html")], capture_output=True, text=True, timeout=600, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = {key: value or "" for key, value in attrs}
        self.places |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.loaded.append(found["href"])
        elif "src" in found:
            self.loaded.append(found["src"])


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_no_link_is_dead_within_the_site(site, pages):
    assert len(pages) > 40
    dead = []
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            address = urlsplit(link)
            if address.scheme in ("http", "https", "mailto", "data"):
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            place = unquote(address.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                dead.append((path.relative_to(site).as_posix(), link))
    assert not dead
    assert not [link for page in pages.values() for link in page.links if link.endswith((".md", ".ipynb"))]


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert not {link for page in pages.values() for link in page.loaded if urlsplit(link).scheme not in ("", "data")}
    for sheet in (site / "_static").rglob("*.css"):
        assert "@import" not in sheet.read_text(encoding="utf-8")


def test_every_notebook_and_its_pictures_are_there(site, pages):
    notebooks = sorted(SITE.glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        page = site / f"{path.stem}.html"
        text = page.read_text(encoding="utf-8")
        assert ("_static/plotly.js" in pages[page].loaded) == ("Plotly.newPlot" in text)
        assert text.count("<img") > 0 or "Plotly.newPlot" in text


def test_the_index_of_the_search_has_every_exported_name(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    objects = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))["objects"]
    found = {f"{prefix}.{entry[4]}" for prefix, entries in objects.items() for entry in entries}
    assert {f"fidokit.{name}" for name in NAMES} - found == set()
    for module in (fk.testbed, samples):
        functions = {name for name in dir(module) if name[0] != "_" and isfunction(getattr(module, name))}
        own = {name for name in functions if getattr(module, name).__module__.startswith(module.__name__)}
        assert {f"{module.__name__}.{name}" for name in own} - found == set()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(browser):
    """A tab in which nothing may go wrong, and from which nothing may leave the machine."""
    opened, troubles = browser.new_page(), []
    # The search reads the pages that it has found for a summary, which browsers refuse of files.
    opened.on("pageerror", lambda error: "Failed to fetch" in str(error) or troubles.append(str(error)))
    opened.on("request", lambda request: troubles.append(request.url) if request.url.startswith("http") else None)
    yield opened
    opened.close()
    assert not troubles


@pytest.mark.browser
def test_figures_of_the_notebooks_are_drawn(site, tab):
    for path in SITE.glob("*.ipynb"):
        page = site / f"{path.stem}.html"
        tab.goto(page.as_uri())
        figures = page.read_text(encoding="utf-8").count("Plotly.newPlot")
        assert tab.locator(".js-plotly-plot:has(.main-svg)").count() == figures


@pytest.mark.browser
def test_a_search_in_a_browser_finds_every_exported_name(site, tab):
    missing = []
    for name in NAMES:
        tab.goto(f"{(site / 'search.html').as_uri()}?q={name}")
        found = [f"#search-results a[href$='#{place}fidokit.{name}']" for place in ("", "module-")]
        tab.wait_for_function(
            "/found|not match/.test(document.querySelector('#search-results').textContent)", timeout=60_000
        )
        if not tab.locator(", ".join(found)).count():
            missing.append(name)
    assert not missing
