"""From features to systematic clusters: planted causes, chance, and what must not depend on the labels."""

from __future__ import annotations

import numpy as np
import pytest
from errors_cases import feature_table, outcome_of

from fidokit.errors.evidence import wilson_lower
from fidokit.errors.groups import Outcome, clearness, group_and_test, halves


def top_ten(found, group):
    inside = np.flatnonzero(found.members[group])
    return inside[np.argsort(-found.typical[group][inside], kind="stable")][:10]


@pytest.mark.parametrize("cause", ["dark", "surroundings"])
def test_a_planted_cause_is_found(cause):
    features, outcome, planted = feature_table(cause=cause)
    found = group_and_test(features, outcome)
    systematic = np.flatnonzero(found.table["systematic"])
    assert 1 <= len(systematic) <= 4
    assert max(planted[top_ten(found, g)].mean() for g in systematic) >= 0.8


def test_errors_at_random_are_no_cause():
    alarms = 0
    for seed in range(4):
        features, outcome, _ = feature_table(seed, n=240, noise=0.15)
        alarms += bool(group_and_test(features, outcome, seed=seed).table["systematic"].any())
    assert alarms == 0


def test_with_other_labels_the_groups_are_the_same():
    features, outcome, _ = feature_table(cause="dark")
    order = np.random.default_rng(0).permutation(len(features))
    shuffled = Outcome(
        outcome.label[order],
        outcome.predicted,
        outcome.judged,
        outcome.label[order] != outcome.predicted,
        outcome.score,
    )
    one, other = group_and_test(features, outcome), group_and_test(features, shuffled)
    # Only their numbers follow the errors: the clearest is the first.
    back, other_back = np.argsort(one.order), np.argsort(other.order)
    assert [one.groups[g] for g in back] == [other.groups[g] for g in other_back]
    assert (one.members[back] == other.members[other_back]).all()
    assert (one.typical[back] == other.typical[other_back]).all()
    assert (one.holdout == other.holdout).all()
    assert one.table["stability"][back].tolist() == other.table["stability"][other_back].tolist()
    assert not one.table["error_rate"].equals(other.table["error_rate"])


@pytest.mark.parametrize("wrong", [False, True])
def test_no_errors_or_only_errors_are_no_cause(wrong):
    features, _, _ = feature_table(n=120)
    label = (features.top + wrong) % 4
    found = group_and_test(features, outcome_of(label, features.top, np.ones(120)))
    assert len(found.table)
    assert not found.table["systematic"].any()
    assert (found.table["p_value"] == 1).all()


def test_images_without_a_label_count_neither_as_right_nor_as_wrong():
    features, outcome, _ = feature_table(cause="dark")
    outcome.judged[::3] = False
    outcome.wrong &= outcome.judged
    found = group_and_test(features, outcome)
    rows = ~found.holdout & outcome.judged
    assert (found.table["size"] == found.members[:, rows].sum(1)).all()


def test_one_cause_is_clearer_than_two_in_one_group():
    label = np.repeat([0, 1, 2], 20)
    wrong = np.arange(60) % 20 < 10
    one, both = wrong & (label == 0), wrong & (label < 2)
    loose = (label == 0) | (label == 2) & ~wrong
    found = clearness(np.stack([one, both, loose]), wrong, label, (label + wrong) % 2)
    shares = [(10, 10), (10, 20), (10, 30)]
    assert found == pytest.approx([10 * wilson_lower(np.array([k]), np.array([n]))[0] for k, n in shares])
    assert found[0] > found[1] > found[2]


def test_halves_are_even_in_every_class_and_hash_each_image():
    ids = [f"im{i}" for i in range(400)]
    strata = np.arange(400) % 7
    holdout = halves(ids, strata, 0)
    for s in range(7):
        assert abs(holdout[strata == s].mean() - 0.5) < 0.02
    assert (holdout == halves(ids, strata, 0)).all()
    assert (holdout != halves(ids, strata, 1)).any()


def test_a_burst_stays_together():
    ids = [f"im{i}" for i in range(100)]
    bursts = [f"b{i // 5}" if i < 80 else None for i in range(100)]
    holdout = halves(ids, np.zeros(100, dtype=int), 0, bursts)
    for start in range(0, 80, 5):
        assert len(set(holdout[start : start + 5])) == 1
    assert 0 < holdout[80:].mean() < 1
    assert 0 < holdout[:80].mean() < 1
