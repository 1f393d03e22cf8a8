"""`fidokit plan`: what a study would cost, before it is begun."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fidokit.cli.options import add_model, command, load_classifier
from fidokit.cli.studying import add_dataset, dataset, study_methods, study_ranks
from fidokit.cli.text import cut, plain, table
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    from fidokit.study.plan import Plan

_SAMPLE = 8
_WORKERS = "2,4,8"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    plan = command(commands, "plan", _plan, "measure a few photographs, and say what a study of all would cost")
    add_dataset(plan)
    add_model(plan)
    plan.add_argument(
        "--sample", type=int, default=_SAMPLE, metavar="N", help=f"photographs measured; default {_SAMPLE}"
    )
    plan.add_argument("--workers", default=_WORKERS, metavar="N,...", help=f"machines to share it; default {_WORKERS}")


def _plan(arguments: argparse.Namespace) -> int:
    from fidokit.study.plan import plan

    try:
        workers = [int(part) for part in arguments.workers.split(",")]
    except ValueError as error:
        raise SettingsError(f"--workers {arguments.workers}: give whole numbers, such as {_WORKERS}") from error
    data = dataset(arguments)
    made = plan(
        load_classifier(arguments),
        data,
        study_methods(arguments.methods, arguments.settings),
        targets="label" if arguments.targets == "label" else None,
        against=arguments.against,
        sample=arguments.sample,
        metrics=not arguments.no_metrics,
        ranks=study_ranks(arguments.ranks),
    )
    on = made.on(workers)
    print(plain(_measured(made)))
    costs: list[dict[Any, Any]] = made.table.to_dict("records")
    rows = [
        {
            "method": cut(row["method"]),
            "evaluations": f"{row['evaluations']:.0f}",
            "seconds": f"{row['seconds']:.3g}",
            "kB": f"{row['bytes'] / 1e3:.2f}",
            "of all: evaluations": f"{row['all_evaluations']:,.0f}",
            "time": _time(row["all_hours"] * 3600),
            "MB": f"{row['all_bytes'] / 1e6:.3g}",
        }
        for row in costs
    ]
    print(f"\n{table(rows)}\n")
    memory = "" if made.memory is None else f", {made.memory / 1e9:.1f} GB of memory"
    gpu = "" if made.gpu_memory is None else f", {made.gpu_memory / 1e9:.1f} GB of the GPU's"
    print(
        f"In all, on this machine: {made.evaluations:,.0f} evaluations, {_time(made.seconds)}, "
        f"{made.store_bytes / 1e6:,.1f} MB in the store{memory}{gpu}."
    )
    hours = zip(on["workers"], on["hours"], strict=True)
    shares = ", ".join(f"{n}: {_time(float(own) * 3600)}" for n, own in hours)
    print(f"With so many workers, each like this {'machine' if made.gpu_memory is None else 'GPU'}: {shares}.")
    if made.gpu_memory is None:
        print("There is no GPU here: what one would take is unknown until this is run where there is one.")
    if made.table["failed"].max() > 0:
        print("Some of the few could not be explained; the study will say why.")
    return 0


def _measured(made: Plan) -> str:
    return (
        f"{made.n_measured} of {made.n:,} photographs measured, on {made.device}, {made.precision}, "
        f"{made.threads} threads, micro-batch {made.micro_batch}; {made.start_seconds:.0f} s to make the classifier "
        f"ready, {made.read_seconds:.3g} s to read a photograph. For each of them:"
    )


def _time(seconds: float) -> str:
    if seconds != seconds:
        return "unknown"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
