"""Pixels, masks and interventions of the drawn species, without files."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fidokit.exceptions import SettingsError
from fidokit.testbed.bird import anchors, skeleton
from fidokit.testbed.causes import plant
from fidokit.testbed.drawing import render
from fidokit.testbed.raster import Frame, Stream, enlarge, hashed, lens, smoothstep, value_noise
from fidokit.testbed.scene import CAUSES, Scene, compose
from fidokit.testbed.species import (
    DIAGNOSTIC_PARTS,
    GENERA,
    GENUS_OF,
    HABITATS,
    HOMES,
    MARK_OWNERS,
    MARKS,
    PARTS,
    SPECIES,
    congeners,
)

#: Shadows and soft edges reach this far beyond a part's mask, in pixels of a 256-pixel picture.
REACH = 6

DIGESTS = {
    "reeds": "c52c0ea9a33c8ee0",
    "snow": "36577dc709029d8c",
    "forest floor": "5227ee44569210cd",
    "shore": "d8f2a050a61e2138",
    "meadow": "c5530f1726a0140e",
    "rock": "6419cc2f8e1c795f",
    "habitat": "86b1e8eda48934b6",
    "hidden_part": "4728ee8d33c16f29",
    "watermark": "b12935adf28c06a1",
    "night": "a8ef9931c3ca461d",
    "tiny": "a687c551dc99d0ca",
    "stamp": "819b43c9e562a461",
    "scale bar": "4548e106157ab44d",
}


def scenes_of_digests() -> dict[str, Scene]:
    """Every habitat, genus, cause and mark at least once."""
    made = {habitat: replace(compose(1, k, SPECIES[2 * k]), habitat=habitat) for k, habitat in enumerate(HABITATS)}
    made |= {cause: plant(compose(2, k, SPECIES[11 - k]), cause) for k, cause in enumerate(CAUSES)}
    made |= {mark: replace(compose(3, k, SPECIES[k], size=128), mark=mark) for k, mark in enumerate(MARKS)}
    return made


def changed(first, second):
    return (first.pixels != second.pixels).any(2)


def near(mask):
    return ndimage.distance_transform_edt(~mask) <= REACH if mask.any() else mask


def seams(drawing):
    """Where parts meet: two soft edges there let through a little of what is behind both."""
    part_map = drawing.part_map.astype(int)
    return ndimage.maximum_filter(part_map, 5) != ndimage.minimum_filter(part_map, 5)


def mask(drawing, part):
    return drawing.part_map == PARTS.index(part) + 1


@pytest.mark.parametrize("name", scenes_of_digests())
def test_the_same_scene_gives_the_same_pixels_on_every_machine(name):
    drawing = render(scenes_of_digests()[name])
    digest = hashlib.sha256(drawing.pixels.tobytes() + drawing.part_map.tobytes()).hexdigest()
    assert digest[:16] == DIGESTS[name]


def test_there_are_enough_species_and_they_differ_in_small_parts_alone():
    assert len(SPECIES) >= 12
    assert len(GENERA) >= 3
    for genus in GENERA.values():
        assert len(genus.species) >= 4
        for (one, style), (other, rival) in itertools.combinations(genus.species.items(), 2):
            fields = {name for name in vars(style) if getattr(style, name) != getattr(rival, name)}
            parts = {name.replace("_", " ").replace("bill curve", "bill").split(" fork")[0] for name in fields}
            parts = {"tail" if part == "tail edge" else part for part in parts}
            assert len(parts) >= 2, (one, other)
            assert parts <= set(DIAGNOSTIC_PARTS[one])
        assert len({HOMES[name] for name in genus.species}) == len(genus.species)
        assert len({MARK_OWNERS[genus.name, mark] for mark in MARKS}) == len(MARKS)
    assert len(HABITATS) >= 6


@pytest.mark.parametrize("species", SPECIES)
def test_congeners_differ_on_the_diagnostic_parts_and_nowhere_else(species):
    scene = replace(compose(4, 0, species), clutter=0.0)
    own = render(scene)
    bones = skeleton(scene)
    allowed = np.zeros(own.part_map.shape, bool)
    for place in anchors(bones):
        frame = Frame.upright(*place.a, 1.0)
        y, x = np.mgrid[0:256, 0:256]
        dx, dy = place.b[0] - frame.x, place.b[1] - frame.y
        t = np.clip(((x - frame.x) * dx + (y - frame.y) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        allowed |= np.hypot(x - frame.x - t * dx, y - frame.y - t * dy) < place.radius + REACH
    for other in congeners(species):
        differs = changed(own, render(replace(scene, parts=dict.fromkeys(PARTS, other))))
        assert differs.sum() > 50
        # The cap tapers towards bill and nape beyond its anchor.
        assert (differs & ~allowed).sum() <= 0.12 * differs.sum()


@pytest.mark.parametrize(("species", "index"), [("candle tit", 3), ("mitre finch", 8), ("silt piper", 21)])
def test_removing_a_part_changes_its_pixels_and_no_others(species, index):
    scene = compose(5, index, species)
    whole = render(scene)
    for part in PARTS:
        less = render(scene.without(part))
        assert not mask(less, part).any()
        differs = changed(whole, less)
        assert not (differs & ~near(mask(whole, part)) & ~seams(whole)).any(), part
        assert differs[mask(whole, part)].all()
        if not mask(whole, part).any():
            assert not differs.any()
        others = ~near(mask(whole, part))
        np.testing.assert_array_equal(whole.part_map[others], less.part_map[others])


@pytest.mark.parametrize(
    ("species", "part", "other"),
    [
        ("flint finch", "bill", "barley finch"),
        ("silt piper", "tail", "brine piper"),
        ("ember tit", "cap", "marl tit"),
        ("ember tit", "throat", "candle tit"),
        ("hollow tit", "eye ring", "tallow piper"),
    ],
)
def test_exchanging_a_part_changes_its_pixels_and_no_others(species, part, other):
    scene = compose(6, 1, species)
    before, after = render(scene), render(scene.exchanged(part, other))
    differs = changed(before, after)
    assert differs.any()
    assert not (differs & ~near(mask(before, part) | mask(after, part))).any()


@pytest.mark.parametrize("species", ["marl tit", "barley finch", "ribbon piper"])
def test_a_congener_is_what_all_diagnostic_parts_exchanged_make(species):
    scene = compose(6, 3, species)
    other = congeners(species)[-1]
    step = scene
    for part in DIAGNOSTIC_PARTS[species]:
        step = step.exchanged(part, other)
    expected = render(replace(scene, species=other, parts=dict.fromkeys(PARTS, other)))
    np.testing.assert_array_equal(render(step).pixels, expected.pixels)
    np.testing.assert_array_equal(render(step).part_map, expected.part_map)


def test_a_part_exchanged_with_its_own_species_is_the_same_picture():
    scene = compose(6, 2, "marl tit")
    np.testing.assert_array_equal(render(scene).pixels, render(scene.exchanged("cap", "marl tit")).pixels)


@pytest.mark.parametrize("cause", ["none", "hidden_part", "watermark"])
def test_exchanging_the_habitat_leaves_the_bird_and_the_clutter(cause):
    scene = plant(compose(7, 4, "barley finch", clutter=0.8), cause)
    before, after = render(scene), render(scene.in_habitat("shore"))
    np.testing.assert_array_equal(before.part_map, after.part_map)
    # Two legs that cross have a seam within one part.
    inside = before.object_mask & ~seams(before) & ~mask(before, "legs")
    assert inside.sum() > 200
    assert not (changed(before, after) & inside).any()
    assert changed(before, after)[~near(before.object_mask)].mean() > 0.8


@pytest.mark.parametrize("species", SPECIES)
def test_without_a_cause_all_diagnostic_parts_are_in_view(species):
    for index in range(3):
        scene = compose(8, index, species)
        clear = render(replace(scene, clutter=0.0))
        drawing = render(scene)
        for part in DIAGNOSTIC_PARTS[species]:
            assert mask(drawing, part).sum() >= 0.85 * mask(clear, part).sum()
        assert scene.habitat == HOMES[species]


@pytest.mark.parametrize("species", SPECIES)
def test_hidden_parts_have_no_pixels_and_congeners_look_alike(species):
    scene = plant(compose(9, 5, species), "hidden_part")
    drawing = render(scene)
    for part in DIAGNOSTIC_PARTS[species]:
        assert mask(drawing, part).sum() <= 0.02 * max(mask(render(replace(scene, cause="none")), part).sum(), 1)
    assert drawing.object_mask.sum() > 500
    for other in congeners(species):
        differs = changed(drawing, render(replace(scene, parts=dict.fromkeys(PARTS, other))))
        assert differs.mean() < 0.002


def test_night_is_dark_grey_and_noisy():
    day = compose(10, 0, "ribbon piper")
    before, night = render(day).pixels.astype(float), render(plant(day, "night")).pixels.astype(float)
    assert night.mean() < 0.6 * before.mean()
    assert np.ptp(night, axis=2).mean() < 8
    assert np.abs(np.diff(night[..., 1], axis=0)).mean() > 3


def test_a_tiny_bird_is_a_quarter_as_long_and_stays_in_the_picture():
    for index in range(6):
        scene = compose(11, index, "lantern finch", clutter=0.0)
        usual, tiny = render(scene).box, render(plant(scene, "tiny")).box
        assert 0.2 < (tiny[2] - tiny[0]) / (usual[2] - usual[0]) < 0.3
        assert tiny[0] > 0
        assert tiny[2] < 256


def test_a_wrong_mark_lies_in_a_corner():
    for species in SPECIES:
        scene = compose(12, 1, species)
        marked = plant(scene, "watermark")
        assert MARK_OWNERS[GENUS_OF[species].name, marked.mark] in congeners(species)
        rows, columns = np.nonzero(changed(render(scene), render(marked)))
        assert rows.max() < 64 or rows.min() > 192
        assert columns.max() < 128 or columns.min() > 128


def test_the_causes_leave_the_pose_alone():
    scene = compose(13, 2, "brine piper")
    for cause in ("habitat", "hidden_part", "watermark", "night"):
        planted = plant(scene, cause)
        assert (planted.x, planted.length, planted.facing, planted.parts) == (
            *(scene.x, scene.length, scene.facing, scene.parts),
        )
        assert planted.cause == cause
    assert plant(scene, "habitat").habitat in {HOMES[name] for name in congeners("brine piper")}


def test_scenes_survive_json():
    for index, cause in enumerate(["none", *CAUSES]):
        scene = plant(compose(14, index, SPECIES[index]), cause).without("bill").exchanged("cap", "ember tit")
        assert Scene.from_json(scene.to_json()) == scene


def test_unknown_names_list_the_known_ones():
    scene = compose(0, 0, "marl tit")
    with pytest.raises(SettingsError, match=r"beak.*wing bar"):
        scene.without("beak")
    with pytest.raises(SettingsError, match=r"dodo.*marl tit"):
        scene.exchanged("bill", "dodo")
    with pytest.raises(SettingsError, match=r"desert.*reeds"):
        scene.in_habitat("desert")


def test_box_and_mask_enclose_what_is_visible():
    drawing = render(compose(15, 0, "mitre finch"))
    x0, y0, x1, y1 = drawing.box
    inside = np.zeros_like(drawing.object_mask)
    inside[y0:y1, x0:x1] = True
    assert not (drawing.object_mask & ~inside).any()
    assert drawing.object_mask[y0].any()
    assert drawing.object_mask[y1 - 1].any()
    assert drawing.object_mask[:, x0].any()
    assert drawing.object_mask[:, x1 - 1].any()


@pytest.mark.parametrize("size", [64, 97, 255, 320])
def test_any_size_can_be_drawn(size):
    drawing = render(compose(16, 3, "hollow tit", size=size))
    assert drawing.pixels.shape == (size, size, 3)
    assert 0.08 < drawing.object_mask.mean() < 0.4


def test_streams_are_uniform_and_depend_on_their_names():
    stream = Stream(1, "a")
    values = np.array([stream.between() for _ in range(4000)])
    assert abs(values.mean() - 0.5) < 0.02
    assert abs(values.var() - 1 / 12) < 0.005
    assert Stream(1, "a").bits() != Stream(1, "b").bits()
    assert Stream(1, "a").bits() == Stream(1, "a").bits()
    assert sorted(Stream("order").shuffled(range(20))) == list(range(20))


def test_splitmix_agrees_with_its_reference():
    # First outputs for the state 1234567 of the published generator.
    stream = Stream()
    stream._state = 1234567
    assert [stream.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_hashed_noise_is_uniform_and_interpolated_between_whole_points():
    x, y = np.arange(200, dtype=np.uint32)[None, :], np.arange(200, dtype=np.uint32)[:, None]
    noise = hashed(x, y, 5)
    assert noise.dtype == np.float32
    assert abs(noise.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02
    points = np.float32([[3.0, 3.5, 4.0]]), np.float32([[7.0, 7.0, 7.0]])
    smooth = value_noise(*points, 5)[0]
    np.testing.assert_allclose(smooth, [noise[7, 3], (noise[7, 3] + noise[7, 4]) / 2, noise[7, 4]], rtol=1e-5)


def test_shapes_against_closed_forms():
    frame = Frame.upright(10.0, 20.0, 4.0, -1.0).child(1.0, 0.0, 0.5)
    # 2 arctan(1/2) has the cosine 3/5; the mirrored x axis points left.
    np.testing.assert_allclose(frame.point(1.0, 0.0), (10 - 4 - 2.4, 20 + 3.2))
    assert frame.scale == pytest.approx(4.0)
    window = frame.window([(0.0, 0.0)], 1.0, 64)
    x, y = frame.grid(window)
    back = frame.point(float(x[2, 3]), float(y[2, 3]))
    np.testing.assert_allclose(back, (window.x0 + 3.5, window.y0 + 2.5), atol=1e-4)
    ends = lens(np.float32([[3.0, 0.0, 0.0]]), np.float32([[0.0, 1.0, 0.0]]), 3.0, 1.0)
    np.testing.assert_allclose(ends[0], [0.0, 0.0, -1.0], atol=1e-5)
    np.testing.assert_allclose(smoothstep(1.0, 0.0, np.float32([0.0, 0.5, 1.0])), [1.0, 0.5, 0.0])


def test_enlarging_is_bilinear():
    from PIL import Image

    image = np.random.default_rng(0).random((9, 7, 3)).astype(np.float32)
    expected = [Image.fromarray(image[..., c]).resize((14, 18), Image.Resampling.BILINEAR) for c in range(3)]
    np.testing.assert_allclose(enlarge(image, 18, 14), np.stack(expected, 2), atol=1e-5)
    assert enlarge(image, 17, 13).shape == (17, 13, 3)
