"""What a classifier says of photographs, from its logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fidokit.data.images import LabelledImages
from fidokit.data.labels import judged
from fidokit.models.goals import Head, independent, probabilities
from fidokit.models.taxonomy import THRESHOLD, Taxonomy

#: Columns of `Classifier.predict` with a taxonomy.
ROLLED_UP = ("rollup", "rollup_rank", "rollup_score")


def prediction_of(
    logits: Tensor | None,
    reason: str | None,
    class_names: Sequence[str],
    head: Head,
    taxonomy: Taxonomy | None = None,
    threshold: float = THRESHOLD,
) -> dict[str, object]:
    """Predicted class, score, margin and runner-up from (K,) logits, or the reason why there are none.

    With a taxonomy also the roll-up: the taxon of the fewest classes whose score passes the threshold.
    """
    if logits is not None and not bool(torch.isfinite(logits).all()):
        reason = "the classifier gives NaN or infinite logits for this image"
    if logits is None or reason is not None:
        nothing: dict[str, object] = {
            "predicted": None,
            "score": np.nan,
            "margin": np.nan,
            "runner_up": None,
            "reason": reason,
        }
        return nothing if taxonomy is None else nothing | dict(zip(ROLLED_UP, (None, None, np.nan), strict=True))
    scores = probabilities(logits, head)
    top = logits.topk(min(2, len(logits)))
    first, second = int(top.indices[0]), int(top.indices[-1])
    found: dict[str, object] = {
        "predicted": class_names[first],
        "score": float(scores[first]),
        "margin": float(scores[first] - scores[second]),
        "runner_up": class_names[second] if second != first else None,
        "reason": None,
    }
    if taxonomy is not None:
        rolled_up = roll_up(scores.double().numpy(), independent(head), taxonomy, threshold)
        found |= dict(zip(ROLLED_UP, rolled_up, strict=True))
    return found


def roll_up(
    scores: npt.NDArray[np.float64], are_independent: bool, taxonomy: Taxonomy, threshold: float
) -> tuple[str | None, str | None, float]:
    """The finest taxon that is sure enough: that of the fewest classes, of several the one with the highest score.

    The score of a taxon is the sum of its classes', or, of independent ones, the probability that any of them is there.

    Args:
        scores: (K,) of the classes.
        are_independent: whether they need not sum to 1.
        taxonomy: of the classes.
        threshold: the least score that passes.

    Returns:
        Name, rank and score; None, None and NaN where no taxon passes.
    """
    names, ranks, sizes, members, starts = taxonomy.flat
    own = np.log1p(-np.minimum(scores, 1 - 1e-12)) if are_independent else scores
    together = np.add.reduceat(own[members], starts)
    sums = -np.expm1(together) if are_independent else together
    passing = np.flatnonzero(sums >= threshold)
    if not len(passing):
        return None, None, float("nan")
    best = passing[np.lexsort([-sums[passing], sizes[passing]])[0]]
    return names[best], ranks[best], float(sums[best])


def prediction_table(
    data: LabelledImages,
    rows: list[dict[str, object]],
    class_names: Sequence[str],
    taxonomy: Taxonomy | None = None,
) -> pd.DataFrame:
    """The table of `predict` from one `prediction` an image."""
    table = data.table[["image_id", "path", "label"]].reset_index(drop=True)
    columns = ["predicted", "score", "margin", "runner_up", "reason", *(() if taxonomy is None else ROLLED_UP)]
    table = pd.concat([table, pd.DataFrame(rows, index=table.index, columns=columns)], axis=1)
    return judged_at_rank(table, class_names, taxonomy)


def judged_at_rank(table: pd.DataFrame, class_names: Sequence[str], taxonomy: Taxonomy | None) -> pd.DataFrame:
    """`judged`, each label at its own rank; with a taxonomy also wrong_at, the coarsest rank at which it goes wrong."""
    if taxonomy is None:
        return judged(table, class_names)
    table = judged(table, class_names, taxonomy.groups)
    wrong = table["correct"].eq(False).fillna(False)
    cells = zip(table["label"], table["predicted"], wrong, strict=True)
    places = [taxonomy.wrong_at(label, predicted) if is_wrong else None for label, predicted, is_wrong in cells]
    return table.assign(wrong_at=pd.Series(places, table.index, dtype=object))
