"""Which masks know the truth: rank correlation with the true effects of the parts, on the testbed.

A part's true effect is the drop of the target's log-odds when the bird is drawn without it. Seeds below 1000 are for
tuning, the results are those of seeds from 1000. Differences to FIDO's joint mask are paired by picture and corrected
after Holm. With ``--infills``, instead: what each infill shows of these effects. Run:
``python tests/benchmarks/ground_truth.py`` (about half an hour on 2 cores).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from funnybirds import DRAWS, infill_row
from material import report
from pictures import report_rows
from torch.nn import functional

import fidokit as fk
from fidokit import testbed
from fidokit.methods import infill
from fidokit.methods.concrete import image_keys
from fidokit.study.compare import compare, cost_table
from fidokit.study.metrics.parts import removed_effects, visible

REFERENCE = ("fido", "joint")
#: The rivals named for this table, and FIDO's other settings.
METHODS: dict[str, Any] = {
    "fido": "fido",
    "grad-cam": "grad-cam",
    "integrated-gradients": "integrated-gradients",
    "saliency": "saliency",
    "occlusion": "occlusion",
    "rise": "rise",
    "extremal-perturbation": "extremal-perturbation",
    # The value that the truth is a drop of.
    "fido log-odds": ("fido", fk.FidoSettings(explained="log-odds")),
    "fido quality": ("fido", fk.FidoSettings.quality()),
    "fido published": ("fido", fk.FidoSettings.published()),
}
OTHERS = ("average_precision", "insertion", "deletion")


def infill_rows(classifier: fk.Classifier, data: fk.LabelledImages) -> list[dict[str, Any]]:
    """As of FunnyBirds: the share of the true drops that filling parts in shows, and the correlation with them."""
    true: list[float] = []
    parts: list[str] = []
    shown: dict[str, list[float]] = {name: [] for name in infill.INFILLS}
    right = classifier.predict(data)["correct"].to_numpy(bool)
    with classifier.session(exact=True) as session:
        for i in np.flatnonzero(right).tolist():
            image, geometry = data.load(i, classifier.preprocessing)
            own = visible(data.load_part_masks(i, classifier.preprocessing))
            goal = classifier.goal(session.logits(image[None]))
            removed = {part: testbed.without_part(data, i, part) for part in own}
            true += removed_effects(session, image, goal, removed, geometry, classifier.preprocessing).tolist()
            parts += own
            hole = functional.max_pool2d(torch.stack([*own.values()])[:, None].float(), 3, 1, 1)
            images, whole = image.expand(len(own), -1, -1, -1), goal.log_odds(session.logits(image[None]))
            keys = image_keys(0, [f"{i} {part}" for part in own])
            for name in infill.INFILLS:
                odds = [
                    goal.repeat(len(own)).log_odds(
                        session.logits(torch.lerp(images, infill.fill(name, images, 1 - hole, keys, -1 - draw), hole))
                    )
                    for draw in range(DRAWS if name in infill.RANDOM else 1)
                ]
                shown[name] += (whole - torch.stack(odds).mean(0)).tolist()
    return [infill_row(name, np.array(drops), np.array(true), parts) for name, drops in shown.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("tuning", "report"), default="report")
    parser.add_argument("--n", type=int, default=96, help="pictures of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", help="default 0 for tuning, 1000 for the report")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--infills", action="store_true", help="what each infill shows, and no masks")
    given = parser.parse_args()
    seeds = given.seeds or [0 if given.part == "tuning" else 1000]
    if any((seed < 1000) != (given.part == "tuning") for seed in seeds):
        parser.error("seeds below 1000 are for --part tuning, seeds from 1000 for --part report")
    methods = {label: METHODS[label] for label in METHODS if label in {REFERENCE[0], *given.methods}}
    tables: dict[str, list[pd.DataFrame]] = {"sum": [], "mean": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            data = testbed.load(given.n, seed=seed, folder=Path(folder) / f"pictures {seed}")
            if given.infills:
                report_rows(pd.DataFrame(infill_rows(testbed.classifier(), data)), benchmark="ground_truth", seed=seed)
                continue
            study = fk.run_study(
                testbed.classifier(), data, methods, store=Path(folder) / f"study {seed}", progress=False
            )
            report(
                benchmark="ground_truth", part=given.part, seed=seed, pictures=len(data),
                right=float(study.predictions()["correct"].mean()), failures=len(study.failures()),
            )  # fmt: skip
            for score, found in tables.items():
                table = study.metrics(parts=True, removal=testbed.without_part, part_score=score, progress=False)
                means = cost_table(study, ["part_correlation", *OTHERS], table=table)
                report_rows(means, benchmark="ground_truth", seed=seed, part_score=score, table="means")
                # Pictures of different seeds have the same names.
                found.append(table.assign(image_id=[f"{seed} {image_id}" for image_id in table["image_id"]]))
    if given.infills:
        return
    for score, found in tables.items():
        table = pd.concat(found, ignore_index=True)
        report_rows(
            compare(table, "part_correlation", REFERENCE), benchmark="ground_truth", part=given.part, part_score=score
        )
    report_rows(compare(pd.concat(tables["sum"]), OTHERS, REFERENCE), benchmark="ground_truth", part=given.part)


if __name__ == "__main__":
    main()
