"""What `measure` finds: the same answers as a guided classifier gives, and controls that cost as much as the masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from enhance_cases import make_spotted, register_spots
from study_cases import CLASSES, SIZE, make_classifier, paint, register_counting

import fidokit as fk
from fidokit.data.geometry import Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.enhance import GuidedGrid, GuidedSettings, MaskGuidedClassifier, boxes, controls
from fidokit.enhance.choosing import apply, options, tabulate
from fidokit.enhance.controls import CONTROLS, EQUAL_COST
from fidokit.enhance.measure import measure
from fidokit.enhance.view_scores import FIRST, FULL, MASKS
from fidokit.enhance.views import View
from fidokit.exceptions import SettingsError
from fidokit.models.classifier import Classifier

pytestmark = pytest.mark.usefixtures("quick")
GRID = GuidedGrid(shares=(0.5, 0.8), paddings=((0.0, 0.3), (0.3,)), weights=(0.5, 1.0), gates=(0.2, 1.0))


@pytest.fixture
def spotted(tmp_path):
    return make_spotted(tmp_path / "spots", n=6)


@pytest.fixture
def spots():
    return register_spots()


def measured(classifier, data, settings, ways=("crop",), grid=GRID, **more):
    return measure(classifier, data, settings, ways, grid, **({"progress": False, "controls": ()} | more))


@pytest.mark.parametrize("candidates", [1, 2])
def test_every_option_is_what_a_guided_classifier_does(classifier, spotted, spots, candidates):
    settings = GuidedSettings(method=spots, candidates=candidates)
    found = measured(classifier, spotted, settings, ("crop", "fade", "crop+fade"))
    looks = found.looks[MASKS]
    made = options(looks, GRID)
    assert {option.way for option in made} == {None, "crop", "fade", "crop+fade"}
    for option in made[::7]:
        scores, opened, cost = apply(found.whole, looks, option)
        guided = MaskGuidedClassifier(classifier, option.settings(settings))
        answers = guided.look(spotted)
        assert torch.allclose(scores, guided.scores(spotted), atol=1e-5)
        assert torch.equal(opened, answers.guided)
        assert torch.equal(cost, answers.evaluations)
        for i in range(len(spotted)):
            if opened[i] and option.way != "fade":
                sizes = [tuple(found.crops[key][i]) for key in option.views]
                assert min(sizes) == (answers.crop_width[i], answers.crop_height[i])


def test_every_cascade_is_what_a_guided_classifier_does(classifier, spotted):
    settings = GuidedSettings(method_settings=fk.FidoSettings(steps=2), candidates=2)
    grid = GuidedGrid((0.5,), ((0.0, 0.3), (0.15,)), (0.5, 1.0), (0.2, 1.0), (None, 0.0, 0.1, 1.0))
    found = measured(classifier, spotted, settings, ("crop", "fade"), grid)
    looks, first = found.looks[MASKS], found.looks[FIRST]
    made = options(looks, grid, first)
    assert {option.doubt for option in made} == {None, 0.0, 0.1, 1.0}
    counted = set()
    for option in made[::3]:
        scores, opened, cost = apply(found.whole, looks, option, first)
        answers = MaskGuidedClassifier(classifier, option.settings(settings)).look(spotted)
        assert torch.allclose(scores, torch.softmax(answers.logits, 1), atol=1e-5)
        assert torch.equal(opened, answers.guided)
        assert torch.equal(cost, answers.evaluations)
        counted.update(cost.tolist())
    # The whole image alone, the first look alone (a map and a crop for each candidate), and the masks after it.
    assert {1, 1 + 2 * 2} < counted
    assert max(counted) > 20
    table = tabulate(found.whole, looks, torch.zeros(6, dtype=torch.long), made, first)
    for column, option in enumerate(made):
        scores, _, cost = apply(found.whole, looks, option, first)
        assert np.array_equal(table.correct[:, column], (scores.argmax(1) == 0).numpy())
        assert np.array_equal(table.cost[:, column], cost.numpy())


def test_a_control_may_spend_what_a_whole_cascade_does(classifier, spotted):
    settings = GuidedSettings(method_settings=fk.FidoSettings(steps=2))
    found = measured(classifier, spotted, settings, controls=("multi-crop",))
    keys = [("crop", 0.5, 0.0), ("crop", 0.5, 0.3)]
    most = found.looks[FIRST].cost(keys) + found.looks[MASKS].cost(keys)
    assert torch.equal(found.looks["multi-crop"].cost([FULL]), most)


def test_crops_enclose_the_verified_region(classifier, spotted):
    settings = GuidedSettings(method_settings=fk.FidoSettings(steps=2), evidence="region", first=None)
    assert settings.mask_kind == "ssr"
    found = measured(classifier, spotted, settings)
    option = options(found.looks[MASKS], GRID)[-1]
    scores, _, cost = apply(found.whole, found.looks[MASKS], option)
    answers = MaskGuidedClassifier(classifier, option.settings(settings)).look(spotted)
    assert torch.allclose(scores, torch.softmax(answers.logits, 1), atol=1e-5)
    assert torch.equal(cost, answers.evaluations)
    # The same masks, made before: only the regions are cut.
    masks = fk.explain(classifier, spotted, settings=settings.method_settings)
    ready = dict(zip(masks.image_ids, masks.ssr, strict=True))
    again = measured(classifier, spotted, settings, ready=ready)
    assert torch.allclose(again.looks[MASKS].scores, found.looks[MASKS].scores, atol=1e-4)
    assert again.looks[MASKS].evaluations.tolist() == [18] * 6
    table = fk.find_regions(classifier, masks, kinds=["ssr"]).to_frame()
    for i, row in table.iterrows():
        whole = boxes.mask_box(boxes.connected_evidence(row["region"], masks.at("ssr")[i].numpy(), 0.5), 1.0)
        expected = boxes.square(whole if row["holds"] == "yes" else boxes.WHOLE, 0.0, settings.smallest)
        shown = found.crops["crop", 0.5, 0.0][i]
        assert shown[0] == pytest.approx(96 * boxes.side(expected), abs=1)


def test_each_control_spends_what_the_masks_spend(spotted):
    classifier = Classifier(
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(4, 3),
        ),
        CLASSES, size=SIZE, precision="float32", micro_batch=8, device="cpu",
    )  # fmt: skip
    register_counting("counting")
    table = spotted.table.assign(box_x0=8.0, box_y0=8.0, box_x1=40.0, box_y1=40.0)
    ids = list(table["image_id"])
    ready = {image_id: torch.rand(4, 4) for image_id in ids}
    cost = {image_id: 20 + i for i, image_id in enumerate(ids)}
    found = measured(
        classifier, LabelledImages.from_table(table), GuidedSettings(method="counting", first=None), ready=ready,
        ready_cost=cost, controls=CONTROLS,
    )  # fmt: skip
    assert list(found.looks) == [MASKS, *CONTROLS]
    most = found.looks[MASKS].cost([("crop", 0.5, 0.0), ("crop", 0.5, 0.3)])
    assert most.tolist() == [22 + i for i in range(6)]
    for name in EQUAL_COST:
        assert torch.equal(found.looks[name].cost([FULL]), most), name
    assert found.looks["Grad-CAM crop"].evaluations.tolist() == [1] * 6
    assert found.looks["annotated box"].keys == [("crop", None, 0.0), ("crop", None, 0.3)]
    assert not any(torch.isnan(looks.scores).any() for looks in found.looks.values())


def test_scores_do_not_depend_on_the_other_images(classifier, spotted, spots):
    settings = GuidedSettings(method=spots)
    every = ("random crop", "centre crop", "multi-crop")
    together = measured(classifier, spotted, settings, controls=every)
    alone = measured(classifier, spotted.subset([4]), settings, controls=every)
    for name in (MASKS, *every):
        assert torch.allclose(together.looks[name].scores[4], alone.looks[name].scores[0], atol=1e-5)
    other = measured(classifier, spotted, settings, controls=every, seed=1)
    assert not torch.allclose(together.looks["random crop"].scores, other.looks["random crop"].scores)
    assert torch.allclose(together.looks["multi-crop"].scores, other.looks["multi-crop"].scores)


def test_what_cannot_be_measured_costs_only_itself(spotted, spots):
    paint(spotted, 1, 255)
    (spotted.root / CLASSES[2] / "02.png").write_bytes(b"")
    found = measured(make_classifier(), spotted, GuidedSettings(method=spots), controls=("random crop",))
    assert len(found.image_ids) == 4
    assert len(found.failures) == 2
    assert any("NaN" in reason for reason in found.failures.values())


def test_an_image_without_a_mask_keeps_the_classifiers_answer(classifier, spotted):
    register_counting("spoiled", spoil=lambda batch: nothing(batch, spotted.table["image_id"].iloc[2]))
    found = measured(classifier, spotted, GuidedSettings(method="spoiled"), controls=("random crop", "multi-crop"))
    row = found.image_ids.index(spotted.table["image_id"].iloc[2])
    option = options(found.looks[MASKS], GRID)[-1]
    scores, opened, _ = apply(found.whole, found.looks[MASKS], option)
    assert opened.tolist() == [i != row for i in range(6)]
    assert torch.equal(scores[row], found.whole[row])
    assert "1 of 6 images have no mask: the classifier's own answer stands" in found.notes
    assert not apply(found.whole, found.looks["random crop"], options(found.looks["random crop"], GRID)[-1])[1][row]
    assert apply(found.whole, found.looks["multi-crop"], options(found.looks["multi-crop"], GRID)[-1])[1].all()


def nothing(batch, image_id):
    from fidokit.methods.base import Computed

    masks = torch.rand(len(batch), 4, 4)
    return Computed({"ssr": masks, "sdr": masks}, failures={i: "no" for i in batch.image_ids if i == image_id})


def test_views_of_the_controls():
    rng = np.random.default_rng(0)
    like = {("crop", 0.5, 0.0): [View((0.0, 0.0, 0.2, 0.2))], ("crop", 0.5, 0.3): [View((0.5, 0.5, 0.9, 0.9))]}
    random = controls.random_crops(like, 4, rng)[FULL]
    assert [round(boxes.side(view.box), 6) for view in random] == [0.2, 0.4, 0.2, 0.4]
    centre = controls.centre_crops(like, 5, rng)
    assert centre["crop", 0.5, 0.0][0].box == pytest.approx((0.4, 0.4, 0.6, 0.6))
    assert len(centre[FULL]) == 5
    assert centre[FULL][0].box == centre["crop", 0.5, 0.0][0].box
    assert controls.random_crops({}, 4, rng) == controls.with_more({}, 4, rng) == {}
    geometry = Preprocessing(size=(10, 10)).geometry(100, 50)
    annotated = controls.annotated((40.0, 10.0, 60.0, 30.0), geometry, GRID)
    assert annotated["crop", None, 0.0][0].box == pytest.approx((0.3, 0.2, 0.7, 0.6))
    assert controls.annotated(None, geometry, GRID)["crop", None, 0.3][0].box == boxes.WHOLE


def test_names_of_controls_are_checked():
    assert controls.check_controls(["multi-crop", "random crop"]) == ("random crop", "multi-crop")
    with pytest.raises(SettingsError, match="luck"):
        controls.check_controls("luck")
