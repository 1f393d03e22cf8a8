"""Effects: additive classifiers whose effects are known, and standard errors that are right."""

from __future__ import annotations

import pytest
import torch
from nets import conv_net, photographs
from torch import nn

import fidokit as fk
from fidokit import testbed
from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import image_keys
from fidokit.methods.effect import CELLS, SIDE, effects, reconstruct, windows

SIZE = (40, 40)
FLAT = {"start": "flat", "steps": 1, "area": 0.0, "total_variation": 0.0}


class Patches(nn.Module):
    """Class 0: 4 x the brightness of the upper left 16 x 16 pixels, less 2 x that of the lower right."""

    def forward(self, x):
        value = 4 * x[:, :, :16, :16].mean((1, 2, 3)) - 2 * x[:, :, -16:, -16:].mean((1, 2, 3))
        return torch.stack([value, torch.zeros_like(value)], 1)


def patches():
    return fk.Classifier(Patches(), ["one", "other"], mean=(0, 0, 0), std=(1, 1, 1), size=SIZE, precision="float32")


def white_patches():
    images = torch.full((1, 3, *SIZE), 0.0)
    images[..., :16, :16] = 1
    images[..., -16:, -16:] = 1
    return images


def small_net():
    return fk.Classifier(conv_net(), size=(32, 32), precision="float32", micro_batch=16)


def test_an_additive_classifier_has_its_effects_where_they_are_signed_and_in_its_units():
    masks = fk.explain(patches(), white_patches(), "fido", targets=0, infill="zeros", windows=7, **FLAT)
    assert list(masks.kinds) == ["ssr", "sdr", "joint", "effect"]
    effect, error = masks.raw[0]
    assert effect.shape == error.shape == (28, 28)
    assert float(effect[:11, :11].sum()) == pytest.approx(4, abs=0.5)
    assert float(effect[-11:, -11:].sum()) == pytest.approx(-2, abs=0.5)
    assert float(masks["effect"][0, :11, :11].mean()) > 0.5
    assert float(masks["effect"][0, -11:, -11:].max()) < 0.1
    assert (error >= 0).all()


def test_a_classifier_that_ignores_the_image_has_no_effects():
    class Blind(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)) * 0 + 1, x.mean((1, 2, 3)) * 0], 1)

    model = fk.Classifier(Blind(), ["a", "b"], size=SIZE, precision="float32")
    masks = fk.explain(model, photographs(1, SIZE), "fido")
    assert not masks.raw.any()
    assert not masks["effect"].any()


@pytest.mark.long
def test_the_standard_errors_are_right(tmp_path):
    """95 % intervals hold the effect of 100 times the windows in 90 to 98 % of the cells."""
    torch.set_num_threads(1)
    model = testbed.classifier()
    model.precision, model.micro_batch = "float32", 52
    data = testbed.load(2, seed=3, folder=tmp_path)
    images = torch.stack([data.load(i, model.preprocessing)[0] for i in range(2)])
    raw = torch.stack([fk.explain(model, images, "fido", seed=seed).raw for seed in range(100)])
    effect, error = raw[:, :, 0], raw[:, :, 1]
    held = (effect - effect.mean(0)).abs() <= 1.96 * error
    assert 0.90 <= float(held.float().mean()) <= 0.98
    large = effect.mean(0).abs() > effect.mean(0).abs().flatten(1).quantile(0.8, 1)[:, None, None]
    assert 0.85 <= float(held[:, large].float().mean()) <= 0.99


def test_windows_cover_the_image_evenly_and_differ_by_image():
    one, other = (windows(key[None], 5)[0] for key in image_keys(0, ["a", "b"]))
    assert one.shape == (25, 20, 20)
    assert torch.equal(one, windows(image_keys(0, ["a"]), 5)[0])
    assert not torch.equal(one, other)
    cover = windows(image_keys(0, map(str, range(200))), 5).sum(1).mean(0)
    inner = cover[2 * CELLS : -2 * CELLS, 2 * CELLS : -2 * CELLS]
    assert float(inner.mean()) == pytest.approx(SIDE**2, rel=0.05)
    assert float(inner.amax() / inner.amin()) < 1.25
    assert cover.amin() >= 1


def additive(strata=7):
    """Windows of one image, and what they cost where effects add up; the effects."""
    region = windows(image_keys(0, ["a"]), strata)
    truth = torch.zeros(1, strata * CELLS, strata * CELLS)
    truth[:, 4:8, 4:8], truth[:, 18:22, 10:16] = 0.1, -0.05
    return region, truth, (region * truth[:, None]).sum((2, 3))


def test_reconstruct_gives_back_effects_that_add_up():
    region, truth, drop = additive()
    gradient = truth.abs()[:, None].expand_as(region)
    found = reconstruct(region, gradient, drop, truth.abs(), 40)[0]
    torch.testing.assert_close(found[4:8, 4:8].sum(), truth[0, 4:8, 4:8].sum(), rtol=0.1, atol=0)
    torch.testing.assert_close(found[18:22, 10:16].sum(), truth[0, 18:22, 10:16].sum(), rtol=0.1, atol=0)
    assert float((found - truth[0]).abs().max()) < 0.05
    # More sweeps agree better with what was measured.
    missed = []
    for sweeps in (0, 8):
        found = reconstruct(region, gradient, drop, torch.zeros_like(truth), sweeps)
        missed.append(float((drop - (region * found[:, None]).sum((2, 3))).abs().mean()))
    assert missed[1] < 0.5 * missed[0]


def test_a_prior_that_says_it_all_is_only_scaled():
    """With the right shape to start from nothing is missing: any sweep leaves it as it is."""
    region, truth, drop = additive()
    shape = truth.clamp(min=0)
    found = reconstruct(region, torch.rand_like(region), (region * shape[:, None]).sum((2, 3)), 17 * shape, 5)
    torch.testing.assert_close(found, shape, rtol=1e-4, atol=1e-6)
    # What no window agrees with is scaled away, not turned round.
    assert float(reconstruct(region, torch.zeros_like(region), -drop.abs(), shape, 0).max()) <= 0


def test_without_gradient_and_prior_a_window_is_shared_out_evenly():
    region = torch.zeros(1, 1, 4, 4)
    region[..., :2, :2] = 1
    found = reconstruct(region, torch.zeros_like(region), torch.tensor([[2.0]]), torch.zeros(1, 4, 4), 0)
    torch.testing.assert_close(found, region[:, 0] * 0.5)


def test_effects_of_several_images_are_those_of_each():
    region = windows(image_keys(0, ["a", "b", "c"]), 5)
    generator = torch.Generator().manual_seed(0)
    gradient, prior = torch.randn(region.shape, generator=generator), torch.rand(3, 20, 20, generator=generator)
    drop = torch.randn(3, 25, generator=generator)
    together = effects(region, gradient, drop, prior)
    for i in range(3):
        rows = slice(i, i + 1)
        torch.testing.assert_close(effects(region[rows], gradient[rows], drop[rows], prior[rows]), together[rows])


def test_no_image_depends_on_its_neighbours_or_the_micro_batch():
    model = small_net()
    images = photographs(3, (32, 32))
    together = fk.explain(model, images, "fido")
    model.micro_batch = 7
    alone = fk.explain(model, images[1:2], "fido")
    torch.testing.assert_close(alone.raw[0], together.raw[1], rtol=1e-3, atol=1e-4)


def test_the_windows_are_the_same_whatever_is_explained():
    """Two classes of one image are compared under the same damage: the drops of a class and its negative cancel."""
    both = [fk.explain(patches(), white_patches(), "fido", targets=[k], explained="log-odds", **FLAT) for k in (0, 1)]
    torch.testing.assert_close(both[0].raw[:, 0].sum(), -both[1].raw[:, 0].sum(), rtol=0.35, atol=0.1)


def test_evaluations_are_counted():
    model = small_net()
    with model.session():
        fk.explain(model, photographs(1, (32, 32)), "fido", steps=1)  # what is looked up once a classifier
        before = model.counter.evaluations
        masks = fk.explain(model, photographs(2, (32, 32)), "fido", tolerance=0.0)
        spent = model.counter.evaluations - before
    assert masks.evaluations.tolist() == [1 + 1 + 26 + 24 + 8] * 2
    assert spent == 120


def test_without_windows_there_are_no_effects():
    masks = fk.explain(small_net(), photographs(1, (32, 32)), "fido", windows=0, tolerance=0.0)
    assert list(masks.kinds) == ["ssr", "sdr", "joint"] == list(fk.FidoSettings(windows=0).kinds())
    assert masks.raw is None
    assert masks.evaluations.tolist() == [1 + 1 + 24 + 6]


def test_what_is_stopped_on_its_way_has_effects_too():
    seen = []
    masks = fk.explain(
        small_net(), photographs(3, (32, 32)), "fido", check_every=1, on_progress=lambda s: seen.append(s) or True
    )
    assert len(masks)
    assert torch.isfinite(masks.raw).all()
    assert seen[0].total == 3 * (1 + 26 + 24)
    assert seen[0].masks["effect"].shape[-2:] == (20, 20)


def by_halves(images, kept):
    return images / 2


@pytest.mark.parametrize("infill", ["inpaint", "shuffle", ("dominant", ("shuffle", 2.0), "inpaint"), by_halves])
def test_windows_are_filled_in_by_any_infill(infill):
    masks = fk.explain(patches(), photographs(1, SIZE), "fido", infill=infill)
    assert torch.isfinite(masks.raw).all()


def test_a_function_fills_in_what_the_windows_drop():
    """Half of the brightness stays, and half of the effect."""
    whole, half = (
        fk.explain(patches(), white_patches(), "fido", targets=0, infill=infill, **FLAT).raw[0, 0, :8, :8].sum()
        for infill in ("zeros", by_halves)
    )
    torch.testing.assert_close(half, whole / 2, rtol=0.05, atol=0)


@pytest.mark.parametrize("wrong", [{"windows": 2}, {"windows": -1}, {"windows": 7.5}, {"windows": True}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError, match="windows"):
        fk.FidoSettings(**wrong)


def test_ctrl_c_while_effects_are_computed_loses_nothing(monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return effects(*arguments)

    monkeypatch.setattr("fidokit.methods.fido.effects", interrupted)
    masks = fk.explain(small_net(), photographs(3, (32, 32)), "fido", steps=2, tolerance=0.0)
    assert masks.finished.tolist() == [True, False, False]
    assert torch.isfinite(masks.raw).all()
