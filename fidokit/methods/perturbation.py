"""RISE, and the registry of the methods that perturb the image.

Source of RISE: Petsiuk, Das, Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018
(arXiv 1806.07421).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.methods import extremal
from fidokit.methods.base import Batch, Computed, Method, OnProgress, Snapshot
from fidokit.methods.blend import blend, interpolation_matrix
from fidokit.methods.concrete import image_keys, uniform
from fidokit.methods.gradient import scale_to_mask
from fidokit.methods.layers import needs_gradient
from fidokit.methods.perturbation_settings import ExtremalSettings as ExtremalSettings
from fidokit.methods.perturbation_settings import RiseSettings as RiseSettings
from fidokit.methods.pyramid import baseline_images

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session

#: Snapshots of each image.
_LOOKS = 10


def random_masks(key: Tensor, first: int, count: int, grid: int, probability: float, size: tuple[int, int]) -> Tensor:
    """Random masks `first` to ``first + count - 1`` of an image (section 3.2 of the paper).

    A grid of ``grid x grid`` cells, each 1 with the given probability, is interpolated bilinearly to one cell more than
    the image has, and a window of the image's size is cut out at a random place.

    Args:
        key: (1,) int64, the image's random stream; it alone decides, with the number of the mask.
        first, count: which masks.
        grid: cells a side.
        probability: of a cell to be kept.
        size: (H, W) in pixels.

    Returns:
        (count, H, W) float32 in [0, 1], on the key's device.
    """
    device = key.device
    number = torch.arange(first, first + count, device=device)
    u = uniform(key.expand(count), number, (grid * grid + 2,))
    cells = (u[:, :-2] < probability).float().view(count, grid, grid)
    down, across = (_windows(u[:, column], grid, pixels) for column, pixels in zip((-2, -1), size, strict=True))
    return down @ cells @ across.transpose(1, 2)


def _windows(u: Tensor, grid: int, pixels: int) -> Tensor:
    """(E, pixels, grid) interpolation weights of windows whose place is given by (E,) uniform numbers."""
    cell = -(-pixels // grid)
    whole = interpolation_matrix(grid, (grid + 1) * cell, u.device)
    first = (u * cell).long()
    return whole[first[:, None] + torch.arange(pixels, device=u.device)]


class _Sums:
    """The sums over an image's masks from which its map is made.

    Scores are counted from the first one, so that a classifier that ignores the image gives a map of zeros and not of
    rounding errors.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self.done = 0
        self.first = torch.zeros((), device=device)
        self.score = torch.zeros((), device=device)
        self.mask = torch.zeros(size, device=device)
        self.product = torch.zeros(size, device=device)

    def add(self, scores: Tensor, masks: Tensor) -> None:
        """(E,) scores of (E, H, W) masks."""
        if self.done == 0:
            self.first = scores[0]
        above = scores - self.first
        self.score = self.score + above.sum()
        self.mask = self.mask + masks.sum(0)
        self.product = self.product + torch.tensordot(above, masks, dims=1)
        self.done += len(scores)

    def map(self, settings: RiseSettings) -> Tensor:
        """(H, W) ``1 / (N p) sum_i score_i mask_i``, eq. 6 of the paper; centred, the mean score is taken off first."""
        shift = -self.score / self.done if settings.centre else self.first
        return (self.product + shift * self.mask) / (self.done * settings.probability)


def to_mask(raw: Tensor) -> Tensor:
    """(B, h, w) masks in [0, 1] of (B, 1, h, w) maps, from `scale_to_mask`; the least of an image's values becomes 0.

    A map of RISE has no natural zero: the score of an image half of which is hidden is part of every value.
    """
    return scale_to_mask((raw - raw.amin(dim=(2, 3), keepdim=True))[:, 0])


class _Rise:
    """One call: the images one after the other, each with as many masks at once as a micro-batch holds."""

    def __init__(self, session: Session, batch: Batch, settings: RiseSettings) -> None:
        self.session, self.batch, self.settings = session, batch, settings
        n = len(batch)
        self.size = (batch.images.shape[-2], batch.images.shape[-1])
        self.keys = image_keys(settings.seed, batch.image_ids).to(session.device)
        self.raw = torch.full((n, 1, *self.size), torch.nan)
        self.evaluations = torch.zeros(n, dtype=torch.int64)

    @property
    def finished(self) -> Tensor:
        """(B,) images with all their masks."""
        return self.evaluations == self.settings.samples

    @torch.no_grad()
    def explain(self, on_progress: OnProgress | None) -> bool:
        """Explain all images; True if Ctrl-C ended it early."""
        try:
            for image in range(len(self.batch)):
                sums = _Sums(self.size, self.session.device)
                try:
                    if self._explain(image, sums, on_progress):
                        break
                finally:
                    if sums.done:
                        self.raw[image, 0] = sums.map(self.settings).cpu()
        except KeyboardInterrupt:
            return True
        return False

    def _explain(self, image: int, sums: _Sums, on_progress: OnProgress | None) -> bool:
        s, session = self.settings, self.session
        here = self.batch.images[image : image + 1].to(session.device)
        x, baseline = session.normalise(here), baseline_images(session, here, s.baseline)
        goal = self.batch.goal[image : image + 1].to(session.device)
        looks = 0

        def run(rows: slice) -> tuple[Tensor, Tensor]:
            count = rows.stop - rows.start
            masks = random_masks(self.keys[image : image + 1], rows.start, count, s.grid, s.probability, self.size)
            whole, filled = (self._copies(one, count) for one in (x, baseline))
            return goal.repeat(count).score(session.evaluate(blend(masks[:, None], whole, filled))), masks

        for _, (scores, masks) in session.in_micro_batches(s.samples, run):
            sums.add(scores, masks)
            self.evaluations[image] += len(masks)
            if on_progress is not None and sums.done * _LOOKS // s.samples > looks:
                looks = sums.done * _LOOKS // s.samples
                if on_progress(self._snapshot(image, sums)):
                    return True
        return False

    def _copies(self, image: Tensor, count: int) -> Tensor:
        return image.expand(count, -1, -1, -1).contiguous(memory_format=self.session.memory_format)

    def _snapshot(self, image: int, sums: _Sums) -> Snapshot:
        nothing = torch.full((1,), torch.nan)
        return Snapshot(
            image_ids=[self.batch.image_ids[image]],
            masks={"attribution": to_mask(sums.map(self.settings)[None, None].cpu())},
            score_kept=nothing,
            score_dropped=nothing,
            evaluations=int(self.evaluations.sum()),
            total=len(self.batch) * self.settings.samples,
            finished=int(self.finished.sum()),
        )


def rise(
    classifier: Classifier, batch: Batch, settings: RiseSettings, on_progress: OnProgress | None = None
) -> Computed:
    """RISE's masks of a batch; see `Method`."""
    with classifier.session() as session:
        run = _Rise(session, batch, settings)
        interrupted = run.explain(on_progress)
    return Computed(
        kinds={"attribution": to_mask(run.raw)},
        evaluations=run.evaluations,
        finished=run.finished,
        raw=run.raw,
        interrupted=interrupted,
    )


METHODS: dict[str, Method] = {
    "rise": Method(
        rise, RiseSettings, ("attribution",), "random masks, each weighted by the score of what it leaves of the image"
    ),
    "extremal-perturbation": Method(
        extremal.compute,
        ExtremalSettings,
        ("attribution",),
        "smooth masks of several given areas, optimised to keep the class logit high",
        needs_gradient,
    ),
}
