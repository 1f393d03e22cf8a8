"""Part scores of masks against the true effects of removing each part.

After the part-based tests of FunnyBirds: Hesse, Schaub-Meyer, Roth, ICCV 2023 (arXiv 2308.06248).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fidokit.data.geometry import to_input
from fidokit.data.images import LabelledImages
from fidokit.exceptions import FidokitError
from fidokit.methods.base import resize_masks
from fidokit.models.goals import Goal
from fidokit.study.metrics.ranks import rank_correlation, soften

if TYPE_CHECKING:
    from fidokit.data.geometry import Geometry, Preprocessing
    from fidokit.models.session import Session

#: A user's removal: dataset, position and the name of a part -> the photograph without it, as large as before.
Removal = Callable[[LabelledImages, int, str], Image.Image]
#: How a mask scores a part: the sum of its values there, or their mean.
PartScore = Literal["sum", "mean"]
PART_SCORES: tuple[PartScore, ...] = ("sum", "mean")
#: With fewer visible parts there is no order worth a correlation.
LEAST_PARTS = 3
Parts = Mapping[str, npt.NDArray[np.bool_]]


def removal_name(removal: Removal | None) -> str:
    """How the store remembers the way in which parts were removed."""
    if removal is None:
        return "filled in with the panel"
    return f"{getattr(removal, '__module__', '')}.{getattr(removal, '__qualname__', type(removal).__qualname__)}"


def visible(parts: Parts) -> dict[str, Tensor]:
    """The parts that have pixels, as (H, W) bool tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in parts.items() if mask.any()}


@torch.no_grad()
def filled_effects(session: Session, image: Tensor, goal: Goal, parts: Mapping[str, Tensor], infills: Tensor) -> Tensor:
    """(N,) drops of the target's log-odds when each part is filled in, edges softened, mean over (P, 3, H, W) infills.

    Args:
        session: an exact one: effects of small parts drown in a low precision.
        image: (3, H, W) in [0, 1].
        goal: of the one image.
        parts: N of them, (H, W) bool.
        infills: of the panel.
    """
    regions = soften(torch.stack([*parts.values()]).to(image.device))[:, None]
    variants = torch.cat([torch.lerp(image.expand_as(infill), infill, regions) for infill in infills])
    odds = _log_odds(session, goal, torch.cat([image[None], variants]))
    return odds[0] - odds[1:].view(len(infills), -1).mean(0)


@torch.no_grad()
def removed_effects(
    session: Session,
    image: Tensor,
    goal: Goal,
    removed: Mapping[str, Image.Image],
    geometry: Geometry,
    preprocessing: Preprocessing,
) -> Tensor:
    """(N,) drops of the target's log-odds from the image to N photographs without a part.

    Raises:
        FidokitError: a photograph has another size than the whole one.
    """
    inputs = [image[None].cpu()]
    for part, photograph in removed.items():
        if preprocessing.transform is not None:
            inputs.append(preprocessing.transformed(photograph.convert("RGB"), f"without {part!r}")[None])
            continue
        if photograph.size != (geometry.width, geometry.height):
            raise FidokitError(
                f"the removal gave a picture of {photograph.width} x {photograph.height} pixels without {part!r}, the "
                f"photograph has {geometry.width} x {geometry.height}"
            )
        inputs.append(to_input(photograph.convert("RGB"), geometry, preprocessing.interpolation)[None])
    odds = _log_odds(session, goal, torch.cat(inputs))
    return odds[0] - odds[1:]


def _log_odds(session: Session, goal: Goal, images: Tensor) -> Tensor:
    return goal.repeat(len(images)).log_odds(session.logits(images))


def part_scores(mask: Tensor, parts: Mapping[str, Tensor], how: PartScore = "sum") -> Tensor:
    """(N,) scores of the parts in an (h, w) mask: its values on the part, summed or averaged.

    The sum is the default: the effect is that of removing the whole part, and a method that spreads a large part's
    importance over its pixels is right (FunnyBirds sums as well).
    """
    regions = torch.stack([*parts.values()]).flatten(1).double()
    size = next(iter(parts.values())).shape
    values = resize_masks(mask[None].float(), (size[0], size[1])).flatten().double()
    sums = regions @ values
    return sums if how == "sum" else sums / regions.sum(1)


def part_correlation(mask: Tensor, parts: Mapping[str, Tensor], effects: Tensor, how: PartScore) -> float:
    """Spearman rank correlation of part scores and effects; NaN where one of them is the same for all parts."""
    return float(rank_correlation(part_scores(mask, parts, how)[None], effects.double()[None]))


def correlation_row(mask: Tensor, parts: Mapping[str, Tensor], effects: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the group ``parts`` for one mask.

    Args:
        mask: (h, w).
        parts: the visible parts.
        effects: part -> effect; or, under the key "", why they are not known.
    """
    if "" in effects:
        return {"reason": f"part_correlation: {effects['']}"}
    if len(parts) < LEAST_PARTS:
        return {"reason": f"part_correlation: {len(parts)} visible parts, at least {LEAST_PARTS} are needed"}
    truth = torch.tensor([effects[name] for name in parts])
    if not bool(torch.isfinite(truth).all()):
        return {"reason": "part_correlation: the effect of a part is not a finite number"}
    found = {f"part_correlation_{how}": part_correlation(mask, parts, truth, how) for how in PART_SCORES}
    undefined = any(value != value for value in found.values())
    return {**found, "reason": "part_correlation: all parts have the same score or effect" if undefined else None}
