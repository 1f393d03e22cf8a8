"""How a store grows: time and memory of opening, status, summary and streaming, by number of photographs.

    python tests/benchmarks/growth_store.py [--images 1000 2000 5000 10000] [--side 28] [--metrics] [--keep FOLDER]

Writes synthetic finished stores of three methods (a FIDO-like one with three kinds, two attributions) through `Store`,
32 photographs a part as `run_study` does, and measures each call in a process of its own: the best of three, wall clock
and processor, and the peak of resident memory beyond that of the imports. One JSON line for each size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from fidokit.study.metrics.standing import ROW_KEYS, SCHEMAS, STANDING
from fidokit.study.store.store import Store, slug

METHODS = {
    "fido": ["ssr", "sdr", "joint", "effect"],
    "grad-cam": ["attribution"],
    "integrated-gradients": ["attribution"],
}
PART = 32
CLASSES = [f"species {i}" for i in range(200)]
CALLS = {
    "open": "fk.open_study(path)",
    "status": "fk.open_study(path).status()",
    "summary": "fk.open_study(path).summary()",
    "masks_without_mask": "fk.open_study(path).masks(columns=['image_id', 'score_kept'])",
    "masks_of_ten": "fk.open_study(path).masks(image_ids=[f'{i:07d}' for i in range(5, 15)])",
    "iter_masks": "[len(piece) for piece in fk.open_study(path).iter_masks(batch_size=1024)]",
    "check": "fk.open_study(path).check()",
}


def write(folder: Path, n: int, side: int, metrics: bool) -> None:
    """A finished store."""
    store = Store(folder)
    store.prepare()
    generator = np.random.default_rng(0)
    ids = [f"{i:07d}" for i in range(n)]
    labels = generator.choice(CLASSES, n)
    paths = [f"/photographs/camera-{i % 50:02d}/{name}.jpg" for i, name in enumerate(ids)]
    store.write_images(pd.DataFrame({"image_id": ids, "path": paths, "label": labels}))
    store.write_manifest(manifest(n))
    for chunk in range(-(-n // PART)):
        own = slice(chunk * PART, min((chunk + 1) * PART, n))
        rows = own.stop - own.start
        store.add_predictions(
            chunk,
            pd.DataFrame(
                {"image_id": ids[own], "predicted": labels[own], "correct": True, "score": generator.random(rows)}
                | {"margin": generator.random(rows), "runner_up": CLASSES[0], "reason": None}
            ),
        )
        for label, kinds in METHODS.items():
            size = side if label == "fido" else side // 4
            keys = [(image_id, kind) for image_id in ids[own] for kind in kinds]
            common = {"image_id": [i for i, _ in keys], "method": label, "kind": [kind for _, kind in keys]}
            frame = pd.DataFrame(
                common
                | {"target": [t for t in labels[own] for _ in kinds], "against": None}
                | {"mask": list(generator.random((len(keys), size, size), dtype=np.float32))}
                | {"height": size, "width": size, "evaluations": 300, "seconds": 1.0, "converged": True}
                | {name: generator.random(len(keys)) for name in ("score_full", "score_kept", "score_dropped")}
                | {"settings_id": "0123456789ab"}
            )
            store.add_masks(label, chunk, frame)
            if metrics:
                standing = pd.DataFrame(common | {name: generator.random(len(keys)) for name in STANDING})
                standing["reason"] = None
                group = f"standing-{slug(label)}"
                store.add_metrics(group, chunk, standing, SCHEMAS["standing"], ROW_KEYS["standing"])
                others = [
                    pd.DataFrame(common | {"other": other, "agreement": generator.random(len(keys))})
                    for other in METHODS
                    if other != label
                ]
                group = f"agreement-{slug(label)}"
                store.add_metrics(group, chunk, pd.concat(others), SCHEMAS["agreement"], ROW_KEYS["agreement"])


def manifest(n: int) -> dict[str, object]:
    """What `run_study` would write."""
    preprocessing = {"size": [224, 224], "mean": [0.5] * 3, "std": [0.5] * 3}
    return {
        "schema_version": 1,
        "fidokit_version": "0.1.0",
        "classifier": {"name": None, "repr": "a classifier", "module": "Net", "fingerprint": "0", "head": "softmax"}
        | {"layer": None, "precision": "float32", "micro_batch": 8, "class_names": CLASSES}
        | {"preprocessing": preprocessing},
        "dataset": {"fingerprint": "0", "n": n, "root": "/photographs"},
        "methods": {
            label: {"name": label, "settings": {}, "settings_id": "0123456789ab", "kinds": kinds}
            for label, kinds in METHODS.items()
        },
        "options": {"targets": None, "against": None, "part_size": PART},
    }


def measure(folder: str, name: str) -> None:
    """One call, timed, in this process: prints seconds and megabytes."""
    import fidokit as fk

    fk.open_study(folder)
    code = compile(CALLS[name], "call", "eval")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, cpu = [], []
    for _ in range(3):
        start = time.perf_counter(), time.process_time()
        eval(code, {"fk": fk, "path": folder})
        seconds.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "seconds": round(min(seconds), 3),
                "cpu": round(min(cpu), 3),
                "megabytes": round((after - before) / 1024, 1),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--metrics", action="store_true", help="with standing metrics and agreement measured")
    parser.add_argument("--keep", type=Path, help="folder for the stores; default a temporary one")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for n in arguments.images:
            folder = (arguments.keep or Path(temporary)) / f"{n}-{arguments.side}{'-metrics' * arguments.metrics}"
            if not (folder / "study.json").exists():
                write(folder, n, arguments.side, arguments.metrics)
            files = [path for path in folder.rglob("*") if path.is_file()]
            line = {"images": n, "side": arguments.side, "metrics": arguments.metrics, "files": len(files)}
            line["store_megabytes"] = round(sum(path.stat().st_size for path in files) / 2**20, 1)
            for name in CALLS:
                command = [sys.executable, __file__, "--measure", str(folder), name]
                line[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
