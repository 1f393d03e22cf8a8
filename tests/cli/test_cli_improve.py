"""`fidokit improve` from the shell's side."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import torch
from enhance_cases import make_spotted, register_spots
from report_cases import HARM
from study_cases import make_classifier, run

from fidokit import cli

MODEL = "python:study_cases:make_classifier"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working folder with a study of twelve spots."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    run(make_classifier(), make_spotted(tmp_path / "spots"), tmp_path / "run", [register_spots()])
    return tmp_path


def improve(capsys, *arguments):
    code = cli.main(["improve", "run", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_verdict_table_and_page(capsys, place):
    code, out, _ = improve(capsys, "--model", MODEL, "--folds", 4)
    assert code == 0
    assert "12 photographs, 12 independent units" in out
    rows = [line.split("  ")[0] for line in out.splitlines()]
    assert rows.index("classifier alone") < rows.index("masks") < rows.index("random crop") < rows.index("multi-crop")
    assert "gain" in out.lower()
    page = (place / "run" / "improvement.html").read_text(encoding="utf-8")
    assert "Classified again with masks" in page
    images = pd.read_csv(place / "run" / "improvement" / "images.csv")
    assert len(images) == 12
    assert "GuidedSettings(method='spots'" in (place / "run" / "improvement" / "verdict.txt").read_text()


def test_options_reach_the_function(capsys, place):
    code, out, _ = improve(
        capsys, "--model", MODEL, "--folds", 3, "--controls", "random crop", "--how", "crop,fade", "--csv", "tables",
        "--report", "page.html", "--budget", 3,
    )  # fmt: skip
    assert code == 0
    summary = pd.read_csv(place / "tables" / "summary.csv")
    assert list(summary["method"]) == ["classifier alone", "masks", "random crop"]
    assert summary["evaluations"].max() <= 3
    assert len(pd.read_csv(place / "tables" / "choices.csv")) == 3
    assert (place / "page.html").exists()
    assert "not compared with: centre crop, Grad-CAM crop, multi-crop" in out


def test_without_controls_nothing_is_claimed(capsys):
    code, out, _ = improve(capsys, "--model", MODEL, "--folds", 4, "--controls", "none")
    assert code == 0
    assert "No proven gain: " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--how", "zoom"], "zoom"),
        (["--how", ","], "how"),
        (["--controls", "luck"], "luck"),
        (["--unit", "burst"], "burst"),
        (["--folds", "1"], "folds"),
        (["--method", HARM], "no method"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, arguments, message):
    code, out, err = improve(capsys, "--model", MODEL, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fidokit: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_study_without_a_named_classifier_asks_for_it(capsys):
    code, _, err = improve(capsys)
    assert code == 2
    assert "classifier" in err
