import json
import os
import sys
from pathlib import Path

import pytest
import study_cases
from study_cases import GridSettings, make_classifier, make_data, register_counting, run

import fidokit as fk
from fidokit.data.images import LabelledImages
from fidokit.exceptions import MethodNotApplicable, SettingsError, StoreError
from fidokit.methods import get_method
from fidokit.methods.base import settings_dict, settings_from

pytestmark = pytest.mark.usefixtures("quick")


# What is refused before any work.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": []}, "empty"),
        ({"methods": ["counting", "counting"]}, "stands twice"),
        ({"methods": ["fidoo"]}, "unknown method 'fidoo'"),
        ({"methods": {"": "counting"}}, "label"),
        ({"methods": {"\ud800": "counting"}}, "label"),
        ({"methods": {"a": 3}}, "must be a name"),
        ({"methods": {"a": ("counting", {"colour": 1})}}, "no field 'colour'"),
        ({"methods": {"a": ("fido", GridSettings())}}, "must be FidoSettings"),
        ({"methods": {"a": ("counting", {"log": {1, 2}})}}, "cannot be written down"),
        ({"targets": "labels"}, "targets must be"),
        ({"against": "purple"}, "no class 'purple'"),
        ({"against": 2}, "against must be"),
        ({"part_size": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_be_used(classifier, data, tmp_path, calls, options, message):
    with pytest.raises(SettingsError, match=message):
        run(classifier, data, tmp_path / "s", **({"methods": ["counting"]} | options))
    assert calls == []
    assert not (tmp_path / "s").exists()


def test_things_that_are_no_classifier_and_no_dataset(classifier, data, tmp_path):
    with pytest.raises(SettingsError, match=r"fidokit\.Classifier, not Colours"):
        run(classifier.module, data, tmp_path / "s")
    with pytest.raises(SettingsError, match=r"from_folder makes them"):
        run(classifier, "birds/", tmp_path / "s")
    with pytest.raises(SettingsError, match="no photographs"):
        run(classifier, data.subset([]), tmp_path / "s")


def test_a_method_that_does_not_suit_the_classifier(classifier, data, tmp_path, calls):
    def check(_classifier, _settings):
        raise MethodNotApplicable("it needs a layer of its own")

    register_counting("picky", check=check)
    with pytest.raises(MethodNotApplicable, match="picky: it needs a layer of its own; leave it out"):
        run(classifier, data, tmp_path / "s", ["picky"])
    assert not (tmp_path / "s").exists()
    with pytest.warns(RuntimeWarning, match="picky does not suit this classifier: it needs a layer of its own") as told:
        study = run(classifier, data, tmp_path / "s", ["picky", "counting"])
    assert {warning.filename for warning in told if "does not suit" in str(warning.message)} == {study_cases.__file__}
    assert calls == list(data.table["image_id"])
    failures = study.failures()
    assert failures["image_id"].tolist() == calls
    assert set(zip(failures["method"], failures["stage"], failures["reason"], strict=True)) == {
        ("picky", "mask", "it needs a layer of its own")
    }
    assert study.status()["finished"].tolist() == [0, 10]
    assert study.status()["failed"].tolist() == [10, 0]
    register_counting("picky")
    again = run(classifier, data, tmp_path / "s", ["picky", "counting"], retry_failures=True)
    assert again.failures().empty
    assert len(again.masks()) == 2 * 2 * 10


def test_too_little_space_is_told_before_the_work(classifier, data, tmp_path, calls, monkeypatch):
    usage = type("Usage", (), {"free": 100})()
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(StoreError, match="need about 1 MB"):  # 10 images, 2 kinds, 4 x 4 cells of 2 bytes
        run(classifier, data, tmp_path / "s")
    usage.free = 640
    run(classifier, data, tmp_path / "s")
    usage.free = 0
    run(classifier, data, tmp_path / "s")  # nothing is missing


# Another classifier, other data, other settings.


def refused(message, *args, **options):
    with pytest.raises(StoreError, match=message):
        run(*args, **options)


def test_another_classifier_is_refused(data, tmp_path, calls):
    store = tmp_path / "s"
    run(make_classifier(), data, store)
    refused("another classifier: the weights differ", make_classifier(gain=5.0), data, store)
    names = ["red", "verdant", "blue"]
    with pytest.warns(RuntimeWarning, match="does not know"):
        run(make_classifier(names=names), data, tmp_path / "other")
    refused(
        "class that differs is number 2: it was 'green' and is 'verdant'", make_classifier(names=names), data, store
    )
    refused("crop_share was 1.0 and is 0.5", make_classifier(crop_share=0.5), data, store)
    refused("head was 'softmax' and is 'sigmoid'", make_classifier(head="sigmoid"), data, store)
    refused("layer was None and is 'blur'", make_classifier(layer="blur"), data, store)
    with pytest.raises(StoreError, match="the weights differ"):
        fk.open_study(store, classifier=make_classifier(gain=5.0))
    assert len(calls) == 2 * len(data)


def test_another_dataset_is_refused(classifier, data, tmp_path, calls):
    store = tmp_path / "s"
    run(classifier, data, store)
    refused("10 against 9; the first photograph that differs is number 10", classifier, data.subset(slice(9)), store)
    refused("number 1: it was 'blue/002.png' and is 'red/009.png'", classifier, data.subset(range(9, -1, -1)), store)
    table = data.table.copy()
    table.loc[3, "label"] = "blue"
    refused("'green/001.png': the label was 'green' and is 'blue'", classifier, LabelledImages(table, data.root), store)
    table = data.table.assign(box_x0=[1.0] + [float("nan")] * 9, box_y0=1.0, box_x1=2.0, box_y1=2.0)
    refused("'blue/002.png': box_x0 was None and is 1.0", classifier, LabelledImages(table, data.root), store)
    size = Path(data.table["path"][4]).stat().st_size
    Path(data.table["path"][4]).write_bytes(b"12345")
    refused(f"'green/004.png': the size of its file in bytes was {size} and is 5", classifier, data, store)
    with pytest.raises(StoreError, match="another dataset"):
        fk.open_study(store, data=data)


def test_a_moved_dataset_is_the_same(classifier, data, tmp_path, calls):
    run(classifier, data, tmp_path / "s")
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(StoreError, match=r"data=\.\.\."):
        _ = fk.open_study(tmp_path / "s").data
    moved = LabelledImages.from_folder(tmp_path / "moved")
    run(classifier, moved, tmp_path / "s")
    assert len(calls) == len(data)
    assert fk.open_study(tmp_path / "s", data=moved).data is moved


def test_other_settings_under_the_same_label_are_refused(classifier, data, tmp_path, calls):
    store = tmp_path / "s"
    run(classifier, data, store, {"a": ("counting", {"cells": 4})})
    refused("cells was 4 and is 8", classifier, data, store, {"a": ("counting", {"cells": 8})})
    refused("the method was 'counting' and is 'grad-cam'", classifier, data, store, {"a": "grad-cam"})
    refused("begun with targets=None, not 'label'", classifier, data, store, {"a": "counting"}, targets="label")
    refused("begun with against=None, not 'blue'", classifier, data, store, {"a": "counting"}, against="blue")
    with pytest.warns(RuntimeWarning, match="part_size=4 and goes on so"):
        run(classifier, data, store, {"a": "counting"}, part_size=5)
    assert len(calls) == len(data)


def test_a_newer_schema_is_refused(classifier, data, tmp_path, calls):
    run(classifier, data, tmp_path / "s")
    path = tmp_path / "s" / "study.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"schema_version": 99, "fidokit_version": "7.1"}))
    refused(r"fidokit 7\.1 in schema 99.*upgrade", classifier, data, tmp_path / "s")
    with pytest.raises(StoreError, match="upgrade"):
        fk.open_study(tmp_path / "s")


def test_a_study_goes_on_in_the_precision_it_was_begun_in(data, tmp_path):
    seen = []

    def note(_batch):
        seen.append(None)

    register_counting("counting", spoil=note)
    begun = make_classifier(precision="float32", micro_batch=3)
    run(begun, data, tmp_path / "s")
    with pytest.warns(RuntimeWarning, match="begun in float32 and goes on so, not in bfloat16"):
        study = run(
            make_classifier(precision="bfloat16", micro_batch=5), data, tmp_path / "s", ["counting", "grad-cam"]
        )
    assert (study.classifier.precision, study.classifier.micro_batch) == ("float32", 3)
    assert set(study.masks("grad-cam")["score_full"]) <= set(study.masks("counting")["score_full"])


# Strangers' names.


def test_any_label_class_and_file_name_will_do(tmp_path):
    strange = ["<script>alert(1)</script>", "ß" * 100, "con"]  # a folder name holds 255 bytes
    data = make_data(tmp_path / "data", 6, ["a", "b", "c"])
    table = data.table.copy()
    table["label"] = table["label"].map(dict(zip("abc", strange, strict=True)))
    table["image_id"] = [f"<i>{'y' * 300}{i}</i>\n" for i in range(6)]
    data = LabelledImages(table, data.root)
    register_counting("counting")
    methods = {"../../x": "counting", "A/B": "counting", "a-b": "counting", "<b>": "counting", "z" * 300: "counting"}
    study = run(make_classifier(names=strange), data, tmp_path / "deep" / "s", methods)
    assert study.failures().empty
    assert list(dict.fromkeys(study.masks()["method"])) == list(methods)
    assert set(study.masks()["target"]) <= set(strange)
    assert study.predictions()["image_id"].tolist() == table["image_id"].tolist()
    assert len(fk.open_study(tmp_path / "deep" / "s").masks("A/B")) == 12
    assert {path.name for path in tmp_path.iterdir()} == {"data", "deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"s"}


def test_file_names_that_are_not_unicode(classifier, tmp_path, calls):
    if not sys.platform.startswith("linux"):
        pytest.skip("the file system takes only Unicode")
    data = make_data(tmp_path / "data", 3)
    odd = os.fsencode(tmp_path / "data" / "red") + b"/caf\xe9.png"
    os.rename(os.fsencode(data.table["path"][2]), odd)  # noqa: PTH104
    data = LabelledImages.from_folder(tmp_path / "data")
    study = run(classifier, data, tmp_path / "s")
    assert study.failures().empty
    assert fk.open_study(tmp_path / "s").data.fingerprint() == data.fingerprint()


def test_a_method_without_settings_goes_on_with_those_it_has_in_the_study(classifier, data, tmp_path):
    begun = {"fido": ("fido", {"steps": 2, "infill": "zeros", "start": "flat"})}
    store = tmp_path / "s"
    half = data.subset(slice(0, len(data)))
    run(classifier, half, store, begun)
    for part in (store / "masks").glob("*"):
        part.unlink()
    with pytest.warns(
        RuntimeWarning, match="fido goes on with the settings that it has in this study .*infill was 'zeros'"
    ):
        again = run(classifier, half, store, ["fido"])
    described = again.manifest["methods"]["fido"]
    assert (described["settings"]["infill"], described["settings"]["steps"]) == ("zeros", 2)
    assert set(again.masks(columns=["settings_id"])["settings_id"]) == {described["settings_id"]}
    assert again.status()["finished"].tolist() == [len(data)]
    # What is asked for is not passed over.
    with pytest.raises(StoreError, match="made otherwise: steps was 2 and is 3"):
        run(classifier, half, store, {"fido": ("fido", {"steps": 3, "infill": "zeros", "start": "flat"})})


def test_settings_that_came_later_leave_ids_from_before_as_they_were():
    settings = fk.FidoSettings(infill="blur", explained="log-odds", windows=0)
    assert not {"explained", "windows", "ssr_infill"} & set(settings_dict(settings))
    assert settings_dict(fk.FidoSettings())["explained"] == "logit"
    method = get_method("fido")
    for one in (settings, fk.FidoSettings(), fk.FidoSettings.quality()):
        assert settings_from(method, json.loads(json.dumps(settings_dict(one)))) == one
    assert settings_from(method, {"steps": 0}) is None
    assert settings_from(method, {"made_up": 1}) is None
