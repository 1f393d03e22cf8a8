"""HTML from plain values, escaped by construction."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable


class Html(str):
    """Text that is HTML already; all other text is escaped where it is put in."""

    __slots__ = ()

    def __html__(self) -> Html:
        return self


def printable(text: str) -> str:
    """The text without control characters: they mean nothing in HTML, and some of them hide text in an editor."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "\ufffd", text)


def tag(element: str, /, *children: object, **attributes: object) -> Html:
    """An element. Text and attribute values are escaped; children that are None, and attributes that are None or
    False, are left out.

    A trailing underscore of an attribute's name is dropped (``class_``), others become hyphens.
    """
    parts = []
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            parts.append(f" {key}" if value is True else f' {key}="{_escaped(value)}"')
    opened = f"<{element}{''.join(parts)}>"
    return Html(opened if element in ("img", "input", "meta") else f"{opened}{joined(children)}</{element}>")


def joined(children: Iterable[object]) -> Html:
    """Children one after the other, escaped unless they are `Html`; None is left out."""
    given = (child for child in children if child is not None)
    return Html("".join(child if isinstance(child, Html) else _escaped(child) for child in given))


def name_tag(value: object, class_: str = "name") -> Html:
    """A stranger's name: kept apart from the direction of the text around it, and cut off if it is too long."""
    return tag("bdi", value, class_=class_, title=value)


def _escaped(value: object) -> str:
    return html.escape(printable(str(value)), quote=True)
