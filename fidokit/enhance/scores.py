"""Arithmetic on scores: probabilities, the gate, the mean of the looks, and how well scores are calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fidokit.models.goals import inside


def margins(scores: Tensor) -> Tensor:
    """(N,) largest less second largest of (N, K) scores; the score itself where there is one class. NaN of NaN."""
    if scores.shape[1] == 1:
        return scores[:, 0]
    top = scores.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def opens(margin: Tensor, gate: float) -> Tensor:
    """(N,) bool: where the classifier is unsure enough for a second look; never where it gave no scores."""
    return margin <= gate


def combine(whole: Tensor, guided: Tensor, weight: float) -> Tensor:
    """The mean of (..., K) scores, the guided ones with `weight` and the whole image's with the rest."""
    if weight == 0:
        return whole.clone()
    return guided.clone() if weight == 1 else (1 - weight) * whole + weight * guided


def right_answers(scores: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """(N,) bool: whether the class with the largest of (N, K) scores is what a label means.

    Args:
        scores: (N, K).
        labels: (N,) class indices; with `groups`, K + g is the g-th of them, a label coarser than a class.
        groups: (G, K) bool, the classes inside each.
    """
    best = scores.argmax(1)
    return best == labels if groups is None else inside(labels, groups).gather(1, best[:, None]).squeeze(1)


def likelihoods(scores: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """(N,) scores of the labels, of a group the sum of its classes'; see `right_answers`."""
    if groups is None:
        return scores.gather(1, labels[:, None]).squeeze(1)
    return (scores * inside(labels, groups)).sum(1)


def ranks_of(scores: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """(N,) place of each label among (N, K) scores, of a group that of its best class; see `right_answers`.

    0 is the prediction; of equal scores the lower index comes first.
    """
    if groups is not None:
        labels = scores.masked_fill(~inside(labels, groups), -torch.inf).argmax(1)
    own = scores.gather(1, labels[:, None])
    before = torch.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & before)).sum(1)


def calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: the mean distance between how sure and how often right, over bins of equal mass.

    Bins of equal mass instead of equal width, since most scores lie near 1 (Nixon et al., "Measuring calibration in
    deep learning", CVPR workshops 2019).

    Args:
        confidence: (N,) scores of the predicted classes.
        correct: (N,) whether they were right.
        bins: their number; fewer where there are fewer images.

    Returns:
        In [0, 1]; NaN of no image at all.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if not len(sure):
        return float("nan")
    # Images of equal confidence share what is right among them, so that their order decides nothing.
    _, group = np.unique(sure, return_inverse=True)
    right = (np.bincount(group, right) / np.bincount(group))[group]
    order = np.argsort(sure, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(sure[part].mean() - right[part].mean()) * len(part) for part in parts) / len(sure))
