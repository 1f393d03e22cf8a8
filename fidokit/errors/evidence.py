"""Tests of groups of images: are they wrong more often than their classes explain, and is it not chance?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import expit, gammaln, logit

from fidokit._util.shares import wilson
from fidokit.study.compare import holm as holm

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Weight of the rate over all images in the rate of one class, in images.
_PRIOR = 2.0
#: Bins of the score within which errors are exchangeable; fewer where there are few images.
_SCORE_BINS = 8


def stratified_p_values(groups: Bools, wrong: Bools, strata: Ints) -> Floats:
    """(G,) exact p-values: the chance of so many errors in a group if errors fall anywhere within their stratum.

    Given how many of a stratum's images are wrong and how many are in the group, the errors in the group have a
    hypergeometric distribution; over the strata they add up (the exact test of a common odds ratio of 1, Mantel and
    Haenszel 1959). With one stratum it is Fisher's test, one-sided.

    Args:
        groups: (G, N).
        wrong: (N,).
        strata: (N,) such as the class of each image.
    """
    groups = np.asarray(groups, dtype=bool)
    strata = np.unique(strata, return_inverse=True)[1]
    sizes, errors = np.bincount(strata, minlength=1), np.bincount(strata, wrong, minlength=1).astype(np.int64)
    # Where all are right or all are wrong, nothing is left to chance.
    undecided = np.flatnonzero((errors > 0) & (errors < sizes))
    result = np.ones(len(groups))
    if not len(groups) or not len(undecided):
        return result
    own = np.isin(strata, undecided)
    groups, wrong, strata = groups[:, own], wrong[own], np.searchsorted(undecided, strata[own])
    sizes, errors = sizes[undecided], errors[undecided]
    drawn, found = _counts(groups, strata, len(undecided)), _counts(groups[:, wrong], strata[wrong], len(undecided))
    free = (drawn > 0) & (drawn < sizes)
    logs = gammaln(np.arange(len(strata) + 2) + 1.0)
    for g in np.flatnonzero(free.any(1)):
        distribution, least = np.ones(1), 0
        for s in np.flatnonzero(free[g]):
            low, chances = _hypergeometric(int(sizes[s]), int(errors[s]), int(drawn[g, s]), logs)
            distribution, least = np.convolve(distribution, chances), least + low
        result[g] = min(1.0, float(distribution[max(0, int(found[g, free[g]].sum()) - least) :].sum()))
    return result


def _counts(groups: Bools, strata: Ints, n: int) -> npt.NDArray[np.int32]:
    """(G, n) how many images of each stratum each group holds."""
    # Strata times images is a matrix of ones in few places.
    one_hot = csr_array((np.ones(len(strata), np.int32), (np.arange(len(strata)), strata)), shape=(len(strata), n))
    counts = np.zeros((len(groups), n), np.int32)
    step = max(1, 20_000_000 // max(1, len(strata)))
    for start in range(0, len(groups), step):
        counts[start : start + step] = groups[start : start + step].astype(np.int32) @ one_hot
    return counts


def _hypergeometric(size: int, errors: int, drawn: int, logs: Floats) -> tuple[int, Floats]:
    """Smallest possible number of errors among those drawn, and the chances from there on; `logs` of factorials."""
    low, high = max(0, drawn - (size - errors)), min(drawn, errors)
    k = np.arange(low, high + 1)
    ways = logs[errors] - logs[k] - logs[errors - k]
    ways += logs[size - errors] - logs[drawn - k] - logs[size - errors - drawn + k]
    return low, np.exp(ways - (logs[size] - logs[drawn] - logs[size - drawn]))


def p_values(groups: Bools, wrong: Bools, label: Ints, predicted: Ints) -> Floats:
    """(G,) p-values of groups against chance: the larger one of two `stratified_p_values`.

    Among images of the same true class, so that a class that is hard as a whole does not count; and among images that
    were called the same. The second is needed because what the classifier sees in an image decides what it is called:
    errors called a class look like that class, so any group of such images holds all of its own class and the errors,
    and would stand out among each true class without a cause. It has nothing to say of errors called what no image
    here rightly is; see `_with_unseen_classes`.
    """
    both = np.maximum(stratified_p_values(groups, wrong, label), stratified_p_values(groups, wrong, predicted))
    return _with_unseen_classes(both, groups, wrong, label, predicted)


def _with_unseen_classes(p: Floats, groups: Bools, wrong: Bools, label: Ints, predicted: Ints) -> Floats:
    """(G,) p-values that count errors called what no image here rightly is, such as a background's own class.

    Among images called such a class all are wrong, so that a test among them never says anything. Those errors alone
    are tested among images of the same true class, and the smaller p-value counts, doubled for the choice of two.

    Args:
        p: (G,) p-values of a test among images that were called the same.
        groups: (G, N).
        wrong, label, predicted: (N,).
    """
    strange = into_unseen_classes(wrong, predicted)
    if not strange.any():
        return p
    smaller: Floats = np.minimum(1.0, 2 * np.minimum(p, stratified_p_values(groups, strange, label)))
    return smaller


def into_unseen_classes(wrong: Bools, predicted: Ints) -> Bools:
    """(N,) the errors that are called a class which no image here is rightly called."""
    strange: Bools = wrong & ~np.isin(predicted, predicted[~wrong])
    return strange


def expected_rates(groups: Bools, wrong: Bools, classes: Ints) -> Floats:
    """(G,) error rates expected from the classes of a group's images: each class's rate outside the group.

    Rates of classes with few images outside are drawn towards the rate of all images outside, as if `_PRIOR` of those
    had been seen, and that one towards a quarter. NaN for an empty group.
    """
    groups = np.asarray(groups, dtype=bool)
    codes, classes = np.unique(classes, return_inverse=True)
    n, errors = (np.bincount(classes, weights, minlength=len(codes)) for weights in (None, wrong))
    result = np.full(len(groups), np.nan)
    step = max(1, 20_000_000 // max(1, len(codes)))
    for start in range(0, len(groups), step):
        part = groups[start : start + step]
        inside = _counts(part, classes, len(codes))
        outside = n - inside
        wrong_outside = errors - _counts(part[:, wrong], classes[wrong], len(codes))
        overall = (wrong_outside.sum(1) + _PRIOR * 0.25) / (outside.sum(1) + _PRIOR)
        rates = (wrong_outside + _PRIOR * overall[:, None]) / (outside + _PRIOR)
        size = inside.sum(1)
        own = result[start : start + step]
        np.divide((inside * rates).sum(1), size, out=own, where=size > 0)
    return result


def poisson_binomial_tail(rates: Floats, found: int) -> float:
    """Chance that at least `found` of independent events happen, each with its own rate."""
    if found <= 0:
        return 1.0
    if found > len(rates):
        return 0.0
    chances = np.ones(1)
    for rate in rates:
        chances = np.convolve(chances, [1 - rate, rate])
    return min(1.0, float(chances[found:].sum()))


def rates_by_class_and_score(wrong: Bools, classes: Ints, score: Floats, bins: int = _SCORE_BINS) -> Floats:
    """(N,) error rates expected from class and score: a logistic model of the class and of bins of the score.

    The classes' odds are their rates, drawn towards that of all; the odds of each bin are set so that the errors
    expected in it are those it has, within half an error.
    """
    n = len(wrong)
    if not n:
        return np.zeros(0)
    codes, classes = np.unique(classes, return_inverse=True)
    overall = (wrong.sum() + 0.5) / (n + 1)
    counts = np.bincount(classes, minlength=len(codes))
    rates = (np.bincount(classes, wrong, minlength=len(codes)) + _PRIOR * overall) / (counts + _PRIOR)
    odds = logit(rates)[classes]
    result = np.empty(n)
    for part in np.array_split(np.argsort(score, kind="stable"), min(bins, n)):
        wanted = float(np.clip(wrong[part].sum(), min(0.5, len(part) / 2), max(len(part) - 0.5, len(part) / 2)))
        low, high = -50.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if expit(odds[part] + middle).sum() < wanted else (low, middle)
        result[part] = expit(odds[part] + (low + high) / 2)
    return result


def wilson_lower(found: Floats, n: Floats, z: float = 1.645) -> Floats:
    """Lower bounds of shares found / n, one-sided at 95 %; 0 where n is 0."""
    return wilson(found, n, z)[0]


def distinct(
    groups: Bools, wrong: Bools, label: Ints, predicted: Ints, order: Iterable[int], alpha: float
) -> dict[int, list[int]]:
    """Which groups tell something of their own, and which of the others each of them makes superfluous.

    Args:
        groups: (G, N).
        wrong, label, predicted: (N,).
        order: groups to look at, the clearest first. One is kept if it is significant among the images that no kept
            group holds; else it belongs to the kept group that holds most of its errors.
        alpha: largest p-value that counts as significant.
    """
    kept: dict[int, list[int]] = {}
    rest = np.ones(groups.shape[1], dtype=bool)
    for g in order:
        if not kept or _among_called_the_same(groups[g], rest, wrong, label, predicted) <= alpha:
            kept[g] = []
            rest &= ~groups[g]
        else:
            owner = max(kept, key=lambda k: int((groups[k] & groups[g] & wrong).sum()))
            kept[owner].append(g)
    return kept


def _among_called_the_same(group: Bools, rows: Bools, wrong: Bools, label: Ints, predicted: Ints) -> float:
    own, wrong, label, predicted = group[None, rows], wrong[rows], label[rows], predicted[rows]
    p = _with_unseen_classes(stratified_p_values(own, wrong, predicted), own, wrong, label, predicted)
    return float(p[0])
