"""Choosing what a second look is made of on some images, for use on others.

Whatever is reported was chosen without the images it is reported of: units are dealt into folds, and for each fold the
choice is made on all others. Controls choose by the same rule among as many options, so that none is handicapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fidokit._util.checks import Number, check_number
from fidokit.enhance.evidence import standard_error
from fidokit.enhance.scores import combine, likelihoods, margins, opens, right_answers
from fidokit.enhance.settings import GuidedGrid, GuidedSettings
from fidokit.enhance.view_scores import ViewKey, ViewScores
from fidokit.exceptions import SettingsError
from fidokit.study.summary import Floats

Ints = npt.NDArray[np.int64]
#: One to report on, and at least one to choose on.
FOLDS = Number(least=2, whole=True)
# Below the smallest score that float32 softmaxes give, so that a score of 0 stays the worst.
_LEAST = 1e-38


@dataclass(frozen=True)
class Option:
    """One way to answer: the looks that are averaged, their weight, and where they are made.

    Attributes:
        views: keys of the looks; none at all is the classifier alone.
        weight: of their mean; the whole image's scores have the rest.
        gate: largest margin at which the looks are made.
    """

    views: tuple[ViewKey, ...]
    weight: float
    gate: float = 1.0

    @property
    def way(self) -> str | None:
        """Of the looks, see `GuidedSettings.way`."""
        return self.views[0][0] if self.views else None

    @property
    def share(self) -> float | None:
        """Of the mask's sum that makes the box."""
        return self.views[0][1] if self.views else None

    @property
    def paddings(self) -> tuple[float, ...]:
        """Of the crops."""
        return tuple(padding for _, _, padding in self.views if padding is not None)

    def settings(self, settings: GuidedSettings) -> GuidedSettings:
        """The settings of a guided classifier that answers so."""
        if not self.views:
            return replace(settings, weight=0.0)
        chosen: dict[str, Any] = {"way": self.way, "weight": self.weight, "gate": self.gate}
        if self.share is not None:
            chosen |= {"share": self.share, "paddings": self.paddings}
        return replace(settings, **chosen)


#: The classifier alone; the first option of every table.
ALONE = Option((), 0.0, -1.0)


@dataclass(frozen=True, eq=False)
class Table:
    """What each option makes of each image.

    Attributes:
        options: O of them, the first is `ALONE`.
        correct: (N, O) 1 where the answer is right.
        log_likelihood: (N, O) logarithm of the label's score.
        cost: (N, O) evaluations, the whole image's among them.
    """

    options: list[Option]
    correct: Floats
    log_likelihood: Floats
    cost: Floats


def options(looks: ViewScores, grid: GuidedGrid) -> list[Option]:
    """`ALONE`, and every combination of looks, weight and gate; looks without a share or padding stand for themselves.

    Args:
        looks: what was measured.
        grid: shares, paddings, weights and gates to combine.
    """
    there = set(looks.keys)
    sets: list[tuple[ViewKey, ...]] = []
    # ViewScores without a share, such as those into annotated boxes, are combined by padding alone.
    for way, share in dict.fromkeys((way, share) for way, share, padding in looks.keys if padding is not None):
        if share is None or share in grid.shares:
            several = [tuple((way, share, padding) for padding in paddings) for paddings in grid.paddings]
            sets += [views for views in several if there.issuperset(views)]
    sets += [(key,) for key in looks.keys if key[2] is None]
    made = [
        Option(views, weight, gate)
        for views in dict.fromkeys(sets)
        for weight in grid.weights
        for gate in grid.gates
        if weight > 0
    ]
    return [ALONE, *dict.fromkeys(made)]


def apply(whole: Tensor, looks: ViewScores, option: Option) -> tuple[Tensor, Tensor, Tensor]:
    """Answers by an option.

    Args:
        whole: (N, K) scores of the whole images.
        looks: the scores of the looks.
        option: what to make of them.

    Returns:
        (N, K) scores; (N,) bool, where the looks count; (N,) evaluations. An image whose mask or looks could not be
        computed keeps the classifier's answer, but has cost what was spent on it.
    """
    if not option.views:
        return whole.clone(), torch.zeros(len(whole), dtype=torch.bool), torch.ones(len(whole), dtype=torch.long)
    guided = combine(whole, looks.mean(option.views), option.weight)
    asked = opens(margins(whole), option.gate)
    opened = asked & torch.isfinite(guided).all(1)
    scores = torch.where(opened[:, None], guided, whole)
    return scores, opened, 1 + asked * looks.cost(option.views)


def tabulate(
    whole: Tensor, looks: ViewScores, label: Tensor, choices: Sequence[Option], groups: Tensor | None = None
) -> Table:
    """What each option makes of images with these (N,) labels, see `apply` and `right_answers`."""
    n = len(whole)
    correct, likelihood, cost = np.empty((3, n, len(choices)))
    margin = margins(whole)
    before = _judged(whole, label, groups)
    guided: dict[tuple[tuple[ViewKey, ...], float], tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    for column, option in enumerate(choices):
        if not option.views:
            correct[:, column], likelihood[:, column], cost[:, column] = *before, 1.0
            continue
        key = (option.views, option.weight)
        if key not in guided:
            # Options that differ by their gate alone share their scores.
            scores = combine(whole, looks.mean(option.views), option.weight)
            guided[key] = (*_judged(scores, label, groups), torch.isfinite(scores).all(1), looks.cost(option.views))
        right, sure, usable, spent = guided[key]
        asked = opens(margin, option.gate)
        opened = asked & usable
        correct[:, column] = torch.where(opened, right, before[0])
        likelihood[:, column] = torch.where(opened, sure, before[1])
        cost[:, column] = 1 + asked * spent
    return Table(list(choices), correct, likelihood, cost)


def _judged(scores: Tensor, label: Tensor, groups: Tensor | None) -> tuple[Tensor, Tensor]:
    """(N,) 1 where the label has the highest score, and the logarithm of its score."""
    own = likelihoods(scores, label, groups)
    return right_answers(scores, label, groups).double(), own.double().clamp_min(_LEAST).log()


def choose(table: Table, rows: npt.NDArray[np.bool_], units: npt.NDArray[Any], budget: float | None = None) -> int:
    """The option to use, by what these images say.

    The most accurate one; of equals the cheaper, then the likelier. But where its lead over the classifier alone is
    not larger than the standard error of that lead over units, there is nothing to gain that is worth its cost, and it
    is `ALONE`: the one-standard-error rule (Breiman et al., "Classification and regression trees", 1984, section 3.4).

    Args:
        table: of all images.
        rows: (N,) the images that choose.
        units: (N,) what is independent.
        budget: most evaluations an image, on average; None for any number.

    Returns:
        Its place in the table.
    """
    right = table.correct[rows].sum(0)
    # Means of the same costs in another order differ by rounding.
    cost = table.cost[rows].mean(0).round(6)
    likelihood = table.log_likelihood[rows].mean(0)
    order = np.lexsort((-likelihood, cost, -right))
    affordable = order if budget is None else [place for place in order if place == 0 or cost[place] <= budget]
    best = int(affordable[0])
    lead = table.correct[rows, best] - table.correct[rows, 0]
    return best if lead.mean() > standard_error(lead, units[rows]) else 0


def folds_of(units: npt.ArrayLike, folds: int, seed: int = 0) -> Ints:
    """(N,) fold of each image: units dealt at random, so that all images of a unit are in one fold.

    Args:
        units: (N,) of any kind.
        folds: their number; fewer where there are fewer units.
        seed: of the dealing.

    Raises:
        SettingsError: fewer than two folds or units.
    """
    check_number("folds", folds, FOLDS)
    index, names = pd.factorize(np.asarray(units), use_na_sentinel=False)
    if len(names) < 2:
        raise SettingsError(
            f"there is only {len(names)} unit of images that are independent; at least two are needed, to choose on "
            "one and report on the other"
        )
    fold = np.empty(len(names), np.int64)
    fold[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % min(folds, len(names))
    return fold[index]


def cross_validate(table: Table, units: npt.NDArray[Any], folds: Ints, budget: float | None = None) -> Ints:
    """(N,) the option of each image, chosen without its fold."""
    chosen = np.empty(len(folds), np.int64)
    for fold in np.unique(folds):
        chosen[folds == fold] = choose(table, folds != fold, units, budget)
    return chosen
