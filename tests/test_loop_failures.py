import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from study_cases import (
    fill_disk,
    grid_masks,
    make_classifier,
    make_data,
    paint,
    register_counting,
    run,
    tables_equal,
)

import fidokit as fk
from fidokit.exceptions import FidokitError, ImageError, SettingsError, StoreError
from fidokit.images import LabelledImages
from fidokit.methods import explain
from fidokit.methods.base import Computed

pytestmark = pytest.mark.usefixtures("quick")


# What goes wrong with single images.


def test_what_cannot_be_read_or_predicted_is_a_failure(tmp_path, calls):
    data = make_data(tmp_path / "data")
    Path(data.table["path"][1]).write_bytes(b"no image")
    paint(data, 5, 255)  # NaN logits
    paint(data, 6, 0)  # an error in the module
    Path(data.table["path"][9]).unlink()
    with pytest.warns(RuntimeWarning, match="4 of 10 masks could not be computed"):
        study = run(make_classifier(), data, tmp_path / "s")
    ids = list(data.table["image_id"])
    failures = study.failures()
    assert failures["image_id"].tolist() == [ids[1], ids[5], ids[6], ids[9]]
    assert failures["stage"].tolist() == ["read", "predict", "predict", "read"]
    assert failures["method"].tolist() == [None] * 4
    assert Path(data.table["path"][1]).name in failures["reason"][0]
    assert "NaN" in failures["reason"][1]
    assert failures["reason"][2] == "RuntimeError: a black image"
    assert sorted(calls) == sorted(set(ids) - set(failures["image_id"]))
    predictions = study.predictions()
    assert predictions["predicted"].isna().tolist() == [i in (1, 5, 6, 9) for i in range(10)]
    assert predictions["reason"][1] == failures["reason"][0]
    assert study.status().to_dict("records") == [{"method": "counting", "finished": 6, "failed": 4, "missing": 0}]


def test_failures_are_tried_again_only_when_asked(classifier, tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", 6)
    ids = list(data.table["image_id"])
    load = LabelledImages.load

    def unplugged(self, i, preprocessing):
        if i == 2:
            raise ImageError("the drive is not there")
        return load(self, i, preprocessing)

    monkeypatch.setattr(LabelledImages, "load", unplugged)
    calls = register_counting(
        "counting", spoil=lambda batch: Computed({}, failures=dict.fromkeys(batch.image_ids, "bad"))
    )
    register_counting("other")
    with pytest.warns(RuntimeWarning, match="could not be computed"):
        study = run(classifier, data, tmp_path / "s", ["counting", "other"])
    assert study.failures().groupby("stage").size().to_dict() == {"mask": 5, "read": 1}
    monkeypatch.setattr(LabelledImages, "load", load)
    calls = register_counting("counting")
    assert len(run(classifier, data, tmp_path / "s", ["counting", "other"]).failures()) == 6
    assert calls == []
    study = run(classifier, data, tmp_path / "s", ["counting", "other"], retry_failures=True)
    assert sorted(calls) == sorted(ids)
    assert study.failures().empty
    assert study.status()["finished"].tolist() == [6, 6]
    assert study.predictions()["predicted"].notna().all()


def test_a_method_that_raises_costs_only_the_image_that_made_it(classifier, data, tmp_path):
    ids = list(data.table["image_id"])

    def spoil(batch):
        if ids[5] in batch.image_ids:
            raise ZeroDivisionError("<b>five</b>")

    calls = register_counting("fragile", spoil=spoil)
    with pytest.warns(RuntimeWarning, match="1 of 10 masks"):
        study = run(classifier, data, tmp_path / "s", ["fragile"])
    assert study.failures().to_dict("records") == [
        {"image_id": ids[5], "method": "fragile", "stage": "mask", "reason": "ZeroDivisionError: <b>five</b>"}
    ]
    assert sorted(calls) == sorted(set(ids) - {ids[5]})
    assert len(study.masks()) == 2 * 9
    register_counting("fragile")
    expected = explain(classifier, data, "fragile").ssr
    np.testing.assert_allclose(study.mask_array("fragile", "ssr", (4, 4))[6], expected[6], atol=1e-3)


def test_masks_that_a_method_reports_as_failed_or_not_finite(classifier, data, tmp_path):
    ids = list(data.table["image_id"])

    def spoil(batch):
        masks = grid_masks(batch.images, 4)
        failures = {ids[1]: "too dark"} if ids[1] in batch.image_ids else {}
        if ids[8] in batch.image_ids:
            masks[list(batch.image_ids).index(ids[8])] = torch.nan
        return Computed({"ssr": masks, "sdr": masks}, failures=failures)

    register_counting("choosy", spoil=spoil)
    with pytest.warns(RuntimeWarning, match="2 of 10"):
        study = run(classifier, data, tmp_path / "s", ["choosy"])
    failures = study.failures()
    assert failures["image_id"].tolist() == [ids[1], ids[8]]
    assert failures["reason"][0] == "too dark"
    assert "NaN" in failures["reason"][1]


def test_errors_that_concern_every_image_are_raised_at_once(classifier, data, tmp_path):
    def refuse(_batch):
        raise SettingsError("no such thing")

    calls = register_counting("refusing", spoil=refuse)
    with pytest.raises(SettingsError, match="no such thing"):
        run(classifier, data, tmp_path / "s", ["refusing"])
    assert calls == []

    def break_down(_batch):
        raise RuntimeError("CUDA error: device-side assert triggered\nmore")

    register_counting("broken", spoil=break_down)
    with pytest.raises(FidokitError, match="restart Python"):
        run(classifier, data, tmp_path / "t", ["broken"])
    assert fk.open_study(tmp_path / "t").failures().empty


def test_a_method_must_make_the_kinds_that_it_declares(classifier, data, tmp_path):
    register_counting("lacking", spoil=lambda batch: Computed({"ssr": grid_masks(batch.images, 4)}))
    with pytest.raises(FidokitError, match="'lacking' made ssr masks, but is registered for ssr, sdr"):
        run(classifier, data, tmp_path / "s", ["lacking"])
    register_counting("lacking", spoil=lambda _batch: Computed({}))
    with pytest.raises(FidokitError, match="'lacking' made no masks"):
        run(classifier, data, tmp_path / "s", ["lacking"])


def test_remarks_of_a_method_are_told_once(classifier, data, tmp_path):
    def remark(batch):
        masks = grid_masks(batch.images, 4)
        return Computed({"ssr": masks, "sdr": masks}, notes=dict.fromkeys(batch.image_ids, "flat start"))

    register_counting("remarking", spoil=remark)
    with pytest.warns(RuntimeWarning, match="remarking, 10 images: flat start"):
        run(classifier, data, tmp_path / "s", ["remarking"])


# Disks.


def test_a_full_disk_leaves_the_earlier_parts_and_says_so(classifier, data, tmp_path, monkeypatch):
    register_counting("counting")
    undisturbed = run(classifier, data, tmp_path / "whole")
    calls = register_counting("counting")
    fill_disk(monkeypatch)
    message = (
        r"the disk is full \(No space left on device\): 8 masks are finished and safe in .*, 2 are missing. "
        r"To go on, make room, about 1 MB more are needed, and run the same command again"
    )
    with pytest.raises(StoreError, match=message):
        run(classifier, data, tmp_path / "s")
    monkeypatch.undo()
    assert len(fk.open_study(tmp_path / "s").masks()) == 16
    assert not list((tmp_path / "s").rglob("*.tmp"))
    calls.clear()
    tables_equal(run(classifier, data, tmp_path / "s"), undisturbed)
    assert calls == list(data.table["image_id"][8:])


def test_a_disk_that_refuses_says_so(classifier, data, tmp_path, calls, monkeypatch):
    def refuse(_source, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError, match=r"cannot be written to .*Permission denied; put that right"):
        run(classifier, data, tmp_path / "s")
