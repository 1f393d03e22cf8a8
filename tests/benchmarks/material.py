"""What the benchmarks share: the classifier, photographs with object masks, infills no method uses, and intervals.

Needs Debian's tuxpaint-stamps-default (animals) and mate-backgrounds (nature photographs to put them on).
"""

from __future__ import annotations

import json
import platform
import tempfile
from typing import Any

import numpy as np
import torch
from torch import Tensor

import fidokit as fk
from fidokit import samples
from fidokit.study.metrics import mosaic

#: Composites of even position were used to tune the settings; results are reported on the odd ones.
SEED = 0
#: Photographs that the classifier hardly recognises have no decision worth explaining.
LEAST_SCORE = 0.3


def photographs(classifier: fk.Classifier, part: str) -> tuple[Tensor, Tensor]:
    """(B, 3, H, W) photographs of the ``tuning`` or the ``report`` part, and (B, H, W) object masks."""
    with tempfile.TemporaryDirectory() as folder:
        data = samples.composites(folder, seed=SEED, share=(0.5, 0.85), size=320, backgrounds="photographs")
        loaded = [data.load(i, classifier.preprocessing)[0] for i in range(len(data))]
        objects = [data.load_object_mask(i, classifier.preprocessing) for i in range(len(data))]
    images = torch.stack(loaded)
    masks = torch.stack([torch.from_numpy(mask) for mask in objects if mask is not None])
    recognised = (classifier.logits(images).softmax(1).amax(1) > LEAST_SCORE).nonzero().flatten()
    rows = recognised[0::2] if part == "tuning" else recognised[1::2]
    return images[rows], masks[rows]


def foreign_infills(size: tuple[int, int]) -> Tensor:
    """(4, 3, H, W): three photographs of textures and a mosaic of flat colours; no method optimises with them."""
    from skimage import data
    from skimage.transform import resize

    textures = []
    for name in ("brick", "grass", "gravel"):
        grey = resize(getattr(data, name)()[:320, :320], size, anti_aliasing=True)
        textures.append(torch.from_numpy(np.broadcast_to(grey, (3, *size)).astype(np.float32).copy()))
    return torch.stack([*textures, mosaic(size)])


def paired_interval(difference: Tensor, resamples: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """Mean difference over images and its 95 % percentile bootstrap interval."""
    values = difference.numpy()
    rows = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[rows].mean(1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def report(**result: Any) -> None:
    """Print one JSON line."""
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    print(json.dumps(rounded | {"torch": torch.__version__, "machine": platform.machine()}), flush=True)
