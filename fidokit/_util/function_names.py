"""Functions in settings by name and content: two lambdas are two functions, the same one is the same in any process."""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fidokit.exceptions import SettingsError

#: Attribute with which a user names a function whose state cannot be read, or names it independently of its code.
NAME = "fidokit_name"
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, PurePath, torch.dtype, torch.device)
_PLACE = re.compile(r" at 0x[0-9a-fA-F]+")


def function_name(function: Callable[..., Any]) -> str:
    """The name of a function for settings: equal names mean the same function.

    A function of an installed library is named by module and qualified name. Of any other the bytecode, the defaults,
    and the values that it reads from its closure and from its module enter as twelve hexadecimal digits, so that the
    name is the same in every process of one minor version of Python. An attribute `NAME` on the function replaces all
    of this: whoever sets it answers for changing it with the function.

    Raises:
        SettingsError: it reads an object whose state cannot be told.
    """
    given = getattr(function, NAME, None)
    if isinstance(given, str) and given:
        return f"named {given}"
    module = getattr(function, "__module__", None) or ""
    name = f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    if _is_library(module) and _is_found(function) and not getattr(function, "__closure__", None):
        return name
    content = _Content(name)
    content.add(function)
    return f"{name} {content.digest()[:12]}"


class _Content:
    """A hash over what a function is made of."""

    def __init__(self, name: str, path: Sequence[object] = ()) -> None:
        self.name = name
        self._hash = hashlib.sha256()
        # What is being added, outermost first: functions and objects may read themselves.
        self._path = list(path)

    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, value: Any) -> None:
        """Add a value with its type.

        Raises:
            SettingsError: its state cannot be told.
        """
        if isinstance(value, _PLAIN):
            self._text(type(value).__name__, repr(value))
            return
        for depth, outer in enumerate(self._path):
            if outer is value:
                self._text("itself", depth)
                return
        self._path.append(value)
        given = getattr(value, NAME, None) if callable(value) and not isinstance(value, type) else None
        if isinstance(given, str) and given:
            self._text("named", given)
        elif not (self._add_data(value) or self._add_callable(value) or self._add_object(value)):
            raise SettingsError(
                f"the function {self.name} in the settings reads a {type(value).__qualname__}, of which it cannot be "
                f"told whether it is the same the next time; give the function a name of your own, function.{NAME} = "
                "'...', and change the name whenever the function changes"
            )
        self._path.pop()

    def _text(self, *parts: object) -> None:
        for part in parts:
            text = str(part).encode()
            self._hash.update(len(text).to_bytes(8, "little") + text)

    def _add_data(self, value: Any) -> bool:
        if isinstance(value, Tensor | np.ndarray | np.generic):
            array = value.detach().cpu() if isinstance(value, Tensor) else torch.empty(0)
            if isinstance(value, Tensor):
                self._text("tensor", value.dtype, tuple(value.shape))
                self._hash.update(array.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            elif value.dtype.hasobject:
                self._text("array", value.shape)
                self.add(value.tolist())
            else:
                self._text("array", value.dtype, value.shape)
                self._hash.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, enum.Enum):
            self._text("enum", type(value).__qualname__, value.name)
        elif isinstance(value, Mapping):
            self._text("mapping", len(value))
            self._unordered([(key, value[key]) for key in value])
        elif isinstance(value, set | frozenset):
            self._text("set", len(value))
            self._unordered(list(value))
        elif isinstance(value, Sequence):
            self._text(type(value).__name__, len(value))
            for item in value:
                self.add(item)
        else:
            return False
        return True

    def _unordered(self, items: list[Any]) -> None:
        digests = []
        for item in items:
            content = _Content(self.name, self._path)
            content.add(item)
            digests.append(content.digest())
        self._text(*sorted(digests))

    def _add_callable(self, value: Any) -> bool:
        if isinstance(value, functools.partial):
            self._text("partial")
            self.add((value.func, value.args, value.keywords))
        elif isinstance(value, MethodType):
            self._text("method")
            self.add((value.__func__, value.__self__))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, CodeType):
            self._code(value, None)
        elif isinstance(value, ModuleType):
            self._text("module", value.__name__)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, BuiltinFunctionType) and not isinstance(value.__self__, ModuleType | type(None)):
            self._text("method of", value.__name__)
            self.add(value.__self__)
        elif callable(value) and _is_found(value):
            self._text("function", value.__module__, value.__qualname__)
        else:
            return False
        return True

    def _function(self, function: FunctionType) -> None:
        self._text("function", function.__module__, function.__qualname__)
        if not _is_library(function.__module__) or not _is_found(function):
            self._code(function.__code__, function.__doc__)
            known = function.__globals__
            for name in sorted(_globals_of(function.__code__) & known.keys()):
                self._text("global", name)
                self.add(known[name])
        self.add((function.__defaults__, function.__kwdefaults__))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._text("closure", name)
            try:
                contents = cell.cell_contents
            except ValueError:
                self._text("nothing yet")
            else:
                self.add(contents)

    def _code(self, code: CodeType, doc: str | None) -> None:
        self._text("code", code.co_code.hex(), code.co_argcount, code.co_kwonlyargcount)
        self._text(*code.co_names, *code.co_varnames, *code.co_freevars)
        for constant in code.co_consts:
            if doc is None or constant is not doc:
                self.add(constant)

    def _class(self, cls: type) -> None:
        self._text("class", cls.__module__, cls.__qualname__)
        if not _is_library(cls.__module__):
            for name, member in sorted(vars(cls).items()):
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(function, FunctionType):
                    self._text("member", name)
                    self.add(function)
            for base in cls.__bases__:
                self.add(base)

    def _add_object(self, value: Any) -> bool:
        fingerprint = getattr(value, "fingerprint", None)
        if callable(fingerprint):
            self._text("fingerprint", fingerprint())
        elif isinstance(value, nn.Module):
            self._text("module", _PLACE.sub("", repr(value)))
            self.add(value.state_dict())
            for module in value.modules():
                self.add((type(module), {k: v for k, v in vars(module).items() if isinstance(v, _PLAIN)}))
        elif isinstance(value, torch.Generator):
            self.add(value.get_state())
        elif is_dataclass(value):
            self._class(type(value))
            self.add({f.name: getattr(value, f.name) for f in fields(value)})
        elif type(value).__dictoffset__ and not _is_extension(type(value)):
            self._class(type(value))
            self.add(vars(value))
        else:
            return False
        return True


def _is_extension(cls: type) -> bool:
    """Whether some of an object's state may lie outside its ``__dict__``."""
    return any(
        base is not object and (not base.__flags__ & (1 << 9) or "__slots__" in vars(base)) for base in cls.__mro__
    )


def _globals_of(code: CodeType) -> set[str]:
    """Names that a function reads from its module, those of functions within it included."""
    names = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(_globals_of(constant) for constant in code.co_consts if isinstance(constant, CodeType)))


def _is_found(function: Any) -> bool:
    """Whether a function is what its module has under its name."""
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for name in (getattr(function, "__qualname__", None) or "<unknown>").split("."):
        found = getattr(found, name, None)
    return found is not None and found is function


@functools.cache
def _is_library(name: str) -> bool:
    """Whether a module belongs to Python, to fidokit or to an installed package: its version stands for its code."""
    if name.partition(".")[0] in ("fidokit", *sys.builtin_module_names):
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    if name == "__main__" or file is None:
        return False
    path = Path(file).absolute()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
