"""Photographs and masks of a study for whoever shows them, a few images at a time."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit.data.images import LabelledImages
from fidokit.exceptions import StoreError
from fidokit.methods.base import KINDS
from fidokit.study.regions import region_frame
from fidokit.study.store.store import mask_arrays

if TYPE_CHECKING:
    from fidokit.study.study import Study

_COLUMNS = [
    *("image_id", "kind", "target", "against", "mask", "height", "width"),
    *("evaluations", "score_full", "score_kept", "score_dropped", "explained"),
]


def photographs_of(study: Study) -> tuple[LabelledImages | None, str | None]:
    """The photographs; if they are no longer as they were, what there is of them, and a remark that says so.

    None of those that a stranger's study names: whoever gets the page would see them.
    """
    try:
        return study.data, None
    except StoreError as error:
        if not study.is_own:
            return None, f"Look out: {error}"
        return LabelledImages(study.images, Path(study.manifest["dataset"]["root"])), f"Look out: {error}"


def masks_of(study: Study, image_ids: Collection[str]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of the table of masks for some images, by image, method and kind; `mask` is the (h, w) float32 array.

    Only the parts that hold these images are read.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    chunks = study.chunks_of(image_ids)
    for method in study.methods:
        for batch in study.store.mask_batches([method], _COLUMNS, chunks=chunks, image_ids=image_ids):
            rows = batch.drop_columns(["mask"]).to_pylist()
            for row, mask in zip(rows, mask_arrays(batch), strict=True):
                found[row["image_id"], method, row["kind"]] = row | {"mask": mask}
    return found


def regions_of(study: Study, image_ids: Collection[str]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The verified regions of some images as far as they were cut, by image, method and kind; nothing is computed.

    Each is a row of `Study.regions`.
    """
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    rows: list[dict[str, Any]] = region_frame(study, study.methods, KINDS, image_ids).to_dict("records")  # type: ignore[assignment]
    for row in rows:
        found.setdefault((row["image_id"], row["method"], row["kind"]), []).append(row)
    return found
