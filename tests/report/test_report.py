import base64
import hashlib
import io
import os
import re
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image
from report_cases import HARM, LONG, SCRIPT_FILE, Element, make_study, parse

from fidokit._util.glossary import GLOSSARY, anchor
from fidokit._util.html import Html, joined, tag
from fidokit._util.numbers import number
from fidokit.exceptions import SettingsError, StoreError
from fidokit.methods.verdicts import LEADING, VERDICTS, is_whole, verdict_words
from fidokit.report import images as report_images
from fidokit.report import templating as report_page
from fidokit.report.page import write_report
from fidokit.study.run import open_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    return write_report(study, tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tree(page):
    return parse(page)


def articles(tree: Element) -> list[Element]:
    return tree.find("article")


def file_of(article: Element) -> str:
    return article.find("p", class_="file")[0].text


def facts_of(article: Element) -> dict[str, str]:
    (about,) = article.find("dl", class_="about")
    return {dt.text: dd.text for dt, dd in zip(about.find("dt"), about.find("dd"), strict=True)}


def overlay(figure: Element) -> np.ndarray:
    (image,) = figure.find("img", class_="mask")
    data = image.attributes["src"].removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def figures(article: Element, title: str) -> Element:
    """The figure of a method and kind."""
    (found,) = [f for f in article.find("figure") for which in f.find("span", class_="which") if which.text == title]
    return found


# markup


def test_text_and_attributes_are_escaped():
    made = tag("p", "a < b & \"c\" 'd'", title="\"><script>'", hidden=True, lang=None, data_x=0)
    assert made == (
        '<p title="&quot;&gt;&lt;script&gt;&#x27;" hidden data-x="0">a &lt; b &amp; &quot;c&quot; &#x27;d&#x27;</p>'
    )


def test_elements_nest_without_being_escaped_twice():
    assert tag("p", tag("b", "1 < 2"), None, "&") == "<p><b>1 &lt; 2</b>&amp;</p>"
    assert joined([Html("<hr>"), "<hr>"]) == "<hr>&lt;hr&gt;"


def test_void_elements_are_not_closed():
    assert tag("img", alt="") == '<img alt="">'


def test_control_characters_are_replaced():
    assert tag("p", "a\x00b\x1b[31mc\r\x7f\td\n") == "<p>a\ufffdb\ufffd[31mc\ufffd\ufffd\td\n</p>"


def test_templates_escape_names_and_nothing_twice():
    template = report_page._environment().from_string('<p title="{{ value }}">{{ value }}</p>{{ nothing }}')
    made = template.render(value="<b>&\x1b'\"", nothing=None)
    assert made == '<p title="&lt;b&gt;&amp;\ufffd&#39;&#34;">&lt;b&gt;&amp;\ufffd&#39;&#34;</p>'
    assert template.render(value=Html("<b>"), nothing=Html("<hr>")) == '<p title="<b>"><b></p><hr>'
    with pytest.raises(jinja2.UndefinedError):
        template.render(value=1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.126, "0.13"), (-3.0, "-3.00"), (1234.5, "1,234"), (None, "–"), (float("nan"), "–"), (float("inf"), "–")],
)
def test_numbers(value, text):
    assert number(value) == text


# safety


def test_nothing_in_the_page_points_elsewhere(page, tree):
    for element in tree.find():
        for name, value in element.attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "action", "srcset", "data", "poster"):
                if name == "href":
                    # A word, or the glossary, on this page.
                    assert value[1:] in {e.attributes.get("id") for e in tree.find()}
                    assert value[0] == "#"
                else:
                    assert name == "src"
                    assert value.startswith("data:image/")
    outside_data = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|@import|url\((?![)#])", outside_data)
    assert not tree.find("link")
    assert not tree.find("iframe")


def test_only_the_hashed_script_may_run(page, tree):
    (script,) = tree.find("script")
    (policy,) = [m.attributes["content"] for m in tree.find("meta") if "http-equiv" in m.attributes]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    # A policy counts from where it stands: before it there is nothing that could load or run.
    assert page.index("Content-Security-Policy") < page.index("<title>") < page.index("<script>")


def test_names_that_mean_harm_are_text(tree):
    assert [image.attributes["src"][:22] for image in tree.find("img")] == ["data:image/png;base64,"] * len(
        tree.find("img")
    )
    texts = [name.text for name in tree.find("bdi")]
    for name in (HARM, LONG, SCRIPT_FILE, f"left {HARM}", "gone <i>.png"):
        assert name in texts


def test_long_names_can_be_read_in_full(tree):
    (found, *_) = [name for name in tree.find("bdi", class_="name") if name.text == LONG]
    assert found.attributes["title"] == LONG
    assert len(tree.find("title")[0].text) < 200


# content


def test_header_counts(study, tree):
    facts = {f.find("dt")[0].text: f.find("dd")[0].text for f in tree.find(class_="facts")[0].find("div")}
    correct = study.predictions()["correct"]
    right, wrong = int((correct == True).sum()), int((correct == False).sum())  # noqa: E712
    assert (right, wrong) == (4, 1)
    assert facts["Photographs"] == "7"
    assert facts["✓ Right"] == "4 80.0 %"
    assert facts["✗ Wrong"] == "1 20.0 %"
    assert facts["– Not judged"].startswith("2 ")
    assert facts["Failures"].startswith(f"{len(study.failures())} ")


def test_wrong_ones_come_first_then_the_lowest_margin(study, tree):
    predictions = study.predictions().set_index("image_id")
    shown = [file_of(article) for article in articles(tree)]
    assert len(shown) == 6
    states = [article.attributes["data-state"] for article in articles(tree)]
    assert states[0] == "wrong"
    assert states.count("wrong") == 1
    margins = predictions.loc[shown[1:], "margin"].tolist()
    assert margins == sorted(margins)


def test_state_is_told_by_sign_and_word(tree):
    for article in articles(tree):
        words = article.find("p", class_="verdict")[0].text
        state = article.attributes["data-state"]
        assert (
            words
            == {
                "wrong": "✗Wrong prediction",
                "right": "✓Right prediction",
                "unknown": "–Prediction, not judged",
            }[state]
        )


def test_scores_are_those_of_the_table(study, tree):
    table = study.masks(
        columns=["image_id", "method", "kind", "score_full", "score_kept", "score_dropped", "evaluations"]
    )
    table = table.set_index(["image_id", "method", "kind"])
    for article in articles(tree):
        for title, key in (("countingSSR", ("counting", "ssr")), ("countingSDR", ("counting", "sdr"))):
            figure = figures(article, title)
            row = table.loc[(file_of(article), *key)]
            shown = [cell.text for cell in figure.find("dl")[0].find("dd") if "meter" not in cell.classes]
            assert shown == [number(row[name]) for name in ("score_full", "score_kept", "score_dropped")]
            assert figure.find("p", class_="cost")[-1].text.startswith(f"{int(row['evaluations'])} evaluation")


def test_predicted_and_labelled_class(study, tree):
    predictions = study.predictions().set_index("image_id")
    for article in articles(tree):
        row = predictions.loc[file_of(article)]
        facts = facts_of(article)
        assert article.find("h3")[0].text == row["predicted"]
        assert facts["Label"] == ("none" if row["label"] is None else row["label"])
        assert facts["Score"] == f"{row['score']:.2f}"
        assert facts["Margin"] == f"{row['margin']:.2f}"


def test_summary_table_holds_the_summary(study, tree):
    summary = study.summary()
    rows = tree.find("table")[0].find("tbody")[0].find("tr")
    assert len(rows) == len(summary) == 4
    for row, expected in zip(rows, summary.to_dict("records"), strict=True):
        assert row.find("th")[0].text == expected["method"]
        low, high = expected["score_kept_low"], expected["score_kept_high"]
        assert row.find("td")[1].text == f"{expected['score_kept']:.2f}{low:.2f} – {high:.2f}"
        left = float(re.search(r"left:([\d.]+)%", row.find("b")[0].attributes["style"])[1])
        assert left == pytest.approx(100 * expected["score_kept"], abs=0.06)


def test_failures_are_listed(study, tree):
    rows = tree.find("table")[1].find("tbody")[0].find("tr")
    cells = [[cell.text for cell in row.children] for row in rows]
    expected = study.failures()
    assert cells == [
        [row.image_id, row.method or "all", row.stage, row.reason] for row in expected.itertuples(index=False)
    ]
    assert ["b5.png", "fails-once", "mask", "no mask of this one, because 1 < 2 & 2 > 1"] in cells


def test_a_mask_that_failed_has_its_reason_in_its_place(tree):
    (article,) = [a for a in articles(tree) if file_of(a) == "b5.png"]
    figure = figures(article, "fails-once")
    assert figure.find(class_="missing")[0].text == "No mask: no mask of this one, because 1 < 2 & 2 > 1"
    assert figure.find("span", class_="says")[0].text == "No mask"
    assert not figure.find("img")


# pictures


def test_each_photograph_is_there_once_and_small(page, tree):
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 6
    for article in articles(tree):
        data = re.search(r"base64,([A-Za-z0-9+/=]+)\)", article.attributes["style"])[1]
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.format == "JPEG"
            assert picture.size == (48, 32)


def test_photographs_are_small_where_there_are_many(tmp_path):
    from fidokit.data.geometry import Preprocessing
    from fidokit.data.images import LabelledImages
    from fidokit.report.images import _View

    (tmp_path / "a").mkdir()
    Image.new("RGB", (1000, 300), (200, 30, 30)).save(tmp_path / "a" / "large.png")
    mask = np.zeros((14, 14), np.float32)
    mask[4:6, 4:6] = 1
    view = _View.make(LabelledImages.from_folder(tmp_path), 0, Preprocessing(), mask, (256, 64))
    with Image.open(io.BytesIO(base64.b64decode(view.photograph))) as picture:
        assert picture.size == (256, 77)
    with Image.open(io.BytesIO(base64.b64decode(view.detail))) as picture:
        assert max(picture.size) == 64
    whole = _View.make(LabelledImages.from_folder(tmp_path), 0, Preprocessing(), np.ones((7, 7)), (256, 64))
    assert whole.detail is None
    assert "--detail" not in whole.style


def test_masks_lie_where_the_classifier_looked(tree):
    # 48 x 32 photographs, cropped to the middle square: the mask of the left half covers columns 8 to 24 of 48.
    pixels = overlay(figures(articles(tree)[0], f"left {HARM}"))
    assert pixels.shape == (64, 96, 4)
    alpha = pixels[32, :, 3].astype(int)
    assert (alpha[:16] == 0).all()
    assert (alpha[16:24] == 255).all()
    assert (np.diff(alpha[16:80]) <= 0).all()
    assert (alpha[72:] == 0).all()
    assert alpha[40] > 180
    assert alpha[56] < 80
    assert articles(tree)[0].find("span", class_="unseen")
    hole = "16.67% 0.00%,83.33% 0.00%,83.33% 100.00%,16.67% 100.00%,16.67% 0.00%"
    assert f"--unseen:polygon(evenodd,0 0,100% 0,100% 100%,0 100%,0 0,{hole})" in articles(tree)[0].attributes["style"]
    said = articles(tree)[0].find("p", class_="unseen-words")[0].text
    assert said == "33 % of this photograph is not seen by the classifier; the animal may be there."


def test_masks_of_boxes_lie_in_their_box(tmp_path):
    import pandas as pd
    import report_cases

    from fidokit.data.images import LabelledImages
    from fidokit.study.run import run_study

    report_cases.register()
    table = report_cases.make_table(tmp_path / "photographs").head(1).assign(x0=30, y0=4, x1=42, y1=16)
    data = LabelledImages.from_table(pd.DataFrame(table))
    classifier = report_cases.classifier(use_boxes=True, box_padding=0.0)
    study = run_study(classifier, data, "left-half", store=tmp_path / "run", progress=False)
    tree = parse(write_report(study, tmp_path / "page.html").read_text(encoding="utf-8"))
    alpha = overlay(figures(articles(tree)[0], "left-half"))[..., 3]
    rows, columns = np.nonzero(alpha)
    assert (rows.min(), rows.max()) == (8, 31)
    assert columns.min() == 60
    assert columns.max() < 84
    assert (alpha[8:32, 60:66] == 255).all()


def test_what_was_explained_is_said_where_it_is_not_the_prediction(tmp_path):
    study = make_study(tmp_path, targets="label", against="runner-up")
    tree = parse(write_report(study, tmp_path / "page.html").read_text(encoding="utf-8"))
    masks = study.masks(methods="counting", kinds="ssr").set_index("image_id")
    for article in articles(tree):
        facts = facts_of(article)
        if file_of(article) in masks.index:
            assert facts["Explained"] == masks["target"][file_of(article)]
            assert facts["Rather than"] == masks["against"][file_of(article)]
        else:
            assert "Explained" not in facts


def test_a_photograph_that_is_gone_is_replaced_by_the_reason(tmp_path):
    study = make_study(tmp_path)
    gone = Path(study.images["path"].iloc[3])
    gone.unlink()
    tree = parse(write_report(open_study(study.path), tmp_path / "page.html").read_text(encoding="utf-8"))
    (article,) = [a for a in articles(tree) if file_of(a) == "b3.png"]
    assert str(gone) in article.find(class_="missing")[0].text
    assert "--photograph" not in article.attributes["style"]
    # Its masks are still shown, over the input alone.
    assert overlay(figures(article, "countingSSR"))[..., 3].max() == 255
    assert "'b3.png'" in tree.find(class_="warning")[0].text


def test_the_mask_that_passes_leads_and_failing_ones_step_back(tree):
    leading = 0
    for article in articles(tree):
        shown = [figure for figure in article.find("figure") if "data-mask" in figure.attributes]
        said = [figure.find("span", class_="says")[0].text.lower() for figure in shown]
        places = [VERDICTS.index(words) for words in said if words in VERDICTS]
        assert places == sorted(places)
        assert [i for i, figure in enumerate(shown) if "large" in figure.classes] == [0] * (said[0] in LEADING)
        assert bool(article.find("p", class_="none-passes")) == (said[0] not in LEADING)
        leading += said[0] in LEADING
    assert leading > 0


def test_what_a_box_says_is_hidden_is_said_outright(tmp_path):
    import pandas as pd
    import report_cases

    from fidokit.data.images import LabelledImages
    from fidokit.study.run import run_study

    report_cases.register()
    table = report_cases.make_table(tmp_path / "photographs").head(1).assign(x0=0, y0=4, x1=7, y1=16)
    study = run_study(
        report_cases.classifier(), LabelledImages.from_table(pd.DataFrame(table)), "left-half",
        store=tmp_path / "run", progress=False,
    )  # fmt: skip
    tree = parse(write_report(study, tmp_path / "page.html").read_text(encoding="utf-8"))
    said = articles(tree)[0].find("p", class_="unseen-words")[0].text
    assert said.startswith("The classifier does not see the animal: its box lies in the part of the photograph that is")
    assert articles(tree)[0].find("span", class_="box")
    assert any("annotated box" in item.text for item in tree.find("li"))


def test_words_are_explained_where_they_stand(page, tree):
    words = tree.find("a", class_="word")
    assert {word.attributes["href"] for word in words} >= {"#word-ssr", "#word-sdr", "#word-joint", "#word-score-kept"}
    for key, term in GLOSSARY.items():
        (entry,) = tree.find(id=anchor(key))
        assert entry.find("dt")[0].text == term.name
        assert term.meaning in entry.text
    # The settings' hash is of no use at the top.
    assert page.index("(settings ") > page.index('id="made-title"') > page.index('id="word-ssr"')
    heads = [head.text for head in tree.find("table")[0].find("th") if head.attributes.get("scope") == "col"]
    assert "Score kepthigher is better" in heads
    assert "Score droppedlower is better" in heads


def test_one_photograph_has_no_interval(tmp_path):
    from study_cases import run

    made = make_study(tmp_path)
    one = run(made.classifier, made.data.subset([0]), tmp_path / "one", ["counting", "left-half"])
    summary = one.summary()
    assert summary["score_kept"].notna().all()
    assert summary[["score_kept_low", "score_kept_high"]].isna().all(axis=None)
    tree = parse(write_report(one, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not tree.find("span", class_="interval")


# selections


@pytest.mark.parametrize(
    ("select", "chosen"),
    [
        (["b3.png", "b1.png"], ["b3.png", "b1.png"]),
        ("b3.png", ["b3.png"]),
        ("correct == False", None),
        ("image_id == 'b1.png' or image_id == 'b3.png'", ["b1.png", "b3.png"]),
    ],
)
def test_a_short_page_of_chosen_photographs(study, tmp_path, select, chosen):
    predictions = study.predictions()
    wrong = predictions.loc[predictions["correct"].eq(False).fillna(False), "image_id"].tolist()
    path = write_report(study, tmp_path / "short.html", select=select)
    tree = parse(path.read_text(encoding="utf-8"))
    shown = [file_of(article) for article in articles(tree)]
    assert shown == (wrong if chosen is None else chosen)
    assert f"{len(shown)} of {len(predictions)} photographs" in tree.find("p", class_="overline")[0].text
    assert not tree.find(id="summary-title")
    # A share of those that were selected would be taken for the classifier's.
    assert "%" not in tree.find(class_="facts")[0].text
    flags = predictions["image_id"].isin(shown)
    again = write_report(study, tmp_path / "again.html", select=flags)
    assert sorted(file_of(a) for a in articles(parse(again.read_text(encoding="utf-8")))) == sorted(shown)


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (["b33.png"], "did you mean 'b3.png'"),
        ([True, False], "2 booleans for 7 photographs"),
        ("margin <", "neither an image_id nor a condition"),
        ("no_such > 2", "no_such"),
        ("margin < -1e9", "chooses none of the 7"),
        ([], "chooses none"),
    ],
)
def test_a_selection_that_cannot_be(study, tmp_path, select, message):
    with pytest.raises(SettingsError, match=message):
        write_report(study, tmp_path / "short.html", select=select)


# limits


def test_max_images_is_said_on_the_page(study, tmp_path):
    page = write_report(study, tmp_path / "short.html", max_images=2).read_text(encoding="utf-8")
    tree = parse(page)
    assert articles(tree)[0].attributes["data-state"] == "wrong"
    assert len(articles(tree)) == 2
    assert "Of 6, the first 2 in this order are shown, the rest is left out." in page


def test_no_image_at_all(study, tmp_path):
    tree = parse(write_report(study, tmp_path / "none.html", max_images=0).read_text(encoding="utf-8"))
    assert articles(tree) == []
    assert "hidden" not in tree.find(id="nothing")[0].attributes
    with pytest.raises(SettingsError, match="max_images"):
        write_report(study, tmp_path / "none.html", max_images=-1)


def test_only_masks_of_shown_images_are_kept_in_memory(study):
    from fidokit.figures.pictures import masks_of

    found = masks_of(study, {"b3.png"})
    assert {key[0] for key in found} == {"b3.png"}
    expected = study.masks(methods="counting", kinds="sdr").set_index("image_id")["mask"]["b3.png"]
    np.testing.assert_array_equal(found["b3.png", "counting", "sdr"]["mask"], expected)


# writing


def test_folders_are_made_and_a_page_is_replaced(study, tmp_path):
    path = tmp_path / "a" / "b" / "report.html"
    assert write_report(study, str(path)) == path
    path.write_text("old")
    write_report(study, path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert os.listdir(path.parent) == ["report.html"]  # noqa: PTH208


def test_a_failed_write_leaves_the_old_page(study, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"report\.html: No space left on device; choose another"):
        write_report(study, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]  # noqa: PTH208


@pytest.mark.parametrize("place", [".", "file/report.html"])
def test_places_that_cannot_be_written_to(study, tmp_path, place):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(study, tmp_path / place)


def test_file_names_that_are_not_utf_8(study, tmp_path, monkeypatch):
    table = study.predictions()
    table["path"] = table["path"].str.replace(".png", "\udcff.png")
    monkeypatch.setattr(study, "predictions", lambda: table)
    assert "\\udcff.png" in write_report(study, tmp_path / "page.html").read_text(encoding="utf-8")


# looks


def luminance(colour: str) -> float:
    share = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("text", ["ink", "muted", "accent", "right", "wrong"])
@pytest.mark.parametrize("ground", ["ground", "surface", "sunken"])
def test_contrast(tree, scheme, text, ground):
    (style,) = tree.find("style")
    colours = re.findall(r":root \{(.*?)\}", style.text, re.S)[scheme]
    values = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", colours))
    high, low = sorted((luminance(values[text]), luminance(values[ground])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_controls_have_labels_and_pictures_have_texts(tree):
    labelled = {label.attributes.get("for") for label in tree.find("label")}
    for element in [*tree.find("select"), *tree.find("input")]:
        inside = element.parent is not None and element.parent.name == "label"
        assert inside or element.attributes["id"] in labelled
    assert all(image.attributes["alt"] for image in tree.find("img"))
    assert all(frame.attributes["aria-label"] for frame in tree.find(role="img"))
    ids = [element.attributes["id"] for element in tree.find() if "id" in element.attributes]
    assert len(ids) == len(set(ids))


# regions and verdicts


def test_every_mask_has_its_verdict_and_regions_their_outline(tmp_path):
    made = make_study(tmp_path)
    before = write_report(made, tmp_path / "before.html").read_text(encoding="utf-8")
    assert 'id="outlines"' not in before
    table = made.regions("counting", progress=False)
    page = write_report(made, tmp_path / "after.html").read_text(encoding="utf-8")
    tree = parse(page)
    assert 'id="outlines"' in page
    masks = made.masks("counting").set_index(["image_id", "kind"])
    shown = 0
    for article in articles(tree):
        for row in table[table["image_id"] == file_of(article)].to_dict("records"):
            figure = figures(article, f"counting{row['kind'].upper()}")
            scores = masks.loc[(row["image_id"], row["kind"]), ["score_full", "score_kept", "score_dropped"]]
            said = [item.text for item in figure.find("ul", class_="verdicts")[0].find("li")]
            assert said == [f"Region {row['verdict']}"]
            verdict, _, because = verdict_words(*scores).partition(": ")
            assert figure.find("span", class_="says")[0].text == verdict.capitalize()
            assert figure.find("p", class_="because")[0].text.lower() == f"{because}.".lower()
            assert is_whole(row["area"])
            shown += len(figure.find("img", class_="outline"))
    # All of these regions are the whole picture, which is said and not outlined.
    assert shown == 0 < len(table)
    assert "converged" not in page.lower()


def test_a_region_that_is_a_part_of_the_picture_is_outlined(study, tmp_path, monkeypatch):
    region = np.zeros((16, 16), bool)
    region[4:9, 2:7] = True
    row = {"claim": "sufficient", "area": float(region.mean()), "region": region, "verdict": "enough by itself"}
    found = {("b3.png", "counting", "ssr"): [row]}
    monkeypatch.setattr(report_images, "regions_of", lambda _study, _ids: found)
    tree = parse(write_report(study, tmp_path / "page.html", select="b3.png").read_text(encoding="utf-8"))
    (line,) = tree.find("img", class_="outline")
    data = line.attributes["src"].removeprefix("data:image/png;base64,")
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    assert (drawn[..., 3] > 0).any()
    assert [item.text for item in tree.find("ul", class_="verdicts")[0].find("li")] == ["Region enough by itself"]
