"""What stays of a widget in a saved notebook: a picture and words, seen where no kernel runs.

A notebook on a web page, or opened again without its kernel, cannot show a widget. So every widget is two outputs: its
static form, and the widget itself. While the widget is alive it hides its static form; where there is no widget, the
static form hides the message that JupyterLab shows in the widget's place.
"""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from PIL import Image

from fidokit._util.html import Html, tag
from fidokit.widgets.display import picture_tag

#: The widgets' scripts and style sheets, one each a widget; js/build.js writes them from the sources in js/src.
BUNDLES = Path(__file__).parent / "static"
#: Steps in the saved pictures' palette: a third of the size of full colour, and hardly to be told from it.
COLOURS = 256
#: Of the static form's JPEG: four panels of detailed photographs fit at full quality.
_PICTURE_BYTES = 200_000
_VIEW = "application/vnd.jupyter.widget-view+json"


class ShownWidget(anywidget.AnyWidget):
    """A widget with a static form; subclasses give its picture and its words."""

    _static_class = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(_static_class=f"fidokit-static-{uuid.uuid4().hex[:12]}", **traits)
        self._shown_as: list[str] = []

    def _static_picture(self) -> Image.Image | None:
        """The picture of the static form; None where there is nothing to show yet."""
        raise NotImplementedError

    def _static_words(self) -> Sequence[object]:
        """Its caption: text, or `Html`."""
        raise NotImplementedError

    def _static_alt(self) -> str:
        """What stands for the picture where it cannot be seen: the plain part of its caption."""
        return " ".join(str(part) for part in self._static_words() if not isinstance(part, Html))

    def _static_bundle(self) -> dict[str, Any]:
        picture, words = self._static_picture(), self._static_words()
        html = _static_html(picture, self._static_alt(), words, self._static_class)
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": html}
        if picture is not None:
            bundle["image/png"] = base64.b64encode(_png(picture)).decode()
        return bundle

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget view and, for whoever cannot show it, the static form."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return data | self._static_bundle(), metadata

    def _ipython_display_(self) -> None:
        display = _output("display")
        name = f"{self._static_class}-{len(self._shown_as)}"
        self._shown_as.append(name)
        display(self._static_bundle(), raw=True, display_id=name)
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        display({"text/plain": "", _VIEW: view}, raw=True)

    def _refresh_static(self) -> None:
        """Bring the static forms that were shown up to date."""
        if self._shown_as:
            bundle = self._static_bundle()
            for name in self._shown_as:
                _output("update_display")(bundle, raw=True, display_id=name)


def _static_html(picture: Image.Image | None, alt: str, words: Sequence[object], name: str) -> Html:
    """A picture with its caption, of a class by which the live widget finds it; it hides a widget that is not alive."""
    lost = f".jp-OutputArea-child:has(.{name}) + .jp-OutputArea-child:not(:has(.fidokit)) {{ display: none; }}"
    image = None if picture is None else picture_tag(picture, alt, _PICTURE_BYTES)
    caption = tag("figcaption", *(tag("div", part) for part in words))
    return tag("figure", tag("style", Html(lost)), image, caption, class_=name, style="margin:0")


def _output(name: str) -> Any:
    return getattr(import_module("IPython.display"), name)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.quantize(COLOURS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
