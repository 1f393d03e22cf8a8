from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import report_cases
from study_cases import make_classifier, make_data, paint, register_counting, run

from fidokit import cli
from fidokit.exceptions import SettingsError
from fidokit.study.plan import METRICS, Plan, plan

pytestmark = pytest.mark.usefixtures("quick")
METHODS = {"counting": "counting", "fine": ("counting", {"cells": 16}), "cam": "grad-cam"}


def test_evaluations_and_bytes_are_those_of_the_study_itself(tmp_path):
    data = make_data(tmp_path / "data", 90)
    register_counting("counting")
    classifier = make_classifier()
    made = plan(classifier, data, METHODS, part_size=8, sample=24, metrics=True)
    study = run(classifier, data, tmp_path / "s", METHODS, part_size=8)
    assert (made.n, made.n_measured) == (90, 24)
    assert made.table["method"].tolist() == [*METHODS, METRICS]
    assert made.table["kinds"].tolist() == [2, 2, 1, 0]
    masks = made.table[made.table["method"] != METRICS]
    once = study.masks(columns=["image_id", "method", "evaluations"]).drop_duplicates(["image_id", "method"])
    assert masks["all_evaluations"].sum() == once["evaluations"].sum()
    written = sum(path.stat().st_size for path in (tmp_path / "s").rglob("*.parquet"))
    assert masks["all_bytes"].sum() == pytest.approx(written, rel=0.1)
    study.metrics(progress=False)
    metrics = sum(path.stat().st_size for path in (tmp_path / "s" / "metrics").rglob("*.parquet"))
    assert made.table["all_bytes"].iloc[-1] == pytest.approx(metrics, rel=0.1)


def test_few_photographs_do_not_make_many_look_large(tmp_path):
    # Footers outweigh the rows of small parts by far.
    data = make_data(tmp_path / "data", 64)
    register_counting("counting")
    classifier = make_classifier()
    made = plan(classifier, data, ["counting"], sample=4)
    run(classifier, data, tmp_path / "s", ["counting"], part_size=32)
    written = sum(path.stat().st_size for path in (tmp_path / "s").rglob("*.parquet"))
    assert made.store_bytes == pytest.approx(written, rel=0.3)
    run(classifier, data.subset(range(4)), tmp_path / "few", ["counting"], part_size=32)
    few = sum(path.stat().st_size for path in (tmp_path / "few").rglob("*.parquet"))
    assert few * 64 / 4 > 4 * written


def test_nothing_of_it_is_left_and_everything_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    data = make_data(tmp_path / "data", 10)
    calls = register_counting("counting")
    made = plan(make_classifier(), data, ["counting"], sample=4)
    assert list((tmp_path / "tmp").iterdir()) == []
    # The first one warms up; those measured are spread evenly.
    ids = list(data.table["image_id"])
    assert calls == [ids[0], *(ids[i] for i in (0, 3, 6, 9))]
    assert (made.device, made.precision, made.micro_batch, made.threads) == ("CPU", "float32", 8, 1)
    assert made.gpu_memory is None
    assert made.memory is None or made.memory > 1e8
    assert made.read_seconds > 0
    assert made.seconds > made.start_seconds > 0


def test_photographs_that_fail_are_counted(tmp_path):
    data = make_data(tmp_path / "data", 4)
    register_counting("counting")
    paint(data, 1, 255)
    Path(data.table["path"][3]).write_bytes(b"no image")
    made = plan(make_classifier(), data, ["counting"], sample=4)
    assert made.table["failed"].tolist() == [0.5]


def known_plan(**changes) -> Plan:
    rows = [("a", 0.3), ("b", 0.1), (METRICS, 0.2)]
    table = pd.DataFrame(
        [
            {"method": name, "seconds": seconds, "all_evaluations": 10.0, "all_bytes": 1e6, "bytes": 1.0}
            for name, seconds in rows
        ]
    )
    made = Plan(table, 1000, 8, 0.05, 20.0, None, None, "CPU", "float32", 8, 1)
    return replace(made, **changes)


def test_time_is_shared_out_among_workers_apart_from_the_start_and_the_metrics():
    made = known_plan()
    assert made.seconds == pytest.approx(20 + 1000 * (0.4 + 0.2))
    hours = made.on([1, 4])
    assert hours["workers"].tolist() == [1, 4]
    assert (hours["hours"] * 3600).tolist() == pytest.approx([made.seconds, 20 + 1000 * (0.1 + 0.2)])
    assert (made.evaluations, made.store_bytes) == (30, 3e6)


def test_reading_counts_where_it_is_slower_than_computing():
    assert known_plan(read_seconds=3.0).seconds == pytest.approx(20 + 1000 * (3.0 + 0.2))


def test_numbers_that_are_none(classifier, data, calls):
    with pytest.raises(SettingsError, match="sample is 0"):
        plan(classifier, data, ["counting"], sample=0)
    with pytest.raises(SettingsError, match="workers is 0"):
        known_plan().on([2, 0])


def test_the_command_says_what_all_would_cost(tmp_path, monkeypatch, capsys):
    report_cases.register()
    monkeypatch.chdir(tmp_path)
    report_cases.make_table(tmp_path / "photographs").to_csv(tmp_path / "birds.csv", index=False)
    arguments = ["plan", "birds.csv", "--model", "python:report_cases:classifier", "--methods", "saliency"]
    assert cli.main([*arguments, "--sample", "3", "--workers", "3"]) == 0
    shown = capsys.readouterr().out
    assert "3 of 6 photographs measured, on " in shown
    assert "saliency" in shown
    assert METRICS in shown
    assert "In all, on this machine: " in shown
    assert "With so many workers, each like this machine: 3: " in shown
    assert "no GPU here: what one would take is unknown" in shown
    assert not (tmp_path / "runs").exists()
    assert cli.main([*arguments, "--workers", "many"]) == 2
    assert "--workers many: give whole numbers" in capsys.readouterr().err
