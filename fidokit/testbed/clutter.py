"""What stands in front of a bird by chance, what was put there to hide it, and the marks people put on pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import sqrt

import numpy as np

from fidokit.testbed.bird import Anchor, Layer, Skeleton
from fidokit.testbed.habitats import Picture, blend, ramp
from fidokit.testbed.raster import (
    Colour,
    Frame,
    Point,
    Stream,
    Window,
    bezier,
    clip01,
    coverage,
    disc,
    lens,
    relief,
    smoothstep,
    stroke,
)
from fidokit.testbed.scene import Scene

#: Things in front of the bird at clutter 1.
MOST = 20

_LEAVES: list[tuple[Colour, Colour]] = [
    ((0.16, 0.34, 0.10), (0.40, 0.58, 0.22)),
    ((0.34, 0.38, 0.10), (0.62, 0.62, 0.24)),
    ((0.40, 0.20, 0.08), (0.70, 0.42, 0.16)),
]
_BLADES: list[Colour] = [(0.36, 0.52, 0.18), (0.70, 0.62, 0.34), (0.24, 0.38, 0.14), (0.54, 0.44, 0.24)]


def in_front(scene: Scene, bones: Skeleton, places: list[Anchor]) -> Iterator[Layer]:
    """Grass, twigs, leaves and berries that leave the small parts in view.

    They depend on the pose and on a stream of their own, so they stay when a part or the habitat changes; at a site
    they are the same things, those aside that this pose has behind them.
    """
    stream = scene.surroundings("clutter")
    size = float(scene.size)
    for _ in range(round(scene.clutter * MOST)):
        kind = stream.pick(["blade", "blade", "blade", "twig", "leaves", "berries"])
        own = Stream(stream.bits())
        layers, reach = _draw(kind, own, size, bones)
        if not any(_touches(points, radius, places) for points, radius in reach):
            yield from layers


def covering(scene: Scene, places: list[Anchor]) -> Iterator[Layer]:
    """Leaves in front of every small part, each large enough to hide it, on twigs that lead out of the picture."""
    stream = scene.stream("hidden_part")
    size = float(scene.size)
    colours = stream.pick(_LEAVES)
    leaves = [_leaf_over(place, stream, scene.size) for place in places]
    for frame, half_length, _ in leaves:
        end = (
            (stream.between(0.0, size), -8.0)
            if stream.between() < 0.5
            else (size * (0.5 + 0.6 * stream.sign()), size * 0.2)
        )
        stem = frame.point(-half_length, 0.0)
        middle = ((stem[0] + end[0]) / 2 + stream.between(-20, 20), (stem[1] + end[1]) / 2)
        yield from _line(bezier(stem, middle, end, 6), [0.008 * size] * 7, (0.30, 0.22, 0.14), scene.size)
    for frame, half_length, half_width in leaves:
        yield from _leaf(frame, half_length, half_width, colours, scene.size)


def _leaf_over(place: Anchor, stream: Stream, size: int) -> tuple[Frame, float, float]:
    """A leaf's frame, half length and half width, such that it covers the whole capsule."""
    (ax, ay), (bx, by) = place.a, place.b
    apart = sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay))
    middle = Frame.upright((ax + bx) / 2, (ay + by) / 2, 1.0)
    frame = middle.along(0.0, 0.0, bx - ax, by - ay).child(0.0, 0.0, stream.between(-0.1, 0.1))
    radius = place.radius + 0.012 * size
    half_length, half_width = (apart / 2 + radius) * 1.25, radius * 1.1
    square = frame.ax * frame.ax + frame.ay * frame.ay
    corners = []
    for px, py in (place.a, place.b):
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)):
            qx, qy = px + dx * radius - frame.x, py + dy * radius - frame.y
            corners.append(((qx * frame.ax + qy * frame.ay) / square, (qx * frame.bx + qy * frame.by) / square))
    x = np.asarray([[cx for cx, _ in corners]], dtype=np.float32)
    y = np.asarray([[cy for _, cy in corners]], dtype=np.float32)
    while float(lens(x, y, half_length, half_width).max()) > 0:
        half_length, half_width = half_length * 1.06, half_width * 1.1
    return frame, half_length, half_width


def _draw(
    kind: str, stream: Stream, size: float, bones: Skeleton
) -> tuple[list[Layer], list[tuple[list[Point], float]]]:
    """The layers of one thing, and the strokes (points, radius) that it occupies."""
    side = bones.size
    if kind == "blade":
        foot = (stream.between(-0.05, 1.05) * size, size * 1.03)
        top = (foot[0] + stream.between(-0.22, 0.22) * size, size * stream.between(0.42, 0.9))
        bend = ((foot[0] + top[0]) / 2 + stream.between(-0.06, 0.06) * size, (foot[1] + top[1]) / 2)
        points = bezier(foot, bend, top, 6)
        width = stream.between(0.005, 0.011) * size
        radii = [width * (1 - k / 6) + 0.3 * k / 6 for k in range(7)]
        return list(_line(points, radii, stream.pick(_BLADES), side)), [(points, width)]
    x = -0.03 * size if stream.between() < 0.5 else 1.03 * size
    start = (x, stream.between(0.05, 0.9) * size)
    inward = 1.0 if x < 0 else -1.0
    end = (x + inward * stream.between(0.15, 0.42) * size, start[1] + stream.between(-0.2, 0.2) * size)
    bend = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + stream.between(-0.08, 0.08) * size)
    points = bezier(start, bend, end, 6)
    width = stream.between(0.005, 0.009) * size
    layers = list(_line(points, [width * (1 - 0.1 * k) for k in range(7)], (0.34, 0.26, 0.18), side))
    reaches = [(points, width)]
    if kind == "leaves":
        colours = stream.pick(_LEAVES)
        for k in (6, 4, 3):
            half_length = stream.between(0.035, 0.065) * size
            half_width = half_length * stream.between(0.35, 0.5)
            turned = Frame.upright(*points[k], 1.0).child(0.0, 0.0, stream.between(-1, 1))
            frame = turned.child(half_length * 0.95, 0.0)
            layers += list(_leaf(frame, half_length, half_width, colours, side))
            reaches.append(([frame.point(-half_length, 0.0), frame.point(half_length, 0.0)], half_width))
    if kind == "berries":
        colour = stream.pick([(0.72, 0.12, 0.10), (0.20, 0.16, 0.34), (0.88, 0.52, 0.14)])
        for k in (6, 6, 5, 5, 4):
            centre = (
                points[k][0] + stream.between(-0.025, 0.025) * size,
                points[k][1] + stream.between(0.0, 0.035) * size,
            )
            radius = stream.between(0.012, 0.018) * size
            layers += list(_berry(centre, radius, colour, bones))
            reaches.append(([centre, centre], radius))
    return layers, reaches


def _touches(points: list[Point], radius: float, places: list[Anchor]) -> bool:
    for place in places:
        (ax, ay), (bx, by) = place.a, place.b
        dx, dy = bx - ax, by - ay
        square = dx * dx + dy * dy or 1e-9
        reach = radius + place.radius + 2.0
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            for k in range(5):
                px, py = x0 + (x1 - x0) * k / 4 - ax, y0 + (y1 - y0) * k / 4 - ay
                t = min(1.0, max(0.0, (px * dx + py * dy) / square))
                qx, qy = px - t * dx, py - t * dy
                if qx * qx + qy * qy < reach * reach:
                    return True
    return False


def post(top: Point, foot: Point, radius: float, size: int) -> Iterator[Layer]:
    """A stump of rotten wood, from where something stands on it to its foot."""
    yield from _line([top, foot], [radius, radius * 1.25], (0.42, 0.33, 0.24), size)


def _line(points: list[Point], radii: list[float], colour: Colour, size: int) -> Iterator[Layer]:
    frame = Frame.upright(0.0, 0.0, 1.0)
    window = frame.window(points, max(radii), size)
    if window is None:
        return
    x, y = frame.grid(window)
    distance = stroke(x, y, points, radii)
    round_ = clip01(np.float32(1) + distance * np.float32(1 / max(radii)))
    yield Layer(None, window, coverage(distance, 1.0), ramp(round_, colour, tuple(0.62 * c for c in colour)))  # type: ignore[arg-type]


def _leaf(
    frame: Frame, half_length: float, half_width: float, colours: tuple[Colour, Colour], size: int
) -> Iterator[Layer]:
    corners = [(sx * half_length, sy * half_width) for sx in (-1, 1) for sy in (-1, 1)]
    window = frame.window(corners, 0.0, size)
    if window is None:
        return
    x, y = frame.grid(window)
    distance = lens(x, y, half_length, half_width)
    half = smoothstep(-1.0, 1.0, y)
    veins = (x * np.float32(0.8) + np.abs(y)) * np.float32(5.5 / half_length)
    vein = smoothstep(0.36, 0.48, np.abs(veins - np.floor(veins) - np.float32(0.5)))
    share = (
        np.float32(0.25)
        + np.float32(0.5) * half
        + np.float32(0.25) * clip01(np.float32(0.5) + x * np.float32(0.5 / half_length))
    )
    colour = ramp(clip01(share - vein * np.float32(0.25)), *colours)
    blend(colour, coverage(np.abs(y) - np.float32(0.035 * half_width), 1.0) * np.float32(0.7), colours[1])
    yield Layer(None, window, coverage(distance, 1.0), colour)


def _berry(centre: Point, radius: float, colour: Colour, bones: Skeleton) -> Iterator[Layer]:
    frame = Frame.upright(0.0, 0.0, 1.0)
    window = frame.window([centre], radius, bones.size)
    if window is None:
        return
    x, y = frame.grid(window)
    distance = disc(x, y, centre, radius)
    lit = np.float32(0.5) + np.float32(0.6) * relief(distance, radius, 1.0, bones.light)
    shaded = np.asarray(colour, dtype=np.float32) * lit[..., None]
    blend(
        shaded, coverage(disc(x, y, (centre[0] - 0.3 * radius, centre[1] - 0.4 * radius), 0.2 * radius), 1.0), (1, 1, 1)
    )
    yield Layer(None, window, coverage(distance, 1.0), shaded)


def mark_layer(mark: str, stream: Stream, size: int) -> Layer:
    """A photographer's stamp or a scale bar in one corner, semi-opaque."""
    height, width = round(size * 0.085), round(size * 0.36)
    margin = round(size * 0.02)
    y0 = margin if stream.between() < 0.5 else size - margin - height
    x0 = margin if stream.between() < 0.5 else size - margin - width
    cover = np.zeros((height, width), dtype=np.float32)
    colour: Picture = np.zeros((height, width, 3), dtype=np.float32)
    unit = max(1, height // 7)
    if mark == "stamp":
        cover += np.float32(0.72)
        colour += np.asarray((0.10, 0.11, 0.14), dtype=np.float32)
        column = 2 * unit
        while column + 3 * unit < width - unit:
            _glyph(colour, stream, column, unit)
            column += 4 * unit
    else:
        cover += np.float32(0.88)
        colour += np.asarray((0.96, 0.96, 0.94), dtype=np.float32)
        piece = (width - 4 * unit) // 6
        for k in range(0, 6, 2):
            left = 2 * unit + k * piece
            colour[3 * unit : 5 * unit, left : left + piece] = (0.06, 0.06, 0.06)
        for k in range(7):
            left = 2 * unit + k * piece
            colour[unit : 5 * unit, left : left + max(1, unit // 2)] = (0.80, 0.10, 0.10)
    return Layer(None, Window(y0, y0 + height, x0, x0 + width), cover, colour)


def _glyph(colour: Picture, stream: Stream, column: int, unit: int) -> None:
    """Something like a letter: strokes on a lattice of 3 by 5 fields."""
    for row in range(5):
        for field in range(3):
            if stream.between() < 0.58 or (field == 0 and row % 2 == 0):
                y, x = unit + row * unit, column + field * unit
                colour[y : y + unit, x : x + unit] = (0.96, 0.96, 0.96)
