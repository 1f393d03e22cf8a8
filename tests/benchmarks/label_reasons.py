"""Wrong labels, wrong reasons and blank frames in drawn surveys, against cleanlab's score.

Run: ``python tests/benchmarks/label_reasons.py --problems 20 --seed 5000 --jobs 2``. Everything was tuned on seeds
below 1000. A problem is a survey of 300 frames before 10 cameras, with 5 % of the labels exchanged for a congener's,
5 % of the birds hiding their marks while background or stamp says which they are, 5 % blank frames that keep the label
of their burst, and bursts at night and of birds in another's habitat (no tiny birds: in the testbed they would be as
large as ever in the next frame). A classifier that learnt the habitat and one that learnt stamps take turns. There are
boxes and no object masks; blank frames have the box of their burst, so that it tells nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from material import inputs, report
from sklearn.metrics import average_precision_score, roc_curve

import fidokit as fk

_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]
CAUSES = {"night": 0.05, "habitat": 0.05}
BIASES = ("habitat", "watermark")


def survey(seed: int, folder: Path, n: int, sites: int) -> fk.LabelledImages:
    faults = {"blanks": 0.05, "wrong_labels": 0.05, "wrong_reasons": 0.05}
    drawn = fk.testbed.survey(n, seed, sites=sites, causes=CAUSES, folder=folder, size=160, **faults)
    table = drawn.table.drop(columns=["object_mask", "part_map", "parts"])
    of_burst = table.groupby("sequence")[_BOX].transform(lambda column: column.ffill().bfill())
    table[_BOX] = table[_BOX].fillna(of_burst)
    return fk.LabelledImages.from_table(table)


def problem(seed: int, n: int = 300, sites: int = 10) -> dict[str, Any]:
    """Average precisions, shares found, and what the verdicts are worth."""
    torch.set_num_threads(1)
    bias = BIASES[seed % len(BIASES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = survey(seed, folder / "data", n, sites)
        classifier = fk.testbed.classifier(bias, device="cpu")
        study = fk.run_study(classifier, data, ["grad-cam"], store=folder / "study", progress=False)
        found = fk.check_labels(study, progress=False).table.set_index("image_id")
        with classifier.session() as session:
            images = inputs(classifier, data)
            probabilities = session.logits(images).double().softmax(1).numpy()
    truth = data.table.set_index("image_id").loc[found.index]
    place = {name: i for i, name in enumerate(classifier.class_names)}
    rows = [data.table["image_id"].tolist().index(image_id) for image_id in found.index]
    codes = truth["label"].map(place).to_numpy()
    rival = 1 - get_label_quality_scores(codes, probabilities[rows], method="self_confidence")
    blank = truth["planted_label"].eq("blank").to_numpy()
    wrong = truth["planted_label"].ne(truth["label"]).to_numpy() & ~blank
    reason = truth["planted_reason"].eq("background and stamp").to_numpy()
    # Who learnt stamps is not deceived without one; the reason of a bird in another's habitat is wrong unasked.
    asked = ~truth["planted_cause"].isin(["habitat", "blank"]).to_numpy()
    if bias == "habitat":
        reason = truth["planted_reason"].ne("none").to_numpy()
    else:
        asked &= ~truth["planted_reason"].eq("background").to_numpy()
    rates, hits, _ = roc_curve(blank, found["blank_score"])
    suspect = found["verdict"].isin(["label suspect", "both"]).to_numpy()
    doubted = found["verdict"].isin(["reason suspect", "both"]).to_numpy()
    return {
        "seed": seed,
        "classifier": bias,
        "labels": average_precision_score(wrong[~blank], found["label_score"][~blank]),
        "labels, cleanlab": average_precision_score(wrong[~blank], rival[~blank]),
        "reasons": average_precision_score(reason[asked], found["reason_score"][asked]),
        "reasons, cleanlab": average_precision_score(reason[asked], rival[asked]),
        "blanks found": float(hits[rates <= 0.05].max()),
        "labels and blanks": average_precision_score(
            wrong | blank, np.fmax(found["label_score"], found["blank_score"])
        ),
        "labels and blanks, cleanlab": average_precision_score(wrong | blank, rival),
        "suspect labels that are wrong": float((wrong | blank)[suspect].mean()) if suspect.any() else np.nan,
        "wrong labels that are suspect": float(suspect[wrong | blank].mean()),
        "wrong reasons that are suspect": float(doubted[reason].mean()),
        "photographs whose reason is suspect": float(doubted.mean()),
    }


def interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """The 95 % bootstrap interval of a mean over problems."""
    drawn = np.random.default_rng(seed).choice(values, (10_000, len(values)))
    return np.quantile(drawn.mean(1), [0.025, 0.975]).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.problems)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = []
        for result in pool.map(problem, seeds):
            report(line="problem", **result)
            results.append(result)
    values = {name: np.asarray([r[name] for r in results]) for name in results[0] if name not in ("seed", "classifier")}
    for name, own in values.items():
        own = own[np.isfinite(own)]
        report(line=name, problems=len(own), mean=float(own.mean()), interval=interval(own))
    for name in ("labels", "reasons", "labels and blanks"):
        difference = values[name] - values[f"{name}, cleanlab"]
        report(line=f"{name} minus cleanlab", mean=float(difference.mean()), interval=interval(difference))


if __name__ == "__main__":
    main()
