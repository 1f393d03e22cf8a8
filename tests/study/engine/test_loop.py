import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import study_cases
import torch
from study_cases import (
    PART,
    GridSettings,
    comparable,
    counting_method,
    grid_masks,
    make_classifier,
    make_data,
    register_counting,
    run,
    tables_equal,
)

import fidokit as fk
from fidokit.data import reading
from fidokit.data.images import LabelledImages
from fidokit.methods import explain, register_method
from fidokit.methods.base import Computed
from fidokit.study.store.store import SCHEMA, Store

pytestmark = pytest.mark.usefixtures("quick")


# What a study holds.


def test_the_masks_of_a_study_are_those_of_explain(classifier, data, tmp_path, calls):
    study = run(classifier, data, tmp_path / "s")
    frame = study.masks()
    expected = explain(classifier, data, "counting").to_frame()
    assert list(frame.columns) == [*SCHEMA.names, "verdict"]
    assert len(frame) == 2 * len(data)
    for got, want in zip(frame["mask"], expected["mask"], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-3)
    columns = ["image_id", "method", "kind", "target", "height", "width", "evaluations", "converged", "settings_id"]
    pd.testing.assert_frame_equal(frame[columns], expected[columns], check_dtype=False)
    scores = ["score_full", "score_kept", "score_dropped"]
    np.testing.assert_allclose(frame[scores], expected[scores], atol=1e-5)
    assert (frame["seconds"] > 0).all()


def test_predictions_are_those_of_the_classifier(classifier, data, tmp_path, calls):
    study = run(classifier, data, tmp_path / "s")
    pd.testing.assert_frame_equal(study.predictions(), classifier.predict(data), check_dtype=False)


def test_built_in_methods_run_side_by_side(classifier, data, tmp_path):
    methods = {
        "fast": ("fido", {"steps": 2, "grid": 4}),
        "cam": "grad-cam",
        "slow": ("fido", fk.FidoSettings(steps=3, grid=4)),
    }
    study = run(classifier, data, tmp_path / "s", methods)
    assert study.methods == ["fast", "cam", "slow"]
    assert study.failures().empty
    assert study.masks("fast")["evaluations"].max() < study.masks("slow")["evaluations"].min()
    assert study.kinds("cam") == ["attribution"]
    assert study.manifest["methods"]["fast"]["settings"]["steps"] == 2


def test_each_photograph_is_read_once_and_predicted_once_for_all_methods(classifier, data, tmp_path, monkeypatch):
    register_counting("counting")
    register_counting("counting too")
    reads = []
    load = LabelledImages.load
    monkeypatch.setattr(LabelledImages, "load", lambda self, i, p: reads.append(i) or load(self, i, p))
    with classifier.session():  # already open, it is not probed
        before = classifier.counter.evaluations
        study = run(classifier, data, tmp_path / "s", ["counting", "counting too"])
        spent = classifier.counter.evaluations - before
    assert sorted(reads) == list(range(len(data)))
    # The prediction, and two evaluations for each of two kinds of two methods; each method counts the prediction.
    assert spent == len(data) * (1 + 2 * 4)
    assert set(study.masks()["evaluations"]) == {1 + 4}


def test_one_chunk_is_held_and_one_is_read_ahead(classifier, tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", 24)
    chunks: list[weakref.ref] = []
    reads: list[int] = []
    before, held, ahead = [], [], []

    def watched(*fields, chunk=reading.Chunk):
        before.append(sum(other() is not None for other in chunks))
        made = chunk(*fields)
        chunks.append(weakref.ref(made.images))
        return made

    def look(_batch):
        time.sleep(0.02)
        held.append(sum(chunk() is not None for chunk in chunks))
        ahead.append(len(reads) - PART * len(held))

    load = LabelledImages.load
    monkeypatch.setattr(LabelledImages, "load", lambda self, i, p: reads.append(i) or load(self, i, p))
    monkeypatch.setattr(reading, "Chunk", watched)
    register_counting("looking", spoil=look)
    run(classifier, data, tmp_path / "s", ["looking"])
    assert before == [0] * 6  # the last one is gone when the next one is taken
    assert held == [1] * 6
    assert max(ahead) == PART


# Going on.


def test_a_finished_study_is_not_computed_again(classifier, data, tmp_path, calls, monkeypatch):
    first = run(classifier, data, tmp_path / "s")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.parquet")}
    monkeypatch.setattr(LabelledImages, "load", lambda *_args: pytest.fail("read again"))
    second = run(classifier, data, tmp_path / "s")
    assert len(calls) == len(data)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.parquet")}
    tables_equal(first, second)


def test_more_methods_compute_only_themselves(classifier, data, tmp_path, calls):
    run(classifier, data, tmp_path / "s")
    study = run(classifier, data, tmp_path / "s", {"counting": "counting", "finer": ("counting", {"cells": 8})})
    assert len(calls) == 2 * len(data)
    assert study.methods == ["counting", "finer"]
    assert set(study.masks("finer")["height"]) == {8}
    assert len(
        run(classifier, data, tmp_path / "s", {"finer": ("counting", GridSettings(cells=8))}).masks()
    ) == 4 * len(data)
    assert len(calls) == 2 * len(data)


def test_a_lost_part_is_computed_again_alone(classifier, data, tmp_path, calls):
    whole = run(classifier, data, tmp_path / "s")
    before = whole.masks()
    predictions = whole.predictions()
    (part,) = (tmp_path / "s" / "masks").glob("*00001.parquet")
    part.unlink()
    (part,) = (tmp_path / "s" / "predictions").glob("*00002.parquet")
    part.unlink()
    calls.clear()
    study = run(classifier, data, tmp_path / "s")
    assert calls == list(data.table["image_id"][PART : 2 * PART])
    pd.testing.assert_frame_equal(comparable(study.masks()), comparable(before))
    pd.testing.assert_frame_equal(study.predictions(), predictions)


def test_a_study_with_failures_is_not_computed_again_either(classifier, tmp_path, monkeypatch):
    data = make_data(tmp_path / "data")
    Path(data.table["path"][1]).write_bytes(b"no image")
    register_counting("counting", spoil=lambda batch: Computed({}, failures=dict.fromkeys(batch.image_ids, "bad")))
    with pytest.warns(RuntimeWarning, match="could not be computed"):
        first = run(classifier, data, tmp_path / "s")
    monkeypatch.setattr(LabelledImages, "load", lambda *_args: pytest.fail("read again"))
    tables_equal(run(classifier, data, tmp_path / "s"), first)


def interrupt_after(n_calls):
    seen = []

    def spoil(_batch):
        seen.append(1)
        if len(seen) == n_calls:
            raise KeyboardInterrupt

    return spoil


def test_after_ctrl_c_the_next_run_goes_on(classifier, data, tmp_path, capsys):
    register_counting("counting")
    undisturbed = run(classifier, data, tmp_path / "whole")
    calls = register_counting("counting", spoil=interrupt_after(2))
    stopped = run(classifier, data, tmp_path / "s")
    assert "4 of 10 masks are finished and safe" in capsys.readouterr().err
    assert stopped.status().to_dict("records") == [{"method": "counting", "finished": 4, "failed": 0, "missing": 6}]
    assert stopped.predictions()["reason"].tolist() == [None] * 8 + ["not predicted yet"] * 2
    tables_equal(run(classifier, data, tmp_path / "s"), undisturbed)
    assert sorted(calls) == sorted(data.table["image_id"])


def test_a_method_that_stops_by_itself_keeps_what_is_finished(classifier, data, tmp_path, capsys):
    register_counting("counting")
    undisturbed = run(classifier, data, tmp_path / "whole")
    chunks = []

    def stop_in_the_second_chunk(batch):
        chunks.append(list(batch.image_ids))
        if len(chunks) != 2:
            return None
        masks = grid_masks(batch.images, 4)
        masks[3] = torch.nan  # never begun
        finished = torch.tensor([True, True, False, False])
        return Computed({"ssr": masks, "sdr": 1 - masks}, finished=finished, interrupted=True)

    register_counting("counting", spoil=stop_in_the_second_chunk)
    stopped = run(classifier, data, tmp_path / "s")
    assert "6 of 10" in capsys.readouterr().err
    ids = list(data.table["image_id"])
    assert set(stopped.masks()["image_id"]) == set(ids[:6])
    tables_equal(run(classifier, data, tmp_path / "s"), undisturbed)
    assert chunks == [ids[:4], ids[4:8], ids[6:8], ids[8:]]


def test_ctrl_c_while_images_are_computed_one_by_one(classifier, data, tmp_path, capsys):
    ids = list(data.table["image_id"])

    def spoil(batch):
        if len(batch) > 1 or ids[0] in batch.image_ids:
            raise ValueError("not today")
        if ids[2] in batch.image_ids:
            raise KeyboardInterrupt

    register_counting("counting", spoil=spoil)
    with pytest.warns(RuntimeWarning, match="1 of 10 masks could not"):
        study = run(classifier, data, tmp_path / "s")
    assert "1 of 10 masks are finished" in capsys.readouterr().err
    assert set(study.masks()["image_id"]) == {ids[1]}
    assert study.failures()["image_id"].tolist() == [ids[0]]
    assert study.status()["missing"].tolist() == [8]


@pytest.mark.parametrize("ends", [lambda: True, lambda: signal.raise_signal(signal.SIGINT)], ids=["asked", "ctrl-c"])
def test_fido_can_be_stopped_and_ends_with_the_same_table(classifier, data, tmp_path, capsys, ends, request):
    # A shell starts background jobs with the signal ignored, and Python then installs no handler of its own.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    methods = {"fido": ("fido", {"steps": 6, "grid": 4, "check_every": 2, "tolerance": 0.0})}
    whole = run(classifier, data, tmp_path / "whole", methods)
    snapshots = []
    stop = lambda snapshot: snapshots.append(snapshot.finished) or (len(snapshots) == 8 and ends())  # noqa: E731
    stopped = run(classifier, data, tmp_path / "s", methods, on_progress=stop)
    assert "run the same command again" in capsys.readouterr().err
    (row,) = stopped.status().to_dict("records")
    assert 0 < row["finished"] < len(data)
    assert stopped.failures().empty
    tables_equal(run(classifier, data, tmp_path / "s", methods), whole)


def kill_after(n_images, folder, store, log):
    """Run `_run_slowly` in a process of its own and kill it as soon as n images have been computed."""
    cases = str(Path(study_cases.__file__).parent)
    paths = [str(Path(fk.__file__).parent.parent), cases, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, __file__, str(folder), str(store), str(log)], env=environment)
    try:
        while len(log.read_text().splitlines()) < n_images and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_run_that_is_killed_goes_on_to_the_same_table(tmp_path):
    data = make_data(tmp_path / "data", 24)
    log, store = tmp_path / "log", tmp_path / "killed"
    log.touch()
    kill_after(10, tmp_path / "data", store, log)
    computed = log.read_text().splitlines()
    assert 10 <= len(computed) < 24
    safe = Store(store).finished("slow", ["ssr", "sdr"])
    # At most the part in submission is lost.
    assert safe <= set(computed)
    assert len(computed) - PART <= len(safe)
    register_method("slow", counting_method())
    log.write_text("")
    methods = {"slow": ("slow", GridSettings(pause=0.05, log=str(log)))}
    resumed = run(make_classifier(), data, store, methods)
    assert sorted(log.read_text().splitlines()) == sorted(set(data.table["image_id"]) - safe)
    tables_equal(resumed, run(make_classifier(), data, tmp_path / "undisturbed", methods))


# What is explained.


def test_labels_as_targets(tmp_path, calls):
    classes = ["blue", "unheard of", "red"]
    data = make_data(tmp_path / "data", 9, classes)
    with pytest.warns(RuntimeWarning) as caught:
        study = run(make_classifier(), data, tmp_path / "s", targets="label")
    assert "does not know 1 of 3 labels; photographs so labelled (3 in all) cannot be explained" in str(
        caught[0].message
    )
    assert "'unheard of' (3)" in str(caught[0].message)
    failures = study.failures()
    assert failures["stage"].tolist() == ["target"] * 3
    assert set(failures["reason"]) == {"the classifier knows no class 'unheard of'"}
    table = study.masks(kinds="ssr").merge(study.predictions(), on="image_id")
    assert (table["target"] == table["label"]).all()
    assert set(table["label"]) == {"blue", "red"}
    assert study.predictions()["correct"].isna().sum() == 3


def test_labels_unknown_to_the_classifier_do_not_matter_to_predicted_targets(tmp_path, calls):
    data = make_data(tmp_path / "data", 6, ["x", "y"])
    with pytest.warns(RuntimeWarning, match=r"count neither as right nor as wrong: 'x' \(3\), 'y' \(3\)"):
        study = run(make_classifier(), data, tmp_path / "s")
    assert study.failures().empty


def test_the_runner_up_as_contrast(classifier, data, tmp_path, calls):
    study = run(classifier, data, tmp_path / "s", against="runner-up")
    table = study.masks(kinds="ssr").merge(study.predictions(), on="image_id")
    assert (table["against"] == table["runner_up"]).all()
    # Against one other class, the score is that of a contest between the two.
    logits = classifier.logits(torch.stack([data.load(i, classifier.preprocessing)[0] for i in range(len(data))]))
    two = logits.topk(2).values
    np.testing.assert_allclose(table["score_full"], torch.sigmoid(two[:, 0] - two[:, 1]), atol=1e-6)


def test_the_runner_up_to_a_label_that_lost_is_the_prediction(tmp_path, calls):
    data = make_data(tmp_path / "data", 3, ["green", "blue", "red"])  # all wrong
    study = run(make_classifier(), data, tmp_path / "s", targets="label", against="runner-up")
    table = study.masks(kinds="ssr").merge(study.predictions(), on="image_id")
    assert (table["against"] == table["predicted"]).all()
    assert (table["target"] == table["label"]).all()


def test_a_class_against_itself_is_a_failure(classifier, data, tmp_path, calls):
    with pytest.warns(RuntimeWarning, match="3 of 10"):
        study = run(classifier, data, tmp_path / "s", against="blue")
    assert set(study.masks()["against"]) == {"blue"}
    assert study.failures()["stage"].tolist() == ["target"] * 3
    assert set(study.predictions().set_index("image_id")["predicted"][study.failures()["image_id"]]) == {"blue"}


def test_progress_names_the_method_and_counts_masks(classifier, data, tmp_path, calls, capsys):
    run(
        classifier,
        data,
        tmp_path / "s",
        {"x" * 100: "counting", "fido": ("fido", {"steps": 2, "grid": 4})},
        progress=True,
    )
    shown = capsys.readouterr().err
    assert "20/20" in shown
    assert "fido" in shown
    assert "x" * 50 not in shown
    run(classifier, data, tmp_path / "t", progress=False)
    assert capsys.readouterr().err == ""


def _run_slowly(folder, store, log):
    register_method("slow", counting_method())
    methods = {"slow": ("slow", GridSettings(pause=0.05, log=log))}
    run(make_classifier(), LabelledImages.from_folder(folder), store, methods)


if __name__ == "__main__":
    _run_slowly(*sys.argv[1:])
