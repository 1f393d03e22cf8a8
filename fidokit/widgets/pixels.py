"""Photographs and masks as the browser gets them: bytes, with height and width beside them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fidokit.data.geometry import Geometry
from fidokit.data.photographs import read_photograph, upright
from fidokit.exceptions import ImageError, SettingsError

#: Pixels of the longer side of a photograph in the browser: a small animal is looked at from near.
LONGEST = 2048
#: Sides of what is seen when a mask's view opens: of the mask's box at best, of its height at most, and of its longer
#: side at least; shares of the photograph below which it is too blurred, and above which all of it may as well be seen.
_ROOM, _MOST_ROOM, _LEAST_ROOM = 2.0, 4.0, 1.1
_LEAST_SHOWN, _MOST_SHOWN = 1 / 16, 0.8
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


def layer_values(layer: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The (h, w) mask in [0, 1] that a layer shows."""
    pixels = np.frombuffer(layer["data"], np.uint8).reshape(layer["height"], layer["width"])
    return pixels.astype(np.float32) / np.float32(255)


def opening(geometry: Geometry, mask: npt.ArrayLike) -> list[float]:
    """What is seen of a photograph when a mask's view opens: the centre in shares of its sides, and the zoom.

    The view has the photograph's aspect. The mask's box has half of its longer side, and a flat one at least 25 % of
    its height, as long as it fits.
    """
    box = geometry.mask_box(mask)
    if box is None:
        return [0.5, 0.5, 1.0]
    across, down = (box[2] - box[0]) / geometry.width, (box[3] - box[1]) / geometry.height
    longer = max(across, down)
    share = max(min(_ROOM * longer, max(_MOST_ROOM * down, _LEAST_ROOM * longer)), _LEAST_SHOWN)
    if share > _MOST_SHOWN:
        return [0.5, 0.5, 1.0]
    return [(box[0] + box[2]) / 2 / geometry.width, (box[1] + box[3]) / 2 / geometry.height, 1 / share]


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
    photograph: Image.Image, geometry: Geometry | None = None, unseen: str = "", *, longest: int = LONGEST
) -> dict[str, Any]:
    """A photograph as the browser gets it: width and height in full, type and data of its rendering, at most `longest`
    pixels long, the window of the classifier's input (x0, y0, x1, y1) in shares of its sides, and what there is to say
    of what lies outside."""
    window = [0.0, 0.0, 1.0, 1.0] if geometry is None else list(geometry.in_shares(geometry.window))
    kind, data = _encoded(photograph, longest)
    sent = {"width": photograph.width, "height": photograph.height, "type": kind, "data": data, "window": window}
    return sent | {"unseen": unseen}


def _encoded(photograph: Image.Image, longest: int) -> tuple[str, bytes]:
    small = photograph.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if small.width * small.height <= _LOSSLESS:
        small.save(buffer, "PNG")
        return "image/png", buffer.getvalue()
    small.save(buffer, "JPEG", quality=88)
    return "image/jpeg", buffer.getvalue()
