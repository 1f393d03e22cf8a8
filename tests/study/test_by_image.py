"""Figures of every mask, and images in an order by one of them, against the tables they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from study_cases import make_classifier, make_data, register_counting, run

from fidokit.exceptions import SettingsError
from fidokit.study.ordering import OWN_ORDERS, Order, figure_names, mask_figures, order_images

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by-image")
    register_counting("counting")
    data = make_data(folder / "data", 9)
    data.table.loc[0, "label"] = "green"
    data.table.loc[1, "label"] = None
    made = run(make_classifier(), data, folder / "run", ["counting", "grad-cam"])
    made.metrics(progress=False)
    return made


@pytest.fixture(scope="module")
def figures(study):
    return mask_figures(study)


def test_figures_are_those_of_the_tables(study, figures):
    assert len(figures) == len(study.masks(columns=["image_id"]))
    metrics = study.metrics(progress=False).set_index(["image_id", "method", "kind"])
    own = figures.set_index(["image_id", "method", "kind"])
    pd.testing.assert_series_equal(own["insertion"], metrics.loc[own.index, "insertion"])
    assert {"score_kept", "evaluations", "agreement"} <= set(figure_names(figures))
    # No photograph has a box: what needs one has no value anywhere.
    assert "iou" not in figures
    assert not set(OWN_ORDERS) & set(figure_names(figures))


def test_nothing_is_measured(tmp_path):
    register_counting("counting")
    study = run(make_classifier(), make_data(tmp_path / "data", 3), tmp_path / "run")
    figures = mask_figures(study)
    assert figure_names(figures) == ["score_kept", "score_dropped", "evaluations"]
    assert not list((tmp_path / "run" / "metrics").glob("part-*"))
    with pytest.raises(SettingsError, match=r"study\.metrics\(\)"):
        order_images(study, figures, Order("disagreement"))


def test_the_order_of_the_dataset(study, figures):
    ids = study.predictions()["image_id"].tolist()
    assert order_images(study, figures, Order())["image_id"].tolist() == ids
    assert order_images(study, figures, Order(descending=True))["image_id"].tolist() == ids[::-1]


@pytest.mark.parametrize("descending", [False, True])
def test_by_a_figure_of_one_mask(study, figures, descending):
    found = order_images(study, figures, Order("deletion", ("counting", "sdr"), descending))
    own = figures[(figures["method"] == "counting") & (figures["kind"] == "sdr")].set_index("image_id")["deletion"]
    values = found["value"].to_numpy()
    np.testing.assert_allclose(values, own.loc[found["image_id"]].to_numpy())
    steps = np.diff(values)
    assert (steps <= 0).all() if descending else (steps >= 0).all()


def test_by_the_mean_over_masks_and_by_disagreement(study, figures):
    mean = figures.groupby("image_id")["insertion"].mean()
    found = order_images(study, figures, Order("insertion")).set_index("image_id")["value"]
    pd.testing.assert_series_equal(found.sort_index(), mean.sort_index(), check_names=False, check_index_type=False)
    agreement = figures.groupby("image_id")["agreement"].mean()
    found = order_images(study, figures, Order("disagreement", descending=True))
    assert found["image_id"].iloc[0] == agreement.idxmin()
    assert found["value"].iloc[0] == pytest.approx(1 - agreement.min())


def test_by_the_prediction(study, figures):
    found = order_images(study, figures, Order("margin"))
    assert found["value"].tolist() == sorted(study.predictions()["margin"])


def test_images_without_a_value_come_last(study, figures):
    without = figures[figures["image_id"] != "red/000.png"]
    for descending in (False, True):
        found = order_images(study, without, Order("insertion", descending=descending))
        assert found["image_id"].iloc[-1] == "red/000.png"
        assert np.isnan(found["value"].iloc[-1])


@pytest.mark.parametrize(("state", "n"), [("all", 9), ("wrong", 1), ("right", 7), ("not judged", 1)])
def test_right_and_wrong(study, figures, state, n):
    assert len(order_images(study, figures, Order(state=state))) == n


def test_search(study, figures):
    found = order_images(study, figures, Order(search="BLUE 5"))
    assert found["image_id"].tolist() == ["blue/005.png"]
    assert len(order_images(study, figures, Order(search="dodo"))) == 0


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order("beauty"), "insertion"),
        (Order("insertion", ("counting", "joint")), "no masks"),
        (Order(state="odd"), "not judged"),
    ],
)
def test_what_there_is_not_is_named(study, figures, order, words):
    with pytest.raises(SettingsError, match=words):
        order_images(study, figures, order)
