"""`fidokit separate` and `fidokit key`: what separates one class from another, proved by changing pixels."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit.cli.options import add_model, add_run, command, opened_study, place_in
from fidokit.cli.text import plain, table

if TYPE_CHECKING:
    from fidokit.errors.answer import Answer
    from fidokit.study.study import Study


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    separate = command(commands, "separate", _separate, "show what separates one class from another, and prove it")
    _add_options(separate, "separate")
    separate.add_argument("a", metavar="A", help="name of a class")
    separate.add_argument("b", metavar="B", help="name of another")
    key = command(commands, "key", _key, "an identification key: what separates the classes that a study confuses")
    _add_options(key, "key")
    key.add_argument(
        "--pair", nargs=2, action="append", metavar=("A", "B"), help="two classes; give it again for more pairs"
    )
    key.add_argument("--most", type=int, default=12, metavar="N", help="pairs where none are given; default 12")


def _add_options(parser: argparse.ArgumentParser, name: str) -> None:
    add_run(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"the page; default {name}.html in the study")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the table")
    parser.add_argument("--method", default="hires-cam", metavar="M", help="of contrastive masks; default hires-cam")
    parser.add_argument("--burst", metavar="COLUMN", help="photographs with the same value of it stay in the same half")
    parser.add_argument("--seed", type=int, default=0, help="of the halves and of all that is random; default 0")
    parser.add_argument("--max-images", type=int, default=12, metavar="N", help="photographs beside; default 12")
    add_model(parser, otherwise="only needed where the study cannot find its classifier by itself")
    parser.set_defaults(name=name, kept=lambda arguments: f"the study in {arguments.study} is as it was")


def _separate(arguments: argparse.Namespace) -> int:
    from fidokit.errors.marks import separate

    return _told(arguments, lambda study, options: separate(study, arguments.a, arguments.b, **options))


def _key(arguments: argparse.Namespace) -> int:
    from fidokit.errors.marks import identification_key

    return _told(
        arguments, lambda study, options: identification_key(study, arguments.pair, most=arguments.most, **options)
    )


def _told(arguments: argparse.Namespace, ask: Callable[[Study, dict[str, Any]], Answer]) -> int:
    """Ask, print the answer, and write its page."""
    from fidokit.report.page import write_report

    page = arguments.output or place_in(arguments.study, f"{arguments.name}.html", "-o FILE")
    study = opened_study(arguments)
    options = {"method": arguments.method, "burst": arguments.burst, "seed": arguments.seed, "progress": True}
    answer = ask(study, options)
    print(plain(answer.summary()) + "\n")
    if len(answer.table):
        print(table([_cells(row) for row in answer.table.to_dict("records")]) + "\n")
    if arguments.csv is not None:
        print(plain(f"Table: {answer.to_csv(arguments.csv)}"))
    page = write_report(study, page, answers=[answer], max_images=arguments.max_images)
    print(plain(f"Page: {page}"))
    return 0


def _cells(row: dict[Any, Any]) -> dict[str, str]:
    """A row of either table; of a pair without marks, dashes."""
    from fidokit._util.shares import p_words

    names = [name for name in ("pair", "mark", "seen_in", "where") if name in row]
    cells = {name: str(row[name]) if isinstance(row[name], str) else "-" for name in names}
    cells |= dict.fromkeys(["effect", "share", "p", "n"], "-")
    if row["effect"] == row["effect"]:
        effect = f"{row['effect']:.2f} [{row['effect_low']:.2f}, {row['effect_high']:.2f}]"
        cells |= {"effect": effect, "share": f"{100 * row['share']:.0f} %"}
        cells |= {"p": p_words(row["p_value"]), "n": f"{row['n']:.0f}"}
    return cells | ({"shown": "yes" if row["shown"] else "no"} if "shown" in row else {})
