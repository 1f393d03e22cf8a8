"""The tables of Camtrap DP 1.0 (https://camtrap-dp.tdwg.org/data), and where their standard is published."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fidokit.data.readers.cells import portable, text_of

#: Of a package that is written anew: nothing but patches came since, and more programs read it than the last.
VERSION = "1.0.1"
HOME = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"

#: Columns in the order of the schemas; a table of the standard has all of them.
DEPLOYMENTS = (
    *("deploymentID", "locationID", "locationName", "latitude", "longitude", "coordinateUncertainty"),
    *("deploymentStart", "deploymentEnd", "setupBy", "cameraID", "cameraModel", "cameraDelay", "cameraHeight"),
    *("cameraDepth", "cameraTilt", "cameraHeading", "detectionDistance", "timestampIssues", "baitUse", "featureType"),
    *("habitat", "deploymentGroups", "deploymentTags", "deploymentComments"),
)
MEDIA = (
    *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName", "fileMediatype"),
    *("exifData", "favorite", "mediaComments"),
)
OBSERVATIONS = (
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
    *("observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior", "individualID"),
    *("individualPositionRadius", "individualPositionAngle", "individualSpeed"),
    *("bboxX", "bboxY", "bboxWidth", "bboxHeight"),
    *("classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability"),
    *("observationTags", "observationComments"),
)
#: Types of observations, by the lower-case names that classes have for them.
TYPES = {
    **dict.fromkeys(("human", "person", "people", "homo sapiens"), "human"),
    **dict.fromkeys(("vehicle", "vehicles", "car"), "vehicle"),
    **dict.fromkeys(("blank", "empty", "background", "nothing"), "blank"),
    **dict.fromkeys(("unknown", "unidentified"), "unknown"),
    **dict.fromkeys(("animal", "unidentified animal"), "animal"),
}


def table_bytes(header: Sequence[str], rows: Iterable[Mapping[Any, Any]], nothing: str = "") -> bytes:
    """Rows as CSV in UTF-8, cells in which a row has nothing as `nothing`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([text_of(row.get(name)) or nothing for name in header] for row in rows)
    return portable(text.getvalue()).encode()
