"""Peak memory of a study of 400 images over that of 40, each in a process of its own.

Run: ``python tests/benchmarks/memory.py``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from material import report


def study(n: int) -> None:
    import fidokit as fk
    from fidokit import samples

    with tempfile.TemporaryDirectory() as folder:
        data = samples.composites(Path(folder) / "images", n, seed=1)
        classifier = samples.efficientnet_lite0()
        fk.run_study(classifier, data, methods=["fido", "grad-cam"], store=Path(folder) / "run", progress=False)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main() -> None:
    if len(sys.argv) > 1:
        study(int(sys.argv[1]))
        return
    peaks = {}
    for n in (40, 400):
        run = subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True)
        peaks[n] = json.loads(run.stdout.splitlines()[-1])["peak"]
    report(benchmark="memory", peak_40=peaks[40], peak_400=peaks[400], ratio=peaks[400] / peaks[40])


if __name__ == "__main__":
    main()
