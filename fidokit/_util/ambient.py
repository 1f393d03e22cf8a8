"""The state that a program keeps for all of its code, put aside while fidokit computes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def unaffected(*, gradients: bool = True) -> Iterator[None]:
    """What is computed inside, or in a function that this decorates, is as in a program that has set nothing.

    Inside, inference mode, autocast and anomaly detection are off; factory functions make float32 on the CPU. Where
    deterministic algorithms were asked for, they stay so, but an operation that has none warns instead of ending the
    run. All is as before afterwards, also after an error. Torch's global random numbers are neither used nor seeded.

    Args:
        gradients: record them inside, whether or not they are recorded outside.
    """
    dtype = torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    strict = deterministic and not torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as stack:
        recorded = gradients or torch.is_grad_enabled()
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if recorded != torch.is_grad_enabled():
            stack.enter_context(torch.set_grad_enabled(recorded))
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        for device_type in _DEVICE_TYPES:
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if strict:
            stack.callback(torch.use_deterministic_algorithms, True)
            torch.use_deterministic_algorithms(True, warn_only=True)
        yield


@contextmanager
def without_collection() -> Iterator[None]:
    """No search for cycles while millions of small objects are made that have none: it would double the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
