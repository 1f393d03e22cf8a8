"""Effects: by how much the explained value changes when a place is filled in, signed, with a standard error.

A designed experiment: windows, one at a random place of each stratum of the image, are filled in, and what the value
drops by is what the places inside account for together. Where inside says the gradient at the damaged image: the place
whose return would bring most of the value back. The effects of all windows are then made to agree, place by place
(simultaneous iterative reconstruction, Gilbert, J. Theor. Biol. 1972, with the gradients as its rays).

Why not the samples of a mask optimiser, which would cost nothing: they drop many places at once, or a few cells each.
On FunnyBirds (34 pictures of the tuning half) their mean gradient ranks 73 to 79 % of the balanced pairs of parts
right, depending on the infill; windows 84 % (mean of three seeds, 77 to 89; score 0.88, single deletion 0.92).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.exceptions import SettingsError
from fidokit.methods.base import Batch, Computed, Method, OnProgress, Snapshot
from fidokit.methods.blend import blend
from fidokit.methods.concrete import image_keys, uniform
from fidokit.methods.gradient import scale_to_mask
from fidokit.methods.infill import Mixture, blur, filled_by
from fidokit.methods.layers import needs_gradient
from fidokit.models.goals import EXPLAINED, Explained

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.goals import Goal
    from fidokit.models.session import Session

#: Cells of the grid to each stratum: windows are placed to a quarter of a stratum.
CELLS = 4
#: Cells by which a window lies off the middle of its stratum, at most, each way. Places all over the stratum leave
#: gaps: on FunnyBirds pairs fell from 0.85 to 0.80, the mean of three seeds.
_JITTER = 1
#: Groups of windows that are left out in turn for the standard error.
_GROUPS = 7
#: Standard deviation, in cells, of the Gaussian that variances are averaged with.
_POOLED = 1.0
#: Windows of strata leave less to chance than windows anywhere, which is what leaving some out imitates. With this
#: share of the jackknife's errors, 95 % intervals held 94 % of the cells' effects on FunnyBirds (92 % of the largest
#: fifth; 4 pictures, 24 seeds) and 97 % on the testbed (94 %; 3 pictures).
_STRATIFIED = 0.85
_GOLDEN = 0.6180339887


@dataclass(frozen=True)
class EffectSettings:
    """Settings of effects.

    Attributes:
        windows: strata a side; an image costs ``windows^2 + 1`` evaluations, 50 by default.
        side: strata that the side of a window spans: 3, so that every place lies in about nine windows, and a window
            is larger than most parts. What is filled in only in part goes on being seen.
        infill: names or (name, weight) pairs of `fidokit.methods.infill.INFILLS`; the windows take turns. A window
            cuts through objects, so that ``inpaint`` continues them into it: against the plain backgrounds of
            FunnyBirds ``dominant`` is far better (balanced pairs of parts 84 to 66 %), in the testbed's habitats
            ``inpaint`` is (83 to 78 %).
        explained: see `FidoSettings`. The logit by default: it is not saturated where the class is certain.
        sweeps: of the reconstruction.
        seed: of the windows' places, together with each image's identity.

    Raises:
        SettingsError: a value outside its range.
    """

    windows: int = 7
    side: int = 3
    infill: str | tuple[str | tuple[str, float], ...] = "dominant"
    explained: Explained = "logit"
    sweeps: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("windows", 3), ("side", 1), ("sweeps", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise SettingsError(
                    f"EffectSettings.{name} is {value!r}; it must be a whole number of at least {least}"
                )
        if self.side > self.windows:
            raise SettingsError(f"EffectSettings.side is {self.side}; it must be at most the {self.windows} windows")
        if self.explained not in EXPLAINED:
            raise SettingsError(f"EffectSettings.explained is {self.explained!r}; choose one of {', '.join(EXPLAINED)}")
        Mixture.parse(self.infill)

    @property
    def grid(self) -> int:
        """Cells a side of the map."""
        return self.windows * CELLS

    @property
    def evaluations(self) -> int:
        """Evaluations of an image."""
        return self.windows**2 + 1


def windows(key: Tensor, settings: EffectSettings) -> Tensor:
    """(W, h, w) of 0 and 1, for the (1,) random stream of an image; each lies at random in its stratum."""
    n, grid = settings.windows, settings.grid
    middles = torch.arange(n, device=key.device) * CELLS + CELLS // 2
    jitter = (uniform(key, 0, (2, n * n))[0] * (2 * _JITTER + 1)).long() - _JITTER
    half = settings.side * CELLS // 2
    first = torch.stack([middles.repeat_interleave(n), middles.repeat(n)]) + jitter - half
    cell = torch.arange(grid, device=key.device)
    inside = (cell >= first[..., None]) & (cell < first[..., None] + 2 * half)
    return (inside[0, :, :, None] & inside[1, :, None, :]).float()


def reconstruct(region: Tensor, gradient: Tensor, drop: Tensor, sweeps: int) -> Tensor:
    """(h, w) effects that account for what the windows cost.

    Args:
        region: (W, h, w) of 0 and 1.
        gradient: (W, h, w) of the value in the kept shares, at the damaged image.
        drop: (W,) by what the value is lower.
        sweeps: corrections by what a window's effects still miss.
    """
    rays = (gradient * region).relu()
    total = rays.sum((1, 2), keepdim=True)
    # Where nothing inside would bring the value back, all of the window is as likely.
    rays = torch.where(
        total > 0, rays / total.clamp(min=torch.finfo(rays.dtype).tiny), region / region.sum((1, 2))[:, None, None]
    )
    cover = region.sum(0).clamp(min=1)
    found = torch.zeros_like(cover)
    for _ in range(sweeps + 1):
        missing = drop - (region * found).sum((1, 2))
        found = found + (rays * missing[:, None, None]).sum(0) / cover
    return found


def _jackknife(region: Tensor, gradient: Tensor, drop: Tensor, sweeps: int) -> Tensor:
    """(h, w) standard errors of `reconstruct`, from leaving out every seventh window in turn.

    Seven estimates alone are a poor variance, and often nearly none: it is averaged over the cells around.
    """
    group = torch.arange(len(drop), device=drop.device) % _GROUPS
    without = torch.stack(
        [reconstruct(region[rest], gradient[rest], drop[rest], sweeps) for rest in (group != g for g in range(_GROUPS))]
    )
    variance = (_GROUPS - 1) * without.var(0, unbiased=False)
    return _STRATIFIED * blur(variance[None, None], _POOLED / min(variance.shape))[0, 0].sqrt()


class _Run:
    """One call: the images one after the other, each with all its windows."""

    def __init__(self, session: Session, batch: Batch, settings: EffectSettings) -> None:
        self.session, self.batch, self.settings = session, batch, settings
        n, grid = len(batch), settings.grid
        self.keys = image_keys(settings.seed, batch.image_ids).to(session.device)
        self.mixture = Mixture.parse(settings.infill)
        self.raw = torch.full((n, 2, grid, grid), torch.nan)
        self.finished = torch.zeros(n, dtype=torch.bool)
        self.evaluations = torch.zeros(n, dtype=torch.int64)

    def explain(self, on_progress: OnProgress | None) -> bool:
        """Explain all images; True if Ctrl-C ended it early."""
        try:
            for i in range(len(self.batch)):
                self._explain(i)
                self.finished[i] = True
                if on_progress is not None and on_progress(self._snapshot(i)):
                    break
        except KeyboardInterrupt:
            return True
        return False

    def _explain(self, i: int) -> None:
        s, session = self.settings, self.session
        image, goal = self.batch.images[i : i + 1].to(session.device), self.batch.goal[i : i + 1].to(session.device)
        key = self.keys[i : i + 1]
        bank = self.mixture.bank(image, key, 1)
        bank = session.normalise(bank.flatten(0, 1)).view(bank.shape)
        ends = torch.tensor(self.mixture.cumulative(1), device=session.device)
        region = windows(key, s)
        # The whole image is a window that nothing lies in.
        kept = torch.cat([torch.ones_like(region[:1]), 1 - region])[:, None]
        turn = torch.frac(_GOLDEN * torch.arange(len(kept), device=session.device)).clamp(max=1 - 1e-6)
        entry = torch.searchsorted(ends, turn, right=True)
        values, gradients = self._evaluate(session.normalise(image), goal, bank, entry, kept)
        self.evaluations[i] += len(kept)
        given = region, gradients[1:], values[0] - values[1:], s.sweeps
        self.raw[i] = torch.stack([reconstruct(*given), _jackknife(*given)]).cpu()

    def _evaluate(self, x: Tensor, goal: Goal, bank: Tensor, entry: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """(E,) values and (E, h, w) their gradients in the kept shares."""

        def run(rows: slice) -> tuple[Tensor, Tensor]:
            cells = kept[rows].clone().requires_grad_(True)
            image = torch.zeros(len(cells), dtype=torch.int64, device=kept.device)
            with torch.no_grad():
                filled = filled_by(self.mixture, bank, x, image, entry[rows], cells)
            with torch.enable_grad():
                logits = self.session.forward(blend(cells, x[image], filled))
                value = goal.repeat(len(cells)).value(logits, self.settings.explained)
                (gradient,) = torch.autograd.grad(value.sum(), cells)
            return value.detach(), gradient[:, 0]

        found = [pair for _, pair in self.session.in_micro_batches(len(kept), run)]
        values, gradients = (torch.cat(parts) for parts in zip(*found, strict=True))
        return values, gradients

    def _snapshot(self, i: int) -> Snapshot:
        nothing = torch.full((1,), torch.nan)
        return Snapshot(
            image_ids=[self.batch.image_ids[i]],
            masks={"effect": to_mask(self.raw[i : i + 1])},
            score_kept=nothing,
            score_dropped=nothing,
            evaluations=int(self.evaluations.sum()),
            total=len(self.batch) * self.settings.evaluations,
            finished=int(self.finished.sum()),
        )


def to_mask(raw: Tensor) -> Tensor:
    """(B, h, w) masks in [0, 1] of (B, 2, h, w) effects and standard errors: what speaks for the class, scaled."""
    return scale_to_mask(raw[:, 0].relu())


def compute(
    classifier: Classifier, batch: Batch, settings: EffectSettings, on_progress: OnProgress | None = None
) -> Computed:
    """Effects of a batch; see `Method`. ``raw`` is (B, 2, h, w): effects, in units of what is explained, and errors."""
    with classifier.session() as session:
        run = _Run(session, batch, settings)
        interrupted = run.explain(on_progress)
    return Computed(
        kinds={"effect": to_mask(run.raw)},
        evaluations=run.evaluations,
        finished=run.finished,
        raw=run.raw,
        interrupted=interrupted,
    )


METHOD = Method(
    compute,
    EffectSettings,
    ("effect",),
    "what filling in each place costs the class, signed, with its standard error: windows and their gradients",
    needs_gradient,
)
