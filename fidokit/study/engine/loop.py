"""The run over a dataset: which chunks lack something, in what order they are done, and what has come of it."""

from __future__ import annotations

import errno
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from fidokit._util.warning import warn
from fidokit._util.wording import either, given
from fidokit.data.names import shorten
from fidokit.exceptions import StoreError
from fidokit.methods.base import OnProgress, Snapshot
from fidokit.study.engine.chunk import Recipe, Step, Task, make
from fidokit.study.store.store import megabytes
from fidokit.study.study import Study

if TYPE_CHECKING:
    from fidokit.study.engine.cluster import Cluster

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Loop:
    """One run over the chunks that lack something.

    It keeps names and counts of photographs, never what is in them.

    Args:
        study: the study, with its classifier and photographs.
        recipe: what to make.
        on_progress: see `run_study`.
        retry_failures: whether earlier failures count as missing.
        cluster: the workers that compute; None for this process.
    """

    def __init__(
        self,
        study: Study,
        recipe: Recipe,
        on_progress: OnProgress | None,
        retry_failures: bool,
        cluster: Cluster | None = None,
    ) -> None:
        self.store, self.data, self.recipe, self.cluster = study.store, study.data, recipe, cluster
        self.on_progress, self.retry = on_progress, retry_failures
        self.part_size: int = study.manifest["options"]["part_size"]
        self.image_ids: list[str] = list(self.data.table["image_id"])
        failures = self.store.read_failures().iloc[: 0 if retry_failures else None]
        general = set(failures["image_id"][failures["method"].isna()])
        unread = failures[failures["stage"] == "read"]
        self.unreadable: dict[str, str] = dict(zip(unread["image_id"], unread["reason"], strict=True))
        self.predicted = self.store.predicted_chunks()
        self.missing: dict[str, set[str]] = {}
        self.finished = self.failed = 0
        for label, entry in recipe.entries.items():
            finished = self.store.finished(label, entry.kinds)
            failed = set(failures["image_id"][failures["method"] == label])
            self.finished += len(finished)
            self.missing[label] = set(self.image_ids) - finished - general - failed
        self.total = len(self.image_ids) * len(recipe.entries)
        self.notes: Counter[tuple[str, str]] = Counter()
        self.bar: tqdm

    def run(self, progress: bool) -> None:
        """Compute and write chunk by chunk; on Ctrl-C, say how to go on."""
        tasks = self._tasks()
        first = next(tasks, None)
        if first is None:
            return
        tasks = chain([first], tasks)
        stopped = False
        with (
            tqdm(total=self.total, initial=self.total - self._lacking(), unit="mask", disable=not progress) as self.bar,
            closing(self._steps(tasks)) as steps,
        ):
            try:
                for step in steps:
                    self._book(step)
                    stopped = stopped or step.stopped
                    if stopped and self.cluster is None:
                        break
            except KeyboardInterrupt:
                stopped = True
            except OSError as error:
                raise self._not_written(error) from error
        if stopped:
            kinds = {label: entry.kinds for label, entry in self.recipe.entries.items()}
            finished = sum(len(self.store.finished(label, own)) for label, own in kinds.items())
            print(
                f"Stopped. {finished} of {self.total} masks are finished and safe in {self.store}; run the "
                "same command again to go on from there.",
                file=sys.stderr,
            )
        self._tell()

    def _steps(self, tasks: Iterator[Task]) -> Generator[Step, None, None]:
        return make(self.recipe, tasks, self._watch) if self.cluster is None else self.cluster.steps(tasks)

    def _tell(self) -> None:
        remarks = [f"{shorten(label)}, {n} images: {note}" for (label, note), n in self.notes.items()]
        if self.cluster is not None:
            remarks += sorted(self.cluster.remarks)
        if self.failed:
            remarks.append(
                f"{self.failed} of {self.total} masks could not be computed; "
                f"{either('study.failures()', 'the page')} says why, and {given(retry_failures=True)} tries them again"
            )
        for remark in remarks:
            warn(remark)

    def _lacking(self) -> int:
        return sum(map(len, self.missing.values()))

    def _tasks(self) -> Iterator[Task]:
        """The chunks that lack something, each made when it is asked for: a dataset may have a million photographs."""
        for number in range(-(-len(self.image_ids) // self.part_size)):
            start = number * self.part_size
            positions = range(start, min(start + self.part_size, len(self.image_ids)))
            ids = [self.image_ids[i] for i in positions]
            missing = {label: lacking.intersection(ids) for label, lacking in self.missing.items()}
            if number not in self.predicted or any(missing.values()):
                yield Task(
                    number,
                    self.data,
                    positions,
                    [i for i, image_id in zip(positions, ids, strict=True) if image_id not in self.unreadable],
                    missing,
                    "write" if number not in self.predicted or self.retry else None,
                    {image_id: self.unreadable[image_id] for image_id in ids if image_id in self.unreadable},
                )

    def _book(self, step: Step) -> None:
        for label in self.missing if step.label is None else [step.label]:
            missing, failed = self.missing[label], set(step.failed)
            self.finished += len(missing.intersection(step.finished))
            self.failed += len(missing & failed)
            missing -= failed.union(step.finished)
        if step.label is not None:
            self.notes.update({(step.label, note): n for note, n in step.notes.items()})
        self.bar.update(self.total - self._lacking() - self.bar.n)

    def _watch(self, label: str) -> OnProgress | None:
        """What a method reports to: the user's function, and the bar where a part takes long, which is on CPUs."""
        self.bar.set_description(shorten(label), refresh=False)
        if self.on_progress is None and (self.bar.disable or self.recipe.classifier.device.type != "cpu"):
            return None
        before = self.bar.n

        def watch(snapshot: Snapshot) -> object:
            self.bar.update(max(0, before + snapshot.finished - self.bar.n))
            return self.on_progress(snapshot) if self.on_progress is not None else None

        return watch

    def _not_written(self, error: OSError) -> StoreError:
        full, missing = error.errno in _FULL, self._lacking()
        need = self.store.mask_bytes() / max(1, self.finished) * missing
        remedy = f"make room, about {megabytes(need)} more are needed" if full and need else "put that right"
        return StoreError(
            f"{'the disk is full' if full else 'writing failed'} ({error.strerror or error}): {self.finished} "
            f"masks are finished and safe in {self.store}, {missing} are missing. To go on, {remedy}, and run "
            "the same command again"
        )
