"""What a notebook shows: widgets for JupyterLab, Notebook 7, VS Code and Colab; no computation of their own.

They need the extra `widgets` (anywidget and ipywidgets) and nothing from the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fidokit._util.lazy import lazy_names
from fidokit.exceptions import MissingExtra

if TYPE_CHECKING:
    from fidokit.widgets.answers import AnswerWidget as AnswerWidget
    from fidokit.widgets.compare import CompareWidget as CompareWidget
    from fidokit.widgets.errors import ErrorWidget as ErrorWidget
    from fidokit.widgets.explain import ExplainWidget as ExplainWidget
    from fidokit.widgets.overlay import MaskOverlay as MaskOverlay

_HOMES = {
    "AnswerWidget": "answers",
    "CompareWidget": "compare",
    "ErrorWidget": "errors",
    "ExplainWidget": "explain",
    "MaskOverlay": "overlay",
}

__all__ = [*_HOMES]

_get, __dir__ = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    try:
        return _get(name)
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "ipywidgets", "traitlets"):
            raise
        raise MissingExtra(error.name, "widgets") from error
