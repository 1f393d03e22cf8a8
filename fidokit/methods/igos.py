"""iGOS++: two masks, one to delete and one to insert, optimised together along integrated gradients.

Source: Khorram, Lawson, Li, "iGOS++: integrated gradient optimized saliency by bilateral perturbations", ACM CHIL 2021
(arXiv 2012.15783), after Qi, Khorram, Li, "Visualizing deep networks by optimizing with integrated gradients", AAAI
2020 (I-GOS).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit._util.checks import COUNT, NOT_NEGATIVE, POSITIVE, WHOLE, Number, require_choice, require_numbers
from fidokit.methods.base import Batch, Computed, Method, OnProgress, Snapshot
from fidokit.methods.blend import upsample_kept
from fidokit.methods.concrete import image_keys, normal, uniform
from fidokit.methods.gradient_settings import BASELINES, Baseline
from fidokit.methods.infill import blur
from fidokit.methods.layers import checked_values, needs_gradient
from fidokit.methods.pyramid import baseline_images
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session

#: Terms of the loss: the image under the deletion mask; the baseline under the insertion mask, which shows the image
#: where the mask is low; both under the product of the two.
_TERMS = 4
#: The line search: a step is long enough where the loss falls by this share of what the gradient promises; else it is
#: made shorter by this factor, down to a shortest one.
_PROMISED, _SHORTER, _SHORTEST = 1e-4, 0.2, 1e-5


@dataclass(frozen=True)
class IgosSettings:
    """Settings of iGOS++.

    An iteration costs ``4 (steps + 1)`` evaluations and four for each length that the line search tries, at most
    twelve: about 2000 in all.

    Attributes:
        grid: cells a side of the masks: 28, as published for photographs.
        iterations: of the optimisation, 20 as published.
        steps: places on the way from a fully perturbed image to the mask at which gradients are taken, 20 as published.
        area_weight: of the mean of what the masks take away, 10 as published.
        smoothness_weight: of the bilateral total variation, 20 as published.
        edge: difference of neighbouring pixels, in standard deviations of the classifier's input, from which on a mask
            may change between them at little cost: 1, as in the authors' code.
        noise: standard deviation of the noise on the way, likewise: 0.2.
        step: length of the first step that the line search tries: 1000.
        baseline: what is inserted into and deleted with, see `IntegratedGradientsSettings`; ``blur`` as published.
        blur: standard deviation of the blur as a share of the shorter side: 15 pixels of 224, as wide as the authors'.
        seed: of the noise, together with each image's identity.

    Raises:
        SettingsError: a value outside its range.
    """

    grid: int = 28
    iterations: int = 20
    steps: int = 20
    area_weight: float = 10.0
    smoothness_weight: float = 20.0
    edge: float = 1.0
    noise: float = 0.2
    step: float = 1000.0
    baseline: Baseline = "blur"
    blur: float = 15 / 224
    seed: int = 0

    def __post_init__(self) -> None:
        require_numbers(self, grid=Number(least=2, whole=True), iterations=COUNT, steps=COUNT, seed=WHOLE)
        require_numbers(self, area_weight=NOT_NEGATIVE, smoothness_weight=NOT_NEGATIVE, noise=NOT_NEGATIVE)
        require_numbers(self, edge=POSITIVE, step=POSITIVE, blur=POSITIVE)
        require_choice(self, "baseline", BASELINES)


def bilateral_total_variation(mask: Tensor, x: Tensor, edge: float) -> Tensor:
    """(B,) roughness of masks, which counts less across edges of the image.

    The mean of two: squared differences of neighbouring cells; and those of neighbouring pixels of the upsampled mask,
    each times ``exp(-d^2 / edge)``, where d^2 is the mean over the channels of the squared difference of the image.

    Args:
        mask: (B, h, w).
        x: (B, 3, H, W) normalised images.
        edge: see `IgosSettings`.
    """
    fine = upsample_kept(mask[:, None], (x.shape[-2], x.shape[-1]))[:, 0]
    total = mask.new_zeros(len(mask))
    for axis in (-2, -1):
        total = total + mask.diff(dim=axis).square().mean(dim=(1, 2))
        smooth = torch.exp(-x.diff(dim=axis).square().mean(1) / edge)
        total = total + (smooth * fine.diff(dim=axis).square()).mean(dim=(1, 2))
    return total / 2


@dataclass
class _State:
    """The images in work, on the device.

    Attributes:
        x, baseline: (B, 3, H, W) normalised.
        goal: of the B images.
        keys: (B,) random streams.
        masks: (B, 2, h, w) deletion and insertion masks: 1 where nothing happens, 0 where the image is taken away, or
            put in.
        scores: (B, 2) score with what the product of the masks points at kept, and dropped, in the last iteration.
    """

    x: Tensor
    baseline: Tensor
    goal: Goal
    keys: Tensor
    masks: Tensor
    scores: Tensor

    def composites(self, masks: Tensor, image: Tensor, term: Tensor, share: Tensor) -> Tensor:
        """(E, 3, H, W) what the classifier is shown.

        Args:
            masks: (B, 2, h, w).
            image, term: (E,) whose image, and which term.
            share: (E,) how far on the way from a mask of zeros to the mask.
        """
        fine = upsample_kept(masks.flatten(0, 1)[:, None], (self.x.shape[-2], self.x.shape[-1]))
        fine = fine.view(len(masks), 2, *fine.shape[-2:])
        three = torch.stack([fine[:, 0], fine[:, 1], fine[:, 0] * fine[:, 1]], 1)
        mask = (three[image, term.clamp(max=2)] * share[:, None, None])[:, None]
        inserts = (term % 2 == 1)[:, None, None, None]
        shown, hidden = self.x[image], self.baseline[image]
        return torch.where(inserts, torch.lerp(shown, hidden, mask), torch.lerp(hidden, shown, mask))


class _Run:
    """One call: a few images at a time."""

    def __init__(self, session: Session, batch: Batch, settings: IgosSettings) -> None:
        self.session, self.batch, self.settings = session, batch, settings
        n, grid = len(batch), settings.grid
        self.raw = torch.full((n, 2, grid, grid), torch.nan)
        self.finished = torch.zeros(n, dtype=torch.bool)
        self.evaluations = torch.zeros(n, dtype=torch.int64)

    def optimise(self, on_progress: OnProgress | None) -> bool:
        """Optimise all images; True if Ctrl-C ended it early."""
        at_once = max(1, self.session.micro_batch // 8)
        try:
            for first in range(0, len(self.batch), at_once):
                if self._group(slice(first, first + at_once), on_progress):
                    break
        except KeyboardInterrupt:
            return True
        return False

    def _group(self, rows: slice, on_progress: OnProgress | None) -> bool:
        """All iterations of some images; True if a stop was asked for. What Ctrl-C leaves behind is kept."""
        state, done = self._start(rows), 0
        try:
            for done in range(1, self.settings.iterations + 1):
                self._iterate(state, rows, done - 1)
                last = done == self.settings.iterations
                self.raw[rows], self.finished[rows] = 1 - state.masks.cpu(), last
                if on_progress is not None and on_progress(self._snapshot(state, rows)):
                    return True
        except BaseException:
            # The iteration that was broken off has not touched the masks.
            self.finished[rows] = False
            raise
        return False

    def _start(self, rows: slice) -> _State:
        s, device = self.settings, self.session.device
        images = self.batch.images[rows].to(device)
        filled = (
            self.session.normalise(blur(images, s.blur))
            if s.baseline == "blur"
            else baseline_images(self.session, images, s.baseline)
        )
        return _State(
            x=self.session.normalise(images),
            baseline=filled,
            goal=self.batch.goal[rows].to(device),
            keys=image_keys(s.seed, self.batch.image_ids[rows]).to(device),
            masks=torch.ones(len(images), 2, s.grid, s.grid, device=device),
            scores=torch.full((len(images), 2), torch.nan, device=device),
        )

    def _iterate(self, state: _State, rows: slice, done: int) -> None:
        """One step of the masks, in place, after `done` others."""
        gradient = self._gradient(state, rows, done)
        loss, scores = self._loss(state, state.masks, torch.arange(len(state.masks), device=gradient.device), rows)
        length = torch.full_like(loss, self.settings.step)
        promised = _PROMISED * gradient.square().sum(dim=(1, 2, 3))
        # A loss that is NaN may have a gradient that is not; the masks must not hide it.
        gradient = gradient + 0 * loss[:, None, None, None]
        searching = torch.arange(len(loss), device=loss.device)
        while len(searching):
            tried, _ = self._loss(state, self._moved(state.masks, gradient, length)[searching], searching, rows)
            enough = tried <= loss[searching] - length[searching] * promised[searching]
            searching = searching[~enough & (length[searching] >= _SHORTEST) & loss[searching].isfinite()]
            length[searching] *= _SHORTER
        state.masks, state.scores = self._moved(state.masks, gradient, length), scores

    @staticmethod
    def _moved(masks: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        return (masks - length[:, None, None, None] * gradient).clamp(0, 1)

    def _gradient(self, state: _State, rows: slice, done: int) -> Tensor:
        """(B, 2, h, w) integrated gradients of what the classifier says, and the gradient of the rest."""
        s, b = self.settings, len(state.masks)
        device = state.masks.device
        numbers = torch.arange(b * _TERMS * s.steps, device=device)
        image, which = numbers // (_TERMS * s.steps), numbers % (_TERMS * s.steps)
        term, share = which // s.steps, (which % s.steps + 1) / s.steps
        with torch.enable_grad():
            masks = state.masks.clone().requires_grad_(True)
            (total,) = torch.autograd.grad(self._regularisers(state.x, masks).sum(), masks)

        def run(part: slice) -> Tensor:
            with torch.enable_grad():
                masks = state.masks.clone().requires_grad_(True)
                shown = state.composites(masks, image[part], term[part], share[part])
                if s.noise:
                    counter = done * _TERMS * s.steps + which[part]
                    u = uniform(state.keys[image[part]], counter, tuple(shown.shape[1:]))
                    shown = shown + s.noise * normal(u)
                score = self._score(state, shown, image[part])
                signed = torch.where(term[part] % 2 == 1, -score, score) / s.steps
                return torch.autograd.grad(signed.sum(), masks)[0]

        for _, gradient in self.session.in_micro_batches(len(numbers), run):
            total = total + gradient
        self.evaluations[rows] += _TERMS * s.steps
        return total

    @torch.no_grad()
    def _loss(self, state: _State, masks: Tensor, images: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """(R,) losses of (R, 2, h, w) masks of some images, and (R, 2) scores kept and dropped."""
        part = _State(state.x[images], state.baseline[images], state.goal[images], state.keys, masks, state.scores)
        image = torch.arange(len(masks), device=masks.device).repeat_interleave(_TERMS)
        term = torch.arange(_TERMS, device=masks.device).repeat(len(masks))

        def run(some: slice) -> Tensor:
            shown = part.composites(masks, image[some], term[some], torch.ones_like(image[some]).float())
            return self._score(part, shown, image[some])

        scores = [found for _, found in self.session.in_micro_batches(len(image), run)]
        own = torch.cat(scores).view(-1, _TERMS)
        whole = torch.arange(len(self.batch))[rows][images.cpu()]
        self.evaluations[whole] += _TERMS
        loss = own[:, 0] - own[:, 1] + own[:, 2] - own[:, 3] + self._regularisers(part.x, masks)
        return loss, torch.stack([own[:, 3], own[:, 2]], 1)

    def _score(self, state: _State, shown: Tensor, image: Tensor) -> Tensor:
        logits = self.session.evaluate(shown)
        return checked_values(state.goal[image].score(logits), logits)

    def _regularisers(self, x: Tensor, masks: Tensor) -> Tensor:
        both = masks[:, 0] * masks[:, 1]
        rough = bilateral_total_variation(both, x, self.settings.edge)
        return self.settings.area_weight * (1 - both).mean(dim=(1, 2)) + self.settings.smoothness_weight * rough

    def _snapshot(self, state: _State, rows: slice) -> Snapshot:
        s, ids = self.settings, list(self.batch.image_ids[rows])
        most = s.iterations * _TERMS * (s.steps + 13)
        return Snapshot(
            image_ids=ids,
            masks={"attribution": to_mask(self.raw[rows])},
            score_kept=state.scores[:, 0].cpu(),
            score_dropped=state.scores[:, 1].cpu(),
            evaluations=int(self.evaluations.sum()),
            total=len(self.batch) * most,
            finished=int(self.finished.sum()),
        )


def to_mask(raw: Tensor) -> Tensor:
    """(B, h, w) in [0, 1] of (B, 2, h, w) what the two masks take away, and put in: what either of them points at."""
    return 1 - (1 - raw[:, 0]) * (1 - raw[:, 1])


def _compute(
    classifier: Classifier, batch: Batch, settings: IgosSettings, on_progress: OnProgress | None = None
) -> Computed:
    """Masks of a batch; ``raw`` is (B, 2, h, w): what the deletion mask takes away, and the insertion mask puts in."""
    with classifier.session(exact=True) as session:
        run = _Run(session, batch, settings)
        interrupted = run.optimise(on_progress)
    return Computed(
        kinds={"attribution": to_mask(run.raw)},
        evaluations=run.evaluations,
        finished=run.finished,
        raw=run.raw,
        interrupted=interrupted,
    )


METHOD = Method(
    _compute,
    IgosSettings,
    ("attribution",),
    "a deletion and an insertion mask, optimised together along integrated gradients",
    needs_gradient,
)
