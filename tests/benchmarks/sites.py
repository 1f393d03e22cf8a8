"""Which site to mistrust: sites with a background shortcut found, accuracy foretold, and what it costs.

Run: ``python tests/benchmarks/sites.py shortcuts none cost``. Settings were tuned with seeds below 1000; report from
5000.
A problem is a survey of drawn birds at 12 sites, 60 photographs each, 3 sites with the background of congeners, seen by
the classifier that learnt the habitat; `none` is the same without such sites, seen by the fair one. Every site is
foretold from the labels of the others. Pictures are drawn once and kept in the user's cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from material import report

import fidokit as fk
from fidokit import testbed

SITES, EACH, SHORTCUTS = 12, 60, 3
CAUSES = {"hidden_part": 0.1, "night": 0.05, "tiny": 0.05}
FORECASTS = ("forecast", "average_confidence", "atc")
_SECRET = "planted_site"


def problem(seed: int, shortcuts: int, biased_by: str | None) -> dict[str, Any]:
    """What was found of one survey."""
    torch.set_num_threads(1)
    data = testbed.survey(SITES * EACH, seed, sites=SITES, shortcuts=shortcuts, causes=CAUSES, size=128)
    classifier = testbed.classifier(biased_by, precision="float32", micro_batch=32)
    with tempfile.TemporaryDirectory() as store:
        study = fk.run_study(classifier, data, ["grad-cam"], store=store, progress=False)
        comparison = fk.compare_sites(study, photographs=EACH, progress=False)
    truth = data.table.groupby("site")[_SECRET].first().eq("shortcut")
    found = set(comparison.mistrusted)
    true = len(found & set(truth.index[truth]))
    table = comparison.forecasts
    inside = table["accuracy"].between(table["forecast_low"], table["forecast_high"])
    return {
        "seed": seed,
        "shortcuts": int(truth.sum()),
        "found": true,
        "false": len(found) - true,
        "covered": float(inside.mean()),
        **{name: 100 * float((table[name] - table["accuracy"]).abs().mean()) for name in FORECASTS},
    }


def solved(problems: int, seed: int, processes: int, shortcuts: int, biased_by: str | None) -> dict[str, np.ndarray]:
    """Name of a figure -> its value in each problem."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        solve = partial(problem, shortcuts=shortcuts, biased_by=biased_by)
        rows = []
        for row in pool.map(solve, range(seed, seed + problems)):
            report(line="problem", **row)
            rows.append(row)
    return {name: np.asarray([row[name] for row in rows], np.float64) for name in rows[0]}


def interval(values: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
    """Mean over the problems, or ratio of means, and its 95 % bootstrap interval, problems resampled."""
    weights = np.ones(len(values)) if weights is None else weights
    drawn = np.random.default_rng(0).integers(len(values), size=(10_000, len(values)))
    low, high = np.percentile(values[drawn].sum(1) / np.maximum(weights[drawn].sum(1), 1e-9), [2.5, 97.5])
    mean = values.sum() / max(weights.sum(), 1e-9)
    return {"value": float(mean), "low": float(low), "high": float(high)}


def shortcuts(options: argparse.Namespace) -> None:
    rows = solved(options.problems, options.seed, options.processes, SHORTCUTS, "habitat")
    n = options.problems
    report(line="sites", figure="power", problems=n, **interval(rows["found"], rows["shortcuts"]))
    rates = rows["false"] / np.maximum(rows["found"] + rows["false"], 1)
    report(line="sites", figure="false discovery rate", problems=n, **interval(rates))
    for name in FORECASTS:
        report(line="sites", figure=f"error of {name}, points", problems=n, **interval(rows[name]))
        if name != "forecast":
            better = interval(rows[name] - rows["forecast"])
            report(line="sites", figure=f"error of {name} less that of forecast, points", problems=n, **better)
    report(line="sites", figure="accuracy inside the forecast's interval", problems=n, **interval(rows["covered"]))


def none(options: argparse.Namespace) -> None:
    """Sites of which none is to be mistrusted: how many problems have a false alarm."""
    rows = solved(options.problems, options.seed, options.processes, 0, None)
    report(line="sites", figure="problems with a false alarm", problems=options.problems, **interval(rows["false"] > 0))
    report(line="sites", figure="error of forecast, points", shortcuts=0, **interval(rows["forecast"]))


def cost(options: argparse.Namespace) -> None:
    """What needs no intervention, beside one `Classifier.predict` of the same photographs; and evaluations as said."""
    data = testbed.survey(options.photographs, options.seed, sites=SITES, size=128)
    classifier = testbed.classifier(precision="float32", micro_batch=32)
    with tempfile.TemporaryDirectory() as store:
        study = fk.run_study(classifier, data, ["grad-cam"], store=store, progress=False)
        ratios = []
        for _ in range(3):
            start = time.perf_counter()
            classifier.predict(data)
            middle = time.perf_counter()
            fk.compare_sites(study, interventions=False)
            ratios.append((time.perf_counter() - middle) / (middle - start))
        report(
            line="cost", photographs=len(data), figure="time without interventions / time of predict", most=max(ratios)
        )
        # Open before: opening a classifier for the first time takes evaluations of its own.
        with study.classifier.session():
            before, start = study.classifier.counter.evaluations, time.perf_counter()
            fk.compare_sites(study, photographs=10)
            spent = study.classifier.counter.evaluations - before
        report(line="cost", figure="evaluations a changed photograph", value=spent / (10 * SITES))
        report(line="cost", figure="seconds a changed photograph", value=(time.perf_counter() - start) / (10 * SITES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", nargs="+", choices=["shortcuts", "none", "cost"])
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--photographs", type=int, default=2000, help="of the line cost")
    options = parser.parse_args()
    for line in options.lines:
        {"shortcuts": shortcuts, "none": none, "cost": cost}[line](options)


if __name__ == "__main__":
    main()
