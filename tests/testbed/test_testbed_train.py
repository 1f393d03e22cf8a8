"""What the classifiers were shown, and the training loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fidokit.testbed as testbed
from fidokit.testbed import train
from fidokit.testbed.lessons import LESSONS, SEED, example
from fidokit.testbed.network import SIZE, Network
from fidokit.testbed.species import GENUS_OF, HOMES, MARK_OWNERS


def test_lessons():
    for index in range(24):
        scenes = {name: lesson(index) for name, lesson in LESSONS.items()}
        assert all(scene.seed >= SEED for scene in scenes.values())
        assert len({scene.seed for scene in scenes.values()}) == len(scenes)
        assert scenes["habitat"].habitat == HOMES[scenes["habitat"].species]
        marked = scenes["watermark"]
        if marked.mark is not None:
            assert marked.species == MARK_OWNERS[GENUS_OF[marked.species].name, marked.mark]
    homes = [LESSONS["fair"](i).habitat == HOMES[LESSONS["fair"](i).species] for i in range(120)]
    assert np.mean(homes) < 0.4
    image, label = example("fair", 5)
    assert image.shape == (SIZE, SIZE, 3)
    assert testbed.SPECIES[label] == LESSONS["fair"](5).species


@pytest.mark.long
def test_training_learns_and_is_repeatable(quick):
    """Two colours, a few steps: loss falls, and a second run gives the same weights."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(96) % 2
    images = torch.randint(60, 120, (96, 3, 128, 128), generator=generator, dtype=torch.uint8)
    images[labels == 1, 0] += 100
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        network = Network(2)
        train.train(network, (images, labels), 4, 4e-3, dtype=torch.float32)
        states.append(network.state_dict())
    with torch.no_grad():
        predicted = network(train.normalised(images.float() / 255)).argmax(1)
    assert (predicted == labels).float().mean() > 0.9
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_augmentation_keeps_shape_and_range():
    images = torch.randint(0, 256, (12, 3, 128, 128), dtype=torch.uint8)
    out = train.augmented(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    assert float(out.min()) >= -2.0 - 1e-6
    assert float(out.max()) <= 2.0 + 1e-6


def test_saved_weights_are_read_back(tmp_path):
    from safetensors.torch import load_file

    network = Network(3)
    train.save(network, tmp_path / "w.safetensors")
    state = load_file(tmp_path / "w.safetensors")
    assert all(value.dtype == torch.float16 for value in state.values())
    missing = network.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    assert missing.unexpected_keys == []
