"""Photographs and masks as the browser gets them: bytes, with height and width beside them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fidokit.data.geometry import Geometry
from fidokit.data.photographs import read_photograph, upright
from fidokit.exceptions import ImageError, SettingsError

#: Pixels of the longer side of a photograph in the browser: more than a notebook's column shows, less than a camera's.
LONGEST = 1024
#: Up to so many pixels a photograph is sent without loss: pixels of a small one are seen one by one.
_LOSSLESS = 256 * 256


def mask_layer(name: str, mask: npt.ArrayLike | torch.Tensor) -> dict[str, Any]:
    """A mask as a layer: name, height, width, and height x width bytes, 255 = 1, row by row.

    Raises:
        SettingsError: not of shape (h, w), or not in [0, 1]; NaN counts as 0.
    """
    values = mask.detach().cpu().float().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask, np.float32)
    if values.ndim != 2 or values.size == 0:
        raise SettingsError(f"a mask has the shape (h, w), not {values.shape}; pass the mask of one image")
    values = np.nan_to_num(values, nan=0.0)
    low, high = float(values.min()), float(values.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise SettingsError(f"a mask is in [0, 1], {name!r} reaches from {low:.3g} to {high:.3g}; scale it first")
    pixels = np.round(values.clip(0, 1) * 255).astype(np.uint8)
    return {"name": name, "height": values.shape[0], "width": values.shape[1], "data": pixels.tobytes()}


def outlined(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """An (H, W) region as a mask that shows its outline, its inside faintly."""
    from scipy.ndimage import binary_erosion

    inner = binary_erosion(region, iterations=max(1, round(0.01 * min(region.shape))))
    return np.where(region & ~inner, 1.0, np.where(inner, 0.15, 0.0)).astype(np.float32)


def photograph_of(image: Any) -> Image.Image:
    """An upright RGB photograph from a path, a PIL image, a (3, H, W) tensor or a (H, W) or (H, W, 3) array.

    Values of a tensor or an array are in [0, 1], or bytes.

    Raises:
        ImageError: no image, or values outside that range.
    """
    if isinstance(image, str | Path):
        return read_photograph(image)
    if isinstance(image, Image.Image):
        return upright(image, "the image")
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        array = (image.permute(1, 2, 0) if image.ndim == 3 and image.shape[0] == 3 else image).numpy()
    else:
        array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise ImageError(
            f"an image is a path, a PIL image, a (3, H, W) tensor or a (H, W, 3) array, not of shape {array.shape}"
        )
    if array.dtype != np.uint8:
        values = array.astype(np.float32)
        if not (values.min() >= -1e-3 and values.max() <= 1 + 1e-3):
            raise ImageError(
                f"the image must be in [0, 1] or uint8, it reaches from {values.min():.3g} to {values.max():.3g}; "
                "undo the normalisation, or divide by 255"
            )
        array = np.round(values.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(array).convert("RGB")


def sent_photograph(
    photograph: Image.Image, geometry: Geometry | None = None, longest: int = LONGEST
) -> dict[str, Any]:
    """A photograph as the browser gets it: width and height in full, type and data of its rendering, at most `longest`
    pixels long, and the window of the classifier's input (x0, y0, x1, y1) in shares of its sides."""
    window = [0.0, 0.0, 1.0, 1.0]
    if geometry is not None:
        sides = (geometry.width, geometry.height) * 2
        window = [edge / side for edge, side in zip(geometry.window, sides, strict=True)]
    kind, data = _encoded(photograph, longest)
    return {"width": photograph.width, "height": photograph.height, "type": kind, "data": data, "window": window}


def _encoded(photograph: Image.Image, longest: int) -> tuple[str, bytes]:
    small = photograph.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if small.width * small.height <= _LOSSLESS:
        small.save(buffer, "PNG")
        return "image/png", buffer.getvalue()
    small.save(buffer, "JPEG", quality=88)
    return "image/jpeg", buffer.getvalue()
