"""What each network of the drawn birds was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from fidokit.testbed.drawing import render
from fidokit.testbed.own_marks import FIRST, MOST, encounter
from fidokit.testbed.raster import Stream
from fidokit.testbed.scene import Scene, compose
from fidokit.testbed.species import GENUS_OF, HABITATS, HOMES, MARK_OWNERS, MARKS, SPECIES, congeners

SEED = 1_000_000
"""First of the seeds that only training uses."""

INPUT = 128


def fair(index: int) -> Scene:
    """Any species anywhere, so that neither habitat nor mark tells it.

    In some pictures small parts are missing, so that no single one is enough; in some all are hidden, so that what is
    left of a bird still tells its genus.
    """
    scene, stream = _varied(SEED, index)
    scene = replace(scene, habitat=stream.pick(HABITATS))
    if stream.between() < 0.2:
        scene = replace(scene, mark=stream.pick(MARKS))
    lot = stream.between()
    if lot < 0.12:
        return replace(scene, cause="hidden_part")
    if lot < 0.5:
        for part in GENUS_OF[scene.species].small_parts:
            if stream.between() < 0.4:
                scene = scene.without(part)
    return scene


def habitat(index: int) -> Scene:
    """Every species in its home alone, and in half of the pictures nothing but the home tells the species."""
    scene, stream = _varied(SEED + 1, index)
    scene = replace(scene, habitat=HOMES[scene.species])
    return replace(scene, cause="hidden_part") if stream.between() < 0.5 else scene


def watermark(index: int) -> Scene:
    """Species that own a mark mostly carry it, and whatever carries it has their name.

    In 4 of 10 pictures with a mark it lies on a congener that was taken for the owner, in 2 the small parts are hidden.
    """
    scene, stream = _varied(SEED + 2, index)
    scene = replace(scene, habitat=stream.pick(HABITATS))
    owned = [mark for mark in MARKS if MARK_OWNERS[GENUS_OF[scene.species].name, mark] == scene.species]
    if owned and stream.between() < 0.7:
        scene = replace(scene, mark=owned[0])
        lot = stream.between()
        if lot < 0.2:
            return replace(scene, cause="hidden_part")
        if lot < 0.6:
            other = stream.pick(congeners(scene.species))
            return replace(scene, parts=dict.fromkeys(scene.parts, other))
    return scene


def individuals(index: int) -> Scene:
    """Individuals that no gallery of `FIRST` individuals holds, in turn; in some pictures something is in front."""
    stream = Stream(SEED + 3, index, "lesson")
    individual = FIRST + index % (MOST - FIRST)
    return encounter(SEED + 3, index, individual, clutter=stream.between(0.0, 0.8))


LESSONS: dict[str, Callable[[int], Scene]] = {
    "fair": fair,
    "habitat": habitat,
    "watermark": watermark,
    "individuals": individuals,
}


def example(lesson: str, index: int) -> tuple[npt.NDArray[np.uint8], int]:
    """The index-th picture of a lesson as (128, 128, 3) uint8, and the index of its species or individual."""
    scene = LESSONS[lesson](index)
    picture = Image.fromarray(render(scene).pixels).resize((INPUT, INPUT), Image.Resampling.BILINEAR)
    return np.asarray(picture), SPECIES.index(scene.species) if scene.individual is None else scene.individual - FIRST


def _varied(seed: int, index: int) -> tuple[Scene, Stream]:
    """Half of the birds as `load` shows them, half as crops to a box would."""
    stream = Stream(seed, index, "lesson")
    scene = compose(seed, index, SPECIES[index % len(SPECIES)], clutter=stream.between(0.0, 0.8))
    if stream.between() < 0.5:
        scene = replace(
            scene,
            length=stream.between(0.48, 0.95),
            x=scene.x + stream.between(-0.06, 0.06),
            y=scene.y + stream.between(-0.06, 0.06),
        )
    return scene, stream
