"""Figures of every mask and the images in an order by one of them: what to look at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fidokit.exceptions import SettingsError
from fidokit.methods.base import KINDS
from fidokit.methods.verdicts import verdict_words
from fidokit.study.metrics.standing import KEYS
from fidokit.study.metrics.table import metric_frame
from fidokit.study.regions import region_frame

if TYPE_CHECKING:
    from fidokit.study.study import Study

#: Orders that no mask's figure decides.
DATASET, DISAGREEMENT, SCORE, MARGIN = "dataset", "disagreement", "score", "margin"
OWN_ORDERS = (DATASET, DISAGREEMENT, SCORE, MARGIN)
MEAN = "mean"
#: What a mask explains, and what that is told from.
ASKED = ("target", "against")
_SCORES = ("score_full", "score_kept", "score_dropped")
#: Columns of `mask_figures` that are no figures.
_WORDS = ("reason", "verdict", "regions")
STATES = ("all", "wrong", "right", "not judged")


def mask_figures(study: Study) -> pd.DataFrame:
    """One row per mask: image_id, method, kind, target, against, score_kept, score_dropped, evaluations, and every
    metric that has a value anywhere; verdict, what the scores say of the mask in words, and regions, a tuple of what
    was found of the regions that were cut from it.

    Nothing is measured here; `Study.metrics` and `Study.regions` do that.
    """
    scores = study.masks(columns=[*KEYS, *ASKED, "score_full", "score_kept", "score_dropped", "evaluations"])
    told = zip(*(scores.pop(name) if name == "score_full" else scores[name] for name in _SCORES), strict=True)
    scores["verdict"] = [verdict_words(*row) for row in told]
    regions = region_frame(study, study.methods, KINDS, maps=False)
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for *key, words in regions[[*KEYS, "verdict"]].itertuples(index=False, name=None):
        found[tuple(key)] = (*found.get(tuple(key), ()), words)
    keys = scores[list(KEYS)].itertuples(index=False, name=None)
    scores["regions"] = pd.Series([found.get(key, ()) for key in keys], dtype=object)
    metrics = metric_frame(study, study.methods, KINDS)
    measured = [name for name in metrics.columns if name not in KEYS and metrics[name].notna().any()]
    return scores.merge(metrics[[*KEYS, *measured]], on=list(KEYS), how="left")


def figure_names(figures: pd.DataFrame) -> list[str]:
    """The columns of `mask_figures` that images can be put in order by."""
    return [str(name) for name in figures.columns if name not in (*KEYS, *ASKED, *_WORDS)]


@dataclass(frozen=True)
class Order:
    """Which images, in which order.

    Attributes:
        by: ``dataset``; ``disagreement``, 1 minus the mean rank correlation of the methods' masks; ``score`` or
            ``margin`` of the prediction; or a figure of the masks.
        of: (method, kind) whose figure counts, or None for the mean over all that have one.
        descending: the highest first; images without a value come last either way.
        state: ``all``, ``wrong``, ``right`` or ``not judged``.
        search: words that image_id, label or predicted class must all contain, whatever their case.
    """

    by: str = DATASET
    of: tuple[str, str] | None = None
    descending: bool = False
    state: str = "all"
    search: str = ""


def order_images(study: Study, figures: pd.DataFrame, order: Order) -> pd.DataFrame:
    """The images in an order.

    Args:
        study: the study.
        figures: of `mask_figures`.
        order: which images, in which order.

    Returns:
        One row per image: image_id, label, predicted, correct, score, margin, reason (why there is no prediction), and
        value, by which they are in order; NaN where there is none.

    Raises:
        SettingsError: a figure, method or kind that there is not, or disagreement that is not measured.
    """
    table = study.predictions()[["image_id", "label", "predicted", "correct", "score", "margin", "reason"]]
    table["value"] = table["image_id"].map(_values(table, figures, order)).astype(float)
    table = table[_fits(table, order)]
    if order.by == DATASET:
        return table.iloc[::-1].reset_index(drop=True) if order.descending else table.reset_index(drop=True)
    return table.sort_values("value", ascending=not order.descending, kind="stable", na_position="last").reset_index(
        drop=True
    )


def _values(table: pd.DataFrame, figures: pd.DataFrame, order: Order) -> pd.Series:
    if order.by == DATASET:
        return pd.Series(range(len(table)), index=table["image_id"])
    if order.by in (SCORE, MARGIN):
        return table.set_index("image_id")[order.by]
    name = "agreement" if order.by == DISAGREEMENT else order.by
    if name not in figure_names(figures):
        _refuse(order.by, figure_names(figures))
    own = figures
    if order.of is not None:
        own = figures[(figures["method"] == order.of[0]) & (figures["kind"] == order.of[1])]
        if own.empty:
            raise SettingsError(f"there are no masks of {order.of[0]!r} and kind {order.of[1]!r}")
    values = own.groupby("image_id", sort=False)[name].mean()
    return 1 - values if order.by == DISAGREEMENT else values


def _refuse(by: str, names: Sequence[str]) -> None:
    if by == DISAGREEMENT:
        raise SettingsError("how far the methods agree is not measured yet; study.metrics() measures it")
    raise SettingsError(
        f"there is no figure {by!r}; there are {', '.join([*OWN_ORDERS, *names])}. study.metrics() measures more"
    )


def _fits(table: pd.DataFrame, order: Order) -> pd.Series:
    if order.state not in STATES:
        raise SettingsError(f"there is no state {order.state!r}; there are {', '.join(STATES)}")
    correct = table["correct"]
    keep = {
        "all": pd.Series(True, index=table.index),
        "right": correct.eq(True).fillna(False).astype(bool),
        "wrong": correct.eq(False).fillna(False).astype(bool),
        "not judged": correct.isna(),
    }[order.state]
    for word in order.search.casefold().split():
        found = pd.Series(False, index=table.index)
        for name in ("image_id", "label", "predicted"):
            texts = table[name].astype(object).where(table[name].notna(), "")
            found |= pd.Series([word in str(text).casefold() for text in texts], index=table.index)
        keep &= found
    return keep
