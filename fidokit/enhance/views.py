"""What reaches the classifier: photographs at file resolution, and the views that are rendered of them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fidokit.enhance.boxes import WHOLE, to_window
from fidokit.exceptions import ImageError
from fidokit.geometry import Box, Geometry, Preprocessing, to_input
from fidokit.images import LabelledImages
from fidokit.isolation import attempt
from fidokit.methods.infill import FIXED
from fidokit.photographs import read_photograph, upright

Images: TypeAlias = LabelledImages | Tensor | Sequence[str | Path | Image.Image]

#: Bytes of decoded photographs that wait for their second look; those beyond are decoded once more.
_WAITING_BYTES = 512 * 2**20


class Source:
    """Photographs by position, each as the classifier's input and in full resolution. Threads may share it.

    Args:
        images: `LabelledImages`, a list of paths or PIL images, or a (B, 3, H, W) tensor in [0, 1] at the classifier's
            size; of a tensor its own pixels are the full resolution.
        preprocessing: the classifier's.

    Raises:
        ImageError: something else than images.
    """

    def __init__(self, images: Images, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self._waiting: dict[int, Image.Image] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        if isinstance(images, LabelledImages | Tensor):
            self.images: LabelledImages | Tensor | list[str | Path | Image.Image] = images
        else:
            self.images = _listed(images)

    def __len__(self) -> int:
        return len(self.images)

    def table(self) -> LabelledImages:
        """The labelled images; of others a table with their positions as image_id, their paths, and no labels."""
        if isinstance(self.images, LabelledImages):
            return self.images
        paths = [str(one) if isinstance(one, str | Path) else None for one in self.images]
        ids = [str(i) for i in range(len(self))]
        frame = pd.DataFrame({"image_id": ids, "path": paths, "label": None}, dtype=object)
        return LabelledImages(frame, Path())

    def load(self, i: int) -> tuple[Tensor, Geometry]:
        """The classifier's input (3, H, W) in [0, 1], and where it lies in the photograph.

        The decoded photograph waits for `open`, so that a file is decoded once.

        Raises:
            ImageError: the file cannot be read, see `LabelledImages.load`.
        """
        if isinstance(self.images, Tensor):
            height, width = self.images.shape[2:]
            geometry = Geometry(width, height, (0.0, 0.0, float(width), float(height)), (height, width))
            return self.images[i].detach().float().cpu(), geometry
        image = self._decode(i)
        geometry = (
            self.images.geometry(i, self.preprocessing, image.size)
            if isinstance(self.images, LabelledImages)
            else self.preprocessing.geometry(*image.size)
        )
        self._keep(i, image)
        return to_input(image, geometry, self.preprocessing.interpolation), geometry

    def open(self, i: int) -> Image.Image:
        """The upright RGB photograph in full resolution; raises `ImageError`, see `load`."""
        with self._lock:
            image = self._waiting.pop(i, None)
            if image is not None:
                self._bytes -= _size(image)
                return image
        return self._decode(i)

    def _decode(self, i: int) -> Image.Image:
        if isinstance(self.images, LabelledImages):
            return self.images.open(i)
        one = self.images[i]
        if isinstance(one, Tensor):
            pixels = (one.detach().float().cpu().clamp(0, 1) * 255).round().byte()
            return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        return upright(one, self._name(i)) if isinstance(one, Image.Image) else read_photograph(one)

    def _keep(self, i: int, image: Image.Image) -> None:
        """Let a photograph wait; the oldest ones give way, those of which no second look was wanted among them."""
        with self._lock:
            old = self._waiting.pop(i, None)
            self._bytes -= 0 if old is None else _size(old)
            self._waiting[i] = image
            self._bytes += _size(image)
            while self._bytes > _WAITING_BYTES:
                first = next(iter(self._waiting))
                self._bytes -= _size(self._waiting.pop(first))

    def _name(self, i: int) -> str:
        if isinstance(self.images, LabelledImages):
            return str(self.images.table["path"].iloc[i])
        one = self.images[i]
        return str(one) if isinstance(one, str | Path) else getattr(one, "filename", "") or f"image {i}"


@dataclass(frozen=True, eq=False)
class Read:
    """Photographs of a chunk.

    Attributes:
        positions: B positions in the dataset.
        images: (B, 3, H, W) in [0, 1].
        geometries: where each lies in its photograph.
        unread: position -> why it could not be read.
    """

    positions: list[int]
    images: Tensor
    geometries: list[Geometry]
    unread: dict[int, str]


def read_together(source: Source, pool: ThreadPoolExecutor, positions: Sequence[int]) -> Read:
    """The photographs at some positions; decoded, they wait in the source for their crops."""
    read = pool.map(attempt, [lambda position=position: source.load(position) for position in positions])
    results = dict(zip(positions, read, strict=True))
    good = {position: result for position, result in results.items() if not isinstance(result, str)}
    empty = torch.empty(0, 3, *source.preprocessing.size)
    return Read(
        list(good),
        torch.stack([image for image, _ in good.values()]) if good else empty,
        [geometry for _, geometry in good.values()],
        {position: result for position, result in results.items() if isinstance(result, str)},
    )


@dataclass(frozen=True)
class View:
    """One look at a photograph.

    Attributes:
        box: in fractions of the input, see `boxes`.
        mask: (h, w) over the whole input, outside of which the view fades into the infill; None fades nothing.
        mirrored: left and right exchanged.
    """

    box: Box
    mask: Tensor | None = None
    mirrored: bool = False


def crop_size(box: Box, geometry: Geometry) -> tuple[int, int]:
    """(width, height) of a box's crop, in pixels of the photograph."""
    x0, y0, x1, y1 = _window(box, geometry)
    return round(x1 - x0), round(y1 - y0)


def render(
    image: Image.Image,
    geometry: Geometry,
    views: Sequence[View],
    preprocessing: Preprocessing,
    infill: str = "blur",
    fade: float = 1.0,
) -> Tensor:
    """Views of a photograph, resampled from its own pixels.

    Args:
        image: the upright photograph in full resolution.
        geometry: where the classifier's input lies in it.
        views: V of them.
        preprocessing: the classifier's; its interpolation is used.
        infill: name of a fixed infill, made of each view itself.
        fade: see `fade_mask`.

    Returns:
        (V, 3, H, W) float32 in [0, 1].
    """
    height, width = geometry.size
    made = torch.empty(len(views), 3, height, width)
    rendered: dict[Box, Tensor] = {}
    for k, view in enumerate(views):
        window = _window(view.box, geometry)
        if window not in rendered:
            place = Geometry(geometry.width, geometry.height, window, geometry.size)
            rendered[window] = to_input(image, place, preprocessing.interpolation)
        pixels = rendered[window]
        if view.mask is not None:
            kept = fade_mask(view.mask, window, geometry, fade)
            pixels = kept * pixels + (1 - kept) * FIXED[infill](pixels[None])[0]
        made[k] = pixels.flip(-1) if view.mirrored else pixels
    return made


def fade_mask(mask: Tensor, window: Box, geometry: Geometry, power: float) -> Tensor:
    """(H, W) share of a view that is kept: the mask in that window, scaled to a maximum of 1 and raised to a power.

    Args:
        mask: (h, w) over the whole input; beyond the input its edge goes on.
        window: of the photograph, in pixels.
        geometry: where the input lies in the photograph.
        power: below 1 spares the less certain places, 0 keeps everything.

    Returns:
        float32 in [0, 1]; all 1 for a mask that is 0 everywhere, which points at nothing.
    """
    height, width = geometry.size
    values = mask.detach().float().cpu()
    peak = float(values.max())
    if not peak > 0:
        return torch.ones(height, width)
    left, top, right, bottom = geometry.window
    x = _centres(window[0], window[2], left, right, width)
    y = _centres(window[1], window[3], top, bottom, height)
    places = torch.stack([x[None].expand(height, -1), y[:, None].expand(-1, width)], dim=-1)
    sampled = functional.grid_sample(
        (values / peak)[None, None], places[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, 0].clamp(0, 1) ** power


def _centres(start: float, stop: float, low: float, high: float, n: int) -> Tensor:
    """(n,) centres of the pixels of a stretch, where [low, high] is [-1, 1]."""
    places = start + (torch.arange(n, dtype=torch.float64) + 0.5) * (stop - start) / n
    return (2 * (places - low) / (high - low) - 1).float()


def _window(box: Box, geometry: Geometry) -> Box:
    # The whole input is exactly the classifier's own window, not one that differs by rounding.
    return geometry.window if box == WHOLE else to_window(box, geometry)


def _listed(images: object) -> list[str | Path | Image.Image]:
    if isinstance(images, str | Path | Image.Image) or not isinstance(images, Iterable):
        raise ImageError(
            f"images must be LabelledImages, a (B, 3, H, W) tensor, or a list of paths or PIL images, not "
            f"{type(images).__name__}; put a single one into a list"
        )
    made = list(images)
    for one in made:
        if not isinstance(one, str | Path | Image.Image):
            raise ImageError(f"a list of images holds paths or PIL images, not {type(one).__name__}")
    return made


def _size(image: Image.Image) -> int:
    return int(image.width) * int(image.height) * 3
