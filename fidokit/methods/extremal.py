"""Extremal perturbations: the smooth mask of a given area that, kept, makes the class logit largest.

Source: Fong, Patrick, Vedaldi, "Understanding deep networks via extremal perturbations and smooth masks", ICCV 2019
(arXiv 1910.08485).
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.methods.base import Batch, Computed, OnProgress, Snapshot
from fidokit.methods.blend import upsample_kept
from fidokit.methods.infill import blur
from fidokit.methods.layers import class_values
from fidokit.methods.perturbation_settings import ExtremalSettings
from fidokit.methods.pyramid import perturbed, pyramid
from fidokit.methods.smooth_masks import SmoothMasks, area_loss, area_template
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session

#: Steps between snapshots.
_LOOK = 10
#: A mask has settled when its area is this close to the one asked for: as a share of it, or, if that is more, of the
#: image, since a mask cannot have an area much smaller than a spot.
TOLERANCE, LEAST_TOLERANCE = 0.25, 0.01


@dataclass
class State:
    """The masks in work, one row each: all areas of an image, then those of the next. All live on the device.

    Attributes:
        levels: (B, L, H, W, 3) the images' pyramids.
        goal: what to explain of the B images.
        seeds: (M, n, m) in [0, 1]; `velocity` is their momentum.
        template: (M, h w) sorted values that the masks should have.
        score: (M, 2) score with the mask's region kept, and with it perturbed, in the last step; NaN where the game
            does not ask.
    """

    levels: Tensor
    goal: Goal
    seeds: Tensor
    velocity: Tensor
    template: Tensor
    score: Tensor


class Descent:
    """Gradient descent on the masks of some images at once; no mask sees another.

    Args:
        session: where evaluations go through.
        settings: of the method.
        size: (H, W) of the images.
    """

    def __init__(self, session: Session, settings: ExtremalSettings, size: tuple[int, int]) -> None:
        self.session, self.settings, self.size = session, settings, size
        sigma = settings.sigma * min(size)
        self.masks = SmoothMasks(settings.seeds(size), settings.detail, sigma, size, session.device)

    def start(self, images: Tensor, goal: Goal) -> State:
        """Full masks of (B, 3, H, W) images in [0, 1]."""
        s, device = self.settings, self.session.device
        height, width = self.masks.grid
        template = area_template(s.areas, height * width, device).repeat(len(images), 1)
        seeds = torch.ones(len(template), *self.masks.lattice, device=device)
        return State(
            levels=pyramid(self.session, images, s.baseline, s.max_blur, s.levels),
            goal=goal.to(device),
            seeds=seeds,
            velocity=torch.zeros_like(seeds),
            template=template,
            score=torch.full((len(seeds), 2), torch.nan, device=device),
        )

    def step(self, state: State, done: int) -> None:
        """One step of every mask, in place, after `done` others; nothing is read back from the device.

        An out-of-memory error leaves the state as it was.
        """
        s = self.settings
        gradient, score = self.gradient(state, done)
        # As in torch.optim.SGD with a dampening equal to the momentum, whose first step is not dampened.
        state.velocity.copy_(gradient if done == 0 else torch.lerp(gradient, state.velocity, s.momentum))
        state.seeds.sub_(s.lr * state.velocity).clamp_(0, 1)
        state.score.copy_(score)

    def gradient(self, state: State, done: int) -> tuple[Tensor, Tensor]:
        """(M, n, m) gradient of the loss in the seeds, and (M, 2) scores."""
        s = self.settings
        weight = s.area_weight * s.area_growth ** (done / s.steps)
        at_once = max(1, self.session.micro_batch // s.evaluations_per_mask)
        gradients, scores = [], []
        for first in range(0, len(state.seeds), at_once):
            rows = slice(first, first + at_once)
            seeds = state.seeds[rows].detach().requires_grad_(True)
            with torch.enable_grad():
                masks = self.masks(seeds)
                reward, score = self._reward(state, rows, masks, mirrored=s.mirror and done % 2 == 0)
                loss = weight * area_loss(masks, state.template[rows]) - reward
                (gradient,) = torch.autograd.grad(loss.sum(), seeds)
            # A logit that is NaN may have a gradient that is not; the mask must not hide it.
            gradients.append(gradient + 0 * loss.detach()[:, None, None])
            scores.append(score)
        return torch.cat(gradients), torch.cat(scores)

    def _reward(self, state: State, rows: slice, masks: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
        """(E,) what the game rewards, and (E, 2) scores."""
        kept = upsample_kept(masks[:, None], self.size)[:, 0]
        image = torch.arange(len(state.seeds), device=kept.device)[rows] // len(self.settings.areas)
        game = self.settings.game
        asked = {"preservation": [True], "deletion": [False], "hybrid": [True, False]}[game]
        x = torch.cat([perturbed(state.levels, image, kept if keep else 1 - kept) for keep in asked])
        if mirrored:
            x = x.flip(3)
        logits = self.session.evaluate(x)
        goal = state.goal[image.repeat(len(asked))]
        values = class_values(goal, logits).chunk(len(asked))
        with torch.no_grad():
            scores = dict(zip(asked, goal.score(logits).chunk(len(asked)), strict=True))
        signed = [value if keep else -value for keep, value in zip(asked, values, strict=True)]
        reward = torch.stack(signed).sum(0)
        nothing = torch.full_like(reward, torch.nan)
        return reward, torch.stack([scores.get(True, nothing), scores.get(False, nothing)], dim=1)


class _Run:
    """One call: the images, as many at once as a micro-batch holds, and what is finished."""

    def __init__(self, session: Session, batch: Batch, settings: ExtremalSettings) -> None:
        self.session, self.batch, self.settings = session, batch, settings
        n, areas = len(batch), len(settings.areas)
        self.descent = Descent(session, settings, (batch.images.shape[-2], batch.images.shape[-1]))
        self.per_step = areas * settings.evaluations_per_mask
        self.masks = torch.full((n, areas, *self.descent.masks.grid), torch.nan)
        self.evaluations = torch.zeros(n, dtype=torch.int64)
        self.finished = torch.zeros(n, dtype=torch.bool)

    def optimise(self, on_progress: OnProgress | None) -> bool:
        """Optimise all images; True if Ctrl-C ended it early."""
        start = 0
        try:
            while start < len(self.batch):
                rows = slice(start, start + max(1, self.session.micro_batch // self.per_step))
                try:
                    state = self.descent.start(self.batch.images[rows], self.batch.goal[rows])
                except Exception as error:
                    self._shrink(error)
                    continue
                if self._descend(state, rows, on_progress):
                    break
                start = rows.stop
        except KeyboardInterrupt:
            return True
        return False

    def _descend(self, state: State, rows: slice, on_progress: OnProgress | None) -> bool:
        """All steps of some images; True if a stop was asked for. What Ctrl-C leaves behind is kept."""
        done, steps = 0, self.settings.steps
        try:
            while done < steps:
                try:
                    self.descent.step(state, done)
                except Exception as error:
                    self._shrink(error)
                    continue
                done += 1
                self.evaluations[rows] += self.per_step
                look = on_progress is not None and done < steps and done % _LOOK == 0
                if look and on_progress is not None and on_progress(self._snapshot(state, rows)):
                    return True
        finally:
            if done:
                self.masks[rows] = self._read(state)
                self.finished[rows] = done == steps
        return bool(on_progress is not None and on_progress(self._snapshot(state, rows)))

    def _shrink(self, error: Exception) -> None:
        if not self.session.shrink_after(error):
            raise error
        gc.collect()

    @torch.no_grad()
    def _read(self, state: State) -> Tensor:
        """(B, A, h, w) masks on the CPU."""
        at_once = self.session.micro_batch
        firsts = range(0, len(state.seeds), at_once)
        masks = torch.cat([self.descent.masks(state.seeds[first : first + at_once]) for first in firsts])
        return masks.view(-1, len(self.settings.areas), *masks.shape[1:]).cpu()

    def _snapshot(self, state: State, rows: slice) -> Snapshot:
        score = state.score.view(-1, len(self.settings.areas), 2).mean(1).cpu()
        return Snapshot(
            image_ids=list(self.batch.image_ids[rows]),
            masks={"attribution": combined(self._read(state), self.settings.smoothing)},
            score_kept=score[:, 0],
            score_dropped=score[:, 1],
            evaluations=int(self.evaluations.sum()),
            total=len(self.batch) * self.settings.steps * self.per_step,
            finished=int(self.finished.sum()),
        )


def combined(masks: Tensor, smoothing: float) -> Tensor:
    """(B, h, w) in [0, 1]: the mean of (B, A, h, w) masks over their areas, blurred.

    What small areas already contain counts most, so a place is the more important the smaller the area that needs it.
    """
    mean = masks.mean(1)
    return blur(mean[:, None], smoothing)[:, 0] if smoothing else mean


def compute(
    classifier: Classifier, batch: Batch, settings: ExtremalSettings, on_progress: OnProgress | None = None
) -> Computed:
    """Masks of a batch; `raw` holds the (B, A, h, w) masks of the single areas. See `Method`."""
    with classifier.session() as session:
        run = _Run(session, batch, settings)
        interrupted = run.optimise(on_progress)
    wanted = torch.tensor(settings.areas)
    off = (run.masks.mean(dim=(2, 3)) - wanted).abs()
    return Computed(
        kinds={"attribution": combined(run.masks, settings.smoothing)},
        evaluations=run.evaluations,
        converged=(off <= (TOLERANCE * wanted).clamp(min=LEAST_TOLERANCE)).all(1),
        finished=run.finished,
        raw=run.masks,
        interrupted=interrupted,
    )
