"""What the documentation takes from fidokit itself when it is built, and how it shows what notebooks have saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import plotly.io
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx

_PLOTLY, _WIDGET = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"


def read_notebook(text: str) -> nbformat.NotebookNode:
    """A notebook whose outputs need no kernel: plotly's figures as HTML, and of widgets the picture that they leave."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [_shown(output) for output in cell.outputs if _WIDGET not in output.get("data", {})]
    return notebook


def _shown(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    figure = output.get("data", {}).get(_PLOTLY)
    if figure is not None:
        html = plotly.io.to_html(figure, include_plotlyjs=False, full_html=False, validate=False)
        output.data = nbformat.NotebookNode({"text/html": html})
    return output


def _add_plotly(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Plotly itself, of the installed package, on pages that have a figure."""
    if doctree is not None and "Plotly.newPlot" in context.get("body", ""):
        app.add_js_file("plotly.js")


def _write_plotly(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        Path(app.outdir, "_static", "plotly.js").write_text(get_plotlyjs(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("html-page-context", _add_plotly)
    app.connect("build-finished", _write_plotly)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
