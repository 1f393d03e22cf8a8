"""FIDO with concrete dropout: smallest sufficient and smallest destroying regions of many images at once.

Sources: Chang, Creager, Goldenberg, Duvenaud, "Explaining image classifiers by counterfactual generation", ICLR 2019
(arXiv 1807.08024); Korsch, Shadaydeh, Denzler, "Simplified concrete dropout", GCPR 2023 (arXiv 2307.14825).
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.exceptions import FidokitError, MethodNotApplicable
from fidokit.methods.base import Batch, Computed, Kind, Method, OnProgress, Snapshot, resize_masks
from fidokit.methods.concrete import image_keys, read_out
from fidokit.methods.effect import effects, to_mask, windows
from fidokit.methods.fido_settings import FidoSettings as FidoSettings
from fidokit.methods.layers import class_activation_map, find_layer, needs_gradient
from fidokit.methods.optimiser import PATIENCE, Optimiser, Slots, rows_of
from fidokit.models.frozen import is_out_of_memory
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session


class _Run:
    """One call: a queue of images, the slots they pass through, and what is finished."""

    def __init__(self, session: Session, batch: Batch, settings: FidoSettings, layer: str | None) -> None:
        self.session, self.batch, self.settings, self.layer = session, batch, settings, layer
        n = len(batch)
        grid = settings.grid_size((batch.images.shape[-2], batch.images.shape[-1]))
        self.optimiser = Optimiser(session, settings, batch.goal)
        self.keys = image_keys(settings.seed, batch.image_ids)
        self.masks = torch.full((n, 2, *grid), torch.nan)
        cells = settings.effect_grid
        self.effects = torch.full((n, 2, cells, cells), torch.nan)
        self.windows: dict[int, list[Tensor]] = {}
        self.evaluations = torch.zeros(n, dtype=torch.int64)
        self.converged = torch.zeros(n, dtype=torch.bool)
        self.finished = torch.zeros(n, dtype=torch.bool)
        self.notes: dict[str, str] = {}
        self.queue = list(range(n))
        self.in_work: list[int] = []
        self.age: list[int] = []
        self.steps = 0
        self.slots: Slots | None = None

    def width(self) -> int:
        """How many images are in work at once: as many as one micro-batch holds."""
        return max(1, self.session.micro_batch // self.optimiser.evaluations_per_step)

    def optimise(self, on_progress: OnProgress | None) -> bool:
        """Optimise all images; True if Ctrl-C ended it early."""
        s = self.settings
        try:
            self._start()
            while self.in_work:
                assert self.slots is not None
                try:
                    self.optimiser.step(self.slots)
                except Exception as error:
                    if not self.session.shrink_after(error):
                        raise
                    gc.collect()
                    continue
                self.steps += 1
                for position, image in enumerate(self.in_work):
                    self.age[position] += 1
                    self.evaluations[image] += self.optimiser.evaluations_per_step
                old_enough = [age >= s.steps for age in self.age]
                look = self.steps % s.check_every == 0 and (s.tolerance > 0 or on_progress is not None)
                if (look or any(old_enough)) and self._look(old_enough, look, on_progress):
                    break
        except KeyboardInterrupt:
            self._harvest(list(range(len(self.in_work))), finished=False)
            return True
        return False

    def _start(self) -> None:
        first, self.queue = self.queue[: self.width()], self.queue[self.width() :]
        self.slots = self._fill(first)
        self.in_work, self.age = first, [0] * len(first)
        self.optimiser.capture(self.slots)

    def _fill(self, images: list[int]) -> Slots:
        x = self.batch.images[images]
        index = torch.tensor(images)
        goal = self.batch.goal[index]
        start = None
        if self.settings.start == "grad-cam":
            start = self._grad_cam(images, x, goal.to(self.session.device))
        slots = self.optimiser.fill(x, self.keys[index], goal, start)
        if self.settings.windows:
            self._fill_windows(images, slots)
        return slots

    def _fill_windows(self, images: list[int], slots: Slots) -> None:
        """Measure what filling in each window costs, before the first step, so that every mask can have effects."""
        region = windows(slots.key, self.settings.windows)
        # The whole image is a window that nothing lies in.
        kept = torch.cat([torch.ones_like(region[:, :1]), 1 - region], dim=1)
        values, gradients = self.optimiser.measure(slots, kept)
        drop = values[:, :1] - values[:, 1:]
        found = [part.float().cpu() for part in (region, gradients[:, 1:], drop)]
        for image, *own in zip(images, *found, strict=True):
            self.windows[image] = own
            self.evaluations[image] += kept.shape[1]

    def _effects(self, images: list[int], masks: Tensor) -> Tensor:
        """(B, 2, h, w) effects and standard errors of images whose (B, 2, h, w) masks are these."""
        region, gradient, drop = (torch.stack(parts) for parts in zip(*map(self.windows.get, images), strict=True))
        both = resize_masks(masks, (region.shape[-2], region.shape[-1]))
        return effects(region, gradient, drop, both.prod(1))

    def _grad_cam(self, images: list[int], x: Tensor, goal: Goal) -> Tensor | None:
        """(B, h, w) Grad-CAM maps in [0, 1]; None, with a note, where the classifier has no layer for it.

        A start is a help and no condition, so that only a layer that was named may fail.
        """
        normalised = self.session.normalise(x)
        try:
            maps = class_activation_map(
                self.session, normalised, goal, self.layer or find_layer(self.session, normalised)
            )
        except Exception as error:
            if is_out_of_memory(error) or (self.layer is not None and not isinstance(error, MethodNotApplicable)):
                raise
            what = f"{error}" if isinstance(error, FidokitError) else f"{type(error).__name__}: {error}"
            for image in images:
                self.notes[self.batch.image_ids[image]] = f"flat start: {what}"
            return None
        for image in images:
            self.evaluations[image] += 1
        positive = maps.relu()
        return positive / positive.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)

    def _look(self, old_enough: list[bool], look: bool, on_progress: OnProgress | None) -> bool:
        """Harvest finished slots and refill them; True if a stop was asked for."""
        assert self.slots is not None
        done = old_enough
        if look:
            active = self.slots.active.tolist()
            done = [old or not running for old, running in zip(old_enough, active, strict=True)]
            if on_progress is not None and on_progress(self._snapshot()):
                self._harvest([i for i, d in enumerate(done) if d], finished=True)
                self._harvest([i for i, d in enumerate(done) if not d], finished=False)
                return True
        ready = [i for i, d in enumerate(done) if d]
        if ready:
            self._harvest(ready, finished=True)
            self._replace(ready)
        return False

    def _harvest(self, positions: list[int], *, finished: bool) -> None:
        if self.slots is None or not positions:
            return
        masks = read_out(self.slots.theta).cpu()
        calm = (self.slots.calm >= PATIENCE).cpu()
        for position in positions:
            image = self.in_work[position]
            # Ctrl-C may come between a harvest and the refill: what is finished stays as it is.
            if self.age[position] == 0 or self.finished[image]:
                continue
            self.masks[image] = masks[position]
            if image in self.windows:
                self.effects[image] = self._effects([image], masks[position : position + 1])[0]
            self.converged[image] = calm[position]
            self.finished[image] = finished
            # Last: Ctrl-C may come anywhere, and then this is gone through again.
            self.windows.pop(image, None)

    def _replace(self, positions: list[int]) -> None:
        assert self.slots is not None
        device = self.session.device
        coming, self.queue = self.queue[: len(positions)], self.queue[len(positions) :]
        filled, free = positions[: len(coming)], positions[len(coming) :]
        if coming:
            self.slots.put(rows_of(filled, device), self._fill(coming))
            for position, image in zip(filled, coming, strict=True):
                self.in_work[position], self.age[position] = image, 0
        if free:
            stay = [i for i in range(len(self.in_work)) if i not in set(free)]
            self.slots = self.slots.take(rows_of(stay, device))
            self.in_work = [self.in_work[i] for i in stay]
            self.age = [self.age[i] for i in stay]

    def _snapshot(self) -> Snapshot:
        assert self.slots is not None
        masks = read_out(self.slots.theta).cpu()
        scores = torch.sigmoid(self.slots.odds).cpu()
        s = self.settings
        per_image = s.steps * self.optimiser.evaluations_per_step + (s.start == "grad-cam")
        per_image += s.windows**2 + 1 if s.windows else 0
        return Snapshot(
            image_ids=[self.batch.image_ids[i] for i in self.in_work],
            masks=_kinds(masks, self._effects(self.in_work, masks) if s.windows else None),
            score_kept=scores[:, 0],
            score_dropped=scores[:, 1],
            evaluations=int(self.evaluations.sum()),
            total=len(self.batch) * per_image,
            finished=int(self.finished.sum()),
            loss=self.optimiser.loss(self.slots).cpu(),
        )


def _kinds(masks: Tensor, effects: Tensor | None) -> dict[Kind, Tensor]:
    """Kind -> (B, h, w), of (B, 2, h, w) SSR and SDR, and of effects where there are any."""
    ssr, sdr = masks[:, 0], masks[:, 1]
    kinds: dict[Kind, Tensor] = {"ssr": ssr, "sdr": sdr, "joint": (ssr * sdr).sqrt()}
    return kinds if effects is None else kinds | {"effect": to_mask(effects)}


def compute(
    classifier: Classifier, batch: Batch, settings: FidoSettings, on_progress: OnProgress | None = None
) -> Computed:
    """SSR, SDR and joint masks and effects of a batch; see `Method`."""
    with classifier.session() as session:
        run = _Run(session, batch, settings, classifier.layer)
        interrupted = run.optimise(on_progress)
    effects = run.effects if settings.windows else None
    return Computed(
        kinds=_kinds(run.masks, effects),
        evaluations=run.evaluations,
        converged=run.converged,
        finished=run.finished,
        raw=effects,
        notes=run.notes,
        interrupted=interrupted,
    )


METHOD = Method(
    compute,
    FidoSettings,
    ("ssr", "sdr", "joint", "effect"),
    "optimised masks: smallest sufficient and destroying regions, jointly, and what each place is worth",
    needs_gradient,
    FidoSettings.kinds,
)
