"""What the study says of each photograph, as observations of Camtrap DP."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fidokit._util.numbers import number
from fidokit._util.spreadsheet import defused
from fidokit._version import __version__
from fidokit.data.geometry import Box
from fidokit.exceptions import SettingsError
from fidokit.study.exports.camtrap_fields import TYPES
from fidokit.study.exports.results import CONFIRMED, CORRECTED, FAILED, plain_labels, relative_boxes
from fidokit.study.stored import StoredStudy

_OWN = "fidokit"
#: Width and height of a box must be above 0 in the standard.
_LEAST_SIDE = 1e-15


@dataclass(frozen=True)
class Medium:
    """The photograph that an observation is about.

    Attributes:
        media_id, deployment_id: in their tables.
        timestamp: as it stands in the table of media.
        event_id: of its event, "" where there is none.
    """

    media_id: str
    deployment_id: str
    timestamp: str
    event_id: str = ""


class Names:
    """The type of observation and the scientific name of each class or label.

    Args:
        study: the study.
        given: class or label -> scientific name, or ``human``, ``vehicle``, ``blank``, ``unknown`` or ``animal``.

    Raises:
        SettingsError: a class that there is not.
    """

    def __init__(self, study: StoredStudy, given: Mapping[str, str] | None) -> None:
        self._plain = plain_labels(study)
        self._given = dict(given or {})
        known = {*study.manifest["classifier"]["class_names"], *study.images["label"].dropna(), *self._plain.values()}
        unknown = next((name for name in self._given if name not in known), None)
        if unknown is not None:
            raise SettingsError(f"names: there is no class or label {unknown!r}, so that it cannot get another name")

    def of(self, name: str) -> tuple[str, str]:
        """(observationType, scientificName); the name is "" where there is none."""
        plain = self._plain.get(name, name)
        text = self._given.get(name) or self._given.get(plain) or plain
        kind = TYPES.get(text.strip().casefold())
        return ("animal", defused(" ".join(text.split()))) if kind is None else (kind, "")


def observations(
    study: StoredStudy,
    results: pd.DataFrame,
    media: list[Medium | None],
    names: Names,
    classified_by: str | None,
) -> Iterator[dict[str, str]]:
    """The observations of all rows whose photograph is a medium, as cells of text."""
    classifier = study.manifest["classifier"]
    by = classified_by or f"{classifier['name'] or classifier['module']} ({_OWN} {__version__})"
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    boxed = classifier["preprocessing"].get("use_boxes", False)
    boxes = relative_boxes(study) if boxed else [None] * len(results)
    for row, medium, box in zip(results.to_dict("records"), media, boxes, strict=True):
        if medium is not None:
            key = hashlib.sha256(f"{row['image_id']}\0{classifier['fingerprint']}".encode()).hexdigest()[:16]
            made = about(medium) | box_cells(box) | _classified(row, names, by, now)
            yield made | {
                "observationID": f"{_OWN}-{key}",
                "observationTags": _tags(row),
                "observationComments": _comments(row),
            }


def about(medium: Medium) -> dict[str, str]:
    """The cells that say which medium an observation is of; its event lasts as long as the photograph."""
    return {
        "deploymentID": medium.deployment_id,
        "mediaID": medium.media_id,
        "eventID": medium.event_id,
        "eventStart": medium.timestamp,
        "eventEnd": medium.timestamp,
        "observationLevel": "media",
    }


def box_cells(box: Box | None) -> dict[str, str]:
    """A box from 0 to 1 as cells."""
    if box is None:
        return {}
    values = (box[0], box[1], max(box[2] - box[0], _LEAST_SIDE), max(box[3] - box[1], _LEAST_SIDE))
    columns = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")
    return {name: f"{value:.6g}" for name, value in zip(columns, values, strict=True)}


def _classified(row: Mapping[Any, Any], names: Names, by: str, now: str) -> dict[str, str]:
    """Type, name and by whom: the reviewer, where one has decided, or else the classifier."""
    if row["review"] in (CONFIRMED, CORRECTED):
        answer = row["review_label"] if row["review"] == CORRECTED else row["review_label"] or row["predicted"]
        if answer is not None:
            kind, name = names.of(str(answer))
            return {
                "observationType": kind,
                "scientificName": name,
                "classificationMethod": "human",
                "classifiedBy": defused(row["reviewed_by"] or ""),
                "classificationTimestamp": row["reviewed_at"] or "",
            }
    if row["state"] == FAILED:
        return {"observationType": "unclassified"}
    kind, name = names.of(str(row["predicted"]))
    return {
        "observationType": kind,
        "scientificName": name,
        "classificationMethod": "machine",
        "classifiedBy": defused(by),
        "classificationTimestamp": now,
        "classificationProbability": f"{min(max(float(row['score']), 0.0), 1.0):.5f}",
    }


def _tags(row: Mapping[Any, Any]) -> str:
    """``key:value`` pairs, separated as the standard says."""
    pairs = [(_OWN, row["state"]), ("review", row["review"]), ("mask", row["verdict"])]
    pairs += [("cluster", str(k)) for k in row["clusters"] or []]
    return " | ".join(f"{key}:{value}" for key, value in pairs if isinstance(value, str))


def _comments(row: Mapping[Any, Any]) -> str:
    """What there is to say in sentences, on one line."""
    parts = [f"Reviewer: {row['review_comment']}"] if row["review_comment"] else []
    if isinstance(row["predicted"], str):
        parts.append(f"Classifier: {row['predicted']} ({number(row['score'])})")
    if isinstance(row["label"], str):
        parts.append(f"Label: {row['label']}")
    if isinstance(row["runner_up"], str):
        parts.append(f"Runner-up: {row['runner_up']}")
    if isinstance(row["method"], str) and not np.isnan(row["kept"]):
        parts.append(
            f"Mask ({row['method']}, {row['kind']}): {number(row['kept'])} kept, {number(row['dropped'])} without it"
        )
    parts += [str(text) for text in row["sentences"] or []]
    if row["note"]:
        parts.append(f"Note: {row['note']}")
    return ". ".join(" ".join(part.split()).rstrip(".") for part in parts)
