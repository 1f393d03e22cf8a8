"""The photographs of a report, each with its masks drawn over it, and the controls above them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from fidokit._util.html import Html
from fidokit._util.numbers import number
from fidokit.data.geometry import Geometry, Preprocessing, laid_together
from fidokit.data.images import LabelledImages
from fidokit.exceptions import ImageError
from fidokit.figures.masks import (
    CLAIM_COLOURS,
    COLOUR_MAP,
    KIND_NAMES,
    asked_words,
    colour_map,
    outline_png,
    overlay_png,
    overlay_size,
)
from fidokit.figures.pictures import masks_of, photographs_of, regions_of
from fidokit.methods.verdicts import verdict_words
from fidokit.report.templating import png_source, rendered

if TYPE_CHECKING:
    from fidokit.study.study import Study

LONGEST = 256
"""Pixels of a thumbnail's longer side: enough for the size it is shown at, also on screens of high density."""

SIGNS = {"right": "✓", "wrong": "✗", "unknown": "–"}
"""Symbols of the states in which a prediction can be; never shown without the word, nor told apart by colour alone."""

_WORDS = {"right": "Right", "wrong": "Wrong", "unknown": "Not judged"}
_JUDGEMENTS = {"right": "Right prediction", "wrong": "Wrong prediction", "unknown": "Prediction, not judged"}


@dataclass(frozen=True)
class _Slot:
    """One picture in every photograph's row: a method and a kind."""

    key: str
    method: str
    kind: str

    @property
    def title(self) -> str:
        """Name of method and kind."""
        return f"{self.method} {self.kind_name}" if self.kind_name else self.method

    @property
    def kind_name(self) -> str | None:
        """The kind as captions name it; a method that makes attributions makes nothing else to tell them from."""
        return None if self.kind == "attribution" else KIND_NAMES.get(self.kind, self.kind)


def images_section(study: Study, predictions: pd.DataFrame, failures: pd.DataFrame, max_images: int) -> Html:
    """The section with the photographs that have a prediction, at most `max_images` of them."""
    predicted = predictions[predictions["predicted"].notna()]
    order = predicted.assign(late=predicted["state"] != "wrong").sort_values(["late", "margin"], kind="stable")
    shown = order.head(max_images)
    data, remark = photographs_of(study)
    preprocessing = Preprocessing(**study.manifest["classifier"]["preprocessing"])
    slots = [
        _Slot(f"m{position}", method, kind)
        for position, (method, kind) in enumerate((m, kind) for m in study.methods for kind in study.kinds(m))
    ]
    boxed = set() if data is None or not preprocessing.use_boxes else set(data.table["image_id"][data.boxed])
    animals = _animals(predicted[predicted["image_id"].isin(boxed)])
    told: set[str] = set()
    masks = masks_of(study, set(shown["image_id"]).union(*(animals.get(path, ()) for path in shown["path"])))
    regions = regions_of(study, set(shown["image_id"]))
    reasons = {(row.image_id, row.method): str(row.reason) for row in failures.itertuples()}
    articles = []
    for row in shown.to_dict("records"):
        image_id = row["image_id"]
        view = _View.make(data, study.positions[image_id], preprocessing)
        own = [(slot, masks.get((image_id, slot.method, slot.kind))) for slot in slots]
        figures = [
            _figure(slot, mask, regions.get((image_id, slot.method, slot.kind), []), view)
            | {"reason": reasons.get((image_id, slot.method))}
            for slot, mask in own
        ]
        asked = {(mask["target"], mask["against"]) for _, mask in own if mask}
        # Of several, each mask says for itself which it explains.
        explained = next((mask for _, mask in own if mask), None) if len(asked) == 1 else None
        words = [asked_words(mask["target"], mask["against"]) if mask and len(asked) > 1 else "" for _, mask in own]
        others: list[tuple[_Slot, Html]] = []
        ids = animals.get(row["path"], [])
        if data is not None and view.thumbnail is not None and ids and row["path"] not in told:
            told.add(row["path"])
            places = [view.of(data, study.positions[one], preprocessing) for one in ids]
            for slot in slots:
                found = [
                    (masks.get((one, slot.method, slot.kind)), place) for one, place in zip(ids, places, strict=True)
                ]
                laid = [(mask["mask"], place) for mask, place in found if mask and place]
                others += [(slot, view.overlay_of(laid))] if laid else []
        article = _article(row, explained) | {"view": view, "figures": zip(figures, words, strict=True)}
        articles.append(article | {"together": others, "animals": len(ids)})
    counts = {"all": len(shown)} | shown["state"].value_counts().to_dict()
    states = [("all", "All"), *((state, f"{SIGNS[state]} {_WORDS[state]}") for state in ("wrong", "right", "unknown"))]
    colours = colour_map(COLOUR_MAP)[::31][:9].tolist()
    return rendered(
        "images.html",
        predicted=len(predicted),
        remark=remark,
        states=[
            (state, words, counts.get(state, 0)) for state, words in states if state != "unknown" or counts.get(state)
        ],
        stops=[f"rgb({r} {g} {b} / {i / 8:.3f})" for i, (r, g, b) in enumerate(colours)],
        slots=slots,
        outlined=bool(regions),
        claim_colours=CLAIM_COLOURS,
        articles=articles,
        signs=SIGNS,
        judgements=_JUDGEMENTS,
    )


def _animals(predicted: pd.DataFrame) -> dict[str, list[str]]:
    """Path -> image_ids, for the photographs of which several of these rows show an animal."""
    several = predicted[predicted["path"].duplicated(keep=False)]
    return {str(path): ids.tolist() for path, ids in several.groupby("path", sort=False)["image_id"]}


def _figure(slot: _Slot, mask: dict[str, Any] | None, regions: list[dict[str, Any]], view: _View) -> dict[str, Any]:
    """What the template shows of a mask: drawn, its verdict in words, and the outlines of its verified regions."""
    if mask is None:
        return {"slot": slot, "mask": None, "overlay": None, "outlines": [], "verdicts": [], "explains": None}
    explains = mask["explained"]
    return {
        "slot": slot,
        "mask": mask,
        "overlay": view.overlay(mask["mask"]),
        "outlines": [
            (view.outline(region["region"], CLAIM_COLOURS[region["claim"]]), region["claim"])
            for region in regions
            if region["region"] is not None
        ],
        "verdicts": [
            ("Mask", verdict_words(mask["score_full"], mask["score_kept"], mask["score_dropped"]), None),
            *(("Region", region["verdict"], region["claim"]) for region in regions),
        ],
        "explains": None if explains in (None, "log-odds") else f"the {explains}",
    }


def _article(row: dict[Any, Any], explained: dict[str, Any] | None) -> dict[str, Any]:
    """What the template says of a photograph."""
    label = None if pd.isna(row["label"]) else str(row["label"])
    about = [] if pd.isna(row["runner_up"]) else [("Runner-up", row["runner_up"])]
    if isinstance(row.get("rollup"), str) and row["rollup"] != row["predicted"]:
        about.append(("Sure of", f"{row['rollup']} ({row['rollup_rank']}, {number(row['rollup_score'])})"))
    if isinstance(row.get("wrong_at"), str):
        about.append(("Wrong at", row["wrong_at"]))
    if explained is not None and (explained["target"] != row["predicted"] or explained["against"]):
        about.append(("Explained", explained["target"]))
        if explained["against"]:
            about.append(("Rather than", explained["against"]))
    margin = float(row["margin"])
    return {
        "row": row,
        "label": label,
        "about": about,
        "margin": f"{margin:.6f}" if np.isfinite(margin) else "Infinity",
        "text": "\n".join([label or "", str(row["predicted"]), str(row["image_id"]), Path(str(row["path"])).name]),
    }


@dataclass(frozen=True)
class _View:
    """A photograph as the page shows it; without one, its masks are shown over the bare input."""

    thumbnail: Html | None
    reason: str | None
    geometry: Geometry

    @classmethod
    def make(cls, data: LabelledImages | None, position: int, preprocessing: Preprocessing) -> _View:
        """The photograph at a position of the data."""
        height, width = preprocessing.size
        whole = Geometry.whole(width, height)
        if data is None:
            return cls(None, "not read, since the study is somebody else's", whole)
        try:
            photograph, geometry = data.shown(position, preprocessing)
        except ImageError as error:
            return cls(None, str(error), whole)
        photograph.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        photograph.save(buffer, "JPEG", quality=82, optimize=True)
        return cls(Html(base64.b64encode(buffer.getvalue()).decode()), None, geometry)

    @property
    def aspect(self) -> str:
        """Width over height, for the style sheet."""
        return f"--aspect:{self.geometry.width / self.geometry.height:.5f}"

    @property
    def seen(self) -> str | None:
        """Where the classifier looked, for the style sheet; None where that is all of the photograph."""
        width, height, (x0, y0, x1, y1) = self.geometry.width, self.geometry.height, self.geometry.window
        if max(x0, y0, width - x1, height - y1) <= 0.5:
            return None
        return (
            f"left:{100 * x0 / width:.2f}%;top:{100 * y0 / height:.2f}%;"
            f"width:{100 * (x1 - x0) / width:.2f}%;height:{100 * (y1 - y0) / height:.2f}%"
        )

    def of(self, data: LabelledImages, position: int, preprocessing: Preprocessing) -> Geometry | None:
        """Where the input of another row of the same photograph lies in it."""
        try:
            return data.geometry(position, preprocessing, (self.geometry.width, self.geometry.height))
        except ImageError:
            return None

    def overlay(self, mask: npt.NDArray[np.float32]) -> Html:
        """A mask over the input, laid where the input lies in the photograph."""
        return self.overlay_of([(mask, self.geometry)])

    def overlay_of(self, masks: Sequence[tuple[npt.NDArray[np.float32], Geometry]]) -> Html:
        """Masks over inputs of this photograph, each laid where its input lies."""
        sizes = [overlay_size(mask, self.geometry.width, self.geometry.height, LONGEST) for mask, _ in masks]
        return png_source(overlay_png(laid_together(masks, max(sizes))))

    def outline(self, region: npt.NDArray[np.bool_], colour: str) -> Html:
        """The outline of a region of the input, laid where the input lies in the photograph."""
        longest = max(self.geometry.width, self.geometry.height)
        size = tuple(max(1, round(side * LONGEST / longest)) for side in (self.geometry.height, self.geometry.width))
        placed = self.geometry.mask_to_photograph(region.astype(np.float32), (size[0], size[1]))
        return png_source(outline_png(placed > 0.5, colour=colour))
