"""`fidokit explain`: masks of single photographs, as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit._util.atomic_write import writing
from fidokit._util.numbers import number
from fidokit.cli.options import (
    INTERRUPTED,
    PRESETS,
    add_model,
    command,
    load_classifier,
    method_settings,
    progress_bar,
)
from fidokit.cli.text import parse_fields, plain, table, tell
from fidokit.exceptions import SettingsError

if TYPE_CHECKING:
    import pandas as pd

    from fidokit.data.images import LabelledImages
    from fidokit.methods.base import Masks, OnProgress
    from fidokit.models.classifier import Classifier

_TABLES = (".parquet", ".csv")
_VERDICTS = (
    "Enough: alone, the mask's region keeps at least 90 % of the whole photograph's score. Needed: without it at most "
    "10 % is left. A mask that explains little is not the reason for the answer."
)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    explain = command(commands, "explain", _explain, "explain single photographs; one PNG with the masks for each")
    add_explanation(explain)
    explain.add_argument("--out", type=Path, default=Path(), help="folder, or one .png or .svg file; default here")
    explain.add_argument("--svg", action="store_true", help="pictures as SVG, for print, instead of PNG")
    explain.add_argument(
        "--regions",
        action="store_true",
        help="cut the smallest regions that are enough, and needed, and check them under fill-ins that nothing was "
        "optimised with; 18 evaluations a region",
    )
    explain.add_argument("--table", type=Path, help="write the table as .parquet (with the masks) or .csv (without)")


def add_explanation(command: argparse.ArgumentParser, *, model: str | None = None) -> None:
    """The options that say what is explained, and how.

    Args:
        command: the parser they are added to.
        model: what happens without ``--model``; None where it must be given.
    """
    command.add_argument("photographs", nargs="+", type=Path, metavar="PHOTO")
    add_model(command, otherwise=model)
    command.add_argument("--method", default="fido", help="a name of `fidokit methods`; default fido")
    command.add_argument("--target", metavar="NAME", help="class or taxon to explain; default the predicted class")
    command.add_argument("--against", metavar="NAME", help="class to contrast it with: why the target rather than this")
    command.add_argument("--rank", metavar="RANK", help="explain the taxon at this rank, such as family")
    command.add_argument("--within", metavar="RANK", help="tell it from the rest of the taxon at this coarser rank")
    command.add_argument("--settings", choices=PRESETS, default="default", help="a named set of settings")
    command.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", dest="fields", help="one setting; may be repeated"
    )


def _explain(arguments: argparse.Namespace) -> int:
    from fidokit.figures.masks import KIND_NAMES
    from fidokit.methods.regions import find_regions

    if arguments.table is not None and arguments.table.suffix.lower() not in _TABLES:
        raise SettingsError(f"--table {arguments.table}: the file must end in {' or '.join(_TABLES)}")
    pictures = _picture_paths(arguments)
    load = cache(lambda: load_classifier(arguments))
    data, masks = explained(arguments, load, progress_bar)
    regions = find_regions(load(), masks) if arguments.regions and len(masks) else None
    frame = masks.to_frame(regions)
    print(table(_explained(frame)))
    print(_VERDICTS)
    for region in regions or ():
        print(plain(f"{region.image_id}, {KIND_NAMES[region.kind]} region: {region.verdict}"))
    positions = {str(image_id): i for i, image_id in enumerate(data.table["image_id"])}
    for i, image_id in enumerate(masks.image_ids):
        print(plain(f"Picture: {masks.save(pictures[positions[image_id]], i)}"))
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
        return INTERRUPTED
    return 1 if masks.failures else 0


def explained(
    arguments: argparse.Namespace,
    load: Callable[[], Classifier],
    progress: Callable[[], AbstractContextManager[OnProgress | None]],
) -> tuple[LabelledImages, Masks]:
    """The photographs that the options of `add_explanation` name, and their masks.

    Args:
        arguments: the options.
        load: gives the classifier; called once it is known that the other options can be used.
        progress: a context that gives `explain` its ``on_progress``.

    Raises:
        FidokitError: see `explain`.
    """
    import pandas as pd

    from fidokit.data.images import LabelledImages
    from fidokit.methods import explain

    method, settings = method_settings(arguments.method, arguments.settings)
    overrides = parse_fields(method.settings, arguments.fields)
    data = LabelledImages.from_table(pd.DataFrame({"path": [str(path) for path in arguments.photographs]}))
    classifier = load()
    with progress() as on_progress:
        masks = explain(
            classifier,
            data,
            arguments.method,
            _class(arguments.target, classifier),
            _class(arguments.against, classifier),
            settings,
            on_progress,
            rank=arguments.rank,
            within=arguments.within,
            **overrides,
        )
    return data, masks


def _picture_paths(arguments: argparse.Namespace) -> list[Path]:
    """Where the pictures go: one a photograph, never over a photograph that was given or over each other."""
    photographs, out = arguments.photographs, arguments.out
    ending = ".svg" if arguments.svg else ".png"
    if out.suffix.lower() in (".png", ".svg") and not out.is_dir():
        if len(photographs) > 1:
            raise SettingsError(f"--out {out} is one file for {len(photographs)} photographs; give a folder")
        paths = [out]
    else:
        if out.exists() and not out.is_dir():
            raise SettingsError(f"--out {out} is a file; give a folder, or a file that ends in .png or .svg")
        paths = []
        for photograph in photographs:
            stem, copy = f"{photograph.stem}.{arguments.method}", 1
            path = out / f"{stem}{ending}"
            while path in paths:
                copy += 1
                path = out / f"{stem}.{copy}{ending}"
            paths.append(path)
    given = {photograph.resolve() for photograph in photographs}
    for path in paths:
        if path.resolve() in given:
            raise SettingsError(f"--out would write over the photograph {path}; choose another folder or file")
    return paths


def _explained(frame: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "photograph": row["image_id"],
            "explained": row["target"] + (f" rather than {row['against']}" if row["against"] else ""),
            "kind": row["kind"],
            "whole": number(row["score_full"]),
            "kept": number(row["score_kept"]),
            "dropped": number(row["score_dropped"]),
            "evaluations": str(row["evaluations"]),
            "verdict": row["verdict"],
        }
        for row in frame.to_dict("records")
    ]


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".csv":
            frame.drop(columns="mask").to_csv(path, index=False)
        else:
            flat = [mask.astype("float16").ravel() for mask in frame["mask"]]
            frame.assign(mask=flat).to_parquet(path, index=False)


def _class(name: str | None, classifier: Classifier) -> str | int | None:
    """A class given by name, or by index where no class is named so."""
    return int(name) if name is not None and name.isdecimal() and name not in classifier.class_names else name
