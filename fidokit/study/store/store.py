"""A study's store: its parts, written whole, and what a run that was killed left behind.

    study.json                          the manifest
    images.parquet                      the table of the dataset
    predictions/part-CHUNK.parquet      what the classifier says of the photographs of one chunk
    masks/part-METHOD-CHUNK.parquet     the masks of one method for one chunk
    failures/part-METHOD-CHUNK.parquet  what went wrong; METHOD is "images" for what concerns all methods
    metrics/part-GROUP-METHOD-CHUNK.parquet  what `Study.metrics` measured, group by group
    regions/part-METHOD-CHUNK.parquet   the regions that `Study.regions` cut from masks and verified
    damaged/                            parts that were not as they had been written, set aside

Method labels may hold anything, so file names carry a slug of them with a short hash, never the label itself. Each part
carries a checksum of itself, see `fidokit.study.store.checksummed`.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fidokit._util.atomic_write import TEMPORARY
from fidokit._util.wording import argument, either
from fidokit.exceptions import StoreError
from fidokit.models.prediction import ROLLED_UP
from fidokit.study.store import checksummed, lock, trust
from fidokit.study.store.files import files_at
from fidokit.study.store.manifest import SCHEMA_VERSION
from fidokit.study.store.schemas import (
    FAILURES_SCHEMA,
    KEYS,
    PREDICTIONS_SCHEMA,
    REGIONS_SCHEMA,
    SCHEMA,
    STORED_SCHEMA,
    images_to_arrow,
    images_to_pandas,
    mask_arrays,
    masks_to_arrow,
    to_arrow,
)

__all__ = ["FOLDERS", "KEYS", "SCHEMA", "Store", "mask_arrays", "megabytes", "slug"]

_MANIFEST = "study.json"
IMAGES = "images.parquet"
FOLDERS = ("predictions", "masks", "failures", "metrics", "regions")
DAMAGED = "damaged"
#: `name` and `chunk` of the file name of a part.
PART = re.compile(r"part-(?:(?P<name>.+)-)?(?P<chunk>\d{5,9})\.parquet")
_OWN = frozenset({_MANIFEST, IMAGES, lock.LOCK, lock.HELD, DAMAGED, *FOLDERS})
# A hundred thousand class names have a tenth of it.
_MOST_MANIFEST = 64 * 2**20
_MOST_IMAGES = 2**33
# Columns of the table of a dataset that name files and classes.
_TEXTS = ("path", "label", "object_mask", "part_map", "parts", "part_points")


def slug(label: str) -> str:
    """A file name for a method label: its letters and digits, and a hash that tells apart what they leave equal."""
    text = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40].strip("-")
    return f"{text or 'method'}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def megabytes(n_bytes: float) -> str:
    """A number of bytes in words, 1 MB at least."""
    return f"{max(1, round(n_bytes / 1e6))} MB"


class Store:
    """Reads and writes a study's files; knows nothing of classifiers and photographs.

    Args:
        path: a folder, or an fsspec URL such as ``s3://bucket/study``. It is made by `prepare`.

    Attributes:
        files: the files.
        path: the folder as a `Path`, or the URL as a text.
    """

    def __init__(self, path: str | Path) -> None:
        self.files = files_at(path)
        self.path: Path | str = self.files.location
        self._study_id: str | None = None

    def __str__(self) -> str:
        return str(self.files)

    def exists(self) -> bool:
        """Whether a study has been begun here."""
        with self._reached():
            return self.files.exists(_MANIFEST)

    def prepare(self) -> None:
        """Make the folder and see that it can be written to.

        Raises:
            StoreError: it cannot be written to, or holds other things.
        """
        try:
            if not self.files.exists(_MANIFEST):
                foreign = [n for n in self.files.names() if n not in _OWN and not n.endswith(TEMPORARY)]
                if foreign:
                    raise StoreError(
                        f"{self} holds other things ({min(foreign)}, ...) and no study; choose an empty folder"
                    )
            self.files.prepare(FOLDERS)
        except OSError as error:
            raise StoreError(
                f"no study can be written to {self}: {error.strerror or error}; choose another folder as "
                f"`{argument('store')}`, "
                "or change its permissions"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out of the store, and clears away what a killed one left half-written.

        The lock goes with the process, however that ends; see `fidokit.study.store.lock`.

        Raises:
            StoreError: another run is writing to it; the message says which.

        Warns:
            RuntimeWarning: the lock was taken over from a run that is dead.
        """
        with lock.held(self.files):
            self.files.clear_temporary(["", *FOLDERS])
            yield

    @contextmanager
    def locked_to_add(self, what: str) -> Iterator[None]:
        """`locked`, for a folder that may not be writable; see `adding`."""
        with ExitStack() as stack:
            with self.adding(what):
                stack.enter_context(self.locked())
            yield

    @contextmanager
    def adding(self, what: str) -> Iterator[None]:
        """Around writes of what a method of `Study` called ``what`` adds to finished masks.

        Raises:
            StoreError: instead of an OSError; it says how to go on.
        """
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{what} cannot be written to {self.path} ({error.strerror or error}); what was written before is "
                f"safe. Put that right, and call study.{what}() again to go on"
            ) from error

    def read_manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            StoreError: there is none, it is damaged, or a newer fidokit wrote it.
        """
        where = f"{self}/{_MANIFEST}"
        try:
            manifest: dict[str, Any] = json.loads(self.files.read(_MANIFEST, _MOST_MANIFEST))
            version = int(manifest["schema_version"])
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreError(
                f"there is no study in {self}; {either('fidokit.run_study(..., store=...)', 'fidokit study')} makes one"
            ) from error
        except OSError as error:
            raise StoreError(f"{where} cannot be read: {error.strerror or error}; check its permissions") from error
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise StoreError(f"{where} is damaged ({error}); put back a copy of it, or begin anew elsewhere") from error
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self} was written by fidokit {manifest.get('fidokit_version', 'of a later date')} in schema "
                f"{version}, this one reads up to {SCHEMA_VERSION}: pip install --upgrade fidokit"
            )
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest as a whole. It gets an id if it has none, which the parts will name."""
        identified = {"study_id": secrets.token_hex(8), **manifest}
        self.files.write(_MANIFEST, json.dumps(identified, indent=1).encode())

    @property
    def study_id(self) -> str | None:
        """Id of the study, which its parts name; None for one of the first versions, or one not yet begun."""
        if self._study_id is None and self.exists():
            study_id = self.read_manifest().get("study_id")
            self._study_id = study_id if isinstance(study_id, str) else None
        return self._study_id

    def write_images(self, table: pd.DataFrame) -> None:
        """Write the table of the dataset; columns of mixed types become text."""
        self.files.write(IMAGES, checksummed.encode(images_to_arrow(table)))

    def read_images(self) -> pd.DataFrame:
        """The table of the dataset, missing texts as None.

        Raises:
            StoreError: it cannot be read, or has not one image_id for each photograph.
        """
        table = images_to_pandas(self._read_part(IMAGES))
        named = {"image_id", "path", "label"} <= set(table.columns) and _are_names(table["image_id"])
        if not named or not all(_are_texts(table[name]) for name in _TEXTS if name in table.columns):
            raise StoreError(
                f"{self}/{IMAGES} is not the table of a dataset, whose photographs each have an image_id of their own; "
                "run the study again, which writes it anew"
            )
        return table

    def remember(self, manifest: dict[str, Any]) -> None:
        """Note that this user begins the study now, see `fidokit.study.store.trust`; its images are written already."""
        trust.remember(self.files.read(IMAGES, _MOST_IMAGES), manifest)

    def is_remembered(self, manifest: dict[str, Any]) -> bool:
        """Whether this user began the study on this machine."""
        with self._readable(IMAGES):
            return trust.is_remembered(self.files.read(IMAGES, _MOST_IMAGES), manifest)

    def add_masks(self, label: str, chunk: int, frame: pd.DataFrame) -> None:
        """Write the masks of one method for a chunk; those of other images that its part has already stay.

        Args:
            label: the method's label.
            chunk: number of the chunk.
            frame: the columns of `SCHEMA`, `mask` as (h, w) arrays; not empty.
        """
        name = part_name("masks", slug(label), chunk)
        table = masks_to_arrow(frame)
        if self.files.exists(name):
            table = pa.concat_tables([_without(self._read_part(name, STORED_SCHEMA), frame["image_id"]), table])
        self._write(name, table)

    def add_predictions(self, chunk: int, frame: pd.DataFrame) -> None:
        """Write the predictions of a whole chunk; columns that the classifier does not have are left out."""
        own = [field for field in PREDICTIONS_SCHEMA if field.name in frame or field.name not in ROLLED_UP]
        self._write(part_name("predictions", "", chunk), to_arrow(frame, pa.schema(own)))

    def add_failures(self, label: str | None, chunk: int, tried: Collection[str], rows: list[dict[str, Any]]) -> None:
        """Replace what the failures of a chunk say of the images just tried.

        Args:
            label: the method's label, None for what concerns all methods.
            chunk: number of the chunk.
            tried: image_ids whose earlier failures no longer count.
            rows: the columns of `FAILURES_SCHEMA`.
        """
        name = part_name("failures", "images" if label is None else slug(label), chunk)
        table = pa.Table.from_pylist(rows, schema=FAILURES_SCHEMA)
        there = self.files.exists(name)
        if there:
            before = self._read_part(name, FAILURES_SCHEMA)
            table = pa.concat_tables([_without(before, tried), table])
            if table.equals(before):
                return
        if len(table):
            self._write(name, table)
        elif there:
            self.files.remove(name)

    def predicted_chunks(self) -> set[int]:
        """Numbers of the chunks that have their predictions."""
        return set(self.parts("predictions", ""))

    def read_predictions(self) -> pd.DataFrame:
        """All predictions, in no particular order."""
        return self._read(self.parts("predictions", "").values(), PREDICTIONS_SCHEMA)

    def read_failures(self) -> pd.DataFrame:
        """All failures, in no particular order."""
        names = [f"failures/{name}" for name in self._names("failures") if PART.fullmatch(name)]
        return self._read(names, FAILURES_SCHEMA)

    def mask_batches(
        self,
        labels: Sequence[str],
        columns: Sequence[str],
        kinds: Sequence[str] | None = None,
        *,
        chunks: Collection[int] | None = None,
        image_ids: Collection[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of masks, chunk by chunk: only these columns of only these parts are read, one at a time.

        Args:
            labels: of the methods.
            columns: of `STORED_SCHEMA`.
            kinds: None for all.
            chunks: numbers of the chunks to read; None for all.
            image_ids: of the rows; None for all. Give the chunks as well, or all parts are read for them.
        """
        parts = {slug(label): label for label in labels}
        found = [
            (int(match["chunk"]), parts[match["name"]], f"masks/{match[0]}")
            for match in map(PART.fullmatch, self._names("masks"))
            if match and match["name"] in parts and (chunks is None or int(match["chunk"]) in chunks)
        ]
        owners = {name: label for _, label, name in sorted(found)}
        accepted = {"kind": kinds, "image_id": image_ids}
        filters = {name: pa.array(list(v), pa.string()) for name, v in accepted.items() if v is not None}
        needed = list(dict.fromkeys([*columns, "method", *filters]))
        for name, table in self._tables(list(owners), STORED_SCHEMA, needed):
            for column, values in {"method": pa.array([owners[name]]), **filters}.items():
                kept = pc.is_in(table[column], values)
                if not pc.all(kept, min_count=0).as_py():
                    table = table.filter(kept)
            if len(table):
                yield from table.select(list(columns)).to_batches()

    def finished(self, label: str, kinds: Sequence[str]) -> set[str]:
        """image_ids that have all kinds of masks by a method; only the key columns are read."""
        schema = pa.schema([SCHEMA.field(name) for name in KEYS])
        keys = pa.Table.from_batches(list(self.mask_batches([label], KEYS, kinds)), schema)
        seen = [set(keys["image_id"].filter(pc.equal(keys["kind"], kind)).to_pylist()) for kind in kinds]
        return set.intersection(*seen) if seen else set()

    def mask_bytes(self) -> int:
        """Bytes of all masks on disk."""
        return sum(self.files.size(f"masks/{name}") for name in self._names("masks") if PART.fullmatch(name))

    def mask_part(self, label: str, chunk: int) -> pa.Table:
        """The masks of one method for one chunk, without rows where there is no such part."""
        name = part_name("masks", slug(label), chunk)
        return self._read_part(name, SCHEMA) if self.files.exists(name) else SCHEMA.empty_table()

    def add_metrics(self, name: str, chunk: int, frame: pd.DataFrame, schema: pa.Schema, keys: Sequence[str]) -> None:
        """Write metrics of a chunk; rows of its part stay unless a new one has the same keys.

        Args:
            name: of the group of metrics, with the slug of a method if it has one.
            chunk: number of the chunk.
            frame: the columns of `schema`.
            schema: of the group.
            keys: the columns that name a row.
        """
        part = part_name("metrics", name, chunk)
        if self.files.exists(part):
            before = self._read_part(part, schema).to_pandas()
            frame = pd.concat([before, frame], ignore_index=True).drop_duplicates(list(keys), keep="last")
        self._write(part, to_arrow(frame, schema))

    def read_metrics(self, name: str, schema: pa.Schema) -> pd.DataFrame:
        """All metrics of a group, in no particular order."""
        return self._read(self.parts("metrics", name).values(), schema)

    def add_regions(self, label: str, chunk: int, rows: list[dict[str, Any]]) -> None:
        """Write regions of one method for a chunk; those of other masks that its part has already stay.

        Args:
            label: the method's label.
            chunk: number of the chunk.
            rows: the columns of `REGIONS_SCHEMA`.
        """
        name = part_name("regions", slug(label), chunk)
        table = pa.Table.from_pylist(rows, schema=REGIONS_SCHEMA)
        if self.files.exists(name):
            before = self._read_part(name, REGIONS_SCHEMA)
            new = {(row["image_id"], row["kind"]) for row in rows}
            keys = zip(before["image_id"].to_pylist(), before["kind"].to_pylist(), strict=True)
            table = pa.concat_tables([before.filter(pa.array([key not in new for key in keys], pa.bool_())), table])
        self._write(name, table)

    def read_regions(
        self, label: str, columns: Sequence[str] | None = None, chunks: Collection[int] | None = None
    ) -> pd.DataFrame:
        """The regions of one method, in no particular order.

        Args:
            label: the method's label.
            columns: of `REGIONS_SCHEMA`; None for all.
            chunks: numbers of the chunks to read; None for all.
        """
        names = [
            part for number, part in self.parts("regions", slug(label)).items() if chunks is None or number in chunks
        ]
        schema = REGIONS_SCHEMA if columns is None else pa.schema([REGIONS_SCHEMA.field(name) for name in columns])
        tables = [table for _, table in self._tables(names, REGIONS_SCHEMA, schema.names)]
        frame: pd.DataFrame = (pa.concat_tables(tables) if tables else schema.empty_table()).to_pandas()
        return frame[frame["method"] == label] if "method" in frame else frame

    def parts(self, folder: str, name: str) -> dict[int, str]:
        """Chunk -> file name of the parts of a folder that have a name."""
        found = ((PART.fullmatch(file), file) for file in self._names(folder))
        own = {
            int(match["chunk"]): f"{folder}/{file}" for match, file in found if match and (match["name"] or "") == name
        }
        return dict(sorted(own.items()))

    def set_aside(self, name: str) -> str:
        """Move a file into the folder of damaged ones; the name that it has there."""
        target = f"{DAMAGED}/{name.replace('/', '-')}.{secrets.token_hex(4)}"
        self.files.move(name, target)
        return target

    def _names(self, folder: str) -> list[str]:
        with self._reached():
            return self.files.names(folder)

    def _write(self, name: str, table: pa.Table) -> None:
        self.files.write(name, checksummed.encode(table, self.study_id))

    def _read(self, names: Iterable[str], schema: pa.Schema) -> pd.DataFrame:
        tables = [table for _, table in self._tables(list(names), schema, schema.names)]
        frame: pd.DataFrame = (pa.concat_tables(tables) if tables else schema.empty_table()).to_pandas()
        return frame

    def _read_part(self, name: str, schema: pa.Schema | None = None) -> pa.Table:
        with self._readable(name):
            return checksummed.decode(self.files.open(name), schema)

    def _tables(
        self, names: Sequence[str], schema: pa.Schema, columns: Sequence[str]
    ) -> Iterator[tuple[str, pa.Table]]:
        """The row groups of parts with the names of their files; a part that is removed meanwhile is left out."""
        with self._reached():
            for name, file in self.files.ahead(names):
                with self._readable(name), file:
                    for table in checksummed.decode_groups(file, schema, columns):
                        yield name, table

    @contextmanager
    def _readable(self, name: str) -> Iterator[None]:
        try:
            yield
        except checksummed.CorruptPartError as error:
            raise StoreError(
                f"{self}/{name}: a part cannot be read ({error}); run the study again, which sets it aside and "
                f"computes anew what was in it (`fidokit check {self}` lists all that is damaged)"
            ) from error
        except OSError as error:
            raise StoreError(f"{self}/{name} cannot be read: {error.strerror or error}; put that right") from error

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self} cannot be read: {error.strerror or error}; put that right") from error


def part_name(folder: str, name: str, chunk: int) -> str:
    """The file name of a part."""
    return f"{folder}/part-{name}{'-' if name else ''}{chunk:05d}.parquet"


def _are_texts(column: pd.Series[Any]) -> bool:
    return all(cell is None or isinstance(cell, str) for cell in column)


def _are_names(ids: pd.Series[Any]) -> bool:
    return all(isinstance(image_id, str) for image_id in ids) and ids.is_unique


def _without(table: pa.Table, image_ids: Iterable[str]) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table["image_id"], pa.array(list(image_ids), pa.string()))))
