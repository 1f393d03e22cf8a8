"""Devices that torch can compute on here: which there are, what they are, which low precisions are native to them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from fidokit._util.wording import given
from fidokit.exceptions import SettingsError

#: Kinds of accelerators, in the order in which ``device="auto"`` tries them.
ACCELERATORS = ("cuda", "mps", "xpu")
#: What torch calls each kind, for messages.
NAMES = {"cuda": "CUDA", "mps": "MPS", "xpu": "XPU"}
#: Values of ONEDNN_MAX_CPU_ISA under which oneDNN does bfloat16 with other instructions than those made for it.
_BELOW_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
_ARM = ("aarch64", "arm64")


def count(kind: str) -> int:
    """How many devices of a kind torch sees here."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    if kind == "xpu":
        return torch.xpu.device_count() if torch.xpu.is_available() else 0
    return int(kind == "cpu")


def asked_for(device: str | torch.device) -> torch.device:
    """The device that was asked for by name.

    Raises:
        SettingsError: no such kind of device, or none of it here.
    """
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise SettingsError(
            f"unknown device {device!r}; use auto, cpu, cuda, mps or xpu, or the N-th GPU as cuda:N"
        ) from error
    if chosen.type not in ("cpu", *ACCELERATORS):
        raise SettingsError(f"fidokit cannot compute on device {str(device)!r}; use auto, cpu, cuda, mps or xpu")
    if chosen.type == "cpu":
        return torch.device("cpu")
    there, kind = count(chosen.type), NAMES[chosen.type]
    if not there:
        raise SettingsError(
            f"device {str(device)!r} was asked for, but torch sees no {kind} device; give {given(device='auto')}"
        )
    if chosen.index is not None and chosen.index >= there:
        last = f"only {chosen.type}:0" if there == 1 else f"{chosen.type}:0 to {chosen.type}:{there - 1}"
        raise SettingsError(f"device {str(device)!r} was asked for, but torch sees {last}; use one of these")
    return chosen


def describe(device: torch.device) -> str:
    """Model and abilities of a device, as far as they bear on how fast and how exactly it computes."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}"
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    abilities = [_cpu_model(), torch.backends.cpu.get_cpu_capability(), _onednn_cap(), *native(torch.device("cpu"))]
    return " ".join([device.type, *abilities])


def label(device: torch.device) -> str:
    """A device's name for people."""
    if device.type in ("cuda", "xpu"):
        return describe(device).rsplit(" (", 1)[0]
    return device.type.upper()


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    elif device.type == "xpu":
        torch.xpu.synchronize(device)


def free_cache(device: torch.device) -> None:
    """Give memory that torch holds in reserve back to a device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif device.type == "xpu":
        torch.xpu.empty_cache()


def native(device: torch.device) -> list[str]:
    """The low dtypes that a device computes natively, the better one first; emulated they are many times slower."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return [*(["bfloat16"] if major >= 8 else []), *(["float16"] if major >= 7 else [])]
    if device.type == "mps":
        return ["float16"]
    if device.type == "xpu":
        return ["bfloat16"]
    return ["bfloat16"] if _cpu_has_bfloat16() else []


def _cpu_has_bfloat16() -> bool:
    """Whether convolutions in bfloat16 run on instructions made for it (AVX512_BF16, AMX-BF16, ARM's BF16).

    The environment may hold torch (ATEN_CPU_CAPABILITY) or oneDNN (ONEDNN_MAX_CPU_ISA) to less than the CPU can do.
    """
    mkldnn = torch.backends.mkldnn
    there = mkldnn.is_available()  # type: ignore[no-untyped-call,unused-ignore]
    if not there or not getattr(mkldnn, "enabled", True):
        return False
    # It is True on any CPU with AVX-512, with BF16 or without, so on these it is only the first of the questions.
    if not _says(lambda: torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    if platform.machine().lower() in _ARM:
        return True
    if _onednn_cap() in _BELOW_BFLOAT16 or not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    return _cpu_instructions_for_bfloat16()


@cache
def _cpu_instructions_for_bfloat16() -> bool:
    # torch's own look at the CPU came piece by piece after 2.4 and is private, so Linux is asked as well.
    probes: list[Callable[[], object]] = [
        lambda: torch.cpu._is_avx512_bf16_supported(),
        lambda: torch.cpu.get_capabilities()["amx_bf16"],  # type: ignore[attr-defined,unused-ignore]
        lambda: {"avx512_bf16", "amx_bf16"} & set(_cpuinfo("flags").split()),
    ]
    return any(_says(probe) for probe in probes)


def _says(probe: Callable[[], object]) -> bool:
    try:
        return bool(probe())
    except (AttributeError, KeyError, NotImplementedError, RuntimeError):
        return False


def _onednn_cap() -> str:
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()


@cache
def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str:
    """A field of the first CPU in Linux's list; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")
