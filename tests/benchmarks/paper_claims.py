"""Published claims put to the test: tables in, verdicts out, each by a rule that was fixed before.

The claims are those of Korsch, Shadaydeh, Denzler, "Simplified concrete dropout", GCPR 2023 (arXiv 2307.14825).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from sampler_study import by_image

from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import SAMPLERS, Sampler
from fidokit.study.compare import METRIC_DIRECTIONS, compare, mean_and_interval

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
    """What an interval says of the claim that a gain lies above a threshold.

    Args:
        low, high: 95 % interval of the gain.
        threshold: 0 for "better", minus a margin for "not worse by more than the margin".

    Returns:
        ``supported`` if all of the interval lies above the threshold, ``contradicted`` if all of it lies below, else
        ``not supported``: also without an interval.
    """
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
    n_resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """The claim that one method and kind is better than another, or not worse by more than a margin.

    Args:
        table: as for `fidokit.study.compare.compare`.
        claim: what is claimed, in words.
        first, second: (method, kind) that is claimed to be better, and the one it is compared with.
        metric: a column with a direction, or several, each judged for itself.
        margin: how much worse the first may be; 0 for "better".
        unit: as in `compare`.
        n_resamples, seed: of the bootstrap.

    Returns:
        A row for each metric: claim, metric, first, second, n, units, first_mean, second_mean, gain (of the first over
        the second, positive where it is better, paired), low, high, threshold, verdict (see `verdict`; with fewer than
        `LEAST_UNITS` units always ``not supported``) and a sentence.

    Raises:
        SettingsError: a column or method that there is not, a metric without a direction, or a negative margin.
    """
    metrics = [metric] if isinstance(metric, str) else list(metric)
    if margin < 0:
        raise SettingsError(f"the margin is {margin}; give the loss that is allowed as a positive number")
    for name in metrics:
        if not METRIC_DIRECTIONS.get(name):
            raise SettingsError(f"neither more nor less of {name!r} is better; a claim needs a metric that says which")
    keys = pd.Series(list(zip(table["method"], table["kind"], strict=True)), index=table.index, dtype=object)
    for key in (first, second):
        if first == second or key not in set(keys):
            raise SettingsError(f"{key!r} is no method and kind of its own in this table; it has {sorted(set(keys))}")
    pair = table[keys.isin([first, second])]
    compared = compare(pair, metrics, first, unit=unit, n_resamples=n_resamples, n_permutations=1, seed=seed)
    rows = []
    for row in compared.to_dict("records"):
        ends = (row["low"], row["high"]) if METRIC_DIRECTIONS[row["metric"]] > 0 else (-row["high"], -row["low"])
        judged: dict[str, Any] = {
            "claim": claim,
            "metric": row["metric"],
            "first": _name(first),
            "second": _name(second),
            "n": row["n"],
            "units": row["units"],
            "first_mean": row["reference_mean"],
            "second_mean": row["other_mean"],
            "gain": row["difference"] * METRIC_DIRECTIONS[row["metric"]],
            "low": ends[0],
            "high": ends[1],
            "threshold": 0.0 - margin,
            "verdict": verdict(*ends, -margin) if row["units"] >= LEAST_UNITS else "not supported",
        }
        rows.append(judged | {"sentence": _claim_sentence(judged)})
    return pd.DataFrame(rows)


def small_mini_batches(
    table: pd.DataFrame,
    small: _Labelled,
    large: _Labelled,
    metric: str | Sequence[str] = ("insertion", "average_precision"),
    *,
    margin: float = MARGIN,
    unit: str | Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """The claim "smaller mini-batches without loss": few samples a step against many; see `judge_claim`.

    Metrics that the table lacks are left out.
    """
    metrics = _present(table, metric)
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
    _present(table, ["total_variation"])
    return pd.concat(
        [
            judge_claim(table, claim, ours, theirs, metric, unit=unit)
            for claim, metric in halves.items()
            if metric in table.columns
        ],
        ignore_index=True,
    )


def noise_gain(
    rows: pd.DataFrame, pair: tuple[_Setting, _Setting] = PUBLISHED_PAIR, *, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much of the published gain is due to the temperature, and how much to the formula.

    The gain is the ratio of the noise of the first sampler of `pair` to that of the second, at equal samples: the
    geometric mean over images and numbers of samples. Two ways lead from the one to the other, first the formula and
    then the temperature, or the reverse. Each part is the geometric mean of its ratio on both ways, so that
    temperature times formula is the gain.

    Args:
        rows: of `sampler_study.sampler_study`.
        pair: (sampler, temperature) from which, and to which.
        n_resamples, seed: of the bootstrap over the images.

    Returns:
        A row for each grid and state: grid, state, n (images with all four noises), gain, temperature and formula,
        each with a 95 % interval as NAME_low and NAME_high, temperature_share (the temperature's part of the gain's
        logarithm; NaN unless the gain's interval leaves out 1) and a sentence.

    Raises:
        SettingsError: one of the four combinations of sampler and temperature was not measured.
    """
    (sampler_1, hot_1), (sampler_2, hot_2) = pair
    logs = rows.assign(noise=np.log(rows["noise"].astype(float)))
    result = []
    for (grid, state), own in logs.groupby(["grid", "state"], sort=False):
        per_image = {key: by_image(part, "noise", ["samples"]) for key, part in own.groupby(["sampler", "temperature"])}
        for key in ((a, b) for a in (sampler_1, sampler_2) for b in (hot_1, hot_2)):
            if key not in per_image:
                raise SettingsError(f"the {key[0]} sampler at t = {key[1]:g} was not measured; sampler_study can do it")
        a1, a2 = per_image[sampler_1, hot_1], per_image[sampler_1, hot_2]
        b1, b2 = per_image[sampler_2, hot_1], per_image[sampler_2, hot_2]
        parts = {"gain": a1 - b2, "temperature": (a1 - a2 + b1 - b2) / 2, "formula": (a1 - b1 + a2 - b2) / 2}
        complete = (a1 + a2 + b1 + b2).notna()
        values = np.stack([part.where(complete).mean().to_numpy(np.float64) for part in parts.values()])
        bounds = [np.exp(bound) for bound in mean_and_interval(values, n_resamples, seed)]
        row: dict[str, Any] = {"grid": grid, "state": state, "n": int(np.isfinite(values[0]).sum())}
        for i, name in enumerate(parts):
            row |= {name + end: float(bound[i]) for end, bound in zip(("", "_low", "_high"), bounds, strict=True)}
        sure = row["gain_low"] > 1 or row["gain_high"] < 1
        row["temperature_share"] = math.log(row["temperature"]) / math.log(row["gain"]) if sure else math.nan
        result.append(row | {"sentence": _gain_sentence(row, pair)})
    return pd.DataFrame(result)


def saturation(
    rows: pd.DataFrame, column: str = "zero_share", *, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """What the formula saves: gradient entries that are exactly zero, original against simplified at equal t.

    Args:
        rows: of `sampler_study.sampler_study`.
        column: ``zero_share``, or ``zero_share_positive`` for cells with a positive logit alone.
        n_resamples, seed: of the bootstrap over the images.

    Returns:
        A row for each grid, state, temperature and number of samples: grid, state, temperature, samples, n, original,
        simplified, saved (original minus simplified) with saved_low and saved_high, paired, and a sentence.

    Raises:
        SettingsError: one of the samplers was not measured.
    """
    keys = ["grid", "state", "temperature", "samples"]
    if missing := set(SAMPLERS) - set(rows["sampler"]):
        raise SettingsError(f"the {missing.pop()} sampler was not measured; sampler_study can do it")
    original = by_image(rows[rows["sampler"] == "original"], column, keys)
    simplified = by_image(rows[rows["sampler"] == "simplified"], column, keys).reindex_like(original)
    table = original.index.to_frame(index=False)
    both = original.notna() & simplified.notna()
    table["n"] = both.sum(axis=1).to_numpy()
    table["original"] = original.where(both).mean(axis=1).to_numpy()
    table["simplified"] = simplified.where(both).mean(axis=1).to_numpy()
    saved = (original - simplified).to_numpy(np.float64)
    table["saved"], table["saved_low"], table["saved_high"] = mean_and_interval(saved, n_resamples, seed)
    where = " with a positive logit" if column == "zero_share_positive" else ""
    table["sentence"] = [
        _saturation_sentence({str(name): value for name, value in row.items()}, where)
        for row in table.to_dict("records")
    ]
    return table


def _present(table: pd.DataFrame, metric: str | Sequence[str]) -> list[str]:
    wanted = [metric] if isinstance(metric, str) else list(metric)
    there = [name for name in wanted if name in table.columns]
    if not there:
        raise SettingsError(f"the claim is judged by {' or '.join(wanted)}, and the table has no such column")
    return there


def _name(labelled: _Labelled) -> str:
    return f"{labelled[0]} · {labelled[1]}"


def _factor(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def _claim_sentence(row: Mapping[str, Any]) -> str:
    metric = str(row["metric"]).replace("_", " ")
    named = f'"{row["claim"]}", judged by {metric}: {row["verdict"]}.'
    if row["units"] < LEAST_UNITS:
        return f"{named} {row['units']} pairs are too few for a verdict; it takes {LEAST_UNITS}."
    than = "0" if not row["threshold"] else f"{row['threshold']:g}"
    relation = {
        "supported": f"all of the interval lies above {than}",
        "contradicted": f"all of the interval lies below {than}",
        "not supported": f"the interval holds {than}",
    }[row["verdict"]]
    return (
        f"{named} {row['first']} gains {row['gain']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] over {row['second']} "
        f"({row['first_mean']:.3f} against {row['second_mean']:.3f}, {row['n']} images): {relation}."
    )


def _gain_sentence(row: Mapping[str, Any], pair: tuple[_Setting, _Setting]) -> str:
    (sampler_1, hot_1), (sampler_2, hot_2) = pair
    where = f"Grid {row['grid']}, {row['state']}, {row['n']} images: "
    where += f"from {sampler_1} at t = {hot_1:g} to {sampler_2} at t = {hot_2:g}"
    if not row["n"]:
        return f"{where}, no factor can be given: the mean gradient of no image can be told from zero."
    if math.isnan(row["temperature_share"]):
        return f"{where}, the gradient's noise changes by a factor that cannot be told from 1: {_factor(row, 'gain')}."
    return (
        f"{where}, the gradient's noise is divided by {_factor(row, 'gain')}. The temperature divides it by "
        f"{_factor(row, 'temperature')}, the formula by {_factor(row, 'formula')}."
    )


def _saturation_sentence(row: Mapping[str, Any], where: str) -> str:
    at = f"Grid {row['grid']}, {row['state']}, t = {row['temperature']:g}, {row['samples']} samples"
    shares = f"{row['original']:.1%} with the original formula and {row['simplified']:.1%} with the simplified one"
    if not row["n"]:
        return f"{at}: there is no cell{where}."
    saves = (
        f"the formula saves {row['saved']:.1%} [{row['saved_low']:.1%}, {row['saved_high']:.1%}]"
        if row["saved_low"] > 0
        else "the formula saves nothing that can be told from zero"
    )
    return f"{at}: of the gradient's entries{where} exactly zero are {shares}; {saves}."
