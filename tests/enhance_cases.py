"""What the tests of mask-guided classification share: small spots in misleading light, and a method that finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from study_cases import CLASSES

from fidokit.data.images import LabelledImages
from fidokit.methods import register_method


def make_spotted(folder: Path, n: int = 12) -> LabelledImages:
    """Grey photographs of 96 pixels with a small coloured square on a large pale patch of another colour."""
    generator = np.random.default_rng(0)
    for i in range(n):
        pixels = np.full((96, 96, 3), 60, np.uint8) + generator.integers(0, 10, (96, 96, 3)).astype(np.uint8)
        pixels[:, :, (i + 1) % 3] += 40
        x, y = generator.integers(8, 64, 2)
        pixels[y : y + 24, x : x + 24] = 20
        pixels[y : y + 24, x : x + 24, i % 3] = 250
        target = folder / CLASSES[i % 3] / f"{i:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target)
    return LabelledImages.from_folder(folder)


def brightness(_classifier, images, _targets):
    """Where an image is most unlike its mean: the spot."""
    cells = torch.nn.functional.adaptive_avg_pool2d(images, 8)
    away = (cells - images.mean((2, 3), keepdim=True)).abs().amax(1)
    return (away / away.amax((1, 2), keepdim=True)) ** 4


def register_spots() -> str:
    """Register `brightness`; its name."""
    register_method("spots", brightness)
    return "spots"
