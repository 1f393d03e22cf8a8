"""Where a classifier's input lies in its photograph, and the way there and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.ndimage import label, sum_labels

from fidokit._util.checks import NOT_NEGATIVE, SHARE, is_number, require_numbers
from fidokit._util.function_names import function_name
from fidokit._util.wording import given
from fidokit.exceptions import ImageError, SettingsError

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright photograph (EXIF orientation applied)."""

Fit: TypeAlias = Literal["crop", "squash", "trim"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic", "bilinear-aliased"]

UNKNOWN_PLACE = (
    "the classifier has a transform of its own, so that it is not known where its input lies in the photograph"
)
_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear-aliased": Image.Resampling.BILINEAR,
}
#: Of `Fit` "trim": share of the height that is left out at top and bottom together, and most pixels of it.
_TRIMMED, _MOST_TRIMMED = 0.3, 400
#: Cells of the grid on which the box of a mask is told, and the largest aspect of the window that shows it.
_CELLS, _WIDEST = 28, 1.5
#: Weight of a patch of a mask, as a share of the heaviest one's, from which the mask's box holds it.
_HEAVY = 1 / 3


@dataclass(frozen=True)
class Geometry:
    """Where a classifier's input lies in its photograph.

    Args:
        width: of the upright photograph, in pixels.
        height: of the upright photograph, in pixels.
        window: the part of the photograph that becomes the input; it may reach beyond the edges, and is filled there
            with the photograph's mean colour.
        size: (H, W) of the input.
    """

    width: int
    height: int
    window: Box
    size: tuple[int, int]

    @classmethod
    def whole(cls, width: int, height: int, size: tuple[int, int] | None = None) -> Geometry:
        """That of a photograph which is the input from edge to edge; by default at its own resolution."""
        return cls(width, height, (0.0, 0.0, float(width), float(height)), size or (height, width))

    def box_to_input(self, box: Box) -> Box:
        """The box in input pixels, clipped to the input; a box outside the window comes out with no area."""
        scale_x, scale_y = self._scale()
        x0, y0, x1, y1 = box
        return (
            min(max((x0 - self.window[0]) * scale_x, 0.0), float(self.size[1])),
            min(max((y0 - self.window[1]) * scale_y, 0.0), float(self.size[0])),
            min(max((x1 - self.window[0]) * scale_x, 0.0), float(self.size[1])),
            min(max((y1 - self.window[1]) * scale_y, 0.0), float(self.size[0])),
        )

    def box_mask(self, box: Box) -> npt.NDArray[np.bool_]:
        """(H, W) bool: the input pixels whose centre lies in the box.

        A box that is seen but too small to hold a centre is the one pixel at its middle, so that a tiny animal is never
        without a place.
        """
        x0, y0, x1, y1 = self.box_to_input(box)
        mask = np.zeros(self.size, dtype=np.bool_)
        if x1 > x0 and y1 > y0:
            rows, columns = _pixel_range(y0, y1, self.size[0]), _pixel_range(x0, x1, self.size[1])
            mask[rows[0] : rows[1], columns[0] : columns[1]] = True
        return mask

    def mask_to_photograph(
        self, mask: npt.ArrayLike | torch.Tensor, size: tuple[int, int] | None = None
    ) -> npt.NDArray[np.float32]:
        """Lay a mask over the photograph it explains.

        Args:
            mask: (h, w) of any resolution, over the whole input.
            size: (height, width) of a rendering of the photograph; default its full resolution.

        Returns:
            (height, width) float32, the mask upsampled bilinearly (averaged where the rendering is coarser than the
            mask), 0 outside the window.

        Raises:
            SettingsError: the mask is not two-dimensional.
        """
        values = mask.detach().cpu().float().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask, np.float32)
        if values.ndim != 2 or values.size == 0:
            raise SettingsError(f"a mask has the shape (h, w), not {values.shape}; pass the mask of one image")
        height, width = size if size is not None else (self.height, self.width)
        result = np.zeros((height, width), dtype=np.float32)
        x0, y0, x1, y1 = self.window
        rows = _SpanOnGrid.make(height, y0 / self.height, y1 / self.height, values.shape[0])
        columns = _SpanOnGrid.make(width, x0 / self.width, x1 / self.width, values.shape[1])
        if rows.stop > rows.start and columns.stop > columns.start:
            padded = np.pad(values, ((rows.pad, rows.pad), (columns.pad, columns.pad)), mode="edge")
            part = Image.fromarray(np.ascontiguousarray(padded, dtype=np.float32)).resize(
                (columns.stop - columns.start, rows.stop - rows.start),
                Image.Resampling.BILINEAR,
                box=(columns.low, rows.low, columns.high, rows.high),
            )
            result[rows.start : rows.stop, columns.start : columns.stop] = np.asarray(part)
        return result

    def unseen_share(self, box: Box | None = None) -> float:
        """Share of a box, by default of the whole photograph, outside the window: the classifier never saw it.

        A box without an area lies outside as a whole, or not at all.
        """
        whole = (0.0, 0.0, float(self.width), float(self.height))
        x0, y0, x1, y1 = _common(box or whole, whole)
        seen = _common((x0, y0, x1, y1), self.window)
        area = (x1 - x0) * (y1 - y0)
        if area <= 0:
            return float(seen[2] < seen[0] or seen[3] < seen[1])
        return 1.0 - max(seen[2] - seen[0], 0.0) * max(seen[3] - seen[1], 0.0) / area

    def unseen_words(self, box: Box | None = None) -> str | None:
        """What a reader must know of the part that the classifier never saw.

        Args:
            box: of the animal, where one is known.

        Returns:
            None where the classifier saw the whole photograph, or the animal's whole box.
        """
        share = self.unseen_share()
        if round(100 * share) < 1:
            return None
        if box is None:
            return f"{100 * share:.0f} % of this photograph is not seen by the classifier; the animal may be there."
        hidden = self.unseen_share(box)
        if round(100 * hidden) < 1:
            return None
        if round(100 * hidden) > 99:
            return (
                "The classifier does not see the animal: its box lies in the part of the photograph that is cut off "
                f"({100 * share:.0f} %)."
            )
        return f"{100 * hidden:.0f} % of the animal's box lies where the classifier does not see the photograph."

    def in_shares(self, box: Box) -> Box:
        """A box of photograph pixels in shares of the photograph's width and height."""
        x0, y0, x1, y1 = box
        return x0 / self.width, y0 / self.height, x1 / self.width, y1 / self.height

    def mask_box(self, mask: npt.ArrayLike, level: float = 0.5) -> Box | None:
        """The box, in photograph pixels, around the places where a mask is high.

        Args:
            mask: (h, w) of any resolution, over the whole input.
            level: share of the mask's highest value from which a place counts. Masks finer than 28 cells are averaged
                to 28 first, and patches that weigh less than a third of the heaviest are left out, so that specks do
                not stretch the box.

        Returns:
            None where the mask is 0 everywhere, or high only outside the photograph.
        """
        values = np.asarray(mask, np.float32)
        cells = (min(values.shape[1], _CELLS), min(values.shape[0], _CELLS))
        coarse = np.asarray(Image.fromarray(values).resize(cells, Image.Resampling.BOX))
        if not coarse.max() > 0:
            return None
        patches, n = label(coarse >= level * coarse.max(), np.ones((3, 3)))
        weights = np.asarray(sum_labels(coarse, patches, range(1, n + 1)))
        heavy = 1 + np.flatnonzero(weights >= _HEAVY * weights.max())
        rows, columns = np.nonzero(np.isin(patches, heavy))
        x0, y0, x1, y1 = self.window
        width, height = (x1 - x0) / cells[0], (y1 - y0) / cells[1]
        found = (
            x0 + width * float(columns.min()),
            y0 + height * float(rows.min()),
            x0 + width * float(columns.max() + 1),
            y0 + height * float(rows.max() + 1),
        )
        found = _common(found, (0.0, 0.0, float(self.width), float(self.height)))
        return found if found[2] > found[0] and found[3] > found[1] else None

    def view_of(self, box: Box) -> Box:
        """The window of the photograph to look at a box: the box with a margin of half its side all around.

        The box has at least a quarter of the window's height. A window that would be much wider than high, or higher
        than wide, is widened as far as that allows; where the photograph ends, the window is moved or ends too.
        """
        x0, y0, x1, y1 = box
        width, height = 2 * (x1 - x0), 2 * (y1 - y0)
        height = min(max(height, width / _WIDEST), 4 * (y1 - y0))
        width, height = min(max(width, height / _WIDEST), self.width), min(height, self.height)
        left = _move_inside((x0 + x1 - width) / 2, width, self.width)
        top = _move_inside((y0 + y1 - height) / 2, height, self.height)
        return left, top, left + width, top + height

    def within(self, part: Box) -> Geometry:
        """Where the input lies in a part of the photograph, whose edges are moved out to whole pixels."""
        x0, y0, x1, y1 = whole_pixels(part)
        left, top, right, bottom = self.window
        return Geometry(x1 - x0, y1 - y0, (left - x0, top - y0, right - x0, bottom - y0), self.size)

    def _scale(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.window
        return self.size[1] / (x1 - x0), self.size[0] / (y1 - y0)


def laid_together(
    masks: Sequence[tuple[npt.NDArray[np.float32], Geometry]], size: tuple[int, int] | None = None
) -> npt.NDArray[np.float32]:
    """Masks of several inputs, such as the animals of one photograph, laid over it; the largest where they overlap.

    Args:
        masks: (h, w) masks, at least one, each with where its input lies in the photograph.
        size: (height, width) of a rendering of the photograph; default its full resolution.

    Returns:
        (height, width) float32.
    """
    (mask, geometry), *others = masks
    result = geometry.mask_to_photograph(mask, size)
    for other, its_geometry in others:
        np.maximum(result, its_geometry.mask_to_photograph(other, size), out=result)
    return result


@dataclass(frozen=True)
class _SpanOnGrid:
    """The output pixels [start, stop) whose centre lies in the window, and the stretch of the padded grid they show."""

    start: int
    stop: int
    low: float
    high: float
    pad: int

    @classmethod
    def make(cls, n_pixels: int, begin: float, end: float, n_cells: int) -> _SpanOnGrid:
        begin, end = begin * n_pixels, end * n_pixels
        start = max(0, math.ceil(begin - 0.5 - 1e-9))
        stop = min(n_pixels, math.floor(end - 0.5 + 1e-9) + 1)
        cells_per_pixel = n_cells / (end - begin)
        # The outermost pixels reach at most half a pixel beyond the grid: its edge cells are repeated there.
        pad = math.ceil(0.5 * cells_per_pixel) + 1
        low, high = ((edge - begin) * cells_per_pixel + pad for edge in (start, stop))
        return cls(start, stop, max(low, 0.0), min(high, float(n_cells + 2 * pad)), pad)


def whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """A box with its edges moved out to whole pixels."""
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def _common(one: Box, other: Box) -> Box:
    """What two boxes have in common; if that is nothing, an end lies before its start."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _pixel_range(low: float, high: float, n_pixels: int) -> tuple[int, int]:
    start, stop = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if start < stop:
        return start, stop
    middle = min(int((low + high) / 2), n_pixels - 1)
    return middle, middle + 1


@dataclass(frozen=True)
class Preprocessing:
    """From a photograph to a classifier's input.

    Args:
        size: (H, W) of the input.
        mean: of each channel, subtracted by the classifier; default ImageNet's, as most published weights want.
        std: of each channel, divided by in the classifier; default ImageNet's.
        fit: "crop" takes a centred window of the input's aspect, so that animals keep their proportions (default);
            "squash" takes the whole photograph; "trim" takes all of it but strips at the top and bottom, where cameras
            print date and make: together 0.3 of the height, no more than 400 pixels (as SpeciesNet's classifier of
            whole photographs, Gadot et al., https://doi.org/10.1049/cvi2.12318).
        crop_share: share of the sides of the largest centred window that is kept (timm's `crop_pct`); default 1, since
            camera traps seldom put the animal in the middle.
        interpolation: of the resampling, with anti-aliasing; "bilinear-aliased" without, for a classifier that was
            trained so.
        use_boxes: crop to the annotated box where there is one; `crop_share` does not apply then.
        box_padding: share of the box's larger side added on each of its sides, for some context.
        transform: a function of your own from the upright PIL image to (3, H, W) floating point in [0, 1], before
            `mean` and `std`, which takes the place of all that is above but `size`. Where its result lies in the
            photograph is not known: masks are drawn on the classifier's input, and boxes and object masks cannot be
            compared with them. A name, as manifests have it, stands for a function that is not at hand.

    Raises:
        SettingsError: an option that cannot be used.

    Example:
        >>> fk.Preprocessing(size=(128, 128), fit="squash").fit
        'squash'
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    fit: Fit = "crop"
    crop_share: float = 1.0
    interpolation: Interpolation = "bilinear"
    use_boxes: bool = False
    box_padding: float = 0.1
    transform: Callable[[Image.Image], torch.Tensor] | str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):
            value = getattr(self, name)
            if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
                raise SettingsError(f"{name} must be a tuple of numbers, not {value!r}")
            object.__setattr__(self, name, tuple(value))
        if len(self.size) != 2 or not all(is_number(side) and side == int(side) and side >= 1 for side in self.size):
            raise SettingsError(f"size must be (height, width) in whole pixels, not {self.size!r}")
        object.__setattr__(self, "size", tuple(int(side) for side in self.size))
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) != 3 or not all(map(is_number, value)):
                raise SettingsError(f"{name} must be three finite numbers (red, green, blue), not {value!r}")
            object.__setattr__(self, name, tuple(float(channel) for channel in value))
        if min(self.std) <= 0:
            raise SettingsError(f"std must be above 0 in every channel, not {self.std!r}")
        if self.fit not in get_args(Fit):
            raise SettingsError(f"fit must be one of {', '.join(get_args(Fit))}, not {self.fit!r}")
        if self.interpolation not in tuple(_RESAMPLING):
            raise SettingsError(f"interpolation must be one of {', '.join(_RESAMPLING)}, not {self.interpolation!r}")
        require_numbers(self, crop_share=SHARE, box_padding=NOT_NEGATIVE)
        if not (self.transform is None or isinstance(self.transform, str) or callable(self.transform)):
            raise SettingsError(f"transform must be a function of a PIL image, not {type(self.transform).__name__}")
        if self.transform is not None and self.use_boxes:
            raise SettingsError(
                f"a transform does not know the boxes; leave out {given(use_boxes=True)}, or the transform"
            )

    def describe(self) -> dict[str, Any]:
        """The options as JSON has them, a transform by its name."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "transform"}
        described = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
        return described if self.transform is None else described | {"transform": self.transform_name}

    @property
    def transform_name(self) -> str | None:
        """What names the transform: its code, as for functions in settings; None where there is none."""
        return function_name(self.transform) if callable(self.transform) else self.transform

    def transformed(self, image: Image.Image, name: str) -> torch.Tensor:
        """The (3, H, W) float32 input that the transform makes of an upright photograph.

        Raises:
            ImageError: it is not at hand, fails, or gives something else; the message begins with `name`.
        """
        if not callable(self.transform):
            raise ImageError(f"{name}: the classifier's transform {self.transform!r} is needed; give the classifier")
        try:
            made: Any = self.transform(image)
        except Exception as error:
            raise ImageError(f"{name}: the classifier's transform fails: {type(error).__name__}: {error}") from error
        wanted = f"a (3, {self.size[0]}, {self.size[1]}) tensor of floating point in [0, 1]"
        if not isinstance(made, torch.Tensor) or made.shape != (3, *self.size) or not made.is_floating_point():
            kind = f"{made.dtype} {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            raise ImageError(f"{name}: the classifier's transform gives {kind}, not {wanted}; is `size` right?")
        low, high = float(made.min()), float(made.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ImageError(
                f"{name}: the classifier's transform gives values from {low:.3g} to {high:.3g}, not {wanted}; leave "
                "its Normalize out, and give the mean and std to the Classifier"
            )
        return made.detach().float().cpu()

    def geometry(self, width: int, height: int, box: Box | None = None) -> Geometry:
        """The window that becomes the input, for an upright photograph of `width` x `height` pixels.

        A window around a box is moved into the photograph where it fits, so that it is filled with the mean colour only
        where the photograph itself is too narrow. Without `use_boxes` the box is not looked at.

        Raises:
            ImageError: the box lies wholly outside the photograph, or the classifier has a transform of its own.
        """
        if self.transform is not None:
            raise ImageError(UNKNOWN_PLACE)
        if self.use_boxes and box is not None:
            window = self._box_window(width, height, box)
        else:
            window_width, window_height = float(width), float(height)
            if self.fit == "crop":
                aspect = self.size[1] / self.size[0]
                window_width, window_height = min(width, height * aspect), min(height, width / aspect)
            elif self.fit == "trim":
                window_height = float(max(int(height * (1 - _TRIMMED)), height - _MOST_TRIMMED))
            window_width, window_height = window_width * self.crop_share, window_height * self.crop_share
            x0, y0 = (width - window_width) / 2, (height - window_height) / 2
            window = (x0, y0, x0 + window_width, y0 + window_height)
        return Geometry(width, height, window, self.size)

    def _box_window(self, width: int, height: int, box: Box) -> Box:
        x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
        if x1 <= x0 or y1 <= y0:
            raise ImageError(
                f"the box {box} lies outside the photograph of {width} x {height} pixels; correct the box, remove it, "
                f"or give {given(use_boxes=False)}"
            )
        padding = self.box_padding * max(x1 - x0, y1 - y0)
        x0, y0, x1, y1 = x0 - padding, y0 - padding, x1 + padding, y1 + padding
        if self.fit != "crop":
            return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
        aspect = self.size[1] / self.size[0]
        window_width, window_height = max(x1 - x0, (y1 - y0) * aspect), max(y1 - y0, (x1 - x0) / aspect)
        left = _move_inside((x0 + x1 - window_width) / 2, window_width, width)
        top = _move_inside((y0 + y1 - window_height) / 2, window_height, height)
        return left, top, left + window_width, top + window_height


def _move_inside(start: float, length: float, limit: float) -> float:
    return (limit - length) / 2 if length > limit else min(max(start, 0.0), limit - length)


def to_input(image: Image.Image, geometry: Geometry, interpolation: Interpolation = "bilinear") -> torch.Tensor:
    """Render the window of an upright photograph: (3, H, W) float32 in [0, 1], mean and std not applied."""
    fill = image.resize((1, 1), Image.Resampling.BOX)
    array = _render(image, geometry, _RESAMPLING[interpolation], fill, aliased=interpolation == "bilinear-aliased")
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().float().div_(255)


def from_input(image: torch.Tensor) -> Image.Image:
    """A (3, H, W) image in [0, 1] as a picture of H x W pixels; what lies outside is clipped."""
    pixels = image.detach().cpu().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def render_mask(mask: Image.Image, geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Render the window of an object mask (L, 0 or 255, as large as the photograph): (H, W) bool, False beyond it.

    An input pixel is in where at least half of it is covered, or half of what the object covers of its best pixel if it
    covers none in full: a tiny or thin object that lies in the window is never without a place.
    """
    x0, y0, x1, y1 = geometry.window
    left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
    right, bottom = min(math.ceil(x1), geometry.width), min(math.ceil(y1), geometry.height)
    if mask.crop((left, top, right, bottom)).getbbox() is None:
        return np.zeros(geometry.size, dtype=np.bool_)
    covered = _render(mask, geometry, Image.Resampling.BILINEAR, fill=Image.new("L", (1, 1), 0))
    return covered > int(covered.max()) // 2


def _render(
    image: Image.Image, geometry: Geometry, resampling: Image.Resampling, fill: Image.Image, *, aliased: bool = False
) -> npt.NDArray[np.uint8]:
    height, width = geometry.size
    # The photograph's edges in input pixels: what lies between them is resampled, the rest filled.
    x0, y0, x1, y1 = geometry.box_to_input((0.0, 0.0, float(geometry.width), float(geometry.height)))
    left, right = _inner_range(x0, x1, width)
    top, bottom = _inner_range(y0, y1, height)
    scale_x, scale_y = geometry._scale()
    box = (
        min(max(left / scale_x + geometry.window[0], 0.0), geometry.width),
        min(max(top / scale_y + geometry.window[1], 0.0), geometry.height),
        min(max(right / scale_x + geometry.window[0], 0.0), geometry.width),
        min(max(bottom / scale_y + geometry.window[1], 0.0), geometry.height),
    )
    if aliased:
        part = image.transform((right - left, bottom - top), Image.Transform.EXTENT, box, resampling)
    else:
        part = image.resize((right - left, bottom - top), resampling, box=box)
    if part.size == (width, height):
        return np.array(part)
    canvas = fill.resize((width, height), Image.Resampling.NEAREST)
    canvas.paste(part, (left, top))
    return np.array(canvas)


def _inner_range(low: float, high: float, n_pixels: int) -> tuple[int, int]:
    start, stop = math.ceil(low - 1e-6), math.floor(high + 1e-6)
    return (start, stop) if start < stop else _pixel_range(low, high, n_pixels)
