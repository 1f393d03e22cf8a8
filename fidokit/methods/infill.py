"""Infills: what stands in for a dropped pixel.

Each is a function of images (B, 3, H, W) in [0, 1] and, where it is random, of each image's key and a draw number, or
of what is kept; it returns (B, 3, H, W). FIDO (Chang et al., ICLR 2019, section 4.1) uses blur, mean and noise;
``shuffle`` is the patch-wise "knockoff".

Not every infill removes. On FunnyBirds (rendered birds whose parts can really be taken out; 34 pictures of the tuning
half), filling a part in shows this share of the true drop of the class's logit, and correlates with it over all parts
and for the worst part: blur 49 % (0.58; wings 0.21), local 72 % (0.68; 0.33), zeros 105 % (0.78; 0.34), mean 106 %
(0.86; 0.39), noise 117 % (0.82; 0.15), wide-blur 100 % (0.84; 0.36), shuffle 108 % (0.91; 0.54), dominant 113 % (0.93;
0.65), background 107 % (0.94; 0.74), inpaint 98 % (0.97; 0.90). A part filled in by blur is still seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fidokit._util.checks import POSITIVE
from fidokit.exceptions import SettingsError
from fidokit.methods.blend import upsample_kept
from fidokit.methods.concrete import uniform

#: Shorter side, in pixels, that inpainting is computed on; what it makes is smooth, and the step loop cannot wait.
_INPAINT_SIDE = 48
_RELAXATIONS = 3
_LEAST_KEPT = 1e-6
_LEAST_COMMON = 1e-5

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


def wide_blur(images: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation of a quarter of the shorter side: only a gradient of colour is left."""
    return blur(images, 1 / 4)


def dominant(images: Tensor, levels: int = 8) -> Tensor:
    """The image's dominant colour: the mean of the pixels in the fullest of levels^3 cells of the colour cube.

    Against a plain background it is what would be there without the object; the mean colour has some of the object.
    """
    b = len(images)
    steps = (images * levels).long().clamp(0, levels - 1).flatten(2)
    code = (steps[:, 0] * levels + steps[:, 1]) * levels + steps[:, 2]
    count = torch.zeros(b, levels**3, device=images.device).scatter_add_(1, code, torch.ones_like(code).float())
    inside = (code == count.argmax(1, keepdim=True)).to(images.dtype)[:, None]
    colour = (images.flatten(2) * inside).sum(2) / inside.sum(2)
    return colour[:, :, None, None].expand_as(images)


def background(images: Tensor, levels: int = 8, side: int = 32) -> Tensor:
    """The picture's common colours, continued to where it has others: what would be there without the object.

    A pixel counts by the square of how common its colour is in the picture (levels^3 cells of the colour cube, averaged
    with their neighbours); the rest is filled in from the nearest that count, by push-pull as in `inpaint`. Against
    a plain backdrop that is its colour, as of `dominant`; where colours vary, those of the surroundings. It does not
    depend on what is kept, so that it cannot continue the object into what is dropped.

    Args:
        images: (B, 3, H, W) in [0, 1].
        levels: of each colour channel.
        side: shorter side, in pixels, of the picture that is filled in; what is made is smooth.

    Returns:
        (B, 3, H, W).
    """
    weight = _commonness(images, levels).square().clamp(min=_LEAST_COMMON)
    factor = max(1, min(images.shape[-2:]) // side)
    sure = _pooled(weight, factor)
    colours = _pooled(images * weight, factor) / sure
    small = _push_pull(colours, sure / sure.amax(dim=(-2, -1), keepdim=True))
    if factor == 1:
        return small
    return functional.interpolate(small, scale_factor=factor, mode="bilinear")[
        ..., : images.shape[-2], : images.shape[-1]
    ]


def _commonness(images: Tensor, levels: int) -> Tensor:
    """(B, 1, H, W) in (0, 1]: how many pixels are of about this colour, by those of the most common one."""
    b = len(images)
    steps = (images * levels).long().clamp(0, levels - 1).flatten(2)
    code = (steps[:, 0] * levels + steps[:, 1]) * levels + steps[:, 2]
    count = torch.zeros(b, levels**3, device=images.device).scatter_add_(1, code, torch.ones_like(code).float())
    count = functional.avg_pool3d(count.view(b, 1, levels, levels, levels), 3, 1, 1).flatten(1)
    return (count / count.amax(1, keepdim=True)).gather(1, code).view(b, 1, *images.shape[-2:])


def inpaint(images: Tensor, kept: Tensor) -> Tensor:
    """The surroundings continued into what is dropped: push-pull, relaxed at each scale (nearly harmonic) inpainting.

    What is kept is averaged into ever smaller pictures, weighted by how much of it is kept; on the way back each
    picture takes its own colours where it has them and the coarser one's elsewhere, and is smoothed where it has none
    (Gortler et al., "The lumigraph", SIGGRAPH 1996, section 3.5). No gradient flows through it.

    Args:
        images: (E, 3, H, W), in [0, 1] or normalised: it is linear in them.
        kept: (E, 1, H, W) kept shares in [0, 1].

    Returns:
        (E, 3, H, W), smooth: computed on about 48 pixels a side.
    """
    small = reduced(images)
    return grown(_push_pull(small, reduced(kept)), (images.shape[-2], images.shape[-1]))


def reduced(images: Tensor) -> Tensor:
    """(E, C, h, w) float32 of (E, C, H, W), at the resolution that `inpaint` works at."""
    return _pooled(images.float(), _factor((images.shape[-2], images.shape[-1])))


def grown(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(E, C, H, W) of what `reduced` made small."""
    factor = _factor(size)
    if factor == 1:
        return images
    return functional.interpolate(images, scale_factor=factor, mode="bilinear")[..., : size[0], : size[1]]


def _factor(size: tuple[int, int]) -> int:
    return max(1, min(size) // _INPAINT_SIDE)


def _push_pull(images: Tensor, kept: Tensor) -> Tensor:
    """`inpaint` at the images' own resolution."""
    weight = kept.clamp(_LEAST_KEPT, 1)
    levels = [(images * weight, weight)]
    while max(levels[-1][1].shape[-2:]) > 1:
        levels.append((_pooled(levels[-1][0], 2), _pooled(levels[-1][1], 2)))
    filled = levels[-1][0] / levels[-1][1]
    for colours, sure in reversed(levels[:-1]):
        own = colours / sure
        filled = functional.interpolate(filled, size=own.shape[-2:], mode="bilinear")
        for _ in range(_RELAXATIONS):
            filled = torch.lerp(filled, own, sure)
            filled = functional.avg_pool2d(functional.pad(filled, (1, 1, 1, 1), mode="replicate"), 3, 1)
        filled = torch.lerp(filled, own, sure)
    return filled


def _pooled(images: Tensor, factor: int) -> Tensor:
    return functional.avg_pool2d(images, factor, ceil_mode=True, count_include_pad=False) if factor > 1 else images


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
    "dominant": dominant,
    "background": background,
    "wide-blur": wide_blur,
    "zeros": zeros,
    "original": original,
}
RANDOM: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "noise": noise,
    "uniform": white_noise,
    "shuffle": shuffle,
}
#: Infills that depend on what is kept.
KEPT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"inpaint": inpaint}
INFILLS: tuple[str, ...] = (*FIXED, *RANDOM, *KEPT)


def fill(name: str, images: Tensor, kept: Tensor, key: Tensor, draw: int) -> Tensor:
    """(E, 3, H, W) images in [0, 1] filled by the infill of a name, whatever it depends on.

    Args:
        name: one of `INFILLS`.
        images: (E, 3, H, W) in [0, 1].
        kept: (E, 1, H, W) kept shares in [0, 1].
        key: (E,) random streams.
        draw: which random draw; of no effect on the others.
    """
    if name in FIXED:
        return FIXED[name](images)
    if name in KEPT:
        return KEPT[name](images, kept)
    return RANDOM[name](images, key, draw)


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
        # What depends on the mask cannot be made ahead: it stands behind the entries of the bank.
        pairs.sort(key=lambda pair: pair[0] in KEPT)
        if not pairs:
            raise SettingsError("an empty mixture of infills; name at least one")
        total = sum(weight for _, weight in pairs)
        return cls(tuple(name for name, _ in pairs), tuple(weight / total for _, weight in pairs))

    def among(self, names: Sequence[str]) -> Mixture:
        """The same, listed among other names, which are never drawn."""
        weights = dict(zip(self.names, self.weights, strict=True))
        return Mixture(tuple(names), tuple(weights.get(name, 0.0) for name in names))

    @property
    def depends_on_mask(self) -> bool:
        """Whether one of them, the last, is made anew for every mask."""
        return self.names[-1] in KEPT

    def bank(self, images: Tensor, key: Tensor, draws: int) -> Tensor:
        """(B, M, 3, H, W) ready infills of each image: fixed ones once, random ones `draws` times, in order.

        What depends on the mask is not among them.

        Drawing them when an image starts, not at each step, leaves one copy per sample for the step.
        """
        made = []
        for position, name in enumerate(self.names):
            if name in KEPT:
                continue
            if name in FIXED:
                made.append(FIXED[name](images))
            else:
                # Counters of infills lie below zero, those of mask samples above.
                first = -1 - position * draws
                made.extend(RANDOM[name](images, key, first - i) for i in range(draws))
        return torch.stack(made, dim=1) if made else images[:, None][:, :0]

    def cumulative(self, draws: int) -> list[float]:
        """Upper ends in (0, 1]: the entry whose interval holds a uniform number is drawn with its probability.

        M of them, and one more for the infill that depends on the mask, if there is one.
        """
        ends, total = [], 0.0
        for name, weight in zip(self.names, self.weights, strict=True):
            copies = draws if name in RANDOM else 1
            for _ in range(copies):
                total += weight / copies
                ends.append(total)
        ends[-1] = 1.0
        return ends


def filled_by(mixture: Mixture, bank: Tensor, x: Tensor, image: Tensor, entry: Tensor, cells: Tensor) -> Tensor:
    """(E, 3, H, W) what stands in for the dropped pixels of E samples, in the precision of `x`.

    Args:
        mixture: whose entries are meant.
        bank: (B, M, 3, H, W) ready infills of each image, normalised, from `Mixture.bank`.
        x: (B, 3, H, W) normalised images.
        image: (E,) which image each sample is of.
        entry: (E,) which infill it takes, a position in `Mixture.cumulative`.
        cells: (E, 1, h, w) kept shares.
    """
    ready = bank.shape[1]
    if not mixture.depends_on_mask:
        return bank[image, entry]
    small = reduced(x)
    made = _push_pull(small[image], upsample_kept(cells, (small.shape[-2], small.shape[-1])))
    inpainted = grown(made, (x.shape[-2], x.shape[-1])).to(x.dtype)
    if not ready:
        return inpainted
    return torch.where((entry == ready)[:, None, None, None], inpainted, bank[image, entry.clamp(max=ready - 1)])
