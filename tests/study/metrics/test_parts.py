from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from fidokit.exceptions import FidokitError
from fidokit.models.classifier import Classifier
from fidokit.study.metrics import ranks
from fidokit.study.metrics.parts import (
    correlation_row,
    filled_effects,
    part_correlation,
    part_scores,
    removal_name,
    removed_effects,
    visible,
)

SIDE = 8


class Weighted(nn.Module):
    """A single logit: the sum of the brightness, weighted by column."""

    def forward(self, x):
        return (x.mean(1) * torch.arange(SIDE)).sum(dim=(1, 2))[:, None]


@pytest.fixture
def classifier():
    return Classifier(
        Weighted(), size=(SIDE, SIDE), mean=(0, 0, 0), std=(1, 1, 1), device="cpu", precision="float32", micro_batch=5
    )


@pytest.fixture
def _hard(monkeypatch):
    monkeypatch.setattr(ranks, "EDGE_SHARE", 1e-3)


def columns(*numbers):
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    mask[:, list(numbers)] = True
    return mask


PARTS = visible({"head": columns(1), "wing": columns(3, 4), "tail": columns(6), "hidden": columns()})
IMAGE = torch.full((3, SIDE, SIDE), 0.5)


def test_parts_without_pixels_are_not_visible():
    assert list(PARTS) == ["head", "wing", "tail"]
    assert not visible({})


@pytest.mark.usefixtures("_hard")
def test_the_effect_of_filling_a_part_in(classifier):
    # Black instead of 0.5 takes 0.5 * 8 rows * column off the logit; white adds as much.
    infills = torch.stack([torch.zeros(3, SIDE, SIDE), torch.ones(3, SIDE, SIDE), torch.zeros(3, SIDE, SIDE)])
    with classifier.session(exact=True) as session:
        goal = classifier.goal(session.logits(IMAGE[None]), 1)
        effects = filled_effects(session, IMAGE, goal, PARTS, infills[:1])
        mean = filled_effects(session, IMAGE, goal, PARTS, infills)
    # The log-odds of a single logit z are z in its second class, and -z in its first.
    torch.testing.assert_close(effects, torch.tensor([4.0, 28.0, 24.0]))
    torch.testing.assert_close(mean, torch.tensor([4.0, 28.0, 24.0]) / 3)


def picture(dark=(), size=SIDE):
    pixels = np.full((size, size, 3), 255, np.uint8)
    pixels[:, list(dark)] = 0
    return Image.fromarray(pixels)


def test_the_effect_of_a_users_removal(classifier):
    geometry = classifier.preprocessing.geometry(SIDE, SIDE)
    removed = {"head": picture([1]), "wing": picture([3, 4]).convert("RGBA"), "tail": picture([6])}
    with classifier.session(exact=True) as session:
        white = torch.ones(3, SIDE, SIDE)
        goal = classifier.goal(session.logits(white[None]), 1)
        effects = removed_effects(session, white, goal, removed, geometry, classifier.preprocessing)
        torch.testing.assert_close(effects, torch.tensor([8.0, 56.0, 48.0]))
        with pytest.raises(FidokitError, match=r"9 x 9 pixels without 'head', the photograph has 8 x 8"):
            removed_effects(session, white, goal, {"head": picture(size=9)}, geometry, classifier.preprocessing)


def test_scores_by_hand():
    mask = torch.zeros(SIDE, SIDE)
    mask[:, 3] = 0.5
    mask[0, 6] = 1.0
    torch.testing.assert_close(part_scores(mask, PARTS), torch.tensor([0.0, 4.0, 1.0]).double())
    torch.testing.assert_close(part_scores(mask, PARTS, "mean"), torch.tensor([0.0, 0.25, 0.125]).double())
    coarse = torch.tensor([[0.2]])
    torch.testing.assert_close(part_scores(coarse, PARTS), torch.tensor([1.6, 3.2, 1.6]).double())


def test_the_correlation_is_scipys():
    torch.manual_seed(0)
    parts = visible({str(i): np.random.default_rng(i).random((SIDE, SIDE)) < 0.1 for i in range(9)})
    mask, effects = torch.rand(SIDE, SIDE), torch.rand(9).mul(5).round()
    for how in ("sum", "mean"):
        expected = stats.spearmanr(part_scores(mask, parts, how), effects).statistic
        assert part_correlation(mask, parts, effects, how) == pytest.approx(expected)


def test_rows_and_their_reasons():
    mask = torch.arange(float(SIDE)).expand(SIDE, SIDE) / SIDE
    effects = {"head": 1.0, "wing": 2.0, "tail": 1.5}
    row = correlation_row(mask, PARTS, effects)
    assert row == {"part_correlation_sum": 1.0, "part_correlation_mean": 0.5, "reason": None}
    reasons = [
        correlation_row(mask, {"head": PARTS["head"]}, {}),
        correlation_row(mask, PARTS, {"": "the map is lost"}),
        correlation_row(mask, PARTS, effects | {"tail": float("nan")}),
        correlation_row(mask, PARTS, dict.fromkeys(effects, 1.0)),
    ]
    for row, reason in zip(
        reasons,
        ["1 visible parts, at least 3", "the map is lost", "not a finite number", "the same score"],
        strict=True,
    ):
        assert reason in row["reason"]
        assert not any(np.isfinite(value) for name, value in row.items() if name != "reason")


def test_removals_have_names():
    assert removal_name(None) == "filled in with the panel"
    assert removal_name(picture) == f"{__name__}.picture"
