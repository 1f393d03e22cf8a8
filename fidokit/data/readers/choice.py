"""One label and one box for a photograph that has several annotations."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.readers.reading import Notes

EMPTY_NAMES = frozenset(["empty", "blank"])
"""Names (lower case) of the category of photographs without an animal."""


def choose_labels(
    n: int,
    places: npt.NDArray[np.int64],
    labels: Sequence[str],
    empty: Collection[str],
    rows: Sequence[str],
    notes: Notes,
) -> pd.Series[str]:
    """The label of each of n photographs, from annotations with the positions `places`; None where there is none.

    A label in `empty` counts only where there is no other. Photographs of several classes get no label, since an answer
    to them is neither right nor wrong; they are noted.
    """
    codes, names = pd.factorize(np.asarray(labels, dtype=object))
    is_empty = np.isin(names, list(empty))[codes] if len(codes) else np.zeros(0, dtype=np.bool_)
    chosen = np.full(n, None, dtype=object)
    # Where no animal was seen, two words for that do not contradict each other: the last one stands.
    chosen[places[is_empty]] = names[codes[is_empty]]
    seen = np.unique(np.stack([places[~is_empty], codes[~is_empty].astype(np.int64)]), axis=1)
    photographs, first, n_labels = np.unique(seen[0], return_index=True, return_counts=True)
    chosen[photographs] = names[seen[1][first]]
    several = photographs[n_labels > 1]
    chosen[several] = None
    if len(several):
        notes.add("photographs show several classes and have no label", rows[int(several[0])], len(several))
    return pd.Series(chosen, dtype=object)


def choose_boxes(
    n: int, places: npt.NDArray[np.int64], boxes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The largest of the boxes (N, 4) of each of n photographs, NaN where there is none, and how many each has.

    Not their union: a classifier is shown one animal, and of two deer at the edges the union is mostly meadow.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((-np.arange(len(boxes)), areas, places))
    chosen = np.full((n, 4), np.nan)
    last = np.flatnonzero(np.diff(places[order], append=-1))
    chosen[places[order][last]] = boxes[order][last]
    return chosen, np.bincount(places, minlength=n)
