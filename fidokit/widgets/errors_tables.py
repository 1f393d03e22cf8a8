"""Error clusters as the browser gets them: points as bytes, clusters as rows ready for JSON, a picture of the map."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageColor, ImageDraw

from fidokit._util.html import Html, tag
from fidokit.errors.result import ErrorClusters
from fidokit.figures.errors import cluster_colours

#: Clusters in the table: the clearest. More are neither looked at nor drawn in time.
MOST_CLUSTERS = 200
#: What is said of a point, as numbers.
STATES = ("wrong", "right", "not judged")
_NUMBERS = (
    *("size", "n_errors", "error_rate", "expected_rate", "p_value", "q_value", "holdout_size", "holdout_n_errors"),
    *("holdout_error_rate", "holdout_p", "stability", "effect", "effect_low", "effect_high", "effect_p"),
)
_TEXTS = ("sentence", "true_class", "predicted_class", "pairs", "words", "properties", "verdict")
_MAP = (560, 420)


def points(table: pd.DataFrame) -> dict[str, Any]:
    """The points of the map, a row of `ErrorClusters.map` each.

    Returns:
        names, colours and clusters, as lists; and bytes of float32 (x, y, score), of uint8 (state, a place in `STATES`)
        and of int32 (cluster, a place in colours and clusters, the last for none; label and predicted, places in names,
        -1 for none).
    """
    colours = cluster_colours(table["cluster"].tolist())
    numbers = [*sorted(number for number in colours if number >= 0), -1]
    names = sorted({str(name) for column in ("label", "predicted") for name in table[column] if isinstance(name, str)})
    place = {name: i for i, name in enumerate(names)}
    correct = table["correct"]
    state = np.where(correct.isna(), 2, correct.fillna(False).astype(bool).astype(int))
    codes = {
        name: [place.get(value, -1) if isinstance(value, str) else -1 for value in table[name]]
        for name in ("label", "predicted")
    }
    return {
        "names": names,
        "colours": [colours[number] for number in numbers],
        "clusters": numbers,
        "x": _bytes(table["x"], np.float32),
        "y": _bytes(table["y"], np.float32),
        "score": _bytes(table["score"], np.float32),
        "state": _bytes(state, np.uint8),
        "cluster": _bytes([numbers.index(number) for number in table["cluster"]], np.int32),
        **{name: _bytes(values, np.int32) for name, values in codes.items()},
    }


def cluster_rows(errors: ErrorClusters) -> list[dict[str, Any]]:
    """The clearest clusters, the systematic ones first: cluster, systematic, figures (None where they are missing),
    texts, and proof, the sentence of the verification."""
    proofs = {} if errors.verification is None else errors.verification.table.set_index("cluster")["sentence"].to_dict()
    rows = []
    for record in errors.clusters.head(MOST_CLUSTERS).to_dict("records"):
        row: dict[str, Any] = {"cluster": int(record["cluster"]), "systematic": bool(record["systematic"])}
        row |= {name: None if pd.isna(record[name]) else float(record[name]) for name in _NUMBERS}
        row |= {name: record[name] if isinstance(record[name], str) else "" for name in _TEXTS}
        rows.append(row | {"proof": str(proofs.get(row["cluster"], ""))})
    return rows


def members_of(errors: ErrorClusters, cluster: int) -> npt.NDArray[np.int64]:
    """Rows of the map of a cluster's images, the most typical first."""
    place = {image_id: i for i, image_id in enumerate(errors.features.image_ids)}
    return np.asarray([place[image_id] for image_id in errors.images(cluster)["image_id"]], dtype=np.int64)


def counts_in(errors: ErrorClusters, clusters: list[int], rows: npt.NDArray[np.int64]) -> list[int]:
    """How many of some images each cluster holds."""
    return [int(errors.found.of(cluster)[rows].sum()) for cluster in clusters]


def map_picture(table: pd.DataFrame) -> Image.Image:
    """The map as a picture, for a notebook without a kernel: a dot where the classifier is right, a cross where not."""
    width, height = _MAP
    sheet = Image.new("RGB", _MAP, (255, 255, 255))
    if not len(table):
        return sheet
    draw, colours = ImageDraw.Draw(sheet), cluster_colours(table["cluster"].tolist())
    places = table[["x", "y"]].to_numpy(float)
    low, span = places.min(0), np.ptp(places, axis=0).max() or 1.0
    shifted = (places - low - np.ptp(places, axis=0) / 2) / span * 0.92 * min(_MAP) + np.array([width, height]) / 2
    # Crosses last: errors are what the map is for.
    wrong = table["correct"].eq(False).fillna(False).to_numpy(bool)
    for row in (*np.flatnonzero(~wrong), *np.flatnonzero(wrong)):
        x, y = shifted[row, 0], height - shifted[row, 1]
        colour = ImageColor.getrgb(colours[int(table["cluster"].iloc[row])])
        if wrong[row]:
            draw.line((x - 3, y - 3, x + 3, y + 3), fill=colour, width=2)
            draw.line((x - 3, y + 3, x + 3, y - 3), fill=colour, width=2)
        else:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    return sheet


def static_clusters(errors: ErrorClusters) -> Html:
    """What was found, and what is known of each systematic cluster, for a notebook without a kernel."""
    rows = [row for row in cluster_rows(errors) if row["systematic"]]
    said = [tag("p", line) for line in errors.summary().splitlines() if not line.startswith("- ")]
    heads = tag("tr", *(tag("th", text) for text in ("Cluster", "Verdict", "What is known")))
    lines = [
        tag("tr", tag("th", str(row["cluster"])), tag("td", row["verdict"] or "not verified"),
            tag("td", tag("div", row["sentence"]), tag("div", row["proof"]) if row["proof"] else None))
        for row in rows
    ]  # fmt: skip
    return tag("div", *said, tag("table", heads, *lines) if rows else None)


def _bytes(values: Any, dtype: Any) -> bytes:
    return np.ascontiguousarray(values, dtype=dtype).tobytes()
