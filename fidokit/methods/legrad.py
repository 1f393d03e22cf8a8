"""LeGrad: the gradient in the attention of every block of a vision transformer.

Source: Bousselham, Boggust, Chaybouti, Strobelt, Kuehne, "LeGrad: an explainability method for vision transformers via
feature formation sensitivity", ICCV 2025 (arXiv 2404.03214).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fidokit._util.checks import COUNT, require
from fidokit.methods.attention import attention_gradients, find_transformer, has_blocks
from fidokit.methods.attention_rollout import between_ends
from fidokit.methods.gradient import Work, attribution_method
from fidokit.methods.layers import class_values


@dataclass(frozen=True)
class LegradSettings:
    """Settings of LeGrad, which costs about two evaluations.

    Attributes:
        layers: how many of the last blocks are read; None for all of them, as in the paper.

    Raises:
        SettingsError: a value outside its range.
    """

    layers: int | None = None

    def __post_init__(self) -> None:
        require(self, "layers", self.layers is None or COUNT.fits(self.layers), f"{COUNT}, or None for all blocks")


def merged(gradients: Sequence[Tensor]) -> Tensor:
    """(B, N) how much each token forms the answer: positive gradients, averaged over heads, queries and blocks.

    Args:
        gradients: (B, h, N, N) of each block.
    """
    return torch.stack([gradient.relu().mean(dim=(1, 2)) for gradient in gradients]).mean(0)


def _attribute(work: Work, settings: LegradSettings) -> Tensor:
    layout = find_transformer(work.session, work.images).layout
    gradients, logits = attention_gradients(work.session, work.images, work.goal, settings.layers)
    with torch.no_grad():
        work.watched(class_values(work.goal, logits), work.rows())
    return layout.maps(merged(gradients)[:, :, None])


METHOD = attribution_method(
    _attribute,
    LegradSettings,
    "positive gradients in the attention of every block of a vision transformer",
    between_ends,
    has_blocks,
)
