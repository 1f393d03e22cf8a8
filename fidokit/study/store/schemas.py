"""The tables of a store: their schemas, and masks as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fidokit.exceptions import StoreError

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
        ("explained", pa.string()),
    ]
)
#: The same in the parts of a store, with the mean of each mask: a summary of many photographs reads no masks.
STORED_SCHEMA = SCHEMA.append(pa.field("area", pa.float64()))
#: Verified regions, one row for each mask and claim; `region` has the bits of the (height, width) map row by row, and
#: `reason` says why there is none.
REGIONS_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("method", pa.string()),
        ("kind", pa.string()),
        ("claim", pa.string()),
        ("holds", pa.string()),
        ("area", pa.float64()),
        ("scores", pa.list_(pa.float64())),
        ("region", pa.binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("evaluations", pa.int64()),
        ("reason", pa.string()),
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
        ("rollup", pa.string()),
        ("rollup_rank", pa.string()),
        ("rollup_score", pa.float64()),
    ]
)
FAILURES_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("method", pa.string()), ("stage", pa.string()), ("reason", pa.string())]
)


def mask_arrays(batch: pa.RecordBatch | pa.Table) -> list[npt.NDArray[np.float32]]:
    """The (h, w) float32 masks of rows that have the columns mask, height and width.

    Raises:
        StoreError: a mask has not height x width cells.
    """
    arrays: list[npt.NDArray[np.float32]] = []
    heights, widths, _ = checked_sizes(batch)
    sizes = zip(heights.tolist(), widths.tolist(), strict=True)
    for piece in _pieces(batch["mask"]):
        values = piece.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        start = 0
        for _ in range(len(piece)):
            height, width = next(sizes)
            arrays.append(values[start : start + height * width].reshape(height, width))
            start += height * width
    return arrays


def packed_region(region: npt.NDArray[np.bool_]) -> bytes:
    """An (H, W) map as the bits of its rows."""
    return np.packbits(region, axis=None).tobytes()


def region_arrays(frame: pd.DataFrame) -> list[npt.NDArray[np.bool_] | None]:
    """The (height, width) maps of rows of `REGIONS_SCHEMA`; None where there is none.

    Raises:
        StoreError: a map has not height x width bits.
    """
    arrays: list[npt.NDArray[np.bool_] | None] = []
    for packed, height, width in zip(frame["region"], frame["height"], frame["width"], strict=True):
        if packed is None:
            arrays.append(None)
            continue
        cells = int(height) * int(width)
        if min(height, width) < 1 or len(packed) != -(-cells // 8):
            raise StoreError("a region has not height x width cells; `fidokit check RUN` names the part")
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=cells)
        arrays.append(bits.astype(bool).reshape(int(height), int(width)))
    return arrays


def mask_means(batch: pa.RecordBatch | pa.Table) -> npt.NDArray[np.float64]:
    """(B,) means of the masks of rows that have the columns mask, height and width.

    Raises:
        StoreError: a mask has not height x width cells.
    """
    _, _, cells = checked_sizes(batch)
    sums = []
    row = 0
    for piece in _pieces(batch["mask"]):
        if len(piece):
            values = piece.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            starts = np.concatenate([[0], np.cumsum(cells[row : row + len(piece) - 1])])
            sums.append(np.add.reduceat(values, starts))
            row += len(piece)
    return np.concatenate([np.zeros(0), *sums]) / cells


def checked_sizes(batch: pa.RecordBatch | pa.Table) -> tuple[npt.NDArray[np.int64], ...]:
    """(B,) heights, widths and numbers of cells of masks.

    Raises:
        StoreError: they do not fit together, or one is missing.
    """
    lengths = pc.list_value_length(batch["mask"])
    columns = (batch["height"], batch["width"], lengths)
    if any(column.null_count for column in columns):
        raise StoreError("a mask, or its size, is missing in a row; `fidokit check RUN` names the part")
    heights, widths, cells = (column.to_numpy(zero_copy_only=False).astype(np.int64) for column in columns)
    if ((heights < 1) | (widths < 1) | (heights * widths != cells)).any():
        raise StoreError("a mask has not height x width cells; `fidokit check RUN` names the part")
    return heights, widths, cells


def _pieces(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]


def masks_to_arrow(frame: pd.DataFrame) -> pa.Table:
    """A table of `STORED_SCHEMA` from the columns of `SCHEMA`, `mask` as (h, w) arrays."""
    flat = [np.asarray(mask, dtype=np.float16).ravel() for mask in frame["mask"]]
    offsets = np.concatenate([[0], np.cumsum([len(mask) for mask in flat])]).astype(np.int32)
    masks = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(flat)), type=SCHEMA.field("mask").type)
    others = pa.schema([field for field in SCHEMA if field.name != "mask"])
    table = to_arrow(frame, others)
    table = table.add_column(SCHEMA.get_field_index("mask"), SCHEMA.field("mask"), masks)
    return table.append_column(STORED_SCHEMA.field("area"), pa.array(mask_means(table)))


def to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """A table of a schema from the columns of a frame."""
    arrays = [pa.array(frame[field.name], type=field.type, from_pandas=True) for field in schema]
    return pa.table(arrays, schema=schema)


def images_to_arrow(table: pd.DataFrame) -> pa.Table:
    """The table of a dataset; columns of mixed types become text."""
    return pa.table({str(name): _arrow_column(table[name]) for name in table.columns})


def images_to_pandas(table: pa.Table) -> pd.DataFrame:
    """The table of a dataset as it was, missing texts as None."""
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
