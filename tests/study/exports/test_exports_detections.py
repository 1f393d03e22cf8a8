"""A detector's JSON with the study's findings: all that was in it stays, and it is read as before."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from study_cases import SIZE, make_classifier, register_counting
from test_exports_results import Clusters

import fidokit as fk
from fidokit.exceptions import SettingsError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

LEFT, RIGHT, CUT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 0.5, 1.0], [0.75, 0.5, 0.5, 0.75]
#: Several animals, one that is cut off, none, a failure, a video, a path of Windows, an unknown category.
RESULTS = {
    "info": {"format_version": "1.4", "detector": "md_v5a.0.0.pt", "own": {"a": 1}},
    "detection_categories": {"1": "animal", "2": "person"},
    "images": [
        {
            "file": "site 1\\Größe, 1.png",
            "detections": [
                {"category": "1", "conf": 0.926, "bbox": LEFT},
                {"category": "1", "conf": 0.8, "bbox": RIGHT, "further": [1, 2]},
                {"category": "1", "conf": 0.01, "bbox": LEFT},
            ],
        },
        {"file": "site 1/b.png", "detections": [{"category": "1", "conf": 0.5, "bbox": CUT}], "datetime": "x"},
        {"file": "c.png", "detections": [], "failure": None},
        {"file": "d.png", "failure": "Failure image access", "detections": None},
        {"file": "e.mp4", "frame_rate": 20, "frames_processed": [0], "detections": [], "x": {"y": 1}},
    ],
}


@pytest.fixture
def counting():
    register_counting("counting")


@pytest.fixture
def source(tmp_path):
    for i, name in enumerate(["site 1/Größe, 1.png", "site 1/b.png", "c.png"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(20, 120, (SIZE, 2 * SIZE, 3))
        pixels[:, :SIZE, 0] += 100
        pixels[:, SIZE:, 2] += 100
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    file = tmp_path / "photos" / "md.json"
    file.write_text(json.dumps(RESULTS), encoding="utf-8")
    return file


@pytest.fixture
def data(source):
    """The rows of the detections, as a table of one's own."""
    boxes = [(0, 0, 0.5, 1), (0.5, 0, 1, 1), (0.75, 0.5, 1, 1), None]
    table = pd.DataFrame(
        {
            "image_id": ["one", "two", "cut", "whole"],
            "path": ["site 1/Größe, 1.png", "site 1/Größe, 1.png", "site 1/b.png", "c.png"],
            "label": ["red", "red", None, "blue"],
        }
    )
    for k, name in enumerate(["box_x0", "box_y0", "box_x1", "box_y1"]):
        table[name] = [None if box is None else box[k] for box in boxes]
    table["annotated_width"] = table["annotated_height"] = [1, 1, 1, None]
    return fk.LabelledImages.from_table(table, root=source.parent)


@pytest.fixture
def study(data, tmp_path, counting):
    classifier = make_classifier(use_boxes=True, box_padding=0.0)
    return fk.run_study(classifier, data, ["counting"], store=tmp_path / "study", progress=False)


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def without_ours(document):
    """The file without what was added."""
    document = copy.deepcopy(document)
    document["info"] = {key: value for key, value in document["info"].items() if key in RESULTS["info"]}
    document.pop("classification_categories", None)
    for image in document["images"]:
        image.pop("fidokit", None)
        for detection in image.get("detections") or []:
            detection.pop("fidokit", None)
            detection.pop("classifications", None)
    return document


def test_all_that_was_there_is_there(study, source, tmp_path):
    made = read(study.to_detections(tmp_path / "out.json", source))
    assert without_ours(made) == RESULTS
    assert made["info"]["fidokit"]["methods"] == ["counting"]
    assert made["info"]["classifier"]


def test_each_animal_has_its_own(study, source, tmp_path):
    made = read(study.to_detections(tmp_path / "out.json", source, errors=Clusters(["one", "two"])))
    names, (first, second, _, _, _) = made["classification_categories"], made["images"]
    one, two, low = first["detections"]
    predictions = study.predictions().set_index("image_id")
    for image_id, detection in (("one", one), ("two", two), ("cut", second["detections"][0])):
        row = predictions.loc[image_id]
        assert detection["fidokit"]["image_id"] == image_id
        assert detection["fidokit"]["prediction"] == row["predicted"]
        assert detection["fidokit"]["score"] == pytest.approx(row["score"], abs=1e-5)
        (best, score), (runner_up, other) = detection["classifications"]
        assert [names[best], names[runner_up]] == [row["predicted"], row["runner_up"]]
        assert score == pytest.approx(row["score"], abs=1e-5)
        assert other == pytest.approx(row["score"] - row["margin"], abs=1e-5)
        assert score >= other
    assert [one["fidokit"]["state"], two["fidokit"]["state"]] == ["right", "wrong"]
    assert one["fidokit"]["clusters"] == [2, 4]
    assert one["fidokit"]["mask"]["kind"] == "ssr"
    assert {"fidokit", "classifications"} & set(low) == set()
    assert all(key.isdecimal() and name for key, name in names.items())


def test_what_is_about_the_whole_photograph_stands_with_it(study, source, tmp_path):
    made = read(study.to_detections(tmp_path / "out.json", source))
    (found,) = made["images"][2]["fidokit"]
    assert found["image_id"] == "whole"
    assert made["images"][2]["detections"] == []
    assert ["fidokit" in image for image in made["images"]] == [False, False, True, False, False]


def test_failures_say_so(source, data, tmp_path, counting):
    (source.parent / "site 1" / "b.png").write_bytes(b"broken")
    classifier = make_classifier(use_boxes=True)
    study = fk.run_study(classifier, data, ["counting"], store=tmp_path / "s", progress=False)
    (detection,) = read(study.to_detections(tmp_path / "out.json", source))["images"][1]["detections"]
    assert detection["fidokit"]["state"] == "failed"
    assert "Pillow" in detection["fidokit"]["note"]
    assert "classifications" not in detection


def test_classifications_that_are_there_stay_unless_it_is_asked(study, source, tmp_path):
    document = copy.deepcopy(RESULTS)
    document["classification_categories"] = {"0": "lynx", "7": "blue"}
    document["classification_category_descriptions"] = {"0": "felidae", "7": "x"}
    document["images"][0]["detections"][0]["classifications"] = [["0", 0.9]]
    source.write_text(json.dumps(document))
    made = read(study.to_detections(tmp_path / "kept.json", source))
    assert made["images"][0]["detections"][0]["classifications"] == [["0", 0.9]]
    assert made["images"][0]["detections"][1]["classifications"][0][0] == "7"
    assert set(made["classification_categories"]) == set(made["classification_category_descriptions"])
    assert made["classification_categories"]["0"] == "lynx"
    replaced = read(study.to_detections(tmp_path / "new.json", source, replace_classifications=True))
    assert replaced["images"][0]["detections"][0]["classifications"][0][0] in ("8", "9")


def test_written_again_it_says_nothing_twice(study, source, tmp_path):
    once = study.to_detections(tmp_path / "once.json", source)
    twice = study.to_detections(tmp_path / "twice.json", once)
    one, two = read(once), read(twice)
    one["info"]["fidokit"].pop("written")
    two["info"]["fidokit"].pop("written")
    assert one == two


def test_speciesnet(study, source, tmp_path):
    document = {
        "predictions": [
            {
                "filepath": str(source.parent / "site 1" / "b.png"),
                "classifications": {"classes": ["a;b;c;d;e;f;wolf"], "scores": [0.9]},
                "detections": [{"category": "1", "label": "animal", "conf": 0.5, "bbox": CUT}],
                "prediction": "a;b;c;d;e;f;wolf",
            }
        ]
    }
    source.write_text(json.dumps(document))
    with pytest.warns(RuntimeWarning, match=r"does not name 3 of the 4 photographs \(first: one\); they are left out"):
        made = read(study.to_detections(tmp_path / "out.json", source))
    (detection,) = made["predictions"][0]["detections"]
    assert detection.pop("fidokit")["image_id"] == "cut"
    made.pop("info")
    assert made == document


def test_boxes_that_no_detection_has(study, source, tmp_path):
    document = copy.deepcopy(RESULTS)
    document["images"][1]["detections"] = []
    source.write_text(json.dumps(document))
    with pytest.warns(RuntimeWarning, match=r"no detection where 1 of the boxes are \(first: cut\)"):
        made = read(study.to_detections(tmp_path / "out.json", source))
    assert made["images"][1]["fidokit"][0]["bbox"] == [0.75, 0.5, 0.25, 0.5]


def test_what_cannot_be_used(study, source, tmp_path):
    (tmp_path / "out.json").write_text("mine")
    with pytest.raises(SettingsError, match=r"out\.json is there already"):
        study.to_detections(tmp_path / "out.json", source)
    with pytest.raises(SettingsError, match="is there already"):
        study.to_detections(source, source)
    for text, message in (
        ("{}", "has neither a list 'images' nor 'predictions'"),
        ('{"images": [{"file": "z.png"}, 3, {"file": null}]}', "names none of the 4 photographs"),
        ('{"images": [', "no JSON, or cut off"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(SettingsError, match=message):
            study.to_detections(tmp_path / "new.json", tmp_path / "bad.json")
    assert not (tmp_path / "new.json").exists()
    assert (tmp_path / "out.json").read_text() == "mine"


@pytest.mark.skipif(not hasattr(fk.LabelledImages, "from_detections"), reason="there is no reader of detections yet")
def test_the_reader_gives_the_same_rows(source, tmp_path, counting):
    before = fk.LabelledImages.from_detections(source)
    classifier = make_classifier(use_boxes=True)
    study = fk.run_study(classifier, before, ["counting"], store=tmp_path / "study", progress=False)
    made = study.to_detections(tmp_path / "out.json", source)
    after = fk.LabelledImages.from_detections(made, images=source.parent)
    shared = [name for name in before.table.columns if not name.startswith("recorded_")]
    pd.testing.assert_frame_equal(after.table[shared], before.table[shared])
    found = [
        detection["fidokit"]["image_id"]
        for image in read(made)["images"]
        for detection in image.get("detections") or []
        if "fidokit" in detection
    ]
    assert found == before.table["image_id"].tolist()
    answers = after.table.set_index("image_id")["recorded_label"]
    predicted = study.predictions().set_index("image_id")["predicted"]
    assert answers.to_dict() == predicted.to_dict()
