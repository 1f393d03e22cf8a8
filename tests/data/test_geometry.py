"""The way from a photograph to the input and back, against closed forms and torch's own resampling."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fidokit.data.geometry import Geometry, Preprocessing, render_mask, to_input
from fidokit.exceptions import ImageError, SettingsError

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def photograph_with_box(width, height, box):
    """Black with a white box at whole pixels."""
    image = Image.new("RGB", (width, height), BLACK)
    image.paste(WHITE, box)
    return image


def random_cases(n, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        width, height = (int(v) for v in rng.integers(40, 200, 2))
        x0, y0 = int(rng.integers(0, width - 12)), int(rng.integers(0, height - 12))
        box = (x0, y0, int(rng.integers(x0 + 8, width + 1)), int(rng.integers(y0 + 8, height + 1)))
        preprocessing = Preprocessing(
            size=tuple(int(v) for v in rng.integers(30, 150, 2)),
            fit=str(rng.choice(["crop", "squash"])),
            crop_share=float(rng.choice([1.0, 0.875, 0.6])),
            use_boxes=bool(rng.integers(2)),
            box_padding=float(rng.choice([0.0, 0.1, 0.5])),
        )
        yield width, height, box, preprocessing


@pytest.mark.parametrize("case", list(random_cases(40)))
def test_a_box_lands_on_the_same_content_in_the_input(case):
    width, height, box, preprocessing = case
    geometry = preprocessing.geometry(width, height, box)
    content = to_input(photograph_with_box(width, height, box), geometry)[0].numpy()
    x0, y0, x1, y1 = geometry.box_to_input(box)
    rows, columns = np.arange(preprocessing.size[0]) + 0.5, np.arange(preprocessing.size[1]) + 0.5
    # Resampling blurs an edge over one pixel of whichever grid is coarser.
    blur_x = max(1.0, preprocessing.size[1] / (geometry.window[2] - geometry.window[0]))
    blur_y = max(1.0, preprocessing.size[0] / (geometry.window[3] - geometry.window[1]))
    far_inside = np.outer(
        (rows > y0 + blur_y) & (rows < y1 - blur_y), (columns > x0 + blur_x) & (columns < x1 - blur_x)
    )
    far_outside = ~np.outer(
        (rows > y0 - blur_y) & (rows < y1 + blur_y), (columns > x0 - blur_x) & (columns < x1 + blur_x)
    )
    inside_photograph = geometry.box_mask((0, 0, width, height))
    assert (content[far_inside & inside_photograph] > 0.99).all()
    # Beyond the photograph's edges is its mean colour, neither black nor white.
    at_edge = ~inside_photograph | ~geometry.box_mask((blur_x, blur_y, width - blur_x, height - blur_y))
    assert (content[far_outside & ~at_edge] < 0.01).all()


@pytest.mark.parametrize("case", list(random_cases(40, seed=1)))
def test_a_mask_goes_back_exactly_where_the_content_came_from(case):
    width, height, box, preprocessing = case
    geometry = preprocessing.geometry(width, height, box)
    x0, y0, x1, y1 = geometry.window
    # A ramp along each axis: its value at an input place is that place's photograph coordinate.
    at_row = y0 + (np.arange(preprocessing.size[0]) + 0.5) * (y1 - y0) / preprocessing.size[0]
    at_column = x0 + (np.arange(preprocessing.size[1]) + 0.5) * (x1 - x0) / preprocessing.size[1]
    ramp_y = np.repeat(at_row[:, None], preprocessing.size[1], axis=1)
    ramp_x = np.repeat(at_column[None, :], preprocessing.size[0], axis=0)
    back_y, back_x = geometry.mask_to_photograph(ramp_y), geometry.mask_to_photograph(ramp_x)
    assert back_y.shape == (height, width)
    assert back_y.dtype == np.float32
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    # Half a cell or half a pixel from the window's edge the ramp is flat.
    margin_y = max((y1 - y0) / preprocessing.size[0], 1.0)
    margin_x = max((x1 - x0) / preprocessing.size[1], 1.0)
    seen = np.outer(
        (rows > y0 + margin_y) & (rows < y1 - margin_y), (columns > x0 + margin_x) & (columns < x1 - margin_x)
    )
    # In photograph pixels. The discrete anti-aliasing filter is not quite straight on a ramp.
    atol = 1e-4 if margin_y > 1 and margin_x > 1 else 0.08
    np.testing.assert_allclose(back_y[seen], np.broadcast_to(rows[:, None], (height, width))[seen], atol=atol)
    np.testing.assert_allclose(back_x[seen], np.broadcast_to(columns, (height, width))[seen], atol=atol)
    outside = ~np.outer((rows >= y0 - 1e-6) & (rows <= y1 + 1e-6), (columns >= x0 - 1e-6) & (columns <= x1 + 1e-6))
    assert (back_y[outside] == 0).all()
    inside = np.outer((rows > y0 + 1e-6) & (rows < y1 - 1e-6), (columns > x0 + 1e-6) & (columns < x1 - 1e-6))
    np.testing.assert_allclose(geometry.mask_to_photograph(np.ones((3, 5)))[inside], 1.0, atol=1e-6)


def test_there_and_back_returns_the_photograph_itself():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)
    geometry = Preprocessing(size=(48, 48)).geometry(80, 48)
    content = to_input(Image.fromarray(pixels), geometry)
    np.testing.assert_array_equal((content * 255).round().numpy().astype(np.uint8), pixels[:, 16:64].transpose(2, 0, 1))
    back = geometry.mask_to_photograph(content[0])
    np.testing.assert_allclose(back[:, 16:64], pixels[:, 16:64, 0] / 255, atol=1e-6)
    assert (back[:, :16] == 0).all()
    assert (back[:, 64:] == 0).all()


def test_a_coarse_mask_is_upsampled_as_torch_does():
    mask = torch.rand(7, 7, generator=torch.Generator().manual_seed(0))
    geometry = Preprocessing(size=(224, 224)).geometry(130, 90)
    expected = torch.nn.functional.interpolate(mask[None, None], (90, 90), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(geometry.mask_to_photograph(mask)[:, 20:110], expected.numpy(), atol=1e-5)


def test_a_smaller_rendering_shows_the_same_places():
    geometry = Preprocessing().geometry(800, 600, None)
    mask = np.zeros((4, 4))
    mask[1, 2] = 1.0
    full, small = geometry.mask_to_photograph(mask), geometry.mask_to_photograph(mask, size=(60, 80))
    assert small.shape == (60, 80)
    np.testing.assert_allclose(small, full.reshape(60, 10, 80, 10).mean((1, 3)), atol=0.04)
    averaged = geometry.mask_to_photograph(np.random.default_rng(0).random((240, 240)), size=(6, 8))
    assert abs(averaged[:, 1:7].mean() - 0.5) < 0.01
    assert averaged[:, 1:7].std() < 0.02


def test_masks_of_every_kind_of_array_and_only_two_dimensional_ones():
    geometry = Preprocessing(size=(8, 8)).geometry(8, 8)
    expected = np.eye(8, dtype=np.float32)
    for mask in (
        np.eye(8, dtype=bool),
        np.eye(8, dtype=np.float16),
        torch.eye(8, requires_grad=True),
        expected.tolist(),
    ):
        np.testing.assert_array_equal(geometry.mask_to_photograph(mask), expected)
    for bad in (np.zeros((1, 8, 8)), np.zeros((0, 8)), 3.0):
        with pytest.raises(SettingsError, match="shape"):
            geometry.mask_to_photograph(bad)


def test_crop_squash_and_crop_share_have_the_windows_one_can_work_out_by_hand():
    assert Preprocessing().geometry(300, 200).window == (50, 0, 250, 200)
    assert Preprocessing(size=(100, 200)).geometry(300, 200).window == (0, 25, 300, 175)
    assert Preprocessing(crop_share=0.5).geometry(300, 200).window == (100, 50, 200, 150)
    assert Preprocessing(fit="squash").geometry(300, 200).window == (0, 0, 300, 200)
    assert Preprocessing(fit="squash", crop_share=0.5).geometry(300, 200).window == (75, 50, 225, 150)


def test_windows_around_boxes():
    boxed = Preprocessing(use_boxes=True, box_padding=0.0)
    assert boxed.geometry(300, 200, (100, 50, 140, 70)).window == (100, 40, 140, 80)
    assert Preprocessing(use_boxes=True, box_padding=0.25).geometry(300, 200, (100, 50, 140, 70)).window == (
        90,
        30,
        150,
        90,
    )
    # At a corner the window is moved inside, so that real context is seen.
    assert boxed.geometry(300, 200, (0, 0, 40, 20)).window == (0, 0, 40, 40)
    assert boxed.geometry(300, 200, (260, 190, 300, 200)).window == (260, 160, 300, 200)
    # A box wider than the photograph is high: it reaches beyond on both sides.
    assert boxed.geometry(300, 200, (0, 90, 300, 110)).window == (0, -50, 300, 250)
    # A box that reaches beyond the edge is clipped first.
    assert boxed.geometry(300, 200, (280, 0, 900, 20)).window == (280, 0, 300, 20)
    squashed = dataclasses.replace(boxed, fit="squash", box_padding=0.5)
    assert squashed.geometry(300, 200, (0, 90, 100, 110)).window == (0, 40, 150, 160)
    assert Preprocessing(use_boxes=False).geometry(300, 200, (0, 0, 40, 20)).window == (50, 0, 250, 200)
    assert boxed.geometry(300, 200, None).window == (50, 0, 250, 200)
    with pytest.raises(ImageError, match="outside the photograph of 300 x 200"):
        boxed.geometry(300, 200, (300, 0, 320, 20))


def test_beyond_the_edges_is_the_mean_colour():
    pixels = np.zeros((20, 100, 3), dtype=np.uint8)
    pixels[:, :50] = (200, 100, 0)
    geometry = Preprocessing(size=(50, 50), use_boxes=True, box_padding=0.0).geometry(100, 20, (0, 0, 100, 20))
    assert geometry.window == (0, -40, 100, 60)
    content = to_input(Image.fromarray(pixels), geometry)
    for band in (content[:, :20], content[:, 30:]):
        np.testing.assert_allclose(band.numpy(), np.broadcast_to([[[100]], [[50]], [[0]]], band.shape) / 255, atol=1e-6)
    assert (content[:2, 20:30, :24] > 0.39).all()
    assert (content[:, 20:30, 26:] == 0).all()


def test_a_photograph_much_flatter_than_an_input_pixel_is_still_seen():
    geometry = Preprocessing(size=(16, 16), use_boxes=True, box_padding=0.0).geometry(4000, 3, (0, 0, 4000, 3))
    content = to_input(photograph_with_box(4000, 3, (0, 0, 4000, 3)), geometry)
    assert content.shape == (3, 16, 16)
    assert geometry.mask_to_photograph(np.ones((16, 16))).min() == 1


def test_to_input_is_float_contiguous_and_reaches_both_ends_of_the_range():
    content = to_input(
        photograph_with_box(10, 10, (5, 0, 10, 10)), Preprocessing(size=(20, 20)).geometry(10, 10), "bicubic"
    )
    assert content.dtype == torch.float32
    assert content.is_contiguous()
    assert (content.min().item(), content.max().item()) == (0.0, 1.0)


def test_bicubic_and_bilinear_differ():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    geometry = Preprocessing(size=(50, 50)).geometry(20, 20)
    assert not torch.equal(to_input(image, geometry, "bicubic"), to_input(image, geometry, "bilinear"))


def test_box_to_input_is_clipped_and_box_mask_counts_pixel_centres():
    geometry = Geometry(100, 100, (20.0, 20.0, 60.0, 60.0), (80, 80))
    assert geometry.box_to_input((0, 30, 200, 40)) == (0, 20, 80, 40)
    assert geometry.box_to_input((0, 0, 10, 10)) == (0, 0, 0, 0)
    assert not geometry.box_mask((0, 0, 10, 10)).any()
    assert geometry.box_mask((30, 30, 40, 50)).sum() == 20 * 40
    assert geometry.box_mask((0, 0, 100, 100)).all()
    # Half a pixel is in, up to its centre.
    assert geometry.box_mask((20, 20, 20 + 0.5 * 1.4, 60)).sum() == 1 * 80
    tiny = geometry.box_mask((40.05, 40.05, 40.1, 40.1))
    assert tiny.sum() == 1
    assert tiny[40, 40]
    assert geometry.box_mask((59.95, 59.95, 60.0, 60.0))[79, 79]


def test_an_object_mask_follows_the_photograph():
    for width, height, box, preprocessing in random_cases(10, seed=2):
        geometry = preprocessing.geometry(width, height, box)
        image = photograph_with_box(width, height, box)
        rendered = render_mask(image.convert("L"), geometry)
        assert rendered.shape == preprocessing.size
        x0, y0, x1, y1 = geometry.box_to_input(box)
        edge = (
            2
            * (2 * (x1 - x0) + 2 * (y1 - y0) + 8)
            * max(1.0, preprocessing.size[0] / (geometry.window[3] - geometry.window[1]))
        )
        assert np.logical_xor(rendered, geometry.box_mask(box)).sum() <= edge
        assert not rendered[~geometry.box_mask((0, 0, width, height))].any()


def test_a_mask_that_covers_no_input_pixel_by_half_is_where_it_covers_most():
    geometry = Geometry(100, 100, (20.0, 20.0, 60.0, 60.0), (4, 4))

    def rendered(*box):
        mask = Image.new("L", (100, 100))
        mask.paste(255, box)
        return render_mask(mask, geometry)

    # Each input pixel is 10 pixels wide.
    one = rendered(44, 34, 46, 36)
    assert one.sum() == 1
    assert one[1, 2]
    line = rendered(20, 34, 60, 36)
    assert line[1].all()
    assert line.sum() == 4
    # A whole pixel of it sets the measure: a corner that covers a tenth of another is not in.
    assert rendered(30, 30, 41, 40).sum() == 1
    # Outside the window, also right beside it, it is not seen.
    assert not rendered(60, 20, 62, 60).any()
    assert not rendered(0, 0, 20, 20).any()
    assert rendered(58, 20, 62, 60).sum() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 224}, "size"),
        ({"size": (224,)}, "size"),
        ({"size": (0, 224)}, "size"),
        ({"size": (224.5, 224)}, "size"),
        ({"size": ("224", "224")}, "size"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"mean": "abc"}, "mean"),
        ({"mean": (0.5, 0.5, math.nan)}, "mean"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
        ({"fit": "stretch"}, "crop, squash"),
        ({"crop_share": 0.0}, "crop_share"),
        ({"crop_share": 1.1}, "crop_share"),
        ({"crop_share": True}, "crop_share"),
        ({"interpolation": "nearest"}, "bilinear, bicubic"),
        ({"box_padding": -0.1}, "box_padding"),
        ({"box_padding": None}, "box_padding"),
    ],
)
def test_options_that_cannot_be_used_are_named(options, message):
    with pytest.raises(SettingsError, match=message):
        Preprocessing(**options)


def test_lists_and_numpy_numbers_are_taken_and_compare_equal():
    given = Preprocessing(size=[np.int64(64), 96.0], mean=np.full(3, 0.5, np.float32), std=[0.5, 0.5, 1])
    assert given == Preprocessing(size=(64, 96), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 1.0))
    assert hash(given) == hash(dataclasses.replace(given))


# what the classifier never saw, and where to look

LANDSCAPE = Geometry(640, 480, (80.0, 0.0, 560.0, 480.0), (224, 224))


def brute_unseen(geometry, box):
    """Share of a box's pixels, of a tenth each, whose centre lies outside the window."""
    xs = np.arange(box[0] + 0.05, box[2], 0.1)
    ys = np.arange(box[1] + 0.05, box[3], 0.1)
    x0, y0, x1, y1 = geometry.window
    return 1 - ((xs > x0) & (xs < x1)).mean() * ((ys > y0) & (ys < y1)).mean()


@pytest.mark.parametrize(
    "box", [(0, 0, 640, 480), (60, 10, 100, 30), (0, 0, 50, 50), (200, 200, 300, 300), (540, 470, 600, 480)]
)
def test_unseen_share_is_that_of_the_pixels(box):
    assert LANDSCAPE.unseen_share(box) == pytest.approx(brute_unseen(LANDSCAPE, box), abs=1e-3)


def test_unseen_share_of_a_window_beyond_the_photograph_counts_only_the_photograph():
    assert Geometry(100, 50, (0.0, -25.0, 100.0, 75.0), (64, 64)).unseen_share() == 0
    assert Geometry.whole(30, 20).unseen_share() == 0
    assert LANDSCAPE.unseen_share() == pytest.approx(0.25)


def test_unseen_words_say_outright_where_a_box_lies():
    assert LANDSCAPE.unseen_words() == (
        "25 % of this photograph is not seen by the classifier; the animal may be there."
    )
    assert LANDSCAPE.unseen_words((0, 0, 60, 60)) == (
        "The classifier does not see the animal: its box lies in the part of the photograph that is cut off (25 %)."
    )
    assert LANDSCAPE.unseen_words((60, 0, 100, 60)) == (
        "50 % of the animal's box lies where the classifier does not see the photograph."
    )
    assert LANDSCAPE.unseen_words((200, 0, 260, 60)) is None
    assert Geometry.whole(30, 20).unseen_words() is None
    assert LANDSCAPE.unseen_words((60.0, 10.0, 60.0, 10.0)).startswith("The classifier does not see the animal")


def test_the_box_of_a_mask_encloses_its_high_places():
    mask = np.zeros((14, 14), np.float32)
    mask[3:5, 7:9] = 0.8
    mask[13, 0] = 0.7  # a speck
    cell = 480 / 14
    assert LANDSCAPE.mask_box(mask) == pytest.approx((80 + 7 * cell, 3 * cell, 80 + 9 * cell, 5 * cell))
    mask[12, 0] = mask[12, 1] = 0.7  # a patch of its own
    assert LANDSCAPE.mask_box(mask) == pytest.approx((80, 3 * cell, 80 + 9 * cell, 480))
    mask[12:, :2] = 0
    assert LANDSCAPE.mask_box(np.zeros((7, 7), np.float32)) is None
    fine = np.kron(mask, np.ones((16, 16), np.float32))
    fine[200, 10] = 1.0  # a single pixel does not stretch the box
    assert LANDSCAPE.mask_box(fine) == pytest.approx(LANDSCAPE.mask_box(np.kron(mask, np.ones((2, 2)))), abs=1e-3)


@pytest.mark.parametrize("box", [(300, 200, 320, 215), (0, 0, 12, 40), (100, 100, 400, 120), (620, 470, 640, 480)])
def test_the_view_of_a_box_holds_it_and_shows_it_large(box):
    x0, y0, x1, y1 = LANDSCAPE.view_of(box)
    assert 0 <= x0 <= box[0]
    assert 0 <= y0 <= box[1]
    assert box[2] <= x1 <= 640
    assert box[3] <= y1 <= 480
    assert (box[3] - box[1]) / (y1 - y0) >= 0.25


def test_the_view_of_nearly_everything_is_the_photograph():
    assert LANDSCAPE.view_of((80, 0, 560, 480)) == (0, 0, 640, 480)
