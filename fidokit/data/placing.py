"""From the picture that annotations were made on to the upright photograph.

A box or a part point is known for a picture of some size: the one that the annotator saw. The file at hand may be a
smaller copy of it, and the annotator may have seen its pixels as they are stored, without EXIF's orientation.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from fidokit.data.geometry import Box
from fidokit.data.photographs import SIDEWAYS, Header
from fidokit.exceptions import ImageError

Size = tuple[float, float]
"""(width, height)"""

RELATIVE: Size = (1.0, 1.0)
"""The size of a picture whose annotations are relative, from 0 to 1."""

_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Placing:
    """How annotations of a picture lie in the upright photograph.

    Attributes:
        annotated: (width, height) of the picture.
        header: of the photograph.
        turned: whether the picture shows the photograph's pixels as they are stored, lying on their side.
    """

    annotated: Size
    header: Header
    turned: bool

    @classmethod
    def find(cls, annotated: Size, header: Header) -> Placing:
        """Relative annotations are those of the upright photograph, and so are all whose picture has its shape.

        Raises:
            ImageError: the picture has another shape than the photograph, both upright and as it is stored.
        """
        if annotated == RELATIVE or same_shape(annotated, header.size):
            return cls(annotated, header, False)
        if header.orientation in SIDEWAYS and same_shape(annotated, header.stored):
            return cls(annotated, header, True)
        width, height = header.size
        raise ImageError(
            f"it was annotated as a picture of {annotated[0]:g} x {annotated[1]:g} pixels, and has {width} x {height}, "
            "which is another shape; correct the size in the dataset, or leave the annotation out"
        )

    @property
    def is_scaled(self) -> bool:
        """Whether the numbers change, apart from relative ones, which always do."""
        own = self.header.stored if self.turned else self.header.size
        return self.annotated != RELATIVE and (self.turned or self.annotated != own)

    @property
    def is_ambiguous(self) -> bool:
        """Whether the size fits both the upright photograph and its stored pixels, which differ."""
        return (
            self.annotated != RELATIVE
            and self.header.orientation != 1
            and not self.turned
            and same_shape(self.annotated, self.header.stored)
        )

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A point in pixels of the upright photograph."""
        width, height = self.header.stored if self.turned else self.header.size
        x, y = x * width / self.annotated[0], y * height / self.annotated[1]
        if not self.turned:
            return x, y
        return {5: (y, x), 6: (height - y, x), 7: (height - y, width - x), 8: (y, width - x)}[self.header.orientation]

    def box(self, box: Box) -> Box:
        """A box in pixels of the upright photograph."""
        a, b = self.point(box[0], box[1]), self.point(box[2], box[3])
        return min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])


def same_shape(a: Size, b: Size) -> bool:
    """Whether two pictures can be copies of each other in another size, each side rounded to a whole pixel."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(*a, *b)


def lay_over(mask: Image.Image, header: Header) -> Image.Image | None:
    """A mask or part map of a photograph in the upright photograph's size; None where it has another shape.

    One with the shape of the photograph's stored pixels is turned as these are.
    """
    if not same_shape(mask.size, header.size):
        if header.orientation not in SIDEWAYS or not same_shape(mask.size, header.stored):
            return None
        mask = mask.transpose(_TURNS[header.orientation])
    return mask.resize(header.size, Image.Resampling.NEAREST)


def reaches_beyond(box: Box, size: Size) -> bool:
    """Whether a box ends outside of a photograph, by more than rounding can explain."""
    return any(
        low < -(2 + 0.01 * side) or high > side + 2 + 0.01 * side
        for low, high, side in zip(box[:2], box[2:], size, strict=True)
    )
