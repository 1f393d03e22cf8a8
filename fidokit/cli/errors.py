"""`fidokit errors`: the systematic errors of a study, found, tested and proved by changing pixels."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fidokit._util.glossary import GLOSSARY
from fidokit._util.numbers import signed, with_interval
from fidokit.cli.options import add_study, command, opened_study, tables_and_page
from fidokit.cli.text import plain, table

if TYPE_CHECKING:
    from fidokit.errors.result import ErrorClusters

#: Clusters that the terminal shows where none is systematic.
_MOST_SHOWN = 5


def add(commands: Any) -> None:
    """Add the command to the parser."""
    errors = command(commands, "errors", _errors, "find what the errors of a study have in common, and prove it")
    add_study(errors, "errors")
    errors.add_argument(
        "--method", metavar="M", help="label of the method whose masks are used; default the best there"
    )
    errors.add_argument("--burst", metavar="COLUMN", help="photographs with the same value of it stay in the same half")
    errors.add_argument("--seed", type=int, default=0, help="of the halves and of all that is random; default 0")
    errors.add_argument("--no-verify", action="store_true", help="leave out the changing of pixels")


def _errors(arguments: argparse.Namespace) -> int:
    from fidokit.errors import find_error_clusters
    from fidokit.report.page import write_report

    folder, page = tables_and_page(arguments)
    study = opened_study(arguments)
    errors = find_error_clusters(study, arguments.method, burst=arguments.burst, seed=arguments.seed)
    if not arguments.no_verify:
        errors.verify(progress=sys.stderr.isatty())
    _print_errors(errors)
    paths = errors.to_csv(folder)
    page = write_report(study, page, errors, max_images=arguments.max_images)
    print(plain(f"Tables: {', '.join(str(path) for path in paths)}\nPage: {page}"))
    return 0


def _print_errors(errors: ErrorClusters) -> None:
    """The systematic clusters in a table, and one sentence on each; the clearest of the others if there is none."""
    # The sentences of the clusters come below, each with its verdict.
    lines = [line for line in errors.summary().splitlines() if not line.startswith("- ")]
    print(plain("\n".join(lines) + "\n"))
    clusters = errors.clusters
    systematic = clusters[clusters["systematic"].astype(bool)]
    shown = systematic if len(systematic) else clusters.head(_MOST_SHOWN)
    if shown.empty:
        return
    if systematic.empty:
        print("None of the clusters is systematic; the clearest of them:")
    print(table([_cells(row) for row in shown.to_dict("records")]))
    print("Errors and expected: on the half of the photographs that the cluster was found on.")
    for key in ("holdout", "q_value", *(("effect",) if errors.verification is not None else ())):
        print(f"{GLOSSARY[key].name}: {GLOSSARY[key].text}")
    print()
    proofs = {} if errors.verification is None else errors.verification.table.set_index("cluster")["sentence"].to_dict()
    for row in shown.to_dict("records"):
        print(plain(f"Cluster {row['cluster']}, {row['name']}: {row['sentence']}."))
        if row["cluster"] in proofs:
            print(plain(f"  {proofs[row['cluster']]}."))
        if row["systematic"]:
            print(plain(f"  What to do: {row['advice']}"))
    print()


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    pair = [row["true_class"], row["predicted_class"]]
    found = {
        "cluster": str(row["cluster"]),
        "errors": f"{row['n_errors']} of {row['size']}",
        "expected": f"{100 * row['expected_rate']:.0f} %",
        "held out": f"{row['holdout_n_errors']} of {row['holdout_size']}",
        "q": f"{row['q_value']:.1g}",
        "mostly": " taken for ".join(pair) if all(isinstance(name, str) for name in pair) else "",
    }
    if isinstance(row["verdict"], str):
        effect = with_interval(row["effect"], row["effect_low"], row["effect_high"], signed)
        found |= {"effect": effect, "verdict": row["verdict"]}
    return found
