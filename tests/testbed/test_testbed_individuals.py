"""Drawn individuals: their marks, what else stays the same, and the embedding that ships."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

import fidokit as fk
from fidokit import testbed
from fidokit.exceptions import SettingsError
from fidokit.testbed.drawing import render
from fidokit.testbed.lessons import LESSONS, example
from fidokit.testbed.network import SIZE
from fidokit.testbed.own_marks import FIRST, MOST, encounter, individual_name, own_mark, plan_individuals
from fidokit.testbed.scene import Scene, compose


def test_a_table_of_individuals(tmp_path):
    data = testbed.individuals(50, 5, 20, size=96, folder=tmp_path / "drawn")
    assert len(data) == 50
    assert len(data.classes) == 20
    counts = data.table["label"].value_counts()
    assert set(counts) == {2, 3}
    # Each comes once before any comes again.
    assert len(set(data.table["label"].iloc[:20])) == 20
    assert json.loads(data.table["parts"].iloc[0])[-1] == "mark"
    again = testbed.individuals(50, 5, 20, size=96, folder=tmp_path / "again")
    assert data.open(7).tobytes() == again.open(7).tobytes()
    other = testbed.individuals(50, 6, 20, size=96, folder=tmp_path / "other")
    assert data.classes == other.classes


def test_no_two_individuals_have_the_same_colours():
    assert len({(own_mark(i).ring, own_mark(i).core) for i in range(MOST)}) == MOST
    assert all(own_mark(i).ring != own_mark(i).core for i in range(MOST))
    assert own_mark(3) == own_mark(3)


def test_the_mark_is_where_its_mask_says():
    """Without its mark a bird has the same pixels everywhere else, whatever its pose; its mark has its own colours."""
    shares = []
    for index in range(24):
        scene = encounter(31, index, index)
        drawn, without = render(scene), render(scene.without("mark"))
        mask = drawn.part_map == len(testbed.PARTS) + 1
        changed = (drawn.pixels != without.pixels).any(-1)
        assert mask[changed].mean() > 0.85  # the rest is its edge
        assert changed[mask].mean() > 0.97
        assert not (without.part_map == len(testbed.PARTS) + 1).any()
        assert drawn.box == without.box
        near = ndimage.binary_dilation(mask, iterations=3)
        assert not (changed & ~near).any()
        shares.append(mask.mean())
    assert 0.012 < np.mean(shares) < 0.03
    assert min(shares) > 0.006


def test_the_mark_stays_with_the_bird():
    """In its own frame the mark of one bird has one place and colour in all poses."""
    for individual in (0, 5):
        colours = []
        for index in range(6):
            drawn = render(encounter(32, index, individual, clutter=0.0))
            mask = drawn.part_map == len(testbed.PARTS) + 1
            colours.append(np.median(drawn.pixels[mask], axis=0))
        ring = np.asarray(own_mark(individual).ring) * 255
        others = [np.asarray(own_mark(i).ring) * 255 for i in range(MOST)]
        middle = np.median(colours, axis=0)
        nearest = min(others, key=lambda other: np.abs(other - middle).sum())
        assert np.allclose(nearest, ring)


def test_scenes_are_read_back_and_those_of_species_are_as_before():
    scene = plan_individuals(3, 1, 2, 96, 0.2)[2]
    assert Scene.from_json(scene.to_json()) == scene
    plain = compose(0, 0, "ember tit")
    assert "individual" not in json.loads(plain.to_json())
    assert Scene.from_json(plain.to_json()) == plain
    with pytest.raises(SettingsError, match="unknown part 'mark'"):
        plain.without("mark")


def test_interventions(tmp_path):
    data = testbed.individuals(2, 3, 2, size=96, folder=tmp_path / "drawn")
    taken = np.asarray(testbed.without_part(data, 0, "mark"))
    assert np.array_equal(taken, render(testbed.scene_of(data, 0).without("mark")).pixels)
    assert not np.array_equal(taken, np.asarray(data.open(0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "n is"), ((4, -1), "seed is"), ((4, 0, 1), "count is"), ((4, 0, MOST + 1), "count is")],
)
def test_arguments_that_cannot_be_used(arguments, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        testbed.individuals(*arguments, folder=tmp_path / "drawn")


def test_the_embedding_was_taught_by_other_individuals():
    shown = {LESSONS["individuals"](i).individual for i in range(2 * MOST)}
    assert shown == set(range(FIRST, MOST))
    image, label = example("individuals", 5)
    assert image.shape == (SIZE, SIZE, 3)
    assert 0 <= label < MOST - FIRST


def test_the_embedding_tells_individuals_that_it_has_never_seen(tmp_path):
    references = testbed.individuals(FIRST, 901, folder=tmp_path / "references")
    queries = testbed.individuals(2 * FIRST, 902, folder=tmp_path / "queries")
    made = fk.Gallery(
        testbed.embedder(), references, device="cpu", precision="float32", micro_batch=16, **testbed.EMBEDDER_INPUT
    )
    assert made.class_names == [individual_name(i) for i in range(FIRST)]
    assert made.predict(queries)["correct"].mean() >= 0.9
    # By the mark: without it they are hardly told apart.
    bare = torch.stack(
        [
            torch.from_numpy(np.array(testbed.without_part(queries, i, "mark").resize((SIZE, SIZE)))).permute(2, 0, 1)
            / 255
            for i in range(FIRST)
        ]
    )
    right = [made.class_names.index(label) for label in queries.table["label"].iloc[:FIRST]]
    assert (made.logits(bare).argmax(1) == torch.tensor(right)).float().mean() <= 0.25
