"""Small pictures of a study's photographs and masks, as the browser gets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from fidokit.data.geometry import Geometry
from fidokit.exceptions import ImageError
from fidokit.figures.masks import cut_out, shown_part
from fidokit.figures.pictures import masks_of, photographs_of
from fidokit.methods.verdicts import mask_verdict, standing
from fidokit.study.study import Study
from fidokit.widgets.pixels import layer_values, mask_layer, opening, sent_photograph

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
        self.preprocessing = study.preprocessing
        self.small = lru_cache(_KEPT)(self._small)

    def sent(self, image_id: str) -> dict[str, Any]:
        """The photograph as the browser gets it to look at closely, with what the classifier does not see of it.

        Raises:
            ImageError: it cannot be read.
        """
        photograph, geometry = self.open(image_id)
        return sent_photograph(photograph, geometry, self.unseen_words(image_id, geometry))

    def unseen_words(self, image_id: str, geometry: Geometry) -> str:
        """See `LabelledImages.unseen_words`."""
        return "" if self.data is None else self.data.unseen_words(self.study.positions[image_id], geometry)

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
        """image_id -> the layers of the masks it has, of those named: name -> (method, kind); with their verdicts."""
        rows = masks_of(self.study, image_ids)
        layers: dict[str, list[dict[str, Any]]] = {}
        for image_id in image_ids:
            there = {name: rows[image_id, *key] for name, key in names.items() if (image_id, *key) in rows}
            layers[image_id] = [
                mask_layer(name, row["mask"])
                | {"verdict": mask_verdict(*(row[f"score_{which}"] for which in ("full", "kept", "dropped")))}
                for name, row in there.items()
            ]
        return layers

    def large(self, image_id: str, names: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
        """The layers of one image to look at closely: what is enough by itself first, what explains little last."""
        layers = sorted(self.layers([image_id], names)[image_id], key=lambda layer: standing(layer["verdict"]))
        try:
            _, geometry = self.open(image_id)
        except ImageError:
            return layers
        return [layer | {"view": opening(geometry, layer_values(layer))} for layer in layers]

    def _small(self, image_id: str, part_of: bytes | None, size: tuple[int, int]) -> list[dict[str, Any]]:
        """A small photograph as `sent_photograph` gives it, and the part that shows a mask, if that is not nearly all.

        Of one that cannot be read, the reason.

        Args:
            image_id: of the photograph.
            part_of: bytes of the mask, as `mask_layer` has them; None for no part.
            size: (height, width) of that mask.
        """
        try:
            photograph, geometry = self.open(image_id)
        except ImageError as error:
            return [{"reason": str(error), "data": b""}]
        unseen = self.unseen_words(image_id, geometry)
        sent = [sent_photograph(photograph, geometry, unseen, longest=SMALL)]
        part = None
        if part_of is not None:
            part = shown_part(geometry, np.frombuffer(part_of, np.uint8).reshape(size))
        if part is not None:
            sent[0]["part"] = list(geometry.in_shares(part))
            sent.append(sent_photograph(*cut_out(photograph, geometry, part), longest=SMALL))
        return sent

    def picture(self, image_id: str, layers: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[bytes]]:
        """What a message says of one image's small pictures, and their bytes: photograph, its part, masks.

        The part is that of the first of the masks.
        """
        first = layers[0] if layers else {"data": None, "height": 0, "width": 0}
        sent = self.small(image_id, first["data"], (first["height"], first["width"]))
        described, data = split([*sent, *layers])
        photographs, masks = described[: len(sent)], described[len(sent) :]
        return {"photograph": photographs[0], "near": photographs[1:], "layers": masks}, data


def split(parts: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Photographs or layers without their `data`, and the data in order: what a message can carry."""
    return [{k: v for k, v in part.items() if k != "data"} for part in parts], [part["data"] for part in parts]
