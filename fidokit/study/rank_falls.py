"""How many ranks the right individual falls without a mask's region, over a study."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit._util.warning import warn
from fidokit.data.reading import read_chunks
from fidokit.methods.base import resize_masks
from fidokit.methods.individuals import RANK_COLUMNS, Filling
from fidokit.models.goals import class_index
from fidokit.study.store.store import mask_arrays

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy


def study_rank_falls(
    study: StoredStudy,
    labels: Sequence[str],
    kinds: Sequence[str],
    area: float,
    controls: int,
    infills: Tensor | None,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    """The table of `Study.rank_falls`; photographs that cannot be read any more are left out, and said."""
    classifier, data = study.classifier, study.data
    predictions = study.predictions()
    right = {
        image_id: label
        for image_id, label in zip(predictions["image_id"], predictions["label"], strict=True)
        if label in classifier.class_names
    }
    ids = list(study.positions)
    rows: list[dict[str, Any]] = []
    lost: dict[str, str] = {}
    with (
        classifier.session() as session,
        tqdm(total=len(ids), unit="image", disable=not progress) as bar,
        closing(read_chunks(data, classifier.preprocessing, study.chunks_to_read(ids))) as reading,
    ):
        filling = Filling.of(classifier, session, infills, area, controls, seed)
        for chunk in reading:
            images = {ids[position]: image for position, image in zip(chunk.positions, chunk.images, strict=True)}
            lost |= {ids[position]: reason for position, reason in chunk.unread.items()}
            for label in labels:
                table = study.store.mask_part(label, chunk.number)
                columns = (table[name].to_pylist() for name in ("image_id", "kind", "target"))
                for image_id, kind, target, array in zip(*columns, mask_arrays(table), strict=True):
                    if image_id not in images or kind not in kinds:
                        continue
                    mask = resize_masks(torch.from_numpy(array.copy())[None], classifier.size)[0]
                    own = class_index(right.get(image_id, target), classifier.class_names)
                    found = filling.falls(image_id, images[image_id], mask, own)
                    if isinstance(found, str):
                        lost[image_id] = found
                    else:
                        rows.append({"image_id": image_id, "method": label, "kind": kind, **found})
            bar.update(len(chunk.positions) + len(chunk.unread))
    if lost:
        warn(f"the ranks of {len(lost)} photographs are not known: {next(iter(lost.values()))}")
    return pd.DataFrame(rows, columns=["image_id", "method", "kind", *RANK_COLUMNS])
