"""How results show themselves at the end of a notebook's cell.

A result knows nothing of HTML: it inherits `HtmlDisplay`, and the module that draws it registers its type with
`html_of`.
"""

from __future__ import annotations

from functools import singledispatch
from importlib import import_module
from pathlib import Path

from fidokit._util.atomic_write import write_atomically, writing
from fidokit.exceptions import SettingsError

#: The module that registers how results are shown. It imports all of them, so it is named here and loaded when needed.
_DISPLAYS = "fidokit.widgets.display"


@singledispatch
def html_of(result: object) -> str:
    """The HTML that a notebook shows for a result; types are added with ``html_of.register``."""
    raise TypeError(f"nothing is registered that shows a {type(result).__name__}")


@singledispatch
def picture_of(result: object, i: int, form: str) -> bytes:
    """A result's picture as ``png`` or ``svg``; types are added with ``picture_of.register``."""
    raise TypeError(f"nothing is registered that draws a {type(result).__name__}")


class HtmlDisplay:
    """Mixin of results that a notebook shows as HTML."""

    def _repr_html_(self) -> str:
        import_module(_DISPLAYS)
        return html_of(self)


class PictureDisplay(HtmlDisplay):
    """Mixin of results that a notebook shows as pictures, which can be kept as files."""

    def save(self, path: str | Path, i: int = 0) -> Path:
        """Write the i-th picture that a notebook shows of this, as PNG or SVG.

        Args:
            path: of the file, which ends in ``.png`` or ``.svg``. In an SVG, captions and lines can be edited and scale
                without loss; it suits print.
            i: position of the photograph.

        Returns:
            The path.

        Raises:
            SettingsError: another ending, or no such photograph.
            StoreError: the file cannot be written.
        """
        path = Path(path)
        form = path.suffix.lower().removeprefix(".")
        if form not in ("png", "svg"):
            raise SettingsError(f"{path} must end in .png or .svg, which says what is written")
        import_module(_DISPLAYS)
        content = picture_of(self, i, form)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        return path
