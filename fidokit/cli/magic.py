"""`%fido`: `fidokit explain` in a notebook's cell, for ``%load_ext fidokit``."""

from __future__ import annotations

import argparse
import glob
import os
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import TryNext, UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import DisplayHandle

from fidokit._util.html import tag
from fidokit._util.wording import worded_by
from fidokit.cli.explaining import add_explanation, explained
from fidokit.cli.options import MODEL_OPTIONS, PRESETS, given_options, load_classifier, options_of, progress_bar
from fidokit.exceptions import FidokitError, ImageError, SettingsError

if TYPE_CHECKING:
    from fidokit.methods.base import Masks, OnProgress, Snapshot
    from fidokit.models.classifier import Classifier

NAME = "fido"
#: Lines whose completion is asked for: with or without the percent sign, and where the masks are assigned.
_LINE = re.compile(rf"(.*=\s*%|%?){NAME}\s")
_DESCRIPTION = (
    "Explain photographs: what the classifier's decision rests on. The masks are the value of the line, so that "
    "`masks = %fido photo.jpg --model MODEL` keeps them."
)


def load(shell: InteractiveShell) -> None:
    """Add the magic to a shell."""
    magic = _FidoMagic(shell)
    shell.magics_manager.register_function(magic.fido, "line", NAME)
    shell.set_hook("complete_command", magic.complete, re_key=_LINE)  # type: ignore[no-untyped-call]


def unload(shell: InteractiveShell) -> None:
    """Take it away."""
    shell.magics_manager.magics["line"].pop(NAME, None)
    shell.strdispatchers["complete_command"].regexs.pop(_LINE, None)


class _FidoMagic:
    """The magic of one shell; it keeps the classifiers that were loaded by name.

    Attributes:
        shell: the shell.
        loaded: what was loaded, by name and options, and the times at which files of a model and of names
            were written.
        last: the options of the last classifier that could be had, used where a line names none; None before.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.loaded: dict[tuple[Any, ...], Classifier] = {}
        self.last: argparse.Namespace | None = None
        self.parser = _Parser(prog=f"%{NAME}", description=_DESCRIPTION)
        add_explanation(
            self.parser,
            model="or the name of a variable of this notebook that holds a Classifier; default that of the last %%fido",
        )

    def fido(self, line: str) -> Masks | None:
        """Explain photographs: what the classifier's decision rests on.

        ::

            %fido photo.jpg --model timm:resnet50
            masks = %fido photos/*.jpg --model clf --against "Parus palustris"

        ``--model`` is a name as on the command line, kept loaded until ``%reload_ext fidokit``, or that of a variable
        that holds a `Classifier`. ``%fido --help`` lists all options.
        """
        try:
            arguments = self.parser.parse_args(split(line))
            arguments.photographs = [path for given in arguments.photographs for path in matching(given)]
            with _Progress(self.shell) as progress, worded_by(options_of(self.parser)):
                return explained(arguments, partial(self._classifier, arguments), progress.watching)[1]
        except _HelpShown:
            return None
        except FidokitError as error:
            raise UsageError(str(error)) from error
        except KeyboardInterrupt as error:
            raise UsageError("stopped before there was a mask") from error

    def _classifier(self, arguments: argparse.Namespace) -> Classifier:
        if arguments.model is None:
            if self.last is None:
                raise SettingsError("--model is needed: " + _models(self._variables()))
            for name in ("model", *MODEL_OPTIONS):
                setattr(arguments, name, getattr(self.last, name))
        found = self._held(arguments) if arguments.model.isidentifier() else self._loaded(arguments)
        self.last = arguments
        return found

    def _held(self, arguments: argparse.Namespace) -> Classifier:
        """The classifier in a variable: its name is looked up, nothing is evaluated."""
        name, variables = arguments.model, self._variables()
        if name not in variables:
            held = self.shell.user_ns.get(name)
            what = "there is no variable of that name" if held is None else f"the variable holds a {_class_of(held)}"
            raise SettingsError(f"--model {name}: {what}; {_models(variables)}")
        if given := [f"--{option.replace('_', '-')}" for option in given_options(arguments)]:
            raise SettingsError(f"{name} is made already, and {', '.join(given)} cannot change it; leave them out")
        return variables[name]

    def _loaded(self, arguments: argparse.Namespace) -> Classifier:
        files = [path for path in (Path(arguments.model), arguments.names) if path is not None and path.is_file()]
        written = [path.stat().st_mtime_ns for path in files]
        key = (arguments.model, *(str(getattr(arguments, name)) for name in MODEL_OPTIONS), *written)
        if key not in self.loaded:
            self.loaded[key] = load_classifier(arguments)
        return self.loaded[key]

    def _variables(self) -> dict[str, Classifier]:
        """The notebook's variables that hold a classifier."""
        from fidokit.models.classifier import Classifier

        return {
            name: value
            for name, value in self.shell.user_ns.items()
            if isinstance(value, Classifier) and not name.startswith("_")
        }

    def complete(self, _shell: InteractiveShell, event: Any) -> list[str]:
        """What may come next in the line; IPython completes files by itself."""
        before = event.line.removesuffix(event.symbol).split()
        option = before[-1] if before else ""
        if option == "--method":
            from fidokit.methods import list_methods

            return list_methods()
        if option == "--settings":
            return list(PRESETS)
        if option == "--model" and self._variables():
            return list(self._variables())
        if event.symbol.startswith("-"):
            return self.parser.options()
        raise TryNext


class _HelpShown(Exception):
    """The help was asked for and is on the screen."""


class _Parser(argparse.ArgumentParser):
    """One that ends neither the kernel nor says anything but in the error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help lists the options")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise _HelpShown

    def options(self) -> list[str]:
        """All options, by their long names."""
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]


class _Progress:
    """A bar of evaluations under the cell, which ends as one line; in a terminal, that of the command line."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.handle: Any = DisplayHandle() if hasattr(shell, "kernel") else None  # type: ignore[no-untyped-call]
        self.last: Snapshot | None = None
        self.start = time.perf_counter()

    def __enter__(self) -> _Progress:
        if self.handle is not None:
            self.handle.display(_bundle("Loading the classifier"), raw=True)
        return self

    def __exit__(self, _type: Any, error: BaseException | None, _traceback: Any) -> None:
        if self.handle is not None:
            seconds = time.perf_counter() - self.start
            self.handle.update(_bundle("" if error else f"Explained in {seconds:.1f} s"), raw=True)

    @contextmanager
    def watching(self) -> Iterator[OnProgress | None]:
        """What `explain` is given to tell how far it is."""
        if self.handle is None:
            with progress_bar() as told:
                yield told
            return
        from fidokit.widgets.running import Throttle

        handle, throttle = self.handle, Throttle()
        handle.update(_bundle("Preparing the classifier"), raw=True)

        def show(snapshot: Snapshot) -> None:
            told = f"{snapshot.evaluations:,} of at most {snapshot.total:,} evaluations"
            bar = tag("progress", value=snapshot.evaluations, max=max(1, snapshot.total))
            throttle(lambda: handle.update(_bundle(told, bar), raw=True))

        yield show


def _bundle(told: str, *before: object) -> dict[str, str]:
    return {"text/plain": told, "text/html": tag("div", *before, " " if before else None, told)}


def split(line: str) -> list[str]:
    """The words of a line, quoted as in a shell; a semicolon at its end is no part of them.

    Raises:
        UsageError: a quotation that does not end.
    """
    words = shlex.shlex(line.rstrip().removesuffix(";"), posix=True)
    words.whitespace_split, words.commenters = True, ""
    if os.name == "nt":
        words.escape = ""  # It separates folders there.
    try:
        return list(words)
    except ValueError as error:
        raise UsageError(f"{error}: put names with an apostrophe into double quotes") from error


def matching(path: Path) -> list[Path]:
    """The files that a pattern such as ``photos/*.jpg`` stands for, in order: no shell has replaced it.

    Raises:
        ImageError: there is none.
    """
    path = path.expanduser()
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    # `Path.glob` takes no pattern that begins at the root.
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207
    if not found:
        raise ImageError(f"{path}: no file fits; correct the pattern, or the working folder {Path.cwd()}")
    return found


def _models(variables: dict[str, Classifier]) -> str:
    held = f", or a variable that holds a Classifier: {', '.join(variables)}" if variables else ""
    return f"give a name such as timm:resnet50{held}"


def _class_of(value: object) -> str:
    from torch import nn

    name = type(value).__name__
    return f"{name}; wrap it: fidokit.Classifier({name.lower()}, ...)" if isinstance(value, nn.Module) else name
