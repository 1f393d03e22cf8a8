"""How often annotated parts lie where a mask is highest, by masks whose highest places are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import fidokit as fk
from fidokit.cli.studying import print_study
from fidokit.exceptions import SettingsError

#: Part points in photographs of 40 x 20 pixels, of which the input is the middle square: columns 10 to 30.
POINTS = [
    {"bill": [29, 3], "wing": [12, 10], "tail": [2, 2]},
    {"bill": [27, 17], "wing": [28, 10]},
    {"bill": [15, 5]},
    None,
]


def right_edge(_classifier, images, _targets):
    """Masks that rise from left to right."""
    width = images.shape[-1]
    return torch.linspace(0, 1, width).expand(len(images), images.shape[-2], width)


@pytest.fixture
def study(tmp_path, classifier, registry, monkeypatch):
    fk.register_method("right-edge", right_edge)
    rows = []
    for i, points in enumerate(POINTS):
        path = tmp_path / f"{i}.png"
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 40, 3), np.uint8)).save(path)
        rows.append({"image_id": f"p{i}", "path": str(path), "label": None, "part_points": points})
    data = fk.LabelledImages.from_table(pd.DataFrame(rows))
    return fk.run_study(classifier, data, ["right-edge"], store=tmp_path / "run", progress=False)


def test_a_part_counts_where_its_point_lies_in_the_highest_share_of_the_input(study):
    found = study.part_points(area=0.25).set_index("part")
    # The highest quarter of the input is that of columns 25 to 30 of the photograph.
    assert found.loc["bill", ["photographs", "explained"]].tolist() == [3, pytest.approx(2 / 3)]
    assert found.loc["wing", ["photographs", "explained"]].tolist() == [2, 0.5]
    assert "tail" not in found.index  # outside of the input
    whole = found[found.index.isna()].iloc[0]
    assert (whole["photographs"], whole["explained"]) == (3, pytest.approx((0.5 + 1 + 0) / 3))
    assert (found["low"] <= found["explained"]).all()
    assert (found["explained"] <= found["high"]).all()


def test_a_map_without_meaning_explains_as_many_points_as_the_area_is(study):
    assert study.part_points(area=1.0)["explained"].eq(1).all()
    with pytest.raises(SettingsError, match="area is 0"):
        study.part_points(area=0.0)


def test_the_command_line_prints_a_row_for_each_part(study, capsys):
    print_study(study)
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("bill", "all parts", "right-edge attribution"))


def test_a_dataset_without_points_is_refused(classifier, data, tmp_path):
    study = fk.run_study(classifier, data, ["saliency"], store=tmp_path / "run", progress=False)
    with pytest.raises(SettingsError, match="no part points"):
        study.part_points()
