"""`fidokit review`: the order in the terminal, as files and as a page, and how many errors are left."""

from __future__ import annotations

import pandas as pd
import pytest
from cli_cases import run

import fidokit as fk
from fidokit import testbed

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    data = testbed.survey(24, 11, sites=4, stumps=1, folder=folder / "data", size=128)
    data = fk.LabelledImages.from_table(data.table.assign(label=None))
    fk.run_study(testbed.classifier(device="cpu"), data, ["grad-cam"], store=folder / "run", progress=False)
    return folder / "run"


def test_the_order_is_printed_and_written(capsys, store, tmp_path):
    tables, page = tmp_path / "tables", tmp_path / "page.html"
    code, out, err = run(
        *(capsys, "review", store, "--csv", tables, "--report", page),
        *("--model", "python:fidokit.testbed:classifier", "--batch", 8, "--interventions", 3),
    )
    assert code == 0, err
    assert "Filling in takes up to 6 evaluations." in out
    assert "24 photographs in the order" in out
    table = pd.read_csv(tables / "order.csv")
    assert table["filled_in"].notna().sum() == 3
    assert table["image_id"][0] in out
    assert table["image_id"][23] not in out
    assert pd.read_csv(tables / "timelapse.csv")["FidokitRank"].tolist() == list(range(1, 25))
    assert "Where to look first" in page.read_text(encoding="utf-8")
    assert "errors were found" not in out


def test_what_was_reviewed_tells_how_many_errors_are_left(capsys, store, tmp_path):
    arguments = ["review", store, "--csv", tmp_path / "a", "--report", tmp_path / "p.html", "--batch", 8]
    arguments += ["--model", "python:fidokit.testbed:classifier"]
    assert run(capsys, *arguments)[0] == 0
    table = pd.read_csv(tmp_path / "a" / "order.csv")
    reviewed = tmp_path / "reviewed.csv"
    table[table["batch"] == 1].assign(review="confirmed").to_csv(reviewed, index=False)
    code, out, err = run(capsys, *arguments, "--reviewed", reviewed)
    assert code == 0, err
    assert "After 1 batches 0 errors were found." in out
    table.head(1).assign(review="confirmed").to_csv(reviewed, index=False)
    assert "Batch 1 was not looked at whole" in run(capsys, *arguments, "--reviewed", reviewed)[1]
    code, _, err = run(capsys, *arguments, "--reviewed", tmp_path / "none.csv")
    assert code == 2
    assert "--reviewed" in err
    assert "none.csv cannot be read as a CSV" in err
