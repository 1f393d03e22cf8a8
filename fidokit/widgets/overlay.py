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
from fidokit.figures.masks import COLOUR_MAP, COLOUR_MAPS, KIND_NAMES, colour_map, panels_png
from fidokit.methods.base import Kind, Masks, check_masks
from fidokit.widgets.pixels import mask_layer, photograph_of, sent_photograph
from fidokit.widgets.static_form import BUNDLES, ShownWidget

#: Masks in the static form: more would be too small to be seen in a notebook's column.
STATIC_PANELS = 4
STATIC_HEIGHT = 180


class MaskOverlay(ShownWidget):
    """A photograph with masks over it: opacity, threshold, outline, colours, two masks beside each other, zoom.

    All of that happens in the browser. The attributes set it from Python; what is changed in the browser stays there.

    Args:
        image: the photograph: a path, a PIL image, a (3, H, W) tensor or a (H, W, 3) array, in [0, 1] or of bytes.
        masks: name -> (h, w) mask in [0, 1], 1 = in the region; of any resolution, shown bilinearly.
        geometry: where the masks lie in the photograph; None for all of it.
        layer: name of the mask that is shown; default the first.
        compare: name of a mask that is shown to the right of a divider; None for none.
        opacity: of a mask's highest value, 0 to 1; lower values are the more transparent. The default lets the
            photograph shine through.
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
        layer: str | None = None,
        **options: Any,
    ) -> None:
        unknown = set(options) - {"compare", "opacity", "threshold", "outline", "colours", "swipe"}
        if unknown:
            raise SettingsError(f"MaskOverlay has no option {min(unknown)!r}")
        photograph = photograph_of(image)
        if geometry is not None and (geometry.width, geometry.height) != photograph.size:
            raise SettingsError(
                f"the geometry is that of a photograph of {geometry.width} x {geometry.height} pixels, this one has "
                f"{photograph.width} x {photograph.height}"
            )
        self._geometry = geometry
        self._thumbnail = photograph.copy()
        self._thumbnail.thumbnail((2 * STATIC_HEIGHT, 2 * STATIC_HEIGHT))
        layers = [mask_layer(str(name), mask) for name, mask in masks.items()]
        names = [made["name"] for made in layers]
        try:
            super().__init__(
                _tables={name: colour_map(name).tobytes() for name in COLOUR_MAPS},
                _photograph=sent_photograph(photograph, geometry),
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
        geometry = None
        if image is None:
            image, geometry = several[0].photograph(rows[0])
        elif isinstance(image, LabelledImages):
            image, geometry = _opened(image, several[0].image_ids[rows[0]], preprocessing)
        return cls(image, named_masks(several, rows, kinds), geometry=geometry, **options)

    @property
    def names(self) -> list[str]:
        """Names of the masks, in order."""
        return [made["name"] for made in self._layers]

    def update(self, name: str, mask: npt.ArrayLike | Tensor) -> None:
        """Show other values of a mask, or a further one; may be called from any thread, as often as masks change.

        Of a mask that is there already, its bytes are all that is sent.

        Raises:
            SettingsError: not of shape (h, w), or not in [0, 1].
        """
        made = mask_layer(name, mask)
        if name not in self.names:
            self._layers = [*self._layers, made]
            if self.layer is None:
                self.layer = name
            return
        position = self.names.index(name)
        # In place: the trait must be right for a view that opens later, but the other masks need not be sent again.
        self._layers[position].update(made)
        size = {"height": made["height"], "width": made["width"]}
        self.send({"kind": "mask", "layer": position, "size": size}, [made["data"]])

    def __repr__(self) -> str:
        return f"MaskOverlay({', '.join(self.names)})"

    def _static_picture(self) -> Image.Image:
        panels: list[tuple[str, Any]] = [("photograph", None)]
        panels += [(made["name"], layer_values(made)) for made in self._layers[:STATIC_PANELS]]
        return static_panels(self._thumbnail, self._geometry, panels, self.opacity, self.colours)

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


def layer_values(layer: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The (h, w) mask in [0, 1] that a layer shows."""
    pixels = np.frombuffer(layer["data"], np.uint8).reshape(layer["height"], layer["width"])
    return pixels.astype(np.float32) / np.float32(255)


def static_panels(
    photograph: Image.Image,
    geometry: Geometry | None,
    panels: Sequence[tuple[str, Any]],
    opacity: float,
    colours: str,
) -> Image.Image:
    """A photograph of any scale next to itself with masks over it."""
    if geometry is None:
        geometry = Geometry.whole(*photograph.size)
    data = panels_png(photograph, geometry, panels, height=STATIC_HEIGHT, opacity=opacity, colours=colours)
    return Image.open(io.BytesIO(data)).convert("RGB")


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


def _opened(data: LabelledImages, image_id: str, preprocessing: Preprocessing | None) -> tuple[Image.Image, Geometry]:
    if preprocessing is None:
        raise SettingsError("pass preprocessing=classifier.preprocessing, so that the masks are laid where they belong")
    known = data.table["image_id"].tolist()
    if image_id not in known:
        raise SettingsError(f"the masks are of {image_id!r}, which is not among these photographs")
    position = known.index(image_id)
    return data.shown(position, preprocessing)
