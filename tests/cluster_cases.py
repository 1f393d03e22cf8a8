"""What the tests of clusters share: clusters of processes on this machine, and classifiers that end them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import torch
from study_cases import CLASSES, SIZE, Colours, GridSettings, counting_method, grid_masks, make_classifier, run

import fidokit as fk
from fidokit.data.images import LabelledImages
from fidokit.methods import register_method
from fidokit.methods.base import Computed, Method
from fidokit.models.classifier import Classifier


@contextmanager
def cluster_of(n_workers, *, allowed_failures=3, **options):
    """A client of a cluster of processes on this machine, one thread each."""
    import dask
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0, "silence_logs": 60} | options
    with (
        # Dask leaves OMP_NUM_THREADS=1 behind in this process, from which all later ones would have it.
        patch.dict(os.environ),
        dask.config.set({"distributed.scheduler.allowed-failures": allowed_failures}),
        LocalCluster(n_workers=n_workers, **options) as cluster,
        Client(cluster) as client,
    ):
        yield client


class Deadly(Colours):
    """As `Colours`, but a photograph that is black all over ends the process."""

    def forward(self, x):
        if bool((x == 0).flatten(1).all(1).any()):
            os._exit(1)
        return super().forward(x)


def deadly_classifier() -> Classifier:
    options = {"precision": "float32", "micro_batch": 8, "device": "cpu"}
    return Classifier(Deadly(), CLASSES, mean=(0, 0, 0), std=(1, 1, 1), size=(SIZE, SIZE), **options)


def register_ending(name: str, image_id: str) -> None:
    """A method that ends the process when it meets a photograph."""

    def spoil(batch):
        if image_id in batch.image_ids:
            os._exit(1)

    register_method(name, counting_method(spoil=spoil))


def register_noting(name: str, log: Path) -> None:
    """A method that writes down who computes what: process, classifier, threads of torch, photograph."""

    def compute(classifier, batch, settings, _on_progress):
        who = f"{os.getpid()} {id(classifier)} {torch.get_num_threads()}"
        with open(log, "a") as file:  # noqa: PTH123
            file.writelines(f"{who} {image_id}\n" for image_id in batch.image_ids)
        masks = grid_masks(batch.images, settings.cells)
        return Computed({"ssr": masks, "sdr": 1 - masks})

    register_method(name, Method(compute, GridSettings, ("ssr", "sdr")))


@contextmanager
def one_more_worker(client):
    """A worker beside those of a client, which declares nothing."""
    address = client.scheduler.address
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
    n = len(client.nthreads())
    process = subprocess.Popen([*command, "--nthreads", "1"], stderr=subprocess.DEVNULL)
    try:
        client.wait_for_workers(n + 1, timeout=60)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def logged(log: Path) -> list[str]:
    """The lines of a log that processes append to."""
    return log.read_text().splitlines() if log.exists() else []


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def kill_a_worker(client, known: set[int]) -> None:
    """``kill -9`` of a worker process that is not known yet."""
    pids: set[int] = set()

    def there():
        pids.update(pid for pid in client.run(os.getpid, on_error="ignore").values() if isinstance(pid, int))
        return pids - known

    wait_for(there)
    pid = min(pids - known)
    known.add(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def driver(folder, store, log, n_workers):
    """Start `_drive` in a process of its own."""
    paths = [str(Path(fk.__file__).parent.parent), str(Path(__file__).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, __file__, str(folder), str(store), str(log), str(n_workers)]
    return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)


def alive_in(session: int) -> bool:
    """Whether a process is left of a session: the workers of a driver that was killed."""
    import psutil

    def belongs(process) -> bool:
        with suppress(psutil.Error, ProcessLookupError):
            return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
        return False

    return any(belongs(process) for process in psutil.process_iter())


def slow_methods(log):
    register_method("slow", counting_method())
    return {"slow": ("slow", {"pause": 0.05, "log": str(log)})}


def _drive(folder, store, log, n_workers):
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    with cluster_of(int(n_workers)) as client:
        run(make_classifier(), LabelledImages.from_folder(folder), store, slow_methods(log), client=client)


if __name__ == "__main__":
    # Under its own name, so that workers find what is defined here.
    import cluster_cases

    cluster_cases._drive(*sys.argv[1:])
