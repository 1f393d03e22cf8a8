"""`fidokit methods` and `fidokit samples`: what there is to try."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fidokit.cli.options import PRESETS, SAMPLE_MODEL, command
from fidokit.cli.text import described_fields, plain


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    samples = command(commands, "samples", _samples, "write a few labelled photographs to try things with")
    samples.add_argument("folder", type=Path, metavar="FOLDER")
    command(commands, "methods", _methods, "list the methods and their settings")


def _samples(arguments: argparse.Namespace) -> int:
    import shlex

    from fidokit import samples

    data = samples.photographs(arguments.folder)
    print(plain(f"{len(data)} photographs of {len(data.classes)} classes in {arguments.folder}. Next:\n"))
    print(plain(f"    fidokit study {shlex.quote(str(arguments.folder))} --model {SAMPLE_MODEL}"))
    return 0


def _methods(_arguments: argparse.Namespace) -> int:
    from fidokit.methods import methods

    for name, method in methods().items():
        print(plain(f"{name} ({', '.join(method.kinds)})\n    {method.summary or 'no summary'}"))
        presets = [preset for preset in PRESETS if hasattr(method.settings, preset)]
        if presets:
            print(f"    --settings {', '.join(presets)}")
        for line in described_fields(method.settings):
            print(plain(f"    --set {line}"))
        print()
    return 0
