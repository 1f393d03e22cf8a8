"""KernelShap against additive games and Shapley values by brute force."""

from itertools import combinations
from math import comb, factorial

import pytest
import torch
from nets import photographs
from torch import nn

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import image_keys
from fidokit.methods.kernel_shap import KernelShapSettings, coalitions
from fidokit.methods.superpixels import superpixels

SIZE = (24, 24)
IMAGES = photographs(2, SIZE)


class Game(nn.Module):
    """Logits (v, 0) of a function of the pixels' sums in a fixed partition of the image."""

    def __init__(self, labels, value):
        super().__init__()
        self.labels, self.value = labels, value

    def forward(self, x):
        n = int(self.labels.max()) + 1
        inside = nn.functional.one_hot(self.labels.flatten(), n).float()
        present = x.sum(1).flatten(1) @ inside
        value = self.value(present)
        return torch.stack([value, torch.zeros_like(value)], 1)


def classifier(module, micro_batch=16):
    return fk.Classifier(
        module, mean=(0, 0, 0), std=(1, 1, 1), size=SIZE, device="cpu", precision="float32", micro_batch=micro_batch
    )


def of_regions(attribution, labels):
    """(n,) the value of each superpixel, which is the same on all of its pixels."""
    values = torch.stack([attribution[labels == name].mean() for name in range(int(labels.max()) + 1)])
    torch.testing.assert_close(values[labels], attribution, rtol=1e-5, atol=1e-5)
    return values


def sums(image, labels):
    return torch.stack([image.sum(0)[labels == name].sum() for name in range(int(labels.max()) + 1)])


def test_an_additive_game_is_its_weights():
    labels = superpixels(IMAGES[0], 16)
    n = int(labels.max()) + 1
    weights = torch.linspace(-1, 1, n)
    clf = classifier(Game(labels, lambda present: present @ weights))
    masks = fk.explain(clf, IMAGES[:1], "kernel-shap", 0, regions=16, samples=80)
    found = of_regions(masks.raw[0, 0], labels)
    torch.testing.assert_close(found, weights * sums(IMAGES[0], labels), rtol=1e-3, atol=1e-2)
    assert masks.evaluations.tolist() == [80 + 3]
    assert masks.attribution[0].max() == 1
    assert (masks.attribution[0] > 0).equal(masks.raw[0, 0] > 0)


def shapley(value, n):
    """By definition, over all coalitions."""
    found = torch.zeros(n)
    for player in range(n):
        rest = [p for p in range(n) if p != player]
        for k in range(n):
            weight = factorial(k) * factorial(n - k - 1) / factorial(n)
            for members in combinations(rest, k):
                found[player] += weight * (value({*members, player}) - value(set(members)))
    return found


def test_a_game_with_interactions_has_its_shapley_values():
    labels = superpixels(IMAGES[0], 9)
    n = int(labels.max()) + 1
    total = sums(IMAGES[0], labels)

    def value(present):
        share = present / total
        return 3 * share[:, 0] * share[:, 1] + share[:, 2] - 2 * share[:, 1] * share[:, 3] * share[:, 4]

    def of_members(members):
        present = torch.tensor([float(p in members) for p in range(n)]) * total
        return float(value(present[None]))

    clf = classifier(Game(labels, value))
    found = fk.explain(clf, IMAGES[:1], "kernel-shap", 0, regions=9, samples=4000, baseline="black").raw[0, 0]
    wanted = shapley(of_members, n)
    assert (of_regions(found, labels) - wanted).abs().max() < 0.05
    # What it shares out is the whole gain, whatever the samples.
    assert of_regions(found, labels).sum() == pytest.approx(of_members(set(range(n))), abs=1e-3)


def test_coalitions_have_the_sizes_of_the_shapley_kernel():
    n, draws = 7, 6000
    stream = coalitions(image_keys(0, ["a"]), n)
    assert next(stream).tolist() == [[1] * n]
    assert next(stream).tolist() == [[0] * n]
    drawn = torch.cat([next(stream) for _ in range(draws)])
    assert torch.equal(drawn[0::2] + drawn[1::2], torch.ones(draws // 2, n, dtype=torch.int64))
    # (M - 1) / (k (M - k) C(M, k)) for each of the C(M, k) coalitions of a size.
    kernel = torch.tensor([(n - 1) / (k * (n - k) * comb(n, k)) * comb(n, k) for k in range(1, n)])
    shares = torch.bincount(drawn.sum(1), minlength=n + 1)[1:n] / draws
    torch.testing.assert_close(shares, kernel / kernel.sum(), atol=0.02, rtol=0)
    assert (drawn.float().mean(0) - 0.5).abs().max() < 0.001


def test_a_single_superpixel_gets_everything():
    assert [c.tolist() for c, _ in zip(coalitions(image_keys(0, ["a"]), 1), range(3), strict=False)] == [
        [[1]],
        [[0]],
        [[1]],
    ]


def test_coalitions_are_the_images_own():
    labels = superpixels(IMAGES[0], 16)
    clf = classifier(Game(labels, lambda present: present.prod(1).sqrt()))
    both = fk.explain(clf, IMAGES, "kernel-shap", 0, regions=16, samples=40)
    torch.testing.assert_close(fk.explain(clf, IMAGES[1:], "kernel-shap", 0, regions=16, samples=40).raw, both.raw[1:])


def test_settings():
    assert KernelShapSettings.published(regions=20) == KernelShapSettings(samples=2148, regions=20)
    for wrong in ({"samples": 3}, {"regions": 1}, {"baseline": "x"}, {"seed": "a"}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            KernelShapSettings(**wrong)
