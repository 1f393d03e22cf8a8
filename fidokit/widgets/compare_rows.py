"""What stands beside and beneath the masks of a `CompareWidget`: names and figures, as texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fidokit._util.html import Html, joined, name_tag, tag
from fidokit._util.numbers import number
from fidokit.figures.masks import KIND_NAMES, asked_words
from fidokit.study.compare import METRIC_DIRECTIONS
from fidokit.study.ordering import DATASET
from fidokit.study.study import Study

_BETTER = {1: "higher is better", -1: "lower is better", 0: ""}


def mask_names(study: Study) -> dict[str, tuple[str, str]]:
    """Name -> (method, kind) of all masks of a study, in the order of its methods."""
    named = {}
    for method in study.methods:
        kinds = study.kinds(method)
        for kind in kinds:
            named[f"{method} {KIND_NAMES.get(kind, kind)}" if len(kinds) > 1 else method] = (method, kind)
    return named


def figure_words(name: str) -> str:
    """A figure's name as people write it."""
    return name.replace("_", " ").replace("iou", "IoU").replace("road", "ROAD")


def better_words(name: str) -> str:
    """Which way a figure is good; empty where neither is."""
    return _BETTER[METRIC_DIRECTIONS.get(name, 0)]


def worst_first(name: str) -> bool:
    """Whether the worst images come first when the highest do."""
    return METRIC_DIRECTIONS.get(name, 0) < 0


class Figures:
    """The figures of every mask of some images, looked up by image and mask.

    Args:
        table: of `fidokit.study.ordering.mask_figures`.
        image_ids: of the images.
        keys: of `mask_names`.
    """

    def __init__(self, table: pd.DataFrame, image_ids: Sequence[str], keys: Mapping[str, tuple[str, str]]) -> None:
        own = table[table["image_id"].isin(list(image_ids))]
        self.keys = keys
        self._rows = {(row["image_id"], row["method"], row["kind"]): row for row in own.to_dict("records")}
        self._asked: dict[str, set[str]] = {}
        for row in self._rows.values():
            self._asked.setdefault(row["image_id"], set()).add(asked_words(row["target"], row["against"]))

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether an image has a mask, (image_id, name)."""
        return (key[0], *self.keys[key[1]]) in self._rows

    def text(self, image_id: str, name: str, figure: str) -> str:
        """A figure of a mask in words; a dash where there is none."""
        row = self._rows.get((image_id, *self.keys[name]))
        return number(None if row is None else float(row[figure]))

    def asked(self, image_id: str, name: str) -> str:
        """What a mask explains, where the masks of an image do not all explain the same."""
        row = self._rows.get((image_id, *self.keys[name]))
        if row is None or len(self._asked[image_id]) == 1:
            return ""
        return asked_words(row["target"], row["against"])

    def words(self, image_id: str, name: str) -> list[str]:
        """What was found of a mask: its verdict, and those of its regions where they were cut."""
        row = self._rows.get((image_id, *self.keys[name]))
        return [] if row is None else [row["verdict"], *(f"region: {words}" for words in row["regions"])]

    def reasons(self, image_id: str, names: Sequence[str]) -> list[str]:
        """Why figures are missing."""
        rows = {name: self._rows.get((image_id, *self.keys[name]), {}) for name in names}
        return [f"{name}: {row['reason']}" for name, row in rows.items() if isinstance(row.get("reason"), str)]


def page_rows(
    shown: pd.DataFrame, figures: Figures, panels: Sequence[str], metrics: Sequence[str], sort: str
) -> list[dict[str, Any]]:
    """The rows of a page: who the image is, by what it is in its place, and what stands beneath each of its masks."""
    rows = []
    for record in shown.to_dict("records"):
        about = prediction(record)
        cells = [
            {
                "there": (about["image"], name) in figures,
                "asked": figures.asked(about["image"], name),
                "values": [figures.text(about["image"], name, metric) for metric in metrics],
                "words": figures.words(about["image"], name),
            }
            for name in panels
        ]
        value = "" if sort in (*metrics, DATASET) else f"{figure_words(sort)} {number(record['value'])}"
        rows.append({**about, "cells": cells, "value": value})
    return rows


def prediction(record: Mapping[Any, Any]) -> dict[str, str]:
    """What is said of an image: its names, and whether the prediction is right."""
    correct, predicted, label = record["correct"], record["predicted"], record["label"]
    return {
        "image": str(record["image_id"]),
        "label": label if isinstance(label, str) else "",
        "predicted": predicted if isinstance(predicted, str) else "",
        "score": number(float(record["score"])) if isinstance(predicted, str) else "",
        "state": "not judged" if pd.isna(correct) else "right" if bool(correct) else "wrong",
        "reason": record["reason"] if isinstance(record["reason"], str) else "",
    }


def static_table(rows: Sequence[Mapping[str, Any]], panels: Sequence[str], metrics: Sequence[str]) -> Html:
    """The figures of a page, for a notebook without a kernel."""
    heads = [tag("th", "image"), *(tag("th", name_tag(name)) for name in panels)]
    lines = []
    for row in rows:
        cells = [
            tag(
                "td",
                joined(
                    [
                        tag("div", name_tag(cell["asked"])) if cell["asked"] else None,
                        *(
                            tag("div", f"{figure_words(metric)} {value}")
                            for metric, value in zip(metrics, cell["values"], strict=True)
                        ),
                    ]
                ),
                *(tag("div", words) for words in cell["words"]),
            )
            for cell in row["cells"]
        ]
        lines.append(tag("tr", tag("th", name_tag(row["image"])), *cells))
    return tag("table", tag("tr", *heads), *lines)
