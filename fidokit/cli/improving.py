"""`fidokit improve`: whether the masks of a study make its classifier right more often, without training."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fidokit._util.numbers import percentage
from fidokit.cli.options import add_study, command, opened_study, tables_and_page
from fidokit.cli.text import plain, table

if TYPE_CHECKING:
    from fidokit.enhance.judging import Improvement


def add(commands: Any) -> None:
    """Add the command to the parser."""
    improve = command(commands, "improve", _improve, "classify a study's photographs again, guided by their masks")
    add_study(improve, "improvement")
    improve.add_argument(
        "--how", default="crop", help="crop, fade, crop+fade, or several separated by commas; default crop"
    )
    improve.add_argument("--method", metavar="M", help="label of the method whose masks guide; default the first")
    improve.add_argument(
        "--unit", metavar="COLUMN", help="photographs with the same value of it, such as a burst, count as one"
    )
    improve.add_argument("--candidates", type=int, default=1, metavar="N", help="classes with a mask each; default 1")
    improve.add_argument(
        "--first",
        default="grad-cam",
        metavar="M",
        help="method of a cheap look before the masks, or none; default grad-cam",
    )
    improve.add_argument(
        "--evidence",
        choices=("mask", "region"),
        default="mask",
        help="what crops enclose: most of the mask, or the verified region cut from it; default mask",
    )
    improve.add_argument("--budget", type=float, metavar="N", help="most evaluations a photograph, on average")
    improve.add_argument("--folds", type=int, default=5, metavar="N", help="of the cross-validation; default 5")
    improve.add_argument("--top", type=int, default=5, metavar="K", help="of the top-k accuracy; default 5")
    improve.add_argument("--seed", type=int, default=0, help="of the folds and of all that is random; default 0")
    improve.add_argument(
        "--controls", default="all", help="all, none, or names separated by commas; without any, no gain is proven"
    )


def _improve(arguments: argparse.Namespace) -> int:
    from fidokit.enhance import classify_with_masks
    from fidokit.enhance.controls import CONTROLS
    from fidokit.report.page import write_report

    folder, page = tables_and_page(arguments)
    study = opened_study(arguments)
    controls = {"all": CONTROLS, "none": ()}.get(arguments.controls)
    improvement = classify_with_masks(
        study,
        _names(arguments.how),
        unit=arguments.unit,
        folds=arguments.folds,
        controls=_names(arguments.controls) if controls is None else controls,
        candidates=arguments.candidates,
        first=None if arguments.first == "none" else arguments.first,
        evidence=arguments.evidence,
        budget=arguments.budget,
        method=arguments.method,
        top=arguments.top,
        seed=arguments.seed,
        progress=sys.stderr.isatty(),
    )
    _print_improvement(improvement)
    improvement.to_csv(folder)
    page = write_report(study, page, improvement=improvement, max_images=arguments.max_images)
    print(plain(f"Tables: {folder}\nPage: {page}"))
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print_improvement(improvement: Improvement) -> None:
    """The verdict, the table behind it, and what to use from now on."""
    units = improvement.images["unit"].nunique()
    print(plain(f"{len(improvement.images)} photographs, {units} independent units ({improvement.unit})\n"))
    print(table([_cells(row) for row in improvement.summary.to_dict("records")]))
    print("Shares that are right and their differences, with 95 % intervals; settings chosen on other photographs.\n")
    print(plain(improvement.verdict))
    for note in improvement.notes:
        print(plain(f"  - {note}"))
    if len(improvement.failures):
        print(plain(f"  - {len(improvement.failures)} not measured: {improvement.failures['reason'].iloc[0]}"))
    if improvement.gain:
        print(plain(f"\nTo use it in Python: fidokit.MaskGuidedClassifier(classifier, {improvement.settings!r})"))
    print()


def _difference(middle: float, low: float, high: float) -> str:
    """A difference of shares in points; nothing where there is none to compare with."""
    if middle != middle or low != low:
        return ""
    return f"{100 * middle:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    from fidokit._util.shares import p_words

    return {
        "answered by": row["method"],
        "right": percentage(row["accuracy"]),
        "difference": _difference(row["difference"], row["low"], row["high"]),
        "p": "" if row["low"] != row["low"] else p_words(row["p_value"]),
        "turned right": f"{row['turned_right']}",
        "wrong": f"{row['turned_wrong']}",
        "masks minus this": _difference(row["masks_minus"], row["masks_minus_low"], row["masks_minus_high"]),
        "evaluations": f"{row['evaluations']:.1f}",
    }
