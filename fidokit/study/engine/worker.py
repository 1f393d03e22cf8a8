"""What a Dask worker has of a run: the classifier and the methods, sent to it once, and what it is asked to do."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from fidokit._util.ambient import unaffected
from fidokit._version import __version__
from fidokit.data.readers.cells import file_of
from fidokit.exceptions import ClusterError, MissingExtra
from fidokit.methods import get_method, register_method
from fidokit.methods.base import Method
from fidokit.models import devices
from fidokit.models.classifier import Classifier, with_precision
from fidokit.models.isolation import GpuLost
from fidokit.study.engine.chunk import Recipe, Step, Task, make
from fidokit.study.store.manifest import Entry, classifier_difference, describe_classifier
from fidokit.study.store.recorded import load_recorded
from fidokit.study.store.store import Store

try:
    from distributed import Worker, get_worker
    from distributed.diagnostics.plugin import WorkerPlugin
except ImportError as error:
    raise MissingExtra("distributed", "cluster") from error


# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class ModelReference:
    """A classifier by its command-line name, and what `describe_classifier` says of it."""

    name: str
    recorded: dict[str, Any]

    def load(self) -> Classifier:
        """The classifier; `ClusterError` if the name stands for another one on this machine."""
        classifier = load_recorded(self.name, self.recorded)
        difference = classifier_difference(self.recorded, describe_classifier(classifier))
        if difference is not None:
            raise ClusterError(f"a worker finds another classifier under {self.name!r}: {difference}; put that right")
        return with_precision(classifier, self.recorded["precision"], self.recorded["micro_batch"])


@dataclass(frozen=True)
class Payload:
    """What is sent to every worker: a `Recipe` in a form that can be sent.

    Attributes:
        store: where, as `Store` takes it.
        classifier: as in `Recipe`, its module on the CPU; or how it is found, if its module cannot be copied.
        to_labels, against: as in `Recipe`.
        entries: label -> name, settings, rank and within of an `Entry`.
        methods: the user's own methods among them.
        device: on which workers compute.
        known_photograph: a photograph that the workers must see as well; None if there is none.
        driver: `this_process` of the driver.
        unsuited: as in `Recipe`.
    """

    store: str
    classifier: Classifier | ModelReference
    entries: Mapping[str, tuple[str, Any, str | None, str | None]]
    methods: Mapping[str, Method]
    to_labels: bool
    against: str | None
    device: str
    known_photograph: str | None
    driver: tuple[str, int]
    unsuited: Mapping[str, str]


@dataclass(frozen=True)
class Job:
    """Tasks of one dataset, and the precision that the study has."""

    tasks: Sequence[Task]
    precision: str
    micro_batch: int | None


@dataclass(frozen=True)
class JobResult:
    """What has come of a job: names and counts alone, the rows are in the store.

    Attributes:
        steps: what was made.
        error: why rows could not be written; the job ended there.
        stopped: whether it was asked to stop.
        remarks: warnings that were given.
        seconds: that it took.
    """

    steps: list[Step]
    error: OSError | None = None
    stopped: bool = False
    remarks: set[str] = field(default_factory=set)
    seconds: float = 0.0


class StudyPlugin(WorkerPlugin):
    """Comes to every worker once, also to those that join or are restarted later, and is unpacked at its first job.

    Args:
        name: under which jobs find it.
        payload: pickled `Payload`.
    """

    def __init__(self, name: str, payload: bytes) -> None:
        self.name, self.payload, self.version = name, payload, __version__

    def setup(self, worker: Worker) -> None:
        """Called by Dask on the worker."""
        self._address: str = worker.address
        self._threads: int = worker.state.nthreads
        self._may_exit = worker.nanny is not None
        # A frozen module with hooks in it serves one thread; the job that waits has its turn at once.
        self._turn = threading.Lock()
        self._stopped = threading.Event()
        self._contents: Payload | None = None
        self._classifier: Classifier | None = None
        self._recipe: Recipe | None = None
        self._sessions = ExitStack()
        # In a terminal, Ctrl-C goes to the workers on the same machine too; it is the driver that asks them to stop.
        own_process = self._may_exit and threading.current_thread() is threading.main_thread()
        if self._may_exit:
            _keep_memory()
        self._interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN) if own_process else None

    def teardown(self, worker: Worker) -> None:
        """Called by Dask on the worker at the end of the run; a job in work ends soon."""
        self._stopped.set()
        self._contents = self._classifier = self._recipe = None
        if self._interrupted is not None:
            signal.signal(signal.SIGINT, self._interrupted)

    def stop(self) -> None:
        """Ask the job in work to stop as Ctrl-C does; later ones do not begin."""
        self._stopped.set()

    @unaffected()
    def probe(self) -> tuple[str, str, int | None]:
        """Precision, why, and micro-batch, as they are found on this worker."""
        with self._turn, _threads(self._threads):
            _, classifier = self._unpacked()
            self._sessions.enter_context(classifier.session())
            return classifier.precision, classifier.precision_reason, classifier.micro_batch

    @unaffected()
    def do(self, job: Job) -> JobResult:
        """Do a job: read, predict, explain and write."""
        steps: list[Step] = []
        failed: OSError | None = None
        with self._turn, _threads(self._threads), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            if self._stopped.is_set():
                return JobResult([], stopped=True)
            recipe = self._opened(job)
            start = time.perf_counter()
            try:
                with closing(make(recipe, job.tasks, lambda _label: lambda _snapshot: self._stopped.is_set())) as made:
                    for step in made:
                        steps.append(step)
                        if step.stopped or self._stopped.is_set():
                            break
            except OSError as error:
                failed = error
            except GpuLost:
                if self._may_exit:
                    os._exit(1)  # only a new process gets the GPU back; Dask gives the job to another worker
                raise
            seconds = time.perf_counter() - start
        remarks = {str(one.message) for one in caught if issubclass(one.category, RuntimeWarning)}
        stopped = self._stopped.is_set() or any(step.stopped for step in steps)
        return JobResult(steps, failed, stopped, remarks, seconds)

    def _unpacked(self) -> tuple[Payload, Classifier]:
        if self._contents is None or self._classifier is None:
            if self.version != __version__:
                raise ClusterError(
                    f"the worker {self._address} has fidokit {__version__}, the run was begun with "
                    f"{self.version}; install the same version on all machines"
                )
            try:
                contents: Payload = pickle.loads(self.payload)
            except (ImportError, AttributeError) as error:
                raise ClusterError(
                    f"the worker {self._address} cannot unpack the classifier or a method ({error}); install on the "
                    "workers what they are made of, or send a file with client.upload_file"
                ) from error
            if contents.driver != this_process():  # there they are registered, and no copies
                for name, method in contents.methods.items():
                    register_method(name, method, replace=True)
            if not devices.count(torch.device(contents.device).type):
                raise ClusterError(
                    f"the worker {self._address} is to compute on {contents.device!r}, but torch sees no GPU there; "
                    "start workers where there are GPUs, or give the classifier device='cpu'"
                )
            sent = contents.classifier
            self._classifier = sent if isinstance(sent, Classifier) else sent.load()
            self._classifier.device = torch.device(contents.device)
            self._contents = contents
        return self._contents, self._classifier

    def _opened(self, job: Job) -> Recipe:
        """The recipe, its classifier in open sessions, which are kept from job to job."""
        contents, classifier = self._unpacked()
        store = Store(contents.store)
        seen = {contents.store: store.exists()}
        if contents.known_photograph is not None:
            seen[contents.known_photograph] = file_of(contents.known_photograph).exists()
        for path, there in seen.items():
            # Asked anew each time: a machine that loses its drive would make a failure of every photograph.
            if not there:
                raise ClusterError(
                    f"the worker {self._address} does not see {path}; store and photographs must lie where all "
                    "machines find them under the same path"
                )
        if self._recipe is None:
            if (classifier.precision, classifier.micro_batch) != (job.precision, job.micro_batch):
                classifier = with_precision(classifier, job.precision, job.micro_batch)
            self._sessions.enter_context(classifier.session())
            self._sessions.enter_context(classifier.session(exact=True))
            entries = {
                label: Entry(name, get_method(name), *others) for label, (name, *others) in contents.entries.items()
            }
            self._recipe = Recipe(store, classifier, entries, contents.to_labels, contents.against, contents.unsuited)
        return self._recipe


def _keep_memory() -> None:
    """Let the C library keep what tensors were in, as it does by itself in a process that Dask did not start.

    Dask has its workers give memory back at once (MALLOC_TRIM_THRESHOLD_), and the next tensor asks for it again page
    by page, which takes longer than to compute what is in it. The values are those that glibc arrives at by itself.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        library.mallopt(_TRIM_THRESHOLD, 64 * 2**20)


def this_process() -> tuple[str, int]:
    """Host and process, which tell a worker whether it is in the driver itself."""
    return socket.gethostname(), os.getpid()


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let torch use as many threads as the worker has; Dask starts its processes with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, n))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def do(name: str, job: Job) -> JobResult:
    """A task for Dask: do a job with the plugin of this name."""
    return _plugin(get_worker(), name).do(job)


def probe(name: str) -> tuple[str, str, int | None]:
    """A task for Dask: what `StudyPlugin.probe` finds."""
    return _plugin(get_worker(), name).probe()


def stop(name: str, dask_worker: Worker) -> None:
    """For `Client.run`: what `StudyPlugin.stop` does."""
    _plugin(dask_worker, name).stop()


def _plugin(worker: Worker, name: str) -> StudyPlugin:
    plugin = worker.plugins.get(name)
    if not isinstance(plugin, StudyPlugin):
        raise RuntimeError(f"the worker {worker.address} has not been sent {name}")
    return plugin
