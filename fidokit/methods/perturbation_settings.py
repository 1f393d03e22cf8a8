"""Settings of RISE and of extremal perturbations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fidokit._util.checks import (
    COUNT,
    POSITIVE,
    SHARE,
    UNIT,
    WHOLE,
    Number,
    require,
    require_choice,
    require_flags,
    require_numbers,
)
from fidokit.methods.gradient_settings import BASELINES, Baseline

_Game = Literal["preservation", "deletion", "hybrid"]
GAMES: tuple[_Game, ...] = ("preservation", "deletion", "hybrid")
_TWO_OR_MORE = Number(least=2, whole=True)


@dataclass(frozen=True)
class RiseSettings:
    """Settings of RISE.

    Attributes:
        samples: random masks, and evaluations, of each image. The authors use 4000 for VGG16 and 8000 for ResNet50. The
            noise of the map falls with the root of their number: at 1000 it is 2.8 times that of 8000, for an eighth of
            the time.
        grid: cells a side of the random masks, before they are interpolated and shifted: 7, as published.
        probability: of a cell to be kept.
        baseline: what is dropped is filled with, see `IntegratedGradientsSettings`. The authors multiply the normalised
            image by the mask, which is ``mean``.
        centre: weigh each mask by how far its score lies from the mean score, not by the score itself. The expected map
            is the same up to a constant, but places do not stand out merely because they were kept more often.
        seed: of the masks, together with each image's identity.

    Raises:
        SettingsError: a value outside its range.

    Example:
        >>> fk.explain(clf, data, "rise", settings=fk.RiseSettings(samples=20))
        Masks(rise: attribution (8, 128, 128))
    """

    samples: int = 1000
    grid: int = 7
    probability: float = 0.5
    baseline: Baseline = "mean"
    centre: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_numbers(self, samples=_TWO_OR_MORE, grid=COUNT, probability=Number(above=0, below=1), seed=WHOLE)
        require_choice(self, "baseline", BASELINES)
        require_flags(self, "centre")

    @classmethod
    def published(cls, **overrides: Any) -> RiseSettings:
        """The settings of Petsiuk, Das, Saenko, BMVC 2018, for ResNet50: 8000 evaluations.

        The authors draw one set of masks for all images; here each image has its own, so that the noise of two maps is
        independent. The distribution of a map is the same.
        """
        published: dict[str, Any] = {"samples": 8000, "centre": False}
        return cls(**(published | overrides))


@dataclass(frozen=True)
class ExtremalSettings:
    """Settings of extremal perturbations.

    An image costs ``steps`` evaluations for each of the areas, twice that in the hybrid game.

    Attributes:
        areas: shares of the image that the masks are to cover; each gets a mask of its own. By default those of the
            authors' pointing game on VOC.
        game: ``preservation`` looks for the region that, kept, makes the logit largest; ``deletion`` for the one that,
            perturbed, makes it smallest; ``hybrid`` for one that does both.
        steps: of gradient descent. The authors take 800. With the default's larger steps and weaker first constraint,
            100 steps gave similar maps on a few photographs.
        lattice: seeds of a mask, (h, w) or one number for both: 32, so that they are 7 pixels apart in 224.
        detail: cells of the mask's own grid per seed and axis. The masks are smooth: two differ by less than 0.01 on
            average from a cell a pixel, and take less time than the classifier.
        sigma: radius of the smooth spot around each seed, as a share of the input's shorter side: 21 pixels of 224.
        baseline: the strongest perturbation, where the mask is 0. ``blur`` is the authors': the weaker the mask, the
            stronger the blur. The others, see `IntegratedGradientsSettings`, fade to a colour.
        max_blur: standard deviation of the strongest blur, as a share of the shorter side: 20 pixels of 224.
        levels: strengths of blur made per image, the image itself included; in between it is interpolated.
        mirror: show the classifier the mirror image in every other step, as the authors do. Switch it off where left
            and right differ, as with the flanks of an individual or a cause that always lies in one corner.
        lr: of gradient descent, in units of the seeds, which lie in [0, 1].
        momentum: of gradient descent, in [0, 1).
        area_weight: weight of the area constraint in the first step, in units of the logit. While it is much stronger
            than what the logit can gain, masks shrink before they have found the region.
        area_growth: factor by which that weight has grown after the last step; if the areas are not met (``converged``
            is False), a larger one or more steps help.
        smoothing: standard deviation of the final blur of the map, as a share of its shorter side; 0 for none. A mean
            of a few nearly binary masks has few different values; the blur puts a region's middle before its rim.

    Raises:
        SettingsError: a value outside its range.

    Example:
        >>> settings = fk.ExtremalSettings(areas=(0.1, 0.3), steps=20)
        >>> fk.explain(clf, data.subset([0]), "extremal-perturbation", settings=settings).kinds.keys()
        dict_keys(['attribution'])
    """

    areas: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2)
    game: _Game = "preservation"
    steps: int = 100
    lattice: int | tuple[int, int] = 32
    detail: int = 2
    sigma: float = 21 / 224
    baseline: Baseline = "blur"
    max_blur: float = 20 / 224
    levels: int = 8
    mirror: bool = True
    lr: float = 0.1
    momentum: float = 0.9
    area_weight: float = 50.0
    area_growth: float = 100.0
    smoothing: float = 0.09

    def __post_init__(self) -> None:
        areas: object = self.areas
        if isinstance(areas, list):
            areas = tuple(areas)
            object.__setattr__(self, "areas", areas)
        inside = Number(above=0, below=1)
        good = isinstance(areas, tuple) and len(areas) > 0 and all(map(inside.fits, areas))
        require(self, "areas", good, f"one share of the image or several, each {inside}")
        require_choice(self, "game", GAMES)
        require_numbers(self, steps=COUNT, detail=COUNT, levels=_TWO_OR_MORE)
        sides = self.lattice if isinstance(self.lattice, tuple | list) else (self.lattice, self.lattice)
        require(self, "lattice", len(sides) == 2 and all(map(_TWO_OR_MORE.fits, sides)), f"{_TWO_OR_MORE}, or two")
        require_choice(self, "baseline", BASELINES)
        require_flags(self, "mirror")
        require_numbers(self, sigma=SHARE, max_blur=POSITIVE, lr=POSITIVE, area_weight=POSITIVE, area_growth=POSITIVE)
        require_numbers(self, momentum=Number(least=0, below=1), smoothing=UNIT)

    @classmethod
    def published(cls, **overrides: Any) -> ExtremalSettings:
        """The settings of Fong, Patrick, Vedaldi, ICCV 2019, as their code has them: 3200 evaluations.

        Two things differ from that code: an area is a share of the image itself, not of the image with a margin, and
        the final blur repeats the edge instead of taking zeros beyond it.
        """
        published: dict[str, Any] = {
            "steps": 800,
            "lr": 0.01,
            "area_weight": 300.0,
            "area_growth": 1.0035**800,
        }
        return cls(**(published | overrides))

    @property
    def evaluations_per_mask(self) -> int:
        """Evaluations that one step costs each mask."""
        return 2 if self.game == "hybrid" else 1

    def seeds(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the lattice for an input of (H, W) pixels; never finer than the input."""
        rows, columns = self.lattice if isinstance(self.lattice, tuple | list) else (self.lattice, self.lattice)
        return min(int(rows), size[0]), min(int(columns), size[1])
