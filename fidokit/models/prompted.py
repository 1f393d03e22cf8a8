"""`Prompted`: the image tower of a two-tower model, behind it the similarity to what the texts of each class gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fidokit.models.prompts import Prompts


def has_text_tower(module: nn.Module) -> bool:
    """Whether a module compares images with texts, as the models of transformers and of open_clip do."""
    of_transformers = hasattr(module, "get_text_features") and hasattr(module, "vision_model")
    return of_transformers or (hasattr(module, "visual") and hasattr(module, "encode_text"))


class TextSimilarity(nn.Module):
    """Scaled cosine similarity of (B, D) image features to K texts: (B, K) logits, always computed in float32.

    Under a logit scale of 100, as CLIP has, rounding a cosine to bfloat16 would move logits by a tenth and more, which
    is what closely related species differ by; and it costs nothing beside the image tower.

    The embeddings are no part of the state, so that a fingerprint does not depend on how a machine rounds their sums:
    what they were made from is in ``repr`` instead.

    Args:
        embeddings: (K, D) float32 rows of length 1.
        log_scale: logarithm of the logit scale.
        bias: added to the logits; None for none.
        origin: what tells the weights of the text tower and the tokens that it was given from others.
    """

    embeddings: Tensor
    log_scale: Tensor
    bias: Tensor | None

    def __init__(self, embeddings: Tensor, log_scale: Tensor, bias: Tensor | None, origin: str) -> None:
        super().__init__()
        self.origin = origin
        self.register_buffer("embeddings", embeddings.detach().float().clone(), persistent=False)
        self.register_buffer("log_scale", log_scale.detach().float().reshape(()).clone())
        self.register_buffer("bias", None if bias is None else bias.detach().float().reshape(()).clone())

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            directions = nn.functional.normalize(features.float(), dim=-1)
            logits = self.log_scale.exp() * directions @ self.embeddings.T
            return logits if self.bias is None else logits + self.bias

    def extra_repr(self) -> str:
        bias = "" if self.bias is None else ", with bias"
        return f"classes={len(self.embeddings)}, features={self.embeddings.shape[1]}{bias}, texts={self.origin}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> TextSimilarity:
        # Moved from device to device as everything else is, but kept in float32.
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer).device)
        return self


class Prompted(nn.Module):
    """(B, 3, H, W) normalised images to (B, K) logits: one class for each set of texts.

    Attributes:
        tower: gives (B, D) image features, alone or first in a tuple.
        head: compares them with the texts.
        prompts: the texts.
        preprocessing: options of `fidokit.Preprocessing` that belong to the model, as far as they are known.
        notes: what was done or assumed that one might not expect.
    """

    def __init__(
        self,
        tower: nn.Module,
        head: TextSimilarity,
        prompts: Prompts,
        preprocessing: Mapping[str, Any],
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.tower = tower
        self.head = head
        self.prompts = prompts
        self.preprocessing = dict(preprocessing)
        self.notes = [prompts.note, *notes]

    @property
    def independent(self) -> bool:
        """Whether the model was trained to judge every pair of image and text by itself, by a sigmoid, as SigLIP."""
        return self.head.bias is not None

    def forward(self, images: Tensor) -> Tensor:
        features = self.tower(images)
        logits: Tensor = self.head(features[0] if isinstance(features, tuple) else features)
        return logits
