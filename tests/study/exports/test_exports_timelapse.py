"""The CSV for Timelapse: it joins its input, whatever the paths and names are."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from study_cases import SIZE, make_classifier, make_data, register_counting
from test_exports_results import Clusters

import fidokit as fk
from fidokit._util import atomic_write
from fidokit.exceptions import SettingsError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

#: RelativePath, File, Species: Windows' backslashes, numbers, nothing, commas, quotes, a line end, other alphabets.
ROWS = [
    (r"Site 1\Cam,2", "IMG 1.png", "red"),
    (r"Site 1\Cam,2", 'a "b".png', "green"),
    ("007", "IMG 1.png", "blue"),
    ("007", "two\nlines.png", "red"),
    ("", "IMG 1.png", "red"),
    ("Größe", "=1+1.png", ""),
    ("Größe", "broken.png", "blue"),
]


@pytest.fixture
def counting():
    register_counting("counting")


@pytest.fixture
def table(tmp_path):
    """The CSV that Timelapse wrote, beside its photographs."""
    for i, (folder, name, _) in enumerate(ROWS):
        path = tmp_path / "photos" / folder.replace("\\", "/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(20, 120, (SIZE, SIZE, 3))
        pixels[..., i % 3] += 100
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (tmp_path / "photos" / "Größe" / "broken.png").write_bytes(b"no image")
    file = tmp_path / "photos" / "TimelapseData.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.writer(out)
        writer.writerow(["RootFolder", "File", "RelativePath", "DateTime", "DeleteFlag", "Species"])
        writer.writerows(
            ["photos", name, folder, "2024-05-31 12:00:00", "false", label] for folder, name, label in ROWS
        )
    return file


@pytest.fixture
def study(table, tmp_path, counting):
    data = fk.LabelledImages.from_csv(table)
    return fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)


def read(file):
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def test_it_joins_its_input_on_relative_path_and_file(study, table, tmp_path):
    made = read(study.to_timelapse(tmp_path / "out.csv"))
    given = pd.read_csv(table, dtype=str, keep_default_na=False)
    joined = given.merge(made, on=["RelativePath", "File"], how="outer", validate="one_to_one", indicator=True)
    assert set(joined["_merge"]) == {"both"}
    assert len(joined) == len(ROWS)
    predictions = study.predictions()
    assert made["FidokitPrediction"].tolist() == predictions["predicted"].fillna("").tolist()
    assert made["FidokitState"].tolist() == ["right", "right", "right", "right", "wrong", "not judged", "failed"]
    assert made["FidokitWrong"].tolist() == ["false"] * 4 + ["true"] + ["false"] * 2
    assert made["FidokitScore"].tolist()[:-1] == [f"{score:.4f}" for score in predictions["score"].iloc[:-1]]
    assert made["FidokitScore"].iloc[-1] == ""
    assert "Pillow" in made["FidokitNote"].iloc[-1]


def test_timelapse_can_import_it(study, tmp_path):
    """Its own rules: each heading once and a DataLabel, flags true or false, decimals with a point, no line twice."""
    text = study.to_timelapse(tmp_path / "out.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) for name in rows[0])
    assert {row["FidokitWrong"] for row in rows} == {"true", "false"}
    assert all(re.fullmatch(r"\d\.\d+|", row["FidokitScore"]) for row in rows)
    assert all(row["FidokitRows"] == "1" for row in rows)
    keys = [(row["RelativePath"], row["File"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert not any("\n" in row[name] for row in rows for name in row if name not in ("RelativePath", "File"))


def test_paths_are_written_as_on_windows_where_no_table_says_otherwise(tmp_path, counting):
    data = make_data(tmp_path / "a" / "b", 3)
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)
    made = read(study.to_timelapse(tmp_path / "out.csv"))
    assert made["RelativePath"].tolist() == ["blue", "green", "red"]
    above = read(study.to_timelapse(tmp_path / "above.csv", root=tmp_path))
    assert above["RelativePath"].tolist() == [r"a\b\blue", r"a\b\green", r"a\b\red"]
    with pytest.raises(SettingsError, match="give as root"):
        study.to_timelapse(tmp_path / "no.csv", root=tmp_path / "a" / "b" / "red")


def test_folders_whose_names_are_numbers(table, tmp_path, counting):
    given = pd.read_csv(table, dtype=str, keep_default_na=False)
    given = given[given["RelativePath"] == "007"].drop(index=3)
    given.to_csv(table, index=False)
    data = fk.LabelledImages.from_csv(table)
    assert data.table["RelativePath"].tolist() == [7]  # as all columns of one's own that hold numbers
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)
    assert read(study.to_timelapse(tmp_path / "out.csv"))["RelativePath"].tolist() == ["007"]


def test_keys_that_the_table_kept(tmp_path, counting):
    """Photographs may lie elsewhere than in the folder of Timelapse's template."""
    data = make_data(tmp_path / "data", 3)
    table = data.table.assign(RelativePath=["Archive\\blue", None, "Archive"], File=["002.png", "001.png", "000.png"])
    data = fk.LabelledImages.from_table(table, root=data.root)
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)
    made = read(study.to_timelapse(tmp_path / "out.csv"))
    assert made["RelativePath"].tolist() == ["Archive\\blue", "", "Archive"]
    assert read(study.to_timelapse(tmp_path / "own.csv", root=data.root))["RelativePath"].tolist() == [
        "blue",
        "green",
        "red",
    ]


@pytest.mark.skipif(not hasattr(fk.LabelledImages, "from_timelapse"), reason="there is no reader of Timelapse yet")
def test_it_joins_what_the_reader_of_timelapse_read(table, tmp_path, counting):
    data = fk.LabelledImages.from_timelapse(table)
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)
    made, given = read(study.to_timelapse(tmp_path / "out.csv")), pd.read_csv(table, dtype=str, keep_default_na=False)
    joined = given.merge(made, on=["RelativePath", "File"], validate="one_to_one")
    assert len(joined) == len(given) == len(made)


def test_several_animals_share_the_row_of_their_file(tmp_path, counting):
    data = make_data(tmp_path / "data", 3)
    table = pd.concat([data.table, data.table.iloc[:2].assign(image_id=["x", "y"], label=["red", None])])
    data = fk.LabelledImages.from_table(table, root=data.root)
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)
    made = read(study.to_timelapse(tmp_path / "out.csv")).set_index("File")
    assert made["FidokitRows"].to_dict() == {"002.png": "2", "001.png": "2", "000.png": "1"}
    assert made["FidokitState"].to_dict() == {"002.png": "wrong", "001.png": "not judged", "000.png": "right"}
    assert made.loc["002.png", "FidokitLabel"] == "blue; red"
    assert made.loc["001.png", "FidokitLabel"] == "green; ?"
    assert made.loc["002.png", "FidokitPrediction"] == "blue"


def test_what_a_spreadsheet_would_run(study, tmp_path):
    review = pd.DataFrame({"image_id": study.images["image_id"], "review": "open"})
    with pytest.warns(RuntimeWarning, match=r"1 paths begin as formulas do \(first: Größe/=1\+1\.png\)"):
        made = read(study.to_timelapse(tmp_path / "out.csv", review=review))
    assert "=1+1.png" in made["File"].tolist()  # or Timelapse would not find it
    renamed = fk.LabelledImages.from_csv(tmp_path / "photos" / "TimelapseData.csv")
    names = ["=cmd()", "+1", "-2"]
    table = renamed.table.assign(label=["=cmd()", "+1", "-2", "=cmd()", "=cmd()", None, "-2"])
    other = fk.run_study(
        make_classifier(names=names),
        fk.LabelledImages.from_table(table, root=renamed.root),
        ["counting"],
        store=tmp_path / "other",
        progress=False,
    )
    cells = read(other.to_timelapse(tmp_path / "other.csv")).drop(columns=["RelativePath", "File"])
    assert "'=cmd()" in cells["FidokitPrediction"].tolist()
    assert not any(cell.startswith(("=", "+", "-", "@")) for name in cells for cell in cells[name])


def test_columns_of_ones_own_template(study, tmp_path):
    chosen = {"prediction": "Species", "score": "Confidence"}
    made = read(study.to_timelapse(tmp_path / "out.csv", columns=chosen))
    assert list(made.columns) == ["RelativePath", "File", "Species", "Confidence"]
    some = read(study.to_timelapse(tmp_path / "some.csv", columns=["wrong"]))
    assert list(some.columns) == ["RelativePath", "File", "FidokitWrong"]
    ids = study.images["image_id"].tolist()
    review = pd.DataFrame({"image_id": ids[:1], "review": ["unsure"]})
    more = read(study.to_timelapse(tmp_path / "more.csv", errors=Clusters(ids), review=review))
    assert more["FidokitClusters"].tolist()[:3] == ["2; 4", "4", ""]
    assert more["FidokitSentences"].iloc[0] == "two; four, all"
    assert more["FidokitReview"].tolist()[:2] == ["unsure", "open"]
    for bad, message in (
        ({"species": "Species"}, "no field 'species'; there are prediction"),
        ({"prediction": "My species"}, "cannot be called 'My species'"),
        ({"prediction": "File"}, "a column of Timelapse's own"),
        ({"prediction": "A", "label": "A"}, "two fields are called A"),
        ("animal", "no field 'animal'"),
    ):
        with pytest.raises(SettingsError, match=message):
            study.to_timelapse(tmp_path / "no.csv", columns=bad)
    assert not (tmp_path / "no.csv").exists()


def test_predictions_come_back_in_the_words_of_the_table(tmp_path, counting):
    data = make_data(tmp_path / "data", 3)
    data = fk.LabelledImages.from_table(data.table.assign(label=["Blue", "GREEN", "red"]), root=data.root)
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "study", progress=False)
    made = read(study.to_timelapse(tmp_path / "out.csv"))
    assert made["FidokitPrediction"].tolist() == ["Blue", "GREEN", "red"]


def test_nothing_is_written_over(study, tmp_path):
    file = tmp_path / "out.csv"
    file.write_text("mine")
    with pytest.raises(SettingsError, match=r"out\.csv is there already"):
        study.to_timelapse(file)
    assert file.read_text() == "mine"
    with pytest.raises(SettingsError, match="is a folder"):
        study.to_timelapse(tmp_path, overwrite=True)
    study.to_timelapse(file, overwrite=True)
    assert len(read(file)) == len(ROWS)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_cut_off_leaves_no_half_file(study, tmp_path, monkeypatch, error, overwrite):
    folder = tmp_path / "out"
    folder.mkdir()
    if overwrite:
        (folder / "a.csv").write_text("mine")

    def fail(_):
        raise error

    monkeypatch.setattr(atomic_write.os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StoreError):
        study.to_timelapse(folder / "a.csv", overwrite=overwrite)
    assert [path.name for path in folder.iterdir()] == (["a.csv"] if overwrite else [])
    assert not overwrite or (folder / "a.csv").read_text() == "mine"
