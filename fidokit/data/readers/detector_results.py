"""What detectors write: MegaDetector's batch output, AddaxAI's recognition file, and SpeciesNet's predictions.

Sources: https://lila.science/megadetector-output-format (versions up to 1.6); the README of the PyPI package speciesnet
(4, one classification a photograph; 5, one a detection); AddaxAI writes MegaDetector's format, and puts the classes
that it found into the categories of the detections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from fidokit._util.checks import UNIT, is_number
from fidokit.data.readers.cells import portable, text_of
from fidokit.data.readers.reading import Notes, read_json
from fidokit.exceptions import SettingsError

NOT_ANIMALS = frozenset(["person", "people", "human", "vehicle", "vehicles", "empty", "blank"])
"""Names (lower case) of categories of which nobody wants a species."""

#: AddaxAI's name for animals that no class was found for.
_UNIDENTIFIED = "unidentified animal"
#: Names of animals of which nobody said what they are.
_UNNAMED = frozenset(["animal", _UNIDENTIFIED, "unknown"])
#: Beyond it a file may mean something else by the same words.
_NEWEST = 1.6
#: MegaDetector 5's own, see `_threshold`.
_TYPICAL = 0.2
#: MegaDetector 2 to 4's own.
_TYPICAL_BEFORE_5 = 0.8
#: What float32 makes of 1.
_ROUNDING = 1e-4

_SPECIESNET_CATEGORIES = {"1": "animal", "2": "human", "3": "vehicle"}
_WHOLE_IMAGE = "0"
#: What a SpeciesNet class consists of, separated by semicolons; the last is the English name.
_SPECIESNET_PARTS = 7
_MEGADETECTOR_USED = frozenset(
    ["file", "detections", "failure", "max_detection_conf", "frame_rate", "frames_processed"]
)
_SPECIESNET_USED = frozenset(
    ["filepath", "detections", "failures", "classifications", "prediction", "prediction_score", "prediction_source"]
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a classifier said when the file was made.

    Attributes:
        answers: names with scores, the best first; a score that is none is None.
        taxon: what the file says of the first one's place in the taxonomy.
        source: which part of the classifier decided.
    """

    answers: tuple[tuple[str, float | None], ...] = ()
    taxon: str | None = None
    source: str | None = None

    @property
    def label(self) -> str | None:
        """The best answer."""
        return self.answers[0][0] if self.answers else None

    @property
    def score(self) -> float | None:
        """Of the best answer."""
        return self.answers[0][1] if self.answers else None


NOTHING = Recorded()


@dataclass(frozen=True, slots=True)
class Detection:
    """One box.

    Attributes:
        index: its place in the list of its photograph, as it stands in the file.
        category: the detector's name for what is in it; None where the file does not name the category.
        confidence: of the detector, in [0, 1]; None where there is no such number.
        box: x, y, width, height, as they stand in the file.
        recorded: what was said of it.
        verified: the class that a person gave it, None where nobody did.
    """

    index: int
    category: str | None
    confidence: float | None
    box: Any
    recorded: Recorded
    verified: str | None = None


@dataclass(frozen=True, slots=True)
class Photograph:
    """One file.

    Attributes:
        file: its path as it stands in the file.
        detections: in the file's order; None where the detector failed.
        failure: why.
        recorded: what was said of the photograph as a whole.
        verified: whether a person checked it.
        fields: what else the file says of it.
    """

    file: str
    detections: list[Detection] | None
    failure: str | None = None
    recorded: Recorded = NOTHING
    verified: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The content of a detector's file.

    Attributes:
        photographs: in the file's order.
        threshold: the confidence from which a detection is worth a look.
        reason: where that comes from.
    """

    photographs: list[Photograph]
    threshold: float
    reason: str


def is_detector_file(text: str) -> bool:
    """Whether a JSON file is one of a detector, by what stands in it."""
    return '"detection_categories"' in text or ('"predictions"' in text and '"filepath"' in text)


def read_results(path: Path, notes: Notes) -> Results:
    """The content of a detector's file, in whichever of the formats it is.

    Raises:
        SettingsError: it cannot be read, or is none of them; the message names file and record.
    """
    content = read_json(path)
    if "detection_categories" in content:
        return _read_megadetector(content, path, notes)
    if "predictions" in content:
        return _read_speciesnet(content, path, notes)
    if "annotations" in content and "categories" in content:
        raise SettingsError(f"{path} is a dataset in COCO's format; read it with LabelledImages.from_coco")
    found = ", ".join(list(content)[:5]) or "nothing"
    raise SettingsError(
        f"{path} is no result of a detector: it has {found}, but neither detection_categories and images, as "
        "MegaDetector's and AddaxAI's files do, nor predictions, as SpeciesNet's do; pass the detector's own JSON"
    )


def _records(content: Mapping[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    records = content.get(name)
    if not isinstance(records, list):
        raise SettingsError(f"{path} has no list {name!r}; a detector's file lists its photographs there")
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise SettingsError(f"{path}, {name}[{i}]: {record!r:.80} is no JSON object; correct the file")
    return records


def _names(content: Mapping[str, Any], name: str, path: Path) -> dict[str, str]:
    """Id -> name; blank names count as none."""
    found = content.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: {name} is {found!r:.80}; it must be a JSON object of id: name")
    texts = {key: _text(value) for key, value in found.items()}
    return {key: text for key, text in texts.items() if text is not None}


def _text(value: Any) -> str | None:
    text = None if isinstance(value, (list, dict)) else text_of(value)
    return None if text is None else portable(text.strip())


def _score(value: Any) -> float | None:
    """A number in [0, 1], or None."""
    if type(value) is float and 0.0 <= value <= 1.0:
        return value  # nearly all; a file holds hundreds of thousands
    if not is_number(value) or not -_ROUNDING <= value <= 1 + _ROUNDING:
        return None
    return min(max(float(value), 0.0), 1.0)


# MegaDetector, AddaxAI.


def _read_megadetector(content: Mapping[str, Any], path: Path, notes: Notes) -> Results:
    records = _records(content, "images", path)
    info = content.get("info") if isinstance(content.get("info"), dict) else {}
    assert isinstance(info, dict)
    _note_version(info.get("format_version"), path, notes)
    names = _Names(
        _names(content, "detection_categories", path),
        _names(content, "classification_categories", path),
        _names(content, "classification_category_descriptions", path),
    )
    photographs = []
    for i, record in enumerate(records):
        file = record.get("file")
        if not isinstance(file, str) or not file.strip():
            notes.add("photographs have no file and were left out", f"{path}, images[{i}]")
            continue
        where = f"{path}, {portable(file)}"
        detections, failure = _detections(record.get("detections"), record.get("failure"), where)
        verified = record.get("manually_checked") is True
        photographs.append(
            Photograph(
                portable(file),
                None
                if detections is None
                else [
                    names.detection(index, detection, verified, where, notes)
                    for index, detection in enumerate(detections)
                ],
                failure,
                verified=verified,
                fields={key: value for key, value in record.items() if key not in _MEGADETECTOR_USED},
            )
        )
    return Results(photographs, *_threshold(info))


def _detections(detections: Any, failure: Any, where: str) -> tuple[list[dict[str, Any]] | None, str | None]:
    """The records of a photograph, and why there are none."""
    reason = _text(failure) if failure else None
    if detections is None or (reason is not None and detections == []):
        return None, reason or "no reason given"
    if not isinstance(detections, list) or not all(isinstance(one, dict) for one in detections):
        raise SettingsError(f"{where}: detections are {detections!r:.80}; they must be a list of JSON objects, or null")
    return detections, None


@dataclass(frozen=True)
class _Names:
    """The names of a file's categories."""

    detections: Mapping[str, str]
    classes: Mapping[str, str]
    descriptions: Mapping[str, str]

    def detection(self, index: int, record: Mapping[str, Any], verified: bool, where: str, notes: Notes) -> Detection:
        current = self.detections.get(str(record.get("category")))
        category, confidence = current, record.get("conf")
        # AddaxAI put the class that it found into the category, and its score into conf.
        if "prev_category" in record and "prev_conf" in record:
            category, confidence = self.detections.get(str(record["prev_category"])), record["prev_conf"]
        category = "animal" if category == _UNIDENTIFIED else category
        answers = self._answers(record.get("classifications"), where, notes)
        taxon = None
        if answers:
            taxon = self.descriptions.get(answers[0][0])
        named = tuple((self.classes[key], score) for key, score in answers)
        tells = current is not None and current.lower() not in _UNNAMED
        if tells and not named and not verified and str(current).lower() not in NOT_ANIMALS:
            # A detector that tells species: its category is its answer.
            named = ((str(current), _score(record.get("conf"))),)
        given = current if tells and verified else None
        return Detection(index, category, _score(confidence), record.get("bbox"), Recorded(named, taxon), given)

    def _answers(self, found: Any, where: str, notes: Notes) -> list[tuple[str, float | None]]:
        """(class id, score) of the classes that the file names, the best first."""
        if not isinstance(found, list):
            return []
        answers: list[tuple[str, float | None]] = []
        for pair in found:
            key = str(pair[0]) if isinstance(pair, list) and len(pair) == 2 else None
            if key is None or key not in self.classes:
                notes.add("classifications name a class that the file does not know and were left out", where)
                continue
            score = _score(pair[1])
            if score is None:
                notes.add("classifications have a score that is no number from 0 to 1, which was left out", where)
            answers.append((key, score))
        return sorted(answers, key=lambda answer: -1.0 if answer[1] is None else answer[1], reverse=True)


def _note_version(version: Any, path: Path, notes: Notes) -> None:
    try:
        number = float(version)
    except (TypeError, ValueError):
        return
    if number > _NEWEST:
        notes.say(f"the format {number:g} is newer than {_NEWEST}, and is read as that", str(path))


def _threshold(info: Mapping[str, Any]) -> tuple[float, str]:
    """What the file recommends, or else what its detector's makers do.

    MegaDetector 5 and its successors: 0.2; 2 to 4: 0.8 (`typical_detection_threshold` of the published detectors).
    """
    metadata = info.get("detector_metadata")
    typical = metadata.get("typical_detection_threshold") if isinstance(metadata, dict) else None
    if UNIT.fits(typical):
        return float(str(typical)), "the typical threshold that the file names for its detector"
    if re.search(r"v[2-4](?![0-9])", str(info.get("detector")).lower()):
        return _TYPICAL_BEFORE_5, "the typical threshold of MegaDetector 2 to 4"
    return _TYPICAL, "the typical threshold of MegaDetector 5, since the file names none"


# SpeciesNet.


def _read_speciesnet(content: Mapping[str, Any], path: Path, notes: Notes) -> Results:
    photographs = []
    for i, record in enumerate(_records(content, "predictions", path)):
        file = record.get("filepath")
        if not isinstance(file, str) or not file.strip():
            notes.add("photographs have no filepath and were left out", f"{path}, predictions[{i}]")
            continue
        photographs.append(_predicted(record, portable(file), f"{path}, {portable(file)}", notes))
    return Results(photographs, _TYPICAL, "the typical threshold of MegaDetector 5, SpeciesNet's detector")


def _predicted(record: Mapping[str, Any], file: str, where: str, notes: Notes) -> Photograph:
    failures = record.get("failures")
    parts = [str(part) for part in failures] if isinstance(failures, list) else []
    listed = record.get("detections")
    # Without a failure the list is left out where the detector did not run; other parts may fail beside it.
    failed = ", ".join(parts) if listed is None or "DETECTOR" in parts else ""
    found, failure = _detections([] if listed is None and not failed else listed, failed, where)
    fields = {key: value for key, value in record.items() if key not in _SPECIESNET_USED}
    whole = _whole_image(record, where, notes)
    if found is None:
        return Photograph(file, None, failure, whole, fields=fields)
    own = [_classified(one, where, notes) for one in found]
    for one, recorded in zip(found, own, strict=True):
        if str(one.get("category")) == _WHOLE_IMAGE and recorded.answers:
            whole = recorded
    boxes = [index for index, one in enumerate(found) if str(one.get("category")) != _WHOLE_IMAGE]
    holders = _holders(record, found, boxes, own)
    detections = [
        Detection(
            index,
            _text(found[index].get("label")) or _SPECIESNET_CATEGORIES.get(str(found[index].get("category"))),
            _score(found[index].get("conf")),
            found[index].get("bbox"),
            own[index] if own[index].answers else whole if index in holders else NOTHING,
        )
        for index in boxes
    ]
    return Photograph(file, detections, None, whole, fields=fields)


def _holders(
    record: Mapping[str, Any], found: Sequence[Mapping[str, Any]], boxes: Sequence[int], own: Sequence[Recorded]
) -> set[int]:
    """The detections that an answer to the whole photograph is about.

    A classifier of crops was shown the box of the highest confidence alone; one of whole images saw all of them.
    """
    saw_all = len(boxes) < len(found) or str(record.get("model_version")).strip().endswith("b")
    if saw_all or not boxes or any(recorded.answers for recorded in own):
        return set(boxes) if saw_all else set()
    return {max(boxes, key=lambda index: (_score(found[index].get("conf")) or 0.0, -index))}


def _whole_image(record: Mapping[str, Any], where: str, notes: Notes) -> Recorded:
    """SpeciesNet 4: one prediction a photograph, with the classifier's own best classes beside it."""
    raw = _ranked(record.get("classifications"), where, notes)
    prediction = _text(record.get("prediction"))
    if prediction is None:
        return Recorded(tuple((_readable(name), score) for name, score in raw), raw[0][0] if raw else None)
    score = _score(record.get("prediction_score"))
    if score is None and record.get("prediction_score") is not None:
        notes.add("classifications have a score that is no number from 0 to 1, which was left out", where)
    return _decided(prediction, score, _text(record.get("prediction_source")), raw)


def _classified(record: Mapping[str, Any], where: str, notes: Notes) -> Recorded:
    """SpeciesNet 5: one decision a detection, with the classifier's own best classes beside it."""
    raw = _ranked(record.get("raw_classifications"), where, notes)
    decision = record.get("processed_classification")
    name = _text(decision.get("class")) if isinstance(decision, dict) else None
    if name is None or not isinstance(decision, dict):
        return Recorded(tuple((_readable(name), score) for name, score in raw), raw[0][0] if raw else None)
    return _decided(name, _score(decision.get("score")), _text(decision.get("source")), raw)


def _decided(name: str, score: float | None, source: str | None, raw: Sequence[tuple[str, float | None]]) -> Recorded:
    others = [(_readable(other), of_other) for other, of_other in raw if other != name]
    return Recorded(((_readable(name), score), *others), name, source)


def _ranked(found: Any, where: str, notes: Notes) -> list[tuple[str, float | None]]:
    classes = found.get("classes") if isinstance(found, dict) else None
    scores = found.get("scores") if isinstance(found, dict) else None
    if not isinstance(classes, list) or not isinstance(scores, list):
        return []
    if len(classes) != len(scores):
        notes.add("lists of classes are not as long as those of their scores, and were left out", where)
        return []
    pairs: list[tuple[str, float | None]] = []
    for name, score in zip(classes, scores, strict=True):
        text = _text(name)
        if text is not None:
            pairs.append((text, _score(score)))
    if any(score is None for _, score in pairs):
        notes.add("classifications have a score that is no number from 0 to 1, which was left out", where)
    return sorted(pairs, key=lambda pair: -1.0 if pair[1] is None else pair[1], reverse=True)


@lru_cache(maxsize=4096)
def _readable(name: str) -> str:
    """SpeciesNet's "id;class;order;family;genus;species;english name": the last, or else the finest taxon."""
    parts = [part.strip() for part in name.split(";")]
    if len(parts) != _SPECIESNET_PARTS:
        return name
    genus, species = parts[4:6]
    binomial = f"{genus} {species}" if genus and species else ""
    return next((part for part in (parts[6], binomial, genus, *parts[3:0:-1]) if part), name)
