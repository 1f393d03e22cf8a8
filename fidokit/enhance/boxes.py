"""Boxes of masks and of the controls, and where they lie in the photograph.

A box is (x0, y0, x1, y1) in fractions of the classifier's input. It may reach beyond 0 and 1 where the photograph goes
on beyond the input. A window is the same in pixels of the upright photograph.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fidokit.data.geometry import Box, Geometry

#: The whole input.
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

#: Sides of the boxes of `around`, beside those given, and how far their centres lie away, in sides.
_SCALES = (0.75, 1.5)
_SHIFT = 0.15


def mask_box(mask: npt.ArrayLike, share: float) -> Box:
    """The box to which a mask points.

    In each direction it runs between the quantiles (1 - share) / 2 and (1 + share) / 2 of the mask's sums over rows or
    columns, so that stray cells far away hardly move it. What every cell has in common, the mask's minimum, points
    nowhere and is taken away first.

    Args:
        mask: (h, w), 1 = the place belongs to the region.
        share: of the sum that lies between the quantiles, in (0, 1].

    Returns:
        The box; `WHOLE` where the mask is constant or holds a NaN.
    """
    values = np.asarray(mask, np.float64)
    if not np.isfinite(values).all() or not values.max() > values.min():
        return WHOLE
    values = values - values.min()
    below = (1 - min(max(share, 0.0), 1.0)) / 2
    across, down = values.sum(0), values.sum(1)
    return (
        _quantile(across, below),
        _quantile(down, below),
        1 - _quantile(across[::-1], below),
        1 - _quantile(down[::-1], below),
    )


def connected_evidence(region: npt.ArrayLike, mask: npt.ArrayLike, share: float) -> npt.NDArray[np.bool_]:
    """The connected pieces of a region that hold what a mask says: the fewest with a share of its sum inside.

    A region that was cut from a mask has crumbs far from what it is about; a box around all of them would be the image.

    Args:
        region: (H, W) bool; pixels that touch at a side or a corner are one piece.
        mask: (H, W), 1 = the place belongs to the region.
        share: of the mask's sum within the region, in (0, 1].

    Returns:
        (H, W) bool, part of the region; nothing of a region that is empty.
    """
    from scipy.ndimage import label

    inside = np.asarray(region, bool)
    pieces, n = label(inside, np.ones((3, 3)))
    held = np.bincount(pieces.ravel(), np.asarray(mask, np.float64).ravel(), minlength=n + 1)[1:]
    order = np.argsort(-held, kind="stable")
    enough = int(np.searchsorted(np.cumsum(held[order]), share * held.sum() * (1 - 1e-9))) + 1
    chosen: npt.NDArray[np.bool_] = np.isin(pieces, order[:enough] + 1)
    return chosen


def _quantile(marginal: npt.NDArray[np.float64], below: float) -> float:
    """The place in [0, 1] before which lies the share `below` of the sum; of several such places the last."""
    ends = np.concatenate([[0.0], np.cumsum(marginal)])
    return float(np.interp(below * ends[-1], ends, np.arange(len(ends)) / len(marginal)))


def side(box: Box) -> float:
    """The longer side."""
    return max(box[2] - box[0], box[3] - box[1])


def square(box: Box, padding: float, smallest: float) -> Box:
    """The square around a box's centre, its side the box's longer one with padding, from `smallest` to 1.

    Args:
        box: in fractions of the input, so that a square has the input's aspect.
        padding: added on each side, as a share of the longer side.
        smallest: least side.
    """
    length = min(max(side(box) * (1 + 2 * padding), smallest), 1.0)
    return _around((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, length)


def to_window(box: Box, geometry: Geometry) -> Box:
    """The box in pixels of the upright photograph, moved into it (not cut), so that it keeps its size and its stretch.

    In a direction in which it is longer than the photograph it is centred.
    """
    left, top, right, bottom = geometry.window
    width, height = right - left, bottom - top
    x = _moved(left + box[0] * width, (box[2] - box[0]) * width, geometry.width)
    y = _moved(top + box[1] * height, (box[3] - box[1]) * height, geometry.height)
    return x, y, x + (box[2] - box[0]) * width, y + (box[3] - box[1]) * height


def from_window(window: Box, geometry: Geometry) -> Box:
    """A window of the photograph as a box, in fractions of the input."""
    left, top, right, bottom = geometry.window
    width, height = right - left, bottom - top
    return (
        (window[0] - left) / width,
        (window[1] - top) / height,
        (window[2] - left) / width,
        (window[3] - top) / height,
    )


def random_boxes(sides: Sequence[float], n: int, rng: np.random.Generator) -> list[Box]:
    """n squares anywhere within the input, with these sides in turn."""
    made = []
    for length in itertools.islice(itertools.cycle(sides), n):
        x, y = rng.uniform(0, 1 - min(length, 1.0), 2)
        made.append((float(x), float(y), float(x) + length, float(y) + length))
    return made


def around(base: Sequence[Box], n: int, rng: np.random.Generator) -> list[Box]:
    """n boxes: the given squares, then further ones drawn near them in turn.

    Their sides are 0.75 to 1.5 of the given one (log-uniform), their centres up to 0.15 of it away in each direction.
    """
    made = list(base[:n])
    for box in itertools.islice(itertools.cycle(base), n - len(made)):
        length = side(box)
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        scale = math.exp(rng.uniform(*np.log(_SCALES)))
        dx, dy = rng.uniform(-_SHIFT, _SHIFT, 2) * length
        made.append(_around(x + float(dx), y + float(dy), scale * length))
    return made


def multi_crop(n: int) -> list[tuple[Box, bool]]:
    """n views of the whole photograph, (box, mirrored).

    The first ten are the ten-crop of Krizhevsky, Sutskever, Hinton (NeurIPS 2012): the four corners and the centre,
    224 of 256 pixels wide, each also mirrored. Then the same of images scaled to 288, 320, ... pixels, as in Szegedy et
    al., "Going deeper with convolutions" (CVPR 2015).
    """

    def views() -> list[tuple[Box, bool]]:
        made: list[tuple[Box, bool]] = []
        for scaled in itertools.count(256, 32):
            length = 224 / scaled
            far = 1 - length
            for x, y in ((0.0, 0.0), (far, 0.0), (0.0, far), (far, far), (far / 2, far / 2)):
                made += [((x, y, x + length, y + length), mirrored) for mirrored in (False, True)]
            if len(made) >= n:
                break
        return made

    return views()[:n]


def seed_of(image_id: str, seed: int) -> np.random.Generator:
    """Random numbers that depend on the image's name and the seed, and on no other image."""
    digest = hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "little")])


def _around(x: float, y: float, length: float) -> Box:
    return x - length / 2, y - length / 2, x + length / 2, y + length / 2


def _moved(start: float, length: float, limit: float) -> float:
    return (limit - length) / 2 if length > limit else min(max(start, 0.0), limit - length)
