"""A table for Timelapse (https://timelapse.ucalgary.ca), which joins it to its files by RelativePath and File.

What its import of CSV asks for: both columns; no column that is not a DataLabel of the template; ``true`` or ``false``
in a Flag; decimals with a point. Of several rows of one file it takes as many as it has itself, usually one: so there
is one row a file here, and several animals in it share that row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fidokit._util.spreadsheet import csv_bytes, is_formula
from fidokit._util.warning import warn
from fidokit.data.readers.cells import text_of
from fidokit.exceptions import SettingsError
from fidokit.study.exports.results import OPEN, STATES, WRONG, relative_paths, rows_of
from fidokit.study.exports.writing import check_free, write_whole
from fidokit.study.stored import StoredStudy

#: The columns by which Timelapse finds its own row.
KEYS = ("RelativePath", "File")
#: What can be written, and the DataLabel that it gets where none is given.
FIELDS = {
    "prediction": "FidokitPrediction",
    "score": "FidokitScore",
    "rows": "FidokitRows",
    "label": "FidokitLabel",
    "state": "FidokitState",
    "wrong": "FidokitWrong",
    "runner_up": "FidokitRunnerUp",
    "mask": "FidokitMask",
    "clusters": "FidokitClusters",
    "sentences": "FidokitSentences",
    "review": "FidokitReview",
    "note": "FidokitNote",
    "rank": "FidokitRank",
    "why": "FidokitWhy",
}
#: Fields that only stand there where something is known of them.
_ON_REQUEST = {"clusters": "clusters", "sentences": "clusters", "review": "review", "rank": "rank", "why": "rank"}
#: DataLabels of Timelapse's own, which a table must not fill.
_RESERVED = frozenset([*KEYS, "DateTime", "Date", "Time", "DeleteFlag", "RootFolder", "Folder", "ImageQuality", "Id"])
_DATA_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BETWEEN = "; "


def to_timelapse(
    study: StoredStudy,
    file: Path,
    results: pd.DataFrame,
    *,
    root: str | Path | None,
    columns: Mapping[str, str] | Sequence[str] | None,
    overwrite: bool,
) -> Path:
    """See `Study.to_timelapse`."""
    check_free(file, overwrite)
    chosen = _data_labels(columns, results)
    keys = _keys(study, root)
    groups: dict[tuple[str, str], list[int]] = {}
    # Of an order of review, the first photographs come first, and those that it leaves out last.
    for i in np.argsort(results["rank"].to_numpy(float), kind="stable") if "rank" in results else range(len(results)):
        groups.setdefault(keys[i], []).append(int(i))
    rows = rows_of(study, results)
    table = pd.DataFrame(list(groups), columns=list(KEYS), dtype=object)
    for name, data_label in chosen.items():
        cells = [_FILLED[name]([rows[i] for i in places]) for places in groups.values()]
        table[data_label] = pd.Series(cells, dtype=object)
    dangerous = [key for key in groups if any(is_formula(part) for part in key)]
    if dangerous:
        warn(
            f"{file}: {len(dangerous)} paths begin as formulas do (first: {'/'.join(dangerous[0])}); they are written "
            "as they are, since Timelapse finds its files by them: do not open the table in a spreadsheet"
        )
    write_whole(file, csv_bytes(table, as_they_are=KEYS), overwrite)
    return file


def _data_labels(columns: Mapping[str, str] | Sequence[str] | None, results: pd.DataFrame) -> dict[str, str]:
    """Field -> DataLabel.

    Raises:
        SettingsError: a field that there is not, or a DataLabel that Timelapse cannot have, has itself, or has twice.
    """
    if columns is None:
        known = {name for name in ("clusters", "review", "rank") if _has(results, name)}
        return {name: label for name, label in FIELDS.items() if name not in _ON_REQUEST or _ON_REQUEST[name] in known}
    if isinstance(columns, str):
        columns = [columns]
    chosen = dict(columns) if isinstance(columns, Mapping) else {name: FIELDS.get(name, "") for name in columns}
    for name, label in chosen.items():
        if name not in FIELDS:
            raise SettingsError(f"columns: there is no field {name!r}; there are {', '.join(FIELDS)}")
        if not isinstance(label, str) or not _DATA_LABEL.fullmatch(label):
            raise SettingsError(
                f"columns: {name} cannot be called {label!r}; a DataLabel of Timelapse begins with a letter and has "
                "letters, digits and underscores"
            )
        if label in _RESERVED:
            raise SettingsError(f"columns: {name} cannot be called {label}, which is a column of Timelapse's own")
    twice = sorted({label for label in chosen.values() if list(chosen.values()).count(label) > 1})
    if twice:
        raise SettingsError(f"columns: two fields are called {twice[0]}; give each a DataLabel of its own")
    return chosen


def _has(results: pd.DataFrame, name: str) -> bool:
    return name in results and bool(results[name].notna().any())


def _keys(study: StoredStudy, root: str | Path | None) -> list[tuple[str, str]]:
    """RelativePath and File of each photograph: as they stand in the dataset's table, or else as Timelapse would write
    them for its path, with backslashes as on Windows."""
    folders, files = (_column(study, name) if root is None else [None] * len(study) for name in KEYS)
    paths = study.images["path"].tolist()
    known = [isinstance(file, str) and Path(path).name == file for path, file in zip(paths, files, strict=True)]
    if all(known):
        return [(text_of(folder) or "", str(file)) for folder, file in zip(folders, files, strict=True)]
    texts = [folder for folder in folders if isinstance(folder, str)]
    separator = "/" if any("/" in text for text in texts) and not any("\\" in text for text in texts) else "\\"
    # What is written otherwise in the table, such as a folder "001" that was read as a number, is told by the path.
    return [
        (text if isinstance(text, str) and _same(text, folder) else folder.replace("/", separator), name)
        for text, (folder, _, name) in zip(
            folders, (p.rpartition("/") for p in relative_paths(study, root)), strict=True
        )
    ]


def _column(study: StoredStudy, name: str) -> list[Any]:
    images = study.images
    return images[name].tolist() if name in images.columns else [None] * len(images)


def _same(cell: str, folder: str) -> bool:
    return cell.replace("\\", "/").strip("/") == folder


def _texts(name: str) -> Callable[[list[dict[Any, Any]]], str]:
    """The texts of the animals in a file; one that all share stands there once."""

    def made(rows: list[dict[Any, Any]]) -> str:
        texts = ["" if (text := row[name]) is None or text != text else " ".join(str(text).split()) for row in rows]
        return texts[0] if len(set(texts)) == 1 else _BETWEEN.join(text or "?" for text in texts)

    return made


def _lists(name: str) -> Callable[[list[dict[Any, Any]]], str]:
    def made(rows: list[dict[Any, Any]]) -> str:
        return _BETWEEN.join(dict.fromkeys(" ".join(str(item).split()) for row in rows for item in row[name] or []))

    return made


def _lowest_score(rows: list[dict[Any, Any]]) -> str:
    scores = [row["score"] for row in rows if not np.isnan(row["score"])]
    return f"{min(scores):.4f}" if scores else ""


def _worst(rows: list[dict[Any, Any]]) -> str:
    return min((str(row["state"]) for row in rows), key=STATES.index)


def _review(rows: list[dict[Any, Any]]) -> str:
    """One state for the file: open as long as one of its animals is."""
    states = [row["review"] for row in rows if row["review"] is not None]
    return OPEN if OPEN in states else _texts("review")(rows)


_FILLED: dict[str, Callable[[list[dict[Any, Any]]], Any]] = {
    "prediction": _texts("predicted"),
    "score": _lowest_score,
    "rows": lambda rows: str(len(rows)),
    "label": _texts("label"),
    "state": _worst,
    "wrong": lambda rows: "true" if any(row["state"] == WRONG for row in rows) else "false",
    "runner_up": _texts("runner_up"),
    "mask": _texts("verdict"),
    "clusters": _lists("clusters"),
    "sentences": _lists("sentences"),
    "review": _review,
    "note": _texts("note"),
    "rank": lambda rows: "" if pd.isna(first := rows[0].get("rank")) else str(int(first)),
    "why": lambda rows: "" if pd.isna(first := rows[0].get("why")) else str(first),
}
