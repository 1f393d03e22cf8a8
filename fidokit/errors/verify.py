"""Proof by changing pixels: do the errors of a cluster turn right when exactly what misled the classifier is filled in?

The region rule is chosen on the discovery half and counted on the held-out half, against as many other pixels of the
same images and against the same change on errors outside the cluster.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from fidokit._util.shares import wilson
from fidokit._util.wording import either
from fidokit.errors.interventions import DEFAULT_INFILLS, Interventions, Stopped, check_infills
from fidokit.errors.regions import PLACE, RULES, Rule, at_place, common_place
from fidokit.errors.tables import ClusterTables
from fidokit.errors.verification import COLUMNS, IMAGE_COLUMNS, VERDICTS, Verification
from fidokit.exceptions import ImageError, SettingsError
from fidokit.study.compare import holm

ALPHA = 0.05
#: Errors in the held-out half; with fewer, not even all of them turned right could be told from chance.
LEAST_ERRORS = 5
#: Errors in the discovery half that a rule is chosen with.
_LEAST_TO_CHOOSE = 3
#: Images of one role, in one half and one cluster; of more, so many are drawn.
_MOST_IMAGES = 200
_COUNTS = ["n_errors", "turned_right", "turned_right_control", "n_other_errors", "turned_right_other", "n_right"]
_COUNTS += ["turned_wrong"]
# What no infill can mend, as the words of a cluster call it.
_NOT_PIXELS = re.compile(
    r"(dark|bright|blurred|sharp) photographs|(little|much) contrast|a (small|large|dark|bright) animal"
)

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
OnProgress = Callable[[int, int], object]


def verify(
    errors: ClusterTables,
    clusters: Sequence[int] | None = None,
    infills: Sequence[str] = DEFAULT_INFILLS,
    *,
    seed: int = 0,
    progress: bool = True,
    on_progress: OnProgress | None = None,
    before: Verification | None = None,
) -> Verification:
    """Prove clusters by changing pixels.

    Of several rules that say what to fill in (`fidokit.errors.regions`), the one that does best on the discovery half
    is counted on the held-out half. The cluster is `proved` if that turns more errors right than filling in as many
    other pixels does (exact sign test, paired by image), more than it does of other errors (Fisher's exact test; of
    both halves, since none of them chose the rule), and more than it turns right answers wrong (exact sign test), all
    three at 0.05 after Holm's correction for the number of clusters that have errors enough to test. It is `supported`
    if the first and the last hold, but other errors are helped as well. A cluster that is known by brightness,
    sharpness or size, and is neither, is `not a matter of pixels to fill in`.

    Other errors are those outside the cluster that nothing says have the same cause: they belong neither to a cluster
    that this one makes superfluous, nor to another systematic one with the same rule. Where there are so few that the
    second test could show nothing, even if none of them turned right, it is left out and the sentence says so.

    An image's answer is the class of the largest probability, averaged over the infills: one infill may itself look
    like the surroundings of some class.

    Args:
        errors: the clusters.
        clusters: their numbers; None for the systematic ones.
        infills: names of `fidokit.methods.infill.INFILLS`, or ``photographs`` (blurred ones of other classes, up to 8
            of the study), ``neutral`` (the classifier's mean colour, which it sees as zero) and ``grey`` (the image's
            own brightness). Default: these three, since what speaks for one class in one photograph speaks for another
            in the next. On drawn birds before the habitat of another species, averaging so turned 70 to 75 % of the
            errors right, flat colours alone 60 %, blur or noise 30 %.
        seed: of the infills, of where controls lie, and of which images are drawn where there are many.
        progress: whether to show a progress bar.
        on_progress: called with the number of images changed, and of those known of so far, after every few; a truthy
            result stops as Ctrl-C does, without a word.
        before: what was found earlier with these infills and this seed: its clusters stay, and all are corrected for
            their number together, so that asking for one after the other proves no more than asking for all at once.
            What was found with other ones is not used.

    Returns:
        The tables. After Ctrl-C, those of the clusters that were finished, still corrected for all that were asked for.

    Raises:
        SettingsError: an infill or a cluster that there is not.
        StoreError: classifier or photographs are needed and cannot be found.
    """
    table, found = errors.clusters, errors.found
    systematic = table.loc[table["systematic"], "cluster"].tolist()
    chosen = systematic if clusters is None else list(clusters)
    errors.check_clusters(chosen)
    texts = zip(table["cluster"], table["words"], table["properties"], strict=True)
    words = {cluster: f"{own}; {common}" for cluster, own, common in texts}
    same_cause: dict[int, Bools] = {int(c): found.cause_of(int(c)) for c in (*chosen, *systematic)}
    members = {int(c): found.of(int(c)) for c in chosen}
    return _verify(errors, members, words, check_infills(infills), seed, progress, same_cause, on_progress, before)


def verify_groups(
    errors: ClusterTables,
    members: Mapping[int, Bools],
    words: Mapping[int, str],
    infills: Sequence[str] = DEFAULT_INFILLS,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Verification:
    """Prove any groups of images; as `verify`, but other errors are all those outside a group.

    Args:
        errors: whose images, halves and answers they are.
        members: number of a group -> (N,) bool, over the images of ``errors.features``.
        words: number of a group -> what its images are and, after a semicolon, what its errors have in common.
        infills: as in `verify`.
        seed: as in `verify`.
        progress: whether to show a progress bar.
    """
    members = {cluster: np.asarray(inside, bool) for cluster, inside in members.items()}
    return _verify(errors, members, words, check_infills(infills), seed, progress, {})


@dataclass(frozen=True)
class Change:
    """What changing the pixels of one image did.

    Attributes:
        image_id, label: of the photograph.
        before, after: what the classifier says of it as it is, and with the region filled in.
        turned_right: whether the answer after the change is right.
        image, filled: (3, H, W) in [0, 1], the classifier's input before and after.
        region: (H, W) bool, what was filled in.
    """

    image_id: str
    label: str
    before: str
    after: str
    turned_right: bool
    image: Tensor
    filled: Tensor
    region: Bools


def changes(errors: ClusterTables, cluster: int, n: int = 3) -> list[Change]:
    """The errors of a verified cluster before and after the change, to look at: those that turned right first.

    Args:
        errors: whose `verification` knows the cluster.
        cluster: its number.
        n: how many at most.

    Returns:
        None of photographs that cannot be read any more; empty where nothing was changed.

    Raises:
        SettingsError: there is no such cluster, or it is not verified.
    """
    (number,) = errors.check_clusters([cluster])
    found = errors.verification
    if found is None or number not in found.records:
        raise SettingsError(f"cluster {number} is not verified; errors.verify([{number}]) does that")
    name = found.records[number].get("rule")
    rules = {rule.name: rule for rule in _rules(errors, errors.found.of(number))}
    if name not in rules or found.options is None:
        return []
    images = found.images[(found.images["cluster"] == number) & (found.images["role"] == "error")]
    rows = {image_id: row for row, image_id in enumerate(errors.features.image_ids)}
    made: list[Change] = []
    infills, seed = found.options
    # Answers are averages over all infills; to look at, one of them is enough.
    with Interventions(errors, infills[-1:], seed, tqdm(disable=True)) as interventions:
        for record in images.sort_values("after", ascending=False, kind="stable").to_dict("records"):
            if len(made) == n:
                break
            with suppress(ImageError):
                changed = interventions.changed(rows[record["image_id"]], rules[name])
                if changed is not None:
                    image_id, label, before, after = (
                        str(record[key]) for key in ("image_id", "label", "predicted", "answer")
                    )
                    made.append(Change(image_id, label, before, after, bool(record["after"]), *changed))
    return made


def _rules(errors: ClusterTables, inside: Bools) -> tuple[Rule, ...]:
    """What may be changed in the images of a group."""
    contrast, discovery = errors.features.contrast, ~errors.found.holdout
    place = common_place(contrast[inside & discovery], contrast[~inside & discovery])
    return (*((Rule(PLACE, at_place(place)),) if place is not None else ()), *RULES)


def _verify(
    errors: ClusterTables,
    members: Mapping[int, Bools],
    words: Mapping[int, str],
    infills: tuple[str, ...],
    seed: int,
    progress: bool,
    same_cause: Mapping[int, Bools],
    on_progress: OnProgress | None = None,
    before: Verification | None = None,
) -> Verification:
    """The tables of some groups.

    Args:
        same_cause: number of a cluster -> the images that belong to its cause by all that is known, its own among
            them; of clusters that are not in `members` as well.
    """
    if before is None or before.options != (infills, seed):
        before = Verification(pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=IMAGE_COLUMNS))
    records = {cluster: record for cluster, record in before.records.items() if cluster not in members}
    frames = [before.images[before.images["cluster"].isin(list(records))]]
    asked = len(records) + len(members)
    with (
        tqdm(total=0, unit="image", desc="changing pixels", disable=not progress or not members, leave=False) as bar,
        Interventions(errors, infills, seed, bar, on_progress) as changes,
    ):
        try:
            rules = {c: _chosen_rule(errors, changes, inside, seed) for c, inside in members.items()}
            rules |= {c: _chosen_rule(errors, changes, errors.found.of(c), seed) for c in same_cause if c not in rules}
            for cluster, inside in members.items():
                rule = rules[cluster]
                alike = [
                    same_cause[c] for c in same_cause if c == cluster or (isinstance(rule, Rule) and rules[c] == rule)
                ]
                outside = ~np.logical_or.reduce([inside, *alike])
                record, frame = _counted(errors, changes, cluster, rule, inside, outside, seed)
                records[cluster] = record | {"words": words.get(cluster, "")}
                frames.append(frame)
        except Stopped:
            pass
        except KeyboardInterrupt:
            done = len(members) - (asked - len(records))
            print(
                f"Stopped. {done} of {len(members)} clusters are verified; "
                f"{either('verify(clusters=[...]) goes on with', 'run the same command again for')} the others.",
                file=sys.stderr,
            )
    table, images = _tables(list(records.values()), frames, asked)
    return Verification(table, images, records, (infills, seed))


def sign_test(more: int, fewer: int) -> float:
    """One-sided exact sign test (McNemar's, on discordant pairs): P(at least `more` of ``more + fewer`` fair coins)."""
    return float(stats.binom.sf(more - 1, more + fewer, 0.5))


def more_often(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """One-sided exact test of Fisher's: are `hits` of `n` more than `other_hits` of `other_n`? 1 if either n is 0."""
    total, all_hits = n + other_n, hits + other_hits
    return float(min(1.0, stats.hypergeom.sf(hits - 1, total, all_hits, n)))


def paired_interval(both: int, first: int, second: int, neither: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of the difference of two paired shares, by Wilson's intervals of each (Newcombe 1998, method 10).

    It keeps its width where a bootstrap has none: with all or no pairs discordant.

    Args:
        both, first, second, neither: pairs that hit in both, in the first alone, in the second alone, in neither.
        z: of the normal distribution.
    """
    n = both + first + second + neither
    if not n:
        return float("nan"), float("nan")
    one, two = (both + first) / n, (both + second) / n
    lows, highs = wilson([both + first, both + second], [n, n], z)
    (low_1, low_2), (high_1, high_2) = lows.tolist(), highs.tolist()
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    covered = both * neither - first * second
    # The correlation is corrected for continuity where it is positive.
    corrected = max(covered - n / 2, 0.0) if covered > 0 else float(covered)
    phi = corrected / product**0.5 if product else 0.0
    below = (one - low_1) ** 2 - 2 * phi * (one - low_1) * (high_2 - two) + (high_2 - two) ** 2
    above = (high_1 - one) ** 2 - 2 * phi * (high_1 - one) * (two - low_2) + (two - low_2) ** 2
    return one - two - max(below, 0.0) ** 0.5, one - two + max(above, 0.0) ** 0.5


def _chosen_rule(errors: ClusterTables, changes: Interventions, inside: Bools, seed: int) -> Rule | str:
    """The rule that does best on the discovery half, or why there is none.

    Best is the rule that turns most errors right beyond the larger of what its control turns right and of the right
    answers that it turns wrong itself: those are what the held-out half tests it against.
    """
    outcome, discovery = errors.outcome, ~errors.found.holdout
    wrong, right = outcome.wrong & outcome.judged, ~outcome.wrong & outcome.judged
    rows, others = (_drawn(inside & chosen & discovery, seed) for chosen in (wrong, right))
    n_test = int((inside & wrong & ~discovery).sum())
    if len(rows) < _LEAST_TO_CHOOSE or n_test < LEAST_ERRORS:
        return (
            f"too few errors to tell ({len(rows)} to choose with what to change, {n_test} to test it on; "
            f"{_LEAST_TO_CHOOSE} and {LEAST_ERRORS} are needed)"
        )
    rules = _rules(errors, inside)
    found = changes.answers(np.r_[rows, others], rules)
    gains: dict[Rule, int] = {}
    for rule in rules:
        own = [found[row, rule] for row in rows]
        if any(answer.changed for answer in own):
            turned, control = sum(a.right for a in own), sum(a.control for a in own)
            gains[rule] = turned - max(control, sum(not found[row, rule].right for row in others))
    if not gains:
        return "no region to fill in: neither evidence nor the place of the animal is known"
    return max(gains, key=lambda rule: gains[rule])


def _counted(
    errors: ClusterTables,
    changes: Interventions,
    cluster: int,
    rule: Rule | str,
    inside: Bools,
    outside: Bools,
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The record of one cluster without what is corrected over all, and its images."""
    outcome, holdout = errors.outcome, errors.found.holdout
    wrong, right = outcome.wrong & outcome.judged, ~outcome.wrong & outcome.judged
    record: dict[str, Any] = {"cluster": cluster, "n_errors": int((inside & wrong & holdout).sum())}
    if isinstance(rule, str):
        return record | {"why": rule}, pd.DataFrame(columns=IMAGE_COLUMNS)
    rows = {
        "error": _drawn(inside & wrong & holdout, seed),
        "right": _drawn(inside & right & holdout, seed),
        "other error": _drawn(outside & wrong, seed),
    }
    frame = pd.concat([_frame(errors, changes, cluster, rule, role, own) for role, own in rows.items()])
    good = {role: frame.loc[frame["role"] == role, ["after", "control"]].to_numpy(float) > 0.5 for role in rows}
    after, control = good["error"].T
    pairs = (after & control, after & ~control, ~after & control, ~after & ~control)
    both, turned, lost, neither = (int(hits.sum()) for hits in pairs)
    low, high = paired_interval(both, turned, lost, neither)
    n_right, wrongly = len(good["right"]), int((~good["right"][:, 0]).sum())
    n_other, other = len(good["other error"]), int(good["other error"][:, 0].sum())
    record |= {
        "rule": rule.name,
        "n_errors": len(after),
        "turned_right": both + turned,
        "turned_right_control": both + lost,
        "n_other_errors": n_other,
        "turned_right_other": other,
        "n_right": n_right,
        "turned_wrong": wrongly,
        "effect": (turned - lost) / len(after),
        "effect_low": low,
        "effect_high": high,
        "p_control": sign_test(turned, lost),
        "p_other": more_often(both + turned, len(after), other, n_other) if _can_tell(len(after), n_other) else np.nan,
        "p_net": sign_test(both + turned, wrongly),
    }
    return record, frame


def _can_tell(n: int, n_other: int) -> bool:
    """Whether Fisher's test could show a difference at all: if all turned right, and none of the others."""
    return more_often(n, n, 0, n_other) <= ALPHA


def _frame(
    errors: ClusterTables, changes: Interventions, cluster: int, rule: Rule, role: str, rows: Rows
) -> pd.DataFrame:
    found = changes.answers(rows, (rule,))
    answers = [found[row, rule] for row in rows]
    outcome = errors.outcome
    columns: dict[str, Any] = {
        "cluster": cluster,
        "image_id": [errors.features.image_ids[row] for row in rows],
        "role": role,
        "label": outcome.label[rows],
        "predicted": outcome.predicted[rows],
        "answer": [answer.said for answer in answers],
        "before": (~outcome.wrong[rows]).astype(float),
        "after": [float(answer.right) for answer in answers],
        "control": [float(answer.control) for answer in answers],
        "share": [answer.share for answer in answers],
        "share_control": [answer.share_control for answer in answers],
    }
    return pd.DataFrame(columns, columns=IMAGE_COLUMNS, index=range(len(rows)))


def _drawn(chosen: Bools, seed: int) -> Rows:
    rows = np.flatnonzero(chosen)
    if len(rows) > _MOST_IMAGES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST_IMAGES, replace=False))
    return rows


def _tables(records: list[dict[str, Any]], frames: list[pd.DataFrame], asked: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = pd.DataFrame(records, columns=[*COLUMNS, "why", "words"])
    tests = table[["p_control", "p_other", "p_net"]].astype(float)
    worst = {"all": tests.max(axis=1), "without others": tests[["p_control", "p_net"]].max(axis=1)}
    # Clusters that were not reached were asked for all the same; those with too few errors were not.
    unreached = np.ones(asked - len(table))
    corrected = {name: holm(np.r_[values.to_numpy(float), unreached])[: len(table)] for name, values in worst.items()}
    table["effect_p"] = np.where(tests["p_control"].isna(), np.nan, corrected["all"])
    verdicts = np.where(corrected["all"] <= ALPHA, 0, np.where(corrected["without others"] <= ALPHA, 1, 2))
    for i, text in enumerate(table["words"]):
        if verdicts[i] == 2 and any(_NOT_PIXELS.match(part) for part in _clearest(text)):
            verdicts[i] = 3
    table["verdict"] = pd.Series([VERDICTS[v] for v in verdicts], index=table.index, dtype=object)
    rows = table.to_dict("records")
    table["sentence"] = pd.Series([_sentence(row) for row in rows], index=table.index, dtype=object)
    for name in _COUNTS:
        table[name] = table[name].astype(float).astype("Int64")
    for name in ("effect", "effect_low", "effect_high", "p_control", "p_other", "p_net", "effect_p"):
        table[name] = table[name].astype(float)
    full = [frame for frame in frames if len(frame)]
    images = pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=IMAGE_COLUMNS)
    return table[COLUMNS], images


def _clearest(words: str) -> list[str]:
    """What the images of a cluster are, and the clearest of what its errors have in common."""
    own, _, common = words.partition("; ")
    return [own, common]


def _sentence(row: Mapping[Any, Any]) -> str:
    verdict = f"{str(row['verdict']).capitalize()}: "
    if isinstance(row["why"], str):
        return verdict + row["why"]
    n = int(row["n_errors"])
    text = (
        f"{verdict}of {n} errors in the held-out half {int(row['turned_right'])} turn right when {row['rule']} is "
        f"filled in, and {int(row['turned_right_control'])} when as many other pixels are; "
    )
    n_other = int(row["n_other_errors"])
    text += f"of {n_other} other errors {int(row['turned_right_other'])} do" if n_other else "there are no other errors"
    text += "; " if np.isfinite(row["p_other"]) else ", too few to compare with; " if n_other else " to compare with; "
    right = int(row["n_right"])
    text += f"of {right} right answers {int(row['turned_wrong'])} turn wrong" if right else "it has no right answers"
    return f"{text} (p = {row['effect_p']:.2g} after correction)"
