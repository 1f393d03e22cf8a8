"""`MaskGuidedClassifier` with tiny classifiers, from files to answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from study_cases import CLASSES, SIZE, make_classifier, paint

import fidokit as fk
from fidokit.enhance import GuidedSettings, MaskGuidedClassifier
from fidokit.enhance.guiding import guide_masks
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods import register_method

pytestmark = pytest.mark.usefixtures("quick")
FAST = {"method": "grad-cam", "kind": "attribution"}


def test_without_weight_it_is_the_classifier(classifier, data):
    for settings in (GuidedSettings(weight=0.0, **FAST), GuidedSettings(gate=-1.0, **FAST)):
        guided = MaskGuidedClassifier(classifier, settings)
        images = torch.stack([data.load(i, classifier.preprocessing)[0] for i in range(len(data))])
        assert torch.equal(guided.logits(images), classifier.logits(images))
        own, plain = guided.predict(data), classifier.predict(data)
        assert own[plain.columns].equals(plain)
        assert not own["guided"].any()
        assert set(own["evaluations"]) == {1}


def test_a_second_look_finds_the_spot(classifier, spotted, spots):
    guided = MaskGuidedClassifier(classifier, method=spots, kind="attribution", weight=1.0, smallest=0.1)
    before, after = classifier.predict(spotted), guided.predict(spotted)
    assert before["correct"].mean() < 0.5
    assert after["correct"].all()
    assert after["guided"].all()
    # 1 for the whole image and 3 for the crops; the method itself spends none.
    assert set(after["evaluations"]) == {4}
    assert after["crop_width"].between(8, 48).all()


def test_scores_are_the_weighted_mean(classifier, spotted, spots):
    whole = torch.softmax(
        classifier.logits(torch.stack([spotted.load(i, classifier.preprocessing)[0] for i in range(12)])), 1
    )
    full = MaskGuidedClassifier(classifier, method=spots, weight=1.0).scores(spotted)
    part = MaskGuidedClassifier(classifier, method=spots, weight=0.3).scores(spotted)
    assert torch.allclose(part, 0.7 * whole + 0.3 * full, atol=1e-5)
    assert torch.allclose(part.sum(1), torch.ones(12), atol=1e-5)
    assert torch.allclose(
        torch.softmax(MaskGuidedClassifier(classifier, method=spots, weight=0.3).logits(spotted), 1), part, atol=1e-5
    )


def test_the_gate_opens_where_the_classifier_is_unsure(classifier, spotted, spots):
    margin = classifier.predict(spotted)["margin"]
    gate = float(margin.sort_values().iloc[5:7].mean())
    answers = MaskGuidedClassifier(classifier, method=spots, gate=gate).look(spotted)
    assert answers.guided.tolist() == (margin <= gate).tolist()
    assert answers.evaluations.tolist() == [4 if used else 1 for used in answers.guided.tolist()]


def test_files_pictures_and_tables_give_the_same(classifier, spotted, spots):
    guided = MaskGuidedClassifier(classifier, method=spots)
    paths = list(spotted.table["path"])
    reference = guided(spotted)
    assert torch.allclose(guided(paths), reference)
    assert torch.allclose(guided([Image.open(path) for path in paths]), reference)
    tensor = torch.stack([spotted.load(i, classifier.preprocessing)[0] for i in range(12)])
    # Of a tensor the crops are cut from its own sixteen pixels a side.
    answers = guided.look(tensor)
    assert answers.crop_width.max() <= SIZE
    assert guided.look(spotted).crop_width.min() > 8
    assert torch.equal(answers.logits, guided.logits(tensor))


@pytest.mark.parametrize("way", ["fade", "crop+fade"])
def test_the_other_ways_run(classifier, spotted, spots, way):
    answers = MaskGuidedClassifier(classifier, method=spots, way=way, fade=1.0, infill="mean").look(spotted)
    assert answers.guided.all()
    assert answers.crop_width.isnan().all() == (way == "fade")
    assert answers.evaluations.tolist() == [2 if way == "fade" else 4] * 12


def test_candidates_have_a_mask_each_in_one_batch(classifier, spotted):
    batches = []

    def compute(_classifier, images, targets):
        batches.append(targets.tolist())
        return torch.rand(len(images), 4, 4)

    register_method("noting", compute)
    data = spotted.subset(range(4))
    answers = MaskGuidedClassifier(classifier, method="noting", candidates=2).look(data)
    whole = classifier.logits(torch.stack([data.load(i, classifier.preprocessing)[0] for i in range(4)]))
    assert batches == [whole.topk(2, dim=1).indices.reshape(-1).tolist()]
    assert answers.evaluations.tolist() == [1 + 2 * 3] * 4
    # More than there are classes are all of them.
    assert MaskGuidedClassifier(classifier, method="noting", candidates=9).look(data).evaluations.tolist() == [10] * 4


def test_a_candidates_mask_does_not_depend_on_how_many_there_are():
    classifier = make_classifier()
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    logits = classifier.logits(images)
    targets = logits.topk(2, dim=1).indices
    settings = GuidedSettings()
    both = guide_masks(classifier, images, ["a", "b"], logits, targets, settings)
    second = guide_masks(classifier, images, ["a", "b"], logits, targets[:, 1:], settings, first=1)
    for i in range(2):
        assert torch.allclose(both.masks[i][1], second.masks[i][0], atol=1e-4)
    assert (both.evaluations == 2 * second.evaluations).all()


def test_what_cannot_be_read_keeps_its_row(classifier, spotted, spots):
    paint(spotted, 3, 255)
    (spotted.root / CLASSES[0] / "00.png").write_bytes(b"")
    guided = MaskGuidedClassifier(classifier, method=spots)
    table = guided.predict(spotted)
    lost = table["predicted"].isna()
    assert lost.sum() == 2
    assert table.loc[lost, "reason"].str.contains("empty|NaN").all()
    with pytest.raises(ImageError):
        guided.scores(spotted)


def test_a_mask_that_fails_leaves_the_classifiers_answer(classifier, spotted):
    def broken(_classifier, images, _targets):
        if len(images) > 1 or float(images.mean()) > 0.3:
            raise RuntimeError("no map here")
        return torch.full((len(images), 4, 4), torch.nan)

    register_method("broken", broken)
    answers = MaskGuidedClassifier(classifier, method="broken").look(spotted)
    assert len(answers.failures) == 12
    assert not answers.guided.any()
    assert not answers.logits.isnan().any()


def test_a_wrong_field_is_named(classifier):
    with pytest.raises(SettingsError, match="paddin"):
        MaskGuidedClassifier(classifier, paddin=0.1)
    with pytest.raises(SettingsError, match="Classifier"):
        MaskGuidedClassifier("resnet50")


def test_progress_is_told_by_the_image(classifier, spotted, spots):
    counted = []
    MaskGuidedClassifier(classifier, method=spots).predict(spotted, on_image=counted.append)
    assert sum(counted) == 12


def test_a_photograph_that_vanishes_keeps_the_classifiers_answer(classifier, spotted):
    path = spotted.root / CLASSES[0] / "00.png"

    def vanishing(_classifier, images, _targets):
        path.unlink(missing_ok=True)
        return torch.rand(len(images), 4, 4)

    register_method("vanishing", vanishing)
    from fidokit.enhance import views

    before = classifier.predict(spotted)
    position = list(spotted.table["path"]).index(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "_WAITING_BYTES", 0)
        table = MaskGuidedClassifier(classifier, method="vanishing").predict(spotted)
    assert table["guided"].tolist() == [i != position for i in range(12)]
    assert "does not exist" in table["reason"][position]
    assert table["predicted"][position] == before["predicted"][position]
    assert np.isnan(table["crop_width"][position])


def test_a_crop_that_the_classifier_cannot_take_costs_one_image(classifier, spotted, spots):
    # A black spot on grey: the tightest crop is black, which the classifier does not stand.
    pixels = np.full((96, 96, 3), 90, np.uint8)
    pixels[32:64, 32:64] = 0
    Image.fromarray(pixels).save(spotted.table["path"].iloc[5])
    guided = MaskGuidedClassifier(classifier, method=spots, paddings=(0.0,), share=0.3, smallest=0.1)
    answers = guided.look(spotted)
    assert answers.guided.tolist() == [i != 5 for i in range(12)]
    assert "black" in answers.failures[5]
    assert torch.equal(answers.logits[5], classifier.logits(spotted.load(5, classifier.preprocessing)[0][None])[0])


def test_paths_have_a_table_too(classifier, spotted, spots):
    guided = MaskGuidedClassifier(classifier, method=spots)
    table = guided.predict(list(spotted.table["path"]))
    assert table["predicted"].tolist() == guided.predict(spotted)["predicted"].tolist()
    assert table["path"].tolist() == list(spotted.table["path"])
    assert table["image_id"].tolist() == [str(i) for i in range(12)]
    assert table["correct"].isna().all()
    assert len(guided.predict([])) == 0
    assert guided(torch.empty(0, 3, SIZE, SIZE)).shape == (0, 3)


def test_without_a_kind_it_is_the_destroying_region_or_what_there_is(spots):
    assert GuidedSettings().mask_kind == "sdr"
    assert GuidedSettings(method=spots).mask_kind == "attribution"
    with pytest.raises(SettingsError, match="attribution"):
        GuidedSettings(method=spots, kind="joint")


def test_masks_of_the_default_method_are_those_of_explain(classifier, spotted):
    images = torch.stack([spotted.load(i, classifier.preprocessing)[0] for i in range(4)])
    data = spotted.subset(range(4))
    logits = classifier.logits(images)
    ids = list(data.table["image_id"])
    made = guide_masks(classifier, images, ids, logits, logits.argmax(1)[:, None], GuidedSettings())
    expected = fk.explain(classifier, data, settings=fk.FidoSettings.fast())
    for i in range(4):
        assert torch.allclose(made.masks[i][0], expected.sdr[i], atol=1e-4)
    # `explain` also spends one on the whole image and two on the scores of each of its three kinds.
    assert (made.evaluations == expected.evaluations - 7).all()


def test_masks_are_made_only_where_the_first_look_leaves_doubt(classifier, spotted):
    settings = GuidedSettings(method_settings=fk.FidoSettings(steps=2), doubt=-1.0)
    looked = MaskGuidedClassifier(classifier, settings).look(spotted)
    # The whole image, the map and its three crops; what a Grad-CAM crop alone answers.
    assert set(looked.evaluations.tolist()) == {1 + 1 + 3}
    alone = MaskGuidedClassifier(classifier, method="grad-cam").look(spotted)
    assert torch.allclose(looked.logits, alone.logits, atol=1e-5)
    assert torch.equal(looked.crop_width, alone.crop_width)
    margin = torch.softmax(alone.logits, 1).topk(2, dim=1).values.diff(dim=1).abs()[:, 0]
    doubt = float(margin.sort().values[5:7].mean())
    answers = MaskGuidedClassifier(classifier, settings, doubt=doubt).look(spotted)
    masks = MaskGuidedClassifier(classifier, settings, first=None).look(spotted)
    for i, unsure in enumerate((margin <= doubt).tolist()):
        assert torch.allclose(answers.logits[i], (masks if unsure else alone).logits[i], atol=1e-4)
        assert answers.evaluations[i] == (4 + masks.evaluations[i] if unsure else 5)


def test_without_a_layer_for_the_first_look_masks_are_made_of_all(spotted):
    class Flat(torch.nn.Module):
        def forward(self, images):
            return images.mean((2, 3))

    plain = fk.Classifier(Flat(), CLASSES, size=SIZE, precision="float32", micro_batch=8, device="cpu")
    settings = GuidedSettings(method_settings=fk.FidoSettings(steps=2, start="flat"))
    with pytest.warns(RuntimeWarning, match="first look"):
        answers = MaskGuidedClassifier(plain, settings).look(spotted)
    assert answers.guided.all()
    assert (answers.evaluations > 9).all()


def test_ctrl_c_ends_it(classifier, spotted):
    def stop(_classifier, _images, _targets):
        raise KeyboardInterrupt

    register_method("stop", stop)
    with pytest.raises(KeyboardInterrupt):
        MaskGuidedClassifier(classifier, method="stop").scores(spotted)
