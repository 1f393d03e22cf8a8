"""Small pictures of a study's photographs and masks, as the browser gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.exceptions import ImageError
from fidokit.figures.pictures import masks_of, photographs_of
from fidokit.study.study import Study
from fidokit.widgets.pixels import mask_layer, sent_photograph

#: Pixels of a small picture's longer side: what a page of them is shown at on a screen of high density.
SMALL = 360
#: Small photographs that are kept, about 25 kB each: some pages back and forth.
_KEPT = 256


class StudyTiles:
    """The photographs of a study, opened when they are asked for.

    Args:
        study: the study.

    Attributes:
        remark: that photographs are not as they were; None where they are.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.data, self.remark = photographs_of(study)
        self.preprocessing = Preprocessing(**study.manifest["classifier"]["preprocessing"])
        self.small = lru_cache(_KEPT)(self._small)

    def open(self, image_id: str) -> tuple[Image.Image, Geometry]:
        """The photograph, and where the classifier's input lies in it.

        Raises:
            ImageError: it cannot be read.
        """
        if self.data is None:
            raise ImageError(str(self.remark))
        position = self.study.positions[image_id]
        return self.data.shown(position, self.preprocessing)

    def layers(self, image_ids: Sequence[str], names: Mapping[str, tuple[str, str]]) -> dict[str, list[dict[str, Any]]]:
        """image_id -> the layers of the masks it has, of those named: name -> (method, kind)."""
        rows = masks_of(self.study, image_ids)
        return {
            image_id: [
                mask_layer(name, rows[image_id, *key]["mask"])
                for name, key in names.items()
                if (image_id, *key) in rows
            ]
            for image_id in image_ids
        }

    def _small(self, image_id: str) -> dict[str, Any]:
        """A small photograph as `sent_photograph` gives it; of one that cannot be read, the reason."""
        try:
            return sent_photograph(*self.open(image_id), longest=SMALL)
        except ImageError as error:
            return {"reason": str(error), "data": b""}


def split(parts: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Photographs or layers without their `data`, and the data in order: what a message can carry."""
    return [{k: v for k, v in part.items() if k != "data"} for part in parts], [part["data"] for part in parts]
