"""Published claims put to the test: tables in, verdicts out, each by a rule that was fixed before.

The claims are those of Korsch, Shadaydeh, Denzler, "Simplified concrete dropout", GCPR 2023 (arXiv 2307.14825).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd
from sampler_study import by_image

from fidokit.methods.concrete import Sampler
from fidokit.study.compare import METRIC_DIRECTIONS, compare
from fidokit.study.summary import mean_and_interval

Verdict: TypeAlias = Literal["supported", "not supported", "contradicted"]
_Labelled: TypeAlias = tuple[str, str]
_Setting: TypeAlias = tuple[Sampler, float]

#: What the published comparison puts side by side.
PUBLISHED_PAIR: tuple[_Setting, _Setting] = (("original", 0.1), ("simplified", 1.0))
#: The largest loss of quality that still counts as none.
MARGIN = 0.03
#: With fewer pairs no sign-flip test can fall below 0.05 (2 in 2^6), and bootstrap intervals are far too short.
LEAST_UNITS = 6


def verdict(low: float, high: float, threshold: float = 0.0) -> Verdict:
    """What an interval says of the claim that a gain lies above a threshold; without an interval, nothing."""
    if low > threshold:
        return "supported"
    if high < threshold:
        return "contradicted"
    return "not supported"


def judge_claim(
    table: pd.DataFrame,
    claim: str,
    first: _Labelled,
    second: _Labelled,
    metric: str | Sequence[str],
    *,
    margin: float = 0.0,
    unit: str | Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """The claim that one method and kind is better than another by some metrics, or not worse by more than a margin.

    Returns:
        A row for each metric: claim, metric, first, second, n, units, first_mean, second_mean, gain (of the first over
        the second, positive where it is better, paired), low, high, threshold and verdict (see `verdict`; with fewer
        than `LEAST_UNITS` units always ``not supported``).
    """
    keys = pd.Series(list(zip(table["method"], table["kind"], strict=True)), index=table.index, dtype=object)
    compared = compare(table[keys.isin([first, second])], metric, first, unit=unit, n_permutations=1)
    rows = []
    for row in compared.to_dict("records"):
        way = METRIC_DIRECTIONS[row["metric"]]
        low, high = (row["low"], row["high"]) if way > 0 else (-row["high"], -row["low"])
        rows.append(
            {
                "claim": claim,
                "metric": row["metric"],
                "first": " · ".join(first),
                "second": " · ".join(second),
                "n": row["n"],
                "units": row["units"],
                "first_mean": row["reference_mean"],
                "second_mean": row["other_mean"],
                "gain": row["difference"] * way,
                "low": low,
                "high": high,
                "threshold": 0.0 - margin,
                "verdict": verdict(low, high, -margin) if row["units"] >= LEAST_UNITS else "not supported",
            }
        )
    return pd.DataFrame(rows)


def small_mini_batches(
    table: pd.DataFrame,
    small: _Labelled,
    large: _Labelled,
    metric: Sequence[str] = ("insertion", "average_precision"),
    *,
    margin: float = MARGIN,
    unit: str | Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """The claim "smaller mini-batches without loss": few samples a step against many; see `judge_claim`.

    Metrics that the table lacks are left out.
    """
    metrics = [name for name in metric if name in table.columns]
    return judge_claim(table, "smaller mini-batches without loss", small, large, metrics, margin=margin, unit=unit)


def finer_and_more_coherent(
    table: pd.DataFrame,
    ours: _Labelled,
    theirs: _Labelled,
    *,
    unit: str | Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """The claim "finer and more coherent masks", a row for each half of it; see `judge_claim`.

    More coherent: less total variation at equal grid and equal area. Finer: the mask follows the object's outline,
    that is a higher average precision of its pixels; only where the table has it.
    """
    halves = {"more coherent masks": "total_variation", "finer masks": "average_precision"}
    return pd.concat(
        [
            judge_claim(table, claim, ours, theirs, metric, unit=unit)
            for claim, metric in halves.items()
            if metric in table.columns
        ],
        ignore_index=True,
    )


def noise_gain(rows: pd.DataFrame, pair: tuple[_Setting, _Setting] = PUBLISHED_PAIR) -> pd.DataFrame:
    """How many times noisier the first setting's gradient is than the second's, and what temperature and formula make.

    All are factors by which the noise is divided from the first setting to the second, at equal samples: the geometric
    mean over images and numbers of samples. Two ways lead from the one to the other, first the formula and then the
    temperature, or the reverse. Each part is the geometric mean of its ratio on both ways, so that temperature times
    formula is the gain.

    Args:
        rows: of `sampler_study.sampler_study`.
        pair: (sampler, temperature) from which, and to which.

    Returns:
        A row for each grid and state: grid, state, n (images with all four noises), gain, temperature and formula,
        each with a 95 % interval as NAME_low and NAME_high, and temperature_share (the temperature's part of the
        gain's logarithm; NaN unless the gain's interval leaves out 1).
    """
    (sampler_1, hot_1), (sampler_2, hot_2) = pair
    logs = rows.assign(noise=np.log(rows["noise"].astype(float)))
    result = []
    for (grid, state), own in logs.groupby(["grid", "state"], sort=False):
        per_image = {key: by_image(part, "noise", ["samples"]) for key, part in own.groupby(["sampler", "temperature"])}
        a1, a2 = per_image[sampler_1, hot_1], per_image[sampler_1, hot_2]
        b1, b2 = per_image[sampler_2, hot_1], per_image[sampler_2, hot_2]
        parts = {"gain": a1 - b2, "temperature": (a1 - a2 + b1 - b2) / 2, "formula": (a1 - b1 + a2 - b2) / 2}
        complete = (a1 + a2 + b1 + b2).notna()
        values = np.stack([part.where(complete).mean().to_numpy(np.float64) for part in parts.values()])
        bounds = [np.exp(bound) for bound in mean_and_interval(values)]
        row = {"grid": grid, "state": state, "n": int(np.isfinite(values[0]).sum())}
        for i, name in enumerate(parts):
            row |= {name + end: float(bound[i]) for end, bound in zip(("", "_low", "_high"), bounds, strict=True)}
        sure = row["gain_low"] > 1 or row["gain_high"] < 1
        row["temperature_share"] = math.log(row["temperature"]) / math.log(row["gain"]) if sure else math.nan
        result.append(row)
    return pd.DataFrame(result)


def saturation(rows: pd.DataFrame, column: str = "zero_share") -> pd.DataFrame:
    """What the formula saves: gradient entries that are exactly zero, original against simplified at equal t.

    Args:
        rows: of `sampler_study.sampler_study`.
        column: ``zero_share``, or ``zero_share_positive`` for cells with a positive logit alone.

    Returns:
        A row for each grid, state, temperature and number of samples: grid, state, temperature, samples, n, original,
        simplified, and saved (original minus simplified, paired) with saved_low and saved_high.
    """
    keys = ["grid", "state", "temperature", "samples"]
    original = by_image(rows[rows["sampler"] == "original"], column, keys)
    simplified = by_image(rows[rows["sampler"] == "simplified"], column, keys).reindex_like(original)
    table = original.index.to_frame(index=False)
    both = original.notna() & simplified.notna()
    table["n"] = both.sum(axis=1).to_numpy()
    table["original"] = original.where(both).mean(axis=1).to_numpy()
    table["simplified"] = simplified.where(both).mean(axis=1).to_numpy()
    saved = (original - simplified).to_numpy(np.float64)
    table["saved"], table["saved_low"], table["saved_high"] = mean_and_interval(saved)
    return table
