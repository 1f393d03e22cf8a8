"""`fidokit regions`, and what `fidokit explain` and `fidokit study` say of regions."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import report_cases
from cli_cases import run, working_folder

import fidokit as fk

MODEL = "python:report_cases:classifier"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    return working_folder(tmp_path, monkeypatch)


def study(capsys, *more):
    return run(capsys, "study", "birds.csv", "--model", MODEL, "--methods", "counting", "--store", "run",
               "--no-metrics", *more)  # fmt: skip


def test_regions_are_cut_told_and_drawn(capsys, place):
    study(capsys)
    before = (place / "run" / "report.html").read_text()
    assert 'class="outline"' not in before
    code, out, _ = run(capsys, "regions", "run", "--model", MODEL, "--data", "birds.csv", "--csv", "tables/regions.csv")
    assert code == 0
    frame = fk.open_study("run").regions(progress=False)
    assert "sufficient" in out
    own = frame[frame["kind"] == "ssr"]
    holds = (own["holds"].eq("yes") & (own["area"] < 1)).sum()
    assert f"{holds} (" in out
    table = pd.read_csv(place / "tables" / "regions.csv")
    assert len(table) == len(frame)
    assert "region" not in table
    page = (place / "run" / "report.html").read_text()
    # A region that is the whole picture is said, and not outlined.
    assert page.count('class="outline"') == (frame["area"] < 0.995).sum()
    for words in frame["verdict"]:
        assert words in page
    assert "Sufficient holds" in page
    assert "converged" not in page.lower()


def test_a_study_cuts_them_at_once(capsys, place):
    code, out, _ = study(capsys, "--regions")
    assert code == 0
    assert "under some fill-ins" in out
    heads, rows = None, []
    for line in out.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        heads = cells if "do not hold" in cells else heads
        rows += (
            [dict(zip(heads, cells, strict=True))] if heads not in (None, cells) and len(cells) == len(heads) else []
        )
    assert rows
    for row in rows:
        parts = ["hold", "under some fill-ins", "only the whole picture", "do not hold"]
        assert sum(int(row[name].split(" ")[0]) for name in parts) == int(row["regions"])
    assert len(fk.open_study("run").regions(progress=False))


def test_a_kind_and_a_method_may_be_chosen(capsys):
    study(capsys)
    code, out, _ = run(capsys, "regions", "run", "--model", MODEL, "--data", "birds.csv", "--kinds", "ssr")
    assert code == 0
    assert "destroying " not in out
    code, _, err = run(capsys, "regions", "run", "--model", MODEL, "--data", "birds.csv", "--methods", "magic")
    assert code == 2
    assert "magic" in err


def test_explain_says_the_verdict(capsys, place):
    code, out, _ = run(capsys, "explain", "photographs/1.png", "--model", MODEL, "--method", "counting")
    assert code == 0
    masks = fk.explain(report_cases.classifier(), [place / "photographs" / "1.png"], "counting")
    for row in masks.to_frame().to_dict("records"):
        line = next(line for line in out.splitlines() if f" {row['kind']} " in line)
        assert line.rstrip().endswith(row["verdict"])
    assert "Enough: alone, the mask's region keeps" in out
    assert "region:" not in out
    _, out, _ = run(
        capsys,
        "explain",
        "photographs/1.png",
        "--model",
        MODEL,
        "--method",
        "counting",
        "--regions",
        "--table",
        "t.csv",
    )
    assert "SSR region: " in out
    assert "SDR region: " in out
    table = pd.read_csv("t.csv")
    assert table["holds_sufficient"].notna().tolist() == [True, False]
    assert table["holds_destroying"].notna().tolist() == [False, True]
