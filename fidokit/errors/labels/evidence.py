"""What speaks for a label when regions of its photograph are kept and the rest is filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit.data.geometry import Geometry
from fidokit.data.reading import Chunk
from fidokit.errors.features import GRID, choose_masks
from fidokit.errors.interventions import Infills
from fidokit.errors.labels.cameras import Cameras
from fidokit.errors.regions import outside_animal
from fidokit.methods.base import resize_masks
from fidokit.models.goals import probabilities
from fidokit.models.session import Session
from fidokit.study.metrics.ranks import ranks, soften
from fidokit.study.metrics.standing import find_place
from fidokit.study.study import Study

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_Box = tuple[float, float, float, float] | None

#: A label that another class is ahead of by so much is in doubt: it is asked whether it has evidence anywhere.
DOUBT = 0.3
#: Two blurred photographs of other classes and a flat colour stand in for what is filled in.
_INFILLS, _PHOTOGRAPHS = ("photographs", "neutral"), 2
#: Photographs read together.
_CHUNK = 32
#: Shares of the input's sides at which windows of half its sides begin.
_STARTS = (0.0, 0.25, 0.5)
#: A mask's strongest tenth is its region; its strongest quarter stands for an animal without a box.
_REGION, _ANIMAL = 0.1, 0.25
#: Evaluations of each photograph, and of one in doubt, at most.
OF_EACH = 1 + _PHOTOGRAPHS + 1
OF_DOUBTFUL = (_PHOTOGRAPHS + 1) * (len(_STARTS) ** 2 + 2)


@dataclass
class Evidence:
    """The evidence for the labels of a study's photographs.

    Attributes:
        rows: of each photograph that was measured: image_id, path, label, predicted; other: the class ahead of the
            label, or next to it; ahead: by how much, in the mean of the probabilities in the whole photograph and with
            the animal alone; evidence: the label's highest probability in any region kept; whole, alone: the answer's
            probability in the whole photograph and with the animal alone; animal, beside, elsewhere: boxes, in shares
            of the photograph, of the animal, of what the mask holds beside it, and of where the label has its evidence.
        notes: what there is to know.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure(study: Study, positions: Sequence[int], cameras: Cameras, *, progress: bool) -> Evidence:
    """The evidence for some labels; their photographs are given to the cameras too. After Ctrl-C, what was done."""
    measuring = _Measuring(study)
    found, unread = Evidence(), 0
    with (
        study.classifier.session() as session,
        tqdm(total=len(positions), unit="image", desc="labels", disable=not progress, leave=False) as bar,
        study.reading(positions, _CHUNK) as reading,
    ):
        try:
            for chunk in reading:
                found.rows += measuring.chunk(chunk, session)
                for image, position in zip(chunk.images, chunk.positions, strict=True):
                    cameras.add(measuring.records[position]["image_id"], image)
                unread += len(chunk.unread)
                bar.update(len(chunk.positions) + len(chunk.unread))
                del chunk  # before the next one is there
        except KeyboardInterrupt:
            found.notes.append(f"It was stopped when {len(found.rows):,} of {len(positions):,} labels were checked.")
    if measuring.of_masks:
        found.notes.append(
            f"{measuring.of_masks:,} photographs have no box: the strongest quarter of a mask stands for the animal, "
            "which hides a mask that lies on the background."
        )
    if measuring.undivided:
        found.notes.append(
            f"{measuring.undivided:,} photographs have neither a box nor a mask, or show nothing beside the animal: "
            "their reasons were not checked."
        )
    if unread:
        found.notes.append(f"{unread:,} photographs cannot be read any more.")
    return found


class _Measuring:
    def __init__(self, study: Study) -> None:
        self.study, self.infills = study, Infills(study, _INFILLS, 0, _PHOTOGRAPHS)
        predictions = study.predictions()
        self.records: list[dict[Any, Any]] = predictions[["image_id", "path", "label", "predicted"]].to_dict("records")
        self.names = list(study.classifier.class_names)
        index = {name: i for i, name in enumerate(self.names)}
        #: Label -> the classes that it means: several, where it is coarser than a class.
        self.members = {
            name: [index[own] for own in inside] for name, inside in study.classifier.label_groups.items()
        } | {name: [i] for name, i in index.items()}
        chosen = choose_masks(study, None, None, [])
        self.masks = None if chosen is None else study.mask_array(*chosen, size=(GRID, GRID))
        self.of_masks = self.undivided = 0

    def chunk(self, chunk: Chunk, session: Session) -> Iterator[dict[str, Any]]:
        """The rows of the photographs of a chunk."""
        left_out = self.study.classifier.left_out(chunk.images)
        for own, places in groupby(range(len(chunk.images)), key=left_out.__getitem__):
            with self.study.classifier.leaving_out(own):
                yield from self._photographs(chunk, list(places), session)

    def _photographs(self, chunk: Chunk, places: list[int], session: Session) -> Iterator[dict[str, Any]]:
        images = chunk.images[places]
        records = [self.records[chunk.positions[i]] for i in places]
        banks = [
            self.infills.bank(image, record["image_id"], (record["label"], record["predicted"]))
            for image, record in zip(images, records, strict=True)
        ]
        animals = [self._animal(chunk.positions[i], chunk.geometries[i]) for i in places]
        whole = self._probabilities(images, session)
        kept = [
            torch.lerp(bank, image, _soft([animal])[0])
            for image, bank, animal in zip(images, banks, animals, strict=True)
        ]
        alone = self._probabilities(torch.cat(kept), session)
        start = 0
        for i, place in enumerate(places):
            only = alone[start : start + len(banks[i])].mean(0)
            start += len(banks[i])
            row = records[i] | self._row(records[i], whole[i], only)
            geometry, mask = chunk.geometries[place], self._mask(chunk.positions[place])
            row |= {"animal": _box(animals[i], geometry), "beside": None, "elsewhere": None}
            if mask is not None:
                row["beside"] = _box(mask * ~animals[i], geometry)
            if row["ahead"] >= DOUBT:
                regions = _regions(animals[i], mask)
                shown = torch.lerp(banks[i][None], images[i][None, None], _soft(regions)[:, None])
                found = self._probabilities(shown.flatten(0, 1), session).reshape(len(regions), len(banks[i]), -1)
                own = found.mean(1)[:, self.members[row["label"]]].sum(1)
                if own.max() > row["evidence"]:
                    row |= {"evidence": float(own.max()), "elsewhere": _box(regions[int(own.argmax())], geometry)}
            yield row

    def _row(self, record: dict[Any, Any], whole: Floats, alone: Floats) -> dict[str, Any]:
        own, answer = self.members[record["label"]], self.names.index(record["predicted"])
        both = (whole + alone) / 2
        others = both.copy()
        others[own] = -1
        other = int(others.argmax())
        return {
            "other": self.names[other],
            "ahead": float(both[other] - both[own].sum()),
            "evidence": float(max(whole[own].sum(), alone[own].sum())),
            "whole": float(whole[answer]),
            "alone": float(alone[answer]),
        }

    def _probabilities(self, images: Tensor, session: Session) -> Floats:
        scores = probabilities(session.logits(images).double(), self.study.classifier.head)
        return np.asarray((scores / scores.sum(1, keepdim=True).clamp_min(1e-12)).numpy())

    def _animal(self, position: int, geometry: Geometry) -> Bools:
        """(H, W) the animal and a margin; everything where it is not known, or fills the input."""
        classifier = self.study.classifier
        place = find_place(self.study.data, position, geometry, classifier.preprocessing).object
        mask = self._mask(position)
        animal = None if place is None else place.numpy()
        if animal is None and mask is not None:
            self.of_masks += 1
            animal = _strongest(mask, _ANIMAL)
        outside = outside_animal(np.zeros((1, 1), np.float32), animal, classifier.size)
        if outside is None:
            self.undivided += 1
            return np.ones(classifier.size, bool)
        return ~outside

    def _mask(self, position: int) -> npt.NDArray[np.float32] | None:
        """(H, W) the study's mask; None where there is none."""
        mask = None if self.masks is None else self.masks[position]
        if mask is None or not np.isfinite(mask).all() or not mask.max() > mask.min():
            return None
        return resize_masks(torch.from_numpy(mask), self.study.classifier.size).numpy()


def _strongest(mask: npt.NDArray[np.float32], share: float) -> Bools:
    return np.asarray(ranks(torch.from_numpy(mask)[None])[0].numpy() > 1 - share)


def _regions(animal: Bools, mask: npt.NDArray[np.float32] | None) -> list[Bools]:
    """What is beside the animal, the mask's region, and windows."""
    height, width = animal.shape
    regions = [] if animal.all() else [~animal]
    regions += [] if mask is None else [_strongest(mask, _REGION)]
    for y in _STARTS:
        for x in _STARTS:
            window = np.zeros_like(animal)
            window[round(y * height) : round((y + 0.5) * height), round(x * width) : round((x + 0.5) * width)] = True
            regions.append(window)
    return regions


def _soft(regions: list[Bools]) -> Tensor:
    """(R, 1, H, W) regions with soft edges."""
    return soften(torch.from_numpy(np.stack(regions)))[:, None]


def _box(region: npt.ArrayLike, geometry: Geometry) -> _Box:
    """The box around a region or the high places of a mask, in shares of the photograph."""
    found = geometry.mask_box(np.asarray(region, np.float32))
    return None if found is None else geometry.in_shares(found)


def boxes(column: pd.Series[Any]) -> pd.DataFrame:
    """Boxes as columns x0, y0, x1, y1; NaN for none."""
    rows = [[np.nan] * 4 if box is None else list(box) for box in column]
    return pd.DataFrame(rows, columns=["x0", "y0", "x1", "y1"], index=column.index, dtype=np.float64)
