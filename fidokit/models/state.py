"""What a classifier is and has found out about itself, and what each thread has of its own of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fidokit.data.geometry import Preprocessing
from fidokit.models import frozen
from fidokit.models.goals import Head
from fidokit.models.taxonomy import Taxonomy


@dataclass(eq=False)
class EvaluationCounter:
    """Evaluations spent so far: images sent through any session of a classifier, with or without a backward pass.

    Each thread has its own, so that what a mask took can be read off it while other threads compute.
    """

    evaluations: int = 0


class _EvaluationCounters(threading.local):
    """The count of a classifier for each thread."""

    def __init__(self) -> None:
        self.own = EvaluationCounter()


class OpenSessions(threading.local):
    """Kind -> session that is open, for each thread: hooks on a session's module must see one thread's images alone."""

    def __init__(self) -> None:
        self.own: dict[str, Any] = {}


class ClassifierState:
    """The values that sessions, probes and fingerprints read of a `Classifier`. Threads may share one.

    Attributes:
        module: what runs: the user's module, or an adapter in front of it. It takes (B, 3, H, W) normalised images.
        class_names: K names.
        head: what the outputs are, see `Classifier`.
        single_logit: whether the module gives one logit, which stands for two classes.
        preprocessing: how photographs become the input.
        layer: that class activation maps read, if one was given.
        name: on the command line.
        taxonomy: of its classes, if one was given.
        notes: what was done or assumed that one might not expect.
        device, device_reason: where it computes, and why there.
        precision, precision_reason: in which format, and why; ``auto`` before the first use.
        micro_batch: evaluations that go through at once; None before the first use.
        asked: precision and micro-batch as they were given.
        memory_format: in which the module can be run; None before the first use.
        folded: names of convolutions and of the batch normalisations folded into them; None before the first use.
        forward_batches: precision -> the fastest batch without a backward pass, where it was looked for.
        exact_limit: the largest micro-batch of an exact session, where it was looked for.
        least_batch: the smallest batch on a GPU, to which smaller ones are padded; None where it was not looked for.
    """

    module: nn.Module
    class_names: list[str]
    head: Head
    single_logit: bool
    preprocessing: Preprocessing
    layer: str | None
    name: str | None
    taxonomy: Taxonomy | None
    notes: list[str]
    device: torch.device
    device_reason: str
    precision: str
    precision_reason: str
    micro_batch: int | None
    asked: tuple[str, int | None]
    memory_format: torch.memory_format | None
    folded: frozen.Pairs | None
    forward_batches: dict[str, int]
    exact_limit: int | None
    least_batch: int | None

    def __init__(self) -> None:
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        """Copies of it have no session open and have spent nothing."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_sessions", "_counters")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:
        # Precision and micro-batch are found by one thread, the others wait for what it finds.
        self._lock = threading.RLock()
        self._sessions, self._counters = OpenSessions(), _EvaluationCounters()

    @property
    def counter(self) -> EvaluationCounter:
        """The count of evaluations that the current thread has spent."""
        return self._counters.own

    @counter.setter
    def counter(self, counter: EvaluationCounter) -> None:
        self._counters = _EvaluationCounters()
        self._counters.own = counter

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input in pixels."""
        return self.preprocessing.size
