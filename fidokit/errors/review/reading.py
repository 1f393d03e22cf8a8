"""What one look at every photograph tells of it: scores, what speaks for and against its class where, and its maps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit.errors.features import MapReader
from fidokit.methods.base import resize_masks
from fidokit.models.goals import Head, probabilities

if TYPE_CHECKING:
    from fidokit.data.geometry import Geometry
    from fidokit.study.study import Study

Floats = npt.NDArray[np.float32]
#: Cells along each side of the evidence, and of the maps that are compared between photographs of one camera.
GRID = 14
#: Channels of these maps, projected: 6 kB a photograph, so that 100,000 fit into memory.
CHANNELS = 16
#: Classes whose probability is kept; a burst rarely argues about more.
TOP = 5


@dataclass(frozen=True)
class Look:
    """What was read of N photographs.

    Attributes:
        positions: (N,) in the study.
        top: (N, TOP) indices of the classes with the highest probability, the highest first.
        probability: (N, TOP) their probabilities; of independent classes, scaled to sum to 1 over all.
        entropy: (N,) of all probabilities, in nats.
        logit: (N, 2) the largest two logits.
        energy: (N,) logsumexp of all logits.
        evidence: (N, GRID, GRID) signed, for the predicted class and against the runner-up; zeros if not known.
        cells: (N, CHANNELS, GRID, GRID) float16 maps of the classifier, of length 1 at every place.
        features: (N, D) the maps' mean, of length 1.
        animal: (N, GRID, GRID) share of each cell inside the animal's box, NaN where there is no box.
        geometries: where each classifier's input lies in its photograph.
        missing: why nothing is known of the evidence, or None.
        unread: position -> why it could not be read.
    """

    positions: npt.NDArray[np.int64]
    top: npt.NDArray[np.int64]
    probability: Floats
    entropy: Floats
    logit: Floats
    energy: Floats
    evidence: Floats
    cells: npt.NDArray[np.float16]
    features: Floats
    animal: Floats
    geometries: list[Geometry]
    missing: str | None
    unread: dict[int, str]

    def __len__(self) -> int:
        return len(self.positions)


def look(study: Study, positions: npt.NDArray[np.int64], *, progress: bool = False) -> Look:
    """Read photographs of a study once: one evaluation each, with a backward pass to a late layer.

    Raises:
        StoreError: classifier or photographs cannot be found; the message says how to give them.
    """
    classifier, data = study.classifier, study.data
    size = int(study.manifest["options"]["part_size"])
    parts: dict[str, list[npt.NDArray[Any]]] = defaultdict(list)
    unread: dict[int, str] = {}
    geometries: list[Geometry] = []
    with (
        classifier.session() as session,
        tqdm(total=len(positions), unit="photograph", desc="looking", disable=not progress) as bar,
        study.reading(positions.tolist(), size) as reading,
    ):
        reader = MapReader(session, classifier)
        for chunk in reading:
            unread |= chunk.unread
            if chunk.positions:
                maps, used, _, logits = reader.read(chunk.images)
                for name, values in _scores(logits, classifier.head).items():
                    parts[name].append(values.numpy())
                parts["evidence"].append(resize_masks(used.float(), (GRID, GRID)).numpy())
                parts["cells"].append(_cells(maps).numpy())
                parts["features"].append(torch.nn.functional.normalize(maps.mean(dim=(2, 3)), dim=1).numpy())
                boxes = np.full((len(chunk.positions), GRID, GRID), np.nan, np.float32)
                for row, (position, geometry) in enumerate(zip(chunk.positions, chunk.geometries, strict=True)):
                    box = data.box(position, (geometry.width, geometry.height))
                    if box is not None and np.isfinite(box).all() and (mask := geometry.box_mask(box)).any():
                        boxes[row] = resize_masks(torch.from_numpy(mask).float(), (GRID, GRID)).numpy()
                parts["animal"].append(boxes)
                geometries += chunk.geometries
                parts["positions"].append(np.asarray(chunk.positions, np.int64))
            bar.update(len(chunk.positions) + len(chunk.unread))
            del chunk  # before the next one is there
    together = {name: np.concatenate(values) for name, values in parts.items()}
    return Look(**together, geometries=geometries, missing=reader.missing, unread=unread)


def _scores(logits: Tensor, head: Head) -> dict[str, Tensor]:
    logits = logits.float().cpu()
    shares = probabilities(logits, head)
    shares = shares / shares.sum(1, keepdim=True).clamp_min(1e-12)
    best = shares.topk(min(TOP, shares.shape[1]), dim=1)
    return {
        "top": best.indices,
        "probability": best.values,
        "entropy": torch.special.entr(shares).sum(1),
        "logit": logits.topk(min(2, logits.shape[1]), dim=1).values,
        "energy": logits.logsumexp(1),
    }


def _cells(maps: Tensor) -> Tensor:
    """(B, CHANNELS, GRID, GRID) float16 of (B, C, h, w): projected, pooled, and of length 1 at every place."""
    channels = maps.shape[1]
    if channels > CHANNELS:
        generator = torch.Generator().manual_seed(channels)
        directions = torch.linalg.qr(torch.randn(channels, CHANNELS, generator=generator)).Q
        maps = torch.einsum("bchw,cd->bdhw", maps, directions)
    size = (min(GRID, maps.shape[2]), min(GRID, maps.shape[3]))
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, size)
    if size != (GRID, GRID):
        pooled = torch.nn.functional.interpolate(pooled, (GRID, GRID), mode="bilinear")
    return torch.nn.functional.normalize(pooled, dim=1).half()
