"""A Camtrap DP for photographs that come from no such package: deployments, media and what describes them."""

from __future__ import annotations

import datetime
import json
import math
import mimetypes
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import ExifTags, Image

from fidokit._util.wording import argument, either
from fidokit._version import __version__
from fidokit.data.readers.cells import file_of, text_of
from fidokit.exceptions import SettingsError
from fidokit.study.exports.camtrap_fields import DEPLOYMENTS, HOME, MEDIA, table_bytes
from fidokit.study.exports.camtrap_observations import Medium, Names, about, box_cells
from fidokit.study.exports.results import relative_boxes, relative_paths
from fidokit.study.stored import StoredStudy

#: Columns of the dataset, reduced to lower-case letters, that say where and when a photograph was taken.
_DEPLOYMENT = ("deployment", "deploymentid", "location", "locationid", "site", "camera", "cameraid", "station")
_TIME = ("datetime", "timestamp", "datetimeoriginal", "dateandtime")
#: What the standard wants to know of a package and its project, and nobody but its owner does.
_OF_PACKAGE = ("contributors", "project")
_OF_PROJECT = ("title", "samplingDesign", "captureMethod", "individualAnimals")
_EXAMPLE = {
    "contributors": [{"title": "Your Name"}],
    "project": {
        "title": "Moor",
        "samplingDesign": "opportunistic",
        "captureMethod": ["activityDetection"],
        "individualAnimals": False,
    },
}
_AS_JSON = f"JSON such as {json.dumps(_EXAMPLE)}"
#: Paths that the standard allows.
_FILE_PATH = re.compile(r"(?=^[^./~])(^((?!\.{2}).)*$).*")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_EXIF_TIME = re.compile(r"(\d{4}):(\d{2}):(\d{2}) ")


@dataclass(frozen=True)
class NewPackage:
    """What is written.

    Attributes:
        tables: name -> content, of deployments and media.
        media: the medium of each row of the study.
        labels: the labels that the photographs had, as observations.
        descriptor: content of datapackage.json, its taxonomic coverage left to the observations.
        files: name in the package -> photograph, where they are to be copied.
    """

    tables: dict[str, bytes]
    media: list[Medium | None]
    labels: list[dict[str, str]]
    descriptor: dict[str, Any]
    files: dict[str, Path]


def new_package(
    study: StoredStudy,
    names: Names,
    deployments: pd.DataFrame | None,
    descriptor: Mapping[str, Any] | None,
    timezone: str | None,
    copy_media: bool,
) -> NewPackage:
    """Deployments, media and description; see `Study.to_camtrap_dp`.

    Raises:
        SettingsError: something is missing that the standard asks for; the message says what, and where to give it.
    """
    described = _checked(study, descriptor)
    zone = _zone(timezone)
    paths = relative_paths(study)
    for path in paths:
        if not _FILE_PATH.fullmatch(path):
            raise SettingsError(
                f"{path}: a path in a Camtrap DP begins with no '.', '/' or '~' and holds no '..'; rename it"
            )
    times = _times(study, zone)
    places = _places(study, deployments)
    table = _deployment_table(study, deployments, places, times, zone)
    first = {path: i for i, path in reversed(list(enumerate(paths)))}
    media = [Medium(path, str(place), time.isoformat()) for path, place, time in zip(paths, places, times, strict=True)]
    rows = [
        {
            "mediaID": path,
            "deploymentID": media[i].deployment_id,
            "timestamp": media[i].timestamp,
            "filePath": path,
            "filePublic": "false",
            "fileName": path.rpartition("/")[2],
            "fileMediatype": _mediatype(path),
        }
        for path, i in first.items()
    ]
    return NewPackage(
        {"deployments": table_bytes(DEPLOYMENTS, table.to_dict("records")), "media": table_bytes(MEDIA, rows)},
        list(media),
        _labels(study, names, media),
        described | _coverage(table),
        {path: Path(study.data.table["path"].iloc[i]) for path, i in first.items()} if copy_media else {},
    )


def _checked(study: StoredStudy, descriptor: Mapping[str, Any] | None) -> dict[str, Any]:
    """The description with what can be told without its owner."""
    described = dict(descriptor or {})
    project = described.get("project")
    missing = [name for name in _OF_PACKAGE if not described.get(name)]
    if isinstance(project, Mapping):
        missing += [f"project.{name}" for name in _OF_PROJECT if project.get(name) in (None, "", [])]
    if missing:
        raise SettingsError(
            f"the photographs of {study.path} come from no Camtrap DP, so a new one is written, and its description "
            f"lacks {', '.join(missing)}; give "
            f"{either(f'descriptor={_EXAMPLE!r}', f'--descriptor FILE, {_AS_JSON}')}, or as "
            f"{argument('source')} the package that they come from"
        )
    if not isinstance(project, Mapping) or not isinstance(described["contributors"], Sequence):
        raise SettingsError(
            f"{argument('descriptor')}: contributors must be a list and project a mapping, such as "
            f"{either(repr(_EXAMPLE), _AS_JSON)}"
        )
    resources = [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "format": "csv",
            "mediatype": "text/csv",
            "encoding": "utf-8",
            "schema": f"{HOME}/{name}-table-schema.json",
        }
        for name in ("deployments", "media", "observations")
    ]
    name = re.sub(r"[^a-z0-9._-]+", "-", Path(str(study.path)).name.casefold()).strip("-") or "study"
    return (
        {"name": name}
        | described
        | {
            "profile": f"{HOME}/camtrap-dp-profile.json",
            "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resources": resources,
            "sources": [*described.get("sources", []), {"title": "fidokit", "version": __version__}],
            "project": {"observationLevel": ["media"]} | dict(project),
        }
    )


def _zone(timezone: str | None) -> datetime.tzinfo | None:
    if timezone is None:
        return None
    if timezone in ("UTC", "Z"):
        return datetime.UTC
    if (offset := _OFFSET.fullmatch(timezone)) is not None:
        minutes = 60 * int(offset[2]) + int(offset[3])
        return datetime.timezone(datetime.timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(f"there is no time zone {timezone!r}; give one as +02:00, UTC or Europe/Berlin") from error


def _times(study: StoredStudy, zone: datetime.tzinfo | None) -> list[pd.Timestamp]:
    """When each photograph was taken: as the dataset's table says, or else its own EXIF.

    Raises:
        SettingsError: it is not known of a photograph, or in which zone.
    """
    column = _column_like(study.images, _TIME)
    cells: list[Any] = [None] * len(study) if column is None else study.images[column].tolist()
    found: list[pd.Timestamp] = []
    for image_id, cell, i in zip(study.images["image_id"], cells, range(len(study)), strict=True):
        text = text_of(cell) or _exif_time(Path(study.data.table["path"].iloc[i]))
        if text is None:
            raise SettingsError(
                f"{image_id}: it is not known when it was taken, which a Camtrap DP must say; add a column datetime to "
                "the dataset's table"
            )
        found.append(_moment(text, zone, str(image_id)))
    return found


def _moment(text: str, zone: datetime.tzinfo | None, where: str) -> pd.Timestamp:
    moment = pd.to_datetime(_EXIF_TIME.sub(r"\1-\2-\3 ", text), errors="coerce")
    if pd.isna(moment):
        raise SettingsError(f"{where}: {text!r} is no time; write it as 2024-05-31T12:00:00+02:00")
    if moment.tzinfo is None:
        if zone is None:
            raise SettingsError(f"{where}: the time {text!r} has no zone; give timezone, such as '+02:00' or 'UTC'")
        # In the hour that summer time repeats, the second; in the one that it leaves out, the time after.
        moment = moment.tz_localize(zone, ambiguous=False, nonexistent="shift_forward")
    return moment.floor("s")


def _exif_time(path: Path) -> str | None:
    """DateTimeOriginal, with its offset where there is one."""
    try:
        with Image.open(file_of(str(path))) as image:
            exif = image.getexif()
            own = exif.get_ifd(ExifTags.IFD.Exif)
            text = own.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
            offset = own.get(ExifTags.Base.OffsetTimeOriginal)
    except Exception:  # decoders raise all kinds of exceptions on damaged files
        return None
    if not isinstance(text, str) or not text.strip("\0 :"):
        return None
    return f"{text.strip()}{offset.strip()}" if isinstance(offset, str) and _OFFSET.fullmatch(offset.strip()) else text


def _places(study: StoredStudy, deployments: pd.DataFrame | None) -> list[str]:
    """The deployment of each photograph."""
    column = _column_like(study.images, _DEPLOYMENT)
    cells = [None] * len(study) if column is None else [text_of(cell) for cell in study.images[column]]
    known = None if deployments is None else _ids(deployments)
    if known is not None and len(known) == 1:
        return known * len(study)
    if known is None and column is None:
        return ["deployment"] * len(study)
    for image_id, cell in zip(study.images["image_id"], cells, strict=True):
        if cell is None or (known is not None and cell not in known):
            raise SettingsError(
                f"{image_id}: its deployment is not known; the dataset's table needs a column deployment with the "
                "deploymentID of each photograph"
            )
    return [str(cell) for cell in cells]


def _ids(deployments: pd.DataFrame) -> list[str]:
    unknown = [str(name) for name in deployments.columns if name not in DEPLOYMENTS]
    if unknown or "deploymentID" not in deployments.columns:
        what = f"has a column {unknown[0]!r}" if unknown else "has no column deploymentID"
        raise SettingsError(f"deployments {what}; its columns are those of Camtrap DP: {', '.join(DEPLOYMENTS)}")
    ids = [text_of(value) for value in deployments["deploymentID"]]
    if None in ids or len(set(ids)) < len(ids):
        raise SettingsError("deployments: each needs a deploymentID of its own")
    return [str(value) for value in ids]


def _deployment_table(
    study: StoredStudy,
    deployments: pd.DataFrame | None,
    places: Sequence[str],
    times: Sequence[pd.Timestamp],
    zone: datetime.tzinfo | None,
) -> pd.DataFrame:
    """One row a deployment, as texts: as given, with what its photographs tell where that is missing."""
    of_place: dict[str, list[int]] = {}
    for i, place in enumerate(places):
        of_place.setdefault(place, []).append(i)
    if deployments is None:
        given = [{"deploymentID": place} | _position(study, own) for place, own in of_place.items()]
    else:
        given = [
            {str(name): text for name, value in row.items() if (text := text_of(value)) is not None}
            for row in deployments.to_dict("records")
        ]
    for row in given:
        where = f"deployment {row['deploymentID']!r}"
        own_times = [times[i] for i in of_place.get(row["deploymentID"], [])]
        for name, chosen in (("deploymentStart", min), ("deploymentEnd", max)):
            if name in row:
                row[name] = _moment(row[name], zone, where).isoformat()
            elif own_times:
                row[name] = chosen(own_times).isoformat()
            else:
                raise SettingsError(f"{where} has no photographs, and no {name}; give it, or leave the deployment out")
        for name, most in (("latitude", 90), ("longitude", 180)):
            if not _within(row.get(name), most):
                raise SettingsError(
                    f"{where}: its {name} is {row.get(name)!r}, and must be a number from {-most} to {most}; give "
                    "deployments, a table with deploymentID, latitude and longitude"
                )
    return pd.DataFrame(given).reindex(columns=list(DEPLOYMENTS))


def _within(text: str | None, most: int) -> bool:
    """Whether a text is a number from -most to most."""
    try:
        value = float(text or "")
    except ValueError:
        return False
    return math.isfinite(value) and abs(value) <= most


def _position(study: StoredStudy, own: Sequence[int]) -> dict[str, str]:
    """Latitude and longitude that all photographs of a deployment share."""
    made = {}
    for name in ("latitude", "longitude"):
        column = _column_like(study.images, (name,))
        values = set() if column is None else {text_of(study.images[column].iloc[i]) for i in own}
        if len(values) == 1 and (text := values.pop()) is not None:
            made[name] = text
    return made


def _labels(study: StoredStudy, names: Names, media: Sequence[Medium]) -> list[dict[str, str]]:
    """The dataset's own labels as observations; who gave them is not known."""
    boxes = relative_boxes(study)
    made = []
    for i, label in enumerate(study.images["label"]):
        if isinstance(label, str):
            kind, name = names.of(label)
            made.append(
                about(media[i])
                | box_cells(boxes[i])
                | {"observationID": f"label-{i + 1}", "observationType": kind, "scientificName": name}
            )
    return made


def _coverage(table: pd.DataFrame) -> dict[str, Any]:
    """Where and when, from the deployments."""
    points = sorted({(float(x), float(y)) for x, y in zip(table["longitude"], table["latitude"], strict=True)})
    starts, ends = (sorted(str(text)[:10] for text in table[name]) for name in ("deploymentStart", "deploymentEnd"))
    return {
        "spatial": {"type": "MultiPoint", "coordinates": [list(point) for point in points]},
        "temporal": {"start": starts[0], "end": ends[-1]},
    }


def _column_like(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    """The first of these columns that the table has, whatever its case and what stands between its words."""
    plain = {re.sub(r"[\W_]+", "", str(column)).casefold(): str(column) for column in reversed(list(frame.columns))}
    return next((plain[name] for name in names if name in plain), None)


def _mediatype(path: str) -> str:
    kind = mimetypes.guess_type(path)[0] or ""
    return kind if kind.startswith("image/") else "image/jpeg"
