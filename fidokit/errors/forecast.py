"""Accuracy at sites without labels, foretold from what the animals by themselves speak for, and set right by labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import logit, softmax

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COLUMNS = ["site", "n", "accuracy", "forecast", "forecast_low", "forecast_high", "average_confidence", "atc"]
#: By which the animal's logits may be multiplied: labels choose one of these, and without labels they stay as they are.
_SHARPNESS = tuple(2.0 ** np.arange(-2, 2.5, 0.5))
#: Classes of each photograph that are looked at, and steps after which the shares of the classes hardly change.
_CLASSES, _STEPS = 20, 50
#: Photographs that every site is thought to have seen beside its own, of all its classes alike.
_PRIOR = 10.0
#: Weight of the background's share beside the logit of the probability; so that both have about the same range.
_WEIGHT = 4.0
_HALF = 0.5
#: No share is taken to be nearer to 0 or 1 than this when it is asked how far it may be off.
_SURE = 0.03
#: Labelled sites with which it can be said how far a forecast is off.
LEAST_SITES = 3
#: Sites are foretold in so many turns, each from the labels of the sites of all other turns.
_FOLDS = 20
#: Photographs with a label that a site needs to be one of these.
LEAST_LABELS = 5


@dataclass(frozen=True)
class Photographs:
    """N photographs, of which some are judged by labels.

    Attributes:
        site: (N,) names.
        right: (N,) 1 or 0, NaN where it is not known whether the answer is right.
        score: (N,) probability of the answer.
        answer: (N,) index of the class that was answered.
        animal: (N, K) logits that the animal by itself adds, NaN for photographs of which that is not known; None where
            nothing was filled in.
        decided: (N,) 1 where the background decides the answer, 0, or NaN like `animal`.
    """

    site: npt.NDArray[np.object_]
    right: Floats
    score: Floats
    answer: Ints
    animal: Singles | None
    decided: Floats


def forecast(photographs: Photographs) -> pd.DataFrame:
    """The accuracy of each site, foretold without the labels of that site (of many sites, of a twentieth of them).

    Where a site differs from others it differs by its background, which one camera has in all of its photographs: that
    says nothing about which animal is before it now. So the forecast rests on what the animal by itself adds to the
    logits. The shares of the classes at the site are estimated from that by expectation maximisation (Saerens,
    Latinne, Decaestecker, Neural Computation 2002), and with them the probability of each answer. The labels of all
    other sites say by how much the logits are to be multiplied (largest likelihood), and set the probabilities right: a
    logistic regression on their logit and on the share of answers that the background decides at the site, with L2
    penalty 1. Their mean is the forecast. Without labels the probabilities stay as they are.

    Without filling in there is nothing but the score, and the forecast is that of the average thresholded confidence
    (ATC; Garg et al., ICLR 2022): the share of scores above a threshold that as many scores exceed at the labelled
    sites as answers are right there.

    How far forecasts are off is told by the labelled sites, each foretold from the others. What they are off by beyond
    what chance does with so few photographs goes into the intervals.

    Args:
        photographs: of all sites.

    Returns:
        One row a site, sorted: site, n (photographs foretold from), accuracy (NaN with fewer than 5 labels), forecast,
        its 95 % interval (NaN with fewer than 3 labelled sites), and for comparison average_confidence and atc.
    """
    sites, codes = np.unique(photographs.site.astype(str), return_inverse=True)
    n_sites, folds = len(sites), min(len(sites), _FOLDS)
    labelled = np.isfinite(photographs.right)
    counts = np.bincount(codes, labelled, minlength=n_sites).astype(np.float64)
    right = np.bincount(codes, np.where(labelled, photographs.right, 0.0), minlength=n_sites)
    accuracy = np.divide(right, counts, out=np.full(n_sites, np.nan), where=counts >= LEAST_LABELS)
    usable: Bools = np.ones(len(codes), bool)
    likely, share = None, np.zeros(len(codes))
    if photographs.animal is not None:
        usable = np.asarray(np.isfinite(photographs.animal).all(1), bool)
        likely = _likely_right(photographs.animal, photographs.answer, codes, usable)
        share = _means(np.where(usable, photographs.decided, np.nan), codes, n_sites)[codes]
    chance, above = np.full(len(codes), np.nan), np.full(len(codes), np.nan)
    for fold in range(folds):
        asked = codes % folds == fold
        known = labelled & ~asked
        if known.any():
            # The threshold that as many scores exceed as answers are right.
            least = np.quantile(photographs.score[known], 1 - photographs.right[known].mean())
            above[asked] = photographs.score[asked] >= least
        if likely is not None:
            known, asked = known & usable, asked & usable
            chances = likely[_sharpness(likely[:, known], photographs.right[known])]
            chance[asked] = _set_right(chances, share, photographs.right, known, asked)
    table = pd.DataFrame(
        {
            "site": sites,
            "n": np.bincount(codes, usable, minlength=n_sites).astype(int),
            "accuracy": accuracy,
            "forecast": _means(above if likely is None else chance, codes, n_sites),
            "average_confidence": _means(photographs.score, codes, n_sites),
            "atc": _means(above, codes, n_sites),
        }
    )
    low, high = _interval(table, counts)
    return table.assign(forecast_low=low, forecast_high=high)[COLUMNS]


def class_shares(logits: Floats) -> Floats:
    """(N, K) probabilities of the classes, given (N, K) logits of animals at one site, and the site's own shares."""
    shares = np.full(logits.shape[1], 1 / logits.shape[1])
    given = softmax(logits, axis=1)
    for _ in range(_STEPS):
        joint = given * shares
        joint /= np.maximum(joint.sum(1, keepdims=True), 1e-300)
        shares = (joint.sum(0) + _PRIOR / len(shares)) / (len(joint) + _PRIOR)
    joint = given * shares
    result: Floats = joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)
    return result


def _likely_right(animal: Singles, answer: Ints, codes: Ints, usable: Bools) -> Floats:
    """(S, N) the probability that the answer is right, for each of S sharpnesses; NaN where nothing is known."""
    result = np.full((len(_SHARPNESS), len(codes)), np.nan)
    for site in np.unique(codes[usable]):
        rows = np.flatnonzero(usable & (codes == site))
        logits = animal[rows].astype(np.float64)
        # Of a thousand classes all but a few are no candidates here.
        best = np.argpartition(logits, -min(_CLASSES, logits.shape[1]), axis=1)[:, -_CLASSES:]
        classes, inverse = np.unique(np.r_[best.ravel(), answer[rows]], return_inverse=True)
        for k, sharpness in enumerate(_SHARPNESS):
            shares = class_shares(sharpness * logits[:, classes])
            result[k, rows] = shares[np.arange(len(rows)), inverse[-len(rows) :]]
    return result


def _sharpness(likely: Floats, right: Floats) -> int:
    """The position of the sharpness under which what is known is likeliest; that of 1 where nothing is known."""
    if not len(right):
        return _SHARPNESS.index(1.0)
    chance = np.clip(np.where(right > _HALF, likely, 1 - likely), 0.01, 1.0)
    return int(np.log(chance).mean(1).argmax())


def _set_right(chances: Floats, share: Floats, right: Floats, known: Bools, asked: Bools) -> Floats:
    """The chances of the photographs that are asked for, as what is known sets them right."""
    if len(np.unique(right[known])) < 2 or not asked.any():
        return chances[asked]
    from sklearn.linear_model import LogisticRegression

    told = np.column_stack([logit(np.clip(chances, 0.02, 0.98)), _WEIGHT * share])
    model = LogisticRegression(C=1.0).fit(told[known], right[known] > _HALF)
    result: Floats = model.predict_proba(told[asked])[:, 1]
    return result


def _means(values: Floats, codes: Ints, n: int) -> Floats:
    """(n,) means of the values that are not NaN, by code; NaN where there are none."""
    known = np.isfinite(values)
    counts = np.bincount(codes[known], minlength=n)
    means: Floats = np.full(n, np.nan)
    np.divide(np.bincount(codes[known], values[known], n), counts, out=means, where=counts > 0)
    return means


def _interval(table: pd.DataFrame, counts: Floats) -> tuple[Floats, Floats]:
    """95 % intervals of the forecasts: chance among so many photographs, and how far labelled sites are off beyond it.

    The variance is that of a beta-binomial share, ``p (1 - p) (1 / n + rho)``.
    """
    share = table["forecast"].to_numpy(np.float64)
    off = (table["accuracy"].to_numpy(np.float64) - share) ** 2
    known = np.isfinite(off)
    if known.sum() < LEAST_SITES:
        return np.full(len(table), np.nan), np.full(len(table), np.nan)
    chance = np.clip(share, _SURE, 1 - _SURE) * (1 - np.clip(share, _SURE, 1 - _SURE))
    rho = max(0.0, float((off - chance / np.maximum(counts, 1))[known].sum() / chance[known].sum()))
    n = np.maximum(table["n"].to_numpy(np.float64), 1)
    spread = float(stats.t.ppf(0.975, known.sum() - 1)) * np.sqrt(chance * (1 / n + rho))
    return np.clip(share - spread, 0, 1), np.clip(share + spread, 0, 1)
