"""Studies of 100, 1,000 and 10,000 photographs: time of each photograph, and peak memory of driver and worker.

Each runs in a process of its own, with a tiny classifier, once in that process and once with a worker of a cluster,
whose memory is then counted for itself. Nothing should grow: ratios are to the smallest study of its kind. The steady
time is that from the first part to the last one, without the start.
Run: ``python tests/benchmarks/growth.py`` (``--n`` for other numbers).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import fidokit as fk
from fidokit.study.plan import peak_memory

PART_SIZE = 32
_DISTINCT = 100


def study(folder: Path, n: int, where: str) -> None:
    import torch
    from cluster_cases import cluster_of
    from study_cases import make_classifier, register_counting, run

    torch.set_num_threads(1)
    register_counting("counting")
    data = fk.LabelledImages.from_folder(folder)
    methods = {"counting": "counting", "cam": "grad-cam"}
    options: dict[str, Any] = {"part_size": PART_SIZE}
    result: dict[str, Any] = {"photographs": n, "where": where}
    with tempfile.TemporaryDirectory() as store:
        if where == "cluster":
            with cluster_of(1) as client:
                start = time.perf_counter()
                made = run(make_classifier(), data, store, methods, client=client, **options)
                seconds = time.perf_counter() - start
                (worker,) = client.run(peak_memory).values()
                result["worker"] = worker
        else:
            start = time.perf_counter()
            made = run(make_classifier(), data, store, methods, **options)
            seconds = time.perf_counter() - start
        assert made.status()["finished"].tolist() == [n, n]
        written = sorted(path.stat().st_mtime for path in (Path(store) / "predictions").glob("*.parquet"))
    # From the first part to the last one, without the start.
    steady = (written[-1] - written[0]) / (PART_SIZE * (len(written) - 1))
    times = {"milliseconds": 1e3 * seconds / n, "steady_milliseconds": 1e3 * steady}
    print(json.dumps(result | {"driver": peak_memory(), **times}))


def photographs(folder: Path, n: int) -> None:
    """Write n photographs, of which a hundred differ."""
    from study_cases import make_data

    table = make_data(folder, min(n, _DISTINCT)).table
    for i in range(_DISTINCT, n):
        source = Path(table["path"].iloc[i % _DISTINCT])
        shutil.copy(source, source.with_name(f"{i:06d}.png"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "N", "WHERE"), help="used by itself: one study")
    arguments = parser.parse_args()
    if arguments.one is not None:
        study(Path(arguments.one[0]), int(arguments.one[1]), arguments.one[2])
        return
    from material import report

    for where in ("process", "cluster"):
        smallest: dict[str, Any] = {}
        for n in arguments.n:
            with tempfile.TemporaryDirectory() as folder:
                photographs(Path(folder) / "data", n)
                command = [sys.executable, __file__, "--one", str(Path(folder) / "data"), str(n), where]
                ended = subprocess.run(command, capture_output=True, text=True, check=True)
            own = json.loads(ended.stdout.splitlines()[-1])
            smallest = smallest or own
            ratios = {
                f"{key}_ratio": own[key] / smallest[key]
                for key in ("driver", "worker", "steady_milliseconds")
                if key in own
            }
            report(benchmark="growth", **own, **ratios)


if __name__ == "__main__":
    main()
