"""Opening a session: memory format, folding, precision and micro-batch are found out within a budget, once.

What is found stays with the classifier, and with the user's cache for the next process (see `remembered`). What
comes from the cache is checked against the module's own logits before it is used.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fidokit.exceptions import ClassifierError
from fidokit.models import devices, frozen, remembered, tuning
from fidokit.models.session import LEAST_BATCH, Session
from fidokit.models.state import ClassifierState

#: A low precision is used where it takes at most this share of float32's time.
_FASTER = 0.9
#: Images by which an opening that was remembered is checked; one is what every classifier can be given.
_CHECKED = 1
#: On a GPU, batches are padded to few sizes: only to that of the first passes, and twice as many and so on, where
#: planning for a size took longer than this many passes.
_SLOW_PLAN = 20

_Passed = tuple[Tensor, Tensor]
_FLOAT32 = frozen.PRECISIONS["float32"]
_FORMATS = {"channels_last": torch.channels_last, "contiguous_format": torch.contiguous_format}

_LOG = logging.getLogger("fidokit")


def passed_on(classifier: ClassifierState, device: torch.device) -> _Passed:
    """(logits, input gradient), on the CPU, of a probe that goes through a float32 copy on a device."""
    at = classifier.device
    classifier.device = device
    try:
        # As many images at once as in the first pass of an opening, so that a GPU plans for one size.
        logits, gradient = _find_format(classifier, _session(classifier, _copy(classifier))).passed
    finally:
        classifier.device, classifier.memory_format = at, None
    return logits.cpu(), gradient.cpu()


def untuned(classifier: ClassifierState) -> Session:
    """A float32 session with every layer as it is, in a memory format in which the module can be run."""
    session = _session(classifier, _copy(classifier))
    if classifier.memory_format is None:
        _find_format(classifier, session)
    return session


def open_exact(classifier: ClassifierState) -> Session:
    """`untuned`, with a micro-batch."""
    session = untuned(classifier)
    if classifier.micro_batch is None and classifier.exact_limit is None:
        key = _question(classifier)
        limit = remembered.recall(key).get("exact_limit")
        if limit is None:
            limit = _find_micro_batch(classifier, session, tuning.Budget(classifier.device))
            remembered.keep(key, exact_limit=limit)
        classifier.exact_limit = limit
    session.micro_batch = min(size for size in (classifier.micro_batch, classifier.exact_limit) if size is not None)
    return session


def open_fast(classifier: ClassifierState) -> Session:
    """A session in the classifier's precision, batch normalisation folded into the convolutions."""
    key: remembered.Key | None = None
    if classifier.precision == "auto" or classifier.micro_batch is None:
        key = _question(classifier)
        session = _remembered(classifier, remembered.recall(key))
        if session is not None:
            return session
    given = classifier.micro_batch is not None
    session = _again(classifier)
    if session is None:
        session = _found_out(classifier)
        remembered.keep(
            key,
            memory_format=_name_of(classifier.memory_format),
            folded=classifier.folded,
            precision=classifier.precision,
            reason=classifier.precision_reason,
            least_batch=classifier.least_batch or LEAST_BATCH,
            **({} if given else {"micro_batch": classifier.micro_batch}),
        )
    session.micro_batch = classifier.micro_batch or 1
    return session


def forward_batch(classifier: ClassifierState, session: Session, image: Tensor) -> int:
    """The fastest batch without a backward pass, found once for a precision; on CPUs it is the smaller one.

    Args:
        classifier: the classifier.
        session: its fast session.
        image: (3, H, W) in [0, 1].
    """
    known, most = classifier.forward_batches, session.micro_batch
    name = session.precision.name
    if name not in known:
        key = _question(classifier)
        known |= remembered.recall(key).get("forward_batches", {})
    if name not in known:
        # A pass forward is a third of an evaluation with its gradient.
        budget = tuning.Budget(session.device, 3 * tuning.EVALUATIONS)
        sizes = [size for size in (4, 8, 16, 24, 32, 64) if size < most]
        known[name] = tuning.find_micro_batch(
            lambda size: session.logits(image.expand(size, -1, -1, -1)), session.device, budget, [*sizes, most]
        )
        remembered.keep(key, forward_batches=known)
    return min(known[name], most)


def _question(classifier: ClassifierState) -> remembered.Key | None:
    precision, micro_batch = classifier.asked
    return remembered.question(
        classifier, classifier.device, about="opening", precision=precision, micro_batch=micro_batch
    )


def _remembered(classifier: ClassifierState, found: dict[str, Any]) -> Session | None:
    """A session by what another process found out, or None where that does not fit this module."""
    needed = {"memory_format", "folded", "precision", "reason", "least_batch"}
    if not (needed if classifier.micro_batch is not None else needed | {"micro_batch"}) <= set(found):
        return None
    low = [precision.name for precision in frozen.candidates(classifier.device)]
    if classifier.precision == "auto" and found["precision"] not in ("float32", *low):
        return None
    before = {name: getattr(classifier, name) for name in _FOUND_OUT}
    if classifier.precision == "auto":
        classifier.precision, classifier.precision_reason = found["precision"], found["reason"]
    if classifier.micro_batch is None:
        classifier.micro_batch = found["micro_batch"]
    classifier.memory_format = _FORMATS[found["memory_format"]]
    classifier.folded = tuple((conv, norm) for conv, norm in found["folded"])
    classifier.least_batch = found["least_batch"]
    session = _again(classifier, whole=True)
    if session is None:
        for name, value in before.items():
            setattr(classifier, name, value)
    return session


#: What a classifier finds out about itself at its first use.
_FOUND_OUT = (
    *("precision", "precision_reason", "micro_batch", "memory_format"),
    *("folded", "least_batch", "forward_batches", "exact_limit"),
)


def _again(classifier: ClassifierState, *, whole: bool = False) -> Session | None:
    """A session by what the classifier knows of itself; None where it knows too little or that has changed.

    Args:
        classifier: the classifier.
        whole: have a pass forward and backward in its precision, and see that it agrees with float32, too.
    """
    if classifier.folded is None or classifier.precision == "auto" or classifier.micro_batch is None:
        return None
    precision = frozen.PRECISIONS[classifier.precision]
    in_float32 = precision == _FLOAT32
    try:
        twin, images = _copy(classifier), probe(classifier, _CHECKED)
        session = _session(classifier, twin)
        logits = _logits(session, images) if classifier.folded or (whole and not in_float32) else None
        frozen.fold_pairs(twin, classifier.folded)
        if classifier.folded and not (whole and in_float32):
            _agree(logits, _logits(session, images), exactly=True)
        if not in_float32:
            session = _session(classifier, twin.to(precision.dtype), precision)
        if whole:
            again, gradient = frozen.forward_and_input_gradient(session.evaluate, images.to(precision.dtype))
            _agree(logits, again, exactly=in_float32)
            if not torch.isfinite(gradient).all():
                return None
    except Exception:
        # Whatever it is, opening anew says it as it should be said.
        return None
    session.micro_batch = classifier.micro_batch
    return session


def _agree(before: Tensor | None, after: Tensor, *, exactly: bool) -> None:
    """Raise `ClassifierError` where logits are no longer what they were, exactly or as a low precision's may differ."""
    nothing = torch.zeros(len(after), 1, 1, 1)
    if before is None:
        return
    if not frozen.same_logits(before, after) if exactly else frozen.disagreement((before, nothing), (after, nothing)):
        raise ClassifierError("the module has changed")


@torch.no_grad()
def _logits(session: Session, images: Tensor) -> Tensor:
    return session.evaluate(images)


@dataclass
class _Probed:
    """A session and what its passes of the first images showed.

    Attributes:
        images: normalised, in the precision of its weights.
        passed: logits and input gradient.
        first, later: seconds of the first pass and of a later one; None without one.
        slowest: seconds of the slowest pass, by which a candidate's first pass is judged: both were new to torch.
        pairs: that may be folded.
    """

    session: Session
    images: Tensor
    passed: _Passed
    first: float
    later: float | None = None
    slowest: float = 0.0
    pairs: frozen.Pairs = ()

    @property
    def seconds(self) -> float:
        return self.first if self.later is None else min(self.first, self.later)


def _found_out(classifier: ClassifierState) -> Session:
    """A session, with everything about it found out that is not known or given."""
    if "auto" in (classifier.precision, classifier.micro_batch or "auto"):
        _LOG.info("trying out how the classifier computes fastest here; what is found is remembered")
    budget = tuning.Budget(classifier.device)
    found = _folded(classifier, _find_format(classifier, _session(classifier, _copy(classifier)), budget), budget)
    if classifier.precision == "auto":
        found, classifier.precision, classifier.precision_reason = _choose_precision(classifier, found, budget)
    session, seen = found.session, [(len(found.images), found.first, found.later)]
    if classifier.precision != session.precision.name:
        precision, seen = frozen.PRECISIONS[classifier.precision], []
        session = _session(classifier, session.module.to(precision.dtype), precision)
    if classifier.micro_batch is None:
        classifier.micro_batch = _find_micro_batch(classifier, session, budget, seen)
    return session


def _find_format(classifier: ClassifierState, session: Session, budget: tuning.Budget | None = None) -> _Probed:
    """Find the memory format, and pairs to fold, in one pass of as many images as fit."""
    budget = budget or tuning.Budget(classifier.device)
    results: list[_Probed] = []

    def run(images: Tensor, memory_format: torch.memory_format) -> None:
        session.memory_format = memory_format
        with frozen.watched_pairs(session.module) as pairs:
            results[:] = [_pass(session, images, budget)]
        results[0].pairs = tuple(pairs)

    few = probe(classifier, tuning.FIRST["cpu"])
    size = tuning.first_images(classifier.device, classifier.micro_batch)
    while True:
        try:
            classifier.memory_format = frozen.find_memory_format(session.module, repeated(few, size), run)
            return results[0]
        except Exception as error:
            if not frozen.is_out_of_memory(error) or size == 1:
                raise
            gc.collect()
            devices.free_cache(classifier.device)
            size //= 2


def _folded(classifier: ClassifierState, found: _Probed, budget: tuning.Budget) -> _Probed:
    """The same with batch normalisation folded, where that leaves the logits as they are."""
    classifier.folded = found.pairs
    if not found.pairs:
        return found
    frozen.fold_pairs(found.session.module, found.pairs)
    folded = _pass(found.session, found.images, budget)
    if not frozen.same_logits(found.passed[0], folded.passed[0]):
        classifier.folded = ()
        return replace(found, session=_session(classifier, _copy(classifier)))
    return replace(folded, slowest=max(found.first, folded.first))


def _choose_precision(classifier: ClassifierState, plain: _Probed, budget: tuning.Budget) -> tuple[_Probed, str, str]:
    """The fastest precision that agrees with float32: what its passes showed, its name, and why."""
    on_cpu = classifier.device.type == "cpu"
    low, n = frozen.candidates(classifier.device), len(plain.images)
    trials: list[_Probed] = []
    reasons = [] if low else [f"no lower precision is native to this {classifier.device.type.upper()}"]
    for precision in low:
        name = precision.name
        if not budget.affords(n, plain.seconds, counted=False):
            reasons.append(f"{name}: not tried, the time for probes was up")
            continue
        # A copy of the user's module, not of one that was run: a module may keep what it computed, which cannot be
        # copied.
        twin = _copy(classifier)
        frozen.fold_pairs(twin, classifier.folded or ())
        session = _session(classifier, twin.to(precision.dtype), precision)
        try:
            trial = _pass(session, plain.images.to(precision.dtype), budget)
        except RuntimeError as error:
            reasons.append(f"{name}: {first_line(error)}")
            continue
        if on_cpu and trial.first > plain.slowest:
            reasons.append(f"{name}: its first pass took {trial.first / plain.slowest:.2f} of float32's time")
        elif why := frozen.disagreement(plain.passed, trial.passed):
            reasons.append(f"{name}: {why}")
        else:
            # On a GPU most of a first pass is planning, so that only a later one tells.
            if not on_cpu or budget.affords(n, trial.first, counted=False):
                trial.later = _pass(session, trial.images, budget).first
            trials.append(trial)
            if not on_cpu:
                break  # the next one would be planned anew
    if not trials:
        return plain, "float32", "; ".join(reasons)
    if not on_cpu or budget.affords(n, plain.seconds, counted=True):
        again = _pass(plain.session, plain.images, budget).first
        plain.later = again if plain.later is None else min(again, plain.later)
    best = min(trials, key=lambda trial: trial.seconds)
    name, share = best.session.precision.name, best.seconds / plain.seconds
    if not on_cpu and best.later is not None:
        classifier.least_batch = len(best.images) if best.first > _SLOW_PLAN * best.later else 1
    if share > _FASTER:
        return plain, "float32", "; ".join([*reasons, f"{name}: takes {share:.2f} of float32's time"])
    return best, name, f"agrees with float32 on a probe and takes {share:.2f} of its time"


def _find_micro_batch(
    classifier: ClassifierState,
    session: Session,
    budget: tuning.Budget,
    seen: list[tuple[int, float, float | None]] | None = None,
) -> int:
    few = probe(classifier, tuning.FIRST["cpu"]).to(session.precision.dtype)

    def evaluate(size: int) -> None:
        frozen.forward_and_input_gradient(session.forward, repeated(few, size))

    return tuning.find_micro_batch(
        evaluate, classifier.device, budget, seen=seen or [], counted=session.precision == _FLOAT32
    )


def _pass(session: Session, images: Tensor, budget: tuning.Budget) -> _Probed:
    seconds, passed = budget.timed(
        lambda: frozen.forward_and_input_gradient(session.forward, images),
        len(images),
        counted=session.precision == _FLOAT32,
    )
    return _Probed(session, images, passed, seconds, slowest=seconds)


def _copy(classifier: ClassifierState) -> nn.Module:
    """A frozen float32 copy."""
    return frozen.frozen_copy(
        classifier.module, classifier.device, memory_format=classifier.memory_format or torch.channels_last
    )


def _session(classifier: ClassifierState, module: nn.Module, precision: frozen.Precision = _FLOAT32) -> Session:
    return Session(module, classifier, precision)


def probe(classifier: ClassifierState, n: int) -> Tensor:
    """(n, 3, H, W) normalised smooth noise, no more than a given micro-batch; no photograph needed."""
    n = min(n, classifier.micro_batch or n)
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(n, 3, *classifier.size)
    for cells in (4, 16, 64):
        noise = torch.randn(n, 3, cells, cells, generator=generator)
        images += 0.4 * nn.functional.interpolate(noise, size=classifier.size, mode="bilinear")
    return images.to(classifier.device).contiguous(memory_format=classifier.memory_format or torch.channels_last)


def repeated(images: Tensor, n: int) -> Tensor:
    """(n, 3, H, W) images, the given ones over and over: making new ones can take longer than evaluating them."""
    return images.repeat(-(-n // len(images)), 1, 1, 1)[:n]


def _name_of(memory_format: torch.memory_format | None) -> str:
    return next(name for name, value in _FORMATS.items() if value == (memory_format or torch.channels_last))


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
