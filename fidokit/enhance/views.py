"""What reaches the classifier: photographs at file resolution, and the views that are rendered of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fidokit.data.geometry import Box, Geometry, Preprocessing, to_input
from fidokit.data.images import LabelledImages
from fidokit.enhance.boxes import WHOLE, to_window
from fidokit.methods.infill import FIXED
from fidokit.models.isolation import attempt

#: Bytes of decoded photographs that wait for their second look; those beyond are decoded once more.
_WAITING_BYTES = 512 * 2**20


class Source:
    """Photographs by position, each as the classifier's input and in full resolution. Threads may share it.

    Args:
        images: the photographs; of a tensor that was handed over its own pixels are the full resolution.
        preprocessing: the classifier's.
    """

    def __init__(self, images: LabelledImages, preprocessing: Preprocessing) -> None:
        self.images, self.preprocessing = images, preprocessing
        self._waiting: dict[int, Image.Image] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.images)

    def load(self, i: int) -> tuple[Tensor, Geometry]:
        """The classifier's input (3, H, W) in [0, 1], and where it lies in the photograph.

        The decoded photograph waits for `open`, so that a file is decoded once.

        Raises:
            ImageError: the file cannot be read, see `LabelledImages.load`.
        """
        return self.images.load(i, self.preprocessing, keep=lambda image: self._keep(i, image))

    def open(self, i: int) -> Image.Image:
        """The upright RGB photograph in full resolution; raises `ImageError`, see `load`."""
        with self._lock:
            image = self._waiting.pop(i, None)
            if image is not None:
                self._bytes -= _size(image)
                return image
        if self.preprocessing.transform is not None:
            return self.images.shown(i, self.preprocessing)[0]
        return self.images.open(i)

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


def _size(image: Image.Image) -> int:
    return int(image.width) * int(image.height) * 3
