"""The batched mask optimiser: one state of slots, one step that never waits for the device.

Per image, over the importance logits of the SSR and the SDR, S samples each, it minimises

    mean_s value(SDR dropped) - mean_s value(SSR kept) + area * (area of both) + total_variation * (TV of both)

with SSR input ``z * x + (1 - z) * infill`` and SDR input ``(1 - z) * x + z * infill`` (Chang et al., ICLR 2019;
Korsch et al., GCPR 2023). Every image owns its logits, its Adam moments, its random stream and its step
count, so its mask does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit._util.warning import warn
from fidokit.exceptions import MethodNotApplicable
from fidokit.methods.base import resize_masks
from fidokit.methods.blend import blend, upsample_kept
from fidokit.methods.concrete import antithetic_uniform, read_out, sample, uniform
from fidokit.methods.infill import KEPT, InfillFunction, Mixture, filled_by
from fidokit.methods.layers import NO_GRADIENT, checked_values
from fidokit.models.goals import Goal, area, total_variation

if TYPE_CHECKING:
    from fidokit.methods.fido_settings import FidoSettings
    from fidokit.models.session import Session

#: Steps in a row below the tolerance until a mask counts as converged: one quiet step may be chance.
PATIENCE = 3
_GOLDEN = (math.sqrt(5) - 1) / 2
#: Counter of the draw that starts the turn through the bank; those of infills are just below zero, of steps above.
_TURN = -(1 << 40)


@dataclass
class Slots:
    """The state of the images in work, one row each; every tensor lives on the device.

    Attributes:
        x: (B, 3, H, W) normalised images, in the precision of the weights.
        bank: (B, M, 3, H, W) normalised infills to choose from; M = 0 where all are made anew for every mask.
        theta: (B, 2, h, w) importance logits of SSR and SDR; `mean` and `square` are Adam's moments of their gradient.
        key: (B,) random stream; step: (B,) steps done; active: (B,) False once frozen; calm: (B,) quiet steps in a row.
        odds: (B, 2) mean log-odds of the last step's samples, SSR kept and SDR dropped; `value` the same of what is
            explained, which may be another one.
        target, against: (B,) class indices; zeros where the goal has none.
    """

    x: Tensor
    bank: Tensor
    theta: Tensor
    mean: Tensor
    square: Tensor
    key: Tensor
    step: Tensor
    active: Tensor
    calm: Tensor
    odds: Tensor
    value: Tensor
    target: Tensor
    against: Tensor

    def __len__(self) -> int:
        return self.theta.shape[0]

    def take(self, rows: Tensor) -> Slots:
        """The state of some rows, in new tensors."""
        return Slots(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def put(self, rows: Tensor, other: Slots) -> None:
        """Overwrite some rows in place, so that a captured step goes on with them."""
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)


class Optimiser:
    """Steps on slots of images.

    Args:
        session: where evaluations go through.
        settings: FIDO's settings.
        goal: gives head, class names, and a user's function; its indices are replaced by those of the slots.
    """

    def __init__(self, session: Session, settings: FidoSettings, goal: Goal) -> None:
        self.session = session
        self.settings = settings
        self.goal = goal.to(session.device)
        self.infill: InfillFunction | None = settings.infill if callable(settings.infill) else None
        mixtures = settings.mixtures() or (Mixture.parse("mean"),) * 3
        # One bank serves all; each draws its own entries from it.
        names = sorted(dict.fromkeys(name for one in mixtures for name in one.names), key=KEPT.__contains__)
        self.mixture = mixtures[0].among(names)
        ends = torch.tensor([one.among(names).cumulative(settings.infill_draws) for one in mixtures])
        self._ends = ends[:2].to(session.device).repeat_interleave(settings.samples, 0)
        self._window_ends = ends[2].to(session.device)
        # Maximise the odds of what is kept (SSR), minimise those of what is left (SDR).
        self._signs = torch.tensor([-1.0, 1.0], device=session.device).repeat_interleave(settings.samples)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._graph_slots: Slots | None = None

    @property
    def evaluations_per_step(self) -> int:
        """Evaluations that one step costs each image."""
        return 2 * self.settings.samples

    def fill(self, images: Tensor, keys: Tensor, goal: Goal, start: Tensor | None) -> Slots:
        """Slots for new images.

        Args:
            images: (B, 3, H, W) in [0, 1].
            keys: (B,) random streams.
            goal: what to explain of these images.
            start: (B, h', w') map in [0, 1] to start from, or None for a flat start.
        """
        s, device = self.settings, self.session.device
        images = images.to(device)
        b, _, height, width = images.shape
        grid = s.grid_size((height, width))
        keys = keys.to(device)
        if self.infill is None:
            bank = self.mixture.bank(images, keys, s.infill_draws)
            bank = self.session.normalise(bank.flatten(0, 1)).view(bank.shape)
        else:
            bank = self.session.normalise(images[:0]).new_zeros(b, 0, 3, height, width)
        theta = torch.zeros(b, 2, *grid, device=device)
        if start is not None:
            level = resize_masks(start.to(device).float(), grid)
            theta = theta + (s.start_low + (s.start_high - s.start_low) * level)[:, None]
        zeros = torch.zeros(b, dtype=torch.int64, device=device)
        return Slots(
            x=self.session.normalise(images),
            bank=bank,
            theta=theta,
            mean=torch.zeros_like(theta),
            square=torch.zeros_like(theta),
            key=keys,
            step=zeros,
            active=torch.ones(b, dtype=torch.bool, device=device),
            calm=zeros.clone(),
            odds=torch.zeros(b, 2, device=device),
            value=torch.zeros(b, 2, device=device),
            target=zeros.clone() if goal.target is None else goal.target.to(device),
            against=zeros.clone() if goal.against is None else goal.against.to(device),
        )

    def step(self, slots: Slots) -> None:
        """One optimisation step of every slot, in place; nothing is read back from the device.

        An out-of-memory error leaves the slots as they were.
        """
        if self._graph is not None and self._graph_slots is slots:
            self._graph.replay()
            self.session.counter.evaluations += len(slots) * self.evaluations_per_step
            return
        self._update(slots, *self._gradient(slots))

    def gradient(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """(B, 2, h, w) gradient of the loss in theta, and (B, 2) mean log-odds of the samples."""
        gradient, odds, _ = self._gradient(slots)
        return gradient, odds

    def _gradient(self, slots: Slots) -> tuple[Tensor, Tensor, Tensor]:
        s = self.settings
        b, kinds, h, w = slots.theta.shape
        draw = antithetic_uniform if s.antithetic else uniform
        u = draw(slots.key, slots.step, (kinds, s.samples, h, w))
        theta = slots.theta.detach().requires_grad_(True)
        z = sample(theta[:, :, None], u, sampler=s.sampler, temperature=s.temperature)
        kept = torch.stack([z[:, 0], 1 - z[:, 1]], dim=1).reshape(-1, 1, h, w)
        odds, values, kept_gradient = self._evaluate(slots, kept.detach())
        mask = read_out(theta)
        loss = self._price(mask, slots.step + 1).sum() + (kept * kept_gradient).sum()
        (gradient,) = torch.autograd.grad(loss, theta)
        mean_odds, mean_values = (of.view(b, 2, s.samples).mean(2) for of in (odds, values))
        # Values that are NaN may have a gradient that is not; the mask must not hide it.
        gradient = torch.where(mean_values.isnan()[:, :, None, None], torch.nan, gradient)
        return gradient, mean_odds, mean_values

    @torch.no_grad()
    def loss(self, slots: Slots) -> Tensor:
        """(B,) loss of the masks as they are now, with the values of the last step's samples."""
        return slots.value[:, 1] - slots.value[:, 0] + self._price(read_out(slots.theta), slots.step)

    def _price(self, mask: Tensor, number: Tensor) -> Tensor:
        """(B,) what (B, 2, h, w) masks are charged for area and total variation in the step of this number (B,)."""
        s = self.settings
        price = s.area * area(mask, s.reduction) + s.total_variation * total_variation(mask, s.reduction)
        return price.sum(1) * ((number.float() / s.ramp_steps).clamp(max=1) if s.ramp_steps else 1)

    def measure(self, slots: Slots, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Values of images with windows filled in, by the infills of effects in turn, and their gradients in the kept
        shares.

        Args:
            slots: of B images.
            kept: (B, W, h, w) shares of 0 and 1.

        Returns:
            (B, W) explained values and (B, W, h, w) gradients.
        """
        b, w = kept.shape[:2]
        cells = kept.reshape(-1, 1, *kept.shape[-2:])
        image = torch.arange(b, device=kept.device).repeat_interleave(w)
        turn = torch.frac(_GOLDEN * torch.arange(w, device=kept.device))
        entry = torch.searchsorted(self._window_ends, turn.clamp(max=1 - 1e-6), right=True).repeat(b)
        ones = torch.ones(len(cells), device=kept.device)

        def run(rows: slice) -> tuple[Tensor, Tensor]:
            return self._values(slots, image[rows], entry[rows], cells[rows], ones[rows])[1:]

        found = [pair for _, pair in self.session.in_micro_batches(len(cells), run)]
        values, gradients = (torch.cat(parts) for parts in zip(*found, strict=True))
        return values.view(b, w), gradients.view(kept.shape)

    def _evaluate(self, slots: Slots, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-odds and explained values (E,) of all samples, and the gradient of the signed mean of the values in the
        kept shares (E, 1, h, w)."""
        samples = self.evaluations_per_step
        image = torch.arange(len(slots), device=kept.device).repeat_interleave(samples)
        signs = self._signs.repeat(len(slots)) / self.settings.samples
        order = torch.arange(samples, device=kept.device).float()
        offset = uniform(slots.key, _TURN, (1,))
        # A golden-ratio sequence visits the bank evenly even in few draws.
        turn = torch.frac(offset + _GOLDEN * (slots.step[:, None] * samples + order))
        drawn = torch.searchsorted(self._ends, turn.T.clamp(max=1 - 1e-6).contiguous(), right=True)
        entry = drawn.T.flatten()
        found = []
        for start in range(0, kept.shape[0], self.session.micro_batch):
            rows = slice(start, start + self.session.micro_batch)
            found.append(self._values(slots, image[rows], entry[rows], kept[rows], signs[rows]))
        odds, explained, gradients = (torch.cat(parts) for parts in zip(*found, strict=True))
        return odds, explained, gradients

    def _values(
        self, slots: Slots, image: Tensor, entry: Tensor, kept: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-odds and explained values (E,) of a micro-batch, and the gradient of the values, times (E,) weights, in
        the (E, 1, h, w) kept shares."""
        cells = kept.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.session.evaluate(blend(cells, slots.x[image], self._filled(slots, image, entry, cells)))
            own = self._goal(slots)[image]
            values = checked_values(own.value(logits, self.settings.explained), logits)
            (gradient,) = torch.autograd.grad((values * weight).sum(), cells, allow_unused=True)
        if gradient is None:
            raise MethodNotApplicable(NO_GRADIENT)
        return own.log_odds(logits.detach()), values.detach(), gradient

    def _goal(self, slots: Slots) -> Goal:
        return replace(
            self.goal,
            target=None if self.goal.target is None else slots.target,
            against=None if self.goal.against is None else slots.against,
        )

    @torch.no_grad()
    def _filled(self, slots: Slots, image: Tensor, entry: Tensor, cells: Tensor) -> Tensor:
        if self.infill is None:
            return filled_by(self.mixture, slots.bank, slots.x, image, entry, cells)
        images = self.session.denormalise(slots.x[image])
        kept = upsample_kept(cells, (images.shape[-2], images.shape[-1]))
        return self.session.normalise(self.infill(images, kept).clamp(0, 1))

    @torch.no_grad()
    def _update(self, slots: Slots, gradient: Tensor, odds: Tensor, values: Tensor) -> None:
        s = self.settings
        active = slots.active
        slots.step += active
        t = slots.step.clamp(min=1).float()[:, None, None, None]
        moving = active[:, None, None, None]
        slots.mean.lerp_(gradient, (1 - s.beta1) * moving)
        slots.square.lerp_(gradient.square(), (1 - s.beta2) * moving)
        progress = (t - 1) / s.steps
        lr = s.lr * (s.lr_end + (1 - s.lr_end) * 0.5 * (1 + torch.cos(math.pi * progress)))
        mean = slots.mean / (1 - s.beta1**t)
        root = (slots.square / (1 - s.beta2**t)).sqrt()
        before = read_out(slots.theta)
        change = lr * (mean / (root + s.eps) + s.weight_decay * slots.theta)
        slots.theta -= change * moving
        quiet = (read_out(slots.theta) - before).abs().mean(dim=(2, 3)).amax(1) < s.tolerance
        slots.calm.copy_(torch.where(active, (slots.calm + 1) * quiet, slots.calm))
        slots.odds.copy_(torch.where(active[:, None], odds, slots.odds))
        slots.value.copy_(torch.where(active[:, None], values, slots.value))
        slots.active.copy_(active & (slots.calm < PATIENCE) & (slots.step < s.steps))

    def capture(self, slots: Slots) -> bool:
        """Capture the step on these slots as a CUDA graph; False, with a warning, where that does not work."""
        if self.session.device.type != "cuda" or not self.settings.cuda_graph or self.infill is not None:
            return False
        saved = slots.take(torch.arange(len(slots), device=self.session.device))
        spent = self.session.counter.evaluations
        try:
            stream = torch.cuda.Stream(self.session.device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(self.session.device))
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self.step(slots)
            torch.cuda.current_stream(self.session.device).wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.step(slots)
        except RuntimeError as error:
            warn(f"the step could not be captured as a CUDA graph: {error}")
            return False
        finally:
            slots.put(torch.arange(len(slots), device=self.session.device), saved)
            self.session.counter.evaluations = spent
        self._graph, self._graph_slots = graph, slots
        return True


def rows_of(positions: Sequence[int], device: torch.device) -> Tensor:
    """Positions as an index tensor on a device, copied without waiting."""
    index = torch.tensor(list(positions), dtype=torch.int64)
    return (index.pin_memory() if device.type == "cuda" else index).to(device, non_blocking=True)
