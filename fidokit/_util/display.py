"""How results show themselves at the end of a notebook's cell.

A result knows nothing of HTML: it inherits `HtmlDisplay`, and the module that draws it registers its type with
`html_of`.
"""

from __future__ import annotations

from functools import singledispatch
from importlib import import_module

#: The module that registers how results are shown. It imports all of them, so it is named here and loaded when needed.
_DISPLAYS = "fidokit.widgets.display"


@singledispatch
def html_of(result: object) -> str:
    """The HTML that a notebook shows for a result; types are added with ``html_of.register``."""
    raise TypeError(f"nothing is registered that shows a {type(result).__name__}")


class HtmlDisplay:
    """Mixin of results that a notebook shows as HTML."""

    def _repr_html_(self) -> str:
        import_module(_DISPLAYS)
        return html_of(self)
