"""Individuals: is the right one at rank 1, do masks find what tells it, and does it fall in rank without that.

Reference photographs and queries of drawn individuals that the embedding was not trained on, in other poses, lights and
habitats; their marks are known pixel by pixel. Masks explain the individual that was found against the runner-up.

Run: ``python tests/benchmarks/individuals.py`` (about 5 minutes on one core).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from material import paired_interval, report
from torch import Tensor

import fidokit as fk
from fidokit import testbed
from fidokit.study.metrics.localisation import precision_of_ranks
from fidokit.study.metrics.ranks import ranks

#: Settings are tuned on seeds below 1000, and the embedding was trained on seeds from 1,000,000.
REFERENCES, QUERIES = 7000, 7001
METHODS = ("fido", "grad-cam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=96, help="queries")
    n = parser.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        references = testbed.individuals(48, REFERENCES, folder=Path(folder) / "references")
        queries = testbed.individuals(n, QUERIES, folder=Path(folder) / "queries")
        run(references, queries)


def run(references: fk.LabelledImages, queries: fk.LabelledImages) -> None:
    for rule in ("nearest", "mean"):
        gallery = fk.Gallery(testbed.embedder(), references, rule=rule, device="cpu", **testbed.EMBEDDER_INPUT)
        told = {"benchmark": "individuals", "rule": rule, "individuals": len(gallery.class_names), "n": len(queries)}
        right = torch.from_numpy(gallery.predict(queries)["correct"].to_numpy(float))
        mean, low, high = paired_interval(right, list(queries.table["image_id"]))
        report(**told, figure="rank 1", mean=mean, low=low, high=high, temperature=gallery.temperature)
        for method in METHODS if rule == "nearest" else ():
            pairs = fk.explain_pair(gallery, queries, method)
            for side, masks in (("query", pairs.query), ("reference", pairs.reference)):
                drawn = queries if side == "query" else references
                ids = pairs.query.image_ids if side == "query" else list(pairs.table["reference_id"])
                targets = marks(drawn, ids, gallery)
                for kind in masks.kinds:
                    found = precision_of_ranks(ranks(masks.at(kind)), targets)
                    mean, low, high = paired_interval(found, masks.image_ids)
                    figure = f"average precision on the mark, {side}"
                    report(**told, figure=figure, method=method, kind=kind, mean=mean, low=low, high=high)
            share = float(targets.float().mean())
            for area in (0.02, 0.05):
                falls = fk.rank_falls(gallery, pairs.query, area=area)
                for kind, own in falls.groupby("kind", sort=False):
                    difference = torch.from_numpy((own["fall"] - own["control_fall"]).to_numpy())
                    mean, low, high = paired_interval(difference, list(own["image_id"]))
                    averages = own[["rank_before", "rank_after", "control_rank"]].mean().to_dict()
                    report(
                        **told,
                        figure="ranks fallen beyond the controls'",
                        method=method,
                        kind=str(kind),
                        area=area,
                        area_of_marks=share,
                        **averages,
                        mean=mean,
                        low=low,
                        high=high,
                    )


def marks(data: fk.LabelledImages, ids: list[str], gallery: fk.Gallery) -> Tensor:
    """(B, H, W) bool: the marks in the pictures with these image_ids."""
    place = {image_id: i for i, image_id in enumerate(data.table["image_id"])}
    found = [data.load_part_masks(place[image_id], gallery.preprocessing)["mark"] for image_id in ids]
    return torch.from_numpy(np.stack(found))


if __name__ == "__main__":
    main()
