"""Camtrap DP, the Camera Trap Data Package, 1.0 (https://camtrap-dp.tdwg.org).

datapackage.json names three tables: deployments, media and observations. An observation belongs to one medium
(observationLevel media), or to all media of its deployment between eventStart and eventEnd (observationLevel event).
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.exceptions import SettingsError
from fidokit.readers.cells import portable
from fidokit.readers.choice import choose_boxes, choose_labels
from fidokit.readers.folder import SUFFIXES
from fidokit.readers.reading import (
    Notes,
    Reading,
    RowNames,
    corners,
    path_inside,
    read_json,
    read_text,
    sizes_of,
    usable_boxes,
    without_unknown_sizes,
)
from fidokit.readers.table import BOX_COLUMNS

DESCRIPTOR = "datapackage.json"
BLANK = "blank"

#: What the schemas of the tables count as no value.
_MISSING = frozenset(["", "NaN", "nan", "NA"])
_NEEDED = {
    "deployments": ["deploymentID"],
    "media": ["mediaID", "deploymentID", "filePath"],
    "observations": ["observationID", "deploymentID", "observationType"],
}
_BOX_FIELDS = ["bboxX", "bboxY", "bboxWidth", "bboxHeight"]
#: Columns of the result from those of the deployments and of the observations.
_OF_DEPLOYMENT = {
    "location": "locationID",
    "location_name": "locationName",
    "latitude": "latitude",
    "longitude": "longitude",
    "camera": "cameraID",
    "camera_model": "cameraModel",
    "habitat": "habitat",
}
_NUMBERS = frozenset(["latitude", "longitude"])
_OF_OBSERVATION = {"life_stage": "lifeStage", "sex": "sex", "individual": "individualID"}
_FURTHER = {
    "deployments": [*_OF_DEPLOYMENT.values()],
    "media": ["captureMethod", "timestamp", "fileMediatype"],
    "observations": [
        *("mediaID", "eventID", "eventStart", "eventEnd", "scientificName", "classificationMethod"),
        *_BOX_FIELDS,
        *_OF_OBSERVATION.values(),
    ],
}


def read_camtrap_dp(path: Path, root: Path | None = None) -> Reading:
    """See `LabelledImages.from_camtrap_dp`."""
    path = path / DESCRIPTOR if path.is_dir() else path
    descriptor = read_json(path)
    deployments, media, observations = (_table(descriptor, name, path) for name in _NEEDED)
    notes = Notes()
    media, skipped = _local_photographs(media, path, notes)
    files = [path_inside(text, media.rows[i]) for i, text in enumerate(media.frame["filePath"])]
    frame = pd.DataFrame({"image_id": media.frame["mediaID"], "path": pd.Series(files, dtype=object)})
    links = _links(media, observations, notes)
    _add_labels(frame, links, observations, media.rows, notes)
    folder = path.parent if root is None else root
    _add_boxes(frame, links, observations, folder, notes)
    _add_sequence(frame, links, observations)
    frame["datetime"] = media.column("timestamp")
    frame["deployment"] = media.frame["deploymentID"]
    _add_deployments(frame, deployments)
    frame["capture_method"] = media.column("captureMethod")
    own = ["image_id", "path", "label"]
    frame = frame[[name for name in frame.columns if name in own or bool(frame[name].notna().any())]]
    return Reading(frame, folder, media.rows, skipped, notes)


@dataclass(frozen=True)
class _Table:
    """A table of the package: texts, None where there is nothing, and what messages call its rows."""

    frame: pd.DataFrame
    rows: RowNames

    def column(self, name: str) -> pd.Series[Any]:
        """A column that need not be there."""
        if name in self.frame.columns:
            return self.frame[name]
        return pd.Series([None] * len(self.frame), dtype=object)

    def names_of(self, positions: npt.NDArray[np.int64]) -> RowNames:
        return RowNames(self.rows.prefix, [self.rows.numbers[i] for i in positions.tolist()])

    def take(self, positions: npt.NDArray[np.int64]) -> _Table:
        return _Table(self.frame.iloc[positions].reset_index(drop=True), self.names_of(positions))


def _table(descriptor: Mapping[str, Any], name: str, path: Path) -> _Table:
    resources = descriptor.get("resources")
    found = [
        resource
        for resource in (resources if isinstance(resources, list) else [])
        if isinstance(resource, dict) and resource.get("name") == name
    ]
    if not found:
        raise SettingsError(f"{path} has no resource {name!r}; a Camtrap DP has {', '.join(_NEEDED)}")
    parts = found[0].get("path")
    parts = [parts] if isinstance(parts, str) else parts
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
        raise SettingsError(f"{path}: the resource {name!r} has no path; save the table as a CSV file")
    for part in parts:
        if "://" in part:
            raise SettingsError(f"{path}: the table {part} lies on a server; download it and give its file name here")
    files = [path.parent / path_inside(part, f"{path}, resource {name}") for part in parts]
    frames = [_read_csv(file, found[0], [*_NEEDED[name], *_FURTHER[name]]) for file in files]
    for file, frame in zip(files, frames, strict=True):
        missing = [column for column in _NEEDED[name] if column not in frame.columns]
        if missing:
            raise SettingsError(f"{file}: no column {missing[0]}; the table {name} of a Camtrap DP has it")
    rows = (
        RowNames(f"{files[0]}, record ", range(1, len(frames[0]) + 1))
        if len(files) == 1
        else RowNames(
            "",
            [f"{file}, record {i + 1}" for file, frame in zip(files, frames, strict=True) for i in range(len(frame))],
        )
    )
    table = _Table(pd.concat(frames, ignore_index=True), rows)
    key = _NEEDED[name][0]
    ids = table.frame[key]
    for what, bad in ((f"the {key} is empty", ids.isna()), (f"the {key} stands there twice", ids.duplicated())):
        if bad.any():
            place = table.rows[int(np.flatnonzero(bad)[0])]
            raise SettingsError(f"{place}: {what}; each record needs one of its own")
    return table


def _read_csv(file: Path, resource: Mapping[str, Any], wanted: Sequence[str]) -> pd.DataFrame:
    dialect = resource.get("dialect")
    delimiter = dialect.get("delimiter", ",") if isinstance(dialect, dict) else ","
    try:
        data = file.read_bytes()
        text = read_text(file, gzip.decompress(data) if file.suffix == ".gz" else data)
        frame = pd.read_csv(
            io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False, on_bad_lines="error"
        )
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"{file} cannot be read ({reason}); check its path, or copy the package again") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{file} cannot be read as CSV ({error}); copy the package again") from error
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    frame = frame.loc[:, ~frame.columns.duplicated()]
    return pd.DataFrame({column: _texts(frame[column]) for column in frame.columns if column in wanted})


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    cells = column.to_numpy(dtype=object)
    texts = [None if not isinstance(cell, str) or cell.strip() in _MISSING else cell.strip() for cell in cells]
    return pd.Series([None if text is None else portable(text) for text in texts], dtype=object)


def _local_photographs(media: _Table, path: Path, notes: Notes) -> tuple[_Table, int]:
    """The media that are photographs in files of this machine, and the number of others."""
    files, kinds = media.frame["filePath"], media.column("fileMediatype")
    no_file = files.isna().to_numpy()
    remote = np.array([file is not None and "://" in file for file in files], dtype=np.bool_)
    photograph = np.array(
        [
            kind.startswith("image/") if kind is not None else Path(file or "").suffix.lower() in SUFFIXES
            for file, kind in zip(files, kinds, strict=True)
        ],
        dtype=np.bool_,
    )
    for what, bad in (
        ("media have no filePath and were left out", no_file),
        ("media are no photographs and were left out", ~no_file & ~photograph),
        (
            "photographs lie on a server and were left out; download them and write their files into filePath",
            remote & photograph,
        ),
    ):
        if bad.any():
            notes.add(what, media.rows[int(np.flatnonzero(bad)[0])], int(bad.sum()))
    kept = np.flatnonzero(~no_file & ~remote & photograph)
    if not len(kept):
        raise SettingsError(f"{path} has no photograph in a file of this machine: {str(notes) or 'media is empty'}")
    return media.take(kept), len(files) - len(kept)


@dataclass(frozen=True)
class _Links:
    """Pairs of medium and observation.

    Attributes:
        media: (P,) positions.
        observations: (P,) positions.
        of_event: (P,) bool, whether the observation is one of an event.
    """

    media: npt.NDArray[np.int64]
    observations: npt.NDArray[np.int64]
    of_event: npt.NDArray[np.bool_]


def _links(media: _Table, observations: _Table, notes: Notes) -> _Links:
    ids = observations.column("mediaID")
    direct = pd.Index(media.frame["mediaID"]).get_indexer(pd.Index(ids))
    named = ids.notna().to_numpy()
    own = np.flatnonzero(named & (direct >= 0))
    events = np.flatnonzero(~named)
    start, end = (_times(observations.column(name))[events] for name in ("eventStart", "eventEnd"))
    bad = events[np.isnan(start) | np.isnan(end)]
    if len(bad):
        what = "observations of events have no eventStart and eventEnd and were left out"
        notes.add(what, observations.rows[int(bad[0])], len(bad))
    pairs = _during(media, observations.frame["deploymentID"].to_numpy(dtype=object)[events], start, end)
    return _Links(
        np.concatenate([direct[own], pairs[0]]).astype(np.int64),
        np.concatenate([own, events[pairs[1]]]).astype(np.int64),
        np.repeat([False, True], [len(own), len(pairs[0])]),
    )


def _times(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Seconds since 1970, NaN where there is no ISO 8601 time; times without a zone count as UTC."""
    times = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
    # In nanoseconds, which pandas may choose for the difference, time ends in 2262; a camera's clock may be anywhere.
    since = times.dt.as_unit("us") - pd.Timestamp(0, tz="UTC").as_unit("us")
    return np.asarray(since.dt.total_seconds(), dtype=np.float64)


def _during(
    media: _Table, deployments: npt.NDArray[np.object_], start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(media, events) of all pairs of the same deployment with start <= timestamp <= end."""
    codes, known = pd.factorize(media.frame["deploymentID"].to_numpy(dtype=object))
    times = _times(media.column("timestamp"))
    timed = np.flatnonzero(~np.isnan(times))
    order = timed[np.lexsort((times[timed], codes[timed]))]
    low, high = np.zeros((2, len(start)), dtype=np.int64)
    code = pd.Index(known).get_indexer(pd.Index(deployments, dtype=object)) if len(known) else np.full(len(start), -1)
    for group in np.unique(code[code >= 0]):
        events = np.flatnonzero((code == group) & ~np.isnan(start) & ~np.isnan(end))
        first, last = np.searchsorted(codes[order], [group, group + 1])
        stamps = times[order[first:last]]
        low[events] = first + np.searchsorted(stamps, start[events], side="left")
        high[events] = first + np.searchsorted(stamps, end[events], side="right")
    lengths = np.maximum(high - low, 0)
    events = np.repeat(np.arange(len(start)), lengths)
    within = np.arange(len(events)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return order[low[events] + within], events


def _labels_of(observations: _Table) -> npt.NDArray[np.object_]:
    """The scientific name; human, vehicle or blank where there is none; None for what nobody could tell."""
    names, kinds = observations.column("scientificName"), observations.frame["observationType"]
    labels = names.where(names.notna(), kinds.where(kinds.isin(["human", "vehicle", BLANK]), None))
    return labels.astype(object).where(labels.notna(), None).to_numpy(dtype=object)


def _add_labels(frame: pd.DataFrame, links: _Links, observations: _Table, rows: Sequence[str], notes: Notes) -> None:
    """The label, and what the observations behind it say alike.

    Observations of the medium count before those of its event, and people's before machines'.
    """
    labels = _labels_of(observations)
    by_machine = (observations.column("classificationMethod") == "machine").to_numpy(dtype=np.bool_)
    tells = np.array([label is not None for label in labels], dtype=np.bool_)[links.observations]
    places, found = links.media[tells], links.observations[tells]
    rank = 2 * links.of_event[tells].astype(np.int64) + by_machine[found]
    best = np.full(len(frame), 4)
    np.minimum.at(best, places, rank)
    counts = rank == best[places]
    places, found = places[counts], found[counts]
    frame["label"] = choose_labels(len(frame), places, labels[found].tolist(), [BLANK], rows, notes)
    unknown = np.flatnonzero(best == 4)
    if len(unknown):
        notes.add("photographs have no label, since no observation names a class", rows[int(unknown[0])], len(unknown))
    for column, name in _OF_OBSERVATION.items():
        said = pd.DataFrame({"place": places, "value": observations.column(name).to_numpy(dtype=object)[found]})
        said = said.dropna().drop_duplicates()
        alone = said[~said["place"].duplicated(keep=False)]
        values = np.full(len(frame), None, dtype=object)
        values[alone["place"].to_numpy()] = alone["value"].to_numpy(dtype=object)
        frame[column] = pd.Series(values, dtype=object)


def _add_boxes(frame: pd.DataFrame, links: _Links, observations: _Table, root: Path, notes: Notes) -> None:
    """The largest box among those of the label, and of what has no name, such as a detector's animals."""
    cells = pd.DataFrame({name: observations.column(name) for name in _BOX_FIELDS})
    given = cells.notna().any(axis=1).to_numpy()[links.observations] & ~links.of_event
    places, found = links.media[given], links.observations[given]
    if not len(found):
        return
    rows = observations.names_of(found)
    numbers = [pd.to_numeric(cells[name].iloc[found], errors="coerce") for name in _BOX_FIELDS]
    boxes = np.column_stack(numbers).astype(np.float64)
    usable = usable_boxes(boxes, np.ones(len(found), dtype=np.bool_), rows, notes)
    absolute = usable & (boxes > 1).any(axis=1)
    if absolute.any():
        what = "boxes are not relative, from 0 to 1, and were left out"
        notes.add(what, rows[int(np.flatnonzero(absolute)[0])], int(absolute.sum()))
    pairs = zip(_labels_of(observations)[found], frame["label"].to_numpy(dtype=object)[places], strict=True)
    fits = [of_box is None or label is None or of_box == label for of_box, label in pairs]
    usable &= ~absolute & np.array(fits, dtype=np.bool_)
    wanted = np.unique(places[usable])
    sizes = np.full((len(frame), 2), np.nan)
    sizes[wanted] = sizes_of([root / frame["path"].iloc[i] for i in wanted.tolist()])
    pixels = corners(boxes) * np.tile(sizes[places], 2)
    usable = without_unknown_sizes(pixels, usable, rows, notes)
    chosen, counts = choose_boxes(len(frame), places[usable], pixels[usable])
    frame[BOX_COLUMNS] = chosen
    frame["n_boxes"] = counts


def _add_sequence(frame: pd.DataFrame, links: _Links, observations: _Table) -> None:
    """The event of each photograph: that of its own observations, or else of the first event around it."""
    events = observations.column("eventID").to_numpy(dtype=object)[links.observations]
    order = np.lexsort((links.observations, links.of_event, links.media))
    first = order[np.flatnonzero(np.diff(links.media[order], prepend=-1))]
    sequences = np.full(len(frame), None, dtype=object)
    sequences[links.media[first]] = events[first]
    frame["sequence"] = pd.Series(sequences, dtype=object)


def _add_deployments(frame: pd.DataFrame, deployments: _Table) -> None:
    places = pd.Index(deployments.frame["deploymentID"]).get_indexer(pd.Index(frame["deployment"]))
    for column, name in _OF_DEPLOYMENT.items():
        cells = [*deployments.column(name), None]
        values = [cells[place] for place in places]
        if column in _NUMBERS:
            frame[column] = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
        else:
            frame[column] = pd.Series(values, dtype=object)
