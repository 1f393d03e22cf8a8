"""What stays of a plotly figure in a saved notebook: a picture beside it, seen where plotly's script does not run.

A notebook on a web page, or exported with nbconvert, shows a plotly figure only where plotly's script is loaded from
elsewhere. A picture needs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import plotly.graph_objects as go
import plotly.io as pio

#: CSS pixels; as wide as a cell of a notebook on a page.
_WIDTH = 860


@contextmanager
def _quiet_browser() -> Iterator[None]:
    """What kaleido's browser says that it could pass over does not belong into a notebook."""
    logger = logging.getLogger("choreographer")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class ShownFigure(go.Figure):
    """A plotly figure that leaves a PNG beside itself in a notebook, where the extra `pictures` is installed."""

    def _ipython_display_(self) -> None:
        renderer = pio.renderers.default
        if "plotly_mimetype" in renderer.split("+") and find_spec("kaleido"):
            try:
                with _quiet_browser():
                    pio.show(self, renderer=f"{renderer}+png", width=_WIDTH, scale=1.5)
            except Exception:  # Whatever keeps kaleido from its browser, the figure itself is shown.
                pass
            else:
                return
        super()._ipython_display_()
