"""What the commands share: their options, read in one place."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit._util.wording import Option
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    from fidokit.methods.base import Snapshot
    from fidokit.models.classifier import Classifier
    from fidokit.study.study import Study

_Command = Callable[[argparse.Namespace], int]
PRESETS = ("default", "fast", "quality", "published")
#: Values of `fidokit.data.geometry.Fit`, whose module is too heavy for a help text.
FITS = ("crop", "squash", "trim")
SAMPLE_MODEL = "python:fidokit.samples:efficientnet_lite0"
INTERRUPTED = 130
#: The options of `add_model` beside the model: how it computes, and what it does not say itself.
MODEL_OPTIONS = ("device", "precision", "micro_batch", "names", "templates", "taxonomy", "fit", "trust_model")


#: Arguments of functions whose option is called otherwise.
_CALLED = {"classifier": "model", "use_boxes": "boxes", "class_names": "names"}


def command(commands: Any, name: str, run: _Command, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    command.set_defaults(run=run, kept=lambda _: "nothing was written", parser=command)
    return command


def options_of(parser: argparse.ArgumentParser) -> dict[str, Option]:
    """What the arguments of functions are called as options of a command."""
    found: dict[str, Option] = {}
    for action in parser._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
        off = next((name for name in names if name.startswith("--no-")), "")
        found[action.dest] = Option(names[0], value, off) if names else Option(value)
    return found | {name: found[called] for name, called in _CALLED.items() if called in found}


def add_model(command: argparse.ArgumentParser, *, otherwise: str | None = None) -> None:
    """The options of a classifier; `otherwise` says what happens without ``--model``, None that it must be given."""
    names = (
        "timm:NAME, torchvision:NAME, hf:PATH, openclip:NAME, FILE.pt2, FILE.onnx, speciesnet:FOLDER or "
        f"python:module:function; to try: {SAMPLE_MODEL}"
    )
    command.add_argument(
        "--model",
        required=otherwise is None,
        help=names if otherwise is None else f"{names}; {otherwise}",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps or xpu; default auto")
    command.add_argument("--precision", default="auto", help="auto, float32, bfloat16, ...; default auto")
    command.add_argument(
        "--micro-batch", type=int, metavar="N", help="images sent through at once; default: a fast number is found"
    )
    command.add_argument(
        "--fit",
        choices=FITS,
        help="what it is shown of a photograph: crop, the middle; squash, the whole frame; trim, all but the strips "
        "that cameras print on; default: as it was trained",
    )
    command.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="names of the classes, one a line; for openclip: and a CLIP of hf: those to choose from, with what they "
        "are called in texts after tabs, or JSON with prompts",
    )
    command.add_argument(
        "--template",
        action="append",
        dest="templates",
        metavar="TEXT",
        help="text around a name, with {} in its place, for the same models; may be given several times",
    )
    command.add_argument(
        "--trust-model",
        action="store_true",
        help="load speciesnet:FOLDER, a pickle: that runs whatever code is in it, so know where it comes from",
    )
    command.add_argument(
        "--taxonomy",
        metavar="FILE",
        help="taxa of the classes: a CSV with a column of classes and one for each rank, SpeciesNet's labels, or "
        "binomials",
    )


def location(text: str) -> Path | str:
    """A folder, or an fsspec URL as it is."""
    from fidokit.study.store.files import is_url

    return text if is_url(text) else Path(text)


def add_run(command: argparse.ArgumentParser) -> None:
    """The study that a command reads, and whose photographs."""
    command.add_argument("study", type=location, metavar="RUN", help="folder of the study, or its fsspec URL")
    command.add_argument("--data", type=Path, help="the photographs, if they have moved or the study is not yours")
    command.add_argument(
        "--trust", action="store_true", help="read the files that the study names, though you did not make it here"
    )


def add_study(command: argparse.ArgumentParser, name: str) -> None:
    """The options of a command that reads a finished study and writes tables and a page of its own, called `name`."""
    add_run(command)
    command.add_argument(
        "--csv", type=Path, metavar="FOLDER", help=f"for the tables; default {name} in the study's folder"
    )
    command.add_argument(
        "--report", type=Path, metavar="FILE", help=f"the page; default {name}.html in the study's folder"
    )
    command.add_argument("--max-images", type=int, default=200, metavar="N", help="photographs shown; default 200")
    add_model(command, otherwise="only needed where the study cannot find its classifier by itself")
    command.set_defaults(name=name, kept=lambda arguments: f"the study in {arguments.study} is as it was")


def opened_study(arguments: argparse.Namespace) -> Study:
    """The study that the options of `add_study` name."""
    from fidokit.data.detect import read_dataset
    from fidokit.study.run import open_study

    return open_study(
        arguments.study,
        classifier=None if getattr(arguments, "model", None) is None else load_classifier(arguments),
        data=None if arguments.data is None else read_dataset(arguments.data),
        trust=arguments.trust,
    )


def tables_and_page(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The folder for the tables and the file for the page."""
    folder: Path = arguments.csv or place_in(arguments.study, arguments.name, "--csv FOLDER")
    page: Path = arguments.report or place_in(arguments.study, f"{arguments.name}.html", "--report FILE")
    return folder, page


def place_in(study: Path | str, name: str, option: str) -> Path:
    """Where in a study's folder a command writes by default.

    Raises:
        SettingsError: the study lies behind a URL; the message names the option to give.
        StoreError: a symbolic link stands there, by which a stranger's study could have other files overwritten.
    """
    from fidokit.study.store.files import LocalFiles, files_at

    files = files_at(study)
    if not isinstance(files, LocalFiles):
        raise SettingsError(f"{files} is no folder of this machine; say with {option} where to write")
    for own in files.names(name):
        files.path(f"{name}/{own}")
    return files.path(name)


def method_settings(name: str, preset: str) -> tuple[Any, Any]:
    """A method and its settings object; None for the defaults."""
    from fidokit.methods import get_method

    method = get_method(name)
    if preset == "default":
        return method, None
    if not hasattr(method.settings, preset):
        raise SettingsError(f"{name} has no settings {preset!r}, only its defaults; leave --settings out")
    return method, getattr(method.settings, preset)()


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of `MODEL_OPTIONS` that were given."""
    options = {name: getattr(arguments, name) for name in MODEL_OPTIONS}
    return {name: value for name, value in options.items() if value not in ("auto", None) and value is not False}


def load_classifier(arguments: argparse.Namespace) -> Classifier:
    from fidokit.models.classifier import Classifier
    from fidokit.models.prompts import read_names

    options = given_options(arguments)
    if "names" in options:
        options["names"] = read_names(options["names"])
    options["trust"] = options.pop("trust_model", False)
    if getattr(arguments, "boxes", False):
        options["use_boxes"] = True
    if arguments.model.startswith("python:") and str(Path.cwd()) not in sys.path:
        # An installed command does not look into the working folder, where a user's own module lies.
        sys.path.insert(0, str(Path.cwd()))
    return Classifier.load(arguments.model, **options)


def store_of(arguments: argparse.Namespace) -> Path | str:
    """The folder of a study, or its URL, by default called like its data."""
    data = arguments.data.resolve()
    store: Path | str = arguments.store or Path("runs") / ((data.stem if data.is_file() else data.name) or "study")
    return store


@contextmanager
def progress_bar() -> Iterator[Callable[[Snapshot], None] | None]:
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
