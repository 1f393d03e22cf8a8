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
from fidokit.methods.effect import CELLS, EffectSettings, reconstruct, windows
from fidokit.methods.layers import needs_gradient

SIZE = (56, 56)


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


def test_an_additive_classifier_has_its_effects_where_they_are_signed_and_in_its_units():
    masks = fk.explain(patches(), white_patches(), "effect", targets=0)
    assert list(masks.kinds) == ["effect"]
    effect, error = masks.raw[0]
    assert effect.shape == error.shape == (28, 28)
    assert float(effect[:8, :8].sum()) == pytest.approx(4, abs=0.5)
    assert float(effect[-8:, -8:].sum()) == pytest.approx(-2, abs=0.5)
    assert float(effect[10:18, 10:18].abs().sum()) < 0.3
    assert float(masks["effect"][0, :8, :8].mean()) > 0.5
    assert float(masks["effect"][0, -8:, -8:].max()) == 0
    assert (error >= 0).all()


def test_a_classifier_that_ignores_the_image_has_no_effects():
    class Blind(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)) * 0 + 1, x.mean((1, 2, 3)) * 0], 1)

    model = fk.Classifier(Blind(), ["a", "b"], size=SIZE, precision="float32")
    masks = fk.explain(model, photographs(1, SIZE), "effect")
    assert not masks.raw.any()
    assert not masks["effect"].any()


@pytest.mark.long
def test_the_standard_errors_are_right(tmp_path):
    """95 % intervals hold the effect of 30 times the windows in 90 to 98 % of the cells."""
    torch.set_num_threads(1)
    model = testbed.classifier()
    model.precision, model.micro_batch = "float32", 50
    data = testbed.load(2, seed=3, folder=tmp_path)
    images = torch.stack([data.load(i, model.preprocessing)[0] for i in range(2)])
    raw = torch.stack([fk.explain(model, images, "effect", seed=seed).raw for seed in range(30)])
    effect, error = raw[:, :, 0], raw[:, :, 1]
    # Each estimate is itself a thirtieth of the mean.
    held = (effect - effect.mean(0)).abs() <= 1.96 * error
    assert 0.90 <= float(held.float().mean()) <= 0.98
    large = effect.mean(0).abs() > effect.mean(0).abs().flatten(1).quantile(0.8, 1)[:, None, None]
    assert 0.85 <= float(held[:, large].float().mean()) <= 0.99


def test_windows_cover_the_image_evenly_and_differ_by_image():
    settings = EffectSettings()
    one, other = (windows(key[None], settings) for key in image_keys(0, ["a", "b"]))
    assert one.shape == (49, 28, 28)
    assert torch.equal(one, windows(image_keys(0, ["a"]), settings))
    assert not torch.equal(one, other)
    cover = torch.stack([windows(key[None], settings).sum(0) for key in image_keys(0, map(str, range(200)))]).mean(0)
    inner = cover[2 * CELLS : -2 * CELLS, 2 * CELLS : -2 * CELLS]
    assert float(inner.mean()) == pytest.approx(settings.side**2, rel=0.05)
    assert float(inner.amax() / inner.amin()) < 1.25
    assert cover.amin() >= 1


def test_reconstruct_gives_back_effects_that_add_up():
    region = windows(image_keys(0, ["a"]), EffectSettings())
    truth = torch.zeros(28, 28)
    truth[4:8, 4:8], truth[18:22, 10:16] = 0.1, -0.05
    drop = (region * truth).sum((1, 2))
    gradient = truth.abs().expand_as(region)
    found = reconstruct(region, gradient, drop, 40)
    torch.testing.assert_close(found[4:8, 4:8].sum(), truth[4:8, 4:8].sum(), rtol=0.1, atol=0)
    torch.testing.assert_close(found[18:22, 10:16].sum(), truth[18:22, 10:16].sum(), rtol=0.1, atol=0)
    assert float((found - truth).abs().max()) < 0.05
    # More sweeps agree better with what was measured.
    missed = [
        float((drop - (region * reconstruct(region, gradient, drop, n)).sum((1, 2))).abs().mean()) for n in (0, 8)
    ]
    assert missed[1] < 0.5 * missed[0]


def test_without_a_gradient_a_window_is_shared_out_evenly():
    region = torch.zeros(1, 4, 4)
    region[:, :2, :2] = 1
    found = reconstruct(region, torch.zeros_like(region), torch.tensor([2.0]), 0)
    torch.testing.assert_close(found, region[0] * 0.5)


def test_no_image_depends_on_its_neighbours_or_the_micro_batch():
    model = fk.Classifier(conv_net(), size=(32, 32), precision="float32", micro_batch=16)
    images = photographs(3, (32, 32))
    together = fk.explain(model, images, "effect")
    model.micro_batch = 7
    alone = fk.explain(model, images[1:2], "effect")
    torch.testing.assert_close(alone.raw[0], together.raw[1], rtol=1e-3, atol=1e-4)


def test_evaluations_are_counted():
    model = fk.Classifier(conv_net(), size=(32, 32), precision="float32", micro_batch=16)
    with model.session():
        needs_gradient(model)  # looked up once a classifier
        before = model.counter.evaluations
        masks = fk.explain(model, photographs(2, (32, 32)), "effect")
        spent = model.counter.evaluations - before
    assert masks.evaluations.tolist() == [50 + 1 + 2] * 2
    assert spent == 106


def test_stopping_keeps_what_is_finished():
    model = fk.Classifier(conv_net(), size=(32, 32), precision="float32", micro_batch=16)
    seen = []
    masks = fk.explain(
        model, photographs(3, (32, 32)), "effect", on_progress=lambda s: seen.append(s) or len(seen) == 2
    )
    assert len(masks) == 2
    assert seen[0].total == 150
    assert seen[1].masks["effect"].shape == (1, 28, 28)


@pytest.mark.parametrize("infill", ["inpaint", "shuffle", ("dominant", ("shuffle", 2.0), "inpaint")])
def test_other_infills_take_turns(infill):
    masks = fk.explain(patches(), photographs(1, SIZE), "effect", infill=infill)
    assert torch.isfinite(masks.raw).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"windows": 2},
        {"side": 0},
        {"side": 8},
        {"sweeps": -1},
        {"infill": "fog"},
        {"explained": "odds"},
        {"windows": 7.5},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingsError):
        EffectSettings(**wrong)
