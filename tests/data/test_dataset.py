"""`LabelledImages` as a torch Dataset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from study_cases import CLASSES, SIZE, make_data
from torch.utils.data import DataLoader, Dataset, Subset

from fidokit.data.images import LabelledImages
from fidokit.data.inputs import given_images
from fidokit.exceptions import ImageError, SettingsError


def to_tensor(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


@pytest.fixture
def few(tmp_path):
    return make_data(tmp_path, 7)


def test_an_item_is_the_upright_image_and_its_label(few):
    assert isinstance(few, Dataset)
    for i in (0, 3, 6, -1, np.int64(2), torch.tensor(1)):
        image, label = few[i]
        assert isinstance(image, Image.Image)
        assert np.array_equal(np.asarray(image), np.asarray(few.open(int(i) % 7)))
        assert label == few.table["label"].iloc[int(i)]
    assert [label for _, label in few] == few.table["label"].tolist()


def test_turned_files_come_upright_and_unlabelled_ones_without_a_label(tmp_path):
    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    image, label = LabelledImages.from_folder(tmp_path)[0]
    assert image.size == (20, 30)
    assert label is None


def test_what_is_no_position(few):
    for i in (7, -8, 100):
        with pytest.raises(IndexError, match=f"there are 7 photographs, none at position {i}"):
            few[i]
    for i in ("a", True, 1.0, None, [1]):
        with pytest.raises(SettingsError, match="is no position"):
            few[i]
    few.open(0).close()
    (few.root / few.table["path"].iloc[0]).write_bytes(b"")
    with pytest.raises(ImageError):
        few[0]


def test_a_slice_is_a_subset(few):
    part = few.with_transform(to_tensor)[1:6:2]
    assert isinstance(part, LabelledImages)
    assert part.table["image_id"].tolist() == few.table["image_id"].tolist()[1:6:2]
    assert part[0][0].shape == (3, SIZE, SIZE)
    assert few[0][0].size == (SIZE, SIZE)  # the data itself is as it was


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_puts_batches_together(few, workers):
    training = few.with_transform(to_tensor, few.classes.index)
    loader = DataLoader(training, batch_size=3, num_workers=workers)
    images, labels = zip(*loader, strict=True)
    assert [len(part) for part in images] == [3, 3, 1]
    assert torch.equal(torch.cat(images), torch.stack([to_tensor(few.open(i)) for i in range(7)]))
    assert [sorted(CLASSES)[k] for k in torch.cat(labels).tolist()] == few.table["label"].tolist()
    assert len(Subset(training, [1, 2])) == 2


def test_images_that_were_handed_over_are_a_dataset_too():
    given = given_images(np.zeros((2, 8, 9, 3), np.uint8), lambda tensor: tensor).with_transform(to_tensor)
    assert given[1][0].shape == (3, 8, 9)
    assert given[1:].subset([0])[0][1] is None
    assert given[1:][0][0].shape == (3, 8, 9)


def test_transforms_are_functions(few):
    for wrong in ({"transform": 5}, {"transform": to_tensor, "target_transform": "index"}):
        with pytest.raises(SettingsError, match=list(wrong)[-1]):
            few.with_transform(**wrong)
