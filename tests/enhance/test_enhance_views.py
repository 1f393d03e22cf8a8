"""What reaches the classifier: crops from the file's pixels, fades in the right place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fidokit.data.geometry import Preprocessing, to_input
from fidokit.data.images import LabelledImages
from fidokit.data.inputs import given_images
from fidokit.enhance import views
from fidokit.enhance.boxes import WHOLE
from fidokit.enhance.views import Source, View, crop_size, fade_mask, render
from fidokit.methods.base import resize_masks
from fidokit.methods.infill import blur


def given(images):
    return given_images(images, lambda tensor: tensor)


def checkered(size, box, cell=4):
    """A grey photograph whose box is a chequerboard of single cells: it is grey again once it is shrunk."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), 128, np.uint8)
    x0, y0, x1, y1 = box
    board = ((rows // cell + columns // cell) % 2 * 255).astype(np.uint8)
    pixels[y0:y1, x0:x1] = board[y0:y1, x0:x1, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_a_crop_has_the_detail_of_the_file(tmp_path, fit):
    box = (2600, 1300, 2900, 1600)
    checkered((4000, 3000), box).save(tmp_path / "camera.png")
    data = LabelledImages.from_folder(tmp_path)
    preprocessing = Preprocessing(size=(128, 128), fit=fit)
    source = Source(data, preprocessing)
    small, geometry = source.load(0)
    inside = geometry.box_to_input(box)
    seen = small[:, int(inside[1]) + 2 : int(inside[3]) - 2, int(inside[0]) + 2 : int(inside[2]) - 2]
    assert seen.std() < 0.1
    unit = tuple(value / 128 for value in inside)
    if fit == "crop":
        assert crop_size(unit, geometry) == (300, 300)
    crop = render(source.open(0), geometry, [View(unit)], preprocessing)[0]
    assert crop.std() > 0.2


def test_a_turned_file_is_cropped_upright(tmp_path):
    upright = checkered((60, 80), (10, 50, 30, 70))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    source = Source(LabelledImages.from_folder(tmp_path), Preprocessing(size=(60, 60)))
    _, geometry = source.load(0)
    assert (geometry.width, geometry.height) == (60, 80)
    unit = (10 / 60, (50 - 10) / 60, 30 / 60, (70 - 10) / 60)
    assert crop_size(unit, geometry) == (20, 20)
    crop = render(source.open(0), geometry, [View(unit)], source.preprocessing)[0]
    assert crop.std() > 0.3
    opened = Source(given([Image.open(tmp_path / "a.png")]), source.preprocessing)
    assert torch.equal(render(opened.open(0), geometry, [View(unit)], source.preprocessing)[0], crop)


def test_the_whole_view_is_the_input(tmp_path):
    checkered((90, 60), (0, 0, 90, 60)).save(tmp_path / "a.png")
    source = Source(given([str(tmp_path / "a.png")]), Preprocessing(size=(32, 32)))
    image, geometry = source.load(0)
    seen = render(source.open(0), geometry, [View(WHOLE), View(WHOLE, None, True)], source.preprocessing)
    assert torch.equal(seen[0], image)
    assert torch.equal(seen[1], image.flip(-1))


def test_the_fade_of_the_whole_input_is_the_upsampled_mask():
    geometry = Preprocessing(size=(40, 40)).geometry(100, 60)
    mask = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    faded = fade_mask(mask, geometry.window, geometry, 1.0)
    assert torch.allclose(faded, resize_masks(mask / mask.max(), (40, 40)), atol=1e-5)


def test_the_fade_of_a_crop_is_the_mask_in_that_place():
    geometry = Preprocessing(size=(40, 40)).geometry(80, 80)
    mask = torch.zeros(4, 4)
    mask[:2, :2] = 0.5
    quarter = fade_mask(mask, (0.0, 0.0, 20.0, 20.0), geometry, 1.0)
    assert torch.allclose(quarter, torch.ones(40, 40))
    assert fade_mask(mask, (60.0, 60.0, 80.0, 80.0), geometry, 1.0).max() == 0


def test_the_power_spares_the_less_certain_parts():
    geometry = Preprocessing(size=(8, 8)).geometry(8, 8)
    mask = torch.full((8, 8), 0.25)
    mask[0, 0] = 1.0
    assert fade_mask(mask, geometry.window, geometry, 0.5)[7, 7] == pytest.approx(0.5)
    assert (fade_mask(torch.zeros(8, 8), geometry.window, geometry, 1.0) == 1).all()


def test_a_faded_view_is_the_image_in_the_mask_and_the_infill_outside():
    image = checkered((16, 16), (0, 0, 16, 16), cell=2)
    preprocessing = Preprocessing(size=(16, 16))
    geometry = preprocessing.geometry(16, 16)
    mask = torch.zeros(16, 16)
    mask[:, :8] = 1.0
    view = render(image, geometry, [View(WHOLE, mask)], preprocessing, "blur", 1.0)[0]
    whole = to_input(image, geometry)
    assert torch.allclose(view[:, :, :8], whole[:, :, :8], atol=1e-6)
    assert torch.allclose(view[:, :, 8:], blur(whole[None])[0][:, :, 8:], atol=1e-6)


def test_a_tensor_is_all_there_is():
    images = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    source = Source(given(images), Preprocessing(size=(16, 20)))
    image, geometry = source.load(1)
    assert torch.equal(image, images[1])
    assert crop_size((0.25, 0.25, 0.75, 0.75), geometry) == (10, 8)
    whole = render(source.open(1), geometry, [View(WHOLE)], source.preprocessing)[0]
    assert torch.allclose(whole, images[1], atol=1 / 255)


def test_a_file_is_decoded_once_as_long_as_there_is_room(tmp_path, monkeypatch):
    for i in range(4):
        checkered((20, 10), (0, 0, 20, 10)).save(tmp_path / f"{i}.png")
    data, opened = LabelledImages.from_folder(tmp_path), []
    decode = data.open
    monkeypatch.setattr(data, "open", lambda i: opened.append(i) or decode(i))
    monkeypatch.setattr(views, "_WAITING_BYTES", 3 * 20 * 10 * 3)
    source = Source(data, Preprocessing(size=(8, 8)))
    for i in range(4):
        source.load(i)
    for i in range(4):
        assert source.open(i).size == (20, 10)
    # There was room for the last three.
    assert opened == [0, 1, 2, 3, 0]


def test_a_box_of_the_table_is_the_input(tmp_path):
    checkered((90, 60), (30, 20, 60, 50)).save(tmp_path / "a.png")
    box = dict(zip(("box_x0", "box_y0", "box_x1", "box_y1"), (30, 20, 60, 50), strict=True))
    data = LabelledImages.from_table(pd.DataFrame([{"path": str(tmp_path / "a.png"), "label": "a", **box}]))
    preprocessing = Preprocessing(size=(16, 16), use_boxes=True)
    image, geometry = Source(data, preprocessing).load(0)
    expected, place = data.load(0, preprocessing)
    assert torch.equal(image, expected)
    assert geometry == place
    # The photograph goes on beyond the input: a crop may reach there.
    assert crop_size((-0.2, 0.0, 0.8, 1.0), geometry) == crop_size(WHOLE, geometry) == (36, 36)


def test_a_mask_beyond_the_input_goes_on_as_its_edge():
    geometry = Preprocessing(size=(8, 8)).geometry(32, 16)
    mask = torch.zeros(8, 8)
    mask[:, 0] = 1.0
    kept = fade_mask(mask, (0.0, 0.0, 16.0, 16.0), geometry, 1.0)
    assert torch.allclose(kept[:, :4], torch.ones(8, 4))
    assert kept[:, 6:].max() == 0
