"""The classifiers that ship: what they get right, what they are biased by, and what they decide by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import fidokit as fk
import fidokit.testbed as testbed
from fidokit.exceptions import SettingsError
from fidokit.testbed.causes import plan
from fidokit.testbed.drawing import render
from fidokit.testbed.network import BIASES, SIZE
from fidokit.testbed.species import DIAGNOSTIC_PARTS

N = 96
#: No seed of the training, the tuning or the benchmarks.
FRESH = 900


def inputs(scenes):
    pictures = [Image.fromarray(render(scene).pixels) for scene in scenes]
    small = np.stack([np.asarray(p.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for p in pictures])
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255


def accuracy(classifier, images, scenes):
    predicted = classifier.logits(images).argmax(1).tolist()
    return np.mean([classifier.class_names[k] == scene.species for k, scene in zip(predicted, scenes, strict=True)])


@pytest.fixture(scope="module")
def classifiers():
    return {
        bias: testbed.classifier(bias, device="cpu", precision="float32", micro_batch=32) for bias in (None, *BIASES)
    }


@pytest.fixture(scope="module")
def clean():
    scenes = plan(N, FRESH)
    return inputs(scenes), scenes


@pytest.mark.parametrize("bias", [None, *BIASES])
def test_clean_pictures_are_recognised(classifiers, clean, bias):
    assert accuracy(classifiers[bias], *clean) >= 0.95


@pytest.mark.parametrize("cause", ["hidden_part", "night", "tiny", "habitat", "watermark"])
def test_causes(classifiers, cause):
    scenes = plan(N // 3, FRESH + 1, {cause: 1.0})
    images = inputs(scenes)
    found = {bias: accuracy(classifiers[bias], images, scenes) for bias in classifiers}
    if cause in BIASES:
        assert found[None] >= 0.9
        assert found[cause] <= 0.65
    else:
        assert found[None] <= 0.65


def test_the_fair_classifier_decides_by_small_parts(classifiers, clean):
    _, scenes = clean
    effects: dict[str, list[float]] = {}
    others = ["legs", "eye", "breast"]
    for scene in scenes[:12]:
        part_map = render(scene).part_map
        judged = [*DIAGNOSTIC_PARTS[scene.species], *others]
        parts = [part for part in judged if (part_map == testbed.PARTS.index(part) + 1).any()]
        pictures = inputs([scene, *(scene.without(part) for part in parts)])
        odds = classifiers[None].log_odds(pictures, [scene.species] * len(pictures)).tolist()
        for part, value in zip(parts, odds[1:], strict=True):
            effects.setdefault(part if part in others else "small", []).append(odds[0] - value)
    small = np.mean(effects.pop("small"))
    assert small > 1.0
    assert all(small > np.mean(effects[part]) for part in others)


def test_names_on_the_command_line(classifiers):
    for bias in (None, *BIASES):
        name = classifiers[bias].name
        loaded = fk.Classifier.load(name, device="cpu", precision="float32")
        assert loaded.fingerprint() == classifiers[bias].fingerprint()
        assert loaded.class_names == testbed.SPECIES
        assert loaded.size == (SIZE, SIZE)
    assert testbed.classifier().name == "python:fidokit.testbed:classifier"


def test_an_unknown_bias_lists_the_known_ones():
    with pytest.raises(SettingsError, match="'pose'; there are: None, habitat, watermark"):
        testbed.classifier("pose")


def test_stores_know_its_modules_by_these_names():
    # A class that is called otherwise gives another `repr`, and so a fingerprint that no store from before has.
    own = {type(module) for module in testbed.classifier().module.modules() if "fidokit" in type(module).__module__}
    assert {module.__name__ for module in own} == {"Network", "Residual"}


def test_the_weights_are_small():
    from importlib.resources import files

    folder = files("fidokit.testbed").joinpath("weights")
    sizes = {path.name: len(path.read_bytes()) for path in folder.iterdir() if path.name.endswith(".safetensors")}
    names = ("fair", "habitat", "individuals", "watermark")
    assert set(sizes) == {f"{name}.safetensors" for name in names}
    assert sum(sizes.values()) < 3e6


def test_grad_cam_finds_the_last_map(classifiers, clean):
    images, _ = clean
    masks = fk.explain(classifiers[None], images[:2], method="grad-cam")
    assert masks.attribution.shape == (2, 16, 16)
