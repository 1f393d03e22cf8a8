"""The ``fidokit`` command: the calls of the package from a shell. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit import __version__
from fidokit.cli_text import cut, described_fields, parse_fields, plain, show_warning, table, tell
from fidokit.exceptions import FidokitError, SettingsError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from fidokit.classifier import Classifier
    from fidokit.images import LabelledImages
    from fidokit.methods.base import Masks, Snapshot
    from fidokit.study.study import Study

Command = Callable[[argparse.Namespace], int]
PRESETS = ("default", "quality", "published")
METHODS = "fido,grad-cam,integrated-gradients"
SAMPLE_MODEL = "python:fidokit.samples:efficientnet_lite0"
TABLES = (".parquet", ".csv")
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; default those of the process.

    Returns:
        0; 1 if some photographs could not be explained; 2 after an error, printed as ``fidokit: message``; 130 after
        Ctrl-C, when it is said what is kept.
    """
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        # A class name that the terminal's encoding lacks must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            return int(arguments.run(arguments))
        except FidokitError as error:
            tell(f"fidokit: {error}")
            return 2
        except KeyboardInterrupt:
            tell(f"fidokit: stopped; {arguments.kept(arguments)}")
            return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fidokit", description="Causal masks for image classifiers: which pixels a decision rests on."
    )
    parser.add_argument("--version", action="version", version=f"fidokit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    explain = _command(commands, "explain", _explain, "explain single photographs; one PNG with the masks for each")
    explain.add_argument("photographs", nargs="+", type=Path, metavar="PHOTO")
    _add_model(explain)
    explain.add_argument("--method", default="fido", help="a name of `fidokit methods`; default fido")
    explain.add_argument("--target", metavar="NAME", help="class to explain; default the predicted one")
    explain.add_argument("--against", metavar="NAME", help="class to contrast it with: why the target rather than this")
    explain.add_argument("--settings", choices=PRESETS, default="default", help="a named set of settings")
    explain.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="fields", help="one setting; may be repeated"
    )
    explain.add_argument("--out", type=Path, default=Path(), help="folder, or one .png file; default this folder")
    explain.add_argument("--table", type=Path, help="write the table as .parquet (with the masks) or .csv (without)")

    study = _command(commands, "study", _study, "explain a labelled dataset by several methods, and report on it")
    study.add_argument("data", type=Path, metavar="DATA", help="a folder with one folder a class, or a CSV table")
    _add_model(study)
    study.add_argument("--methods", default=METHODS, help=f"names, separated by commas; default {METHODS}")
    study.add_argument("--store", type=Path, help="folder of the study; default runs/NAME OF DATA")
    study.add_argument("--report", type=Path, metavar="FILE", help="the page; default report.html in the store")
    study.add_argument("--targets", choices=("predicted", "label"), default="predicted", help="class to explain")
    study.add_argument("--against", metavar="NAME", help="class to contrast with, or runner-up")
    study.add_argument("--settings", choices=PRESETS, default="default", help="for the methods that have such settings")
    study.add_argument("--limit", type=int, metavar="N", help="only N photographs, spread evenly over the table")
    study.add_argument("--boxes", action="store_true", help="crop each photograph to its annotated box")
    study.add_argument("--retry-failures", action="store_true", help="try again what failed before")
    study.set_defaults(
        kept=lambda arguments: f"finished masks are kept in {_store(arguments)}; the same command goes on from there"
    )

    report = _command(commands, "report", _report, "write the page of a study")
    report.add_argument("study", type=Path, metavar="RUN", help="folder of the study")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page; default report.html in the study's folder")
    report.add_argument("--data", type=Path, help="the photographs, if they have moved")
    report.add_argument("--max-images", type=int, default=200, metavar="N", help="photographs shown; default 200")

    samples = _command(commands, "samples", _samples, "write a few labelled photographs to try things with")
    samples.add_argument("folder", type=Path, metavar="FOLDER")

    _command(commands, "methods", _methods, "list the methods and their settings")
    return parser


def _command(commands: Any, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    command.set_defaults(run=run, kept=lambda _: "nothing was written")
    return command


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        required=True,
        help=f"timm:NAME, torchvision:NAME, hf:PATH, FILE.pt2 or python:module:function; to try: {SAMPLE_MODEL}",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default auto")
    command.add_argument("--precision", default="auto", help="auto, float32, bfloat16, ...; default auto")


def _explain(arguments: argparse.Namespace) -> int:
    import pandas as pd

    from fidokit.images import LabelledImages
    from fidokit.methods import explain

    method, settings = _settings(arguments.method, arguments.settings)
    overrides = parse_fields(method.settings, arguments.fields)
    if arguments.table is not None and arguments.table.suffix.lower() not in TABLES:
        raise SettingsError(f"--table {arguments.table}: the file must end in {' or '.join(TABLES)}")
    pictures = _picture_paths(arguments)
    data = LabelledImages.from_table(pd.DataFrame({"path": [str(path) for path in arguments.photographs]}))
    classifier = _classifier(arguments)
    with _progress() as on_progress:
        masks = explain(
            classifier,
            data,
            arguments.method,
            _class(arguments.target, classifier),
            _class(arguments.against, classifier),
            settings,
            on_progress,
            **overrides,
        )
    frame = masks.to_frame()
    print(table(_explained(frame)))
    positions = {str(image_id): i for i, image_id in enumerate(data.table["image_id"])}
    for i, image_id in enumerate(masks.image_ids):
        path = pictures[positions[image_id]]
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_picture(data, positions[image_id], classifier, masks, i))
        print(plain(f"Picture: {path}"))
    if arguments.table is not None:
        _write_table(frame, arguments.table)
        print(plain(f"Table: {arguments.table}"))
    for note in dict.fromkeys(masks.notes.values()):
        tell(f"fidokit: {note}")
    for reason in masks.failures.values():
        tell(f"fidokit: {reason}")
    n_missing = len(data) - len(masks) - len(masks.failures)
    if n_missing or not bool(masks.finished.all()):
        tell(f"fidokit: stopped; the masks of {len(masks)} of {len(data)} photographs are kept as far as they had come")
        return _INTERRUPTED
    return 1 if masks.failures else 0


def _picture_paths(arguments: argparse.Namespace) -> list[Path]:
    """Where the pictures go: one a photograph, never over a photograph that was given or over each other."""
    photographs, out = arguments.photographs, arguments.out
    if out.suffix.lower() == ".png" and not out.is_dir():
        if len(photographs) > 1:
            raise SettingsError(f"--out {out} is one file for {len(photographs)} photographs; give a folder")
        paths = [out]
    else:
        if out.exists() and not out.is_dir():
            raise SettingsError(f"--out {out} is a file; give a folder, or a file that ends in .png")
        paths = []
        for photograph in photographs:
            stem, copy = f"{photograph.stem}.{arguments.method}", 1
            path = out / f"{stem}.png"
            while path in paths:
                copy += 1
                path = out / f"{stem}.{copy}.png"
            paths.append(path)
    given = {photograph.resolve() for photograph in photographs}
    for path in paths:
        if path.resolve() in given:
            raise SettingsError(f"--out would write over the photograph {path}; choose another folder or file")
    return paths


def _picture(data: LabelledImages, position: int, classifier: Classifier, masks: Masks, i: int) -> bytes:
    from fidokit.plots import KIND_NAMES, panels_png

    photograph = data.open(position)
    geometry = classifier.preprocessing.geometry(photograph.width, photograph.height, data.box(position))
    panels: list[tuple[str, Any]] = [(f"{masks.target[i]} {float(masks.score_full[i]):.2f}", None)]
    for kind, mask in masks.kinds.items():
        kept, dropped = float(masks.score_kept[kind][i]), float(masks.score_dropped[kind][i])
        panels.append((f"{KIND_NAMES[kind]}: kept {kept:.2f}, dropped {dropped:.2f}", mask[i].numpy()))
    return panels_png(photograph, geometry, panels)


def _explained(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "photograph": row["image_id"],
            "explained": row["target"] + (f" rather than {row['against']}" if row["against"] else ""),
            "kind": row["kind"],
            "whole": f"{row['score_full']:.3f}",
            "kept": f"{row['score_kept']:.3f}",
            "dropped": f"{row['score_dropped']:.3f}",
            "evaluations": str(row["evaluations"]),
            "converged": "yes" if row["converged"] else "no",
        }
        for row in frame.to_dict("records")
    ]


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".csv":
            frame.drop(columns="mask").to_csv(path, index=False)
        else:
            flat = [mask.astype("float16").ravel() for mask in frame["mask"]]
            frame.assign(mask=flat).to_parquet(path, index=False)


def _study(arguments: argparse.Namespace) -> int:
    import numpy as np

    from fidokit.report import write_report
    from fidokit.study.run import run_study

    methods = _study_methods(arguments.methods, arguments.settings)
    data = _data(arguments.data)
    if arguments.limit is not None:
        if arguments.limit < 1:
            raise SettingsError(f"--limit is {arguments.limit}; it must be at least 1")
        spread = np.linspace(0, len(data) - 1, min(arguments.limit, len(data)))
        data = data.subset(spread.round().astype(int))
    if arguments.boxes and all(data.box(i) is None for i in range(len(data))):
        raise SettingsError(f"--boxes: {arguments.data} has no boxes; add the columns box_x0, box_y0, box_x1, box_y1")
    store = _store(arguments)
    study = run_study(
        _classifier(arguments),
        data,
        methods,
        store=store,
        targets="label" if arguments.targets == "label" else None,
        against=arguments.against,
        progress=sys.stderr.isatty(),
        retry_failures=arguments.retry_failures,
    )
    if study.status()["missing"].sum():
        return _INTERRUPTED  # run_study has said what is kept
    _print_study(study)
    page = write_report(study, arguments.report or store / "report.html")
    print(plain(f"Study: {store}\nPage: {page}"))
    return 0


def _study_methods(names: str, preset: str) -> dict[str, tuple[str, Any]]:
    """Labels with methods and settings; a method with settings other than its defaults says so in its label."""
    methods: dict[str, tuple[str, Any]] = {}
    for name in (part.strip() for part in names.split(",")):
        if name:
            method, _ = _settings(name, "default")
            special = preset != "default" and hasattr(method.settings, preset)
            methods[f"{name}-{preset}" if special else name] = (name, _settings(name, preset)[1] if special else None)
    if not methods:
        raise SettingsError(f"--methods is empty; give names, separated by commas, such as {METHODS}")
    if preset != "default" and all(settings is None for _, settings in methods.values()):
        raise SettingsError(f"--settings {preset}: none of {', '.join(methods)} has such settings; leave it out")
    return methods


def _print_study(study: Study) -> None:
    from fidokit.plots import interval_columns

    predictions = study.predictions()
    judged = predictions["correct"].dropna()
    right = int(judged.sum())
    print(
        f"{len(predictions)} photographs: {right} right, {len(judged) - right} wrong, "
        f"{len(predictions) - len(judged)} not judged\n"
    )
    summary = study.summary()
    measures = interval_columns(summary)
    rows = []
    for row in summary.to_dict("records"):
        cells = {"method": row["method"], "kind": row["kind"], "n": str(row["n"])}
        for name in measures:
            cells[name.replace("_", " ")] = f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
        rows.append(cells | {"evaluations": f"{row['evaluations']:.0f}", "seconds": f"{row['seconds']:.2f}"})
    print(table(rows))
    print("Means with 95 % bootstrap intervals over the photographs.\n")
    failures = study.failures()
    if len(failures):
        counts = failures.assign(method=failures["method"].fillna("all methods")).groupby(["method", "stage"])["reason"]
        for (method, stage), reasons in counts:
            examples = reasons.value_counts()
            noun = "failure" if len(reasons) == 1 else "failures"
            print(plain(f"{len(reasons)} {noun} ({method}, {stage}): {cut(str(examples.index[0]), 300)}"))
        print("All of them are listed at the end of the page.\n")


def _report(arguments: argparse.Namespace) -> int:
    from fidokit.report import write_report
    from fidokit.study.run import open_study

    study = open_study(arguments.study, data=None if arguments.data is None else _data(arguments.data))
    page = write_report(study, arguments.out or arguments.study / "report.html", max_images=arguments.max_images)
    print(plain(f"Page: {page}"))
    return 0


def _samples(arguments: argparse.Namespace) -> int:
    import shlex

    from fidokit import samples

    data = samples.photographs(arguments.folder)
    print(plain(f"{len(data)} photographs of {len(data.classes)} classes in {arguments.folder}. Next:\n"))
    print(plain(f"    fidokit study {shlex.quote(str(arguments.folder))} --model {SAMPLE_MODEL}"))
    return 0


def _methods(_arguments: argparse.Namespace) -> int:
    from fidokit.methods import methods

    for name, method in methods().items():
        print(plain(f"{name} ({', '.join(method.kinds)})\n    {method.summary or 'no summary'}"))
        presets = [preset for preset in PRESETS if hasattr(method.settings, preset)]
        if presets:
            print(f"    --settings {', '.join(presets)}")
        for line in described_fields(method.settings):
            print(plain(f"    --set {line}"))
        print()
    return 0


def _settings(name: str, preset: str) -> tuple[Any, Any]:
    """A method and its settings object; None for the defaults."""
    from fidokit.methods import get_method

    method = get_method(name)
    if preset == "default":
        return method, None
    if not hasattr(method.settings, preset):
        raise SettingsError(f"{name} has no settings {preset!r}, only its defaults; leave --settings out")
    return method, getattr(method.settings, preset)()


def _classifier(arguments: argparse.Namespace) -> Classifier:
    from fidokit.classifier import Classifier

    options: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("device", "precision") if getattr(arguments, name) != "auto"
    }
    if getattr(arguments, "boxes", False):
        options["use_boxes"] = True
    if arguments.model.startswith("python:") and str(Path.cwd()) not in sys.path:
        # An installed command does not look into the working folder, where a user's own module lies.
        sys.path.insert(0, str(Path.cwd()))
    return Classifier.load(arguments.model, **options)


def _class(name: str | None, classifier: Classifier) -> str | int | None:
    """A class given by name, or by index where no class is named so."""
    return int(name) if name is not None and name.isdecimal() and name not in classifier.class_names else name


def _data(path: Path) -> LabelledImages:
    from fidokit.images import LabelledImages

    if path.is_dir():
        return LabelledImages.from_folder(path)
    if not path.exists():
        raise SettingsError(f"there is no folder and no table {path}; give a folder with one folder a class, or a CSV")
    return LabelledImages.from_csv(path)


def _store(arguments: argparse.Namespace) -> Path:
    """The folder of a study, by default called like its data."""
    data = arguments.data.resolve()
    store: Path = arguments.store or Path("runs") / ((data.stem if data.is_file() else data.name) or "study")
    return store


@contextmanager
def _progress() -> Iterator[Callable[[Snapshot], None] | None]:
    """A bar of evaluations, where there is somebody to look at it."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="evaluation", leave=False) as bar:

        def show(snapshot: Snapshot) -> None:
            bar.total = snapshot.total
            bar.update(max(0, snapshot.evaluations - bar.n))

        yield show


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error


if __name__ == "__main__":
    raise SystemExit(main())
