"""A run on a Dask cluster: what its workers are sent, what they are given to do, and what happens when they die."""

from __future__ import annotations

import copy
import errno
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cloudpickle
from torch import nn

from fidokit._util.warning import warn
from fidokit.data.images import LabelledImages
from fidokit.data.readers.cells import file_of
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import ClusterError, FidokitError, MissingExtra, SettingsError
from fidokit.methods import is_built_in
from fidokit.models.classifier import Classifier, with_precision
from fidokit.study.engine.chunk import Recipe, Step, Task, write_predictions
from fidokit.study.engine.worker import (
    Job,
    JobResult,
    ModelReference,
    Payload,
    StudyPlugin,
    do,
    probe,
    stop,
    this_process,
)
from fidokit.study.store.manifest import describe_classifier

try:
    import dask
    from distributed import Client, Future, KilledWorker, LocalCluster
except ImportError as error:
    raise MissingExtra("distributed", "cluster") from error

#: The resource that stands for a GPU, as in ``dask worker --resources "GPU=1"``.
GPU = "GPU"
#: Where a worker computes that declares one.
DEVICE = "cuda"
# One job is computed and one waits, so that no worker is idle while the driver hears of it.
_JOBS_PER_WORKER = 2
# Jobs of this length cost little to schedule and lose little at the end of a run; photographs are read ahead in them.
_SECONDS_PER_JOB = 5.0
_MOST_TASKS_PER_JOB = 8
_ATTEMPTS = 3
# How often the cluster is looked at while nothing comes, and from when on it is said that nobody is there.
_LOOK = 1.0
_PATIENCE = 30.0
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def connected(address: str) -> Client:
    """A client of the scheduler at an address, such as ``tcp://10.0.0.1:8786``.

    Raises:
        ClusterError: there is none.
    """
    try:
        return Client(address, timeout=_PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"there is no Dask scheduler at {address!r} ({error}); start one, or put the address right"
        ) from error


def check_client(client: object) -> None:
    """Refuse what is no client, or an asynchronous one.

    Raises:
        SettingsError: it is so.
    """
    if not isinstance(client, Client):
        raise SettingsError(f"`client` must be a dask.distributed.Client, not {type(client).__name__}")
    if client.asynchronous:
        raise SettingsError("`client` is asynchronous; a study needs one that was made with asynchronous=False")


@dataclass(frozen=True)
class _Submission:
    """Tasks on their way, and how often they were sent."""

    tasks: list[Task]
    attempts: int = 1


class Cluster:
    """The workers of one run. A context: they are sent what they need at its start and forget it at its end.

    Args:
        client: of the cluster.
        recipe: what all tasks have in common; its classifier may still be without a precision.
        data: the photographs.

    Raises:
        ClusterError: the classifier or a method cannot be sent.
    """

    def __init__(self, client: Client, recipe: Recipe, data: LabelledImages) -> None:
        self.client, self.recipe = client, recipe
        self.name = f"fidokit-{recipe.classifier.fingerprint()[:12]}-{secrets.token_hex(4)}"
        present = (str(_absolute(path)) for path in data.table["path"] if file_of(path).exists())
        self.known_photograph = next(present, None)
        self.remarks: set[str] = set()
        self._patience = ExitStack()
        self._stopping = False
        self._seconds_per_task: float | None = None
        self._jobs = 0
        self._looked = self._peopled = time.monotonic()
        self._workers = 0

    def __enter__(self) -> Cluster:
        if isinstance(self.client.cluster, LocalCluster):
            # It gives up a worker for good that is being restarted 15 s after an earlier death.
            self._patience.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "1 day"}))
        self._await_worker()
        self.on_gpus = self._count(GPU) > 0
        plugin = StudyPlugin(self.name, _packed(self.recipe, DEVICE if self.on_gpus else None, self.known_photograph))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self.client.register_plugin(plugin, name=self.name)
                break
            except ImportError as error:
                raise ClusterError(f"a worker cannot import fidokit ({error}); install it on all workers") from error
            except OSError as error:
                # A worker may die while it is sent to.
                self._look()
                if attempt == _ATTEMPTS:
                    raise ClusterError(f"the workers cannot be reached ({error}); see that they live") from error
        return self

    def __exit__(self, *_: object) -> None:
        # A scheduler that is gone has forgotten it too.
        with self._patience, suppress(Exception):
            self.client.unregister_worker_plugin(self.name)

    def probe(self) -> None:
        """Let a worker find precision and micro-batch of the classifier, as its own session does in a local run."""
        classifier = self.recipe.classifier
        if classifier.precision != "auto" and classifier.micro_batch is not None:
            return
        future = self._submit(probe, f"{self.name}-probe", self.name)
        try:
            classifier.precision, classifier.precision_reason, classifier.micro_batch = future.result()
        except KilledWorker as error:
            raise ClusterError(
                f"the workers died while they made {classifier!r} ready; their logs may say why, too little memory is "
                "the usual reason"
            ) from error

    def steps(self, tasks: Iterable[Task]) -> Generator[Step, None, None]:
        """Have tasks done by the workers; steps come in any order, each when it is written.

        A job whose workers died again and again is repeated task by task when all others are through, with nothing else
        in work; a task that still kills them photograph by photograph, and what kills them then is a failure.

        Raises:
            OSError: a worker cannot write to the store.
            ClusterError: the cluster is gone, or workers lack what they need.
            FidokitError: what would hit every photograph alike.
        """
        suspects: list[Task] = []
        for sent, outcome in self._flown(self._bundles(iter(tasks)), self._room):
            if outcome is None:
                suspects += sent
            else:
                yield from outcome.steps
        for task in suspects:
            for _, outcome in self._flown(iter([[task]]), lambda: 1):
                yield from self._one_by_one(task) if outcome is None else outcome.steps
        if self._stopping:
            yield Step(None, stopped=True)

    def _one_by_one(self, task: Task) -> Iterator[Step]:
        """Photograph by photograph, and of each method by method: what kills a worker now is guilty."""
        rows: dict[str, dict[str, object]] = {}
        for position in task.read:
            image_id = task.image_id(position)
            lacking = [label for label, missing in task.missing.items() if image_id in missing]
            alone = replace(task, positions=[position], read=[position], missing={}, predictions="return")
            for label in (None, *lacking):
                job = alone if label is None else replace(alone, missing={label: {image_id}}, predictions=None)
                steps = list(self._alone(job, label, image_id))
                if self._stopping:
                    return
                yield from (step for step in steps if step.label == label)
                if label is None:
                    rows |= {key: row for step in steps for key, row in step.predictions.items()}
                    if any(step.failed for step in steps):
                        break
        if task.predictions is not None:
            for position in task.positions:
                if position not in task.read:
                    image_id = task.image_id(position)
                    rows[image_id] = self.recipe.classifier.prediction(None, task.unreadable.get(image_id))
            write_predictions(self.recipe, task, rows)

    def _alone(self, task: Task, label: str | None, image_id: str) -> Iterator[Step]:
        """A task of one photograph; if it kills its workers, a failure."""
        for _, outcome in self._flown(iter([[task]]), lambda: 1):
            if outcome is not None:
                yield from outcome.steps
                continue
            what = "reading or predicting this photograph" if label is None else "computing this mask"
            reason = f"the worker died, several times, {what} with nothing else in work; its memory may be too small"
            # What cannot even be predicted counts as unreadable: a later run with more methods must not touch it.
            row = {
                "image_id": image_id,
                "method": label,
                "stage": "read" if label is None else "mask",
                "reason": reason,
            }
            self.recipe.store.add_failures(label, task.number, [image_id], [row])
            made = {image_id: self.recipe.classifier.prediction(None, reason)} if label is None else {}
            yield Step(label, failed=[image_id], predictions=made)

    def _bundles(self, tasks: Iterator[Task]) -> Iterator[list[Task]]:
        """As many tasks as make a job long enough; the first ones go out singly to find out."""
        while True:
            size = 1
            if self._seconds_per_task is not None:
                size = int(_SECONDS_PER_JOB / max(self._seconds_per_task, 1e-3))
            bundle = list(islice(tasks, min(max(1, size), _MOST_TASKS_PER_JOB)))
            if not bundle:
                return
            yield bundle

    def _flown(
        self, bundles: Iterator[list[Task]], room: Callable[[], int]
    ) -> Generator[tuple[list[Task], JobResult | None], None, None]:
        """Send bundles of tasks, few at a time, and yield what comes of each; None if its workers died.

        The first Ctrl-C asks the workers to stop, and what they finish is still yielded; the second one is raised.
        """
        submissions: dict[object, tuple[Future[Any], _Submission]] = {}
        finished: SimpleQueue[Future[Any]] = SimpleQueue()
        again: list[_Submission] = []
        try:
            while True:
                try:
                    while not self._stopping and len(submissions) < room():
                        submission = again.pop() if again else _submission(next(bundles, []))
                        if submission is None:
                            break
                        future = self._send(submission)
                        submissions[future.key] = future, submission
                        future.add_done_callback(finished.put)
                    if not submissions:
                        return
                    try:
                        future = finished.get(timeout=_LOOK)
                    except Empty:
                        self._look()
                        if self._stopping and not self._workers:
                            return
                        continue
                    if future.key not in submissions:
                        continue
                    _, submission = submissions[future.key]
                    back = self._received(future, submission)
                    del submissions[future.key]
                except KeyboardInterrupt:
                    if self._stopping:
                        raise
                    self._stop()
                    # One may have been taken from the queue and not been looked at yet.
                    for future, _ in submissions.values():
                        if future.done():
                            finished.put(future)
                    continue
                if isinstance(back, _Submission):
                    again.append(back)
                    continue
                yield submission.tasks, back
        finally:
            if submissions:
                with suppress(Exception):
                    self._stop()
                    self.client.cancel([future for future, _ in submissions.values()])

    def _send(self, submission: _Submission) -> Future[Any]:
        classifier = self.recipe.classifier
        job = Job(_detached(submission.tasks), classifier.precision, classifier.micro_batch)
        self._jobs += 1
        return self._submit(do, f"{self.name}-{self._jobs}", self.name, job)

    def _submit(self, function: Callable[..., Any], key: str, *arguments: Any) -> Future[Any]:
        resources = {GPU: 1} if self.on_gpus else None
        return self.client.submit(function, *arguments, key=key, pure=False, resources=resources)

    def _received(self, future: Future[Any], submission: _Submission) -> JobResult | _Submission | None:
        """What came of a submission: its outcome, the submission to send again, or None if its workers died."""
        error: BaseException
        if future.status == "finished":
            outcome: JobResult = future.result()
            self.remarks |= outcome.remarks
            if outcome.stopped and not self._stopping:
                self._stop()
            if outcome.error is None:
                own = outcome.seconds / len(submission.tasks)
                before = self._seconds_per_task
                self._seconds_per_task = own if before is None else 0.7 * before + 0.3 * own
                return outcome
            # What was written before is found by the next attempt.
            error = outcome.error
        elif future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                return None
            if isinstance(error, FidokitError):
                raise error
        else:
            self._look()
            error = ClusterError(f"Dask gave up a job of this run ({future.status}); run the same command again")
        full = isinstance(error, OSError) and error.errno in _FULL
        if full or submission.attempts == _ATTEMPTS:
            raise error
        return replace(submission, attempts=submission.attempts + 1)

    def _stop(self) -> None:
        self._stopping = True
        self.client.run(stop, self.name, on_error="ignore")

    def _room(self) -> int:
        if self._workers == 0 or time.monotonic() - self._looked > _LOOK:
            self._look()
        return max(1, _JOBS_PER_WORKER * self._workers)

    def _look(self) -> None:
        """See who is there.

        Raises:
            ClusterError: there is no scheduler any more.
        """
        if self.client.status != "running":
            raise ClusterError(
                f"the Dask scheduler is gone ({self.client.status}); what is finished is safe in "
                f"{self.recipe.store}: run the same command again, with a new client, to go on"
            )
        self._looked = time.monotonic()
        self._workers = self._count(GPU if self.on_gpus else None)
        if self._workers:
            self._peopled = self._looked
        elif self._looked - self._peopled > _PATIENCE:
            self._peopled = float("inf")
            _say_nobody_is_there()

    def _count(self, resource: str | None) -> int:
        """How many workers there are, or have a resource."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(1 for worker in workers if resource is None or worker["resources"].get(resource, 0) >= 1)

    def _await_worker(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            _say_nobody_is_there()
            self.client.wait_for_workers(1)


def _say_nobody_is_there() -> None:
    warn(f"no worker has been there for {_PATIENCE:.0f} s; the run goes on as soon as one comes, Ctrl-C ends it")


def _submission(tasks: list[Task]) -> _Submission | None:
    return _Submission(tasks) if tasks else None


def _packed(recipe: Recipe, device: str | None, known_photograph: str | None) -> bytes:
    """What a worker needs, as bytes.

    Raises:
        ClusterError: it cannot be copied.
    """
    entries, classifier = recipe.entries, recipe.classifier
    place = recipe.store.path
    contents = Payload(
        str(_absolute(place)) if isinstance(place, Path) else place,
        ModelReference("", {}),
        {label: (entry.name, entry.settings, entry.rank, entry.within) for label, entry in entries.items()},
        {entry.name: entry.method for entry in entries.values() if not is_built_in(entry.name)},
        recipe.to_labels,
        recipe.against,
        device or classifier.device.type,
        known_photograph,
        this_process(),
        recipe.unsuited,
    )
    problem = ""
    for sent in _copies(classifier):
        try:
            packed: bytes = cloudpickle.dumps(replace(contents, classifier=sent))
            return packed
        except Exception as error:
            problem = problem or f"{type(error).__name__}: {error}"
    raise ClusterError(
        f"the classifier, its transform or a method cannot be sent to the workers ({problem}); they must be such that "
        "cloudpickle can copy them. A classifier that was loaded by its command-line name is loaded by it there"
    )


def _copies(classifier: Classifier) -> Iterator[Classifier | ModelReference]:
    """Forms in which a classifier can be sent: itself; exported programs only by their file."""
    twin = with_precision(classifier, classifier.precision, classifier.micro_batch)
    twin.module = _on_cpu(classifier.module)
    yield twin
    name = classifier.name
    if name is not None and classifier.preprocessing.transform is None:
        yield ModelReference(str(_absolute(name)) if Path(name).exists() else name, describe_classifier(classifier))


def _on_cpu(module: nn.Module) -> nn.Module:
    tensors = [*module.parameters(), *module.buffers()]
    return module if all(tensor.device.type == "cpu" for tensor in tensors) else copy.deepcopy(module).cpu()


def _detached(tasks: list[Task]) -> list[Task]:
    """The tasks with a dataset of their own photographs and of the columns they need, small enough to be sent."""
    data = tasks[0].data
    places = [position for task in tasks for position in task.positions]
    columns = [
        name for name in ("image_id", "path", "label", *BOX_COLUMNS, *ANNOTATED_COLUMNS) if name in data.table.columns
    ]
    table = data.table[columns].iloc[places].reset_index(drop=True)
    table["path"] = [str(_absolute(path)) for path in table["path"]]
    own = LabelledImages(table, data.root)
    start, detached = 0, []
    for task in tasks:
        new = {position: start + i for i, position in enumerate(task.positions)}
        read = [new[position] for position in task.read]
        detached.append(replace(task, data=own, positions=[*new.values()], read=read))
        start += len(new)
    return detached


def _absolute(path: str | Path) -> Path:
    return Path(path).absolute()
