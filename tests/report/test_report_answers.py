"""The report's section of an answer: escaped, complete, with the photographs to look at, and sorted by a click."""

from __future__ import annotations

import base64
import io
import shutil

import numpy as np
import pandas as pd
import pytest
from answer_cases import photographs, sites
from PIL import Image
from report_cases import HARM, SCRIPT_FILE, make_study, parse

from fidokit.report import answers as answers_module
from fidokit.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("report-answers"))


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return write_report(
        study, tmp_path_factory.mktemp("page") / "report.html", answers=[sites(study), photographs(study)]
    )


@pytest.fixture(scope="module")
def sections(page):
    return parse(page.read_text(encoding="utf-8").partition("<!DOCTYPE html>")[2]).find("section", "answer")


def test_each_answer_has_a_section(sections):
    assert [section.find("h2")[0].text for section in sections] == ["Which site?", "Which?"]
    assert [section.find("p", "headline")[0].text for section in sections] == ["One of 3 sites.", "Two."]
    assert [line.text for line in sections[0].find("li")] == ["Said by nobody."]


def test_the_contents_of_the_page_lead_to_each_answer(page, sections):
    (contents,) = parse(page.read_text(encoding="utf-8").partition("<!DOCTYPE html>")[2]).find("nav", "contents")
    links = {link.text: link.attributes["href"] for link in contents.find("a")}
    for section in sections:
        (heading,) = section.find("h2")
        assert links[heading.text] == f"#{heading.attributes['id']}"


def test_the_table(sections):
    heads = [head.text for head in sections[0].find("th", scope="col")]
    assert heads == ["Site", "N", "Backgroundshare of the decision", "P value", "Found", "Why"]
    first, second, third = sections[0].find("tbody")[0].find("tr")
    assert first.text == f"{HARM}40.400.30 – 0.50< 0.001yesreeds; water"
    assert [cell.attributes.get("data-value") for cell in third.find("td")][1] is None
    assert second.find("td")[1].attributes["data-value"] == "0.1"


def test_photographs_stand_in_their_groups_and_rows_lead_to_them(sections):
    (harm, ridge) = sections[0].find("h3")
    assert (harm.text, ridge.text) == (HARM, "ridge")
    links = [link.attributes["href"] for link in sections[0].find("a")]
    assert links == [f"#{heading.attributes['id']}" for heading in (harm, ridge)]  # the third has no photographs
    captions = [caption.text for caption in sections[0].find("figcaption")]
    assert captions == [f"the reeds decide & more{SCRIPT_FILE}", "the reeds againgone <i>.png", "b2.png"]
    assert "cannot be shown" in sections[0].find("figure")[1].text
    (link,) = sections[1].find("a")
    assert link.attributes["href"] == f"#{sections[1].find('figure')[0].attributes['id']}"


def test_what_to_look_at_is_outlined(sections):
    source = sections[0].find("img")[0].attributes["src"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    height, width = pixels.shape[:2]
    yellow = (pixels[..., :2] > 150).all(-1) & (pixels[..., 2] < 110)
    assert yellow[round(0.4 * height) :, round(0.15 * width) : round(0.6 * width)].any()
    assert not yellow[: round(0.35 * height)].any()


def test_what_is_left_out_is_said(study, tmp_path, monkeypatch):
    monkeypatch.setattr(answers_module, "MOST_ROWS", 1)
    monkeypatch.setattr(answers_module, "MOST_PHOTOGRAPHS", 2)
    text = write_report(study, tmp_path / "r.html", answers=[sites(study)]).read_text(encoding="utf-8")
    assert "Of 3 rows the first 1 are shown." in text
    assert "Of 3 photographs the first 2 are shown." in text


def test_an_empty_answer(study, tmp_path):
    bare = sites(
        study, table=pd.DataFrame({"site": []}), examples=pd.DataFrame(columns=["group", "image_id", "caption"])
    )
    text = write_report(study, tmp_path / "r.html", answers=[bare]).read_text(encoding="utf-8")
    assert "One of 3 sites." in text


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(page, scheme):
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    errors = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(color_scheme=scheme)
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        table = tab.locator("#answer-0")
        names = lambda: table.locator("tbody th").all_inner_texts()  # noqa: E731
        heads, at_first = table.get_by_role("button"), names()
        heads.nth(1).click()
        assert names() == ["=1+1", HARM, "ridge"]
        heads.nth(1).click()
        assert names() == ["ridge", HARM, "=1+1"]
        assert table.get_by_role("button", name="N", exact=True).count() == 1  # the arrow is no part of its name
        heads.nth(2).click()
        assert names() == [HARM, "ridge", "=1+1"]  # what has no value comes last
        heads.nth(0).click()
        assert sorted(names()) == sorted(at_first)
        table.get_by_role("link", name="ridge").click()
        assert tab.locator("h3:target").inner_text() == "ridge"
        assert tab.evaluate("window.harmed") is None
        browser.close()
    assert errors == []
