"""Error clusters on the testbed: planted causes against rivals, errors at random, proof, words, and scale.

Run: ``python tests/benchmarks/errors.py planted none proof random-groups scale --folder pool``. Settings were
tuned with ``--seed 500``; report with a seed of at least 1000. The pool takes about ten minutes to draw, and is used
again from its folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from error_problems import CLASSIFIERS, TYPICAL, clusters_of, draw, explain, precision, problem, random_errors, rival
from material import report

import fidokit as fk
from fidokit import testbed
from fidokit.errors.groups import group_and_test
from fidokit.errors.verify import verify_groups

RIVALS = ("k-means", "mixture", "domino")
#: What a sentence must name, by cause; a habitat by its value or by mask and surroundings.
NAMES = {
    "habitat": ("habitat: ",),
    "hidden_part": (" hidden",),
    "watermark": (),
    "night": ("dark", "bright"),
    "tiny": ("small animal",),
}


def planted(pools, problems: int, seed: int, prove: bool) -> None:
    found, verdicts, named, n_systematic = defaultdict(list), [], [], []
    by_cause = defaultdict(list)
    for number in range(problems):
        task = problem(pools, seed + number)
        pool = pools[task.classifier]
        errors = clusters_of(pool, task.rows, seed + number)
        table = pool.table.iloc[task.rows]
        clusters = errors.clusters
        systematic = clusters.loc[clusters["systematic"], "cluster"].tolist()
        n_systematic.append(len(systematic))
        proofs = errors.verify().set_index("cluster") if prove and systematic else None
        others = {
            name: rival(name, errors.features, errors.outcome, errors.found.holdout, seed + number) for name in RIVALS
        }
        for (cause, species), rate in zip(task.causes, task.rates, strict=True):
            truth = ((table["cause"] == cause) & (table["label"] == species)).to_numpy()
            hits = [c for c in systematic if precision(errors.found.of(c), errors.found.typical[c - 1], truth) >= 0.8]
            found["fidokit"].append(bool(hits))
            by_cause[cause].append(bool(hits))
            for name, (members, typical, tested) in others.items():
                good = np.asarray([precision(m, t, truth) >= 0.8 for m, t in zip(members, typical, strict=True)])
                found[name].append(bool((good & tested).any()))
                found[f"{name}, untested"].append(bool(good.any()))
            line = {"problem": number, "classifier": task.classifier, "cause": cause, "species": species}
            line |= {"rate": round(rate, 3), "found": bool(hits), "systematic": len(systematic)}
            if hits:
                sentence = clusters.set_index("cluster").loc[hits[0], "sentence"]
                wrong = table[truth & table["correct"].eq(False).to_numpy()]
                taken = wrong["predicted"].value_counts().index[0]
                pair = f"{species} called {taken}" in sentence
                words = not NAMES[cause] or any(word in sentence for word in NAMES[cause])
                named.append(pair and words)
                line |= {"pair": pair, "words": words, "sentence": sentence}
                if proofs is not None and cause in ("habitat", "watermark"):
                    rows = proofs.loc[hits]
                    verdicts.append(bool((rows["verdict"] == "proved").any()))
                    line |= {"verdict": rows["verdict"].tolist(), "proof": rows["sentence"].tolist()}
            print(json.dumps(line), flush=True)
    for name, values in found.items():
        report(line="planted causes", method=name, n=len(values), found=float(np.mean(values)))
    for cause, values in by_cause.items():
        report(line="planted causes", method="fidokit", cause=cause, n=len(values), found=float(np.mean(values)))
    report(line="systematic clusters a problem", mean=float(np.mean(n_systematic)), most=max(n_systematic))
    report(line="words", n=len(named), named=float(np.mean(named)) if named else None)
    if prove:
        report(line="proof", n=len(verdicts), proved=float(np.mean(verdicts)) if verdicts else None)


def no_cause(pools, problems: int, seed: int) -> None:
    alarms = []
    for number in range(problems):
        pool = pools[CLASSIFIERS[number % len(pools)]]
        features, outcome = random_errors(pool, seed + number)
        alarms.append(bool(group_and_test(features, outcome, seed=seed + number).table["systematic"].any()))
    report(line="no cause", n=problems, alarms=int(np.sum(alarms)))


def random_groups(pools, groups: int, seed: int) -> None:
    """Groups made at random from the errors of problems with a habitat or watermark cause, each verified on its own."""
    generator = np.random.default_rng(seed)
    proved = total = 0
    number = 0
    while total < groups:
        task = problem(pools, seed + number)
        number += 1
        if not {"habitat", "watermark"} & {cause for cause, _ in task.causes}:
            continue
        errors = clusters_of(pools[task.classifier], task.rows, seed + number)
        wrong = np.flatnonzero(errors.outcome.wrong)
        for _ in range(min(20, groups - total)):
            size = int(generator.integers(min(16, len(wrong)), max(17, len(wrong) * 2 // 3)))
            members = np.isin(np.arange(len(task.rows)), generator.choice(wrong, size, replace=False))
            verdict = verify_groups(errors, {0: members}, {}).table["verdict"].iloc[0]
            proved += verdict == "proved"
            total += 1
    report(line="random groups of errors", n=total, proved=int(proved))


def scale(folder: Path, seed: int) -> None:
    data = testbed.load(2500, seed, {"habitat": 0.1}, folder=folder / "scale")
    times = {}
    for copies in (1, 4):
        table = pd.concat([data.table.assign(image_id=data.table["image_id"] + f"/{c}") for c in range(copies)])
        with tempfile.TemporaryDirectory() as store:
            fk.run_study(
                testbed.classifier("habitat"), fk.LabelledImages.from_table(table.reset_index(drop=True)),
                ["grad-cam"], store=store, progress=False,
            )  # fmt: skip
            line = subprocess.run(
                [sys.executable, __file__, "one-scale", "--folder", store], capture_output=True, text=True, check=True
            ).stdout.splitlines()[-1]
        times[copies] = json.loads(line)
        report(line="scale", images=2500 * copies, **times[copies])
    report(line="scale", growth=times[4]["seconds"] / times[1]["seconds"])


def one_scale(store: Path) -> None:
    from fidokit.errors.features import extract
    from fidokit.errors.find import group_images

    study = fk.open_study(store, classifier=testbed.classifier("habitat"))
    start = time.perf_counter()
    features = extract(study)
    middle = time.perf_counter()
    errors = group_images(study, features)
    tested = time.perf_counter()
    n = len(errors.clusters)
    worded = time.perf_counter()
    _ = errors.members
    end = time.perf_counter()
    result = {"seconds": end - start, "reading": middle - start, "groups and tests": tested - middle}
    result |= {"sentences": worded - tested, "map and members": end - worded, "clusters": n}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps(result | {"gibibytes": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", nargs="+", choices=["planted", "proof", "none", "random-groups", "scale", "one-scale"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--method", default="grad-cam")
    options = parser.parse_args()
    if options.lines == ["one-scale"]:
        one_scale(options.folder)
        return
    if {"planted", "proof", "none", "random-groups"} & set(options.lines):
        data = draw(options.folder, options.seed)
        pools = {name: explain(options.folder, data, name, options.method) for name in CLASSIFIERS}
        for name, pool in pools.items():
            shares = pool.table.groupby("cause")["correct"].mean().astype(float).round(3).to_dict()
            report(line="classifier", classifier=name, right=shares, images=len(pool.features), typical=TYPICAL)
        if {"planted", "proof"} & set(options.lines):
            planted(pools, options.problems, options.seed, "proof" in options.lines)
        if "none" in options.lines:
            no_cause(pools, 200, options.seed)
        if "random-groups" in options.lines:
            random_groups(pools, 200, options.seed)
    if "scale" in options.lines:
        scale(options.folder, options.seed)


if __name__ == "__main__":
    main()
