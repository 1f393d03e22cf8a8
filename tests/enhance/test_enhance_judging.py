"""The tables of `judge`, by hand on a few images."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from fidokit.enhance import GuidedGrid, GuidedSettings, judge
from fidokit.enhance.view_scores import FULL, MASKS, Measured, ViewScores
from fidokit.exceptions import SettingsError, StoreError

KEY = ("crop", 0.5, 0.3)
FIXED = GuidedSettings(share=0.5, paddings=(0.3,), weight=1.0)


def four(harm="d"):
    """Four images of class 0: unsure and wrong, sure and wrong, sure and right, unsure and right. Masks turn the first
    two right and the last wrong, at 10, 20, 30 and 40 evaluations."""
    whole = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.9, 0.1], [0.54, 0.46]])
    masks = torch.tensor([[0.8, 0.2], [0.7, 0.3], [0.9, 0.1], [0.2, 0.8]])[:, None]
    looks = {
        MASKS: ViewScores([KEY], masks, torch.tensor([10, 20, 30, 40]), [1], seconds=0.5),
        "multi-crop": ViewScores(
            [FULL], whole[:, None], torch.zeros(4, dtype=torch.long), [torch.tensor([11, 21, 31, 41])]
        ),
    }
    crops = {KEY: torch.tensor([[30.0, 20.0]] * 4).numpy()}
    return Measured(["a", "b", "c", harm], whole, looks, torch.full((4,), 2.0), crops, {})


def judged(measured=None, settings=FIXED, **more):
    measured = measured or four()
    labels = dict.fromkeys(measured.image_ids, 0)
    return judge(measured, labels, ["x", "<b>y</b>"], settings, GuidedGrid.of(settings), folds=None, **more)


def test_summary_by_hand():
    made = judged()
    alone, masks, multi = made.summary.to_dict("records")
    assert (alone["accuracy"], masks["accuracy"], multi["accuracy"]) == (0.5, 0.75, 0.5)
    assert (masks["difference"], masks["turned_right"], masks["turned_wrong"]) == (0.25, 2, 1)
    assert (alone["evaluations"], masks["evaluations"], multi["evaluations"]) == (1, 1 + 26, 1 + 26)
    assert (masks["seconds"], multi["seconds"]) == (2.5, 0.0)
    assert (multi["difference"], multi["masks_minus"]) == (0.0, 0.25)
    assert masks["top_k"] == 1.0
    assert made.top == 2
    assert judged(top=1).summary["top_k"].tolist() == [0.5, 0.75, 0.5]
    # Sorted by confidence and alone in its bin each: 0.7, 0.8 and 0.9 right, 0.8 wrong; equal ones share a half.
    assert masks["calibration_error"] == pytest.approx((0.3 + 0.3 + 0.3 + 0.1) / 4)
    assert (multi["equal_cost"], multi["turned_right"]) == (True, 0)
    assert not made.gain


def test_images_and_classes_by_hand():
    made = judged()
    assert made.images["turned"].tolist() == ["right", "right", None, "wrong"]
    assert made.images["predicted_before"].tolist() == ["<b>y</b>", "<b>y</b>", "x", "x"]
    assert made.images["evaluations"].tolist() == [12, 22, 32, 42]
    assert made.images["crop_width"].tolist() == [30] * 4
    assert made.images["crop_height"].tolist() == [20] * 4
    (row,) = made.classes.to_dict("records")
    assert row == {
        "class": "x", "n": 4, "accuracy_before": 0.5, "accuracy": 0.75, "difference": 0.25, "turned_right": 2,
        "turned_wrong": 1,
    }  # fmt: skip


def test_gates_by_hand():
    gates = judged().gates.set_index("gate")
    # Margins: 0.2, 0.8, 0.8 and 0.08.
    low, middle, all_ = gates.loc[0.1], gates.loc[0.3], gates.loc[1.0]
    assert low.to_dict() == pytest.approx(
        {"guided": 0.25, "evaluations": 45 / 4, "evaluations_kept": 45 / 108, "accuracy": 0.25, "gain": -0.25,
         "gain_kept": -1.0}
    )  # fmt: skip
    assert (middle["guided"], middle["accuracy"], middle["gain"]) == (0.5, 0.5, 0.0)
    assert (all_["accuracy"], all_["evaluations_kept"], all_["gain_kept"]) == (0.75, 1.0, 1.0)
    assert gates.loc[0.0, "evaluations"] == 1.0


def test_a_gate_that_was_fixed_holds():
    settings = GuidedSettings(share=0.5, paddings=(0.3,), weight=1.0, gate=0.3)
    made = judged(settings=settings)
    assert made.images["guided"].tolist() == [True, False, False, True]
    assert made.images["evaluations"].tolist() == [12, 1, 1, 42]
    assert made.images["crop_width"].isna().tolist() == [False, True, True, False]
    assert made.summary["seconds"].iloc[1] == 2.5 / 2


def test_tables_are_written(tmp_path):
    made = judged()
    paths = made.to_csv(tmp_path / "tables")
    assert all(path.exists() for path in paths)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables" / "gates.csv"), made.gates)
    assert made.verdict in (tmp_path / "tables" / "verdict.txt").read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        made.to_csv(tmp_path / "file")


def test_a_notebook_shows_it_escaped():
    made = judged()
    made.notes.append("<script>")
    shown = made._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert made.verdict in repr(made)


def test_what_cannot_be_judged():
    measured = four()
    with pytest.raises(SettingsError, match="'d' has no label"):
        judge(measured, {"a": 0, "b": 0, "c": 0}, ["x", "y"], FIXED, GuidedGrid.of(FIXED), folds=None)
    with pytest.raises(SettingsError, match="no unit"):
        judged(units={"a": 1})
    nothing = Measured([], torch.empty(0, 2), {}, torch.empty(0), {}, {"a": "it is gone"})
    with pytest.raises(SettingsError, match="it is gone"):
        judged(nothing)


def test_a_budget_is_kept():
    generator = torch.Generator().manual_seed(0)
    n = 60
    whole = torch.rand(n, 2, generator=generator).softmax(1)
    right = torch.tensor([[0.9, 0.1]] * n)[:, None]
    looks = {MASKS: ViewScores([KEY], right, torch.full((n,), 40), [1])}
    measured = Measured([str(i) for i in range(n)], whole, looks, torch.zeros(n), {}, {})
    labels = dict.fromkeys(measured.image_ids, 0)
    grid = GuidedGrid(shares=(0.5,), paddings=((0.3,),), weights=(1.0,), gates=(0.1, 1.0))
    free = judge(measured, labels, ["x", "y"], FIXED, grid)
    bound = judge(measured, labels, ["x", "y"], FIXED, grid, budget=30)
    assert free.summary["evaluations"].iloc[1] == 42
    assert 1 < bound.summary["evaluations"].iloc[1] <= 30
    assert bound.settings.gate == 0.1
    assert "not compared with" in bound.notes[-1]


def test_labels_that_are_coarser_than_a_class_by_hand():
    whole = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.5, 0.4]])
    masks = torch.tensor([[0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.1, 0.5, 0.4]])[:, None]
    looks = {MASKS: ViewScores([KEY], masks, torch.tensor([10, 10, 10]), [1], seconds=0.5)}
    crops = {KEY: torch.tensor([[30.0, 20.0]] * 3).numpy()}
    measured = Measured(["a", "b", "c"], whole, looks, torch.zeros(3), crops, {})
    # The first two are "owl", class 0 or 1; the third one is class 2.
    made = judge(
        measured, {"a": 3, "b": 3, "c": 2}, ["aluco", "bubo", "buteo"], FIXED, GuidedGrid.of(FIXED), folds=None, top=1,
        groups={"owl": [0, 1]},
    )  # fmt: skip
    assert made.images["label"].tolist() == ["owl", "owl", "buteo"]
    assert made.images["correct_before"].tolist() == [True, False, False]
    assert made.images["turned"].tolist() == ["wrong", "right", None]
    assert made.classes["class"].tolist() == ["buteo", "owl"]
    assert made.summary["top_k"].tolist() == pytest.approx([1 / 3, 1 / 3])
