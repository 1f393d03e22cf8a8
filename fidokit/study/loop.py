"""The loop over the chunks of a dataset: read once, predicted once, explained by every method, written as it goes."""

from __future__ import annotations

import errno
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit.exceptions import FidokitError, ImageError, StoreError
from fidokit.methods import compute_masks
from fidokit.methods.base import Batch, Masks, OnProgress, Snapshot
from fidokit.session import Session
from fidokit.study.manifest import Entry, shorten
from fidokit.study.reading import Chunk, read_chunks
from fidokit.study.store import Store, megabytes
from fidokit.study.study import Study

RUNNER_UP = "runner-up"
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Loop:
    """One run over the chunks that lack something.

    Args:
        study: the study, with its classifier and photographs.
        entries: label -> the methods to run.
        on_progress: see `run_study`.
        retry_failures: whether earlier failures count as missing.
    """

    def __init__(
        self,
        study: Study,
        entries: Mapping[str, Entry],
        on_progress: OnProgress | None,
        retry_failures: bool,
    ) -> None:
        self.store: Store = study.store
        self.classifier, self.data = study.classifier, study.data
        self.entries, self.on_progress, self.retry = entries, on_progress, retry_failures
        options = study.manifest["options"]
        self.part_size: int = options["part_size"]
        self.to_labels: bool = options["targets"] == "label"
        self.against: str | None = options["against"]
        self.image_ids: list[str] = list(self.data.table["image_id"])
        self.labels: list[str | None] = list(self.data.table["label"])
        failures = self.store.read_failures().iloc[: 0 if retry_failures else None]
        general = set(failures["image_id"][failures["method"].isna()])
        self.unreadable = set(failures["image_id"][failures["stage"] == "read"])
        self.predicted = self.store.predicted_chunks()
        self.missing: dict[str, set[str]] = {}
        self.finished = self.failed = 0
        for label, entry in entries.items():
            finished = self.store.finished(label, entry.method.kinds)
            failed = set(failures["image_id"][failures["method"] == label])
            self.finished += len(finished)
            self.missing[label] = set(self.image_ids) - finished - general - failed
        self.notes: Counter[tuple[str, str]] = Counter()
        self.session: Session
        self.bar: tqdm

    def run(self, progress: bool) -> None:
        """Compute and write chunk by chunk; on Ctrl-C, say how to go on."""
        todo = self._todo()
        if not todo:
            return
        total = len(self.image_ids) * len(self.entries)
        done = total - sum(map(len, self.missing.values()))
        stopped = False
        with (
            self.classifier.session() as self.session,
            # Methods that read layers open this one for each part; kept open, it is made once.
            self.classifier.session(exact=True),
            tqdm(total=total, initial=done, unit="mask", disable=not progress) as self.bar,
        ):
            try:
                with closing(read_chunks(self.data, self.classifier.preprocessing, todo)) as chunks:
                    for chunk in chunks:
                        stopped = self._chunk(chunk)
                        del chunk  # before the next one is there
                        if stopped:
                            break
            except KeyboardInterrupt:
                stopped = True
        if stopped:
            print(
                f"Stopped. {self.finished} of {total} masks are finished and safe in {self.store.path}; run the same "
                "command again to go on from there.",
                file=sys.stderr,
            )
        self._tell(total)

    def _tell(self, total: int) -> None:
        remarks = [f"{shorten(label)}, {n} images: {note}" for (label, note), n in self.notes.items()]
        if self.failed:
            remarks.append(f"{self.failed} of {total} masks could not be computed; study.failures() says why")
        for remark in remarks:
            warnings.warn(remark, RuntimeWarning, stacklevel=4)

    def _positions(self, number: int) -> range:
        start = number * self.part_size
        return range(start, min(start + self.part_size, len(self.image_ids)))

    def _todo(self) -> list[tuple[int, list[int]]]:
        """(number, positions to read) of each chunk that lacks something.

        A chunk is read as a whole even if little is missing, so that its logits come from the same batches as before.
        """
        todo = []
        for number in range(-(-len(self.image_ids) // self.part_size)):
            positions = self._positions(number)
            ids = {self.image_ids[i] for i in positions}
            if number not in self.predicted or any(not ids.isdisjoint(missing) for missing in self.missing.values()):
                todo.append((number, [i for i in positions if self.image_ids[i] not in self.unreadable]))
        return todo

    def _chunk(self, chunk: Chunk) -> bool:
        """All that is missing of one chunk; True if a stop was asked for."""
        start = time.perf_counter()
        logits, unpredicted = self._logits(chunk)
        seconds = (time.perf_counter() - start) / max(1, len(chunk.positions))
        if chunk.number not in self.predicted or self.retry:
            self._write_predictions(chunk, logits, unpredicted)
        rows, targets, contrasts, aimless = self._goals(chunk, logits, unpredicted)
        failures = [
            {"image_id": self.image_ids[position], "method": None, "stage": stage, "reason": reason}
            for stage, reasons in (("read", chunk.unread), ("predict", unpredicted), ("target", aimless))
            for position, reason in reasons.items()
        ]
        tried = [self.image_ids[position] for position in (*chunk.positions, *chunk.unread)]
        self._save(lambda: self.store.add_failures(None, chunk.number, tried, failures))
        failed = {str(failure["image_id"]) for failure in failures}
        ids = [self.image_ids[chunk.positions[row]] for row in rows]
        for label, missing in self.missing.items():
            n_failed = len(missing & failed)
            missing -= failed
            self.failed += n_failed
            self.bar.update(n_failed)
            chosen = [k for k, image_id in enumerate(ids) if image_id in missing]
            if chosen:
                index = torch.tensor(rows)[chosen]
                goal = self.classifier.goal(
                    logits[index], targets[chosen], None if contrasts is None else contrasts[chosen]
                )
                batch = Batch(chunk.images[index], [ids[k] for k in chosen], goal, logits[index])
                if self._part(label, chunk.number, batch, seconds):
                    return True
        return False

    def _part(self, label: str, number: int, batch: Batch, seconds: float) -> bool:
        """Masks of one method for a batch, written; True if a stop was asked for.

        Args:
            label: of the method.
            number: of the chunk.
            batch: the images.
            seconds: that the prediction of each image took.
        """
        self.bar.set_description(shorten(label), refresh=False)
        before = self.bar.n
        made, failures, stopped = self._masks(label, batch)
        frames = []
        done: list[str] = []
        for masks in made:
            failures |= masks.failures
            self._check_kinds(label, masks)
            self.notes.update((label, note) for note in masks.notes.values())
            whole = replace(masks.select(masks.finished.bool()), method=label)
            # The methods share the prediction, but each would need it if it were alone.
            whole = replace(whole, evaluations=whole.evaluations + 1, seconds=whole.seconds + seconds)
            done += whole.image_ids
            frames.append(whole.to_frame())
        if done:
            frame = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
            self._save(lambda: self.store.add_masks(label, number, frame))
            self.finished += len(done)
        rows = [
            {"image_id": image_id, "method": label, "stage": "mask", "reason": reason}
            for image_id, reason in failures.items()
        ]
        self._save(lambda: self.store.add_failures(label, number, [*done, *failures], rows))
        self.failed += len(failures)
        self.missing[label] -= {*done, *failures}
        self.bar.update(before + len(done) + len(failures) - self.bar.n)
        return stopped or len(done) + len(failures) < len(batch)

    def _check_kinds(self, label: str, masks: Masks) -> None:
        declared = self.entries[label].method.kinds
        if len(masks) and set(masks.kinds) != set(declared):
            raise FidokitError(
                f"{self.entries[label].name!r} made {', '.join(masks.kinds) or 'no'} masks, but is registered for "
                f"{', '.join(declared)}; put its `kinds` right"
            )

    def _masks(self, label: str, batch: Batch) -> tuple[list[Masks], dict[str, str], bool]:
        """Masks of a batch, reasons where there are none, and whether Ctrl-C came in between.

        A batch that raises is computed image by image, so that one bad image costs only itself.
        """
        entry = self.entries[label]
        try:
            return [compute_masks(entry.name, self.classifier, batch, entry.settings, self._watch())], {}, False
        except Exception as error:
            raise_if_general(error)
        made: list[Masks] = []
        failures: dict[str, str] = {}
        for row, image_id in enumerate(batch.image_ids):
            try:
                single = batch[row : row + 1]
                made.append(compute_masks(entry.name, self.classifier, single, entry.settings, self._watch()))
            except KeyboardInterrupt:
                return made, failures, True
            except Exception as error:
                raise_if_general(error)
                failures[image_id] = f"{type(error).__name__}: {error}"
            else:
                if not made[-1].failures and not (len(made[-1]) and bool(made[-1].finished.all())):
                    return made, failures, True
        return made, failures, False

    def _watch(self) -> OnProgress | None:
        """What a method reports to: the user's function, and the bar where a part takes long, which is on CPUs."""
        if self.on_progress is None and (self.bar.disable or self.session.device.type != "cpu"):
            return None
        before = self.bar.n

        def watch(snapshot: Snapshot) -> object:
            self.bar.update(max(0, before + snapshot.finished - self.bar.n))
            return self.on_progress(snapshot) if self.on_progress is not None else None

        return watch

    def _logits(self, chunk: Chunk) -> tuple[Tensor, dict[int, str]]:
        """(B, K) logits of a chunk, and by position why there are none; those rows are NaN."""
        logits = torch.full((len(chunk.images), len(self.classifier.class_names)), torch.nan)
        failed: dict[int, str] = {}
        try:
            if len(logits):
                logits = self.session.logits(chunk.images)
        except Exception as error:
            raise_if_general(error)
            for row, position in enumerate(chunk.positions):
                try:
                    logits[row] = self.session.logits(chunk.images[row : row + 1])[0]
                except Exception as alone:
                    raise_if_general(alone)
                    failed[position] = f"{type(alone).__name__}: {alone}"
        for row, position in enumerate(chunk.positions):
            reason = self.classifier.prediction(logits[row])["reason"]
            if reason is not None:
                failed.setdefault(position, str(reason))
        return logits, failed

    def _write_predictions(self, chunk: Chunk, logits: Tensor, failed: dict[int, str]) -> None:
        predicted = {position: logits[row] for row, position in enumerate(chunk.positions) if position not in failed}
        reasons = chunk.unread | failed
        positions = list(self._positions(chunk.number))
        rows = [self.classifier.prediction(predicted.get(i), reasons.get(i)) for i in positions]
        frame = self.classifier.prediction_table(self.data.subset(positions), rows)
        self._save(lambda: self.store.add_predictions(chunk.number, frame))
        self.predicted.add(chunk.number)

    def _goals(
        self, chunk: Chunk, logits: Tensor, failed: Mapping[int, str]
    ) -> tuple[list[int], Tensor, Tensor | None, dict[int, str]]:
        """The rows that can be explained, their targets and contrasts, and by position why others cannot."""
        known = {name: i for i, name in enumerate(self.classifier.class_names)}
        rows: list[int] = []
        targets: list[int] = []
        contrasts: list[int] = []
        aimless: dict[int, str] = {}
        for row, position in enumerate(chunk.positions):
            if position in failed:
                continue
            label = self.labels[position]
            if self.to_labels and (label is None or label not in known):
                none = "the photograph has no label to explain"
                aimless[position] = none if label is None else f"the classifier knows no class {label!r}"
                continue
            target = known[label] if self.to_labels and label is not None else int(logits[row].argmax())
            if self.against is not None:
                contrast = _best_beside(logits[row], target) if self.against == RUNNER_UP else known[self.against]
                if contrast == target:
                    aimless[position] = f"{self.against!r} is the target, it cannot be contrasted with itself"
                    continue
                contrasts.append(contrast)
            rows.append(row)
            targets.append(target)
        return rows, torch.tensor(targets), None if self.against is None else torch.tensor(contrasts), aimless

    def _save(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            full = error.errno in _FULL
            missing = sum(map(len, self.missing.values()))
            need = self.store.mask_bytes() / max(1, self.finished) * missing
            remedy = f"make room, about {megabytes(need)} more are needed" if full and need else "put that right"
            raise StoreError(
                f"{'the disk is full' if full else 'writing failed'} ({error.strerror or error}): {self.finished} "
                f"masks are finished and safe in {self.store.path}, {missing} are missing. To go on, {remedy}, and run "
                "the same command again"
            ) from error


def _best_beside(logits: Tensor, target: int) -> int:
    others = logits.clone()
    others[target] = -torch.inf
    return int(others.argmax())


def raise_if_general(error: Exception) -> None:
    """Raise what would hit every image alike; what may be the fault of one image is left to be isolated."""
    if isinstance(error, FidokitError) and not isinstance(error, ImageError):
        raise error
    if "CUDA error" in str(error):
        # Such an error stays until the process ends: all images after it would fail for no reason of their own.
        raise FidokitError(
            f"the GPU gave up ({str(error).splitlines()[0]}); restart Python and run the same command again, what is "
            "finished is safe"
        ) from error
