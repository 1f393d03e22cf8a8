"""The photographs to choose from: those of a dataset, and uploads."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.exceptions import ImageError, SettingsError

#: Pixels of a thumbnail's longer side: twice what it is shown at, for screens of high density.
THUMBNAIL = 224
#: Bytes of a file that is taken: a photograph in full resolution, not a film.
MOST_BYTES = 100_000_000


class Gallery:
    """Photographs by image_id, in order: the dataset's, then what was uploaded.

    Args:
        data: the dataset, or None.
    """

    def __init__(self, data: LabelledImages | None) -> None:
        self.data = data
        self.uploads: dict[str, LabelledImages] = {}
        self._positions: dict[str, int] = {}
        if data is not None:
            self._positions = {str(image_id): i for i, image_id in enumerate(data.table["image_id"])}
        # Held for as long as the gallery is: the files go when it goes.
        self._folder = tempfile.TemporaryDirectory(prefix="fidokit-uploads-")

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._positions or image_id in self.uploads

    def listing(self) -> list[list[str]]:
        """[image_id, label] of every photograph; the label is empty where there is none."""
        rows: list[list[str]] = []
        if self.data is not None:
            labels = self.data.table["label"]
            rows = [[name, label if isinstance(label, str) else ""] for name, label in zip(self._positions, labels)]  # noqa: B905
        return rows + [[name, "uploaded"] for name in self.uploads]

    def one(self, image_id: str) -> LabelledImages:
        """The dataset of this photograph alone.

        Raises:
            SettingsError: there is no such photograph.
        """
        if image_id in self.uploads:
            return self.uploads[image_id]
        if image_id not in self._positions or self.data is None:
            raise SettingsError(f"there is no photograph {image_id!r}")
        return self.data.subset([self._positions[image_id]])

    def open(self, image_id: str, preprocessing: Preprocessing) -> tuple[Image.Image, Geometry]:
        """The photograph, and where the classifier's input lies in it.

        Raises:
            SettingsError: there is no such photograph.
            ImageError: it cannot be read.
        """
        one = self.one(image_id)
        try:
            return one.shown(0, preprocessing)
        except ImageError as error:
            raise ImageError(self.named(str(error))) from error

    def thumbnail(self, image_id: str) -> bytes:
        """A JPEG of the photograph, small; empty where it cannot be read."""
        try:
            photograph = self.one(image_id).open(0)
        except (ImageError, SettingsError):
            return b""
        photograph.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        photograph.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()

    def add(self, name: str, content: bytes) -> str:
        """Take in an uploaded file; its image_id.

        Raises:
            ImageError: it is too large, or no photograph.
        """
        if len(content) > MOST_BYTES:
            raise ImageError(f"{name} has {len(content) / 1e6:,.0f} MB, at most {MOST_BYTES / 1e6:,.0f} are taken")
        image_id = _free(re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", name)[-1])[-200:] or "upload", self)
        # A number, not the name: a stranger's name need not be one that a file may have.
        path = Path(self._folder.name) / f"{len(self.uploads)}{_suffix(name)}"
        path.write_bytes(content)
        table = pd.DataFrame({"path": [str(path)], "label": [None], "image_id": [image_id]})
        self.uploads[image_id] = LabelledImages.from_table(table)
        try:
            self.uploads[image_id].open(0)
        except ImageError as error:
            words = self.named(str(error))
            del self.uploads[image_id]
            raise ImageError(words) from error
        return image_id

    def named(self, message: str) -> str:
        """A message with the names of uploads instead of the places where they lie."""
        for image_id, one in self.uploads.items():
            message = message.replace(str(one.table["path"].iloc[0]), image_id)
        return message

    def describe(self, image_id: str) -> dict[str, Any]:
        """image_id and label, for a caption."""
        label = self.one(image_id).table["label"].iloc[0]
        return {"image_id": image_id, "label": label if isinstance(label, str) else None}


def _suffix(name: str) -> str:
    found = re.search(r"\.[A-Za-z0-9]{1,8}$", name)
    return found[0].lower() if found else ""


def _free(name: str, taken: Gallery) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free
