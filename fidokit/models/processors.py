"""What a transformers image processor does, as options of a classifier; checked on a picture, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from fidokit.data.geometry import Geometry, Preprocessing, to_input
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.configuration import from_timm

#: What two resamplings of the same kind may differ by, of 255: torchvision and PIL round differently, at a few pixels
#: (this share) by two steps of a byte.
_ROUNDING, _ROUNDING_TWICE, _FEW = 1.05, 2.05, 1e-3
#: Crop shares that processors have built in and do not tell (LeViT resizes to 256 / 224 of its size).
_BUILT_IN = (1.0, 224 / 256)
_LARGEST_PICTURE = 1000


@dataclass(frozen=True)
class Reading:
    """How a processor's pixels are made.

    Attributes:
        options: of `fidokit.Classifier`.
        bgr: whether red and blue are exchanged.
    """

    options: dict[str, Any]
    bgr: bool = False


def read_processor(processor: Any, given: Mapping[str, Any] | None = None) -> Reading:
    """What a processor does, found out from its attributes and proved on a picture.

    Args:
        processor: a transformers image processor.
        given: the user's own options, which go before the processor's. Where they say mean, std and size, the
            processor need not be understood.

    Raises:
        ClassifierError: it does something that fidokit does not; the message names it.
    """
    taken_over = {"mean", "std", "size"} <= set(given or {})
    reading, problem = Reading({}), ""
    try:
        reading = Reading(options_of(processor))
        picture = _picture(Preprocessing(**reading.options).size)
        theirs = _processed(processor, picture)
        problem = _difference(theirs, picture, reading)
        if not problem:
            return reading
        upright = _processed(processor, picture.transpose(Image.Transpose.ROTATE_90))
        if theirs.ndim == 3 and theirs.shape[0] == 3 and theirs.shape == upright.shape:
            for other in _other_readings(processor, reading.options, (theirs.shape[1], theirs.shape[2])):
                if not _difference(theirs, picture, other):
                    return other
    except Exception as error:
        problem = f"its output for one picture cannot be used ({type(error).__name__}: {str(error).splitlines()[0]})"
    if taken_over:
        return reading
    named = _peculiarities(processor)
    raise ClassifierError(
        f"the image processor {type(processor).__name__} does what fidokit does not: {problem}"
        + (f" ({named})" if named else "")
        + ". Photographs would reach the model otherwise than in its training. If you know what it needs, give mean, "
        "std and size, with fit, crop_share and interpolation where they differ; or wrap the model in a module that "
        "does the rest."
    )


def options_of(processor: Any) -> dict[str, Any]:
    """What the attributes of a processor say, as options of `Classifier`."""
    if isinstance(data_config := getattr(processor, "data_config", None), dict):  # a timm model's own transforms
        return from_timm(data_config)
    own: dict[str, Any] = normalisation_of(processor)
    resample = getattr(processor, "resample", None)
    if resample is not None:
        own["interpolation"] = "bicubic" if _resampling(resample) == "bicubic" else "bilinear"
    resized = _sides(processor.size)
    cropped = _sides(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    edge = resized[0] if len(resized) == 1 else None
    if edge is None:
        own["fit"] = "squash"
    if cropped is not None:
        own["size"] = (cropped[0], cropped[-1])
        own["crop_share"] = min(1.0, cropped[0] / resized[0])
    elif edge is None:
        own["size"] = resized
    else:
        own["size"] = (edge, edge)
        share = getattr(processor, "crop_pct", None)
        # ConvNeXT crops small inputs and squashes large ones.
        own |= {"fit": "squash"} if share and edge >= 384 else {"crop_share": share or 1.0}
    return own


def normalisation_of(processor: Any) -> dict[str, Any]:
    """Mean and std, for pixels in [0, 1], of all that a processor computes with a pixel's value."""
    scale, offset = 255.0, 0.0
    if getattr(processor, "do_rescale", True):
        scale *= getattr(processor, "rescale_factor", None) or 1 / 255
        offset = -1.0 if getattr(processor, "rescale_offset", False) else 0.0
    normalise = getattr(processor, "do_normalize", True)
    mean, std = _per_channel(processor.image_mean, normalise, 0), _per_channel(processor.image_std, normalise, 1)
    # EfficientNet's "include_top" divides by the standard deviation once more, whether or not it normalises.
    again = _per_channel(processor.image_std, getattr(processor, "include_top", False), 1)
    if abs(scale - 1) < 1e-9 and offset == 0 and set(again) == {1}:
        return {"mean": mean, "std": std}
    # y = ((scale x + offset) - mean) / std / again = (x - (mean - offset) / scale) / (std again / scale)
    return {
        "mean": tuple((m - offset) / scale for m in mean),
        "std": tuple(s * a / scale for s, a in zip(std, again, strict=True)),
    }


def _per_channel(value: Any, used: Any, otherwise: float) -> Any:
    if not used:
        return (otherwise,) * 3
    return (value,) * 3 if isinstance(value, int | float) else value


def _resampling(resample: Any) -> str:
    """The name of a resampling that is given in PIL's numbers or as torchvision's mode."""
    value = getattr(resample, "value", resample)
    return value if isinstance(value, str) else Image.Resampling(int(value)).name.lower()


def _sides(size: Any) -> tuple[int, ...]:
    """(height, width), or the shorter side alone."""
    if isinstance(size, int):
        return (size,)
    found = {key: size[key] for key in ("height", "width", "shortest_edge") if key in size and size[key] is not None}
    if {"height", "width"} <= set(found):
        return (found["height"], found["width"])
    if "shortest_edge" not in found:
        raise SettingsError(f"its size is {size}")
    return (found["shortest_edge"],)


def _other_readings(processor: Any, options: dict[str, Any], size: tuple[int, int]) -> Iterator[Reading]:
    """Those that the attributes allow as well: processors differ in what they make of the same names."""
    sides = [_sides(value)[0] for key in ("size", "crop_size") if (value := getattr(processor, key, None))]
    shares = {*_BUILT_IN, options.get("crop_share", 1.0)}
    shares |= {min(sides) / max(sides)} if sides else set()
    shares |= {pct} if (pct := getattr(processor, "crop_pct", None)) else set()
    # Where the side before the crop is size / share, it is cut to whole pixels.
    shares |= {size[0] / int(size[0] / share) for share in shares}
    backwards = {key: tuple(options[key])[::-1] for key in ("mean", "std")}
    orders = [(False, {}), (True, backwards), (True, {})]
    for (bgr, order), fit, share in product(orders, ("crop", "squash"), sorted(shares, reverse=True)):
        yield Reading(options | order | {"size": size, "fit": fit, "crop_share": share}, bgr)


def _processed(processor: Any, picture: Image.Image) -> Tensor:
    return torch.as_tensor(processor(images=picture, return_tensors="pt")["pixel_values"][0]).float()


def _difference(theirs: Tensor, picture: Image.Image, reading: Reading) -> str:
    """How a processor's (3, H, W) pixels of a picture differ from ours; empty if they are equal to 1/255."""
    preprocessing = Preprocessing(**reading.options)
    if tuple(theirs.shape) != (3, *preprocessing.size):
        return f"its output for a picture of {picture.width} x {picture.height} pixels is {tuple(theirs.shape)}"
    shape = (3, 1, 1)
    mean, std = torch.tensor(preprocessing.mean).view(shape), torch.tensor(preprocessing.std).view(shape)
    pixels = 255 * ((theirs.flip(0) if reading.bgr else theirs) * std + mean)
    gaps = []
    for window in _windows(preprocessing, picture):
        ours = 255 * to_input(picture, window, preprocessing.interpolation)
        gap = (pixels - ours).abs()
        gaps.append(float(gap.max()))
        if gaps[-1] <= _ROUNDING_TWICE and float((gap > _ROUNDING).float().mean()) <= _FEW:
            return ""
    return f"its pixels differ from fidokit's by up to {min(gaps):.0f} of 255"


def _windows(preprocessing: Preprocessing, picture: Image.Image) -> Iterator[Geometry]:
    """The window, and those half a pixel beside it, to which a processor rounds that crops after resizing."""
    exact = preprocessing.geometry(*picture.size)
    x0, y0, x1, y1 = exact.window
    across, down = (x1 - x0) / preprocessing.size[1] / 2, (y1 - y0) / preprocessing.size[0] / 2
    for dx, dy in product((0, -across, across), (0, -down, down)):
        yield Geometry(picture.width, picture.height, (x0 + dx, y0 + dy, x1 + dx, y1 + dy), preprocessing.size)


def _picture(size: tuple[int, int]) -> Image.Image:
    """A picture like a photograph, twice as wide as high, which is scaled by a factor that is no whole number."""
    height = min(int(1.7 * max(size)), max(_LARGEST_PICTURE, max(size)))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.full((1, 3, height, 2 * height), 0.5, dtype=torch.float32)
    for cells, contrast in ((4, 0.2), (16, 0.12), (64, 0.08), (height // 3, 0.08)):
        noise = torch.randn(1, 3, cells, 2 * cells, generator=generator, dtype=torch.float32)
        pixels += contrast * nn.functional.interpolate(noise, size=pixels.shape[2:], mode="bilinear")
    array = (255 * pixels[0].clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array)


def _peculiarities(processor: Any) -> str:
    """Attributes by which processors differ from what fidokit does, named for the message."""
    found = []
    for name in ("do_resize", "do_rescale"):
        if not getattr(processor, name, True):
            found.append(f"{name}={getattr(processor, name)}")
    size, crop = (getattr(processor, name, None) for name in ("size", "crop_size"))
    if size and crop and getattr(processor, "do_center_crop", False) and max(_sides(crop)) > max(_sides(size)):
        found.append(f"crop_size {max(_sides(crop))}, which is larger than size {max(_sides(size))}")
    for name in ("do_pad", "do_flip_channel_order", "rescale_offset", "include_top", "do_color_quantize"):
        if getattr(processor, name, False):
            found.append(f"{name}=True")
    for name in ("crop_pct", "size_divisor", "patch_size", "max_num_patches"):
        if getattr(processor, name, None) is not None:
            found.append(f"{name}={getattr(processor, name)}")
    resample = getattr(processor, "resample", None)
    if resample is not None and _resampling(resample) not in ("bilinear", "bicubic"):
        found.append(f"resample={_resampling(resample)}")
    return ", ".join(found)
