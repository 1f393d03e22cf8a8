"""`find_error_clusters` from end to end, its tables, exports and figures, and odd datasets."""

from __future__ import annotations

import io
import sys

import numpy as np
import pandas as pd
import pytest
from errors_cases import drawn_data, drawn_study
from PIL import Image
from study_cases import CLASSES, make_classifier, register_counting

import fidokit as fk
from fidokit.errors import ErrorClusters, find_error_clusters
from fidokit.errors.tables import CLUSTER_COLUMNS, MEMBER_COLUMNS
from fidokit.exceptions import MissingExtra, SettingsError, StoreError
from fidokit.figures import errors as plots_errors

pytestmark = pytest.mark.usefixtures("quick")

DESIGNED = [
    *("cluster", "size", "n_errors", "error_rate", "expected_rate", "p_value", "q_value", "holdout_size"),
    *("holdout_error_rate", "holdout_p", "stability", "systematic", "true_class", "predicted_class", "sentence"),
    *("effect", "effect_low", "effect_high", "effect_p", "verdict"),
]


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    return find_error_clusters(drawn_study(tmp_path_factory.mktemp("errors")))


def planted(errors):
    table = errors.study.data.table.set_index("image_id")["planted_cause"] == "habitat"
    return table.loc[errors.features.image_ids].to_numpy()


def test_the_planted_cause_is_found_and_named(errors):
    row = errors.clusters.iloc[0]
    assert row["systematic"]
    assert (row["true_class"], row["predicted_class"]) == ("red", "green")
    assert "red taken for green" in row["sentence"]
    assert "site: meadow" in row["sentence"]
    assert "Confirmed on the held-out half" in row["sentence"]
    typical = errors.images(row["cluster"]).head(10)["image_id"]
    assert np.mean(pd.Series(planted(errors), errors.features.image_ids)[typical]) >= 0.8


def test_the_tables_have_their_columns(errors):
    assert CLUSTER_COLUMNS[: len(DESIGNED)] == DESIGNED
    assert list(errors.clusters) == CLUSTER_COLUMNS
    assert list(errors.members) == MEMBER_COLUMNS
    assert errors.clusters["systematic"].dtype == bool
    assert errors.clusters["cluster"].is_unique
    assert set(errors.members["half"]) == {"discovery", "holdout"}
    assert errors.members["correct"].dtype == "boolean"


def test_the_counts_are_those_of_the_members(errors):
    clusters = errors.clusters.set_index("cluster")
    for (cluster, half), own in errors.members.groupby(["cluster", "half"]):
        prefix = "" if half == "discovery" else "holdout_"
        assert clusters.loc[cluster, f"{prefix}size"] == own["correct"].notna().sum()
        assert clusters.loc[cluster, f"{prefix}error_rate"] == pytest.approx(1 - own["correct"].astype(float).mean())
    ranks = errors.members.groupby("cluster")["rank"].apply(list)
    assert all(sorted(r) == list(range(1, len(r) + 1)) for r in ranks)


def test_the_same_study_gives_the_same_tables(errors):
    again = find_error_clusters(errors.study)
    pd.testing.assert_frame_equal(again.clusters, errors.clusters)
    pd.testing.assert_frame_equal(again.members, errors.members)


def test_without_the_planted_column_the_tables_are_the_same(errors, tmp_path):
    table = errors.study.data.table.drop(columns="planted_cause")
    other = find_error_clusters(drawn_study(tmp_path, fk.LabelledImages.from_table(table)))
    pd.testing.assert_frame_equal(other.clusters, errors.clusters)
    pd.testing.assert_frame_equal(other.members, errors.members)


def groups_of(errors):
    """Every group as its images in order, each with its half and place."""
    columns = ["image_id", "half", "rank", "x", "y"]
    groups = errors.members.groupby("cluster")[columns]
    return sorted(tuple(own.itertuples(index=False, name=None)) for _, own in groups)


def test_with_other_labels_the_clusters_have_the_same_members(errors, tmp_path):
    table = errors.study.data.table.copy()
    table["label"] = table["label"].sample(frac=1, random_state=0).to_numpy()
    other = find_error_clusters(drawn_study(tmp_path, fk.LabelledImages.from_table(table)))
    # Only their numbers follow the errors: the clearest is the first.
    assert groups_of(other) == groups_of(errors)
    one, two = (e.clusters for e in (errors, other))
    assert sorted(one["stability"]) == sorted(two["stability"])
    assert not one["error_rate"].equals(two["error_rate"])


def test_the_same_clusters_in_new_images(errors, tmp_path):
    new = drawn_study(tmp_path, drawn_data(tmp_path / "data", 90, seed=5))
    table = errors.assign(new)
    assert list(table) == MEMBER_COLUMNS
    assert set(table["half"]) == {"new"}
    best = errors.clusters["cluster"].iloc[0]
    found = set(table.loc[table["cluster"] == best, "image_id"])
    green = set(new.data.table.loc[new.data.table["planted_cause"] == "habitat", "image_id"])
    assert len(found & green) >= 0.6 * len(green)
    assert len(found - green) <= 0.2 * len(found)


def test_the_same_images_again_are_in_the_same_clusters(errors):
    again = errors.assign(errors.study).drop(columns=["half", "x", "y"])
    pd.testing.assert_frame_equal(again, errors.members.drop(columns=["half", "x", "y"]))


def test_a_burst_column(errors):
    own = find_error_clusters(errors.study, burst="hour")
    halves = own.members.merge(own.study.data.metadata()[["image_id", "hour"]]).groupby("hour")["half"].nunique()
    assert (halves == 1).all()
    with pytest.raises(SettingsError, match="site, hour"):
        find_error_clusters(errors.study, burst="night")


def test_likely_wrong_labels(errors):
    pytest.importorskip("cleanlab")
    table = errors.wrong_labels()
    swapped = {f"p{i:03d}" for i in range(171, 179)}
    assert len(swapped & set(table["image_id"].head(10))) >= 6
    assert (table["quality"].diff().dropna() >= 0).all()


def test_without_cleanlab_the_extra_is_named(errors, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtra, match=r"fidokit\[labels\]"):
        errors.wrong_labels()


def test_csv_files(errors, tmp_path):
    paths = errors.to_csv(tmp_path / "out")
    read = {path.name: pd.read_csv(path) for path in paths}
    assert len(read["clusters.csv"]) == len(errors)
    assert len(read["members.csv"]) == len(errors.members)
    assert len(read["images.csv"]) == len(errors.features)
    listed = read["photographs.csv"]
    assert set(listed["cluster"]) == set(errors.clusters.loc[errors.clusters["systematic"], "cluster"])
    assert listed["path"].str.endswith(".png").all()


def test_a_text_that_a_spreadsheet_would_run_is_quoted():
    from fidokit._util.spreadsheet import _plain

    table = _plain(pd.DataFrame({"label": ["=1+1", "marsh tit", None, "-x"], "n": [1, 2, 3, -4]}))
    assert table["label"].tolist()[:2] == ["'=1+1", "marsh tit"]
    assert table["label"].iloc[3] == "'-x"
    assert table["n"].tolist() == [1, 2, 3, -4]


def test_a_folder_that_cannot_be_written_is_named(errors, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        errors.to_csv(tmp_path / "file" / "out")


def test_without_fiftyone_the_extra_is_named(errors, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingExtra, match=r"fidokit\[fiftyone\]"):
        errors.to_fiftyone()


class FakeFiftyOne:
    """What `to_fiftyone` uses of FiftyOne's interface."""

    class Sample(dict):
        def __init__(self, filepath):
            super().__init__(filepath=filepath)

    class Dataset:
        def __init__(self, name):
            self.name, self.samples = name, []

        def add_samples(self, samples):
            self.samples += samples

    @staticmethod
    def Classification(**options):
        return options

    @staticmethod
    def Heatmap(**options):
        return options


def test_samples_for_fiftyone(errors, monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", FakeFiftyOne)
    dataset = errors.to_fiftyone("birds")
    assert dataset.name == "birds"
    assert len(dataset.samples) == len(errors.features)
    sample = dataset.samples[0]
    row = errors.map.iloc[0]
    assert sample["ground_truth"]["label"] == row["label"]
    assert sample["prediction"]["label"] == row["predicted"]
    assert sample["mask"]["map"].ndim == 2
    inside = [s for s in dataset.samples if s["clusters"]]
    assert len(inside) == (errors.map["cluster"] >= 0).sum()
    assert all(s["sentences"] for s in inside)


def test_figures(errors):
    systematic = errors.clusters[errors.clusters["systematic"]]
    figure = plots_errors.cluster_map(errors.map, dict(zip(systematic["cluster"], systematic["sentence"], strict=True)))
    assert sum(len(trace.x) for trace in figure.data) == len(errors.features)
    crosses = sum(len(t.x) for t in figure.data if t.marker.symbol == "x")
    assert crosses == errors.outcome.wrong.sum()
    matrix = plots_errors.confusion_figure(errors.map, errors.clusters).data[0]
    red, green = (sorted(CLASSES).index(name) for name in ("red", "green"))
    counted = ((errors.map["label"] == "red") & (errors.map["predicted"] == "green")).sum()
    assert matrix.text[red][green].startswith(f"{counted} · ")
    assert str(systematic["cluster"].iloc[0]) in matrix.customdata[red][green].split(",")
    table = errors.verify(infills=("zeros",))
    effects = plots_errors.effect_figure(table).data[0]
    assert list(effects.x) == pytest.approx(table["effect"].tolist())


def test_names_cannot_put_markup_into_figures(errors):
    table = errors.map.assign(label="<b>$x$</b>")
    text = plots_errors.cluster_map(table).to_json()
    assert "<b>" not in text
    assert "$x$" not in text


def test_a_contact_sheet(errors):
    cluster = int(errors.clusters["cluster"].iloc[0])
    sheet = Image.open(io.BytesIO(plots_errors.contact_sheet(errors, cluster, n=5, columns=3, side=60)))
    assert sheet.size == (3 * 72, 2 * (72 + 32))
    assert (200, 30, 30) in {colour for _, colour in sheet.getcolors(10**6)}
    with pytest.raises(SettingsError, match="at least 1"):
        plots_errors.contact_sheet(errors, cluster, n=0)
    with pytest.raises(SettingsError, match="numbered from 1"):
        plots_errors.contact_sheet(errors, -1)


def odd(tmp_path, change, n=36) -> ErrorClusters:
    table = drawn_data(tmp_path / "data", n, wrong_labels=0).table.copy()
    changed = change(table)
    table = table if changed is None else changed
    return find_error_clusters(drawn_study(tmp_path, fk.LabelledImages.from_table(table)))


def without_cause(table):
    return table[table["planted_cause"] == "none"]


@pytest.mark.filterwarnings("ignore:the classifier does not know")
@pytest.mark.parametrize(
    ("change", "n", "words"),
    [
        (without_cause, 36, "there are no errors to group"),
        (lambda t: t.__setitem__("label", [CLASSES[(i + 1) % 3] for i in range(len(t))]), 36, "images"),
        (lambda t: t.__setitem__("label", "red"), 36, "classified wrongly"),
        (lambda t: None, 12, "too few"),
        (lambda t: t.__setitem__("path", t["path"].iloc[0]), 36, "0 of"),
        (lambda t: t.__setitem__("label", None), 36, "without labels"),
        (lambda t: t.__setitem__("label", "unheard of"), 36, "without labels"),
        (lambda t: t.__setitem__("site", None), 36, "systematic"),
        (lambda t: t.__setitem__("site", "everywhere"), 36, "systematic"),
    ],
)
def test_odd_datasets(tmp_path, change, n, words):
    errors = odd(tmp_path, change, n)
    assert words in errors.summary()
    assert list(errors.clusters) == CLUSTER_COLUMNS
    assert list(errors.members) == MEMBER_COLUMNS
    assert not errors.clusters["systematic"].any()
    assert len(errors.verify()) == 0
    assert len(errors.assign(errors.study)) == len(errors.members)
    assert len(plots_errors.cluster_map(errors.map).data)
    plots_errors.confusion_figure(errors.map, errors.clusters)
    plots_errors.effect_figure(errors.verification.table)
    errors.to_csv(tmp_path / "csv")


def test_only_wrong_images(tmp_path):
    def change(table):
        return without_cause(table).assign(
            label=lambda t: [CLASSES[(CLASSES.index(name) + 1) % 3] for name in t["label"]]
        )

    assert "every image is wrong" in odd(tmp_path, change).summary()


def test_photographs_that_are_all_unreadable_by_now(tmp_path):
    data = drawn_data(tmp_path / "data", 12)
    study = drawn_study(tmp_path, data)
    for path in data.table["path"]:
        with open(path, "r+b") as file:  # noqa: PTH123
            file.seek(40)
            file.write(b"\0" * 200)
    errors = find_error_clusters(study)
    assert len(errors.features.failures) == 12
    assert "12 photographs could not be described" in errors.summary()
    assert list(errors.clusters) == CLUSTER_COLUMNS
    assert list(errors.members) == MEMBER_COLUMNS
    assert len(errors.map) == len(errors.verify()) == 0


def test_ten_thousand_classes(tmp_path):
    import torch
    from study_cases import SIZE, Colours
    from torch import nn

    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.colours = Colours()

        def forward(self, x):
            return nn.functional.pad(self.colours(x), (0, 9_997), value=-9.0)

    names = CLASSES + [f"species {i}" for i in range(9_997)]
    classifier = fk.Classifier(
        Many(),
        names,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        size=(SIZE, SIZE),
        precision="float32",
        micro_batch=8,
        device="cpu",
    )
    table = drawn_data(tmp_path / "data", 60).table
    table["label"] = [name if i % 5 else names[100 + i] for i, name in enumerate(table["label"])]
    register_counting("counting")
    with torch.no_grad():
        study = fk.run_study(
            classifier, fk.LabelledImages.from_table(table), ["counting"], store=tmp_path / "run", progress=False
        )
    errors = find_error_clusters(study)
    assert len(errors.clusters)
    assert "of 60 images" in errors.summary()


def test_what_is_no_study_is_refused():
    with pytest.raises(SettingsError, match="run_study"):
        find_error_clusters(make_classifier())
