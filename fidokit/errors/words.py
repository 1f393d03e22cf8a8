"""What a cluster's errors have in common that others of their classes have not, and the sentence that says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fidokit._util.numbers import number
from fidokit.data.names import shorten
from fidokit.errors.clusters import Group
from fidokit.errors.features import Features
from fidokit.errors.groups import ALPHA, LEAST_ERRORS, LEAST_STABILITY
from fidokit.errors.regions import PLACE
from fidokit.errors.statistics import words_for

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

#: A few errors have much in common by chance: with fewer, nothing is named.
_LEAST_NAMED = 5
#: A statistic is named if an error lies above (or below) another image of its class with at least this chance.
_LEAST_CHANCE = 0.8
#: Values of a column are named if they are together more frequent among the errors than in their classes by this much,
#: and each by this much.
LEAST_MORE, LEAST_MORE_EACH = 0.4, 0.15
#: Among many statistics, chance alone is this many standard deviations away from a half.
_SPREAD = 3.5
#: Of two statistics with this rank correlation or more only the clearer one is named.
_SAME = 0.8
#: So many of each sort are named: values of a column; parts hidden (together one property); other statistics of the
#: photograph; statistics of the mask, which tell what the classifier did and not what the photograph is like.
MOST_VALUES, MOST_PARTS, MOST_STATISTICS, MOST_MASK = 3, 3, 4, 2
_MOST_PAIRS = 3
_VISIBLE = "visible "
_OF_MASK = ("mask ", "evidence ")
_BLOCKS = {
    "whole": "what the classifier sees",
    "strongest": "what the classifier sees at its clearest",
    "under mask": "what the classifier sees where it looks",
    "outside mask": "what the classifier sees where it hardly looks",
    "on animal": "what the classifier sees on the animal",
    "around animal": "what the classifier sees around the animal",
    "evidence": "what speaks for the answer",
    "place": "where the classifier looks",
    "light": "light and colour",
    "framing": "how large the animal is, and where",
    "parts": "which parts can be seen",
}


@dataclass(frozen=True)
class Property:
    """What a cluster's errors have in common.

    Attributes:
        name: of the statistic or the column.
        words: such as ``dark photographs`` or ``habitat: reeds``.
        strength: 1 if every error has more of it than every other image of its class, 0.5 if it means nothing.
    """

    name: str
    words: str
    strength: float


class Describer:
    """Finds what is common to the errors of groups of some images.

    Args:
        features: of N images.
        codes: (N,) numbers of the true classes.
        rows: positions of the images to look at.
    """

    def __init__(self, features: Features, codes: Ints, rows: Ints) -> None:
        self.codes, self.rows = codes[rows], rows
        self.categories = features.categories.iloc[rows]
        named = features.named.iloc[rows]
        self.ranks = named.rank(pct=True)
        self.alike = self.ranks.corr().abs()

    def properties(self, members: Bools, wrong: Bools) -> list[Property]:
        """What the errors of a group have in common: values of columns, then of the photograph, then of the mask.

        They are compared with the images outside the group, weighted so that each true class has the share that it has
        among the errors: what comes with the class is not named.

        Args:
            members: (N,).
            wrong: (N,).
        """
        inside, errors = members[self.rows], (members & wrong)[self.rows]
        weights = self._weights(errors, ~inside)
        if errors.sum() < _LEAST_NAMED or not weights.any():
            return []
        ends = _clearest(self._ends(errors, weights))
        hidden = [p for p in ends if p.name.startswith(_VISIBLE) and p.words.endswith(" hidden")]
        of_mask = [p for p in ends if p.name.startswith(_OF_MASK)]
        others = [p for p in ends if not p.name.startswith((_VISIBLE, *_OF_MASK))]
        return [
            *_clearest(self._values(errors, weights)),
            *_together(hidden[:MOST_PARTS]),
            *self._unlike(others, MOST_STATISTICS),
            *self._unlike(of_mask, MOST_MASK),
        ]

    def _weights(self, errors: Bools, others: Bools) -> Floats:
        """(N,) weights of the others, so that their classes are mixed as those of the errors."""
        n = int(self.codes.max(initial=-1)) + 2
        wanted = np.bincount(self.codes[errors] + 1, minlength=n)
        there = np.bincount(self.codes[others] + 1, minlength=n)
        by_class = np.divide(wanted, there, out=np.zeros(n), where=there > 0)
        return np.where(others, by_class[self.codes + 1], 0.0)

    def _values(self, errors: Bools, weights: Floats) -> list[Property]:
        found = []
        for name in self.categories:
            values = self.categories[name].to_numpy(object)
            counts = Counter(v for v in values[errors] if v is not None and v == v)
            more = {v: n / errors.sum() - weights[values == v].sum() / weights.sum() for v, n in counts.items()}
            told = sorted((v for v in more if more[v] >= LEAST_MORE_EACH), key=lambda v: -more[v])[:MOST_VALUES]
            total = sum(more[v] for v in told)
            if total >= LEAST_MORE and sum(counts[v] for v in told) >= _LEAST_NAMED:
                found.append(Property(str(name), f"{_short(name)}: {_listed(told, 'or')}", 0.5 + total / 2))
        return found

    def _ends(self, errors: Bools, weights: Floats) -> list[Property]:
        found = []
        for name in self.ranks:
            ranks = self.ranks[name].to_numpy(np.float64)
            own, others = errors & np.isfinite(ranks), (weights > 0) & np.isfinite(ranks)
            n = int(own.sum())
            if n < _LEAST_NAMED or not others.any():
                continue
            chance = _chance_above(ranks[own], ranks[others], weights[others])
            strength = max(chance, 1 - chance)
            # The standard deviation of a mean of n ranks.
            if strength >= max(_LEAST_CHANCE, 0.5 + _SPREAD * (12 * n) ** -0.5):
                words = _end_words(str(name), "high" if chance > 0.5 else "low")
                found.append(Property(str(name), words, strength))
        return found

    def _unlike(self, found: list[Property], most: int) -> list[Property]:
        """The first of these, without such as say nearly the same as one before."""
        chosen: list[Property] = []
        for candidate in found:
            if len(chosen) < most and not any(self._same(candidate.name, other.name) for other in chosen):
                chosen.append(candidate)
        return chosen

    def _same(self, one: str, other: str) -> bool:
        both = one in self.alike and other in self.alike
        return one == other or (both and bool(self.alike[one][other] >= _SAME))


def _clearest(found: list[Property]) -> list[Property]:
    # What is nearly as clear stays in the order of the columns, where the plainest statistics stand first.
    return sorted(found, key=lambda p: -round(p.strength, 1))


def _together(hidden: list[Property]) -> list[Property]:
    """Parts that are hidden, as one property."""
    if len(hidden) < 2:
        return hidden
    names = [p.name.removeprefix(_VISIBLE) for p in hidden]
    return [Property("visible parts", f"the {_listed(names, 'and')} hidden", hidden[0].strength)]


def _listed(names: Sequence[object], last: str) -> str:
    """Names with commas between them, and a word before the last."""
    *others, final = map(_short, names)
    return f"{', '.join(others)} {last} {final}" if others else final


def _chance_above(ranks: Floats, others: Floats, weights: Floats) -> float:
    """Chance that one of `ranks` lies above one of `others`, drawn by their weights; ties count half."""
    order = np.argsort(others, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weights[order])])
    below, not_above = (total[np.searchsorted(others[order], ranks, side)] for side in ("left", "right"))
    return float(((below + not_above) / 2).mean() / total[-1])


def pairs(labels: Sequence[Any], predicted: Sequence[Any]) -> list[tuple[str, str, int]]:
    """(label, predicted, how often), the most frequent first, then by name."""
    counts = Counter((str(a), str(b)) for a, b in zip(labels, predicted, strict=True))
    return [(a, b, n) for (a, b), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def pairs_words(found: Sequence[tuple[str, str, int]]) -> str:
    """The most frequent pairs in words."""
    told = [f"{_short(a)} taken for {_short(b)} ({n})" for a, b, n in found[:_MOST_PAIRS]]
    more = sum(n for _, _, n in found[_MOST_PAIRS:])
    return ", ".join(told + [f"others ({more})"] * bool(more))


def own_words(group: Group, class_names: Sequence[str]) -> str:
    """What the images of a group are."""
    if group.how == "value":
        words = f"{_short(group.block)}: {_short(group.value)}"
    elif group.how == "tree":
        words = f"alike in {_BLOCKS.get(group.block, _short(group.block))}"
    else:
        words = _end_words(group.block, group.how)
    return words if group.top is None else f"{words} and taken for {_short(class_names[group.top])}"


def sentence(
    group: Group,
    class_names: Sequence[str],
    row: Mapping[str, Any],
    found: Sequence[tuple[str, str, int]],
    properties: Sequence[Property],
) -> str:
    """What a cluster is, in plain words.

    Args:
        group: what its images are.
        class_names: names of the predicted classes.
        row: its size, n_errors, expected_rate, q_value, holdout_p, holdout_size, holdout_n_errors, stability and
            systematic.
        found: its `pairs`.
        properties: of its errors.
    """
    what = own_words(group, class_names)
    size, n_errors = int(row["size"]), int(row["n_errors"])
    if n_errors == 0:
        return f"None of {size} photographs ({what}) is wrong"
    text = (
        f"{n_errors} of {size} photographs ({what}) {'is' if n_errors == 1 else 'are'} wrong, where "
        f"{size * row['expected_rate']:.1f} would be expected from their classes: {pairs_words(found)}. {_verdict(row)}"
    )
    told = [p.words for p in properties if not what.startswith(p.words)]
    return text + (f". Unlike others of their classes these errors share: {', '.join(told)}" if told else "")


def _verdict(row: Mapping[str, Any]) -> str:
    other = f"({int(row['holdout_n_errors'])} of {int(row['holdout_size'])} wrong)"
    if row["systematic"]:
        return f"Confirmed on the held-out half {other}"
    if not row["q_value"] <= ALPHA:
        return f"No more than chance explains (q = {row['q_value']:.2g}): leave it"
    if not row["holdout_p"] <= ALPHA:
        return f"Not confirmed on the held-out half {other}: leave it, or try again with more photographs"
    if min(row["n_errors"], row["holdout_n_errors"]) < LEAST_ERRORS:
        return f"Seen on the held-out half too {other}, but too rarely to call it systematic: add more photographs"
    if row["stability"] < LEAST_STABILITY:
        stability = number(row["stability"])
        return f"Not found again when photographs are drawn anew (stability {stability}): do not build on it"
    return f"Seen on the held-out half too {other}, and told already by a clearer cluster: look at that one"


def cluster_name(what: str, properties: Sequence[Property], proof: Mapping[Any, Any] | None) -> str:
    """What a cluster is called: what its photographs are, or what changing pixels has proved to mislead the classifier.

    Args:
        what: `own_words` of its group.
        properties: of its errors, the clearest first.
        proof: its row of `Verification.table`, if it was verified.
    """
    clearest = properties[0].words if properties and what.startswith("alike") else what
    if proof is not None and proof["verdict"] in ("proved", "supported"):
        return f"{_misled_by(str(proof['rule']))} ({clearest})"
    return clearest


def _misled_by(rule: str) -> str:
    if "outside" in rule:
        return "misled by the surroundings"
    return "misled by one place of the picture" if rule == PLACE else "misled by what the classifier looks at most"


#: Starts of the names of statistics -> what to do about errors that share them.
_ADVICE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("mask outside", "mask at edge", "evidence", "surroundings"),
        "Crop to the animal (use_boxes=True), or train with other backgrounds.",
    ),
    (("animal size", "animal x", "animal y"), "Crop to the animal (use_boxes=True), so that it fills the input."),
    (("mask on ",), "Check whether that part can be seen; if it can, train with photographs that show it well."),
    (("visible ",), "The parts that tell are hidden: have a person check such photographs."),
    (
        ("brightness", "contrast", "sharpness", "saturation", "warmth", "greenness", "animal "),
        "Train with more photographs like these, or have a person check them.",
    ),
)


def advice(group: Group, properties: Sequence[Property], proof: Mapping[Any, Any] | None) -> str:
    """What to do about a cluster's errors; arguments as of `cluster_name`."""
    if proof is not None and proof["verdict"] in ("proved", "supported"):
        if "outside" in str(proof["rule"]):
            return "Crop to the animal (use_boxes=True), or train with other backgrounds."
        if proof["rule"] == PLACE:
            return "Cut that place off or cover it, such as a time stamp or a logo, and train without it."
    for name in (group.block, *(p.name for p in properties)):
        for starts, text in _ADVICE:
            if name.startswith(starts):
                return text
    if group.how == "value" or any(": " in p.words for p in properties):
        return "Find out what such photographs look like, and train with more of them."
    return "Look at its most typical photographs for what they share, and at their masks."


def _end_words(name: str, how: str) -> str:
    """Words for the end of a statistic, whose name a user's table may have made long."""
    return words_for(_short(name), how)


def _short(value: object) -> str:
    """A name or a value of a user's table on one line."""
    return shorten(" ".join(str(value).split()))
