"""`fidokit sites`."""

from __future__ import annotations

import pandas as pd
from cli_cases import run
from errors_cases import drawn_study


def test_table_page_and_what_is_printed(tmp_path, capsys):
    study = drawn_study(tmp_path, n=30)
    model = ["--model", "python:errors_cases:make_classifier"]
    code, out, err = run(capsys, "sites", study.path, "--by", "site", "--photographs", 3, *model)
    assert code == 0, err
    assert "Which site to mistrust" in out
    assert "meadow" in out
    assert "evaluations" in err
    table = pd.read_csv(tmp_path / "run" / "sites" / "sites.csv")
    assert sorted(table["site"]) == ["gravel", "meadow"]
    assert table["changed"].eq(3).all()
    assert "Which site to mistrust" in (tmp_path / "run" / "sites.html").read_text()
    code, out, err = run(capsys, "sites", study.path, "--by", "elevation", "--no-changes")
    assert code == 2
    assert "no column 'elevation'" in err
    code, out, _ = run(capsys, "sites", study.path, "--by", "site", "--no-changes")
    assert code == 0
    assert "No photograph was changed" in out
