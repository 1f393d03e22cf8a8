"""Looks that need no mask: what masks must beat, each at the price of the masks.

All of them are weighted, gated and chosen as the masks are. A control gets as many evaluations as the masks spent on
the same image, so that what is compared is where to look, and not how often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fidokit.data.geometry import Box, Geometry
from fidokit.enhance import boxes
from fidokit.enhance.guiding import Guide
from fidokit.enhance.settings import GuidedGrid, GuidedSettings
from fidokit.enhance.view_scores import FULL, ViewKey, Views
from fidokit.enhance.views import View
from fidokit.exceptions import SettingsError

#: Controls that spend as much as the masks; a gain must beat all of them.
EQUAL_COST = ("random crop", "centre crop", "Grad-CAM crop", "multi-crop")
#: The annotated box: what a perfect mask would gain, and no control that must be beaten.
CEILING = "annotated box"
CONTROLS = (*EQUAL_COST, CEILING)


def check_controls(controls: Iterable[str]) -> tuple[str, ...]:
    """The controls in their usual order.

    Raises:
        SettingsError: a name that is not in `CONTROLS`.
    """
    asked = [controls] if isinstance(controls, str) else list(controls)
    for name in asked:
        if name not in CONTROLS:
            raise SettingsError(f"there is no control {name!r}; there are {', '.join(CONTROLS)}")
    return tuple(name for name in CONTROLS if name in asked)


def guided(
    masks: Sequence[Guide], ways: Iterable[str], grid: GuidedGrid, settings: GuidedSettings
) -> dict[ViewKey, list[View]]:
    """Looks guided by masks, one view for each candidate's mask.

    Args:
        masks: of the candidates.
        ways: of `fidokit.enhance.settings.WAYS`.
        grid: its shares and paddings.
        settings: its smallest side.
    """
    if not masks:
        return {}
    found = {share: [mask.box(share) for mask in masks] for share in grid.shares}
    looks: Views = {}
    for way in ways:
        if way == "fade":
            looks["fade", None, None] = [View(boxes.WHOLE, mask.kept(settings.share)) for mask in masks]
            continue
        for share in grid.shares:
            # One mask for all of its crops: what is looked at twice is rendered once, by the mask's identity.
            kept = [mask.kept(share) if way == "crop+fade" else None for mask in masks]
            for padding in grid.single_paddings:
                looks[way, share, padding] = [
                    View(boxes.square(box, padding, settings.smallest), mask)
                    for box, mask in zip(found[share], kept, strict=True)
                ]
    return looks


def random_crops(like: Views, n: int, rng: np.random.Generator) -> Views:
    """n crops anywhere, as large as those of the masks in turn."""
    sides = [boxes.side(view.box) for views in like.values() for view in views]
    return {FULL: [View(box) for box in boxes.random_boxes(sides, n, rng)]} if sides else {}


def centre_crops(like: Views, n: int, rng: np.random.Generator) -> Views:
    """The masks' crops moved to the centre, and n crops around these."""
    central = {key: [View(_central(boxes.side(view.box))) for view in views] for key, views in like.items()}
    return with_more(central, n, rng)


def with_more(looks: Views, n: int, rng: np.random.Generator) -> Views:
    """Looks, and as a further one n crops at and around their boxes."""
    base = list(dict.fromkeys(view.box for views in looks.values() for view in views))
    return looks | {FULL: [View(box) for box in boxes.around(base, n, rng)]} if base else {}


def multi_crop(n: int) -> Views:
    """n of the views of ten-crop averaging, and further ones where n is above ten."""
    return {FULL: [View(box, None, mirrored) for box, mirrored in boxes.multi_crop(n)]}


def annotated(box: Box | None, geometry: Geometry, grid: GuidedGrid) -> Views:
    """Crops to the annotated box; the whole input where there is none."""
    unit = boxes.WHOLE if box is None else boxes.from_window(box, geometry)
    return {("crop", None, padding): [View(boxes.square(unit, padding, 0.0))] for padding in grid.single_paddings}


def most_views(looks: Mapping[ViewKey, Sequence[View]], grid: GuidedGrid) -> int:
    """Views of the dearest option among these looks, see `choosing.options`."""
    sets: list[list[ViewKey]] = [[key] for key in looks if key[2] is None]
    sets += [[(way, share, padding) for padding in several] for way, share, _ in looks for several in grid.paddings]
    return max(sum(len(looks[key]) for key in one) for one in sets if all(key in looks for key in one))


def _central(side: float) -> Box:
    return (1 - side) / 2, (1 - side) / 2, (1 + side) / 2, (1 + side) / 2
