import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from study_cases import (
    Colours,
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
from fidokit import methods
from fidokit.data.images import LabelledImages
from fidokit.exceptions import FidokitError, ImageError, MethodNotApplicable, SettingsError, StoreError
from fidokit.methods import explain, get_method, is_built_in, register_method
from fidokit.methods.base import Computed, Method, NoSettings
from fidokit.models.classifier import Classifier

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


# What breaks a method, and not the others.


class Blind(Colours):
    """Its logits cannot be differentiated."""

    def forward(self, x):
        return super().forward(x).detach()


class Numpy(Colours):
    def forward(self, x):
        return super().forward(torch.from_numpy(x.numpy()))


class Fussy(Colours):
    """Has layers, and ends in an error where gradients are recorded."""

    def forward(self, x):
        if x.requires_grad:
            raise ArithmeticError("no gradients here")
        return super().forward(x)


QUICK = {
    "fido": {"steps": 2, "samples": 2},
    "rise": {"samples": 8},
    "extremal-perturbation": {"steps": 2},
    "occlusion": {"window": 0.5, "stride": 0.5},
    "integrated-gradients": {"n_steps": 2},
    "smoothgrad": {"samples": 2},
    # The net refuses black images and white ones.
    "kernel-shap": {"regions": 4, "samples": 10, "baseline": "blur"},
    "lima": {"regions": 4, "baseline": "blur"},
    "smdl": {"regions": 4, "baseline": "blur"},
}
#: Methods that need no gradient.
FORWARD_ONLY = ["occlusion", "rise", "kernel-shap", "smdl", "lima"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("module", [Blind, Numpy, Fussy])
def test_a_classifier_without_gradients_leaves_the_methods_that_need_none(module, tmp_path):
    data = make_data(tmp_path / "data", 3)
    clf = Classifier(
        module(), mean=(0, 0, 0), std=(1, 1, 1), size=(16, 16), device="cpu", precision="float32", micro_batch=4
    )
    chosen = {name: (name, QUICK.get(name)) for name in fk.list_methods() if is_built_in(name)}
    study = run(clf, data, tmp_path / "s", chosen)
    status = study.status().set_index("method")
    assert status["missing"].eq(0).all()
    assert status.index[status["finished"] == 3].tolist() == FORWARD_ONLY
    reasons = study.failures().groupby("method")["reason"].unique()
    assert all("gradient" in reason[0] for reason in reasons)
    assert len(reasons) == len(chosen) - len(FORWARD_ONLY)
    for name in chosen.keys() - set(FORWARD_ONLY):
        with pytest.raises(MethodNotApplicable, match="gradient"):
            fk.explain(clf, torch.rand(1, 3, 16, 16), name)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [name for name in fk.list_methods() if is_built_in(name)])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
        (MemoryError(), "MemoryError: "),
        (ValueError("no"), "ValueError: no"),
        (RecursionError("deep"), "RecursionError: deep"),
        (FileNotFoundError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        (MethodNotApplicable("not this one"), "not this one"),
        (SettingsError("not so"), "not so"),
        (FidokitError("no masks"), "no masks"),
        (None, f"{'{name}'} gave NaN or infinite values for this image"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_method_that_breaks_costs_its_own_masks(name, error, reason, classifier, tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", 6)
    method = get_method(name)

    def broken(_classifier, batch, _settings, _on_progress):
        if error is not None:
            raise error
        return Computed({kind: torch.full((len(batch), 2, 2), torch.nan) for kind in method.kinds})

    calls = register_counting("counting")
    known = methods.methods()
    monkeypatch.setattr(methods, "methods", lambda: known | {name: replace(method, compute=broken, check=None)})
    study = run(classifier, data, tmp_path / "s", [name, "counting"])
    failures = study.failures()
    assert failures["image_id"].tolist() == calls == list(data.table["image_id"])
    assert set(failures["method"]) == {name}
    assert set(failures["reason"]) == {reason.format(name=name)}
    assert study.status()["finished"].tolist() == [0, 6]
    # What comes of it can be read.
    summary = study.summary().groupby("method")["n"].unique()
    assert summary.map(list).to_dict() == {"counting": [6], name: [0]}
    if name == "fido":
        assert len(study.metrics(progress=False)) == 12
        fk.write_report(study, tmp_path / "report.html")


def fine(n, **others):
    return Computed(dict.fromkeys(("ssr", "sdr"), torch.zeros(n, 2, 2)), **others)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda n: None, "returned NoneType"),
        (lambda n: torch.zeros(n, 2, 2), "returned Tensor"),
        (lambda n: Computed(torch.zeros(n, 2, 2)), "returned Tensor"),
        (lambda n: Computed({"ssr": None, "sdr": None}), "ssr masks as NoneType"),
        (lambda n: Computed({"ssr": [[0.5]], "sdr": [[0.5]]}), "ssr masks as list"),
        (lambda n: Computed({"ssr": torch.zeros(n, 4), "sdr": torch.zeros(n, 4)}), r"of shape \(\d, 4\)"),
        (lambda n: Computed(dict.fromkeys(("ssr", "sdr"), torch.zeros(n + 1, 2, 2))), r"of shape \(\d, 2, 2\)"),
        (lambda n: Computed(dict.fromkeys(("ssr", "sdr"), torch.zeros(n, 2, 0))), r"of shape \(\d, 2, 0\)"),
        (lambda n: Computed(dict.fromkeys(("ssr", "sdr"), torch.zeros(n, 2, 2) + 1j)), "complex64; real numbers"),
        (lambda n: Computed(dict.fromkeys(("ssr", "sdr"), torch.full((n, 2, 2), 2.0))), r"values outside \[0, 1\]"),
        (lambda n: Computed({"ssr": torch.zeros(n, 2, 2)}), "made ssr masks, but is registered for ssr, sdr"),
        (lambda n: fine(n, evaluations=torch.zeros(n + 1)), "`evaluations` of shape"),
        (lambda n: fine(n, converged="yes"), "`converged` that is no tensor"),
        (lambda n: fine(n, finished=[True]), "`finished` of shape"),
        (lambda n: fine(n, failures={"another": "bad"}), "a failure of 'another', which is no image"),
        (lambda n: fine(n, raw="raw"), "`raw` as str"),
        (lambda n: fine(n, notes=None), "`notes` as NoneType"),
    ],
)
def test_what_a_method_returns_is_looked_at(made, reason, classifier, data, tmp_path):
    def compute(_classifier, batch, _settings, _on_progress):
        return made(len(batch))

    register_method("wrong", Method(compute, NoSettings, ("ssr", "sdr")))
    calls = register_counting("counting")
    study = run(classifier, data, tmp_path / "s", ["wrong", "counting"])
    assert study.status()["finished"].tolist() == [0, 10]
    assert len(calls) == 10
    assert all(re.search(reason, why) for why in study.failures()["reason"])


def test_ctrl_c_in_one_method_is_a_stop_of_all(classifier, data, tmp_path, capsys):
    def interrupt(_batch):
        raise KeyboardInterrupt

    register_counting("interrupted", spoil=interrupt)
    calls = register_counting("counting")
    study = run(classifier, data, tmp_path / "s", ["interrupted", "counting"])
    assert "Stopped. 0 of 20 masks are finished" in capsys.readouterr().err
    assert calls == []
    assert study.failures().empty


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
