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
        doubt: largest margin of the first look's answer at which these looks are made and replace it; None where there
            is no first look.
        first: keys of the first look.
    """

    views: tuple[ViewKey, ...]
    weight: float
    gate: float = 1.0
    doubt: float | None = None
    first: tuple[ViewKey, ...] = ()

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

    @property
    def first_paddings(self) -> tuple[float, ...]:
        """Of the first look's crops."""
        return tuple(padding for _, _, padding in self.first if padding is not None)

    def settings(self, settings: GuidedSettings) -> GuidedSettings:
        """The settings of a guided classifier that answers so."""
        if not self.views:
            return replace(settings, weight=0.0)
        chosen: dict[str, Any] = {"way": self.way, "weight": self.weight, "gate": self.gate}
        chosen |= {"first": None} if self.doubt is None else {"doubt": self.doubt}
        if self.share is not None:
            chosen |= {"share": self.share, "paddings": self.paddings}
        elif self.first:
            chosen |= {"paddings": self.first_paddings}
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


def options(looks: ViewScores, grid: GuidedGrid, first: ViewScores | None = None) -> list[Option]:
    """`ALONE`, and every combination of looks, weight and gate; looks without a share or padding stand for themselves.

    Args:
        looks: what was measured.
        grid: shares, paddings, weights, gates and doubts to combine.
        first: the first look; without it, doubts are left out.
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
        Option(views, weight, gate, doubt, keys)
        for views in dict.fromkeys(sets)
        for weight in grid.weights
        for gate in grid.gates
        for doubt, keys in _firsts(views, grid, first)
        if weight > 0
    ]
    return [ALONE, *dict.fromkeys(made)]


def _firsts(
    views: tuple[ViewKey, ...], grid: GuidedGrid, first: ViewScores | None
) -> list[tuple[float | None, tuple[ViewKey, ...]]]:
    """Doubts, each with the first look's keys: those with the paddings of the views, or of any set where these have
    none."""
    if first is None:
        return [(None, ())]
    own = tuple(padding for _, _, padding in views if padding is not None)
    sets = [tuple(key for key in first.keys if key[2] in paddings) for paddings in ([own] if own else grid.paddings)]
    return [(doubt, keys) for doubt in grid.doubts for keys in (dict.fromkeys(sets) if doubt is not None else [()])]


@dataclass(frozen=True, eq=False)
class Looked:
    """Where an option looks at N images, before its own looks are known.

    Attributes:
        asked: (N,) bool, where it looks at all: at the first look, if there is one.
        seen: (N,) bool, where the first look counts; nowhere without one.
        masked: (N,) bool, where the option's own looks are made.
        before: (N, K) scores without these.
    """

    asked: Tensor
    seen: Tensor
    masked: Tensor
    before: Tensor


def where_looked(whole: Tensor, option: Option, first: ViewScores | None = None) -> Looked:
    """Where an option looks; see `apply`."""
    never = torch.zeros(len(whole), dtype=torch.bool)
    asked = opens(margins(whole), option.gate) if option.views else never
    if option.doubt is None or first is None:
        return Looked(asked, never, asked, whole)
    looked = combine(whole, first.mean(option.first), option.weight)
    seen, masked = _cascade(asked, torch.isfinite(looked).all(1), margins(looked), option.doubt)
    return Looked(asked, seen, masked, torch.where(seen[:, None], looked, whole))


def _cascade(asked: Tensor, usable: Tensor, margin: Tensor, doubt: float) -> tuple[Tensor, Tensor]:
    """(N,) bool: where the first look counts, and where it leaves doubt or could not be had."""
    seen = asked & usable
    return seen, asked & (~seen | opens(margin, doubt))


def apply(
    whole: Tensor, looks: ViewScores, option: Option, first: ViewScores | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Answers by an option.

    Args:
        whole: (N, K) scores of the whole images.
        looks: the scores of the looks.
        option: what to make of them.
        first: the scores of the first look, for options with a doubt.

    Returns:
        (N, K) scores; (N,) bool, where looks count; (N,) evaluations. An image whose mask or looks could not be
        computed keeps the answer that it had before, but has cost what was spent on it.
    """
    if not option.views:
        return whole.clone(), torch.zeros(len(whole), dtype=torch.bool), torch.ones(len(whole), dtype=torch.long)
    guided = combine(whole, looks.mean(option.views), option.weight)
    own = where_looked(whole, option, first)
    opened = own.masked & torch.isfinite(guided).all(1)
    cost = 1 + own.masked * looks.cost(option.views)
    if option.doubt is not None and first is not None:
        cost = cost + own.asked * first.cost(option.first)
    return torch.where(opened[:, None], guided, own.before), opened | own.seen, cost


@dataclass(frozen=True, eq=False)
class _Scored:
    """Looks that are weighted and judged, once for all options that share them: (N,) each."""

    right: Tensor
    likelihood: Tensor
    usable: Tensor
    margin: Tensor
    spent: Tensor

    @classmethod
    def of(
        cls,
        whole: Tensor,
        looks: ViewScores,
        keys: Sequence[ViewKey],
        weight: float,
        label: Tensor,
        groups: Tensor | None,
    ) -> _Scored:
        scores = combine(whole, looks.mean(keys), weight)
        return cls(*_judged(scores, label, groups), torch.isfinite(scores).all(1), margins(scores), looks.cost(keys))


def tabulate(
    whole: Tensor,
    looks: ViewScores,
    label: Tensor,
    choices: Sequence[Option],
    first: ViewScores | None = None,
    groups: Tensor | None = None,
) -> Table:
    """What each option makes of images with these (N,) labels, see `apply` and `right_answers`."""
    n = len(whole)
    correct, likelihood, cost = np.empty((3, n, len(choices)))
    margin = margins(whole)
    alone = _judged(whole, label, groups)
    scored: dict[tuple[str, tuple[ViewKey, ...], float], _Scored] = {}

    def made(name: str, made_of: ViewScores, keys: Sequence[ViewKey], weight: float) -> _Scored:
        key = (name, tuple(keys), weight)
        if key not in scored:
            scored[key] = _Scored.of(whole, made_of, keys, weight, label, groups)
        return scored[key]

    for column, option in enumerate(choices):
        if not option.views:
            correct[:, column], likelihood[:, column], cost[:, column] = *alone, 1.0
            continue
        own = made("own", looks, option.views, option.weight)
        masked = asked = opens(margin, option.gate)
        right, likely = alone
        spent = 1 + torch.zeros(n, dtype=torch.long)
        if option.doubt is not None and first is not None:
            before = made("first", first, option.first, option.weight)
            seen, masked = _cascade(asked, before.usable, before.margin, option.doubt)
            right, likely = torch.where(seen, before.right, right), torch.where(seen, before.likelihood, likely)
            spent = spent + asked * before.spent
        opened = masked & own.usable
        correct[:, column] = torch.where(opened, own.right, right)
        likelihood[:, column] = torch.where(opened, own.likelihood, likely)
        cost[:, column] = spent + masked * own.spent
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
