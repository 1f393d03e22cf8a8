"""Photographs and what was annotated in them: boxes, object masks and parts, laid over the upright photograph."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from fidokit._util.warning import warn
from fidokit._util.wording import given
from fidokit.data.geometry import Box, Geometry, Preprocessing, render_mask
from fidokit.data.photographs import Header, read_header, read_object_mask, read_part_map
from fidokit.data.placing import RELATIVE, Placing, Size, lay_over, reaches_beyond, same_shape
from fidokit.data.readers.cells import file_of
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import ImageError

#: What to do where the classifier may not see the animal.
_WHOLE_FRAME = 'fit="squash" (--fit squash) shows it the whole frame.'
_BOX_ALONE = "use_boxes=True (--boxes) shows it the box."


class Annotated:
    """What `LabelledImages` knows of its photographs beside their labels.

    Attributes:
        table: see `LabelledImages`.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        #: Kinds of remarks on single photographs that were made already; subsets share them.
        self._told: set[str] = set()

    @property
    def boxed(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: which photographs have an annotated box."""
        has_boxes = BOX_COLUMNS[0] in self.table.columns
        return self.table[BOX_COLUMNS[0]].notna().to_numpy() if has_boxes else np.zeros(len(self.table), dtype=np.bool_)

    def box_notes(self, preprocessing: Preprocessing) -> list[str]:
        """What there is to say where a classifier does not look into the boxes that tell rows of one photograph apart.

        Args:
            preprocessing: of the classifier.
        """
        if preprocessing.use_boxes:
            return []
        several = int((self.table["path"].duplicated(keep=False).to_numpy() & self.boxed).sum())
        if not several:
            return []
        remedy = (
            f"make it with {given(use_boxes=True)}"
            if preprocessing.transform is None
            else f"make it with {given(use_boxes=True)}, and mean, std and size in place of its transform"
        )
        return [
            f"{several} rows are animals in a photograph that other rows show too, but the classifier is shown the "
            f"whole photograph each time; {remedy}"
        ]

    def box(self, i: int, size: tuple[int, int] | None = None) -> Box | None:
        """The annotated box at position i in pixels of the upright photograph, or None.

        Where the table says on a picture of which size it was drawn, it is scaled to the photograph, and turned where
        that picture lay on its side. A photograph that cannot be read keeps the box as it stands in the table.

        Args:
            i: position.
            size: (width, height) of the upright photograph, if that is known; otherwise its header is read if it is
                needed.

        Returns:
            None, with a warning at the first of them, also where the picture had another shape than the photograph, or
            the box is relative and the photograph cannot be read.
        """
        try:
            return self._placed_box(i, size)
        except ImageError as error:
            self._tell("box", f"boxes are left out: {error}")
            return None

    def geometry(self, i: int, preprocessing: Preprocessing, size: tuple[int, int]) -> Geometry:
        """Where the classifier's input lies in the photograph at position i.

        Args:
            i: position.
            preprocessing: of the classifier.
            size: (width, height) of the upright photograph.

        Raises:
            ImageError: `use_boxes` is set, and the box lies outside the photograph or was drawn on a picture of another
                shape.
        """
        box = self._placed_box(i, size) if preprocessing.use_boxes else None
        try:
            return preprocessing.geometry(*size, box)
        except ImageError as error:
            raise ImageError(f"{self.table['path'].iloc[i] or f'image {i}'}: {error}") from error

    def unseen_words(self, i: int, geometry: Geometry) -> str:
        """What a reader must know of what the classifier does not see of the photograph at position i, with the remedy.

        Args:
            i: position.
            geometry: of its input, as `geometry` gives it.

        Returns:
            Empty where it sees all of it, or all of the box that says where the animal lies.
        """
        box = self.box(i, (geometry.width, geometry.height))
        words = geometry.unseen_words(box)
        if words is None:
            return ""
        return f"{words} {_WHOLE_FRAME}" if box is None else f"{words} {_WHOLE_FRAME} {_BOX_ALONE}"

    def tell_unseen(self, i: int, geometry: Geometry) -> None:
        """Warn of the first photograph that the classifier does not see whole, and the first animal that it misses."""
        kind = "unseen animal" if self.boxed[i] else "unseen"
        if kind not in self._told and (words := self.unseen_words(i, geometry)):
            self._tell(kind, f"{self.table['path'].iloc[i]}: {words}")

    def load_object_mask(self, i: int, preprocessing: Preprocessing) -> npt.NDArray[np.bool_] | None:
        """(H, W) bool, True on the object, in the geometry of `load`; None where the table names no mask.

        The file is an image as large as the upright photograph, or of its aspect, or of that of the pixels as they are
        stored, without EXIF's orientation; see `photographs.read_object_mask`.

        Raises:
            ImageError: photograph or mask cannot be read, or they differ in aspect.
        """
        path = self._cell("object_mask", i)
        if path is None:
            return None
        mask, geometry = self._laid_over(i, path, "object mask", read_object_mask(file_of(path)), preprocessing)
        return render_mask(mask, geometry)

    def load_part_masks(self, i: int, preprocessing: Preprocessing) -> dict[str, npt.NDArray[np.bool_]]:
        """Name -> (H, W) bool, True on the part, in the geometry of `load`; empty where the table names no part map.

        A part without visible pixels is there with a mask that is False throughout. One that is thinner than an input
        pixel is seen, see `geometry.render_mask`; so masks of neighbouring parts may share pixels.

        Raises:
            ImageError: photograph or map cannot be read, they differ in aspect, or the map holds an index beyond the
                names.
        """
        path, names = self._cell("part_map", i), self._cell("parts", i)
        if path is None:
            return {}
        parts: list[str] = [] if names is None else json.loads(names)
        indices, geometry = self._laid_over(i, path, "part map", read_part_map(file_of(path)), preprocessing)
        values = np.asarray(indices)
        if values.max() > len(parts):
            raise ImageError(
                f"the part map {path} holds the index {values.max()}, but its row names {len(parts)} parts; the k-th "
                "name is that of index k"
            )
        return {
            name: render_mask(Image.fromarray((values == index).astype(np.uint8) * 255), geometry)
            for index, name in enumerate(parts, start=1)
        }

    def part_points(self, i: int) -> dict[str, tuple[float, float]]:
        """Name -> (x, y) of the annotated, visible parts at position i, in pixels of the upright photograph.

        Empty, with a warning, where they were annotated on a picture of another shape.
        """
        cell = self._cell("part_points", i)
        points = {} if cell is None else {name: (float(x), float(y)) for name, (x, y) in json.loads(cell).items()}
        try:
            placing = self._placing(i, None) if points else None
        except ImageError as error:
            self._tell("points", f"part points are left out: {error}")
            return {}
        return points if placing is None else {name: placing.point(*point) for name, point in points.items()}

    def _placed_box(self, i: int, size: tuple[int, int] | None) -> Box | None:
        if BOX_COLUMNS[0] not in self.table.columns:
            return None
        x0, y0, x1, y1 = (float(self.table[column].iloc[i]) for column in BOX_COLUMNS)
        if math.isnan(x0):
            return None
        placing = self._placing(i, size)
        if placing is not None:
            if reaches_beyond((x0, y0, x1, y1), placing.annotated):
                self._tell(
                    "beyond",
                    f"{self.table['path'].iloc[i]}: the box {x0:g} {y0:g} {x1:g} {y1:g} reaches beyond the picture of "
                    f"{placing.annotated[0]:g} x {placing.annotated[1]:g} that it was drawn on; see whether the "
                    "dataset gives its boxes in another unit, such as per cent",
                )
            return placing.box((x0, y0, x1, y1))
        if size is not None and self._annotated(i) is None and reaches_beyond((x0, y0, x1, y1), size):
            self._tell(
                "beyond",
                f"{self.table['path'].iloc[i]}: the box {x0:g} {y0:g} {x1:g} {y1:g} reaches beyond the photograph of "
                f"{size[0]} x {size[1]} pixels; if boxes were drawn on pictures of another size, say so in the columns "
                f"{' and '.join(ANNOTATED_COLUMNS)}",
            )
        return x0, y0, x1, y1

    def _annotated(self, i: int) -> Size | None:
        """Size of the picture to which the annotations at position i refer, None for the upright photograph itself."""
        if ANNOTATED_COLUMNS[0] not in self.table.columns:
            return None
        width, height = (float(self.table[column].iloc[i]) for column in ANNOTATED_COLUMNS)
        return None if math.isnan(width) else (width, height)

    def _placing(self, i: int, size: tuple[int, int] | None) -> Placing | None:
        """How annotations at position i lie in the upright photograph; None where they stay as they are.

        Raises:
            ImageError: they belong to a picture of another shape, or are relative and the photograph cannot be read.
        """
        annotated, path = self._annotated(i), self.table["path"].iloc[i]
        if annotated is None:
            return None
        try:
            header = Header(size) if size is not None and annotated == RELATIVE else read_header(file_of(path))
        except ImageError:
            if annotated == RELATIVE:
                raise
            return None
        try:
            placing = Placing.find(annotated, header)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
        if placing.is_ambiguous:
            self._tell(
                "turned",
                f"{path} is turned by its EXIF orientation {header.orientation}; its annotations are taken as those of "
                "the upright photograph",
            )
        return placing

    def _tell(self, kind: str, message: str) -> None:
        """Warn of the first photograph of a kind."""
        if kind not in self._told:
            self._told.add(kind)
            warn(f"{message} (first of its kind)")

    def _cell(self, column: str, i: int) -> str | None:
        """A cell of an optional column; None where there is nothing in it."""
        value = self.table[column].iloc[i] if column in self.table.columns else None
        return value if isinstance(value, str) else None

    def _laid_over(
        self, i: int, path: str, what: str, mask: Image.Image, preprocessing: Preprocessing
    ) -> tuple[Image.Image, Geometry]:
        """A mask in the size of its photograph, and the photograph's geometry."""
        header = read_header(file_of(self.table["path"].iloc[i]))
        width, height = header.size
        laid = lay_over(mask, header)
        if laid is None:
            raise ImageError(
                f"the {what} {path} has {mask.width} x {mask.height} pixels, its photograph {width} x {height}; save "
                "it in the size of the upright photograph"
            )
        if not same_shape(mask.size, header.size):
            self._tell(what, f"the {what} {path} lies on its side as its photograph is stored, and is turned with it")
        return laid, self.geometry(i, preprocessing, header.size)
