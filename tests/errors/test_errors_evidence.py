"""Tests of groups against brute force, closed forms and scipy."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact, hypergeom

from fidokit.errors.evidence import (
    distinct,
    expected_rates,
    holm,
    p_values,
    poisson_binomial_tail,
    rates_by_class_and_score,
    stratified_p_values,
    wilson_lower,
)


def test_the_stratified_test_is_what_all_orders_of_the_errors_say():
    strata = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    wrong = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0], dtype=bool)
    group = np.array([1, 1, 0, 0, 1, 1, 0, 1, 0], dtype=bool)
    counts = []
    for places in product(
        *(combinations(np.flatnonzero(strata == s), int(wrong[strata == s].sum())) for s in range(3))
    ):
        counts.append(sum(group[i] for own in places for i in own))
    expected = np.mean(np.asarray(counts) >= (group & wrong).sum())
    assert stratified_p_values(group[None], wrong, strata)[0] == pytest.approx(expected)


def test_the_stratified_test_of_one_stratum_is_fishers():
    generator = np.random.default_rng(0)
    wrong, group = generator.random(60) < 0.3, generator.random(60) < 0.4
    table = [[(group & wrong).sum(), (group & ~wrong).sum()], [(~group & wrong).sum(), (~group & ~wrong).sum()]]
    found = stratified_p_values(group[None], wrong, np.zeros(60, dtype=int))[0]
    assert found == pytest.approx(fisher_exact(table, alternative="greater").pvalue)


def test_a_group_that_is_a_whole_class_says_nothing():
    strata = np.repeat([0, 1], 20)
    wrong = np.r_[np.ones(20, bool), np.zeros(20, bool)]
    assert stratified_p_values((strata == 0)[None], wrong, strata)[0] == 1.0
    assert stratified_p_values(np.zeros((1, 40), bool), wrong, strata)[0] == 1.0


def test_p_values_far_below_what_floats_of_one_half_would_hold():
    strata, wrong = np.zeros(400, dtype=int), np.arange(400) < 40
    p = stratified_p_values(wrong[None], wrong, strata)[0]
    assert p == pytest.approx(hypergeom.pmf(40, 400, 40, 40), rel=1e-6)
    assert 0 < p < 1e-50


def test_p_values_of_random_groups_are_no_smaller_than_uniform_ones():
    generator = np.random.default_rng(1)
    strata = generator.integers(0, 5, 200)
    p = [
        stratified_p_values((generator.random(200) < 0.2)[None], generator.random(200) < 0.2, strata)[0]
        for _ in range(400)
    ]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.asarray(p) <= level) <= level + 2.5 * np.sqrt(level * (1 - level) / 400)


def test_errors_that_look_like_what_they_are_called_are_no_cause():
    """A class that many labels are wrong of: among each other true class, the errors are all of its look-alikes."""
    generator = np.random.default_rng(0)
    predicted = np.repeat(np.arange(4), 60)
    label = predicted.copy()
    changed = generator.random(240) < np.where(predicted == 2, 0.5, 0.03)
    label[changed] = (label[changed] + generator.integers(1, 4, int(changed.sum()))) % 4
    wrong = label != predicted
    groups = np.stack([predicted == 2, (predicted == 2) & (np.arange(240) % 2 == 0)])
    assert stratified_p_values(groups, wrong, label).max() < 1e-3
    assert p_values(groups, wrong, label, predicted).min() > 0.05


def test_errors_called_what_no_image_is_are_tested_among_their_true_class():
    """Among images of a class that none rightly is, all are wrong: a test among them alone would say nothing."""
    label = np.zeros(60, dtype=int)
    predicted = np.where(np.arange(60) < 12, 7, 0)
    wrong = predicted != label
    group = (np.arange(60) < 12)[None]
    assert stratified_p_values(group, wrong, predicted)[0] == 1
    assert p_values(group, wrong, label, predicted)[0] == pytest.approx(2 * hypergeom.pmf(12, 60, 12, 12))


def test_the_expected_rate_leaves_the_group_out():
    classes = np.repeat([0, 1], 10)
    wrong = np.zeros(20, dtype=bool)
    wrong[[0, 1, 2, 3, 9]] = True
    group = np.isin(np.arange(20), [0, 1, 2, 3, 10, 11])
    overall = (1 + 2 * 0.25) / (14 + 2)
    rates = np.array([(1 + 2 * overall) / (6 + 2), (0 + 2 * overall) / (8 + 2)])
    expected = (4 * rates[0] + 2 * rates[1]) / 6
    assert expected_rates(group[None], wrong, classes)[0] == pytest.approx(expected)
    assert np.isnan(expected_rates(np.zeros((1, 20), bool), wrong, classes)[0])


def test_the_poisson_binomial_of_equal_rates_is_binomial():
    for found in range(12):
        assert poisson_binomial_tail(np.full(11, 0.3), found) == pytest.approx(binom.sf(found - 1, 11, 0.3))


def test_the_poisson_binomial_against_all_outcomes():
    rates = np.array([0.1, 0.5, 0.9, 0.25])
    total = 0.0
    for outcome in product([0, 1], repeat=4):
        if sum(outcome) >= 2:
            total += np.prod([r if o else 1 - r for r, o in zip(rates, outcome, strict=True)])
    assert poisson_binomial_tail(rates, 2) == pytest.approx(total)


def test_rates_by_class_and_score_add_up_in_every_bin():
    generator = np.random.default_rng(0)
    score = generator.random(800)
    classes = generator.integers(0, 4, 800)
    wrong = generator.random(800) < (1 - score) * 0.6
    rates = rates_by_class_and_score(wrong, classes, score)
    order = np.argsort(score)
    for part in np.array_split(order, 8):
        assert rates[part].sum() == pytest.approx(wrong[part].sum(), abs=2)
    assert rates[order[:100]].mean() > rates[order[-100:]].mean() + 0.2


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_the_lower_bound_of_a_share():
    # Wilson's bound solves (share - bound)^2 = z^2 bound (1 - bound) / n.
    low = wilson_lower(np.array([7.0]), np.array([10.0]))[0]
    assert (0.7 - low) ** 2 == pytest.approx(1.645**2 * low * (1 - low) / 10)
    assert wilson_lower(np.array([0.0]), np.array([0.0]))[0] == 0


def test_a_larger_group_around_a_clear_one_says_nothing_of_its_own():
    wrong = np.zeros(200, dtype=bool)
    wrong[:20] = True
    wrong[100:115] = True
    core = np.arange(200) < 20
    around = np.arange(200) < 45
    another = (np.arange(200) >= 100) & (np.arange(200) < 117)
    groups = np.stack([core, around, another])
    one = np.zeros(200, dtype=int)
    assert distinct(groups, wrong, one, one, [0, 1, 2], 0.01) == {0: [1], 2: []}


def test_errors_called_what_nothing_is_are_tested_among_their_own_classes():
    label, predicted = np.arange(200) % 4, np.arange(200) % 4
    group = np.arange(200) < 40
    predicted[:36] = 9
    wrong = predicted != label
    p = p_values(group[None], wrong, label, predicted)[0]
    # Among those called 9 all are wrong; among the four classes of 50, nine of ten of the group's are.
    assert p == pytest.approx(2 * stratified_p_values(group[None], wrong, label)[0])
    assert p < 1e-20
    # A group that has none of them gains nothing by it.
    other = (np.arange(200) >= 40) & (np.arange(200) < 80)
    assert p_values(other[None], wrong, label, predicted)[0] == 1.0


def test_without_strange_classes_the_larger_p_value_counts():
    generator = np.random.default_rng(3)
    label = generator.integers(0, 3, 150)
    predicted = np.where(generator.random(150) < 0.8, label, generator.integers(0, 3, 150))
    groups, wrong = generator.random((5, 150)) < 0.3, predicted != label
    by = [stratified_p_values(groups, wrong, strata) for strata in (label, predicted)]
    assert p_values(groups, wrong, label, predicted) == pytest.approx(np.maximum(*by))


def test_a_group_of_strange_errors_stands_beside_a_clear_one():
    label, predicted = np.arange(200) % 4, np.arange(200) % 4
    predicted[:20] = 9
    predicted[100:120] = (label[100:120] + 1) % 4
    groups = np.stack([(np.arange(200) >= 100) & (np.arange(200) < 121), np.arange(200) < 20])
    assert distinct(groups, predicted != label, label, predicted, [0, 1], 0.01) == {0: [], 1: []}
