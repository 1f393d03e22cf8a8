"""Images in every form: what is classified, explained and looked at again is the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from study_cases import CLASSES, SIZE, make_classifier, make_data

import fidokit as fk
from fidokit.data.inputs import GivenImages, given_images
from fidokit.enhance.guided import MaskGuidedClassifier
from fidokit.exceptions import ImageError


@pytest.fixture
def photographs(tmp_path):
    """Three photographs of another size than the input."""
    generator = np.random.default_rng(1)
    arrays = []
    for i in range(3):
        pixels = generator.integers(20, 120, (24, 30, 3)).astype(np.uint8)
        pixels[..., i] += 100
        arrays.append(pixels)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path, arrays


FORMS = {
    "LabelledImages": lambda folder, arrays: fk.LabelledImages.from_folder(folder),
    "paths": lambda folder, arrays: [folder / f"{i}.png" for i in range(3)],
    "texts": lambda folder, arrays: tuple(str(folder / f"{i}.png") for i in range(3)),
    "an array of texts": lambda folder, arrays: np.array([str(folder / f"{i}.png") for i in range(3)]),
    "an array of objects": lambda folder, arrays: np.array([folder / f"{i}.png" for i in range(3)], dtype=object),
    "a column": lambda folder, arrays: pd.Series([str(folder / f"{i}.png") for i in range(3)]),
    "PIL images": lambda folder, arrays: [Image.fromarray(array) for array in arrays],
    "opened files": lambda folder, arrays: [Image.open(folder / f"{i}.png") for i in range(3)],
    "arrays": lambda folder, arrays: list(arrays),
    "one array": lambda folder, arrays: np.stack(arrays),
    "one array in [0, 1]": lambda folder, arrays: np.stack(arrays) / 255,
    "arrays in [0, 1]": lambda folder, arrays: [(array / 255).astype(np.float32) for array in arrays],
    "all kinds": lambda folder, arrays: [folder / "0.png", Image.fromarray(arrays[1]), arrays[2]],
    "a generator": lambda folder, arrays: (array for array in arrays),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_classified_and_explained_alike(photographs, form):
    classifier = make_classifier()
    wanted = make_classifier().logits(FORMS["LabelledImages"](*photographs))
    assert wanted.argmax(1).tolist() == [0, 1, 2]
    assert torch.equal(classifier.logits(FORMS[form](*photographs)), wanted)
    table = classifier.predict(FORMS[form](*photographs))
    assert table["predicted"].tolist() == CLASSES
    torch.testing.assert_close(classifier.log_odds(FORMS[form](*photographs)), classifier.goal(wanted).log_odds(wanted))
    guided = MaskGuidedClassifier(classifier, method="grad-cam")
    assert guided.predict(FORMS[form](*photographs))["predicted"].tolist() == CLASSES
    masks = fk.explain(classifier, FORMS[form](*photographs), "grad-cam")
    assert masks.target == CLASSES
    if form != "LabelledImages":
        assert masks.image_ids == table["image_id"].tolist() == ["0", "1", "2"]
        assert table["label"].isna().all()
    picture, geometry = masks.photograph(1)
    assert picture.size == (30, 24) == (geometry.width, geometry.height)


@pytest.mark.parametrize("method", ["fido", "rise"])
def test_random_streams_do_not_depend_on_the_place(photographs, method):
    _, arrays = photographs
    options = {"steps": 3} if method == "fido" else {"samples": 10}
    alone = fk.explain(make_classifier(), arrays[2], method, **options)
    among = fk.explain(make_classifier(), arrays, method, **options)
    kind = next(iter(alone.kinds))
    torch.testing.assert_close(alone[kind][0], among[kind][2], rtol=0, atol=1e-3)


@pytest.mark.parametrize("one", ["path", "text", "PIL", "array"])
def test_a_single_photograph_needs_no_list(photographs, one):
    folder, arrays = photographs
    image = {
        "path": folder / "1.png",
        "text": str(folder / "1.png"),
        "PIL": Image.fromarray(arrays[1]),
        "array": arrays[1],
    }[one]
    assert make_classifier().predict(image)["predicted"].tolist() == ["green"]
    assert make_classifier().logits(image).shape == (1, 3)
    assert len(fk.explain(make_classifier(), image, "grad-cam")) == 1
    assert MaskGuidedClassifier(make_classifier(), method="grad-cam").scores(image).shape == (1, 3)


def test_tensors_and_arrays_of_inputs():
    images = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    classifier = make_classifier()
    wanted = classifier.logits(images)
    for form in (images.numpy(), images.double().numpy(), list(images), tuple(images)):
        torch.testing.assert_close(classifier.logits(form), wanted)
        assert classifier.predict(form)["image_id"].tolist() == ["0", "1", "2"]
        assert fk.explain(classifier, form, "grad-cam").image_ids == ["0", "1", "2"]
        assert MaskGuidedClassifier(classifier, gate=-1).logits(form).equal(wanted)


def test_turned_and_transparent_and_grey_images_become_upright_rgb(tmp_path):
    picture = Image.fromarray(np.arange(24 * 30 * 3, dtype=np.uint8).reshape(24, 30, 3))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    data = given_images([tmp_path / "turned.png", Image.open(tmp_path / "turned.png")], lambda tensor: tensor)
    assert data.open(0).size == data.open(1).size == (24, 30)
    assert np.array_equal(np.asarray(data.open(0)), np.asarray(data.open(1)))
    grey = given_images(np.zeros((24, 30), np.uint8), lambda tensor: tensor)
    clear = given_images(np.zeros((24, 30, 4), np.uint8), lambda tensor: tensor)
    assert grey.open(0).getpixel((0, 0)) == (0, 0, 0)
    assert clear.open(0).getpixel((0, 0)) == (255, 255, 255)


def test_one_that_cannot_be_read_keeps_its_place(photographs):
    folder, arrays = photographs
    images = [folder / "0.png", folder / "none.png", arrays[2]]
    table = make_classifier().predict(images)
    assert table["predicted"].notna().tolist() == [True, False, True]
    assert "none.png" in table["reason"].iloc[1]
    masks = fk.explain(make_classifier(), images, "grad-cam", targets=CLASSES)
    assert masks.image_ids == ["0", "2"]
    assert masks.target == ["red", "blue"]
    assert list(masks.failures) == ["1"]
    with pytest.raises(ImageError, match=r"image 1 has no logits: .*none\.png"):
        make_classifier().logits(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (5, r"images must be LabelledImages.*not int"),
        (b"abc", "not bytes"),
        ({"a": 1}, "not dict"),
        (None, "not NoneType"),
        ([5], "image 0 is int"),
        (["a.png", None], "image 1 is NoneType"),
        (np.zeros((3, 24, 30), np.uint8), r"\(3, 24, 30\); put the channels last"),
        (np.zeros((24, 30, 5), np.uint8), r"must be an \(H, W, 3\) array, not \(24, 30, 5\)"),
        (np.zeros(5), r"not \(5,\)"),
        (np.full((24, 30, 3), 200.0), "divide by 255"),
        (np.full((24, 30, 3), np.nan), "finite"),
        (np.zeros((24, 30, 3), np.int64), "not int64"),
        (np.zeros((2, 3, 24, 30)), r"are \(24, 30\) pixels"),
        ([torch.zeros(3, 16, 16), torch.zeros(3, 8, 8)], "differ in shape"),
        (pd.DataFrame({"path": ["a.png"]}), r"give LabelledImages.from_table\(table\)"),
        ({"a.png", "b.png"}, r"cannot be a set.*sorted\(images\)"),
        (frozenset(["a.png"]), "cannot be a set"),
        (torch.zeros(2, 24, 30, 3), r"of channels that come last, pass images.permute\(0, 3, 1, 2\)"),
        (torch.zeros(2, 1, 24, 30), r"of grey images, pass images.expand\(-1, 3, -1, -1\)"),
        (torch.zeros(2, 5, 24, 30), "of 5 channels, pass the three"),
        ([torch.zeros(1, 3, 24, 30)] * 2, r"of several batches, pass torch.cat"),
        (torch.zeros(3, 24, 30), r"of one image, pass image\[None\]"),
        (torch.full((1, 3, SIZE, SIZE), 200.0), "divide by 255 if they are pixels"),
    ],
)
def test_what_is_no_image_is_an_error_everywhere(images, message):
    classifier = make_classifier()
    guided = MaskGuidedClassifier(classifier)
    for call in (
        classifier.predict, classifier.logits, classifier.log_odds, guided.predict, guided.scores,
        lambda x: fk.explain(classifier, x, "grad-cam"),
    ):  # fmt: skip
        with pytest.raises(ImageError, match=message):
            call(images)


def test_no_image_at_all():
    assert len(make_classifier().predict([])) == 0
    assert make_classifier().logits([]).shape == (0, 3)
    with pytest.raises(ImageError, match="no image to explain"):
        fk.explain(make_classifier(), [])


def test_given_images_are_a_dataset_of_their_own(photographs, tmp_path):
    _, arrays = photographs
    given = given_images(arrays, lambda tensor: tensor)
    assert isinstance(given, GivenImages)
    assert "3 photographs" in repr(given)
    part = given.subset([2, 0])
    assert part.table["image_id"].tolist() == ["2", "0"]
    assert np.array_equal(np.asarray(part.open(0)), arrays[2])
    assert np.array_equal(np.asarray(part.subset([1]).open(0)), arrays[0])
    assert "<img" in given._repr_html_()
    labelled = make_data(tmp_path / "more", 3)
    assert given_images(labelled, lambda tensor: tensor) is labelled
