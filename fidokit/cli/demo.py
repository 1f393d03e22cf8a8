"""`fidokit demo`: the main job on drawn species, with nothing to download and no model to bring."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit.cli.options import INTERRUPTED, command
from fidokit.cli.studying import print_study, print_verdicts
from fidokit.cli.text import plain
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    pass

METHODS = ("fido", "grad-cam", "integrated-gradients")
#: A quarter of the photographs has something that misleads the classifier, so that there are errors to look at.
CAUSES = {"hidden_part": 0.1, "night": 0.1, "tiny": 0.05}
_LEAST = 12


def add(commands: Any) -> None:
    """Add the command to the parser."""
    demo = command(commands, "demo", _demo, "explain drawn species whose true causes are known; needs no download")
    demo.add_argument("--n", type=int, default=60, help="photographs; default 60")
    demo.add_argument("--seed", type=int, default=0, help="of the photographs; default 0")
    demo.add_argument("--store", type=Path, default=Path("runs/demo"), help="folder of the study; default runs/demo")
    demo.set_defaults(
        kept=lambda arguments: f"finished masks are kept in {arguments.store}; the same command goes on from there"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from fidokit import testbed
    from fidokit.report.page import write_report
    from fidokit.study.run import run_study

    if arguments.n < _LEAST:
        raise SettingsError(f"--n is {arguments.n}; at least {_LEAST} photographs are needed to compare methods")
    store: Path = arguments.store
    drawn = store.with_name(f"{store.name}-photographs")
    data = testbed.load(arguments.n, seed=arguments.seed, causes=CAUSES, folder=drawn)
    print(plain(f"{len(data)} drawn photographs of {len(data.classes)} species in {data.root}\n"))
    study = run_study(testbed.classifier(), data, list(METHODS), store=store, progress=sys.stderr.isatty())
    if study.status()["missing"].sum():
        return INTERRUPTED
    study.metrics(parts=True, removal=testbed.without_part, sanity=True, progress=sys.stderr.isatty())
    print_study(study)
    print_verdicts(study)
    page = write_report(study, store / "report.html")
    print(plain(f"Study: {store}\nPage: {page}"))
    return 0
