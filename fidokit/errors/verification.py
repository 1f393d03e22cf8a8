"""What changing pixels has shown of each cluster: `Verification`, its verdicts and its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

VERDICTS = ("proved", "supported", "not shown", "not a matter of pixels to fill in")
COLUMNS = [
    *("cluster", "rule", "n_errors", "turned_right", "turned_right_control", "n_other_errors", "turned_right_other"),
    *("n_right", "turned_wrong", "effect", "effect_low", "effect_high", "p_control", "p_other", "p_net", "effect_p"),
    *("verdict", "sentence"),
]
IMAGE_COLUMNS = [
    "cluster",
    "image_id",
    "role",
    "label",
    "predicted",
    "answer",
    "before",
    "after",
    "control",
    "share",
    "share_control",
]


@dataclass(frozen=True)
class Verification:
    """What changing pixels did.

    Attributes:
        table: a row a cluster. cluster, rule (what was filled in), and of the held-out half: n_errors, turned_right,
            turned_right_control (as many other pixels of the same images filled in), n_other_errors and
            turned_right_other (other errors, of both halves, the same change), n_right and turned_wrong (the cluster's
            right answers). effect is the share of errors turned right minus that under the control, with its 95 %
            interval effect_low, effect_high; p_control, p_other and p_net are one-sided tests that more errors turn
            right than under the control, than of the other errors, and than right answers turn wrong; effect_p is the
            largest of the three, corrected by Holm over the clusters. verdict is one of `VERDICTS`, sentence says it.
        images: a row a cluster, image and role (``error``, ``right``, ``other error``): label, predicted, answer (what
            the classifier says after the change), whether the answer is right, 1 or 0, before, after and under the
            control, and the shares of infills under which it is: share, share_control.
        records: number of a cluster -> what was counted, from which the table is made again when others join it.
        options: infills and seed.
    """

    table: pd.DataFrame
    images: pd.DataFrame
    records: Mapping[int, dict[str, Any]] = field(default_factory=dict, repr=False)
    options: tuple[tuple[str, ...], int] | None = None
