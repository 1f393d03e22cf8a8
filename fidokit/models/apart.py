"""Images that may be sent through a classifier together: those for which nothing, or the same, of it is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.models.isolation import logits_or_reasons

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session


def rows_apart(classifier: Classifier, images: Tensor) -> list[tuple[list[int], tuple[int, ...]]]:
    """Rows of (B, 3, H, W) images in [0, 1] that belong together, with what is left out for them.

    Whatever is made of an image is sent through inside `Classifier.leaving_out` of it: only the whole photograph shows
    which of a gallery's references it is.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, positions in enumerate(classifier.left_out(images)):
        groups.setdefault(positions, []).append(row)
    return [(rows, positions) for positions, rows in groups.items()]


def logits_of_views(
    classifier: Classifier, session: Session, images: Sequence[Tensor], views: Sequence[Tensor]
) -> list[Tensor | str]:
    """(V, K) logits of the (V, 3, H, W) views of each (3, H, W) image, or why there are none."""
    found: dict[int, Tensor | str] = {}
    for rows, left_out in rows_apart(classifier, torch.stack(list(images))) if images else []:
        with classifier.leaving_out(left_out):
            found |= zip(rows, logits_or_reasons(session, [views[row] for row in rows]), strict=True)
    return [found[row] for row in range(len(images))]
