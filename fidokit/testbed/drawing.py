"""`render`: a scene becomes pixels, the map of its visible parts, and the mask of the bird."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fidokit.testbed.bird import Anchor, Layer, Skeleton, anchors, layers, skeleton
from fidokit.testbed.clutter import covering, in_front, mark_layer, post
from fidokit.testbed.habitats import Picture, blend, draw_habitat
from fidokit.testbed.raster import Frame, clip01, ellipse, sheet_noise, smoothstep, white_noise
from fidokit.testbed.scene import Scene, compose, decoy_side, ground
from fidokit.testbed.species import OWN_MARK, PARTS


class _Drawing(NamedTuple):
    """A rendered scene.

    Attributes:
        pixels: (size, size, 3) uint8, RGB.
        part_map: (size, size) uint8, 0 no part, k + 1 the k-th of `PARTS`, and then `OWN_MARK`: the topmost that covers
            half of the pixel.
    """

    pixels: npt.NDArray[np.uint8]
    part_map: npt.NDArray[np.uint8]

    @property
    def object_mask(self) -> npt.NDArray[np.bool_]:
        """(size, size), True where any part of the bird is visible."""
        return self.part_map > 0

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """x0, y0, x1, y1 in pixels around the visible bird, or None if none of it is visible."""
        rows, columns = np.flatnonzero(self.object_mask.any(1)), np.flatnonzero(self.object_mask.any(0))
        if len(rows) == 0:
            return None
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def render(scene: Scene) -> _Drawing:
    """Draw a scene; the same scene gives the same pixels on every machine."""
    size = scene.size
    bones = skeleton(scene)
    places = anchors(bones, scene.individual)
    picture = _background(scene, bones)
    part_map = np.zeros((size, size), dtype=np.uint8)
    numbers = {part: position + 1 for position, part in enumerate([*PARTS, OWN_MARK])}
    for layer in layers(scene, bones):
        _lay(picture, layer)
        if layer.part is not None:
            part_map[layer.window.slices][layer.cover >= 0.5] = numbers[layer.part]
    for layer in _foreground(scene, bones, places):
        _lay(picture, layer)
        part_map[layer.window.slices][layer.cover >= 0.5] = 0
    _light(picture, scene)
    if scene.cause == "night":
        picture = _night(picture, scene)
    if scene.mark is not None:
        layer = mark_layer(scene.mark, scene.stream("mark"), size)
        _lay(picture, layer)
        part_map[layer.window.slices][layer.cover >= 0.5] = 0
    return _Drawing(np.rint(clip01(picture) * np.float32(255)).astype(np.uint8), part_map)


def _lay(picture: Picture, layer: Layer) -> None:
    blend(picture[layer.window.slices], layer.cover, layer.colour)


def _foreground(scene: Scene, bones: Skeleton, places: list[Anchor]) -> list[Layer]:
    drawn = list(in_front(scene, bones, places))
    if scene.cause == "hidden_part":
        drawn += covering(scene, places)
    return drawn


def _background(scene: Scene, bones: Skeleton) -> Picture:
    size = scene.size
    feet, unit = bones.feet, bones.unit
    if scene.site is not None:
        feet, unit = (0.5 * size, ground(scene.seed, scene.site) * size), 0.15 * size
    horizon = min(max(feet[1] / size - scene.surroundings("place").between(0.05, 0.22), 0.12), 0.9)
    picture = draw_habitat(scene.habitat, scene.surroundings("habitat"), size, horizon, feet, unit)
    if scene.decoy is not None:
        _decoy(picture, scene)
    below = Frame.upright(
        bones.feet[0] - scene.light[0] * 0.4 * bones.unit, bones.feet[1] + 0.06 * bones.unit, bones.unit
    )
    window = below.window([(-1.3, 0.0), (1.3, 0.0)], 0.4, size)
    if window is not None and any(scene.parts.values()):
        x, y = below.grid(window)
        shadow = smoothstep(0.16, -0.26, ellipse(x, y, (0.0, 0.0), 1.1, 0.26)) * np.float32(0.42)
        blend(picture[window.slices], shadow, (0.07, 0.07, 0.09))
    return picture


def _decoy(picture: Picture, scene: Scene) -> None:
    """A carved bird of another species on a stump, in place."""
    assert scene.decoy is not None
    assert scene.site is not None
    size, side = scene.size, decoy_side(scene.seed, scene.site)
    carved = replace(
        compose(scene.seed, scene.site, scene.decoy, size=size), length=0.5, x=0.5 + 0.21 * side, y=0.36, facing=-side
    )
    bones = skeleton(carved)
    foot = (bones.feet[0], bones.feet[1] - 0.3 * bones.unit)
    for layer in post(foot, (foot[0], 1.03 * size), 0.05 * size, size):
        _lay(picture, layer)
    for layer in layers(carved, bones):
        if layer.part != "legs":
            _lay(picture, layer)


def _light(picture: Picture, scene: Scene) -> None:
    """Brightness and warmth over the whole picture, in place, and a slow change across it."""
    _, _, bright, warm = scene.light
    tint = (bright * (1 + 0.07 * warm), bright, bright * (1 - 0.08 * warm))
    picture *= np.asarray(tint, dtype=np.float32)
    slow = sheet_noise(scene.stream("shade").key(), scene.size, scene.size, 2, 2)
    picture *= (np.float32(0.90) + np.float32(0.20) * slow)[..., None]


def _night(picture: Picture, scene: Scene) -> Picture:
    """Infrared flash at night: grey, dark away from the middle, noisy."""
    size = scene.size
    stream = scene.stream("night")
    grey = picture[..., 0] * np.float32(0.5) + picture[..., 1] * np.float32(0.3) + picture[..., 2] * np.float32(0.2)
    side = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / size)
    dx = side[None, :] - np.float32(stream.between(0.4, 0.6))
    dy = side[:, None] - np.float32(stream.between(0.4, 0.6))
    flash = clip01(np.float32(1) - (dx * dx + dy * dy) * np.float32(2.2))
    grey = (grey * np.float32(0.55) + np.float32(0.03)) * flash * np.float32(stream.between(0.75, 1.0))
    noise = white_noise(stream.key(), size, size) + white_noise(stream.key(), size, size) - np.float32(1)
    grey = clip01(grey + np.float32(0.01) + noise * np.float32(0.10))
    return grey[..., None] * np.asarray((0.92, 1.0, 0.96), dtype=np.float32)
