"""Error clusters as files for a spreadsheet, and as samples for FiftyOne."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fidokit._util.spreadsheet import csv_bytes
from fidokit.data.geometry import Preprocessing
from fidokit.data.photographs import photograph_size
from fidokit.data.readers.cells import file_of
from fidokit.errors.tables import ClusterTables
from fidokit.exceptions import ImageError, MissingExtra, SettingsError, StoreError

#: Longer side of the masks given to FiftyOne, in pixels: four to a cell.
_LONGEST = 112


def to_csv(errors: ClusterTables, folder: str | Path) -> list[Path]:
    """Write the tables as CSV (UTF-8), which spreadsheets and R read.

    Args:
        errors: the clusters.
        folder: made if it is not there; files of these names are replaced. clusters.csv, members.csv and images.csv are
            the tables `clusters`, `members` and `map`; photographs.csv lists the wrong photographs of the systematic
            clusters, the clearest cluster and its most typical photographs first, with what is known of each: what to
            look at, to label anew or to photograph again. After ``verify()``, changes.csv says what became of each
            image that was changed. A text that a spreadsheet would run as a formula gets an apostrophe before it.

    Returns:
        The paths of the files.

    Raises:
        StoreError: the folder cannot be written.
    """
    folder = Path(folder)
    tables = {
        "clusters": errors.clusters,
        "members": errors.members,
        "images": errors.map,
        "photographs": _wrong_photographs(errors),
    }
    if errors.verification is not None:
        tables["changes"] = errors.verification.images
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            path = folder / f"{name}.csv"
            path.write_bytes(csv_bytes(table))
            paths.append(path)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}; choose another folder") from error
    return paths


def _wrong_photographs(errors: ClusterTables) -> pd.DataFrame:
    """The wrong photographs of the systematic clusters: cluster, rank, image_id, path, label, predicted, score, half,
    sentence."""
    columns = ["cluster", "rank", "image_id", "path", "label", "predicted", "score", "half", "sentence"]
    systematic = errors.clusters[errors.clusters["systematic"]]
    places = {cluster: place for place, cluster in enumerate(systematic["cluster"])}
    members = errors.members
    wrong = members[members["cluster"].isin(list(places)) & members["correct"].eq(False).fillna(False).astype(bool)]
    table = wrong[["cluster", "rank", "image_id"]].merge(
        errors.map[["image_id", "path", "label", "predicted", "score", "half"]], on="image_id", how="left"
    )
    table = table.merge(systematic[["cluster", "sentence"]], on="cluster", how="left")
    order = np.lexsort([table["rank"].to_numpy(np.int64), table["cluster"].map(places).to_numpy(np.int64)])
    return table.iloc[order].reset_index(drop=True)[columns]


def to_fiftyone(errors: ClusterTables, name: str | None = None) -> Any:
    """The images as samples of a FiftyOne dataset, for its viewer.

    Each sample has ground_truth and prediction (with its score), mask (a heat map over the whole photograph), correct,
    half, clusters (numbers of the systematic clusters that hold it, as texts) and sentences (theirs).

    Args:
        errors: the clusters.
        name: of the dataset, which FiftyOne keeps until its process ends; None lets FiftyOne choose one.

    Raises:
        MissingExtra: the extra `fiftyone` is not installed.
        SettingsError: FiftyOne has a dataset of this name.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise MissingExtra("fiftyone", "fiftyone") from error
    try:
        dataset = fiftyone.Dataset(name)
    except ValueError as error:
        raise SettingsError(f"FiftyOne cannot make the dataset {name!r}: {error}; pass another name") from error
    systematic = errors.clusters[errors.clusters["systematic"]]
    held = [
        (str(cluster), str(sentence), errors.found.of(int(cluster)))
        for cluster, sentence in zip(systematic["cluster"], systematic["sentence"], strict=True)
    ]
    preprocessing = errors.study.preprocessing
    samples = []
    for i, row in enumerate(errors.map.to_dict("records")):
        sample = fiftyone.Sample(filepath=str(row["path"]))
        if isinstance(row["label"], str):
            sample["ground_truth"] = fiftyone.Classification(label=row["label"])
        if isinstance(row["predicted"], str):
            sample["prediction"] = fiftyone.Classification(label=row["predicted"], confidence=float(row["score"]))
        mask = _over_photograph(errors, i, str(row["image_id"]), str(row["path"]), preprocessing)
        if mask is not None:
            sample["mask"] = fiftyone.Heatmap(map=mask, range=[0, 1])
        sample["image_id"] = str(row["image_id"])
        sample["correct"] = None if pd.isna(row["correct"]) else bool(row["correct"])
        sample["half"] = str(row["half"])
        sample["clusters"] = [cluster for cluster, _, members in held if members[i]]
        sample["sentences"] = [sentence for _, sentence, members in held if members[i]]
        samples.append(sample)
    dataset.add_samples(samples)
    return dataset


def _over_photograph(
    errors: ClusterTables, i: int, image_id: str, path: str, preprocessing: Preprocessing
) -> Any | None:
    """The mask of an image laid over its photograph; None where the photograph is gone."""
    study = errors.study
    try:
        width, height = photograph_size(file_of(path))
        geometry = study.data.geometry(study.positions[image_id], preprocessing, (width, height))
    except ImageError:
        return None
    scale = _LONGEST / max(width, height)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return geometry.mask_to_photograph(errors.features.masks[i], size)
