"""Settings of the mask optimiser, and the four sets of them that have a name."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from fidokit._util.checks import (
    COUNT,
    FINITE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    WHOLE,
    Number,
    require,
    require_choice,
    require_flags,
    require_numbers,
)
from fidokit._util.wording import field_of
from fidokit.exceptions import SettingsError
from fidokit.methods.base import BEFORE, Kind
from fidokit.methods.concrete import SAMPLERS, Sampler
from fidokit.methods.effect import CELLS, SIDE
from fidokit.methods.infill import InfillFunction, Mixture
from fidokit.models.goals import EXPLAINED, USUALLY_EXPLAINED, Explained

#: A name, names, or (name, weight) pairs.
Infill: TypeAlias = str | tuple[str | tuple[str, float], ...]
_BETA = Number(least=0, below=1)


@dataclass(frozen=True)
class FidoSettings:
    """Settings of FIDO. The defaults are fast: at most 60 evaluations an image.

    Attributes:
        steps: most optimisation steps an image gets.
        samples: mask samples per kind and step; an image costs ``2 * samples`` evaluations a step. Many steps of one
            do as well as half as many of two: with ``area=30`` insertion, deletion and average precision are 0.728,
            0.036 and 0.770 on 18 tuning photographs, and 0.726, 0.038 and 0.759.
        grid: the mask's own resolution, (h, w) or one number for both; None for one cell a pixel. A coarse grid,
            upsampled bilinearly, keeps masks free of pixel noise that only fools the classifier.
        sampler: ``simplified`` (GCPR 2023) or ``original`` (ICLR 2019) concrete dropout; equal but for saturation.
        temperature: of the samples. Near 0 they are binary and gradients noisy; at 1 the noise is a quarter of that
            at 0.1.
        antithetic: draw samples in pairs u, 1 - u, which cancels part of the noise.
        infill: of all, in place of `ssr_infill`, `sdr_infill` and `effect_infill`: a name, names, or (name, weight)
            pairs of `fidokit.methods.infill.INFILLS`, or a function from images (E, 3, H, W) in [0, 1] and kept shares
            (E, 1, H, W) to filled images, such as a generative inpainter (told apart by its code, see
            `fidokit._util.function_names`). None by default: each has its own.
        ssr_infill: what stands in around the region that is kept. ``background`` does not depend on the mask: it cannot
            continue the kept object into what was dropped, as ``inpaint`` does.
        sdr_infill: what stands in for the region that is dropped. What ``blur`` leaves can still be seen, and
            ``inpaint`` may continue the object: in turn, neither is enough.
        effect_infill: what stands in for a window, where effects are measured. It must not leave the object to be seen,
            as ``blur`` does, nor continue it into the window, as ``inpaint`` does.
        infill_draws: random infills made per image and name; each sample takes one of them.
        start: ``grad-cam`` starts from that map, at the price of one evaluation; ``flat`` from a half everywhere.
        start_low: importance logit where the Grad-CAM map is 0.
        start_high: importance logit where it is largest.
        lr: learning rate of Adam, in logits.
        lr_end: share of `lr` at the last step; it falls by a cosine.
        beta1: share of Adam's running mean of the gradient that a step keeps.
        beta2: the same of its running mean of the squared gradient.
        eps: what Adam adds to the root of that before it divides by it.
        weight_decay: of Adam; above 0 it is AdamW.
        area: weight of each mask's area; with ``reduction="mean"`` in units of what is explained, for the whole image.
            The logit varies less than log-odds, for which 30 was right: with 20 and 30, 53 and 32 % of the SSRs of 60
            drawn birds pass their test (of log-odds with 30, 43 %).
        total_variation: weight of each mask's total variation.
        reduction: area and total variation as ``mean`` over cells and neighbour pairs, or as ``sum``.
        ramp_steps: steps over which both weights rise from 0.
        tolerance: a mask whose mean change per step stays below this for three steps has converged and is frozen, to
            save the steps that are left; few photographs' masks do, and the others are no worse. 0 never stops early.
        check_every: steps between looks at what has converged and between snapshots.
        explained: the value that masks and effects explain: the target's ``logit`` by itself, its ``log-odds`` against
            all other classes, or its ``contrast`` with the mean of the others; see `fidokit.models.goals.Goal.value`.
            Scores in results are probabilities, whatever was explained. The logit is not saturated where the class is
            certain, and shows what two classes share: on FunnyBirds (34 pictures of the tuning half, three seeds) its
            effects order 86 % of the balanced pairs of parts right and score 0.90, those of log-odds 82 % and 0.83. On
            18 tuning photographs the masks are alike (with ``area=30`` insertion 0.728 and 0.723, average precision
            0.770 and 0.767). Of the testbed's true effects, which are on log-odds, those on log-odds tell more (rank
            correlation 0.76 to 0.73).
        windows: strata a side for the kind ``effect``: ``windows^2 + 1`` evaluations an image are spent on what filling
            in single windows costs, each 3 strata wide; 0 leaves the effects out. Their grid has 4 cells to a stratum.
        seed: of the samples and the random infills, together with each image's identity.
        cuda_graph: capture the step as a CUDA graph; of no effect on other devices or with an infill function.

    Raises:
        SettingsError: a value outside its range; the message names the field.

    Example:
        >>> fk.FidoSettings(steps=4, infill=("blur", "noise")).samples
        1
        >>> fk.FidoSettings.published().steps
        30
    """

    steps: int = 12
    samples: int = 1
    grid: int | tuple[int, int] | None = 20
    sampler: Sampler = "simplified"
    temperature: float = 1.0
    antithetic: bool = True
    infill: Infill | InfillFunction | None = None
    ssr_infill: Infill = field(default="background", metadata={BEFORE: "background"})
    sdr_infill: Infill = field(default=("blur", "inpaint"), metadata={BEFORE: ("blur", "inpaint")})
    effect_infill: Infill = field(default="background", metadata={BEFORE: "background"})
    infill_draws: int = 8
    start: Literal["grad-cam", "flat"] = "grad-cam"
    start_low: float = -4.0
    start_high: float = 2.0
    lr: float = 0.8
    lr_end: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    area: float = 24.0
    total_variation: float = 10.0
    reduction: Literal["mean", "sum"] = "mean"
    ramp_steps: int = 0
    tolerance: float = 1e-3
    check_every: int = 5
    explained: Explained = field(default=USUALLY_EXPLAINED, metadata={BEFORE: "log-odds"})
    windows: int = field(default=5, metadata={BEFORE: 0})
    seed: int = 0
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        require_numbers(self, steps=COUNT, samples=COUNT, infill_draws=COUNT, check_every=COUNT, seed=WHOLE)
        require_numbers(self, temperature=POSITIVE, lr=POSITIVE, eps=POSITIVE, lr_end=SHARE)
        require_numbers(self, area=NOT_NEGATIVE, total_variation=NOT_NEGATIVE, tolerance=NOT_NEGATIVE)
        require_numbers(self, weight_decay=NOT_NEGATIVE, ramp_steps=Number(least=0, whole=True))
        require_numbers(self, beta1=_BETA, beta2=_BETA, start_low=FINITE, start_high=FINITE)
        require_choice(self, "sampler", SAMPLERS)
        require_choice(self, "explained", EXPLAINED)
        require_choice(self, "start", ("grad-cam", "flat"))
        require_choice(self, "reduction", ("mean", "sum"))
        require_flags(self, "antithetic", "cuda_graph")
        fits = WHOLE.fits(self.windows) and (self.windows == 0 or self.windows >= SIDE)
        require(self, "windows", fits, f"a whole number of at least {SIDE}, or 0 for no effects")
        cells = self.grid if isinstance(self.grid, tuple | list) else (self.grid, self.grid)
        good = self.grid is None or (len(cells) == 2 and all(map(COUNT.fits, cells)))
        require(self, "grid", good, f"{COUNT}, two of them (rows, columns), or None for one cell a pixel")
        for name in ("infill", "ssr_infill", "sdr_infill", "effect_infill"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                try:
                    Mixture.parse(value)
                except SettingsError as error:
                    raise SettingsError(f"{field_of(self, name)}: {error}") from error
        own = [f.name for f in fields(self) if f.name.endswith("_infill") and getattr(self, f.name) != f.default]
        alone = self.infill is None or not own
        require(self, "infill", alone, f"None, the default, beside a value of {' and '.join(own)}")

    @classmethod
    def fast(cls, **overrides: Any) -> FidoSettings:
        """Masks without effects for less than half of the default's evaluations: at most 24 an image."""
        fast: dict[str, Any] = {"steps": 8, "samples": 1, "lr": 1.0, "windows": 0}
        return cls(**(fast | overrides))

    @classmethod
    def quality(cls, **overrides: Any) -> FidoSettings:
        """Finer masks for more evaluations: at most 500 an image."""
        quality: dict[str, Any] = {
            "steps": 55,
            "samples": 4,
            "grid": 28,
            # A less certain start than the default's: here there are steps enough to leave it.
            "start_low": -2.0,
            "start_high": 2.0,
            "lr": 0.4,
            "area": 50.0,
            "total_variation": 25.0,
            "infill_draws": 16,
            "tolerance": 2e-4,
            "windows": 7,
        }
        if overrides.get("infill") is None:
            quality |= dict.fromkeys(("ssr_infill", "sdr_infill"), ("blur", "noise", ("shuffle", 2.0)))
        return cls(**(quality | overrides))

    @classmethod
    def published(cls, **overrides: Any) -> FidoSettings:
        """The settings of Korsch, Shadaydeh, Denzler, GCPR 2023, the sign of the read-out put right: 480 evaluations.

        The published area weight, 1e-3 on the sum averaged over the two masks, is half that on each.
        """
        published: dict[str, Any] = {
            "steps": 30,
            "samples": 8,
            "grid": None,
            "antithetic": False,
            "infill": "blur",
            "start": "flat",
            "lr": 10.0,
            "lr_end": 1.0,
            "beta2": 0.999,
            "eps": 0.1,
            "weight_decay": 0.01,
            "area": 5e-4,
            "total_variation": 1e-2,
            "reduction": "sum",
            "ramp_steps": 5,
            "tolerance": 0.0,
            "explained": "log-odds",
            "windows": 0,
        }
        return cls(**(published | overrides))

    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of masks that are made."""
        return ("ssr", "sdr", "joint", "effect") if self.windows else ("ssr", "sdr", "joint")

    @property
    def effect_grid(self) -> int:
        """Cells a side of the effects' map."""
        return self.windows * CELLS

    def mixtures(self) -> tuple[Mixture, Mixture, Mixture] | None:
        """What stands in for what the SSR drops, the SDR drops and a window covers; None where a function does."""
        if callable(self.infill):
            return None
        own = (self.ssr_infill, self.sdr_infill, self.effect_infill if self.windows else self.ssr_infill)
        ssr, sdr, effect = map(Mixture.parse, own if self.infill is None else (self.infill,) * 3)
        return ssr, sdr, effect

    def grid_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the masks for an input of (H, W) pixels; never finer than the input."""
        grid = size if self.grid is None else _pair(self.grid)
        return min(grid[0], size[0]), min(grid[1], size[1])


def _pair(grid: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = grid if isinstance(grid, tuple | list) else (grid, grid)
    return int(rows), int(columns)
