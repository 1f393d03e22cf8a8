"""A study's results as a Camtrap DP: the package stays valid, and what was in it stays."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest
from camtrap_standard import PROFILE, TABLES, problems, schema
from PIL import Image
from study_cases import SIZE, make_classifier, make_data, register_counting

import fidokit as fk
from fidokit.exceptions import SettingsError, StoreError
from fidokit.study.exports import camtrap_dp

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"), pytest.mark.usefixtures("counting")]

HOME = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.1"
CLASSES = ["Rufus rufus", "Viridis", "person"]
TIME = "2024-05-31T12:00:0{}+02:00"
NEW = {
    "contributors": [{"title": "A. Nobody"}],
    "project": {
        "title": "Moor",
        "samplingDesign": "opportunistic",
        "captureMethod": ["activityDetection"],
        "individualAnimals": False,
    },
}


@pytest.fixture
def counting():
    register_counting("counting")


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(header), restval="")
        writer.writeheader()
        writer.writerows(rows)


def read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def picture(path, tint):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(tint).integers(20, 120, (SIZE, SIZE, 3))
    pixels[..., tint % 3] += 100
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def package(tmp_path):
    """Six photographs: a human's label right, one wrong, one with a comma and quotes, a blank, one without label, one
    that is broken; and the event that the first two are of."""
    folder = tmp_path / "package"
    media, rows = [], []
    for i in range(6):
        name = f"media/cam 1/=IMG_{i}.png"
        picture(folder / name, i)
        media.append(
            {
                "mediaID": f"m{i}",
                "deploymentID": "d1",
                "timestamp": TIME.format(i),
                "filePath": name,
                "filePublic": "true",
                "fileMediatype": "image/png",
                "mediaComments": 'a "quoted", comment\nof two lines',
            }
        )
    (folder / "media/cam 1/=IMG_5.png").write_bytes(b"broken")
    for i, name in enumerate([CLASSES[0], CLASSES[0], 'Rara, "avis"', ""]):
        rows.append(
            {
                "observationID": f"o{i}",
                "deploymentID": "d1",
                "mediaID": f"m{i}",
                "eventID": "e1",
                "eventStart": TIME.format(i),
                "eventEnd": TIME.format(i),
                "observationLevel": "media",
                "observationType": "animal" if name else "blank",
                "scientificName": name,
                "count": "1" if name else "",
                "lifeStage": "adult" if name else "",
                "bboxX": "0.25" if name else "",
                "bboxY": "0.25" if name else "",
                "bboxWidth": "0.5" if name else "",
                "bboxHeight": "0.5" if name else "",
                "classificationMethod": "human",
                "classifiedBy": "Ümit, R.",
            }
        )
    rows.append(rows[0] | {"observationID": "o9", "mediaID": "", "observationLevel": "event"})
    deployment = {"deploymentID": "d1", "latitude": "51.5", "longitude": "4.7", "locationName": "Hill, north"}
    deployment |= {"deploymentStart": TIME.format(0), "deploymentEnd": TIME.format(9)}
    for name, table in (("deployments", [deployment]), ("media", media), ("observations", rows)):
        write(folder / f"{name}.csv", TABLES[name], table)
    descriptor = NEW | {
        "profile": f"{HOME}/camtrap-dp-profile.json",
        "name": "moor",
        "created": "2024-06-01T00:00:00Z",
        "id": "10.1/moor",
        "project": NEW["project"] | {"observationLevel": ["event"]},
        "spatial": {"type": "Point", "coordinates": [4.7, 51.5]},
        "temporal": {"start": "2024-05-31", "end": "2024-05-31"},
        "taxonomic": [{"scientificName": CLASSES[0], "taxonRank": "species"}],
        "resources": [
            {
                "name": name,
                "path": f"{name}.csv",
                "profile": "tabular-data-resource",
                "encoding": "utf-8",
                "schema": f"{HOME}/{name}-table-schema.json",
            }
            for name in TABLES
        ]
        + [{"name": "individuals", "data": [{"id": 1}]}],
    }
    (folder / "datapackage.json").write_text(json.dumps(descriptor))
    assert problems(folder) == []
    return folder


def study_of(data, store, names=CLASSES, **options):
    return fk.run_study(make_classifier(names=names, **options), data, ["counting"], store=store, progress=False)


@pytest.fixture
def study(package, tmp_path):
    return study_of(fk.LabelledImages.from_camtrap_dp(package), tmp_path / "study")


def own(folder):
    """The observations that were added, by medium."""
    table = read(folder / "observations.csv")
    return table[table["observationID"].str.startswith("fidokit-")].set_index("mediaID")


def test_the_validator_of_these_tests_finds_what_is_wrong(package):
    table = read(package / "observations.csv")
    for column, value in (("observationType", "beast"), ("eventStart", "noon"), ("mediaID", "m77"), ("bboxX", "2")):
        table.assign(**{column: value}).to_csv(package / "observations.csv", index=False)
        assert problems(package), column
    table.drop(columns="sex").to_csv(package / "observations.csv", index=False)
    assert problems(package)
    table.to_csv(package / "observations.csv", index=False)
    descriptor = json.loads((package / "datapackage.json").read_text())
    for name in PROFILE["required"]:
        (package / "datapackage.json").write_text(json.dumps({**descriptor, name: None}))
        with pytest.raises((AssertionError, TypeError)):
            assert problems(package) == []


def test_what_is_written_is_what_the_schemas_have():
    from fidokit.study.exports import camtrap_fields as fields

    for name, columns in (
        ("deployments", fields.DEPLOYMENTS),
        ("media", fields.MEDIA),
        ("observations", fields.OBSERVATIONS),
    ):
        assert [field["name"] for field in schema(name)["fields"]] == list(columns)


def test_the_package_stays_valid_and_what_was_in_it_stays(study, package, tmp_path):
    path = study.to_camtrap_dp(tmp_path / "out")
    out = path.parent
    assert path.name == "datapackage.json"
    assert problems(out) == []
    for name in ("deployments", "media"):
        assert (out / f"{name}.csv").read_bytes() == (package / f"{name}.csv").read_bytes()
    before, after = read(package / "observations.csv"), read(out / "observations.csv")
    pd.testing.assert_frame_equal(after.iloc[: len(before)].reset_index(drop=True), before)
    assert len(after) == len(before) + 6
    old, new = (json.loads((folder / "datapackage.json").read_text()) for folder in (package, out))
    assert {key for key in new if new[key] != old.get(key)} == {"created", "project", "taxonomic", "resources"}
    assert new["project"]["observationLevel"] == ["event", "media"]
    assert new["resources"][3] == old["resources"][3]
    assert new["taxonomic"] == [*old["taxonomic"], {"scientificName": "Viridis"}]


def test_each_prediction_is_an_observation_of_its_medium(study, tmp_path):
    study.to_camtrap_dp(tmp_path / "out", classified_by="Net 7")
    table, predictions = own(tmp_path / "out"), study.predictions().set_index("image_id")
    assert table.index.tolist() == [f"m{i}" for i in range(6)]
    assert table["scientificName"].tolist() == ["Rufus rufus", "Viridis", "", "Rufus rufus", "Viridis", ""]
    types = ["animal", "animal", "human", "animal", "animal", "unclassified"]
    assert table["observationType"].tolist() == types
    assert set(table["classificationMethod"].iloc[:5]) == {"machine"}
    assert set(table["classifiedBy"].iloc[:5]) == {"Net 7"}
    assert table["classificationProbability"].iloc[:5].astype(float).tolist() == pytest.approx(
        predictions["score"].iloc[:5].tolist(), abs=1e-5
    )
    assert table["eventStart"].tolist() == [TIME.format(i) for i in range(6)]
    assert table["eventID"].tolist() == ["e1", "e1", "e1", "e1", "", ""]
    assert "fidokit:right" in table.loc["m0", "observationTags"]
    assert "fidokit:wrong" in table.loc["m1", "observationTags"]
    assert "fidokit:failed" in table.loc["m5", "observationTags"]
    assert (
        "no image" in table.loc["m5", "observationComments"] or "not an image" in table.loc["m5", "observationComments"]
    )
    assert table.loc["m5", "classificationMethod"] == ""
    # The classifier saw the whole photograph, not the annotated box.
    assert set(table["bboxX"]) == {""}


def test_the_box_stands_there_where_the_classifier_saw_no_more(package, tmp_path):
    boxed = study_of(fk.LabelledImages.from_camtrap_dp(package), tmp_path / "boxed", use_boxes=True)
    boxed.to_camtrap_dp(tmp_path / "out")
    assert problems(tmp_path / "out") == []
    table = own(tmp_path / "out")
    assert table.loc["m0", ["bboxX", "bboxY", "bboxWidth", "bboxHeight"]].astype(float).tolist() == [
        0.25,
        0.25,
        0.5,
        0.5,
    ]
    assert table.loc["m3", "bboxX"] == ""


def test_a_review_decides(study, tmp_path):
    review = pd.DataFrame(
        [
            {"image_id": "m0", "review": "confirmed", "by": "Ümit, R.", "at": "2024-07-01T10:00:00+02:00"},
            {"image_id": "m1", "review": "Corrected", "label": "person", "by": "=cmd", "comment": "a hiker\nclearly"},
            {"image_id": "m2", "review": "unsure"},
        ]
    )
    study.to_camtrap_dp(tmp_path / "out", review=review)
    assert problems(tmp_path / "out") == []
    table = own(tmp_path / "out")
    assert table["classificationMethod"].tolist() == ["human", "human", "machine", "machine", "machine", ""]
    assert table["classificationProbability"].iloc[:2].tolist() == ["", ""]
    assert table.loc["m0", "classificationTimestamp"] == "2024-07-01T08:00:00Z"
    assert table.loc["m1", "observationType"] == "human"
    assert table.loc["m1", "classifiedBy"] == "'=cmd"
    assert table.loc["m1", "observationComments"].startswith("Reviewer: a hiker clearly. Classifier: Viridis")
    states = [tags.split("review:")[1].split(" |")[0] for tags in table["observationTags"]]
    assert states == ["confirmed", "corrected", "unsure", "open", "open", "open"]


def test_reading_the_package_gives_the_same_photographs_and_labels(study, package, tmp_path):
    study.to_camtrap_dp(tmp_path / "out", copy_media=True)
    before, after = (fk.LabelledImages.from_camtrap_dp(folder) for folder in (package, tmp_path / "out"))
    assert after.table["image_id"].tolist() == before.table["image_id"].tolist()
    # People's observations count before a machine's; where there was none, the machine's is the label now.
    assert before.table["label"].tolist() == ["Rufus rufus", "Rufus rufus", 'Rara, "avis"', "blank", None, None]
    assert after.table["label"].tolist() == ["Rufus rufus", "Rufus rufus", 'Rara, "avis"', "blank", "Viridis", None]
    for i in range(5):
        assert np.array_equal(np.asarray(before.open(i)), np.asarray(after.open(i)))
        assert before.box(i) == after.box(i)


def test_written_again_it_replaces_its_own_observations(study, package, tmp_path):
    study.to_camtrap_dp(tmp_path / "one")
    study.to_camtrap_dp(tmp_path / "two", source=tmp_path / "one")
    one, two = (read(tmp_path / name / "observations.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(
        one.drop(columns="classificationTimestamp"), two.drop(columns="classificationTimestamp")
    )
    other = study_of(fk.LabelledImages.from_camtrap_dp(package), tmp_path / "other", gain=9.0)
    other.to_camtrap_dp(tmp_path / "three", source=tmp_path / "two" / "datapackage.json")
    assert len(read(tmp_path / "three" / "observations.csv")) == len(two) + 6
    assert problems(tmp_path / "three") == []


def test_in_place_only_when_asked(study, package):
    before = read(package / "observations.csv")
    with pytest.raises(SettingsError, match=r"package is there already; choose another name, or say overwrite=True"):
        study.to_camtrap_dp(package)
    study.to_camtrap_dp(package, overwrite=True)
    after = read(package / "observations.csv")
    assert after["observationID"].tolist()[: len(before)] == before["observationID"].tolist()
    assert len(after) == len(before) + 6
    assert problems(package) == []
    assert (package / "media" / "cam 1" / "=IMG_0.png").is_file()


def test_other_dialects_and_parts_are_written_plainly(package, tmp_path):
    table = read(package / "observations.csv")
    (package / "observations.csv").unlink()
    (package / "data").mkdir()
    table.iloc[:2].to_csv(package / "data" / "1.csv", sep=";", index=False, encoding="latin-1")
    table.iloc[2:].to_csv(package / "data" / "2.csv", sep=";", index=False, encoding="latin-1")
    descriptor = json.loads((package / "datapackage.json").read_text())
    entry = descriptor["resources"][2]
    entry |= {"path": ["data/1.csv", "data/2.csv"], "encoding": "latin-1", "dialect": {"delimiter": ";"}, "bytes": 7}
    descriptor["resources"][2] = entry
    (package / "datapackage.json").write_text(json.dumps(descriptor))
    study = study_of(fk.LabelledImages.from_camtrap_dp(package), tmp_path / "study")
    study.to_camtrap_dp(tmp_path / "out")
    assert problems(tmp_path / "out") == []
    pd.testing.assert_frame_equal(read(tmp_path / "out" / "observations.csv").iloc[: len(table)], table)
    made = json.loads((tmp_path / "out" / "datapackage.json").read_text())["resources"][2]
    assert made["path"] == "observations.csv"
    assert {"dialect", "bytes"} & set(made) == set()


def test_media_without_a_time_get_no_observation_and_it_is_said(study, package, tmp_path):
    media = read(package / "media.csv")
    media.loc[1, "timestamp"] = ""
    media.to_csv(package / "media.csv", index=False)
    with pytest.warns(RuntimeWarning, match=r"1 photographs have no timestamp .*first: m1"):
        study.to_camtrap_dp(tmp_path / "out")
    assert own(tmp_path / "out").index.tolist() == ["m0", "m2", "m3", "m4", "m5"]


def test_what_cannot_be_written(study, package, tmp_path):
    with pytest.raises(SettingsError, match="no class or label 'wolf'"):
        study.to_camtrap_dp(tmp_path / "out", names={"wolf": "Canis lupus"})
    with pytest.raises(SettingsError, match="timezone is for a package that is written anew"):
        study.to_camtrap_dp(tmp_path / "out", source=package, timezone="UTC")
    write(package / "media.csv", TABLES["media"], read(package / "media.csv").iloc[:2].to_dict("records"))
    with pytest.raises(SettingsError, match="the photograph 'm2' is none of its media"):
        study.to_camtrap_dp(tmp_path / "out")
    read(package / "observations.csv").drop(columns="observationLevel").to_csv(
        package / "observations.csv", index=False
    )
    with pytest.raises(SettingsError, match=r"no column observationLevel; .* 1\.0 and later"):
        study.to_camtrap_dp(tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is no folder"):
        study.to_camtrap_dp(tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_a_strangers_study_does_not_say_which_package_is_read(study, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    opened = fk.open_study(study.path)
    with pytest.raises(StoreError, match="give it as source"):
        opened.to_camtrap_dp(tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("before", [False, True])
def test_what_is_cut_off_leaves_nothing_half(study, package, tmp_path, monkeypatch, error, before):
    out = tmp_path / "out"
    if before:
        study.to_camtrap_dp(out)
    files = {path.name: path.read_bytes() for path in out.iterdir()} if before else {}
    write_atomically = camtrap_dp.write_atomically

    def fail(path, content):
        if path.name == "datapackage.json":
            raise error
        write_atomically(path, content)

    monkeypatch.setattr(camtrap_dp, "write_atomically", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StoreError):
        study.to_camtrap_dp(out, overwrite=before)
    assert {path.name for path in tmp_path.iterdir()} - {"package", "study", "elsewhere", "data"} == (
        {"out"} if before else set()
    )
    assert not before or {path.name: path.read_bytes() for path in out.iterdir()} == files


class TestNewPackages:
    @pytest.fixture
    def plain(self, tmp_path):
        """Nine photographs in three folders, which are their labels; of two of them the same."""
        data = make_data(tmp_path / "data", 9)
        table = data.table.assign(
            datetime=[f"2024-03-31 02:30:0{i}" for i in range(9)], site=["a", "b", "a"] * 3, latitude=1.5, longitude=-3
        )
        return fk.LabelledImages.from_table(pd.concat([table, table.iloc[:1].assign(image_id="twice")]), root=data.root)

    def test_a_package_of_ones_own(self, plain, tmp_path):
        study = study_of(plain, tmp_path / "study", names=["red", "green", "blue"])
        names = {"red": "Rufus rufus", "green": "Viridis", "blue": "blank"}
        study.to_camtrap_dp(tmp_path / "out", names=names, descriptor=NEW, timezone="Europe/Berlin", copy_media=True)
        assert problems(tmp_path / "out") == []
        media, deployments = read(tmp_path / "out" / "media.csv"), read(tmp_path / "out" / "deployments.csv")
        assert len(media) == 9
        assert deployments["deploymentID"].tolist() == ["a", "b"]
        assert set(deployments["latitude"]) == {"1.5"}
        # The hour that summer time leaves out.
        assert media["timestamp"].iloc[0] == "2024-03-31T03:00:00+02:00"
        assert len(own(tmp_path / "out")) == 10
        back = fk.LabelledImages.from_camtrap_dp(tmp_path / "out")
        assert sorted(back.table["label"]) == sorted(
            names[image_id.split("/")[0]] for image_id in back.table["image_id"]
        )
        assert back.open(0).size == (SIZE, SIZE)

    def test_deployments_of_a_table(self, plain, tmp_path):
        study = study_of(plain, tmp_path / "study", names=["red", "green", "blue"])
        table = pd.DataFrame({"deploymentID": ["a", "b"], "latitude": [52.5, -90], "longitude": [13.1, 180]})
        table["deploymentStart"] = ["2024-01-01T00:00:00Z", None]
        study.to_camtrap_dp(tmp_path / "out", deployments=table, descriptor=NEW, timezone="+01:00")
        assert problems(tmp_path / "out") == []
        written = read(tmp_path / "out" / "deployments.csv")
        assert written["deploymentStart"].tolist() == ["2024-01-01T00:00:00+00:00", "2024-03-31T02:30:01+01:00"]
        for bad, message in (
            (table.assign(latitude=91), r"deployment 'a': its latitude is '91'"),
            (table.drop(columns="longitude"), "its longitude is None"),
            (table.assign(altitude=3), "has a column 'altitude'"),
            (table.iloc[:0], "its deployment is not known"),
            (table.assign(deploymentID="a"), "a deploymentID of its own"),
            (table.assign(deploymentID=["a", "c"]), "its deployment is not known"),
        ):
            with pytest.raises(SettingsError, match=message):
                study.to_camtrap_dp(tmp_path / "no", deployments=bad, descriptor=NEW, timezone="+01:00")

    def test_what_the_standard_asks_for_and_nobody_said(self, plain, tmp_path):
        study = study_of(plain, tmp_path / "study", names=["red", "green", "blue"])
        with pytest.raises(SettingsError, match="its description lacks contributors, project; give descriptor="):
            study.to_camtrap_dp(tmp_path / "out")
        bad = NEW | {"project": NEW["project"] | {"samplingDesign": ""}}
        with pytest.raises(SettingsError, match=r"lacks project\.samplingDesign"):
            study.to_camtrap_dp(tmp_path / "out", descriptor=bad)
        with pytest.raises(SettingsError, match="has no zone; give timezone"):
            study.to_camtrap_dp(tmp_path / "out", descriptor=NEW)
        with pytest.raises(SettingsError, match="no time zone 'Mars'"):
            study.to_camtrap_dp(tmp_path / "out", descriptor=NEW, timezone="Mars")

    def test_times_of_exif(self, tmp_path):
        data = make_data(tmp_path / "data", 3)
        for path in data.table["path"]:
            exif = Image.Exif()
            exif[0x0132] = "2023:01:02 03:04:05"
            with Image.open(path) as image:
                image.copy().save(path, exif=exif)
        table = pd.DataFrame({"deploymentID": ["x"], "latitude": [1], "longitude": [2]})
        study = study_of(data, tmp_path / "study", names=["red", "green", "blue"])
        study.to_camtrap_dp(tmp_path / "out", deployments=table, descriptor=NEW, timezone="UTC")
        assert problems(tmp_path / "out") == []
        assert set(read(tmp_path / "out" / "media.csv")["timestamp"]) == {"2023-01-02T03:04:05+00:00"}
        bare = study_of(make_data(tmp_path / "bare", 3), tmp_path / "other", names=["red", "green", "blue"])
        with pytest.raises(SettingsError, match="it is not known when it was taken"):
            bare.to_camtrap_dp(tmp_path / "no", deployments=table, descriptor=NEW)
