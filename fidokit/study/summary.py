"""Figures over a dataset: means by method and kind, with bootstrap intervals over the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from fidokit._util.checks import COUNT, check_number
from fidokit.methods.base import KINDS
from fidokit.study.metrics.sanity import passes
from fidokit.study.metrics.standing import KEYS, ON_REQUEST
from fidokit.study.metrics.table import metric_frame
from fidokit.study.regions import region_figures
from fidokit.study.store.schemas import STORED_SCHEMA, mask_means

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy

Floats = npt.NDArray[np.float64]
#: Columns of the summary that get an interval.
MEASURES = ("score_kept", "score_dropped", "area")
_COSTS = ("evaluations", "seconds", "converged")
# Entries of the matrix of resampled counts that are held at once.
_BLOCK = 1_000_000


def bootstrap_means(values: Floats, n_resamples: int = 2000, seed: int = 0) -> Floats:
    """Means of resampled images, the same images for every row, so that rows can be compared in pairs.

    Args:
        values: (M, N) a row for each figure, a column for each image; NaN where the image has none.
        n_resamples: how many samples of N images with replacement.
        seed: of the samples.

    Returns:
        (n_resamples, M); NaN where no image of a sample has a value.
    """
    m, n = values.shape
    means = np.full((n_resamples, m), np.nan)
    if n == 0:
        return means
    generator = np.random.default_rng(seed)
    present = np.isfinite(values)
    sums_of, counts_of = np.where(present, values, 0.0).T, present.T.astype(np.float64)
    step = max(1, _BLOCK // n)
    for start in range(0, n_resamples, step):
        rows = min(step, n_resamples - start)
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        counts = times @ counts_of
        np.divide(times @ sums_of, counts, out=means[start : start + rows], where=counts > 0)
    return means


def percentile_interval(means: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Lower and upper (M,) bounds of the percentile interval of (n_resamples, M) bootstrap means."""
    tail = 50 * (1 - level)
    bounds = np.full((2, means.shape[1]), np.nan)
    some = np.isfinite(means).any(axis=0)
    bounds[:, some] = np.nanpercentile(means[:, some], [tail, 100 - tail], axis=0)
    return bounds[0], bounds[1]


def mean_and_interval(values: Floats, n_resamples: int = 2000, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """(M,) means of (M, N) values with their 95 % percentile bootstrap bounds, NaN left out.

    All rows resample the same columns. With fewer than two values there is no interval: that of one value
    would have no width, and look like certainty.
    """
    present = np.isfinite(values)
    counts = present.sum(1)
    total = np.where(present, values, 0.0).sum(1)
    mean = np.divide(total, counts, out=np.full(len(values), np.nan), where=counts > 0)
    low, high = percentile_interval(bootstrap_means(values, n_resamples, seed))
    return mean, np.where(counts < 2, np.nan, low), np.where(counts < 2, np.nan, high)


def summarise(study: StoredStudy, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The table of `Study.summary`."""
    check_number("n_resamples", n_resamples, COUNT)
    table = _per_image(study)
    metrics = _stored_metrics(study, table[list(KEYS)])
    keys = [(label, kind) for label in study.methods for kind in study.kinds(label)]
    names = [name for name in metrics.columns if name not in (*KEYS, "area", "reason")]
    regions = region_figures(study)
    of_regions = [name for name in regions.columns if name not in KEYS] if len(regions) else []
    costs = _means(_by_image(study, keys, table, _COSTS))
    measured = [(table, MEASURES), (metrics, names), (regions, of_regions)]
    figures = np.concatenate([_by_image(study, keys, own, columns) for own, columns in measured], axis=1)
    names += of_regions
    _, *bounds = mean_and_interval(figures.reshape(-1, len(study)), n_resamples, seed)
    low, high = (bound.reshape(figures.shape[:2]) for bound in bounds)
    mean = _means(figures)
    with_intervals = [
        {name: mean[:, i], f"{name}_low": low[:, i], f"{name}_high": high[:, i]}
        for i, name in enumerate([*MEASURES, *names])
    ]
    columns: dict[str, Any] = {
        "method": [label for label, _ in keys],
        "kind": [kind for _, kind in keys],
        "n": np.isfinite(figures[:, MEASURES.index("area")]).sum(axis=1),
    }
    for group in with_intervals[: len(MEASURES)]:
        columns |= group
    columns |= {name: costs[:, i] for i, name in enumerate(_COSTS)}
    for group in with_intervals[len(MEASURES) :]:
        columns |= group
    if "sanity" in names:
        columns["passes_sanity"] = pd.array(passes(columns["sanity_high"]), dtype="boolean")
    return pd.DataFrame(columns)


def sanity_verdicts(study: StoredStudy, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The table of `Study.sanity`."""
    check_number("n_resamples", n_resamples, COUNT)
    metrics = _stored_metrics(study, None)
    if "sanity" not in metrics.columns:
        metrics["sanity"] = np.nan
    present = set(metrics[["method", "kind"]].itertuples(index=False, name=None))
    keys = [(label, kind) for label in study.methods for kind in study.kinds(label) if (label, kind) in present]
    values = _by_image(study, keys, metrics, ["sanity"])
    _, low, high = mean_and_interval(values[:, 0], n_resamples, seed)
    return pd.DataFrame(
        {
            "method": [label for label, _ in keys],
            "kind": [kind for _, kind in keys],
            "n": np.isfinite(values[:, 0]).sum(axis=1),
            "sanity": _means(values)[:, 0],
            "sanity_low": low,
            "sanity_high": high,
            "passes_sanity": pd.array(passes(high), dtype="boolean"),
        }
    )


def _stored_metrics(study: StoredStudy, keys: pd.DataFrame | None) -> pd.DataFrame:
    """The metrics that are stored; without a column for those of which no method has a value."""
    frame = metric_frame(study, study.methods, KINDS, keys=keys)
    measured = [name for name in frame.columns if name in (*KEYS, "reason", *ON_REQUEST) or frame[name].notna().any()]
    return frame[measured]


def _by_image(study: StoredStudy, keys: list[tuple[str, str]], table: pd.DataFrame, names: Sequence[str]) -> Floats:
    """(K, C, N) columns of a table with a row per mask: for each method and kind, in the order of the dataset."""
    figures = np.full((len(keys), len(names), len(study)), np.nan)
    groups = dict(list(table.groupby(["method", "kind"], sort=False))) if len(table) else {}
    for i, key in enumerate(keys):
        if key in groups and len(names):
            own = groups[key]
            places = study.places(own["image_id"])
            figures[i][:, places] = own[list(names)].to_numpy(np.float64).T
    return figures


def _per_image(study: StoredStudy) -> pd.DataFrame:
    """One row per mask: image_id, method, kind, measures and costs."""
    names = [*KEYS, *MEASURES, *_COSTS]
    batches = list(study.store.mask_batches(study.methods, names))
    # One table of many batches: pandas takes a millisecond for each that it is given.
    table = pa.Table.from_batches(batches, pa.schema([STORED_SCHEMA.field(name) for name in names]))
    frame: pd.DataFrame = table.to_pandas()
    unknown = frame["area"].isna()
    if unknown.any():
        areas = _areas(study, study.chunks_of(set(frame["image_id"][unknown])))
        keys = frame.loc[unknown, list(KEYS)].itertuples(index=False, name=None)
        frame.loc[unknown, "area"] = [areas.get(key, np.nan) for key in keys]
    return frame


def _areas(study: StoredStudy, chunks: set[int]) -> dict[tuple[str, str, str], float]:
    """Means of the masks of some chunks, whose parts an earlier version wrote without them; no mask is kept."""
    areas: dict[tuple[str, str, str], float] = {}
    for batch in study.store.mask_batches(study.methods, [*KEYS, "mask", "height", "width"], chunks=chunks):
        keys = zip(*(batch[name].to_pylist() for name in KEYS), strict=True)
        areas |= dict(zip(keys, mask_means(batch).tolist(), strict=True))
    return areas


def _means(figures: Floats) -> Floats:
    """(R, C) means over the images of (R, C, N), NaN where there is none."""
    present = np.isfinite(figures)
    counts = present.sum(axis=2)
    totals = np.where(present, figures, 0.0).sum(axis=2)
    means: Floats = np.divide(totals, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means
