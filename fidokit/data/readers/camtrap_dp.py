"""Camtrap DP, the Camera Trap Data Package, 1.0 (https://camtrap-dp.tdwg.org).

datapackage.json names three tables: deployments, media and observations. An observation belongs to one medium
(observationLevel media), or to all media of its deployment between eventStart and eventEnd (observationLevel event).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit.data.readers.camtrap_events import EVENT_COLUMNS, Links, link
from fidokit.data.readers.choice import choose_boxes, choose_labels
from fidokit.data.readers.data_package import Table, read_table
from fidokit.data.readers.folder import SUFFIXES
from fidokit.data.readers.left_out import ending_of, told
from fidokit.data.readers.reading import Notes, Reading, corners, path_inside, read_json, usable_boxes
from fidokit.data.readers.sizes import note_sizes
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import SettingsError

DESCRIPTOR = "datapackage.json"
_BLANK = "blank"

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
    "media": ["captureMethod", "timestamp", "fileMediatype", *EVENT_COLUMNS],
    "observations": [
        *("mediaID", *EVENT_COLUMNS, "eventStart", "eventEnd", "observationLevel"),
        *("scientificName", "classificationMethod"),
        *_BOX_FIELDS,
        *_OF_OBSERVATION.values(),
    ],
}


def read_camtrap_dp(path: Path, root: Path | None = None) -> Reading:
    """See `LabelledImages.from_camtrap_dp`."""
    path = path / DESCRIPTOR if path.is_dir() else path
    descriptor = read_json(path)
    notes = Notes()
    deployments, media, observations = (
        read_table(descriptor, path, name, needed, _FURTHER[name], notes) for name, needed in _NEEDED.items()
    )
    media, skipped = _local_photographs(media, path, notes)
    files = [path_inside(text, media.rows[i]) for i, text in enumerate(media.frame["filePath"])]
    frame = pd.DataFrame({"image_id": media.frame["mediaID"], "path": pd.Series(files, dtype=object)})
    links = link(media, observations, notes)
    _add_labels(frame, links, observations, media.rows, notes)
    folder = path.parent if root is None else root
    _add_boxes(frame, links, observations, folder, media.rows, notes)
    _add_sequence(frame, links, media, observations)
    frame["datetime"] = media.column("timestamp")
    frame["deployment"] = media.frame["deploymentID"]
    _add_deployments(frame, deployments)
    frame["capture_method"] = media.column("captureMethod")
    own = ["image_id", "path", "label"]
    frame = frame[[name for name in frame.columns if name in own or bool(frame[name].notna().any())]]
    return Reading(frame, folder, media.rows, skipped, notes)


def _local_photographs(media: Table, path: Path, notes: Notes) -> tuple[Table, int]:
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
    others = told(Counter(ending_of(file) for file in files[~no_file & ~photograph]))
    for what, bad in (
        ("media have no filePath and were left out", no_file),
        (f"media are no photographs and were left out ({others})", ~no_file & ~photograph),
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


def _labels_of(observations: Table) -> npt.NDArray[np.object_]:
    """The scientific name; human, vehicle or blank where there is none; None for what nobody could tell."""
    names, kinds = observations.column("scientificName"), observations.frame["observationType"]
    labels = names.where(names.notna(), kinds.where(kinds.isin(["human", "vehicle", _BLANK]), None))
    return labels.astype(object).where(labels.notna(), None).to_numpy(dtype=object)


def _add_labels(frame: pd.DataFrame, links: Links, observations: Table, rows: Sequence[str], notes: Notes) -> None:
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
    frame["label"] = choose_labels(len(frame), places, labels[found].tolist(), [_BLANK], rows, notes)
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


def _add_boxes(
    frame: pd.DataFrame, links: Links, observations: Table, root: Path, rows_of_media: Sequence[str], notes: Notes
) -> None:
    """The largest box among those of the label, and of what has no name, such as a detector's animals."""
    cells = pd.DataFrame({name: observations.column(name) for name in _BOX_FIELDS})
    boxed = cells.notna().any(axis=1).to_numpy()[links.observations]
    of_events = np.unique(links.observations[boxed & links.of_event])
    if len(of_events):
        what = "observations of events have boxes, which belong to no photograph and were left out"
        notes.add(what, observations.rows[int(of_events[0])], len(of_events))
    given = boxed & ~links.of_event
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
    chosen, counts = choose_boxes(len(frame), places[usable], corners(boxes[usable]))
    frame[BOX_COLUMNS] = chosen
    frame["n_boxes"] = counts
    frame[ANNOTATED_COLUMNS] = np.where(counts[:, None] > 0, 1.0, np.nan).repeat(2, axis=1)
    note_sizes(frame, root, rows_of_media, notes)


def _add_sequence(frame: pd.DataFrame, links: Links, media: Table, observations: Table) -> None:
    """The event of each photograph: that of its own observations, or else of the first event around it, or else that of
    its own record."""
    events = observations.column(*EVENT_COLUMNS).to_numpy(dtype=object)[links.observations]
    order = np.lexsort((links.observations, links.of_event, links.media))
    first = order[np.flatnonzero(np.diff(links.media[order], prepend=-1))]
    sequences = np.full(len(frame), None, dtype=object)
    sequences[links.media[first]] = events[first]
    own = media.column(*EVENT_COLUMNS).to_numpy(dtype=object)
    frame["sequence"] = pd.Series(np.where(pd.isna(sequences), own, sequences), dtype=object)


def _add_deployments(frame: pd.DataFrame, deployments: Table) -> None:
    places = pd.Index(deployments.frame["deploymentID"]).get_indexer(pd.Index(frame["deployment"]))
    for column, name in _OF_DEPLOYMENT.items():
        cells = [*deployments.column(name), None]
        values = [cells[place] for place in places]
        if column in _NUMBERS:
            frame[column] = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
        else:
            frame[column] = pd.Series(values, dtype=object)
