"""What a second look is made of: `GuidedSettings`, and `GuidedGrid`, the values among which to choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from fidokit._util.checks import (
    COUNT,
    FINITE,
    NOT_NEGATIVE,
    SHARE,
    UNIT,
    Number,
    require,
    require_choice,
    require_numbers,
)
from fidokit.exceptions import SettingsError
from fidokit.methods import get_method, list_methods
from fidokit.methods.base import KINDS, Kind
from fidokit.methods.infill import FIXED

Way = Literal["crop", "fade", "crop+fade"]
WAYS: tuple[Way, ...] = get_args(Way)
Evidence = Literal["mask", "region"]
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)

#: Infills into which a view may fade: one picture an image, and none that leaves the image as it is.
_FADE_INFILLS: tuple[str, ...] = tuple(name for name in FIXED if name != "original")


_INSIDE = Number(above=0, below=1)
#: Share of the first look's map that its crops enclose.
_FIRST_SHARE = 0.5


@dataclass(frozen=True)
class GuidedSettings:
    """How masks guide a second look at a photograph, and what that look counts.

    It is a cascade: a class activation map, which costs one evaluation, says where to look first; masks are optimised
    only of the photographs of which that look leaves doubt.

    The defaults were chosen on composites of 28 animals with nature photographs and textures, small ones (20 to 40 % of
    the frame) and filling ones (75 to 95 %), EfficientNet-Lite0, on other animals than any reported result. Right of
    112: alone 40 %, Grad-CAM's crops 70 % at 5 evaluations each, FIDO's default masks of all 77 % at 45, the cascade
    72 % at 6 (small 7, filling 4).

    Attributes:
        method: name of the method that makes the masks.
        kind: the kind of mask; None (default) is `sdr`, or the method's first kind where it makes no `sdr`; with
            ``evidence="region"`` it is `ssr`. The smallest destroying region served better than the joint mask (0.77
            against 0.74 right) and the smallest sufficient one (0.71).
        evidence: what a crop encloses. ``mask`` (default): the mask's `share`. ``region``: the connected evidence of
            the sufficient region that was cut from it and verified, see `fidokit.find_regions`, at 18 evaluations more
            a mask; where no region holds, the whole image. What suffices for a class amid strange surroundings is most
            of the image (0.98 of it of small animals), so that such crops show little that is new.
        region_kept: share of the whole image's score that the region must keep.
        way: ``crop`` looks at the mask's boxes in the file's own pixels; ``fade`` at the whole input, faded into the
            infill outside the mask; ``crop+fade`` at the boxes, faded. Fading gained nothing where it was tried.
        share: of the mask's sum that lies between the quantiles which make its box, see `boxes.mask_box`; of a region,
            the share that its connected pieces hold.
        paddings: one crop each: the share of the box's longer side that is added on each of its sides. The mean over
            three that are far apart was better than any single one, and than four between 0 and 0.5 (0.77 against
            0.70): some animals are ten times as large as others.
        smallest: least side of a crop, as a share of the input's, so that one stray cell is not blown up to a picture.
            0.2 was no better than 0.1, and makes all crops of a tiny animal the same.
        weight: of the mean of the guided views; the whole image's scores have the rest. 1 because a quarter for the
            whole photograph of a small animal never helped; where animals fill the frame, let it be chosen.
        candidates: number of likeliest classes that have a mask each, all views counting alike, so that a wrong first
            guess does not choose its own evidence. Each costs its own mask.
        gate: margin (probability of the predicted class less the runner-up's) above which there is no second look: at
            0.8 (default) no answer got worse by that. 1 looks at everything, a negative gate at nothing.
        first: method of the look before the masks, a cheap one such as ``grad-cam`` (default); its crops enclose half
            of its map. None makes masks of every photograph. Of no effect for methods that make attributions, which
            cost no more themselves.
        doubt: margin of the first look's answer at or below which masks are made; their look replaces the first one,
            which was better than the mean of both. 0.015 keeps the mean cost below 8 evaluations, of real photographs
            too; 0.2 with the method's default settings was right in 78 %, at four times the price.
        infill: what lies beyond the mask in the ways that fade; a name of `_FADE_INFILLS`.
        fade: power to which the mask, scaled to a maximum of 1, is raised before it fades; below 1 it spares the places
            of which the mask is less certain, 0 fades nothing.
        method_settings: the method's settings object; None for its ``fast()`` where it has such a set, else for its
            defaults: a box asks less of a mask than a look at it.

    Raises:
        SettingsError: a value outside its range; the message names the field.

    Example:
        >>> fk.GuidedSettings(share=0.7, gate=0.9).way
        'crop'
    """

    method: str = "fido"
    kind: Kind | None = None
    way: Way = "crop"
    evidence: Evidence = "mask"
    region_kept: float = 0.9
    share: float = 0.5
    paddings: tuple[float, ...] = (0.0, 0.3, 0.75)
    smallest: float = 0.1
    weight: float = 1.0
    candidates: int = 1
    gate: float = 0.8
    first: str | None = "grad-cam"
    doubt: float = 0.015
    infill: str = "blur"
    fade: float = 0.25
    method_settings: Any = None

    def __post_init__(self) -> None:
        kinds = ", ".join(self._kinds)
        require(self, "kind", self.kind is None or self.kind in KINDS, f"None or one of {', '.join(KINDS)}")
        own = self.kind is None or self.kind in self._kinds
        require(self, "kind", own, f"None or a kind of {self.method!r}: {kinds}")
        require_choice(self, "way", WAYS)
        require_choice(self, "evidence", EVIDENCE)
        object.__setattr__(self, "paddings", _paddings("GuidedSettings.paddings", self.paddings))
        require_numbers(self, share=SHARE, smallest=UNIT, weight=UNIT, candidates=COUNT, gate=FINITE, fade=NOT_NEGATIVE)
        require_numbers(self, doubt=FINITE, region_kept=_INSIDE)
        known = self.first is None or (isinstance(self.first, str) and self.first in list_methods())
        cheap = known and (self.first is None or "attribution" in get_method(self.first).kinds)
        require(self, "first", cheap, "None or a method that makes attributions, such as 'grad-cam'")
        require_choice(self, "infill", _FADE_INFILLS)

    @property
    def mask_kind(self) -> Kind:
        """The kind of mask that guides."""
        if self.kind is not None:
            return self.kind
        usual: Kind = "ssr" if self.evidence == "region" else "sdr"
        return usual if usual in self._kinds else self._kinds[0]

    @property
    def _kinds(self) -> tuple[Kind, ...]:
        return get_method(self.method).kinds_with(self.own_settings)

    @property
    def own_settings(self) -> Any:
        """The settings object that the method gets."""
        method = get_method(self.method)
        fast = getattr(method.settings, "fast", None)
        return method.resolve(fast() if self.method_settings is None and fast is not None else self.method_settings)

    @property
    def first_look(self) -> GuidedSettings | None:
        """The settings of the look before the masks; None where there is none."""
        if self.first is None or "attribution" in get_method(self.method).kinds:
            return None
        own = replace(self, method=self.first, kind=None, method_settings=None, first=None)
        return replace(own, way="crop", evidence="mask", share=_FIRST_SHARE)

    @property
    def views(self) -> int:
        """Guided views of each candidate, an evaluation each."""
        return 1 if self.way == "fade" else len(self.paddings)


@dataclass(frozen=True)
class GuidedGrid:
    """Values among which cross-validation chooses; every combination of them is tried.

    Attributes:
        shares: of the mask's sum, see `GuidedSettings.share`; not used by the way ``fade``.
        paddings: sets of paddings, each of them `GuidedSettings.paddings`; the crops of a set are averaged. Single
            crops are left out: they were worse, and the luckiest of many would be chosen.
        weights: of the guided views.
        gates: margins above which there is no second look.
        doubts: margins of the first look's answer at or below which masks are made; None is no first look. Only those
            with a first look to choose from are used, see `GuidedSettings.first`.

    Raises:
        SettingsError: no value at all, or one outside its range; the message names the field.
    """

    shares: tuple[float, ...] = (0.3, 0.5, 0.7)
    paddings: tuple[tuple[float, ...], ...] = ((0.0, 0.15, 0.3, 0.5), (0.0, 0.3, 0.75))
    weights: tuple[float, ...] = (0.5, 0.75, 1.0)
    gates: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    doubts: tuple[float | None, ...] = (None, 0.015, 0.2)

    def __post_init__(self) -> None:
        for name, needed in (("shares", SHARE), ("weights", UNIT), ("gates", FINITE)):
            values = _several(f"GuidedGrid.{name}", getattr(self, name))
            require(self, name, all(map(needed.fits, values)), f"a list, each of it {needed}")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        doubts = _several("GuidedGrid.doubts", self.doubts)
        require(self, "doubts", all(one is None or FINITE.fits(one) for one in doubts), f"a list of None or {FINITE}")
        object.__setattr__(self, "doubts", tuple(None if one is None else float(one) for one in doubts))
        sets = _several("GuidedGrid.paddings", self.paddings)
        object.__setattr__(self, "paddings", tuple(_paddings("each of GuidedGrid.paddings", one) for one in sets))

    @classmethod
    def of(cls, settings: GuidedSettings) -> GuidedGrid:
        """The grid of these settings alone: nothing is chosen."""
        doubt = None if settings.first_look is None else settings.doubt
        return cls((settings.share,), (settings.paddings,), (settings.weight,), (settings.gate,), (doubt,))

    @property
    def single_paddings(self) -> tuple[float, ...]:
        """Every padding that stands in any of the sets, each once, in order."""
        return tuple(sorted({padding for one in self.paddings for padding in one}))


def _several(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable) or not (several := tuple(values)):
        raise SettingsError(f"{name} is {values!r}; it must be a list of at least one")
    return several


def _paddings(name: str, values: Any) -> tuple[float, ...]:
    several = _several(name, values)
    if not all(map(NOT_NEGATIVE.fits, several)):
        raise SettingsError(f"{name} is {values!r}; it must be a list, each of it {NOT_NEGATIVE}")
    return tuple(float(value) for value in several)
