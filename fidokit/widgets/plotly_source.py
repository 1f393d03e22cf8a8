"""plotly.js for the browser: sent once a page, not once a figure, and never kept in a notebook.

A FigureWidget brings 5 MB of it with every figure, and drops clicks and selections while the kernel is busy, since it
reports them in traits. So figures are drawn by plotly.js within our own widgets, which report them in messages.
"""

from __future__ import annotations

import gzip
from functools import cache


@cache
def plotly_source() -> tuple[str, bytes]:
    """Version of the installed plotly, and its plotly.js, gzipped: 1.5 MB instead of 5."""
    import plotly
    from plotly.offline import get_plotlyjs

    return plotly.__version__, gzip.compress(get_plotlyjs().encode())
