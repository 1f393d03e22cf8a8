"""Labelled photographs: a table of files, labels and boxes, with one reader for each common layout."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from fidokit._util.checks import is_whole
from fidokit._util.display import HtmlDisplay
from fidokit._util.warning import warn
from fidokit.data.annotated import Annotated
from fidokit.data.geometry import Box, Fit, Geometry, Interpolation, Preprocessing, from_input, to_input
from fidokit.data.labels import judged
from fidokit.data.photographs import MAX_PIXELS, read_photograph
from fidokit.data.readers.birds import read_cub, read_nabirds
from fidokit.data.readers.camtrap_dp import read_camtrap_dp
from fidokit.data.readers.cells import file_of, portable, relative_all
from fidokit.data.readers.coco import read_coco
from fidokit.data.readers.csv_table import read_csv
from fidokit.data.readers.detections import read_detections
from fidokit.data.readers.folder import SUFFIXES, read_folder
from fidokit.data.readers.given_labels import Labels
from fidokit.data.readers.reading import Notes, Reading, RowNames
from fidokit.data.readers.sizes import complete_annotated
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS, OWN_COLUMNS, SECRET_PREFIX, complete_table
from fidokit.data.readers.timelapse import read_timelapse
from fidokit.data.torch_dataset import TorchDataset
from fidokit.exceptions import SettingsError

__all__ = [
    "ANNOTATED_COLUMNS",
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


class LabelledImages(HtmlDisplay, Annotated, TorchDataset):
    """A table of photographs with labels and boxes; a file is opened only in `open`, `load` and ``data[i]``.

    It is a torch `Dataset` too, for training and for models of your own: ``data[i]`` is (image, label), the upright PIL
    image and the class name or None; `with_transform` turns both into what a `DataLoader` can put together. fidokit's
    own functions do not use that transform: they make the classifier's input by its `Preprocessing`.

    Attributes:
        table: one row a photograph, or an animal in it: image_id (unique), path, label (None where unknown), and, where
            there are such:
            box_x0, box_y0, box_x1, box_y1: pixels of the upright photograph, NaN where there is none;
            annotated_width, annotated_height: size of the picture to which box and part_points refer instead of the
            upright photograph in its file, NaN where that is meant, 1 x 1 where they are relative; `box` and
            `part_points` give both in pixels of the upright photograph;
            split;
            object_mask: path of a mask image, bright = object;
            part_map: path of an 8-bit indexed or grey image as large as the upright photograph, pixel 0 = no part,
            k = the k-th name in `parts`, a JSON list;
            part_points: JSON object of name: [x, y], the visible parts in pixels of the upright photograph;
            and every other column of the user's own table.
        classes: the sorted labels.
        skipped: what the reader passed over: hidden files and such that are no image by their suffix (`from_folder`),
            photographs of the dataset that cannot be used (`from_coco`, `from_camtrap_dp`, `from_detections`,
            `from_timelapse`).
        left_out: what `from_folder` passed over, by ending, with the entries of folders that it did not enter.

    Example:
        >>> data = fk.LabelledImages.from_folder("birds")
        >>> len(data), data.classes
        (2, ['jay', 'tit'])
    """

    def __init__(
        self, table: pd.DataFrame, root: Path, skipped: int = 0, left_out: Mapping[str, int] | None = None
    ) -> None:
        """Use `from_folder`, `from_csv` or `from_table`: they check what this takes as given."""
        super().__init__(table)
        self.root = root
        self.skipped = skipped
        self.left_out = dict(left_out or {})
        self.classes: list[str] = sorted({label for label in table["label"] if label is not None})

    @classmethod
    def from_folder(cls, root: str | Path) -> LabelledImages:
        """One folder a class, with the photographs at any depth in it; photographs right in `root` have no label.

        `image_id` is the path relative to `root`, with "/" between its parts. Hidden folders, and those in which
        programs and systems keep thumbnails and deleted files (@eaDir, __MACOSX, $RECYCLE.BIN, Lightroom's previews),
        are not entered.

        Raises:
            SettingsError: no such folder, or no photograph in it.

        Warns:
            RuntimeWarning: what was left out, by ending and folder, unless it is only hidden files and Thumbs.db.
        """
        return cls._from_reading(read_folder(Path(root)), root)

    @classmethod
    def from_csv(cls, path: str | Path, *, root: str | Path | None = None) -> LabelledImages:
        """A table with a header, separated by commas, semicolons or tabs, or as its first line ``sep=;`` says.

        In UTF-8, or in UTF-16 with a byte order mark, as Excel writes "Unicode text".

        Columns: path; optional label, image_id, split, object_mask, part_map with parts, part_points (see the attribute
        `table`), and boxes as box_x0, box_y0, box_x1, box_y1, or x0, y0, x1, y1, or one column box with "x0 y0 x1 y1".
        Boxes in pixels of a picture of another size have it in annotated_width and annotated_height; boxes that all lie
        within 0 to 1 are relative. Others are kept as they are. Without these names, Path is taken for path, or
        Timelapse's RelativePath and File, and for label the only column that is called like one: Label, Species,
        scientificName, class, category.

        Args:
            path: of the table.
            root: folder to which the paths in it, those of masks too, are relative; default the folder of the table.

        Raises:
            SettingsError: the table cannot be used; the message names file and line.

        Warns:
            RuntimeWarning: what columns and boxes were taken for, where that could be otherwise.
        """
        return cls._from_reading(read_csv(Path(path), None if root is None else Path(root)), path)

    @classmethod
    def from_cub(cls, root: str | Path, *, readable: bool = True) -> LabelledImages:
        """CUB-200-2011, in the folder with images.txt, or the one above it.

        Columns beside image_id (as in images.txt), path and label: boxes, split ("train", "test"), part_points (the
        visible parts), and object_mask where a folder segmentations lies in `root` or beside it. Where photographs are
        smaller than their boxes reach, the dataset was resized: then it has no boxes and part_points.

        Args:
            root: CUB_200_2011.
            readable: whether "001.Black_footed_Albatross" becomes the label "Black footed Albatross" (default); False
                keeps the published names, which classifiers that were trained on the folders of images have.

        Raises:
            SettingsError: a file is missing or damaged, an id stands there twice, or a class is unknown; the message
                names file and line.

        Warns:
            RuntimeWarning: how many lines and boxes were left out, see `fidokit.data.readers`.
        """
        return cls._from_reading(read_cub(Path(root), readable), root)

    @classmethod
    def from_nabirds(cls, root: str | Path) -> LabelledImages:
        """NABirds, in the folder with images.txt.

        Columns beside image_id (as in images.txt), path and label (as in classes.txt): boxes, split, part_points (the
        visible parts), photographer, and from the hierarchy parent (the class above the label) and group (the highest
        class above it, "Ducks, Geese, and Swans"). Labels of the same name end with their id in brackets. Boxes and
        points belong to photographs of the size in sizes.txt, and are scaled where a file has another one.

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
        test sets, no photograph has a label. Boxes belong to pictures of the width and height that the JSON says, and
        are scaled where a file has another size; `bbox_relative` needs neither.

        Args:
            path: of the JSON file.
            root: folder to which its file names are relative; default the folder of the JSON file.

        Raises:
            SettingsError: the file cannot be read or is cut off, an id stands there twice, a category is unknown, or a
                file name leads out of `root`; the message names the file and the record.

        Warns:
            RuntimeWarning: how many records, boxes and labels were left out, see `fidokit.data.readers`.
        """
        return cls._from_reading(read_coco(Path(path), None if root is None else Path(root)), path)

    @classmethod
    def from_camtrap_dp(cls, path: str | Path, *, root: str | Path | None = None) -> LabelledImages:
        """Camtrap DP 1.0, the Camera Trap Data Package, with photographs on this machine.

        The label is the scientific name, or human, vehicle or blank where there is none; None where no observation
        tells, and where several classes were seen, blank aside. Observations of the photograph count before those of
        its event, and people's before machines'; what an observation is about, observationLevel decides. Of several
        events around a time-lapse photograph the shortest is its own. Boxes are relative in the package, and in the
        table; where the photograph cannot be read, `box` gives none. Of several boxes the largest counts, among
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
            RuntimeWarning: how many media, boxes and labels were left out, see `fidokit.data.readers`.
        """
        return cls._from_reading(read_camtrap_dp(Path(path), None if root is None else Path(root)), path)

    @classmethod
    def from_detections(
        cls,
        path: str | Path,
        *,
        images: str | Path | None = None,
        labels: Labels = None,
        threshold: float | None = None,
        categories: Sequence[str] | str | None = None,
        empty: bool = False,
    ) -> LabelledImages:
        """What a detector found, one row an animal, each with its box.

        Reads MegaDetector's batch output (1.0 to 1.6, which other tools write too), AddaxAI's (EcoAssist's) recognition
        file, and SpeciesNet's predictions JSON (versions 4 and 5). Several animals in one photograph are several rows.
        A classifier with ``use_boxes=True`` is shown each of them alone, and its masks lie where they belong in the one
        photograph; ``unit="file"`` and ``burst="file"`` count the animals of one photograph as what they are, not
        independent.

        Columns beside image_id (path#detection), path, label and the box:
            file: the path as the detector wrote it;
            detection: the box's place in the list of its photograph, from 0;
            detection_category, detection_confidence: as the detector gave them;
            n_boxes: how many rows the photograph has;
            recorded_label, recorded_score: the best class that a classifier gave when the file was made, and its score,
            missing where it gave none; recorded_classifications: all of them, a JSON list of [class, score];
            recorded_taxon: what the file says of the class's place in the taxonomy; recorded_source: which part of
            SpeciesNet decided. They are there to be compared, see `recorded`; no study takes them for its classifier's;
            and the further fields of the photographs that are no lists, such as datetime, location, latitude,
            sequence (seq_id), country and manually_checked.

        Args:
            path: of the JSON file.
            images: folder to which its paths are relative; default the folder of the JSON file. Absolute paths, of
                Windows too, are looked for below it without their first parts, unless they are right as they stand.
            labels: for whole photographs (each of its animals then has the label) or single animals: a mapping or
                Series of path, or image_id, to label; a table or CSV with the columns path (or Timelapse's RelativePath
                and File), optionally detection, and label; or the name of a column of the result: "recorded_label"
                compares a classifier with the one before it. Default: no row has a label, apart from what people
                verified in AddaxAI.
            threshold: least confidence of a detection. Default: the file's typical_detection_threshold, which the
                format has for that; without it 0.8 for MegaDetector 2 to 4, and 0.2 for later ones and for SpeciesNet.
            categories: of the detections that become rows. Default: all but people, vehicles and what means nothing.
            empty: whether photographs without such a detection are rows too, without a box. Default: they are left out.

        Raises:
            SettingsError: the file cannot be read, is none of these, has boxes in pixels, or no photograph that can be
                used; none of the photographs looked for is there; `labels` fits none of them; the message names file
                and record.

        Warns:
            RuntimeWarning: how many photographs (videos and failures of the detector among them), detections (of other
                categories, below the threshold, with boxes outside the picture or confidences beyond 0 to 1), boxes and
                labels were left out, and what was taken for what.

        Example:
            >>> data = fk.LabelledImages.from_detections("detections.json", labels={"site/IMG_1.jpg": "fox"})
            >>> data.table[["image_id", "label", "detection_confidence"]].values.tolist()
            [['site/IMG_1.jpg#0', 'fox', 0.97], ['site/IMG_1.jpg#1', 'fox', 0.64]]
        """
        folder = None if images is None else Path(images)
        return cls._from_reading(read_detections(Path(path), folder, labels, threshold, categories, empty), path)

    @classmethod
    def from_timelapse(
        cls, path: str | Path, *, images: str | Path | None = None, label: str | Sequence[str] | None = None
    ) -> LabelledImages:
        """The CSV that Timelapse exports: File, RelativePath (of Windows too), DateTime, DeleteFlag and own fields.

        One row a photograph; of several records (Timelapse's duplicates) the first gives the columns, and a photograph
        of several classes has no label, empty or blank aside. Records with the DeleteFlag and videos are left out. All
        columns are kept, File and RelativePath as they stand, and DateTime is there as datetime too.

        Args:
            path: of the CSV.
            images: folder to which RelativePath is relative; default the folder of the CSV.
            label: the column of the labels, or several: the label is what stands in one of them. Of columns that hold
                nothing but true and false it is the name of the one that is true. Default: the only column that is
                called like one: Label, Species, scientificName, class, category.

        Raises:
            SettingsError: the table cannot be read, lacks a column, or has no photograph that can be used; none of the
                photographs looked for is there; the message names file and line.

        Warns:
            RuntimeWarning: how many records were left out, and what column was taken for the labels.

        Example:
            >>> fk.LabelledImages.from_timelapse("TimelapseData.csv", label="Species").classes
            ['fox', 'hare']
        """
        return cls._from_reading(read_timelapse(Path(path), None if images is None else Path(images), label), path)

    @classmethod
    def _from_reading(cls, reading: Reading, source: str | Path) -> LabelledImages:
        data = cls._completed(reading.frame, reading.root, reading.rows, reading.notes)
        data.skipped, data.left_out = reading.skipped, dict(reading.left_out)
        if str(reading.notes):
            warn(f"{source}: {reading.notes}")
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

        Warns:
            RuntimeWarning: as `from_csv`.
        """
        notes = Notes()
        data = cls._completed(frame, root, rows, notes)
        if str(notes):
            warn(str(notes))
        return data

    @classmethod
    def _completed(
        cls, frame: pd.DataFrame, root: str | Path | None, rows: Sequence[str] | None, notes: Notes
    ) -> LabelledImages:
        table, anchor = complete_table(frame, root, rows, notes)
        names: Sequence[str] = rows if rows is not None else RowNames("row ", range(len(table)))
        return cls(complete_annotated(table, names, notes), anchor)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        counts = f"{len(self)} photographs, {len(self.classes)} classes, {int(self.boxed.sum())} boxes"
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
        table = self.table.iloc[positions].reset_index(drop=True)
        chosen = LabelledImages(table, self.root, self.skipped, self.left_out)
        chosen._told = self._told
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

        Warns:
            RuntimeWarning: once, of a photograph of which the classifier does not see all, or not the animal's box.
        """
        image = self.open(i)
        if preprocessing.transform is not None:
            height, width = preprocessing.size
            return preprocessing.transformed(image, self._name(i)), Geometry.whole(width, height)
        geometry = self.geometry(i, preprocessing, image.size)
        self.tell_unseen(i, geometry)
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
        return photograph, self.geometry(i, preprocessing, photograph.size)

    def _name(self, i: int) -> str:
        return str(self.table["path"].iloc[i] or f"image {self.table['image_id'].iloc[i]}")

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

    def recorded(self) -> pd.DataFrame:
        """The answers that `from_detections` found in the file, in the order of the table, judged by the labels.

        image_id, path, label, predicted, correct and score, as in the predictions of a study, so that a run can be
        audited without its model. A label is judged if it is one of the recorded names, or written only a little
        otherwise; `correct` is missing where it is not, and without an answer.

        Raises:
            SettingsError: nothing is recorded.
        """
        if not {"recorded_label", "recorded_score", "recorded_classifications"} <= set(self.table.columns):
            raise SettingsError("no classifications are recorded; from_detections reads those that a JSON holds")
        table = self.table[["image_id", "path", "label", "recorded_label", "recorded_score"]]
        table = table.rename(columns={"recorded_label": "predicted", "recorded_score": "score"})
        names = {str(name) for text in self.table["recorded_classifications"].dropna() for name, _ in json.loads(text)}
        return judged(table, sorted(names))

    def fingerprint(self) -> str:
        """SHA-256 (hex) over image_id, path relative to the root, label, box and file size of every row, in order.

        Where the box has one, also over the size of the picture that it was drawn on. A folder
        that was moved or copied keeps its fingerprint; a missing file counts with the size None.
        """
        digest = hashlib.sha256()
        paths = relative_all(self.table["path"].tolist(), Path(portable(str(self.root))))
        # Studies keep the root as an absolute path, under which they must find the same fingerprint.
        paths = relative_all(paths, Path(portable(str(self.root.absolute()))))
        boxes: list[Box | None] = [None] * len(self)
        if BOX_COLUMNS[0] in self.table.columns:
            corners = zip(*(self.table[column].to_numpy(np.float64).tolist() for column in BOX_COLUMNS), strict=True)
            boxes = [None if math.isnan(x0) else (x0, y0, x1, y1) for x0, y0, x1, y1 in corners]
        sizes: list[tuple[Any, ...]] = [()] * len(self)
        if ANNOTATED_COLUMNS[0] in self.table.columns:
            pairs = self.table[ANNOTATED_COLUMNS].to_numpy(np.float64).tolist()
            sizes = [() if math.isnan(width) else (width, height) for width, height in pairs]
        for i, (image_id, path, relative, label, box) in enumerate(
            zip(self.table["image_id"], self.table["path"], paths, self.table["label"], boxes, strict=True)
        ):
            try:
                n_bytes = file_of(path).stat().st_size
            except (OSError, ValueError):
                n_bytes = None
            row = [image_id, relative, label, box, n_bytes, *sizes[i]]
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()

    def _positions(self, selector: Any) -> npt.NDArray[np.int64]:
        if isinstance(selector, slice):
            return np.arange(len(self))[selector]
        chosen: list[Any] = [selector] if isinstance(selector, str) or is_whole(selector) else list(selector)
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
    return int(value) % n if is_whole(value) and -n <= value < n else None
