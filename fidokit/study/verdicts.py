"""What the metrics of a study say about its methods, in sentences that follow from the tables by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fidokit._util.numbers import number, signed, with_interval
from fidokit.methods.base import KINDS
from fidokit.study.compare import compare
from fidokit.study.metrics.table import metric_frame

if TYPE_CHECKING:
    from fidokit.study.study import Study

#: The metrics that decide: what the masks do to the classifier, where the object is, and the true effects of parts.
_DECISIVE = ("insertion", "deletion", "average_precision", "part_correlation")


def verdicts(study: Study) -> list[str]:
    """Sentences on which masks can be believed, from the metrics that `Study.metrics` has measured so far.

    The first optimised method's joint mask, or else the first mask of all, is compared with the masks of every other
    method, paired by photograph; p-values are corrected over all comparisons (`fidokit.study.compare.compare`). A
    method that fails the sanity check is named. Nothing measured, nothing said. Where methods explain taxa of several
    ranks, each is compared with those of its rank.
    """
    table = metric_frame(study, study.methods, KINDS)
    metrics = [name for name in _DECISIVE if name in table.columns and table[name].notna().any()]
    sentences = _insane(study.sanity())
    left = list(study.methods)
    while left and metrics:
        together = {left[0], *study.comparable(left[0])}
        sentences += _of_one_question(table[table["method"].isin(together)], metrics)
        left = [label for label in left if label not in together]
    return sentences


def _of_one_question(table: pd.DataFrame, metrics: list[str]) -> list[str]:
    """Sentences on methods that all explain the same."""
    keys = table[["method", "kind"]].drop_duplicates()
    pairs = list(zip(keys["method"], keys["kind"], strict=True))
    reference = next((pair for pair in pairs if pair[1] == "joint"), pairs[0] if pairs else None)
    if reference is None:
        return []
    others = table["method"] != reference[0]
    own = ~others & (table["kind"] == reference[1])
    if not others.any():
        return []
    compared = compare(table[others | own], metrics, reference)
    return [_compared(rows, reference) for _, rows in compared.groupby("metric", sort=False)]


def _insane(sanity: pd.DataFrame) -> list[str]:
    return [
        f"{row['method']} {row['kind']} fails the sanity check: its masks hardly change if the classifier's parameters "
        f"are replaced by random ones (correlation {number(row['sanity'])}, interval up to "
        f"{number(row['sanity_high'])}). They show the picture and not what the classifier learnt: do not use them."
        for row in sanity[~sanity["passes_sanity"].fillna(True).astype(bool)].to_dict("records")
    ]


def _compared(rows: pd.DataFrame, reference: tuple[str, str]) -> str:
    metric = str(rows["metric"].iloc[0]).replace("_", " ")
    found = {"reference": "better than", "other": "worse than", "not shown": "not shown to differ from"}
    parts = []
    for outcome, words in found.items():
        chosen = rows[rows["better"] == outcome]
        if len(chosen):
            named = ", ".join(
                f"{row['method']} {row['kind']} ({with_interval(row['difference'], row['low'], row['high'], signed)})"
                for row in chosen.to_dict("records")
            )
            parts.append(f"{words} {named}")
    return f"{' '.join(reference)}, {metric} {number(rows['reference_mean'].iloc[0])}: {'; '.join(parts)}."
