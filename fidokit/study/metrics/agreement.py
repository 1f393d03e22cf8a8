"""How far the methods of a study agree: rank correlations of their masks of the same image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fidokit.methods.base import resize_masks
from fidokit.study.metrics.ranks import rank_correlation
from fidokit.study.store.store import mask_arrays

if TYPE_CHECKING:
    from tqdm.auto import tqdm

    from fidokit.study.metrics.table import MetricTables
    from fidokit.study.stored import StoredStudy

#: (h, w) to which masks are brought before they are correlated: fine enough for objects, too coarse for pixel noise.
GRID = (28, 28)


def main_kind(kinds: Sequence[str]) -> str:
    """The kind by which a method is compared with others: joint where there is one, else its last one."""
    return "joint" if "joint" in kinds else kinds[-1]


def counterpart(kind: str, others: Sequence[str]) -> str:
    """The kind of another method that a mask is compared with: the same one, else that method's main one."""
    return kind if kind in others else main_kind(others)


class Agreement:
    """What is missing of the agreement of some methods with all others of the study, and its computation.

    Args:
        study: the study.
        tables: of its metrics.
        labels: of the methods to measure.
        kinds: of masks to measure.
    """

    def __init__(self, study: StoredStudy, tables: MetricTables, labels: Sequence[str], kinds: Sequence[str]) -> None:
        self.study, self.tables = study, tables
        self.finished = {label: study.store.finished(label, study.kinds(label)) for label in study.methods}
        #: chunk -> label -> (image_id, kind, other label)
        self.missing: dict[int, dict[str, set[tuple[str, str, str]]]] = defaultdict(dict)
        size: int = study.manifest["options"]["part_size"]
        for label in labels if len(study.methods) > 1 else []:
            own = [kind for kind in study.kinds(label) if kind in kinds]
            done = tables.read("agreement", label)
            known = set(zip(done["image_id"], done["kind"], done["other"], strict=True))
            for other in study.comparable(label):
                for image_id in self.finished[label] & self.finished[other]:
                    rows = {(image_id, kind, other) for kind in own} - known
                    if rows:
                        chunk = self.missing[study.positions[image_id] // size]
                        chunk.setdefault(label, set()).update(rows)

    def __len__(self) -> int:
        return sum(len(rows) for chunk in self.missing.values() for rows in chunk.values())

    def run(self, bar: tqdm[Any]) -> None:
        """Measure and write chunk by chunk."""
        for number, chunk in sorted(self.missing.items()):
            bar.set_description("agreement", refresh=False)
            needed = set(chunk) | {other for rows in chunk.values() for _, _, other in rows}
            masks = {label: self._masks(label, number) for label in sorted(needed)}
            for label, rows in chunk.items():
                ordered = sorted(rows)
                own = torch.stack([masks[label][image_id, kind] for image_id, kind, _ in ordered])
                others = torch.stack(
                    [
                        masks[other][image_id, counterpart(kind, self.study.kinds(other))]
                        for image_id, kind, other in ordered
                    ]
                )
                found = rank_correlation(own, others).tolist()
                self.tables.add(
                    "agreement",
                    label,
                    number,
                    [
                        {"image_id": image_id, "method": label, "kind": kind, "other": other, "agreement": value}
                        for (image_id, kind, other), value in zip(ordered, found, strict=True)
                    ],
                )
                bar.update(len(ordered))

    def _masks(self, label: str, number: int) -> dict[tuple[str, str], Tensor]:
        """(image_id, kind) -> the flat mask on `GRID`."""
        table = self.study.store.mask_part(label, number)
        keys = zip(table["image_id"].to_pylist(), table["kind"].to_pylist(), strict=True)
        arrays = mask_arrays(table) if len(table) else []
        return {
            key: resize_masks(torch.from_numpy(array.copy())[None], GRID).flatten()
            for key, array in zip(keys, arrays, strict=True)
        }
