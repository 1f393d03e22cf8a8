"""From features and outcomes to tested groups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control

from fidokit.errors import evidence
from fidokit.errors.clusters import Group, GroupFinder, find_groups, look_up, stabilities
from fidokit.errors.features import Features

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: Largest corrected p-value that counts, on the discovery half and on the held-out half.
ALPHA = 0.05
#: Smallest stability of a systematic group: below a half it is said to dissolve (Hennig 2007).
LEAST_STABILITY = 0.5
#: Errors of a systematic group, in each half.
LEAST_ERRORS = 3
#: A group beside a clearer one must be significant at this level without its images.
_DISTINCT_ALPHA = 1e-4
#: How often images are drawn anew for the stability.
DRAWS = 5


@dataclass
class Outcome:
    """What became of N images; it comes in only after they are grouped.

    Attributes:
        label: (N,) names of the true classes, None where unknown.
        predicted: (N,) names of the predicted classes.
        judged: (N,) whether the label is known to the classifier, so that right or wrong can be said.
        wrong: (N,) whether the image is judged and wrong.
        score: (N,) probability of the predicted class.
    """

    label: npt.NDArray[np.object_]
    predicted: npt.NDArray[np.object_]
    judged: Bools
    wrong: Bools
    score: Floats

    @classmethod
    def read(cls, predictions: pd.DataFrame, image_ids: Sequence[str]) -> Outcome:
        """The outcome of some images, in this order, from `Study.predictions`."""
        table = predictions.set_index("image_id").loc[list(image_ids)]
        correct = table["correct"].astype("boolean")
        return cls(
            label=table["label"].to_numpy(object),
            predicted=table["predicted"].to_numpy(object),
            judged=correct.notna().to_numpy(bool),
            wrong=correct.eq(False).fillna(False).to_numpy(bool),
            score=table["score"].to_numpy(np.float64),
        )

    def codes(self) -> tuple[Ints, Ints]:
        """(N,) and (N,) numbers of the true and of the predicted classes."""
        label, predicted = (pd.factorize(names)[0].astype(np.int64) for names in (self.label, self.predicted))
        return label, predicted


@dataclass
class Found:
    """G groups of N images and what speaks for each.

    Attributes:
        finders: trees, tails and values; their groups, in order, are `groups`. They look images up.
        groups: what each group is, the systematic ones first, then by p-value. Clusters are numbered from 1 in this
            order: number n is the group at position n - 1.
        members: (G, N) whether the image is in the group.
        typical: (G, N) float32, how typical the image is of the group; only the order among members means anything.
        holdout: (N,) whether the image is of the held-out half.
        table: a row a group; see `evidence_table`.
        superseded: position of a systematic group -> positions of groups that it makes superfluous.
        order: (G,) where each group stands among those of the finders.
    """

    finders: list[GroupFinder]
    groups: list[Group]
    members: Bools
    typical: npt.NDArray[np.float32]
    holdout: Bools
    table: pd.DataFrame
    superseded: dict[int, list[int]]
    order: Ints

    def of(self, number: int) -> Bools:
        """(N,) whether each image is in the cluster of this number."""
        inside: Bools = self.members[number - 1]
        return inside

    def cause_of(self, number: int) -> Bools:
        """(N,) whether each image is in this cluster or in one that it makes superfluous."""
        inside: Bools = np.logical_or.reduce(self.members[[number - 1, *self.superseded.get(number - 1, [])]], axis=0)
        return inside

    def look_up(self, features: Features) -> tuple[Bools, npt.NDArray[np.float32]]:
        """Members and how typical they are, as above, of other images."""
        members, typical = look_up(self.finders, features)
        return members[self.order], typical[self.order]


def group_and_test(
    features: Features, outcome: Outcome, *, seed: int = 0, bursts: Sequence[str | None] | None = None
) -> Found:
    """Groups found on the discovery half, without outcomes, looked up on the held-out half, and tested.

    Args:
        features: of N images.
        outcome: of the same.
        seed: of everything random.
        bursts: (N,) names of what belongs together, such as a burst of photographs: it stays in one half. None for an
            image that stands alone.
    """
    holdout = halves(features.image_ids, features.top, seed, bursts)
    discovery = features.take(np.flatnonzero(~holdout))
    finders = find_groups(discovery, seed)
    stability = stabilities(finders, discovery, DRAWS, seed)
    members, typical = look_up(finders, features)
    table, superseded = evidence_table(members, holdout, outcome, stability)
    groups = [group for finder in finders for group in finder.groups]
    order = np.lexsort([table["p_value"], ~table["systematic"].astype(bool)]).astype(np.int64)
    place = {int(group): position for position, group in enumerate(order)}
    return Found(
        finders,
        [groups[group] for group in order],
        members[order],
        typical[order],
        holdout,
        table.iloc[order].reset_index(drop=True),
        {place[group]: [place[other] for other in others] for group, others in superseded.items()},
        order,
    )


def halves(ids: Sequence[str], strata: Ints, seed: int, bursts: Sequence[str | None] | None = None) -> Bools:
    """(N,) which images are held out: half of every stratum, by a hash of their names.

    Args:
        ids: N names.
        strata: (N,) within which the halves are even, such as the predicted classes; a burst counts in the stratum of
            its first image.
        seed: which halves.
        bursts: as in `find`.
    """
    units: dict[tuple[bool, str], list[int]] = {}
    for i, image_id in enumerate(ids):
        burst = None if bursts is None else bursts[i]
        units.setdefault((False, image_id) if burst is None else (True, burst), []).append(i)
    by_stratum: dict[int, list[tuple[bytes, list[int]]]] = {}
    for (together, name), own in units.items():
        digest = hashlib.sha256(f"{seed}/{together}/{name}".encode("utf-8", "surrogatepass")).digest()
        by_stratum.setdefault(int(strata[own[0]]), []).append((digest, own))
    holdout = np.zeros(len(ids), dtype=bool)
    for stratum in sorted(by_stratum):
        balance = 0
        for digest, own in sorted(by_stratum[stratum]):
            out = balance > 0 or (balance == 0 and bool(digest[-1] & 1))
            holdout[own] = out
            balance += -len(own) if out else len(own)
    return holdout


def evidence_table(
    members: Bools, holdout: Bools, outcome: Outcome, stability: Floats
) -> tuple[pd.DataFrame, dict[int, list[int]]]:
    """What speaks for G groups of N images.

    Args:
        members: (G, N).
        holdout: (N,).
        outcome: of N images; those without a known label are left out of everything.
        stability: (G,).

    Returns:
        A row a group: size, n_errors, error_rate, expected_rate (from the true classes, `evidence.expected_rates`) and
        p_value (`evidence.p_values`), all on the discovery half; expected_rate_score and p_value_score (from class and
        score, Poisson-binomial); q_value (Benjamini-Hochberg over all groups); holdout_size, holdout_n_errors,
        holdout_error_rate on the held-out half; holdout_p, corrected by Holm over the groups with a q_value of at most
        `ALPHA`, missing for all others, which are not asked; stability; systematic. And, for each systematic group, the
        groups that it makes superfluous (`evidence.distinct`).
    """
    label, predicted = outcome.codes()
    halves_of = [np.flatnonzero(outcome.judged & (holdout == out)) for out in (False, True)]
    first, second = halves_of
    table = pd.DataFrame(index=range(len(members)))
    for prefix, rows in (("", first), ("holdout_", second)):
        size = members[:, rows].sum(1)
        n_errors = members[:, rows[outcome.wrong[rows]]].sum(1)
        table[f"{prefix}size"], table[f"{prefix}n_errors"] = size.astype(np.int64), n_errors.astype(np.int64)
        table[f"{prefix}error_rate"] = np.divide(n_errors, size, out=np.full(len(members), np.nan), where=size > 0)
    groups, wrong = members[:, first], outcome.wrong[first]
    table["expected_rate"] = evidence.expected_rates(groups, wrong, label[first])
    table["p_value"] = evidence.p_values(groups, wrong, label[first], predicted[first])
    table["q_value"] = false_discovery_control(table["p_value"].to_numpy())
    by_score = evidence.rates_by_class_and_score(wrong, label[first], outcome.score[first])
    table["expected_rate_score"] = [float(by_score[own].mean()) if own.any() else np.nan for own in groups]
    table["p_value_score"] = [
        evidence.poisson_binomial_tail(by_score[own], int(wrong[own].sum())) if own.any() else 1.0 for own in groups
    ]
    asked = np.flatnonzero(table["q_value"].to_numpy() <= ALPHA)
    confirmed = np.full(len(members), np.nan)
    confirmed[asked] = evidence.p_values(
        members[np.ix_(asked, second)], outcome.wrong[second], label[second], predicted[second]
    )
    table["holdout_p"] = evidence.holm(confirmed)
    table["stability"] = stability
    clear = (table["holdout_p"] <= ALPHA) & (table["stability"] >= LEAST_STABILITY)
    clear &= (table["n_errors"] >= LEAST_ERRORS) & (table["holdout_n_errors"] >= LEAST_ERRORS)
    candidates = np.flatnonzero(clear)
    judged = np.flatnonzero(outcome.judged)
    groups, wrong = members[np.ix_(candidates, judged)], outcome.wrong[judged]
    order = np.argsort(-clearness(groups, wrong, label[judged], predicted[judged]), kind="stable")
    kept = evidence.distinct(groups, wrong, label[judged], predicted[judged], order.tolist(), _DISTINCT_ALPHA)
    superseded = {int(candidates[g]): [int(candidates[other]) for other in others] for g, others in kept.items()}
    table["systematic"] = np.isin(np.arange(len(members)), list(superseded))
    return table, superseded


def clearness(groups: Bools, wrong: Bools, label: Ints, predicted: Ints) -> Floats:
    """(G,) how clearly groups show one cause: which of several that overlap is told first.

    The number of errors of the most frequent true class, times the lower bound of the share that they have in the
    group. Counting one true class alone keeps two causes apart that a larger group holds both of; a cause that strikes
    all classes is then told class by class. Where errors are called what no image here rightly is, such as the class of
    a background, the most frequent of those classes counts in the same way.
    """
    most = np.zeros(len(groups))
    for classes, rows in ((label, wrong), (predicted, evidence.into_unseen_classes(wrong, predicted))):
        some = np.flatnonzero(rows)
        for number in np.unique(classes[some]):
            most = np.maximum(most, groups[:, some[classes[some] == number]].sum(1))
    result: Floats = evidence.wilson_lower(most, groups.sum(1).astype(np.float64)) * most
    return result
