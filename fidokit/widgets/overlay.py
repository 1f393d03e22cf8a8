"""`MaskOverlay`: a photograph with masks over it, to look at closely."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets
from PIL import Image
from torch import Tensor

from fidokit.data.geometry import Geometry, Preprocessing
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError
from fidokit.figures.masks import (
    COLOUR_MAP,
    COLOUR_MAPS,
    KIND_NAMES,
    Panel,
    colour_map,
    cut_out,
    sheet_png,
    shown_part,
)
from fidokit.methods.base import Kind, Masks, check_masks
from fidokit.widgets.pixels import layer_values, mask_layer, opening, photograph_of, sent_photograph
from fidokit.widgets.static_form import BUNDLES, ShownWidget

#: Masks in the static form: more would be too small to be seen in a notebook's column.
STATIC_PANELS = 4
#: How a mask is drawn over its photograph: dimmed surroundings leave an animal's own pattern visible.
DRAWN_AS = ("colours", "outline", "dimmed")
STATIC_HEIGHT = 180


class MaskOverlay(ShownWidget):
    """A photograph with masks over it: colours, outline or dimmed surroundings, opacity, threshold, two masks, zoom.

    It opens on the region of the first mask. All of that happens in the browser. The attributes set it from Python;
    what is changed in the browser stays there. What the classifier did not see is hatched.

    Args:
        image: the photograph: a path, a PIL image, a (3, H, W) tensor or a (H, W, 3) array, in [0, 1] or of bytes.
        masks: name -> (h, w) mask in [0, 1], 1 = in the region; of any resolution, shown bilinearly.
        geometry: where the masks lie in the photograph; None for all of it.
        unseen: what is said of the part outside; default its share.
        layer: name of the mask that is shown; default the first.
        compare: name of a mask that is shown to the right of a divider; None for none.
        drawn_as: how masks are drawn: ``colours``; ``outline``; or ``dimmed``, their surroundings, which leaves an
            animal's own pattern as it is.
        opacity: of a mask's highest value, 0 to 1, or of the shade around it; lower values are the more transparent.
            The default lets the photograph shine through.
        threshold: values below it are not shown, 0 to 1.
        outline: draw a line around what is at least `threshold`, or 0.5 while that is 0.
        colours: a name of `fidokit.figures.masks.COLOUR_MAPS`.
        swipe: place of the divider, 0 (left) to 1 (right).

    Raises:
        ImageError: the image cannot be read.
        SettingsError: a mask of another shape or range, or an option that cannot be used.

    Example:
        >>> masks = fk.explain(clf, data, "grad-cam")
        >>> overlay = fk.MaskOverlay(data.table["path"].iloc[0], {"grad-cam": masks.attribution[0]}, opacity=0.5)
        >>> overlay.layer
        'grad-cam'
    """

    _esm = BUNDLES / "mask_overlay.js"
    _css = BUNDLES / "mask_overlay.css"
    _tables = traitlets.Dict().tag(sync=True)
    _photograph = traitlets.Dict().tag(sync=True)
    _layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    drawn_as = traitlets.Enum(DRAWN_AS, DRAWN_AS[0]).tag(sync=True)
    opacity = traitlets.Float(0.75, min=0.0, max=1.0).tag(sync=True)
    threshold = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    outline = traitlets.Bool(False).tag(sync=True)
    colours = traitlets.Enum(COLOUR_MAPS, COLOUR_MAP).tag(sync=True)
    layer = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    compare = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    swipe = traitlets.Float(0.5, min=0.0, max=1.0).tag(sync=True)

    def __init__(
        self,
        image: Any,
        masks: Mapping[str, npt.ArrayLike | Tensor],
        *,
        geometry: Geometry | None = None,
        unseen: str | None = None,
        layer: str | None = None,
        **options: Any,
    ) -> None:
        unknown = set(options) - {"compare", "opacity", "drawn_as", "threshold", "outline", "colours", "swipe"}
        if unknown:
            raise SettingsError(f"MaskOverlay has no option {min(unknown)!r}")
        photograph = photograph_of(image)
        if geometry is not None and (geometry.width, geometry.height) != photograph.size:
            raise SettingsError(
                f"the geometry is that of a photograph of {geometry.width} x {geometry.height} pixels, this one has "
                f"{photograph.width} x {photograph.height}"
            )
        self._geometry = geometry or Geometry.whole(*photograph.size)
        self._thumbnail = static_size(photograph)
        layers = [self._made(str(name), mask) for name, mask in masks.items()]
        names = [made["name"] for made in layers]
        try:
            super().__init__(
                _tables={name: colour_map(name).tobytes() for name in COLOUR_MAPS},
                _photograph=sent_photograph(photograph, geometry, self._geometry.unseen_words() or "")
                if unseen is None
                else sent_photograph(photograph, geometry, unseen),
                _layers=layers,
                layer=layer if layer is not None or not names else names[0],
                **options,
            )
        except traitlets.TraitError as error:
            raise SettingsError(str(error)) from error

    @traitlets.validate("layer", "compare")
    def _known(self, proposal: Any) -> Any:
        name, names = proposal["value"], self.names
        if name is not None and names and name not in names:
            raise SettingsError(f"there is no mask {name!r}; there are {', '.join(names)}")
        return name

    @classmethod
    def from_masks(
        cls,
        masks: Masks | Sequence[Masks],
        i: int | str = 0,
        image: Any = None,
        *,
        preprocessing: Preprocessing | None = None,
        kinds: Sequence[Kind] | None = None,
        **options: Any,
    ) -> MaskOverlay:
        """The masks of one image, of one method or of several, over its photograph.

        Args:
            masks: results of `explain`.
            i: position, or image_id, of the image in them.
            image: the image, as for `MaskOverlay`; or `LabelledImages` that hold it, for the whole photograph with the
                classifier's input marked. None for what was explained, which the masks know.
            preprocessing: of the classifier (``clf.preprocessing``); needed with `LabelledImages`.
            kinds: the kinds to show; default all.
            **options: of `MaskOverlay`.

        Raises:
            SettingsError: there is no such image or kind in the masks, or they do not know their photographs.
            ImageError: the photograph cannot be read.
        """
        several = [masks] if isinstance(masks, Masks) else list(masks)
        for one in several:
            check_masks(one, "CompareWidget(study)")
        rows = [_row(one, i) for one in several]
        if not several or len({one.image_ids[row] for one, row in zip(several, rows, strict=True)}) > 1:
            raise SettingsError("the masks must be of one image; pass its image_id as `i`")
        geometry, unseen = None, None
        if image is None:
            image, geometry = several[0].photograph(rows[0])
            unseen = several[0].unseen_words(rows[0], geometry)
        elif isinstance(image, LabelledImages):
            data, position = image, _position(image, several[0].image_ids[rows[0]])
            image, geometry = data.shown(position, _needed(preprocessing))
            unseen = data.unseen_words(position, geometry)
        return cls(image, named_masks(several, rows, kinds), geometry=geometry, unseen=unseen, **options)

    @property
    def names(self) -> list[str]:
        """Names of the masks, in order."""
        return [made["name"] for made in self._layers]

    def _made(self, name: str, mask: npt.ArrayLike | Tensor) -> dict[str, Any]:
        layer = mask_layer(name, mask)
        return layer | {"view": opening(self._geometry, layer_values(layer))}

    def update(self, name: str, mask: npt.ArrayLike | Tensor) -> None:
        """Show other values of a mask, or a further one; may be called from any thread, as often as masks change.

        Of a mask that is there already, its bytes are all that is sent.

        Raises:
            SettingsError: not of shape (h, w), or not in [0, 1].
        """
        made = self._made(name, mask)
        if name not in self.names:
            self._layers = [*self._layers, made]
            if self.layer is None:
                self.layer = name
            return
        position = self.names.index(name)
        # In place: the trait must be right for a view that opens later, but the other masks need not be sent again.
        self._layers[position].update(made)
        about = {key: made[key] for key in ("height", "width", "view")}
        self.send({"kind": "mask", "layer": position, "about": about}, [made["data"]])

    def __repr__(self) -> str:
        return f"MaskOverlay({', '.join(self.names)})"

    def _static_picture(self) -> Image.Image:
        panels: list[tuple[str, Any]] = [("photograph", None)]
        panels += [(made["name"], layer_values(made)) for made in self._layers[:STATIC_PANELS]]
        return static_panels(
            self._thumbnail, self._geometry, panels, opacity=self.opacity, colours=self.colours, drawn_as=self.drawn_as
        )

    def _static_words(self) -> Sequence[object]:
        left_out = len(self.names) - STATIC_PANELS
        more = f", and {left_out} more" if left_out > 0 else ""
        return [f"Photograph and masks: {', '.join(self.names[:STATIC_PANELS])}{more}"]


def named_masks(
    several: Sequence[Masks], rows: Sequence[int], kinds: Sequence[Kind] | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Name -> (h, w) mask of a row of each of several results, by method and kind, as far as they tell them apart.

    Raises:
        SettingsError: none of them has one of these kinds.
    """
    named: dict[str, npt.NDArray[np.float32]] = {}
    for masks, row in zip(several, rows, strict=True):
        for kind, values in masks.kinds.items():
            if kinds is None or kind in kinds:
                named[_name(masks.method, kind, len(several))] = values[row].numpy()
    if not named:
        made = dict.fromkeys(kind for masks in several for kind in masks.kinds)
        raise SettingsError(f"there are no masks of the kinds {', '.join(kinds or ())}; there are {', '.join(made)}")
    return named


def static_size(photograph: Image.Image) -> Image.Image:
    """A copy of a photograph of which a part can still be looked at in the static form."""
    small = photograph.copy()
    small.thumbnail((6 * STATIC_HEIGHT, 6 * STATIC_HEIGHT))
    return small


def static_panels(
    photograph: Image.Image,
    geometry: Geometry,
    panels: Sequence[tuple[str, Any]],
    *,
    opacity: float = 0.75,
    colours: str = COLOUR_MAP,
    drawn_as: str = "colours",
) -> Image.Image:
    """A photograph of any scale next to itself with masks over it, on the part that the first of them says.

    Args:
        photograph, geometry: as for `Panel`.
        panels: captions and masks; without a mask, all of the photograph is shown.
        opacity, colours, drawn_as: as of `MaskOverlay`.
    """
    first = next((mask for _, mask in panels if mask is not None), None)
    part = None if first is None else shown_part(geometry, first)
    near = (photograph, geometry) if part is None else cut_out(photograph, geometry, part)
    cells = [
        Panel(caption, photograph, geometry)
        if mask is None
        else Panel(caption, near[0], near[1], mask, coloured=drawn_as != "dimmed")
        for caption, mask in panels
    ]
    shown = 0.0 if drawn_as == "outline" else opacity
    return Image.open(io.BytesIO(sheet_png(cells, height=STATIC_HEIGHT, opacity=shown, colours=colours)))


def _name(method: str, kind: Kind, several: int) -> str:
    if kind == "attribution":
        return method
    return f"{method} {KIND_NAMES[kind]}" if several > 1 else KIND_NAMES[kind]


def _row(masks: Masks, i: int | str) -> int:
    if isinstance(i, str) and i in masks.image_ids:
        return masks.image_ids.index(i)
    if isinstance(i, str) or not -len(masks) <= i < len(masks):
        known = ", ".join(masks.image_ids[:3])
        raise SettingsError(f"there is no image {i!r} among the {len(masks)} masks of {masks.method}: {known} ...")
    return i % len(masks)


def _needed(preprocessing: Preprocessing | None) -> Preprocessing:
    if preprocessing is None:
        raise SettingsError("pass preprocessing=classifier.preprocessing, so that the masks are laid where they belong")
    return preprocessing


def _position(data: LabelledImages, image_id: str) -> int:
    known: list[str] = data.table["image_id"].tolist()
    if image_id not in known:
        raise SettingsError(f"the masks are of {image_id!r}, which is not among these photographs")
    return known.index(image_id)
