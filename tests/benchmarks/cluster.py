"""A study on a cluster of two workers with one thread each, against the same study in one process with two threads.

200 composed photographs, EfficientNet-Lite0, FIDO and Grad-CAM. Both run in processes of their own, in the same
precision and micro-batch. The overhead is the share of the workers' time, from the call of
`run_study` to its return, in which they do not do tasks: scheduling, sending, and unpacking of the classifier.
Run on a machine with nothing else to do: ``python tests/benchmarks/cluster.py`` (``--n``, ``--workers``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import fidokit as fk
from fidokit import samples
from fidokit.data.images import LabelledImages

METHODS = ["fido", "grad-cam"]
# Many parts for each worker, as a study of many photographs has them.
PART_SIZE = 5


def study(folder: Path, workers: int, precision: str, micro_batch: int) -> None:
    """Run one study and print what it took: in this process if there are no workers."""
    data = LabelledImages.from_csv(folder / "composites.csv")
    classifier = samples.efficientnet_lite0(precision=precision, micro_batch=micro_batch)
    store = folder / f"run-{workers}"
    result: dict[str, Any] = {"workers": workers}
    if workers == 0:
        torch.set_num_threads(2)
        start = time.perf_counter()
        made = fk.run_study(classifier, data, METHODS, store=store, part_size=PART_SIZE, progress=False)
        result["seconds"] = time.perf_counter() - start
    else:
        from cluster_cases import cluster_of

        from fidokit.study.engine.cluster import Cluster

        busy: list[float] = []
        finished = Cluster._received

        def noted(self: Cluster, future: Any, submission: Any) -> Any:
            if future.status == "finished":
                busy.append(future.result().seconds)
            return finished(self, future, submission)

        Cluster._received = noted  # type: ignore[method-assign]
        with cluster_of(workers) as client:
            start = time.perf_counter()
            made = fk.run_study(
                classifier, data, METHODS, store=store, part_size=PART_SIZE, progress=False, client=client
            )
            result["seconds"] = time.perf_counter() - start
        result["overhead"] = 1 - sum(busy) / (workers * result["seconds"])
        result["jobs"] = len(busy)
    assert made.status()["finished"].tolist() == [len(data)] * len(METHODS)
    print(json.dumps(result | {"photographs_per_second": len(data) / result["seconds"]}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--one", nargs=4, metavar=("FOLDER", "WORKERS", "PRECISION", "MICRO_BATCH"), help="by itself")
    arguments = parser.parse_args()
    if arguments.one is not None:
        folder, workers, precision, micro_batch = arguments.one
        study(Path(folder), int(workers), precision, int(micro_batch))
        return
    from material import report

    given = [arguments.precision, str(arguments.micro_batch)]
    with tempfile.TemporaryDirectory() as folder:
        samples.composites(folder, arguments.n, seed=1)
        runs = {}
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        for workers in (0, arguments.workers):
            command = [sys.executable, __file__, "--one", folder, str(workers), *given]
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            runs[workers] = json.loads(ended.stdout.splitlines()[-1])
            report(benchmark="cluster", photographs=arguments.n, **runs[workers])
    local, cluster = runs[0], runs[arguments.workers]
    report(
        benchmark="cluster",
        throughput_ratio=cluster["photographs_per_second"] / local["photographs_per_second"],
        overhead=cluster["overhead"],
        precision=arguments.precision,
        micro_batch=arguments.micro_batch,
    )


if __name__ == "__main__":
    main()
