"""Whether a second look helps: paired tests and intervals by unit, and the verdict in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from fidokit.study.compare import sign_flip_p
from fidokit.study.summary import Floats, bootstrap_means, percentile_interval

#: Largest p-value that shows a difference; intervals cover the rest.
ALPHA = 0.05
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Paired:
    """The same images answered in two ways, "before" and "after".

    Attributes:
        difference: of the accuracies, after minus before.
        low, high: its 95 % percentile bootstrap interval over units.
        p_value: two-sided; McNemar's exact test where every image is its own unit, else sign flips of units.
        turned_right, turned_wrong: images that only one of the two ways has right.
    """

    difference: float
    low: float
    high: float
    p_value: float
    turned_right: int
    turned_wrong: int

    @property
    def better(self) -> bool:
        """Whether interval and test both show that "after" is better."""
        return self.low > 0 and self.p_value <= ALPHA

    @property
    def worse(self) -> bool:
        """Whether interval and test both show that "after" is worse."""
        return self.high < 0 and self.p_value <= ALPHA


def mcnemar(turned_right: int, turned_wrong: int) -> float:
    """Two-sided p-value of McNemar's exact test: of the answers that changed, each as likely to turn right as wrong.

    Source: McNemar, Psychometrika 1947, with the binomial distribution instead of its approximation.
    """
    n = turned_right + turned_wrong
    return float(binomtest(turned_right, n).pvalue) if n else 1.0


def sign_flip(sums: npt.ArrayLike, seed: int = 0) -> float:
    """Two-sided p-value of (U,) sums over units: the share of sign flips whose total is as far from 0.

    A unit is flipped as a whole, since what is in it is not independent. For more than a few units,
    `fidokit.study.compare.sign_flip_p` draws flips.
    """
    values = np.asarray(sums, np.float64)
    # A sum of 0 stays 0 when it is flipped; without them more cases are counted in full.
    values = values[values != 0]
    return sign_flip_p(values, seed=seed) if len(values) > 1 else 1.0


def per_unit(values: npt.ArrayLike, units: npt.NDArray[np.generic]) -> tuple[Floats, Floats]:
    """(U,) sums of (N,) values over each unit, and how many images it has; units in sorted order."""
    _, index = np.unique(units, return_inverse=True)
    sums: Floats = np.bincount(index, np.asarray(values, np.float64)).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def share_interval(sums: Floats, counts: Floats, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of ``sums.sum() / counts.sum()``, whole units resampled; NaN with one unit.

    Args:
        sums: (U,) of the values in each unit.
        counts: (U,) images in each unit.
        seed: of the samples.
    """
    if len(sums) < 2:
        return float("nan"), float("nan")
    means = bootstrap_means(np.stack([sums, counts]), _RESAMPLES, seed)
    low, high = percentile_interval(means[:, :1] / means[:, 1:], 1 - ALPHA)
    return float(low[0]), float(high[0])


def standard_error(values: npt.ArrayLike, units: npt.NDArray[np.generic]) -> float:
    """Standard error of the mean of (N,) values whose units are independent; infinite with one unit.

    Source: Liang and Zeger, Biometrika 1986, with the usual factor U / (U - 1) for few units.
    """
    sums, counts = per_unit(values, units)
    n = len(sums)
    if n < 2:
        return float("inf")
    away = sums - counts * (sums.sum() / counts.sum())
    return float(np.sqrt((away**2).sum() * n / (n - 1)) / counts.sum())


def compare(before: npt.ArrayLike, after: npt.ArrayLike, units: npt.NDArray[np.generic], seed: int = 0) -> Paired:
    """Two ways to answer the same images.

    Args:
        before, after: (N,) whether each answer is right.
        units: (N,) what is independent: frames of one burst, or composites of one photograph, are one unit.
        seed: of the bootstrap, and of the sign flips where there are too many to try them all.
    """
    change = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    sums, counts = per_unit(change, units)
    right, wrong = int((change > 0).sum()), int((change < 0).sum())
    p_value = mcnemar(right, wrong) if (counts == 1).all() else sign_flip(sums, seed)
    low, high = share_interval(sums, counts, seed)
    return Paired(float(change.mean()), low, high, p_value, right, wrong)


def verdict(before: float, own: Paired, controls: Mapping[str, Paired]) -> tuple[bool, str]:
    """Whether masks gained, and why, in one sentence.

    A gain needs that the classifier alone and every control of equal cost are beaten, each by interval and test. That
    is an intersection-union test (Berger, Technometrics 1982): since all of them must be beaten, the chance of a false
    claim stays below that of a single test, and the p-values need no correction for their number.

    Args:
        before: accuracy of the classifier alone.
        own: the classifier alone against the masks.
        controls: name -> that control against the masks.
    """
    change = (
        f"{percent(before)} right without masks, {percent(before + own.difference)} with them: "
        f"{points(own.difference)} ({described(own)})"
    )
    if own.worse:
        return False, f"No gain: the answers are worse, {change}."
    if not own.better:
        if not own.turned_right and not own.turned_wrong:
            return False, f"No gain: no answer changed, {percent(before)} are right with and without masks."
        return False, f"No proven gain: {change}, which may be chance."
    if not controls:
        return False, f"No proven gain: {change}, but no control of equal cost was measured."
    names = [name for name, paired in controls.items() if not paired.better]
    if names:
        closest = min((controls[name] for name in names), key=lambda paired: paired.difference)
        return False, (
            f"No proven gain from the masks: {change}, but that is not shown to be more than {_joined_names(names)} of "
            f"equal cost (the smallest lead is {points(closest.difference)}, {described(closest)})."
        )
    closest = min(controls.values(), key=lambda paired: paired.difference)
    return True, (
        f"Gain: {change}, and more than {_joined_names(controls)} of equal cost (the smallest lead is "
        f"{points(closest.difference)}, {described(closest)})."
    )


def _joined_names(names: Mapping[str, object] | list[str]) -> str:
    """ "the a, the b and the c"."""
    several = [f"the {name}" for name in names]
    return " and ".join([", ".join(several[:-1]), several[-1]] if len(several) > 1 else several)


def percent(share: float) -> str:
    """A share of 1 in per cent."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * difference:+.1f} points"


def described(paired: Paired) -> str:
    """Interval, p-value and counts, in words."""
    known = isfinite(paired.low)
    interval = f"95 % interval {100 * paired.low:+.1f} to {100 * paired.high:+.1f}" if known else "no interval"
    p = f"p = {paired.p_value:.2g}" if isfinite(paired.p_value) else "no p-value"
    return f"{interval}, {p}, {paired.turned_right} turned right, {paired.turned_wrong} wrong"
