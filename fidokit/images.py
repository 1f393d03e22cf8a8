"""Labelled photographs: a table of files, labels and boxes, with one reader for each common layout."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from fidokit.exceptions import ImageError, SettingsError
from fidokit.geometry import Box, Fit, Geometry, Interpolation, Preprocessing, from_input, render_mask, to_input
from fidokit.photographs import MAX_PIXELS, photograph_size, read_object_mask, read_part_map, read_photograph
from fidokit.readers.birds import read_cub, read_nabirds
from fidokit.readers.camtrap_dp import read_camtrap_dp
from fidokit.readers.cells import file_of, portable, relative_all
from fidokit.readers.coco import read_coco
from fidokit.readers.csv_table import read_csv
from fidokit.readers.folder import SUFFIXES, read_folder
from fidokit.readers.reading import Reading
from fidokit.readers.table import BOX_COLUMNS, OWN_COLUMNS, SECRET_PREFIX, complete_table
from fidokit.torch_dataset import TorchDataset

__all__ = [
    "BOX_COLUMNS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Box",
    "Fit",
    "Geometry",
    "Interpolation",
    "LabelledImages",
    "Preprocessing",
    "read_photograph",
    "to_input",
]


class LabelledImages(TorchDataset):
    """A table of photographs with labels and boxes; a file is opened only in `open`, `load` and ``data[i]``.

    It is a torch `Dataset` too, for training and for models of your own: ``data[i]`` is (image, label), the upright PIL
    image and the class name or None; `with_transform` turns both into what a `DataLoader` can put together. fidokit's
    own functions do not use that transform: they make the classifier's input by its `Preprocessing`.

    Attributes:
        table: one row a photograph: image_id (unique), path, label (None where unknown), and, where there are such:
            box_x0, box_y0, box_x1, box_y1: pixels of the upright photograph, NaN where there is none;
            split;
            object_mask: path of a mask image, bright = object;
            part_map: path of an 8-bit indexed or grey image as large as the upright photograph, pixel 0 = no part,
            k = the k-th name in `parts`, a JSON list;
            part_points: JSON object of name: [x, y], the visible parts in pixels of the upright photograph;
            and every other column of the user's own table.
        classes: the sorted labels.
        skipped: what the reader passed over: hidden files and such that are no image by their suffix (`from_folder`),
            photographs of the dataset that cannot be used (`from_coco`, `from_camtrap_dp`).
    """

    def __init__(self, table: pd.DataFrame, root: Path, skipped: int = 0) -> None:
        """Use `from_folder`, `from_csv` or `from_table`: they check what this takes as given."""
        self.table = table
        self.root = root
        self.skipped = skipped
        self.classes: list[str] = sorted({label for label in table["label"] if label is not None})

    @classmethod
    def from_folder(cls, root: str | Path) -> LabelledImages:
        """One folder a class, with the photographs at any depth in it; photographs right in `root` have no label.

        `image_id` is the path relative to `root`, with "/" between its parts.

        Raises:
            SettingsError: no such folder, or no photograph in it.
        """
        root = Path(root)
        frame, skipped = read_folder(root)
        data = cls.from_table(frame, root=root)
        data.skipped = skipped
        return data

    @classmethod
    def from_csv(cls, path: str | Path, *, root: str | Path | None = None) -> LabelledImages:
        """A UTF-8 table with a header, separated by commas, semicolons or tabs.

        Columns: path; optional label, image_id, split, object_mask, part_map with parts, part_points (see the attribute
        `table`), and boxes as box_x0, box_y0, box_x1, box_y1, or x0, y0, x1, y1, or one column box with "x0 y0 x1 y1".
        Others are kept as they are.

        Args:
            path: of the table.
            root: folder to which the paths in it, those of masks too, are relative; default the folder of the table.

        Raises:
            SettingsError: the table cannot be used; the message names file and line.
        """
        path = Path(path)
        frame, rows = read_csv(path)
        return cls.from_table(frame, root=path.parent if root is None else root, rows=rows)

    @classmethod
    def from_cub(cls, root: str | Path, *, readable: bool = True) -> LabelledImages:
        """CUB-200-2011, in the folder with images.txt, or the one above it.

        Columns beside image_id (as in images.txt), path and label: boxes, split ("train", "test"), part_points (the
        visible parts), and object_mask where a folder segmentations lies in `root` or beside it.

        Args:
            root: CUB_200_2011.
            readable: whether "001.Black_footed_Albatross" becomes the label "Black footed Albatross" (default); False
                keeps the published names, which classifiers that were trained on the folders of images have.

        Raises:
            SettingsError: a file is missing or damaged, an id stands there twice, or a class is unknown; the message
                names file and line.

        Warns:
            RuntimeWarning: how many lines and boxes were left out, see `fidokit.readers`.
        """
        return cls._from_reading(read_cub(Path(root), readable), root)

    @classmethod
    def from_nabirds(cls, root: str | Path) -> LabelledImages:
        """NABirds, in the folder with images.txt.

        Columns beside image_id (as in images.txt), path and label (as in classes.txt): boxes, split, part_points (the
        visible parts), photographer, and from the hierarchy parent (the class above the label) and group (the highest
        class above it, "Ducks, Geese, and Swans"). Labels of the same name end with their id in brackets.

        Raises:
            SettingsError: as `from_cub`.

        Warns:
            RuntimeWarning: as `from_cub`.
        """
        return cls._from_reading(read_nabirds(Path(root)), root)

    @classmethod
    def from_coco(cls, path: str | Path, *, root: str | Path | None = None) -> LabelledImages:
        """COCO Camera Traps JSON, or iNaturalist JSON (2017 to 2021), which is COCO's with further fields.

        The label is the name of the category, "empty" too; names that stand there twice end with their id in brackets.
        Of several annotations: a photograph of several classes has no label (None), empty aside; the box is the
        largest, and n_boxes says how many there are. Further columns: sequence (seq_id), location, datetime (datetime
        or date), the other fields of the images that are no lists, and what the category says of its taxonomy
        (supercategory, genus, ...). Images marked as corrupt are skipped. Without annotations, as in iNaturalist's
        test sets, no photograph has a label.

        Args:
            path: of the JSON file.
            root: folder to which its file names are relative; default the folder of the JSON file.

        Raises:
            SettingsError: the file cannot be read or is cut off, an id stands there twice, a category is unknown, or a
                file name leads out of `root`; the message names the file and the record.

        Warns:
            RuntimeWarning: how many records, boxes and labels were left out, see `fidokit.readers`.
        """
        return cls._from_reading(read_coco(Path(path), None if root is None else Path(root)), path)

    @classmethod
    def from_camtrap_dp(cls, path: str | Path, *, root: str | Path | None = None) -> LabelledImages:
        """Camtrap DP 1.0, the Camera Trap Data Package, with photographs on this machine.

        The label is the scientific name, or human, vehicle or blank where there is none; None where no observation
        tells, and where several classes were seen, blank aside. Observations of the photograph count before those of
        its event, and people's before machines'. Boxes are relative in the package: the size is read from the
        photograph's header, and where that cannot be read there is no box. Of several boxes the largest counts, among
        those of the label and those without a name; n_boxes says how many. Further columns: sequence (event), location,
        location_name, latitude, longitude, camera, camera_model, habitat, datetime, deployment, capture_method,
        life_stage, sex and individual, as far as the package has them. Videos and files on servers are skipped.

        Args:
            path: datapackage.json, or its folder.
            root: folder to which the file paths of the media are relative; default the folder of datapackage.json.

        Raises:
            SettingsError: a table cannot be read, a column is missing, an id stands there twice, a file path leads out
                of `root`, or no photograph is left; the message names the file and the record.

        Warns:
            RuntimeWarning: how many media, boxes and labels were left out, see `fidokit.readers`.
        """
        return cls._from_reading(read_camtrap_dp(Path(path), None if root is None else Path(root)), path)

    @classmethod
    def _from_reading(cls, reading: Reading, source: str | Path) -> LabelledImages:
        data = cls.from_table(reading.frame, root=reading.root, rows=reading.rows)
        data.skipped = reading.skipped
        if str(reading.notes):
            warnings.warn(f"{source}: {reading.notes}", RuntimeWarning, stacklevel=3)
        return data

    @classmethod
    def from_table(
        cls, frame: pd.DataFrame, *, root: str | Path | None = None, rows: Sequence[str] | None = None
    ) -> LabelledImages:
        """Check a table with the columns of `from_csv` and complete it; all readers end here.

        Args:
            frame: one row a photograph; it is copied. Lists and dicts are taken for JSON too.
            root: folder to which the paths are relative; default the working directory.
            rows: what messages call the rows; default "row 0" and so on.

        Raises:
            SettingsError: a column is missing, a path is empty, a box is no box, parts or part_points are no such JSON,
                or an image_id stands there twice.
        """
        return cls(*complete_table(frame, root, rows))

    def __len__(self) -> int:
        return len(self.table)

    def _repr_html_(self) -> str:
        from fidokit.display import images_html

        return images_html(self)

    def __repr__(self) -> str:
        counts = f"{len(self)} photographs, {len(self.classes)} classes, {int(self.has_box().sum())} boxes"
        return f"LabelledImages({counts}, root {str(self.root)!r})"

    def subset(self, selector: Any) -> LabelledImages:
        """The photographs of a boolean mask (N,), of positions, of a slice, or of image_ids, in the order given.

        Raises:
            SettingsError: a mask of another length or with missing values; a position or image_id that is not there, or
            that comes twice.
        """
        positions = self._positions(selector)
        if len(set(positions.tolist())) < len(positions):
            raise SettingsError("the selection names a photograph twice; image_ids are unique, so name each once")
        chosen = LabelledImages(self.table.iloc[positions].reset_index(drop=True), self.root, self.skipped)
        return chosen.with_transform(self.transform, self.target_transform)

    def open(self, i: int) -> Image.Image:
        """The upright RGB photograph at position i, in full resolution; raises `ImageError`, see `read_photograph`."""
        return read_photograph(file_of(self.table["path"].iloc[i]))

    def load(
        self, i: int, preprocessing: Preprocessing, keep: Callable[[Image.Image], None] | None = None
    ) -> tuple[torch.Tensor, Geometry]:
        """The photograph at position i as (3, H, W) float32 in [0, 1], and its geometry.

        `mean` and `std` of the preprocessing are not applied: the classifier does that.

        Args:
            i: the position.
            preprocessing: the classifier's.
            keep: is given the decoded photograph, for whoever needs it soon.

        Raises:
            ImageError: the file cannot be read, or `use_boxes` is set and the box lies outside the photograph.
        """
        image = self.open(i)
        if preprocessing.transform is not None:
            height, width = preprocessing.size
            return preprocessing.transformed(image, self._name(i)), Geometry.whole(width, height)
        geometry = self._geometry(i, image.width, image.height, preprocessing)
        if keep is not None:
            keep(image)
        return to_input(image, geometry, preprocessing.interpolation), geometry

    def shown(self, i: int, preprocessing: Preprocessing) -> tuple[Image.Image, Geometry]:
        """What masks of the photograph at position i are drawn on, and where the classifier's input lies in it.

        The upright photograph in full resolution; with a transform of the classifier's own, which does not tell where
        its result lies, the input itself.

        Raises:
            ImageError: the file cannot be read, or see `load`.
        """
        if preprocessing.transform is not None:
            image, geometry = self.load(i, preprocessing)
            return from_input(image), geometry
        photograph = self.open(i)
        return photograph, self._geometry(i, photograph.width, photograph.height, preprocessing)

    def _name(self, i: int) -> str:
        return str(self.table["path"].iloc[i] or f"image {self.table['image_id'].iloc[i]}")

    def load_object_mask(self, i: int, preprocessing: Preprocessing) -> npt.NDArray[np.bool_] | None:
        """(H, W) bool, True on the object, in the geometry of `load`; None where the table names no mask.

        The file is an image as large as the upright photograph, or of its aspect; see `photographs.read_object_mask`.

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
        """Name -> (x, y) of the annotated, visible parts at position i, in pixels of the upright photograph."""
        cell = self._cell("part_points", i)
        return {} if cell is None else {name: (float(x), float(y)) for name, (x, y) in json.loads(cell).items()}

    def metadata(self) -> pd.DataFrame:
        """image_id and the user's own columns: what an analysis may read beside the photographs.

        Without paths, labels, boxes, split, masks and parts, and without the columns whose name begins with `planted_`:
        the testbed keeps its planted causes there.
        """
        own = [
            column
            for column in self.table.columns
            if column not in OWN_COLUMNS and not str(column).startswith(SECRET_PREFIX)
        ]
        return self.table[["image_id", *own]].copy()

    def box(self, i: int) -> Box | None:
        """The annotated box at position i, as it stands in the table, or None."""
        if BOX_COLUMNS[0] not in self.table.columns:
            return None
        x0, y0, x1, y1 = (float(self.table[column].iloc[i]) for column in BOX_COLUMNS)
        return None if math.isnan(x0) else (x0, y0, x1, y1)

    def has_box(self) -> npt.NDArray[np.bool_]:
        """(N,) whether each photograph has an annotated box."""
        if BOX_COLUMNS[0] not in self.table.columns:
            return np.zeros(len(self), dtype=np.bool_)
        return self.table[BOX_COLUMNS[0]].notna().to_numpy(np.bool_)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over image_id, path relative to the root, label, box and file size of every row, in order.

        A folder that was moved or copied keeps its fingerprint; a missing file counts with the size None.
        """
        digest = hashlib.sha256()
        paths = relative_all(self.table["path"].tolist(), Path(portable(str(self.root))))
        boxes: list[Box | None] = [None] * len(self)
        if BOX_COLUMNS[0] in self.table.columns:
            corners = zip(*(self.table[column].to_numpy(np.float64).tolist() for column in BOX_COLUMNS), strict=True)
            boxes = [None if math.isnan(x0) else (x0, y0, x1, y1) for x0, y0, x1, y1 in corners]
        for image_id, path, relative, label, box in zip(
            self.table["image_id"], self.table["path"], paths, self.table["label"], boxes, strict=True
        ):
            try:
                n_bytes = file_of(path).stat().st_size
            except (OSError, ValueError):
                n_bytes = None
            row = [image_id, relative, label, box, n_bytes]
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()

    def _cell(self, column: str, i: int) -> str | None:
        """A cell of an optional column; None where there is nothing in it."""
        value = self.table[column].iloc[i] if column in self.table.columns else None
        return value if isinstance(value, str) else None

    def _laid_over(
        self, i: int, path: str, what: str, mask: Image.Image, preprocessing: Preprocessing
    ) -> tuple[Image.Image, Geometry]:
        """A mask in the size of its photograph, and the photograph's geometry."""
        width, height = photograph_size(file_of(self.table["path"].iloc[i]))
        if abs(mask.width * height - mask.height * width) > max(width, height):
            raise ImageError(
                f"the {what} {path} has {mask.width} x {mask.height} pixels, its photograph {width} x {height}; save "
                "it in the size of the upright photograph"
            )
        return mask.resize((width, height), Image.Resampling.NEAREST), self._geometry(i, width, height, preprocessing)

    def _geometry(self, i: int, width: int, height: int, preprocessing: Preprocessing) -> Geometry:
        try:
            return preprocessing.geometry(width, height, self.box(i))
        except ImageError as error:
            raise ImageError(f"{self._name(i)}: {error}") from error

    def _positions(self, selector: Any) -> npt.NDArray[np.int64]:
        if isinstance(selector, slice):
            return np.arange(len(self))[selector]
        chosen: list[Any] = [selector] if isinstance(selector, (str, int, np.integer)) else list(selector)
        flags = sum(isinstance(value, (bool, np.bool_)) for value in chosen)
        missing = sum(value is None or value is pd.NA or value != value for value in chosen)
        if missing:
            raise SettingsError(
                f"{missing} of the {len(chosen)} entries of the selection are missing values (NA, NaN or None); "
                "say what becomes of these photographs, such as selector.fillna(False)"
            )
        if 0 < flags < len(chosen):
            raise SettingsError(
                "the selection mixes True and False with positions or image_ids; give a boolean mask, or the others"
            )
        if flags:
            if len(chosen) != len(self):
                raise SettingsError(f"the boolean mask has {len(chosen)} entries for {len(self)} photographs")
            return np.flatnonzero(chosen)
        known: dict[Any, int] = {image_id: position for position, image_id in enumerate(self.table["image_id"])}
        positions = [_position(value, len(self)) if value not in known else known[value] for value in chosen]
        if None in positions:
            raise SettingsError(
                f"no photograph {chosen[positions.index(None)]!r}: there are the positions 0 to {len(self) - 1}, and "
                f"image_ids such as {next(iter(known), '')!r}"
            )
        return np.asarray(positions, dtype=np.int64)


def _position(value: Any, n: int) -> int | None:
    return int(value) % n if isinstance(value, (int, np.integer)) and -n <= value < n else None
