"""The table of rivals: its rows are put together right, and what is absent or does not fit is said."""

import json

import pytest

pytest.importorskip("skimage")

import rivals

from fidokit.exceptions import MethodNotApplicable


class Part:
    images = 3

    def __init__(self, **found):
        self.found = found

    def rows(self, method):
        if method == "attention":
            raise MethodNotApplicable("no attention")
        return self.found


def test_kinds_of_both_parts_are_put_together():
    parts = {"one": Part(ssr={"pairs": 0.5}, signed={"pairs": 0.6}), "other": Part(ssr={"insertion": 0.7})}
    assert rivals.rows("fido", parts) == {"ssr": {"pairs": 0.5, "insertion": 0.7}, "signed": {"pairs": 0.6}}


def test_a_method_that_fits_nowhere_has_its_reasons():
    assert rivals.rows("attention", {"one": Part(), "other": Part()}) == {
        "": {"one_not_applicable": "no attention", "other_not_applicable": "no attention"}
    }


def test_absent_material_is_said(capsys):
    def make():
        raise FileNotFoundError("no pictures in /nowhere")

    assert rivals.made("funnybirds", make) is None
    line = json.loads(capsys.readouterr().out)
    assert (line["part"], line["skipped"]) == ("funnybirds", "FileNotFoundError: no pictures in /nowhere")


def test_every_method_of_the_registry_is_measured_on_funnybirds():
    if not rivals.funnybirds_material.SHARED.is_dir():
        pytest.skip(f"needs {rivals.funnybirds_material.SHARED}")
    part = rivals.FunnyBirds(1)
    found = rivals.rows("finer-cam", {"funnybirds": part})
    assert set(found) == {"attribution", "signed"}
    assert {"score", "pairs_low", "funnybirds_evaluations", "funnybirds_seconds"} <= set(found["signed"])
    assert "funnybirds_not_applicable" in rivals.rows("legrad", {"funnybirds": part})[""]
