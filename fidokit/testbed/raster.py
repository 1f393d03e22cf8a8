"""Anti-aliased drawing with numpy whose pixels are the same on every machine.

Only + - * / and sqrt, comparisons and whole numbers reach a pixel: IEEE 754 rounds these alike everywhere, while sine,
exponential and matrix product differ between libraries in the last bit. Sums over arrays are avoided for the same
reason. Random numbers come from integer hashes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float32]
"""(h, w) float32, one value a pixel of a window."""

Colour: TypeAlias = tuple[float, float, float]
"""Red, green and blue in 0..1, as they are stored (not linear light)."""

Point: TypeAlias = tuple[float, float]
T = TypeVar("T")

_MASK = (1 << 64) - 1


class Stream:
    """Uniform random numbers (SplitMix64; Steele, Lea, Flood, OOPSLA 2014) of a stream named by its parts.

    Streams of different names are independent, so one aspect of a picture can change and all others stay.
    """

    def __init__(self, *name: object) -> None:
        text = "\0".join(str(part) for part in name)
        self._state = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def bits(self) -> int:
        """The next 64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        x = self._state
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return x ^ (x >> 31)

    def between(self, low: float = 0.0, high: float = 1.0) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * ((self.bits() >> 11) * 2.0**-53)

    def integer(self, n: int) -> int:
        """Uniform in 0..n-1; the bias of n / 2^64 does not matter here."""
        return self.bits() % n

    def pick(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[self.integer(len(values))]

    def sign(self) -> float:
        """-1.0 or 1.0."""
        return 1.0 if self.bits() >> 63 else -1.0

    def key(self) -> int:
        """32 random bits, as the noise functions take them."""
        return self.bits() >> 32

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """The values in random order (Fisher and Yates)."""
        order = list(values)
        for last in range(len(order) - 1, 0, -1):
            other = self.integer(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


class Window(NamedTuple):
    """Rows y0..y1 and columns x0..x1 of the canvas, the ends excluded."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


@dataclass(frozen=True)
class Frame:
    """A local coordinate system: its origin, x axis and y axis in pixels of the canvas (y points down).

    The axes are orthogonal and of equal length, so that distances scale alike in both.
    """

    x: float
    y: float
    ax: float
    ay: float
    bx: float
    by: float

    @classmethod
    def upright(cls, x: float, y: float, scale: float, facing: float = 1.0) -> Frame:
        """Origin at (x, y), `scale` pixels a unit; facing -1 mirrors the x axis."""
        return cls(x, y, scale * facing, 0.0, 0.0, scale)

    @property
    def scale(self) -> float:
        """Pixels a unit."""
        return math.sqrt(self.ax * self.ax + self.ay * self.ay)

    def point(self, x: float, y: float) -> Point:
        """Local coordinates as pixels of the canvas."""
        return self.x + self.ax * x + self.bx * y, self.y + self.ay * x + self.by * y

    def child(self, x: float, y: float, turn: float = 0.0) -> Frame:
        """A frame with its origin at local (x, y), turned by 2 arctan(turn) from the x to the y axis."""
        square = turn * turn
        cosine, sine = (1 - square) / (1 + square), 2 * turn / (1 + square)
        ox, oy = self.point(x, y)
        return Frame(
            ox,
            oy,
            cosine * self.ax + sine * self.bx,
            cosine * self.ay + sine * self.by,
            cosine * self.bx - sine * self.ax,
            cosine * self.by - sine * self.ay,
        )

    def along(self, x: float, y: float, to_x: float, to_y: float) -> Frame:
        """A frame of the same scale at local (x, y) whose x axis points to local (to_x, to_y)."""
        dx, dy = to_x - x, to_y - y
        length = math.sqrt(dx * dx + dy * dy) or 1.0
        dx, dy = dx / length, dy / length
        ox, oy = self.point(x, y)
        return Frame(
            ox,
            oy,
            dx * self.ax + dy * self.bx,
            dx * self.ay + dy * self.by,
            dx * self.bx - dy * self.ax,
            dx * self.by - dy * self.ay,
        )

    def window(self, corners: Sequence[Point], margin: float, size: int | tuple[int, int]) -> Window | None:
        """The canvas pixels around local points, `margin` local units beyond them; None if none is on the canvas.

        size: side of the canvas, or its height and width.
        """
        height, width = (size, size) if isinstance(size, int) else size
        points = [self.point(x, y) for x, y in corners]
        pad = margin * self.scale + 2.0
        x0 = max(0, math.floor(min(x for x, _ in points) - pad))
        x1 = min(width, math.ceil(max(x for x, _ in points) + pad))
        y0 = max(0, math.floor(min(y for _, y in points) - pad))
        y1 = min(height, math.ceil(max(y for _, y in points) + pad))
        return Window(y0, y1, x0, x1) if x1 > x0 and y1 > y0 else None

    def grid(self, window: Window) -> tuple[Field, Field]:
        """Local x and y of the window's pixel centres, each (h, w)."""
        square = self.ax * self.ax + self.ay * self.ay
        px = np.arange(window.x0, window.x1, dtype=np.float32)[None, :] + np.float32(0.5 - self.x)
        py = np.arange(window.y0, window.y1, dtype=np.float32)[:, None] + np.float32(0.5 - self.y)
        x = px * np.float32(self.ax / square) + py * np.float32(self.ay / square)
        y = px * np.float32(self.bx / square) + py * np.float32(self.by / square)
        return x, y


def clip01(x: Field) -> Field:
    return np.minimum(np.maximum(x, np.float32(0)), np.float32(1))


def smoothstep(low: float, high: float, x: Field) -> Field:
    """0 below `low`, 1 above `high` (or the other way round if high < low), smooth between."""
    t = clip01((x - np.float32(low)) * np.float32(1 / (high - low)))
    return t * t * (np.float32(3) - np.float32(2) * t)


def length(x: Field, y: Field) -> Field:
    """Of the vectors (x, y)."""
    result: Field = np.sqrt(x * x + y * y)
    return result


def mix(a: Field, b: Field, share: Field) -> Field:
    """a where share is 0, b where it is 1."""
    return a + (b - a) * share


def coverage(distance: Field, scale: float) -> Field:
    """Share of each pixel inside a shape, from its signed distance in local units (negative inside)."""
    return clip01(np.float32(0.5) - distance * np.float32(scale))


def capsule(x: Field, y: Field, a: Point, b: Point, ra: float, rb: float) -> Field:
    """Signed distance to a stroke from a to b whose radius runs from ra to rb (near enough for a taper)."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy or 1e-9
    px, py = x - np.float32(a[0]), y - np.float32(a[1])
    t = clip01(px * np.float32(dx / square) + py * np.float32(dy / square))
    px, py = px - t * np.float32(dx), py - t * np.float32(dy)
    return length(px, py) - (np.float32(ra) + t * np.float32(rb - ra))


def disc(x: Field, y: Field, centre: Point, radius: float) -> Field:
    """Signed distance to a disc."""
    px, py = x - np.float32(centre[0]), y - np.float32(centre[1])
    return length(px, py) - np.float32(radius)


def ellipse(x: Field, y: Field, centre: Point, rx: float, ry: float) -> Field:
    """Signed distance to an ellipse along the axes, exact on its edge to first order."""
    px, py = (x - np.float32(centre[0])) * np.float32(1 / rx), (y - np.float32(centre[1])) * np.float32(1 / ry)
    qx, qy = px * np.float32(1 / rx), py * np.float32(1 / ry)
    k0, k1 = length(px, py), length(qx, qy)
    distance: Field = k0 * (k0 - np.float32(1)) / (k1 + np.float32(1e-6))
    return distance


def lens(x: Field, y: Field, half_length: float, half_width: float) -> Field:
    """Signed distance (inside: exact to first order) to a leaf along the x axis, pointed at both ends."""
    radius = (half_length * half_length + half_width * half_width) / (2 * half_width)
    py = np.abs(y) + np.float32(radius - half_width)
    return length(x, py) - np.float32(radius)


def stroke(x: Field, y: Field, points: Sequence[Point], radii: Sequence[float]) -> Field:
    """Signed distance to a chain of capsules through the points."""
    distance = capsule(x, y, points[0], points[1], radii[0], radii[1])
    for k in range(1, len(points) - 1):
        distance = np.minimum(distance, capsule(x, y, points[k], points[k + 1], radii[k], radii[k + 1]))
    return distance


def bezier(a: Point, b: Point, c: Point, pieces: int) -> list[Point]:
    """pieces + 1 points of the quadratic Bezier curve from a over b to c."""
    points = []
    for k in range(pieces + 1):
        t = k / pieces
        s = 1 - t
        points.append((s * s * a[0] + 2 * s * t * b[0] + t * t * c[0], s * s * a[1] + 2 * s * t * b[1] + t * t * c[1]))
    return points


def union(a: Field, b: Field, softness: float) -> Field:
    """Smooth union of two signed distances (Quilez' quadratic minimum)."""
    k = np.float32(softness)
    h = np.maximum(k - np.abs(a - b), np.float32(0))
    blended: Field = np.minimum(a, b) - h * h * np.float32(0.25 / softness)
    return blended


def hashed(x: npt.NDArray[np.uint32], y: npt.NDArray[np.uint32], key: int) -> Field:
    """Uniform in [0, 1) of whole coordinates; the finaliser is Wellons' `lowbias32`."""
    h = x * np.uint32(0x8DA6B343) + y * np.uint32(0xD8163841) ^ np.uint32(key & 0xFFFFFFFF)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    h = h ^ (h >> np.uint32(16))
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def white_noise(key: int, height: int, width: int) -> Field:
    """(height, width) of independent values in [0, 1)."""
    return hashed(np.arange(width, dtype=np.uint32)[None, :], np.arange(height, dtype=np.uint32)[:, None], key)


def value_noise(x: Field, y: Field, key: int) -> Field:
    """Smooth noise in [0, 1) with one random value at every whole point."""
    fx, fy = np.floor(x), np.floor(y)
    ix, iy = fx.astype(np.int32).astype(np.uint32), fy.astype(np.int32).astype(np.uint32)
    tx, ty = x - fx, y - fy
    tx, ty = tx * tx * (np.float32(3) - np.float32(2) * tx), ty * ty * (np.float32(3) - np.float32(2) * ty)
    one = np.uint32(1)
    top = mix(hashed(ix, iy, key), hashed(ix + one, iy, key), tx)
    return mix(top, mix(hashed(ix, iy + one, key), hashed(ix + one, iy + one, key), tx), ty)


def sheet_noise(key: int, height: int, width: int, rows: float, columns: float) -> Field:
    """Smooth noise over a whole (height, width) sheet, with that many random values along its sides."""
    lattice = white_noise(key, int(rows) + 3, int(columns) + 3)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5)) * np.float32(rows / height)
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) * np.float32(columns / width)
    iy, ix = y.astype(np.int32), x.astype(np.int32)
    ty, tx = y - iy.astype(np.float32), x - ix.astype(np.float32)
    ty, tx = ty * ty * (np.float32(3) - np.float32(2) * ty), tx * tx * (np.float32(3) - np.float32(2) * tx)
    across = mix(lattice[:, ix], lattice[:, ix + 1], tx[None, :])
    return mix(across[iy], across[iy + 1], ty[:, None])


def enlarge(image: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """(h, w, 3) to (height, width, 3), twice as large or one less: bilinear."""
    rows = np.empty((2 * image.shape[0], image.shape[1], 3), dtype=np.float32)
    _double(image, rows)
    picture = np.empty((rows.shape[0], 2 * image.shape[1], 3), dtype=np.float32)
    _double(rows.transpose(1, 0, 2), picture.transpose(1, 0, 2))
    return picture[:height, :width]


def _double(image: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
    step = (image[1:] - image[:-1]) * np.float32(0.25)
    out[0], out[-1] = image[0], image[-1]
    out[1:-1:2] = image[:-1] + step
    out[2::2] = image[1:] - step


def relief(distance: Field, radius: float, scale: float, light: tuple[float, float, float]) -> Field:
    """Lambert's cosine of a surface that is round within `radius` of its edge and flat further in.

    Args:
        distance: signed distance in local units.
        radius: of the rounding, local units.
        scale: pixels a local unit.
        light: unit vector to the light in canvas axes, the third towards the camera.
    """
    gx, gy = np.zeros_like(distance), np.zeros_like(distance)
    half = np.float32(0.5 * scale)
    gx[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) * half
    gy[1:-1, :] = (distance[2:, :] - distance[:-2, :]) * half
    edge = clip01(np.float32(1) + distance * np.float32(1 / radius))
    edge = np.minimum(edge, np.float32(0.995))
    depth: Field = np.sqrt(np.float32(1) - edge * edge)
    return (gx * np.float32(light[0]) + gy * np.float32(light[1])) * edge + depth * np.float32(light[2])
