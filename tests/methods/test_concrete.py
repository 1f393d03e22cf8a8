"""Samplers against closed forms and finite differences, and the noise against what uniform noise must be."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import SAMPLERS, antithetic_uniform, image_keys, read_out, sample, uniform

TEMPERATURES = (0.1, 0.5, 1.0, 2.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_both_samplers_are_the_concrete_distribution(sampler, temperature):
    theta = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    u = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)[None]
    p = 1 / (1 + torch.exp(-theta))
    odds = (p / (1 - p)) * (u / (1 - u))
    expected = 1 / (1 + odds ** (-1 / temperature))
    torch.testing.assert_close(sample(theta, u, sampler=sampler, temperature=temperature), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_raising_a_logit_raises_the_sample_and_the_read_out(sampler, temperature):
    u = uniform(torch.tensor([1]), 0, (400,))[0].double()
    low, high = torch.tensor(-0.5, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    below = sample(low, u, sampler=sampler, temperature=temperature)
    above = sample(high, u, sampler=sampler, temperature=temperature)
    rounded_to_one = below == 1
    assert ((above > below) | rounded_to_one).all()
    assert not rounded_to_one.all()
    assert read_out(high) > read_out(low)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_read_out_is_the_probability_of_a_sample_above_one_half(sampler):
    u = uniform(torch.tensor([3]), 0, (200_000,))[0]
    for theta in (-2.0, 0.3, 1.5):
        share = (sample(torch.tensor(theta), u, sampler=sampler, temperature=0.4) > 0.5).float().mean()
        assert abs(float(share) - float(read_out(torch.tensor(theta)))) < 0.005


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradients_agree_with_finite_differences(sampler, temperature):
    theta = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    u = torch.linspace(0.1, 0.9, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: sample(t, u, sampler=sampler, temperature=temperature), theta)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_extreme_logits_stay_finite_in_float32(sampler, temperature):
    theta = torch.linspace(-200, 200, 801, requires_grad=True)
    u = uniform(torch.tensor([5]), 0, (801,))[0]
    z = sample(theta, u, sampler=sampler, temperature=temperature)
    (gradient,) = torch.autograd.grad(z.sum(), theta)
    assert torch.isfinite(z).all()
    assert torch.isfinite(gradient).all()


def test_only_the_original_formula_saturates():
    theta = torch.tensor([20.0], requires_grad=True)
    # Noise that pulls the sample back to one half: there the true gradient is largest.
    u = torch.sigmoid(torch.tensor([-20.0], dtype=torch.float64)).float()
    gradients = {}
    for sampler in SAMPLERS:
        z = sample(theta, u, sampler=sampler, temperature=1.0)
        (gradients[sampler],) = torch.autograd.grad(z.sum(), theta)
    assert float(gradients["original"]) == 0
    assert float(gradients["simplified"]) == pytest.approx(0.25, abs=0.01)


def test_unknown_sampler_lists_the_known():
    with pytest.raises(SettingsError, match="simplified, original"):
        sample(torch.zeros(1), torch.full((1,), 0.5), sampler="gumbel")


def test_noise_is_uniform_and_independent():
    u = uniform(torch.tensor([0, 1, 2]), 7, (50_000,)).double()
    assert 0 < float(u.min()) < float(u.max()) < 1
    for row in u:
        assert stats.kstest(row.numpy(), "uniform").pvalue > 1e-3
        lagged = torch.corrcoef(torch.stack([row[1:], row[:-1]]))[0, 1]
        assert abs(float(lagged)) < 0.02
    between = torch.corrcoef(u) - torch.eye(3, dtype=torch.float64)
    assert float(between.abs().max()) < 0.02
    steps = torch.stack([uniform(torch.tensor([0]), counter, (5_000,))[0].double() for counter in range(4)])
    assert float((torch.corrcoef(steps) - torch.eye(4, dtype=torch.float64)).abs().max()) < 0.06


@pytest.mark.parametrize("counter", [0, 1, 7, -(1 << 40), 2**62, -(2**63)])
def test_a_counter_is_a_number_or_a_tensor(counter):
    key = torch.tensor([9, -5])
    assert torch.equal(uniform(key, counter, (50,)), uniform(key, torch.tensor([counter, counter]), (50,)))


def test_neighbouring_counters_share_no_noise():
    # A counter that only shifts the stream would repeat the numbers of one step in the next.
    first, second = (uniform(torch.tensor([9]), counter, (2_000,))[0] for counter in (0, 1))
    assert len(set(first.tolist()) & set(second.tolist())) < 5


def test_noise_belongs_to_the_image_not_to_the_batch():
    keys = image_keys(0, ["a.jpg", "b.jpg", "c.jpg"])
    together = uniform(keys, torch.tensor([4, 5, 6]), (2, 3))
    alone = uniform(keys[1:2], 5, (2, 3))
    assert torch.equal(together[1:2], alone)
    assert image_keys(0, ["a.jpg"]) != image_keys(1, ["a.jpg"])
    assert len(set(keys.tolist())) == 3


@pytest.mark.parametrize("samples", [1, 2, 3, 8])
def test_antithetic_pairs_sum_to_one(samples):
    u = antithetic_uniform(torch.tensor([1, 2]), 0, (2, samples, 4, 4))
    assert u.shape == (2, 2, samples, 4, 4)
    half = (samples + 1) // 2
    pairs = samples // 2
    torch.testing.assert_close(u[:, :, half:], 1 - u[:, :, :pairs], atol=0, rtol=0)
    assert torch.unique(u[:, :, :half]).numel() == 2 * 2 * half * 16
