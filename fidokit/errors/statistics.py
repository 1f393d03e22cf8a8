"""Statistics of a photograph and of a mask that a person would name, and the words for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from fidokit.methods.base import resize_masks

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

#: Weights of red, green and blue in brightness (ITU-R BT.601).
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)
#: Cells along each side of the grid on which the place of a mask is told.
PLACES = 7
# What a statistic's low and high ends are called.
_WORDS: dict[str, tuple[str, str]] = {
    "brightness": ("dark photographs", "bright photographs"),
    "contrast": ("little contrast", "much contrast"),
    "sharpness": ("blurred photographs", "sharp photographs"),
    "saturation": ("pale colours", "strong colours"),
    "warmth": ("cold colours", "warm colours"),
    "greenness": ("little green", "much green"),
    "animal size": ("a small animal", "a large animal"),
    "animal x": ("the animal far to the left", "the animal far to the right"),
    "animal y": ("the animal near the top", "the animal near the bottom"),
    "animal brightness": ("a dark animal", "a bright animal"),
    "animal saturation": ("a pale animal", "an animal of strong colours"),
    "surroundings brightness": ("dark surroundings", "bright surroundings"),
    "surroundings contrast": ("even surroundings", "surroundings of much contrast"),
    "surroundings saturation": ("pale surroundings", "surroundings of strong colours"),
    "surroundings warmth": ("cold colours around the animal", "warm colours around the animal"),
    "surroundings greenness": ("little green around the animal", "much green around the animal"),
    "mask area": ("the classifier uses little of the picture", "the classifier uses much of the picture"),
    "mask outside": ("the classifier looks at the animal alone", "the classifier looks beside the animal"),
    "mask x": ("the classifier looks far to the left", "the classifier looks far to the right"),
    "mask y": ("the classifier looks near the top", "the classifier looks near the bottom"),
    "mask at edge": ("the classifier looks away from the edge", "the classifier looks at the edge of the picture"),
    "evidence outside": (
        "what speaks for the answer lies on the animal",
        "what speaks for the answer lies beside the animal",
    ),
    "evidence at edge": (
        "what speaks for the answer lies away from the edge",
        "what speaks for the answer lies at the edge",
    ),
}
# The same for statistics of single parts and columns.
_WORDS_OF: dict[str, tuple[str, str]] = {
    "mask on ": ("the classifier hardly looks at the {}", "the classifier looks mainly at the {}"),
    "visible ": ("the {} hidden", "the {} in full view"),
    "column ": ("low {}", "high {}"),
}


def words_for(name: str, how: str) -> str:
    """What the ``low`` or ``high`` end of a statistic is called."""
    side = int(how == "high")
    if name in _WORDS:
        return _WORDS[name][side]
    for prefix, words in _WORDS_OF.items():
        if name.startswith(prefix):
            return words[side].format(name[len(prefix) :])
    return f"{how} {name}"


def image_statistics(image: Floats, animal: Bools | None) -> dict[str, float]:
    """Light, colour and sharpness of a photograph, and size, place and light of the animal in it.

    Args:
        image: (3, H, W) in [0, 1].
        animal: (H, W), where it is; None if that is not known, and then nothing is said of it.

    Returns:
        brightness (mean luma), contrast (its standard deviation), sharpness (logarithm of the variance of
        its Laplacian over its own, so that a dark picture is not a blurred one), saturation (mean of the largest
        minus the smallest channel), warmth (red minus blue), greenness (green minus the mean of red and blue); and
        animal size (logarithm of its share of the picture), animal x and animal y (its middle, in shares of the
        picture), and brightness and colours of animal and surroundings apart.
    """
    luma = np.tensordot(_LUMA, image, 1)
    known = animal is not None and bool(animal.any())
    inside = animal if animal is not None and known else np.zeros(luma.shape, dtype=bool)
    whole, own, around = _light(image, luma, np.stack([np.ones_like(inside), inside, ~inside]))
    found: dict[str, float] = {}
    if known:
        rows, columns = np.nonzero(inside)
        found["animal size"] = float(np.log(inside.mean()))
    found |= whole
    found["sharpness"] = float(np.log((_detail(luma) + 1e-8) / (found["contrast"] ** 2 + 1e-6)))
    if not known:
        return found
    found |= {f"animal {name}": own[name] for name in ("brightness", "saturation")}
    if not inside.all():
        found |= {f"surroundings {name}": value for name, value in around.items()}
    found["animal x"] = float((columns.mean() + 0.5) / inside.shape[1])
    found["animal y"] = float((rows.mean() + 0.5) / inside.shape[0])
    return found


def _detail(luma: Floats) -> float:
    """Variance of the Laplacian of an (H, W) picture; 0 for one of fewer than three rows or columns."""
    inner = luma[1:-1, 1:-1]
    if not inner.size:
        return 0.0
    return float((4 * inner - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]).var())


def _light(image: Floats, luma: Floats, regions: Bools) -> list[dict[str, float]]:
    """Light and colour of a (3, H, W) picture in each of (R, H, W) regions."""
    planes = np.stack([*image, luma, image.max(0) - image.min(0)]).reshape(5, -1).astype(np.float64)
    planes = np.concatenate([planes, planes[3:4] ** 2])
    weights = regions.reshape(len(regions), -1).astype(np.float64)
    means = weights @ planes.T / np.maximum(weights.sum(1, keepdims=True), 1)
    return [
        {
            "brightness": brightness,
            "contrast": max(0.0, squared - brightness**2) ** 0.5,
            "saturation": saturation,
            "warmth": red - blue,
            "greenness": green - (red + blue) / 2,
        }
        for red, green, blue, brightness, saturation, squared in means.tolist()
    ]


def mask_statistics(mask: Floats, animal: Bools | None, parts: Mapping[str, Bools]) -> dict[str, float]:
    """Where a mask lies.

    Args:
        mask: (h, w), at least 0.
        animal: (H, W), where the animal is, or None.
        parts: name -> (H, W), where each part of it is.

    Returns:
        mask area (its mean), mask x and mask y (its middle, in shares of the picture), mask at edge (the share of it in
        the outermost cells), mask outside (the share beside the animal), and for each part ``mask on PART`` (the share
        there) and ``visible PART`` (pixels of the part for each of the animal). Of a mask that is 0 everywhere only the
        area is told, and what is visible.
    """
    total = float(mask.sum())
    found = {"mask area": float(mask.mean())}
    if total > 0:
        height, width = mask.shape
        found["mask x"] = float((mask.sum(0) * (np.arange(width) + 0.5)).sum() / total / width)
        found["mask y"] = float((mask.sum(1) * (np.arange(height) + 0.5)).sum() / total / height)
        found["mask at edge"] = edge_share(mask)
        if animal is not None:
            found["mask outside"] = outside_share(mask, animal)
        for name, part in parts.items():
            found[f"mask on {name}"] = float((mask * _on_grid(part, mask.shape)).sum() / total)
    if animal is not None and animal.any():
        found |= {f"visible {name}": float(part.sum() / animal.sum()) for name, part in parts.items()}
    return found


def edge_share(mask: Floats) -> float:
    """Share of an (h, w) mask in its outermost cells, a fourteenth of each side; NaN for a mask that is 0."""
    height, width = mask.shape
    y, x = max(1, height // 14), max(1, width // 14)
    total = float(mask.sum())
    return 1 - float(mask[y : height - y, x : width - x].sum()) / total if total > 0 else float("nan")


def outside_share(mask: Floats, animal: Bools) -> float:
    """Share of an (h, w) mask beside the (H, W) animal; NaN for a mask that is 0 everywhere."""
    total = float(mask.sum())
    return 1 - float((mask * _on_grid(animal, mask.shape)).sum()) / total if total > 0 else float("nan")


def place(mask: Floats) -> Floats:
    """(49,) square roots of a mask's shares on a grid of 7 x 7; zeros for a mask that is 0 everywhere.

    The Euclidean distance of such roots is the Hellinger distance of the shares, which a few strong cells do not rule.
    """
    pooled = _pooled(mask, (PLACES, PLACES)).ravel()
    total = float(pooled.sum())
    return np.sqrt(pooled / total).astype(np.float32) if total > 0 else np.zeros(PLACES**2, np.float32)


def _on_grid(region: Bools, size: tuple[int, ...]) -> Floats:
    """(h, w) shares of the cells that (H, W) pixels cover."""
    return _pooled(region.astype(np.float32), (size[0], size[1]))


def _pooled(values: Floats, size: tuple[int, int]) -> Floats:
    pooled: Floats = resize_masks(torch.from_numpy(np.ascontiguousarray(values)), size).numpy()
    return pooled
