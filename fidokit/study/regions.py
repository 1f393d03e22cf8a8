"""The verified regions of a study's masks: cut chunk by chunk, kept in the store, and read from there as a table."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm.auto import tqdm

from fidokit._util.warning import warn
from fidokit.data.reading import Chunk, read_chunks
from fidokit.methods.base import KINDS, Kind
from fidokit.methods.regions import REGION_COLUMNS, Subjects, check_infills, claims_of, cut_regions
from fidokit.methods.verdicts import DROPPED, KEPT, is_whole, region_words
from fidokit.models.isolation import together_or_alone
from fidokit.study.store.schemas import KEYS, packed_region, region_arrays
from fidokit.study.store.store import mask_arrays

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy

#: (image_id, kind) of a mask.
_Key = tuple[str, str]
_CLAIMS = ("sufficient", "destroying")


def region_frame(
    study: StoredStudy,
    labels: Sequence[str],
    kinds: Sequence[str],
    image_ids: Collection[str] | None = None,
    *,
    maps: bool = True,
) -> pd.DataFrame:
    """The table of `Study.regions` from what is stored, in the order of the dataset, of the methods, of the kinds.

    Args:
        study: the study.
        labels: of the methods.
        kinds: of masks.
        image_ids: None for all.
        maps: whether to read the regions themselves; without them there is no column `region`.
    """
    chunks = None if image_ids is None else study.chunks_of(image_ids)
    stored = [name for name in _STORED if maps or name not in ("region", "height", "width")]
    tables = [study.store.read_regions(label, stored, chunks) for label in labels]
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=stored)
    frame = frame[frame["kind"].isin(list(kinds))]
    if image_ids is not None:
        frame = frame[frame["image_id"].isin(list(image_ids))]
    order = np.lexsort(
        [
            _ranks(frame["claim"], _CLAIMS),
            _ranks(frame["kind"], KINDS),
            _ranks(frame["method"], study.methods),
            study.places(frame["image_id"]),
        ]
    )
    frame = frame.iloc[order].reset_index(drop=True)
    if maps:
        arrays = np.empty(len(frame), dtype=object)
        arrays[:] = region_arrays(frame)
        frame["region"] = arrays
    told = pd.DataFrame([_told(row) for row in frame.to_dict("records")], columns=list(_TOLD), dtype=object)
    frame = frame.drop(columns=list(_TOLD), errors="ignore").join(told)
    frame = frame.astype({"score": np.float64, "worst": np.float64})
    return frame[[*(name for name in REGION_COLUMNS if maps or name != "region"), "reason"]]


def region_figures(study: StoredStudy) -> pd.DataFrame:
    """What `Study.summary` averages of the regions that were cut: one row for each mask that has some.

    image_id, method, kind; sufficient_holds and destroying_holds, 1 where a region that is smaller than the picture was
    found to hold under all infills of the check, else 0; sufficient_region_area and destroying_region_area, of every
    region. NaN where a mask makes no such claim.
    """
    frame = region_frame(study, study.methods, KINDS, maps=False)
    frame = frame[frame["holds"].notna()]
    values: dict[str, Any] = {}
    for claim in _CLAIMS:
        own = frame["claim"].eq(claim)
        holds = frame["holds"].eq("yes") & ~frame["area"].map(is_whole).astype(bool)
        values[f"{claim}_holds"] = holds.astype(float).where(own)
        values[f"{claim}_region_area"] = frame["area"].where(own)
    # A mask has one row a claim, so that of each figure there is one value.
    figures: pd.DataFrame = frame[list(KEYS)].assign(**values).groupby(list(KEYS), sort=False).max().reset_index()
    return figures


_TOLD = ("holds", "scores", "score", "worst", "verdict", "reason")


def _told(row: Mapping[Any, Any]) -> dict[str, Any]:
    """What a row of the store says, with what follows from it."""
    if not isinstance(row["holds"], str):
        nothing = {"holds": None, "scores": (), "score": np.nan, "worst": np.nan}
        return {**nothing, "verdict": f"not checked: {row['reason']}", "reason": row["reason"]}
    scores = tuple(float(score) for score in row["scores"])
    holds: Any = row["holds"]
    return {
        "holds": holds,
        "scores": scores,
        "score": float(np.mean(scores)),
        "worst": min(scores) if row["claim"] == "sufficient" else max(scores),
        "verdict": region_words(row["claim"], holds, scores, row["area"]),
        "reason": None,
    }


def _ranks(column: pd.Series[Any], names: Sequence[str]) -> npt.NDArray[np.int64]:
    places = {name: i for i, name in enumerate(names)}
    return np.array([places[name] for name in column], dtype=np.int64)


_STORED = (
    *("image_id", "method", "kind", "claim", "holds", "area", "scores"),
    *("region", "height", "width", "evaluations", "reason"),
)


class CuttingRegions:
    """One call of `Study.regions`: which masks have no regions yet, and their computation.

    Args:
        study: the study.
        labels: of the methods.
        kinds: of masks.
        image_ids: None for all.
    """

    def __init__(
        self,
        study: StoredStudy,
        labels: Sequence[str],
        kinds: Sequence[str],
        image_ids: Collection[str] | None = None,
    ) -> None:
        self.study, self.labels, self.kinds = study, list(labels), list(kinds)
        self.chunks = None if image_ids is None else study.chunks_of(image_ids)
        self.image_ids = None if image_ids is None else set(image_ids)
        self.missing = {label: self._lacking(label) for label in self.labels}
        self.unread: dict[str, str] = {}

    def _lacking(self, label: str) -> set[_Key]:
        have = self.study.mask_keys(label, self.kinds, self.chunks, self.image_ids)
        done = self.study.store.read_regions(label, ["image_id", "method", "kind"], self.chunks)
        return have - set(zip(done["image_id"], done["kind"], strict=True))

    def run(self, progress: bool) -> None:
        """Cut and write chunk by chunk; on Ctrl-C, say how to go on."""
        total = sum(map(len, self.missing.values()))
        if not total:
            return
        classifier, data = self.study.classifier, self.study.data
        todo = self.study.chunks_to_read({image_id for keys in self.missing.values() for image_id, _ in keys})
        with self.study.store.locked_to_add("regions"), ExitStack() as stack:
            self.bar = stack.enter_context(tqdm(total=total, unit="mask", disable=not progress))
            self.session = stack.enter_context(classifier.session())
            self.classifier = classifier
            self.check = check_infills(classifier.size)
            try:
                with closing(read_chunks(data, classifier.preprocessing, todo)) as chunks:
                    for chunk in chunks:
                        self._chunk(chunk)
                        del chunk  # before the next one is there
            except KeyboardInterrupt:
                print(
                    f"Stopped. The regions that were cut are safe in {self.study.path}; the same call goes on from "
                    "there.",
                    file=sys.stderr,
                )
        if self.unread:
            warn(
                f"{len(self.unread)} photographs cannot be read any more, no regions were cut from their masks: "
                f"{next(iter(self.unread.values()))}"
            )

    def _chunk(self, chunk: Chunk) -> None:
        ids = list(self.study.positions)
        self.unread |= {ids[position]: reason for position, reason in chunk.unread.items()}
        images = {ids[position]: chunk.images[i] for i, position in enumerate(chunk.positions)}
        for label in self.labels:
            table = self.study.store.mask_part(label, chunk.number)
            frame = table.select(["image_id", "kind", "target", "against", "score_full"]).to_pandas()
            frame["mask"] = pd.Series(mask_arrays(table) if len(table) else [], dtype=object)
            lacking = self.missing[label]
            keys = zip(frame["image_id"], frame["kind"], strict=True)
            frame = frame[[key in lacking and key[0] in images for key in keys]]
            rows: list[dict[str, Any]] = []
            for _, own in frame.groupby(["kind", frame["mask"].map(np.shape), frame["against"].notna()], sort=False):
                self.bar.set_description(f"{label[:30]} {own['kind'].iloc[0]}", refresh=False)
                rows += self._cut(label, own.reset_index(drop=True), images)
                self.bar.update(len(own))
            if rows:
                with self.study.store.adding("regions"):
                    self.study.store.add_regions(label, chunk.number, rows)

    def _cut(self, label: str, frame: pd.DataFrame, images: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """The rows of masks of one kind and grid."""
        kind: Kind = frame["kind"].iloc[0]
        rows: list[dict[str, Any]] = []
        for claim in claims_of(kind):
            needed = KEPT if claim == "sufficient" else DROPPED

            def cut(part: slice, claim: Any = claim, needed: float = needed) -> list[dict[str, Any]]:
                own = frame.iloc[part]
                names = [str(name) for name in own["against"] if isinstance(name, str)]
                nothing = torch.zeros(len(own), len(self.classifier.class_names))
                subjects = Subjects(
                    list(own["image_id"]),
                    torch.stack([images[image_id] for image_id in own["image_id"]]),
                    self.classifier.goal(nothing, list(own["target"]), names or None),
                    torch.tensor(own["score_full"].to_numpy(np.float32)),
                )
                masks = torch.stack([torch.from_numpy(np.array(mask)) for mask in own["mask"]])
                found = cut_regions(
                    self.classifier, self.session, subjects, label, kind, masks, claim, needed, self.check
                )
                return [
                    {
                        "image_id": one.image_id,
                        "method": label,
                        "kind": kind,
                        "claim": claim,
                        "holds": one.holds,
                        "area": one.area,
                        "scores": list(one.scores),
                        "region": packed_region(one.region),
                        "height": one.region.shape[0],
                        "width": one.region.shape[1],
                        "evaluations": one.evaluations,
                        "reason": None,
                    }
                    for one in found
                ]

            for part, made in together_or_alone(cut, len(frame)):
                if isinstance(made, str):
                    image_id = frame["image_id"].iloc[part.start]
                    keys = {"image_id": image_id, "method": label, "kind": kind, "claim": claim}
                    rows.append({**dict.fromkeys(_STORED), **keys, "reason": made})
                else:
                    rows += made
        return rows
