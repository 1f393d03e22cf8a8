"""How much each sign counts: fixed weights, or weights that the labels of a study move away from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
#: Log-odds of an error for each unit of a sign: logistic regression over problems of drawn birds (seeds below 1000).
FIXED = {
    "doubt": 2.0,
    "outside": 2.5,
    "two_regions": 0.5,
    "burst": 2.0,
    "same_place": 0.5,
    "few_neighbours": 0.3,
    "filled_in": 0.5,
}
INTERCEPT = -2.7
#: Errors, and right answers, from which weights are learnt; with fewer they stay as they are.
LEAST = 8
#: How strongly the weights are held to the fixed ones; the best is chosen by cross-validation.
_HOLDS = (1.0, 4.0, 16.0, 64.0, np.inf)
_FOLDS = 5


@dataclass(frozen=True)
class Weights:
    """Weights of the signs.

    Attributes:
        intercept: log-odds of an error where all signs are 0.
        values: sign -> log-odds a unit.
        hold: precision with which they were held to the fixed ones; infinite for the fixed ones.
    """

    intercept: float = INTERCEPT
    values: tuple[tuple[str, float], ...] = tuple(FIXED.items())
    hold: float = np.inf

    def contributions(self, signs: pd.DataFrame) -> pd.DataFrame:
        """Each sign times its weight; 0 where the sign is not known."""
        return pd.DataFrame({name: signs[name].fillna(0.0) * weight for name, weight in self.values})

    def log_odds(self, signs: pd.DataFrame) -> Floats:
        """(N,) of an error."""
        total: Floats = self.intercept + self.contributions(signs).to_numpy(np.float64).sum(1)
        return total


def learn(signs: pd.DataFrame, wrong: Bools, groups: npt.NDArray[np.int64]) -> tuple[Weights, Floats]:
    """Weights from photographs that are judged, and (N,) log-odds of each by weights from the other groups.

    A logistic model whose weights are drawn to the fixed ones by a ridge penalty; how strongly, is chosen by the
    log-loss over left-out groups: the firmest hold, "not learnt at all" among them, within a standard error of the
    best.

    Args:
        signs: of the judged photographs.
        wrong: (N,) bool.
        groups: (N,) of what must not be learnt from and judged by at once, such as the camera.
    """
    names = [name for name, _ in Weights().values]
    x = signs[names].fillna(0.0).to_numpy(np.float64)
    folds = _folds(groups)
    held = []
    for hold in _HOLDS:
        out = np.empty(len(wrong))
        for fold in np.unique(folds):
            rest = folds != fold
            out[~rest] = _of(_fit(x[rest], wrong[rest], hold), x[~rest])
        held.append(out)
    losses = np.stack([np.logaddexp(0, np.where(wrong, -out, out)) for out in held])
    gains = losses - losses[losses.mean(1).argmin()]
    # Of the choices within a standard error of the best, the nearest to the fixed weights.
    near = gains.mean(1) <= gains.std(1) / len(wrong) ** 0.5
    best = int(np.flatnonzero(near).max())
    intercept, values = _fit(x, wrong, _HOLDS[best])
    return Weights(intercept, tuple(zip(names, values.tolist(), strict=True)), _HOLDS[best]), held[best]


def _folds(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) folds of about equal size; a group is in one."""
    codes, counts = np.unique(groups, return_counts=True)
    filled, fold_of = np.zeros(_FOLDS), dict[int, int]()
    for k in np.argsort(-counts, kind="stable"):
        fold_of[int(codes[k])] = smallest = int(filled.argmin())
        filled[smallest] += counts[k]
    return np.asarray([fold_of[int(group)] for group in groups], dtype=np.int64)


def _fit(x: Floats, wrong: Bools, hold: float) -> tuple[float, Floats]:
    """Intercept, which is free but for half an error and half a right answer, and weights."""
    fixed = np.asarray([value for _, value in Weights().values])
    offset = x @ fixed
    moves = np.isfinite(hold)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        change = parameters[1:]
        odds = parameters[0] + offset + (x @ change if moves else 0)
        value = (
            np.logaddexp(0, np.where(wrong, -odds, odds)).sum()
            + 0.5 * np.logaddexp(0, [parameters[0], -parameters[0]]).sum()
        )
        slope = expit(odds) - wrong
        first = slope.sum() + 0.5 * (2 * expit(parameters[0]) - 1)
        if not moves:
            return float(value), np.asarray([first])
        return float(value + hold / 2 * change @ change), np.concatenate([[first], x.T @ slope + hold * change])

    found = minimize(loss, np.zeros(1 + len(fixed) * moves), jac=True, method="L-BFGS-B").x
    return float(found[0]), fixed + (found[1:] if moves else 0.0)


def _of(fit: tuple[float, Floats], x: Floats) -> Floats:
    result: Floats = fit[0] + x @ fit[1]
    return result
