"""`fidokit errors` from a folder of masks to clusters, tables and a page."""

from __future__ import annotations

import pandas as pd
import pytest
from cli_cases import run
from errors_cases import drawn_data
from study_cases import CLASSES, SIZE, Colours, register_counting

import fidokit as fk
from fidokit.errors import verify as verify_module
from fidokit.errors.interventions import Interventions

pytestmark = pytest.mark.usefixtures("quick")

MODEL = "python:test_cli_errors:classifier"


def classifier(**options):
    """What ``--model`` loads."""
    options = {"precision": "float32", "micro_batch": 8, "device": "cpu"} | options
    return fk.Classifier(Colours(), CLASSES, mean=(0, 0, 0), std=(1, 1, 1), size=(SIZE, SIZE), **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    register_counting("counting")
    data = drawn_data(folder / "data")
    fk.run_study(fk.Classifier.load(MODEL), data, ["counting"], store=folder / "run", progress=False)
    return folder / "run"


def test_errors_are_found_proved_and_written(capsys, store, tmp_path):
    page, folder = tmp_path / "new" / "page.html", tmp_path / "tables"
    code, out, err = run(capsys, "errors", store, "--model", MODEL, "--csv", folder, "--report", page)
    assert code == 0, err
    clusters = pd.read_csv(folder / "clusters.csv")
    systematic = clusters[clusters["systematic"]]
    assert len(systematic)
    for row in systematic.to_dict("records"):
        assert f"Cluster {row['cluster']}, {row['name']}: {row['sentence']}." in out
        assert f"What to do: {row['advice']}" in out
        assert row["verdict"] in out
    assert "proved" in set(systematic["verdict"])
    assert "red taken for green" in out
    assert f"Page: {page}" in out
    assert str(folder / "photographs.csv") in out
    text = page.read_text(encoding="utf-8")
    assert "Systematic errors" in text
    assert text.count('data-kind="systematic"') == len(systematic)
    changes = pd.read_csv(folder / "changes.csv")
    assert set(changes["role"]) <= {"error", "right", "other error"}


def test_without_verification_nothing_is_changed(capsys, store, monkeypatch):
    def refuse(*_):
        raise AssertionError("pixels were changed")

    monkeypatch.setattr(Interventions, "answers", refuse)
    code, out, _ = run(capsys, "errors", store, "--model", MODEL, "--no-verify")
    assert code == 0
    assert "proved" not in out
    assert (store / "errors" / "members.csv").is_file()
    assert not (store / "errors" / "changes.csv").exists()
    assert "Systematic errors" in (store / "errors.html").read_text(encoding="utf-8")
    # What lies in the study's folder now does not keep it from being opened and gone on with.
    assert fk.open_study(store).status()["finished"].tolist() == [180]


def test_options_that_cannot_be_used(capsys, store):
    code, _, err = run(capsys, "errors", store, "--model", MODEL, "--method", "lime")
    assert code == 2
    assert "counting" in err
    code, _, err = run(capsys, "errors", store, "--model", MODEL, "--burst", "night")
    assert code == 2
    assert "site, hour" in err
    code, _, err = run(capsys, "errors", "nowhere")
    assert code == 2
    assert "there is no study in nowhere" in err


def test_a_model_that_is_only_known_by_a_users_function_is_asked_for(capsys, store):
    code, _, err = run(capsys, "errors", store)
    assert code == 2
    assert "test_cli_errors:classifier" in err


def test_nothing_systematic_is_said(capsys, tmp_path):
    register_counting("counting")
    table = drawn_data(tmp_path / "data", 60, wrong_labels=6).table
    data = fk.LabelledImages.from_table(table[table["planted_cause"] == "none"])
    study = fk.run_study(fk.Classifier.load(MODEL), data, ["counting"], store=tmp_path / "run", progress=False)
    code, out, _ = run(capsys, "errors", tmp_path / "run", "--model", MODEL)
    assert code == 0
    wrong = int((~study.predictions()["correct"]).sum())
    assert f"{wrong} of {len(data)} images are classified wrongly" in out
    assert "None of the clusters is systematic" in out
    assert "Page: " in out


def test_ctrl_c_says_that_the_study_is_kept(capsys, store, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify_module, "_verify", interrupt)
    code, _, err = run(capsys, "errors", store, "--model", MODEL)
    assert code == 130
    assert err.endswith(f"fidokit: stopped; the study in {store} is as it was\n")
