"""The stored metrics of a study: read and written group by group, and put together into one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit.study.metrics.panel import choose_panel
from fidokit.study.metrics.parts import PartScore
from fidokit.study.metrics.road import ROAD_SHARES
from fidokit.study.metrics.standing import KEYS, ON_REQUEST, ROW_KEYS, SCHEMAS, STANDING, STANDING_SHARES
from fidokit.study.selection import Selection
from fidokit.study.store.store import Store, slug

if TYPE_CHECKING:
    from fidokit.study.stored import StoredStudy

_NOT_YET = "not measured yet"


class MetricTables:
    """The groups of metrics in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, group: str, label: str | None = None) -> pd.DataFrame:
        """All rows of a group, of one method where the group has methods, in no particular order."""
        return self.store.read_metrics(_name(group, label), SCHEMAS[group])

    def add(self, group: str, label: str | None, chunk: int, rows: list[dict[str, Any]]) -> None:
        """Write rows of one chunk; they replace those with the same keys."""
        if rows:
            frame = pd.DataFrame(rows).reindex(columns=SCHEMAS[group].names)
            with self.store.adding("metrics"):
                self.store.add_metrics(_name(group, label), chunk, frame, SCHEMAS[group], ROW_KEYS[group])

    def protocol(self, study: StoredStudy) -> dict[str, Any]:
        """Panel and shares, as the manifest has them; chosen, and written there, at the first call."""
        manifest = self.store.read_manifest()
        if "metrics" not in manifest:
            panel = choose_panel(study.predictions())
            described = {"panel": panel, "shares": list(STANDING_SHARES), "road_shares": list(ROAD_SHARES)}
            manifest["metrics"] = described
            with self.store.adding("metrics"):
                self.store.write_manifest(manifest)
            study.manifest["metrics"] = described
        protocol: dict[str, Any] = manifest["metrics"]
        return protocol


def _name(group: str, label: str | None) -> str:
    return group if label is None else f"{group}-{slug(label)}"


def metric_frame(
    study: StoredStudy,
    labels: Sequence[str],
    kinds: Sequence[str],
    part_score: PartScore = "sum",
    keys: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The table of `Study.metrics` from what is stored: a row for each mask, NaN and a reason for what is missing.

    Args:
        study: the study.
        labels: of the methods.
        kinds: of masks.
        part_score: see `Study.metrics`.
        keys: of the rows, by whoever has read them already.
    """
    tables = MetricTables(study.store)
    frame = Selection(study, labels, kinds, KEYS, None).frame() if keys is None else keys
    reasons: list[list[str]] = [[] for _ in range(len(frame))]
    stored = {group: _all(tables, group, labels) for group in SCHEMAS if group != "effects"}
    frame = _join(frame, stored["standing"], STANDING, reasons)
    frame = frame.merge(_mean_agreement(stored["agreement"]), on=list(KEYS), how="left")
    _explain_agreement(study, frame, stored["agreement"], reasons)
    stored["parts"] = stored["parts"].rename(columns={f"part_correlation_{part_score}": "part_correlation"})
    for group, name in zip(("stability", "sanity", "parts"), ON_REQUEST, strict=True):
        if len(stored[group]):
            frame = _join(frame, stored[group], (name,), reasons)
    frame["reason"] = pd.Series(["; ".join(why) or None for why in reasons], dtype=object)
    return frame


def _all(tables: MetricTables, group: str, labels: Sequence[str]) -> pd.DataFrame:
    frames = [tables.read(group, label) for label in labels]
    return pd.concat(frames, ignore_index=True) if frames else SCHEMAS[group].empty_table().to_pandas()


def _join(frame: pd.DataFrame, rows: pd.DataFrame, names: Sequence[str], reasons: list[list[str]]) -> pd.DataFrame:
    """The frame with the metrics of a group; what its rows say is missing goes to the reasons."""
    rows = rows[[*KEYS, *names, "reason"]].drop_duplicates(list(KEYS), keep="last")
    joined = frame.merge(rows.assign(there=True), on=list(KEYS), how="left")
    there = joined["there"].notna().to_numpy()
    lacks = joined[list(names)].isna().any(axis=1).to_numpy() & joined["reason"].notna().to_numpy()
    for i in np.flatnonzero(~there):
        reasons[i].append(f"{', '.join(names)}: {_NOT_YET}")
    for i in np.flatnonzero(there & lacks):
        reasons[i].append(str(joined["reason"].iloc[i]))
    return joined.drop(columns=["reason", "there"])


def _mean_agreement(rows: pd.DataFrame) -> pd.DataFrame:
    if not len(rows):
        return rows[[*KEYS, "agreement"]]
    return rows.groupby(list(KEYS))[["agreement"]].mean().reset_index()


def _explain_agreement(study: StoredStudy, frame: pd.DataFrame, rows: pd.DataFrame, reasons: list[list[str]]) -> None:
    lacking = np.flatnonzero(frame["agreement"].isna())
    compared = set(rows[list(KEYS)].itertuples(index=False, name=None)) if len(lacking) else set()
    for i, key in zip(lacking, frame[list(KEYS)].iloc[lacking].itertuples(index=False, name=None), strict=True):
        if len(study.methods) < 2:
            why = "the study has no other method"
        elif not study.comparable(key[1]):
            why = "no other method explains the same rank"
        elif key in compared:
            why = "a mask that is the same everywhere agrees with none"
        else:
            why = "no other method has a mask of this image"
        reasons[i].append(f"agreement: {why}")
