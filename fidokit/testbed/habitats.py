"""The six habitats: a blurred distance, a ground with texture, and what a bird may stand on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fidokit.testbed.raster import (
    Colour,
    Field,
    Frame,
    Point,
    Stream,
    bezier,
    clip01,
    coverage,
    enlarge,
    length,
    lens,
    sheet_noise,
    smoothstep,
    stroke,
    white_noise,
)

Picture: TypeAlias = npt.NDArray[np.float32]
"""(h, w, 3) float32 in 0..1."""


def draw_habitat(name: str, stream: Stream, size: int, horizon: float, feet: Point, unit: float) -> Picture:
    """The (size, size, 3) picture of a habitat without any bird.

    Args:
        name: of the habitat.
        stream: random numbers of this picture's background.
        size: side in pixels.
        horizon: where the ground begins, as a share of the height.
        feet: where a bird stands, in pixels.
        unit: half the length of the bird's body in pixels; perches are sized to it.
    """
    recipe = _RECIPES[name]
    # The distance is out of focus, so half the resolution is enough; ground is drawn where it is seen.
    ends, begins = min(size, math.ceil((horizon + 0.08) * size)), max(0, math.floor((horizon - 0.08) * size))
    far = enlarge(recipe.far(stream, (ends + 1) // 2, (size + 1) // 2), ends, size)
    near = recipe.near(stream, size - begins, size)
    rise = sheet_noise(stream.key(), 1, size, 1, 5)[0] * np.float32(0.05) + np.float32(horizon - 0.025)
    rows = (np.arange(begins, ends, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / size)
    edge = smoothstep(-0.02, 0.03, rows[:, None] - rise[None, :])[..., None]
    picture = np.empty((size, size, 3), dtype=np.float32)
    picture[:begins] = far[:begins]
    picture[begins:ends] = far[begins:] + (near[: ends - begins] - far[begins:]) * edge
    picture[ends:] = near[ends - begins :]
    if recipe.stalks is not None:
        n, colours, thick = recipe.stalks
        _strands(stream, picture, n, colours, thick)
    if recipe.perch is not None:
        _branch(stream, picture, feet, unit, *recipe.perch)
    return picture


def blend(picture: Picture, cover: Field, colour: Colour | Picture) -> None:
    """Lay a colour, or a picture, over another one in place; cover is (h, w)."""
    top = np.asarray(colour, dtype=np.float32)
    picture += (top - picture) * cover[..., None]


def ramp(share: Field, first: Colour, second: Colour) -> Picture:
    """The colours between two, (h, w, 3)."""
    a, b = np.asarray(first, dtype=np.float32), np.asarray(second, dtype=np.float32)
    return a + (b - a) * share[..., None]


def rough(stream: Stream, height: int, width: int, rows: float, columns: float, octaves: int = 3) -> Field:
    """Fractal noise around 0.5 over a whole sheet; rows and columns are those of a square of the sheet's width."""
    total = np.zeros((height, width), dtype=np.float32)
    weight = 0.5
    for _ in range(octaves):
        noise = sheet_noise(stream.key(), height, width, rows * height / width, columns)
        total += (noise - np.float32(0.5)) * np.float32(weight)
        rows, columns, weight = rows * 2, columns * 2, weight * 0.55
    return total + np.float32(0.5)


def scatter(
    picture: Picture,
    stream: Stream,
    cell: tuple[float, float],
    shape: tuple[float, float],
    colours: tuple[Colour, Colour],
    *,
    share: float = 1.0,
    upright: float = 1.0,
    opacity: float = 1.0,
    soft: float = 1.0,
    shade: float = 0.25,
) -> None:
    """Lay one leaf, stone or disc in every cell of a jittered grid, in place.

    Args:
        picture: to draw on.
        stream: random numbers.
        cell: height and width of the cells in pixels.
        shape: half length and half width in cells; equal values make discs, others pointed leaves.
        colours: each has one between these two.
        share: of the cells that hold one.
        upright: 0 all lie along the rows, 1 any direction.
        opacity: of the middle.
        soft: pixels over which the edge runs.
        shade: how much darker the lower edge is.
    """
    height, width = picture.shape[:2]
    reach = shape[0]
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / cell[0])
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / cell[1])
    # Only cells from which a thing can reach this pixel.
    iy = np.floor(y - np.float32(reach)).astype(np.int32)
    ix = np.floor(x - np.float32(reach)).astype(np.int32)
    span = 2 if reach <= 0.5 else 3
    rows, columns = int(iy[-1]) + span + 2, int(ix[-1]) + span + 2
    tables = [white_noise(stream.key(), rows, columns) for _ in range(6)]
    present = (tables[5] < np.float32(share)).astype(np.float32) * np.float32(opacity)
    first, second = (np.asarray(colour, dtype=np.float32) for colour in colours)
    tints = first + (second - first) * tables[3][..., None]
    turn = (tables[2] * np.float32(2) - np.float32(1)) * np.float32(upright)
    square = turn * turn
    sizes = np.float32(1) / (np.float32(0.65) + np.float32(0.35) * tables[4])
    cosine = (np.float32(1) - square) / (np.float32(1) + square) * sizes
    sine = np.float32(2) * turn / (np.float32(1) + square) * sizes
    edge = np.float32(min(cell) / soft)
    flat = picture.reshape(-1, 3)
    for dy in range(span):
        for dx in range(span):
            # The tables begin one cell before the sheet.
            at = (iy + dy + 1)[:, None], (ix + dx + 1)[None, :]
            py = (y - (iy + dy))[:, None] - tables[0][at]
            px = (x - (ix + dx))[None, :] - tables[1][at]
            c, s = cosine[at], sine[at]
            u, v = px * c + py * s, py * c - px * s
            round_ = shape[0] == shape[1]
            distance = length(u, v) - np.float32(shape[0]) if round_ else lens(u, v, shape[0], shape[1])
            hit = np.flatnonzero((distance * edge < np.float32(0.5)) & (present[at] > 0))
            cell_of = (at[0] * columns + at[1]).reshape(-1)[hit]
            cover = clip01(np.float32(0.5) - distance.reshape(-1)[hit] * edge) * present.reshape(-1)[cell_of]
            lit = clip01(np.float32(0.5) + v.reshape(-1)[hit] * np.float32(0.5 / shape[1]))
            lit = np.float32(1) - np.float32(shade) * lit
            below = flat[hit]
            flat[hit] = below + (tints.reshape(-1, 3)[cell_of] * lit[:, None] - below) * cover[:, None]


def _grain(picture: Picture, stream: Stream, amount: float) -> None:
    noise = white_noise(stream.key(), *picture.shape[:2]) - np.float32(0.5)
    picture *= (np.float32(1) + noise * np.float32(amount))[..., None]


def _fade(height: int, width: int) -> Field:
    """0 at the top, 1 at the bottom."""
    rows = (np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(1 / height)
    return np.repeat(rows[:, None], width, axis=1)


def _strands(stream: Stream, picture: Picture, n: int, colours: tuple[Colour, Colour], thick: float) -> None:
    """Long upright stalks, in place."""
    height, width = picture.shape[:2]
    frame = Frame.upright(0.0, 0.0, 1.0)
    for _ in range(n):
        foot, lean = stream.between(-0.05, 1.05) * width, stream.between(-0.14, 0.14) * width
        bend = stream.between(-0.05, 0.05) * width
        radius = stream.between(0.6, 1.3) * thick * width
        share = stream.between()
        top = stream.between(-0.1, 0.35) * height
        points = bezier((foot, height * 1.02), (foot + lean * 0.5 + bend, height * 0.5), (foot + lean, top), 4)
        window = frame.window(points, radius, (height, width))
        if window is None:
            continue
        x, y = frame.grid(window)
        cover = coverage(stroke(x, y, points, [radius, radius, radius * 0.9, radius * 0.7, radius * 0.3]), 1.0)
        (r0, g0, b0), (r1, g1, b1) = colours
        blend(picture[window.slices], cover, (r0 + (r1 - r0) * share, g0 + (g1 - g0) * share, b0 + (b1 - b0) * share))


def _branch(
    stream: Stream, picture: Picture, feet: Point, unit: float, colours: tuple[Colour, Colour], thick: float
) -> None:
    """A perch through the whole picture under the feet, in place."""
    size = picture.shape[0]
    radius = thick * unit
    slope = stream.between(-0.12, 0.12)
    frame = Frame.upright(feet[0], feet[1] + radius * 0.8, 1.0)
    left, right = -feet[0] - radius, size - feet[0] + radius
    points = [
        (left, left * slope + radius * stream.between(-1, 1)),
        (0.0, 0.0),
        (right, right * slope + radius * stream.between(-1, 1)),
    ]
    window = frame.window(points, radius * 1.3, size)
    if window is None:
        return
    x, y = frame.grid(window)
    distance = stroke(x, y, points, [radius * stream.between(0.8, 1.3), radius, radius * stream.between(0.5, 1.0)])
    grain = sheet_noise(
        stream.key(), distance.shape[0], distance.shape[1], min(distance.shape[0] * 3 / radius, 200.0), 8
    )
    side = clip01(np.float32(0.5) + (y - x * np.float32(slope)) * np.float32(0.5 / radius))
    colour = ramp(clip01(side * np.float32(0.8) + grain * np.float32(0.3)), *colours)
    blend(picture[window.slices], coverage(distance, 1.0), colour)


def _far_reeds(stream: Stream, height: int, width: int) -> Picture:
    fine, broad = rough(stream, height, width, 1.5, 22, 2), rough(stream, height, width, 2, 9, 2)
    picture = ramp(smoothstep(0.32, 0.68, (fine + broad) * np.float32(0.5)), (0.50, 0.50, 0.30), (0.86, 0.80, 0.58))
    picture *= (np.float32(1.05) - np.float32(0.25) * _fade(height, width))[..., None]
    _strands(stream, picture, 9, ((0.70, 0.62, 0.36), (0.88, 0.80, 0.52)), 0.011)
    return picture


def _near_reeds(stream: Stream, height: int, width: int) -> Picture:
    return ramp(rough(stream, height, width, 22, 3), (0.16, 0.22, 0.22), (0.44, 0.50, 0.46))


def _far_snow(stream: Stream, height: int, width: int) -> Picture:
    trees = rough(stream, height, width, 2.5, 7)
    picture = ramp(smoothstep(0.35, 0.62, trees), (0.42, 0.50, 0.58), (0.80, 0.86, 0.92))
    cell, flakes = width / 12, ((0.95, 0.97, 1.0), (1.0, 1.0, 1.0))
    scatter(picture, stream, (cell, cell), (0.16, 0.16), flakes, share=0.6, opacity=0.75, soft=2, shade=0)
    return picture


def _near_snow(stream: Stream, height: int, width: int) -> Picture:
    drifts = rough(stream, height, width, 7, 3)
    picture = ramp(smoothstep(0.3, 0.65, drifts), (0.72, 0.80, 0.92), (0.97, 0.98, 1.0))
    _grain(picture, stream, 0.06)
    return picture


def _far_forest(stream: Stream, height: int, width: int) -> Picture:
    trunks = sheet_noise(stream.key(), height, width, 1, 9)
    picture = ramp(smoothstep(0.4, 0.7, trunks), (0.08, 0.13, 0.08), (0.26, 0.27, 0.17))
    cell, gaps = width / 7, ((0.36, 0.46, 0.18), (0.70, 0.74, 0.40))
    scatter(picture, stream, (cell, cell), (0.32, 0.32), gaps, share=0.45, opacity=0.5, soft=3, shade=0)
    return picture


def _near_forest(stream: Stream, height: int, width: int) -> Picture:
    picture = ramp(rough(stream, height, width, 8, 8), (0.14, 0.09, 0.05), (0.36, 0.22, 0.12))
    cell, litter = width / 11, ((0.30, 0.16, 0.07), (0.72, 0.42, 0.18))
    scatter(picture, stream, (cell * 0.6, cell), (0.66, 0.30), litter, share=0.9, shade=0.5)
    return picture


def _far_shore(stream: Stream, height: int, width: int) -> Picture:
    waves, fade = rough(stream, height, width, 18, 2.5), _fade(height, width)
    picture = ramp(fade, (0.74, 0.84, 0.92), (0.22, 0.46, 0.60))
    blend(picture, smoothstep(0.56, 0.68, waves) * fade * np.float32(0.75), (0.88, 0.95, 0.97))
    return picture


def _near_shore(stream: Stream, height: int, width: int) -> Picture:
    picture = ramp(rough(stream, height, width, 14, 4), (0.68, 0.58, 0.42), (0.92, 0.84, 0.68))
    _grain(picture, stream, 0.14)
    cell, pebbles = width / 13, ((0.42, 0.40, 0.40), (0.86, 0.82, 0.78))
    scatter(picture, stream, (cell * 0.6, cell), (0.24, 0.24), pebbles, share=0.3, shade=0.45)
    return picture


def _far_meadow(stream: Stream, height: int, width: int) -> Picture:
    picture = ramp(rough(stream, height, width, 4, 5), (0.30, 0.50, 0.20), (0.62, 0.78, 0.38))
    flowers = stream.pick([((0.98, 0.86, 0.30), (1.0, 0.95, 0.6)), ((0.86, 0.48, 0.68), (0.98, 0.80, 0.90))])
    cell = width / 8
    scatter(picture, stream, (cell, cell), (0.26, 0.26), flowers, share=0.4, opacity=0.7, soft=3, shade=0)
    return picture


def _near_meadow(stream: Stream, height: int, width: int) -> Picture:
    return ramp(rough(stream, height, width, 5, 40, 2), (0.14, 0.30, 0.08), (0.44, 0.64, 0.22))


def _far_rock(stream: Stream, height: int, width: int) -> Picture:
    ridge = rough(stream, height, width, 4, 3)
    return ramp(smoothstep(0.40, 0.60, ridge), (0.46, 0.50, 0.60), (0.72, 0.75, 0.80))


def _near_rock(stream: Stream, height: int, width: int) -> Picture:
    blocks = rough(stream, height, width, 6, 5)
    picture = ramp(smoothstep(0.25, 0.75, blocks), (0.26, 0.26, 0.28), (0.64, 0.63, 0.62))
    cracks = np.abs(rough(stream, height, width, 5, 4) - np.float32(0.5))
    blend(picture, smoothstep(0.022, 0.004, cracks) * np.float32(0.75), (0.12, 0.12, 0.13))
    cell, lichen = width / 8, ((0.80, 0.66, 0.28), (0.70, 0.74, 0.60))
    scatter(picture, stream, (cell * 0.7, cell), (0.26, 0.26), lichen, share=0.35, opacity=0.8, soft=5, shade=0)
    _grain(picture, stream, 0.16)
    return picture


@dataclass(frozen=True)
class _Recipe:
    """Distance, ground, stalks (number, colours, radius) that rise from the ground, perch (colours, radius)."""

    far: Callable[[Stream, int, int], Picture]
    near: Callable[[Stream, int, int], Picture]
    stalks: tuple[int, tuple[Colour, Colour], float] | None = None
    perch: tuple[tuple[Colour, Colour], float] | None = None


_RECIPES = {
    "reeds": _Recipe(
        _far_reeds,
        _near_reeds,
        (9, ((0.52, 0.50, 0.24), (0.80, 0.72, 0.42)), 0.008),
        (((0.84, 0.76, 0.46), (0.46, 0.40, 0.20)), 0.12),
    ),
    "snow": _Recipe(_far_snow, _near_snow),
    "forest floor": _Recipe(_far_forest, _near_forest, None, (((0.44, 0.42, 0.22), (0.16, 0.11, 0.07)), 0.34)),
    "shore": _Recipe(_far_shore, _near_shore),
    "meadow": _Recipe(
        _far_meadow,
        _near_meadow,
        (14, ((0.24, 0.44, 0.12), (0.56, 0.74, 0.28)), 0.005),
        (((0.56, 0.46, 0.36), (0.24, 0.18, 0.13)), 0.17),
    ),
    "rock": _Recipe(_far_rock, _near_rock),
}
