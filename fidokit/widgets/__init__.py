"""What a notebook shows: widgets for JupyterLab, Notebook 7, VS Code and Colab; no computation of their own.

They need the extra `widgets` (anywidget and ipywidgets) and nothing from the network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fidokit.exceptions import MissingExtra

if TYPE_CHECKING:
    from fidokit.widgets.compare import CompareWidget as CompareWidget
    from fidokit.widgets.errors import ErrorWidget as ErrorWidget
    from fidokit.widgets.explain import ExplainWidget as ExplainWidget
    from fidokit.widgets.overlay import MaskOverlay as MaskOverlay

_HOMES = {"CompareWidget": "compare", "ErrorWidget": "errors", "ExplainWidget": "explain", "MaskOverlay": "overlay"}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fidokit.widgets' has no attribute {name!r}")
    try:
        module = import_module(f"fidokit.widgets.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "ipywidgets", "traitlets"):
            raise
        raise MissingExtra(error.name, "widgets") from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
