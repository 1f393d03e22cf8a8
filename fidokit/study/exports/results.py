"""What every export says of a photograph: prediction, mask, clusters and review, in one table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from fidokit.data.geometry import Box
from fidokit.data.photographs import photograph_size
from fidokit.data.placing import RELATIVE
from fidokit.data.readers.cells import file_of, portable, relative_all
from fidokit.data.readers.table import ANNOTATED_COLUMNS, BOX_COLUMNS
from fidokit.exceptions import ImageError, SettingsError
from fidokit.study.regions import region_frame
from fidokit.study.selection import Selection
from fidokit.study.stored import StoredStudy

#: States of a row, the one that most needs a look first.
FAILED, WRONG, NOT_JUDGED, RIGHT = "failed", "wrong", "not judged", "right"
STATES = (FAILED, WRONG, NOT_JUDGED, RIGHT)
#: States of a review: not looked at; the prediction is right; it is not, and `label` says what is; nobody can tell.
OPEN, CONFIRMED, CORRECTED, UNSURE = "open", "confirmed", "corrected", "unsure"
REVIEWS = (OPEN, CONFIRMED, CORRECTED, UNSURE)
_REVIEW_COLUMNS = ("label", "by", "at", "comment")
_TINY = 1e-12


class ClusterMembers(Protocol):
    """What is needed of `ErrorClusters`: its two tables."""

    @property
    def clusters(self) -> pd.DataFrame: ...
    @property
    def members(self) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Findings:
    """What is known beside the study itself; see `Study.results`."""

    mask: tuple[str, str] | None = None
    errors: ClusterMembers | None = None
    review: pd.DataFrame | None = None


def result_table(study: StoredStudy, findings: Findings) -> pd.DataFrame:
    """See `Study.results`."""
    table = study.predictions()
    table["score"] = table["score"].astype(float)
    for name in ("label", "predicted", "runner_up"):
        table[name] = table[name].astype(object).where(table[name].notna(), None)
    table["state"] = _states(table)
    notes = table["reason"].astype(object).where(table["reason"].notna(), None)
    table = table.drop(columns="reason")
    method, kind = chosen_mask(study, findings.mask)
    table = _with_mask(study, table, method, kind)
    table = _with_clusters(study, table, findings.errors)
    table = _with_review(study, table, findings.review)
    failures = study.failures()
    lost = failures[failures["method"] == method].drop_duplicates("image_id").set_index("image_id")["reason"]
    no_mask = table["image_id"].map(lost).to_numpy(dtype=object)
    table["note"] = pd.Series(
        [
            note if isinstance(note, str) else f"no mask: {why}" if isinstance(why, str) else None
            for note, why in zip(notes, no_mask, strict=True)
        ],
        dtype=object,
    )
    return table


def rows_of(study: StoredStudy, results: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of `result_table`, classes called as the dataset calls them."""
    plain = plain_labels(study)
    named = {name: results[name].map(lambda text: plain.get(text, text)) for name in ("predicted", "runner_up")}
    return [
        row | {name: row[name] if isinstance(row[name], str) else None for name in named}
        for row in results.assign(**named).to_dict("records")
    ]


def chosen_mask(study: StoredStudy, mask: tuple[str, str] | None) -> tuple[str, str]:
    """Label and kind: those that were asked for, or of the first method its joint masks, or else its first kind.

    Raises:
        SettingsError: a method or kind that there is not.
    """
    if mask is None:
        label = study.methods[0]
        kinds = study.kinds(label)
        return label, "joint" if "joint" in kinds else kinds[0]
    if not isinstance(mask, tuple | list) or len(mask) != 2:
        raise SettingsError(
            f"mask must be (label of a method, kind), such as {(study.methods[0], 'ssr')}, not {mask!r}"
        )
    (label,) = study.labels_of(str(mask[0]))
    if mask[1] not in study.kinds(label):
        raise SettingsError(f"{label!r} makes no {mask[1]!r} masks, only {', '.join(study.kinds(label))}")
    return label, str(mask[1])


def relative_paths(study: StoredStudy, root: str | Path | None = None) -> list[str]:
    """Each photograph's path relative to a folder, by default the dataset's, with "/" between its parts.

    Raises:
        SettingsError: a photograph lies outside of it.
    """
    folder = Path(study.manifest["dataset"]["root"]) if root is None else Path(root).absolute()
    paths = study.images["path"].tolist()
    made = relative_all(paths, Path(portable(str(folder))))
    for path, relative in zip(paths, made, strict=True):
        if relative == Path(path).as_posix():
            raise SettingsError(f"{path} does not lie in {folder}; give as root a folder that holds all photographs")
    return made


def relative_boxes(study: StoredStudy) -> list[Box | None]:
    """Each photograph's box as shares of its width and height, within 0 to 1; None where there is none in it.

    Files are only read where the table does not say to which size of picture a box belongs.
    """
    images = study.images
    boxes: list[Box | None] = [None] * len(images)
    if BOX_COLUMNS[0] not in images.columns:
        return boxes
    corners = images[BOX_COLUMNS].to_numpy(np.float64)
    sizes = np.full((len(images), 2), np.nan)
    if ANNOTATED_COLUMNS[0] in images.columns:
        sizes = images[ANNOTATED_COLUMNS].to_numpy(np.float64)
    for i in np.flatnonzero(~np.isnan(corners[:, 0])).tolist():
        if tuple(sizes[i]) == RELATIVE:
            x0, y0, x1, y1 = corners[i].tolist()
        else:
            try:
                width, height = photograph_size(file_of(str(study.data.table["path"].iloc[i])))
            except ImageError:
                continue
            box = study.data.box(i, (width, height))
            if box is None:
                continue
            x0, y0, x1, y1 = box[0] / width, box[1] / height, box[2] / width, box[3] / height
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0)
        if x1 > x0 and y1 > y0:
            boxes[i] = (x0, y0, x1, y1)
    return boxes


def plain_labels(study: StoredStudy) -> dict[str, str]:
    """Class -> what the dataset calls it, where that is another name: predictions come back in the user's own words."""
    renamed: dict[str, str] = study.manifest["dataset"].get("matched_labels", {})
    back: dict[str, set[str]] = {}
    for label, name in renamed.items():
        back.setdefault(name, set()).add(label)
    own = set(study.images["label"].dropna())
    return {name: next(iter(labels)) for name, labels in back.items() if len(labels) == 1 and name not in own}


def _states(table: pd.DataFrame) -> pd.Series[Any]:
    states = np.full(len(table), NOT_JUDGED, dtype=object)
    correct = table["correct"]
    states[correct.eq(True).fillna(False).to_numpy(dtype=bool)] = RIGHT
    states[correct.eq(False).fillna(False).to_numpy(dtype=bool)] = WRONG
    states[table["predicted"].isna().to_numpy(dtype=bool)] = FAILED
    return pd.Series(states, index=table.index, dtype=object)


def _with_mask(study: StoredStudy, table: pd.DataFrame, method: str, kind: str) -> pd.DataFrame:
    columns = ["image_id", "score_full", "score_kept", "score_dropped", "verdict"]
    scores = Selection(study, [method], [kind], columns, None).frame().drop_duplicates("image_id")
    table = table.merge(scores, on="image_id", how="left")
    # Not measured where the method sees to nothing but the ranks of places.
    full = table["score_full"].clip(lower=_TINY)
    table["kept"], table["dropped"] = table.pop("score_kept") / full, table.pop("score_dropped") / full
    made = table["image_id"].isin(scores["image_id"]).tolist()
    for column, name in (("method", method), ("kind", kind)):
        table[column] = pd.Series([name if is_made else None for is_made in made], index=table.index, dtype=object)
    of_regions: dict[str, list[str]] = {}
    regions = region_frame(study, [method], [kind], maps=False)
    for image_id, words in zip(regions["image_id"], regions["verdict"], strict=True):
        if isinstance(words, str):
            of_regions.setdefault(str(image_id), []).append(f"region {words}")
    verdicts = [
        "; ".join([verdict, *of_regions.get(image_id, [])]) if is_made else None
        for image_id, is_made, verdict in zip(table["image_id"], made, table.pop("verdict"), strict=True)
    ]
    table["verdict"] = pd.Series(verdicts, index=table.index, dtype=object)
    return table.drop(columns="score_full")


def _with_clusters(study: StoredStudy, table: pd.DataFrame, errors: ClusterMembers | None) -> pd.DataFrame:
    if errors is None:
        nothing = pd.Series([None] * len(table), index=table.index, dtype=object)
        return table.assign(clusters=nothing, sentences=nothing)
    members, clusters = errors.members, errors.clusters
    _check_columns(members, ("image_id", "cluster"), "errors.members", "what find_error_clusters gives")
    _check_columns(clusters, ("cluster", "systematic", "sentence"), "errors.clusters", "what it gives")
    _check_known(study, members["image_id"], "errors")
    systematic = clusters[clusters["systematic"].astype(bool)]
    sentences = {int(k): str(text) for k, text in zip(systematic["cluster"], systematic["sentence"], strict=True)}
    numbers: dict[str, set[int]] = {}
    for image_id, cluster in zip(members["image_id"], members["cluster"], strict=True):
        if int(cluster) in sentences:
            numbers.setdefault(str(image_id), set()).add(int(cluster))
    own = [sorted(numbers.get(image_id, ())) for image_id in table["image_id"]]
    table["clusters"] = pd.Series(own, index=table.index, dtype=object)
    table["sentences"] = pd.Series([[sentences[k] for k in found] for found in own], index=table.index, dtype=object)
    return table


def _with_review(study: StoredStudy, table: pd.DataFrame, review: pd.DataFrame | None) -> pd.DataFrame:
    names = {"review": "review", "label": "review_label", "by": "reviewed_by", "at": "reviewed_at"}
    names |= {"comment": "review_comment"}
    if review is None:
        return table.assign(**{made: pd.Series([None] * len(table), dtype=object) for made in names.values()})
    _check_columns(review, ("image_id", "review"), "review", f"and, where there are such, {', '.join(_REVIEW_COLUMNS)}")
    _check_known(study, review["image_id"], "review")
    twice = review.loc[review["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise SettingsError(f"review names {twice.iloc[0]!r} twice; keep the review that counts")
    rows = {str(row["image_id"]): _checked_review(row) for row in review.to_dict("records")}
    nothing: dict[str, Any] = {"review": OPEN}
    for name, made in names.items():
        cells = [rows.get(image_id, nothing).get(name) for image_id in table["image_id"]]
        table[made] = pd.Series(cells, index=table.index, dtype=object)
    return table


def _checked_review(row: dict[Any, Any]) -> dict[str, Any]:
    """A review as texts, its time in ISO 8601 with a zone."""
    made = {
        name: None if (value := row.get(name)) is None or value is pd.NaT or value != value else value
        for name in ("review", *_REVIEW_COLUMNS)
    }
    made |= {name: str(made[name]).strip() or None for name in made if name != "at" and made[name] is not None}
    where = f"review of {row['image_id']!r}"
    state = OPEN if made["review"] is None else str(made["review"]).casefold()
    if state not in REVIEWS:
        raise SettingsError(f"{where}: there is no state {made['review']!r}; there are {', '.join(REVIEWS)}")
    if state == CORRECTED and made["label"] is None:
        raise SettingsError(f"{where}: it is corrected, but the column label does not say to what; fill it in")
    if made["at"] is not None:
        try:
            moment = pd.Timestamp(made["at"])
        except ValueError as error:
            raise SettingsError(f"{where}: {made['at']!r} is no time; write it as 2024-05-31T12:00:00Z") from error
        if moment.tzinfo is None:
            raise SettingsError(f"{where}: the time {made['at']!r} has no zone; write it as 2024-05-31T12:00:00+02:00")
        made["at"] = moment.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    return made | {"review": state}


def _check_columns(frame: pd.DataFrame, needed: Sequence[str], what: str, remedy: str) -> None:
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise SettingsError(f"{what} has no column {missing[0]}; it needs {', '.join(needed)}, {remedy}")


def _check_known(study: StoredStudy, image_ids: Collection[Any], what: str) -> None:
    unknown = next((image_id for image_id in image_ids if image_id not in study.positions), None)
    if unknown is not None:
        raise SettingsError(
            f"{what} names {unknown!r}, which is no photograph of {study.path}; study.images lists the image_ids"
        )
