"""What ``device="auto"`` stands for: an accelerator, if its results are the CPU's."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from fidokit._util.warning import warn
from fidokit._util.wording import given
from fidokit.models import devices, frozen, remembered
from fidokit.models.opening import first_line, passed_on
from fidokit.models.state import ClassifierState

#: Share of the largest value by which an operation of a method may be off on a device.
_OPERATION_TOLERANCE = 0.02
_warned: set[str] = set()


def choose_device(classifier: ClassifierState) -> tuple[torch.device, str]:
    """The device that ``auto`` stands for, and why: an accelerator that gives what the CPU gives, else the CPU.

    Logits and input gradients are compared on a probe, see `frozen.disagreement`; the answer is remembered. Where an
    accelerator is passed over, a warning says so once.
    """
    refused: list[str] = []
    for kind in devices.ACCELERATORS:
        if not devices.count(kind):
            continue
        device, name = torch.device(kind), devices.NAMES[kind]
        try:
            why = _disagreement_on(classifier, device)
        except _OnlyThere as error:
            return device, f"{name} could not be compared with the CPU, where the module does not run: {error}"
        if why is None:
            return device, "; ".join([*refused, f"{name} agrees with the CPU on a probe"])
        refused.append(f"{name} is there, but {why}")
    cpu = torch.device("cpu")
    if not refused:
        return cpu, "torch sees no CUDA, MPS or XPU device"
    reason = "; ".join(refused)
    if reason not in _warned:
        _warned.add(reason)
        warn(
            f"{reason}. The CPU is used; to use the device all the same, ask for it by name, as {given(device='cuda')}"
        )
    return cpu, reason


def _disagreement_on(classifier: ClassifierState, device: torch.device) -> str | None:
    """Why a device's results are not the CPU's, or None if they are."""
    try:
        key = remembered.question(classifier, device, about="device")
        known = remembered.recall(key)
        if known.get("agrees") is True:
            return None
        if known.get("agrees") is False and known.get("reason"):
            return str(known["reason"])
        own = passed_on(classifier, device)
        # CUDA is where the methods were made for; of the others they may need what is not there.
        why = None if device.type == "cuda" else _operations_differ_on(device)
    except Exception as error:
        # Memory that is full now may be free the next time, so it is not remembered.
        return f"it fails: {first_line(error)}"
    try:
        reference = passed_on(classifier, torch.device("cpu"))
    except Exception as error:
        # A module may be made for its device alone; then there is nothing to compare with, and no choice.
        raise _OnlyThere(first_line(error)) from error
    n = min(len(reference[0]), len(own[0]))
    why = why or frozen.disagreement((reference[0][:n], reference[1][:n]), (own[0][:n], own[1][:n]))
    remembered.keep(key, agrees=why is None, reason=why or "")
    return why


class _OnlyThere(Exception):
    """The module runs on an accelerator and not on the CPU."""


def _operations(device: torch.device) -> list[Tensor]:
    """What methods do beside running the classifier, on a device: not every accelerator has all of it."""
    cells = torch.linspace(-2, 2, 2 * 7 * 7).view(2, 1, 7, 7).to(device).requires_grad_(True)
    image = torch.linspace(0, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32).to(device)
    kept = functional.interpolate(torch.sigmoid(cells), size=(32, 32), mode="bilinear")
    blurred = functional.conv2d(image.reshape(6, 1, 32, 32), torch.ones(1, 1, 3, 3, device=device) / 9, padding=1)
    mixed = torch.lerp(blurred.view_as(image), image, kept.expand_as(image))
    value = torch.logsumexp(mixed.mean(dim=(2, 3)), dim=1).sum() + cells.diff(dim=-1).abs().mean()
    (gradient,) = torch.autograd.grad(value, cells)
    ranked = kept.detach().flatten(1).argsort(dim=1, stable=True).float()
    counted = torch.cumsum(image.flatten(1), dim=1)
    return [tensor.detach().cpu() for tensor in (mixed, gradient, ranked, counted)]


@cache
def _operations_differ_on(device: torch.device) -> str | None:
    """Whether operations of the methods give something else on a device than on the CPU."""
    for own, reference in zip(_operations(device), _operations(torch.device("cpu")), strict=True):
        far = float((own - reference).abs().max() / reference.abs().max())
        if not far <= _OPERATION_TOLERANCE:
            return f"operations that masks are made with differ by {far:.2g} of their size"
    return None
