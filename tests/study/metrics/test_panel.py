from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from nets import photographs
from study_cases import make_classifier, make_data

from fidokit.exceptions import StoreError
from fidokit.methods.infill import INFILLS, Mixture
from fidokit.study.metrics.panel import POOL, Panel, choose_panel, mosaic


def test_the_mosaic_is_none_of_the_infills_a_method_can_use():
    tile = mosaic((48, 36))
    assert tile.shape == (3, 48, 36)
    cells = tile[:, ::4, ::3]
    assert torch.equal(tile, cells.repeat_interleave(4, 1).repeat_interleave(3, 2))
    assert len({tuple(colour) for colour in cells.flatten(1).T.tolist()}) == 144
    assert torch.equal(tile, mosaic((48, 36)))
    assert (tile - mosaic((48, 36), seed=1)).abs().mean() > 0.1
    images = photographs(2, (48, 36))
    for key in (torch.tensor([0, 1]), torch.tensor([7, 8])):
        for entry in Mixture.parse(list(INFILLS)).bank(images, key, 4).flatten(0, 1):
            assert (entry - tile).abs().mean() > 0.05
    assert mosaic((5, 7)).shape == (3, 5, 7)


def predictions(labels, predicted=None):
    predicted = labels if predicted is None else predicted
    ids = [f"{i:03d}" for i in range(len(labels))]
    return pd.DataFrame({"image_id": ids, "label": labels, "predicted": predicted})


def test_the_photographs_are_spread_over_the_classes():
    table = predictions(["a"] * 90 + ["b"] * 5 + ["c"])
    chosen = choose_panel(table)["photographs"]
    assert len(chosen) == POOL
    labels = [entry["label"] for entry in chosen]
    assert set(labels[:3]) == {"a", "b", "c"}
    assert labels.count("b") >= 3
    assert len({entry["image_id"] for entry in chosen}) == POOL
    # It depends on the photographs, not on their order.
    assert choose_panel(table.iloc[::-1]) == choose_panel(table)


def test_photographs_without_a_prediction_are_left_out_and_without_a_label_count_as_predicted():
    chosen = choose_panel(predictions([None, None, "a"], ["b", None, "a"]))["photographs"]
    assert sorted((entry["image_id"], entry["label"]) for entry in chosen) == [("000", "b"), ("002", "a")]


def panel(tmp_path, n=9, classes=("red", "green", "blue")):
    data = make_data(tmp_path / "data", n, list(classes))
    table = data.table.assign(predicted=data.table["label"])
    return Panel(choose_panel(table), data, make_classifier().preprocessing), data


def test_no_infill_shows_a_class_of_the_image(tmp_path):
    made, data = panel(tmp_path)
    label = dict(zip(data.table["image_id"], data.table["label"], strict=True))
    seen = set()
    for image_id in label:
        photograph, seed = made.members(image_id, [label[image_id], "blue", None, float("nan")])
        assert label[photograph] not in (label[image_id], "blue")
        assert seed == 0
        assert made.members(image_id, [label[image_id], "blue", None]) == [photograph, seed]
        seen.add(photograph)
    assert len(seen) > 1
    infills = made.infills(data.table["image_id"][0], ["red"])
    assert infills.shape == (2, 3, 16, 16)
    assert torch.equal(infills[1], mosaic((16, 16)))


def test_a_photograph_that_the_classifier_takes_for_the_target_is_no_infill(tmp_path):
    made, _ = panel(tmp_path, 2, ("red", "green"))
    entries = made.described["photographs"]
    green = next(entry for entry in entries if entry["label"] == "green")
    assert made.members("other", ["red"])[0] == green["image_id"]
    green["predicted"] = "red"
    assert made.members("other", ["red"]) == [0, 1]


def test_mosaics_stand_in_where_there_is_no_other_class(tmp_path):
    made, data = panel(tmp_path, 4, ("red",))
    image_id = data.table["image_id"][0]
    assert made.members(image_id, ["red"]) == [0, 1]
    infills = made.infills(image_id, ["red"])
    assert torch.equal(infills, torch.stack([mosaic((16, 16)), mosaic((16, 16), seed=1)]))
    with pytest.warns(RuntimeWarning, match="1 images have no photograph of another class.*2 mosaics"):
        made.tell()


def test_a_photograph_of_the_panel_that_is_gone(tmp_path):
    made, data = panel(tmp_path)
    member = made.members("other", ["red"])[0]
    Path(data.table.set_index("image_id")["path"][member]).unlink()
    with pytest.raises(StoreError, match=r"of the panel .* cannot be read.*put it back"):
        made.infills("other", ["red"])
