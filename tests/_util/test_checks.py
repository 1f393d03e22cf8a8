"""What a user may give by mistake: every field of every settings class, and the arguments of functions."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch
from study_cases import Colours, make_data, register_counting, run

import fidokit as fk
from fidokit._util.checks import COUNT, SHARE, Number, is_number, is_whole
from fidokit.enhance.settings import GuidedGrid, GuidedSettings
from fidokit.exceptions import SettingsError
from fidokit.methods import get_method, list_methods, register_method
from fidokit.methods.base import Computed, Method, NoSettings
from fidokit.methods.gradient_settings import (
    CamSettings,
    IntegratedGradientsSettings,
    OcclusionSettings,
    SmoothGradSettings,
)
from fidokit.methods.perturbation_settings import ExtremalSettings, RiseSettings
from fidokit.samples import composites
from fidokit.study.compare import compare, means_table
from fidokit.study.plan import plan

CLASSES = [
    fk.FidoSettings,
    CamSettings,
    IntegratedGradientsSettings,
    SmoothGradSettings,
    OcclusionSettings,
    RiseSettings,
    ExtremalSettings,
    GuidedSettings,
]


def wrong_values():
    """(class, field, value) that are of another type than the field's default, or no number that counts."""
    for cls in CLASSES:
        for field in fields(cls):
            default = getattr(cls(), field.name)
            if isinstance(default, bool):
                values = ["yes", 1, None]
            elif isinstance(default, int):
                values = ["10", 2.5, True, None, float("nan"), [1, 2, 3]]
            elif isinstance(default, float):
                values = ["0.5", True, None, float("nan"), float("inf"), 1j, [0.5]]
            elif isinstance(default, str):
                values = [5, "nonsense", ["nonsense"]]
            else:
                continue
            yield from ((cls, field.name, value) for value in values if (field.name, value) != ("grid", None))


@pytest.mark.parametrize(("cls", "name", "value"), list(wrong_values()))
def test_a_field_of_another_type_is_named(cls, name, value):
    with pytest.raises(SettingsError, match=name):
        cls(**{name: value})
    with pytest.raises(SettingsError, match=name):
        replace(cls(), **{name: value})


@pytest.mark.parametrize("grid", [2.5, 0, -1, "10", (10,), (10, 2.5), (10, 0), [], True])
def test_a_grid_is_whole_cells(grid):
    with pytest.raises(SettingsError, match=r"FidoSettings\.grid"):
        fk.FidoSettings(grid=grid)


def test_numbers_of_numpy_are_numbers():
    settings = fk.FidoSettings(steps=np.int64(3), lr=np.float32(0.5), grid=(np.int32(4), 5))
    assert settings.grid_size((100, 100)) == (4, 5)
    assert fk.FidoSettings(grid=np.int64(6)).grid_size((100, 100)) == (6, 6)
    assert fk.FidoSettings(grid=[4, 5]).grid_size((100, 100)) == (4, 5)
    assert ExtremalSettings(lattice=[4, 5]).seeds((100, 100)) == (4, 5)


def test_the_message_names_class_field_value_and_remedy():
    with pytest.raises(SettingsError, match=r"FidoSettings\.steps is '10'; it must be a whole number of at least 1$"):
        fk.FidoSettings(steps="10")
    with pytest.raises(SettingsError, match=r"GuidedSettings\.share is 0; it must be a number above 0 and at most 1$"):
        GuidedSettings(share=0)


@pytest.mark.parametrize("name", ["shares", "weights", "gates"])
@pytest.mark.parametrize("values", [["0.5"], [True], [float("nan")], 0.5, []])
def test_the_grid_of_a_second_look_holds_numbers(name, values):
    with pytest.raises(SettingsError, match=rf"GuidedGrid\.{name}"):
        GuidedGrid(**{name: values})


def test_what_a_number_is():
    assert all(map(is_number, (1, 0.5, np.float32(1), np.int8(1))))
    assert not any(map(is_number, (True, "1", None, float("nan"), -float("inf"), 10**400, 1j, [1], np.bool_(True))))
    assert all(map(is_whole, (1, -3, np.uint8(4))))
    assert not any(map(is_whole, (1.0, True, np.float64(1), "1")))
    assert [Number(above=0, below=1).fits(value) for value in (0, 0.5, 1)] == [False, True, False]
    assert [SHARE.fits(value) for value in (0, 0.5, 1)] == [False, True, True]
    assert str(COUNT) == "a whole number of at least 1"
    assert str(Number()) == "a number"


# compare


@pytest.fixture
def table():
    rows = [(f"{i}", method, "joint", 0.1 * i + (method == "fido")) for i in range(4) for method in ("fido", "rise")]
    return pd.DataFrame(rows, columns=["image_id", "method", "kind", "insertion"])


@pytest.mark.parametrize("metric", [[], (), pd.Series([], dtype=object)])
def test_no_metric_is_an_error_that_lists_them(table, metric):
    with pytest.raises(SettingsError, match="no metric is named; name one or more of insertion"):
        compare(table, metric)
    with pytest.raises(SettingsError, match="no metric is named; name one or more of insertion"):
        means_table(table, metric, ())


def test_other_arguments_of_a_comparison(table):
    assert len(compare(table, "insertion")) == 1
    with pytest.raises(SettingsError, match="named twice"):
        compare(table, ["insertion", "insertion"])
    for wrong in ({"alpha": 5}, {"alpha": "0.05"}, {"n_resamples": 0}, {"n_resamples": 1e4}, {"n_permutations": None}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            compare(table, "insertion", **wrong)


# Arguments of other functions


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    register_counting("counting")
    return run(_classifier(), make_data(folder / "data", 3), folder / "store", ["counting"])


ARGUMENTS = {
    "n": lambda _, value: fk.testbed.load(value),
    "seed": lambda _, value: fk.testbed.load(1, seed=value),
    "clutter": lambda _, value: fk.testbed.load(1, clutter=value),
    "the rate of 'night'": lambda _, value: fk.testbed.load(1, causes={"night": value}),
    "size": lambda _, value: composites("none", 1, size=value),
    "micro_batch": lambda _, value: _classifier(micro_batch=value),
    "crop_share": lambda _, value: fk.Preprocessing(crop_share=value),
    "box_padding": lambda _, value: fk.Preprocessing(box_padding=value),
    "batch_size": lambda study, value: list(study.iter_masks(batch_size=value)),
    "n_resamples": lambda study, value: study.summary(n_resamples=value),
    "stability": lambda study, value: study.metrics(stability=value),
    "max_images": lambda study, value: fk.write_report(study, "none.html", max_images=value),
    "folds": lambda study, value: fk.classify_with_masks(study, folds=value),
    "top": lambda study, value: fk.classify_with_masks(study, top=value),
    "budget": lambda study, value: fk.classify_with_masks(study, budget=value),
    "part_size": lambda study, value: fk.run_study(
        _classifier(), study.data, ["saliency"], store="none", part_size=value
    ),
    "sample": lambda study, value: plan(_classifier(), study.data, sample=value),
}


@pytest.mark.parametrize("value", ["2", -1, True, float("nan"), [1]])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_that_is_no_such_number_is_named(study, name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=rf"{name}( .*)? is .*; it must be a (whole )?number( |$)"):
        ARGUMENTS[name](study, value)
    assert not list(tmp_path.iterdir())


def test_whole_numbers_of_numpy_do_for_arguments(tmp_path):
    two = np.int64(2)
    assert len(fk.testbed.load(two, seed=two, size=np.int32(64), folder=tmp_path)) == 2
    assert _classifier(micro_batch=two).micro_batch == 2
    assert json.dumps(_classifier(micro_batch=two).asked) == '["float32", 2]'


# subset


@pytest.mark.parametrize(
    "selector",
    [
        pd.array([True, None, False], dtype="boolean"),
        pd.Series([True, pd.NA, False], dtype="boolean"),
        pd.Series([True, None, False], dtype=object),
        [True, float("nan"), False],
        pd.Series([0.0, np.nan, 1.0]),
        [None],
    ],
)
def test_a_selection_with_missing_values(tmp_path, selector):
    with pytest.raises(SettingsError, match=r"1 of the \d entries of the selection are missing.*fillna"):
        make_data(tmp_path, 3).subset(selector)


def test_a_selection_of_two_kinds(tmp_path):
    data = make_data(tmp_path, 3)
    with pytest.raises(SettingsError, match="mixes True and False with positions"):
        data.subset([True, 2, False])
    assert len(data.subset(pd.Series([True, pd.NA, True], dtype="boolean").fillna(False))) == 2


# Methods of one's own


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    from fidokit import methods

    monkeypatch.setattr(methods, "_REGISTRY", dict(methods._REGISTRY))


def one(_classifier, images, _targets):
    return torch.zeros(len(images), 4, 4)


def two(_classifier, images, _targets):
    return torch.ones(len(images), 4, 4)


@pytest.mark.parametrize("name", ["", " ", " mine", "mine\n", None, 5])
def test_a_method_needs_a_name(name):
    with pytest.raises(SettingsError, match="needs a name"):
        register_method(name, one)


def test_a_name_is_taken_once():
    register_method("mine", one)
    with pytest.raises(SettingsError, match=r"a method 'mine' already, test_checks\.one; .*replace=True"):
        register_method("mine", two)
    with pytest.raises(SettingsError, match="already"):
        register_method("mine", Method(lambda *_: Computed({}), NoSettings, ("attribution",)))
    register_method("mine", two, replace=True)
    with pytest.raises(SettingsError, match=r"test_checks\.two"):
        register_method("mine", one)
    assert list_methods().count("mine") == 1


def test_a_cell_may_be_run_again():
    for k in (1, 2):  # the second time, with the body changed
        space = {"__name__": "__main__", "torch": torch}
        source = f"def mine(classifier, images, targets):\n    return torch.full((len(images), 2, 2), {k} / 2)"
        exec(source, space)
        register_method("mine", space["mine"])
    assert float(fk.explain(_classifier(), torch.rand(1, 3, 16, 16), "mine").attribution.mean()) == 1.0
    for _ in range(2):
        register_method("lambda", lambda _c, images, _t: torch.zeros(len(images), 2, 2))
    with pytest.raises(SettingsError, match="already"):
        register_method("lambda", lambda _c, images, _t: torch.ones(len(images), 2, 2))
    method = get_method("mine")
    register_method("mine", method)
    assert get_method("mine") is method


def _classifier(**options):
    return fk.Classifier(Colours(), size=(16, 16), device="cpu", precision="float32", **options)
