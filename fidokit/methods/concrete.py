"""The two concrete-dropout samplers of a Bernoulli mask, and the noise that drives them.

One convention holds everywhere: ``theta`` is the logit of the *importance*, so raising it raises the sampled
mask, its read-out and its area.

Sources: concrete distribution, Maddison et al., ICLR 2017; concrete dropout, Gal et al., NeurIPS 2017, as used by
FIDO, Chang et al., ICLR 2019; simplified concrete dropout, Korsch, Shadaydeh, Denzler, GCPR 2023.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from fidokit.exceptions import SettingsError

Sampler = Literal["simplified", "original"]
SAMPLERS: tuple[Sampler, ...] = ("simplified", "original")

_INCREMENT = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MULTIPLIER_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = -7723592293110705685  # 0x94D049BB133111EB


def read_out(theta: Tensor) -> Tensor:
    """The deterministic mask: ``sigmoid(theta)``, the probability that the sampled mask exceeds one half.

    It is the same for both samplers and at every temperature, since ``logit(u)`` is a logistic variable.
    """
    return torch.sigmoid(theta)


def sample(theta: Tensor, u: Tensor, *, sampler: Sampler = "simplified", temperature: float = 1.0) -> Tensor:
    """Relaxed Bernoulli samples with success probability ``sigmoid(theta)``.

    Args:
        theta: importance logits, any shape that broadcasts against ``u``.
        u: uniform noise in (0, 1), the ends excluded.
        sampler: ``simplified`` is ``sigmoid((theta + logit(u)) / t)`` (GCPR 2023); ``original`` goes through the
            probability, ``sigmoid((log p - log(1 - p) + log u - log(1 - u)) / t)`` with an epsilon inside each
            logarithm (ICLR 2019). They are the same function until the probability saturates: then the original's
            gradient is exactly zero.
        temperature: t > 0; near zero the samples become binary and their gradients noisy.

    Returns:
        Samples in [0, 1], of the broadcast shape, differentiable in ``theta``.

    Raises:
        SettingsError: for an unknown sampler.
    """
    if sampler == "simplified":
        return torch.sigmoid((theta + torch.logit(u)) / temperature)
    if sampler == "original":
        # The smallest epsilon that 1 - p can still resolve: a smaller one makes log(0) possible.
        eps = torch.finfo(theta.dtype).eps
        p = torch.sigmoid(theta)
        logit_p = torch.log(p + eps) - torch.log(1 - p + eps)
        logit_u = torch.log(u + eps) - torch.log(1 - u + eps)
        return torch.sigmoid((logit_p + logit_u) / temperature)
    raise SettingsError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64-bit integers.

    torch shifts signed integers arithmetically, so the copied sign bits are masked off.
    """
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MULTIPLIER_1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MULTIPLIER_2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _wrapped(number: int) -> int:
    """A number as 64 signed bits, as tensors overflow."""
    return (number + 2**63) % 2**64 - 2**63


def uniform(key: Tensor, counter: Tensor | int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform noise in (0, 1) as a pure function of a key and a counter.

    Each image has its own key, so its noise does not depend on what else is in the batch, on the order or on the
    device, and nothing needs to be kept or advanced: the same key and counter give the same numbers everywhere.

    Args:
        key: (B,) int64, one stream an image.
        counter: which draw of the stream, an int or (B,) int64.
        shape: the shape of one draw.

    Returns:
        (B, *shape) on the key's device, never exactly 0 or 1.
    """
    numbers = 1
    for side in shape:
        numbers *= side
    # A number stays one: a GPU waits for a tensor that is made of it, and no CUDA graph can hold that.
    advance = (counter + 1) * _INCREMENT
    stream = _mix(key + (advance if isinstance(advance, Tensor) else _wrapped(advance)))
    index = torch.arange(1, numbers + 1, device=key.device, dtype=torch.int64) * _INCREMENT
    bits = _mix(stream[:, None] + index[None, :])
    # 23 bits and a half: representable in float32 with both ends excluded, and exactly symmetric under u -> 1 - u.
    unit = (((bits >> 41) & 0x7FFFFF).to(dtype) + 0.5) * 2.0**-23
    return unit.view(key.shape[0], *shape)


def normal(u: Tensor) -> Tensor:
    """Standard normal noise from uniform noise in (0, 1), on its device."""
    # MPS and XPU lack the function.
    own = u.device.type in ("cpu", "cuda")
    noise: Tensor = torch.special.ndtri(u if own else u.cpu())
    return noise.to(u.device)


def antithetic_uniform(
    key: Tensor, counter: Tensor | int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Like `uniform`, but the second half of the second axis (the samples) is one minus the first half.

    ``shape`` is (kinds, samples, ...). An odd last sample keeps noise of its own.
    """
    kinds, samples, *rest = shape
    half = uniform(key, counter, (kinds, (samples + 1) // 2, *rest), dtype)
    return torch.cat([half, 1 - half[:, :, : samples // 2]], dim=2)


def image_keys(seed: int, image_ids: Sequence[str]) -> Tensor:
    """(B,) int64 keys of the images' random streams, from the settings' seed and each image's identity."""
    digests = (hashlib.blake2b(f"{seed}\0{image_id}".encode(), digest_size=8).digest() for image_id in image_ids)
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)
