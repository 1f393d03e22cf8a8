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
from fidokit.data.geometry import Box, Geometry, Preprocessing, laid_together
from fidokit.data.images import LabelledImages
from fidokit.exceptions import ImageError
from fidokit.figures.masks import (
    CLAIM_COLOURS,
    COLOUR_MAP,
    KIND_NAMES,
    asked_words,
    colour_map,
    contour_path,
    outline_png,
    overlay_png,
    overlay_size,
    value_words,
)
from fidokit.figures.pictures import masks_of, photographs_of, regions_of
from fidokit.methods.verdicts import LEADING, VERDICTS, Verdict, is_whole, mask_verdict, verdict_words
from fidokit.report.templating import png_source, rendered

if TYPE_CHECKING:
    from fidokit.study.study import Study

_OVERLAY = 256
"""Pixels of an overlay's longer side; it is as smooth as its mask, and scaled up smoothly."""

_FEW = 40
"""Photographs up to which a page can afford pictures that fill a screen."""

_LONGEST = {True: (1000, 720), False: (480, 400)}
"""Pixels of the longer side of a photograph, and of the part that matters, on pages of few photographs and of many."""

_ZOOMED = 0.7
"""Share of the photograph's longer side from which the part that matters is shown as the whole photograph."""

SIGNS = {"right": "✓", "wrong": "✗", "unknown": "–"}
"""Symbols of the states in which a prediction can be; never shown without the word, nor told apart by colour alone."""

_WORDS = {"right": "Right", "wrong": "Wrong", "unknown": "Not judged"}
_COLOURED = ("inferno", "viridis")
"""Colour maps to choose from: one whose bright end stands out on green, one whose bright end does on red and brown."""

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


def images_section(
    study: Study, predictions: pd.DataFrame, failures: pd.DataFrame, max_images: int, selected: Sequence[str] | None
) -> Html:
    """The section with the photographs that have a prediction: those that were selected, or at most `max_images`."""
    predicted = predictions[predictions["predicted"].notna()]
    if selected is None:
        order = predicted.assign(late=predicted["state"] != "wrong").sort_values(["late", "margin"], kind="stable")
    else:
        known = set(predicted["image_id"])
        order = predicted.set_index("image_id", drop=False).loc[[one for one in selected if one in known]]
    shown = order.head(max_images)
    data, remark = photographs_of(study)
    preprocessing = study.preprocessing
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
        own = _by_verdict([(slot, masks.get((image_id, slot.method, slot.kind))) for slot in slots])
        leads = _verdict_of(own[0][1]) in LEADING if own else False
        focus = next((mask["mask"] for _, mask in own if mask), None)
        view = _View.make(data, study.positions[image_id], preprocessing, focus, _LONGEST[len(shown) <= _FEW])
        figures = [
            _figure(slot, mask, regions.get((image_id, slot.method, slot.kind), []), view)
            | {"reason": reasons.get((image_id, slot.method)), "leads": leads and i == 0}
            for i, (slot, mask) in enumerate(own)
        ]
        asked = {(mask["target"], mask["against"]) for _, mask in own if mask}
        # Of several, each mask says for itself which it explains.
        explained = next((mask for _, mask in own if mask), None) if len(asked) == 1 else None
        words = [asked_words(mask["target"], mask["against"]) if mask and len(asked) > 1 else "" for _, mask in own]
        others: list[tuple[_Slot, Html]] = []
        ids = animals.get(row["path"], [])
        if data is not None and view.photograph is not None and ids and row["path"] not in told:
            told.add(row["path"])
            places = [view.of(data, study.positions[one], preprocessing) for one in ids]
            for slot in slots:
                found = [
                    (masks.get((one, slot.method, slot.kind)), place) for one, place in zip(ids, places, strict=True)
                ]
                laid = [(mask["mask"], place) for mask, place in found if mask and place]
                others += [(slot, view.overlay_of(laid))] if laid else []
        article = _article(row, explained) | {"view": view, "figures": zip(figures, words, strict=True)}
        article["none_passes"] = bool(asked) and not leads
        articles.append(article | {"together": others, "animals": len(ids)})
    counts = {"all": len(shown)} | shown["state"].value_counts().to_dict()
    states = [("all", "All"), *((state, f"{SIGNS[state]} {_WORDS[state]}") for state in ("wrong", "right", "unknown"))]
    return rendered(
        "images.html",
        predicted=len(predicted),
        selected=selected is not None,
        remark=remark,
        states=[
            (state, words, counts.get(state, 0)) for state, words in states if state != "unknown" or counts.get(state)
        ],
        ramps=[(name, _stops(name)) for name in _COLOURED],
        slots=slots,
        outlined=bool(regions),
        hatched=any(article["view"].seen for article in articles),
        zoomed=any(article["view"].window for article in articles),
        claim_colours=CLAIM_COLOURS,
        articles=articles,
        signs=SIGNS,
        judgements=_JUDGEMENTS,
    )


def colour_filters() -> list[tuple[str, list[str]]]:
    """Names of the colour maps that masks may be drawn in beside the default, with the tables of red, green and blue
    from which the browser makes them: an overlay's alpha is its mask."""
    return [
        (name, [" ".join(f"{value / 255:.3f}" for value in channel) for channel in colour_map(name)[::15].T])
        for name in _COLOURED
        if name != COLOUR_MAP
    ]


def _stops(name: str) -> list[str]:
    """A colour map as the stops of a gradient, as clear as an overlay is at that value."""
    return [f"rgb({r} {g} {b} / {i / 8:.3f})" for i, (r, g, b) in enumerate(colour_map(name)[::31][:9].tolist())]


def _verdict_of(mask: dict[str, Any] | None) -> Verdict:
    """What a mask's scores say of it."""
    return "not judged" if mask is None else mask_verdict(mask["score_full"], mask["score_kept"], mask["score_dropped"])


def _by_verdict(own: list[tuple[_Slot, dict[str, Any] | None]]) -> list[tuple[_Slot, dict[str, Any] | None]]:
    """The masks of a photograph: one that passes its test leads, the smallest of them; those that fail come last."""

    def place(entry: tuple[_Slot, dict[str, Any] | None]) -> tuple[int, float]:
        mask = entry[1]
        if mask is None:
            return len(VERDICTS), 0.0
        verdict = _verdict_of(mask)
        return VERDICTS.index(verdict), float(mask["mask"].mean()) if verdict in LEADING else 0.0

    return sorted(own, key=place)


def _animals(predicted: pd.DataFrame) -> dict[str, list[str]]:
    """Path -> image_ids, for the photographs of which several of these rows show an animal."""
    several = predicted[predicted["path"].duplicated(keep=False)]
    return {str(path): ids.tolist() for path, ids in several.groupby("path", sort=False)["image_id"]}


def _figure(slot: _Slot, mask: dict[str, Any] | None, regions: list[dict[str, Any]], view: _View) -> dict[str, Any]:
    """What the template shows of a mask: drawn, its verdict in words, and the outlines of its verified regions."""
    if mask is None:
        return {"slot": slot, "mask": None, "overlay": None, "verdict": "no mask"}
    verdict, _, because = verdict_words(mask["score_full"], mask["score_kept"], mask["score_dropped"]).partition(": ")
    return {
        "slot": slot,
        "mask": mask,
        "overlay": view.overlay(mask["mask"]),
        "contour": contour_path(mask["mask"], view.geometry),
        "verdict": verdict,
        "because": because,
        "passes": verdict in LEADING,
        "outlines": [
            (view.outline(region["region"], CLAIM_COLOURS[region["claim"]]), region["claim"])
            for region in regions
            if region["region"] is not None and not is_whole(region["area"])
        ],
        "regions": [(region["verdict"], region["claim"]) for region in regions],
        "explains": value_words(mask["explained"], mask["against"]),
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
    """A photograph as the page shows it; without one, its masks are shown over the bare input.

    Attributes:
        photograph: as a JPEG in base64.
        reason: why there is none.
        geometry: where the classifier's input lies in it.
        window: the part that matters, where that is much smaller than the photograph: the page opens on it.
        detail: that part as a JPEG of its own.
        box: of the animal, where one is annotated.
    """

    photograph: Html | None
    reason: str | None
    geometry: Geometry
    window: Box | None = None
    detail: Html | None = None
    box: Box | None = None

    @classmethod
    def make(
        cls,
        data: LabelledImages | None,
        position: int,
        preprocessing: Preprocessing,
        focus: npt.NDArray[np.float32] | None,
        longest: tuple[int, int],
    ) -> _View:
        """The photograph at a position of the data, opened on where a mask is high."""
        height, width = preprocessing.size
        whole = Geometry.whole(width, height)
        if data is None:
            return cls(None, "not read, since the study is somebody else's", whole)
        try:
            photograph, geometry = data.shown(position, preprocessing)
        except ImageError as error:
            return cls(None, str(error), whole)
        size = photograph.size
        box = data.box(position, size) if preprocessing.transform is None else None
        box = box if box is not None and np.isfinite(box).all() else None
        place = None if focus is None else geometry.mask_box(focus)
        window = None if place is None else geometry.view_of(place)
        if window and max((window[2] - window[0]) / size[0], (window[3] - window[1]) / size[1]) > _ZOOMED:
            window = None
        # Where the classifier did not see what a box says is the animal, that is what matters.
        if box is not None and geometry.unseen_words(box):
            window = None
        detail = None if window is None else _jpeg(photograph.crop(window), longest[1])
        return cls(_jpeg(photograph, longest[0]), None, geometry, window, detail, box)

    @property
    def style(self) -> Html:
        """Pictures and places, for the style sheet."""
        width, height = self.geometry.width, self.geometry.height
        rules = [f"--aspect:{width / height:.5f}"]
        if self.photograph:
            rules.append(f"--photograph:url(data:image/jpeg;base64,{self.photograph})")
        if self.window is not None:
            x0, y0, x1, y1 = self.window
            across, down = x1 - x0, y1 - y0
            rules += [
                f"--detail:url(data:image/jpeg;base64,{self.detail})",
                f"--view-aspect:{across / down:.5f}",
                f"--sheet-width:{100 * width / across:.3f}%;--sheet-height:{100 * height / down:.3f}%",
                f"--sheet-left:{-100 * x0 / across:.3f}%;--sheet-top:{-100 * y0 / down:.3f}%",
                self._placed("view", self.window),
            ]
        if self.seen is not None:
            rules.append(f"--unseen:{self.seen}")
        if self.box is not None:
            rules.append(self._placed("box", self.box))
        return Html(";".join(rules))

    def _placed(self, name: str, box: Box) -> str:
        """A box in per cent of the photograph."""
        width, height = self.geometry.width, self.geometry.height
        return (
            f"--{name}-left:{100 * box[0] / width:.3f}%;--{name}-top:{100 * box[1] / height:.3f}%;"
            f"--{name}-width:{100 * (box[2] - box[0]) / width:.3f}%;"
            f"--{name}-height:{100 * (box[3] - box[1]) / height:.3f}%"
        )

    @property
    def seen(self) -> str | None:
        """All but where the classifier looked, as a clip path; None where that is all of the photograph."""
        width, height, (x0, y0, x1, y1) = self.geometry.width, self.geometry.height, self.geometry.window
        if max(x0, y0, width - x1, height - y1) <= 0.5:
            return None
        left, right = (f"{100 * min(max(x, 0), width) / width:.2f}%" for x in (x0, x1))
        top, bottom = (f"{100 * min(max(y, 0), height) / height:.2f}%" for y in (y0, y1))
        hole = f"{left} {top},{right} {top},{right} {bottom},{left} {bottom},{left} {top}"
        return f"polygon(evenodd,0 0,100% 0,100% 100%,0 100%,0 0,{hole})"

    @property
    def unseen_words(self) -> str | None:
        """What must be said of the part that the classifier never saw."""
        return self.geometry.unseen_words(self.box)

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
        sizes = [overlay_size(mask, self.geometry.width, self.geometry.height, _OVERLAY) for mask, _ in masks]
        return png_source(overlay_png(laid_together(masks, max(sizes))))

    def outline(self, region: npt.NDArray[np.bool_], colour: str) -> Html:
        """The outline of a region of the input, laid where the input lies in the photograph."""
        longest = max(self.geometry.width, self.geometry.height)
        size = tuple(max(1, round(side * _OVERLAY / longest)) for side in (self.geometry.height, self.geometry.width))
        placed = self.geometry.mask_to_photograph(region.astype(np.float32), (size[0], size[1]))
        return png_source(outline_png(placed > 0.5, colour=colour))


def _jpeg(photograph: Image.Image, longest: int) -> Html:
    """A picture in base64, at most so many pixels along its longer side."""
    small = photograph.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80, optimize=True)
    return Html(base64.b64encode(buffer.getvalue()).decode())
