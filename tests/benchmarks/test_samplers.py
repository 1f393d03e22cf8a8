from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from nets import conv_net, photographs
from sampler_study import (
    Moments,
    _states,
    grids,
    mask_quality,
    noise_table,
    sampler_quality,
    sampler_study,
    squared_mean,
)
from scipy import integrate
from torch import nn

import fidokit as fk
from fidokit.methods import identities
from fidokit.methods.concrete import image_keys, read_out, sample, uniform
from fidokit.methods.optimiser import Optimiser
from fidokit.study.metrics.curves import insertion_and_deletion
from fidokit.study.metrics.localisation import coherence, pixel_average_precision
from fidokit.study.metrics.panel import mosaic

SIZE = 16

pytestmark = pytest.mark.usefixtures("quick")


class Brightness(nn.Module):
    """A single logit, linear in the image: 5 times its mean; NaN for an image that is black all over."""

    def __init__(self, gain: float = 5.0, black: float = torch.nan) -> None:
        super().__init__()
        self.gain, self.black = gain, black

    def forward(self, x):
        logit = self.gain * x.mean(dim=(1, 2, 3))[:, None]
        return torch.where((x == 0).flatten(1).all(1)[:, None], self.black, logit)


def make_classifier(module=None, size=SIZE, **options) -> fk.Classifier:
    options = {"precision": "float32", "micro_batch": 64, "device": "cpu"} | options
    return fk.Classifier(module or Brightness(), mean=(0, 0, 0), std=(1, 1, 1), size=(size, size), **options)


def settings(**overrides) -> fk.FidoSettings:
    return fk.FidoSettings(
        **({"grid": 1, "infill": "zeros", "start": "flat", "antithetic": False, "tolerance": 0.0} | overrides)
    )


def study(classifier, images, base, **options) -> pd.DataFrame:
    return sampler_study(classifier, images, settings={"one": base}, **({"steps": (0,), "logits": ()} | options))


def slope_moments(theta: float, temperature: float) -> tuple[float, float]:
    """Mean and variance of dz/dtheta of a relaxed sample, by integration over logistic noise."""

    def slope(x: float) -> float:
        z = 1 / (1 + math.exp(-(theta + x) / temperature))
        return z * (1 - z) / temperature

    def density(x: float) -> float:
        return math.exp(-abs(x)) / (1 + math.exp(-abs(x))) ** 2

    def moment(power: int) -> float:
        return integrate.quad(lambda x: slope(x) ** power * density(x), -30, 30, points=[-theta], limit=500)[0]

    mean, square = moment(1), moment(2)
    return mean, square - mean**2


def test_the_integral_is_right_where_it_is_known():
    # At theta = 0 and t = 1 the sample is u itself: its slope u (1 - u) has the mean 1/6 and the variance 1/180.
    assert slope_moments(0.0, 1.0) == pytest.approx((1 / 6, 1 / 180))


@pytest.mark.parametrize(("logit", "temperature"), [(0.0, 1.0), (0.0, 0.1), (2.0, 1.0)])
def test_noise_of_a_linear_classifier_is_the_closed_form(logit, temperature):
    # One cell, linear score: the gradient of either kind is a constant times the mean slope of the samples.
    rows = study(
        # At a low temperature some samples drop everything.
        make_classifier(Brightness(black=0.0), micro_batch=1000),
        torch.ones(1, 3, SIZE, SIZE),
        settings(),
        temperatures=[temperature],
        samples=[1, 4],
        logits=[logit] if logit else (),
        draws=3000,
    )
    rows = rows[rows["state"] == (f"logit {logit:g}" if logit else "step 0")]
    mean, variance = slope_moments(-logit, temperature)
    for row in rows.itertuples():
        assert row.noise == pytest.approx(math.sqrt(variance / row.samples) / mean, rel=0.06)
        assert row.evaluations == 2 * row.samples
        assert row.variance_per_evaluation == pytest.approx(row.noise**2 * row.evaluations)
    assert set(rows["sampler"]) == {"original", "simplified"}


def test_at_equal_temperature_both_formulas_are_the_same_until_they_saturate():
    rows = study(
        make_classifier(conv_net(), 32), photographs(2), settings(grid=4, infill="blur"), steps=(0, 3), samples=[1, 8]
    )
    both = rows.pivot_table("noise", ["image_id", "state", "temperature", "samples"], "sampler")
    assert len(both) == 2 * 2 * 2 * 2
    np.testing.assert_allclose(both["original"], both["simplified"], rtol=1e-3)


def gaussian_moments(mean: np.ndarray, spread: float, repetitions: int, generator) -> Moments:
    draws = generator.normal(mean, spread, (repetitions, len(mean)))
    return Moments(draws.mean(0), float(draws.var(0, ddof=1).sum()), repetitions, 0.0, 0.0, 0.0)


def test_the_squared_mean_is_unbiased_where_noise_dominates():
    generator = np.random.default_rng(0)
    mean = np.full(50, 0.1)
    estimates, naive = [], []
    for _ in range(2000):
        moments = {1: gaussian_moments(mean, 2.0, 8, generator), 4: gaussian_moments(mean, 1.0, 4, generator)}
        estimates.append(squared_mean(moments)[0])
        naive.append(float(np.square(moments[1].mean).sum()))
    truth = 50 * 0.1**2
    assert np.mean(estimates) == pytest.approx(truth, abs=4 * np.std(estimates) / math.sqrt(2000))
    assert np.mean(naive) > 10 * truth


def test_what_noise_adds_to_the_squared_mean_is_taken_off():
    moments = {
        1: Moments(np.array([3.0, 4.0]), 8.0, 4, 0.0, 0.0, 0.0),
        4: Moments(np.array([1.0, 0.0]), 2.0, 3, 0.0, 0.0, 0.0),
    }
    # 4 and 12 samples: weights 1/4 and 3/4, so the mean is (1.5, 1) with a variance of (8 / 4) / 16 + (2 / 3) 9 / 16.
    assert squared_mean(moments) == pytest.approx((3.25 - 0.5, 0.5))


def test_a_gradient_made_by_single_draws_has_no_mean_to_tell():
    # At 20 against noise of t = 0.1 all but one draw in millions give no gradient at all.
    rows = study(
        make_classifier(), torch.ones(1, 3, SIZE, SIZE), settings(grid=4), logits=(20.0,), temperatures=[0.1]
    ).query("state == 'logit 20'")
    assert rows["noise"].isna().all()


def test_a_positive_logit_of_20_saturates_the_original_formula_wholly():
    grid = 16
    rows = study(
        make_classifier(),
        torch.ones(1, 3, SIZE, SIZE),
        # An area that costs nothing makes masks rise: all cells of the SSR are kept, none of the SDR's is dropped.
        settings(grid=grid, area=0.0, total_variation=0.0, lr=1.0),
        steps=(5,),
        logits=(20.0,),
        temperatures=[1.0],
        samples=[1, 4],
        draws=64,
    ).query("state == 'logit 20'")
    shares = rows.set_index(["sampler", "samples"])["zero_share_positive"]
    assert shares["original"].tolist() == [1.0, 1.0]
    # float32 keeps the slope of a sample only below 1 - 2^-24; a second count, with noise of its own.
    u = uniform(torch.tensor([7]), 0, (200_000,))[0]
    theta = torch.full_like(u, 20.0).requires_grad_(True)
    sample(theta, u).sum().backward()
    zero = float((theta.grad == 0).float().mean())
    assert 0.5 < zero < 1
    assert shares["simplified", 1] == pytest.approx(zero, abs=0.01)
    assert shares["simplified", 4] == pytest.approx(zero**4, abs=0.02)
    assert (rows["non_finite_share"] == 0).all()


def test_negative_logits_do_not_saturate_at_temperature_one():
    rows = study(
        make_classifier(), torch.ones(1, 3, SIZE, SIZE), settings(grid=4), logits=(20.0,), temperatures=[1.0]
    ).query("state == 'logit 20'")
    # A logit of exactly 0 goes down, so no cell is positive.
    assert (rows["zero_share"] == 0).all()
    assert rows["zero_share_positive"].isna().all()


def test_a_classifier_without_gradient_has_no_noise_to_tell():
    rows = study(make_classifier(Brightness(0.0)), torch.ones(1, 3, SIZE, SIZE), settings(grid=2), samples=[2])
    assert rows["noise"].isna().all()
    assert (rows["zero_share"] == 1).all()
    table = noise_table(rows)
    assert (table["n"] == 0).all()
    assert table["noise"].isna().all()
    assert (table["zero_share"] == 1).all()


def test_states_are_those_of_the_optimiser():
    classifier, images = make_classifier(conv_net(), 32), photographs(1)
    base = settings(grid=4, infill="blur", lr_end=1.0, steps=6)
    name = identities(images)[0]
    with classifier.session() as session:
        goal = classifier.goal(session.logits(images))
        optimiser = Optimiser(session, base, goal)
        slots = optimiser.fill(images, image_keys(base.seed, [name]), goal, None)
        states = dict(_states(optimiser, slots, (0, 6), (8.0,)))
        assert (slots.theta == 0).all()
    assert list(states) == ["step 0", "step 6", "logit 8"]
    assert (states["step 0"] == 0).all()
    masks = fk.explain(classifier, images, settings=base)
    reached = read_out(states["step 6"])
    torch.testing.assert_close(reached, torch.stack([masks.ssr, masks.sdr], 1), atol=1e-5, rtol=0)
    assert (states["logit 8"].abs() == 8).all()
    assert (states["logit 8"].sign() == states["step 6"].sign()).all()


def test_the_study_is_complete_and_an_image_does_not_depend_on_the_others():
    rows = sampler_study(
        make_classifier(conv_net(), 32),
        photographs(2),
        settings={"fine": settings(grid=None, infill="blur"), "coarse": settings(grid=4, infill="blur")},
        samples=[1, 2],
        steps=(0,),
        draws=4,
        image_ids=["a", "b"],
    )
    assert len(rows) == 2 * 2 * 3 * 2 * 2 * 2
    assert not rows.duplicated(["image_id", "grid", "state", "sampler", "temperature", "samples"]).any()
    assert rows["image_id"].unique().tolist() == ["a", "b"]
    assert rows["state"].unique().tolist() == ["step 0", "logit 8", "logit 20"]
    again = sampler_study(
        make_classifier(conv_net(), 32),
        photographs(2)[1:],
        settings={"coarse": settings(grid=4, infill="blur")},
        samples=[1, 2],
        steps=(0,),
        draws=4,
        image_ids=["b"],
    )
    alone = rows[(rows["image_id"] == "b") & (rows["grid"] == "coarse")].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, alone, rtol=1e-3)


def test_the_two_grids_differ_from_the_published_settings_in_the_grid_and_what_follows_from_it():
    fine, coarse = grids().values()
    assert fine == fk.FidoSettings.published()
    assert (coarse.grid, coarse.start, coarse.antithetic) == (20, "flat", False)


def noise_rows(noise, images=("a", "b", "c", "d")) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "image_id": image, "grid": "g", "state": "step 0", "sampler": sampler, "temperature": t,
                "samples": count, "noise": noise(i, sampler, t, count),
                "variance_per_evaluation": noise(i, sampler, t, count) ** 2 * 2 * count,
                "zero_share": 0.1 * i, "zero_share_positive": math.nan, "non_finite_share": 0.0,
            }
            for i, image in enumerate(images)
            for sampler in ("original", "simplified")
            for t in (0.1, 1.0)
            for count in (1, 4)
        ]
    )  # fmt: skip


def test_noise_table_holds_geometric_means_with_intervals():
    table = noise_table(noise_rows(lambda i, _s, t, count: 2.0**i / t / math.sqrt(count)))
    assert len(table) == 2 * 2 * 2
    row = table[(table["sampler"] == "original") & (table["temperature"] == 0.1) & (table["samples"] == 4)].iloc[0]
    assert row["noise"] == pytest.approx(2**1.5 * 10 / 2)
    assert row["variance_per_evaluation"] == pytest.approx(2**3 * 100 * 2)
    assert row["evaluations"] == 8
    assert row["n"] == 4
    assert 10 / 2 <= row["noise_low"] < row["noise"] < row["noise_high"] <= 2**3 * 10 / 2
    assert row["zero_share"] == pytest.approx(0.15)
    assert row["zero_share_low"] < 0.15 < row["zero_share_high"]
    assert math.isnan(row["zero_share_positive"])


def test_mask_quality_is_that_of_the_measures():
    classifier, images = make_classifier(conv_net(), 32), photographs(3)
    objects = torch.zeros(3, 32, 32, dtype=torch.bool)
    objects[:, 8:20, 8:20] = True
    quick = fk.FidoSettings(steps=3, grid=4, start="flat")
    table = mask_quality(
        classifier, images, {"quick": ("fido", quick), "saliency": "saliency"},
        objects=objects, image_ids=["a", "b", "c"],
    )  # fmt: skip
    assert table[["method", "kind"]].drop_duplicates().to_numpy().tolist() == [
        ["quick", "joint"], ["saliency", "attribution"],
    ]  # fmt: skip
    assert table["image_id"].tolist() == ["a", "b", "c"] * 2
    masks = fk.explain(classifier, images, settings=quick)
    own = table[table["method"] == "quick"]
    with classifier.session() as session:
        goal = classifier.goal(session.logits(images))
        expected = insertion_and_deletion(session, images, goal, masks.joint, mosaic((32, 32))[None])
    np.testing.assert_allclose(own["insertion"], expected[0], atol=1e-5)
    np.testing.assert_allclose(own["deletion"], expected[1], atol=1e-5)
    np.testing.assert_allclose(own["average_precision"], pixel_average_precision(masks.joint, objects))
    np.testing.assert_allclose(own["total_variation"], coherence(masks.at("joint")))
    assert own["evaluations"].tolist() == masks.evaluations.tolist()


def test_an_image_without_a_mask_has_no_row():
    images = torch.ones(3, 3, SIZE, SIZE)
    images[1] = 0
    table = mask_quality(
        make_classifier(), images, {"quick": ("fido", settings(grid=2, infill="mean", steps=2))}, kinds=["ssr", "sdr"],
        image_ids=["a", "b", "c"],
    )  # fmt: skip
    assert table["image_id"].tolist() == ["a", "c"] * 2
    assert table["kind"].tolist() == ["ssr", "ssr", "sdr", "sdr"]
    assert "average_precision" not in table


def test_sampler_quality_names_its_settings_and_spends_evaluations_alike():
    classifier, images = make_classifier(conv_net(), 32), photographs(2)
    base = settings(grid=4, infill="blur", steps=3)
    table = sampler_quality(
        classifier, images, settings={"4 x 4": base}, samplers=["simplified"], temperatures=[1.0], samples=[2, 8],
        evaluations=32,
    )  # fmt: skip
    assert table.groupby("samples")["steps"].first().to_dict() == {2: 8, 8: 2}
    assert len(set(table["evaluations"])) == 1
    assert table["method"].unique().tolist() == [
        "4 x 4, simplified, t = 1, 2 samples", "4 x 4, simplified, t = 1, 8 samples",
    ]  # fmt: skip
    as_set = sampler_quality(
        classifier, images, settings={"4 x 4": base}, samplers=["original"], temperatures=[0.1], samples=[2],
    )  # fmt: skip
    assert as_set["steps"].unique().tolist() == [3]
