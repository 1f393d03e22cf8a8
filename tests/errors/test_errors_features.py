"""Statistics by hand; what is read of an image, and what must not be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from errors_cases import drawn_data, drawn_study
from study_cases import make_classifier, register_counting, run
from torch import nn

import fidokit as fk
from fidokit.errors import statistics as s
from fidokit.errors.features import CHANNELS, _margin, _projected, categories_of, extract, numbers_of
from fidokit.exceptions import SettingsError
from fidokit.methods import register_method

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return drawn_study(tmp_path_factory.mktemp("study"), n=24)


@pytest.fixture(scope="module")
def features(study):
    return extract(study)


def test_light_and_colour_by_hand():
    image = np.zeros((3, 4, 6), np.float32)
    image[0], image[1], image[2] = 0.8, 0.4, 0.2
    found = s.image_statistics(image, None)
    assert found["brightness"] == pytest.approx(0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.2, abs=1e-6)
    assert found["contrast"] == pytest.approx(0, abs=1e-6)
    assert found["saturation"] == pytest.approx(0.6)
    assert found["warmth"] == pytest.approx(0.6)
    assert found["greenness"] == pytest.approx(-0.1)
    assert "animal size" not in found


def test_the_animal_and_its_surroundings_by_hand():
    image = np.full((3, 8, 8), 0.5, np.float32)
    animal = np.zeros((8, 8), dtype=bool)
    animal[2:4, 4:8] = True
    image[:, animal] = 1.0
    found = s.image_statistics(image, animal)
    assert found["animal size"] == pytest.approx(np.log(8 / 64))
    assert (found["animal x"], found["animal y"]) == pytest.approx((6 / 8, 3 / 8))
    assert found["animal brightness"] == pytest.approx(1)
    assert found["surroundings brightness"] == pytest.approx(0.5)
    assert found["surroundings warmth"] == pytest.approx(0)


def test_a_darker_picture_is_not_a_blurred_one():
    image = np.random.default_rng(0).random((3, 32, 32)).astype(np.float32)
    bright, dark = (s.image_statistics(image * k, None) for k in (1.0, 0.5))
    blurred = s.image_statistics((image + np.roll(image, 1, 2) + np.roll(image, 1, 1)) / 3, None)
    assert dark["brightness"] == pytest.approx(bright["brightness"] / 2, rel=1e-5)
    assert abs(dark["sharpness"] - bright["sharpness"]) < 0.1
    assert blurred["sharpness"] < bright["sharpness"] - 0.3


def test_where_a_mask_lies_by_hand():
    mask = np.zeros((4, 4), np.float32)
    mask[0, 0], mask[2, 3] = 3, 1
    animal = np.zeros((8, 8), dtype=bool)
    animal[4:8, 4:8] = True
    wing = np.zeros((8, 8), dtype=bool)
    wing[4:6, 6:8] = True
    found = s.mask_statistics(mask, animal, {"wing": wing, "bill": np.zeros((8, 8), dtype=bool)})
    assert found["mask area"] == pytest.approx(0.25)
    assert found["mask outside"] == pytest.approx(0.75)
    assert (found["mask x"], found["mask y"]) == pytest.approx(
        (0.75 * 0.125 + 0.25 * 0.875, 0.75 * 0.125 + 0.25 * 0.625)
    )
    assert found["mask on wing"] == pytest.approx(0.25)
    assert found["mask on bill"] == 0
    assert (found["visible wing"], found["visible bill"]) == pytest.approx((4 / 16, 0))
    assert found["mask at edge"] == pytest.approx(1)


def test_an_empty_mask_lies_nowhere():
    assert s.mask_statistics(np.zeros((4, 4), np.float32), None, {}) == {"mask area": 0}
    assert not s.place(np.zeros((4, 4), np.float32)).any()
    assert np.isnan(s.outside_share(np.zeros((4, 4), np.float32), np.ones((8, 8), bool)))


def test_the_place_of_a_mask_is_a_square_root_of_shares():
    mask = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    assert (s.place(mask) ** 2).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("brightness", "low", "dark photographs"),
        ("animal size", "low", "a small animal"),
        ("mask outside", "high", "the classifier looks beside the animal"),
        ("mask on bill", "high", "the classifier looks mainly at the bill"),
        ("visible throat", "low", "the throat hidden"),
        ("whatever", "high", "high whatever"),
    ],
)
def test_statistics_in_words(name, how, words):
    assert s.words_for(name, how) == words


def test_a_projection_keeps_distances():
    maps = torch.randn(12, 4 * CHANNELS, 1, 1, generator=torch.Generator().manual_seed(1))
    projected = _projected(maps)
    assert projected.shape == (12, CHANNELS, 1, 1)
    before, after = (torch.cdist(m[:, :, 0, 0], m[:, :, 0, 0])[~torch.eye(12, dtype=bool)] for m in (maps, projected))
    assert (after / before - 1).abs().max() < 0.25
    assert _projected(maps[:, :10]).equal(maps[:, :10])


def test_the_margin_is_ahead_of_the_runner_up():
    assert _margin(torch.tensor([[1.0, 5.0, 3.0], [0.0, 0.0, -1.0]])).tolist() == [2.0, 0.0]
    assert _margin(torch.tensor([[4.0]])).tolist() == [4.0]


def test_features_of_a_study(study, features):
    assert features.image_ids == study.images["image_id"].tolist()
    assert {"place", "whole", "evidence", "under mask", "around animal", "light", "framing"} <= set(features.blocks)
    assert all(np.isfinite(block).all() and len(block) == 24 for block in features.blocks.values())
    names = np.asarray(study.manifest["classifier"]["class_names"])
    assert names[features.top].tolist() == study.predictions()["predicted"].tolist()


def test_the_masks_are_those_of_the_study(study, features):
    first = study.masks(kinds="sdr")["mask"].iloc[0]
    assert features.masks[0].mean() == pytest.approx(float(first.mean()), abs=0.02)


def test_evidence_adds_up_to_the_margin(study):
    """Of a linear readout of pooled maps, the contributions sum to the margin over the runner-up."""
    classifier, data = study.classifier, study.data
    from fidokit.errors.features import _Reader

    with classifier.session() as session:
        image = data.load(0, classifier.preprocessing)[0][None]
        _, used, _, logits = _Reader(session, classifier)._maps(image)
    assert used.sum() == pytest.approx(float(_margin(logits)), rel=1e-4)


def test_nothing_reads_labels_or_planted_columns(study, features, tmp_path):
    table = study.data.table.drop(columns="planted_cause")
    table["label"] = table["label"].to_numpy()[::-1]
    other = extract(drawn_study(tmp_path, fk.LabelledImages.from_table(table)))
    assert all(np.array_equal(other.blocks[name], features.blocks[name]) for name in features.blocks)
    pd.testing.assert_frame_equal(other.named, features.named)
    pd.testing.assert_frame_equal(other.categories, features.categories)
    assert set(features.categories) == {"site"}


def test_masks_that_explain_the_label_are_not_used(tmp_path):
    data = drawn_data(tmp_path / "data", 12)
    register_counting("counting")
    study = fk.run_study(make_classifier(), data, ["counting"], store=tmp_path / "run", targets="label", progress=False)
    features = extract(study)
    assert "explain the label" in features.notes[0]
    assert np.array_equal(features.masks, features.contrast)
    with pytest.raises(SettingsError, match="explain the label"):
        extract(study, method="counting")


def test_a_photograph_that_cannot_be_read_any_more_is_named(tmp_path):
    data = drawn_data(tmp_path / "data", 12)
    study = drawn_study(tmp_path, data)
    path = data.table["path"].iloc[3]
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek(40)
        file.write(b"\0" * 200)
    features = extract(study)
    assert len(features) == 11
    assert path in features.failures["p003"]


def test_a_classifier_without_maps_still_has_features(tmp_path):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(4.0))

        def forward(self, x):
            return self.scale * x.mean(dim=(2, 3))

    data = drawn_data(tmp_path / "data", 12)
    register_counting("counting")
    classifier = fk.Classifier(
        Flat(), ["red", "green", "blue"], size=(16, 16), mean=(0, 0, 0), std=(1, 1, 1), precision="float32",
        micro_batch=8, device="cpu",
    )  # fmt: skip
    features = extract(run(classifier, data, tmp_path / "run"))
    assert "without the classifier's own features" in features.notes[0]
    assert {"whole", "place", "light"} <= set(features.blocks)


def test_masks_that_some_images_lack_are_made_up_for_by_evidence(tmp_path):
    def some(_classifier, images, _targets):
        masks = torch.rand(len(images), 4, 4)
        masks[::2] = torch.nan
        return masks

    register_method("some", some)
    data = drawn_data(tmp_path / "data", 12)
    study = fk.run_study(make_classifier(), data, ["some"], store=tmp_path / "run", progress=False)
    missing = set(study.failures()["image_id"])
    features = extract(study)
    assert len(features) == 12
    assert missing
    for i, image_id in enumerate(features.image_ids):
        assert np.array_equal(features.masks[i], features.contrast[i]) == (image_id in missing)


def test_an_unknown_method_or_kind_is_named(study):
    with pytest.raises(SettingsError, match="counting"):
        extract(study, method="lime")
    with pytest.raises(SettingsError, match="ssr, sdr"):
        extract(study, kind="joint")


def test_which_columns_name_things():
    table = pd.DataFrame(
        {
            "image_id": [str(i) for i in range(60)],
            "site": ["a", "b", None] * 20,
            "hour": np.arange(60) % 12,
            "serial": np.arange(60),
            "depth": np.linspace(0, 1, 60),
            "constant": "x",
            "empty": None,
            "note": [f"note {i}" for i in range(60)],
            "flash": [True, False] * 30,
        }
    )
    found = categories_of(table)
    assert list(found) == ["site", "hour", "flash"]
    assert found["site"].isna().sum() == 20
    assert found["hour"].iloc[3] == "3"


def test_columns_of_numbers_and_columns_that_tell_the_label():
    table = pd.DataFrame(
        {
            "image_id": [str(i) for i in range(20)],
            "depth": np.r_[np.linspace(0, 1, 19), np.nan],
            "year": [2020, 2021] * 10,
            "Genus": ["A", "B"] * 10,
            "species": np.arange(20) % 4,
        }
    )
    assert list(categories_of(table)) == ["year"]
    numbers = numbers_of(table)
    assert list(numbers) == ["column depth"]
    assert numbers["column depth"].isna().sum() == 1
