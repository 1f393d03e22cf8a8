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

from fidokit.exceptions import ImageError
from fidokit.geometry import Geometry, Preprocessing
from fidokit.images import LabelledImages
from fidokit.markup import Html, joined, name_tag, number, tag
from fidokit.pictures import masks_of, photographs_of
from fidokit.plots import COLOUR_MAP, KIND_NAMES, colour_map, overlay_png, overlay_size

if TYPE_CHECKING:
    from fidokit.study.study import Study

LONGEST = 256
"""Pixels of a thumbnail's longer side: enough for the size it is shown at, also on screens of high density."""

SIGNS = {"right": "✓", "wrong": "✗", "unknown": "–"}
"""Symbols of the states in which a prediction can be; never shown without the word, nor told apart by colour alone."""

_WORDS = {"right": "Right", "wrong": "Wrong", "unknown": "Not judged"}
_VERDICTS = {"right": "Right prediction", "wrong": "Wrong prediction", "unknown": "Prediction, not judged"}


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
    masks = masks_of(study, set(shown["image_id"]))
    reasons = {(row.image_id, row.method): str(row.reason) for row in failures.itertuples()}
    articles = []
    for record in shown.to_dict("records"):
        row = {str(key): value for key, value in record.items()}
        image_id = str(row["image_id"])
        view = _View.make(data, study.positions[image_id], preprocessing)
        figures = [
            _figure(slot, masks.get((image_id, slot.method, slot.kind)), view, reasons.get((image_id, slot.method)))
            for slot in slots
        ]
        explained = next((found for slot in slots if (found := masks.get((image_id, slot.method, slot.kind)))), None)
        articles.append(_article(row, view, explained, figures))
    left_out = len(predicted) - len(shown)
    said = "The wrong ones come first, then those whose margin over the runner-up is lowest."
    if left_out:
        said += f" Of {len(predicted):,}, the first {len(shown):,} in this order are shown, the rest is left out."
    return tag(
        "section",
        tag("h2", "Photographs"),
        tag("p", said, class_="quiet small"),
        tag("p", remark, class_="warning small", role="note") if remark else None,
        _tools(shown, slots),
        tag("div", *articles, tag("p", "No photograph fits. Change the search or the filter.", id="nothing",
                                  class_="nothing", hidden=bool(articles)), id="images"),
    )  # fmt: skip


def _tools(shown: pd.DataFrame, slots: Sequence[_Slot]) -> Html:
    counts = {"all": len(shown)} | shown["state"].value_counts().to_dict()
    states = [("all", "All"), *((state, f"{SIGNS[state]} {_WORDS[state]}") for state in ("wrong", "right", "unknown"))]
    state_choices = [
        tag("label", tag("input", type="radio", name="state", value=state, checked=state == "all"),
            f"{words} ", tag("span", f"{counts.get(state, 0):,}", class_="quiet"))
        for state, words in states if state != "unknown" or counts.get(state)
    ]  # fmt: skip
    mask_choices = [
        tag("label", tag("input", type="checkbox", name="mask", value=slot.key, checked=True), name_tag(slot.title))
        for slot in slots
    ]
    orders = [("page", "Wrong first, then margin"), ("margin", "Margin, lowest first"), ("label", "Label, A to Z")]
    stops = [f"rgb({r} {g} {b} / {i / 8:.3f})" for i, (r, g, b) in enumerate(colour_map(COLOUR_MAP)[::31][:9].tolist())]
    return tag(
        "div",
        tag("div", tag("label", "Search class or file", for_="search"),
            tag("input", type="search", id="search", autocomplete="off", spellcheck="false"), class_="tool search"),
        tag("fieldset", tag("legend", "Show"), tag("div", *state_choices, class_="choices states"), class_="tool"),
        tag("div", tag("label", "Order", for_="sort"),
            tag("select", *(tag("option", words, value=value) for value, words in orders), id="sort"), class_="tool"),
        tag("div", tag("label", "Opacity of the masks", for_="opacity"),
            tag("div", tag("input", type="range", id="opacity", min=0, max=100, step=5, value=75),
                tag("output", "75 %", id="opacity-value", for_="opacity"), class_="slider"), class_="tool opacity"),
        tag("div", tag("span", "Value of a mask"),
            tag("i", class_="ramp", style=f"background-image:linear-gradient(90deg,{','.join(stops)})"),
            tag("p", tag("i", "0"), tag("i", "1, in the region"), class_="ends"), class_="tool legend"),
        tag("fieldset", tag("legend", "Masks"), tag("div", *mask_choices, class_="choices masks"), class_="tool"),
        tag("p", id="shown", class_="shown quiet small", role="status"),
        id="tools", class_="tools", hidden=True, role="group", aria_label="Controls",
    )  # fmt: skip


@dataclass(frozen=True)
class _View:
    """A photograph as the page shows it; without one, its masks are shown over the bare input."""

    thumbnail: str | None
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
        return cls(base64.b64encode(buffer.getvalue()).decode(), None, geometry)

    @property
    def aspect(self) -> str:
        """Width over height, for the style sheet."""
        return f"--aspect:{self.geometry.width / self.geometry.height:.5f}"

    def frame(self, overlay: Html | None, *, label: str | None = None) -> Html:
        """The photograph, darkened where the classifier did not look if a mask lies over it."""
        return tag(
            "div", self._seen() if overlay else None, overlay, class_="frame photograph", role="img" if label else None,
            aria_label=label, style=self.aspect,
        )  # fmt: skip

    def _seen(self) -> Html | None:
        width, height, (x0, y0, x1, y1) = self.geometry.width, self.geometry.height, self.geometry.window
        if max(x0, y0, width - x1, height - y1) <= 0.5:
            return None
        return tag(
            "span", class_="seen", style=f"left:{100 * x0 / width:.2f}%;top:{100 * y0 / height:.2f}%;"
            f"width:{100 * (x1 - x0) / width:.2f}%;height:{100 * (y1 - y0) / height:.2f}%",
        )  # fmt: skip

    def overlay(self, mask: npt.NDArray[np.float32], alt: str) -> Html:
        """A mask over the input, laid where the input lies in the photograph."""
        size = overlay_size(mask, self.geometry.width, self.geometry.height, LONGEST)
        picture = overlay_png(self.geometry.mask_to_photograph(mask, size))
        source = Html(f"data:image/png;base64,{base64.b64encode(picture).decode()}")
        return tag("img", src=source, alt=alt, loading="lazy", decoding="async")


def _article(row: dict[str, Any], view: _View, explained: dict[str, Any] | None, figures: Sequence[Html]) -> Html:
    state, image_id = str(row["state"]), str(row["image_id"])
    label = None if pd.isna(row["label"]) else str(row["label"])
    margin = float(row["margin"])
    about: list[tuple[str, object]] = [
        ("Label", name_tag(label) if label is not None else "none"),
        ("Score", number(row["score"])),
        ("Margin", number(margin)),
    ]
    if not pd.isna(row["runner_up"]):
        about.append(("Runner-up", name_tag(row["runner_up"])))
    if explained is not None and (explained["target"] != row["predicted"] or explained["against"]):
        about.append(("Explained", name_tag(explained["target"])))
        if explained["against"]:
            about.append(("Rather than", name_tag(explained["against"])))
    if view.thumbnail is None:
        whole = tag("div", f"This photograph cannot be shown: {view.reason}", class_="missing")
    else:
        whole = view.frame(None, label=f"Photograph {image_id}")
    return tag(
        "article",
        tag(
            "div",
            tag("p", tag("span", SIGNS[state], class_="sign", aria_hidden="true"), _VERDICTS[state],
                class_=f"verdict {state}"),
            tag("h3", name_tag(row["predicted"])),
            tag("dl", *(joined([tag("dt", term), tag("dd", value)]) for term, value in about), class_="about"),
            tag("p", name_tag(image_id), class_="file"),
        ),
        tag("div", tag("figure", tag("figcaption", tag("b", "Photograph")), whole), *figures,
            class_="strip"),
        class_="image",
        style=f"--photograph:url(data:image/jpeg;base64,{view.thumbnail})" if view.thumbnail else None,
        data_state=state,
        data_label=label or "",
        data_margin=f"{margin:.6f}" if np.isfinite(margin) else "Infinity",
        data_text="\n".join([label or "", str(row["predicted"]), image_id, Path(str(row["path"])).name]),
    )  # fmt: skip


def _figure(slot: _Slot, row: dict[str, Any] | None, view: _View, reason: str | None) -> Html:
    caption = tag(
        "figcaption",
        tag("bdi", slot.method, title=slot.method),
        tag("b", slot.kind_name) if slot.kind_name else None,
    )
    if row is None:
        missing = tag("div", f"No mask: {reason or 'not computed yet'}", class_="missing")
        return tag("figure", caption, missing, data_mask=slot.key)
    scores = []
    for term, value in (("Whole", row["score_full"]), ("Kept", row["score_kept"]), ("Dropped", row["score_dropped"])):
        share = float(np.clip(np.nan_to_num(float("nan") if value is None else value), 0, 1))
        meter = tag("i", style=f"width:{100 * share:.1f}%")
        scores += [tag("dt", term), tag("dd", number(value)), tag("dd", meter, class_="meter", aria_hidden="true")]
    evaluations = int(row["evaluations"])
    cost = f"{evaluations:,} evaluation{'' if evaluations == 1 else 's'}"
    return tag(
        "figure",
        caption,
        view.frame(view.overlay(row["mask"], f"{slot.title} mask drawn over {row['image_id']}")),
        tag("dl", *scores, class_="scores"),
        tag("p", cost, None if row["converged"] else tag("span", "not converged"), class_="cost"),
        data_mask=slot.key,
    )
