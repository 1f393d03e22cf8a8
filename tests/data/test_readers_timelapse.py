"""The table that Timelapse exports."""

import pytest
from PIL import Image

from fidokit.data.detect import read_dataset
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError

HEADER = "File,RelativePath,DateTime,DeleteFlag,Species,Count"


def write(tmp_path, *lines, header=HEADER, files=("s1/a.jpg", "s1/b.jpg", "s2/c/d.jpg")):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / file)
    path = tmp_path / "TimelapseData.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_one_row_a_photograph(tmp_path):
    path = write(
        tmp_path, "a.jpg,s1,2020-05-01 10:00:00,false,fox,1", "b.jpg,s1,2020-05-01 10:00:05,false,,2",
        "d.jpg,s2\\c,2020-05-02 10:00:00,False,hare,",
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="1 records have no label"):
        data = LabelledImages.from_timelapse(path, label="Species")
    table = data.table
    assert table["image_id"].tolist() == ["s1/a.jpg", "s1/b.jpg", "s2/c/d.jpg"]
    assert table["path"].tolist() == [str(tmp_path / file) for file in table["image_id"]]
    assert table["label"].tolist() == ["fox", None, "hare"]
    assert table["File"].tolist() == ["a.jpg", "b.jpg", "d.jpg"]
    assert table["RelativePath"].tolist() == ["s1", "s1", "s2\\c"]
    assert table["datetime"].tolist()[0] == "2020-05-01 10:00:00"
    assert table["Count"].tolist()[:2] == [1, 2]
    assert table["Species"].tolist() == ["fox", None, "hare"]
    assert "DeleteFlag" not in table.columns
    assert data.skipped == 0


def test_what_is_left_out(tmp_path):
    path = write(
        tmp_path, "a.jpg,s1,,false,fox,", "b.jpg,s1,,true,fox,", "v.mp4,s1,,false,fox,", ",s1,,false,fox,",
        "d.jpg,s2\\c,,false,hare,", "d.jpg,s2\\c,,false,fox,", "a.jpg,s1,,false,fox,2",
    )  # fmt: skip
    with pytest.warns(RuntimeWarning) as warnings:
        data = LabelledImages.from_timelapse(path)
    # Two records of one photograph that say the same, and two that contradict each other.
    assert data.table["image_id"].tolist() == ["s1/a.jpg", "s2/c/d.jpg"]
    assert data.table["label"].tolist() == ["fox", None]
    assert data.skipped == 3
    message = str(warnings[0].message)
    for part in (
        "the column 'Species' is taken for label",
        "1 records have no File and were left out",
        "1 records are of no photographs, such as videos, and were left out (1 .mp4)",
        "1 records have the DeleteFlag and were left out",
        "2 records are further ones of their photograph",
        "1 photographs show several classes and have no label",
    ):
        assert part in message


def test_labels_in_several_columns(tmp_path):
    header = "File,RelativePath,Date,Time,DeleteFlag,fox,hare,empty,Common,Other"
    path = write(
        tmp_path, "a.jpg,s1,01-May-2020,10:00:00,false,true,false,false,fox,", "b.jpg,s1,,,false,true,true,false,,",
        "d.jpg,s2/c,,,false,false,false,true,,hare", header=header,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="show several classes"):
        data = LabelledImages.from_timelapse(path, label=["fox", "hare", "empty"])
    assert data.table["label"].tolist() == ["fox", None, "empty"]
    assert data.table["datetime"].tolist() == ["01-May-2020 10:00:00", None, None]
    with pytest.warns(RuntimeWarning, match="no label"):
        data = LabelledImages.from_timelapse(path, label=["Common", "Other"])
    assert data.table["label"].tolist() == ["fox", None, "hare"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_photographs_elsewhere(tmp_path):
    photographs = tmp_path / "photographs"
    path = write(photographs, "a.jpg,s1,,false,fox,")
    moved = path.rename(tmp_path / path.name)
    with pytest.raises(SettingsError, match="give the folder to which the paths are relative as `images`"):
        LabelledImages.from_timelapse(moved)
    data = LabelledImages.from_timelapse(moved, images=photographs)
    assert data.open(0).size == (40, 30)


@pytest.mark.parametrize(
    ("lines", "header", "options", "message"),
    [
        (["a.jpg,fox"], "File,Species", {}, "no column RelativePath among File, Species"),
        (["a.jpg,s1,,false,fox,"], HEADER, {"label": "Taxon"}, "no column 'Taxon' for the label among File"),
        (["a.jpg,s1,,false,fox,"], HEADER, {"label": []}, "for the label among"),
        (["a.jpg,s1,,true,fox,"], HEADER, {}, "none of its 1 records is of a photograph that can be used"),
        (["a.jpg,..\\s1,,false,fox,"], HEADER, {}, "leads out of the dataset"),
        ([], HEADER, {}, "is empty"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tables_that_cannot_be_used(tmp_path, lines, header, options, message):
    with pytest.raises(SettingsError, match=message):
        LabelledImages.from_timelapse(write(tmp_path, *lines, header=header), **options)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_file_holds_decides_its_reader(tmp_path):
    path = write(tmp_path, "a.jpg,s1,,true,fox,", "b.jpg,s1,,false,fox,")
    assert read_dataset(path).table["image_id"].tolist() == ["s1/b.jpg"]
    path.write_text("path,label\ns1/a.jpg,fox\n")
    assert read_dataset(path).table["image_id"].tolist() == ["s1/a.jpg"]
