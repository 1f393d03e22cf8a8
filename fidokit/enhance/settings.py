"""What a second look is made of: `GuidedSettings`, and `GuidedGrid`, the values among which to choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fidokit._util.checks import COUNT, FINITE, NOT_NEGATIVE, SHARE, UNIT, require, require_choice, require_numbers
from fidokit.exceptions import SettingsError
from fidokit.methods import get_method
from fidokit.methods.base import KINDS, Kind
from fidokit.methods.infill import FIXED

Way = Literal["crop", "fade", "crop+fade"]
WAYS: tuple[Way, ...] = get_args(Way)

#: Infills into which a view may fade: one picture an image, and none that leaves the image as it is.
_FADE_INFILLS: tuple[str, ...] = tuple(name for name in FIXED if name != "original")


@dataclass(frozen=True)
class GuidedSettings:
    """How masks guide a second look at a photograph, and what that look counts.

    The defaults were chosen on photographs of small animals (20 to 40 % of the frame, EfficientNet-Lite0, 112
    composites of 28 animals on nature photographs and as many on textures), on other animals than any reported result.

    Attributes:
        method: name of the method that makes the masks.
        kind: the kind of mask; None (default) is `sdr`, or the method's first kind where it makes no `sdr`. The
            smallest destroying region served better than the joint mask (0.72 against 0.69 right).
        way: ``crop`` looks at the mask's boxes in the file's own pixels; ``fade`` at the whole input, faded into the
            infill outside the mask; ``crop+fade`` at the boxes, faded. Fading gained nothing where it was tried.
        share: of the mask's sum that lies between the quantiles which make its box, see `boxes.mask_box`.
        paddings: one crop each: the share of the box's longer side that is added on each of its sides. The mean over
            four was better than any single one.
        smallest: least side of a crop, as a share of the input's, so that one stray cell is not blown up to a picture.
            0.2 was no better than 0.1, and makes all crops of a tiny animal the same.
        weight: of the mean of the guided views; the whole image's scores have the rest. 1 because a quarter for the
            whole photograph of a small animal never helped; where animals fill the frame, let it be chosen.
        candidates: number of likeliest classes that have a mask each, all views counting alike, so that a wrong first
            guess does not choose its own evidence. Each costs its own mask.
        gate: margin (probability of the predicted class less the runner-up's) above which there is no second look. 1
            (default) looks at everything, a negative gate at nothing.
        infill: what lies beyond the mask in the ways that fade; a name of `_FADE_INFILLS`.
        fade: power to which the mask, scaled to a maximum of 1, is raised before it fades; below 1 it spares the places
            of which the mask is less certain, 0 fades nothing.
        method_settings: the method's settings object; None for its defaults.

    Raises:
        SettingsError: a value outside its range; the message names the field.

    Example:
        >>> fk.GuidedSettings(share=0.7, gate=0.9).way
        'crop'
    """

    method: str = "fido"
    kind: Kind | None = None
    way: Way = "crop"
    share: float = 0.5
    paddings: tuple[float, ...] = (0.0, 0.15, 0.3, 0.5)
    smallest: float = 0.1
    weight: float = 1.0
    candidates: int = 1
    gate: float = 1.0
    infill: str = "blur"
    fade: float = 0.25
    method_settings: Any = None

    def __post_init__(self) -> None:
        method = get_method(self.method)
        method.resolve(self.method_settings)
        kinds = ", ".join(method.kinds)
        require(self, "kind", self.kind is None or self.kind in KINDS, f"None or one of {', '.join(KINDS)}")
        own = self.kind is None or self.kind in method.kinds
        require(self, "kind", own, f"None or a kind of {self.method!r}: {kinds}")
        require_choice(self, "way", WAYS)
        object.__setattr__(self, "paddings", _paddings("GuidedSettings.paddings", self.paddings))
        require_numbers(self, share=SHARE, smallest=UNIT, weight=UNIT, candidates=COUNT, gate=FINITE, fade=NOT_NEGATIVE)
        require_choice(self, "infill", _FADE_INFILLS)

    @property
    def mask_kind(self) -> Kind:
        """The kind of mask that guides."""
        if self.kind is not None:
            return self.kind
        kinds = get_method(self.method).kinds
        return "sdr" if "sdr" in kinds else kinds[0]

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

    Raises:
        SettingsError: no value at all, or one outside its range; the message names the field.
    """

    shares: tuple[float, ...] = (0.3, 0.5, 0.7)
    paddings: tuple[tuple[float, ...], ...] = ((0.0, 0.15, 0.3, 0.5), (0.15, 0.3, 0.5))
    weights: tuple[float, ...] = (0.5, 0.75, 1.0)
    gates: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

    def __post_init__(self) -> None:
        for name, needed in (("shares", SHARE), ("weights", UNIT), ("gates", FINITE)):
            values = _several(f"GuidedGrid.{name}", getattr(self, name))
            require(self, name, all(map(needed.fits, values)), f"a list, each of it {needed}")
            object.__setattr__(self, name, tuple(float(value) for value in values))
        sets = _several("GuidedGrid.paddings", self.paddings)
        object.__setattr__(self, "paddings", tuple(_paddings("each of GuidedGrid.paddings", one) for one in sets))

    @classmethod
    def of(cls, settings: GuidedSettings) -> GuidedGrid:
        """The grid of these settings alone: nothing is chosen."""
        return cls((settings.share,), (settings.paddings,), (settings.weight,), (settings.gate,))

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
