"""The report's section of mask-guided classification, on a study whose names mean harm."""

from __future__ import annotations

import pytest
import torch
from enhance_cases import make_spotted, register_spots
from report_cases import HARM, parse
from study_cases import Colours, run

from fidokit._util.html import Html
from fidokit.data.images import LabelledImages
from fidokit.enhance import GuidedGrid, classify_with_masks
from fidokit.models.classifier import Classifier
from fidokit.report.improvement import MOST_ROWS, improvement_section
from fidokit.report.page import write_report

GRID = GuidedGrid(shares=(0.5,), paddings=((0.0, 0.3),), weights=(1.0,), gates=(1.0,))
NAMES = {"red": HARM, "green": "green", "blue": "blue"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("improved")
    data = make_spotted(folder / "spots")
    table = data.table.assign(
        label=[NAMES[label] for label in data.table["label"]], image_id=[f"<i>{i}</i>" for i in range(12)]
    )
    options = {"precision": "float32", "micro_batch": 8, "device": "cpu"}
    classifier = Classifier(Colours(), list(NAMES.values()), mean=(0, 0, 0), std=(1, 1, 1), size=16, **options)
    return run(classifier, LabelledImages.from_table(table), folder / "run", [register_spots()])


@pytest.fixture(scope="module")
def improvement(study):
    return classify_with_masks(study, grid=GRID, folds=4, progress=False)


@pytest.fixture(scope="module")
def section(improvement):
    return parse(improvement_section(improvement))


def test_the_page_has_the_section_only_if_it_is_given(study, improvement, tmp_path):
    page = write_report(study, tmp_path / "with.html", improvement=improvement).read_text(encoding="utf-8")
    parse(page)
    assert "Classified again with masks" in page
    assert HARM not in page
    page = write_report(study, tmp_path / "without.html").read_text(encoding="utf-8")
    assert "Classified again with masks" not in page


def test_verdict_summary_and_notes_are_those_of_the_tables(section, improvement):
    assert section.find("strong")[0].text == improvement.verdict
    table = section.find("table")[0]
    rows = table.find("tbody")[0].find("tr")
    assert [row.find("th")[0].text for row in rows] == list(improvement.summary["method"])
    masks = rows[1].find("td")
    assert masks[0].text.startswith(f"{improvement.summary['accuracy'].iloc[1]:.2f}")
    turned = improvement.summary[["turned_right", "turned_wrong"]].iloc[1]
    assert masks[3].text == f"{turned.iloc[0]} / {turned.iloc[1]}"
    listed = [item.text for item in section.find("li")]
    assert listed[0].startswith("For use, chosen on all photographs: crop")
    assert listed[1:] == improvement.notes


def test_gates_classes_and_photographs_that_turned(section, improvement):
    gates, classes, turned = (details.find("tbody")[0].find("tr") for details in section.find("details"))
    assert len(gates) == len(improvement.gates)
    assert [row.find("td")[-1].text for row in gates][-1] == "100 %"
    changed = improvement.classes[improvement.classes["turned_right"] + improvement.classes["turned_wrong"] > 0]
    assert {row.find("th")[0].text for row in classes} == set(changed["class"])
    assert {row.find("th")[0].text for row in turned} == set(
        improvement.images["image_id"][improvement.images["turned"].notna()]
    )


def test_names_are_escaped(improvement):
    for text in (improvement_section(improvement), improvement._repr_html_()):
        assert HARM not in text
        assert "<i>0" not in text
    assert isinstance(improvement_section(improvement), Html)


def test_a_long_table_is_cut_and_says_so(improvement):
    from dataclasses import replace

    import pandas as pd

    row = improvement.classes.iloc[[0]].assign(turned_right=1)
    many = replace(improvement, classes=pd.concat([row] * (MOST_ROWS + 5), ignore_index=True))
    section = parse(improvement_section(many))
    titles = [summary.text for summary in section.find("summary")]
    assert f"Classes whose answers turned (the first {MOST_ROWS} of {MOST_ROWS + 5})" in titles


def test_nothing_turned_has_no_such_tables(study, improvement):
    from fidokit.enhance import GuidedSettings

    made = classify_with_masks(study, GuidedSettings(method="spots", weight=0.0), progress=False, controls=())
    section = parse(improvement_section(made))
    assert len(section.find("details")) == 1
    assert "For use: the classifier alone." in [item.text for item in section.find("li")]
    assert "no answer changed" in made.verdict
