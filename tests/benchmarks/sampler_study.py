"""The two concrete-dropout samplers put to the test: noise of the gradient estimate, saturation, and its causes.

Original sampler: Chang et al., ICLR 2019 (arXiv 1807.08024), t = 0.1. Simplified sampler: Korsch, Shadaydeh, Denzler,
GCPR 2023 (arXiv 2307.14825), t = 1.0. The published comparison changes formula and temperature at once; here both are
open to both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fidokit.methods import explain
from fidokit.methods.base import Kind
from fidokit.methods.concrete import SAMPLERS, Sampler, image_keys
from fidokit.methods.fido_settings import FidoSettings
from fidokit.methods.optimiser import Optimiser, Slots
from fidokit.models.goals import Goal, Targets
from fidokit.study.metrics.curves import insertion_and_deletion
from fidokit.study.metrics.localisation import coherence, iou_at_object_area, pixel_average_precision
from fidokit.study.metrics.panel import mosaic
from fidokit.study.summary import Floats, mean_and_interval

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session

SAMPLES: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
TEMPERATURES: tuple[float, ...] = (0.1, 1.0)
#: Fewer repetitions tell too little of a variance.
LEAST_REPETITIONS = 4
#: A mean whose square is less than this share of what noise alone adds to it cannot be told from zero: where logits
#: are so large that single draws make the whole gradient, the estimate is the difference of two equal numbers.
LEAST_SIGNAL = 0.05
_SETTING = ["grid", "state", "sampler", "temperature", "samples"]


def grids() -> dict[str, FidoSettings]:
    """The two grids of the study and the settings that optimise on them: the published ones, and a coarse 20 x 20."""
    return {
        "full resolution": FidoSettings.published(),
        "20 x 20": FidoSettings(start="flat", antithetic=False, tolerance=0.0),
    }


@dataclass(frozen=True)
class Moments:
    """What R independent gradients of one image's loss say.

    Attributes:
        mean: (2, h, w) their mean.
        variance: of one gradient, summed over its entries; unbiased.
        repetitions: R.
        zeros: share of entries that are exactly zero; zeros_positive: of those whose logit is positive, or NaN.
        non_finite: share of entries that are NaN or infinite.
    """

    mean: Floats
    variance: float
    repetitions: int
    zeros: float
    zeros_positive: float
    non_finite: float


def sampler_study(
    classifier: Classifier,
    images: Tensor,
    *,
    targets: Targets = None,
    settings: Mapping[str, FidoSettings] | None = None,
    samplers: Sequence[Sampler] = SAMPLERS,
    temperatures: Sequence[float] = TEMPERATURES,
    samples: Sequence[int] = SAMPLES,
    steps: Sequence[int] = (0, 10),
    logits: Sequence[float] = (8.0, 20.0),
    draws: int = 32,
    image_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Noise of the gradient estimate of FIDO's objective, for every sampler, temperature and number of samples.

    Each gradient is the one that the optimiser itself would take a step with, of the scores alone: area and total
    variation are free of noise. It is drawn again and again at one fixed state, the same state and the same uniform
    numbers for every sampler and temperature. With gradients g_1 to g_R and their mean m,

        V = sum_r ||g_r - m||^2 / (R - 1)          is unbiased for the variance of one gradient, summed over cells,
        M = ||m||^2 - V / R                        is unbiased for the squared size of the true mean

    (||m||^2 alone is too large by V / R, more than M itself where noise dominates). The true mean does not depend on
    the number of samples, so M is taken from all of a sampler's gradients together, and noise is sqrt(V / M).

    Args:
        classifier: the classifier.
        images: (B, 3, H, W) in [0, 1].
        targets: as in `fidokit.explain`.
        settings: name of a grid -> the settings that lead to its states; None for `grids`. Trajectories start flat.
        samplers, temperatures, samples: what is compared; samples are per kind and step.
        steps: states: after so many steps of the grid's settings. 0 is the start, theta = 0.
        logits: further states: the last of `steps`, each of its logits pushed to this size with its sign kept.
        draws: samples per kind spent on a number of samples: ``max(4, draws // samples)`` gradients are drawn.
        image_ids: names of the images; None for their positions.

    Returns:
        A row for each image, grid, state, sampler, temperature and samples: image_id, grid, state, sampler,
        temperature, samples, evaluations (of one gradient), repetitions, noise (NaN where the mean cannot be told
        from zero), variance_per_evaluation (noise squared times evaluations: how many a noise of 1 takes),
        zero_share (gradient entries that are exactly zero), zero_share_positive (among cells with a positive logit,
        where a probability rounds to 1; NaN without such cells), non_finite_share.
    """
    designs = grids() if settings is None else settings
    names = [str(i) for i in range(len(images))] if image_ids is None else list(image_ids)
    measured = list(product(samplers, (float(t) for t in temperatures)))
    rows: list[dict[str, Any]] = []
    with classifier.session() as session:
        goal = classifier.goal(session.logits(images), targets)
        for (i, name), (grid, base) in product(enumerate(names), designs.items()):
            optimiser = Optimiser(session, base, goal)
            key, one = image_keys(base.seed, [name]), goal[torch.tensor([i])]
            start = optimiser.fill(images[i : i + 1], key, one, None)
            for state, theta in _states(optimiser, start, steps, logits):
                slots = at_state(start, theta)
                for sampler, temperature in measured:
                    noisy = replace(base, sampler=sampler, temperature=temperature, area=0.0, total_variation=0.0)
                    labels = dict(
                        zip(("image_id", *_SETTING[:-1]), (name, grid, state, sampler, temperature), strict=True)
                    )
                    moments = _moments_of(session, noisy, goal, slots, name, samples, draws)
                    rows += [labels | row for row in _noise_rows(moments)]
    return pd.DataFrame(rows)


def _moments_of(
    session: Session, settings: FidoSettings, goal: Goal, slots: Slots, name: str, samples: Sequence[int], draws: int
) -> dict[int, Moments]:
    """Moments by number of samples."""
    moments = {}
    for count in samples:
        # Other numbers of samples get other draws: their means are pooled as independent ones.
        repetitions = range(max(LEAST_REPETITIONS, draws // count))
        keys = image_keys(settings.seed, [f"{name}\0{count}\0{r}" for r in repetitions])
        optimiser = Optimiser(session, replace(settings, samples=count), goal)
        moments[count] = gradient_moments(optimiser, slots, keys)
    return moments


def at_state(slots: Slots, theta: Tensor) -> Slots:
    """The same image at another state, in new tensors."""
    moved = slots.take(torch.arange(len(slots), device=slots.theta.device))
    moved.theta = theta.clone()
    return moved


def gradient_moments(optimiser: Optimiser, slots: Slots, keys: Tensor) -> Moments:
    """Moments of the gradient of one image's loss over independent draws, its state held fixed.

    Args:
        optimiser: its settings say how the gradient is estimated.
        slots: one row, the state.
        keys: (R,) a random stream for each gradient, at least 2.
    """
    width = max(1, optimiser.session.micro_batch // optimiser.evaluations_per_step)
    total = torch.zeros(slots.theta.shape[1:], dtype=torch.float64)
    squares, zeros, zeros_positive, non_finite = 0.0, 0, 0, 0
    positive, device = (slots.theta[0] > 0).cpu(), slots.theta.device
    repetitions = len(keys)
    for first in range(0, repetitions, width):
        some = keys[first : first + width]
        copies = slots.take(torch.zeros(len(some), dtype=torch.int64, device=device))
        copies.key = some.to(device)
        gradients = optimiser.gradient(copies)[0].double().cpu()
        total += gradients.sum(0)
        squares += float(gradients.square().sum())
        zeros += int((gradients == 0).sum())
        zeros_positive += int((gradients == 0)[:, positive].sum())
        non_finite += int((~torch.isfinite(gradients)).sum())
    mean = total / repetitions
    entries, raised = repetitions * positive.numel(), repetitions * int(positive.sum())
    return Moments(
        mean=mean.numpy(),
        variance=max(0.0, (squares - repetitions * float(mean.square().sum())) / (repetitions - 1)),
        repetitions=repetitions,
        zeros=zeros / entries,
        zeros_positive=zeros_positive / raised if raised else math.nan,
        non_finite=non_finite / entries,
    )


def squared_mean(moments: Mapping[int, Moments]) -> tuple[float, float]:
    """Unbiased estimate of ||E g||^2 from gradients with several numbers of samples, and what was taken off for noise.

    The means are weighted by how many samples stand behind them. ||m||^2 of a mean m exceeds ||E g||^2 by m's own
    variance, which is known without bias. The estimate may be negative by chance.
    """
    weights = {count: float(m.repetitions * count) for count, m in moments.items()}
    whole = sum(weights.values())
    pooled = sum(weights[count] / whole * m.mean for count, m in moments.items())
    own = sum((weights[count] / whole) ** 2 * m.variance / m.repetitions for count, m in moments.items())
    return float(np.square(pooled).sum() - own), own


def _noise_rows(moments: Mapping[int, Moments]) -> Iterator[dict[str, Any]]:
    size, own = squared_mean(moments)
    told = size > LEAST_SIGNAL * own and size > 0
    for count, m in moments.items():
        noise = math.sqrt(m.variance / size) if told else math.nan
        yield {
            "samples": count,
            "evaluations": 2 * count,
            "repetitions": m.repetitions,
            "noise": noise,
            "variance_per_evaluation": noise**2 * 2 * count,
            "zero_share": m.zeros,
            "zero_share_positive": m.zeros_positive,
            "non_finite_share": m.non_finite,
        }


def _states(
    optimiser: Optimiser, start: Slots, steps: Sequence[int], logits: Sequence[float]
) -> Iterator[tuple[str, Tensor]]:
    slots = at_state(start, start.theta)
    last = slots.theta.clone()
    for step in range(max(steps) + 1):
        if step in steps:
            last = slots.theta.clone()
            yield f"step {step}", last
        if step < max(steps):
            optimiser.step(slots)
    for size in logits:
        # A logit of exactly 0 has no sign; it goes where the mask is kept small.
        yield f"logit {size:g}", torch.where(last > 0, size, -size)


def noise_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the images of `sampler_study`, with 95 % bootstrap intervals, the same images for every row.

    Noise and variance are ratios, so their means are geometric.

    Returns:
        grid, state, sampler, temperature, samples, evaluations, n (images with a noise), and noise,
        variance_per_evaluation, zero_share, zero_share_positive and non_finite_share, each with NAME_low and
        NAME_high.
    """
    settings = rows[_SETTING].drop_duplicates().reset_index(drop=True)
    table = settings.assign(evaluations=2 * settings["samples"])
    for name in ("noise", "variance_per_evaluation", "zero_share", "zero_share_positive", "non_finite_share"):
        geometric = name in ("noise", "variance_per_evaluation")
        values = by_image(rows, name, _SETTING).to_numpy(np.float64)
        if name == "noise":
            table["n"] = np.isfinite(values).sum(1)
        logs = np.log(values) if geometric else values
        middle, low, high = mean_and_interval(logs)
        for suffix, column in (("", middle), ("_low", low), ("_high", high)):
            table[name + suffix] = np.exp(column) if geometric else column
    return table


def by_image(rows: pd.DataFrame, column: str, keys: list[str]) -> pd.DataFrame:
    """(settings x images) values of a column, settings in order of appearance."""
    groups = rows.groupby(keys, sort=False)
    columns = {key: group.set_index("image_id")[column].astype(float) for key, group in groups}
    values = pd.DataFrame(columns).T
    values.index.names = keys
    return values


def mask_quality(
    classifier: Classifier,
    images: Tensor,
    methods: Mapping[str, str | tuple[str, Any]],
    *,
    targets: Targets = None,
    objects: Tensor | None = None,
    panel: Tensor | None = None,
    kinds: Sequence[Kind] = ("joint", "attribution"),
    image_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Quality, coherence and cost of several methods' masks of the same images, for comparisons without a study.

    Args:
        classifier: the classifier.
        images: (B, 3, H, W) in [0, 1].
        methods: label -> name, or (name, settings), as in `fidokit.run_study`.
        targets: as in `fidokit.explain`.
        objects: (B, H, W) bool masks of the objects, for the measures of localisation.
        panel: (P, 3, H, W) infills that no method optimises with; None for `fidokit.study.metrics.panel.mosaic`.
        kinds: those that are judged, as far as a method makes them.
        image_ids: names of the images; None for their positions.

    Returns:
        A row for each image, method and kind, as `fidokit.study.compare.compare` reads it: image_id, method, kind,
        insertion, deletion, average_precision and iou_at_object_area (with objects), total_variation (at equal grid
        and area, see `localisation.coherence`), evaluations, seconds. An image without a mask has no row.
    """
    names = [str(i) for i in range(len(images))] if image_ids is None else list(image_ids)
    panel = mosaic(classifier.size)[None] if panel is None else panel
    frames = []
    with classifier.session() as session:
        goal = classifier.goal(session.logits(images), targets)
        for label, given in methods.items():
            method, settings = (given, None) if isinstance(given, str) else given
            made = explain(classifier, images, method, targets, settings=settings)
            rows = torch.tensor([int(position) for position in made.image_ids], dtype=torch.int64)
            for kind in (kind for kind in kinds if kind in made.kinds):
                masks = made.at(kind)
                insertion, deletion = insertion_and_deletion(session, images[rows], goal[rows], masks, panel)
                measures = {"insertion": insertion, "deletion": deletion}
                if objects is not None:
                    measures["average_precision"] = pixel_average_precision(masks, objects[rows])
                    measures["iou_at_object_area"] = iou_at_object_area(masks, objects[rows])
                measures["total_variation"] = coherence(masks)
                measures |= {"evaluations": made.evaluations, "seconds": made.seconds}
                own = {"image_id": [names[row] for row in rows.tolist()], "method": label, "kind": kind}
                frames.append(pd.DataFrame(own | {name: values.numpy() for name, values in measures.items()}))
    return pd.concat(frames, ignore_index=True)


def sampler_quality(
    classifier: Classifier,
    images: Tensor,
    *,
    settings: Mapping[str, FidoSettings] | None = None,
    samplers: Sequence[Sampler] = SAMPLERS,
    temperatures: Sequence[float] = TEMPERATURES,
    samples: Sequence[int] = SAMPLES,
    evaluations: int | None = None,
    **options: Any,
) -> pd.DataFrame:
    """What the noise costs: quality and coherence of the masks of every sampler, temperature and number of samples.

    Args:
        classifier: the classifier.
        images: (B, 3, H, W) in [0, 1].
        settings: name of a grid -> all other settings; None for `grids`.
        samplers, temperatures, samples: what is compared; samples are per kind and step.
        evaluations: spent on every image's steps alike, so that more samples mean fewer steps, at least one; None
            leaves the steps as they are in the settings.
        **options: of `mask_quality`.

    Returns:
        The table of `mask_quality` with the columns grid, sampler, temperature, samples and steps before the measures;
        `method` names all of them, so that the table can be given to `compare`.
    """
    methods: dict[str, tuple[str, FidoSettings]] = {}
    described = []
    for (grid, base), sampler, temperature, count in product(
        (grids() if settings is None else settings).items(), samplers, temperatures, samples
    ):
        steps = base.steps if evaluations is None else max(1, evaluations // (2 * count))
        label = f"{grid}, {sampler}, t = {temperature:g}, {count} samples"
        methods[label] = "fido", replace(base, sampler=sampler, temperature=temperature, samples=count, steps=steps)
        described.append((label, grid, sampler, float(temperature), count, steps))
    columns = ["method", "grid", "sampler", "temperature", "samples", "steps"]
    table = mask_quality(classifier, images, methods, **options)
    merged = table.merge(pd.DataFrame(described, columns=columns), on="method", how="left", validate="many_to_one")
    first = ["image_id", "method", "kind", *columns[1:]]
    return merged[[*first, *(name for name in table.columns if name not in first)]]
