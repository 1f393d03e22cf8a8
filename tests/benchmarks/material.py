"""What the benchmarks share: the classifier, photographs with object masks, infills no method uses, and intervals.

Needs Debian's tuxpaint-stamps-default (animals) and mate-backgrounds (nature photographs to put them on).
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import fidokit as fk
from fidokit import samples
from fidokit.study.metrics.panel import mosaic

#: Of this seed's composites, those of even position tuned the settings; results are reported on other animals.
SEED = 0
#: Photographs that the classifier hardly recognises have no decision worth explaining.
LEAST_SCORE = 0.3


@dataclass
class Part:
    """Photographs of one part: (B, 3, H, W) images, (B, H, W) object masks, and which photograph each one shows."""

    images: Tensor
    objects: Tensor
    names: list[str]


def inputs(classifier: fk.Classifier, data: fk.LabelledImages) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1]: all photographs as the classifier sees them."""
    return torch.stack([data.load(i, classifier.preprocessing)[0] for i in range(len(data))])


def photographs(classifier: fk.Classifier, part: str, seeds: Sequence[int] = (SEED,)) -> Part:
    """The ``tuning`` or the ``report`` part, its animals composed anew for each seed.

    No animal is in both parts, whatever the seeds.
    """
    tuning: set[str] = set()
    images, objects, names = [], [], []
    for seed in sorted({SEED, *seeds}, key=lambda s: s != SEED):
        with tempfile.TemporaryDirectory() as folder:
            data = samples.composites(folder, seed=seed, share=(0.5, 0.85), size=320, backgrounds="photographs")
            loaded = inputs(classifier, data)
            masks = [data.load_object_mask(i, classifier.preprocessing) for i in range(len(data))]
            shown = list(data.table["photograph"])
        recognised = (classifier.logits(loaded).softmax(1).amax(1) > LEAST_SCORE).nonzero().flatten().tolist()
        if seed == SEED:
            tuning = {shown[i] for i in recognised[0::2]}
        if seed in seeds:
            rows = [i for i in recognised if (shown[i] in tuning) == (part == "tuning")]
            images.append(loaded[rows])
            objects += [torch.from_numpy(masks[i]) for i in rows]
            names += [shown[i] for i in rows]
    return Part(torch.cat(images), torch.stack(objects), names)


def foreign_infills(size: tuple[int, int]) -> Tensor:
    """(4, 3, H, W): three photographs of textures and a mosaic of flat colours; no method optimises with them."""
    from skimage import data
    from skimage.transform import resize

    textures = []
    for name in ("brick", "grass", "gravel"):
        grey = resize(getattr(data, name)()[:320, :320], size, anti_aliasing=True)
        textures.append(torch.from_numpy(np.broadcast_to(grey, (3, *size)).astype(np.float32).copy()))
    return torch.stack([*textures, mosaic(size)])


def paired_interval(
    difference: Tensor, names: Sequence[str], resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean difference over photographs and its 95 % percentile bootstrap interval.

    Copies of one photograph are not independent, so they are averaged first and resampled together.
    """
    values = pd.Series(difference.numpy()).groupby(list(names)).mean().to_numpy()
    rows = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[rows].mean(1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def report(**result: Any) -> None:
    """Print one JSON line."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    print(json.dumps(rounded | {"torch": torch.__version__, "machine": platform.machine()}), flush=True)
