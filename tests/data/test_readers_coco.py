"""COCO Camera Traps and iNaturalist JSON, from small files in their published layouts."""

import json
import math

import pytest
from PIL import Image

from fidokit.data.detect import read_dataset
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError

NO_WARNING = pytest.mark.filterwarnings("error")

CATEGORIES = [
    {"id": 0, "name": "empty"},
    {"id": 1, "name": "white-tailed deer"},
    {"id": 2, "name": "raccoon"},
]


def image(key, **fields):
    return {"id": key, "file_name": f"loc_1/{key}.jpg", **fields}


def annotation(key, place, category, **fields):
    return {"id": key, "image_id": place, "category_id": category, **fields}


def write(tmp_path, images, annotations=(), categories=CATEGORIES, **further):
    path = tmp_path / "dataset.json"
    content = {"info": {"version": "1.0"}, "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps({name: value for name, value in (content | further).items() if value is not None}))
    return path


def read(tmp_path, *arguments, **further):
    return LabelledImages.from_coco(write(tmp_path, *arguments, **further))


@NO_WARNING
def test_camera_traps(tmp_path):
    images = [
        image(
            "a",
            width=2048,
            height=1536,
            seq_id="s1",
            seq_num_frames=2,
            frame_num=0,
            location=33,
            datetime="2013-10-04 13:31:53",
            rights_holder="Justin",
            corrupt=False,
        ),
        image("b", seq_id="s1", seq_num_frames=2, frame_num=1, location="33", datetime="2013-10-04 13:31:54"),
        image("c", location="x<y"),
    ]
    annotations = [
        annotation("1", "a", 1, bbox=[10.5, 20, 100, 50], sequence_level_annotation=False),
        annotation("2", "b", 0, sequence_level_annotation=True),
    ]
    data = read(tmp_path, images, annotations)
    assert data.table["image_id"].tolist() == ["a", "b", "c"]
    assert data.table["path"].iloc[0] == str(tmp_path / "loc_1" / "a.jpg")
    assert data.table["label"].tolist() == ["white-tailed deer", "empty", None]
    assert [data.box(i) for i in range(3)] == [(10.5, 20, 110.5, 70), None, None]
    metadata = data.metadata()
    assert metadata.columns.tolist() == [
        *("image_id", "n_boxes", "sequence", "seq_num_frames", "frame_num", "location", "datetime", "rights_holder"),
        "sequence_level_annotation",
    ]
    assert metadata["sequence"].tolist() == ["s1", "s1", None]
    assert metadata["location"].tolist() == ["33", "33", "x<y"]
    assert metadata["frame_num"].tolist()[:2] == [0, 1]
    assert metadata["sequence_level_annotation"].tolist() == [False, True, False]
    metadata.to_parquet(tmp_path / "m.parquet")


@NO_WARNING
def test_inaturalist_2021(tmp_path):
    category = {
        **{"id": 2912, "name": "Turdus merula", "common_name": "Eurasian Blackbird", "supercategory": "Birds"},
        **{"kingdom": "Animalia", "phylum": "Chordata", "class": "Aves", "order": "Passeriformes"},
        **{"family": "Turdidae", "genus": "Turdus", "specific_epithet": "merula", "image_dir_name": "02912_Animalia"},
    }
    images = [
        {
            **{"id": 5, "file_name": "train/02912_Animalia/u.jpg", "width": 500, "height": 375, "license": 0},
            **{"rights_holder": "A. B.", "date": "2014-07-28 22:22:40+00:00", "latitude": 43.8, "longitude": -71.1},
            "location_uncertainty": math.nan,
        },
        {"id": 6, "file_name": "train/02912_Animalia/v.jpg", "latitude": math.nan, "location_uncertainty": 77},
    ]
    data = read(tmp_path, images, [annotation(5, 5, 2912)], [category], licenses=[{"id": 0}])
    assert data.table["label"].tolist() == ["Turdus merula", None]
    row = data.table.iloc[0]
    assert row["genus"] == "Turdus"
    assert row["class"] == "Aves"
    assert row["supercategory"] == "Birds"
    assert row["datetime"] == "2014-07-28 22:22:40+00:00"
    assert row["latitude"] == 43.8
    assert data.table["location_uncertainty"].isna().tolist() == [True, False]
    assert "box_x0" not in data.table.columns
    assert data.table["genus"].iloc[1] is None


@NO_WARNING
def test_inaturalist_2017_boxes_and_test_sets(tmp_path):
    # 2017 has a box in each annotation of some supercategories, and the ids of photographs are numbers.
    data = read(tmp_path, [image(1)], [annotation(1, 1, 1, bbox=[1, 2, 3, 4]), annotation(2, 1, 1, bbox=[])])
    assert data.box(0) == (1, 2, 4, 6)
    assert data.table["n_boxes"].tolist() == [1]
    for missing in ({"annotations": None, "categories": None}, {"annotations": []}):
        test = read(tmp_path, [image(1), image(2)], **missing)
        assert test.table["label"].tolist() == [None, None]


def test_several_annotations(tmp_path):
    images = [image(key) for key in "abcdef"]
    annotations = [
        annotation(1, "a", 1, bbox=[0, 0, 10, 10]),
        annotation(2, "a", 1, bbox=[50, 50, 20, 6]),
        annotation(3, "a", 1, bbox=[9, 9, 2, 2]),
        annotation(4, "b", 0),
        annotation(5, "b", 2),
        annotation(6, "c", 1),
        annotation(7, "c", 2),
        annotation(8, "d", 2, bbox=[5, 5, 2, 3]),
        annotation(9, "d", 2, bbox=[1, 1, 3, 2]),
        annotation(10, "e", 0),
    ]
    with pytest.warns(RuntimeWarning, match=r"1 photographs show several classes and have no label .*image c\)"):
        data = read(tmp_path, images, annotations)
    assert data.table["label"].tolist() == ["white-tailed deer", "raccoon", None, "raccoon", "empty", None]
    # The largest box, the first of equals.
    assert data.box(0) == (50, 50, 70, 56)
    assert data.box(3) == (5, 5, 7, 8)
    assert data.table["n_boxes"].tolist() == [3, 0, 0, 2, 0, 0]


@NO_WARNING
def test_two_words_for_no_animal_and_names_that_stand_there_twice(tmp_path):
    categories = [*CATEGORIES, {"id": 7, "name": "Blank"}, {"id": 8, "name": "raccoon"}]
    annotations = [
        *(annotation(1, "a", 0), annotation(2, "a", 7)),
        *(annotation(3, "b", 2), annotation(4, "c", 8), annotation(5, "c", 7)),
    ]
    data = read(tmp_path, [image(key) for key in "abc"], annotations, categories)
    assert data.table["label"].tolist() == ["Blank", "raccoon (2)", "raccoon (8)"]


def test_relative_boxes(tmp_path):
    (tmp_path / "loc_1").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "loc_1" / "b.jpg", exif=exif)
    images = [image("a", width=200, height=100), image("b"), image("c"), image("d", width=0, height=100)]
    box = [0.25, 0.5, 0.5, 0.25]
    annotations = [annotation(i, key, 1, bbox_relative=box) for i, key in enumerate("abcd")]
    with pytest.warns(RuntimeWarning, match=r"3 of the 4 photographs .* cannot be read \(first: .*image a\)"):
        data = read(tmp_path, images, annotations)
    # The second photograph stands upright with 20 x 40 pixels; the others are not there.
    with pytest.warns(RuntimeWarning, match=r"boxes are left out: .*a\.jpg does not exist"):
        assert [data.box(i) for i in range(4)] == [None, (5, 20, 15, 30), None, None]
    Image.new("RGB", (100, 50)).save(tmp_path / "loc_1" / "a.jpg")
    assert data.box(0) == (25, 25, 75, 37.5)


def test_odd_records_are_counted(tmp_path):
    images = [
        image("a"),
        image("b", corrupt=True),
        {"id": "c"},
        image("d") | {"file_name": None},
        image("e", label="x", box="1 2 3 4", parts=["a"], x0=5, tags=["t"], note={"k": 1}, flag=True, age=10**30),
    ]
    annotations = [
        annotation("1", "a", 1, bbox=[1, 2, 3]),
        annotation("2", "a", 1, bbox=[1, 2, "3", 4]),
        annotation("3", "a", 1, bbox=[1, 2, None, 4]),
        annotation("4", "a", 1, bbox=[1, 2, 0, 4]),
        annotation("5", "a", 1, bbox=[1e17, 2, 1, 4]),
        annotation("6", "a", 1, bbox=[10**400, 2, 1, 4]),
        annotation("7", "a", 1, bbox="1 2 3 4"),
        annotation("8", "b", 2),
        annotation("9", "nowhere", 2),
    ]
    with pytest.warns(RuntimeWarning, match="dataset.json") as caught:
        data = read(tmp_path, images, annotations)
    message = str(caught[0].message)
    assert len(caught) == 1
    for part in (
        "2 images have no file_name and were left out (first: ",
        "1 images are marked as corrupt",
        "1 annotations belong to images that are not there and were left out",
        "annotation 9)",
        "5 boxes are not four numbers and were left out",
        "2 boxes have no area and were left out",
        "annotation 4)",
    ):
        assert part in message
    assert data.skipped == 3
    assert data.table["image_id"].tolist() == ["a", "e"]
    assert data.box(0) is None
    assert data.metadata().columns.tolist() == ["image_id", "n_boxes", "flag", "age"]
    assert data.table["age"].tolist() == [None, str(10**30)]
    assert data.table["flag"].tolist() == [None, True]
    assert data.table["label"].tolist() == ["white-tailed deer", None]


@NO_WARNING
def test_file_names_with_backslashes_spaces_and_lone_surrogates(tmp_path):
    (tmp_path / "a b").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a b" / "c d.png")
    images = [image("x") | {"file_name": "a b\\c d.png"}, image("y") | {"file_name": "\ud800.png"}]
    data = read(tmp_path, images, [annotation("\udcff", "x", 1)])
    assert data.open(0).size == (8, 8)
    assert len(data.fingerprint()) == 64


@NO_WARNING
def test_the_photographs_may_lie_elsewhere(tmp_path):
    path = write(tmp_path, [image("a")], [annotation(1, "a", 1)])
    data = LabelledImages.from_coco(path, root=tmp_path / "elsewhere")
    assert data.table["path"].tolist() == [str(tmp_path / "elsewhere" / "loc_1" / "a.jpg")]
    assert read_dataset(path).table["path"].tolist() == [str(tmp_path / "loc_1" / "a.jpg")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n {"id": 1, "fi', r"dataset\.json, line 2, column \d+: no JSON, or cut off"),
        ("", "line 1, column 1: no JSON"),
        ("[" * 100_000, r"dataset\.json"),
        ("[]", "holds a JSON list"),
        (b'{"images": [],\n "a": "\xff"}', r"dataset\.json, line 2: not UTF-8"),
        ("{}", "has no list 'images'"),
        ('{"images": {}}', "has no list 'images'"),
        ('{"images": []}', "lists no images"),
        ('{"images": [{"file": "a.jpg"}], "detection_categories": {}}', "the results of a detector"),
        ('{"images": [3]}', r"images\[0\]: 3 is no JSON object"),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": []}', "has no list 'categories'"),
        ('{"images": [{"id": 1}]}', "none of its 1 images can be used"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "dataset.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=message) as caught:
        LabelledImages.from_coco(path)
    assert "dataset.json" in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(SettingsError, match=r"no\.json cannot be read"):
        LabelledImages.from_coco(tmp_path / "no.json")


@NO_WARNING
def test_a_byte_order_mark(tmp_path):
    path = write(tmp_path, [image("a")], [annotation(1, "a", 1)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b", ", b",\r\n"))
    assert LabelledImages.from_coco(path).classes == ["white-tailed deer"]


@pytest.mark.parametrize(
    ("images", "annotations", "categories", "message"),
    [
        ([image(1), image("1")], [], CATEGORIES, "image 1: the id stands there twice"),
        ([{"file_name": "a.jpg"}], [], CATEGORIES, "has no id"),
        ([image(1)], [], [CATEGORIES[0], CATEGORIES[0]], "category 0: the id stands there twice"),
        ([image(1)], [], [{"id": 1}], "has no name"),
        ([image(1)], [annotation("q", 1, 9)], CATEGORIES, r"annotation q: there is no category '9'"),
        ([image(1)], [{"id": 1, "category_id": 1}], CATEGORIES, "has no image_id"),
        ([image(1) | {"file_name": "../a.jpg"}], [], CATEGORIES, r"image 1: the path '\.\./a\.jpg' leads out"),
        ([image(1) | {"file_name": "a/../../a.jpg"}], [], CATEGORIES, "leads out"),
        ([image(1) | {"file_name": "/etc/passwd"}], [], CATEGORIES, "leads out"),
        ([image(1) | {"file_name": "C:\\a.jpg"}], [], CATEGORIES, "leads out"),
    ],
)
def test_what_makes_the_table_ambiguous_is_an_error(tmp_path, images, annotations, categories, message):
    with pytest.raises(SettingsError, match=message):
        read(tmp_path, images, annotations, categories)
