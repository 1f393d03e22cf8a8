"""Settings as forms: what is offered, and what typing makes of it."""

import json
from dataclasses import dataclass

import pytest

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods import get_method, list_methods, register_method
from fidokit.methods.base import Computed, Method
from fidokit.widgets.forms import GIVEN, field_help, filled_in, method_form, presets


def field(form, name):
    return next(field for field in form["fields"] if field["name"] == name)


@pytest.mark.parametrize("name", list_methods())
def test_every_method_has_a_form_whose_texts_give_back_its_settings(name):
    form = method_form(name)
    assert json.loads(json.dumps(form)) == form
    for preset, settings in presets(name).items():
        texts = form["presets"][preset]
        assert filled_in(name, settings, texts) == settings
        # Typed into the form of another set, they make the same settings, as precisely as they are shown.
        again = filled_in(name, get_method(name).settings(), texts)
        for key, value in vars(again).items():
            wanted = vars(settings)[key]
            assert value == (pytest.approx(wanted, rel=1e-5) if isinstance(wanted, float) else wanted), key


def test_kinds_of_inputs():
    form = method_form("fido")
    kinds = {name: field(form, name)["kind"] for name in ("steps", "lr", "antithetic", "sampler", "grid", "infill")}
    assert kinds == {"steps": "whole", "lr": "number", "antithetic": "check", "sampler": "choice", "grid": "text",
                     "infill": "text"}  # fmt: skip
    assert set(field(form, "sampler")["choices"]) == {"original", "simplified"}
    assert field(form, "steps")["help"] == "most optimisation steps an image gets."
    assert list(form["presets"]) == ["default", "fast", "quality", "published"]


def test_words_of_the_docstring():
    @dataclass
    class Documented:
        """Settings.

        Attributes:
            a, b: two of them, in
                two lines: with `code`.
            c: one.

        Raises:
            d: nothing.
        """

    two = "two of them, in two lines: with code."
    assert field_help(Documented) == {"a": two, "b": two, "c": "one."}
    assert field_help(int) == {}


def test_what_is_typed():
    base = fk.FidoSettings()
    made = filled_in("fido", base, {"steps": " 7 ", "lr": "1e-2", "antithetic": False, "grid": "(8, 9)",
                                    "infill": "('blur', ('mean', 2.0))", "start": "flat"})  # fmt: skip
    assert (made.steps, made.lr, made.antithetic, made.grid, made.start) == (7, 0.01, False, (8, 9), "flat")
    assert made.infill == ("blur", ("mean", 2.0))
    assert filled_in("fido", base, {"grid": "None"}).grid is None
    assert filled_in("fido", base, {"infill": "noise"}).infill == "noise"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"steps": "many"}, "steps is 'many'; it must be a whole number"),
        ({"steps": "2.5"}, "steps is '2.5'; it must be a whole number"),
        ({"lr": ""}, "lr is ''; it must be a number"),
        ({"steps": "0"}, "steps"),
        ({"grid": "__import__('os')"}, "grid|fido"),
        ({"nonsense": "1"}, "no setting 'nonsense'"),
    ],
)
def test_what_cannot_be_used(typed, words):
    with pytest.raises(SettingsError, match=words):
        filled_in("fido", fk.FidoSettings(), typed)


def test_functions_are_shown_and_kept():
    def paint(images, _kept):
        return images

    base = fk.FidoSettings(infill=paint)
    form = method_form("fido", base)
    assert next(iter(form["presets"])) == GIVEN
    assert form["presets"][GIVEN]["infill"] == "function paint"
    assert filled_in("fido", base, form["presets"][GIVEN] | {"steps": "3"}) == fk.FidoSettings(infill=paint, steps=3)


def test_a_method_of_the_user():
    @dataclass(frozen=True)
    class Own:
        cells: "int | Unknown" = 4  # noqa: F821

    register_method("own", Method(lambda *_: Computed({}), Own, ("attribution",)))
    form = method_form("own")
    assert form["fields"] == [{"name": "cells", "help": "", "kind": "whole", "choices": []}]
    assert filled_in("own", Own(), {"cells": "5"}) == Own(5)
