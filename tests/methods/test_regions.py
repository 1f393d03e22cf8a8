"""Verified regions: a classifier whose answer is known place by place, so that the smallest region is too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import photographs
from PIL import Image
from torch import nn

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods.base import Masks
from fidokit.methods.regions import (
    AREAS,
    MARGIN,
    Regions,
    check_infills,
    cloud,
    cut,
    find_regions,
    mosaic,
    search_infills,
)

SIZE = (32, 32)


class Corner(nn.Module):
    """Sees only how much of the picture's upper left 16 x 16 pixels are pure white."""

    def forward(self, x):
        white = (x[:, :, :16, :16] > 0.97).all(1).float().mean((1, 2))
        return torch.stack([20 * (white - 0.5), torch.zeros_like(white)], 1)


def classifier():
    return fk.Classifier(Corner(), ["white", "other"], mean=(0, 0, 0), std=(1, 1, 1), size=SIZE, precision="float32")


def pictures(n=1):
    images = photographs(n, SIZE) * 0.5
    images[..., :16, :16] = 1
    return images


def masks_of(values, kinds=("ssr", "sdr"), method="mine", score=None, n=None):
    n = len(values)
    return Masks(
        method, [str(i) for i in range(n)], dict.fromkeys(kinds, values), SIZE, ["white"] * n, [None] * n,
        torch.zeros(n), torch.zeros(n), torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool),
        torch.full((n,), float(torch.sigmoid(torch.tensor(10.0)))),
    )  # fmt: skip


def from_the_corner():
    """Most important at the upper left, least at the lower right."""
    far = torch.maximum(torch.arange(32)[:, None], torch.arange(32)[None]).float()
    return (1 - far / 32)[None]


def test_the_smallest_region_is_found_and_holds():
    found = find_regions(classifier(), masks_of(from_the_corner()), pictures())
    by_claim = {one.claim: one for one in found}
    assert [one.holds for one in found] == ["yes", "yes"]
    # 62 % of the corner keep nine tenths of the score, 61 % of it gone leave a tenth: 0.15 of the picture and a margin.
    for claim, least in (("sufficient", 0.25 * 0.61), ("destroying", 0.25 * 0.61)):
        one = by_claim[claim]
        assert least <= one.area <= least * (AREAS[1] / AREAS[0]) ** (MARGIN[one.claim] + 2) * 1.3
        assert one.region.shape == SIZE
        assert one.region.dtype == bool
        assert one.area == pytest.approx(one.region.mean())
        assert one.region[:8, :8].all()
        assert not one.region[20:, 20:].any()


def test_a_mask_that_points_elsewhere_needs_far_more_area():
    wrong = find_regions(classifier(), masks_of(1 - from_the_corner()), pictures())
    right = find_regions(classifier(), masks_of(from_the_corner()), pictures())
    for mine, theirs in zip(right, wrong, strict=True):
        assert theirs.area > 2.5 * mine.area


def test_what_only_some_infills_destroy_is_said_so():
    white = torch.ones(1, 3, *SIZE)
    panel = torch.cat([white, check_infills(SIZE)])
    found = find_regions(classifier(), masks_of(from_the_corner()), pictures(), kinds=["sdr"], infills=panel)
    (one,) = found
    assert one.holds == "only under some infills"
    assert one.scores[0] == pytest.approx(1, abs=1e-3)
    assert max(one.scores[1:]) <= 0.1
    (none,) = find_regions(classifier(), masks_of(from_the_corner()), pictures(), kinds=["sdr"], infills=white)
    assert none.holds == "no"


def test_thresholds_are_settable_and_stricter_ones_need_more():
    loose, strict = (
        find_regions(classifier(), masks_of(from_the_corner()), pictures(), kept=kept, dropped=1 - kept)
        for kept in (0.5, 0.99)
    )
    assert all(a.area < b.area for a, b in zip(loose, strict, strict=True))


def test_other_kinds_are_cut_for_both_claims():
    found = find_regions(classifier(), masks_of(from_the_corner(), ("attribution",)), pictures())
    assert [(one.kind, one.claim) for one in found] == [("attribution", "sufficient"), ("attribution", "destroying")]


def test_no_image_depends_on_its_neighbours_and_evaluations_are_counted():
    values = torch.cat([from_the_corner(), 1 - from_the_corner(), from_the_corner().sqrt()])
    model, images = classifier(), pictures(3)
    with model.session():
        before = model.counter.evaluations
        together = find_regions(model, masks_of(values), images)
        spent = model.counter.evaluations - before
    for i in range(3):
        alone = find_regions(model, masks_of(values[i : i + 1]), images[i : i + 1])
        for one, other in zip(alone, [r for r in together if r.image_id == str(i)], strict=True):
            np.testing.assert_array_equal(one.region, other.region)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    assert spent == sum(one.evaluations for one in together) == 3 * 2 * (5 * 3 + 3)


def test_the_table_and_the_words():
    found = find_regions(classifier(), masks_of(from_the_corner().repeat(2, 1, 1)), pictures(2))
    table = found.to_frame()
    assert len(table) == len(found) == 4
    assert list(table["claim"]) == ["sufficient"] * 2 + ["destroying"] * 2
    assert (table["worst"] <= table["score"] + 1e-9)[table["claim"] == "sufficient"].all()
    assert (table["worst"] >= table["score"] - 1e-9)[table["claim"] == "destroying"].all()
    assert repr(found) == "Regions(2 of 2 sufficient, 2 of 2 destroying hold)"
    assert repr(found[:1]) == "Regions(1 of 1 sufficient hold)"
    whole = replace(found[0], area=1.0)
    assert repr(Regions([whole])) == "Regions(0 of 1 sufficient hold, 1 only as the whole picture)"


def test_from_the_result_of_explain_and_of_files(tmp_path):
    model, images = classifier(), pictures(2)
    masks = fk.explain(model, images, "occlusion", targets=0)
    found = find_regions(model, masks.select(slice(1, 2)))
    assert [(one.image_id, one.claim) for one in found] == [("1", "sufficient"), ("1", "destroying")]
    same = find_regions(model, masks.select(slice(1, 2)), images[1:])
    np.testing.assert_array_equal(found[0].region, same[0].region)
    folder = tmp_path / "white"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    of_files = fk.explain(model, fk.LabelledImages.from_folder(tmp_path), "occlusion", targets=0)
    found = find_regions(model, of_files, kept=0.5)
    assert [one.image_id for one in found] == [*of_files.image_ids] * 2
    assert {one.holds for one in found if one.claim == "sufficient"} == {"yes"}


def test_masks_that_do_not_know_their_images_say_so():
    with pytest.raises(SettingsError, match="pass the images yourself"):
        find_regions(classifier(), masks_of(from_the_corner()))


def test_cut_takes_the_most_important_and_scatters_ties():
    mask = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(0))
    inside = cut(mask, 0.25)
    assert int(inside.sum()) == 100
    assert mask[inside].min() > mask[~inside].max()
    tied = cut(torch.zeros(1, 20, 20), 0.25)[0]
    assert all(10 <= int(quarter.sum()) <= 40 for quarter in (tied[:10, :10], tied[10:, :10], tied[:10, 10:]))
    assert int(cut(mask, 0.0).sum()) == 1


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (96, 96)])
def test_the_infills_of_search_and_check_are_pictures_and_different_ones(size):
    infills = torch.cat([search_infills(size), check_infills(size)])
    assert infills.shape == (6, 3, *size)
    assert infills.amin() >= 0
    assert infills.amax() <= 1
    for i in range(6):
        for j in range(i):
            assert (infills[i] - infills[j]).abs().mean() > 0.05
    assert torch.equal(mosaic(size), mosaic(size))
    # Coarse structure is stronger than fine structure.
    noise = cloud((64, 64))
    assert noise.diff(dim=-1).abs().mean() < 0.5 * (noise - noise.mean((1, 2), keepdim=True)).abs().mean()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kept": 1.0}, "kept"),
        ({"dropped": 0.0}, "dropped"),
        ({"kept": -1}, "kept"),
        ({"infills": torch.zeros(1, 3, 8, 8)}, "infills"),
        ({"infills": torch.zeros(0, 3, 32, 32)}, "infills"),
        ({"kinds": ["joint"]}, "joint"),
    ],
)
def test_what_cannot_be_is_refused(wrong, words):
    with pytest.raises(SettingsError, match=words):
        find_regions(classifier(), masks_of(from_the_corner()), pictures(), **wrong)


def test_masks_of_a_function_ask_for_it():
    masks = masks_of(from_the_corner())
    masks.target = ["function:mine"]
    with pytest.raises(SettingsError, match="targets"):
        find_regions(classifier(), masks, pictures())
    assert len(find_regions(classifier(), masks, pictures(), targets=lambda logits: logits[:, 0])) == 2


def test_as_many_images_as_masks_are_needed():
    with pytest.raises(SettingsError, match="as many images"):
        find_regions(classifier(), masks_of(from_the_corner()), pictures(2))
