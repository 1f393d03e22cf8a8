"""Superpixels: pieces of a photograph that keep to its edges, about equally large.

Source: Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk, "SLIC superpixels compared to state-of-the-art superpixel
methods", IEEE TPAMI 2012, in the variant without a parameter for compactness, SLICO. It is not taken from scikit-image,
which is no dependency of the package: two methods would then fail for most users.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

Array = npt.NDArray[Any]

_ITERATIONS = 10
#: Distance in colour that counts as far in the first iteration, before the superpixels' own are known (the paper's m).
_FIRST_COLOUR = 10.0
#: Pieces smaller than this share of an average superpixel are given to a neighbour.
_SMALLEST = 0.25
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(1)


def superpixels(image: Tensor, regions: int) -> Tensor:
    """Which superpixel each pixel belongs to.

    k-means in CIELAB and place: each pixel chooses among the nine centres that began around it (the paper's search
    window of twice the spacing), colours are measured against the largest distance in the superpixel. Then what is not
    connected is taken apart, and what is small given to the neighbour with the longest common border.

    Args:
        image: (3, H, W) in [0, 1].
        regions: about how many; the grid that they begin on has the image's aspect.

    Returns:
        (H, W) int64 on the CPU, all of 0, 1, …, n - 1; each is connected.
    """
    colours = _lab(image.detach().cpu().double().numpy())
    height, width = colours.shape[1:]
    spacing = (height * width / regions) ** 0.5
    grid = (min(height, max(1, round(height / spacing))), min(width, max(1, round(width / spacing))))
    return torch.from_numpy(_connected(_clustered(colours, grid), _SMALLEST * height * width / (grid[0] * grid[1])))


def _lab(image: Array) -> Array:
    """(3, H, W) CIELAB of (3, H, W) sRGB in [0, 1]."""
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    ratio = np.einsum("ij,jhw->ihw", _XYZ / _WHITE[:, None], linear)
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    lab: Array = np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
    return lab


def _clustered(colours: Array, grid: tuple[int, int]) -> Array:
    """(H, W) cluster of each pixel, numbered as the cells of the grid."""
    height, width = colours.shape[1:]
    rows, columns = grid
    y, x = np.mgrid[:height, :width]
    place = np.stack([y / (height / rows), x / (width / columns)])  # in units of the spacing
    features = np.concatenate([colours, place]).reshape(5, -1)
    cell_y, cell_x = y * rows // height, x * columns // width
    around = np.stack(
        [
            np.clip(cell_y + down, 0, rows - 1) * columns + np.clip(cell_x + across, 0, columns - 1)
            for down in (0, -1, 1)
            for across in (0, -1, 1)
        ]
    ).reshape(9, -1)
    cluster = around[0]
    centres = _centres(features, cluster, rows * columns, np.zeros((5, rows * columns)))
    far = np.full(rows * columns, _FIRST_COLOUR**2)
    for _ in range(_ITERATIONS):
        gap = (features[:, None] - centres[:, around]) ** 2
        colour = gap[:3].sum(0)
        choice = (colour / far[around] + gap[3:].sum(0)).argmin(0)[None]
        cluster = np.take_along_axis(around, choice, 0)[0]
        far = np.full(rows * columns, 1.0)
        np.maximum.at(far, cluster, np.take_along_axis(colour, choice, 0)[0])
        centres = _centres(features, cluster, rows * columns, centres)
    return np.asarray(cluster.reshape(height, width))


def _centres(features: Array, cluster: Array, n: int, before: Array) -> Array:
    """(5, n) means of the clusters; that of an empty one stays as it was."""
    count: Array = np.bincount(cluster, minlength=n)
    total = np.stack([np.bincount(cluster, feature, minlength=n) for feature in features])
    means: Array = np.where(count > 0, total / np.maximum(count, 1), before)
    return means


def _connected(cluster: Array, smallest: float) -> Array:
    """(H, W) connected pieces of the clusters, numbered from 0, none smaller than asked for if it has a neighbour."""
    pieces, n = np.zeros(cluster.shape, dtype=np.int64), 0
    for name, window in enumerate(ndimage.find_objects(cluster + 1)):
        if window is None:
            continue
        labelled, found = ndimage.label(cluster[window] == name)
        view = pieces[window]
        view[labelled > 0] = labelled[labelled > 0] + n - 1
        n += found
    pairs = [(pieces[1:], pieces[:-1]), (pieces[:, 1:], pieces[:, :-1])]
    border = np.zeros((n, n), dtype=np.int64)
    for one, other in pairs:
        np.add.at(border, (one, other), 1)
    border = border + border.T
    np.fill_diagonal(border, 0)
    size = np.bincount(pieces.ravel(), minlength=n)
    owner = np.arange(n)
    while len(alive := np.flatnonzero(size)) > 1:
        least = alive[size[alive].argmin()]
        if size[least] >= smallest:
            break
        host = border[least].argmax()
        size[host] += size[least]
        size[least] = 0
        border[host] += border[least]
        border[:, host] += border[:, least]
        border[host, host] = 0
        border[least] = border[:, least] = 0
        owner[owner == least] = host
    numbered: Array = np.unique(owner[pieces], return_inverse=True)[1].reshape(cluster.shape).astype(np.int64)
    return numbered
