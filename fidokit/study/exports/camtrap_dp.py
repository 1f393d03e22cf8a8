"""A study's results as a Camtrap DP: the one of the photographs, with observations added, or a new one."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fidokit._util.atomic_write import write_atomically
from fidokit._util.warning import warn
from fidokit._util.wording import argument, given
from fidokit.data.readers.camtrap_dp import DESCRIPTOR
from fidokit.data.readers.cells import file_of, portable
from fidokit.data.readers.data_package import read_records
from fidokit.data.readers.reading import Notes, path_inside, read_json
from fidokit.exceptions import SettingsError, StoreError
from fidokit.study.exports.camtrap_fields import OBSERVATIONS, table_bytes
from fidokit.study.exports.camtrap_new import new_package
from fidokit.study.exports.camtrap_observations import Medium, Names, observations
from fidokit.study.exports.results import relative_paths
from fidokit.study.exports.writing import check_folder, whole_folder
from fidokit.study.stored import StoredStudy

_TABLE = "observations"
#: What is no longer true of a table's file that was written anew.
_OF_THE_FILE = ("dialect", "compression", "bytes", "hash", "path", "encoding", "format", "mediatype")


@dataclass(frozen=True)
class Wanted:
    """How a package is to be written; see `Study.to_camtrap_dp`."""

    source: str | Path | None = None
    names: Mapping[str, str] | None = None
    classified_by: str | None = None
    deployments: pd.DataFrame | None = None
    descriptor: Mapping[str, Any] | None = None
    timezone: str | None = None
    copy_media: bool = False


def to_camtrap_dp(study: StoredStudy, folder: Path, results: pd.DataFrame, wanted: Wanted, *, overwrite: bool) -> Path:
    """See `Study.to_camtrap_dp`."""
    check_folder(folder, overwrite)
    names = Names(study, wanted.names)
    source = _source(study, wanted)
    if source is None:
        package = new_package(study, names, wanted.deployments, wanted.descriptor, wanted.timezone, wanted.copy_media)
        rows = [*package.labels, *observations(study, results, package.media, names, wanted.classified_by)]
        tables = package.tables | {_TABLE: table_bytes(OBSERVATIONS, rows)}
        files, descriptor = package.files, package.descriptor
        written = {f"{name}.csv": content for name, content in tables.items()}
    else:
        old = _Package.read(source)
        rows = list(observations(study, results, _media_of(study, old), names, wanted.classified_by))
        path = old.place_of_table()
        files, descriptor = old.files(wanted.copy_media), old.with_table(path)
        written = {path: old.with_rows(rows)}
    with whole_folder(folder, DESCRIPTOR, overwrite) as stage:
        _copy(files, stage)
        for name, content in (written | {DESCRIPTOR: _json(_with_taxa(descriptor, rows))}).items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(stage / name, content)
    return folder / DESCRIPTOR


def _source(study: StoredStudy, wanted: Wanted) -> Path | None:
    """The descriptor of the package that the photographs came from; None for a new package.

    Raises:
        SettingsError: there is none where it was said to be, or what belongs to a new package was given with one.
        StoreError: it would be read from where somebody else's study says.
    """
    anew = [name for name in ("deployments", "descriptor", "timezone") if getattr(wanted, name) is not None]
    if wanted.source is not None:
        source = Path(wanted.source)
        source = source / DESCRIPTOR if source.is_dir() else source
        if anew:
            raise SettingsError(f"{anew[0]} is for a package that is written anew; leave it, or source, out")
        return source
    if anew:
        return None
    found = Path(study.manifest["dataset"]["root"]) / DESCRIPTOR
    if not study.is_own:
        raise StoreError(
            f"{study.path} was not begun by you on this machine, so the package that it names is not read; give it as "
            f"{argument('source')}, or open the study with {given(trust=True)}"
        )
    return found if found.is_file() else None


@dataclass(frozen=True)
class _Package:
    """A Camtrap DP as it stands on the disk.

    Attributes:
        path: of its descriptor.
        descriptor: its content.
        media: header and cells; observations likewise.
    """

    path: Path
    descriptor: dict[str, Any]
    media: tuple[list[str], list[list[str]]]
    observations: tuple[list[str], list[list[str]]]

    @classmethod
    def read(cls, path: Path) -> _Package:
        """Raises `SettingsError` where it cannot be read, or is of a version before 1.0."""
        descriptor, notes = read_json(path), Notes()
        media = read_records(descriptor, path, "media", "mediaID", notes)
        table = read_records(descriptor, path, _TABLE, "observationID", notes)
        for (header, _), name, needed in (
            (media, "media", ("mediaID", "deploymentID", "filePath", "timestamp")),
            (table, _TABLE, ("observationID", "deploymentID", "observationLevel", "eventStart")),
        ):
            missing = [column for column in needed if column not in header]
            if missing:
                raise SettingsError(
                    f"{path}: the table {name} has no column {missing[0]}; observations are added to packages of "
                    "Camtrap DP 1.0 and later, so export it again in that version"
                )
        return cls(path, descriptor, media, table)

    @property
    def entry(self) -> dict[str, Any]:
        """The resource of the observations."""
        found: dict[str, Any] = next(one for one in self._resources() if one.get("name") == _TABLE)
        return found

    def _resources(self) -> Iterator[dict[str, Any]]:
        return (one for one in self.descriptor["resources"] if isinstance(one, dict))

    def place_of_table(self) -> str:
        """Where the observations are written: where they were, if that is one plain file."""
        path = self.entry["path"]
        parts = [path] if isinstance(path, str) else path
        return str(parts[0]) if len(parts) == 1 and str(parts[0]).endswith(".csv") else f"{_TABLE}.csv"

    def with_rows(self, rows: Sequence[Mapping[str, str]]) -> bytes:
        """The table of observations with rows added; those of the same observationID are replaced."""
        header, cells = self.observations
        new = {row["observationID"] for row in rows}
        missing = [name for name in OBSERVATIONS if name not in header]
        order = list(header)
        if missing:
            order = list(OBSERVATIONS) if set(header) <= set(OBSERVATIONS) else [*header, *missing]
        own = header.index("observationID")
        kept = [dict(zip(header, row, strict=True)) for row in cells if row[own].strip() not in new]
        return table_bytes(order, [*kept, *rows], self._nothing())

    def _nothing(self) -> str:
        """How the table writes that there is no value."""
        schema = self.entry.get("schema")
        values = schema.get("missingValues") if isinstance(schema, dict) else None
        texts = [value.get("value") if isinstance(value, dict) else value for value in values or []]
        return "" if not texts or "" in texts else str(texts[0])

    def with_table(self, path: str) -> dict[str, Any]:
        """The descriptor of the package with the new table."""
        entry = {name: value for name, value in self.entry.items() if name not in _OF_THE_FILE}
        entry |= {"path": path, "format": "csv", "mediatype": "text/csv", "encoding": "utf-8"}
        resources = [
            entry if isinstance(one, dict) and one.get("name") == _TABLE else one
            for one in self.descriptor["resources"]
        ]
        made = self.descriptor | {"resources": resources, "created": _now()}
        project = made.get("project")
        levels = project.get("observationLevel") if isinstance(project, dict) else None
        if isinstance(project, dict) and isinstance(levels, list) and "media" not in levels:
            made["project"] = project | {"observationLevel": [*levels, "media"]}
        return made

    def files(self, with_media: bool) -> dict[str, Path]:
        """Name in the package -> file, of all files that belong to it but the observations."""
        found: list[str] = []
        for one in self._resources():
            if one.get("name") != _TABLE:
                path = one.get("path", [])
                found += [path] if isinstance(path, str) else [part for part in path if isinstance(part, str)]
            found += [one[name] for name in ("schema", "dialect") if isinstance(one.get(name), str)]
        if isinstance(self.descriptor.get("profile"), str) and str(self.descriptor["profile"]).endswith(".json"):
            found.append(self.descriptor["profile"])
        if with_media:
            place = self.media[0].index("filePath")
            found += [row[place].strip() for row in self.media[1] if row[place].strip()]
        local = [path_inside(name, str(self.path)) for name in found if "://" not in name]
        files = {name: self.path.parent / name for name in dict.fromkeys(local)}
        return {name: file for name, file in files.items() if file_of(str(file)).is_file()}


def _media_of(study: StoredStudy, package: _Package) -> list[Medium | None]:
    """The medium of each row, by its image_id, or else by its path.

    Raises:
        SettingsError: a photograph is none of the package's media.
    """
    header, cells = package.media
    at = {name: header.index(name) for name in ("mediaID", "deploymentID", "timestamp", "filePath")}
    events = _events(package)
    by_id: dict[str, Medium] = {}
    by_path: dict[str, Medium] = {}
    for row in cells:
        key = portable(row[at["mediaID"]].strip())
        event = events.get(key, row[header.index("eventID")].strip() if "eventID" in header else "")
        medium = Medium(
            row[at["mediaID"]].strip(), row[at["deploymentID"]].strip(), row[at["timestamp"]].strip(), event
        )
        by_id[key] = medium
        by_path[portable(row[at["filePath"]].strip().replace("\\", "/"))] = medium
    sequences = study.images["sequence"].tolist() if "sequence" in study.images.columns else [None] * len(study)
    paths: list[str] | None = None
    found: list[Medium | None] = []
    timeless: list[str] = []
    for i, (image_id, sequence) in enumerate(zip(study.images["image_id"], sequences, strict=True)):
        medium_of_row = by_id.get(image_id)
        if medium_of_row is None:
            paths = relative_paths(study) if paths is None else paths
            medium_of_row = by_path.get(paths[i])
        if medium_of_row is None:
            raise SettingsError(
                f"{package.path}: the photograph {image_id!r} is none of its media; give as {argument('source')} "
                "the package that photographs were read from, or "
                f"`{argument('descriptor')}` and `{argument('deployments')}` for a new one"
            )
        if not medium_of_row.timestamp:
            timeless.append(image_id)
            found.append(None)
            continue
        if not medium_of_row.event_id and isinstance(sequence, str):
            medium_of_row = Medium(**{**vars(medium_of_row), "event_id": sequence})
        found.append(medium_of_row)
    if timeless:
        warn(
            f"{package.path}: {len(timeless)} photographs have no timestamp in the table media (first: {timeless[0]}), "
            "without which the standard allows no observation; they got none"
        )
    return found


def _events(package: _Package) -> dict[str, str]:
    """mediaID -> the event that its own observations name, where they name one."""
    header, cells = package.observations
    if "mediaID" not in header or "eventID" not in header:
        return {}
    medium, event = header.index("mediaID"), header.index("eventID")
    named: dict[str, set[str]] = {}
    for row in cells:
        if row[medium].strip() and row[event].strip():
            named.setdefault(portable(row[medium].strip()), set()).add(row[event].strip())
    return {key: next(iter(events)) for key, events in named.items() if len(events) == 1}


def _with_taxa(descriptor: Mapping[str, Any], rows: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    """The descriptor with the names that observations have, and that its taxonomic coverage lacks."""
    taxa = [one for one in descriptor.get("taxonomic") or [] if isinstance(one, dict)]
    known = {str(one.get("scientificName")) for one in taxa}
    new = sorted({row["scientificName"] for row in rows if row.get("scientificName")} - known)
    return dict(descriptor) | {"taxonomic": [*taxa, *({"scientificName": name} for name in new)]}


def _copy(files: Mapping[str, Path], stage: Path) -> None:
    for name, file in files.items():
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file_of(str(file)), target)


def _json(descriptor: Mapping[str, Any]) -> bytes:
    return (json.dumps(descriptor, indent=2) + "\n").encode("ascii")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
