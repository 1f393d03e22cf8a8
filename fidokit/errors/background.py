"""What animal and background each add to an answer: the one is filled in, and then the other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit.data.geometry import Geometry
from fidokit.data.reading import Chunk
from fidokit.errors.answer import CORNERS
from fidokit.errors.features import GRID, choose_masks
from fidokit.errors.interventions import Infills
from fidokit.errors.regions import outside_animal
from fidokit.methods.base import resize_masks
from fidokit.models.goals import log_odds
from fidokit.models.session import Session
from fidokit.study.metrics.ranks import soften
from fidokit.study.metrics.standing import find_place
from fidokit.study.study import Study

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
COLUMNS = [
    "image_id",
    "answer",
    "rival",
    "decided",
    "strength",
    "lost",
    "lost_animal",
    "region",
    "x0",
    "y0",
    "x1",
    "y1",
]
#: Photographs of other classes that stand in for one; with two flat colours, enough for what they show to average out.
MOST_PHOTOGRAPHS = 3
#: Photographs read together, and evaluations held at once, in micro-batches.
_CHUNK, _HELD = 32, 4
#: Of a mask's largest value: above it lies the animal where there is no box; and what to look at in the background.
_HIGH, _HIGHEST = 0.5, 0.8


@dataclass(frozen=True)
class Contributions:
    """What animal and background add to the answers to N photographs.

    Attributes:
        table: one row a photograph: image_id; answer; rival: the class beside it for which the animal speaks most;
            decided: whether the animal speaks for the rival, and the background for the answer, so that it is the
            background that decides; strength: by how many logits the background moves the answer ahead of the rival;
            lost, lost_animal: log-odds that the answer loses when the background, or the animal, is filled in, mean
            over the infills; region: what told the animal from the background, ``box`` (or object mask) or ``mask``;
            x0, y0, x1, y1: the box, in shares of the photograph, around the mask in the background, NaN for none.
        animal: (N, K) float32 logits that the animal adds to each class, less their mean over the classes: those of the
            whole photograph minus those with the animal filled in, mean over the infills.
        notes: what there is to know.
    """

    table: pd.DataFrame
    animal: Floats
    notes: list[str]

    @classmethod
    def none(cls) -> Contributions:
        """Those of no photograph."""
        return cls(pd.DataFrame(columns=COLUMNS), np.zeros((0, 0), np.float32), [])


def most_evaluations(photographs: int, infills: Sequence[str]) -> int:
    """The most evaluations that so many photographs take: each as it is, and under each infill both ways round."""
    return photographs * (1 + 2 * sum(MOST_PHOTOGRAPHS if name == "photographs" else 1 for name in infills))


def contributions(
    study: Study, positions: Sequence[int], infills: Sequence[str], seed: int = 0, *, progress: bool = True
) -> Contributions:
    """Fill in the background of some photographs, everything outside the animal, and then the animal.

    The animal is the object mask, else the box, with a margin; where there is neither, the region of the study's mask.
    No label is read. How many evaluations it takes is printed before it begins. After Ctrl-C there is what was done.

    Args:
        study: with predictions.
        positions: of the photographs, in the order in which they are changed.
        infills: names, see `fidokit.errors.interventions.check_infills`.
        seed: of random infills.
        progress: whether to show a progress bar and to print.

    Raises:
        StoreError: classifier or photographs cannot be found; the message says how to give them.
    """
    measuring = _Measuring(study, infills, seed)
    predicted = [i for i in positions if isinstance(measuring.predicted[i], str)]
    if progress and predicted:
        print(
            f"Filling in background and animal of {len(predicted):,} photographs: at most "
            f"{most_evaluations(len(predicted), infills):,} evaluations.",
            file=sys.stderr,
        )
    measuring.run(predicted, progress)
    rows, unchanged = measuring.rows, measuring.unchanged
    table = pd.DataFrame(rows, columns=COLUMNS)
    notes = []
    if measuring.stopped:
        notes.append(f"It was stopped when {len(rows)} of {len(predicted)} photographs were changed.")
    if of_masks := int(table["region"].eq("mask").sum()):
        notes.append(
            f"{of_masks} photographs have no box: what lies outside their masks stands for the background, which says "
            "too little where the mask itself lies on the background."
        )
    if unchanged:
        notes.append(
            f"{unchanged} photographs were not changed: they cannot be read, show nothing beside the animal, have "
            "neither a box nor a mask of the predicted class, or get NaN for an answer."
        )
    animal = np.stack(measuring.animal) if rows else np.zeros((0, len(measuring.names)), np.float32)
    return Contributions(table, animal, notes)


class _Measuring:
    """The photographs of a study, changed a chunk at a time."""

    def __init__(self, study: Study, infills: Sequence[str], seed: int) -> None:
        # Labels are not looked at: what is found here foretells the accuracy where there are none.
        self.study, self.infills = study, Infills(study, infills, seed, MOST_PHOTOGRAPHS, labels=False)
        self.predicted = study.predictions()["predicted"].tolist()
        self.names = list(study.manifest["classifier"]["class_names"])
        self.image_ids = study.images["image_id"].tolist()
        self.rows: list[dict[str, Any]] = []
        self.animal: list[Floats] = []
        self.unchanged, self.stopped = 0, False
        chosen = choose_masks(study, None, None, [])
        self.masks = None if chosen is None else study.mask_array(*chosen, size=(GRID, GRID))

    def run(self, positions: Sequence[int], progress: bool) -> None:
        classifier = self.study.classifier
        with (
            classifier.session() as session,
            tqdm(total=len(positions), unit="image", desc="filling in", disable=not progress, leave=False) as bar,
            self.study.reading(positions, _CHUNK) as reading,
        ):
            try:
                for chunk in reading:
                    self._chunk(chunk, session)
                    bar.update(len(chunk.positions) + len(chunk.unread))
                    del chunk  # before the next one is there
            except KeyboardInterrupt:
                self.stopped = True

    def _chunk(self, chunk: Chunk, session: Session) -> None:
        self.unchanged += len(chunk.unread)
        left_out = self.study.classifier.left_out(chunk.images)
        held: list[tuple[dict[str, Any], int]] = []
        variants: list[Tensor] = []
        for i, (image, position) in enumerate(zip(chunk.images, chunk.positions, strict=True)):
            if held and (left_out[i] != left_out[i - 1] or sum(map(len, variants)) >= _HELD * session.micro_batch):
                self._evaluate(session, held, variants, left_out[i - 1])
            answer, image_id = self.predicted[position], self.image_ids[position]
            background, told = self._background(position, chunk.geometries[i])
            bank = self.infills.bank(image, image_id, (None, answer))
            if background is None or not len(bank):
                self.unchanged += 1
                continue
            changed = soften(torch.from_numpy(background)[None])[:, None]
            variants += [image[None], torch.lerp(image, bank, changed), torch.lerp(image, bank, 1 - changed)]
            held.append(({"image_id": image_id, "answer": answer, **told}, len(bank)))
        if held:
            self._evaluate(session, held, variants, left_out[-1])

    def _background(self, position: int, geometry: Geometry) -> tuple[Bools | None, dict[str, Any]]:
        """(H, W) what lies outside the animal and its margin, and what is told of it."""
        classifier = self.study.classifier
        place = find_place(self.study.data, position, geometry, classifier.preprocessing).object
        mask = None if self.masks is None else self.masks[position]
        known = mask is not None and bool(np.isfinite(mask).all()) and mask.max() > 0
        if place is not None:
            animal = place.numpy()
        elif mask is not None and known:
            animal = (resize_masks(torch.from_numpy(mask), classifier.size) > _HIGH * float(mask.max())).numpy()
        else:
            return None, {}
        background = outside_animal(np.zeros((1, 1), np.float32), animal, classifier.size)
        told: dict[str, Any] = {"region": "mask" if place is None else "box"}
        if mask is not None and known and place is not None and background is not None:
            outside = resize_masks(torch.from_numpy(background).float(), mask.shape).numpy() > _HIGH
            box = geometry.mask_box(mask * outside, _HIGHEST)
            if box is not None:
                told |= dict(zip(CORNERS, geometry.in_shares(box), strict=True))
        return background, told

    def _evaluate(
        self,
        session: Session,
        held: list[tuple[dict[str, Any], int]],
        variants: list[Tensor],
        left_out: tuple[int, ...],
    ) -> None:
        """Send what is held through the classifier, for all of which the same is left out, and hold it no longer."""
        classifier = self.study.classifier
        with classifier.leaving_out(left_out):
            logits = session.logits(torch.cat(variants))
        for (told, n), own in zip(held, torch.split(logits, [2 * n + 1 for _, n in held]), strict=True):
            if not bool(torch.isfinite(own).all()):
                self.unchanged += 1
                continue
            answer = self.names.index(told["answer"])
            odds = log_odds(own, torch.full((len(own),), answer), head=classifier.head).double()
            (whole,), without, alone = torch.split(odds, [1, n, n])
            (image,), no_background, no_animal = torch.split(own, [1, n, n])
            by_animal, by_background = image - no_animal.mean(0), image - no_background.mean(0)
            others = by_animal.clone()
            others[answer] = -torch.inf
            rival = int(others.argmax())
            strength = float(by_background[answer] - by_background[rival])
            self.rows.append(
                told
                | {
                    "rival": self.names[rival],
                    "decided": bool(by_animal[rival] > by_animal[answer]) and strength > 0,
                    "strength": strength,
                    "lost": float(whole - without.mean()),
                    "lost_animal": float(whole - alone.mean()),
                }
            )
            self.animal.append((by_animal - by_animal.mean()).numpy())
        held.clear()
        variants.clear()
