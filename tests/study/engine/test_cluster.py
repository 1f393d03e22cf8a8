import errno
import os
import pickle
import signal
import threading

import pytest
import torch
from cluster_cases import (
    alive_in,
    cluster_of,
    deadly_classifier,
    driver,
    kill_a_worker,
    logged,
    one_more_worker,
    register_ending,
    register_noting,
    slow_methods,
    wait_for,
)
from nets import conv_net
from study_cases import (
    CLASSES,
    PART,
    SIZE,
    counting_method,
    fill_disk,
    make_classifier,
    make_data,
    paint,
    register_counting,
    run,
    tables_equal,
)

import fidokit as fk
from fidokit.exceptions import ClusterError, MissingExtra, SettingsError, StoreError
from fidokit.methods import get_method, register_method
from fidokit.models import opening
from fidokit.study.store.store import Store

distributed = pytest.importorskip("distributed", reason="needs dask and distributed, the extra `cluster`")
clusters = pytest.importorskip("fidokit.study.engine.cluster")

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("quick")]
METHODS = {"counting": "counting", "fido": ("fido", {"steps": 3, "grid": 4}), "cam": "grad-cam"}


@pytest.fixture(scope="module")
def two():
    with cluster_of(2) as client:
        yield client


@pytest.fixture(scope="module")
def fragile():
    """Workers, one of whose deaths is enough for a job to be suspected."""
    with cluster_of(2, allowed_failures=0) as client:
        yield client


@pytest.fixture
def inside():
    """A worker in this process, so that what is patched here is patched there."""
    with cluster_of(1, processes=False) as client:
        yield client


# The same table.


def test_the_table_is_that_of_a_local_run_whatever_the_number_of_workers(tmp_path, two):
    data = make_data(tmp_path / "data", 40)
    register_counting("counting")
    paint(data, 5, 255)  # NaN logits
    (data.root / data.table["image_id"][17]).write_bytes(b"no image")
    with pytest.warns(RuntimeWarning, match="6 of 120"):
        local = run(make_classifier(), data, tmp_path / "local", METHODS)
    with pytest.warns(RuntimeWarning, match="6 of 120"):
        tables_equal(run(make_classifier(), data, tmp_path / "two", METHODS, client=two), local)
    with cluster_of(1) as one, pytest.warns(RuntimeWarning, match="6 of 120"):
        tables_equal(run(make_classifier(), data, tmp_path / "one", METHODS, client=one), local)
    evaluations = [fk.open_study(tmp_path / name).masks()["evaluations"].tolist() for name in ("local", "one", "two")]
    assert evaluations[0] == evaluations[1] == evaluations[2]


def test_a_study_goes_from_here_to_a_cluster_and_back(classifier, data, tmp_path, calls, two):
    local = run(classifier, data, tmp_path / "s")
    both = {"counting": "counting", "cam": "grad-cam"}
    there = run(classifier, data, tmp_path / "s", both, client=two)
    assert len(there.masks("cam")) == len(data)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.parquet")}
    back = run(classifier, data, tmp_path / "s", both)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.parquet")}
    assert back.masks("counting")["mask"].map(lambda mask: mask.tolist()).tolist() == [
        mask.tolist() for mask in local.masks("counting")["mask"]
    ]
    assert calls == list(data.table["image_id"])


def test_targets_contrasts_and_boxes_are_known_to_the_workers(tmp_path, calls, two):
    data = make_data(tmp_path / "data", 12)
    table = data.table.assign(box_x0=2.0, box_y0=2.0, box_x1=[10.0 + i % 3 for i in range(12)], box_y1=12.0)
    data = fk.LabelledImages(table, data.root)
    options = {"targets": "label", "against": "runner-up"}
    local = run(make_classifier(use_boxes=True), data, tmp_path / "local", **options)
    tables_equal(run(make_classifier(use_boxes=True), data, tmp_path / "s", client=two, **options), local)


def test_paths_relative_to_the_drivers_folder_are_found(data, tmp_path, calls, two, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = fk.LabelledImages.from_folder("data")
    study = run(make_classifier(), relative, "s", client=two)
    assert study.failures().empty
    assert len(study.masks()) == 2 * len(data)


def test_precision_and_micro_batch_are_found_on_a_worker_and_recorded(data, tmp_path, calls, two):
    classifier = make_classifier(precision="auto", micro_batch=None)
    study = run(classifier, data, tmp_path / "s", client=two)
    recorded = study.manifest["classifier"]
    assert (recorded["precision"], recorded["micro_batch"]) == (classifier.precision, classifier.micro_batch)
    assert classifier.micro_batch >= 1
    assert classifier.counter.evaluations == 0  # nothing was computed here


def test_what_is_given_is_not_looked_for(data, tmp_path, calls, inside, monkeypatch):
    asked, submit = [], clusters.Cluster._submit
    monkeypatch.setattr(
        clusters.Cluster,
        "_submit",
        lambda self, function, *given: asked.append(function.__name__) or submit(self, function, *given),
    )
    opened, open_fast = [], opening.open_fast
    monkeypatch.setattr(opening, "open_fast", lambda classifier: opened.append(classifier) or open_fast(classifier))
    run(make_classifier(precision="float32", micro_batch=4), data, tmp_path / "given", client=inside)
    assert "probe" not in asked
    assert len(opened) == 1
    run(make_classifier(precision="float32", micro_batch=None), data, tmp_path / "not", client=inside)
    assert asked.count("probe") == 1
    assert len(opened) == 2  # the one that was probed goes on


# What goes over the wire.


def test_the_driver_gets_names_and_counts_alone(tmp_path, two, monkeypatch):
    data = make_data(tmp_path / "data", 24)
    register_counting("counting")
    sent, received = [], []
    submit, finished = clusters.Cluster._submit, clusters.Cluster._received
    monkeypatch.setattr(
        clusters.Cluster,
        "_submit",
        lambda self, *given: sent.append(len(pickle.dumps(given[1:]))) or submit(self, *given),
    )

    def note(self, future, submission):
        received.append(len(pickle.dumps(future.result())))
        return finished(self, future, submission)

    monkeypatch.setattr(clusters.Cluster, "_received", note)
    study = run(make_classifier(), data, tmp_path / "s", {"fine": ("counting", {"cells": 16})}, client=two, part_size=8)
    masks = study.masks()["mask"]
    assert sum(mask.nbytes for mask in masks) == 24 * 2 * 16 * 16 * 4
    assert len(received) >= 3
    assert max(received) < 1200 < 8 * 2 * 16 * 16 * 2  # of a part's masks, in half precision
    assert max(sent) < 8000 < 8 * 3 * 16 * 16 * 4  # of a part's images


def test_each_worker_has_one_classifier_for_all_its_jobs(tmp_path, two, monkeypatch):
    log = tmp_path / "log"
    data = make_data(tmp_path / "data", 32)
    register_noting("noting", log)
    monkeypatch.setattr(clusters, "_MOST_TASKS_PER_JOB", 1)
    run(make_classifier(), data, tmp_path / "s", ["noting"], client=two)
    notes = [line.split() for line in logged(log)]
    assert sorted(note[3] for note in notes) == sorted(data.table["image_id"])
    pids = {note[0] for note in notes}
    assert len({(note[0], note[1]) for note in notes}) == len(pids) <= 2


def test_torch_has_the_threads_of_the_worker(data, tmp_path):
    log = tmp_path / "log"
    register_noting("noting", log)
    with cluster_of(1, threads_per_worker=3) as client:
        run(make_classifier(), data, tmp_path / "s", ["noting"], client=client)
        assert set(client.run(torch.get_num_threads).values()) == {1}
    assert {line.split()[2] for line in logged(log)} == {"3"}


def test_few_jobs_are_in_flight(tmp_path, two, monkeypatch):
    data = make_data(tmp_path / "data", 60)
    register_counting("counting")
    most = []
    send = clusters.Cluster._send

    def watched(self, submission):
        most.append(len(self.client.futures))
        return send(self, submission)

    monkeypatch.setattr(clusters.Cluster, "_send", watched)
    monkeypatch.setattr(clusters, "_MOST_TASKS_PER_JOB", 1)
    run(make_classifier(), data, tmp_path / "s", client=two)
    assert len(most) == 15
    assert max(most) <= 2 * 2


def test_where_workers_declare_gpus_only_those_compute_one_part_at_a_time(tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", 24)
    log = tmp_path / "log"
    register_noting("noting", log)
    monkeypatch.setattr(clusters, "DEVICE", "cpu")
    resources = []
    submit = distributed.Client.submit
    monkeypatch.setattr(
        distributed.Client,
        "submit",
        lambda self, *given, **options: resources.append(options["resources"]) or submit(self, *given, **options),
    )
    with cluster_of(1, resources={"GPU": 1}) as client, one_more_worker(client) as idle:
        run(make_classifier(), data, tmp_path / "s", ["noting"], client=client)
    assert len(logged(log)) == 24
    assert str(idle) not in {line.split()[0] for line in logged(log)}
    assert all(held == {"GPU": 1} for held in resources)


def test_a_worker_without_the_gpu_that_it_declares_is_named(data, tmp_path, calls):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with (
        cluster_of(1, resources={"GPU": 1}) as client,
        pytest.raises(ClusterError, match=r"the worker tcp://.* torch sees no GPU there"),
    ):
        run(make_classifier(), data, tmp_path / "s", client=client)


# Deaths.


def keys_are_unique(study):
    table = study.masks(columns=["image_id", "method", "kind"])
    assert not table.duplicated().any()


def test_a_worker_that_is_killed_three_times_loses_nothing(tmp_path, two):
    data = make_data(tmp_path / "data", 48)
    log = tmp_path / "log"
    killed = set()

    def killer():
        for n in range(1, 4):
            wait_for(lambda n=n: len(logged(log)) >= 8 * n)
            kill_a_worker(two, killed)

    thread = threading.Thread(target=killer)
    thread.start()
    study = run(make_classifier(), data, tmp_path / "s", slow_methods(log), client=two)
    thread.join()
    assert len(killed) == 3
    # Each death costs at most the part in submission of one worker.
    assert 48 <= len(logged(log)) <= 48 + 3 * PART
    keys_are_unique(study)
    tables_equal(study, run(make_classifier(), data, tmp_path / "whole", slow_methods(log)))


def test_only_the_photograph_that_kills_its_workers_is_lost(tmp_path, fragile):
    data = make_data(tmp_path / "data", 12)
    guilty = data.table["image_id"][5]
    register_counting("counting")
    register_ending("ending", guilty)
    with pytest.warns(RuntimeWarning, match="masks could not be computed"):
        study = run(make_classifier(), data, tmp_path / "s", ["counting", "ending"], client=fragile)
    failures = study.failures().to_dict("records")
    assert [(row["image_id"], row["method"], row["stage"]) for row in failures] == [(guilty, "ending", "mask")]
    (failure,) = failures
    assert failure["reason"].startswith("the worker died, several times, computing this mask")
    assert study.status()["finished"].tolist() == [12, 11]
    assert study.predictions()["predicted"].notna().all()
    keys_are_unique(study)
    calls = register_counting("ending")
    local = run(make_classifier(), data, tmp_path / "local", ["counting", "ending"])
    assert calls == list(data.table["image_id"])
    assert study.predictions()["score"].tolist() == pytest.approx(local.predictions()["score"].tolist(), abs=1e-5)


def test_a_photograph_that_kills_whoever_predicts_it_is_never_touched_again(tmp_path, fragile):
    data = make_data(tmp_path / "data", 12)
    paint(data, 6, 0)
    guilty = data.table["image_id"][6]
    register_counting("counting")
    with pytest.warns(RuntimeWarning, match="masks could not be computed"):
        study = run(deadly_classifier(), data, tmp_path / "s", client=fragile)
    failures = study.failures().to_dict("records")
    assert [(row["image_id"], row["method"], row["stage"]) for row in failures] == [(guilty, None, "read")]
    (failure,) = failures
    assert "the worker died" in failure["reason"]
    assert study.predictions()["reason"].tolist() == [None] * 6 + [failure["reason"]] + [None] * 5
    # In this process: it would end the tests.
    again = run(deadly_classifier(), data, tmp_path / "s", {"counting": "counting", "cam": "grad-cam"})
    assert len(again.masks("cam")) == 11
    assert len(again.failures()) == 1


def test_a_gpu_that_gave_up_costs_a_worker_and_not_the_run(data, tmp_path, two):
    flag = tmp_path / "flag"

    def break_once(_batch):
        if not flag.exists():
            flag.touch()
            raise RuntimeError("CUDA error: device-side assert triggered")

    register_method("shaky", counting_method(spoil=break_once))
    study = run(make_classifier(), data, tmp_path / "s", ["shaky"], client=two)
    assert flag.exists()
    assert study.failures().empty
    assert study.status()["finished"].tolist() == [len(data)]


def test_a_driver_that_is_killed_is_followed_by_one_with_more_workers(tmp_path, two):
    data = make_data(tmp_path / "data", 32)
    log, store = tmp_path / "log", tmp_path / "s"
    process = driver(tmp_path / "data", store, log, 1)
    try:
        wait_for(lambda: len(logged(log)) >= 10 or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    computed = logged(log)
    assert 10 <= len(computed) < 32
    wait_for(lambda: not alive_in(process.pid))
    safe = Store(store).finished("slow", ["ssr", "sdr"])
    assert len(safe) >= len(computed) - PART
    log.unlink()
    study = run(make_classifier(), data, store, slow_methods(log), client=two)
    assert sorted(logged(log)) == sorted(set(data.table["image_id"]) - safe)
    tables_equal(study, run(make_classifier(), data, tmp_path / "whole", slow_methods(log)))
    keys_are_unique(study)


# Ends.


def test_ctrl_c_keeps_what_is_finished(tmp_path, two, capsys, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    data = make_data(tmp_path / "data", 60)
    log = tmp_path / "log"

    def interrupt():
        wait_for(lambda: len(logged(log)) >= 8)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    stopped = run(make_classifier(), data, tmp_path / "s", slow_methods(log), client=two)
    thread.join()
    (row,) = stopped.status().to_dict("records")
    assert f"Stopped. {row['finished']} of 60 masks are finished and safe" in capsys.readouterr().err
    assert 0 < row["finished"] < 60
    assert row["finished"] == len(logged(log))  # nothing was computed in vain
    study = run(make_classifier(), data, tmp_path / "s", slow_methods(log), client=two)
    assert sorted(logged(log)) == sorted(data.table["image_id"])
    tables_equal(study, run(make_classifier(), data, tmp_path / "whole", slow_methods(log)))


def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_costs_nothing(tmp_path):
    make_data(tmp_path / "data", 60)
    log, store = tmp_path / "log", tmp_path / "s"
    process = driver(tmp_path / "data", store, log, 2)
    try:
        wait_for(lambda: len(logged(log)) >= 8 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    finished = Store(store).finished("slow", ["ssr", "sdr"])
    assert sorted(logged(log)) == sorted(finished)
    assert f"Stopped. {len(finished)} of 60 masks" in told
    assert process.returncode == 0


def test_errors_that_concern_every_photograph_end_the_run(data, tmp_path, two):
    def refuse(_batch):
        raise SettingsError("no such thing")

    register_method("refusing", counting_method(spoil=refuse))
    with pytest.raises(SettingsError, match="no such thing"):
        run(make_classifier(), data, tmp_path / "s", ["refusing"], client=two)
    register_counting("refusing")
    assert len(run(make_classifier(), data, tmp_path / "s", ["refusing"], client=two).masks()) == 20


def test_a_full_disk_of_a_worker_says_so(data, tmp_path, calls, inside, monkeypatch):
    fill_disk(monkeypatch)
    with pytest.raises(StoreError, match=r"the disk is full .*run the same command again"):
        run(make_classifier(), data, tmp_path / "s", client=inside)
    monkeypatch.undo()
    study = run(make_classifier(), data, tmp_path / "s", client=inside)
    assert study.status()["finished"].tolist() == [10]


def test_writing_that_fails_once_is_tried_again(data, tmp_path, calls, inside, monkeypatch):
    replace, tried = os.replace, set()

    def stumble(source, target):
        if "masks" in str(target) and target not in tried:
            tried.add(target)
            raise OSError(errno.ESTALE, "Stale file handle")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stumble)
    study = run(make_classifier(), data, tmp_path / "s", client=inside)
    assert study.status()["finished"].tolist() == [10]
    keys_are_unique(study)


def test_what_a_worker_warns_of_and_what_methods_remark_is_told_here(data, tmp_path, inside):
    import warnings

    def warn(_batch):
        warnings.warn("out of memory: going on with less", RuntimeWarning, stacklevel=2)

    register_method("warning", counting_method(spoil=warn))
    with pytest.warns(RuntimeWarning, match="out of memory: going on with less") as caught:
        run(make_classifier(), data, tmp_path / "s", ["warning"], client=inside)
    assert len([one for one in caught if "out of memory" in str(one.message)]) == 1


def test_workers_that_see_other_files_are_named(data, tmp_path, calls, inside, monkeypatch):
    init = clusters.Cluster.__init__

    def elsewhere(self, *given):
        init(self, *given)
        self.known_photograph = "/only/on/the/driver.jpg"

    monkeypatch.setattr(clusters.Cluster, "__init__", elsewhere)
    with pytest.raises(ClusterError, match=r"the worker .* does not see /only/on/the/driver\.jpg"):
        run(make_classifier(), data, tmp_path / "s", client=inside)


def test_a_worker_that_loses_its_drive_makes_no_failures_of_photographs(tmp_path, two, monkeypatch):
    data = make_data(tmp_path / "data", 24)
    ids = list(data.table["image_id"])

    def unplug(batch):
        if ids[5] in batch.image_ids:
            (tmp_path / "data").rename(tmp_path / "unplugged")

    register_method("unplugging", counting_method(spoil=unplug))
    monkeypatch.setattr(clusters, "_MOST_TASKS_PER_JOB", 1)
    with cluster_of(1) as client, pytest.raises(ClusterError, match=r"the worker .* does not see .*\.png"):
        run(make_classifier(), data, tmp_path / "s", ["unplugging"], client=client)
    (tmp_path / "unplugged").rename(tmp_path / "data")
    register_counting("unplugging")
    study = run(make_classifier(), data, tmp_path / "s", ["unplugging"], client=two, retry_failures=True)
    assert study.status()["finished"].tolist() == [24]


def test_methods_of_this_process_stay_the_ones_that_were_registered(data, tmp_path, calls, inside):
    registered = get_method("counting")
    study = run(make_classifier(), data, tmp_path / "s", client=inside)
    assert calls == list(data.table["image_id"])
    assert len(study.masks()) == 20
    assert get_method("counting") is registered


def test_another_version_of_fidokit_is_named(data, tmp_path, calls, inside, monkeypatch):
    init = clusters.StudyPlugin.__init__

    def older(self, *given):
        init(self, *given)
        self.version = "0.0.1"

    monkeypatch.setattr(clusters.StudyPlugin, "__init__", older)
    with pytest.raises(ClusterError, match=r"was begun with 0\.0\.1; install the same version"):
        run(make_classifier(), data, tmp_path / "s", client=inside)


def test_what_cannot_be_sent_is_said(data, tmp_path, two):
    lock = threading.Lock()
    register_method("locked", counting_method(spoil=lambda _batch: lock.acquire() and None))
    with pytest.raises(ClusterError, match="cannot be sent to the workers"):
        run(make_classifier(), data, tmp_path / "s", ["locked"], client=two)


def test_a_program_that_cannot_be_copied_is_loaded_by_the_workers(data, tmp_path, calls, two, monkeypatch):
    image = torch.rand(2, 3, SIZE, SIZE)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    torch.export.save(torch.export.export(conv_net(3), (image,), dynamic_shapes=shapes), tmp_path / "net.pt2")
    monkeypatch.chdir(tmp_path)
    options = {"size": SIZE, "class_names": CLASSES, "precision": "float32", "micro_batch": 8, "device": "cpu"}
    classifier = fk.Classifier.load("net.pt2", **options)
    local = run(classifier, data, tmp_path / "local")
    tables_equal(run(fk.Classifier.load("net.pt2", **options), data, tmp_path / "s", client=two), local)


def test_a_scheduler_that_is_gone_is_said(tmp_path):
    data = make_data(tmp_path / "data", 60)
    log = tmp_path / "log"
    with cluster_of(1) as client:

        def shut_down():
            wait_for(lambda: len(logged(log)) >= 4)
            client.cluster.close()

        thread = threading.Thread(target=shut_down)
        thread.start()
        with pytest.raises(ClusterError, match="run the same command again"):
            run(make_classifier(), data, tmp_path / "s", slow_methods(log), client=client)
        thread.join()
    assert len(run(make_classifier(), data, tmp_path / "s", slow_methods(log)).masks()) == 120


# What is refused.


def test_options_that_do_not_go_with_a_client(data, tmp_path, calls, inside):
    with pytest.raises(SettingsError, match=r"must be a dask\.distributed\.Client, not str"):
        run(make_classifier(), data, tmp_path / "s", client="tcp://10.0.0.1:8786")
    with pytest.raises(SettingsError, match="on_progress"):
        run(make_classifier(), data, tmp_path / "s", client=inside, on_progress=print)
    assert not (tmp_path / "s").exists()


def test_errors_survive_the_way_back_from_a_worker():
    for error in (MissingExtra("timm", "timm"), ClusterError("a"), StoreError("b"), SettingsError("c")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_the_command_line_takes_the_address_of_a_scheduler(tmp_path, two, monkeypatch, capsys):
    import report_cases

    from fidokit import cli

    monkeypatch.chdir(tmp_path)
    report_cases.make_table(tmp_path / "photographs").to_csv(tmp_path / "birds.csv", index=False)
    arguments = ["study", "birds.csv", "--model", "python:report_cases:classifier", "--methods", "saliency"]
    assert cli.main([*arguments, "--no-metrics", "--cluster", two.scheduler.address]) == 0
    assert len(fk.open_study(tmp_path / "runs" / "birds").masks()) == 6
    monkeypatch.setattr(clusters, "_PATIENCE", 0.5)
    assert cli.main([*arguments, "--store", "other", "--cluster", "tcp://127.0.0.1:9"]) == 2
    assert "there is no Dask scheduler at 'tcp://127.0.0.1:9'" in capsys.readouterr().err
