"""Attention rollout: how much of each place of the image reaches the token that is read, by attention alone.

Source: Abnar, Zuidema, "Quantifying attention flow in transformers", ACL 2020 (arXiv 2005.00928), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fidokit._util.checks import Number, require_numbers
from fidokit.methods.attention import attention_maps, find_transformer, has_attention
from fidokit.methods.gradient import Work, attribution_method
from fidokit.methods.layers import class_values


@dataclass(frozen=True)
class AttentionRolloutSettings:
    """Settings of attention rollout, which costs one evaluation.

    Attributes:
        residual: share of a token that goes past each block: 0.5 as in the paper.

    Raises:
        SettingsError: a value outside its range.
    """

    residual: float = 0.5

    def __post_init__(self) -> None:
        require_numbers(self, residual=Number(least=0, below=1))


def rollout(weights: Sequence[Tensor], residual: float) -> Tensor:
    """(B, N, N) shares of the N tokens that went in, in each of those that come out; rows sum to 1.

    Args:
        weights: (B, h, N, N) of each block, the first one first; heads are averaged.
        residual: see `AttentionRolloutSettings`.
    """
    identity = torch.eye(weights[0].shape[-1], device=weights[0].device)
    flow = identity.expand(len(weights[0]), -1, -1)
    for attention in weights:
        flow = (residual * identity + (1 - residual) * attention.mean(1)) @ flow
    return flow


def between_ends(raw: Tensor) -> Tensor:
    """(B, h, w) masks of (B, 1, h, w) maps: from 0 at the smallest value to 1 at the largest; 0 if all are equal."""
    low, high = raw.amin(dim=(2, 3), keepdim=True), raw.amax(dim=(2, 3), keepdim=True)
    # What is not finite stays visible.
    return ((raw - low) / (high - low).clamp_min(torch.finfo(raw.dtype).tiny))[:, 0]


def _attribute(work: Work, settings: AttentionRolloutSettings) -> Tensor:
    transformer = find_transformer(work.session, work.images)
    weights, pooling, logits = attention_maps(work.session, work.images)
    with torch.no_grad():
        work.watched(class_values(work.goal, logits), work.rows())
    flow = rollout(weights, settings.residual)
    layout = transformer.layout
    if pooling is not None:
        read = (pooling.mean(1) @ flow)[:, 0]
    elif transformer.grid_is_read:
        read = flow[:, layout.prefix : layout.prefix + layout.height * layout.width].mean(1)
    else:
        read = flow[:, 0]
    return layout.maps(read[:, :, None])


METHOD = attribution_method(
    _attribute,
    AttentionRolloutSettings,
    "share of each place in what a vision transformer reads, by attention alone; the same for every class",
    between_ends,
    has_attention,
)
