"""What may be classified and explained: tensors, arrays, PIL images, files and `LabelledImages`, in one form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from fidokit.data.geometry import Geometry, Preprocessing, from_input
from fidokit.data.images import LabelledImages
from fidokit.data.photographs import read_photograph, upright
from fidokit.exceptions import ImageError

_OneImage: TypeAlias = str | Path | Image.Image | npt.NDArray[Any] | Tensor
#: `LabelledImages`; a (B, 3, H, W) tensor or array in [0, 1] at the classifier's size; a photograph of any size as a
#: path, a PIL image or an (H, W, 3) array (uint8, or floating point in [0, 1]); several of them in a list, or a
#: (B, H, W, 3) array.
Images: TypeAlias = LabelledImages | _OneImage | Sequence[_OneImage]

_WANTED = (
    "images must be LabelledImages, a (B, 3, H, W) tensor, or photographs: paths, PIL images or (H, W, 3) arrays, one "
    "or a list of them"
)
_COLOURS = (1, 3, 4)


class GivenImages(LabelledImages):
    """Images that were handed over and not read from a table: without labels, and with their positions as image_ids.

    Args:
        given: files by their paths; PIL images; or (3, H, W) tensors in [0, 1], each the classifier's input.
    """

    def __init__(self, given: Sequence[Path | Image.Image | Tensor]) -> None:
        paths = [str(one) if isinstance(one, Path) else None for one in given]
        ids = [str(i) for i in range(len(given))]
        super().__init__(pd.DataFrame({"image_id": ids, "path": paths, "label": None}, dtype=object), Path())
        self._given = list(given)

    def subset(self, selector: Any) -> GivenImages:
        """The images of a selection, see `LabelledImages.subset`; they keep their image_ids."""
        table = super().subset(selector).table
        rows: dict[str, int] = {image_id: row for row, image_id in enumerate(self.table["image_id"])}
        twin = copy.copy(self)
        twin.table, twin._given = table, [self._given[rows[image_id]] for image_id in table["image_id"]]
        return twin

    def open(self, i: int) -> Image.Image:
        """The upright RGB photograph at position i; of a tensor its own pixels."""
        one = self._given[i]
        if isinstance(one, Tensor):
            return from_input(one)
        if isinstance(one, Path):
            return read_photograph(one)
        return upright(one, getattr(one, "filename", "") or f"image {self.table['image_id'].iloc[i]}")

    def load(
        self, i: int, preprocessing: Preprocessing, keep: Callable[[Image.Image], None] | None = None
    ) -> tuple[Tensor, Geometry]:
        """The classifier's input (3, H, W), and where it lies in the image; see `LabelledImages.load`."""
        one = self._given[i]
        if isinstance(one, Tensor):
            height, width = one.shape[1:]
            return one.detach().float().cpu(), Geometry.whole(width, height)
        return super().load(i, preprocessing, keep)


def given_images(images: Images, check: Callable[[Tensor], Tensor]) -> LabelledImages:
    """Images in any form as `LabelledImages`, whose photographs become the classifier's input as those of files do.

    Args:
        images: see `Images`.
        check: `Classifier.check_images`, for tensors at the classifier's size.

    Raises:
        ImageError: something else, or values outside [0, 1]; the message says what is wanted.
    """
    if isinstance(images, LabelledImages):
        return images
    tensor = as_tensor(images)
    if tensor is not None:
        return GivenImages(list(check(tensor)))
    if isinstance(images, np.ndarray) and images.dtype.kind in "USO":
        images = images.ravel().tolist()
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    if isinstance(images, str | Path | Image.Image | np.ndarray):
        images = [images]
    if hasattr(images, "columns"):
        raise ImageError(
            "a table is no list of photographs; give LabelledImages.from_table(table), or a list of its column of paths"
        )
    if isinstance(images, set | frozenset):
        raise ImageError(
            "images cannot be a set, which has another order in every process; give a list, such as sorted(images)"
        )
    if not isinstance(images, Iterable) or isinstance(images, bytes | dict):
        raise ImageError(f"{_WANTED}; not {type(images).__name__}")
    return GivenImages([_photograph(one, i) for i, one in enumerate(images)])


def as_tensor(images: Images) -> Tensor | None:
    """Images that are the classifier's input already, as one (B, 3, H, W) tensor; None for photographs."""
    if isinstance(images, Tensor):
        return images
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[-1] not in _COLOURS:
        return _from_numpy(images)
    if isinstance(images, list | tuple) and images and all(isinstance(one, Tensor) for one in images):
        if len({one.shape for one in images}) > 1:
            raise ImageError("the tensors in the list differ in shape; each must be (3, H, W) at the classifier's size")
        return torch.stack(list(images))
    return None


def check_tensor(images: Tensor, size: tuple[int, int]) -> Tensor:
    """A classifier's (B, 3, H, W) inputs in [0, 1]; see `Classifier.check_images`."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
        shape = tuple(images.shape) if isinstance(images, Tensor) else ()
        shown = shape or type(images).__name__
        raise ImageError(f"images must be a (B, 3, H, W) tensor, not {shown}; {_as_batch(shape)}")
    if tuple(images.shape[2:]) != tuple(size):
        raise ImageError(
            f"images are {tuple(images.shape[2:])} pixels, the classifier's input is {size}; resize them, or "
            "pass LabelledImages, which are fitted by themselves"
        )
    if not images.is_floating_point():
        raise ImageError(f"images must be floating point in [0, 1], not {images.dtype}; divide by 255 first")
    images = images.clone() if images.is_inference() else images.detach()
    low, high = (float(v) for v in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ImageError(
            f"images must be in [0, 1] and finite, these reach from {low:.3g} to {high:.3g}; do not normalise "
            "them, the classifier does that" + ("; divide by 255 if they are pixels from 0 to 255" if low >= 0 else "")
        )
    return images.float()


def _as_batch(shape: tuple[int, ...]) -> str:
    """What makes (B, 3, H, W) of a tensor of another shape."""
    if len(shape) == 4 and shape[3] in _COLOURS:
        return "of channels that come last, pass images.permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1] == 1:
        return "of grey images, pass images.expand(-1, 3, -1, -1)"
    if len(shape) == 4:
        return f"of {shape[1]} channels, pass the three that are red, green and blue"
    if len(shape) == 5:
        return "of several batches, pass torch.cat(list(images))"
    return "of one image, pass image[None]"


def _from_numpy(array: npt.NDArray[Any]) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise ImageError(f"images must be numbers, not an array of {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array))


def _photograph(one: object, i: int) -> Path | Image.Image:
    if isinstance(one, str | Path):
        return Path(one)
    if isinstance(one, Image.Image):
        return one
    if isinstance(one, np.ndarray):
        return Image.fromarray(_bytes(one, f"image {i}"))
    raise ImageError(f"{_WANTED}; image {i} is {type(one).__name__}")


def _bytes(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """An (H, W) or (H, W, C) array as PIL takes it."""
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in _COLOURS) or not array.size:
        channels_first = array.ndim == 3 and array.shape[0] in _COLOURS
        hint = "; put the channels last, array.transpose(1, 2, 0)" if channels_first else ""
        raise ImageError(f"{name} must be an (H, W, 3) array, not {array.shape}{hint}")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise ImageError(f"{name} must be uint8 or floating point in [0, 1], not {array.dtype}; scale it first")
    low, high = float(array.min()), float(array.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ImageError(
            f"{name} must be in [0, 1] and finite, it reaches from {low:.3g} to {high:.3g}; divide by 255, and do not "
            "normalise it, the classifier does that"
        )
    return np.asarray((array.astype(np.float64).clip(0, 1) * 255).round(), np.uint8)
