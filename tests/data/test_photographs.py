"""Every kind of file comes out as the RGB one would expect, or as an error that names the file."""

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from fidokit.data import photographs
from fidokit.data.photographs import photograph_size, read_object_mask, read_part_map, read_photograph, upright
from fidokit.exceptions import ImageError

# 2 x 3: a value for every pixel, both ends of the range included.
GREY = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def read(path):
    image = read_photograph(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey_rgb(values=GREY):
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "gif"])
def test_lossless_colour(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).save(path, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read(path), COLOUR)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_8_and_of_16_bits_keep_their_full_range(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"8.{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"8.{suffix}"), grey_rgb())
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / f"16.{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"16.{suffix}"), grey_rgb())


def test_dark_16_bit_photographs_are_not_stretched(tmp_path):
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "12-bit.png")
    np.testing.assert_array_equal(read(tmp_path / "12-bit.png"), np.full((4, 4, 3), 16))


def test_16_bit_big_endian_tiff(tmp_path):
    image = Image.frombytes("I;16B", (3, 2), (GREY.astype(">u2") * 257).tobytes())
    image.save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as written:
        assert written.mode == "I;16B"
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), grey_rgb())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (GREY.astype(np.int32) * 257, GREY),  # holds 16 bits
        (GREY.astype(np.int32) * 8_000_000, GREY),  # beyond: stretched
        (GREY.astype(np.int32) - 300, GREY),  # negative: stretched
        (np.full((2, 3), -7, np.int32), np.zeros((2, 3))),
        (GREY.astype(np.float32) / 255, GREY),
        (GREY.astype(np.float32) / 510, GREY / 2),  # inside [0, 1]: not stretched
        (GREY.astype(np.float32), GREY),
        (GREY.astype(np.float32) * 257, GREY),
        (GREY.astype(np.float32) * 1e6 - 5e7, GREY),
    ],
)
def test_32_bit_tiff(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as written:
        assert written.mode in ("I", "F")
    assert np.abs(read(tmp_path / "a.tif").astype(float) - grey_rgb(expected)).max() <= 0.5


def test_values_that_are_not_finite_are_an_error(tmp_path):
    for bad in (np.nan, np.inf):
        Image.fromarray(np.array([[0, 1], [bad, 1]], np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(ImageError, match=r"a\.tif holds values that are not finite"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "pbm"])
def test_1_bit(tmp_path, suffix):
    bits = GREY > 120
    Image.fromarray(bits).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), grey_rgb(bits * 255))


def test_palette_with_and_without_transparency(tmp_path):
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    palette = Image.frombytes("P", (3, 2), indices.tobytes())
    palette.putpalette(colours.ravel().tolist())
    expected = colours[indices]
    palette.save(tmp_path / "plain.png")
    np.testing.assert_array_equal(read(tmp_path / "plain.png"), expected)
    for suffix in ("png", "gif"):
        palette.save(tmp_path / f"clear.{suffix}", transparency=1)
        on_white = expected.copy()
        on_white[:, 1] = 255
        np.testing.assert_array_equal(read(tmp_path / f"clear.{suffix}"), on_white)


def test_alpha_is_laid_on_white(tmp_path):
    alpha = np.array([[0, 255, 128], [255, 0, 51]], np.uint8)
    weight = alpha[..., None] / 255
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
    assert np.abs(read(tmp_path / "rgba.png") - (COLOUR * weight + 255 * (1 - weight))).max() <= 1
    Image.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    assert np.abs(read(tmp_path / "la.png") - (grey_rgb() * weight + 255 * (1 - weight))).max() <= 1
    Image.fromarray(COLOUR).save(tmp_path / "key.png", transparency=tuple(int(v) for v in COLOUR[0, 0]))
    keyed = COLOUR.copy()
    keyed[0, 0] = 255
    np.testing.assert_array_equal(read(tmp_path / "key.png"), keyed)


def test_cmyk_and_lab(tmp_path):
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    for name, mode in (("cmyk.jpg", "CMYK"), ("cmyk.tif", "CMYK"), ("ycc.tif", "YCbCr")):
        red.convert(mode).save(tmp_path / name)
        assert np.abs(read(tmp_path / name).astype(int) - (255, 0, 0)).max() <= 3
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0] = 255
    Image.frombytes("LAB", (4, 4), lab.tobytes()).save(tmp_path / "lab.tif")
    assert read(tmp_path / "lab.tif").min() >= 250


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, suffix, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = 255
    # How a camera would have to store the upright photograph, by the EXIF standard (row 0, column 0 of each value).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.abs(read(path).astype(int) - upright).max() <= 8


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_an_open_image_is_as_its_file(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOUR.repeat(8, 0).repeat(8, 1)).save(path, exif=exif)
    with Image.open(path) as image:
        image.load()
        before = image.copy()
        np.testing.assert_array_equal(np.asarray(upright(image, "a")), read(path))
        # It is the user's: it stays as it is.
        np.testing.assert_array_equal(np.asarray(image), np.asarray(before))
    alpha = Image.new("RGBA", (3, 2), (0, 0, 0, 0))
    assert upright(alpha, "a").getpixel((0, 0)) == (255, 255, 255)


def test_an_open_image_that_is_cut_off_is_named(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    image = Image.open(io.BytesIO(path.read_bytes()[:2000]))
    with pytest.raises(ImageError, match=r"image 3 is damaged"):
        upright(image, "image 3")


def test_damaged_exif_does_not_cost_the_photograph(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOUR.repeat(8, 0).repeat(8, 1)).save(
        path, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\xff\x01"
    )
    assert read(path).shape == (16, 24, 3)


def test_the_first_of_several_frames(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "a.tif", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read(tmp_path / name), np.asarray(frames[0]))


def jpeg_bytes(width=64, height=48):
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def png_bytes(width=64, height=48):
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 80).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is not an image"),
        (b"\xff\xd8\xff", "is not an image|damaged"),
        (jpeg_bytes()[:700], "damaged|cut off"),
        (png_bytes()[:700], "damaged|cut off"),
        (png_bytes()[:100] + b"\x00" * 400 + png_bytes()[500:], "damaged|cut off"),
        (png_bytes(1, 50), "1 x 50 pixels; at least 2 x 2"),
        (png_bytes(50, 1), "50 x 1 pixels; at least 2 x 2"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_a_remedy(tmp_path, content, message):
    path = tmp_path / "photo of a bird.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_photograph(path)
    assert "photo of a bird.jpg" in str(caught.value)


def test_cut_off_everywhere_is_never_another_error(tmp_path):
    path = tmp_path / "a"
    for content in (jpeg_bytes(), png_bytes()):
        for n_bytes in range(1, len(content) - 200, 97):
            path.write_bytes(content[:n_bytes])
            with pytest.raises(ImageError):
                read_photograph(path)


def test_flipped_bytes_are_read_or_an_image_error(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    outcomes = set()
    for content in (jpeg_bytes(), png_bytes()):
        for _ in range(60):
            damaged = bytearray(content)
            for position in rng.integers(0, min(len(content), 400), 5):
                damaged[position] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                outcomes.add(read_photograph(path).mode)
            except ImageError:
                outcomes.add("error")
    assert outcomes == {"RGB", "error"}


def test_missing_files_directories_pipes_and_names_that_cannot_be(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        read_photograph(tmp_path / "no.jpg")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ImageError, match="does not exist"):
        read_photograph(tmp_path / "file" / "no.jpg")
    with pytest.raises(ImageError, match="is a directory"):
        read_photograph(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        read_photograph(tmp_path / ("x" * 5000))
    with pytest.raises(ImageError, match="cannot be read"):
        read_photograph("a\0b.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        read_photograph(tmp_path / "pipe.jpg")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        # The superuser may read everything.
        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ImageError, match=r"a\.png may not be read"):
        read_photograph(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(40, 30))
    assert read(path).shape == (30, 40, 3)

    def decoded(self):
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded)
    for limit in (1199, 599, 10):  # between Pillow's warning and its error, and beyond
        monkeypatch.setattr(photographs, "MAX_PIXELS", limit)
        with pytest.raises(ImageError, match=r"a\.png is too large .*; at most "):
            read_photograph(path)


def test_pillows_own_limit_is_ours_only_while_a_header_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(40, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read(path).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
    (tmp_path / "bad").write_bytes(b"bad")
    with pytest.raises(ImageError):
        read_photograph(tmp_path / "bad")
    threads = [threading.Thread(target=read, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("scale", [1, 255, 257 * 255])
def test_object_masks_of_any_scale(tmp_path, scale):
    inside = np.array([[False, True, True], [False, False, True]])
    Image.fromarray((inside * scale).astype(np.uint16 if scale > 255 else np.uint8)).save(tmp_path / "m.png")
    mask = read_object_mask(tmp_path / "m.png")
    assert mask.mode == "L"
    np.testing.assert_array_equal(np.asarray(mask), inside * 255)


def test_object_masks_with_alpha_palette_colour_and_none(tmp_path):
    inside = np.array([[False, True, True], [False, False, True]])
    Image.fromarray(np.dstack([COLOUR, inside * np.uint8(255)])).save(tmp_path / "alpha.png")
    Image.fromarray(grey_rgb(inside * np.uint8(255))).save(tmp_path / "rgb.png")
    Image.fromarray(inside).save(tmp_path / "bits.png")
    palette = Image.frombytes("P", (3, 2), (inside * 7).astype(np.uint8).tobytes())
    palette.putpalette([0, 0, 0] * 256)
    palette.save(tmp_path / "palette.png")
    for name in ("alpha", "rgb", "bits", "palette"):
        np.testing.assert_array_equal(np.asarray(read_object_mask(tmp_path / f"{name}.png")), inside * 255)
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "none.png")
    assert not np.asarray(read_object_mask(tmp_path / "none.png")).any()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_alpha_channel_that_is_opaque_throughout_says_nothing(tmp_path, mode):
    inside = np.array([[False, True, True], [False, False, True]])
    mask = Image.fromarray(inside * np.uint8(204)).convert(mode)
    assert mask.getchannel("A").getextrema() == (255, 255)
    mask.save(tmp_path / "m.png")
    np.testing.assert_array_equal(np.asarray(read_object_mask(tmp_path / "m.png")), inside * 255)


def test_part_maps_keep_their_indices(tmp_path):
    indices = np.array([[0, 1, 2], [3, 254, 255]], np.uint8)
    Image.fromarray(indices).save(tmp_path / "grey.png")
    palette = Image.fromarray(indices)
    palette.putpalette([9, 9, 9] * 256)
    palette.save(tmp_path / "palette.png")
    for name in ("grey", "palette"):
        np.testing.assert_array_equal(np.asarray(read_part_map(tmp_path / f"{name}.png")), indices)
    Image.fromarray(indices > 2).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(np.asarray(read_part_map(tmp_path / "bits.png")), indices > 2)
    Image.fromarray(indices.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with pytest.raises(ImageError, match=r"deep\.png has the mode I;16"):
        read_part_map(tmp_path / "deep.png")


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_size_is_that_of_the_upright_photograph(tmp_path, orientation, suffix):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert photograph_size(path) == read_photograph(path).size


def test_the_size_needs_only_the_header(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.effect_noise((400, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    assert photograph_size(path) == (400, 200)
    with pytest.raises(ImageError, match="cut off"):
        read_photograph(path)
    with pytest.raises(ImageError, match="does not exist"):
        photograph_size(tmp_path / "no.jpg")
