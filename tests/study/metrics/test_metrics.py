from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from nets import PATCH, SIDE, PatchShare
from PIL import Image
from torch import nn

from fidokit.data.geometry import Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.models.classifier import Classifier
from fidokit.study.metrics import ranks
from fidokit.study.metrics.curves import insertion_and_deletion
from fidokit.study.metrics.localisation import coherence, iou_at_object_area, pixel_average_precision
from fidokit.study.metrics.road import ROAD_SHARES
from fidokit.study.metrics.standing import (
    AGAINST_BOX,
    AGAINST_OBJECT,
    CAUSAL,
    STANDING,
    STANDING_SHARES,
    Place,
    Subject,
    find_place,
    row,
    sentence,
    standing,
)


def make(module=None, **options):
    options = {"micro_batch": 64, "head": "auto"} | options
    return Classifier(
        PatchShare() if module is None else module,
        size=(SIDE, SIDE),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        device="cpu",
        precision="float32",
        **options,
    )


def patch():
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, PATCH[0], PATCH[1]] = 1
    return mask


@pytest.fixture
def _hard(monkeypatch):
    """Edges without softening, so that areas are whole pixels."""
    monkeypatch.setattr(ranks, "EDGE_SHARE", 1e-3)


def measure(masks, classifier=None, target=0, place=None, image=None, infills=None, **options):
    classifier = make() if classifier is None else classifier
    image = torch.ones(3, SIDE, SIDE) if image is None else image
    infills = torch.zeros(2, 3, SIDE, SIDE) if infills is None else infills
    place = Place(patch()[0].bool(), patch()[0].bool()) if place is None else place
    with classifier.session() as session:
        whole, empty = session.logits(image[None]), session.logits(infills)
        goal = classifier.goal(whole, target)
        subject = Subject(image, goal, whole, infills, empty, torch.zeros_like(image), place)
        before = classifier.counter.evaluations
        found = standing(session, subject, masks, **options)
        return found, classifier.counter.evaluations - before


@pytest.mark.usefixtures("_hard")
def test_a_perfect_mask_by_hand():
    [(values, reasons)], evaluations = measure(patch())
    assert not reasons
    assert set(values) == set(STANDING)
    assert evaluations == 2 * (2 * len(STANDING_SHARES) + len(ROAD_SHARES))
    # Of the patch, a quarter of the image, a share min(4 f, 1) is kept or dropped at a share f.
    shares = [0, *STANDING_SHARES, 1]
    inserted = np.trapezoid([min(4 * f, 1) for f in shares], shares)
    assert values["insertion"] == pytest.approx(inserted, abs=2e-3)
    assert values["deletion"] == pytest.approx(1 - inserted, abs=2e-3)
    # Half of the patch must be there: 0.125 of the image; 0.2 is the first share that is read beyond it.
    assert values["sufficient_area"] == values["destroying_area"] == pytest.approx(0.2)
    for name in (*AGAINST_OBJECT, "iou"):
        assert values[name] == pytest.approx(1), name
    assert values["false_discovery_rate"] == 0
    assert values["area"] == pytest.approx(0.25)
    assert values["entropy"] == 0


def test_the_road_of_a_picture_that_is_all_white():
    # Imputed from white, removed pixels stay white: nothing is lost in any order.
    [(values, _)], _ = measure(patch())
    assert values["road"] == pytest.approx(0, abs=1e-4)
    # On black, the patch is filled with black only if its pixels go first: without the least important 0.1, 0.5 and
    # 0.75 of the pixels it is whole, and at 0.9 much of it is left.
    [(values, _)], _ = measure(patch(), image=patch().expand(3, -1, -1))
    [(other, _)], _ = measure(1 - patch(), image=patch().expand(3, -1, -1))
    assert values["road"] > 0.3
    assert other["road"] == pytest.approx(-values["road"], abs=0.02)


def test_metrics_are_those_of_the_functions():
    torch.manual_seed(0)
    masks, infills = torch.rand(2, 7, 7), torch.rand(2, 3, SIDE, SIDE)
    classifier = make(micro_batch=5)
    found, _ = measure(masks, classifier, infills=infills)
    upsampled = torch.nn.functional.interpolate(masks[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0]
    objects = patch().bool().expand(2, -1, -1)
    image = torch.ones(2, 3, SIDE, SIDE)
    with classifier.session() as session:
        goal = classifier.goal(session.logits(image), 0)
        insertion, deletion = insertion_and_deletion(session, image, goal, masks, infills, STANDING_SHARES)
    expected = {
        "insertion": insertion,
        "deletion": deletion,
        "average_precision": pixel_average_precision(masks, objects),
        "iou_at_object_area": iou_at_object_area(masks, objects),
        "total_variation": coherence(upsampled),
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose([values[name] for values, _ in found], wanted.numpy(), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("at_once", [1, 7, 64, None])
def test_batches_do_not_matter(at_once):
    torch.manual_seed(0)
    masks = torch.rand(3, 6, 6)
    masks[1] = 0.5
    one, _ = measure(masks)
    other, _ = measure(masks, make(micro_batch=9), at_once=at_once)
    for (values, reasons), (again, why) in zip(one, other, strict=True):
        assert reasons == why
        assert values == pytest.approx(again, rel=1e-5)


@pytest.mark.parametrize(
    ("level", "why"), [(0.0, "the mask is 0 everywhere"), (0.4, "the mask is the same everywhere")]
)
def test_a_mask_that_says_nothing(level, why):
    [(values, reasons)], evaluations = measure(torch.full((1, 5, 5), level))
    assert evaluations == 0
    assert set(reasons.values()) == {why}
    assert set(values) | set(reasons) == set(STANDING)
    assert not set(values) & set(reasons)
    defined = {"area", "entropy"} | ({"energy_inside"} if level else set())
    assert set(values) == defined
    assert values["area"] == pytest.approx(level)


def test_a_target_without_any_score():
    class Never(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean(dim=(1, 2, 3)) * 0 - 1e4, x.mean(dim=(1, 2, 3))], dim=1)

    [(values, reasons)], _ = measure(patch(), make(Never()))
    assert {reasons[name] for name in ("insertion", "deletion", "road")} == {
        "the classifier gives the target a probability of 0"
    }
    assert {reasons["sufficient_area"], reasons["destroying_area"]} == {
        "the target is not what the classifier decides for the whole image"
    }
    assert "average_precision" in values


def test_an_image_the_classifier_gets_wrong():
    # The target, the labelled class, is not the decision: curves exist, areas at which it is held do not.
    [(values, reasons)], _ = measure(patch(), target=1, image=torch.full((3, SIDE, SIDE), 0.8))
    assert {"insertion", "deletion", "road"} <= set(values)
    assert set(reasons) == {"sufficient_area", "destroying_area"}


def test_infills_that_hold_the_class_by_themselves():
    white = torch.ones(2, 3, SIDE, SIDE)
    [(values, reasons)], _ = measure(patch(), infills=white)
    assert reasons["sufficient_area"] == reasons["destroying_area"] == "every infill holds the class by itself"
    assert values["insertion"] == pytest.approx(1)


def test_logits_that_are_no_numbers():
    class Breaks(nn.Module):
        def forward(self, x):
            p = x.mean(dim=(1, 2, 3))
            return torch.stack([torch.where(p < 0.7, torch.nan, p), 1 - p], dim=1)

    [(values, reasons)], _ = measure(patch(), make(Breaks()))
    assert {reasons[name] for name in CAUSAL} == {"the classifier gives NaN or infinite logits for the filled-in image"}
    assert "iou" in values


def test_no_place():
    [(values, reasons)], _ = measure(patch(), place=Place(None, None, "no mask", "no box"))
    assert reasons == dict.fromkeys(AGAINST_OBJECT, "no mask") | dict.fromkeys(AGAINST_BOX, "no box")
    assert set(values) == set(STANDING) - set(reasons)


def test_reasons_stand_together():
    assert sentence({}) is None
    assert sentence({"a": "x", "b": "y", "c": "x"}) == "a, c: x; b: y"
    assert row("i", "m", "k", {"area": 0.5}, {"iou": "no box"}, seeds=2) == {
        "image_id": "i", "method": "m", "kind": "k", "area": 0.5, "reason": "iou: no box", "seeds": 2,
    }  # fmt: skip


# Where the object is


def dataset(folder, boxes, masks=None, size=(40, 20)):
    rows = []
    for i, box in enumerate(boxes):
        Image.new("RGB", size, (90, 90, 90)).save(folder / f"{i}.png")
        rows.append({"path": f"{i}.png", "box": None if box is None else " ".join(map(str, box))})
        if masks is not None and masks[i] is not None:
            pixels = np.zeros((size[1], size[0]), np.uint8)
            pixels[masks[i]] = 255
            Image.fromarray(pixels).save(folder / f"mask{i}.png")
            rows[-1]["object_mask"] = f"mask{i}.png"
    return LabelledImages.from_table(pd.DataFrame(rows), root=folder)


def places(data):
    preprocessing = Preprocessing(size=(20, 20))  # the middle half of the width
    geometries = [data.load(i, preprocessing)[1] for i in range(len(data))]
    return [find_place(data, i, geometry, preprocessing) for i, geometry in enumerate(geometries)]


def test_boxes_are_clipped_to_the_input_or_missing_with_a_reason(tmp_path):
    boxes = [(12, 5, 22, 15), (-30, -5, 15, 60), (0, 0, 5, 20), (50, 0, 60, 20), (-9, 3, -2, 9), None, (12, 5, 22, 15)]
    data = dataset(tmp_path, boxes)
    data.table.loc[6, "box_y1"] = float("nan")
    found = places(data)
    assert [None if place.box is None else int(place.box.sum()) for place in found] == [100, 100, *[None] * 5]
    assert found[0].box[5:15, 2:12].all()
    assert found[0].object is found[0].box
    assert [place.no_box for place in found] == [
        *("", "", "the box lies outside the input"),
        *["the box lies outside the photograph"] * 2,
        *("no box or object mask", "the box has a missing coordinate"),
    ]
    assert [place.no_object for place in found] == [place.no_box for place in found]


def test_the_object_mask_goes_before_the_box(tmp_path):
    middle, side = (slice(5, 9), slice(15, 25)), (slice(0, 5), slice(0, 4))
    data = dataset(tmp_path, [(10, 0, 30, 20), None, (10, 0, 30, 20), None], [middle, middle, side, middle])
    (tmp_path / "mask3.png").write_bytes(b"broken")
    both, alone, unseen, broken = places(data)
    assert int(both.object.sum()) == 40
    assert int(both.box.sum()) == 400
    assert int(alone.box.sum()) == 40  # the rectangle around the mask
    assert unseen.object is None
    assert unseen.no_object == "the object mask has no pixel in the input"
    assert int(unseen.box.sum()) == 400
    assert broken.object is None
    assert "mask3.png" in broken.no_object
