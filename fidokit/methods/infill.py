"""Infills: what stands in for a dropped pixel.

Each is a function of images (B, 3, H, W) in [0, 1] and, where it is random, of each image's key and a draw number; it
returns (B, 3, H, W). FIDO (Chang et al., ICLR 2019, section 4.1) uses blur, mean and noise; ``shuffle`` is the
patch-wise "knockoff".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fidokit._util.checks import POSITIVE
from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import uniform

#: A user's infill: (E, 3, H, W) images in [0, 1] and (E, 1, H, W) kept shares -> (E, 3, H, W) in [0, 1].
InfillFunction = Callable[[Tensor, Tensor], Tensor]


def blur(images: Tensor, sigma_share: float = 1 / 22.4) -> Tensor:
    """Gaussian blur with a standard deviation of a share of the shorter side (10 pixels at 224): outlines are lost."""
    height, width = images.shape[-2:]
    sigma = max(sigma_share * min(height, width), 0.5)
    # A Gaussian this wide is band-limited, so it may be computed on fewer pixels: at most four to a standard deviation.
    factor = max(1, int(sigma / 4))
    if factor == 1:
        return _blur_axis(_blur_axis(images, sigma, -2), sigma, -1)
    padded = functional.pad(images, (0, -width % factor, 0, -height % factor), mode="replicate")
    small = functional.avg_pool2d(padded, factor)
    for axis in (-2, -1):
        small = _blur_axis(small, sigma / factor, axis)
    whole = functional.interpolate(small, scale_factor=factor, mode="bilinear")
    return whole[..., :height, :width]


def _blur_axis(images: Tensor, sigma: float, axis: int) -> Tensor:
    length = images.shape[axis]
    radius = max(1, int(3 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    # One matrix does the convolution with the edge pixels repeated beyond the edge, however wide the kernel.
    rows = torch.arange(length, device=images.device)[:, None].expand(-1, 2 * radius + 1)
    columns = (rows + offsets.long()).clamp(0, length - 1)
    matrix = torch.zeros(length, length, device=images.device, dtype=images.dtype)
    matrix = matrix.index_put((rows, columns), kernel.expand(length, -1), accumulate=True)
    return matrix @ images if axis == -2 else images @ matrix.T


def mean(images: Tensor) -> Tensor:
    """The image's mean colour."""
    return images.mean(dim=(-2, -1), keepdim=True).expand_as(images)


def local(images: Tensor, cells: int = 7) -> Tensor:
    """Mean colours of 7 x 7 cells, interpolated: the surroundings without the object's texture."""
    small = functional.adaptive_avg_pool2d(images, cells)
    return functional.interpolate(small, size=images.shape[-2:], mode="bilinear")


def zeros(images: Tensor) -> Tensor:
    """Black."""
    return torch.zeros_like(images)


def original(images: Tensor) -> Tensor:
    """The image itself: nothing is dropped. A control; no mask can be learnt from it."""
    return images


def noise(images: Tensor, key: Tensor, draw: int, cells: int = 14, spread: float = 0.25) -> Tensor:
    """The image's mean colour with low-frequency noise: 14 x 14 random colours, interpolated."""
    u = uniform(key, draw, (3, cells, cells))
    field = functional.interpolate(2 * u - 1, size=images.shape[-2:], mode="bilinear")
    return (mean(images) + 2 * spread * field).clamp(0, 1)


def white_noise(images: Tensor, key: Tensor, draw: int) -> Tensor:
    """Uniform noise in [0, 1], each pixel and channel on its own."""
    return uniform(key, draw, tuple(images.shape[1:]))


def shuffle(images: Tensor, key: Tensor, draw: int, cells: int = 8) -> Tensor:
    """The image's own patches, cells x cells of them, in random order: its colours and textures without its shapes.

    Where the sides are no multiples, the patches at the lower and right edges are filled up with the edge's pixels.
    """
    b, c, height, width = images.shape
    h, w = -(-height // cells), -(-width // cells)
    down, across = -(-height // h), -(-width // w)
    padded = functional.pad(images, (0, w * across - width, 0, h * down - height), mode="replicate")
    patches = padded.reshape(b, c, down, h, across, w).permute(0, 2, 4, 1, 3, 5).reshape(b, down * across, c * h * w)
    order = uniform(key, draw, (down * across,)).argsort(1)
    patches = patches.gather(1, order[:, :, None].expand_as(patches))
    grid = patches.view(b, down, across, c, h, w).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(b, c, down * h, across * w)[:, :, :height, :width]


FIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": blur,
    "mean": mean,
    "local": local,
    "zeros": zeros,
    "original": original,
}
RANDOM: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "noise": noise,
    "uniform": white_noise,
    "shuffle": shuffle,
}
INFILLS: tuple[str, ...] = (*FIXED, *RANDOM)


def _name_and_weight(part: object) -> tuple[str, float]:
    if isinstance(part, str):
        part = (part, 1.0)
    if not isinstance(part, list | tuple) or len(part) != 2:
        raise SettingsError(f"{part!r} is no infill; give a name, a (name, weight) pair, or several in a list")
    name, weight = part
    if name not in INFILLS:
        raise SettingsError(f"unknown infill {name!r}; choose among {', '.join(INFILLS)}, or give a function")
    if not POSITIVE.fits(weight):
        raise SettingsError(f"the weight of infill {name!r} is {weight!r}; it must be {POSITIVE}")
    return name, float(weight)


@dataclass(frozen=True)
class Mixture:
    """Infills to choose among, with their probabilities; the one place where an infill's name is checked."""

    names: tuple[str, ...]
    weights: tuple[float, ...]

    @classmethod
    def parse(cls, infill: str | Sequence[str | tuple[str, float]]) -> Mixture:
        """From a name, several names, or (name, weight) pairs.

        Raises:
            SettingsError: an unknown name, a weight that is not positive, or none at all.
        """
        if not isinstance(infill, str | list | tuple):
            raise SettingsError(f"an infill is a name, a list of names or of (name, weight) pairs, not {infill!r}")
        pairs = [_name_and_weight(part) for part in ([infill] if isinstance(infill, str) else infill)]
        if not pairs:
            raise SettingsError("an empty mixture of infills; name at least one")
        total = sum(weight for _, weight in pairs)
        return cls(tuple(name for name, _ in pairs), tuple(weight / total for _, weight in pairs))

    def bank(self, images: Tensor, key: Tensor, draws: int) -> Tensor:
        """(B, M, 3, H, W) ready infills of each image: fixed ones once, random ones `draws` times, in order.

        Drawing them when an image starts, not at each step, leaves one copy per sample for the step.
        """
        made = []
        for position, name in enumerate(self.names):
            if name in FIXED:
                made.append(FIXED[name](images))
            else:
                # Counters of infills lie below zero, those of mask samples above.
                first = -1 - position * draws
                made.extend(RANDOM[name](images, key, first - i) for i in range(draws))
        return torch.stack(made, dim=1)

    def cumulative(self, draws: int) -> list[float]:
        """M upper ends in (0, 1]: the entry whose interval holds a uniform number is drawn with its probability."""
        ends, total = [], 0.0
        for name, weight in zip(self.names, self.weights, strict=True):
            copies = 1 if name in FIXED else draws
            for _ in range(copies):
                total += weight / copies
                ends.append(total)
        ends[-1] = 1.0
        return ends
