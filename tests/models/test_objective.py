"""Log-odds, area and total variation against values worked out by hand; targets resolved or refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fidokit.exceptions import SettingsError
from fidokit.models.goals import EXPLAINED, Goal, area, class_index, class_logit, log_odds, total_variation

NAMES = ["crow", "rook", "jackdaw"]
LOGITS = torch.tensor([[2.0, 1.0, -1.0], [0.0, 0.0, 3.0]])


def test_log_odds_by_hand():
    values = log_odds(LOGITS, torch.tensor([0, 2]))
    assert values[0] == pytest.approx(2 - math.log(math.e + math.exp(-1)))
    assert values[1] == pytest.approx(3 - math.log(2))
    probabilities = LOGITS.softmax(1)[torch.arange(2), torch.tensor([0, 2])]
    torch.testing.assert_close(torch.sigmoid(values), probabilities)


def test_log_odds_against_one_class_and_of_a_sigmoid_head():
    target, other = torch.tensor([0, 2]), torch.tensor([1, 0])
    assert log_odds(LOGITS, target, other).tolist() == [1, 3]
    assert log_odds(LOGITS, target, head="sigmoid").tolist() == [2, 3]
    assert class_logit(LOGITS, target).tolist() == [2, 3]
    assert class_logit(LOGITS, target, other).tolist() == [1, 3]


def test_gradients_agree_with_finite_differences():
    logits = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-3
    for head, against in (("softmax", None), ("sigmoid", None), ("softmax", torch.tensor([0, 1, 2]))):
        target = torch.tensor([4, 3, 1])
        x = logits.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(log_odds(x, target, against, head=head).sum(), x)
        for k in range(5):
            shift = torch.zeros_like(logits)
            shift[:, k] = step
            up = log_odds(logits + shift, target, against, head=head)
            down = log_odds(logits - shift, target, against, head=head)
            torch.testing.assert_close(gradient[:, k].float(), (up - down) / (2 * step), atol=2e-3, rtol=0)


def test_mask_prices_agree_with_finite_differences_in_float64():
    mask = torch.rand(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for reduction in ("mean", "sum"):
        assert torch.autograd.gradcheck(lambda m, r=reduction: area(m, r), mask)
        assert torch.autograd.gradcheck(lambda m, r=reduction: total_variation(m, r), mask)


def test_extreme_logits_give_finite_odds_and_gradients():
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 200.0]], requires_grad=True)
    values = log_odds(logits, torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient).all()


def test_area_and_total_variation_by_hand():
    mask = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert float(area(mask)) == pytest.approx(0.5)
    assert float(area(mask, "sum")) == 3
    # Down: 0, 1, 0 over 3 pairs; across: 1, 0, 0, 1 over 4 pairs.
    assert float(total_variation(mask, "sum")) == 3
    assert float(total_variation(mask)) == pytest.approx(1 / 3 + 2 / 4)
    assert float(total_variation(torch.ones(1, 1))) == 0


def test_total_variation_mean_does_not_depend_on_the_grid():
    ramp = torch.linspace(0, 1, 5)[None].expand(5, 5)
    fine = torch.linspace(0, 1, 9)[None].expand(9, 9)
    assert float(total_variation(ramp)) * 4 == pytest.approx(float(total_variation(fine)) * 8)


def goal(targets=None, against=None):
    return Goal.resolve(targets, against, logits=LOGITS, class_names=NAMES, head="softmax")


def test_targets_by_default_name_index_tensor_and_per_image():
    assert goal().target_names(2) == ["crow", "jackdaw"]
    assert goal("rook").target.tolist() == [1, 1]
    assert goal(2).target.tolist() == [2, 2]
    assert goal(["rook", 0]).target.tolist() == [1, 0]
    assert goal(torch.tensor([1, 2])).target.tolist() == [1, 2]
    assert goal(np.array(["rook", "crow"])).target.tolist() == [1, 0]
    assert goal("crow", "rook").against_names(2) == ["rook", "rook"]


def test_the_runner_up_is_the_best_class_beside_each_target():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0]])

    def rivals(targets):
        made = Goal.resolve(targets, "runner-up", logits=logits, class_names=NAMES, head="softmax")
        return made.target_names(2), made.against_names(2)

    assert rivals(None) == (["crow", "jackdaw"], ["jackdaw", "rook"])
    assert rivals("rook") == (["rook", "rook"], ["crow", "jackdaw"])


def test_a_part_of_a_name_is_enough_and_said():
    with pytest.warns(RuntimeWarning, match="'daw' is taken to mean 'jackdaw'"):
        assert goal("daw").target_names(2) == ["jackdaw"] * 2
    with pytest.warns(RuntimeWarning, match="'ROOK' is taken to mean 'rook'"):
        assert goal("crow", "ROOK").against_names(2) == ["rook"] * 2


def test_a_function_is_a_target():
    made = goal(lambda logits: logits[:, 0] + logits[:, 1])
    assert made.log_odds(LOGITS).tolist() == [3, 0]
    assert made.target_names(2)[0].startswith("function:")


@pytest.mark.parametrize(
    ("targets", "against", "message"),
    [
        ("rok", None, "did you mean 'rook'"),
        ("o", None, "'o' fits 2 names: 'crow', 'rook'"),
        (3, None, "out of range"),
        (-1, None, "out of range"),
        (["crow"], None, "1 classes for 2 images"),
        (["crow", None], None, "class names or indices"),
        (0.5, None, "class names or indices"),
        ("crow", "crow", r"^'crow' is the class .* contrast it with another one \(image 1 of 2\)$"),
        (["crow", "rook"], "rook", r"^'rook' is the class .* \(image 2 of 2\)$"),
        (None, NAMES[int(LOGITS[0].argmax())], r"is the class .* \(image 1 of 2\)$"),
        ("crow", lambda x: x, "classes, not a function"),
        (lambda x: x[:, 0], "crow", "needs a class"),
    ],
)
def test_bad_targets_are_refused(targets, against, message):
    with pytest.raises(SettingsError, match=message):
        goal(targets, against)


def test_rows_and_repeats():
    made = goal(["rook", "crow"], ["crow", "jackdaw"])
    assert made[torch.tensor([1])].target.tolist() == [0]
    assert made.repeat(2).target.tolist() == [1, 1, 0, 0]
    assert made.repeat(2).against.tolist() == [0, 0, 2, 2]


def test_a_class_name_may_be_anything():
    odd = "<img src=x onerror=alert(1)>" + "a" * 300
    assert class_index(odd, ["crow", odd]) == 1


def test_the_explained_value_by_hand():
    goal = Goal(NAMES, "softmax", torch.tensor([0, 2]))
    assert goal.value(LOGITS, "logit").tolist() == [2, 3]
    assert goal.value(LOGITS, "contrast").tolist() == [2 - (1 - 1) / 2, 3 - 0]
    torch.testing.assert_close(goal.value(LOGITS, "log-odds"), goal.log_odds(LOGITS))


@pytest.mark.parametrize("explained", EXPLAINED)
def test_with_a_class_to_contrast_or_a_function_there_is_one_value(explained):
    against = Goal(NAMES, "softmax", torch.tensor([0, 2]), torch.tensor([1, 0]))
    assert against.value(LOGITS, explained).tolist() == [1, 3]
    own = Goal(NAMES, "softmax", None, function=lambda logits: logits.sum(1))
    assert own.value(LOGITS, explained).tolist() == [2, 3]


@pytest.mark.parametrize("explained", EXPLAINED)
def test_a_binary_head_is_explained_whatever_the_value(explained):
    goal = Goal(["not owl", "owl"], "sigmoid", torch.tensor([1]))
    value = goal.value(torch.tensor([[-1.5, 1.5]]), explained)
    assert float(value) == (3.0 if explained == "contrast" else 1.5)
