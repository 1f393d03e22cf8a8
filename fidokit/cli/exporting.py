"""`fidokit export`: a study's results in the forms of the programs that field teams work with."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit.cli.options import add_run, command, opened_study
from fidokit.cli.text import plain
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    import pandas as pd

_FORMS = ("timelapse", "camtrap-dp", "detections", "label-studio")
#: Options that belong to some forms alone; they are refused with others.
_OWN = {
    "source": ("camtrap-dp", "detections"),
    "columns": ("timelapse",),
    "root": ("timelapse", "label-studio"),
    "names": ("camtrap-dp",),
    "classified_by": ("camtrap-dp",),
    "descriptor": ("camtrap-dp",),
    "deployments": ("camtrap-dp",),
    "timezone": ("camtrap-dp",),
    "copy_media": ("camtrap-dp",),
    "replace_classifications": ("detections",),
    "url": ("label-studio",),
    "shape": ("label-studio",),
    "share": ("label-studio",),
}


@dataclass(frozen=True)
class _Clusters:
    """The tables that `fidokit errors` wrote."""

    clusters: pd.DataFrame
    members: pd.DataFrame


def add(commands: Any) -> None:
    """Add the command to the parser."""
    export = command(commands, "export", _export, "write a study's results for another program")
    add_run(export)
    export.add_argument("--to", choices=_FORMS, required=True, help="the form; camtrap-dp is a folder")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file, or the folder")
    export.add_argument("--overwrite", action="store_true", help="write over what is there")
    export.add_argument(
        "--mask", metavar="METHOD:KIND", help="whose verdict is given; default that of the first method"
    )
    export.add_argument("--errors", type=Path, metavar="FOLDER", help="tables of fidokit errors: names the clusters")
    export.add_argument(
        "--review", type=Path, metavar="FILE", help="a CSV with image_id, review, and label, by, at, comment"
    )
    only = export.add_argument_group("of single forms")
    only.add_argument("--source", type=Path, help="camtrap-dp: the package to add to; detections: the detector's JSON")
    only.add_argument("--columns", metavar="FIELD=LABEL,...", help="timelapse: which fields, as which DataLabels")
    only.add_argument("--root", type=Path, help="timelapse, label-studio: folder to which paths are relative")
    only.add_argument("--names", type=Path, metavar="FILE", help="camtrap-dp: a CSV with class and name")
    only.add_argument("--classified-by", metavar="NAME", help="camtrap-dp: name of the classifier")
    only.add_argument(
        "--descriptor", type=Path, metavar="FILE", help="camtrap-dp, anew: JSON with contributors, project"
    )
    only.add_argument("--deployments", type=Path, metavar="FILE", help="camtrap-dp, anew: a CSV of deployments")
    only.add_argument("--timezone", metavar="ZONE", help="camtrap-dp, anew: of times without one, such as +02:00")
    only.add_argument("--copy-media", action="store_true", default=None, help="camtrap-dp: copy the photographs too")
    only.add_argument(
        "--replace-classifications", action="store_true", default=None, help="detections: also those that are there"
    )
    only.add_argument("--url", help="label-studio: of a photograph, with {path} for its path")
    only.add_argument("--shape", choices=("brush", "rectangle", "none"), help="label-studio: of regions; default brush")
    only.add_argument("--share", type=float, help="label-studio: of the input that a region covers; default 0.1")
    export.set_defaults(kept=lambda arguments: f"the study in {arguments.study} is as it was, nothing half is left")


def _export(arguments: argparse.Namespace) -> int:
    form: str = arguments.to
    own = {name: getattr(arguments, name) for name in _OWN if getattr(arguments, name) is not None}
    for name in own:
        if form not in _OWN[name]:
            option = f"--{name.replace('_', '-')}"
            raise SettingsError(f"{option} belongs to --to {' and '.join(_OWN[name])}; leave it out with --to {form}")
    if form == "detections" and "source" not in own:
        raise SettingsError("--to detections writes a detector's JSON again; say with --source which one")
    study = opened_study(arguments)
    shared = {
        "mask": None if arguments.mask is None else _mask(arguments.mask),
        "errors": None if arguments.errors is None else _clusters(arguments.errors),
        "review": None if arguments.review is None else _table(arguments.review),
        "overwrite": arguments.overwrite,
    }
    writers: dict[str, Callable[..., Path | list[Path]]] = {
        "timelapse": study.to_timelapse,
        "camtrap-dp": study.to_camtrap_dp,
        "detections": study.to_detections,
        "label-studio": study.to_label_studio,
    }
    options = {name: _READ[name](value) if name in _READ else value for name, value in own.items()}
    written = writers[form](arguments.out, **options, **shared)
    paths = written if isinstance(written, list) else [written]
    print(plain(f"Written: {', '.join(map(str, paths))}"))
    return 0


def _mask(text: str) -> tuple[str, str]:
    method, colon, kind = text.rpartition(":")
    if not colon:
        raise SettingsError(f"--mask {text}: write it as METHOD:KIND, such as fido:ssr")
    return method, kind


def _columns(text: str) -> dict[str, str] | list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.partition("=") for part in parts]
    if any(equals for _, equals, _ in pairs) and not all(equals for _, equals, _ in pairs):
        raise SettingsError(f"--columns {text}: give each field its DataLabel, FIELD=LABEL, or none of them")
    return {name.strip(): label.strip() for name, _, label in pairs} if all(e for _, e, _ in pairs) else parts


def _table(path: Path) -> pd.DataFrame:
    """A CSV as texts; cells with nothing in them are None."""
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=object, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as CSV ({error}); check the path, and save it as UTF-8") from error
    return table.where(table != "", None)


def _clusters(folder: Path) -> _Clusters:
    members, clusters = (_table(folder / f"{name}.csv") for name in ("members", "clusters"))
    for table, name, columns in (
        (members, "members", ("image_id", "cluster")),
        (clusters, "clusters", ("cluster", "systematic", "sentence")),
    ):
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise SettingsError(f"{folder / name}.csv has no column {missing[0]}; give the folder of fidokit errors")
    clusters["systematic"] = clusters["systematic"] == "True"
    return _Clusters(clusters, members)


def _names(path: Path) -> dict[str, str]:
    table = _table(path)
    if not {"class", "name"} <= set(table.columns):
        raise SettingsError(f"{path} needs the columns class and name: what each class is called in the package")
    return {str(name): str(made) for name, made in zip(table["class"], table["name"], strict=True) if made is not None}


def _descriptor(path: Path) -> dict[str, Any]:
    from fidokit.data.readers.reading import read_json

    return read_json(path)


_READ: dict[str, Callable[[Any], Any]] = {
    "columns": _columns,
    "names": _names,
    "descriptor": _descriptor,
    "deployments": _table,
}
