"""An explanation computed in a thread beside the notebook, told as it goes on, and stopped when asked."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fidokit.data.images import LabelledImages
from fidokit.exceptions import FidokitError, ImageError, MethodNotApplicable
from fidokit.methods import explain
from fidokit.methods.base import Kind, Masks, Snapshot, settings_id
from fidokit.methods.regions import Regions, find_regions
from fidokit.models.classifier import Classifier
from fidokit.models.isolation import reason_of

#: Most updates a second: an eye follows no more, and the browser draws on the processor that computes.
_MOST_UPDATES = 10.0
#: Share of the computing thread's time that telling may take.
_UPDATE_SHARE = 0.1


@dataclass(frozen=True)
class ExplainRequest:
    """What to explain.

    Attributes:
        data: one photograph.
        method, settings: how.
        target, against: class names; None for the predicted class, and for no contrast.
        baselines: names of methods that are computed before, with their default settings.
        check: whether to cut the mask's regions in the end and check them, at 18 evaluations a region.
        rank: see `fidokit.explain`.
    """

    data: LabelledImages
    method: str
    settings: Any
    target: str | None = None
    against: str | None = None
    baselines: tuple[str, ...] = ()
    check: bool = False
    rank: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far an explanation is.

    Attributes:
        masks: kind -> (h, w) mask so far.
        kept, dropped: score with the SSR kept, with the SDR dropped; None for methods that do not know it.
        loss: what is minimised, likewise.
        evaluations, total: spent, and needed at most.
        seconds: since the method began.
    """

    masks: dict[Kind, npt.NDArray[np.float32]]
    kept: float | None
    dropped: float | None
    loss: float | None
    evaluations: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Evaluations a second."""
        return self.evaluations / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds that it will still take at most; None while that cannot be said."""
        return max(0, self.total - self.evaluations) / self.rate if self.rate else None


class Listener:
    """What a run tells, in its own thread; override what is of interest."""

    def preparing(self) -> None:
        """The classifier is made ready, which takes some seconds the first time."""

    def predicted(self, prediction: dict[str, object], likely: list[tuple[str, float]]) -> None:
        """What the classifier says of the photograph; see `Classifier.prediction` and `Classifier.likeliest`."""

    def baseline(self, name: str, result: Masks | None, reason: str | None) -> None:
        """A baseline's mask, or why there is none."""

    def progress(self, progress: Progress) -> None:
        """The mask so far."""

    def checked(self, regions: Regions | None, reason: str | None) -> None:
        """The regions cut from the mask, before the end of a run that asked for them; or why there are none."""

    def ended(self, result: Masks | None, error: Exception | None) -> None:
        """The result, also of a stopped run; or the error; or neither, if it was stopped before there was a mask."""


class Throttle:
    """Lets something happen at most so often, and so that it takes at most a share of the time."""

    def __init__(
        self,
        most: float = _MOST_UPDATES,
        share: float = _UPDATE_SHARE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.pause, self.share, self.clock = 1 / most, share, clock
        self.next = -np.inf

    def __call__(self, act: Callable[[], None]) -> bool:
        """Do it if it is time; whether it was done."""
        start = self.clock()
        if start < self.next:
            return False
        act()
        end = self.clock()
        self.next = max(start + self.pause, end + (end - start) * (1 - self.share) / self.share)
        return True


class BackgroundJob:
    """A computation in a thread beside the notebook; subclasses say in `_run` what it does.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        # A daemon: a kernel that is shut down does not wait for it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        _RUNNING.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask to stop after the step in work; what there is is kept."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most so many seconds; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        raise NotImplementedError


_RUNNING: weakref.WeakSet[BackgroundJob] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """An interpreter that ends under a computing thread ends with a crash."""
    for run in list(_RUNNING):
        run.stop()
        run.wait(2)


class LookJob(BackgroundJob):
    """Which classes are the likeliest for some photographs, found in a thread, one after the other.

    Args:
        classifier: the notebook may use it meanwhile.
        photographs: image_id -> a dataset of it alone.
        told: called with image_id -> `Classifier.likeliest` of some, twice a second at most; photographs that cannot be
            read are left out.
    """

    def __init__(
        self,
        classifier: Classifier,
        photographs: Mapping[str, LabelledImages],
        told: Callable[[Mapping[str, list[tuple[str, float]]]], None],
    ) -> None:
        super().__init__("fidokit-look")
        self.classifier, self.photographs, self.told = classifier, photographs, told

    def _run(self) -> None:
        found: dict[str, list[tuple[str, float]]] = {}
        throttle = Throttle(most=2.0)
        # What goes wrong is said where an explanation is asked for.
        with suppress(Exception), self.classifier.session() as session:
            for image_id, data in self.photographs.items():
                if self._stop.is_set():
                    break
                with suppress(Exception):
                    logits = session.logits(data.load(0, self.classifier.preprocessing)[0][None])[0]
                    found[image_id] = self.classifier.likeliest(logits)
                    if throttle(lambda: self.told(dict(found))):
                        found.clear()
        if found:
            self.told(found)


class ExplainJob(BackgroundJob):
    """One explanation in a thread.

    Args:
        classifier: the notebook may use it meanwhile.
        order: what to explain.
        listener: is told.
    """

    def __init__(self, classifier: Classifier, order: ExplainRequest, listener: Listener) -> None:
        super().__init__("fidokit-explain")
        self.classifier, self.order, self.listener = classifier, order, listener

    def _run(self) -> None:
        result, error = None, None
        try:
            result = self._explain()
        except Exception as caught:
            error = caught
        self.listener.ended(result, error)

    def _explain(self) -> Masks | None:
        classifier, order = self.classifier, self.order
        self.listener.preparing()
        with ExitStack() as sessions:
            # Open throughout: every method would make copies of the network of its own.
            fast = sessions.enter_context(classifier.session())
            image = order.data.load(0, classifier.preprocessing)[0]
            logits = fast.logits(image[None])[0]
            prediction = classifier.prediction(logits)
            if prediction["predicted"] is None:
                raise ImageError(str(prediction["reason"]))
            self.listener.predicted(prediction, classifier.likeliest(logits))
            if order.baselines:
                sessions.enter_context(classifier.session(exact=True))
            for name in order.baselines:
                if not self._stop.is_set():
                    self._baseline(classifier, name)
            if self._stop.is_set():
                return None
            made = self._method(classifier)
            if made is not None and order.check and not self._stop.is_set():
                self._check(classifier, made)
            return made

    def _check(self, classifier: Classifier, made: Masks) -> None:
        """Cut the regions of the masks that claim something, or of the only one there is; a mask is not lost by it."""
        kinds = [kind for kind in ("ssr", "sdr") if kind in made.kinds] or list(made.kinds)[:1]
        try:
            self.listener.checked(find_regions(classifier, made, kinds=kinds), None)
        except Exception as error:
            self.listener.checked(None, reason_of(error))

    def _baseline(self, classifier: Classifier, name: str) -> None:
        order = self.order
        try:
            made = explain(classifier, order.data, name, order.target, order.against, rank=order.rank)
        except MethodNotApplicable as error:
            self.listener.baseline(name, None, str(error))
            return
        reason = next(iter(made.failures.values()), None)
        self.listener.baseline(name, made if len(made) else None, reason)

    def _method(self, classifier: Classifier) -> Masks | None:
        order, throttle = self.order, Throttle()
        settings = watchable(order.settings, classifier)
        start = time.perf_counter()

        held_back: list[Progress] = []

        def watch(snapshot: Snapshot) -> bool:
            progress = _progress(snapshot, time.perf_counter() - start)
            held_back[:] = [] if throttle(lambda: self.listener.progress(progress)) else [progress]
            return self._stop.is_set()

        asked = order.target, order.against
        made = explain(classifier, order.data, order.method, *asked, settings, watch, rank=order.rank)
        for progress in held_back:
            self.listener.progress(progress)
        if not len(made):
            if self._stop.is_set():
                return None
            raise FidokitError(next(iter(made.failures.values()), f"{order.method} made no mask"))
        # How often it was looked at is no part of what made the mask.
        made.settings_id = settings_id(order.method, order.settings)
        return made


def watchable(settings: Any, classifier: Classifier) -> Any:
    """The settings with a look at every step, where they have one every few; the masks stay the same.

    On a GPU a look waits for the device, and steps are so short that one every few is often enough.
    """
    if classifier.device.type != "cpu" or "check_every" not in {f.name for f in fields(settings)}:
        return settings
    return replace(settings, check_every=1)


def _progress(snapshot: Snapshot, seconds: float) -> Progress:
    def number(values: Any) -> float | None:
        value = float("nan") if values is None else float(values[0])
        return value if np.isfinite(value) else None

    return Progress(
        masks={kind: mask[0].numpy() for kind, mask in snapshot.masks.items()},
        kept=number(snapshot.score_kept),
        dropped=number(snapshot.score_dropped),
        loss=number(snapshot.loss),
        evaluations=snapshot.evaluations,
        total=snapshot.total,
        seconds=seconds,
    )
