"""What opening a classifier costs: in the first process that meets it, and in the second, which remembers it.

The time from ``Classifier(...)`` to the end of `explain` of one photograph, minus that of a second `explain`, over the
time of 60 float32 evaluations: images forward and backward, batch normalisation folded, at the batch size that takes
the least for each, best of three passes. As wall time and as CPU time, which what else runs on the machine touches
less. Once as the CPU is and once held to AVX2; on a GPU, where there is one, in seconds, of a ViT too. With ``--demo``,
also the time of ``fidokit demo`` held to AVX2. Run: ``python tests/benchmarks/opening.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from material import report

import fidokit as fk
from fidokit import samples
from fidokit.models import frozen, opening
from fidokit.models.classifier import with_precision
from fidokit.models.remembered import VARIABLE

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
EVALUATIONS = 60
SIZES = (2, 4, 8, 16, 24, 32)
REPEATS = 3
TARGETS = {"first": 1.0, "second": 0.2}
GPU_TARGETS = {"first": 10.0, "second": 5.0}
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def module_of(model: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A module and how it looks at photographs."""
    if model == "vit":
        import timm

        return timm.create_model("vit_small_patch16_224").eval(), {}
    made = samples.efficientnet_lite0()
    shape = made.preprocessing
    return made.module, {"class_names": made.class_names, "mean": shape.mean, "std": shape.std, "size": shape.size}


def one(model: str, device: str, photographs: str) -> dict[str, Any]:
    """The figures of this process."""
    module, options = module_of(model)
    data = samples.photographs(photographs).subset([0])
    explain, make = fk.explain, fk.Classifier  # imported before the clock starts
    at = [{name: clock() for name, clock in CLOCKS.items()}]
    classifier = make(module, device=device, **options)
    for _ in range(2):
        explain(classifier, data)
        at.append({name: clock() for name, clock in CLOCKS.items()})
    found = {
        "precision": classifier.precision,
        "why": classifier.precision_reason,
        "micro_batch": classifier.micro_batch,
        "threads": torch.get_num_threads(),
        "to_first_masks_seconds": at[1]["wall"] - at[0]["wall"],
        "second_explain_seconds": at[2]["wall"] - at[1]["wall"],
    }
    if device == "cpu":
        for name, clock in CLOCKS.items():
            price = EVALUATIONS * evaluation(classifier, clock)
            found[f"seconds_of_60_{name}"] = price
            found[f"ratio_{name}"] = (2 * at[1][name] - at[0][name] - at[2][name]) / price
    return found


def evaluation(classifier: fk.Classifier, clock: Callable[[], float]) -> float:
    """Seconds of one float32 evaluation."""
    exact = with_precision(classifier, "float32", classifier.micro_batch)
    costs = []
    with exact.session() as session:
        for size in SIZES:
            images = opening.repeated(opening.probe(exact, 2), size)
            for _ in range(REPEATS + 1):
                start = clock()
                frozen.forward_and_input_gradient(session.forward, images)
                costs.append((clock() - start) / size)
    return min(costs)


def run(cache: str, cap: dict[str, str], *arguments: str) -> dict[str, Any]:
    """The figures of a process of its own."""
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, str(here), "--one", *arguments],
        env=os.environ | cap | {VARIABLE: cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def demo() -> None:
    """The time of ``fidokit demo`` held to AVX2."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | AVX2 | {VARIABLE: str(Path(folder) / "cache")}
        command = [sys.executable, "-m", "fidokit", "demo", "--store", str(Path(folder) / "demo")]
        start = time.perf_counter()
        subprocess.run(command, env=env, cwd=folder, capture_output=True, check=True)
        report(benchmark="opening", what="demo", cap="AVX2", seconds=time.perf_counter() - start, target=180.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "DEVICE", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--demo", action="store_true", help="also time the demo")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, cap in {"none": {}, "AVX2": AVX2}.items():
            for process, target in TARGETS.items():
                found = run(folder, cap, "efficientnet-lite0", "cpu", folder)
                report(benchmark="opening", device="cpu", cap=name, process=process, target=target, **found)
        if torch.cuda.is_available():
            for model in ("efficientnet-lite0", "vit"):
                for process, target in GPU_TARGETS.items():
                    found = run(folder, {}, model, "cuda", folder)
                    report(benchmark="opening", device="cuda", model=model, process=process, target=target, **found)
        else:
            report(benchmark="opening", device="cuda", not_run="torch sees no CUDA device")
    if arguments.demo:
        demo()


if __name__ == "__main__":
    main()
