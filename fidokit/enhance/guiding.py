"""Masks that guide, and the views that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fidokit._util.warning import warn
from fidokit._util.wording import given
from fidokit.data.geometry import Box
from fidokit.enhance.boxes import WHOLE, connected_evidence, mask_box, square
from fidokit.enhance.settings import GuidedSettings
from fidokit.enhance.views import View
from fidokit.exceptions import MethodNotApplicable
from fidokit.methods import compute_masks, get_method
from fidokit.methods.base import Batch, Masks, resize_masks
from fidokit.methods.regions import Subjects, sufficient_regions
from fidokit.models.isolation import together_or_alone

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Guide:
    """What says where to look: a mask, and the region that was cut from it where that was asked for.

    Attributes:
        mask: (h, w) on the CPU.
        region: (H, W) bool, see `GuidedSettings.evidence`; None where the mask itself guides.
    """

    mask: Tensor
    region: Tensor | None = None

    def box(self, share: float) -> Box:
        """The box of this share of the evidence, see `GuidedSettings.share`."""
        if self.region is None:
            return mask_box(self.mask.numpy(), share)
        return mask_box(self._pieces(share), 1.0)

    def kept(self, share: float) -> Tensor:
        """What stays visible in the ways that fade."""
        return self.mask if self.region is None else torch.from_numpy(self._pieces(share)).float()

    def _pieces(self, share: float) -> npt.NDArray[np.bool_]:
        assert self.region is not None
        size = (self.region.shape[0], self.region.shape[1])
        return connected_evidence(self.region.numpy(), resize_masks(self.mask.float(), size).numpy(), share)


@dataclass(frozen=True)
class GuideMasks:
    """Masks of C candidate classes for each of B images.

    Attributes:
        masks: B lists of C (h, w) masks on the CPU; None where there is none.
        regions: B lists of C (H, W) regions; None where there is none, or none was asked for.
        evaluations: (B,) spent on each image, all its candidates together.
        failures: image_id -> why one of its masks could not be computed.
    """

    masks: list[list[Tensor | None]]
    regions: list[list[Tensor | None]]
    evaluations: Tensor
    failures: dict[str, str]

    def guides(self, i: int) -> list[Guide]:
        """Those of one image, of the candidates that have a mask."""
        pairs = zip(self.masks[i], self.regions[i], strict=True)
        return [Guide(mask, region) for mask, region in pairs if mask is not None]


def first_look(classifier: Classifier, settings: GuidedSettings) -> GuidedSettings | None:
    """The settings of the look before the masks; None where there is none, or the classifier does not suit it.

    Warns:
        RuntimeWarning: the classifier lacks what the first look's method needs, so that masks are made of all.
    """
    first = settings.first_look
    if first is None:
        return None
    method = get_method(first.method)
    try:
        if method.check is not None:
            method.check(classifier, first.own_settings)
    except MethodNotApplicable as error:
        warn(
            f"there is no first look, and masks are made of every photograph: {error}. {given(first=None)} "
            "says that you know"
        )
        return None
    return first


def guide_masks(
    classifier: Classifier,
    images: Tensor,
    image_ids: Sequence[str],
    logits: Tensor,
    targets: Tensor,
    settings: GuidedSettings,
    first: int = 0,
) -> GuideMasks:
    """Masks of several candidate classes of each image, all in one batch, and their regions if they are asked for.

    A mask does not depend on how many candidates there are: that of the likeliest class has the random stream of the
    image itself, as in a study, the k-th that of "IMAGE_ID, candidate k". A batch that raises is computed mask by mask,
    so that a bad image costs only itself.

    Args:
        classifier: whose decisions the masks explain.
        images: (B, 3, H, W) in [0, 1].
        image_ids: B different names.
        logits: (B, K) of the whole images.
        targets: (B, C) class indices, the likeliest first.
        settings: method, kind, evidence and the method's settings are read.
        first: number of candidates before those in `targets`.

    Raises:
        KeyboardInterrupt: Ctrl-C came before all masks were finished.
        MethodNotApplicable: the classifier lacks what the method needs.
        FidokitError: anything else that would hit every image alike.
    """
    method = get_method(settings.method)
    own = settings.own_settings
    n, candidates = targets.shape
    names = [_stream(image_id, first + k) for image_id in image_ids for k in range(candidates)]
    repeated = logits.repeat_interleave(candidates, 0)
    batch = Batch(
        images.repeat_interleave(candidates, 0), names, classifier.goal(repeated, targets.reshape(-1)), repeated
    )
    made: dict[str, Tensor] = {}
    spent: dict[str, int] = {}
    reasons: dict[str, str] = {}

    def add(masks: Masks, size: int) -> None:
        if len(masks) + len(masks.failures) < size or not bool(masks.finished.all()):
            raise KeyboardInterrupt
        if len(masks):
            made.update(zip(masks.image_ids, masks[settings.mask_kind], strict=True))
        spent.update(zip(masks.image_ids, masks.evaluations.tolist(), strict=True))
        reasons.update(masks.failures)

    with classifier.session():
        if method.check is not None and len(batch):
            method.check(classifier, own)
        before = classifier.counter.evaluations

        def compute(rows: slice) -> None:
            part = batch[rows]
            add(compute_masks(settings.method, classifier, part, own, scores=False), len(part))

        for rows, reason in together_or_alone(compute, len(batch)):
            if reason is not None:
                reasons[names[rows.start]] = reason
        total = classifier.counter.evaluations - before
    if reasons:
        # What was spent in vain is theirs.
        vain = max(0, total - sum(spent.values())) // len(reasons)
        spent.update(dict.fromkeys(reasons, vain))
    failures: dict[str, str] = {}
    for position, name in enumerate(names):
        if name in reasons:
            failures.setdefault(image_ids[position // candidates], reasons[name])
    flat = [made.get(name) for name in names]
    regions, costs = guide_regions(classifier, batch.images, batch.logits, targets.reshape(-1), flat, settings)
    owners = [slice(i * candidates, (i + 1) * candidates) for i in range(n)]
    total_spent = torch.tensor([spent.get(name, 0) for name in names], dtype=torch.int64) + costs
    return GuideMasks(
        [flat[own] for own in owners],
        [regions[own] for own in owners],
        total_spent.reshape(n, candidates).sum(1),
        failures,
    )


def guide_regions(
    classifier: Classifier,
    images: Tensor,
    logits: Tensor,
    targets: Tensor,
    masks: Sequence[Tensor | None],
    settings: GuidedSettings,
) -> tuple[list[Tensor | None], Tensor]:
    """The regions that guide, where settings ask for them.

    Args:
        classifier: that the masks explain.
        images: (B, 3, H, W) in [0, 1].
        logits: (B, K) of the whole images.
        targets: (B,) class indices.
        masks: B of (h, w), None where there is none.
        settings: evidence and region_kept are read.

    Returns:
        B of (H, W) bool, all of the image where no region holds, None where there is none; (B,) evaluations spent.
    """
    regions: list[Tensor | None] = [None] * len(masks)
    spent = torch.zeros(len(masks), dtype=torch.int64)
    rows = [row for row, mask in enumerate(masks) if mask is not None]
    if settings.evidence != "region" or not rows:
        return regions, spent
    goal = classifier.goal(logits[rows], targets[rows])
    stacked = torch.stack([mask for mask in masks if mask is not None])
    with classifier.session() as session:
        subjects = Subjects([str(row) for row in rows], images[rows], goal, goal.score(logits[rows]))
        found, holds, cost = sufficient_regions(classifier, session, subjects, stacked, settings.region_kept)
    for row, region, held in zip(rows, found, holds.tolist(), strict=True):
        regions[row] = region if held else torch.ones_like(region)
        spent[row] = cost
    return regions, spent


def views_of(guide: Guide, settings: GuidedSettings) -> list[View]:
    """The views that one mask asks for."""
    if settings.way == "fade":
        return [View(WHOLE, guide.kept(settings.share))]
    box = guide.box(settings.share)
    faded = guide.kept(settings.share) if settings.way == "crop+fade" else None
    return [View(square(box, padding, settings.smallest), faded) for padding in settings.paddings]


def _stream(image_id: str, candidate: int) -> str:
    return image_id if candidate == 0 else f"{image_id}, candidate {candidate + 1}"
