"""What is known of each photograph of two classes that marks are looked for in: animal, box, parts, and features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from fidokit.data.geometry import Geometry
from fidokit.errors.features import MapReader
from fidokit.exceptions import FidokitError
from fidokit.study.metrics.standing import find_place

if TYPE_CHECKING:
    from fidokit.study.study import Study

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
_CHUNK = 32
#: Radius of the disc around the point of a part, as a share of the root of the animal's area: a bill, an eye with its
#: surroundings.
_RADIUS = 0.12


@dataclass(frozen=True)
class Sight:
    """One photograph as the classifier is shown it.

    Attributes:
        image_id: of the photograph.
        image: (3, H, W) in [0, 1].
        geometry: where the input lies in the photograph.
        animal: (H, W), the object mask, or else the box, or else all of the input.
        box: x0, y0, x1, y1 around the animal, in pixels of the input: the frame that photographs have in common.
        parts: name -> (H, W), of the parts in sight; empty where none are known.
        features: (h, w, C), unit vectors; None where parts are known.
    """

    image_id: str
    image: Tensor
    geometry: Geometry
    animal: Bools
    box: Box
    parts: dict[str, Bools]
    features: Floats | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input."""
        return self.animal.shape

    def in_box(self, region: Bools) -> tuple[float, float]:
        """(x, y) of a region's middle, as shares of the box."""
        rows, columns = np.nonzero(region)
        x0, y0, x1, y1 = self.box
        return float((columns.mean() + 0.5 - x0) / (x1 - x0)), float((rows.mean() + 0.5 - y0) / (y1 - y0))

    def in_photograph(self, region: Bools) -> Box:
        """x0, y0, x1, y1 around a region, in shares of the whole photograph's sides."""
        x0, y0, x1, y1 = _around(region)
        geometry, (height, width) = self.geometry, self.size
        left, top, right, bottom = geometry.window
        across, down = (right - left) / width, (bottom - top) / height
        edges = np.asarray([left + x0 * across, top + y0 * down, left + x1 * across, top + y1 * down])
        shares = np.clip(edges / np.tile([geometry.width, geometry.height], 2), 0, 1)
        return float(shares[0]), float(shares[1]), float(shares[2]), float(shares[3])


def knows_parts(study: Study) -> bool:
    """Whether the dataset has maps or points of parts."""
    table = study.data.table
    return any(name in table and bool(table[name].notna().any()) for name in ("part_map", "part_points"))


def sights(study: Study, image_ids: Sequence[str], reader: MapReader | None) -> Iterator[Sight]:
    """The photographs that can be read, chunk by chunk.

    Args:
        study: whose photographs they are.
        image_ids: of the photographs.
        reader: of features; None to read parts instead.
    """
    positions = [study.positions[image_id] for image_id in image_ids]
    ids = dict(zip(positions, image_ids, strict=True))
    with study.reading(positions, _CHUNK) as reading:
        for chunk in reading:
            if not chunk.positions:
                continue
            maps = None
            if reader is not None:
                maps = functional.normalize(reader.read(chunk.images)[0], dim=1).permute(0, 2, 3, 1).numpy()
            for row, (position, geometry) in enumerate(zip(chunk.positions, chunk.geometries, strict=True)):
                animal = _animal(study, position, geometry)
                yield Sight(
                    ids[position],
                    chunk.images[row],
                    geometry,
                    animal,
                    _around(animal),
                    _parts(study, position, geometry, animal) if maps is None else {},
                    None if maps is None else maps[row],
                )
            del chunk  # before the next one is there


def _animal(study: Study, position: int, geometry: Geometry) -> Bools:
    place = find_place(study.data, position, geometry, study.classifier.preprocessing).object
    return np.ones(study.classifier.size, np.bool_) if place is None else place.numpy()


def _parts(study: Study, position: int, geometry: Geometry, animal: Bools) -> dict[str, Bools]:
    """The parts from a map, or else a disc around the point of each."""
    data, preprocessing = study.data, study.classifier.preprocessing
    try:
        parts = data.load_part_masks(position, preprocessing)
        points = {} if parts else data.part_points(position)
    except FidokitError:
        return {}
    radius = _RADIUS * float(animal.sum()) ** 0.5
    down, across = np.ogrid[: animal.shape[0], : animal.shape[1]]
    left, top, right, bottom = geometry.window
    for name, (x, y) in points.items():
        if not (left <= x <= right and top <= y <= bottom):
            continue
        at_x, at_y, *_ = geometry.box_to_input((x, y, x, y))
        parts[name] = (down + 0.5 - at_y) ** 2 + (across + 0.5 - at_x) ** 2 <= radius**2
    return {name: mask for name, mask in parts.items() if mask.any()}


def _around(region: Bools) -> Box:
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
