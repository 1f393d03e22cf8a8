"""Time of the standing metrics over that of the masks they judge: default settings, 34 photographs of three masks each.

Alternating parts of one run, everything tuned before. Run: ``python tests/benchmarks/metrics_cost.py``; with
``--photographs 6`` for a quick look.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from material import report

import fidokit as fk
from fidokit import samples

#: Photographs that are explained and then measured, one round after another, so that both meet the same machine.
ROUND = 17
#: Photographs before the first round, enough for the batch size to be looked for.
WARM = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=34)
    count = parser.parse_args().photographs
    classifier = samples.efficientnet_lite0()
    masks_seconds = metrics_seconds = 0.0
    masks = evaluations = mask_evaluations = 0
    with tempfile.TemporaryDirectory() as folder:
        data = samples.composites(Path(folder) / "images", count + WARM, seed=1)
        with classifier.session(), classifier.session(exact=True):
            for start in [count, *range(0, count, ROUND)]:
                stop = min(start + ROUND, count) if start < count else count + WARM
                part = data.subset(slice(start, stop))
                before, begun = classifier.counter.evaluations, time.perf_counter()
                study = fk.run_study(classifier, part, "fido", store=Path(folder) / f"run{start}", progress=False)
                between, middle = classifier.counter.evaluations, time.perf_counter()
                table = study.metrics(progress=False)
                if start < count:  # the round before the first one warms up
                    masks_seconds += middle - begun
                    metrics_seconds += time.perf_counter() - middle
                    masks += len(table)
                    mask_evaluations += between - before
                    evaluations += classifier.counter.evaluations - between
    report(
        benchmark="metrics_cost",
        masks=masks,
        ratio=metrics_seconds / masks_seconds,
        seconds_metrics=metrics_seconds,
        seconds_masks=masks_seconds,
        evaluations_metrics=evaluations,
        evaluations_masks=mask_evaluations,
        precision=classifier.precision,
        micro_batch=classifier.micro_batch,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
