"""`testbed.load`: the table, the files, the planted causes and the cache."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import fidokit.testbed as testbed
from fidokit.data.geometry import Preprocessing
from fidokit.exceptions import SettingsError
from fidokit.testbed import dataset
from fidokit.testbed.causes import plan
from fidokit.testbed.species import GENUS_OF, HOMES, congeners

SIZE = 64
INPUT = Preprocessing(size=(SIZE, SIZE))
CAUSES = {"habitat": 0.2, "tiny": 0.1, "night": {"marl tit": 0.5}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return testbed.load(36, seed=3, causes=CAUSES, folder=tmp_path_factory.mktemp("drawn") / "a", size=SIZE)


def count(scenes):
    causes = [scene.cause for scene in scenes]
    return {cause: causes.count(cause) for cause in set(causes)}


def test_the_table(data):
    table = data.table
    assert len(data) == 36
    assert data.classes == sorted(testbed.SPECIES)
    assert (table["label"].value_counts() == 3).all()
    assert list(table["genus"]) == [GENUS_OF[label].name for label in table["label"]]
    clean = table[table["planted_cause"] == "none"]
    assert list(clean["habitat"]) == [HOMES[label] for label in clean["label"]]
    assert not any(name.startswith("planted_") for name in data.metadata().columns)
    assert {"genus", "habitat"} <= set(data.metadata().columns)


def test_boxes_part_maps_and_object_masks_agree(data):
    for i in range(0, len(data), 5):
        with Image.open(data.table["object_mask"].iloc[i]) as image:
            bird = np.asarray(image) > 0
        with Image.open(data.table["part_map"].iloc[i]) as image:
            part_map = np.asarray(image)
        np.testing.assert_array_equal(part_map > 0, bird)
        rows, columns = np.nonzero(bird)
        assert data.box(i) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        masks = data.load_part_masks(i, INPUT)
        assert list(masks) == testbed.PARTS == json.loads(data.table["parts"].iloc[i])
        np.testing.assert_array_equal(np.sum(list(masks.values()), axis=0), bird)
        np.testing.assert_array_equal(data.load_object_mask(i, INPUT), bird)


def test_files_are_the_rendered_scenes(data):
    for i in (0, 17):
        drawing = testbed.render(testbed.scene_of(data, i))
        np.testing.assert_array_equal(np.asarray(data.open(i)), drawing.pixels)
        assert testbed.scene_of(data, i).cause == data.table["planted_cause"].iloc[i]


def test_interventions(data):
    scene = testbed.scene_of(data, 1)
    expected = testbed.render(scene.without("wing")).pixels
    np.testing.assert_array_equal(np.asarray(testbed.without_part(data, 1, "wing")), expected)
    np.testing.assert_array_equal(np.asarray(testbed.intervene(data, 1, remove="wing")), expected)
    both = testbed.render(scene.without("wing").without("cap").in_habitat("rock")).pixels
    got = testbed.intervene(data, 1, remove=["wing", "cap"], habitat="rock")
    np.testing.assert_array_equal(np.asarray(got), both)
    other = congeners(scene.species)[0]
    got = testbed.intervene(data, 1, exchange=("bill", other))
    np.testing.assert_array_equal(np.asarray(got), testbed.render(scene.exchanged("bill", other)).pixels)
    with pytest.raises(SettingsError, match="nothing to change"):
        testbed.intervene(data, 1)
    with pytest.raises(SettingsError, match="beak"):
        testbed.without_part(data, 1, "beak")


def test_photographs_have_no_scene(tmp_path):
    from fidokit.data.images import LabelledImages

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(SettingsError, match=r"testbed\.load"):
        testbed.scene_of(LabelledImages.from_folder(tmp_path), 0)


@pytest.mark.parametrize("n", [1, 7, 100, 331])
def test_rates_are_met_and_species_balanced(n):
    scenes = plan(n, 4, {"habitat": 0.2, "watermark": 0.13})
    assert abs(count(scenes).get("habitat", 0) - 0.2 * n) <= 2
    assert abs(count(scenes).get("watermark", 0) - 0.13 * n) <= 3
    numbers = [sum(scene.species == name for scene in scenes) for name in testbed.SPECIES]
    assert max(numbers) - min(numbers) <= 1
    for name in testbed.SPECIES:
        own = [scene for scene in scenes if scene.species == name]
        assert abs(count(own).get("habitat", 0) - 0.2 * len(own)) <= 1


def test_rates_by_species():
    scenes = plan(240, 5, {"night": {"marl tit": 0.5, "silt piper": 1.0}, "tiny": {"marl tit": 0.5}})
    by_species = {name: count([s for s in scenes if s.species == name]) for name in testbed.SPECIES}
    assert by_species["marl tit"] == {"night": 10, "tiny": 10}
    assert by_species["silt piper"] == {"night": 20}
    assert by_species["ember tit"] == {"none": 20}


def test_full_and_zero_rates():
    assert count(plan(50, 6, {"habitat": 1.0})) == {"habitat": 50}
    assert count(plan(50, 6, {"habitat": 0.0})) == {"none": 50}
    assert count(plan(50, 6, {"habitat": 0.7, "night": 0.3}, species=["marl tit"])) == {"habitat": 35, "night": 15}


def test_more_pictures_leave_the_first_as_they_are():
    assert plan(30, 7)[:20] == plan(20, 7)
    assert plan(20, 7) != plan(20, 8)


def test_one_species_with_one_picture(tmp_path):
    data = testbed.load(1, species=["silt piper"], folder=tmp_path / "one", size=SIZE)
    assert data.classes == ["silt piper"]
    assert len(data) == 1


def test_planted_causes_are_in_the_scenes():
    for cause in testbed.CAUSES:
        for scene in plan(24, 9, {cause: 1.0}):
            assert scene.cause == cause
            assert (scene.habitat != HOMES[scene.species]) == (cause == "habitat")
            assert (scene.mark is not None) == (cause == "watermark")
            assert (scene.length < 0.3) == (cause == "tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0; it must be .* at least 1"),
        ({"n": 2.5}, "n is .*; it must be"),
        ({"n": True}, "n is .*; it must be"),
        ({"n": 3, "seed": -1}, "seed is -1; it must be"),
        ({"n": 3, "size": 16}, "size is 16; it must be"),
        ({"n": 3, "clutter": -1}, "clutter is .*; it must be"),
        ({"n": 3, "clutter": float("nan")}, "clutter is .*; it must be"),
        ({"n": 3, "causes": {"fog": 0.1}}, "unknown cause 'fog'; there are: habitat, hidden_part"),
        ({"n": 3, "causes": {"night": 1.5}}, "is 1.5; it must be a number of at least 0 and at most 1"),
        ({"n": 3, "causes": {"night": float("nan")}}, "of at least 0 and at most 1"),
        ({"n": 3, "causes": {"night": "often"}}, "of at least 0 and at most 1"),
        ({"n": 3, "causes": {"night": 0.6, "tiny": 0.6}}, "one cause at most.*night 0.6, tiny 0.6"),
        ({"n": 3, "causes": {"night": {"dodo": 0.1}}}, "'dodo'; the species here are: marl tit"),
        ({"n": 3, "causes": ["night"]}, "mapping"),
        ({"n": 3, "species": ["dodo"]}, "unknown species 'dodo'; there are: marl tit"),
        ({"n": 3, "species": []}, "no species; there are"),
        ({"n": 3, "species": ["marl tit", "marl tit"]}, "twice"),
        ({"n": 3, "species": ["marl tit"], "causes": {"night": {"ember tit": 0.5}}}, "'ember tit'"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        testbed.load(**arguments, folder=tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_the_cache_is_used_again_and_keyed_by_the_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "user_cache_dir", lambda name: str(tmp_path / name))
    first = testbed.load(2, size=SIZE)
    assert tmp_path / "fidokit" / "testbed" in first.root.parents
    monkeypatch.setattr(dataset, "render", None)
    again = testbed.load(2, size=SIZE)
    assert again.fingerprint() == first.fingerprint()
    with pytest.raises(TypeError):
        testbed.load(2, seed=1, size=SIZE)


def test_a_cache_with_a_missing_picture_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "user_cache_dir", lambda name: str(tmp_path / name))
    first = testbed.load(2, size=SIZE)
    before = np.asarray(first.open(1))
    (first.root / "images" / "00001.png").unlink()
    np.testing.assert_array_equal(np.asarray(testbed.load(2, size=SIZE).open(1)), before)


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    real = dataset.render

    def interrupted(scene):
        if scene.index == 2:
            raise KeyboardInterrupt
        return real(scene)

    monkeypatch.setattr(dataset, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        testbed.load(4, folder=tmp_path / "half", size=SIZE)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(dataset, "render", real)
    assert len(testbed.load(4, folder=tmp_path / "half", size=SIZE)) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_a_folder_of_the_user_is_not_overwritten(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    assert len(testbed.load(1, folder=mine, size=SIZE)) == 1
    assert len(testbed.load(1, folder=mine, size=SIZE)) == 1
    with pytest.raises(SettingsError, match="holds other files"):
        testbed.load(1, seed=1, folder=mine, size=SIZE)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="not a folder"):
        testbed.load(1, folder=tmp_path / "file", size=SIZE)
    with pytest.raises(SettingsError, match="cannot be written"):
        testbed.load(1, folder=tmp_path / "file" / "below", size=SIZE)


def test_the_public_names_are_there():
    for name in testbed.__all__:
        assert getattr(testbed, name) is not None
    assert set(testbed.__all__) <= set(dir(testbed))
    with pytest.raises(AttributeError, match="birds"):
        _ = testbed.birds
