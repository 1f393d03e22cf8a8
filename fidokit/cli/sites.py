"""`fidokit sites`: which cameras to mistrust, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fidokit.cli.options import add_study, command, opened_study, tables_and_page
from fidokit.cli.text import plain, table

if TYPE_CHECKING:
    from fidokit.errors.sites import SiteComparison

#: Sites that the terminal shows; the table has all of them.
_MOST_SHOWN = 30


def add(commands: Any) -> None:
    """Add the command to the parser."""
    sites = command(commands, "sites", _sites, "compare cameras or seasons: what their backgrounds decide")
    add_study(sites, "sites")
    sites.add_argument(
        "--by",
        metavar="COLUMN",
        help="what to compare: a column, or year, season, month or hour; default location, site or deployment",
    )
    sites.add_argument("--sequence", metavar="COLUMN", help="the column that names bursts; default sequence")
    sites.add_argument(
        "--photographs", type=int, default=60, metavar="N", help="to change of each site, at 11 evaluations; default 60"
    )
    sites.add_argument("--seed", type=int, default=0, help="of the photographs that are changed; default 0")
    sites.add_argument(
        "--no-changes", action="store_true", help="change no pixels: accuracy, and a forecast from scores alone"
    )


def _sites(arguments: argparse.Namespace) -> int:
    from fidokit.errors.sites import compare_sites
    from fidokit.report.page import write_report

    folder, page = tables_and_page(arguments)
    study = opened_study(arguments)
    comparison = compare_sites(
        study,
        arguments.by,
        sequence=arguments.sequence,
        interventions=not arguments.no_changes,
        photographs=arguments.photographs,
        seed=arguments.seed,
    )
    print(plain(comparison.summary()) + "\n")
    print(table([_cells(row, comparison) for row in comparison.table.head(_MOST_SHOWN).to_dict("records")]) + "\n")
    path = comparison.to_csv(folder / "sites.csv")
    page = write_report(study, page, answers=[comparison], max_images=arguments.max_images)
    print(plain(f"Table: {path}\nPage: {page}"))
    return 0


def _cells(row: dict[Any, Any], comparison: SiteComparison) -> dict[str, str]:
    site = comparison.table.columns[0]
    return {
        site: str(row[site]),
        "photographs": str(row["n"]),
        "right": _share(row, "accuracy"),
        "forecast": _share(row, "forecast"),
        "by background": _share(row, "background"),
        "q": f"{row['q_value']:.1g}" if row["q_value"] == row["q_value"] else "-",
        "": "mistrust" if row["mistrust"] else "",
    }


def _share(row: dict[Any, Any], name: str) -> str:
    """A share and its interval in per cent."""
    share, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    interval = f" [{low:.0f}, {high:.0f}]" if low == low else ""
    return f"{share:.0f} %{interval}" if share == share else "-"
