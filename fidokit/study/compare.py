"""Methods compared in pairs: the same photographs, differences with intervals, tests corrected for their number.

Everything here reads a long table with a row for each image, method and kind, such as `Study.metrics` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit._util.checks import COUNT, Number, check_number
from fidokit.exceptions import SettingsError
from fidokit.study.summary import Floats, bootstrap_means, mean_and_interval, percentile_interval

if TYPE_CHECKING:
    from fidokit.study.study import Study

#: 1 where more is better, -1 where less is better, 0 where neither is: an area or an entropy only describes a mask.
METRIC_DIRECTIONS: dict[str, int] = {
    "insertion": 1,
    "deletion": -1,
    "sufficient_area": -1,
    "destroying_area": -1,
    "average_precision": 1,
    "energy_inside": 1,
    "pointing_game": 1,
    "iou": 1,
    "false_discovery_rate": -1,
    "iou_at_object_area": 1,
    "total_variation": -1,
    "entropy": 0,
    "area": 0,
    "road": 1,
    "agreement": 0,
    "stability": 1,
    "part_correlation": 1,
    "sanity": -1,
    "sufficient_holds": 1,
    "sufficient_region_area": -1,
    "destroying_holds": 1,
    "destroying_region_area": -1,
    "score_kept": 1,
    "score_dropped": -1,
}

#: With at most so many pairs all sign flips are tried, 16,384 of them; beyond, a random sample of them.
MOST_EXACT = 14
# Signs that are held at once.
_BLOCK = 4_000_000


def sign_flip_p(differences: Floats, n_permutations: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of the mean of paired differences: the share of sign flips with a mean as far from 0.

    If two methods do not differ, each difference might as well have the other sign (Fisher 1935). No distribution is
    assumed. All flips are tried with at most `MOST_EXACT` differences; else a sample, in which the observed signs
    count as one more, so that the p-value is never 0 (Phipson and Smyth, 2010).

    Args:
        differences: (N,), NaN is left out.
        n_permutations: size of the sample.
        seed: of the sample.

    Returns:
        In (0, 1]; NaN with fewer than two differences, which can show nothing.
    """
    values = np.asarray(differences, np.float64)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return float("nan")
    # Sums of the same numbers in another order differ by rounding.
    least = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if n <= MOST_EXACT:
        signs = 1 - 2 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ values) >= least).mean())
    generator = np.random.default_rng(seed)
    as_far, step = 0, max(1, _BLOCK // n)
    for start in range(0, n_permutations, step):
        flips = generator.integers(0, 2, (min(step, n_permutations - start), n), dtype=np.int8)
        as_far += int((np.abs((1 - 2 * flips.astype(np.float64)) @ values) >= least).sum())
    return (1 + as_far) / (1 + n_permutations)


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """P-values corrected for their number by Holm's step-down rule (Holm 1979), which holds for dependent tests too.

    Args:
        p_values: (M,); NaN is no test: it is not counted and stays NaN.

    Returns:
        (M,) corrected values, at most 1: those at or below 0.05 keep the chance of any false finding below 0.05.
    """
    p = np.asarray(p_values, np.float64)
    q = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    weighted = p[order] * np.arange(len(order), 0, -1)
    q[order] = np.minimum(np.maximum.accumulate(weighted), 1.0)
    return q


def compare(
    table: pd.DataFrame,
    metric: str | Sequence[str],
    reference: tuple[str, str] = ("fido", "joint"),
    *,
    unit: str | Mapping[str, object] | None = None,
    directions: Mapping[str, int] | None = None,
    alpha: float = 0.05,
    n_resamples: int = 10_000,
    n_permutations: int = 20_000,
    seed: int = 0,
) -> pd.DataFrame:
    """One method and kind against every other one, paired by image.

    Args:
        table: a row for each image, method and kind: image_id, method, kind, and a column for each metric.
        metric: a column, or several; all comparisons of the call are corrected together.
        reference: method and kind that the others are compared with.
        unit: what is independent, a column of the table or image_id -> unit: copies of one photograph are one unit.
            Their differences are averaged first, then units are resampled and flipped. None: every image is one.
        directions: of columns that `METRIC_DIRECTIONS` does not know, or knows otherwise: 1, -1 or 0.
        alpha: largest corrected p-value that shows a difference; intervals cover ``1 - alpha``.
        n_resamples: bootstrap samples of the interval.
        n_permutations: sampled sign flips, where there are too many units to try them all.
        seed: of both samples.

    Returns:
        A row for each metric and each other method and kind, in the table's order: metric, reference_method,
        reference_kind, method, kind, n (images with both), units, reference_mean and other_mean over these,
        difference (reference minus other), low and high (percentile bootstrap), p_value (`sign_flip_p`), q_value
        (`holm`) and better: ``reference``, ``other`` or ``not shown``. The last also stands where a metric has no
        direction. Without two units to compare the interval and the p-value are missing.

    Raises:
        SettingsError: no metric at all, a column, method or direction that there is not, a number outside its range,
            or two rows for one image, method and kind.

    Example:
        >>> table = study.metrics(progress=False)
        >>> compared = fk.compare(table, "deletion", reference=("fido", "joint"))
        >>> compared["method"].tolist()[-1]
        'grad-cam'
    """
    metrics = _metrics(table, metric)
    check_number("alpha", alpha, Number(above=0, below=1))
    for name, number in (("n_resamples", n_resamples), ("n_permutations", n_permutations)):
        check_number(name, number, COUNT)
    known = METRIC_DIRECTIONS | dict(directions or {})
    for name in metrics:
        if known.get(name) not in (-1, 0, 1):
            raise SettingsError(
                f"whether more of {name!r} is better is not known; say directions={{{name!r}: 1}}, or -1, or 0"
            )
    units = units_of(table, unit)
    parts = [_differences(table, name, reference, units) for name in metrics]
    result = pd.concat([rows for rows, _ in parts], ignore_index=True)
    values = np.concatenate([differences for _, differences in parts])
    low, high = percentile_interval(bootstrap_means(values, n_resamples, seed), 1 - alpha)
    alone = result["units"].to_numpy() < 2
    result["low"], result["high"] = np.where(alone, np.nan, low), np.where(alone, np.nan, high)
    result["p_value"] = [sign_flip_p(row, n_permutations, seed) for row in values]
    result["q_value"] = holm(result["p_value"].to_numpy(np.float64))
    gain = result["difference"] * result["metric"].map(known)
    shown = result["q_value"] <= alpha
    result["better"] = np.select([shown & (gain > 0), shown & (gain < 0)], ["reference", "other"], "not shown")
    return result


def cost_table(
    study: Study,
    metric: str | Sequence[str] = "insertion",
    *,
    table: pd.DataFrame | None = None,
    unit: str | Mapping[str, object] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Quality against cost, a row for each method and kind of a study.

    Args:
        study: whose masks cost something.
        metric: a column of the table, or several.
        table: what `Study.metrics` gave, if it is at hand; None computes it.
        unit: as in `compare`.
        n_resamples: bootstrap samples of the intervals.
        seed: of the samples, the same for every row.

    Returns:
        method, kind, n; each metric's mean with its 95 % interval as NAME, NAME_low and NAME_high; and the mean
        evaluations and seconds an image. Both are those of the method: all its kinds together.
    """
    table = study.metrics() if table is None else table
    metrics = _metrics(table, metric, "column")
    costs = study.masks(columns=["image_id", "method", "kind", "evaluations", "seconds"])
    merged = table.drop(columns=["evaluations", "seconds"], errors="ignore").merge(
        costs, on=["image_id", "method", "kind"], how="left", validate="one_to_one"
    )
    return means_table(merged, metrics, ("evaluations", "seconds"), unit=unit, n_resamples=n_resamples, seed=seed)


def means_table(
    table: pd.DataFrame,
    metrics: Sequence[str],
    costs: Sequence[str] = ("evaluations", "seconds"),
    *,
    unit: str | Mapping[str, object] | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Means of a long table by method and kind: metrics with 95 % intervals, costs without; see `cost_table`.

    Raises:
        SettingsError: no metric at all, or a column that there is not.
    """
    metrics = _metrics(table, metrics, "column")
    check_number("n_resamples", n_resamples, COUNT)
    for name in costs:
        if name not in table.columns:
            raise SettingsError(f"there is no column {name!r} in this table; there are {', '.join(_numeric(table))}")
    keys = _keys(table)
    units = units_of(table, unit)
    wide = {name: _wide(table, name) for name in (*metrics, *costs)}
    by_unit = np.concatenate([_by_unit(wide[name][keys], units).to_numpy(np.float64).T for name in metrics])
    mean, low, high = (part.reshape(len(metrics), -1) for part in mean_and_interval(by_unit, n_resamples, seed))
    columns: dict[str, Any] = {
        "method": [method for method, _ in keys],
        "kind": [kind for _, kind in keys],
        "n": [int(wide[metrics[0]][key].notna().sum()) for key in keys],
    }
    for i, name in enumerate(metrics):
        columns |= {name: mean[i], f"{name}_low": low[i], f"{name}_high": high[i]}
    return pd.DataFrame(columns | {name: [float(wide[name][key].mean()) for key in keys] for name in costs})


def units_of(table: pd.DataFrame, unit: str | Mapping[str, object] | None) -> pd.Series[Any]:
    """The unit of each image_id, indexed by image_id.

    Raises:
        SettingsError: no such column, an image without a unit, or one image in two units.
    """
    ids = table["image_id"].drop_duplicates()
    if unit is None:
        return pd.Series(ids.to_numpy(), index=ids)
    if isinstance(unit, str):
        if unit not in table.columns:
            raise SettingsError(f"there is no column {unit!r} to tell units apart; leave `unit` out, or add the column")
        pairs = table[["image_id", unit]].drop_duplicates()
        if pairs["image_id"].duplicated().any():
            twice = pairs["image_id"][pairs["image_id"].duplicated()].iloc[0]
            raise SettingsError(f"image {twice!r} has two values of {unit!r}; an image belongs to one unit")
        units = pairs.set_index("image_id")[unit]
    else:
        units = pd.Series([unit.get(image_id) for image_id in ids], index=ids, dtype=object)
    if units.isna().any():
        raise SettingsError(f"image {units.index[units.isna()][0]!r} has no unit; give one to every image")
    return units


def _metrics(table: pd.DataFrame, metric: str | Sequence[str], noun: str = "metric") -> list[str]:
    """The names of metrics, each a column of the table with numbers, and at least one."""
    metrics = [metric] if isinstance(metric, str) else list(metric)
    if not metrics:
        raise SettingsError(f"no metric is named; name one or more of {', '.join(_numeric(table))}")
    for name in metrics:
        if name not in table.columns:
            raise SettingsError(f"there is no {noun} {name!r} in this table; there are {', '.join(_numeric(table))}")
    if len(set(metrics)) < len(metrics):
        raise SettingsError(f"a metric is named twice in {metrics!r}; name each once")
    return metrics


def _numeric(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.select_dtypes(["number", "bool"]).columns]


def _keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(method, kind) in order of appearance."""
    pairs = table[["method", "kind"]].drop_duplicates()
    return list(zip(pairs["method"].astype(str), pairs["kind"].astype(str), strict=True))


def _wide(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row for each image, a column for each (method, kind)."""
    keys = ["image_id", "method", "kind"]
    if table.duplicated(keys).any():
        row = table[table.duplicated(keys)].iloc[0]
        raise SettingsError(
            f"two rows for image {row['image_id']!r}, {row['method']} {row['kind']}; a comparison needs one of each"
        )
    numbers = pd.to_numeric(table[metric], errors="coerce").astype(np.float64)
    groups = table[["image_id"]].assign(value=numbers).groupby([table["method"], table["kind"]], sort=False)
    columns = {key: group.set_index("image_id")["value"] for key, group in groups}
    return pd.DataFrame(columns).reindex(table["image_id"].drop_duplicates())


def _by_unit(values: pd.DataFrame, units: pd.Series[Any]) -> pd.DataFrame:
    """Means over the images of each unit, in the units' own order of appearance."""
    return values.groupby(units.reindex(values.index).to_numpy(), sort=False).mean()


def _differences(
    table: pd.DataFrame, metric: str, reference: tuple[str, str], units: pd.Series[Any]
) -> tuple[pd.DataFrame, Floats]:
    """Rows of the comparison up to the difference, and the (M, U) differences behind them."""
    keys = _keys(table)
    if tuple(reference) not in keys:
        there = ", ".join(f"({method!r}, {kind!r})" for method, kind in keys)
        raise SettingsError(f"{reference!r} is not in this table; reference is one of {there}")
    wide = _wide(table, metric)
    others = [key for key in keys if key != tuple(reference)]
    own = wide[tuple(reference)]
    rows, values = [], np.empty((len(others), units.nunique()))
    for i, (method, kind) in enumerate(others):
        difference = own - wide[method, kind]
        both = difference.notna()
        values[i] = _by_unit(difference.to_frame(), units).to_numpy(np.float64)[:, 0]
        present = np.isfinite(values[i])
        rows.append(
            {
                "metric": metric,
                "reference_method": reference[0],
                "reference_kind": reference[1],
                "method": method,
                "kind": kind,
                "n": int(both.sum()),
                "units": int(present.sum()),
                "reference_mean": float(own[both].mean()),
                "other_mean": float(wide[method, kind][both].mean()),
                "difference": float(values[i][present].mean()) if present.any() else np.nan,
            }
        )
    columns = [
        *("metric", "reference_method", "reference_kind", "method", "kind"),
        *("n", "units", "reference_mean", "other_mean", "difference"),
    ]
    return pd.DataFrame(rows, columns=columns), values
