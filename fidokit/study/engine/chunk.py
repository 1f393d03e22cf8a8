"""Tasks in, their rows of the tables written: the one way in which masks are made, on this machine and on a worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from fidokit.data.images import LabelledImages
from fidokit.data.labels import match_labels
from fidokit.data.reading import Chunk, read_chunks
from fidokit.exceptions import FidokitError, SettingsError
from fidokit.methods import compute_masks
from fidokit.methods.base import Batch, Masks, OnProgress
from fidokit.models.classifier import Classifier
from fidokit.models.goals import RUNNER_UP, check_asked, runner_up
from fidokit.models.isolation import GpuLost, together_or_alone
from fidokit.models.session import Session
from fidokit.study.store.manifest import Entry
from fidokit.study.store.store import Store

#: What is explained, a class by its index or a taxon, and what it is told from.
_Question = tuple[str | int, str | int | None]
#: Called with the label of a method before it computes: what the method is to report to, if anything.
Watch = Callable[[str], OnProgress | None]


@dataclass(frozen=True)
class Recipe:
    """What all tasks of a run have in common.

    Attributes:
        store: where rows are written.
        classifier: in the precision that the study has.
        entries: label -> the methods to run.
        to_labels: whether the labelled classes are explained, and not the predicted ones.
        against: None, `RUNNER_UP` or the name of a class.
        unsuited: label -> why the classifier does not suit a method, all of whose masks are failures therefore.
    """

    store: Store
    classifier: Classifier
    entries: Mapping[str, Entry]
    to_labels: bool
    against: str | None
    unsuited: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is missing of one chunk.

    Attributes:
        number: of the chunk.
        data: a dataset that holds its photographs.
        positions: of all its photographs in `data`.
        read: of those that are read: all but those known as unreadable, even if little is missing, so that their logits
            come from the same batches as before.
        missing: label -> image_ids without masks.
        predictions: what becomes of them; None where the store has them.
        unreadable: image_id -> why it is not read.
    """

    number: int
    data: LabelledImages
    positions: Sequence[int]
    read: Sequence[int]
    missing: Mapping[str, set[str]]
    predictions: Literal["write", "return"] | None
    unreadable: Mapping[str, str]

    def image_id(self, position: int) -> str:
        """The name of the photograph at a position in `data`."""
        return str(self.data.table["image_id"].iloc[position])


@dataclass(frozen=True)
class Step:
    """What was made and written of a chunk: its predictions, or the masks of one method.

    Attributes:
        label: of the method; None for the predictions, whose failures concern all methods.
        finished, failed: image_ids.
        notes: remark of the method -> number of images.
        stopped: whether the method was asked to stop before it was through.
        predictions: image_id -> `Classifier.prediction`, where the task asks for them.
    """

    label: str | None
    finished: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    stopped: bool = False
    predictions: dict[str, dict[str, object]] = field(default_factory=dict)


def make(recipe: Recipe, tasks: Iterable[Task], watch: Watch) -> Generator[Step, None, None]:
    """Do tasks one after the other, the photographs of the next one read meanwhile; a step is written when it comes.

    Args:
        recipe: what they have in common.
        tasks: all of one dataset; taken one ahead of the one in work.
        watch: gives each method what it reports to.

    Raises:
        OSError: rows cannot be written.
        FidokitError: what would hit every photograph alike.
    """
    ahead: dict[int, Task] = {}
    tasks = iter(tasks)
    first = next(tasks, None)
    if first is None:
        return

    def requests() -> Iterator[tuple[int, Sequence[int]]]:
        task: Task | None = first
        while task is not None:
            ahead[task.number] = task
            yield task.number, task.read
            task = next(tasks, None)

    with (
        recipe.classifier.session() as session,
        # Methods that read layers open this one for each batch; kept open, it is made once.
        recipe.classifier.session(exact=True),
        closing(read_chunks(first.data, recipe.classifier.preprocessing, requests())) as chunks,
    ):
        for chunk in chunks:
            yield from _ChunkRun(recipe, session, ahead.pop(chunk.number), chunk, watch).steps()
            del chunk  # before the next one is there


class _ChunkRun:
    """One task, its photographs read."""

    def __init__(self, recipe: Recipe, session: Session, task: Task, chunk: Chunk, watch: Watch) -> None:
        self.recipe, self.session, self.task, self.chunk, self.watch = recipe, session, task, chunk, watch
        self.store, self.classifier = recipe.store, recipe.classifier
        self.ids = [task.image_id(position) for position in chunk.positions]
        self.unread = {task.image_id(position): reason for position, reason in chunk.unread.items()}

    def steps(self) -> Iterator[Step]:
        start = time.perf_counter()
        logits, unpredicted = self._logits()
        seconds = (time.perf_counter() - start) / max(1, len(self.ids))
        predictions = self._predictions(logits, unpredicted)
        asked, without_target = self._asked(logits, unpredicted)
        failures = [
            {"image_id": image_id, "method": None, "stage": stage, "reason": reason}
            for stage, reasons in (("read", self.unread), ("predict", unpredicted), ("target", without_target))
            for image_id, reason in reasons.items()
        ]
        self.store.add_failures(None, self.task.number, [*self.ids, *self.unread], failures)
        yield Step(None, failed=[str(failure["image_id"]) for failure in failures], predictions=predictions)
        for label, missing in self.task.missing.items():
            done = self._done_before(label) & missing
            if done:
                yield Step(label, finished=sorted(done))
            own, reasons = self._at_rank(label, {k: one for k, one in asked.items() if self.ids[k] in missing}, logits)
            rows = [row for row in own if self.ids[row] not in done]
            if rows or reasons:
                index = torch.tensor(rows, dtype=torch.int64)
                targets, contrasts = [own[row][0] for row in rows], [own[row][1] for row in rows]
                goal = self.classifier.goal(logits[index], targets, contrasts)
                batch = Batch(self.chunk.images[index], [self.ids[row] for row in rows], goal, logits[index])
                yield self._step(label, batch, seconds, reasons)

    def _done_before(self, label: str) -> set[str]:
        """Images of the chunk that have all masks of a method: a worker that died had got so far."""
        table = self.store.mask_part(label, self.task.number)
        pairs = set(zip(table["image_id"].to_pylist(), table["kind"].to_pylist(), strict=True))
        kinds = self.recipe.entries[label].kinds
        return {image_id for image_id, _ in pairs if all((image_id, kind) in pairs for kind in kinds)}

    def _step(self, label: str, batch: Batch, seconds: float, unasked: Mapping[str, str]) -> Step:
        """Masks of one method for a batch, written.

        Args:
            label: of the method.
            batch: the images.
            seconds: that the prediction of each image took.
            unasked: image_id -> why it is not in the batch.
        """
        made, failures, stopped = self._masks(label, batch) if len(batch) else ([], {}, False)
        notes: Counter[str] = Counter()
        frames = []
        done: list[str] = []
        for masks in made:
            failures |= masks.failures
            notes.update(masks.notes.values())
            settings_id = self.recipe.entries[label].settings_id
            whole = replace(masks.select(masks.finished.bool()), method=label, settings_id=settings_id)
            # The methods share the prediction, but each would need it if it were alone.
            whole = replace(whole, evaluations=whole.evaluations + 1, seconds=whole.seconds + seconds)
            done += whole.image_ids
            frames.append(whole.to_frame())
        if done:
            frame = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
            self.store.add_masks(label, self.task.number, frame)
        rows = [
            {"image_id": image_id, "method": label, "stage": "mask", "reason": reason}
            for image_id, reason in failures.items()
        ]
        rows += [
            {"image_id": image_id, "method": label, "stage": "target", "reason": reason}
            for image_id, reason in unasked.items()
        ]
        self.store.add_failures(label, self.task.number, [*done, *failures, *unasked], rows)
        stopped = stopped or len(done) + len(failures) < len(batch)
        return Step(label, done, [*failures, *unasked], notes, stopped)

    def _check_kinds(self, label: str, masks: Masks) -> None:
        entry = self.recipe.entries[label]
        if len(masks) and set(masks.kinds) != set(entry.kinds):
            raise FidokitError(
                f"{entry.name!r} made {', '.join(masks.kinds) or 'no'} masks, but is registered for "
                f"{', '.join(entry.kinds)}; put its `kinds` right"
            )

    def _masks(self, label: str, batch: Batch) -> tuple[list[Masks], dict[str, str], bool]:
        """Masks of a batch, reasons where there are none, and whether Ctrl-C came in between.

        A batch that raises is computed image by image, so that one bad image costs only itself; what the method cannot
        do at all costs its own masks, and other methods go on.

        Raises:
            FidokitError: what the only method of the run cannot do at all.
        """
        entry = self.recipe.entries[label]
        if label in self.recipe.unsuited:
            return [], dict.fromkeys(batch.image_ids, self.recipe.unsuited[label]), False

        def compute(batch: Batch) -> Masks:
            masks = compute_masks(entry.name, self.classifier, batch, entry.settings, self.watch(label))
            self._check_kinds(label, masks)
            return masks

        made: list[Masks] = []
        failures: dict[str, str] = {}
        try:
            for rows, masks in together_or_alone(lambda rows: compute(batch[rows]), len(batch)):
                if isinstance(masks, str):
                    failures[batch.image_ids[rows.start]] = masks
                    continue
                made.append(masks)
                alone = len(batch) > rows.stop - rows.start
                if alone and not masks.failures and not (len(masks) and bool(masks.finished.all())):
                    return made, failures, True
        except KeyboardInterrupt:
            if not made and not failures:
                raise
            return made, failures, True
        except GpuLost:
            raise
        except FidokitError as error:
            # What this method cannot do at all costs its own masks; the other methods go on.
            if len(self.recipe.entries) == 1:
                raise
            done = {image_id for masks in made for image_id in masks.image_ids}
            failures |= {image_id: str(error) for image_id in batch.image_ids if image_id not in done | failures.keys()}
        return made, failures, False

    def _logits(self) -> tuple[Tensor, dict[str, str]]:
        """(B, K) logits of the chunk, and why there are none; those rows are NaN."""
        images = self.chunk.images
        logits = torch.full((len(images), len(self.classifier.class_names)), torch.nan)
        failed: dict[str, str] = {}
        for rows, found in together_or_alone(lambda rows: self.session.logits(images[rows]), len(images)):
            if isinstance(found, str):
                failed[self.ids[rows.start]] = found
            else:
                logits[rows] = found
        for row, image_id in enumerate(self.ids):
            reason = self.classifier.prediction(logits[row])["reason"]
            if reason is not None:
                failed.setdefault(image_id, str(reason))
        return logits, failed

    def _predictions(self, logits: Tensor, failed: Mapping[str, str]) -> dict[str, dict[str, object]]:
        """The predictions of the chunk, written or returned as the task asks for them."""
        if self.task.predictions is None:
            return {}
        predicted = {image_id: logits[row] for row, image_id in enumerate(self.ids) if image_id not in failed}
        reasons = {**self.task.unreadable, **self.unread, **failed}
        ids = [self.task.image_id(position) for position in self.task.positions]
        rows = {
            image_id: self.classifier.prediction(predicted.get(image_id), reasons.get(image_id)) for image_id in ids
        }
        if self.task.predictions == "return":
            return rows
        write_predictions(self.recipe, self.task, rows)
        return {}

    def _asked(self, logits: Tensor, failed: Mapping[str, str]) -> tuple[dict[int, _Question], dict[str, str]]:
        """Row -> the class or taxon to explain and what it is told from, and image_id -> why there is none.

        Both are as they are without a rank. Classes stand by their indices, for no name of a taxon to hide them.
        """
        labels = self.task.data.table["label"].iloc[self.chunk.positions].tolist()
        match = match_labels(labels, self.classifier.class_names, self.classifier.label_groups)
        known = set(match.classes.values())
        asked: dict[int, _Question] = {}
        without_target: dict[str, str] = {}
        for row, image_id in enumerate(self.ids):
            if image_id in failed:
                continue
            target: str | int = int(logits[row].argmax())
            if self.recipe.to_labels:
                label = match[labels[row]]
                if label not in known:
                    none = "the photograph has no label to explain"
                    without_target[image_id] = none if label is None else f"the classifier knows no class {label!r}"
                    continue
                target = str(label) if self.classifier.taxonomy is None else self.classifier.taxonomy.named(str(label))
            try:
                asked[row] = target, self._contrast(target, logits[row])
            except SettingsError as error:
                without_target[image_id] = str(error)
        return asked, without_target

    def _contrast(self, target: str | int, logits: Tensor) -> str | int | None:
        """What a target is told from; against the runner-up, the best class outside the target.

        Raises:
            SettingsError: they are the same, or overlap, or there is nothing outside the target.
        """
        against, names, taxonomy = self.recipe.against, self.classifier.class_names, self.classifier.taxonomy
        if against == RUNNER_UP:
            return runner_up(logits, target, names, taxonomy)
        if self.recipe.to_labels or against is not None:
            check_asked(target, against, names, taxonomy, self.classifier.head)
        return against

    def _at_rank(
        self, label: str, asked: Mapping[int, _Question], logits: Tensor
    ) -> tuple[dict[int, _Question], dict[str, str]]:
        """What is `asked` at the rank of a method, and image_id -> why it cannot be."""
        entry, taxonomy = self.recipe.entries[label], self.classifier.taxonomy
        if entry.rank is None:
            return dict(asked), {}
        names = self.classifier.class_names
        assert taxonomy is not None
        found: dict[int, _Question] = {}
        reasons: dict[str, str] = {}
        for row, (target, against) in asked.items():
            name = names[target] if isinstance(target, int) else target
            try:
                other: str | int | None
                if against is None:
                    taxon, other = taxonomy.asked(name, entry.rank, entry.within)
                else:
                    taxon, _ = taxonomy.asked(name, entry.rank, "all")
                    other = self._contrast(taxon, logits[row])
                    if isinstance(other, int):
                        other = taxonomy.asked(names[other], entry.rank, "all")[0]
                check_asked(taxon, other, names, taxonomy, self.classifier.head)
                found[row] = taxon, other
            except SettingsError as error:
                reasons[self.ids[row]] = str(error)
        return found, reasons


def write_predictions(recipe: Recipe, task: Task, rows: Mapping[str, dict[str, Any]]) -> None:
    """Write the predictions of a task's whole chunk, image_id -> `Classifier.prediction`."""
    positions = list(task.positions)
    data = task.data.subset(slice(positions[0], positions[-1] + 1))
    ordered = [rows[task.image_id(position)] for position in positions]
    recipe.store.add_predictions(task.number, recipe.classifier.prediction_table(data, ordered))
