"""One HTML file that shows a study: it opens offline and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fidokit import __version__
from fidokit.exceptions import SettingsError, StoreError
from fidokit.markup import Html, joined, name_tag, tag
from fidokit.plots import KIND_NAMES, interval_columns
from fidokit.report_enhance import improvement_section
from fidokit.report_errors import errors_section
from fidokit.report_images import SIGNS, images_section
from fidokit.report_tables import interval_cell, limits_of, scrolled
from fidokit.study.compare import METRIC_DIRECTIONS
from fidokit.study.metrics import AGAINST_BOX, AGAINST_OBJECT
from fidokit.study.verdicts import verdicts

if TYPE_CHECKING:
    from fidokit.enhance.judging import Improvement
    from fidokit.errors.result import ErrorClusters
    from fidokit.study.study import Study

_READING = {
    "SSR": "Smallest sufficient region: keep it, fill in the rest, and the class survives. “Kept” should stay high.",
    "SDR": "Smallest destroying region: fill it in, keep the rest, and the class dies. “Dropped” should become low.",
    "Joint": "√(SSR × SDR): the places that are both sufficient and needed.",
    "Attribution": "What a gradient baseline such as Grad-CAM calls important; no region was optimised.",
    "One sign for all": "In every mask of every method, bright means that the place belongs to the region, clear that "
    "it does not.",
    "Whole, kept, dropped": "The score of the explained class, from 0 to 1: for the whole photograph, with only the "
    "mask's region kept, and with it dropped; what is missing is blurred.",
}
_WHICH_WAY = {
    name: "higher is better" if way > 0 else "lower is better" for name, way in METRIC_DIRECTIONS.items() if way
} | {"area": "smaller says more"}
#: Metrics of the masks alone and of their place; all others say what the classifier makes of them.
_SHAPE = (*AGAINST_OBJECT, *AGAINST_BOX, "total_variation", "entropy", "agreement", "stability", "sanity")
_COSTS = {"evaluations": "a photograph", "seconds": "a photograph"}


def write_report(
    study: Study,
    path: str | Path,
    errors: ErrorClusters | None = None,
    improvement: Improvement | None = None,
    *,
    max_images: int = 200,
) -> Path:
    """Write a study as one HTML file that needs no network, no server and no other file.

    Args:
        study: its masks are drawn over its photographs. One that cannot be read any more is replaced by the reason, and
            if photographs have changed since the study was made, the page says so.
        path: of the file; its folder is made, and a file that is there is replaced only by a complete one.
        errors: of `fidokit.find_error_clusters`; with them the page has a section of systematic errors, with what
            ``errors.verify()`` has shown if it was called before.
        improvement: of `fidokit.classify_with_masks`; with it the page has a section that says whether masks helped.
        max_images: photographs shown, the wrong ones first, then those of the lowest margin; the page says how many
            were left out. A photograph takes 30 to 80 kB with the masks of three methods, so 200 of them open at once.

    Returns:
        The path.

    Raises:
        StoreError: the file cannot be written.
        SettingsError: `max_images` is negative.
    """
    if max_images < 0:
        raise SettingsError(f"max_images is {max_images}; it must be 0 or more")
    path = Path(path)
    # Names of files that are not UTF-8 hold surrogates; they are shown as escapes.
    _write_whole(path, _document(study, errors, improvement, max_images).encode("utf-8", "backslashreplace"))
    return path


def _document(study: Study, errors: ErrorClusters | None, improvement: Improvement | None, max_images: int) -> Html:
    script, style = _data("report.js"), _data("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    predictions, failures = study.predictions(), study.failures()
    predictions["state"] = [_state(correct) for correct in predictions["correct"]]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{_shortened(_classifier_name(study))} on {_shortened(_dataset_name(study))} · fidokit"),
        tag("style", Html(style)),
    )
    page = tag(
        "div",
        _header(study, predictions, len(failures)),
        tag(
            "main",
            *_summaries(study),
            _verdicts(study),
            None if errors is None else errors_section(errors),
            None if improvement is None else improvement_section(improvement),
            _reading(),
            images_section(study, predictions, failures, max_images),
        ),
        _failures(failures),
        tag(
            "footer",
            f"Written by fidokit {__version__} on {datetime.now():%Y-%m-%d at %H:%M}. This file holds all that it "
            "shows; it asks nothing of the network.",
        ),
        class_="page",
    )
    body = tag("body", page, tag("script", Html(script)))
    return Html(f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n")


def _header(study: Study, predictions: pd.DataFrame, n_failures: int) -> Html:
    counts = predictions["state"].value_counts()
    right, wrong, unknown = (int(counts.get(state, 0)) for state in SIGNS)
    about = study.manifest["classifier"]
    name, folder, judged = _classifier_name(study), str(study.manifest["dataset"]["root"]), max(1, right + wrong)
    facts = [
        ("Photographs", len(predictions), None),
        ("✓ Right", right, f"{100 * right / judged:.1f} %"),
        ("✗ Wrong", wrong, f"{100 * wrong / judged:.1f} %"),
        *([("– Not judged", unknown, "no label or no prediction")] if unknown else []),
        ("Failures", n_failures, "listed at the end" if n_failures else None),
    ]
    size = " × ".join(str(side) for side in about["preprocessing"]["size"])
    module = f"{about['module']}, " if about["name"] else ""
    details = f"{module}{len(about['class_names']):,} classes, input {size} pixels, {about['precision']}"
    setup = {
        "Classifier": joined([name_tag(name, "name inline"), tag("span", details, class_="item")]),
        "Photographs": name_tag(folder, "name inline"),
        "Methods": joined(_method(label, entry) for label, entry in study.manifest["methods"].items()),
        "Study": name_tag(study.path, "name inline"),
    }
    return tag(
        "header",
        tag("p", "fidokit study", class_="overline"),
        tag("h1", tag("bdi", _shortened(name)), " on ", tag("bdi", _shortened(_dataset_name(study)))),
        tag("dl", *(_fact(*fact) for fact in facts), class_="facts"),
        tag("dl", *(joined([tag("dt", term), tag("dd", value)]) for term, value in setup.items()), class_="setup"),
    )


def _fact(term: str, count: int, remark: str | None) -> Html:
    return tag("div", tag("dt", term), tag("dd", f"{count:,}", tag("small", f" {remark}") if remark else None))


def _method(label: str, entry: dict[str, Any]) -> Html:
    method = "" if entry["name"] == label else f"{entry['name']}, "
    return tag("span", name_tag(label, "name inline"), f" ({method}settings {entry['settings_id']})", class_="item")


def _summaries(study: Study) -> list[Html]:
    """A table of what the masks do to the classifier, and one of where and how they are if that was measured."""
    summary = study.summary()
    measures = interval_columns(summary)
    first = [name for name in measures if name not in _SHAPE]
    second = [name for name in measures if name in _SHAPE]
    costs = [name for name in _COSTS if name in summary.columns]
    return [
        _summary("Summary", summary, first, costs),
        *([_summary("Where the masks lie, and how they are made up", summary, second, [])] if second else []),
    ]


def _summary(title: str, summary: pd.DataFrame, measures: list[str], costs: list[str]) -> Html:
    limits = {name: limits_of(summary, name) for name in measures}
    heads = [
        *(tag("th", title, scope="col", class_="text") for title in ("Method", "Kind")),
        *(tag("th", _heading(name), tag("small", _WHICH_WAY.get(name, "")), scope="col") for name in measures),
        tag("th", "Photographs", scope="col"),
        *(tag("th", _heading(name), tag("small", _COSTS[name]), scope="col") for name in costs),
    ]
    rows, before = [], None
    for _, row in summary.iterrows():
        cells = [
            tag("th", tag("span", name_tag(row["method"])), scope="row", class_="text"),
            tag("td", KIND_NAMES.get(row["kind"], row["kind"]), class_="text"),
            *(interval_cell(row[name], row[f"{name}_low"], row[f"{name}_high"], *limits[name]) for name in measures),
            tag("td", f"{int(row['n']):,}"),
            *(tag("td", _cost(row[name], name)) for name in costs),
        ]
        rows.append(tag("tr", *cells, class_="same-method" if row["method"] == before else None))
        before = row["method"]
    title_id = f"{title.split()[0].lower()}-title"
    return tag(
        "section",
        tag("h2", title, id=title_id),
        scrolled(tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows)), title_id),
        tag("p", "Means over the photographs, with 95 % bootstrap intervals over photographs.", class_="note"),
    )


def _verdicts(study: Study) -> Html:
    sentences = verdicts(study)
    if not sentences:
        return Html("")
    return tag(
        "section",
        tag("h2", "Which masks can be believed"),
        tag("ul", *(tag("li", sentence) for sentence in sentences)),
        tag(
            "p",
            "Paired by photograph, 95 % bootstrap intervals, sign-flip tests corrected by Holm over all comparisons.",
            class_="note",
        ),
    )


def _cost(value: float, name: str) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.2f}" if name == "seconds" else f"{value:,.0f}"


def _reading() -> Html:
    items = (tag("div", tag("dt", term), tag("dd", text)) for term, text in _READING.items())
    return tag("section", tag("h2", "How to read the masks"), tag("dl", *items, class_="reading"))


def _failures(failures: pd.DataFrame) -> Html:
    title = tag("h2", "Failures", id="failures-title")
    if failures.empty:
        return tag("section", title, tag("p", "None: every photograph was read and has all its masks.", class_="quiet"))
    heads = (tag("th", title, scope="col", class_="text") for title in ("Photograph", "Method", "Stage", "Reason"))
    rows = [
        tag("tr", tag("th", name_tag(row.image_id), scope="row", class_="text"),
            tag("td", "all" if row.method is None else name_tag(row.method), class_="text"),
            tag("td", row.stage, class_="text"), tag("td", row.reason, class_="text wrap"))
        for row in failures.itertuples()
    ]  # fmt: skip
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))
    return tag("section", title, scrolled(table, "failures-title"))


def _heading(name: str) -> str:
    words = name.replace("_", " ").capitalize()
    return words.upper() if name == "road" else words.replace("Iou", "IoU")


def _state(correct: Any) -> str:
    return "unknown" if pd.isna(correct) else "right" if correct else "wrong"


def _classifier_name(study: Study) -> str:
    about = study.manifest["classifier"]
    return str(about["name"] or about["module"])


def _dataset_name(study: Study) -> str:
    return Path(study.manifest["dataset"]["root"]).name or "photographs"


def _shortened(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _data(name: str) -> str:
    return (files("fidokit") / "data" / name).read_text(encoding="utf-8")


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {path}: {error.strerror or error}; choose another file, or change its "
            "folder's permissions"
        ) from error
