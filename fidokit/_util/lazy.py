"""Names of a package that are imported at first use, so that importing the package costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str | None]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package, for its ``__init__``.

    Args:
        package: its ``__name__``.
        homes: public name -> the module within the package that has it; None for a module of that name itself.
    """
    module = sys.modules[package]

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        found = import_module(f"{package}.{home or name}")
        value = found if home is None else getattr(found, name)
        setattr(module, name, value)
        return value

    return get, lambda: sorted({*vars(module), *homes})
