"""One bird as layers from back to front, each the coverage and the colour of a part in a window of the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

import numpy as np

from fidokit.testbed.habitats import Picture, blend, ramp
from fidokit.testbed.own_marks import CORE, RADIUS, own_mark
from fidokit.testbed.raster import (
    Colour,
    Field,
    Frame,
    Point,
    Window,
    bezier,
    capsule,
    clip01,
    coverage,
    disc,
    ellipse,
    relief,
    smoothstep,
    stroke,
    union,
    value_noise,
)
from fidokit.testbed.scene import Scene
from fidokit.testbed.species import GENUS_OF, OWN_MARK, Genus, Style

_EYE = 0.085
_RING = 0.185


class Layer(NamedTuple):
    """What one part, or its shadow (part None), adds to the picture."""

    part: str | None
    window: Window
    cover: Field
    colour: Colour | Picture


class Anchor(NamedTuple):
    """Where a small part is, with or without it: a capsule in pixels of the picture."""

    part: str
    a: Point
    b: Point
    radius: float


@dataclass(frozen=True)
class Skeleton:
    """The frames in which the parts of one bird are drawn, and where it stands."""

    genus: Genus
    upright: Frame
    body: Frame
    head: Frame
    wing: Frame
    tail: Frame
    feet: Point
    light: tuple[float, float, float]
    size: int

    @property
    def unit(self) -> float:
        """Pixels a local unit."""
        return self.body.scale


def skeleton(scene: Scene) -> Skeleton:
    """Where everything is; it depends on the pose and the genus alone, never on which parts are drawn how."""
    genus = GENUS_OF[scene.species]
    size = scene.size
    upright = Frame.upright(scene.x * size, scene.y * size, scene.length * size / genus.length, scene.facing)
    body = upright.child(0.0, 0.0, -genus.posture).child(0.0, 0.0, -scene.tilt)
    (hx, hy), _ = genus.head
    # The head stays near the horizontal whatever the body does.
    head = body.child(hx, hy, genus.posture * 0.85).child(0.0, 0.0, scene.head_turn)
    long, high = genus.body
    wing = body.along(0.55 * long, -0.16 * high, -1.2 * long, 0.14 * high)
    tail = body.along(-0.95 * long, 0.04 * high, -2.0 * long, 0.14 * high)
    lx, ly = scene.light[:2]
    norm = sqrt(lx * lx + ly * ly + 0.81)
    feet = upright.point(0.05, high * 0.8 + genus.leg_length)
    return Skeleton(genus, upright, body, head, wing, tail, feet, (lx / norm, ly / norm, 0.9 / norm), size)


def anchors(bones: Skeleton, individual: int | None = None) -> list[Anchor]:
    """Where the small parts of the genus are, whichever of them the species has, and the mark of an individual."""
    genus, head, wing, tail = bones.genus, bones.head, bones.wing, bones.tail
    _, hr = genus.head
    length, width = genus.wing
    unit = bones.unit
    tip = hr * 0.8 + genus.bill_length
    places = {
        "bill": (
            head.point(hr * 0.8, hr * 0.1),
            head.point(tip, hr * 0.1 + 0.12 * genus.bill_length),
            genus.bill_depth * 0.5 + 0.06,
        ),
        "cap": (head.point(-0.45 * hr, -0.55 * hr), head.point(0.45 * hr, -0.55 * hr), 0.52 * hr),
        "throat": (head.point(0.35 * hr, 0.5 * hr), head.point(0.5 * hr, 0.6 * hr), 0.55 * hr),
        "eye ring": (head.point(0.36 * hr, -0.1 * hr), head.point(0.40 * hr, -0.1 * hr), _RING + 0.03),
        "wing bar": (wing.point(0.30 * length, 0.8 * width), wing.point(0.50 * length, -0.8 * width), 0.24),
        "tail": (tail.point(0.15, 0.0), tail.point(genus.tail_length, 0.0), genus.tail_width * 1.15),
    }
    found = [Anchor(part, a, b, radius * unit) for part, (a, b, radius) in places.items() if part in genus.small_parts]
    if individual is not None:
        middle = bones.body.point(*own_mark(individual).middle)
        found.append(Anchor(OWN_MARK, middle, middle, RADIUS * unit))
    return found


def layers(scene: Scene, bones: Skeleton) -> Iterator[Layer]:
    """The layers of the parts that are drawn, from back to front; no layer depends on another part's style."""
    genus = bones.genus
    own = {part: GENUS_OF[name].species[name] for part, name in scene.parts.items() if name is not None}
    shape = _Shape(bones, scene.stream("plumage").key())
    if "legs" in own:
        yield from _legs(bones, scene.leg_swing)
    if "tail" in own:
        yield from _tail(bones, own["tail"])
    if "bill" in own:
        yield from _bill(bones, own["bill"])
    if shape.window is None:
        return
    if "body" in own:
        yield shape.body_layer()
    if "breast" in own:
        yield shape.breast_layer()
    yield from shape.patches(own, genus)
    yield from _wing(bones, own, shape.key)
    if scene.individual is not None and OWN_MARK in own:
        yield shape.own_mark_layer(scene.individual)
    yield from _eye(bones, own)


class _Shape:
    """Body and head in one outline, with the patches of colour that lie on it."""

    def __init__(self, bones: Skeleton, key: int) -> None:
        self.bones = bones
        self.key = key
        genus = bones.genus
        long, high = genus.body
        centre, hr = genus.head
        corners = [(-1.45 * long, -high), (-1.45 * long, high), (long, high), (long, -high)]
        corners += [(centre[0] + dx * hr, centre[1] + dy * hr) for dx in (-1.0, 1.0) for dy in (-1.0, 1.0)]
        self.window = bones.body.window(corners, 0.05, bones.size)
        if self.window is None:
            return
        x, y = bones.body.grid(self.window)
        self.x, self.y = x, y
        trunk = ellipse(x, y, (0.0, 0.0), long, high)
        rump = capsule(x, y, (-0.55 * long, -0.02 * high), (-1.28 * long, 0.1 * high), high * 0.6, high * 0.2)
        # A neck bridges what the soft union alone would leave pinched.
        neck = capsule(x, y, (0.5 * long, -0.2 * high), centre, high * 0.55, hr * 0.85)
        outline = union(union(trunk, rump, 0.35), union(neck, disc(x, y, centre, hr), 0.2), 0.25)
        self.outline = outline
        self.cover = coverage(outline, bones.unit)
        cosine = relief(outline, 0.62 * high, bones.unit, bones.light)
        self.lit = np.float32(0.60) + np.float32(0.48) * cosine
        fine = value_noise(x * np.float32(13), y * np.float32(19), key)
        coarse = value_noise(x * np.float32(4) + np.float32(40), y * np.float32(6) + np.float32(40), key + 1)
        self.texture = np.float32(0.86) + np.float32(0.16) * fine + np.float32(0.12) * coarse
        self.ripple = coarse

    def body_layer(self) -> Layer:
        genus = self.bones.genus
        long, high = genus.body
        assert self.window is not None
        depth = self.y * np.float32(1 / high) + (self.ripple - np.float32(0.5)) * np.float32(0.22)
        # The border between back and flank runs down from the nape towards the rump, as on most passerines.
        depth = depth + self.x * np.float32(0.16 / long)
        colour = ramp(smoothstep(-0.42, -0.12, depth), genus.back, genus.flank)
        blend(colour, smoothstep(0.1, 0.65, depth), genus.belly)
        centre, hr = genus.head
        face = smoothstep(
            0.95, 0.55, disc(self.x, self.y, (centre[0] + 0.12 * hr, centre[1] + 0.32 * hr), 0.0) / np.float32(hr)
        )
        blend(colour, face * np.float32(0.85), genus.belly)
        colour *= (self.lit * self.texture)[..., None]
        return Layer("body", self.window, self.cover, colour)

    def breast_layer(self) -> Layer:
        genus = self.bones.genus
        long, high = genus.body
        assert self.window is not None
        patch = ellipse(self.x, self.y, (0.62 * long, 0.16 * high), 0.52 * long, 0.74 * high)
        patch = patch + (self.ripple - np.float32(0.5)) * np.float32(0.16)
        colour = ramp(np.zeros_like(patch), genus.breast, genus.breast)
        if genus.breast_spots:
            spots = value_noise(self.x * np.float32(12), self.y * np.float32(9), self.key + 2)
            dark = tuple(0.45 * channel for channel in genus.breast)
            blend(colour, smoothstep(0.58, 0.72, spots) * np.float32(genus.breast_spots), dark)  # type: ignore[arg-type]
        colour *= (self.lit * self.texture)[..., None]
        return Layer("breast", self.window, np.minimum(self.cover, smoothstep(0.07, -0.07, patch)), colour)

    def own_mark_layer(self, individual: int) -> Layer:
        """The mark of an individual, where it lies on the outline."""
        assert self.window is not None
        mark, x, y = own_mark(individual), self.x, self.y
        bent = value_noise(x * np.float32(5) + np.float32(60), y * np.float32(5) + np.float32(60), mark.key)
        edge = (bent - np.float32(0.5)) * np.float32(0.16)
        whole, core = (coverage(disc(x, y, mark.middle, radius) + edge, self.bones.unit) for radius in (RADIUS, CORE))
        colour = ramp(core, mark.ring, mark.core)
        # Less shadow than on the plumage, which would turn one colour into another.
        colour *= (np.float32(0.6) + np.float32(0.4) * self.lit)[..., None]
        return Layer(OWN_MARK, self.window, np.minimum(self.cover, whole), colour)

    def patches(self, own: dict[str, Style], genus: Genus) -> Iterator[Layer]:
        _, hr = genus.head
        head = self.bones.head
        assert self.window is not None
        window = head.window(
            [(sx * 1.3 * hr, sy * 1.3 * hr) for sx in (-1, 1) for sy in (-1, 1)], 0.05, self.bones.size
        )
        if window is None:
            return
        window = Window(
            max(window.y0, self.window.y0),
            min(window.y1, self.window.y1),
            max(window.x0, self.window.x0),
            min(window.x1, self.window.x1),
        )
        if window.y1 <= window.y0 or window.x1 <= window.x0:
            return
        inner = (
            slice(window.y0 - self.window.y0, window.y1 - self.window.y0),
            slice(window.x0 - self.window.x0, window.x1 - self.window.x0),
        )
        x, y = head.grid(window)
        wobble = (self.ripple[inner] - np.float32(0.5)) * np.float32(0.08)
        shade = (self.lit[inner] * self.texture[inner])[..., None]
        throat = ellipse(x, y, (0.48 * hr, 0.66 * hr), 0.52 * hr, 0.56 * hr)
        cap = ellipse(x, y, (-0.08 * hr, -0.72 * hr), 1.12 * hr, 0.50 * hr)
        for part, patch in (("throat", throat), ("cap", cap)):
            colour = getattr(own[part], part) if part in own else None
            if colour is not None:
                cover = np.minimum(self.cover[inner], coverage(patch + wobble, self.bones.unit * 0.6))
                yield Layer(part, window, cover, np.asarray(colour, dtype=np.float32) * shade)


def _legs(bones: Skeleton, swing: float) -> Iterator[Layer]:
    genus, frame = bones.genus, bones.upright
    _, high = genus.body
    ground = high * 0.8 + genus.leg_length
    thick = 0.055
    for x, shade in ((0.20, 0.72), (-0.06, 1.0)):
        step = swing * (1.0 if shade == 1.0 else -1.0)
        hip, foot = (x, high * 0.55), (x + 0.05 + step, ground)
        ankle = (x - 0.10 + 0.5 * step, high * 0.8 + genus.leg_length * 0.42)
        toes = [(foot[0] + dx, ground + dy) for dx, dy in ((0.26, 0.05), (0.20, 0.10), (-0.16, 0.05))]
        window = frame.window([hip, foot, ankle, *toes], 0.2, bones.size)
        if window is None:
            continue
        gx, gy = frame.grid(window)
        distance = stroke(gx, gy, [hip, ankle, foot], [0.17, thick, thick])
        for toe in toes:
            distance = np.minimum(distance, capsule(gx, gy, foot, toe, thick * 0.9, thick * 0.5))
        lit = np.float32(shade) * (
            np.float32(0.75) + np.float32(0.4) * relief(distance, thick, bones.unit, bones.light)
        )
        yield Layer("legs", window, coverage(distance, bones.unit), np.asarray(genus.legs, np.float32) * lit[..., None])


def _tail(bones: Skeleton, style: Style) -> Iterator[Layer]:
    genus, frame = bones.genus, bones.tail
    length, width = genus.tail_length, genus.tail_width
    window = frame.window([(-0.3, -width), (-0.3, width), (length, width), (length, -width)], 0.1, bones.size)
    if window is None:
        return
    x, y = frame.grid(window)
    side = np.abs(y)
    half = np.float32(width * 0.62) + x * np.float32(width * 0.38 / length)
    notch = np.float32(length) - np.float32(style.tail_fork * length) * clip01(
        np.float32(1) - side * np.float32(1 / width)
    )
    # Without a fork the corners are rounded off.
    notch = notch - (side * side) * np.float32(0.0 if style.tail_fork else 0.8 / width * 0.3)
    distance = np.maximum(np.maximum(side - half, x - notch), np.float32(-0.4) - x)
    share = side / np.maximum(half, np.float32(1e-3))
    colour = ramp(np.zeros_like(x), style.tail, style.tail)
    barbs = np.abs(share * np.float32(2.5) - np.floor(share * np.float32(2.5)) - np.float32(0.5))
    colour *= (np.float32(0.82) + np.float32(0.4) * barbs)[..., None]
    if style.tail_edge is not None:
        blend(colour, smoothstep(0.50, 0.58, share), style.tail_edge)
    colour *= (np.float32(0.86) + np.float32(0.14) * clip01(y * np.float32(3) + np.float32(0.5)))[..., None]
    yield Layer("tail", window, coverage(distance, bones.unit), colour)


def _bill(bones: Skeleton, style: Style) -> Iterator[Layer]:
    genus, frame = bones.genus, bones.head
    _, hr = genus.head
    length, depth = genus.bill_length, genus.bill_depth
    root, tip = (hr * 0.72, hr * 0.10), (hr * 0.86 + length, hr * 0.12 + style.bill_curve * length)
    points = bezier(root, ((root[0] + tip[0]) / 2, hr * 0.06), tip, 5)
    radii = [depth / 2 * (1 - k / 5) + 0.028 * k / 5 for k in range(6)]
    window = frame.window(points, depth, bones.size)
    if window is None:
        return
    x, y = frame.grid(window)
    distance = stroke(x, y, points, radii)
    lit = np.float32(0.70) + np.float32(0.45) * relief(distance, depth * 0.5, bones.unit, bones.light)
    colour = np.asarray(style.bill, dtype=np.float32) * lit[..., None]
    gape = coverage(stroke(x, y, points, [0.012] * 6), bones.unit)
    blend(colour, gape * np.float32(0.55), tuple(0.35 * channel for channel in style.bill))  # type: ignore[arg-type]
    yield Layer("bill", window, coverage(distance, bones.unit), colour)


def _wing(bones: Skeleton, own: dict[str, Style], key: int) -> Iterator[Layer]:
    genus, frame = bones.genus, bones.wing
    length, width = genus.wing
    corners = [(-width, -width), (-width, width), (length, width), (length, -width)]
    window = frame.window(corners, 0.15, bones.size)
    if window is None:
        return
    x, y = frame.grid(window)
    points = [(0.0, 0.02), (0.42 * length, -0.02), (length, 0.16 * width)]
    distance = union(
        stroke(x, y, points, [width * 0.86, width * 0.96, 0.04]),
        capsule(x, y, (0.3 * length, 0.12), (length * 1.06, 0.22 * width), width * 0.6, 0.03),
        0.1,
    )
    cover = coverage(distance, bones.unit)
    lit = np.float32(0.66) + np.float32(0.42) * relief(distance, width * 0.7, bones.unit, bones.light)
    lit = lit * (np.float32(0.90) + np.float32(0.2) * value_noise(x * np.float32(9), y * np.float32(16), key + 3))
    if "wing" in own:
        yield Layer(None, window, smoothstep(0.10, -0.06, distance) * np.float32(0.30), (0.05, 0.05, 0.06))
        yield Layer("wing", window, cover, _feathers(x, y, genus, lit))
    colour = own["wing bar"].wing_bar if "wing bar" in own else None
    if colour is not None:
        curve = bezier((0.30 * length, 0.95 * width), (0.34 * length, 0.0), (0.47 * length, -0.98 * width), 4)
        bar = stroke(x, y, curve, [0.06, 0.09, 0.10, 0.10, 0.09])
        second = [(px + 0.17 * length, py * 0.9) for px, py in curve]
        bar = np.minimum(bar, stroke(x, y, second, [0.03, 0.045, 0.05, 0.05, 0.045]))
        shade = (np.float32(0.35) + np.float32(0.65) * lit)[..., None]
        yield Layer(
            "wing bar",
            window,
            np.minimum(cover, coverage(bar, bones.unit)),
            np.asarray(colour, dtype=np.float32) * shade,
        )


def _feathers(x: Field, y: Field, genus: Genus, lit: Field) -> Picture:
    """Scales of coverts towards the shoulder, long flight feathers towards the tip."""
    length, width = genus.wing
    colour = ramp(np.zeros_like(x), genus.wing_colour, genus.wing_colour)
    # Flight feathers: lines fanning out slowly from the wrist.
    lane = (y + x * np.float32(0.10)) * np.float32(5.0 / width)
    line = np.abs(lane - np.floor(lane) - np.float32(0.5))
    flight = smoothstep(0.36, 0.5, line) * smoothstep(0.30 * length, 0.50 * length, x)
    blend(colour, flight * np.float32(0.75), genus.wing_edge)
    row = x * np.float32(6.5)
    number = np.floor(row)
    odd = number - np.float32(2) * np.floor(number * np.float32(0.5))
    across = y * np.float32(6.5) + odd * np.float32(0.5)
    u, v = row - number, across - np.floor(across) - np.float32(0.5)
    rim = np.abs(np.sqrt(u * u + v * v * np.float32(1.6)) - np.float32(0.72))
    coverts = smoothstep(0.22, 0.04, rim) * smoothstep(0.46 * length, 0.30 * length, x)
    blend(colour, coverts * np.float32(0.45), genus.wing_edge)
    colour *= lit[..., None]
    return colour


def _eye(bones: Skeleton, own: dict[str, Style]) -> Iterator[Layer]:
    _, hr = bones.genus.head
    frame = bones.head
    centre = (0.38 * hr, -0.10 * hr)
    window = frame.window([centre], _RING, bones.size)
    if window is None:
        return
    x, y = frame.grid(window)
    from_centre = disc(x, y, centre, 0.0)
    ring = own["eye ring"].eye_ring if "eye ring" in own else None
    if ring is not None:
        band = np.abs(from_centre - np.float32((_RING + _EYE) / 2)) - np.float32((_RING - _EYE) / 2 + 0.01)
        yield Layer("eye ring", window, coverage(band, bones.unit), ring)
    if "eye" in own:
        colour = ramp(clip01(from_centre * np.float32(1 / _EYE)), (0.03, 0.02, 0.02), (0.13, 0.09, 0.07))
        glint = disc(x, y, (centre[0] + 0.028, centre[1] - 0.034), 0.024)
        blend(colour, coverage(glint, bones.unit), (1.0, 1.0, 1.0))
        yield Layer("eye", window, coverage(from_centre - np.float32(_EYE), bones.unit), colour)
