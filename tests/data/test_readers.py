"""What all readers share: detection, cells and paths, one label and one box out of several, and speed."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from study_cases import make_classifier, make_data

import fidokit as fk
from fidokit.data.detect import read_dataset
from fidokit.data.geometry import Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.data.readers.cells import join_all, relative_all
from fidokit.data.readers.choice import choose_boxes, choose_labels
from fidokit.data.readers.reading import Notes, RowNames, column_of, path_inside
from fidokit.exceptions import SettingsError


class TestDetection:
    def test_folders_and_tables(self, tmp_path):
        folder = tmp_path / "folder"
        make_data(folder, 3)
        (folder / "some.json").write_text("{}")
        assert len(read_dataset(folder)) == 3
        table = tmp_path / "birds.tsv"
        table.write_text("path\tlabel\na.png\tx\n")
        assert read_dataset(str(table)).classes == ["x"]

    def test_a_file_with_any_name_that_ends_in_json_is_coco(self, tmp_path):
        path = tmp_path / "train.JSON"
        path.write_text(json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}]}))
        assert len(read_dataset(path)) == 1

    def test_nothing_and_nothing_that_can_be_read(self, tmp_path):
        with pytest.raises(SettingsError, match=r"there is no dataset .*give a folder"):
            read_dataset(tmp_path / "no")
        for name in ("deployments.csv", "media.csv", "observations.csv"):
            (tmp_path / "dp").mkdir(exist_ok=True)
            (tmp_path / "dp" / name).write_text("a\n", encoding="utf-8")
        with pytest.raises(SettingsError, match=r"tables of a Camtrap DP .* but no datapackage\.json"):
            read_dataset(tmp_path / "dp")
        with pytest.raises(SettingsError, match="holds no images"):
            read_dataset(tmp_path)


class TestPaths:
    def test_joining_and_relating_as_pathlib_does(self):
        generator = random.Random(0)
        names = ["a", "B c", ".", "..", "", ".h", "x:y", "é", "\\", "a\n", "~", "a.b"]
        texts = ["/".join(generator.choice(names) for _ in range(generator.randint(1, 4))) or "a" for _ in range(3000)]
        for folder in (Path(), Path("a/b"), Path("/"), Path("/r/s"), Path("..")):
            paths = join_all(folder, texts)
            assert paths == [str(folder / text) for text in texts]
            for root in (folder, Path("a"), Path("/r")):
                inside = [Path(path).is_relative_to(root) for path in paths]
                assert relative_all(paths, root) == [
                    (Path(path).relative_to(root) if within else Path(path)).as_posix()
                    for path, within in zip(paths, inside, strict=True)
                ]

    @pytest.mark.parametrize("text", ["a/b.jpg", "a..b/c..jpg", "...", "./a", "a/./b", "~/a", "a:b.jpg", " a "])
    def test_paths_inside(self, text):
        assert path_inside(text, "here") == text

    @pytest.mark.parametrize(
        "text", ["..", "../a", "a/..", "a/../../b", "/a", "\\a", "a\\..\\b", "c:\\a", "C:/a", "\\\\s\\a"]
    )
    def test_paths_that_lead_out(self, text):
        with pytest.raises(SettingsError, match=r"^here: the path .* leads out of the dataset"):
            path_inside(text, "here")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2.5], [1.0, None, 2.5]),
        ([1, 2], [1, 2]),
        ([True, None], [True, None]),
        ([True, False], [True, False]),
        ([1, "a", None, True], ["1", "a", None, "True"]),
        ([" a ", "", "  "], ["a", None, None]),
        ([1, 2**70], ["1", str(2**70)]),
        (["\udcff"], ["\\udcff"]),
        ([[1], {"a": 1}, 3], [None, None, 3.0]),
        ([None, [], float("nan")], None),
    ],
)
def test_columns_of_one_type(values, expected, tmp_path):
    column = column_of(values)
    if expected is None:
        assert column is None
    else:
        assert [None if pd.isna(value) else value for value in column] == expected
        pd.DataFrame({"a": column}).to_parquet(tmp_path / "a.parquet")


def test_notes_count_and_remember_the_first():
    notes = Notes()
    assert str(notes) == ""
    notes.add("apples", "tree", 0)
    notes.add("pears", "basket", 2)
    notes.add("plums", "bag")
    notes.add("pears", "bag")
    assert str(notes) == "3 pears (first: basket); 1 plums (first: bag)"


def test_names_of_rows():
    names = RowNames("a.csv, line ", [2, 5, 7])
    assert [len(names), names[1], names[-1], list(names[1:])] == [
        3,
        "a.csv, line 5",
        "a.csv, line 7",
        ["a.csv, line 5", "a.csv, line 7"],
    ]


class TestChoice:
    def test_labels_as_one_by_one(self):
        generator = np.random.default_rng(0)
        for n_annotations in (0, 1, 40):
            n = 20
            places = generator.integers(0, n, n_annotations)
            labels = generator.choice(["deer", "fox", "empty"], n_annotations).tolist()
            notes = Notes()
            chosen = choose_labels(n, places, labels, ["empty"], RowNames("image ", range(n)), notes)
            expected, several = [], []
            for place in range(n):
                given = {label for label, where in zip(labels, places, strict=True) if where == place}
                animals = given - {"empty"}
                several += [place] if len(animals) > 1 else []
                expected.append(None if len(animals) > 1 else next(iter(animals or given), None))
            assert chosen.tolist() == expected
            assert str(notes).startswith(f"{len(several)} photographs show several" if several else "")
            assert (f"(first: image {several[0]})" in str(notes)) if several else not str(notes)

    def test_boxes_as_one_by_one(self):
        generator = np.random.default_rng(1)
        for n_boxes in (0, 1, 60):
            n = 20
            places = generator.integers(0, n, n_boxes)
            start = generator.integers(0, 5, (n_boxes, 2))
            boxes = np.concatenate([start, start + generator.integers(1, 4, (n_boxes, 2))], axis=1).astype(float)
            chosen, counts = choose_boxes(n, places, boxes)
            for place in range(n):
                own = boxes[places == place].tolist()
                assert counts[place] == len(own)
                if own:
                    best = max(own, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
                    assert chosen[place].tolist() == best
                else:
                    assert np.isnan(chosen[place]).all()


def test_a_study_keeps_parts_from_any_working_directory(tmp_path, monkeypatch, quick):
    folder = tmp_path / "data"
    data = make_data(folder, 3)
    Image.fromarray(np.ones((16, 16), np.uint8)).save(folder / "map.png")
    paths = [str(Path(path).relative_to(folder)) for path in data.table["path"]]
    frame = pd.DataFrame({"path": paths, "part_map": ["map.png", None, None], "parts": ['["all"]', None, None]})
    frame["part_points"] = [{"eye": [1, 2]}, None, None]
    monkeypatch.chdir(folder)
    classifier = make_classifier()
    fk.run_study(classifier, LabelledImages.from_table(frame), ["grad-cam"], store=tmp_path / "store", progress=False)
    monkeypatch.chdir(tmp_path)
    study = fk.open_study(tmp_path / "store", classifier)
    assert study.data.load_part_masks(0, Preprocessing(size=(8, 8)))["all"].all()
    assert study.data.load_part_masks(1, Preprocessing(size=(8, 8))) == {}
    assert study.data.part_points(0) == {"eye": (1.0, 2.0)}
    assert study.data.part_points(1) == {}


class TestSpeed:
    """Seconds of the processor for 200,000 photographs, with an ample margin: millions take a minute."""

    N = 200_000
    LIMIT = 15.0

    def seconds(self, call):
        start = time.process_time()
        assert len(call()) == self.N
        return time.process_time() - start

    def test_tables(self):
        frame = pd.DataFrame(
            {
                "path": [f"c{i % 500}/p{i}.jpg" for i in range(self.N)],
                "label": [f"c{i % 500}" for i in range(self.N)],
                **{"x0": 1.0, "y0": 2, "x1": np.arange(self.N) + 3.0, "y1": "9"},
                **{"part_map": [f"m/{i}.png" for i in range(self.N)], "parts": '["a","b"]'},
            }
        )
        assert self.seconds(lambda: LabelledImages.from_table(frame, root="/data")) < self.LIMIT

    def test_coco(self, tmp_path):
        content = {
            "images": [{"id": i, "file_name": f"t/{i}.jpg", "location": i % 99} for i in range(self.N)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": i % 500, "bbox": [1, 2, 3, 4]} for i in range(self.N)
            ],
            "categories": [{"id": i, "name": f"n{i}"} for i in range(500)],
        }
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content))
        del content
        assert self.seconds(lambda: LabelledImages.from_coco(path)) < self.LIMIT
