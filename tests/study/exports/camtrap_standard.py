"""What Camtrap DP asks of a package, so that exports are validated without a network.

Names, types and constraints of the fields, and what the profile requires, as published for 1.0.2, which differs from
1.0 and 1.0.1 in the missing values alone. Source: https://camtrap-dp.tdwg.org, MIT License, Copyright (c) 2021 Camtrap
DP Development Team.
"""

from __future__ import annotations

import json

import frictionless
import jsonschema

_REQUIRED = {"required": True}
_KEY = {"required": True, "unique": True}
_TIME = ("datetime", "%Y-%m-%dT%H:%M:%S%z")
_FEATURES = [
    *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge", "culvert"),
    *("burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
]


def _between(low, high, **more):
    return {"minimum": low, "maximum": high, **more}


#: Field -> type (with its format), and constraints.
_DEPLOYMENTS = {
    "deploymentID": ("string", _KEY),
    "locationID": ("string", {}),
    "locationName": ("string", {}),
    "latitude": ("number", _between(-90, 90, required=True)),
    "longitude": ("number", _between(-180, 180, required=True)),
    "coordinateUncertainty": ("integer", {"minimum": 1}),
    "deploymentStart": (_TIME, _REQUIRED),
    "deploymentEnd": (_TIME, _REQUIRED),
    "setupBy": ("string", {}),
    "cameraID": ("string", {}),
    "cameraModel": ("string", {}),
    "cameraDelay": ("integer", {"minimum": 0}),
    "cameraHeight": ("number", {"minimum": 0}),
    "cameraDepth": ("number", {"minimum": 0}),
    "cameraTilt": ("integer", _between(-90, 90)),
    "cameraHeading": ("integer", _between(0, 360)),
    "detectionDistance": ("number", {"minimum": 0}),
    "timestampIssues": ("boolean", {}),
    "baitUse": ("boolean", {}),
    "featureType": ("string", {"enum": _FEATURES}),
    "habitat": ("string", {}),
    "deploymentGroups": ("string", {}),
    "deploymentTags": ("string", {}),
    "deploymentComments": ("string", {}),
}
_MEDIA = {
    "mediaID": ("string", _KEY),
    "deploymentID": ("string", _REQUIRED),
    "captureMethod": ("string", {"enum": ["activityDetection", "timeLapse"]}),
    "timestamp": (_TIME, _REQUIRED),
    "filePath": ("string", {"required": True, "pattern": r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"}),
    "filePublic": ("boolean", _REQUIRED),
    "fileName": ("string", {}),
    "fileMediatype": ("string", {"required": True, "pattern": r"^(image|video|audio)/.*$"}),
    "exifData": ("any", {}),
    "favorite": ("boolean", {}),
    "mediaComments": ("string", {}),
}
_OBSERVATIONS = {
    "observationID": ("string", _KEY),
    "deploymentID": ("string", _REQUIRED),
    "mediaID": ("string", {}),
    "eventID": ("string", {}),
    "eventStart": (_TIME, _REQUIRED),
    "eventEnd": (_TIME, _REQUIRED),
    "observationLevel": ("string", {"required": True, "enum": ["media", "event"]}),
    "observationType": (
        "string",
        {"required": True, "enum": ["animal", "human", "vehicle", "blank", "unknown", "unclassified"]},
    ),
    "cameraSetupType": ("string", {"enum": ["setup", "calibration"]}),
    "scientificName": ("string", {}),
    "count": ("integer", {"minimum": 1}),
    "lifeStage": ("string", {"enum": ["adult", "subadult", "juvenile"]}),
    "sex": ("string", {"enum": ["female", "male"]}),
    "behavior": ("string", {}),
    "individualID": ("string", {}),
    "individualPositionRadius": ("number", {"minimum": 0}),
    "individualPositionAngle": ("number", _between(-90, 90)),
    "individualSpeed": ("number", {"minimum": 0}),
    "bboxX": ("number", _between(0, 1)),
    "bboxY": ("number", _between(0, 1)),
    "bboxWidth": ("number", _between(1e-15, 1)),
    "bboxHeight": ("number", _between(1e-15, 1)),
    "classificationMethod": ("string", {"enum": ["human", "machine"]}),
    "classifiedBy": ("string", {}),
    "classificationTimestamp": (_TIME, {}),
    "classificationProbability": ("number", _between(0, 1)),
    "observationTags": ("string", {}),
    "observationComments": ("string", {}),
}
_TO_DEPLOYMENTS = {"fields": "deploymentID", "reference": {"resource": "deployments", "fields": "deploymentID"}}
_TO_MEDIA = {"fields": "mediaID", "reference": {"resource": "media", "fields": "mediaID"}}

TABLES = {"deployments": _DEPLOYMENTS, "media": _MEDIA, "observations": _OBSERVATIONS}
_KEYS = {"deployments": [], "media": [_TO_DEPLOYMENTS], "observations": [_TO_DEPLOYMENTS, _TO_MEDIA]}

_TEXT = {"type": "string", "minLength": 1}
_RESOURCE = {
    "type": "object",
    "required": ["name", "path", "profile", "schema"],
    "properties": {
        "profile": {"const": "tabular-data-resource"},
        "schema": {"type": "string", "pattern": r"camtrap-dp/1\.0(\.\d)?/"},
    },
}
PROFILE = {
    "type": "object",
    "required": [
        *("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic"),
    ],
    "properties": {
        "profile": {"type": "string", "pattern": r"camtrap-dp/1\.0(\.\d)?/camtrap-dp-profile\.json$"},
        "name": {"type": "string", "pattern": r"^([-a-z0-9._/])+$"},
        "created": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$"},
        "contributors": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["title"], "properties": {"title": _TEXT}},
        },
        "resources": {
            "type": "array",
            "minItems": 3,
            "items": {
                "if": {"properties": {"name": {"enum": list(TABLES)}}},
                "then": _RESOURCE,
            },
        },
        "sources": {"type": "array", "items": {"type": "object", "required": ["title"]}},
        "project": {
            "type": "object",
            "required": ["title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel"],
            "properties": {
                "samplingDesign": {
                    "enum": [
                        *("simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted"),
                        "opportunistic",
                    ]
                },
                "captureMethod": {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"enum": ["activityDetection", "timeLapse"]},
                },
                "individualAnimals": {"type": "boolean"},
                "observationLevel": {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"enum": ["media", "event"]},
                },
            },
        },
        "spatial": {"type": "object", "required": ["type", "coordinates"]},
        "temporal": {
            "type": "object",
            "required": ["start", "end"],
            "properties": {name: {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"} for name in ("start", "end")},
        },
        "taxonomic": {
            "type": "array",
            "items": {"type": "object", "required": ["scientificName"], "properties": {"scientificName": _TEXT}},
        },
    },
}


def schema(name):
    """The Table Schema of a table."""
    fields = []
    for field, (kind, constraints) in TABLES[name].items():
        typed = {"type": kind} if isinstance(kind, str) else {"type": kind[0], "format": kind[1]}
        fields.append({"name": field, **typed, "constraints": constraints})
    return {
        "fields": fields,
        "missingValues": ["", "NA", "NaN", "nan"],
        "primaryKey": next(iter(TABLES[name])),
        "foreignKeys": _KEYS[name],
    }


def problems(folder):
    """What a validator finds wrong with a package; nothing, if all is well."""
    descriptor = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    found = [error.message for error in jsonschema.Draft7Validator(PROFILE).iter_errors(descriptor)]
    local = {
        "name": "package",
        "resources": [
            {key: value for key, value in one.items() if key != "profile"} | {"schema": schema(one["name"])}
            for one in descriptor["resources"]
            if one["name"] in TABLES
        ],
    }
    report = frictionless.Package.from_descriptor(local, basepath=str(folder)).validate()
    return found + [": ".join(map(str, row)) for row in report.flatten(["name", "rowNumber", "fieldName", "message"])]
