"""The tests and the verdict against closed forms, brute force and scipy."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from fidokit.enhance import evidence
from fidokit.enhance.evidence import Paired
from fidokit.enhance.scores import calibration_error, combine, margins, opens, ranks_of
from fidokit.models.goals import probabilities, to_logits
from fidokit.study.compare import MOST_EXACT


@pytest.mark.parametrize(("right", "wrong"), [(0, 0), (1, 0), (5, 1), (7, 7), (3, 12), (300, 240)])
def test_mcnemar_is_the_exact_binomial_test(right, wrong):
    expected = binomtest(right, right + wrong, 0.5).pvalue if right + wrong else 1.0
    assert evidence.mcnemar(right, wrong) == pytest.approx(expected, rel=1e-9)
    # By hand: twice the smaller tail of fair coins.
    n = right + wrong
    tail = sum(comb(n, k) for k in range(min(right, wrong) + 1))
    assert evidence.mcnemar(right, wrong) == pytest.approx(min(1.0, 2 * tail / 2**n), rel=1e-9)


def brute_force(sums):
    observed = abs(sum(sums))
    values = [abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=len(sums))]
    return np.mean([value >= observed - 1e-9 for value in values])


@pytest.mark.parametrize("sums", [[1.0, 2.0, -1.0], [3.0, 0.0, 1.0, 1.0, -2.0, 4.0], [0.0, 0.0], [2.0] * 8])
def test_sign_flips_are_counted_in_full(sums):
    assert evidence.sign_flip(np.array(sums)) == pytest.approx(brute_force(sums))


def test_drawn_sign_flips_agree_with_all_of_them():
    sums = np.random.default_rng(1).choice([-2.0, -1.0, 1.0, 2.0, 3.0], 18)
    patterns = (np.arange(2**18)[:, None] >> np.arange(18)) & 1
    exact = (np.abs((1 - 2 * patterns) @ sums) >= abs(sums.sum()) - 1e-9).mean()
    assert len(sums) > MOST_EXACT
    assert evidence.sign_flip(sums, seed=3) == pytest.approx(exact, abs=0.015)


def test_copies_of_one_photograph_are_no_evidence():
    before, after = np.zeros(40), np.ones(40)
    alone = evidence.compare(before, after, np.arange(40))
    copies = evidence.compare(before, after, np.zeros(40))
    assert alone.better
    assert alone.turned_right == copies.turned_right == 40
    assert copies.p_value == 1.0
    assert not copies.better


def test_the_interval_resamples_units_by_what_they_hold():
    # A unit of three images right, one of one image wrong: each resample is one of four, by hand.
    low, high = evidence.share_interval(np.array([3.0, 0.0]), np.array([3.0, 1.0]))
    assert (low, high) == (0.0, 1.0)
    sums, counts = evidence.per_unit(np.array([1.0, 1.0, 1.0, 0.0]), np.array([5, 5, 5, 2]))
    assert sums.tolist() == [0.0, 3.0]
    assert counts.tolist() == [1.0, 3.0]


def paired(low, p, high=0.3, difference=0.2):
    return Paired(difference, low, high, p, 9, 1)


def test_a_gain_needs_both_the_classifier_and_every_control_beaten():
    good, even = paired(0.05, 0.01), paired(-0.02, 0.4)
    assert evidence.verdict(0.5, good, {"random crop": good, "centre crop": good})[0]
    gain, sentence = evidence.verdict(0.5, good, {"random crop": good, "centre crop": even})
    assert not gain
    assert sentence.startswith("No proven gain from the masks")
    assert "the centre crop" in sentence
    assert "random crop" not in sentence
    gain, sentence = evidence.verdict(0.5, even, {"random crop": good})
    assert not gain
    assert sentence.startswith("No proven gain:")
    # Without any control nothing is claimed.
    assert not evidence.verdict(0.5, good, {})[0]


def test_interval_and_p_value_must_agree():
    assert not paired(0.01, 0.06).better
    assert not paired(0.0, 0.01).better
    assert paired(0.01, 0.04).better


def test_a_loss_is_called_a_loss():
    sentence = evidence.verdict(0.5, paired(-0.3, 0.001, high=-0.1, difference=-0.2), {})[1]
    assert "worse" in sentence


def test_calibration_error_by_hand():
    # Two bins of two: |0.3 - 0.5| and |0.8 - 1|, weighted alike.
    assert calibration_error([0.2, 0.9, 0.4, 0.7], [0, 1, 1, 1], bins=2) == pytest.approx(0.2)
    # Bins of equal mass: three images in two bins are two and one.
    assert calibration_error([0.1, 0.3, 0.9], [0, 0, 0], bins=2) == pytest.approx((2 * 0.2 + 0.9) / 3)
    assert calibration_error([1.0, 1.0], [1, 1], bins=15) == 0
    assert np.isnan(calibration_error([], []))


def test_ranks_follow_argmax_also_in_ties():
    scores = torch.tensor([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]])
    assert ranks_of(scores, torch.tensor([1, 2])).tolist() == [1, 0]
    assert ranks_of(scores, torch.tensor([0, 0])).tolist() == [0, 2]
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 3, (200, 4), generator=generator).float()
    labels = torch.randint(0, 4, (200,), generator=generator)
    assert torch.equal(ranks_of(scores, labels) == 0, scores.argmax(1) == labels)


def test_mixing_and_the_gate():
    whole, guided = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.4, 0.6]])
    assert torch.allclose(combine(whole, guided, 0.25), torch.tensor([[0.7, 0.3]]))
    assert torch.equal(combine(whole, guided, 0), whole)
    margin = margins(torch.tensor([[0.8, 0.2, 0.0], [0.5, 0.4, 0.1], [torch.nan, 0.0, 0.0]]))
    assert margin[:2].tolist() == pytest.approx([0.6, 0.1])
    assert opens(margin, 0.3).tolist() == [False, True, False]
    assert margins(torch.tensor([[0.7]])).tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_logits_of_scores_give_them_back(head):
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    scores = probabilities(logits, head)
    assert torch.allclose(probabilities(to_logits(scores, head), head), scores, atol=1e-6)
