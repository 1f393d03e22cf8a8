import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats
from study_cases import grid_masks, make_classifier, make_data, register_counting

import fidokit as fk
from fidokit.methods.base import Computed
from fidokit.study import summary
from fidokit.study.store import checksummed
from fidokit.study.summary import bootstrap_means, percentile_interval


def slow_bootstrap(values, n_resamples, seed):
    """The same draws, one mean at a time."""
    generator = np.random.default_rng(seed)
    n = values.shape[1]
    means = []
    for _ in range(n_resamples):
        drawn = values[:, generator.integers(0, n, n)]
        means.append([np.nan if np.isnan(row).all() else np.nanmean(row) for row in drawn])
    return np.array(means)


@pytest.mark.parametrize("block", [1, 50, 10_000_000])
def test_means_are_those_of_a_loop(monkeypatch, block):
    monkeypatch.setattr(summary, "_BLOCK", block)
    values = np.random.default_rng(1).normal(size=(3, 17))
    values[1, :9] = np.nan
    values[2, 1:] = np.nan
    got, want = bootstrap_means(values, 200, seed=4), slow_bootstrap(values, 200, 4)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert np.isnan(got[:, 2]).any()
    np.testing.assert_allclose(percentile_interval(got), np.nanpercentile(want, [2.5, 97.5], axis=0), rtol=1e-12)


def test_intervals_are_those_of_scipy():
    values = np.random.default_rng(2).gamma(1.5, size=(2, 60))
    low, high = percentile_interval(bootstrap_means(values, 20_000, seed=0))
    for row in range(2):
        result = stats.bootstrap(
            (values[row],), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
        )
        interval = result.confidence_interval
        np.testing.assert_allclose([low[row], high[row]], interval, atol=0.04 * (interval.high - interval.low))


def test_rows_are_resampled_in_pairs():
    first = np.random.default_rng(5).normal(size=40)
    means = bootstrap_means(np.stack([first, first + 0.25]), 500, seed=0)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.25, rtol=1e-9)


def test_few_images():
    np.testing.assert_array_equal(percentile_interval(bootstrap_means(np.array([[0.3]]), 10)), [[0.3], [0.3]])
    assert np.isnan(percentile_interval(bootstrap_means(np.empty((2, 0)), 10))).all()
    assert np.isnan(percentile_interval(bootstrap_means(np.full((1, 4), np.nan), 10))).all()


def test_a_seed_gives_the_same_interval_again():
    values = np.random.default_rng(6).normal(size=(1, 30))
    np.testing.assert_array_equal(bootstrap_means(values, 50, 1), bootstrap_means(values, 50, 1))
    assert not np.array_equal(bootstrap_means(values, 50, 1), bootstrap_means(values, 50, 2))


def test_ten_thousand_images_take_seconds():
    values = np.random.default_rng(7).normal(size=(18, 10_000))
    start = time.perf_counter()
    low, high = percentile_interval(bootstrap_means(values))
    assert time.perf_counter() - start < 10
    np.testing.assert_allclose(high - low, 2 * 1.96 / 100, rtol=0.15)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary")
    data = make_data(folder / "data", 10)
    (folder / "data" / "blue" / "005.png").write_bytes(b"broken")
    register_counting("counting")
    register_counting("half", spoil=lambda batch: fails_after(batch, 2))
    with pytest.warns(RuntimeWarning):
        return fk.run_study(
            make_classifier(), data, ["half", "counting"], store=folder / "s", part_size=4, progress=False
        )


def fails_after(batch, n):
    masks = grid_masks(batch.images, 4)
    return Computed({"ssr": masks, "sdr": 1 - masks}, failures=dict.fromkeys(batch.image_ids[n:], "one of many"))


def test_a_row_for_each_method_and_kind(study):
    table = study.summary()
    assert table[["method", "kind"]].to_numpy().tolist() == [
        ["half", "ssr"],
        ["half", "sdr"],
        ["counting", "ssr"],
        ["counting", "sdr"],
    ]
    measures = [f"{name}{end}" for name in ("score_kept", "score_dropped", "area") for end in ("", "_low", "_high")]
    assert list(table.columns) == ["method", "kind", "n", *measures, "evaluations", "seconds", "converged"]
    assert table["n"].tolist() == [6, 6, 9, 9]
    assert (table["converged"] == 1).all()


def test_means_and_intervals_of_a_study(study):
    table = study.summary(n_resamples=300, seed=2).set_index(["method", "kind"])
    masks = study.masks()
    masks["area"] = [mask.mean() for mask in masks["mask"]]
    ids = study.predictions()["image_id"]
    for (method, kind), own in masks.groupby(["method", "kind"]):
        row = table.loc[(method, kind)]
        for name in ("score_kept", "score_dropped", "area"):
            values = own.set_index("image_id")[name].reindex(ids).to_numpy(np.float64)[None]
            assert row[name] == pytest.approx(np.nanmean(values), rel=1e-6)
            expected = np.nanpercentile(slow_bootstrap(values, 300, 2), [2.5, 97.5])
            np.testing.assert_allclose([row[f"{name}_low"], row[f"{name}_high"]], expected, rtol=1e-6)
        assert row["evaluations"] == own["evaluations"].mean()
        assert row["seconds"] == pytest.approx(own["seconds"].mean())


def test_parts_of_earlier_versions_have_the_same_summary(study, tmp_path):
    folder = shutil.copytree(study.path, tmp_path / "s")
    old = sorted((folder / "masks").glob("*.parquet"))[1:]  # some of the parts are of this version
    for path in old:
        path.write_bytes(checksummed.encode(pq.read_table(path).drop_columns(["area"]), study.store.study_id))
    pd.testing.assert_frame_equal(fk.open_study(folder).summary(), study.summary())
    assert fk.open_study(folder).check()["state"].eq("intact").sum() > len(old)


def test_a_study_without_masks(tmp_path):
    data = make_data(tmp_path / "data", 2)
    for path in data.table["path"]:
        Path(path).write_bytes(b"broken")
    register_counting("counting")
    with pytest.warns(RuntimeWarning, match="2 of 2"):
        study = fk.run_study(make_classifier(), data, "counting", store=tmp_path / "s", progress=False)
    table = study.summary()
    assert table["n"].tolist() == [0, 0]
    assert table.drop(columns=["method", "kind", "n"]).isna().all(axis=None)
    assert study.masks().empty
    assert study.mask_array("counting", "ssr", (2, 2)).shape == (2, 2, 2)
    pd.testing.assert_frame_equal(study.masks(columns=["kind"]), pd.DataFrame({"kind": pd.Series([], dtype="str")}))
