"""Which photographs a short page shows: named, marked, or by a condition."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.exceptions import SettingsError

Selection: TypeAlias = "str | Sequence[str] | Sequence[bool] | npt.NDArray[np.bool_] | pd.Series"
"""image_ids, a boolean a row of the predictions, or a condition on their columns."""


def selected_ids(predictions: pd.DataFrame, select: Selection) -> list[str]:
    """The image_ids that are selected, in the order given, or else in that of the predictions.

    Args:
        predictions: `Study.predictions`.
        select: image_ids; booleans, one a row; or a text: an image_id, or a condition such as ``correct == False``.

    Raises:
        SettingsError: an image_id that there is not, booleans of another number, a condition that cannot be evaluated,
            or nothing is selected.
    """
    ids = [str(image_id) for image_id in predictions["image_id"]]
    if isinstance(select, str):
        chosen = [select] if select in ids else _fitting(predictions, select)
    else:
        values = list(select)
        flags = values and all(isinstance(value, bool | np.bool_) or value is pd.NA for value in values)
        chosen = _marked(ids, values) if flags else _named(ids, values)
    if not chosen:
        raise SettingsError(f"`select` chooses none of the {len(ids)} photographs: {_cut(select)}")
    return chosen


def _fitting(predictions: pd.DataFrame, condition: str) -> list[str]:
    try:
        # Rows that a missing value leaves undecided do not fit.
        fits = predictions.eval(condition, local_dict={}, global_dict={})
        flags = pd.Series(fits, index=predictions.index).astype("boolean").fillna(False).astype(bool)
    except Exception as error:
        columns = ", ".join(map(str, predictions.columns.drop("state", errors="ignore")))
        raise SettingsError(
            f"`select` {condition!r} is neither an image_id nor a condition on the columns of study.predictions() "
            f'({columns}), such as "correct == False and margin < 0.1": {type(error).__name__}: {error}'
        ) from error
    return [str(image_id) for image_id in predictions["image_id"][flags]]


def _marked(ids: list[str], flags: list[object]) -> list[str]:
    if len(flags) != len(ids):
        raise SettingsError(
            f"`select` has {len(flags):,} booleans for {len(ids):,} photographs; give one for each row of "
            "study.predictions()"
        )
    return [image_id for image_id, flag in zip(ids, flags, strict=True) if flag is not pd.NA and flag]


def _named(ids: list[str], names: list[object]) -> list[str]:
    known = set(ids)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), ids, 3, 0.5)
            meant = f"; did you mean {', '.join(map(repr, near))}?" if near else "; see study.predictions()"
            raise SettingsError(f"`select` names {name!r}, which no photograph of the study is called{meant}")
    return list(dict.fromkeys(str(name) for name in names))


def _cut(select: Selection) -> str:
    text = repr(select)
    return text if len(text) <= 80 else text[:79] + "…"
