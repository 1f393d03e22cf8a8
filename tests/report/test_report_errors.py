"""The section of error clusters on the report's page, as text and in a browser."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
import pytest
from errors_cases import drawn_data, drawn_study
from PIL import Image
from report_cases import HARM, parse
from test_report_browser import Opened, browser  # noqa: F401

import fidokit as fk
from fidokit.errors import find_error_clusters
from fidokit.report import errors as report_errors
from fidokit.report.page import write_report

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Errors before green, and a site whose name means harm."""
    folder = tmp_path_factory.mktemp("errors")
    table = drawn_data(folder / "data", 240).table
    table["site"] = table["site"].replace("meadow", HARM)
    found = find_error_clusters(drawn_study(folder, fk.LabelledImages.from_table(table)))
    found.verify(infills=("zeros",), progress=False)
    return found


@pytest.fixture(scope="module")
def page(errors, tmp_path_factory):
    return write_report(errors.study, tmp_path_factory.mktemp("page") / "report.html", errors, max_images=3)


@pytest.fixture(scope="module")
def tree(page):
    return parse(page.read_text(encoding="utf-8"))


def rows_of(tree):
    (table,) = tree.find("table", id="clusters")
    return table.find("tbody")[0].find("tr")


def test_the_table_holds_the_clusters_in_their_order(errors, tree):
    shown = errors.clusters.head(report_errors.MOST_CLUSTERS)
    rows = rows_of(tree)
    assert [int(row.find("th")[0].text) for row in rows] == shown["cluster"].tolist()
    kinds = [row.attributes["data-kind"] == "systematic" for row in rows]
    assert kinds == shown["systematic"].tolist()
    for row, known in zip(rows, shown.to_dict("records"), strict=True):
        assert known["sentence"] in row.find("td")[1].text
        assert row.find("b")[0].text == known["name"]
        assert (known["advice"] in row.find("td")[1].text) == known["systematic"]
    assert [int(row.find("th")[0].text) for row in rows] == list(range(1, len(rows) + 1))
    first = shown.iloc[0]
    texts = [cell.text for cell in rows[0].find("td")]
    assert texts[0] == first["verdict"]
    assert texts[2] == f"{first['n_errors']}{100 * first['error_rate']:.0f} % of {first['size']}"
    assert texts[5].endswith(f"{first['holdout_n_errors']} of {first['holdout_size']}")
    assert texts[7].startswith(f"{first['effect']:.2f}")


def test_the_page_says_how_many_are_left_out(errors, tmp_path, monkeypatch):
    monkeypatch.setattr(report_errors, "MOST_CLUSTERS", 7)
    tree = parse(write_report(errors.study, tmp_path / "page.html", errors, max_images=0).read_text(encoding="utf-8"))
    assert len(rows_of(tree)) == 7
    assert any(f"Of {len(errors)} clusters the 7 clearest" in p.text for p in tree.find("p"))


def test_every_systematic_cluster_has_its_sheet_and_its_proof(errors, tree):
    sheets = tree.find("figure", class_="typical")
    systematic = errors.clusters[errors.clusters["systematic"]]
    assert len(sheets) == len(systematic) > 0
    proofs = errors.verification.table.set_index("cluster")["sentence"]
    for sheet, cluster in zip(sheets, systematic["cluster"], strict=True):
        assert f"Cluster {cluster}" in sheet.text
        assert proofs[cluster] in sheet.text
        source = sheet.find("img")[0].attributes["src"].removeprefix("data:image/png;base64,")
        colours = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")).reshape(-1, 3)
        assert (colours == (200, 30, 30)).all(1).any()


def test_names_that_mean_harm_are_text(page, tree):
    assert HARM not in page.read_text(encoding="utf-8")
    assert any(HARM in row.text for row in rows_of(tree))


def test_photographs_that_have_gone_are_said(tmp_path):
    data = drawn_data(tmp_path / "data")
    errors = find_error_clusters(drawn_study(tmp_path, data))
    (tmp_path / "data").rename(tmp_path / "moved")
    errors.study._data = None
    tree = parse(write_report(errors.study, tmp_path / "page.html", errors).read_text(encoding="utf-8"))
    assert any("photographs cannot be shown" in sheet.text for sheet in tree.find("figure", class_="typical"))


def test_without_errors_there_is_no_section(errors, tmp_path):
    text = write_report(errors.study, tmp_path / "page.html", max_images=0).read_text(encoding="utf-8")
    assert "Systematic errors" not in text


def test_no_clusters_are_no_table(tmp_path):
    errors = find_error_clusters(drawn_study(tmp_path, drawn_data(tmp_path / "data", 12)))
    tree = parse(write_report(errors.study, tmp_path / "page.html", errors).read_text(encoding="utf-8"))
    assert not tree.find("table", id="clusters")
    assert any("too few" in p.text for p in tree.find("p"))


# in a browser


@pytest.fixture
def opened(browser, page):  # noqa: F811
    made = Opened(browser, page.as_uri())
    yield made
    made.tab.close()


def numbers(opened):
    """Numbers of the clusters that are shown, in order."""
    return [int(text) for text in opened.tab.locator("#clusters tbody tr:visible th").all_text_contents()]


def test_nothing_runs_and_nothing_leaves(opened, page):
    opened.tab.locator(".typical").first.scroll_into_view_if_needed()
    assert opened.errors == []
    assert opened.tab.evaluate("window.harmed") is None
    assert [url for url in opened.requests if not url.startswith("data:")] == [page.as_uri()]


def test_filter_and_search(opened, errors):
    clusters = errors.clusters.head(report_errors.MOST_CLUSTERS)
    systematic = clusters.loc[clusters["systematic"], "cluster"].tolist()
    assert numbers(opened) == systematic
    opened.tab.locator("input[name=cluster-kind][value=all]").check()
    assert numbers(opened) == clusters["cluster"].tolist()
    assert opened.tab.locator("#clusters-shown").inner_text() == f"{len(clusters)} of {len(clusters)} clusters"
    opened.tab.get_by_label("Search class or cause").fill("RED taken")
    texts = clusters["sentence"].str.lower()
    expected = clusters.loc[texts.str.contains("red") & texts.str.contains("taken"), "cluster"].tolist()
    assert numbers(opened) == expected
    assert 0 < len(expected) < len(clusters)
    opened.tab.get_by_label("Search class or cause").fill("no such thing")
    assert numbers(opened) == []
    assert opened.tab.get_by_text("No cluster fits").is_visible()


def test_sort_by_a_column_both_ways(opened, errors):
    clusters = errors.clusters.head(report_errors.MOST_CLUSTERS).set_index("cluster")
    opened.tab.locator("input[name=cluster-kind][value=all]").check()
    button = opened.tab.get_by_role("button", name="Stability")
    button.click()
    falling = clusters["stability"].loc[numbers(opened)]
    assert falling.is_monotonic_decreasing
    assert opened.tab.locator("th[aria-sort=descending]").inner_text().startswith("Stability")
    button.press("Enter")
    assert clusters["stability"].loc[numbers(opened)].is_monotonic_increasing
    opened.tab.get_by_role("button", name="Effect").click()
    effects = clusters["effect"].loc[numbers(opened)]
    n = int(effects.notna().sum())
    assert effects.iloc[:n].is_monotonic_decreasing
    assert effects.iloc[n:].isna().all()
    assert pd.notna(effects.iloc[0])


def test_nothing_is_wider_than_the_screen(opened):
    for width in (320, 390, 1280):
        opened.tab.set_viewport_size({"width": width, "height": 800})
        assert opened.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_no_control_is_dead(browser, page):  # noqa: F811
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert tab.locator("#clusters tbody tr:visible").count() > 0
    assert tab.locator("#cluster-tools").is_hidden()
    assert tab.locator("#clusters button").count() == 0
    context.close()
