import html
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from study_cases import CLASSES, make_classifier, make_data, register_counting

import fidokit as fk
from fidokit.data.images import LabelledImages
from fidokit.exceptions import ClassifierError, SettingsError, StoreError
from fidokit.methods import explain, register_method
from fidokit.models.classifier import Classifier
from fidokit.study.store.store import SCHEMA, Store

METHODS = {"z last": "counting", "finer": ("counting", {"cells": 8}), "plain": "flat"}


def flat(_classifier, images, _targets):
    """Masks as large as the input."""
    return images.mean(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study in which one photograph cannot be read and the last chunk has been lost."""
    folder = tmp_path_factory.mktemp("study")
    data = make_data(folder / "data", 10)
    Path(data.table["path"][1]).write_bytes(b"broken")
    register_counting("counting")
    register_method("flat", flat)
    classifier = make_classifier()
    with pytest.warns(RuntimeWarning):
        fk.run_study(classifier, data, METHODS, store=folder / "s", part_size=4, progress=False)
    for part in (folder / "s").rglob("*00002.parquet"):
        part.unlink()
    return folder / "s", classifier, data


@pytest.fixture
def study(made):
    return fk.open_study(*made)


def test_masks_are_in_the_order_of_the_dataset_the_methods_and_the_kinds(study, made):
    frame = study.masks()
    ids = [image_id for i, image_id in enumerate(made[2].table["image_id"]) if i != 1 and i < 8]
    kinds = {"z last": ["ssr", "sdr"], "finer": ["ssr", "sdr"], "plain": ["attribution"]}
    expected = [(i, label, kind) for i in ids for label in METHODS for kind in kinds[label]]
    assert list(frame[["image_id", "method", "kind"]].itertuples(index=False, name=None)) == expected
    assert list(frame.index) == list(range(len(expected)))
    assert {(m, a.shape) for m, a in zip(frame["method"], frame["mask"], strict=True)} == {
        ("z last", (4, 4)),
        ("finer", (8, 8)),
        ("plain", (16, 16)),
    }
    assert all(a.dtype == np.float32 for a in frame["mask"])


def test_masks_can_be_chosen(study):
    whole = study.masks()
    some = study.masks(["plain", "finer"], ["sdr", "attribution"], ["mask", "image_id", "score_kept"])
    chosen = whole[whole["method"].isin(["plain", "finer"]) & whole["kind"].isin(["sdr", "attribution"])]
    assert list(some.columns) == ["mask", "image_id", "score_kept"]
    pd.testing.assert_frame_equal(
        some[["image_id", "score_kept"]], chosen[["image_id", "score_kept"]].reset_index(drop=True)
    )
    for got, want in zip(some["mask"], chosen["mask"], strict=True):
        np.testing.assert_array_equal(got, want)
    assert set(study.masks("finer", "ssr", ["kind"])["kind"]) == {"ssr"}
    assert study.masks("plain", "ssr").empty
    assert list(study.masks("plain", "ssr").columns) == [*SCHEMA.names, "verdict"]


def test_only_what_is_asked_for_is_read(study, monkeypatch):
    asked = []
    batches = Store.mask_batches
    monkeypatch.setattr(
        Store,
        "mask_batches",
        lambda self, labels, columns, *args, **options: (
            asked.append(columns) or batches(self, labels, columns, *args, **options)
        ),
    )
    study.masks(columns=["score_kept"])
    assert asked == [["image_id", "method", "kind", "score_kept"]]


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
@pytest.mark.parametrize("methods", [None, "plain", ["finer", "plain"]])
def test_masks_come_piece_by_piece_in_the_same_order(study, size, methods):
    whole = study.masks(methods)
    pieces = list(study.iter_masks(methods, batch_size=size))
    assert [len(piece) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert 0 < len(pieces[-1]) <= size
    assert all(piece.index[0] == 0 for piece in pieces)
    together = pd.concat(pieces, ignore_index=True)
    pd.testing.assert_frame_equal(together.drop(columns="mask"), whole.drop(columns="mask"))
    for got, want in zip(together["mask"], whole["mask"], strict=True):
        np.testing.assert_array_equal(got, want)


def test_masks_that_fit_into_no_memory(study):
    with pytest.raises(SettingsError, match="do not fit into memory; give a smaller `size`"):
        study.mask_array("finer", "ssr", (2**24, 2**24))


def test_no_masks_are_no_pieces(study):
    assert list(study.iter_masks("plain", "ssr")) == []
    with pytest.raises(SettingsError, match="batch_size is 0"):
        study.iter_masks(batch_size=0)


def test_masks_of_some_photographs_are_read_from_their_parts_alone(study, made, monkeypatch):
    whole, ids = study.masks(), list(made[2].table["image_id"])
    read = []
    tables = Store._tables
    monkeypatch.setattr(
        Store, "_tables", lambda self, names, *arguments: read.extend(names) or tables(self, names, *arguments)
    )
    chosen = [ids[6], ids[4], ids[8]]  # the last one has none
    some = study.masks(image_ids=chosen, columns=["image_id", "kind", "mask"])
    assert {name[-13:] for name in read} == {"00001.parquet"}
    assert len(read) == len(METHODS)
    expected = whole[whole["image_id"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(some[["image_id", "kind"]], expected[["image_id", "kind"]])
    pieces = pd.concat(study.iter_masks(image_ids=chosen, batch_size=3), ignore_index=True)
    assert pieces["image_id"].tolist() == expected["image_id"].tolist()
    assert study.masks(image_ids=[]).empty
    assert set(study.masks(image_ids=ids[0])["image_id"]) == {ids[0]}
    with pytest.raises(SettingsError, match="no photograph 'nobody'"):
        study.masks(image_ids=[ids[0], "nobody"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.masks("rise"), "no method 'rise'; there are z last, finer, plain"),
        (lambda s: s.masks(kinds="SSR"), r"no kind 'SSR'; did you mean 'ssr', 'sdr'\? There are ssr"),
        (lambda s: s.masks(columns=["masks"]), "no column 'masks'"),
        (lambda s: s.mask_array("plain", "ssr"), "'plain' makes no 'ssr' masks, only attribution"),
        (lambda s: s.kinds("rise"), "no method 'rise'"),
        (lambda s: s.summary(n_resamples=0), "at least 1"),
    ],
)
def test_what_there_is_not(study, call, message):
    with pytest.raises(SettingsError, match=message):
        call(study)


def test_mask_array_is_in_the_order_of_the_predictions(study, made):
    _, classifier, data = made
    array = study.mask_array("finer", "ssr")
    assert array.shape == (10, 16, 16)
    assert array.dtype == np.float32
    missing = study.predictions()["predicted"].isna().to_numpy()
    assert missing.tolist() == [i in (1, 8, 9) for i in range(10)]
    np.testing.assert_array_equal(np.isnan(array).all(axis=(1, 2)), missing)
    np.testing.assert_array_equal(np.isnan(array).any(axis=(1, 2)), missing)
    masks = explain(classifier, data.subset([7]), "counting", cells=8)
    np.testing.assert_allclose(array[7], masks.at("ssr")[0], atol=1e-3)
    np.testing.assert_allclose(study.mask_array("finer", "ssr", (8, 8))[7], masks.ssr[0], atol=1e-3)


def test_predictions_say_why_there_is_none(study):
    frame = study.predictions()
    assert list(frame.columns) == [
        *("image_id", "path", "label", "predicted", "correct", "score", "margin", "runner_up", "reason")
    ]
    assert "broken" not in CLASSES
    assert "blue/005.png" in frame["reason"][1]
    assert frame["reason"].tolist()[8:] == ["not predicted yet"] * 2
    assert frame["reason"].isna().sum() == 7
    assert frame["correct"].tolist()[:1] == [True]
    assert frame["correct"].isna().sum() == 3


def test_status_counts(study):
    assert study.status().to_dict("records") == [
        {"method": label, "finished": 7, "failed": 1, "missing": 2} for label in METHODS
    ]
    assert len(study) == 10


def test_the_photographs_come_from_the_store(made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = fk.open_study(made[0])
    data = made[2]
    assert study.data.fingerprint() == data.fingerprint()
    pd.testing.assert_frame_equal(study.data.table, data.table, check_dtype=False)
    assert study.data.classes == data.classes


def test_relative_paths_hold_from_elsewhere(tmp_path, monkeypatch):
    make_data(tmp_path / "project" / "data", 3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    register_counting("counting")
    data = LabelledImages.from_folder("data")
    fk.run_study(make_classifier(), data, "counting", store="s", progress=False)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = fk.open_study("../project/s").data
    assert [str(path) for path in found.table["path"]] == [str(tmp_path / "project" / p) for p in data.table["path"]]
    assert found.load(2, make_classifier().preprocessing)[0].shape == (3, 16, 16)


def test_a_classifier_without_a_name_is_asked_for(made):
    with pytest.raises(StoreError, match=r"Colours, 3 classes.*no name to load it by; give it: .*classifier=\.\.\."):
        _ = fk.open_study(made[0]).classifier


def named(made, tmp_path, name):
    """A copy of the study whose classifier has a name."""
    store = tmp_path / "copy"
    store.mkdir()
    manifest = json.loads((made[0] / "study.json").read_text())
    manifest["classifier"]["name"] = name
    (store / "study.json").write_text(json.dumps(manifest))
    return fk.open_study(store)


def test_a_classifier_with_a_name_is_loaded(made, tmp_path, monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return make_classifier(**({"crop_share": 0.5} | {k: v for k, v in options.items() if k == "crop_share"}))

    monkeypatch.setattr(Classifier, "load", load)
    study = named(made, tmp_path, "timm:tiny")
    # As it comes, it has another preprocessing; with the recorded options it is the same.
    assert study.classifier.fingerprint() == made[1].fingerprint()
    assert (study.classifier.precision, study.classifier.micro_batch) == ("float32", 8)
    assert [name for name, _ in asked] == ["timm:tiny"] * 2
    assert asked[0][1] == {}
    assert asked[1][1]["class_names"] == CLASSES
    assert asked[1][1]["size"] == (16, 16)


def test_a_name_that_now_means_another_classifier(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Classifier, "load", lambda _name, **_options: make_classifier(gain=9.0))
    with pytest.raises(StoreError, match=r"the weights differ.*give the classifier yourself"):
        _ = named(made, tmp_path, "timm:tiny").classifier


def test_a_name_that_cannot_be_loaded(made, tmp_path, monkeypatch):
    def load(_name, **_options):
        raise ClassifierError("no such model")

    monkeypatch.setattr(Classifier, "load", load)
    with pytest.raises(StoreError, match=r"no such model; give the classifier yourself: fidokit\.open_study"):
        _ = named(made, tmp_path, "timm:tiny").classifier


def test_a_function_named_in_a_store_is_not_run(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Classifier, "load", lambda *_args, **_options: pytest.fail("was run"))
    with pytest.raises(
        StoreError, match=r"only run if you say so: classifier=fidokit\.Classifier\.load\('python:os:abort'\)"
    ):
        _ = named(made, tmp_path, "python:os:abort").classifier


def test_the_picture_in_a_notebook_is_escaped(tmp_path):
    register_counting("counting")
    label = "<script>alert(1)</script>"
    data = make_data(tmp_path / "data", 3)
    store = tmp_path / "<b>"
    shown = fk.run_study(make_classifier(), data, {label: "counting"}, store=store, progress=False)._repr_html_()
    assert label not in shown
    assert html.escape(label) in shown
    assert "<b>" not in shown
    assert "3 photographs" in repr(fk.open_study(store))


def test_nothing_there(tmp_path):
    with pytest.raises(StoreError, match="there is no study in"):
        fk.open_study(tmp_path)


def test_a_store_can_be_read_while_it_is_only_readable(made):
    before = {path: path.stat().st_mtime_ns for path in made[0].rglob("*")}
    study = fk.open_study(made[0])
    study.masks()
    study.summary(10)
    study.status()
    assert before == {path: path.stat().st_mtime_ns for path in made[0].rglob("*")}
    assert torch.is_grad_enabled()
