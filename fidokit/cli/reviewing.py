"""`fidokit review`: which photographs of a study to look at first, and when to stop."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit.cli.options import add_study, command, opened_study, tables_and_page
from fidokit.cli.text import plain, table
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    import pandas as pd

#: Photographs that the terminal shows; the file has all.
_SHOWN = 10


def add(commands: Any) -> None:
    """Add the command to the parser."""
    review = command(commands, "review", _review, "say which photographs to look at first, why, and when to stop")
    add_study(review, "review")
    review.add_argument("--by", metavar="COLUMN", help="that names the camera; default location, site or deployment")
    review.add_argument("--burst", metavar="COLUMN", help="that names the burst; default sequence")
    review.add_argument("--fixed", action="store_true", help="do not learn from labels how much each sign counts")
    review.add_argument(
        "--interventions",
        type=int,
        default=0,
        metavar="N",
        help="fill in what lies outside the mask of the first N photographs, at 2 evaluations each; default 0",
    )
    review.add_argument("--batch", type=int, default=50, metavar="N", help="photographs in a batch; default 50")
    review.add_argument(
        "--sample", type=float, default=0.2, metavar="SHARE", help="of a batch that is drawn at random; default 0.2"
    )
    review.add_argument("--seed", type=int, default=0, help="of that draw; default 0")
    review.add_argument(
        "--reviewed", type=Path, metavar="FILE", help="a CSV with image_id and review, to say how many errors are left"
    )


def _review(arguments: argparse.Namespace) -> int:
    from fidokit.errors.review import review_order
    from fidokit.report.page import write_report

    folder, page = tables_and_page(arguments)
    reviewed = None if arguments.reviewed is None else _read(arguments.reviewed)
    if arguments.interventions > 0:
        print(plain(f"Filling in takes up to {2 * arguments.interventions} evaluations."))
    study = opened_study(arguments)
    order = review_order(
        study,
        by=arguments.by,
        burst=arguments.burst,
        learn_from_labels=not arguments.fixed,
        interventions=arguments.interventions,
        batch=arguments.batch,
        sample=arguments.sample,
        seed=arguments.seed,
        progress=sys.stderr.isatty(),
    )
    print(plain(order.summary()) + "\n")
    shown = ("image_id", "predicted", "why")
    print(
        table([{name: str(row[name]) for name in shown} for row in order.table.head(_SHOWN).to_dict("records")]) + "\n"
    )
    if reviewed is not None:
        print(_left(order.errors_left(reviewed)) + "\n")
    written = [order.to_csv(folder / "order.csv"), order.to_timelapse(folder / "timelapse.csv", overwrite=True)]
    page = write_report(study, page, answers=[order], max_images=arguments.max_images)
    print(plain(f"Tables: {', '.join(map(str, written))}\nPage: {page}"))
    return 0


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype={"image_id": str})
    except (OSError, ValueError) as error:
        raise SettingsError(f"--reviewed: {path} cannot be read as a CSV ({error})") from error


def _left(left: pd.DataFrame) -> str:
    """How many errors are left after the last batch that was looked at whole."""
    if left.empty:
        return "Batch 1 was not looked at whole, so nothing can be said of the errors that are left."
    last = left.iloc[-1]
    low, high = (round(last[name]) for name in ("errors_left_low", "errors_left_high"))
    return (
        f"After {last['batch']:.0f} batches {last['errors_found']:.0f} errors were found. Of the "
        f"{last['not_looked_at']:.0f} photographs that nobody looked at, about {last['errors_left']:.0f} are wrong "
        f"(95 % interval {low} to {high}). Whoever stops now leaves at most {last['at_most']:.0f}."
    )
