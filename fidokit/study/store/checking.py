"""Whether a store is as it was written: every part against its checksum, its place, and what should be there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from fidokit.exceptions import StoreError
from fidokit.study.metrics.standing import SCHEMAS
from fidokit.study.store import checksummed
from fidokit.study.store.schemas import (
    FAILURES_SCHEMA,
    PREDICTIONS_SCHEMA,
    REGIONS_SCHEMA,
    STORED_SCHEMA,
    checked_sizes,
    region_arrays,
)
from fidokit.study.store.store import FOLDERS, IMAGES, PART, Store, part_name, slug

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy

STATES = ("intact", "unsealed", "damaged", "foreign", "incomplete", "missing")
_COLUMNS = ("part", "state", "reason", "image_ids")
# Reading and hashing leave Python's lock alone; a part or two for each is all that is in memory.
_THREADS = 4
_MOST_PART = 2**31
_VERIFIED = {True: "intact", False: "unsealed"}


@dataclass(frozen=True)
class _Finding:
    """What is to be said of one part."""

    part: str
    state: str
    reason: str | None = None
    image_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Owner:
    """What a part should hold: of which folder, schema and method."""

    folder: str
    schema: pa.Schema
    label: str | None = None


def check(study: StoredStudy) -> pd.DataFrame:
    """The table of `Study.check`."""
    findings = list(_findings(study))
    return pd.DataFrame(
        {name: pd.Series([getattr(finding, name) for finding in findings], dtype=object) for name in _COLUMNS}
    )


def move_aside(study: StoredStudy, found: pd.DataFrame) -> pd.DataFrame:
    """Move what `check` found damaged or foreign out of the way, so that it counts as missing; its rows."""
    found = found[found["state"].isin(["damaged", "foreign"])].reset_index(drop=True)
    for part in found["part"]:
        study.store.set_aside(part)
    return found


def _findings(study: StoredStudy) -> Iterator[_Finding]:
    store, manifest = study.store, study.manifest
    ids, found = _image_ids(store)
    yield found
    size: int = manifest["options"]["part_size"]
    owners = _owners(manifest["methods"])
    n_chunks = -(-(len(ids) or len(study)) // size)
    chunks: dict[int, list[tuple[str, _Owner]]] = {number: [] for number in range(-(-len(ids) // size))}
    for folder in FOLDERS:
        for name in store.files.names(folder):
            part, match = f"{folder}/{name}", PART.fullmatch(name)
            owner = owners.get((folder, match["name"] or "")) if match else None
            if match and owner is not None and int(match["chunk"]) < n_chunks:
                chunks.setdefault(int(match["chunk"]), []).append((part, owner))
            elif not name.startswith("."):
                yield _Finding(part, "foreign", "no part of this study has this name")
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="fidokit-check") as pool:
        works = ((study, number, ids[number * size : (number + 1) * size], parts) for number, parts in chunks.items())
        for findings in pool.map(lambda work: _Chunk(*work).findings(), works):
            yield from findings


def _image_ids(store: Store) -> tuple[list[str], _Finding]:
    """The image_ids of the dataset, none if its table is damaged, and what is to be said of that."""
    try:
        state = _VERIFIED[checksummed.verify(store.files.read(IMAGES, _MOST_PART))]
        return store.read_images()["image_id"].tolist(), _Finding(IMAGES, state)
    except FileNotFoundError:
        return [], _Finding(IMAGES, "missing", "the table of the photographs is not there")
    except (checksummed.CorruptPartError, StoreError, OSError) as error:
        return [], _Finding(IMAGES, "damaged", str(error))


def _owners(methods: Mapping[str, Any]) -> dict[tuple[str, str], _Owner]:
    """(folder, name of the part) -> what such parts hold."""
    owners = {
        ("predictions", ""): _Owner("predictions", PREDICTIONS_SCHEMA),
        ("failures", "images"): _Owner("failures", FAILURES_SCHEMA),
        ("metrics", "effects"): _Owner("metrics", SCHEMAS["effects"]),
    }
    for label in methods:
        owners["masks", slug(label)] = _Owner("masks", STORED_SCHEMA, label)
        owners["failures", slug(label)] = _Owner("failures", FAILURES_SCHEMA, label)
        owners["regions", slug(label)] = _Owner("regions", REGIONS_SCHEMA, label)
        for group, schema in SCHEMAS.items():
            owners["metrics", f"{group}-{slug(label)}"] = _Owner("metrics", schema, label)
    return owners


class _Chunk:
    """The parts of one chunk.

    Args:
        study: the study.
        number: of the chunk.
        ids: its image_ids; empty where the table of the dataset is damaged.
        parts: file names and what they should hold.
    """

    def __init__(self, study: StoredStudy, number: int, ids: list[str], parts: list[tuple[str, _Owner]]) -> None:
        self.study, self.number, self.ids, self.parts = study, number, ids, parts
        self.predicted: set[str] = set()
        self.failed: dict[str | None, set[str]] = {}
        self.masks: dict[str, dict[str, set[str]]] = {}

    def findings(self) -> list[_Finding]:
        """One for each part that there is, and one for each that there should be."""
        found = {part: self._part(part, owner) for part, owner in self.parts}
        lacking = {part_name("predictions", "", self.number): self._in_order(set(self.ids) - self.predicted)}
        for label, entry in self.study.manifest["methods"].items():
            lacking[part_name("masks", slug(label), self.number)] = self._without_masks(label, entry["kinds"])
        general, owner_of = self._in_order({i for ids in lacking.values() for i in ids}), dict(self.parts)
        for part, finding in found.items():
            if finding.state in ("damaged", "foreign"):
                label = owner_of[part].label
                own = general if label is None else self._without_masks(label, self.study.kinds(label))
                ids = self.ids if part.startswith(("metrics/", "regions/")) else lacking.get(part, own)
                found[part] = _Finding(part, finding.state, finding.reason, tuple(ids))
        for part, ids in lacking.items():
            if ids and part not in found:
                found[part] = _Finding(part, "missing", "it is lost, or was not computed yet", tuple(ids))
            elif ids and found[part].state in ("intact", "unsealed"):
                found[part] = _Finding(part, "incomplete", "not all was computed yet", tuple(ids))
        return list(found.values())

    def _in_order(self, ids: Collection[str]) -> list[str]:
        return [image_id for image_id in self.ids if image_id in ids]

    def _without_masks(self, label: str, kinds: list[str]) -> list[str]:
        made = self.masks.get(label, {})
        done = set.intersection(*(made.get(kind, set()) for kind in kinds)) if kinds else set()
        return self._in_order(set(self.ids) - done - self.failed.get(None, set()) - self.failed.get(label, set()))

    def _part(self, part: str, owner: _Owner) -> _Finding:
        try:
            content = self.study.store.files.read(part, _MOST_PART)
        except FileNotFoundError:
            return _Finding(part, "damaged", "it was removed meanwhile")
        except StoreError as error:
            return _Finding(part, "foreign", str(error))
        except OSError as error:
            return _Finding(part, "damaged", f"it cannot be read: {error.strerror or error}")
        try:
            state = _VERIFIED[checksummed.verify(content)]
            table = checksummed.decode(pa.BufferReader(content), owner.schema)
            if owner.folder == "masks":
                checked_sizes(table)
            if owner.folder == "regions":
                region_arrays(table.to_pandas())
            elsewhere = self._elsewhere(owner, table, checksummed.study_of(pa.BufferReader(content)))
        except (checksummed.CorruptPartError, StoreError) as error:
            return _Finding(part, "damaged", str(error))
        if elsewhere is not None:
            return _Finding(part, "foreign", elsewhere)
        self._count(owner, table)
        return _Finding(part, state)

    def _elsewhere(self, owner: _Owner, table: pa.Table, study_id: str | None) -> str | None:
        """Why a part does not belong into its place."""
        own_id, methods = self.study.store.study_id, self.study.manifest["methods"]
        if study_id is not None and study_id != own_id:
            return "it belongs to another study"
        if self.ids and not set(table["image_id"].to_pylist()) <= set(self.ids):
            return "it holds rows of photographs that are not of this chunk"
        if owner.label is not None and set(table["method"].to_pylist()) - {owner.label}:
            return f"it holds rows of another method than {owner.label!r}"
        if owner.folder == "masks":
            settings = methods[owner.label]["settings_id"]
            if set(table["settings_id"].to_pylist()) - {settings, None}:
                return "its masks were made with other settings"
        return None

    def _count(self, owner: _Owner, table: pa.Table) -> None:
        ids = table["image_id"].to_pylist()
        if owner.folder == "predictions":
            self.predicted.update(ids)
        elif owner.folder == "failures":
            self.failed.setdefault(owner.label, set()).update(ids)
        elif owner.folder == "masks":
            kinds = self.masks.setdefault(str(owner.label), {})
            for image_id, kind in zip(ids, table["kind"].to_pylist(), strict=True):
                kinds.setdefault(kind, set()).add(image_id)
