"""The FunnyBirds protocol: how well an attribution foretells what happens when a part is really gone.

Source: Hesse, Schaub-Meyer, Roth, "FunnyBirds: a synthetic vision dataset for a part-based analysis of explainable AI
methods", ICCV 2023 (arXiv 2308.06248), section 4. `pairs` is not theirs: single deletion correlates with a part's size,
so that a constant map is rewarded; pairs of parts are balanced by size, and a constant map gets 0.5.

All functions are pure: they read importances and the classifier's logits, and know neither files nor networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter
from scipy.stats import rankdata

PARTS = ("beak", "eye", "foot", "tail", "wing")
#: Values of a part map -> index of the part; background objects are `BACKGROUND` + their number.
PART_OF_VALUE = {2: 0, 3: 1, 4: 1, 5: 2, 6: 2, 7: 3, 8: 4, 9: 4}
BACKGROUND = 100
#: Shares of the whole attribution above which a part counts as important, and the share of the target's logit that a
#: part must be worth to be relevant: the values of the authors' framework.
THRESHOLDS = np.linspace(0.01, 0.5, 80)
RELEVANT = 0.05
#: Pixels by which a part is dilated before the attribution on it is added up.
DILATION = 2
#: Parts whose true drops are closer than half a logit have no order worth foretelling.
LEAST_DIFFERENCE = 0.5

Array = npt.NDArray[np.float64]
Classes = Sequence[Mapping[str, int]]


@dataclass(frozen=True)
class Truth:
    """What the classifier says of one picture and of its interventions.

    Attributes:
        target: the class.
        parts: indices of the visible parts in `PARTS`.
        whole: (K,) logits of the picture.
        without: set of parts taken out, as bits -> (K,) logits; all subsets of the visible parts but the empty one.
        background: number of a background object taken out -> (K,) logits.
        sizes: (P,) importances that a constant map gives the visible parts: their dilated pixels.
    """

    target: int
    parts: tuple[int, ...]
    whole: Array
    without: Mapping[int, Array]
    background: Mapping[int, Array]
    sizes: Array

    def logits_without(self, parts: Sequence[int]) -> Array:
        """(K,) logits without these parts; what is not visible cannot be taken out."""
        code = sum(1 << part for part in set(parts) & set(self.parts))
        return self.without[code] if code else self.whole

    def drops(self, target: int | None = None) -> Array:
        """(P,) fall of a class's logit when each visible part alone is gone."""
        k = self.target if target is None else target
        return np.array([self.whole[k] - self.without[1 << part][k] for part in self.parts])

    def background_drops(self) -> Array:
        """Fall of the target's logit when each background object alone is gone, in the order of `background`."""
        return np.array([self.whole[self.target] - logits[self.target] for logits in self.background.values()])


@dataclass(frozen=True)
class Importances:
    """What an attribution says of one picture.

    Attributes:
        parts: (P,) of the visible parts.
        background: of the background objects, in the order of `Truth.background`.
        total: of the whole picture.
    """

    parts: Array
    background: Array
    total: float


def part_importances(
    attribution: Array, part_map: npt.NDArray[np.integer], parts: Sequence[int], background: Sequence[int]
) -> Importances:
    """Importance of a part: the attribution on its dilated pixels, its pieces (two eyes, two wings) added up.

    Args:
        attribution: (H, W).
        part_map: (H, W) values as in `PART_OF_VALUE`.
        parts: indices of the visible parts.
        background: numbers of the background objects.
    """

    def inside(value: int) -> float:
        region = maximum_filter(part_map == value, size=2 * DILATION + 1, mode="constant")
        return float(attribution[region].sum())

    return Importances(
        np.array([sum(inside(value) for value, part in PART_OF_VALUE.items() if part == p) for p in parts], float),
        np.array([inside(BACKGROUND + number) for number in background], float),
        float(attribution.sum()),
    )


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's rank correlation; NaN where one of the two is constant."""
    a, b = rankdata(first), rankdata(second)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def single_deletion(importances: Importances, truth: Truth) -> float:
    """Correctness: rank correlation of importances and true drops, brought to [0, 1]; NaN where there is none."""
    return 0.5 + 0.5 * rank_correlation(importances.parts, truth.drops())


def sufficient_sets(classes: Classes, target: int) -> list[frozenset[str]]:
    """Smallest sets of parts that no other class shares with the target."""
    own, found = classes[target], list[frozenset[str]]()
    others = [kind for k, kind in enumerate(classes) if k != target]
    for count in range(1, len(own) + 1):
        for names in combinations(own, count):
            smaller = any(known <= set(names) for known in found)
            if not smaller and all(any(kind[name] != own[name] for name in names) for kind in others):
                found.append(frozenset(names))
    return found


def data_check(important: Sequence[int], sufficient: Sequence[frozenset[str]]) -> float:
    """Controlled synthetic data check: largest share of a sufficient set that the important parts hold."""
    names = {PARTS[part] for part in important}
    return max((len(names & one) / len(one) for one in sufficient), default=float("nan"))


def preserved(important: Sequence[int], truth: Truth) -> bool:
    """Preservation check: whether the important parts alone keep the classifier's decision."""
    rest = [part for part in truth.parts if part not in important]
    return bool(truth.logits_without(rest).argmax() == truth.whole.argmax())


def deleted(important: Sequence[int], truth: Truth) -> bool:
    """Deletion check: whether the decision is another one without the important parts."""
    return bool(truth.logits_without(important).argmax() != truth.whole.argmax())


def undistracted(importances: Importances, truth: Truth, threshold: float) -> float:
    """Distractibility: share of what is irrelevant, of parts and background objects, that is not called important.

    Irrelevant is what costs the target less than 5 % of its logit when it is gone. NaN where everything is relevant.
    """
    values = np.concatenate([importances.parts, importances.background])
    drops = np.concatenate([truth.drops(), truth.background_drops()])
    irrelevant = drops < RELEVANT * abs(truth.whole[truth.target])
    return float((values <= threshold * importances.total)[irrelevant].mean()) if irrelevant.any() else float("nan")


def completeness_parts(importances: Importances, truth: Truth, classes: Classes) -> Array:
    """(T, 4) data check, preservation, deletion and distractibility at each of the `THRESHOLDS`."""
    sufficient, rows = sufficient_sets(classes, truth.target), []
    for threshold in THRESHOLDS:
        kept = importances.parts > threshold * importances.total
        important = [part for part, is_so in zip(truth.parts, kept, strict=True) if is_so]
        rows.append(
            (
                data_check(important, sufficient),
                preserved(important, truth),
                deleted(important, truth),
                undistracted(importances, truth, float(threshold)),
            )
        )
    return np.array(rows, float)


def completeness(rows: Array) -> tuple[Array, int]:
    """(4,) means of (N, T, 4) over the pictures at the one threshold that serves the method best, and its number.

    The completeness of a method is half the mean of the first three and half the fourth: who calls everything
    important passes the first three.
    """
    means = np.nanmean(rows, axis=0)
    best = int((means[:, :3].mean(1) + means[:, 3]).argmax())
    return means[best], best


def contrast_classes(classes: Classes, target: int) -> tuple[int, int] | None:
    """The first two classes that share two parts each with the target, and not the same ones."""
    shared = {
        k: {name for name in kind if kind[name] == classes[target][name]}
        for k, kind in enumerate(classes)
        if k != target
    }
    for first, second in combinations([k for k, names in shared.items() if len(names) == 2], 2):
        if not shared[first] & shared[second]:
            return first, second
    return None


def shared_parts(classes: Classes, target: int, other: int) -> list[int]:
    """Indices of the parts that two classes share."""
    return [i for i, name in enumerate(PARTS) if classes[target][name] == classes[other][name]]


def contrast_holds(truth: Truth, first: int, second: int, classes: Classes) -> bool:
    """Whether each class depends more on the parts that it shares than on those that the other one shares."""
    without = [truth.logits_without(shared_parts(classes, truth.target, other)) for other in (first, second)]
    return bool(without[0][first] < without[1][first] and without[1][second] < without[0][second])


def target_sensitivity(first: Importances, second: Importances, pair: tuple[int, int], truth: Truth, classes: Classes):
    """Contrastivity: share of the two classes whose shared parts are more important to itself than to the other.

    Args:
        first, second: importances of the explanations for the two classes.
        pair: these classes, see `contrast_classes`.
    """
    right = 0.0
    for other, own, foreign in zip(pair, (first, second), (second, first), strict=True):
        parts = [truth.parts.index(part) for part in shared_parts(classes, truth.target, other) if part in truth.parts]
        right += float(own.parts[parts].sum() > foreign.parts[parts].sum()) / 2
    return right


def ordered_pairs(importances: Importances, truth: Truth, least: float = LEAST_DIFFERENCE) -> list[tuple[bool, float]]:
    """Whether the part that matters more is the larger one, and whether the attribution ranks it higher (1, 0, tie ½).

    Of all pairs of visible parts whose true drops differ by `least` logits or more.
    """
    drops, found = truth.drops(), []
    for i, j in combinations(range(len(truth.parts)), 2):
        if abs(drops[i] - drops[j]) < least or truth.sizes[i] == truth.sizes[j]:
            continue
        more, less = (i, j) if drops[i] > drops[j] else (j, i)
        difference = importances.parts[more] - importances.parts[less]
        found.append((bool(truth.sizes[more] > truth.sizes[less]), float(0.5 + 0.5 * np.sign(difference))))
    return found


def pairs(found: Sequence[tuple[bool, float]]) -> float:
    """Mean of the shares ranked right where the larger part matters more and where the smaller one does."""
    by_size = [[right for larger, right in found if larger == which] for which in (True, False)]
    return float(np.mean([np.mean(rights) if rights else np.nan for rights in by_size]))


@dataclass(frozen=True)
class Scores:
    """The measures of one method on N pictures, picture by picture, so that they can be resampled.

    Attributes:
        single: (N,) single deletion, NaN where it is not defined.
        complete: (N, T, 4) from `completeness_parts`.
        sensitivity: (N,) target sensitivity, NaN where no two classes contrast.
        ordered: N lists from `ordered_pairs`.
    """

    single: Array
    complete: Array
    sensitivity: Array
    ordered: list[list[tuple[bool, float]]]

    def summary(self, rows: Sequence[int] | npt.NDArray[np.integer] | None = None) -> dict[str, float]:
        """All measures over these pictures, by default each once; a bootstrap gives others."""
        index = np.arange(len(self.single)) if rows is None else np.asarray(rows)
        means, _ = completeness(self.complete[index])
        complete = float(means[:3].mean() / 2 + means[3] / 2)
        single, sensitivity = float(np.nanmean(self.single[index])), float(np.nanmean(self.sensitivity[index]))
        return {
            "score": (single + sensitivity + complete) / 3,
            "single_deletion": single,
            "target_sensitivity": sensitivity,
            "completeness": complete,
            "data_check": float(means[0]),
            "preservation": float(means[1]),
            "deletion": float(means[2]),
            "distractibility": float(means[3]),
            "pairs": pairs([one for i in index for one in self.ordered[i]]),
        }


def bootstrap(scores: Sequence[Scores], resamples: int = 1000, seed: int = 0) -> list[dict[str, Array]]:
    """(resamples,) values of every measure, of each method; the same pictures are drawn for all of them."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(scores[0].single), size=(resamples, len(scores[0].single)))
    made = []
    for one in scores:
        values = [one.summary(rows) for rows in drawn]
        made.append({name: np.array([value[name] for value in values]) for name in values[0]})
    return made
