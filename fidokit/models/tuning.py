"""Finding out how fast a module can be evaluated here, within a budget: the first mask must not wait for it."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from fidokit.models import devices
from fidokit.models.frozen import is_out_of_memory

T = TypeVar("T")

#: What the passes of an opening may cost on a CPU, in float32 evaluations. What cannot be cut short comes on top:
#: copies, the look at the layers, the fingerprint, the checks of a new classifier.
EVALUATIONS = 40
#: What an image costs at least in a low precision: where something else slowed float32 down, it seems to cost nothing.
LEAST_SHARE = 0.4
#: On a GPU an evaluation takes no time, but cuDNN plans each layer anew for each batch size and precision that it
#: meets, which took 3.5 s for EfficientNet-Lite0 on an H100: seconds after which nothing further is tried.
_GPU_SECONDS = 6.0
#: Images in the first passes: on a CPU as many as one photograph's step has, on a GPU as many as keep it busy, which
#: take as long as one.
FIRST: dict[str, int] = {"cpu": 4}
_GPU_FIRST = 64
#: Micro-batches that are tried. On CPUs the caches are full at some size.
_MICRO_BATCHES: dict[str, tuple[int, ...]] = {"cpu": (4, 8, 16, 24, 32, 64, 128, 256, 512)}
_GPU_MICRO_BATCHES = (16, 64, 256)
#: A first pass is slower than later ones, for memory and plans are made in it; so much more is reckoned with.
_FIRST_PASS = 1.3


def timed(call: Callable[[], T], device: torch.device) -> tuple[float, T]:
    """Wall time of a call in seconds, waiting for the device, and what it returned."""
    start = time.perf_counter()
    result = call()
    devices.synchronise(device)
    return time.perf_counter() - start, result


class Budget:
    """What probes and tuning may cost: a number of float32 evaluations on a CPU, seconds on a GPU.

    A float32 pass of n images costs n evaluations, however busy the machine is, so that what is tried does not depend
    on that; a pass in another precision costs as many as would take as long.

    Attributes:
        spent: of it.
        unit: seconds of one float32 evaluation, the least seen so far; None before the first.
    """

    def __init__(self, device: torch.device, evaluations: float = EVALUATIONS) -> None:
        self.device = device
        self.limit = evaluations if device.type == "cpu" else _GPU_SECONDS
        self.unit: float | None = None
        self.spent = 0.0

    def costs(self, images: int, seconds: float, *, counted: bool) -> float:
        """What a pass of so many images costs that takes so long.

        Args:
            images: in the pass.
            seconds: that it takes.
            counted: whether each image is an evaluation as the budget counts them, as those in float32 are.
        """
        if self.device.type != "cpu":
            return seconds
        return images if counted or not self.unit else max(seconds / self.unit, LEAST_SHARE * images)

    def affords(self, images: int, seconds: float, *, counted: bool) -> bool:
        """Whether what is left is enough for such a pass."""
        return self.spent + self.costs(images, seconds, counted=counted) <= self.limit

    def timed(self, call: Callable[[], T], images: int, *, counted: bool) -> tuple[float, T]:
        """`timed`, on the budget."""
        seconds, result = timed(call, self.device)
        if counted:
            self.unit = min(self.unit or math.inf, seconds / images)
        self.spent += self.costs(images, seconds, counted=counted)
        return seconds, result


def first_images(device: torch.device, most: int | None) -> int:
    """Images in the first passes on a device, no more than a micro-batch that was asked for."""
    return min(FIRST.get(device.type, _GPU_FIRST), most or _GPU_FIRST)


def find_micro_batch(
    evaluate: Callable[[int], object],
    device: torch.device,
    budget: Budget,
    sizes: Sequence[int] | None = None,
    seen: Sequence[tuple[int, float, float | None]] = (),
    *,
    counted: bool = True,
) -> int:
    """The batch size with the least time per evaluation, found by growing it until that stops to pay.

    Larger is not better: beyond the caches each evaluation takes longer. Each size gets a first pass, and a second one
    where the budget then still has room for the next size; it ends where the budget does. On CUDA a size is only tried
    where the memory it would take, extrapolated from the size before, fits into 80 % of what is free.

    Args:
        evaluate: runs one forward and backward pass of a batch of the given size.
        device: where it runs.
        budget: what the passes may cost.
        sizes: candidates in rising order; None for `_MICRO_BATCHES` of the device.
        seen: passes that were timed before: size, seconds of the first and of a later pass, None without one.
        counted: see `Budget.costs`.

    Returns:
        The largest size within 3 % of the best time per evaluation. Where even the smallest does not fit, it is halved
        until it does.
    """
    sizes = _MICRO_BATCHES.get(device.type, _GPU_MICRO_BATCHES) if sizes is None else sizes
    costs: dict[int, float] = {}
    planned = 0.0  # seconds of the last first pass
    later = 1.0  # what a later pass takes of a first one

    def note(size: int, first: float, second: float | None) -> None:
        nonlocal planned, later
        planned = first
        if second is not None and first > 0:
            later = min(1.0, second / first)
        costs[size] = first * later / size

    def affords(size: int, before: float = 0.0) -> bool:
        """Whether a first pass of a further size may be tried, after another pass of so many seconds."""
        largest = max(costs, default=None)
        seconds = 0.0 if largest is None else max(planned, _FIRST_PASS * costs[largest] * size)
        if before:
            return budget.affords(size + (largest or 0), seconds + before, counted=counted)
        return budget.affords(size, seconds, counted=counted)

    for size, first, second in seen:
        note(size, first, second)
    worse = 0
    for size, coming in zip(sizes, [*sizes[1:], None], strict=True):
        if costs and size <= max(costs):
            continue
        if costs and not (affords(size) and _has_room(device, max(costs), size)):
            break
        try:
            first, _ = budget.timed(lambda size=size: evaluate(size), size, counted=counted)  # type: ignore[misc]
            note(size, first, None)
            # On a GPU nearly all of a first pass is planning.
            if device.type != "cpu" or affords(coming or 0, before=first):
                second, _ = budget.timed(lambda size=size: evaluate(size), size, counted=counted)  # type: ignore[misc]
                note(size, first, second)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            gc.collect()
            break
        worse = worse + 1 if costs[size] > 1.05 * min(costs.values()) else 0
        if worse == 2 or costs[size] > 1.3 * min(costs.values()):
            break
    if not costs:
        return fitting(evaluate, device, sizes[0] // 2)
    best = min(costs.values())
    return max(size for size, cost in costs.items() if cost <= 1.03 * best)


def _has_room(device: torch.device, largest: int, size: int) -> bool:
    """Whether a batch will fit into a GPU's memory, by what a smaller one took."""
    if device.type != "cuda":
        return True
    need = torch.cuda.max_memory_allocated(device) / largest * size
    return need <= 0.8 * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))


def fitting(evaluate: Callable[[int], object], device: torch.device, size: int) -> int:
    """The size, or the largest half, quarter and so on of it that fits into memory; at least 1, which is not tried."""
    while size > 1:
        try:
            evaluate(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            gc.collect()
            devices.free_cache(device)
            size //= 2
        else:
            return size
    return 1
