"""Accuracy foretold at sites without labels: the estimate, what sets it right, its interval, and its rivals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from fidokit.errors.forecast import COLUMNS, Photographs, class_shares, forecast

CLASSES, EACH = 5, 120


def drawn(seed=0, sites=8, bad=(6, 7), noise=1.0):
    """Photographs whose answer is the sum of what animal and background say; at bad sites the background says a class
    that is not there."""
    generator = np.random.default_rng(seed)
    site = np.repeat(np.arange(sites), EACH)
    truth = generator.integers(0, CLASSES - 1, len(site))
    animal = generator.normal(0, noise, (len(site), CLASSES))
    animal[np.arange(len(site)), truth] += 2.5
    background = np.zeros((len(site), CLASSES))
    background[np.isin(site, bad), CLASSES - 1] = 4.0
    logits = animal + background
    answer = logits.argmax(1)
    rows = np.arange(len(site))
    decided = (animal.argmax(1) != answer) & (background[rows, answer] > background[rows, animal.argmax(1)])
    return Photographs(
        np.array([f"s{i}" for i in site], dtype=object),
        (answer == truth).astype(float),
        softmax(logits, 1).max(1),
        answer,
        (animal - animal.mean(1, keepdims=True)).astype(np.float32),
        decided.astype(float),
    )


def off(table, name):
    return float((table[name] - table["accuracy"]).abs().mean())


def test_the_shares_of_the_classes_are_found():
    generator = np.random.default_rng(3)
    wanted = np.array([0.7, 0.2, 0.1, 0.0])
    truth = generator.choice(4, 3000, p=wanted)
    # Gaussian evidence of unit spread: these logits are the true log-likelihoods.
    evidence = generator.normal(0, 1, (3000, 4))
    evidence[np.arange(3000), truth] += 2
    found = class_shares(2 * evidence)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found.mean(0), wanted, atol=0.03)


def test_better_than_confidence_where_a_background_deceives():
    tables = [forecast(drawn(seed)) for seed in range(4)]
    for table in tables:
        assert list(table.columns) == COLUMNS
        assert off(table, "forecast") < min(off(table, "average_confidence"), off(table, "atc"))
    assert np.mean([off(table, "forecast") for table in tables]) < 0.05
    inside = [t["accuracy"].between(t["forecast_low"], t["forecast_high"]).mean() for t in tables]
    assert np.mean(inside) >= 0.9


def test_a_site_is_foretold_without_its_own_labels():
    photographs = drawn()
    own = photographs.site == "s6"
    turned = replace(photographs, right=np.where(own, 1 - photographs.right, photographs.right))
    hidden = replace(photographs, right=np.where(own, np.nan, photographs.right))
    one, other, third = (forecast(p).set_index("site") for p in (photographs, turned, hidden))
    for name in ("forecast", "average_confidence", "atc"):
        assert one.loc["s6", name] == other.loc["s6", name] == third.loc["s6", name]
    assert np.isnan(third.loc["s6", "accuracy"])
    assert one.loc["s6", "accuracy"] == pytest.approx(1 - other.loc["s6", "accuracy"])


def test_what_was_not_changed_counts_not():
    photographs = drawn()
    animal = photographs.animal.copy()
    animal[::2] = np.nan
    table = forecast(replace(photographs, animal=animal))
    assert table["n"].eq(EACH // 2).all()
    assert table["forecast"].notna().all()
    own = photographs.site == "s3"
    animal = photographs.animal.copy()
    animal[own] = np.nan
    assert forecast(replace(photographs, animal=animal)).set_index("site")["forecast"].isna().to_dict()["s3"]


def test_without_labels_and_without_changes():
    photographs = drawn()
    nothing = np.full(len(photographs.right), np.nan)
    unlabelled = forecast(replace(photographs, right=nothing))
    assert unlabelled["forecast"].between(0, 1).all()
    assert unlabelled[["accuracy", "atc", "forecast_low", "forecast_high"]].isna().all(axis=None)
    scores = forecast(replace(photographs, animal=None))
    assert scores["forecast"].tolist() == scores["atc"].tolist()
    assert forecast(replace(photographs, animal=None, right=nothing))["forecast"].isna().all()


def test_atc_by_hand():
    """Garg et al.: the threshold that as many scores exceed at the source as answers are right there."""
    site = np.array(["a"] * 5 + ["b"] * 4, dtype=object)
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.15, 0.25, 0.45, 0.6])
    right = np.array([0, 0, 1, 1, 1] + [np.nan] * 4)
    table = forecast(Photographs(site, right, score, np.zeros(9, int), None, np.full(9, np.nan))).set_index("site")
    # Three of five are right: the threshold lies between 0.2 and 0.3.
    assert table.loc["b", "atc"] == 0.5
    assert table.loc["b", "average_confidence"] == pytest.approx(score[5:].mean())
