"""A widget whose browser side asks for things; what goes wrong is shown in it, and costs nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import traitlets

from fidokit.exceptions import FidokitError
from fidokit.widgets.running import BackgroundJob
from fidokit.widgets.static_form import ShownWidget


class AnsweringWidget(ShownWidget):
    """A widget that takes messages of the form ``{"do": name, ...}``; subclasses say what they do.

    The browser writes no trait: ipywidgets drops all but the last value of one while the kernel is busy. Messages all
    arrive, in order.
    """

    _message = traitlets.Unicode().tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        # The browser's messages may come in another thread than cells run in.
        self._lock = threading.RLock()
        super().__init__(**traits)
        _answer_beside_cells(self.comm)
        self.on_msg(self._take)

    def _actions(self) -> dict[str, Callable[..., None]]:
        """What a message may ask for; its other entries are keyword arguments, its buffer is `content`."""
        raise NotImplementedError

    def _words_of(self, error: Exception) -> str:
        """An error in words, with what to do."""
        if isinstance(error, FidokitError):
            return str(error)
        return f"{type(error).__name__}: {error}. The whole error is in the widget's attribute `error`."

    def _take(self, _widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        given = dict(content)
        act = self._actions().get(given.pop("do", None))
        if act is None:
            return
        if buffers:
            given["content"] = bytes(buffers[0])
        with self._errors_shown():
            act(**given)

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        """A context whose errors are shown in the widget and go no further."""
        try:
            yield
        except Exception as error:
            self.error: Exception | None = error
            self._message = self._words_of(error)


class RunningWidget(AnsweringWidget):
    """A widget that computes beside the notebook's cells, one thing at a time."""

    #: Values of `state` while something runs.
    BUSY: ClassVar[tuple[str, ...]] = ("running", "stopping")
    state = traitlets.Unicode("ready").tag(sync=True)
    _run: BackgroundJob | None = None

    def stop(self) -> None:
        """Stop after the step in work and keep what there is; of no effect while nothing runs."""
        with self._lock:
            if self._run is not None and self.state in self.BUSY:
                self.state = "stopping"
                self._run.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what runs has ended, at most so many seconds; whether it has."""
        return self._run is None or self._run.wait(timeout)

    def close(self) -> None:
        """Stop, and close all views."""
        if hasattr(self, "_lock"):  # it is not where the constructor failed
            self.stop()
        super().close()


def _answer_beside_cells(comm: Any) -> None:
    """Have messages go where the browser sends them: JupyterLab sends those of widgets beside the cells, to a subshell.

    ipykernel 7.4 sends them to whoever spoke last instead, which for a thread is the cells' own loop: Stop would wait
    for a cell that runs. Other kernels know no subshells; there it waits.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, addressed: addressed
