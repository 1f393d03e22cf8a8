"""Detections of MegaDetector, AddaxAI and SpeciesNet, from small files in their published layouts."""

import contextlib
import json
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fidokit as fk
from fidokit.data.detect import read_dataset
from fidokit.data.geometry import Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")

CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle"}
CLASSES = {"0": "fox", "1": "elk", "2": "wolf"}
FOX = "e588253d;mammalia;carnivora;canidae;vulpes;vulpes;red fox"
CANID = "3184697f;mammalia;carnivora;canidae;;;canidae family"
LYNX = "a0000000;mammalia;carnivora;felidae;lynx;lynx;"
BLANK = "f1856211;;;;;;blank"


def found(category="1", conf=0.9, bbox=(0.25, 0.25, 0.5, 0.5), **further):
    return {"category": category, "conf": conf, "bbox": list(bbox)} | further


def photograph(file, *detections, **further):
    return {"file": file, "detections": list(detections)} | further


def write(tmp_path, images, *, info=None, name="detections.json", photographs=True, **further):
    """A file in MegaDetector's format, and the photographs that it names by usable paths."""
    content = {"info": {"format_version": "1.5", **(info or {})}, "detection_categories": CATEGORIES, "images": images}
    path = tmp_path / name
    path.write_text(json.dumps(content | further))
    if photographs:
        save(tmp_path, *[image["file"] for image in images if isinstance(image.get("file"), str)])
    return path


def save(folder, *files, size=(80, 40)):
    for file in files:
        path = folder / file.replace("\\", "/").lstrip("/")
        if ":" not in file and path.suffix.lower() in (".jpg", ".png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, "olive").save(path)


def predictions(tmp_path, *records, name="predictions.json", **further):
    path = tmp_path / name
    path.write_text(json.dumps({"predictions": list(records)} | further))
    save(tmp_path, *[record["filepath"] for record in records if isinstance(record.get("filepath"), str)])
    return path


def read(path, **options):
    return LabelledImages.from_detections(path, **options)


def ids(data):
    return data.table["image_id"].tolist()


class TestMegaDetector:
    @NO_WARNING
    @pytest.mark.parametrize("version", ["1.3", "1.4", "1.5", "1.6", 1.4])
    def test_one_row_an_animal(self, tmp_path, version):
        fox = found(conf=0.926, bbox=(0, 0.25, 0.25, 0.5), classifications=[["0", 0.8], ["2", 0.15]])
        images = [
            photograph(
                "site/a.jpg", fox, found(conf=0.61, bbox=(0.5, 0.5, 0.25, 0.25)), datetime="2020-05-01 10:00:00"
            ),
            photograph("site/b.jpg", found(conf=0.4), datetime="2020-05-01 10:00:01", latitude=51.5, failure=None),
        ]
        path = write(
            tmp_path,
            images,
            info={"format_version": version, "detector": "md_v5a.0.0.pt"},
            classification_categories=CLASSES,
            classification_category_descriptions={key: f"animalia;{name}" for key, name in CLASSES.items()},
        )
        data = read(path)
        assert ids(data) == ["site/a.jpg#0", "site/a.jpg#1", "site/b.jpg#0"]
        assert data.table["path"].tolist() == [str(tmp_path / "site" / name) for name in ("a.jpg", "a.jpg", "b.jpg")]
        assert data.table["file"].tolist() == ["site/a.jpg", "site/a.jpg", "site/b.jpg"]
        assert data.table["label"].tolist() == [None, None, None]
        assert data.table["detection"].tolist() == [0, 1, 0]
        assert data.table["detection_category"].tolist() == ["animal"] * 3
        assert data.table["detection_confidence"].tolist() == [0.926, 0.61, 0.4]
        assert data.table["n_boxes"].tolist() == [2, 2, 1]
        assert data.table["recorded_label"].tolist() == ["fox", None, None]
        assert data.table["recorded_score"].iloc[0] == 0.8
        assert math.isnan(data.table["recorded_score"].iloc[1])
        assert json.loads(data.table["recorded_classifications"].iloc[0]) == [["fox", 0.8], ["wolf", 0.15]]
        assert data.table["recorded_taxon"].tolist() == ["animalia;fox", None, None]
        assert data.table["datetime"].tolist() == ["2020-05-01 10:00:00"] * 2 + ["2020-05-01 10:00:01"]
        assert data.table["latitude"].tolist()[2] == 51.5
        assert [data.box(i) for i in range(3)] == [(0, 10, 20, 30), (40, 20, 60, 30), (20, 10, 60, 30)]
        assert data.skipped == 0
        data.metadata().to_parquet(tmp_path / "m.parquet")

    def test_sequences_and_sites(self, tmp_path):
        images = [
            photograph("a.jpg", found(), seq_id="s1", location=12, frame_num=0),
            photograph("b.jpg", found(), seq_id="s1", location=12, frame_num=1),
        ]
        data = read(write(tmp_path, images))
        assert data.table["sequence"].tolist() == ["s1", "s1"]
        assert data.table["location"].tolist() == ["12", "12"]
        assert data.table["frame_num"].tolist() == [0, 1]

    def test_photographs_without_an_animal(self, tmp_path):
        images = [
            photograph("a.jpg", found()),
            photograph("none.jpg"),
            photograph("faint.jpg", found(conf=0.1)),
            photograph("someone.jpg", found("2")),
            {"file": "broken.jpg", "detections": None, "failure": "Failure image access"},
            {"file": "worse.jpg", "failure": "Failure inference"},
            photograph("film.mp4", found(frame_number=3), frame_rate=20, frames_processed=[0, 3]),
        ]
        path = write(tmp_path, images)
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(path)
        assert ids(data) == ["a.jpg#0"]
        assert data.skipped == 6
        (message,) = [str(warning.message) for warning in warnings]
        for part in (
            "1 files are no photographs, such as videos, and were left out (1 .mp4)",
            "2 photographs could not be read by the detector and were left out",
            "Failure image access",
            "1 detections are of the category person and were left out",
            "3 photographs have no detection to explain and were left out",
            "detections below 0.2, the typical threshold of MegaDetector 5, since the file names none, count as none",
        ):
            assert part in message
        with pytest.warns(RuntimeWarning):
            data = read(path, empty=True)
        assert ids(data) == ["a.jpg#0", "none.jpg", "faint.jpg", "someone.jpg"]
        assert data.table["n_boxes"].tolist() == [1, 0, 0, 0]
        assert data.table["detection"].tolist() == [0, pd.NA, pd.NA, pd.NA]
        assert data.boxed.tolist() == [True, False, False, False]
        assert [data.box(i) for i in range(1, 4)] == [None] * 3

    @pytest.mark.parametrize(
        ("info", "threshold", "kept"),
        [
            ({"detector_metadata": {"typical_detection_threshold": 0.5}}, None, [0.85, 0.5]),
            ({"detector_metadata": {"typical_detection_threshold": "much"}}, None, [0.85, 0.5, 0.3]),
            ({"detector": "md_v4.1.0.pb"}, None, [0.85]),
            ({"detector": "megadetector_v3"}, None, [0.85]),
            ({"detector": "md_v1000.0.0-larch.pt"}, None, [0.85, 0.5, 0.3]),
            ({"detector": None}, None, [0.85, 0.5, 0.3]),
            ({}, 0.0, [0.85, 0.5, 0.3, 0.05]),
            ({"detector_metadata": {"typical_detection_threshold": 0.5}}, 0.3, [0.85, 0.5, 0.3]),
        ],
    )
    def test_threshold(self, tmp_path, info, threshold, kept):
        boxes = [found(conf=conf, bbox=(0.1 * k, 0, 0.5, 0.5)) for k, conf in enumerate((0.85, 0.5, 0.3, 0.05))]
        path = write(tmp_path, [photograph("a.jpg", *boxes)], info=info)
        with pytest.warns(RuntimeWarning, match="threshold") if threshold is None else contextlib.nullcontext():
            data = read(path, threshold=threshold)
        assert data.table["detection_confidence"].tolist() == kept
        # The identity of an animal does not depend on what else is taken.
        assert ids(data) == [f"a.jpg#{k}" for k in range(len(kept))]

    def test_categories(self, tmp_path):
        categories = CATEGORIES | {"7": "bird", "8": "Human"}
        images = [
            photograph("a.jpg", found("1"), found("2"), found("3"), found("7"), found("8"), found("99"), found(None)),
        ]
        path = write(tmp_path, images, detection_categories=categories)
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(path)
        assert data.table["detection_category"].tolist() == ["animal", "bird"]
        # A detector that tells species has said so.
        assert data.table["recorded_label"].tolist() == [None, "bird"]
        message = str(warnings[0].message)
        assert "2 detections have a category that the file does not name, and count as none" in message
        assert "1 detections are of the category Human" in message
        with pytest.warns(RuntimeWarning):
            data = read(path, categories=["Person", "bird"])
        assert ids(data) == ["a.jpg#1", "a.jpg#3"]
        with pytest.raises(SettingsError, match=r"no detection of the category 'fish', only of .*animal"):
            read(path, categories="fish")
        with pytest.raises(SettingsError, match="categories must be names"):
            read(path, categories=[])

    def test_boxes(self, tmp_path):
        boxes = [
            (-0.005, 0, 0.5, 0.5),
            (0.7, 0.2, 0.4, 0.4),
            (1.2, 0.2, 0.3, 0.3),
            (-0.4, 0.2, 0.3, 0.3),
            (0.1, 0.1, 0, 0.2),
            (0.1, 0.1, float("nan"), 0.2),
            (0.1, 0.1, 0.2),
            ("0.1", 0.1, 0.2, 0.2),
            (0.1, 0.1, 0.2, 0.2),
        ]
        path = write(tmp_path, [photograph("a.jpg", *[found(bbox=box) for box in boxes], {"category": "1", "conf": 1})])
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(path)
        assert ids(data) == ["a.jpg#0", "a.jpg#1", "a.jpg#8"]
        corners = data.table[["box_x0", "box_y0", "box_x1", "box_y1"]].to_numpy()
        assert np.allclose(corners, [[0, 0, 0.495, 0.5], [0.7, 0.2, 1, 0.6], [0.1, 0.1, 0.3, 0.3]])
        message = str(warnings[0].message)
        for part in (
            "4 boxes are not four numbers and were left out",
            "1 boxes have no area and were left out",
            "2 boxes lie outside the picture and were left out",
            "1 boxes reach beyond the picture and were cut off at its edge",
        ):
            assert part in message

    def test_boxes_in_pixels_are_refused(self, tmp_path):
        path = write(tmp_path, [photograph("a.jpg", found(bbox=(102.4, 88.1, 540.7, 470.2)))])
        with pytest.raises(SettingsError, match=r"a\.jpg#0: the box \[102.4, .* is not relative"):
            read(path)

    def test_scores_beyond_their_range(self, tmp_path):
        images = [
            photograph(
                "a.jpg",
                found(conf=1.3),
                found(conf=-0.2),
                found(conf=float("nan")),
                found(conf="high"),
                found(conf=True),
                found(conf=97.3),
                found(conf=1.00001, classifications=[["0", 1.7], ["1", 0.2], ["5", 0.1], "x"]),
            )
        ]
        path = write(tmp_path, images, classification_categories=CLASSES)
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(path)
        assert ids(data) == ["a.jpg#6"]
        assert data.table["detection_confidence"].tolist() == [1.0]
        assert json.loads(data.table["recorded_classifications"].iloc[0]) == [["elk", 0.2], ["fox", None]]
        message = str(warnings[0].message)
        assert "6 detections have a confidence that is no number from 0 to 1 and were left out" in message
        assert "1 classifications have a score that is no number from 0 to 1" in message
        assert "2 classifications name a class that the file does not know" in message

    def test_duplicates(self, tmp_path):
        images = [
            photograph("a.jpg", found(), found(), found(conf=0.7), found(bbox=(0, 0, 0.2, 0.2))),
            photograph("./a.jpg", found(bbox=(0.5, 0.5, 0.2, 0.2))),
        ]
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(write(tmp_path, images))
        assert ids(data) == ["a.jpg#0", "a.jpg#3"]
        message = str(warnings[0].message)
        assert "2 detections have the box and category of one before them" in message
        assert "1 photographs are listed again" in message

    def test_newer_versions_are_told(self, tmp_path):
        path = write(tmp_path, [photograph("a.jpg", found())], info={"format_version": "1.9"})
        with pytest.warns(RuntimeWarning, match=r"the format 1.9 is newer than 1.6"):
            read(path)

    @pytest.mark.parametrize(
        ("further", "message"),
        [
            ({"images": None}, "has no list 'images'"),
            ({"images": []}, "lists no photographs"),
            ({"images": ["a.jpg"]}, r"images\[0\]: 'a.jpg' is no JSON object"),
            ({"images": [{"detections": []}]}, "lists no photographs"),
            ({"images": [{"file": "a.jpg", "detections": {"1": 2}}]}, "detections are .* must be a list"),
            ({"images": [{"file": "a.jpg", "detections": [3]}]}, "detections are .* must be a list"),
            ({"images": [{"file": "../a.jpg", "detections": [found()]}]}, "leads out of the dataset"),
            ({"images": [{"file": "s/..", "detections": [found()]}]}, "none of its 1 photographs can be used"),
            ({"images": [{"file": "a.jpg", "detections": None}]}, "none of its 1 photographs can be used"),
            ({"images": [{"file": "a.jpg", "detections": []}]}, "none of its 1 photographs has anything to explain"),
            ({"detection_categories": ["animal"]}, "detection_categories is .* must be a JSON object"),
        ],
    )
    def test_files_that_cannot_be_used(self, tmp_path, further, message):
        save(tmp_path, "a.jpg")
        path = write(tmp_path, **({"images": [photograph("a.jpg", found())]} | further), photographs=False)
        with pytest.raises(SettingsError, match=message):
            read(path)

    def test_other_json(self, tmp_path):
        path = tmp_path / "x.json"
        for content, message in (
            ({"shapes": [], "imagePath": "a.jpg"}, "is no result of a detector: it has shapes, imagePath"),
            ({"images": [], "annotations": [], "categories": []}, "from_coco"),
            ({}, "it has nothing"),
            ([], "holds a JSON list"),
        ):
            path.write_text(json.dumps(content))
            with pytest.raises(SettingsError, match=message):
                read(path)
        path.write_text('{"images": [')
        with pytest.raises(SettingsError, match=r"x.json, line 1.* cut off"):
            read(path)
        with pytest.raises(SettingsError, match="cannot be read"):
            read(tmp_path / "none.json")
        path.write_text(json.dumps({"images": [], "detection_categories": {}}))
        with pytest.raises(SettingsError, match="from_detections"):
            LabelledImages.from_coco(path)
        with pytest.raises(SettingsError, match="threshold"):
            read(path, threshold=20)


class TestPlaces:
    @NO_WARNING
    def test_windows_paths(self, tmp_path):
        data = read(write(tmp_path, [photograph("site 1\\cam\\IMG_1.JPG", found())]))
        assert ids(data) == ["site 1/cam/IMG_1.JPG#0"]
        assert data.table["file"].tolist() == ["site 1\\cam\\IMG_1.JPG"]
        assert data.load(0, Preprocessing(size=(16, 16), use_boxes=True))[0].shape == (3, 16, 16)

    def test_paths_of_another_machine(self, tmp_path):
        photographs = tmp_path / "photographs"
        save(photographs, "site1/a.jpg", "site2/b.jpg", "site2/c.jpg")
        files = ["D:\\traps\\2020\\site1\\a.jpg", "D:\\traps\\2020\\site2\\b.jpg", "//nas/traps/site2/c.jpg"]
        path = write(tmp_path, [photograph(file, found()) for file in files], photographs=False)
        with pytest.warns(RuntimeWarning, match="3 paths are absolute; what comes after 'D:/traps/2020/', '//nas/"):
            data = read(path, images=photographs)
        assert ids(data) == ["site1/a.jpg#0", "site2/b.jpg#0", "site2/c.jpg#0"]
        assert data.table["file"].tolist() == files
        assert [data.open(i).size for i in range(3)] == [(80, 40)] * 3

    def test_absolute_paths_that_are_right(self, tmp_path):
        photographs = tmp_path / "photographs"
        save(photographs, "s/a.jpg", "t/b.jpg")
        files = [str(photographs / "s" / "a.jpg"), str(photographs / "t" / "b.jpg")]
        path = write(tmp_path, [photograph(file, found()) for file in files], photographs=False)
        with pytest.warns(RuntimeWarning, match="2 paths are absolute, and are taken as they stand"):
            data = read(path)
        assert ids(data) == ["s/a.jpg#0", "t/b.jpg#0"]
        assert data.table["path"].tolist() == files
        assert data.root == photographs

    def test_photographs_that_are_not_there(self, tmp_path):
        images = [photograph(f"{name}.jpg", found()) for name in "abc"]
        path = write(tmp_path, images, photographs=False)
        with pytest.raises(SettingsError, match=r"no photograph .*a\.jpg, nor any other of the 3 .* as `images`"):
            read(path)
        save(tmp_path, "b.jpg")
        with pytest.warns(RuntimeWarning, match="2 of the 3 photographs looked for are not there, and become failures"):
            data = read(path)
        assert len(data) == 3
        assert data.box(1) == (20, 10, 60, 30)
        with pytest.warns(RuntimeWarning, match="boxes are left out"):
            assert data.box(0) is None


class TestAddaxAI:
    """After classification, AddaxAI writes classes into the detections' categories, and keeps what was there."""

    def path(self, tmp_path, *images):
        return write(
            tmp_path,
            list(images),
            info={"detector": "md_v5a.0.0.pt", "addaxai_metadata": {"version": "6.12", "custom_model": False}},
            name="image_recognition_file.json",
            detection_categories=CATEGORIES | {"1": "unidentified animal", "4": "fox", "5": "elk"},
            classification_categories={"1": "fox", "2": "elk"},
            forbidden_classes=["wolf"],
        )

    @NO_WARNING
    def test_classes_in_place_of_categories(self, tmp_path):
        classified = found("4", 0.71, prev_conf=0.93, prev_category="1", classifications=[["1", 0.71], ["2", 0.2]])
        unsure = found("1", 0.88, bbox=(0, 0, 0.2, 0.2), classifications=[["2", 0.3]])
        data = read(self.path(tmp_path, photograph("a.jpg", classified, unsure)))
        assert data.table["detection_category"].tolist() == ["animal", "animal"]
        assert data.table["detection_confidence"].tolist() == [0.93, 0.88]
        assert data.table["recorded_label"].tolist() == ["fox", "elk"]
        assert data.table["recorded_score"].tolist() == [0.71, 0.3]
        assert data.table["label"].tolist() == [None, None]

    def test_what_people_verified_is_a_label(self, tmp_path):
        images = [
            photograph(
                "a.jpg", found("5", 1.0, classifications=[["1", 0.6]]), found("1", 1.0, (0, 0, 1, 1)),
                manually_checked=True,
            ),
            photograph("b.jpg", found("4", 0.7, prev_conf=0.9, prev_category="1"), manually_checked=False),
            photograph("c.jpg", manually_checked=True),
        ]  # fmt: skip
        path = self.path(tmp_path, *images)
        with pytest.warns(RuntimeWarning, match="2 labels are those that people gave in the file"):
            data = read(path, empty=True)
        assert ids(data) == ["a.jpg#0", "a.jpg#1", "b.jpg#0", "c.jpg"]
        assert data.table["label"].tolist() == ["elk", None, None, "blank"]
        assert data.table["recorded_label"].tolist() == ["fox", None, "fox", None]
        assert data.table["manually_checked"].tolist() == [True, True, False, True]
        assert data.recorded()["correct"].tolist() == [pd.NA, pd.NA, pd.NA, pd.NA]

    @NO_WARNING
    def test_a_model_of_ones_own(self, tmp_path):
        info = {"ecoassist_metadata": {"custom_model": True, "custom_model_info": {"label_map": {"1": "fox"}}}}
        path = write(tmp_path, [photograph("a.jpg", found("1", 0.8))], info=info, detection_categories={"1": "fox"})
        data = read(path)
        assert data.table[["detection_category", "recorded_label", "recorded_score"]].values.tolist() == [
            ["fox", "fox", 0.8]
        ]


class TestSpeciesNet:
    def record(self, file, *detections, **further):
        return {"filepath": file, "detections": list(detections), "model_version": "4.0.1a"} | further

    def detection(self, category="1", conf=0.9, **further):
        label = {"0": "whole_image_classification", "1": "animal", "2": "human", "3": "vehicle"}[category]
        return found(category, conf, label=label) | further

    def test_one_answer_a_photograph(self, tmp_path):
        """Version 4: the classifier was shown the box of the highest confidence."""
        records = [
            self.record(
                "a.jpg",
                self.detection(conf=0.6, bbox=[0, 0, 0.5, 0.5]),
                self.detection(conf=0.95),
                classifications={"classes": [FOX, CANID], "scores": [0.55, 0.3]},
                prediction=CANID,
                prediction_score=0.85,
                prediction_source="classifier+rollup_to_family",
                country="GBR",
            ),
            self.record("b.jpg", prediction=BLANK, prediction_score=0.99, prediction_source="classifier"),
            {"filepath": "c.jpg", "failures": ["DETECTOR"], "model_version": "4.0.1a"},
            self.record("d.jpg", self.detection("2")),
        ]
        path = predictions(tmp_path, *records)
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(path, empty=True)
        assert "could not be read by the detector and were left out (first" in str(warnings[0].message)
        assert "DETECTOR" in str(warnings[0].message)
        assert ids(data) == ["a.jpg#0", "a.jpg#1", "b.jpg", "d.jpg"]
        assert data.table["recorded_label"].tolist() == [None, "canidae family", "blank", None]
        assert data.table["recorded_score"].tolist()[1:3] == [0.85, 0.99]
        assert data.table["recorded_taxon"].tolist() == [None, CANID, BLANK, None]
        assert data.table["recorded_source"].iloc[1] == "classifier+rollup_to_family"
        assert json.loads(data.table["recorded_classifications"].iloc[1]) == [
            ["canidae family", 0.85],
            ["red fox", 0.55],
        ]
        assert data.table["country"].tolist() == ["GBR", "GBR", None, None]
        assert data.table["model_version"].tolist() == ["4.0.1a"] * 4

    @NO_WARNING
    def test_a_classifier_of_whole_images_answers_for_all(self, tmp_path):
        record = self.record(
            "a.jpg", self.detection(), self.detection(conf=0.5, bbox=[0, 0, 0.1, 0.1]), model_version="4.0.1b",
            prediction=FOX, prediction_score=0.7, prediction_source="classifier",
        )  # fmt: skip
        assert read(predictions(tmp_path, record)).table["recorded_label"].tolist() == ["red fox"] * 2
        whole = self.detection("0", 1.0, processed_classification={"class": LYNX, "score": 0.6, "source": "classifier"})
        path = predictions(tmp_path, self.record("a.jpg", whole, self.detection()), info={"format_version": "20261015"})
        data = read(path)
        assert ids(data) == ["a.jpg#1"]
        assert data.table["recorded_label"].tolist() == ["lynx lynx"]

    @NO_WARNING
    def test_one_answer_a_detection(self, tmp_path):
        """Version 5."""
        raw = {"classes": [FOX, LYNX], "scores": [0.5, 0.4]}
        record = self.record(
            ["C:", "traps", "a.jpg"][-1],
            self.detection(
                raw_classifications=raw, processed_classification={"class": FOX, "score": 0.5, "source": "classifier"}
            ),
            self.detection(conf=0.8, bbox=[0, 0, 0.3, 0.3], raw_classifications=raw),
            self.detection(conf=0.3, bbox=[0, 0, 0.2, 0.2]),
        )
        data = read(predictions(tmp_path, record, info={"format_version": "20261015"}))
        assert data.table["recorded_label"].tolist() == ["red fox", "red fox", None]
        assert data.table["recorded_source"].tolist() == ["classifier", None, None]
        assert json.loads(data.table["recorded_classifications"].iloc[0]) == [["red fox", 0.5], ["lynx lynx", 0.4]]

    def test_parts_that_failed_beside_the_detector(self, tmp_path):
        record = self.record("a.jpg", self.detection(), failures=["GEOLOCATION", "CLASSIFIER"])
        other = self.record("b.jpg", failures=["CLASSIFIER"])
        with pytest.warns(RuntimeWarning, match="1 photographs have no detection to explain"):
            data = read(predictions(tmp_path, record, other))
        assert ids(data) == ["a.jpg#0"]
        assert "recorded_label" not in data.table.columns

    def test_odd_records(self, tmp_path):
        records = [
            self.record("a.jpg", self.detection(), classifications={"classes": [FOX], "scores": [0.5, 0.1]}),
            self.record(
                "b.jpg", self.detection(), classifications={"classes": [FOX], "scores": [7]}, prediction=FOX,
                prediction_score=-3,
            ),
            {"detections": []},
        ]  # fmt: skip
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(predictions(tmp_path, *records))
        assert data.table["recorded_label"].tolist() == [None, "red fox"]
        assert data.table["recorded_score"].isna().all()
        message = str(warnings[0].message)
        assert "1 photographs have no filepath and were left out" in message
        assert "1 lists of classes are not as long as those of their scores" in message
        assert "2 classifications have a score that is no number from 0 to 1" in message


class TestLabels:
    @pytest.fixture
    def path(self, tmp_path):
        two = [found(bbox=(0, 0, 0.3, 0.3), classifications=[["0", 0.9]]), found(bbox=(0.5, 0.5, 0.3, 0.3))]
        images = [
            photograph("s/a.jpg", *two),
            photograph("s\\b.jpg", found(classifications=[["1", 0.8]])),
            photograph("s/none.jpg"),
        ]
        return write(tmp_path, images, classification_categories=CLASSES)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_of_photographs_and_of_animals(self, path):
        for labels in (
            {"s/a.jpg": "fox", "s/b.jpg": "elk"},
            {"s\\a.jpg": "fox", "s\\b.jpg": "elk"},
            {str(path.parent / "s" / "a.jpg"): "fox", "s/b.jpg": "elk"},
            pd.Series(["fox", "elk"], index=["s/a.jpg", "s/b.jpg"]),
            pd.DataFrame({"path": ["s/a.jpg", "s/b.jpg"], "label": ["fox", "elk"]}),
            pd.DataFrame({"file": ["s/a.jpg", "s\\b.jpg"], "Species": ["fox", "elk"]}),
        ):
            assert read(path, labels=labels).table["label"].tolist() == ["fox", "fox", "elk"]
        for labels in (
            {"s/a.jpg": "fox", "s/a.jpg#1": "wolf"},
            pd.DataFrame({"image_id": ["s/a.jpg#0", "s/a.jpg#1"], "label": ["fox", "wolf"]}),
            pd.DataFrame({"path": ["s/a.jpg"] * 2, "detection": [0, 1], "label": ["fox", "wolf"]}),
        ):
            assert read(path, labels=labels).table["label"].tolist() == ["fox", "wolf", None]

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_of_a_timelapse_csv(self, path):
        csv = path.parent / "TimelapseData.csv"
        csv.write_text("File,RelativePath,DateTime,DeleteFlag,Species\na.jpg,s,,false,fox\nb.jpg,s,,false,elk\n")
        assert read(path, labels=csv).table["label"].tolist() == ["fox", "fox", "elk"]
        assert read(path, labels=str(csv)).table["label"].tolist() == ["fox", "fox", "elk"]
        csv.write_text("image_id,label\ns/a.jpg#1,wolf\n")
        assert read(path, labels=csv).table["label"].tolist() == [None, "wolf", None]

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_of_a_column(self, path):
        data = read(path, labels="recorded_label")
        assert data.table["label"].tolist() == ["fox", None, "elk"]
        assert data.classes == ["elk", "fox"]

    def test_what_is_told(self, path):
        with pytest.warns(RuntimeWarning) as warnings:
            data = read(
                path,
                labels={"s/a.jpg": "fox", "s/none.jpg": "fox", "t/z.jpg": "x", "s/b.jpg#4": "elk", "s/b.jpg": math.nan},
            )
        assert data.table["label"].tolist() == ["fox", "fox", None]
        message = str(warnings[0].message)
        for part in (
            "1 photographs with several animals have one label, which each of them has",
            "1 labelled photographs have no detection to explain (empty=True keeps them)",
            "1 labels belong to no photograph of the file and were left out (first: labels, t/z.jpg)",
            "1 labels belong to detections that have no row",
        ):
            assert part in message
        table = pd.DataFrame({"path": ["s/a.jpg", "s/a.jpg"], "label": ["fox", "elk"]})
        with pytest.warns(RuntimeWarning, match="1 photographs have several labels, and so none"):
            assert read(path, labels=table).table["label"].tolist() == [None] * 3

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ({"x/a.jpg": "fox"}, "none of 1 belongs to a photograph of .* such as 's/a.jpg'; they name 'x/a.jpg'"),
            ("species", "'species' is neither a file nor a column of the detections; there are .*recorded_label"),
            (["fox"], "labels must be a mapping"),
            (pd.DataFrame({"path": ["s/a.jpg"]}), "no column label among path"),
            (pd.DataFrame({"label": ["fox"]}), "no column path or image_id among label"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_labels_that_cannot_be_used(self, path, labels, message):
        with pytest.raises(SettingsError, match=message):
            read(path, labels=labels)


class TestRecorded:
    def test_a_run_is_audited_without_its_model(self, tmp_path):
        images = [
            photograph(f"{label}{k}.jpg", found(classifications=[[answer, 0.9], ["2", 0.05]]))
            for k, (label, answer) in enumerate([("fox", "0"), ("fox", "1"), ("elk", "1"), ("Wolf", "0"), ("yak", "0")])
        ]
        path = write(tmp_path, images, classification_categories=CLASSES)
        labels = {image["file"]: image["file"].rstrip("0123456789.jpg") for image in images}
        audited = read(path, labels=labels).recorded()
        assert audited.columns.tolist() == ["image_id", "path", "label", "predicted", "correct", "score"]
        assert audited["predicted"].tolist() == ["fox", "elk", "elk", "fox", "fox"]
        assert audited["label"].tolist()[3] == "wolf"
        assert audited["correct"].tolist() == [True, False, True, False, pd.NA]

    def test_without_answers(self, tmp_path):
        data = read(write(tmp_path, [photograph("a.jpg", found())]))
        with pytest.raises(SettingsError, match="no classifications are recorded"):
            data.recorded()


class TestUse:
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_what_a_file_holds_decides_its_reader(self, tmp_path):
        path = write(tmp_path, [photograph("a.jpg", found())])
        assert ids(read_dataset(path)) == ["a.jpg#0"]
        path.write_text(path.read_text(), encoding="utf-16")
        assert ids(read_dataset(path)) == ["a.jpg#0"]
        path = predictions(tmp_path, {"filepath": "b.jpg", "detections": [found(label="animal")]})
        assert ids(read_dataset(path)) == ["b.jpg#0"]

    def test_fields_of_our_own_change_nothing(self, tmp_path):
        images = [photograph("a.jpg", found(), found(bbox=(0, 0, 0.2, 0.2)), datetime="2020-05-01 10:00:00")]
        before = read(write(tmp_path, images)).table
        images[0]["fidokit_review"] = "seen"
        images[0]["detections"][0]["fidokit"] = {"predicted": "fox", "ssr": 0.1}
        images[0]["detections"][1]["fidokit_score"] = 0.5
        after = read(write(tmp_path, images, info={"fidokit": {"version": "1"}})).table
        pd.testing.assert_frame_equal(before, after)

    def test_rows_of_one_photograph_need_their_boxes(self, tmp_path):
        images = [
            photograph("a.jpg", found(bbox=(0, 0, 0.4, 1)), found(bbox=(0.6, 0, 0.4, 1))),
            photograph("b.jpg", found()),
        ]
        data = read(write(tmp_path, images))
        whole, cropped = (Preprocessing(size=(16, 16), use_boxes=use) for use in (False, True))
        (note,) = data.box_notes(whole)
        assert note.startswith("2 rows are animals in a photograph that other rows show too")
        assert data.box_notes(cropped) == []
        assert data.subset([0, 2]).box_notes(whole) == []
        clf = fk.testbed.classifier(device="cpu", precision="float32", micro_batch=4)
        with pytest.warns(RuntimeWarning, match="2 rows are animals in a photograph"):
            fk.explain(clf, data, "grad-cam")
