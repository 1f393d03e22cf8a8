from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from paper_claims import (
    finer_and_more_coherent,
    judge_claim,
    noise_gain,
    saturation,
    small_mini_batches,
    verdict,
)

FEW, MANY = ("2 samples", "joint"), ("16 samples", "joint")


def quality(gain, metric="insertion", n=20, **more) -> pd.DataFrame:
    """Two methods over n images; `gain` says by how much the first is higher on each."""
    level = np.linspace(0.2, 0.8, n)
    gains = np.broadcast_to(gain, n)
    rows = []
    for i in range(n):
        for method, value in ((FEW[0], level[i] + gains[i]), (MANY[0], level[i])):
            rows.append({"image_id": str(i), "method": method, "kind": "joint", metric: value, "photograph": i // 2})
    return pd.DataFrame(rows).assign(**more)


def spread(mean: float, n: int = 20, size: float = 0.02) -> np.ndarray:
    values = np.random.default_rng(0).normal(0, size, n)
    return values - values.mean() + mean


@pytest.mark.parametrize(
    ("low", "high", "threshold", "expected"),
    [
        (0.001, 0.2, 0.0, "supported"),
        (0.0, 0.2, 0.0, "not supported"),
        (-0.1, 0.2, 0.0, "not supported"),
        (-0.2, 0.0, 0.0, "not supported"),
        (-0.2, -0.001, 0.0, "contradicted"),
        (-0.0299, 0.1, -0.03, "supported"),
        (-0.03, 0.1, -0.03, "not supported"),
        (-0.2, -0.03, -0.03, "not supported"),
        (-0.2, -0.031, -0.03, "contradicted"),
        (math.nan, math.nan, 0.0, "not supported"),
    ],
)
def test_verdicts_at_their_boundaries(low, high, threshold, expected):
    assert verdict(low, high, threshold) == expected


@pytest.mark.parametrize(
    ("gain", "expected"), [(0.0, "supported"), (-0.01, "supported"), (-0.03, "not supported"), (-0.06, "contradicted")]
)
def test_small_mini_batches_may_lose_the_margin_and_no_more(gain, expected):
    (row,) = small_mini_batches(quality(spread(gain)), FEW, MANY).to_dict("records")
    assert row["verdict"] == expected
    assert row["metric"] == "insertion"
    assert row["gain"] == pytest.approx(gain, abs=1e-12)
    assert row["low"] < gain < row["high"]
    assert row["threshold"] == -0.03


def test_a_smaller_margin_is_harder_to_meet():
    table = quality(spread(-0.02))
    assert small_mini_batches(table, FEW, MANY, margin=0.05)["verdict"].tolist() == ["supported"]
    assert small_mini_batches(table, FEW, MANY, margin=0.0)["verdict"].tolist() == ["contradicted"]


def test_where_less_is_better_less_is_a_gain():
    (row,) = judge_claim(quality(spread(-0.1), "deletion"), "c", FEW, MANY, "deletion").to_dict("records")
    assert (row["gain"], row["verdict"]) == (pytest.approx(0.1), "supported")
    assert 0 < row["low"] < 0.1 < row["high"]
    assert row["first_mean"] == pytest.approx(row["second_mean"] - 0.1)
    (row,) = judge_claim(quality(spread(0.1), "deletion"), "c", FEW, MANY, "deletion").to_dict("records")
    assert (row["gain"], row["verdict"]) == (pytest.approx(-0.1), "contradicted")


def test_copies_of_a_photograph_are_one_unit_of_a_claim():
    (row,) = judge_claim(quality(spread(0.05)), "c", FEW, MANY, "insertion", unit="photograph").to_dict("records")
    assert (row["n"], row["units"]) == (20, 10)


@pytest.mark.parametrize("n", [1, 5])
def test_few_pairs_are_too_few_however_clear_they_are(n):
    (row,) = judge_claim(quality(0.5, n=n), "c", FEW, MANY, "insertion").to_dict("records")
    assert row["verdict"] == "not supported"
    assert judge_claim(quality(0.5, n=6), "c", FEW, MANY, "insertion")["verdict"].tolist() == ["supported"]
    copies = judge_claim(quality(0.5, n=10), "c", FEW, MANY, "insertion", unit="photograph")
    assert (copies["units"].tolist(), copies["verdict"].tolist()) == ([5], ["not supported"])


def test_coherent_and_fine_are_two_verdicts():
    table = quality(spread(-0.1), "total_variation")
    assert finer_and_more_coherent(table, FEW, MANY)[["claim", "verdict"]].to_numpy().tolist() == [
        ["more coherent masks", "supported"]
    ]
    table["average_precision"] = quality(spread(-0.1))["insertion"]
    both = finer_and_more_coherent(table, FEW, MANY)
    assert both["claim"].tolist() == ["more coherent masks", "finer masks"]
    assert both["verdict"].tolist() == ["supported", "contradicted"]
    assert both["metric"].tolist() == ["total_variation", "average_precision"]


def noise_rows(noise, zero=lambda *_: 0.0, images=8) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "image_id": str(i), "grid": "g", "state": "step 0", "sampler": sampler, "temperature": t,
                "samples": count, "noise": noise(i, sampler == "original", t == 0.1, count),
                "zero_share": zero(i, sampler == "original", t == 0.1, count),
            }
            for i in range(images)
            for sampler in ("original", "simplified")
            for t in (0.1, 1.0)
            for count in (1, 4)
        ]
    )  # fmt: skip


def test_the_gain_is_split_into_its_factors():
    rows = noise_rows(
        lambda i, original, cold, count: (1 + i) * (3.0 if cold else 1.0) * (1.2 if original else 1.0) / count**0.5
    )
    (row,) = noise_gain(rows).to_dict("records")
    assert (row["gain"], row["temperature"], row["formula"]) == pytest.approx((3.6, 3.0, 1.2))
    for name in ("gain", "temperature", "formula"):
        assert row[f"{name}_low"] == pytest.approx(row[name])
        assert row[f"{name}_high"] == pytest.approx(row[name])
    assert row["temperature_share"] == pytest.approx(math.log(3) / math.log(3.6))


def test_parts_multiply_to_the_gain_even_where_they_interact():
    generator = np.random.default_rng(0)
    table = {(i, o, c): generator.uniform(1, 4) for i in range(8) for o in (0, 1) for c in (0, 1)}
    rows = noise_rows(lambda i, original, cold, _count: table[i, int(original), int(cold)])
    (row,) = noise_gain(rows).to_dict("records")
    assert row["gain"] == pytest.approx(row["temperature"] * row["formula"])
    logs = [math.log(table[i, 1, 1] / table[i, 0, 0]) for i in range(8)]
    assert row["gain"] == pytest.approx(math.exp(np.mean(logs)))
    temperature = [math.log(table[i, 1, 1] / table[i, 1, 0] * table[i, 0, 1] / table[i, 0, 0]) / 2 for i in range(8)]
    assert row["temperature"] == pytest.approx(math.exp(np.mean(temperature)))
    assert row["gain_low"] < row["gain"] < row["gain_high"]


def test_images_without_all_four_noises_are_left_out():
    # Simplified at t = 0.1 has no part in the gain itself, but without it the gain could not be split.
    rows = noise_rows(
        lambda i, original, cold, _count: math.nan if i == 0 and cold and not original else 2.0 + (3 + i) * original
    )
    (row,) = noise_gain(rows).to_dict("records")
    assert row["n"] == 7
    assert row["gain"] == pytest.approx(math.exp(np.mean([math.log((5 + i) / 2) for i in range(1, 8)])))
    (row,) = noise_gain(noise_rows(lambda *_: math.nan)).to_dict("records")
    assert row["n"] == 0


def test_no_gain_is_called_none():
    generator = np.random.default_rng(1)
    (row,) = noise_gain(noise_rows(lambda *_: math.exp(generator.normal()))).to_dict("records")
    assert row["gain_low"] < 1 < row["gain_high"]
    assert math.isnan(row["temperature_share"])


def test_saturation_is_paired_and_said_in_words():
    rows = noise_rows(
        lambda *_: 1.0,
        lambda i, original, cold, _count: (0.5 + 0.05 * i if original else 0.05 * i) if cold else 0.05 * i,
    )
    table = saturation(rows)
    assert table[["temperature", "samples"]].to_numpy().tolist() == [[0.1, 1], [0.1, 4], [1.0, 1], [1.0, 4]]
    cold, warm = table.iloc[0], table.iloc[2]
    assert (cold["original"], cold["simplified"]) == pytest.approx((0.675, 0.175))
    # Images differ, the difference does not: pairing leaves an interval without width.
    assert (cold["saved_low"], cold["saved_high"]) == pytest.approx((0.5, 0.5))
    assert (warm["saved_low"], warm["saved_high"]) == pytest.approx((0, 0))


def test_saturation_without_such_cells():
    rows = noise_rows(lambda *_: 1.0).assign(zero_share_positive=math.nan)
    table = saturation(rows, "zero_share_positive")
    assert (table["n"] == 0).all()
