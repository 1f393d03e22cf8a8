"""How much of each answer lies on the background: what it loses with that filled in, and what it keeps of it alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit.data.reading import Chunk, read_chunks
from fidokit.errors.features import GRID, choose_masks
from fidokit.errors.interventions import Infills
from fidokit.errors.regions import outside_animal
from fidokit.methods.base import resize_masks
from fidokit.models.goals import log_odds, probabilities
from fidokit.study.metrics.ranks import soften
from fidokit.study.metrics.standing import find_place
from fidokit.study.study import Study

Bools = npt.NDArray[np.bool_]
#: What is known of each photograph that was changed.
COLUMNS = [
    *("image_id", "share", "whole", "without", "alone", "stays", "follows", "certain"),
    *("answer_without", "answer_alone", "region"),
]
#: Photographs of other classes that stand in for a background; with the two flat colours, enough to average over.
MOST_PHOTOGRAPHS = 3
#: Photographs read together, and evaluations held at once, in micro-batches.
_CHUNK, _HELD = 32, 4
#: Of a mask's largest value: what lies above stands for the animal where there is no box.
_OF_MASK = 0.5


class Background:
    """The background's share of the answers to a study's photographs, by filling in.

    Args:
        study: with predictions.
        infills: names, see `fidokit.errors.interventions.check_infills`.
        seed: of random infills.
        notes: what there is to know is added to them.
    """

    def __init__(self, study: Study, infills: Sequence[str], seed: int, notes: list[str]) -> None:
        self.study, self.notes = study, notes
        self._infills = Infills(study, infills, seed, MOST_PHOTOGRAPHS)
        self._predicted = study.predictions()["predicted"].tolist()
        self._names = {name: i for i, name in enumerate(study.manifest["classifier"]["class_names"])}
        self._rows: list[dict[str, Any]] = []
        self._without_region = 0

    def evaluations(self, photographs: int) -> int:
        """The most evaluations that so many photographs take: each as it is, and under each infill both ways round."""
        infills = sum(MOST_PHOTOGRAPHS if name == "photographs" else 1 for name in self._infills.names)
        return photographs * (1 + 2 * infills)

    def measure(self, positions: Sequence[int], progress: bool = True) -> pd.DataFrame:
        """Change the photographs at these positions, in this order; after Ctrl-C the table has those that were done.

        Returns:
            A row for each that has an animal with something around it. whole, without, alone: log-odds of the answer
            given to the photograph as it is, with the background filled in, and with the animal filled in, mean over
            the infills; share: of what the answer loses by the one and by the other together, the part that it loses
            with the background, in [0, 1], where a gain counts as no loss; NaN if neither costs it anything. stays,
            follows: the shares of infills under which the answer is the same with the background, or the animal,
            filled in; certain: its probability with the background filled in; answer_without, answer_alone: the class
            of the largest probability then; region: ``box`` (or object mask), or ``mask``.
        """
        study, wanted = self.study, [i for i in positions if isinstance(self._predicted[i], str)]
        if progress and wanted:
            print(
                f"Filling in the background, and the animal, of {len(wanted)} photographs: at most "
                f"{self.evaluations(len(wanted)):,} evaluations.",
                file=sys.stderr,
            )
        chosen = choose_masks(study, None, None, [])
        self._masks = None if chosen is None else study.mask_array(*chosen, size=(GRID, GRID))
        chunks = [(i, wanted[i : i + _CHUNK]) for i in range(0, len(wanted), _CHUNK)]
        with (
            study.classifier.session() as session,
            tqdm(total=len(wanted), unit="image", desc="filling in", disable=not progress, leave=False) as bar,
            closing(read_chunks(study.data, study.classifier.preprocessing, chunks)) as reading,
        ):
            try:
                for chunk in reading:
                    self._chunk(chunk, session)
                    bar.update(len(chunk.positions) + len(chunk.unread))
                    del chunk  # before the next one is there
            except KeyboardInterrupt:
                self.notes.append(f"stopped: {len(self._rows)} of {len(wanted)} photographs were changed")
        table = pd.DataFrame(self._rows, columns=COLUMNS)
        of_masks = int((table["region"] == "mask").sum())
        if of_masks:
            self.notes.append(
                f"{of_masks} photographs have no box: what lies outside their masks stands for the background, which "
                "is then too little where a mask lies on the background itself"
            )
        if self._without_region:
            self.notes.append(
                f"{self._without_region} photographs were not changed: they cannot be read, show nothing beside the "
                "animal, or have neither box nor mask of the predicted class"
            )
        return table

    def _chunk(self, chunk: Chunk, session: Any) -> None:
        classifier = self.study.classifier
        left_out = classifier.left_out(chunk.images)
        self._without_region += len(chunk.unread)
        held: list[tuple[int, str, int]] = []
        variants: list[Tensor] = []
        for i, (image, position) in enumerate(zip(chunk.images, chunk.positions, strict=True)):
            background, region = self._region(chunk, i)
            bank = self._bank(image, position)
            if background is None or not len(bank):
                self._without_region += 1
                continue
            changed = soften(torch.from_numpy(background)[None])[:, None]
            variants += [image[None], torch.lerp(image, bank, changed), torch.lerp(image, bank, 1 - changed), bank]
            held.append((position, region, len(bank)))
            last = i + 1 == len(chunk.positions) or left_out[i + 1] != left_out[i]
            if last or sum(2 * n + 1 for _, _, n in held) >= _HELD * session.micro_batch:
                self._evaluate(session, held, variants, left_out[i])
        if held:
            self._evaluate(session, held, variants, left_out[-1])

    def _region(self, chunk: Chunk, i: int) -> tuple[Bools | None, str]:
        """What lies outside the animal, with a margin, and what says where that is."""
        classifier, position = self.study.classifier, chunk.positions[i]
        found = find_place(self.study.data, position, chunk.geometries[i], classifier.preprocessing).object
        size = classifier.size
        mask = None if self._masks is None else self._masks[position]
        if found is not None:
            return outside_animal(np.zeros(0, np.float32), found.numpy(), size), "box"
        if mask is None or not np.isfinite(mask).all() or mask.max() <= 0:
            return None, "mask"
        own = (resize_masks(torch.from_numpy(mask), size) > _OF_MASK * float(mask.max())).numpy()
        return outside_animal(mask, own, size), "mask"

    def _bank(self, image: Tensor, position: int) -> Tensor:
        # The label is not looked at: what is measured here foretells accuracy where there is none.
        image_id = self.study.images["image_id"].iloc[position]
        return self._infills.bank(image, image_id, (None, self._predicted[position]))

    def _evaluate(
        self, session: Any, held: list[tuple[int, str, int]], variants: list[Tensor], left_out: tuple[int, ...]
    ) -> None:
        """Send what is held through the classifier, for all of which the same is left out, and hold it no longer."""
        classifier = self.study.classifier
        with classifier.leaving_out(left_out):
            logits = session.logits(torch.cat(variants))
        names = classifier.class_names
        for (position, region, n), own in zip(held, torch.split(logits, [2 * n + 1 for _, _, n in held]), strict=True):
            answer = self._names[self._predicted[position]]
            odds = log_odds(own, torch.full((len(own),), answer), head=classifier.head).double()
            scores = probabilities(own, classifier.head)
            whole, without, alone = (float(part.mean()) for part in torch.split(odds, [1, n, n]))
            _, *both = torch.split(scores, [1, n, n])
            lost, lost_alone = max(0.0, whole - without), max(0.0, whole - alone)
            self._rows.append(
                {
                    "image_id": self.study.images["image_id"].iloc[position],
                    "share": lost / (lost + lost_alone) if lost + lost_alone > 0 else np.nan,
                    **{"whole": whole, "without": without, "alone": alone, "region": region},
                    "stays": float((both[0].argmax(1) == answer).float().mean()),
                    "follows": float((both[1].argmax(1) == answer).float().mean()),
                    "certain": float(both[0][:, answer].mean()),
                    "answer_without": names[int(both[0].mean(0).argmax())],
                    "answer_alone": names[int(both[1].mean(0).argmax())],
                }
            )
        held.clear()
        variants.clear()
