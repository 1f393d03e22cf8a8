"""The signs of an error that can be seen without labels, one number each for every photograph, and their words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm, rankdata

from fidokit.errors.review.reading import Look

Floats = npt.NDArray[np.float64]
#: Sign -> what the column holds, for the table's legend.
SIGNS = {
    "doubt": "how close the scores are and how weak the best is: normal score of the rank",
    "outside": "minus what the inside of the animal's box says for the predicted class, as a share of all evidence",
    "two_regions": "evidence for the runner-up, as a share of that for the predicted class",
    "burst": "log-odds by which the other photographs of the burst prefer another class, 0 for none",
    "same_place": "how much the evidence lies on what is in the frame every night: normal score of the rank",
    "few_neighbours": "distance, in the classifier's features, to those called the same: normal score of the rank",
    "filled_in": "share of fillings outside the mask that change the answer",
}
#: Bursts at a camera from which it is told what is there every night, and the most that a burst's disagreement counts.
_LEAST_BURSTS, _MOST_BURST = 4, 5.0
_NEIGHBOURS, _MOST_COMPARED, _BLOCK = 3, 5000, 2048


def measure(
    look: Look, site: pd.Series[Any] | None, burst: pd.Series[Any], photograph: pd.Series[Any], *, whole_frame: bool
) -> pd.DataFrame:
    """The signs of each photograph but ``filled_in``: columns of `SIGNS`, NaN where one cannot be known.

    Args:
        look: at the photographs.
        site: (N,) the camera of each; None where that is not known.
        burst: (N,) of each; a photograph of which none is known is one of its own.
        photograph: (N,) the file of each: animals in one photograph may be of several classes.
        whole_frame: whether the classifier sees the camera's frame, and no crop to the animal.
    """
    bursts = pd.factorize(burst)[0]
    found = pd.DataFrame(index=range(len(look)), columns=list(SIGNS)[:-1], dtype=float)
    found["doubt"] = (normal_score(-_margin(look)) + normal_score(-look.logit[:, 0])) / 2
    found["burst"] = _burst(look, bursts, pd.factorize(photograph)[0])
    found["few_neighbours"] = normal_score(_distance(look, bursts))
    if look.missing is not None:
        return found
    total = np.abs(look.evidence).sum((1, 2))
    boxed = np.isfinite(look.animal).all((1, 2)) & (total > 0)
    inside = (look.evidence * look.animal).sum((1, 2)) / np.maximum(total, 1e-12)
    found["outside"] = np.where(boxed, -inside, np.nan)
    against = np.maximum(-look.evidence, 0).sum((1, 2)) / np.maximum(np.maximum(look.evidence, 0).sum((1, 2)), 1e-12)
    found["two_regions"] = np.where(total > 0, np.minimum(against, 2), np.nan)
    if site is not None and whole_frame:
        found["same_place"] = normal_score(_on_what_stays(look, pd.factorize(site)[0], bursts))
    return found


def normal_score(values: npt.ArrayLike) -> Floats:
    """(N,) normal quantiles of the ranks of finite values, NaN for others: alike for every classifier and dataset."""
    given = np.asarray(values, np.float64)
    known = np.isfinite(given)
    result = np.full(len(given), np.nan)
    if known.any():
        result[known] = norm.ppf((rankdata(given[known]) - 0.5) / known.sum())
    return result


def outside_share(look: Look) -> Floats:
    """(N,) share of the evidence for the predicted class outside the animal's box; NaN without box or evidence."""
    positive = np.maximum(look.evidence, 0)
    total = positive.sum((1, 2))
    outside = (positive * (1 - look.animal)).sum((1, 2)) / np.maximum(total, 1e-12)
    return np.where((total > 0) & np.isfinite(outside), outside, np.nan)


def _margin(look: Look) -> Floats:
    second = look.probability[:, 1] if look.probability.shape[1] > 1 else 0.0
    return np.asarray(look.probability[:, 0] - second, np.float64)


def _burst(look: Look, bursts: npt.NDArray[np.int64], photographs: npt.NDArray[np.int64]) -> Floats:
    """(N,) how much the mean log-probability of another class exceeds that of the photograph's own, in the others."""
    result = np.zeros(len(look))
    rest = np.maximum(1 - look.probability.sum(1), 1e-3) / look.probability.shape[1]
    for members in _groups(bursts):
        codes = np.unique(photographs[members], return_inverse=True)[1]
        if codes.max() < 1:
            continue
        classes = np.unique(look.top[members])
        logs = np.log(np.repeat(rest[members, None], len(classes), 1))
        places = np.searchsorted(classes, look.top[members])
        np.put_along_axis(logs, places, np.log(look.probability[members] + 1e-3), 1)
        own = np.zeros((codes.max() + 1, len(classes)))
        np.add.at(own, codes, logs)
        others = (logs.sum(0) - own[codes]) / (len(members) - np.bincount(codes)[codes])[:, None]
        result[members] = others.max(1) - others[np.arange(len(members)), places[:, 0]]
    return np.minimum(result, _MOST_BURST)


def _on_what_stays(look: Look, sites: npt.NDArray[np.int64], bursts: npt.NDArray[np.int64]) -> Floats:
    """(N,) minus the mean rank, by how much a place differs from what is usually there, of where the evidence lies.

    What is usually at a place of a camera's frame is the median of its bursts. An animal is where a photograph differs
    from that; a stump, a lamp or the background is where it does not.
    """
    result = np.full(len(look), np.nan)
    positive = np.maximum(look.evidence, 0).reshape(len(look), -1)
    total = positive.sum(1)
    for members in _groups(sites):
        of_bursts = _groups(bursts[members])
        if sites[members[0]] < 0 or len(of_bursts) < _LEAST_BURSTS:
            continue
        cells = look.cells[members].astype(np.float32)
        usual = np.median([cells[own].mean(0) for own in of_bursts], axis=0)
        usual /= np.linalg.norm(usual, axis=0, keepdims=True) + 1e-6
        unlike = 1 - (cells * usual).sum(1).reshape(len(members), -1)
        ranks = rankdata(unlike, axis=1) / unlike.shape[1]
        weights = positive[members] / np.maximum(total[members, None], 1e-12)
        result[members] = np.where(total[members] > 0, -(weights * ranks).sum(1), np.nan)
    return result


def _distance(look: Look, bursts: npt.NDArray[np.int64]) -> Floats:
    """(N,) mean cosine distance to the nearest photographs of other bursts that are called the same; 2 without any."""
    result = np.full(len(look), 2.0)
    generator = np.random.default_rng(0)
    for members in _groups(look.top[:, 0]):
        compared = members
        if len(members) > _MOST_COMPARED:
            compared = generator.choice(members, _MOST_COMPARED, replace=False)
        for start in range(0, len(members), _BLOCK):
            own = members[start : start + _BLOCK]
            alike = look.features[own] @ look.features[compared].T
            alike[bursts[own][:, None] == bursts[compared][None]] = -1
            nearest = -np.sort(-alike, axis=1)[:, :_NEIGHBOURS]
            result[own] = 1 - nearest.mean(1)
    return result


def _groups(codes: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(codes) else []


def reasons(
    contributions: pd.DataFrame, said: Mapping[str, npt.NDArray[np.object_]], least: float, most: int
) -> list[str]:
    """For each photograph, the words of the signs that raise the log-odds of an error most, the strongest first.

    Args:
        contributions: (N, signs) log-odds.
        said: sign -> (N,) its words, None where it has none.
        least: log-odds above the usual photograph's from which a sign is named.
        most: signs that are named.
    """
    values = contributions.to_numpy(np.float64)
    values = values - np.median(values, axis=0)
    names = list(contributions.columns)
    texts = []
    for row, own in enumerate(np.argsort(-values, axis=1, kind="stable")):
        words = [said[names[k]][row] for k in own if values[row, k] >= least]
        texts.append("; ".join([text for text in words if text is not None][:most]))
    return texts
