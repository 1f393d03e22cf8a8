"""What a study was made with, as its manifest describes it, and what differs when it is opened with something else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fidokit.data.images import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import SettingsError
from fidokit.methods.base import Kind, Method, settings_dict, settings_id
from fidokit.models.adapting import plain_module
from fidokit.models.fingerprint import fingerprint_of, fingerprint_parts, parts_difference

if TYPE_CHECKING:
    from fidokit.data.images import LabelledImages
    from fidokit.models.classifier import Classifier

#: Raised whenever a store of this version could not be read by older code.
SCHEMA_VERSION = 1
#: Column of `images.parquet` with the size of each file, which the fingerprint counts; None for a missing file.
BYTES_COLUMN = "fidokit_file_bytes"


@dataclass(frozen=True)
class Entry:
    """One method of a study: its registered name, and the settings that it has under its label.

    Attributes:
        name, method, settings: what makes the masks.
        rank: of the taxa that it explains; None for the classes themselves.
        within: what they are told from, see `fidokit.models.taxonomy.Taxonomy.asked`.
    """

    name: str
    method: Method
    settings: Any
    rank: str | None = None
    within: str | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that the method makes with these settings."""
        return self.method.kinds_with(self.settings)

    @property
    def settings_id(self) -> str:
        """What names the settings, and the rank, in the rows of the table."""
        own = settings_id(self.name, self.settings)
        return (
            own if self.rank is None else hashlib.sha256(f"{own} {self.rank} {self.within}".encode()).hexdigest()[:12]
        )

    def describe(self) -> dict[str, Any]:
        """Name, settings, settings_id, kinds and rank, as they stand in the manifest.

        Raises:
            SettingsError: the settings hold something that JSON cannot.
        """
        rank = {} if self.rank is None else {"rank": self.rank, "within": self.within}
        try:
            described: dict[str, Any] = json.loads(
                json.dumps(
                    {
                        "name": self.name,
                        "settings": settings_dict(self.settings),
                        "settings_id": self.settings_id,
                        "kinds": list(self.kinds),
                        **rank,
                    }
                )
            )
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"the settings of {self.name!r} cannot be written down ({error}); a study needs settings of numbers, "
                "strings, lists and functions"
            ) from error
        return described


def describe_classifier(classifier: Classifier) -> dict[str, Any]:
    """What a store remembers of a classifier; precision and micro-batch are as they stand at the time."""
    parts = fingerprint_parts(classifier)
    return {
        "name": classifier.name,
        "repr": repr(classifier),
        "module": type(plain_module(classifier.module)).__name__,
        "fingerprint": fingerprint_of(parts),
        "fingerprint_parts": parts,
        "head": classifier.head,
        "layer": classifier.layer,
        "precision": classifier.precision,
        "micro_batch": classifier.micro_batch,
        "class_names": list(classifier.class_names),
        **({} if classifier.taxonomy is None else {"taxonomy": classifier.taxonomy.to_dict()}),
        "prompts": None if classifier.prompts is None else classifier.prompts.describe(),
        "preprocessing": json.loads(json.dumps(classifier.preprocessing.describe())),
    }


def describe_data(data: LabelledImages) -> dict[str, Any]:
    """What a store remembers of a dataset beside its table: fingerprint, number of photographs and root."""
    return {"fingerprint": data.fingerprint(), "n": len(data), "root": str(data.root.absolute())}


def file_sizes(data: LabelledImages) -> list[int | None]:
    """Bytes of every file, None for those that are missing."""
    sizes: list[int | None] = []
    for path in data.table["path"]:
        try:
            sizes.append(Path(path).stat().st_size)
        except (OSError, ValueError):
            sizes.append(None)
    return sizes


def classifier_difference(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    """How two descriptions of classifiers differ in what changes masks, in words; None if they do not."""
    layers = (recorded.get("layer"), current["layer"])
    layer = [f"layer was {layers[0]!r} and is {layers[1]!r}"] if layers[0] != layers[1] else []
    parts = current["fingerprint_parts"]
    if recorded.get("fingerprint_parts") is None:
        # Written when a fingerprint was what is now its part "weights": of the rest nothing is known.
        difference = None if recorded["fingerprint"] == parts["weights"] else "the weights differ"
    else:
        difference = parts_difference(recorded["fingerprint_parts"], parts)
    if difference is None:
        return layer[0] if layer else None
    found = []
    if recorded["class_names"] != current["class_names"]:
        found.append(_sequence_difference("class", recorded["class_names"], current["class_names"]))
    found += _taxonomy_difference(recorded.get("taxonomy"), current.get("taxonomy"))
    found += _prompt_differences(recorded.get("prompts") or {}, current["prompts"] or {})
    for name in ("module", "head"):
        if recorded[name] != current[name]:
            found.append(f"{name} was {recorded[name]!r} and is {current[name]!r}")
    found += _mapping_differences(recorded["preprocessing"], current["preprocessing"])
    return "; ".join([*(found or [difference]), *layer])


def _taxonomy_difference(recorded: Mapping[str, Any] | None, current: Mapping[str, Any] | None) -> list[str]:
    """In which class two taxonomies differ, in words; nothing where they do not."""
    if recorded == current or recorded is None or current is None:
        return (
            [] if recorded == current else [f"the taxonomy was {'none' if recorded is None else 'there'} and is not so"]
        )
    if recorded["ranks"] != current["ranks"]:
        return [f"the ranks of the taxonomy were {', '.join(recorded['ranks'])} and are {', '.join(current['ranks'])}"]
    before, now = (dict(zip(of["classes"], of["lineages"], strict=True)) for of in (recorded, current))
    name = next((name for name in now if before.get(name) != now[name]), None)
    if name is None:
        return ["the taxonomy differs in which classes are taxa themselves"]
    return [f"the taxa of the class {name!r} were {before.get(name)} and are {now[name]}"]


def data_difference(recorded: pd.DataFrame, root: str, data: LabelledImages) -> str:
    """How a dataset differs from a recorded table and its root: its length, or the first photograph that does."""
    ids, current_ids = list(recorded["image_id"]), list(data.table["image_id"])
    if ids != current_ids:
        return _sequence_difference("photograph", ids, current_ids)
    current = data.table.assign(**{BYTES_COLUMN: pd.Series(file_sizes(data), dtype=object)})
    for column, what in [
        ("label", "the label"),
        *((column, column) for column in (*BOX_COLUMNS, *ANNOTATED_COLUMNS)),
        (BYTES_COLUMN, "the size of its file in bytes"),
        ("path", "the path"),
    ]:
        before, now = _cells(recorded, column), _cells(current, column)
        if column == "path":
            before, now = _within(before, root), _within(now, str(data.root))
        for image_id, old, new in zip(ids, before, now, strict=True):
            if old != new:
                return f"photograph {image_id!r}: {what} was {old!r} and is {new!r}"
    return "their fingerprints differ"


def _cells(frame: pd.DataFrame, column: str) -> list[Any]:
    if column not in frame.columns:
        return [None] * len(frame)
    return [None if pd.isna(value) else value for value in frame[column].tolist()]


def _within(paths: Sequence[str], root: str) -> list[str]:
    folder = Path(root)
    return [
        Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else Path(path).as_posix()
        for path in paths
    ]


def _prompt_differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """How the texts differ that stand for the classes."""
    found = [f"prompts of {what}" for what in _mapping_differences(recorded.get("names", {}), current.get("names", {}))]
    templates = (recorded.get("templates", []), current.get("templates", []))
    return found if templates[0] == templates[1] else [*found, _sequence_difference("template", *templates)]


def _mapping_differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """One sentence for each key whose values differ; keys that only one side has count too."""
    missing = "not there"
    return [
        f"{key} was {recorded.get(key, missing)!r} and is {current.get(key, missing)!r}"
        for key in dict.fromkeys([*recorded, *current])
        if recorded.get(key, missing) != current.get(key, missing)
    ]


def method_difference(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str | None:
    """How the method and settings under one label differ, in words; None if they do not."""
    if recorded["name"] != current["name"]:
        return f"the method was {recorded['name']!r} and is {current['name']!r}"
    found = _mapping_differences(recorded["settings"], current["settings"])
    ranks = [{key: described.get(key) for key in ("rank", "within")} for described in (recorded, current)]
    found += _mapping_differences(*ranks)
    if recorded["kinds"] != current["kinds"]:
        found.append(f"its kinds were {', '.join(recorded['kinds'])} and are {', '.join(current['kinds'])}")
    return "; ".join(found) or None


def _sequence_difference(noun: str, recorded: Sequence[Any], current: Sequence[Any]) -> str:
    counts = "" if len(recorded) == len(current) else f"{len(recorded)} against {len(current)}; "
    place = next(
        (i for i, (old, new) in enumerate(zip(recorded, current, strict=False)) if old != new),
        min(len(recorded), len(current)),
    )
    old, new = (repr(names[place]) if place < len(names) else "missing" for names in (recorded, current))
    return f"{counts}the first {noun} that differs is number {place + 1}: it was {old} and is {new}"
