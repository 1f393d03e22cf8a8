"""The browser's part of the widgets: files of JavaScript and CSS, put one behind the other, with nothing to build."""

from __future__ import annotations

from importlib.resources import files


def source(*names: str) -> str:
    """The text of these files of the folder static, in order; a later one uses what an earlier one defines."""
    folder = files("fidokit.widgets").joinpath("static")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
