"""Whether the answer stays when what lies outside a mask is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from tqdm.auto import tqdm

from fidokit.errors.features import choose_masks
from fidokit.exceptions import SettingsError
from fidokit.methods.base import resize_masks
from fidokit.methods.infill import local, mean
from fidokit.study.metrics.ranks import most_important, ranks

if TYPE_CHECKING:
    from fidokit.study.study import Study

#: What stands in for the outside: the image's mean colour, and its colours without its details.
_INFILLS = (mean, local)
#: Of the classifier's input, that a mask keeps: masks of different methods are compared by rank.
_KEPT = 0.25
_CHUNK = 32


def masks_to_keep(study: Study) -> tuple[str, str]:
    """Label of the method and kind of the masks that `fill_in` keeps.

    Raises:
        SettingsError: the masks explain the label.
    """
    chosen = choose_masks(study, None, None, [])
    if chosen is None:
        raise SettingsError(
            "the masks of this study explain the label, which an order must not know; leave out interventions"
        )
    return chosen


def fill_in(
    study: Study,
    masks: tuple[str, str],
    positions: npt.NDArray[np.int64],
    notes: list[str],
    *,
    progress: bool = False,
) -> npt.NDArray[np.float64]:
    """Keep the most important quarter of photographs by the study's mask, fill in the rest, and classify again.

    Args:
        study: with masks.
        masks: label of the method, and kind.
        positions: (M,) of photographs in the study.
        notes: told of how many evaluations it took, and of an early end.
        progress: whether to show a bar, whose total is the number of evaluations.

    Returns:
        (M,) share of the infills under which the answer is another one; NaN without a mask.
    """
    method, kind = masks
    ids = study.images["image_id"].iloc[positions].tolist()
    masked = {image_id for image_id, _ in study.mask_keys(method, [kind], image_ids=ids)}
    wanted = [int(position) for position, image_id in zip(positions, ids, strict=True) if image_id in masked]
    place = {int(position): row for row, position in enumerate(positions)}
    changed = np.full(len(positions), np.nan)
    predicted, names = study.predictions()["predicted"], np.asarray(study.classifier.class_names, dtype=object)
    done = 0
    with (
        study.classifier.session() as session,
        tqdm(total=len(wanted) * len(_INFILLS), unit="evaluation", desc="filling in", disable=not progress) as bar,
        study.reading(wanted, _CHUNK) as reading,
    ):
        try:
            for chunk in reading:
                own = study.images["image_id"].iloc[chunk.positions].tolist()
                table = study.masks(method, kind, ["image_id", "mask"], own).set_index("image_id")
                size_of_input = (chunk.images.shape[2], chunk.images.shape[3])
                whole = torch.stack(
                    [resize_masks(torch.from_numpy(mask), size_of_input) for mask in table["mask"].loc[own]]
                )
                kept = most_important(ranks(whole), _KEPT)[:, None]
                answers = [
                    names[session.logits(torch.lerp(infill(chunk.images), chunk.images, kept)).argmax(1).numpy()]
                    for infill in _INFILLS
                ]
                before = predicted.iloc[chunk.positions].to_numpy(object)
                rows = [place[position] for position in chunk.positions]
                changed[rows] = np.mean([said != before for said in answers], axis=0)
                done += len(chunk.positions)
                bar.update((len(chunk.positions) + len(chunk.unread)) * len(_INFILLS))
                del chunk
        except KeyboardInterrupt:
            notes.append(f"stopped after {done} of {len(wanted)} photographs were filled in; the others go without")
    notes.append(
        f"of {done} photographs, what lies outside the strongest quarter of the mask ({method}, {kind}) was filled "
        f"in, in {done * len(_INFILLS)} evaluations"
    )
    return changed
