"""`fidokit labels`: which labels are wrong, and which answers rest on the wrong thing."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fidokit.cli.options import add_study, command, opened_study, tables_and_page
from fidokit.cli.text import plain, table

#: Photographs that the terminal shows; the table has all of them.
_MOST_SHOWN = 20


def add(commands: Any) -> None:
    """Add the command to the parser."""
    labels = command(commands, "labels", _labels, "find wrong labels, blank frames and answers for a wrong reason")
    add_study(labels, "labels")
    labels.add_argument("--site", metavar="COLUMN", help="that names the camera; default location, site or deployment")
    labels.add_argument("--sequence", metavar="COLUMN", help="that names the burst; default sequence")


def _labels(arguments: argparse.Namespace) -> int:
    from fidokit.errors.labels import check_labels
    from fidokit.report.page import write_report

    folder, page = tables_and_page(arguments)
    study = opened_study(arguments)
    check = check_labels(study, site=arguments.site, sequence=arguments.sequence, progress=sys.stderr.isatty())
    print(plain(check.summary()) + "\n")
    suspect = check.table[check.table["verdict"] != "neither"].head(_MOST_SHOWN)
    if len(suspect):
        print(table([_cells(row) for row in suspect.to_dict("records")]) + "\n")
    path = check.to_csv(folder / "labels.csv")
    page = write_report(study, page, answers=[check], max_images=arguments.max_images)
    print(plain(f"Table: {path}\nPage: {page}"))
    return 0


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    texts = {name: str(row[name] or "-") for name in ("image_id", "verdict", "label", "suggested")}
    scores = {f"{what} score": row[f"{what}_score"] for what in ("label", "reason", "blank")}
    return texts | {name: f"{score:.2f}" if score == score else "-" for name, score in scores.items()}
