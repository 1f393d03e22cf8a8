"""`fidokit check`: whether a study's store is as it was written, and what has to be computed again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fidokit._util.atomic_write import writing
from fidokit.cli.options import command, location
from fidokit.cli.text import cut, plain, table

#: Parts that the terminal shows.
_MOST_SHOWN = 20
_WELL = ("intact", "unsealed")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    check = command(commands, "check", _check, "find damaged, missing and foreign parts of a study")
    check.add_argument("study", type=location, metavar="RUN", help="folder of the study, or its fsspec URL")
    check.add_argument(
        "--set-aside", action="store_true", help="move what is damaged or foreign into the store's folder damaged"
    )
    check.add_argument("--csv", type=Path, metavar="FILE", help="for the photographs to compute again, one line each")


def _check(arguments: argparse.Namespace) -> int:
    """Exit status: 0 if all is there and intact, else 1."""
    from fidokit.study.run import open_study

    study = open_study(arguments.study)
    found = study.check(set_aside=arguments.set_aside)
    counts = ", ".join(f"{n} {state}" for state, n in found["state"].value_counts().items())
    print(plain(f"{len(found)} parts of {study.path}: {counts}\n"))
    wrong = found[~found["state"].isin(_WELL)]
    if arguments.csv is not None:
        lines = wrong.explode("image_ids").rename(columns={"image_ids": "image_id"})
        with writing(arguments.csv):
            lines.to_csv(arguments.csv, index=False, errors="backslashreplace")
    if wrong.empty:
        return 0
    rows = [
        {"part": part, "state": state, "photographs": str(len(image_ids)), "why": cut(str(reason), 80)}
        for part, state, reason, image_ids in zip(
            *(wrong[name].head(_MOST_SHOWN) for name in ("part", "state", "reason", "image_ids")), strict=True
        )
    ]
    print(table(rows))
    if len(wrong) > _MOST_SHOWN:
        print(f"... and {len(wrong) - _MOST_SHOWN} more")
    again = list(dict.fromkeys(image_id for ids in wrong["image_ids"] for image_id in ids))
    if again:
        shown = cut(", ".join(again[:5]), 300)
        print(plain(f"\n{len(again)} photographs are to be computed again: {shown}{', ...' if len(again) > 5 else ''}"))
    print("Running the study again with the same classifier and photographs computes just these.")
    return 1
