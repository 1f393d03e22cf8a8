"""Labelled photographs: a table of files, labels and boxes, with one reader for each common layout."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from fidokit.exceptions import ImageError, SettingsError
from fidokit.geometry import Box, Fit, Geometry, Interpolation, Preprocessing, render_mask, to_input
from fidokit.photographs import MAX_PIXELS, read_object_mask, read_photograph

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

SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff"),
        *(".webp", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"),
    ]
)
"""Suffixes (lower case) of the files that `LabelledImages.from_folder` takes."""

BOX_COLUMNS = ["box_x0", "box_y0", "box_x1", "box_y1"]

_SHORT_BOX_COLUMNS = ["x0", "y0", "x1", "y1"]


class LabelledImages:
    """A table of photographs with labels and boxes; a file is opened only in `open` and `load`.

    Attributes:
        table: one row a photograph: image_id (unique), path, label (None where unknown); optional box_x0, box_y0,
            box_x1, box_y1 (pixels of the upright photograph, NaN where there is none), split, object_mask (path of a
            mask image, bright = object), and every other column of the user's own table.
        classes: the sorted labels.
        skipped: files that `from_folder` passed over (hidden, or no image by their suffix).
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
        if not root.is_dir():
            raise SettingsError(f"{root} is not a folder; pass the folder that holds one folder a class")
        found, skipped = _list_images(root)
        if not found:
            raise SettingsError(
                f"{root} holds no images ({skipped} other files); expected are files such as "
                f"{root}/class name/photo.jpg with one of the suffixes {', '.join(sorted(SUFFIXES))}"
            )
        relative = [path.relative_to(root) for path in found]
        labels = [path.parts[0] if len(path.parts) > 1 else None for path in relative]
        frame = pd.DataFrame({"path": [path.as_posix() for path in relative], "label": labels}, dtype=object)
        data = cls.from_table(frame, root=root)
        data.skipped = skipped
        return data

    @classmethod
    def from_csv(cls, path: str | Path, *, root: str | Path | None = None) -> LabelledImages:
        """A UTF-8 table with a header, separated by commas, semicolons or tabs.

        Columns: path; optional label, image_id, split, object_mask, and boxes as box_x0, box_y0, box_x1, box_y1, or x0,
        y0, x1, y1, or one column box with "x0 y0 x1 y1". Others are kept as they are.

        Args:
            path: of the table.
            root: folder to which the paths in it are relative; default the folder of the table.

        Raises:
            SettingsError: the table cannot be used; the message names file and line.
        """
        path = Path(path)
        frame, lines = _read_csv(path)
        return cls.from_table(
            frame, root=path.parent if root is None else root, rows=[f"{path}, line {line}" for line in lines]
        )

    @classmethod
    def from_table(
        cls, frame: pd.DataFrame, *, root: str | Path | None = None, rows: Sequence[str] | None = None
    ) -> LabelledImages:
        """Check a table with the columns of `from_csv` and complete it; all readers end here.

        Args:
            frame: one row a photograph; it is copied.
            root: folder to which the paths are relative; default the working directory.
            rows: what messages call the rows; default "row 0" and so on.

        Raises:
            SettingsError: a column is missing, a path is empty, a box is no box, or an image_id stands there twice.
        """
        names = list(rows) if rows is not None else [f"row {position}" for position in range(len(frame))]
        table = frame.reset_index(drop=True).copy()
        _check_columns([str(column) for column in table.columns], "the table")
        given = [_text(value) for value in table["path"]]
        for name, text in zip(names, given, strict=True):
            if text is None:
                raise SettingsError(f"{name}: the path is empty; fill it in or remove the row")
        folder = Path(root) if root is not None else Path()
        paths = [folder / text for text in given if text is not None]
        anchor = folder if root is not None else _common_folder(paths)
        derived = [_portable(_relative(path, anchor)) for path in paths]
        table["path"] = [_portable(str(path)) for path in paths]
        table["label"] = pd.Series(
            [_text(value) for value in table["label"]] if "label" in table.columns else [None] * len(table),
            dtype=object,
        )
        table["image_id"] = _image_ids(table, derived, names)
        table = _complete_boxes(table, names)
        if "object_mask" in table.columns:
            texts = [_text(value) for value in table["object_mask"]]
            table["object_mask"] = pd.Series(
                [None if text is None else _portable(str(folder / text)) for text in texts], dtype=object
            )
        first = ["image_id", "path", "label"]
        return cls(table[first + [column for column in table.columns if column not in first]], anchor)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        n_boxes = 0 if BOX_COLUMNS[0] not in self.table.columns else int(self.table[BOX_COLUMNS[0]].notna().sum())
        counts = f"{len(self)} photographs, {len(self.classes)} classes, {n_boxes} boxes"
        return f"LabelledImages({counts}, root {str(self.root)!r})"

    def subset(self, selector: Any) -> LabelledImages:
        """The photographs of a boolean mask (N,), of positions, of a slice, or of image_ids, in the order given.

        Raises:
            SettingsError: a mask of another length, a position or image_id that is not there, or one that comes twice.
        """
        positions = self._positions(selector)
        if len(set(positions.tolist())) < len(positions):
            raise SettingsError("the selection names a photograph twice; image_ids are unique, so name each once")
        return LabelledImages(self.table.iloc[positions].reset_index(drop=True), self.root, self.skipped)

    def open(self, i: int) -> Image.Image:
        """The upright RGB photograph at position i, in full resolution; raises `ImageError`, see `read_photograph`."""
        return read_photograph(_file(self.table["path"].iloc[i]))

    def load(self, i: int, preprocessing: Preprocessing) -> tuple[torch.Tensor, Geometry]:
        """The photograph at position i as (3, H, W) float32 in [0, 1], and its geometry.

        `mean` and `std` of the preprocessing are not applied: the classifier does that.

        Raises:
            ImageError: the file cannot be read, or `use_boxes` is set and the box lies outside the photograph.
        """
        image = self.open(i)
        geometry = self._geometry(i, image, preprocessing)
        return to_input(image, geometry, preprocessing.interpolation), geometry

    def load_object_mask(self, i: int, preprocessing: Preprocessing) -> npt.NDArray[np.bool_] | None:
        """(H, W) bool, True on the object, in the geometry of `load`; None where the table names no mask.

        The file is an image as large as the upright photograph, or of its aspect; see `photographs.read_object_mask`.

        Raises:
            ImageError: photograph or mask cannot be read, or they differ in aspect.
        """
        path = self.table["object_mask"].iloc[i] if "object_mask" in self.table.columns else None
        if path is None:
            return None
        photograph = self.open(i)
        geometry = self._geometry(i, photograph, preprocessing)
        mask = read_object_mask(_file(path))
        if abs(mask.width * photograph.height - mask.height * photograph.width) > max(photograph.size):
            raise ImageError(
                f"the object mask {path} has {mask.width} x {mask.height} pixels, its photograph {photograph.width} x "
                f"{photograph.height}; save the mask in the size of the upright photograph"
            )
        mask = mask.resize(photograph.size, Image.Resampling.NEAREST)
        return render_mask(mask, geometry)

    def box(self, i: int) -> Box | None:
        """The annotated box at position i, as it stands in the table, or None."""
        if BOX_COLUMNS[0] not in self.table.columns:
            return None
        x0, y0, x1, y1 = (float(self.table[column].iloc[i]) for column in BOX_COLUMNS)
        return None if math.isnan(x0) else (x0, y0, x1, y1)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over image_id, path relative to the root, label, box and file size of every row, in order.

        A folder that was moved or copied keeps its fingerprint; a missing file counts with the size None.
        """
        digest = hashlib.sha256()
        for i, (image_id, path, label) in enumerate(
            zip(self.table["image_id"], self.table["path"], self.table["label"], strict=True)
        ):
            try:
                n_bytes = _file(path).stat().st_size
            except (OSError, ValueError):
                n_bytes = None
            row = [image_id, _relative(Path(path), Path(_portable(str(self.root)))), label, self.box(i), n_bytes]
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()

    def _geometry(self, i: int, image: Image.Image, preprocessing: Preprocessing) -> Geometry:
        try:
            return preprocessing.geometry(image.width, image.height, self.box(i))
        except ImageError as error:
            raise ImageError(f"{self.table['path'].iloc[i]}: {error}") from error

    def _positions(self, selector: Any) -> npt.NDArray[np.int64]:
        if isinstance(selector, slice):
            return np.arange(len(self))[selector]
        chosen: list[Any] = [selector] if isinstance(selector, (str, int, np.integer)) else list(selector)
        if chosen and all(isinstance(value, (bool, np.bool_)) for value in chosen):
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


def _list_images(root: Path) -> tuple[list[Path], int]:
    found: list[Path] = []
    skipped = 0
    for folder, folders, files in os.walk(root, followlinks=True):
        # A linked class folder is followed, a link that leads back up would never end.
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_up(Path(folder), name)]
        images = [name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
        found.extend(Path(folder) / name for name in images)
        skipped += len(files) - len(images)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix()), skipped


def _leads_up(folder: Path, name: str) -> bool:
    return folder.resolve().is_relative_to((folder / name).resolve())


def _read_csv(path: Path) -> tuple[pd.DataFrame, list[int]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}, line {line}: not UTF-8; save the table with the encoding UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); pass the path of a CSV file") from error
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                _check_columns(header, f"{path}, line {reader.line_num}")
                continue
            if len(cells) != len(header):
                raise SettingsError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns; put cells that "
                    f"contain {delimiter!r} in quotes"
                )
            rows.append(cells)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise SettingsError(f"{path}, line {reader.line_num}: {error}; save the table as plain CSV") from error
    if not rows:
        raise SettingsError(f"{path} is empty; it needs a header with a column path, and one line a photograph")
    columns = {name: [row[position].strip() or None for row in rows] for position, name in enumerate(header)}
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    for name in frame.columns:
        if name not in {"path", "label", "image_id", "split", "object_mask", "box", *BOX_COLUMNS, *_SHORT_BOX_COLUMNS}:
            frame[name] = _numbers_if_all_are(frame[name])
    return frame, lines


def _check_columns(columns: list[str], where: str) -> None:
    if "path" not in columns:
        raise SettingsError(
            f"{where}: no column path among {', '.join(columns) or 'none'}; name the files' column path"
        )
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise SettingsError(f"{where}: the column {twice[0]!r} stands there twice; rename one")
    missing = [column for column in BOX_COLUMNS if column not in columns]
    if 0 < len(missing) < len(BOX_COLUMNS):
        raise SettingsError(f"{where}: no column {missing[0]}; a box needs {', '.join(BOX_COLUMNS)}")


def _numbers_if_all_are(column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _image_ids(table: pd.DataFrame, derived: list[str], names: list[str]) -> list[str]:
    if "image_id" not in table.columns:
        taken: set[str] = set(derived)
        seen: set[str] = set()
        ids = []
        for base in derived:
            candidate, copy = base, 1
            while candidate in seen or (copy > 1 and candidate in taken):
                copy += 1
                candidate = f"{base}#{copy}"
            seen.add(candidate)
            ids.append(candidate)
        return ids
    first: dict[str, str] = {}
    for value, name in zip(table["image_id"], names, strict=True):
        text = _text(value)
        if text is None:
            raise SettingsError(f"{name}: the image_id is empty; fill it in, or leave the column out")
        if text in first:
            raise SettingsError(f"{name}: the image_id {text!r} stands in {first[text]} as well; each must be unique")
        first[text] = name
    return list(first)


def _complete_boxes(table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Boxes in whichever columns they came, checked, in `BOX_COLUMNS`."""
    if BOX_COLUMNS[0] in table.columns:
        source = BOX_COLUMNS
    elif all(column in table.columns for column in _SHORT_BOX_COLUMNS):
        source = _SHORT_BOX_COLUMNS
    elif "box" in table.columns:
        source = ["box"]
    else:
        return table
    cells = table[source].to_numpy(dtype=object).tolist()
    boxes = [_parse_box(row, name) for row, name in zip(cells, names, strict=True)]
    values = np.asarray([box if box is not None else [math.nan] * 4 for box in boxes], dtype=np.float64).reshape(-1, 4)
    table = table.drop(columns=source)
    for position, column in enumerate(BOX_COLUMNS):
        table[column] = values[:, position]
    return table


def _parse_box(cells: list[Any], name: str) -> Box | None:
    texts = [_text(cell) for cell in cells]
    if all(text is None for text in texts):
        return None
    parts = [text or "" for text in texts] if len(texts) == 4 else re.split(r"[\s,;]+", (texts[0] or "").strip("[]() "))
    shown = " ".join(parts)
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise SettingsError(
            f"{name}: the box {shown!r} is not four numbers x0 y0 x1 y1 (leave it empty if there is none)"
        )
    x0, y0, x1, y1 = values
    if x1 <= x0 or y1 <= y0:
        raise SettingsError(f"{name}: the box {shown!r} has no area; it must be x0 y0 x1 y1 with x1 > x0 and y1 > y0")
    return x0, y0, x1, y1


def _text(value: Any) -> str | None:
    """A cell as text; None, NaN and blanks are None."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    # pandas turns a column of whole numbers with a gap into floats.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return text if text.strip() else None


def _common_folder(paths: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        return Path()


def _relative(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def _portable(text: str) -> str:
    """File names that are not UTF-8 hold surrogates, which neither Parquet nor JSON takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _file(path: str) -> Path:
    """The file of a `_portable` path."""
    return Path(
        path if os.path.lexists(path) else re.sub(r"\\u(dc[89a-f][0-9a-f])", lambda m: chr(int(m[1], 16)), path)
    )
