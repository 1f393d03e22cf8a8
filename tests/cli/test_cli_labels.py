"""`fidokit labels` from a folder of masks to verdicts, a table and a page."""

from __future__ import annotations

import pandas as pd
import pytest
from cli_cases import run
from errors_cases import drawn_data
from study_cases import register_counting
from test_cli_errors import MODEL

import fidokit as fk

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    register_counting("counting")
    data = drawn_data(folder / "data", 60)
    fk.run_study(fk.Classifier.load(MODEL), data, ["counting"], store=folder / "run", progress=False)
    return folder / "run"


def test_labels_are_checked_and_written(capsys, store, tmp_path):
    page, folder = tmp_path / "new" / "page.html", tmp_path / "tables"
    arguments = ("labels", store, "--model", MODEL, "--csv", folder, "--report", page)
    code, out, err = run(capsys, *arguments, "--site", "site")
    assert code == 0, err
    table = pd.read_csv(folder / "labels.csv")
    assert len(table) == 60
    suspect = table[table["verdict"] != "neither"]
    assert len(suspect)
    assert (
        f"of 60 labels {'is' if table['verdict'].isin(['label suspect', 'both']).sum() == 1 else 'are'} suspect" in out
    )
    assert str(suspect["image_id"].iloc[0]) in out
    assert f"Page: {page}" in out
    assert "Which labels are wrong" in page.read_text(encoding="utf-8")


def test_a_column_that_there_is_not(capsys, store, tmp_path):
    code, _, err = run(capsys, "labels", store, "--model", MODEL, "--site", "place", "--csv", tmp_path)
    assert code == 2
    assert "no column 'place'" in err
