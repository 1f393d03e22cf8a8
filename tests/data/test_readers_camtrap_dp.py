"""Camtrap DP 1.0, from small packages in the published layout."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fidokit.data.detect import read_dataset
from fidokit.data.images import LabelledImages
from fidokit.data.readers.camtrap_events import times
from fidokit.exceptions import SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")

DEPLOYMENTS = """\
deploymentID,locationID,locationName,latitude,longitude,deploymentStart,deploymentEnd,cameraID,cameraModel,habitat
d1,l1,"Hill, north",51.496,4.774,2020-05-30T04:57:37+02:00,2020-07-01T11:41:41+02:00,320,Reconyx-HF2X,marsh
d2,l2,,-1.5,5,2020-05-30T04:57:37+02:00,2020-07-01T11:41:41+02:00,,,
"""
MEDIA_HEADER = (
    "mediaID,deploymentID,captureMethod,timestamp,filePath,filePublic,fileName,fileMediatype,exifData,favorite,"
    "mediaComments\n"
)
OBSERVATIONS_HEADER = (
    "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,cameraSetupType,"
    "scientificName,count,lifeStage,sex,behavior,individualID,bboxX,bboxY,bboxWidth,bboxHeight,classificationMethod,"
    "classifiedBy\n"
)


def medium(key, time="2020-05-30T02:57:40Z", file=None, deployment="d1", kind="image/jpeg"):
    file = f"media/{key}.jpg" if file is None else file
    exif = '"{""EXIF"":{""ISO"":200}}"'
    return f"{key},{deployment},activityDetection,{time},{file},true,{key}.JPG,{kind},{exif},false,\n"


def seen(key, medium="", kind="animal", name="", box=",,,", method="human", stage="", individual="", event="e1"):
    """An observation of a medium."""
    return (
        f"{key},d1,{medium},{event},2020-05-30T02:57:40Z,2020-05-30T02:57:40Z,media,{kind},,{name},1,{stage},,,"
        f"{individual},{box},{method},Someone\n"
    )


def event(key, start, end, kind="animal", name="", deployment="d1", method="human", number="e1"):
    return f"{key},{deployment},,{number},{start},{end},event,{kind},,{name},1,,,,,,,,,{method},Someone\n"


def package(tmp_path, media, observations, deployments=DEPLOYMENTS, resources=None):
    tables = {
        "deployments": deployments,
        "media": MEDIA_HEADER + media,
        "observations": OBSERVATIONS_HEADER + observations,
    }
    for name, text in tables.items():
        (tmp_path / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    if resources is None:
        resources = [
            {"name": name, "path": f"{name}.csv", "profile": "tabular-data-resource", "encoding": "utf-8"}
            for name in tables
        ]
    descriptor = {
        "profile": "camtrap-dp-profile.json",
        "name": "p",
        "resources": [*resources, {"name": "i", "data": []}],
    }
    (tmp_path / "datapackage.json").write_text(json.dumps(descriptor))
    return tmp_path


def photograph(path, size=(40, 20), turned=False):
    path.parent.mkdir(exist_ok=True)
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6
    Image.new("RGB", size).save(path, exif=exif)


@NO_WARNING
def test_the_published_layout(tmp_path):
    for key in ("m1", "m2"):
        photograph(tmp_path / "media" / f"{key}.jpg", turned=key == "m2")
    box = "0.25,0.5,0.5,0.25"
    root = package(
        tmp_path,
        medium("m1") + medium("m2", deployment="d2") + medium("m3", kind="image/png"),
        seen("o1", "m1", name="Anas platyrhynchos", box=box, stage="adult", individual="RD213")
        + seen("o2", "m2", name="Vulpes vulpes", box=box, event="e2")
        + seen("o3", "m3", "blank", event=""),
    )
    data = LabelledImages.from_camtrap_dp(root)
    assert data.table["image_id"].tolist() == ["m1", "m2", "m3"]
    assert data.table["path"].tolist()[0] == str(root / "media" / "m1.jpg")
    assert data.table["label"].tolist() == ["Anas platyrhynchos", "Vulpes vulpes", "blank"]
    # The second photograph stands upright with 20 x 40 pixels.
    assert [data.box(i) for i in range(3)] == [(10, 10, 30, 15), (5, 20, 15, 30), None]
    assert data.skipped == 0
    expected = {
        "image_id": ["m1", "m2", "m3"],
        "life_stage": ["adult", None, None],
        "individual": ["RD213", None, None],
        "n_boxes": [1, 1, 0],
        "sequence": ["e1", "e2", None],
        "datetime": ["2020-05-30T02:57:40Z"] * 3,
        "deployment": ["d1", "d2", "d1"],
        "location": ["l1", "l2", "l1"],
        "location_name": ["Hill, north", None, "Hill, north"],
        "latitude": [51.496, -1.5, 51.496],
        "longitude": [4.774, 5, 4.774],
        "camera": ["320", None, "320"],
        "camera_model": ["Reconyx-HF2X", None, "Reconyx-HF2X"],
        "habitat": ["marsh", None, "marsh"],
        "capture_method": ["activityDetection"] * 3,
    }
    metadata = data.metadata()
    assert metadata.columns.tolist() == list(expected)
    assert {name: metadata[name].tolist() for name in metadata} == expected
    for given in (root, root / "datapackage.json", str(root)):
        assert read_dataset(given).table.equals(data.table)


class TestLabels:
    def labels(self, tmp_path, media, observations):
        return LabelledImages.from_camtrap_dp(package(tmp_path, media, observations)).table["label"].tolist()

    @NO_WARNING
    def test_events_reach_all_photographs_of_their_deployment_between_their_times(self, tmp_path):
        times = ["02:57:36Z", "02:57:37Z", "04:57:40+02:00", "02:57:44Z", "02:57:45Z"]
        media = "".join(medium(f"m{i}", f"2020-05-30T{time}") for i, time in enumerate(times))
        observations = (
            event("o1", "2020-05-30T02:57:37Z", "2020-05-30T02:57:44Z", name="Anas platyrhynchos")
            + event("o2", "2020-05-30T02:57:00Z", "2020-05-30T02:57:36Z", "blank", number="e0")
            + event("o3", "2020-05-30T02:57:45Z", "2020-05-30T02:58:00Z", name="Vulpes vulpes", number="e2")
            + event("o4", "2020-05-30T02:57:45Z", "2020-05-30T02:58:00Z", name="Homo sapiens", deployment="d2")
        )
        data = LabelledImages.from_camtrap_dp(package(tmp_path, media, observations))
        assert data.table["label"].tolist() == ["blank", *["Anas platyrhynchos"] * 3, "Vulpes vulpes"]
        assert data.table["sequence"].tolist() == ["e0", "e1", "e1", "e1", "e2"]

    @NO_WARNING
    def test_a_photograph_knows_better_than_its_event_and_people_better_than_machines(self, tmp_path):
        times = ("2020-05-30T02:57:00Z", "2020-05-30T02:58:00Z")
        observations = (
            event("o0", *times, name="Anas crecca")
            + event("o1", *times, name="Anas acuta", method="machine")
            + seen("o2", "m1", name="Ardea cinerea")
            + seen("o3", "m1", name="Ardea alba", method="machine")
            + seen("o4", "m2", "blank")
            + seen("o5", "m3", "unknown")
            + seen("o6", "m4", name="Vulpes vulpes", method="machine")
            + seen("o7", "m4", method="")
        )
        labels = self.labels(tmp_path, "".join(medium(f"m{i}") for i in range(5)), observations)
        assert labels == ["Anas crecca", "Ardea cinerea", "blank", "Anas crecca", "Vulpes vulpes"]

    def test_kinds_several_classes_and_nothing(self, tmp_path):
        observations = (
            seen("o1", "m0", "human")
            + seen("o2", "m1", "human", name="Homo sapiens")
            + seen("o3", "m2", "vehicle")
            + seen("o4", "m3", name="Anas acuta")
            + seen("o5", "m3", "human")
            + seen("o6", "m4", name="Anas acuta")
            + seen("o7", "m4", "blank")
            + seen("o8", "m4", name="Anas acuta", stage="juvenile")
            + seen("o9", "m5", "unclassified")
            + seen("o10", "m6", "animal")
        )
        root = package(tmp_path, "".join(medium(f"m{i}") for i in range(8)), observations)
        with pytest.warns(RuntimeWarning, match="datapackage|media") as caught:
            data = LabelledImages.from_camtrap_dp(root)
        expected = ["human", "Homo sapiens", "vehicle", None, "Anas acuta", None, None, None]
        assert data.table["label"].tolist() == expected
        message = str(caught[0].message)
        assert "1 photographs show several classes and have no label (first: " in message
        assert "record 4)" in message
        assert "3 photographs have no label, since no observation names a class" in message
        assert "record 6)" in message
        assert data.table["life_stage"].iloc[4] == "juvenile"

    @NO_WARNING
    def test_what_the_observations_do_not_say_alike_is_not_said(self, tmp_path):
        observations = seen("o1", "m0", name="a", stage="adult") + seen("o2", "m0", name="a", stage="juvenile")
        data = LabelledImages.from_camtrap_dp(package(tmp_path, medium("m0"), observations))
        assert "life_stage" not in data.table.columns

    def test_events_without_times(self, tmp_path):
        observations = event("o1", "", "", name="a") + event("o2", "2020-13-99", "then", name="a")
        with pytest.warns(RuntimeWarning, match="2 observations of events have no eventStart and eventEnd"):
            labels = self.labels(tmp_path, medium("m0") + medium("m1", time="noon"), observations)
        assert labels == [None, None]


class TestBoxes:
    def test_the_largest_of_the_label_and_of_what_has_no_name(self, tmp_path):
        photograph(tmp_path / "media" / "m0.jpg", (100, 100))
        observations = (
            seen("o1", "m0", name="Anas acuta", box="0.1,0.1,0.1,0.1")
            + seen("o2", "m0", box="0.2,0.2,0.3,0.3", method="machine")
            + seen("o3", "m0", name="Anas crecca", box="0,0,1,1", method="machine")
            + seen("o4", "m0", "human", box="0,0,0.9,0.9", method="machine")
        )
        data = LabelledImages.from_camtrap_dp(package(tmp_path, medium("m0"), observations))
        assert data.table["label"].tolist() == ["Anas acuta"]
        assert data.box(0) == pytest.approx((20, 20, 50, 50))
        assert data.table["n_boxes"].tolist() == [2]

    def test_odd_boxes_and_photographs_that_cannot_be_read(self, tmp_path):
        photograph(tmp_path / "media" / "m0.jpg", (100, 100))
        photograph(tmp_path / "media" / "m5.jpg", (100, 100))
        (tmp_path / "media" / "m2.jpg").write_bytes(b"broken")
        observations = (
            seen("o1", "m0", name="a", box="x,0.1,0.1,0.1")
            + seen("o2", "m0", name="a", box="0.1,0.1,0.1,")
            + seen("o3", "m0", name="a", box="0.1,0.1,0,0.1")
            + seen("o4", "m0", name="a", box="10,20,30,40")
            + seen("o5", "m1", name="a", box="0.1,0.1,0.2,0.2")
            + seen("o6", "m2", name="a", box="0.1,0.1,0.2,0.2")
            + seen("o7", "m5", name="a", box="-0.1,0.75,0.5,0.5")
        )
        root = package(tmp_path, medium("m0") + medium("m1") + medium("m2") + medium("m5"), observations)
        with pytest.warns(RuntimeWarning, match="boxes") as caught:
            data = LabelledImages.from_camtrap_dp(root)
        message = str(caught[0].message)
        for part in (
            "2 boxes are not four numbers and were left out (first: ",
            "1 boxes have no area",
            "1 boxes are not relative, from 0 to 1",
            "2 of the 3 photographs looked at have relative boxes that cannot be used, since the size of",
            "media.csv, record 2)",
        ):
            assert part in message
        # A box beyond the photograph is kept.
        assert [data.box(i) for i in range(4)] == [None, None, None, (-10, 75, 40, 125)]
        assert data.table["label"].tolist() == ["a"] * 4


class TestFiles:
    def test_videos_and_files_on_servers_are_skipped(self, tmp_path):
        media = (
            medium("m0", kind="video/mp4", file="media/m0.mp4")
            + medium("m1", file="https://multimedia.agouti.eu/assets/1/file")
            + medium("m2", file="https://multimedia.agouti.eu/assets/2/file")
            + medium("m3", kind="video/mp4", file="https://multimedia.agouti.eu/assets/3/file")
            + medium("m4")
            + medium("m5", kind="", file="media/m5.JPG")
            + medium("m6", kind="", file="media/m6.avi")
            + medium("m7", file=" ")
        )
        with pytest.warns(RuntimeWarning, match="server") as caught:
            data = LabelledImages.from_camtrap_dp(package(tmp_path, media, seen("o1", "m1", name="a")))
        assert data.table["image_id"].tolist() == ["m4", "m5"]
        assert data.skipped == 6
        message = str(caught[0].message)
        assert "2 photographs lie on a server and were left out; download them" in message
        assert "3 media are no photographs" in message
        assert "1 media have no filePath" in message

    def test_no_photograph_is_left(self, tmp_path):
        root = package(tmp_path, medium("m1", file="https://a.eu/file"), "")
        with pytest.raises(
            SettingsError, match=r"datapackage\.json has no photograph .* 1 photographs lie on a server"
        ):
            LabelledImages.from_camtrap_dp(root)
        with pytest.raises(SettingsError, match="media is empty"):
            LabelledImages.from_camtrap_dp(package(tmp_path, "", ""))

    @NO_WARNING
    def test_the_photographs_may_lie_elsewhere(self, tmp_path):
        (tmp_path / "package").mkdir()
        photograph(tmp_path / "media" / "m0.jpg", (100, 100))
        root = package(tmp_path / "package", medium("m0"), seen("o1", "m0", name="a", box="0,0,0.5,1"))
        data = LabelledImages.from_camtrap_dp(root, root=tmp_path)
        assert data.box(0) == (0, 0, 50, 100)
        assert data.open(0).size == (100, 100)

    @NO_WARNING
    def test_compressed_tables_in_several_parts_with_another_separator(self, tmp_path):
        package(tmp_path, "", "")
        resources = [
            {"name": "deployments", "path": "deployments.csv"},
            {"name": "media", "path": ["a/media-1.csv.gz", "a/media-2.csv"], "dialect": {"delimiter": ";"}},
            {"name": "observations", "path": "observations.csv"},
        ]
        package(tmp_path, "", seen("o1", "m0", name="a") + seen("o2", "m1", name="b"), resources=resources)
        (tmp_path / "a").mkdir()
        header = "mediaID; deploymentID ;filePath;fileMediatype\r\n"
        (tmp_path / "a" / "media-1.csv.gz").write_bytes(
            gzip.compress(b"\xef\xbb\xbf" + f"{header}m0;d1;m/0.jpg;image/jpeg\r\n\r\n".encode())
        )
        (tmp_path / "a" / "media-2.csv").write_text(f'{header} m1 ;d1;"m/1;x.jpg";image/jpeg\n')
        data = LabelledImages.from_camtrap_dp(tmp_path)
        assert data.table["image_id"].tolist() == ["m0", "m1"]
        assert data.table["label"].tolist() == ["a", "b"]
        assert data.table["path"].tolist()[1] == str(tmp_path / "m" / "1;x.jpg")
        (tmp_path / "a" / "media-2.csv").write_text(f"{header}m1;d1;../x.jpg;image/jpeg\n")
        with pytest.raises(SettingsError, match=r"media-2\.csv, record 1: the path '\.\./x\.jpg' leads out"):
            LabelledImages.from_camtrap_dp(tmp_path)

    @NO_WARNING
    def test_an_unknown_deployment_and_columns_that_need_not_be_there(self, tmp_path):
        package(tmp_path, "", "", "deploymentID\nd9\n")
        (tmp_path / "media.csv").write_text("mediaID,deploymentID,filePath\nm0,d1,a.jpg\n")
        (tmp_path / "observations.csv").write_text(
            "observationID,deploymentID,observationType,mediaID,scientificName\no1,d1,animal,m0,a\n"
        )
        data = LabelledImages.from_camtrap_dp(tmp_path)
        assert data.table.columns.tolist() == ["image_id", "path", "label", "deployment"]
        assert data.table["label"].tolist() == ["a"]

    @pytest.mark.parametrize(
        ("media", "observations", "message"),
        [
            (medium("m0") * 2, "", r"media\.csv, record 2: the mediaID stands there twice"),
            (medium("m0") + medium(""), "", r"media\.csv, record 2: the mediaID is empty"),
            (medium("m0"), seen("o1", "m0") * 2, r"observations\.csv, record 2: the observationID stands there twice"),
            (medium("m0", file="../a.jpg"), "", r"media\.csv, record 1: the path '\.\./a\.jpg' leads out"),
            (medium("m0", file="/etc/passwd"), "", "leads out"),
            (medium("m0") + "m1,d1,x,y,z,a,b,c,d,e,f,g,h\n", "", r"media\.csv cannot be read as CSV .*line 3"),
        ],
    )
    def test_tables_that_cannot_be_used(self, tmp_path, media, observations, message):
        with pytest.raises(SettingsError, match=message):
            LabelledImages.from_camtrap_dp(package(tmp_path, media, observations))

    @pytest.mark.parametrize(
        ("resource", "message"),
        [
            ({"name": "movies"}, "has no resource 'media'"),
            ({"data": []}, "resource 'media' has no path"),
            ({"path": []}, "has no path"),
            ({"path": [3]}, "has no path"),
            ({"path": "no.csv"}, r"no\.csv cannot be read \(No such file"),
            ({"path": "../media.csv"}, r"resource media: the path '\.\./media\.csv' leads out"),
            ({"path": "https://a.eu/media.csv"}, "lies on a server; download it"),
            ({"path": "deployments.csv"}, r"deployments\.csv: no column mediaID"),
            ({"path": "broken.csv.gz"}, r"broken\.csv\.gz cannot be read"),
            ({"path": "cut.csv.gz"}, r"cut\.csv\.gz cannot be read"),
            ({"path": "latin.csv"}, r"latin\.csv, line 2: not UTF-8"),
            ({"path": "empty.csv"}, r"empty\.csv cannot be read as CSV"),
            ({"path": "media.csv", "dialect": {"delimiter": 3}}, r"media\.csv cannot be read as CSV"),
        ],
    )
    def test_packages_that_cannot_be_used(self, tmp_path, resource, message):
        resources = [
            {"name": "deployments", "path": "deployments.csv"},
            {"name": "media"} | resource,
            {"name": "observations", "path": "observations.csv"},
        ]
        package(tmp_path, medium("m0"), "", resources=resources)
        (tmp_path / "broken.csv.gz").write_bytes(b"no gzip")
        (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(MEDIA_HEADER.encode() * 100)[:-20])
        (tmp_path / "latin.csv").write_bytes(b"mediaID,deploymentID,filePath\nm\xf6,d1,a.jpg\n")
        (tmp_path / "empty.csv").write_text("")
        with pytest.raises(SettingsError, match=message):
            LabelledImages.from_camtrap_dp(tmp_path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"resources": [', r"datapackage\.json, line 1, column \d+: no JSON"),
            ("[]", "holds a JSON list"),
            ("{}", "has no resource 'deployments'"),
            ('{"resources": {"name": "media"}}', "has no resource"),
            ('{"resources": ["media"]}', "has no resource"),
        ],
    )
    def test_descriptors_that_cannot_be_used(self, tmp_path, text, message):
        (tmp_path / "datapackage.json").write_text(text)
        with pytest.raises(SettingsError, match=message):
            LabelledImages.from_camtrap_dp(tmp_path)
        with pytest.raises(SettingsError, match=r"datapackage\.json cannot be read"):
            LabelledImages.from_camtrap_dp(tmp_path / "no" / "datapackage.json")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00Z", 86_400.0),
        ("2420-05-30T02:57:40Z", 14_213_588_260.0),
        ("1969-12-31 23:59:59.5", -0.5),
        ("0001-01-01T00:00:00Z", -62_135_596_800.0),
        ("2024-03-01T12:00:00.123456789+02:00", 1_709_287_200.123456),
        ("soon", None),
        (None, None),
    ],
)
def test_times_of_any_year(text, seconds):
    for column in ([text], [text, "2024-01-01T00:00:00Z"], ["2024-01-01T00:00:00", text]):
        found = times(pd.Series(column, dtype=object))[column.index(text)]
        assert np.isnan(found) if seconds is None else found == pytest.approx(seconds, abs=1e-5)
