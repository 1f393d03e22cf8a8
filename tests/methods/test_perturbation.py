"""RISE against loops and closed forms, its settings, and the two methods in the registry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nets import ConvNet, PatchLogit, conv_net, photographs
from torch import nn

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods import compute_masks
from fidokit.methods.base import Batch
from fidokit.methods.concrete import image_keys, uniform
from fidokit.methods.perturbation import METHODS, RiseSettings, random_masks, rise, to_mask

SIZE = (32, 32)
FAST = RiseSettings(samples=40, grid=4)


def tiny(module=None, **options) -> fk.Classifier:
    defaults = {"size": SIZE, "device": "cpu", "precision": "float32", "micro_batch": 16}
    return fk.Classifier(conv_net() if module is None else module, **(defaults | options))


def batch_of(classifier, images, ids=None, targets=None, against=None):
    logits = classifier.logits(images)
    ids = [f"i{k}" for k in range(len(images))] if ids is None else ids
    return Batch(images, ids, classifier.goal(logits, targets, against), logits)


def interpolated(cells, at):
    """Value at a place, in cells from the outer edge, between the centres of the cells; constant beyond them."""
    low = math.floor(at - 0.5)
    share = at - 0.5 - low
    n = len(cells)
    return (1 - share) * cells[min(max(low, 0), n - 1)] + share * cells[min(max(low + 1, 0), n - 1)]


def one_mask(u, grid, probability, size):
    """A mask from its random numbers, one pixel after the other."""
    cells = (u[:-2].reshape(grid, grid) < probability).astype(float)
    step = [math.ceil(pixels / grid) for pixels in size]
    shift = int(u[-2] * step[0]), int(u[-1] * step[1])
    mask = np.zeros(size)
    for y in range(size[0]):
        rows = [interpolated(cells[:, j], (y + shift[0] + 0.5) * grid / ((grid + 1) * step[0])) for j in range(grid)]
        for x in range(size[1]):
            mask[y, x] = interpolated(np.array(rows), (x + shift[1] + 0.5) * grid / ((grid + 1) * step[1]))
    return mask


# The masks


@pytest.mark.parametrize(("grid", "size"), [(3, (12, 12)), (4, (10, 14)), (7, (5, 9)), (1, (6, 6))])
def test_masks_are_shifted_windows_of_interpolated_cells(grid, size):
    key = image_keys(3, ["a"])
    masks = random_masks(key, 5, 4, grid, 0.4, size)
    assert masks.shape == (4, *size)
    for i, mask in enumerate(masks):
        u = uniform(key, 5 + i, (grid * grid + 2,))[0].numpy()
        torch.testing.assert_close(mask, torch.from_numpy(one_mask(u, grid, 0.4, size)).float(), atol=1e-5, rtol=0)


def test_masks_keep_the_share_that_was_asked_for_everywhere():
    for probability in (0.3, 0.5):
        masks = random_masks(image_keys(0, ["a"]), 0, 6000, 4, probability, (16, 16))
        assert 0 <= masks.min() <= masks.max() <= 1
        assert (masks.mean(0) - probability).abs().max() < 0.04


def test_a_mask_depends_on_its_number_and_image_alone():
    keys = image_keys(0, ["a", "b"])
    whole = random_masks(keys[:1], 0, 9, 4, 0.5, SIZE)
    assert torch.equal(random_masks(keys[:1], 6, 3, 4, 0.5, SIZE), whole[6:])
    assert not torch.equal(random_masks(keys[1:], 0, 9, 4, 0.5, SIZE), whole)


# The map


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("baseline", ["mean", "black", "white", "blur"])
def test_the_map_is_the_sum_of_masks_weighted_by_the_probability(centre, baseline):
    classifier = tiny(mean=(0.4, 0.5, 0.6))
    images = photographs(2)
    batch = batch_of(classifier, images, targets=[2, 0])
    raw = rise(classifier, batch, RiseSettings(samples=20, grid=4, centre=centre, baseline=baseline)).raw
    filled = {
        "mean": torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1).expand_as(images),
        "black": torch.zeros_like(images),
        "white": torch.ones_like(images),
        "blur": fk.methods.infill.blur(images),
    }[baseline]
    keys = image_keys(0, batch.image_ids)
    for i in range(2):
        masks = random_masks(keys[i : i + 1], 0, 20, 4, 0.5, SIZE).double()
        scores = []
        for mask in masks.float():
            logits = classifier.logits((mask * images[i] + (1 - mask) * filled[i])[None])
            scores.append(float(logits.softmax(1)[0, [2, 0][i]]))
        weights = np.array(scores) - (np.mean(scores) if centre else 0)
        expected = np.tensordot(weights, masks.numpy(), axes=1) / 20 / 0.5
        np.testing.assert_allclose(raw[i, 0].numpy(), expected, atol=2e-5)


class LinearScore(nn.Module):
    """A single logit whose sigmoid is ``0.1 + <weights, x>``, linear in the pixels."""

    def __init__(self, size):
        super().__init__()
        weights = torch.rand(3, *size, generator=torch.Generator().manual_seed(5))
        self.weights = nn.Parameter(0.8 * weights / weights.sum())

    def forward(self, x):
        return torch.logit(0.1 + (x * self.weights).sum(dim=(1, 2, 3)))[:, None]


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_the_map_of_a_linear_score_converges_to_its_closed_form(centre, probability):
    size, grid, step = (4, 4), 2, 2
    module = LinearScore(size)
    classifier = tiny(module, size=size, mean=(0, 0, 0), std=(1, 1, 1), micro_batch=4000)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(6))
    # E[M(u) M(v)] over the places of the window and over independent cells: p^2 + p (1 - p) sum_c a_c(u) a_c(v).
    second = np.zeros((16, 16))
    for down in range(step):
        for across in range(step):
            share = np.zeros((16, grid * grid))
            for cell in range(grid * grid):
                cells = np.eye(grid * grid)[cell].reshape(grid, grid)
                for y in range(4):
                    rows = [interpolated(cells[:, j], (y + down + 0.5) / 3) for j in range(grid)]
                    for x in range(4):
                        share[4 * y + x, cell] = interpolated(np.array(rows), (x + across + 0.5) / 3)
            second += (probability**2 + probability * (1 - probability) * share @ share.T) / step**2
    value = (module.weights.detach() * images[0]).sum(0).flatten().double().numpy()
    expected = (0.1 * probability + second @ value) / probability
    if centre:
        expected -= 0.1 + probability * value.sum()
    settings = RiseSettings(samples=60_000, grid=grid, probability=probability, centre=centre)
    raw = rise(classifier, batch_of(classifier, images, targets="1"), settings).raw
    np.testing.assert_allclose(raw[0, 0].numpy().ravel(), expected, atol=0.004 if centre else 0.01)


def test_centring_lowers_the_noise():
    classifier = tiny(LinearScore(SIZE), mean=(0, 0, 0), std=(1, 1, 1), micro_batch=500)
    batch = batch_of(classifier, photographs(1), targets="1")
    noise = {}
    for centre in (False, True):
        maps = [rise(classifier, batch, RiseSettings(samples=500, seed=seed, centre=centre)).raw for seed in range(6)]
        noise[centre] = torch.stack(maps).var(0).mean()
    assert noise[True] < 0.5 * noise[False]


def test_a_classifier_that_ignores_the_image_gives_an_empty_mask():
    class Indifferent(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.3, 1.7]))

        def forward(self, x):
            return self.logits.expand(len(x), -1)

    masks = fk.explain(tiny(Indifferent()), photographs(2), "rise", settings=FAST)
    assert (masks.attribution == 0).all()


def test_the_mask_finds_the_patch_that_decides():
    classifier = tiny(PatchLogit("one"), mean=(0, 0, 0), std=(1, 1, 1), size=(160, 160))

    def target(logits):
        return logits[:, 1] / 30 - 1  # the sigmoid of the logit itself is 1 nearly everywhere

    masks = fk.explain(classifier, torch.ones(1, 3, 160, 160), "rise", targets=target, samples=600)
    mask = masks.attribution[0]
    inside = mask[56:96, 24:64].mean()
    assert inside > 0.7
    assert inside > 2 * mask[:, 100:].mean()


def test_the_order_of_the_map_is_that_of_the_mask():
    raw = torch.rand(2, 1, 8, 8) - 0.5
    mask = to_mask(raw)
    assert torch.equal(raw.flatten(1).argsort(1), mask.flatten(1).argsort(1))
    assert (mask.amin(dim=(1, 2)) == 0).all()
    torch.testing.assert_close(mask.amax(dim=(1, 2)), torch.ones(2))


# Targets


def test_contrasts_functions_and_heads_go_through_the_goal():
    classifier = tiny()
    images = photographs(2)
    contrast = fk.explain(classifier, images, "rise", targets=0, against=1, settings=FAST)
    function = fk.explain(classifier, images, "rise", targets=lambda logits: logits[:, 0] - logits[:, 1], settings=FAST)
    plain = fk.explain(classifier, images, "rise", targets=0, settings=FAST)
    assert contrast.against == ["1", "1"]
    torch.testing.assert_close(contrast.raw, function.raw)
    assert (contrast.raw - plain.raw).abs().max() > 1e-3
    one = fk.explain(tiny(conv_net(1)), images, "rise", targets=1, settings=FAST)
    other = fk.explain(tiny(conv_net(1)), images, "rise", targets=0, settings=FAST)
    torch.testing.assert_close(one.raw, -other.raw, atol=1e-5, rtol=0)


# Many images


def test_the_seed_decides():
    first, again, other = (fk.explain(tiny(), photographs(1), "rise", settings=FAST, seed=s).raw for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_evaluations_are_those_of_the_tally():
    classifier = tiny()
    with classifier.session():
        batch = batch_of(classifier, photographs(3))
        before = classifier.counter.evaluations
        computed = rise(classifier, batch, FAST)
        assert computed.evaluations.tolist() == [40] * 3
        assert classifier.counter.evaluations - before == 3 * 40
        before = classifier.counter.evaluations
        masks = fk.explain(classifier, photographs(3), "rise", settings=FAST)
        assert classifier.counter.evaluations - before == int(masks.evaluations.sum())


def test_progress_and_a_request_to_stop():
    classifier = tiny(micro_batch=4)
    batch = batch_of(classifier, photographs(3))
    seen = []
    whole = compute_masks("rise", classifier, batch, FAST, seen.append)
    assert [s.evaluations for s in seen] == list(range(4, 121, 4))
    assert {s.total for s in seen} == {120}
    assert seen[9].finished == 1
    assert seen[9].image_ids == ["i0"]
    torch.testing.assert_close(seen[9].masks["attribution"], whole.attribution[:1])
    stopped = compute_masks("rise", classifier, batch, FAST, lambda s: s.evaluations == 60)
    assert stopped.image_ids == ["i0", "i1"]
    assert stopped.finished.tolist() == [True, False]
    assert (stopped.evaluations - 2).tolist() == [40, 20]
    torch.testing.assert_close(stopped.attribution[0], whole.attribution[0])


def test_ctrl_c_keeps_what_was_begun():
    calls = 0

    class Interrupted(ConvNet):
        def forward(self, x):
            nonlocal calls
            calls += len(x) == 10
            if calls == 6:
                calls += 1
                raise KeyboardInterrupt
            return super().forward(x)

    classifier = tiny(Interrupted().eval(), micro_batch=10)
    result = rise(classifier, batch_of(classifier, photographs(3)), FAST)
    assert result.interrupted
    assert result.finished.tolist() == [True, False, False]
    assert result.evaluations.tolist() == [40, 10, 0]
    assert result.raw[:2].isfinite().all()
    assert result.raw[2].isnan().all()


# Settings and the registry


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("samples", 1),
        ("samples", 10.5),
        ("samples", True),
        ("grid", 0),
        ("probability", 0),
        ("probability", 1.0),
        ("probability", math.nan),
        ("baseline", "grey"),
        ("centre", 1),
        ("seed", 0.5),
    ],
)
def test_settings_are_checked_where_they_are_made(field, value):
    with pytest.raises(SettingsError, match=field if field != "baseline" else "baseline 'grey'"):
        RiseSettings(**{field: value})


def test_the_published_settings_are_those_of_the_paper():
    assert RiseSettings.published() == RiseSettings(8000, 7, 0.5, "mean", False, 0)
    assert RiseSettings.published(samples=4000).samples == 4000


def test_both_methods_are_listed():
    assert set(METHODS) <= set(fk.list_methods())
    for method in METHODS.values():
        assert method.kinds == ("attribution",)
        assert method.summary
