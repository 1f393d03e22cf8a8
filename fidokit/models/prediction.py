"""What a classifier says of photographs, from its logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fidokit.data.images import LabelledImages
from fidokit.data.labels import judged
from fidokit.models.goals import Head, probabilities


def prediction_of(
    logits: Tensor | None, reason: str | None, class_names: Sequence[str], head: Head
) -> dict[str, object]:
    """Predicted class, score, margin and runner-up from (K,) logits, or the reason why there are none."""
    if logits is not None and not bool(torch.isfinite(logits).all()):
        reason = "the classifier gives NaN or infinite logits for this image"
    if logits is None or reason is not None:
        return {"predicted": None, "score": np.nan, "margin": np.nan, "runner_up": None, "reason": reason}
    scores = probabilities(logits, head)
    top = logits.topk(min(2, len(logits)))
    first, second = int(top.indices[0]), int(top.indices[-1])
    return {
        "predicted": class_names[first],
        "score": float(scores[first]),
        "margin": float(scores[first] - scores[second]),
        "runner_up": class_names[second] if second != first else None,
        "reason": None,
    }


def prediction_table(data: LabelledImages, rows: list[dict[str, object]], class_names: Sequence[str]) -> pd.DataFrame:
    """The table of `predict` from one `prediction` an image."""
    table = data.table[["image_id", "path", "label"]].reset_index(drop=True)
    columns = ["predicted", "score", "margin", "runner_up", "reason"]
    table = pd.concat([table, pd.DataFrame(rows, index=table.index, columns=columns)], axis=1)
    return judged(table, class_names)
