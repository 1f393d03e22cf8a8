"""Files in: every kind of image file comes out as an upright RGB photograph, or as an `ImageError`."""

from __future__ import annotations

import math
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fidokit.exceptions import ImageError

SIDEWAYS = frozenset([5, 6, 7, 8])
"""EXIF orientations of photographs whose stored width is their upright height."""

MAX_PIXELS = 250_000_000
"""Photographs with more pixels are refused from their header, before a pixel is decoded."""

# PIL's own limit is a global; only one header is read with ours at a time.
_PIL_LIMIT_LOCK = threading.Lock()


def read_photograph(path: str | Path) -> Image.Image:
    """The photograph in a file: upright, RGB, 8 bits a channel, full resolution and full range.

    EXIF orientation is applied, transparency is laid on white, the first of several frames is taken. Grey values of
    16 bits are divided by 65535. Values of 32 bits (integers beyond 16 bits, floats outside [0, 1]) have no agreed
    white: they are divided by 255 or 65535 if that is the smallest of the two that holds them (integers: 65535 only),
    and stretched from their minimum to their maximum otherwise.

    Raises:
        ImageError: missing, a directory, empty, unreadable, not an image, truncated, too large or too small; the
            message names the file and the remedy.
    """
    path = Path(path)
    with _decoded(path) as image:
        return _upright_rgb(image, path)


def upright(image: Image.Image, name: str) -> Image.Image:
    """An image that is open already, as `read_photograph` would give it; `name` is what messages call it.

    Raises:
        ImageError: its pixels cannot be decoded.
    """
    try:
        return _upright_rgb(image.copy(), Path(name))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{name} is damaged or cut off ({error}); copy it again or remove it") from error


def read_object_mask(path: Path) -> Image.Image:
    """A mask image as L, 255 on the object and 0 elsewhere.

    The object is where an alpha channel is opaque; without one, or where it is opaque throughout, where a palette's
    index is not 0; without either, what is brighter than half of the brightest pixel, so that masks of 0 and 1 and of 0
    and 255 are both understood.

    Raises:
        ImageError: as `read_photograph`.
    """
    with _decoded(path) as image:
        if image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema() != (255, 255):
            inside = np.asarray(image.getchannel("A")) > 127
        elif image.mode == "P":
            inside = np.asarray(image) > 0
        else:
            values = np.asarray(image if len(image.getbands()) == 1 else image.convert("L")).astype(np.float64)
            inside = values > values.max() / 2
    return Image.fromarray(inside.astype(np.uint8) * 255)


def read_part_map(path: Path) -> Image.Image:
    """A part map as L, its values the indices of the parts: 0 = none.

    Raises:
        ImageError: as `read_photograph`, or the file is no indexed or grey image of at most 8 bits.
    """
    with _decoded(path) as image:
        if image.mode not in ("1", "L", "P"):
            raise ImageError(
                f"{path} has the mode {image.mode}; save a part map as an indexed or grey image of 8 bits whose values "
                "are the parts' indices"
            )
        return Image.fromarray(np.asarray(image).astype(np.uint8))


@dataclass(frozen=True)
class Header:
    """What the header of a photograph says.

    Attributes:
        size: (width, height) of the upright photograph.
        orientation: EXIF's, 1 to 8; 1 where there is none.
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """(width, height) of the pixels as they lie in the file."""
        return self.size[::-1] if self.orientation in SIDEWAYS else self.size


def read_header(path: str | Path) -> Header:
    """Size and orientation of the photograph in a file.

    Raises:
        ImageError: as `read_photograph`, apart from damage beyond the header.
    """
    with _opened(Path(path)) as image:
        orientation: Any = None
        with suppress(Exception):
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        size = (image.height, image.width) if orientation in SIDEWAYS else image.size
        return Header(size, orientation if orientation in range(2, 9) else 1)


def photograph_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of the upright photograph in a file, from its header.

    Raises:
        ImageError: as `read_header`.
    """
    return read_header(path).size


@contextmanager
def _decoded(path: Path) -> Iterator[Image.Image]:
    """The image in a file with all pixels decoded, or an `ImageError` that says what is wrong with the file."""
    with _opened(path) as image:
        try:
            image.load()
        except MemoryError as error:
            raise ImageError(_too_large(path, f"{image.width} x {image.height} pixels, not enough memory")) from error
        except Exception as error:
            raise ImageError(f"{path} is damaged or cut off ({error}); copy it again or remove it") from error
        yield image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image in a file with its header read, or an `ImageError` that says what is wrong with the file."""
    _check_file(path)
    try:
        image = _open_header(path)
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image that Pillow can read; convert it to JPEG or PNG") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(path, str(error))) from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read by this user; change its permissions") from error
    except Exception as error:
        # Decoders raise all kinds of exceptions on damaged files.
        raise ImageError(f"{path} has a damaged header ({error}); copy it again or remove it") from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(_too_large(path, f"{image.width} x {image.height} pixels"))
        if min(image.size) < 2:
            raise ImageError(f"{path} has {image.width} x {image.height} pixels; at least 2 x 2 are needed")
        yield image


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"{path} does not exist; correct its path, or the root of the dataset") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path!s} cannot be read ({error}); check its path and its permissions") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path} is a directory, not an image; use LabelledImages.from_folder for a directory")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is not a regular file; copy the image into a file")
    if status.st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); copy it again or remove it")


def _open_header(path: Path) -> Image.Image:
    with _PIL_LIMIT_LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _too_large(path: Path, what: str) -> str:
    return f"{path} is too large ({what}; at most {MAX_PIXELS:,} pixels); scale it down or cut it into parts"


def _upright_rgb(image: Image.Image, path: Path) -> Image.Image:
    # A photograph with a damaged EXIF block is still a photograph, of unknown orientation.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image, path)


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_grey_to_uint8(np.asarray(image), path)).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        if image.mode == "La":
            image = image.convert("LA")
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _grey_to_uint8(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"{path} holds values that are not finite numbers; replace them and save it again")
    whites = [1.0, 255.0, 65535.0] if values.dtype.kind == "f" else [65535.0]
    white = next((white for white in whites if low >= 0 and high <= white), None)
    scaled: npt.NDArray[np.float32]
    if white is not None:
        scaled = values.astype(np.float32) * np.float32(255 / white)
    else:
        stretch = 255 / max(high - low, float(np.finfo(np.float32).tiny))
        scaled = ((values.astype(np.float64) - low) * stretch).astype(np.float32)
    return np.rint(scaled).astype(np.uint8)
