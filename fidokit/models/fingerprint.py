"""What tells one classifier from another: weights, structure, and what it answers to a fixed image.

Weights and structure are compared exactly. Logits are compared with a tolerance: they differ by rounding between
machines, devices and numbers of threads.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fidokit._util.ambient import unaffected
from fidokit.exceptions import ClassifierError
from fidokit.models import frozen
from fidokit.models.state import ClassifierState

#: Numbers that stand for the logits of the fixed image.
N_PROJECTIONS = 8
#: Two answers are the same if they differ by at most this share of the largest number in them. TF32, with which GPUs
#: convolve by default, rounds to 1e-3, which adds up over many layers.
TOLERANCE = 0.02
# Cells of the largest number's power of two in which the numbers enter the hash.
_CELLS = 32
# Places of memory, and devices of parameters in a list, differ from run to run.
_FLEETING = re.compile(r" at 0x[0-9a-fA-F]+| \((?:cuda|xpu|mps|GPU)[:\s]?\d*\)")


@unaffected()
def fingerprint_parts(classifier: ClassifierState) -> dict[str, Any]:
    """What a fingerprint is made of, so that two that differ can be compared part by part.

    Computed anew at every call, since the module may have changed: one pass over the weights, one copy of the module in
    float32, and two passes of one image.

    Returns:
        weights: SHA-256 (hex) over parameters, buffers, preprocessing, head and class names.
        structure: SHA-256 (hex) over the module's ``repr``, without places of memory and devices.
        probe: `N_PROJECTIONS` random projections of the logits of a fixed image, in float32, NaN as None; None for a
            module that answers at random.
        taxonomy: SHA-256 (hex) over the taxonomy; not there without one.

    Raises:
        ClassifierError: the module cannot be copied or run.
    """
    structure = _FLEETING.sub("", repr(classifier.module))
    parts = {
        "weights": _weights(classifier),
        "structure": hashlib.sha256(structure.encode()).hexdigest(),
        "probe": _probe(classifier),
    }
    if classifier.taxonomy is not None:
        described = json.dumps(classifier.taxonomy.to_dict())
        parts["taxonomy"] = hashlib.sha256(described.encode()).hexdigest()
    return parts


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the parts, the probe's numbers rounded to 1/32 of the largest one's power of two."""
    taxonomy = [parts["taxonomy"]] if parts.get("taxonomy") else []
    text = "\0".join([parts["weights"], parts["structure"], *map(str, _rounded(parts["probe"])), *taxonomy])
    return hashlib.sha256(text.encode()).hexdigest()


def parts_difference(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    """How the parts of two fingerprints differ, in words; None where they belong to the same classifier."""
    if recorded["weights"] != current["weights"]:
        return "the weights differ"
    if recorded["structure"] != current["structure"]:
        return (
            "the structure differs, as `print(module)` shows it: another layer, activation or option, or another "
            "version of the library that it comes from"
        )
    if not same_probe(recorded["probe"], current["probe"]):
        return (
            "the weights are the same, but not the logits of a fixed image: another temperature, sign or function in "
            "`forward`"
        )
    if recorded.get("taxonomy") != current.get("taxonomy"):
        return "the taxonomy differs"
    return None


def same_probe(one: Sequence[float | None] | None, other: Sequence[float | None] | None) -> bool:
    """Whether two probes are the same up to rounding."""
    if one is None or other is None:
        return one is other
    a, b = (np.asarray([np.nan if value is None else value for value in probe], np.float64) for probe in (one, other))
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return False
    finite = np.isfinite(a)
    most = max(np.abs(a[finite]).max(initial=0), np.abs(b[finite]).max(initial=0))
    return bool(np.abs(a[finite] - b[finite]).max(initial=0) <= TOLERANCE * most)


def _weights(classifier: ClassifierState) -> str:
    # Stores that were written before there was a probe know a classifier by this alone: it must stay as it is.
    digest = hashlib.sha256()
    for key, value in sorted(classifier.module.state_dict().items()):
        digest.update(key.encode())
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    preprocessing = repr(classifier.preprocessing)
    if classifier.preprocessing.transform is not None:
        preprocessing += f", transform {classifier.preprocessing.transform_name}"
    for text in (preprocessing, classifier.head, *classifier.class_names):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def _probe(classifier: ClassifierState) -> list[float | None] | None:
    image = fixed_image(classifier.size)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    # Where the module lies: a GPU would have to plan for a batch of one that nothing else needs.
    parameter = next(classifier.module.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    normalised = ((image - mean) / std).to(device)
    twin = frozen.frozen_copy(classifier.module, device, memory_format=torch.contiguous_format)
    one, other = (_logits(twin, normalised, seed) for seed in (0, 1))
    # NumPy promises never to change the stream of this generator.
    directions = np.random.RandomState(0).standard_normal((one.size, N_PROJECTIONS)) / math.sqrt(one.size)
    numbers, again = (
        [float(number) if math.isfinite(number) else None for number in logits @ directions] for logits in (one, other)
    )
    return numbers if same_probe(numbers, again) else None


def _logits(module: nn.Module, normalised: Tensor, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    devices = [normalised.device] if normalised.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            # Not `torch.manual_seed`, which seeds all devices, also those whose state is not kept here.
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed(seed)
            logits = frozen.logits_of(module(normalised))
    except ClassifierError:
        raise
    except Exception as error:
        raise ClassifierError(
            f"{type(module).__name__} cannot be run on a {tuple(normalised.shape)} image, so it has no fingerprint: "
            f"{error}"
        ) from error
    return logits[0].double().cpu().numpy()


def fixed_image(size: tuple[int, int]) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1]: waves from the whole image's length down to a few pixels, in every colour."""
    y, x = (torch.arange(n, dtype=torch.float64) / n for n in size)
    image = torch.full((1, 3, *size), 0.5, dtype=torch.float64)
    for octave in range(6):
        for channel in range(3):
            down, across = 2**octave + channel, 2**octave + 2 - channel
            wave = torch.sin(2 * math.pi * (down * y[:, None] + across * x[None]) + octave + 2 * channel)
            image[0, channel] += 0.5 / 6 * wave
    return image.float().clamp(0, 1)


def _rounded(probe: Sequence[float | None] | None) -> list[int | str]:
    if probe is None:
        return ["random"]
    most = max((abs(number) for number in probe if number is not None), default=0.0)
    exponent = round(math.log2(most)) if most > 0 else 0
    return [exponent, *("nan" if n is None else round(n * 2.0**-exponent * _CELLS) for n in probe)]
