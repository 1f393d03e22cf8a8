"""Several animals in one photograph: rows of their own through a study, and one photograph for all their masks."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import report_cases
import study_cases
from PIL import Image

import fidokit as fk
from fidokit.enhance.improve import _unit_notes
from fidokit.errors.find import bursts_of
from fidokit.exceptions import SettingsError
from fidokit.report.page import write_report

BOXES = {
    "a.png": [(0, 0.2, 0.3, 0.6), (0.6, 0.2, 0.3, 0.6)],
    "b.png": [(0.1, 0.1, 0.8, 0.8)],
    "gone.png": [(0, 0, 1, 1)],
}


def make_data(folder):
    """A photograph with a red and a green animal on grey, one with a blue animal, and one that is not there."""
    pixels = np.full((60, 120, 3), 60, np.uint8)
    pixels[12:48, :36], pixels[12:48, 72:108] = (200, 60, 60), (60, 200, 60)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(np.full((40, 40, 3), (60, 60, 200), np.uint8)).save(folder / "b.png")
    images = [
        {
            "file": file,
            "detections": [
                {"category": "1", "conf": 0.9 - 0.1 * k, "bbox": box, "classifications": [[str(k), 0.8]]}
                for k, box in enumerate(boxes)
            ],
        }
        for file, boxes in BOXES.items()
    ]
    content = {
        "info": {"format_version": "1.5"},
        "detection_categories": {"1": "animal"},
        "classification_categories": {"0": "red", "1": "blue"},
        "images": images,
    }
    path = folder / "detections.json"
    path.write_text(json.dumps(content))
    with pytest.warns(RuntimeWarning, match="1 of the 3 photographs looked for are not there"):
        return fk.LabelledImages.from_detections(path, labels={"a.png#0": "red", "a.png#1": "green", "b.png": "blue"})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    report_cases.register()
    folder = tmp_path_factory.mktemp("animals")
    data = make_data(folder)
    classifier = study_cases.make_classifier(use_boxes=True, box_padding=0.0)
    with pytest.warns(RuntimeWarning):
        return fk.run_study(classifier, data, ["left-half"], store=folder / "study", progress=False)


def test_each_animal_is_seen_alone(study):
    predictions = study.predictions().set_index("image_id")
    assert predictions.index.tolist() == ["a.png#0", "a.png#1", "b.png#0", "gone.png#0"]
    assert predictions["predicted"].dropna().tolist() == ["red", "green", "blue"]
    assert predictions["correct"].tolist()[:3] == [True] * 3
    failures = study.failures()
    assert failures["image_id"].tolist() == ["gone.png#0"]
    assert "does not exist" in failures["reason"].iloc[0]


def test_what_was_recorded_stays_beside_it(study):
    images = fk.open_study(study.path).images
    assert images["file"].tolist() == ["a.png", "a.png", "b.png", "gone.png"]
    assert images["detection"].tolist() == [0, 1, 0, 0]
    assert images["recorded_label"].tolist() == ["red", "blue", "red", "red"]
    assert images["detection_confidence"].tolist() == [0.9, 0.8, 0.9, 0.9]
    # Green is no name that the recorded classifier used, and the last row has no label.
    assert study.data.recorded()["correct"].tolist() == [True, pd.NA, False, pd.NA]


def test_the_animals_of_a_photograph_are_not_independent(study):
    (note,) = _unit_notes(study.data.table, None)
    assert "unit='file'" in note
    # Nor do they confirm each other in the two halves of the error clusters.
    ids = ["b.png#0", "a.png#1", "a.png#0"]
    bursts = bursts_of(study, ids, None)
    assert bursts is not None
    assert bursts[1] == bursts[2] != bursts[0]
    assert bursts_of(study, ids[:2], None) is None


def test_all_masks_on_the_one_photograph(study):
    mask = Image.fromarray(np.array([[1, 0], [1, 0]], np.float32)).resize((36, 36), Image.Resampling.BILINEAR)
    expected = Image.new("F", (120, 60))
    for left in (0, 72):
        expected.paste(mask, (left, 12))
    for image_id in ("a.png#0", "a.png#1"):
        laid = study.photograph_mask(image_id, "left-half", "attribution")
        assert laid.shape == (60, 120)
        assert np.allclose(laid, np.asarray(expected), atol=1e-5)
    alone = study.photograph_mask("b.png#0", "left-half", "attribution", (20, 20))
    assert alone.shape == (20, 20)
    assert alone[10, 4] == pytest.approx(1)
    assert alone[10, 15] == pytest.approx(0)
    with pytest.raises(SettingsError, match=r"no photograph 'c\.png'"):
        study.photograph_mask("c.png", "left-half", "attribution")
    with pytest.raises(SettingsError, match=r"'gone\.png#0' has no 'attribution' mask"):
        study.photograph_mask("gone.png#0", "left-half", "attribution")


def test_the_page_shows_each_animal_and_all_of_them(study, tmp_path):
    tree = report_cases.parse(write_report(study, tmp_path / "page.html").read_text(encoding="utf-8"))
    articles = {article.attributes["data-text"].split("\n")[2]: article for article in tree.find("article")}
    assert sorted(articles) == ["a.png#0", "a.png#1", "b.png#0"]
    together = {key: [f for f in a.find("figure") if "all 2" in f.text] for key, a in articles.items()}
    (figure,) = [figure for figures in together.values() for figure in figures]
    assert not together["b.png#0"]
    (picture,) = figure.find("img")
    assert not figure.find("span", class_="unseen")
    shown = np.asarray(_decoded(picture).convert("RGBA"))[..., 3] > 127
    rows, columns = shown.shape
    laid = study.photograph_mask("a.png#0", "left-half", "attribution", (rows, columns)) > 0.5
    assert (shown == laid).mean() > 0.98
    # In its own pictures an animal has its own mask alone, and is not darkened.
    for key, (left, right) in {"a.png#0": (0, 0.3), "a.png#1": (0.6, 0.9)}.items():
        own = next(f for f in articles[key].find("figure") if f.find("img") and "all 2" not in f.text)
        mask = np.asarray(_decoded(own.find("img")[0]).convert("RGBA"))[..., 3] > 127
        where = np.flatnonzero(mask.any(axis=0)) / mask.shape[1]
        assert left <= where.min() <= where.max() <= right
        assert own.find("span", class_="unseen")


def _decoded(element):
    return Image.open(io.BytesIO(base64.b64decode(element.attributes["src"].partition(",")[2])))
