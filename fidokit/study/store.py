"""A study's folder: the schemas of its tables, their parts, written whole, and what a run that was killed left behind.

    study.json                          the manifest
    images.parquet                      the table of the dataset
    predictions/part-CHUNK.parquet      what the classifier says of the photographs of one chunk
    masks/part-METHOD-CHUNK.parquet     the masks of one method for one chunk
    failures/part-METHOD-CHUNK.parquet  what went wrong; METHOD is "images" for what concerns all methods
    metrics/part-GROUP-METHOD-CHUNK.parquet  what `Study.metrics` measured, group by group

Method labels may hold anything, so file names carry a slug of them with a short hash, never the label itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from fidokit.exceptions import StoreError
from fidokit.study.manifest import SCHEMA_VERSION

MANIFEST = "study.json"
IMAGES = "images.parquet"
FOLDERS = ("predictions", "masks", "failures", "metrics")
KEYS = ("image_id", "method", "kind")
#: The one definition of the table of masks; `mask` is the (height, width) mask row by row.
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("method", pa.string()),
        ("kind", pa.string()),
        ("target", pa.string()),
        ("against", pa.string()),
        ("mask", pa.list_(pa.float16())),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("evaluations", pa.int64()),
        ("seconds", pa.float64()),
        ("converged", pa.bool_()),
        ("score_full", pa.float64()),
        ("score_kept", pa.float64()),
        ("score_dropped", pa.float64()),
        ("settings_id", pa.string()),
    ]
)
PREDICTIONS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("predicted", pa.string()),
        ("correct", pa.bool_()),
        ("score", pa.float64()),
        ("margin", pa.float64()),
        ("runner_up", pa.string()),
        ("reason", pa.string()),
    ]
)
FAILURES_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("method", pa.string()), ("stage", pa.string()), ("reason", pa.string())]
)
_TEMPORARY = ".tmp"
_LOCK = ".lock"
_OWN = frozenset({MANIFEST, IMAGES, _LOCK, *FOLDERS})


def slug(label: str) -> str:
    """A file name for a method label: its letters and digits, and a hash that tells apart what they leave equal."""
    text = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40].strip("-")
    return f"{text or 'method'}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def megabytes(n_bytes: float) -> str:
    """A number of bytes in words, 1 MB at least."""
    return f"{max(1, round(n_bytes / 1e6))} MB"


class Store:
    """Reads and writes a study's folder; knows nothing of classifiers and photographs.

    Args:
        path: the folder. It is made by `prepare`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def exists(self) -> bool:
        """Whether a study has been begun here."""
        return (self.path / MANIFEST).is_file()

    def prepare(self) -> None:
        """Make the folder and see that it can be written to.

        Raises:
            StoreError: it cannot be written to, or holds other things.
        """
        try:
            if self.path.is_dir() and not self.exists():
                foreign = [p.name for p in self.path.iterdir() if p.name not in _OWN and p.suffix != _TEMPORARY]
                if foreign:
                    raise StoreError(
                        f"{self.path} holds other things ({min(foreign)}, ...) and no study; choose an empty folder"
                    )
            for folder in FOLDERS:
                (self.path / folder).mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self.path / folder, suffix=_TEMPORARY) as file:
                    file.write(b"fidokit")
        except OSError as error:
            raise StoreError(
                f"no study can be written to {self.path}: {error.strerror or error}; choose another folder as `store`, "
                "or change its permissions"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out of the folder, and clears away what a killed one left half-written.

        The lock goes with the process, however that ends.

        Raises:
            StoreError: another run is writing to it.
        """
        with (self.path / _LOCK).open("wb") as file:
            if not _lock(file):
                raise StoreError(f"another run is writing to {self.path}; wait for it to end, or choose another folder")
            for folder in (self.path, *(self.path / name for name in FOLDERS)):
                for leftover in folder.glob(f".*{_TEMPORARY}"):
                    leftover.unlink(missing_ok=True)
            yield

    def read_manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            StoreError: there is none, it is damaged, or a newer fidokit wrote it.
        """
        path = self.path / MANIFEST
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version = int(manifest["schema_version"])
        except FileNotFoundError as error:
            raise StoreError(
                f"there is no study in {self.path}; fidokit.run_study(..., store=...) makes one"
            ) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}); put back a copy of it, or begin anew elsewhere") from error
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} was written by fidokit {manifest.get('fidokit_version', 'of a later date')} in schema "
                f"{version}, this one reads up to {SCHEMA_VERSION}: pip install --upgrade fidokit"
            )
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest as a whole."""
        text = json.dumps(manifest, indent=1)
        with _whole(self.path / MANIFEST) as file:
            file.write(text.encode())

    def write_images(self, table: pd.DataFrame) -> None:
        """Write the table of the dataset; columns of mixed types become text."""
        columns = {str(name): _arrow_column(table[name]) for name in table.columns}
        _write(pa.table(columns), self.path / IMAGES)

    def read_images(self) -> pd.DataFrame:
        """The table of the dataset, missing texts as None."""
        table = _read_part(self.path / IMAGES)
        columns = {}
        for name in table.column_names:
            column = table[name]
            if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
                cells = [
                    cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else cell
                    for cell in column.to_pylist()
                ]
                columns[name] = pd.Series(cells, dtype=object)
            elif pa.types.is_integer(column.type) and column.null_count:
                columns[name] = pd.Series(column.to_pylist(), dtype="Int64")
            else:
                columns[name] = column.to_pandas()
        return pd.DataFrame(columns)

    def add_masks(self, label: str, chunk: int, frame: pd.DataFrame) -> None:
        """Write the masks of one method for a chunk; those of other images that its part has already stay.

        Args:
            label: the method's label.
            chunk: number of the chunk.
            frame: the columns of `SCHEMA`, `mask` as (h, w) arrays; not empty.
        """
        path = self._part("masks", slug(label), chunk)
        table = _masks_to_arrow(frame)
        if path.exists():
            table = pa.concat_tables([_without(_read_part(path), set(frame["image_id"])), table])
        _write(table, path)

    def add_predictions(self, chunk: int, frame: pd.DataFrame) -> None:
        """Write the predictions of a whole chunk."""
        _write(_to_arrow(frame, PREDICTIONS_SCHEMA), self._part("predictions", "", chunk))

    def add_failures(self, label: str | None, chunk: int, tried: Collection[str], rows: list[dict[str, Any]]) -> None:
        """Replace what the failures of a chunk say of the images just tried.

        Args:
            label: the method's label, None for what concerns all methods.
            chunk: number of the chunk.
            tried: image_ids whose earlier failures no longer count.
            rows: the columns of `FAILURES_SCHEMA`.
        """
        path = self._part("failures", "images" if label is None else slug(label), chunk)
        table = pa.Table.from_pylist(rows, schema=FAILURES_SCHEMA)
        if path.exists():
            before = _read_part(path)
            table = pa.concat_tables([_without(before, tried), table])
            if table.equals(before):
                return
        if len(table):
            _write(table, path)
        else:
            path.unlink(missing_ok=True)

    def predicted_chunks(self) -> set[int]:
        """Numbers of the chunks that have their predictions."""
        return set(self._parts("predictions", ""))

    def read_predictions(self) -> pd.DataFrame:
        """All predictions, in no particular order."""
        return self._read(list(self._parts("predictions", "").values()), PREDICTIONS_SCHEMA)

    def read_failures(self) -> pd.DataFrame:
        """All failures, in no particular order."""
        paths = sorted((self.path / "failures").glob("part-*.parquet"))
        return self._read(paths, FAILURES_SCHEMA)

    def mask_batches(
        self, labels: Sequence[str], columns: Sequence[str], kinds: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of the masks of some methods: only these columns of only these parts are read."""
        paths = [path for label in labels for path in self._parts("masks", slug(label)).values()]
        if not paths:
            return
        chosen = ds.field("method").isin(list(labels))
        if kinds is not None:
            chosen &= ds.field("kind").isin(list(kinds))
        # One part holds few images, but of masks at full resolution many bytes: little is read ahead.
        with _readable(self.path):
            yield from _dataset(paths, SCHEMA).to_batches(
                columns=list(columns), filter=chosen, batch_size=1024, batch_readahead=2, fragment_readahead=2
            )

    def finished(self, label: str, kinds: Sequence[str]) -> set[str]:
        """image_ids that have all kinds of masks by a method; only the key columns are read."""
        seen: dict[str, set[str]] = {kind: set() for kind in kinds}
        for batch in self.mask_batches([label], KEYS, kinds):
            frame = batch.to_pandas()
            for kind, group in frame.groupby("kind"):
                seen[str(kind)].update(group["image_id"])
        return set.intersection(*seen.values()) if seen else set()

    def mask_bytes(self) -> int:
        """Bytes of all masks on disk."""
        return sum(path.stat().st_size for path in (self.path / "masks").glob("part-*.parquet"))

    def mask_part(self, label: str, chunk: int) -> pa.Table:
        """The masks of one method for one chunk, without rows where there is no such part."""
        path = self._part("masks", slug(label), chunk)
        return _read_part(path) if path.exists() else SCHEMA.empty_table()

    def add_metrics(self, name: str, chunk: int, frame: pd.DataFrame, schema: pa.Schema, keys: Sequence[str]) -> None:
        """Write metrics of a chunk; rows of its part stay unless a new one has the same keys.

        Args:
            name: of the group of metrics, with the slug of a method if it has one.
            chunk: number of the chunk.
            frame: the columns of `schema`.
            schema: of the group.
            keys: the columns that name a row.
        """
        path = self._part("metrics", name, chunk)
        if path.exists():
            before = _read_part(path).to_pandas().reindex(columns=schema.names)
            frame = pd.concat([before, frame], ignore_index=True).drop_duplicates(list(keys), keep="last")
        path.parent.mkdir(exist_ok=True)
        _write(_to_arrow(frame, schema), path)

    def read_metrics(self, name: str, schema: pa.Schema) -> pd.DataFrame:
        """All metrics of a group, in no particular order."""
        return self._read(list(self._parts("metrics", name).values()), schema)

    def _part(self, folder: str, name: str, chunk: int) -> Path:
        return self.path / folder / f"part-{name}{'-' if name else ''}{chunk:05d}.parquet"

    def _parts(self, folder: str, name: str) -> dict[int, Path]:
        pattern = re.compile(rf"part-{re.escape(name)}{'-' if name else ''}(\d+)\.parquet")
        found = [(pattern.fullmatch(path.name), path) for path in (self.path / folder).glob("part-*.parquet")]
        return dict(sorted((int(match[1]), path) for match, path in found if match))

    def _read(self, paths: list[Path], schema: pa.Schema) -> pd.DataFrame:
        with _readable(self.path):
            table = _dataset(paths, schema).to_table() if paths else schema.empty_table()
        frame: pd.DataFrame = table.to_pandas()
        return frame


def mask_arrays(batch: pa.RecordBatch | pa.Table) -> list[npt.NDArray[np.float32]]:
    """The (h, w) float32 masks of rows that have the columns mask, height and width."""
    arrays: list[npt.NDArray[np.float32]] = []
    sizes = zip(batch["height"].to_pylist(), batch["width"].to_pylist(), strict=True)
    column = batch["mask"]
    for piece in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        values = piece.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        start = 0
        for _ in range(len(piece)):
            height, width = next(sizes)
            arrays.append(values[start : start + height * width].reshape(height, width))
            start += height * width
    return arrays


def _masks_to_arrow(frame: pd.DataFrame) -> pa.Table:
    flat = [np.asarray(mask, dtype=np.float16).ravel() for mask in frame["mask"]]
    offsets = np.concatenate([[0], np.cumsum([len(mask) for mask in flat])]).astype(np.int32)
    masks = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(flat)), type=SCHEMA.field("mask").type)
    others = pa.schema([field for field in SCHEMA if field.name != "mask"])
    table = _to_arrow(frame, others)
    return table.add_column(SCHEMA.get_field_index("mask"), SCHEMA.field("mask"), masks)


def _to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in schema]
    return pa.table(arrays, schema=schema)


def _arrow_column(column: pd.Series[Any]) -> pa.Array:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, UnicodeEncodeError, TypeError, ValueError):
        pass
    texts = [None if cell is None or cell is pd.NA or cell != cell else str(cell) for cell in column]
    try:
        return pa.array(texts, pa.string())
    except (UnicodeEncodeError, pa.ArrowException):
        # File names that are not UTF-8.
        return pa.array([None if text is None else text.encode("utf-8", "surrogateescape") for text in texts])


def _without(table: pa.Table, image_ids: Collection[str]) -> pa.Table:
    return table.filter([image_id not in image_ids for image_id in table["image_id"].to_pylist()])


def _dataset(paths: Sequence[Path], schema: pa.Schema) -> Any:
    # Given the file system, a path with a colon in it is not taken for a URI.
    return ds.dataset([str(path) for path in paths], schema=schema, format="parquet", filesystem=fs.LocalFileSystem())


def _read_part(path: Path) -> pa.Table:
    with _readable(path), path.open("rb") as file:
        return pq.read_table(file)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{path}: a part cannot be read ({error}); delete the file that is named and run the study again, which "
            "computes what was in it anew"
        ) from error


def _write(table: pa.Table, path: Path) -> None:
    # Random mask values gain nothing from a dictionary; texts, the same in every row, nearly everything.
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    with _whole(path) as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=texts)


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when it is complete and on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the renaming itself survive a power cut, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _lock(file: BinaryIO) -> bool:
    """Whether the file could be locked; True as well where there are no locks, as on some network drives."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
