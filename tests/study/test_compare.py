from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_cases import run

from fidokit.exceptions import SettingsError
from fidokit.study.compare import (
    METRIC_DIRECTIONS,
    MOST_EXACT,
    compare,
    cost_table,
    holm,
    means_table,
    sign_flip_p,
    units_of,
)
from fidokit.study.metrics.standing import ON_REQUEST, STANDING

REFERENCE = ("fido", "joint")


def long_table(columns: dict[tuple[str, str], list[float]], metric: str = "insertion", **others) -> pd.DataFrame:
    rows = [
        {"image_id": f"image {i}", "method": method, "kind": kind, metric: value}
        | {name: values[i] for name, values in others.items()}
        for (method, kind), column in columns.items()
        for i, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


def noisy(n: int, mean: float, seed: int = 0, spread: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, n)


@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_sign_flips_are_all_tried(n):
    values = noisy(n, 0.05)
    means = [abs(np.mean(values * np.array(signs))) for signs in product((1, -1), repeat=n)]
    expected = np.mean(np.array(means) >= abs(values.mean()) - 1e-12)
    assert sign_flip_p(values) == pytest.approx(expected)


def test_sign_flips_agree_with_scipy():
    values = noisy(9, 0.06, seed=3)
    result = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_p(values) == pytest.approx(result.pvalue)


def test_smallest_p_values_by_hand():
    # All of one sign: of the 2^n flips only none and all of them are as far from 0.
    assert sign_flip_p(np.full(5, 0.3)) == 2 / 32
    assert sign_flip_p(np.full(MOST_EXACT, 0.3)) == 2 / 2**MOST_EXACT
    assert sign_flip_p(np.zeros(6)) == 1.0
    assert np.isnan(sign_flip_p(np.array([0.3])))
    assert np.isnan(sign_flip_p(np.array([0.3, np.nan])))


def test_sampled_sign_flips_come_near_to_all_of_them():
    values = noisy(MOST_EXACT, 0.03, seed=1)
    exact = sign_flip_p(values)
    assert 0.01 < exact < 0.5
    # Two zeros change no mean: every flip of the others counts four times over.
    sampled = sign_flip_p(np.concatenate([values, [0.0, 0.0]]), n_permutations=40_000)
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000))
    assert sign_flip_p(noisy(40, 0.0, seed=5), seed=1) != sign_flip_p(noisy(40, 0.0, seed=5), seed=2)


def test_a_sampled_p_value_is_never_zero():
    assert sign_flip_p(np.full(60, 1.0), n_permutations=999) == 1 / 1000


def test_sign_flips_do_not_depend_on_the_order_of_the_sum():
    values = np.array([0.1, 0.2, 0.3, -0.6, 0.7])
    assert sign_flip_p(values) == sign_flip_p(values[::-1]) == sign_flip_p(-values)


def test_p_values_are_uniform_without_a_difference():
    generator = np.random.default_rng(0)
    p = [sign_flip_p(generator.normal(size=10)) for _ in range(400)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08


def test_holm_against_known_values():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") and, unsorted, c(0.03, 0.001, 0.04, 0.01) of R.
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04, 0.05]), [0.05, 0.08, 0.09, 0.09, 0.09])
    np.testing.assert_allclose(holm([0.03, 0.001, 0.04, 0.01]), [0.06, 0.004, 0.06, 0.03])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])


def test_holm_leaves_out_what_was_not_tested():
    np.testing.assert_allclose(holm([np.nan, 0.02, np.nan, 0.04]), [np.nan, 0.04, np.nan, 0.04])
    assert holm([]).shape == (0,)


def test_a_clear_difference_is_shown_and_its_sign_is_read_by_the_metric():
    ours, theirs = noisy(12, 0.8), noisy(12, 0.5, seed=1)
    columns = {REFERENCE: ours, ("grad-cam", "attribution"): theirs}
    (row,) = compare(long_table(columns), "insertion").to_dict("records")
    assert row["difference"] == pytest.approx(np.mean(ours - theirs))
    assert (row["reference_mean"], row["other_mean"]) == pytest.approx((ours.mean(), theirs.mean()))
    assert row["low"] < row["difference"] < row["high"]
    assert (row["n"], row["units"]) == (12, 12)
    assert row["p_value"] == row["q_value"] == 2 / 2**12
    assert row["better"] == "reference"
    assert compare(long_table(columns, "deletion"), "deletion")["better"].tolist() == ["other"]
    assert compare(long_table(columns, "entropy"), "entropy")["better"].tolist() == ["not shown"]


def test_the_interval_is_that_of_the_pairs():
    # Images differ by far more than methods do: only pairing shows the difference.
    level = np.linspace(0, 1, 20)
    columns = {REFERENCE: level + 0.02, ("b", "ssr"): level + noisy(20, 0, spread=0.005)}
    (row,) = compare(long_table(columns), "insertion").to_dict("records")
    differences = np.asarray(columns[REFERENCE]) - columns["b", "ssr"]
    expected = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=10_000, rng=0)
    assert row["low"] == pytest.approx(expected.confidence_interval.low, abs=4e-4)
    assert row["high"] == pytest.approx(expected.confidence_interval.high, abs=4e-4)
    assert row["high"] - row["low"] < 0.01


def test_only_images_with_both_count():
    columns = {REFERENCE: [0.5, 0.6, np.nan, 0.9], ("b", "ssr"): [0.4, np.nan, 0.1, 0.6]}
    (row,) = compare(long_table(columns), "insertion").to_dict("records")
    assert (row["n"], row["units"]) == (2, 2)
    assert row["difference"] == pytest.approx(0.2)
    assert (row["reference_mean"], row["other_mean"]) == pytest.approx((0.7, 0.5))


def test_rows_may_be_missing_or_in_any_order():
    columns = {REFERENCE: noisy(8, 0.8), ("b", "ssr"): noisy(8, 0.7, seed=1), ("c", "sdr"): noisy(8, 0.6, seed=2)}
    table = long_table(columns)
    fewer = table.drop(table.index[(table["method"] == "b") & (table["image_id"] == "image 3")])
    shuffled = fewer.sample(frac=1, random_state=0)
    one, other = (
        compare(t, "insertion").set_index("method").loc[["b", "c"]].drop(columns=["low", "high"])
        for t in (fewer, shuffled)
    )
    pd.testing.assert_frame_equal(one, other)
    assert one["n"].tolist() == [7, 8]


def test_one_pair_shows_nothing():
    columns = {REFERENCE: [0.9, np.nan], ("b", "ssr"): [0.1, 0.2], ("c", "ssr"): [np.nan, 0.2]}
    result = compare(long_table(columns), "insertion")
    assert result["n"].tolist() == [1, 0]
    assert result["difference"].iloc[0] == pytest.approx(0.8)
    assert result[["low", "high", "p_value", "q_value"]].isna().all(axis=None)
    assert result["better"].tolist() == ["not shown"] * 2


def test_copies_of_one_photograph_are_one_unit():
    ours, theirs = noisy(4, 0.8), noisy(4, 0.7, seed=1)
    single = long_table({REFERENCE: ours, ("b", "ssr"): theirs})
    copies = long_table(
        {REFERENCE: np.repeat(ours, 5), ("b", "ssr"): np.repeat(theirs, 5)},
        photograph=[f"photograph {i // 5}" for i in range(20)],
    )
    (alone,) = compare(single, "insertion").to_dict("records")
    (together,) = compare(copies, "insertion", unit="photograph").to_dict("records")
    assert (together["n"], together["units"]) == (20, 4)
    for name in ("difference", "low", "high", "p_value"):
        assert together[name] == pytest.approx(alone[name])
    by_image = {f"image {i}": i // 5 for i in range(20)}
    (mapped,) = compare(copies, "insertion", unit=by_image).to_dict("records")
    assert mapped["low"] == together["low"]
    (naive,) = compare(copies, "insertion").to_dict("records")
    assert naive["p_value"] < together["p_value"]


def test_units_weigh_alike_however_many_images_they_have():
    columns = {REFERENCE: [1.0, 1.0, 1.0, 0.0], ("b", "ssr"): [0.0] * 4}
    table = long_table(columns, photograph=["a", "a", "a", "b"])
    assert compare(table, "insertion", unit="photograph")["difference"].tolist() == [0.5]


def test_all_metrics_of_a_call_are_corrected_together():
    columns = {REFERENCE: noisy(10, 0.8), ("b", "ssr"): noisy(10, 0.5, seed=1), ("c", "ssr"): noisy(10, 0.79, seed=2)}
    table = long_table(columns)
    table["deletion"] = 1 - table["insertion"]
    both = compare(table, ["insertion", "deletion"])
    assert both["metric"].tolist() == ["insertion", "insertion", "deletion", "deletion"]
    np.testing.assert_allclose(both["q_value"], holm(both["p_value"].to_numpy()))
    assert both["q_value"].iloc[0] == 2 * compare(table, "insertion")["q_value"].iloc[0]
    assert both["better"].tolist() == ["reference", "not shown", "reference", "not shown"]


def test_a_metric_of_the_user_needs_a_direction():
    table = long_table({REFERENCE: noisy(8, 1), ("b", "ssr"): noisy(8, 0)}, "sharpness")
    with pytest.raises(SettingsError, match=r"directions=\{'sharpness': 1\}"):
        compare(table, "sharpness")
    assert compare(table, "sharpness", directions={"sharpness": -1})["better"].tolist() == ["other"]
    with pytest.raises(SettingsError, match="sharpness"):
        compare(table, "sharpness", directions={"sharpness": 2})


def test_flags_are_numbers():
    table = long_table({REFERENCE: [True] * 6, ("b", "ssr"): [False, None, True, False, False, True]}, "pointing_game")
    (row,) = compare(table, "pointing_game").to_dict("records")
    assert (row["n"], row["difference"]) == (5, pytest.approx(0.6))


def test_errors_name_what_there_is():
    table = long_table({REFERENCE: [0.1, 0.2], ("b", "ssr"): [0.1, 0.2]})
    with pytest.raises(SettingsError, match="there are insertion"):
        compare(table, "deletion")
    with pytest.raises(SettingsError, match=r"\('fido', 'joint'\), \('b', 'ssr'\)"):
        compare(table, "insertion", reference=("fido", "ssr"))
    with pytest.raises(SettingsError, match="two rows for image 'image 0', fido joint"):
        compare(pd.concat([table, table.head(1)]), "insertion")
    with pytest.raises(SettingsError, match="no column 'photograph'"):
        compare(table, "insertion", unit="photograph")
    with pytest.raises(SettingsError, match="'image 1' has no unit"):
        compare(table, "insertion", unit={"image 0": 1})
    with pytest.raises(SettingsError, match="'image 0' has two values"):
        units_of(table.assign(photograph=range(4)), "photograph")


def test_a_table_with_one_method_compares_nothing():
    result = compare(long_table({REFERENCE: [0.1, 0.2]}), "insertion")
    assert len(result) == 0
    assert {"metric", "difference", "low", "high", "p_value", "q_value", "better"} <= set(result.columns)


def test_means_with_intervals_and_costs():
    columns = {REFERENCE: noisy(30, 0.8), ("b", "ssr"): [np.nan] * 30}
    table = long_table(columns, evaluations=[10.0, 20.0, 30.0] * 10, seconds=[0.5] * 30)
    fido, none = means_table(table, ["insertion"]).to_dict("records")
    assert (fido["n"], none["n"]) == (30, 0)
    assert fido["insertion"] == pytest.approx(np.mean(columns[REFERENCE]))
    low, high = np.percentile(np.random.default_rng(1).choice(columns[REFERENCE], (4000, 30)).mean(1), [2.5, 97.5])
    assert (fido["insertion_low"], fido["insertion_high"]) == pytest.approx((low, high), abs=0.01)
    assert (fido["evaluations"], fido["seconds"]) == (20, 0.5)
    assert np.isnan(none["insertion"])
    assert np.isnan(none["insertion_low"])
    with pytest.raises(SettingsError, match="no column 'deletion'"):
        means_table(table, ["deletion"])


class StudyOfTwo:
    """What `cost_table` reads of a study."""

    def masks(self, columns):
        table = long_table({REFERENCE: [1.0, 2.0], ("b", "ssr"): [3.0, 4.0]}, "evaluations", seconds=[0.1, 0.3])
        return table[columns]

    def metrics(self):
        return long_table({REFERENCE: [0.5, 0.7], ("b", "ssr"): [0.2, np.nan]})


def test_cost_table_joins_quality_and_cost():
    result = cost_table(StudyOfTwo())
    assert result[["method", "kind"]].to_numpy().tolist() == [["fido", "joint"], ["b", "ssr"]]
    assert result["insertion"].tolist() == pytest.approx([0.6, 0.2])
    assert result["evaluations"].tolist() == [1.5, 3.5]
    assert result["seconds"].tolist() == pytest.approx([0.2, 0.2])
    given = long_table({REFERENCE: [0.1, 0.3], ("b", "ssr"): [0.2, 0.2]}, "deletion", evaluations=[9.0, 9.0])
    assert cost_table(StudyOfTwo(), "deletion", table=given)["evaluations"].tolist() == [1.5, 3.5]


def test_a_real_study_is_compared_and_its_cost_is_that_of_the_masks(classifier, data, calls, tmp_path):
    study = run(classifier, data, tmp_path / "store", ["counting", "saliency"])
    table = study.metrics(progress=False)
    costs = cost_table(study, ["insertion", "area"])
    assert costs[["method", "kind"]].to_numpy().tolist() == [
        ["counting", "ssr"], ["counting", "sdr"], ["saliency", "attribution"],
    ]  # fmt: skip
    masks = study.masks("counting", "ssr")
    assert costs["evaluations"].iloc[0] == masks["evaluations"].mean()
    assert costs["seconds"].iloc[0] == pytest.approx(masks["seconds"].mean())
    assert costs["area"].iloc[0] == pytest.approx(np.mean([mask.mean() for mask in masks["mask"]]))
    compared = compare(table, ["insertion", "deletion", "pointing_game"], ("counting", "ssr"))
    assert len(compared) == 6
    by_key = table.pivot_table("insertion", "image_id", ["method", "kind"])
    expected = (by_key["counting", "ssr"] - by_key["counting", "sdr"]).mean()
    assert compared["difference"].iloc[0] == pytest.approx(expected)


def test_every_metric_of_a_study_has_a_direction():
    assert {*STANDING, *ON_REQUEST, "agreement"} <= set(METRIC_DIRECTIONS)
