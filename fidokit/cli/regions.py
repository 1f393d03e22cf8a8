"""`fidokit regions`: the smallest regions of a study's masks that are enough, or needed, cut and checked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit._util.atomic_write import writing
from fidokit._util.numbers import number
from fidokit.cli.options import INTERRUPTED, add_model, add_run, command, opened_study, place_in
from fidokit.cli.text import plain, table

if TYPE_CHECKING:
    import pandas as pd

    from fidokit.study.study import Study


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "cut the regions of a study's masks, and check whether they are enough, or needed"
    regions = command(commands, "regions", _regions, summary)
    add_run(regions)
    regions.add_argument("--methods", metavar="NAMES", help="labels, separated by commas; default all of the study")
    regions.add_argument("--kinds", metavar="NAMES", help="of ssr, sdr, joint, effect, attribution; default all")
    regions.add_argument("--csv", type=Path, metavar="FILE", help="the table, without the regions themselves")
    regions.add_argument("--report", type=Path, metavar="FILE", help="the page; default report.html in the study")
    regions.add_argument("--max-images", type=int, default=200, metavar="N", help="photographs shown; default 200")
    add_model(regions, otherwise="only needed where the study cannot find its classifier by itself")
    regions.set_defaults(
        kept=lambda arguments: f"regions are kept in {arguments.study}; the same command goes on from there"
    )


def _regions(arguments: argparse.Namespace) -> int:
    from fidokit.report.page import write_report

    page = arguments.report or place_in(arguments.study, "report.html", "--report FILE")
    study = opened_study(arguments)
    methods, kinds = _names(arguments.methods), _names(arguments.kinds)
    found = study.regions(methods, kinds, progress=sys.stderr.isatty())
    print_regions(found)
    if arguments.csv is not None:
        with writing(arguments.csv):
            arguments.csv.parent.mkdir(parents=True, exist_ok=True)
            found.drop(columns="region").to_csv(arguments.csv, index=False, errors="backslashreplace")
        print(plain(f"Table: {arguments.csv}"))
    page = write_report(study, page, max_images=arguments.max_images)
    print(plain(f"Page: {page}"))
    return INTERRUPTED if _lacks(study, found, methods, kinds) else 0


def print_regions(found: pd.DataFrame) -> None:
    """How many regions hold, of every method, kind and claim, and how large they are."""
    from fidokit.methods.verdicts import is_whole

    rows = []
    for (method, kind, claim), own in found[found["holds"].notna()].groupby(["method", "kind", "claim"], sort=False):
        n = len(own)
        whole = own["area"].map(is_whole)
        holds = int((own["holds"].eq("yes") & ~whole).sum())
        some = int(own["holds"].eq("only under some infills").sum())
        cells = {"method": str(method), "kind": str(kind), "claim": str(claim), "regions": str(n)}
        cells |= {"hold": f"{holds} ({100 * holds / n:.0f} %)", "under some fill-ins": str(some)}
        cells |= {"only the whole picture": str(int((own["holds"].eq("yes") & whole).sum()))}
        cells |= {"do not hold": str(int(own["holds"].eq("no").sum()))}
        rows.append(
            cells | {"mean area": f"{100 * own['area'].mean():.0f} %", "mean score": number(own["score"].mean())}
        )
    if not rows:
        print("No region was cut: there are no masks of these methods and kinds.")
        return
    print(table(rows))
    print(
        "Sufficient: the region alone keeps at least 0.9 of the whole photograph's score. Destroying: at most 0.1 of "
        "it is left without the region. Checked under fill-ins that nothing was optimised with. The score is a share "
        "of the whole photograph's; the means count the regions that are the whole picture too.\n"
    )


def _lacks(study: Study, found: pd.DataFrame, methods: list[str] | None, kinds: list[str] | None) -> bool:
    """Whether some masks have no region, since it was stopped or photographs cannot be read."""
    masks = study.masks(methods, kinds, ["image_id", "method", "kind"])
    return len(found[["image_id", "method", "kind"]].drop_duplicates()) < len(masks)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
