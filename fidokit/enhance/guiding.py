"""Masks that guide, and the views that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.enhance.boxes import WHOLE, mask_box, square
from fidokit.enhance.settings import GuidedSettings
from fidokit.enhance.views import View
from fidokit.methods import compute_masks, get_method
from fidokit.methods.base import Batch, Masks
from fidokit.models.isolation import together_or_alone

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier


@dataclass(frozen=True)
class GuideMasks:
    """Masks of C candidate classes for each of B images.

    Attributes:
        masks: B lists of C (h, w) masks on the CPU; None where there is none.
        evaluations: (B,) spent on each image, all its candidates together.
        failures: image_id -> why one of its masks could not be computed.
    """

    masks: list[list[Tensor | None]]
    evaluations: Tensor
    failures: dict[str, str]


def guide_masks(
    classifier: Classifier,
    images: Tensor,
    image_ids: Sequence[str],
    logits: Tensor,
    targets: Tensor,
    settings: GuidedSettings,
    first: int = 0,
) -> GuideMasks:
    """Masks of several candidate classes of each image, all in one batch.

    A mask does not depend on how many candidates there are: that of the likeliest class has the random stream of the
    image itself, as in a study, the k-th that of "IMAGE_ID, candidate k". A batch that raises is computed mask by mask,
    so that a bad image costs only itself.

    Args:
        classifier: whose decisions the masks explain.
        images: (B, 3, H, W) in [0, 1].
        image_ids: B different names.
        logits: (B, K) of the whole images.
        targets: (B, C) class indices, the likeliest first.
        settings: method, kind and the method's settings are read.
        first: number of candidates before those in `targets`.

    Raises:
        KeyboardInterrupt: Ctrl-C came before all masks were finished.
        MethodNotApplicable: the classifier lacks what the method needs.
        FidokitError: anything else that would hit every image alike.
    """
    method = get_method(settings.method)
    own = method.resolve(settings.method_settings)
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
    return GuideMasks(
        [[made.get(name) for name in names[i * candidates : (i + 1) * candidates]] for i in range(n)],
        torch.tensor([spent.get(name, 0) for name in names], dtype=torch.int64).reshape(n, candidates).sum(1),
        failures,
    )


def views_of(mask: Tensor, settings: GuidedSettings) -> list[View]:
    """The views that one (h, w) mask asks for."""
    if settings.way == "fade":
        return [View(WHOLE, mask)]
    box = mask_box(mask.numpy(), settings.share)
    faded = mask if settings.way == "crop+fade" else None
    return [View(square(box, padding, settings.smallest), faded) for padding in settings.paddings]


def _stream(image_id: str, candidate: int) -> str:
    return image_id if candidate == 0 else f"{image_id}, candidate {candidate + 1}"
