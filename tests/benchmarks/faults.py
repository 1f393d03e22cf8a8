"""Faults at random places of small studies, each followed by a plain rerun: is the table then the undisturbed one?

The places are drawn by seed. An image may be missing only if `failures` has it with a reason. Full disks are small
tmpfs, which needs Linux and root. Ends with 1 if a table was wrong, or a run ended with an error not fidokit's own.
Run: ``python tests/benchmarks/faults.py`` (``--n`` faults of each kind, ``--workers`` of those that start a cluster).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from fault_cases import KINDS, Campaign, Fault
from material import report


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=18)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faults = bad = 0
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        for kind in arguments.kinds:
            start, ends, wrong = time.perf_counter(), dict[str, int](), []
            n = arguments.workers if kind.startswith("worker") else arguments.n
            for seed in range(arguments.first, arguments.first + n):
                end, problems = campaign.suffer(Fault(kind, seed))
                word = end.split(" ")[0] if end.startswith("UNEXPECTED") else end
                ends[word] = ends.get(word, 0) + 1
                if problems or word == "UNEXPECTED":
                    wrong.append(seed)
                    print(f"{kind}, seed {seed}: {end}\n  " + "\n  ".join(problems[:5]), file=sys.stderr, flush=True)
            faults, bad = faults + n, bad + len(wrong)
            report(
                benchmark="faults",
                kind=kind,
                faults=n,
                ended=ends if kind != "damaged part" else {"finished": n},
                wrong=len(wrong),
                wrong_seeds=wrong,
                seconds=time.perf_counter() - start,
            )
    report(benchmark="faults", kind="all", faults=faults, wrong=bad)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
