"""Labels that are likely wrong: confident learning, by cleanlab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.exceptions import MissingExtra
from fidokit.models.goals import probabilities

if TYPE_CHECKING:
    from fidokit.study.study import Study

COLUMNS = ["image_id", "path", "label", "suggested", "quality", "probability", "label_probability"]
_CHUNK = 32


def likely_wrong_labels(study: Study) -> pd.DataFrame:
    """Photographs whose label is likely wrong, the likeliest first.

    Confident learning (Northcutt, Jiang, Chuang, JAIR 2021): a photograph is listed if the classifier gives a class
    that is not its label a probability as high as photographs of that class usually get. A wrong label and a wrong
    classifier look alike from outside, and a classifier that was trained on these photographs has learnt their wrong
    labels: look at each before changing it. Every photograph is read and classified again. Labels that are coarser than
    a class have no probability to compare with and are passed over.

    Args:
        study: with predictions.

    Returns:
        image_id, path, label, suggested (the class instead), quality (in [0, 1], low is likely wrong), probability (of
        the suggested class), label_probability (of the label). Empty where fewer than two classes have photographs.

    Raises:
        MissingExtra: cleanlab is not installed.
        StoreError: classifier or photographs cannot be found; the message says how to give them.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise MissingExtra("cleanlab", "labels") from error
    names = np.asarray(study.manifest["classifier"]["class_names"], dtype=object)
    table = study.predictions()
    index = {name: i for i, name in enumerate(names)}
    table = table[table["correct"].notna() & table["label"].isin(index)]
    positions, probabilities = _probabilities(study, np.flatnonzero(np.isin(np.arange(len(study)), table.index)))
    own = table.loc[positions]
    codes = own["label"].map(index).to_numpy(np.int64)
    # Classes without any photograph cannot be confused with, and cleanlab's matrices are large for many classes.
    used = np.unique(np.concatenate([codes, own["predicted"].map(index).to_numpy(np.int64)]))
    if len(np.unique(codes)) < 2:
        return pd.DataFrame(columns=COLUMNS)
    probabilities = probabilities[:, used] + 1e-12
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = np.searchsorted(used, codes)
    quality = get_label_quality_scores(labels, probabilities, method="self_confidence")
    issues = find_label_issues(
        labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1, filter_by="confident_learning"
    )
    best = probabilities.argmax(1)
    listed = np.asarray([i for i in issues if best[i] != labels[i]], dtype=np.int64)
    listed = listed[np.argsort(quality[listed], kind="stable")]
    shown = own.iloc[listed].reset_index(drop=True)
    return shown[["image_id", "path", "label"]].assign(
        suggested=names[used[best[listed]]],
        quality=quality[listed],
        probability=probabilities[listed, best[listed]],
        label_probability=probabilities[listed, labels[listed]],
    )[COLUMNS]


def _probabilities(
    study: Study, positions: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Positions that can be read, and (N, K) probabilities of the classes; of independent ones, scaled to sum to 1."""
    read: list[int] = []
    parts = [np.zeros((0, len(study.classifier.class_names)))]
    with study.classifier.session() as session, study.reading(positions.tolist(), _CHUNK) as reading:
        for chunk in reading:
            if chunk.positions:
                logits = session.logits(chunk.images).double()
                scores = probabilities(logits, study.classifier.head)
                parts.append((scores / scores.sum(1, keepdim=True).clamp_min(1e-12)).numpy())
                read += chunk.positions
            del chunk  # before the next one is there
    return np.asarray(read, dtype=np.int64), np.concatenate(parts)
