"""`fidokit study` and `fidokit report`: masks over a dataset, their table and their page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit._util.numbers import number, percentage, with_interval
from fidokit.cli.options import (
    INTERRUPTED,
    PRESETS,
    add_model,
    add_run,
    command,
    load_classifier,
    location,
    method_settings,
    opened_study,
    place_in,
    store_of,
)
from fidokit.cli.regions import print_regions
from fidokit.cli.text import cut, plain, table
from fidokit.exceptions import SettingsError, StoreError

if TYPE_CHECKING:
    from distributed import Client

    from fidokit.data.images import LabelledImages
    from fidokit.study.study import Study

METHODS = "fido,grad-cam,integrated-gradients"
#: What the terminal has room for, where metrics were measured.
SHOWN = ("insertion", "deletion", "average_precision", "part_correlation")


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    study = command(commands, "study", _study, "explain a labelled dataset by several methods, and report on it")
    add_dataset(study)
    add_model(study)
    study.add_argument("--store", type=location, help="folder of the study, or fsspec URL; default runs/NAME OF DATA")
    study.add_argument("--report", type=Path, metavar="FILE", help="the page; default report.html in the store")
    study.add_argument("--cluster", metavar="ADDRESS", help="of a Dask scheduler, whose workers compute the masks")
    study.add_argument(
        "--regions",
        action="store_true",
        help="cut the regions of the masks and check whether they are enough, or needed; 18 evaluations each",
    )
    study.add_argument("--retry-failures", action="store_true", help="try again what failed before")
    study.set_defaults(
        kept=lambda arguments: f"finished masks are kept in {store_of(arguments)}; the same command goes on from there"
    )

    report = command(commands, "report", _report, "write the page of a study")
    add_run(report)
    report.add_argument("--out", type=Path, metavar="FILE", help="the page; default report.html in the study's folder")
    report.add_argument("--max-images", type=int, default=200, metavar="N", help="photographs shown; default 200")
    report.add_argument(
        "--select",
        nargs="+",
        metavar="WHICH",
        help="a short page of these photographs alone: image_ids, or one condition on the columns of the predictions, "
        "such as 'correct == False and margin < 0.1'",
    )


def add_dataset(command: argparse.ArgumentParser) -> None:
    """The options of a command that explains a dataset: which photographs, by which methods, which classes."""
    command.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a folder with one folder a class, a CSV, a COCO JSON, the JSON of MegaDetector, SpeciesNet or AddaxAI, "
        "a Timelapse CSV, or the folder of a Camtrap DP, of CUB or NABirds",
    )
    command.add_argument("--images", type=Path, metavar="FOLDER", help="of the photographs, if not the folder of DATA")
    command.add_argument(
        "--labels", type=Path, metavar="CSV", help="with path and label, for what a detector found; see from_detections"
    )
    command.add_argument("--methods", default=METHODS, help=f"names, separated by commas; default {METHODS}")
    command.add_argument(
        "--settings", choices=PRESETS, default="default", help="for the methods that have such settings"
    )
    command.add_argument("--targets", choices=("predicted", "label"), default="predicted", help="class to explain")
    command.add_argument("--against", metavar="NAME", help="class or taxon to contrast with, or runner-up")
    command.add_argument(
        "--ranks", metavar="RANK,...", help="ranks of the taxonomy at which to explain, such as family,species"
    )
    command.add_argument("--limit", type=int, metavar="N", help="only N photographs, spread evenly over the table")
    command.add_argument(
        "--boxes",
        action=argparse.BooleanOptionalAction,
        help="crop each photograph to its annotated box; default for what a detector found, one box an animal",
    )
    command.add_argument("--no-metrics", action="store_true", help="leave out the measuring of masks, half of the time")


def dataset(arguments: argparse.Namespace) -> LabelledImages:
    """The photographs that the options of `add_dataset` name; with several boxes a photograph, sets ``--boxes``."""
    import numpy as np

    from fidokit._util.checks import COUNT, check_number
    from fidokit.data.detect import read_dataset

    data = read_dataset(arguments.data, images=arguments.images, labels=arguments.labels)
    if arguments.limit is not None:
        check_number("--limit", arguments.limit, COUNT)
        spread = np.linspace(0, len(data) - 1, min(arguments.limit, len(data)))
        data = data.subset(spread.round().astype(int))
    if arguments.boxes is None and "detection" in data.table.columns and data.boxed.any():
        arguments.boxes = True
        print("Each animal is cropped to its box; --no-boxes shows the classifier whole photographs.", file=sys.stderr)
    if arguments.boxes and not data.boxed.any():
        raise SettingsError(f"--boxes: {arguments.data} has no boxes; add the columns box_x0, box_y0, box_x1, box_y1")
    return data


def _study(arguments: argparse.Namespace) -> int:
    from fidokit.report.page import write_report
    from fidokit.study.run import run_study

    methods = study_methods(arguments.methods, arguments.settings)
    store = store_of(arguments)
    data = dataset(arguments)
    with _client(arguments.cluster) as client:
        study = run_study(
            load_classifier(arguments),
            data,
            methods,
            store=store,
            targets="label" if arguments.targets == "label" else None,
            against=arguments.against,
            progress=sys.stderr.isatty(),
            retry_failures=arguments.retry_failures,
            client=client,
            ranks=study_ranks(arguments.ranks),
        )
    if study.status()["missing"].sum():
        return INTERRUPTED  # run_study has said what is kept
    if not arguments.no_metrics:
        study.metrics(progress=sys.stderr.isatty())
    print_study(study)
    print_verdicts(study)
    if arguments.regions:
        print_regions(study.regions(progress=sys.stderr.isatty()))
    page = write_report(study, arguments.report or place_in(store, "report.html", "--report FILE"))
    print(plain(f"Study: {store}\nPage: {page}"))
    return 0


@contextmanager
def _client(address: str | None) -> Iterator[Client | None]:
    """A client of the Dask scheduler at an address, or none."""
    if address is None:
        yield None
        return
    from fidokit.study.engine.cluster import connected

    with connected(address) as client:
        yield client


def study_methods(names: str, preset: str) -> dict[str, tuple[str, Any]]:
    """Labels with methods and settings; a method with settings other than its defaults says so in its label."""
    methods: dict[str, tuple[str, Any]] = {}
    for name in (part.strip() for part in names.split(",")):
        if name:
            method, _ = method_settings(name, "default")
            special = preset != "default" and hasattr(method.settings, preset)
            label = f"{name}-{preset}" if special else name
            methods[label] = (name, method_settings(name, preset)[1] if special else None)
    if not methods:
        raise SettingsError(f"--methods is empty; give names, separated by commas, such as {METHODS}")
    if preset != "default" and all(settings is None for _, settings in methods.values()):
        raise SettingsError(f"--settings {preset}: none of {', '.join(methods)} has such settings; leave it out")
    return methods


def study_ranks(names: str | None) -> list[str] | None:
    """The ranks of ``--ranks``; None where it was not given."""
    return None if names is None else [part.strip() for part in names.split(",") if part.strip()]


def print_study(study: Study) -> None:
    """How often the classifier is right, also rank by rank, what the masks do, and what failed."""
    from fidokit.figures.masks import interval_columns
    from fidokit.study.compare import METRIC_DIRECTIONS

    predictions = study.predictions()
    judged = predictions["correct"].dropna()
    right = int(judged.sum())
    print(
        f"{len(predictions)} photographs: {right} right, {len(judged) - right} wrong, "
        f"{len(predictions) - len(judged)} not judged\n"
    )
    if study.taxonomy is not None:
        shares = study.taxonomy.accuracy(predictions).merge(study.taxonomy.errors(predictions), on="rank")
        ranks = [
            {
                "rank": plain(row["rank"]),
                "judged": str(row["n_x"]),
                "right": with_interval(row["accuracy"], row["low"], row["high"], percentage),
                "errors from here on": str(row["n_y"]),
            }
            for row in shares.to_dict("records")
        ]
        print(f"{table(ranks)}\n")
    summary = study.summary()
    measures = [name for name in interval_columns(summary) if name in SHOWN] or interval_columns(summary)
    rows = []
    for row in summary.to_dict("records"):
        cells = {"method": row["method"], "kind": row["kind"], "n": str(row["n"])}
        for name in measures:
            cells[name.replace("_", " ")] = with_interval(*(row[f"{name}{end}"] for end in ("", "_low", "_high")))
        rows.append(cells | {"evaluations": f"{row['evaluations']:.0f}", "seconds": number(row["seconds"])})
    print(table(rows))
    good = {1: "higher is better", -1: "lower is better"}
    told = "; ".join(
        f"{name.replace('_', ' ')}: {good[METRIC_DIRECTIONS[name]]}" for name in measures if METRIC_DIRECTIONS.get(name)
    )
    print(f"Means with 95 % intervals where there are two photographs or more. {told.capitalize()}.")
    print("The page has all metrics, and says what each of them means.\n")
    _print_part_points(study)
    failures = study.failures()
    if len(failures):
        counts = failures.assign(method=failures["method"].fillna("all methods")).groupby(["method", "stage"])["reason"]
        for (method, stage), reasons in counts:
            examples = reasons.value_counts()
            noun = "failure" if len(reasons) == 1 else "failures"
            print(plain(f"{len(reasons)} {noun} ({method}, {stage}): {cut(str(examples.index[0]), 300)}"))
        print("All of them are listed at the end of the page.\n")


def _print_part_points(study: Study) -> None:
    """For each part of the dataset, how often a mask points at it; nothing where no parts are annotated."""
    try:
        annotated = "part_points" in study.data.table.columns
    except StoreError:  # the photographs have moved: the table of a study that is only shown is not worth an error
        return
    if not annotated:
        return
    found = study.part_points()
    rows: dict[str | None, dict[str, str]] = {}
    for method, kind, part, photographs, explained, *_ in found.itertuples(index=False, name=None):
        row = rows.setdefault(part, {"part": plain(part or "all parts")})
        row[f"{method} {kind}"] = f"{100 * explained:.0f} % of {photographs}"
    if rows:
        print(f"{table(list(rows.values()))}\n")
        print(
            "Photographs in which the part lies in the tenth of the picture where the mask is highest (chance: 10 %).\n"
        )


def print_verdicts(study: Study) -> None:
    """Which masks can be believed, as far as that was measured: one sentence a finding."""
    from fidokit.study.verdicts import verdicts

    sentences = verdicts(study)
    if sentences:
        print("Which masks can be believed:")
        for sentence in sentences:
            print(plain(f"  - {sentence}"))
        print()


def _report(arguments: argparse.Namespace) -> int:
    from fidokit.report.page import write_report

    out = arguments.out or place_in(arguments.study, "report.html", "--out FILE")
    chosen = arguments.select
    select = chosen[0] if chosen is not None and len(chosen) == 1 else chosen
    page = write_report(opened_study(arguments), out, max_images=arguments.max_images, select=select)
    print(plain(f"Page: {page}"))
    return 0
