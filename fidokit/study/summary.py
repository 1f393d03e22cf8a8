"""Figures over a dataset: means by method and kind, with bootstrap intervals over the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.exceptions import SettingsError
from fidokit.study.store import mask_arrays

if TYPE_CHECKING:
    from fidokit.study.study import Study

Floats = npt.NDArray[np.float64]
#: Columns of the summary that get an interval.
MEASURES = ("score_kept", "score_dropped", "area")
_COSTS = ("evaluations", "seconds", "converged")
# Entries of the matrix of resampled counts that are held at once.
_BLOCK = 4_000_000


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


def summarise(study: Study, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The table of `Study.summary`."""
    if n_resamples < 1:
        raise SettingsError(f"n_resamples is {n_resamples}; at least 1 is needed, 2000 is usual")
    table = _per_image(study)
    keys = [(label, kind) for label in study.methods for kind in study.kinds(label)]
    n_images = len(study.images)
    figures = np.full((len(keys), len(MEASURES) + len(_COSTS), n_images), np.nan)
    for row, (label, kind) in enumerate(keys):
        own = table[(table["method"] == label) & (table["kind"] == kind)]
        figures[row][:, own["position"].to_numpy(np.int64)] = own[[*MEASURES, *_COSTS]].to_numpy(np.float64).T
    measured = figures[:, : len(MEASURES)].reshape(-1, n_images)
    low, high = (
        bound.reshape(len(keys), -1) for bound in percentile_interval(bootstrap_means(measured, n_resamples, seed))
    )
    mean = _means(figures)
    columns: dict[str, Any] = {
        "method": [label for label, _ in keys],
        "kind": [kind for _, kind in keys],
        "n": np.isfinite(figures[:, MEASURES.index("area")]).sum(axis=1),
    }
    for i, name in enumerate(MEASURES):
        columns |= {name: mean[:, i], f"{name}_low": low[:, i], f"{name}_high": high[:, i]}
    columns |= {name: mean[:, len(MEASURES) + i] for i, name in enumerate(_COSTS)}
    return pd.DataFrame(columns)


def _per_image(study: Study) -> pd.DataFrame:
    """One row per mask: method, kind, position of the image, measures and costs; masks pass through, none is kept."""
    names = ["image_id", "method", "kind", *MEASURES[:2], *_COSTS]
    frames = []
    for batch in study.store.mask_batches(study.methods, [*names, "mask", "height", "width"]):
        frame = batch.select(names).to_pandas()
        frame["area"] = [float(mask.mean(dtype=np.float64)) for mask in mask_arrays(batch)]
        frames.append(frame)
    if not frames:
        return pd.DataFrame(columns=[*names, "area", "position"])
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    table["position"] = table["image_id"].map(study.positions)
    return table


def _means(figures: Floats) -> Floats:
    """(R, C) means over the images of (R, C, N), NaN where there is none."""
    present = np.isfinite(figures)
    counts = present.sum(axis=2)
    totals = np.where(present, figures, 0.0).sum(axis=2)
    means: Floats = np.divide(totals, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means
