"""The table behind all exports, and the files that they do not write over."""

import numpy as np
import pandas as pd
import pytest
from study_cases import make_classifier, make_data, paint, register_counting

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.study.exports.results import relative_boxes, relative_paths
from fidokit.study.exports.writing import check_folder, whole_folder, write_whole

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Clusters:
    """Two systematic clusters and one that is none."""

    def __init__(self, image_ids):
        self.clusters = pd.DataFrame(
            {"cluster": [4, 2, 7], "systematic": [True, True, False], "sentence": ["four, all", "two", "seven"]}
        )
        self.members = pd.DataFrame(
            {"image_id": [image_ids[0], image_ids[0], image_ids[1], image_ids[1]], "cluster": [4, 2, 7, 4]}
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    register_counting("counting")
    data = make_data(folder / "data", 9)
    paint(data, 8, 255)  # the classifier gives NaN
    table = data.table.assign(label=data.table["label"].replace({"blue": "Blue "}))
    table.loc[0, "label"] = "green"
    table.loc[1, "label"] = None
    data = fk.LabelledImages.from_table(table, root=data.root)
    return fk.run_study(make_classifier(), data, {"c": "counting"}, store=folder / "s", progress=False)


def test_one_row_a_photograph_with_its_state(made):
    table = made.results()
    assert table["image_id"].tolist() == made.images["image_id"].tolist()
    assert table["state"].value_counts().to_dict() == {"right": 6, "wrong": 1, "not judged": 1, "failed": 1}
    failed = table[table["state"] == "failed"].iloc[0]
    assert "NaN" in failed["note"]
    assert failed["method"] is None
    assert failed["verdict"] is None
    for name in ("clusters", "sentences", "review", "reviewed_at"):
        assert table[name].isna().all()


def test_the_verdict_follows_from_the_scores(made):
    scores = made.masks(columns=["image_id", "kind", "score_full", "score_kept", "score_dropped"])
    for kind in ("ssr", "sdr"):
        table = made.results(mask=("c", kind)).set_index("image_id")
        for row in scores[scores["kind"] == kind].to_dict("records"):
            own = table.loc[row["image_id"]]
            assert own["kept"] == pytest.approx(row["score_kept"] / row["score_full"])
            assert own["dropped"] == pytest.approx(row["score_dropped"] / row["score_full"])
            enough, needed = own["kept"] >= 0.9 > own["dropped"], own["dropped"] <= 0.1
            words = {
                (1, 1): "enough and needed",
                (1, 0): "enough only",
                (0, 1): "needed only",
                (0, 0): "explains little",
            }
            assert own["verdict"] == words[enough, needed]
            assert own["kind"] == kind


def test_the_verdicts_of_verified_regions_are_given_too(made):
    ids = made.images["image_id"].tolist()
    before = made.results(mask=("c", "ssr"))["verdict"].tolist()
    cut = made.regions("c", "ssr", ids[:2], progress=False)
    after = made.results(mask=("c", "ssr"))["verdict"].tolist()
    assert after[:2] == [f"{words}; region {own}" for words, own in zip(before, cut["verdict"], strict=False)]
    assert after[2:] == before[2:]


def test_clusters_that_are_systematic(made):
    ids = made.images["image_id"].tolist()
    table = made.results(errors=Clusters(ids))
    assert table["clusters"].tolist()[:3] == [[2, 4], [4], []]
    assert table["sentences"].tolist()[:2] == [["two", "four, all"], ["four, all"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": ("rise", "ssr")}, "no method 'rise'"),
        ({"mask": ("c", "joint")}, "'c' makes no 'joint' masks, only ssr, sdr"),
        ({"mask": "ssr"}, r"mask must be \(label of a method, kind\)"),
        ({"review": pd.DataFrame({"image_id": ["x"], "review": ["open"]})}, "review names 'x', which is no photograph"),
        ({"review": pd.DataFrame({"review": ["open"]})}, "review has no column image_id"),
    ],
)
def test_what_cannot_be_used(made, arguments, message):
    with pytest.raises(SettingsError, match=message):
        made.results(**arguments)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"review": "fine"}, "no state 'fine'; there are open, confirmed, corrected, unsure"),
        ({"review": "corrected"}, "it is corrected, but the column label does not say to what"),
        ({"review": "open", "at": "2024-01-01"}, "the time '2024-01-01' has no zone"),
        ({"review": "open", "at": "soon"}, "'soon' is no time"),
    ],
)
def test_reviews_that_cannot_be_used(made, row, message):
    image_id = made.images["image_id"].iloc[0]
    with pytest.raises(SettingsError, match=message):
        made.results(review=pd.DataFrame([{"image_id": image_id, **row}]))
    with pytest.raises(SettingsError, match="twice; keep the review that counts"):
        made.results(review=pd.DataFrame([{"image_id": image_id, "review": "open"}] * 2))


def test_paths_outside_of_the_root(made, tmp_path):
    assert relative_paths(made)[0] == "blue/002.png"
    with pytest.raises(SettingsError, match=r"does not lie in .*; give as root a folder that holds all photographs"):
        relative_paths(made, tmp_path)


def test_boxes_in_shares_of_the_photograph(tmp_path):
    register_counting("counting")
    data = make_data(tmp_path / "data", 3)
    table = data.table.assign(
        box_x0=[4, np.nan, -8], box_y0=[8, np.nan, 0], box_x1=[8, np.nan, 8], box_y1=[16, np.nan, 4]
    )
    data = fk.LabelledImages.from_table(table, root=data.root)
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "s", progress=False)
    assert relative_boxes(study) == [(0.25, 0.5, 0.5, 1.0), None, (0.0, 0.0, 0.5, 0.25)]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(folder, meanwhile=None):
    """Write a folder, during which something else happens."""
    with whole_folder(folder, "last", False) as stage:
        (stage / "last").write_text("1")
        if meanwhile is None:
            raise RuntimeError
        meanwhile()


class TestWriting:
    def test_a_file_that_appears_meanwhile_is_not_written_over(self, tmp_path):
        path = tmp_path / "new" / "a.csv"
        write_whole(path, b"one", overwrite=False)
        with pytest.raises(SettingsError, match=r"a\.csv is there already; choose another name, or say overwrite=True"):
            write_whole(path, b"two", overwrite=False)
        assert path.read_bytes() == b"one"
        write_whole(path, b"two", overwrite=True)
        assert path.read_bytes() == b"two"
        assert names(path.parent) == ["a.csv"]

    def test_a_link_is_no_way_around(self, tmp_path):
        (tmp_path / "a").symlink_to(tmp_path / "nowhere")
        with pytest.raises(SettingsError, match="is there already"):
            write_whole(tmp_path / "a", b"", overwrite=False)
        assert not (tmp_path / "nowhere").exists()

    def test_a_folder_appears_whole(self, tmp_path):
        folder = tmp_path / "out"
        with pytest.raises(RuntimeError):
            fill(folder)
        assert names(tmp_path) == []
        folder.mkdir()
        with whole_folder(folder, "last", False) as stage:
            (stage / "sub").mkdir()
            (stage / "sub" / "first").write_text("1")
        assert (folder / "sub" / "first").read_text() == "1"
        with pytest.raises(SettingsError, match="is there already"):
            check_folder(folder, False)
        with whole_folder(folder, "last", True) as stage:
            (stage / "last").write_text("2")
        assert names(folder) == ["last", "sub"]
        assert names(tmp_path) == ["out"]

    def test_a_folder_that_is_filled_meanwhile_stays_as_it_is(self, tmp_path):
        folder = tmp_path / "out"

        def another():
            folder.mkdir()
            (folder / "last").write_text("2")

        with pytest.raises(SettingsError, match="is there already"):
            fill(folder, another)
        assert (folder / "last").read_text() == "2"
        assert names(tmp_path) == ["out"]
