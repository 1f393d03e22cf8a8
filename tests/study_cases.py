"""What the tests of studies share: a tiny classifier, drawn photographs, methods that note what they compute."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

import fidokit as fk
from fidokit.data.images import LabelledImages
from fidokit.methods import register_method
from fidokit.methods.base import Computed, Method
from fidokit.models.classifier import Classifier

CLASSES = ["red", "green", "blue"]
SIZE = 16
PART = 4


class Colours(nn.Module):
    """Logits from the mean colour; NaN for a photograph that is white all over, an error for one that is black."""

    def __init__(self, gain: float = 4.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.blur = nn.Conv2d(3, 3, 2, stride=2, groups=3, bias=False)
        nn.init.constant_(self.blur.weight, 0.25)

    def forward(self, x):
        if bool((x == 0).flatten(1).all(1).any()):
            raise RuntimeError("a black image")
        logits = self.gain * self.blur(x).mean(dim=(2, 3))
        return torch.where((x > 0.999).flatten(1).all(1)[:, None], torch.nan, logits)


def make_classifier(gain: float = 4.0, names=CLASSES, **options) -> Classifier:
    options = {"precision": "float32", "micro_batch": 8, "device": "cpu"} | options
    return Classifier(Colours(gain), names, mean=(0, 0, 0), std=(1, 1, 1), size=(SIZE, SIZE), **options)


def make_data(folder: Path, n: int = 10, classes=CLASSES) -> LabelledImages:
    """n photographs of noise tinted in turn; the tint is the class."""
    generator = np.random.default_rng(0)
    for i in range(n):
        pixels = generator.integers(20, 120, (SIZE, SIZE, 3))
        pixels[..., i % 3] += 100
        target = folder / classes[i % len(classes)] / f"{i:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(target)
    return LabelledImages.from_folder(folder)


def paint(data: LabelledImages, position: int, value: int) -> None:
    """Make a photograph of one grey value all over."""
    Image.fromarray(np.full((SIZE, SIZE, 3), value, np.uint8)).save(data.table["path"].iloc[position])


@dataclass(frozen=True)
class GridSettings:
    cells: int = 4
    pause: float = 0.0
    log: str = ""

    def grid_size(self, _size):
        return self.cells, self.cells


def fill_disk(monkeypatch) -> None:
    """Let the disk be full when the third part of masks is written."""
    replace, parts = os.replace, []

    def fill_up(source, target):
        if "masks" in str(target):
            parts.append(target)
            if len(parts) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fill_up)


def grid_masks(images, cells: int):
    """(B, h, w): how bright each cell is beside the brightest one."""
    pooled = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), cells)[:, 0]
    return pooled / pooled.amax(dim=(1, 2), keepdim=True)


def counting_method(calls: list[str] | None = None, spoil=None, **options) -> Method:
    """A method that makes two kinds of masks and notes every image_id it computes, in a list and in a file.

    `spoil(batch)` is called before and may raise; what it returns replaces the result if it is not None.
    """

    def compute(_classifier, batch, settings, _on_progress):
        if spoil is not None and (replacement := spoil(batch)) is not None:
            return replacement
        masks = grid_masks(batch.images, settings.cells)
        time.sleep(settings.pause * len(batch))
        if calls is not None:
            calls.extend(batch.image_ids)
        if settings.log:
            with open(settings.log, "a") as file:  # noqa: PTH123
                file.writelines(f"{image_id}\n" for image_id in batch.image_ids)
        return Computed({"ssr": masks, "sdr": 1 - masks})

    return Method(compute, GridSettings, ("ssr", "sdr"), "masks of brightness", **options)


def register_counting(name: str, **options) -> list[str]:
    """Register a counting method; the list to which it adds the image_ids."""
    calls: list[str] = []
    register_method(name, counting_method(calls, **options))
    return calls


def comparable(frame):
    """A table of masks without its times, masks as nested lists, for `assert_frame_equal`."""
    return frame.drop(columns="seconds").assign(mask=[mask.tolist() for mask in frame["mask"]])


def run(classifier, data, store, methods=("counting",), **options):
    return fk.run_study(classifier, data, methods, store=store, **({"part_size": PART, "progress": False} | options))


def tables_equal(one, other):
    a, b = comparable(one.masks()), comparable(other.masks())
    for frame in (a, b):
        frame["mask"] = [np.asarray(mask) for mask in frame["mask"]]
    assert all(np.abs(x - y).max() <= 1e-3 for x, y in zip(a.pop("mask"), b.pop("mask"), strict=True))
    pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(one.predictions(), other.predictions())
    pd.testing.assert_frame_equal(one.failures(), other.failures())
