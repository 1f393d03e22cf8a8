"""What is chosen, and on which images: arithmetic on drawn scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from fidokit.enhance import GuidedGrid, GuidedSettings, judge
from fidokit.enhance.choosing import (
    ALONE,
    Option,
    Table,
    apply,
    choose,
    cross_validate,
    folds_of,
    options,
    tabulate,
)
from fidokit.enhance.view_scores import FULL, MASKS, Measured, ViewScores
from fidokit.exceptions import SettingsError

GRID = GuidedGrid(shares=(0.5, 0.9), paddings=((0.0, 0.3), (0.3,)), weights=(0.5, 1.0), gates=(0.3, 1.0))
KEYS = [("crop", share, padding) for share in (0.5, 0.9) for padding in (0.0, 0.3)]


def probabilities(right, label, k=3, sure=0.6):
    """(N, K): the label's class first where right, else the next class."""
    scores = torch.full((len(label), k), (1 - sure) / (k - 1))
    for i, (good, own) in enumerate(zip(right, label.tolist(), strict=True)):
        scores[i, own if good else (own + 1) % k] = sure
    return scores


def measured(n=60, seed=0, better=0.9, rival=0.4, before=0.4):
    """Scores of a classifier that is right in `before`, of masks in `better` and of controls in `rival`."""
    rng = np.random.default_rng(seed)
    label = torch.from_numpy(rng.integers(0, 3, n))
    whole = probabilities(rng.random(n) < before, label, sure=0.5)

    def looks(share, keys):
        scores = torch.stack([probabilities(rng.random(n) < share, label, sure=0.9) for _ in keys], dim=1)
        return ViewScores(list(keys), scores, torch.full((n,), 41), [1] * len(keys))

    made = {
        MASKS: looks(better, KEYS),
        "random crop": looks(rival, [FULL]),
        "Grad-CAM crop": looks(rival, [*KEYS, FULL]),
    }
    ids = [f"image {i}" for i in range(n)]
    crops = {key: np.full((n, 2), 100) for key in KEYS}
    result = Measured(ids, whole, made, torch.ones(n), crops, {"gone": "cannot be read"})
    return result, dict(zip(ids, label.tolist(), strict=True))


def test_an_option_by_hand():
    whole = torch.tensor([[0.6, 0.4], [0.9, 0.1]])
    views = torch.tensor([[[0.2, 0.8], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    looks = ViewScores(KEYS[:2], views, torch.tensor([41, 41]), [1, 1])
    scores, opened, cost = apply(whole, looks, Option(tuple(KEYS[:2]), 0.5, gate=0.3))
    assert torch.allclose(scores, torch.tensor([[0.35, 0.65], [0.9, 0.1]]))
    assert opened.tolist() == [True, False]
    assert cost.tolist() == [44, 1]
    scores, opened, cost = apply(whole, looks, ALONE)
    assert torch.equal(scores, whole)
    assert not opened.any()
    assert cost.tolist() == [1, 1]


def test_every_combination_is_an_option():
    looks = ViewScores([*KEYS, FULL], torch.zeros(1, 5, 2), torch.zeros(1), [1] * 5)
    made = options(looks, GRID)
    assert made[0] == ALONE
    assert len(made) == len(set(made)) == 1 + (2 * 2 + 1) * 2 * 2
    assert {option.paddings for option in made[1:]} == {(0.0, 0.3), (0.3,), ()}


def test_units_stay_in_one_fold():
    units = np.repeat(np.arange(23), 4)
    folds = folds_of(units, 5, seed=1)
    assert all(len(set(folds[units == unit])) == 1 for unit in range(23))
    sizes = np.bincount(folds) // 4
    assert sizes.max() - sizes.min() <= 1
    assert len(set(folds_of(np.arange(3), 5))) == 3
    with pytest.raises(SettingsError, match="two"):
        folds_of(np.zeros(5), 5)
    with pytest.raises(SettingsError, match="folds"):
        folds_of(np.arange(5), 1)


def test_the_reported_fold_does_not_choose():
    """Each option is right in one fold alone: whoever chose on the reported images would be right everywhere."""
    folds = np.arange(50) % 5
    correct = np.zeros((50, 6))
    for option in range(1, 6):
        correct[folds == option - 1, option] = 1.0
    table = Table(
        [ALONE, *(Option(((None, None, None),), weight) for weight in (0.1, 0.2, 0.3, 0.4, 0.5))],
        correct,
        correct,
        correct,
    )
    chosen = cross_validate(table, np.arange(50), folds)
    assert correct[np.arange(50), chosen].sum() == 0
    assert (chosen > 0).all()


def test_labels_of_a_fold_do_not_change_its_choice():
    result, labels = measured()
    label = torch.tensor(list(labels.values()))
    folds = folds_of(np.arange(60), 5)
    choices = options(result.looks[MASKS], GRID)
    before = cross_validate(tabulate(result.whole, result.looks[MASKS], label, choices), np.arange(60), folds)
    other = label.clone()
    other[torch.from_numpy(folds == 2)] = (other[torch.from_numpy(folds == 2)] + 1) % 3
    after = cross_validate(tabulate(result.whole, result.looks[MASKS], other, choices), np.arange(60), folds)
    assert (before == after)[folds == 2].all()


def table_of(*columns, cost=None):
    correct = np.array(columns, float).T
    cost = np.ones_like(correct) if cost is None else np.broadcast_to(np.array(cost, float), correct.shape)
    choices = [ALONE] + [Option(((None, None, None),), 0.1 * i) for i in range(1, correct.shape[1])]
    return Table(choices, correct, np.zeros_like(correct), cost)


def test_a_gain_within_one_standard_error_is_none():
    everything = np.ones(100, bool)
    alone, other = np.zeros(100), np.zeros(100)
    alone[:6], other[6:18] = 1, 1
    # Twelve turned right and six wrong: 0.06, with a standard error of 0.042.
    assert choose(table_of(alone, other), everything, np.arange(100)) == 1
    # The twelve are frames of one burst: 0.06, with a standard error of 0.115.
    assert choose(table_of(alone, other), everything, np.where(other > 0, 0, np.arange(100) + 1)) == 0
    alone[:] = 0
    alone[:11] = 1
    assert choose(table_of(alone, other), everything, np.arange(100)) == 0


def test_of_equals_the_cheaper_and_within_the_budget():
    n = 100
    good = np.r_[np.ones(50), np.zeros(50)]
    fair = np.r_[np.ones(40), np.zeros(60)]
    everything, units = np.ones(n, bool), np.arange(n)
    table = table_of(np.zeros(n), good, good, fair, cost=[1, 50, 30, 10])
    assert choose(table, everything, units) == 2
    assert choose(table, everything, units, budget=20) == 3
    assert choose(table, everything, units, budget=5) == 0


def test_a_real_gain_is_claimed_and_bookkept():
    result, labels = measured()
    made = judge(result, labels, ["a", "b", "c"], GuidedSettings(), GRID)
    assert made.gain
    assert made.verdict.startswith("Gain")
    images, summary = made.images, made.summary.set_index("method")
    assert list(images["image_id"]) == result.image_ids
    assert images["image_id"].is_unique
    assert (
        summary.loc[MASKS, "accuracy"]
        == images["correct"].mean()
        == pytest.approx(images["correct_before"].mean() + summary.loc[MASKS, "difference"])
    )
    assert summary.loc[MASKS, "turned_right"] == (images["turned"] == "right").sum()
    assert summary.loc[MASKS, "turned_wrong"] == (images["turned"] == "wrong").sum()
    assert images["evaluations"].mean() == pytest.approx(summary.loc[MASKS, "evaluations"])
    assert (made.classes["n"].sum(), made.classes["turned_right"].sum()) == (60, (images["turned"] == "right").sum())
    assert list(made.failures["image_id"]) == ["gone"]
    assert set(images["crop_width"].dropna()) == {100}
    assert "not compared with: centre crop, multi-crop" in made.notes
    assert made.settings.weight > 0
    pd.testing.assert_series_equal(made.choices["fold"], pd.Series(range(5), name="fold"))


def test_masks_no_better_than_a_control_are_no_gain():
    result, labels = measured(better=0.9, rival=0.9)
    made = judge(result, labels, ["a", "b", "c"], GuidedSettings(), GRID)
    assert not made.gain
    assert "no" in made.verdict.lower()
    assert made.summary.set_index("method").loc[MASKS, "low"] > 0


def test_shuffled_labels_bring_no_gain():
    claims = 0
    for seed in range(16):
        result, labels = measured(seed=seed)
        order = np.random.default_rng(seed).permutation(60)
        values = list(labels.values())
        wrong = {image_id: values[j] for image_id, j in zip(labels, order, strict=True)}
        claims += judge(result, wrong, ["a", "b", "c"], GuidedSettings(), GRID, seed=seed).gain
    assert claims <= 2


def test_the_table_of_gates_runs_from_little_to_all():
    result, labels = measured()
    gates = judge(result, labels, ["a", "b", "c"], GuidedSettings(), GRID).gates
    assert (gates["evaluations"].diff().dropna() >= 0).all()
    assert gates["guided"].iloc[-1] == 1.0
    assert gates["gain_kept"].iloc[-1] == 1.0


def test_settings_that_were_fixed_are_not_chosen():
    result, labels = measured(better=0.0)
    fixed = GuidedSettings(share=0.5, paddings=(0.0, 0.3), weight=1.0)
    made = judge(result, labels, ["a", "b", "c"], fixed, GuidedGrid.of(fixed), folds=None)
    assert (made.images["fold"] == -1).all()
    assert (made.images["weight"] == 1.0).all()
    assert made.images["correct"].mean() < 0.2
    assert made.settings == fixed


def test_classes_that_hold_units_together():
    result, labels = measured()
    units = {image_id: str(i // 4) for i, image_id in enumerate(labels)}
    made = judge(result, labels, ["a", "b", "c"], GuidedSettings(), GRID, units=units, unit="burst")
    assert made.unit == "burst"
    assert made.images.groupby("unit")["fold"].nunique().max() == 1


@pytest.mark.parametrize(
    "bad", [{"shares": ()}, {"shares": (0.0,)}, {"paddings": ((-1.0,),)}, {"weights": (1.5,)}, {"gates": ("x",)}]
)
def test_a_grid_is_checked(bad):
    with pytest.raises(SettingsError):
        GuidedGrid(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"way": "zoom"},
        {"kind": "best"},
        {"share": 0},
        {"paddings": ()},
        {"paddings": "a"},
        {"smallest": 2},
        {"weight": -0.1},
        {"candidates": 0},
        {"candidates": 1.5},
        {"gate": float("nan")},
        {"infill": "sea"},
        {"fade": -1},
        {"method": "tea leaves"},
    ],
)
def test_settings_are_checked(bad):
    with pytest.raises(SettingsError, match=next(iter(bad)) if "method" not in bad else "tea leaves"):
        GuidedSettings(**bad)
