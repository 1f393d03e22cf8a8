"""A classifier with a transform of its own: what works as ever, and what is said of the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from study_cases import CLASSES, SIZE, Colours, make_classifier

import fidokit as fk
from fidokit.data.geometry import Preprocessing
from fidokit.enhance.guided import MaskGuidedClassifier
from fidokit.exceptions import ClusterError, ImageError, SettingsError, StoreError
from fidokit.models.classifier import Classifier
from fidokit.study.metrics.standing import find_place
from fidokit.study.store.recorded import load_recorded


def lower_half(image):
    """The lower half, squashed: nothing that a fit of fidokit's could do."""
    width, height = image.size
    part = image.crop((0, height // 2, width, height)).resize((SIZE, SIZE))
    return torch.from_numpy(np.asarray(part).copy()).permute(2, 0, 1).float() / 255


def upper_half(image):
    return lower_half(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM))


def make(transform=lower_half, **options):
    defaults = {"precision": "float32", "micro_batch": 8, "device": "cpu", "mean": (0, 0, 0), "std": (1, 1, 1)}
    return Classifier(Colours(), CLASSES, size=(SIZE, SIZE), transform=transform, **(defaults | options))


def plain():
    return make(None)


@pytest.fixture
def halves(tmp_path):
    """Red above, and in turn red, green and blue below; boxes on the lower half."""
    folder = tmp_path / "halves"
    for i, name in enumerate(CLASSES):
        pixels = np.random.default_rng(i).integers(10, 60, (40, 30, 3)).astype(np.uint8)
        pixels[:20, :, 0] += 160
        pixels[20:, :, i] += 160
        (folder / name).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / name / "a.png")
    frame = fk.LabelledImages.from_folder(folder).table
    frame[["box_x0", "box_y0", "box_x1", "box_y1"]] = [0.0, 20.0, 30.0, 40.0]
    return fk.LabelledImages.from_table(frame, root=folder)


def test_the_classifier_sees_what_the_transform_makes(halves):
    assert set(make().predict(halves)["correct"]) == {True}
    assert set(make(upper_half).predict(halves)["predicted"]) == {"red"}
    wanted = make().logits(torch.stack([lower_half(halves.open(i)) for i in range(3)]))
    torch.testing.assert_close(make().logits(halves), wanted)
    torch.testing.assert_close(make().logits([halves.open(i) for i in range(3)]), wanted)


def test_masks_are_drawn_on_the_input_with_a_note(halves):
    masks = fk.explain(make(), halves, "grad-cam")
    assert masks.target == halves.table["label"].tolist()
    picture, geometry = masks.photograph(1)
    assert picture.size == (SIZE, SIZE)
    assert geometry.window == (0, 0, SIZE, SIZE)
    torch.testing.assert_close(
        torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255, lower_half(halves.open(1))
    )
    assert "a transform of its own" in masks._repr_html_()
    assert "lower_half" in make()._repr_html_()
    assert "transform of its own" not in fk.explain(make_classifier(), halves, "grad-cam")._repr_html_()


def test_boxes_and_object_masks_are_not_compared(halves):
    preprocessing = make().preprocessing
    with pytest.raises(ImageError, match="transform of its own"):
        preprocessing.geometry(30, 40)
    place = find_place(halves, 0, halves.load(0, preprocessing)[1], preprocessing)
    assert (place.object, place.box) == (None, None)
    assert "transform of its own" in place.no_box


def test_the_guided_classifier_crops_the_input(halves):
    table = MaskGuidedClassifier(make(), method="grad-cam").predict(halves)
    assert set(table["correct"]) == {True}
    assert table["crop_width"].dropna().max() <= SIZE


def test_studies_know_the_transform(halves, tmp_path):
    store = tmp_path / "s"
    study = fk.run_study(make(), halves, "grad-cam", store=store, progress=False)
    assert set(study.predictions()["correct"]) == {True}
    recorded = study.manifest["classifier"]["preprocessing"]
    assert recorded["transform"].startswith("test_own_transform.lower_half ")
    metrics = study.metrics(progress=False)
    assert metrics["insertion"].notna().all()
    assert metrics["pointing_game"].isna().all()
    assert metrics["reason"].str.contains("transform of its own").all()
    assert len(fk.open_study(store, classifier=make(), data=halves)) == 3
    with pytest.raises(StoreError, match=r"transform was '.*lower_half .*' and is '.*upper_half "):
        fk.open_study(store, classifier=make(upper_half), data=halves)
    with pytest.raises(StoreError, match="transform was"):
        fk.open_study(store, classifier=make(None), data=halves)
    described = study.manifest["classifier"]
    assert load_recorded("python:test_own_transform:make", described).preprocessing.transform is lower_half
    with pytest.raises(StoreError, match="transform of its own, which is not in the store"):
        load_recorded("python:test_own_transform:plain", described)
    fk.write_report(fk.open_study(store, data=halves), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "lower_half" in page
    assert "give the classifier" in page


def test_the_transform_is_part_of_the_fingerprint():
    fingerprints = [make(transform).fingerprint() for transform in (None, lower_half, upper_half, lower_half)]
    assert len(set(fingerprints)) == 3
    assert fingerprints[1] == fingerprints[3]
    assert make(None).fingerprint() == make_classifier().fingerprint()
    assert repr(Preprocessing()) == repr(Preprocessing(transform=lower_half))
    assert "transform" not in Preprocessing().describe()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: torch.zeros(3, 8, 8), r"gives torch.float32 \(3, 8, 8\), not a \(3, 16, 16\) tensor.*size"),
        (lambda image: torch.zeros(1, 3, SIZE, SIZE), r"\(1, 3, 16, 16\)"),
        (lambda image: torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), "gives torch.uint8"),
        (lambda image: np.zeros((3, SIZE, SIZE)), "gives ndarray"),
        (lambda image: torch.full((3, SIZE, SIZE), -2.0), "from -2 to -2.*Normalize out"),
        (lambda image: torch.full((3, SIZE, SIZE), torch.nan), "from nan to nan"),
        (lambda image: image.nonsense, "transform fails: AttributeError"),
    ],
)
def test_what_a_transform_must_give(halves, transform, message):
    table = make(transform).predict(halves)
    assert table["predicted"].isna().all()
    assert table["reason"].str.contains(message).all()
    with pytest.raises(ImageError, match=message):
        make(transform).logits(halves)


def test_options_that_a_transform_replaces():
    for options in ({"fit": "squash"}, {"crop_share": 0.5}, {"interpolation": "bicubic"}):
        with pytest.raises(SettingsError, match="takes the place of fit, crop_share and interpolation"):
            make(**options)
    with pytest.raises(SettingsError, match="does not know the boxes"):
        make(use_boxes=True)
    with pytest.raises(SettingsError, match="transform must be a function"):
        make(5)


def test_a_transform_that_cannot_be_sent_is_named(tmp_path):
    pytest.importorskip("distributed")
    from fidokit.study.engine import cluster
    from fidokit.study.engine.chunk import Recipe
    from fidokit.study.store.store import Store

    handle = (tmp_path / "open").open("w")

    def transform(image):
        handle.write("seen")
        return lower_half(image)

    transform.fidokit_name = "writes"
    (only,) = cluster._copies(make(transform, name="timm:resnet18"))  # not by its name, which knows no transform
    assert isinstance(only, Classifier)
    with pytest.raises(ClusterError, match="the classifier, its transform or a method cannot be sent to the workers"):
        cluster._packed(Recipe(Store(tmp_path / "s"), make(transform), {}, False, None), None, None)
    handle.close()
