"""What ``device="auto"`` stands for: an accelerator, if its results are the CPU's."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fidokit import devices, frozen, remembered
from fidokit.opening import first_line, passed_on

if TYPE_CHECKING:
    from fidokit.classifier import Classifier

#: How far masks of a small network may be from the CPU's on a device whose operations are right.
_MASK_TOLERANCE = 0.02
_warned: set[str] = set()


def choose_device(classifier: Classifier) -> tuple[torch.device, str]:
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
        warnings.warn(
            f"{reason}. The CPU is used; to use the device all the same, ask for it by name, as device='cuda'",
            RuntimeWarning,
            stacklevel=3,
        )
    return cpu, reason


def _disagreement_on(classifier: Classifier, device: torch.device) -> str | None:
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
        why = None if device.type == "cuda" else _method_differs_on(device)
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


class _Small(nn.Module):
    """Two classes that look at two colours of the left half."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2, :, : x.shape[3] // 2].mean(dim=(2, 3)) * 4


@cache
def _method_differs_on(device: torch.device) -> str | None:
    """Whether the default method's own operations give something else on a device than on the CPU."""
    from fidokit.classifier import Classifier
    from fidokit.methods import explain

    image = torch.linspace(0, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    options: dict[str, Any] = {"size": (32, 32), "precision": "float32", "micro_batch": 8}
    masks = [
        explain(Classifier(_Small(), device=where, **options), image, "fido", steps=3).joint
        for where in (torch.device("cpu"), device)
    ]
    far = float((masks[0] - masks[1]).abs().max())
    return None if far <= _MASK_TOLERANCE else f"masks of a small network differ by {far:.2f}"
