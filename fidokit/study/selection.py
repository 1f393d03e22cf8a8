"""Rows of the table of masks, chosen by method, kind and photograph, as one frame or piece by piece."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from fidokit.methods.base import KINDS
from fidokit.methods.verdicts import mask_verdicts
from fidokit.study.store.schemas import KEYS, SCHEMA, mask_arrays

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy

#: What can be asked for: what is stored, and what follows from it.
SELECTABLE = (*SCHEMA.names, "verdict")
_SCORES = ("score_full", "score_kept", "score_dropped")


class Selection:
    """Some rows and columns of the table of masks, in the order of the dataset, of the methods, of the kinds.

    Args:
        study: the study.
        labels: of the methods.
        kinds: of masks.
        columns: of the frames.
        image_ids: None for all.

    Raises:
        SettingsError: an image_id that there is not.
    """

    def __init__(
        self,
        study: StoredStudy,
        labels: Sequence[str],
        kinds: Sequence[str],
        columns: Sequence[str],
        image_ids: Collection[str] | None,
    ) -> None:
        self.study, self.labels, self.kinds, self.columns = study, labels, kinds, columns
        needed = {*columns, *KEYS, *(("height", "width") if "mask" in columns else ())}
        needed |= set(_SCORES) if "verdict" in columns else set()
        self.names = [name for name in SCHEMA.names if name in needed]
        self.part_size: int = study.manifest["options"]["part_size"]
        self.image_ids: set[str] | None = None
        self.chunks: set[int] | None = None
        if image_ids is not None:
            self.image_ids = study.known_images(image_ids)
            self.chunks = study.chunks_of(self.image_ids)

    def frame(self) -> pd.DataFrame:
        """All of them."""
        return self._ordered(list(self._batches()))

    def pieces(self, size: int) -> Iterator[pd.DataFrame]:
        """Frames of `size` rows, the last one of what is left; little more than one of them is in memory."""
        left = self._ordered([])
        waiting: list[pa.RecordBatch] = []
        rows, chunk = 0, -1
        for batch in self._batches():
            of_batch = self.study.positions.get(batch["image_id"][0].as_py(), 0) // self.part_size
            # Parts come chunk by chunk, so what came before a new chunk can be put in order.
            if of_batch != chunk and len(left) + rows >= size:
                left = pd.concat([left, self._ordered(waiting)], ignore_index=True)
                waiting, rows = [], 0
                while len(left) >= size:
                    yield left.iloc[:size].reset_index(drop=True)
                    left = left.iloc[size:]
            chunk = of_batch
            waiting.append(batch)
            rows += len(batch)
        left = pd.concat([left, self._ordered(waiting)], ignore_index=True) if waiting else left
        for start in range(0, len(left), size):
            yield left.iloc[start : start + size].reset_index(drop=True)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        return self.study.store.mask_batches(
            self.labels, self.names, self.kinds, chunks=self.chunks, image_ids=self.image_ids
        )

    def _ordered(self, batches: Sequence[pa.RecordBatch]) -> pd.DataFrame:
        """The rows of batches as a frame, in order."""
        table = pa.Table.from_batches(batches, pa.schema([SCHEMA.field(name) for name in self.names]))
        frame: pd.DataFrame = table.drop_columns([name for name in self.names if name == "mask"]).to_pandas()
        if "mask" in self.columns:
            arrays = np.empty(len(frame), dtype=object)
            arrays[:] = mask_arrays(table) if len(frame) else []
            frame["mask"] = arrays
        if "verdict" in self.columns:
            frame["verdict"] = pd.Series(mask_verdicts(*(frame[name] for name in _SCORES)), dtype=object)
        kinds, labels = ({name: i for i, name in enumerate(names)} for names in (KINDS, self.study.methods))
        ranks = [frame["kind"].map(kinds).to_numpy(np.int64), frame["method"].map(labels).to_numpy(np.int64)]
        order = np.lexsort([*ranks, self.study.places(frame["image_id"])])
        return frame.iloc[order].reset_index(drop=True)[list(self.columns)]
