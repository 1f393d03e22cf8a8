"""The panel: infills to judge masks with that no method optimises with, the same for every method."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from fidokit._util.warning import warn
from fidokit.data.labels import Groups, with_members
from fidokit.exceptions import ImageError, StoreError
from fidokit.methods.regions import mosaic as mosaic

if TYPE_CHECKING:
    from fidokit.data.geometry import Preprocessing
    from fidokit.data.images import LabelledImages

#: Photographs to choose from: enough that most images find one of another class, few enough to stay in memory.
POOL = 8
#: Infills of one image: one photograph and one mosaic. More would cost more than the masks themselves.
INFILLS = 2


def _order(*texts: str) -> bytes:
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def choose_panel(predictions: pd.DataFrame) -> dict[str, Any]:
    """What the manifest says of the panel: photographs spread over the classes, and seeds of mosaics.

    Args:
        predictions: the columns image_id, label and predicted; a photograph without a label counts as the class that
            is predicted for it.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in predictions[["image_id", "label", "predicted"]].to_dict("records"):
        if isinstance(row["predicted"], str):
            label = row["label"] if isinstance(row["label"], str) else row["predicted"]
            entry = {"image_id": row["image_id"], "label": label, "predicted": row["predicted"]}
            groups.setdefault(label, []).append(entry)
    classes = sorted(groups, key=lambda name: _order("class", name))
    queues = {name: sorted(groups[name], key=lambda entry: _order("panel", entry["image_id"])) for name in classes}
    chosen: list[dict[str, Any]] = []
    for turn in range(POOL):
        chosen += [queues[name][turn] for name in classes if turn < len(queues[name])]
    return {
        "rule": f"{INFILLS - 1} of these photographs, not of the image's label, target, contrast or predicted class, "
        "and a mosaic; more mosaics where there is none",
        "infills": INFILLS,
        "photographs": chosen[:POOL],
        "mosaic_seeds": list(range(INFILLS)),
    }


@dataclass
class Panel:
    """The infills of each image, read as they are needed.

    Args:
        described: by `choose_panel`, from the manifest.
        data: the photographs of the study.
        preprocessing: of the classifier.
        groups: taxa of the classifier, whose classes no infill shows where the taxon is explained.
    """

    described: dict[str, Any]
    data: LabelledImages
    preprocessing: Preprocessing
    groups: Groups = field(default_factory=dict)
    _read: dict[str, Tensor] = field(default_factory=dict)
    _without: int = 0

    def members(self, image_id: str, classes: Sequence[Any]) -> list[str | int]:
        """What an image is judged with: image_ids of photographs, seeds of mosaics; depends on nothing else.

        Args:
            image_id: of the image.
            classes: names of classes that no infill may show: label, target, contrast, predicted class.
        """
        shown = with_members(classes, self.groups)
        suitable = [
            entry["image_id"]
            for entry in self.described["photographs"]
            if entry["image_id"] != image_id
            and shown.isdisjoint(with_members((entry["label"], entry["predicted"]), self.groups))
        ]
        suitable.sort(key=lambda other: _order(image_id, other))
        count: int = self.described["infills"]
        photographs: list[str | int] = [*suitable[: count - 1]]
        return photographs + list(self.described["mosaic_seeds"])[: count - len(photographs)]

    def infills(self, image_id: str, classes: Sequence[Any]) -> Tensor:
        """(P, 3, H, W) infills of an image.

        Raises:
            StoreError: a photograph of the panel cannot be read any more.
        """
        members = self.members(image_id, classes)
        self._without += not any(isinstance(member, str) for member in members)
        return torch.stack([self._photograph(m) if isinstance(m, str) else self._mosaic(m) for m in members])

    def tell(self) -> None:
        """Warn of the images for which the dataset had no photograph of another class."""
        if self._without:
            warn(
                f"{self._without} images have no photograph of another class in the panel: they were judged with "
                f"{self.described['infills']} mosaics"
            )

    def _mosaic(self, seed: int) -> Tensor:
        return mosaic(self.preprocessing.size, seed=seed)

    def _photograph(self, image_id: str) -> Tensor:
        if image_id not in self._read:
            position = list(self.data.table["image_id"]).index(image_id)
            try:
                self._read[image_id] = self.data.load(position, self.preprocessing)[0]
            except ImageError as error:
                raise StoreError(
                    f"the photograph {image_id!r} of the panel that all masks of this study are judged with cannot be "
                    f"read: {error}; put it back"
                ) from error
        return self._read[image_id]
