"""`fidokit separate` and `fidokit key`: what they print and write."""

from __future__ import annotations

import pandas as pd
import pytest
from cli_cases import run

import fidokit as fk
from fidokit import testbed

A, B = "silt piper", "brine piper"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marks")
    data = testbed.load(32, 42, species=[A, B], folder=folder / "drawn")
    return fk.run_study(testbed.classifier(), data, ["grad-cam"], store=folder / "run", progress=False)


def test_separate_prints_the_marks_and_writes_the_page(study, tmp_path, capsys):
    code, out, err = run(capsys, "separate", study.path, A, B, "--csv", tmp_path / "marks.csv")
    assert code == 0
    assert f"What separates {A} from {B}" in out
    table = pd.read_csv(tmp_path / "marks.csv")
    shown = table[table["shown"]]
    assert len(shown)
    assert all(mark in out for mark in shown["mark"])
    assert "evaluations to prove" in err
    page = (study.path / "separate.html").read_text(encoding="utf-8")
    assert shown["mark"].iloc[0] in page
    assert "Page: " in out


def test_key_has_the_pairs_that_are_given(study, tmp_path, capsys):
    page = tmp_path / "key.html"
    code, out, _ = run(capsys, "key", study.path, "--pair", A, B, "--pair", A, "marl tit", "-o", page)
    assert code == 0
    assert f"{A} or {B}" in out
    assert "nothing that can be shown" in out
    text = page.read_text(encoding="utf-8")
    assert "nothing that can be shown" in text
    assert "data:image/jpeg" in text


def test_a_class_that_there_is_not_is_told(study, capsys):
    code, _, err = run(capsys, "separate", study.path, A, "brine pipper")
    assert code == 2
    assert "did you mean 'brine piper'" in err
