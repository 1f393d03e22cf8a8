"""One HTML file that shows a study: it opens offline and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fidokit._util.atomic_write import write_atomically
from fidokit._util.checks import COUNT_OR_ZERO, check_number
from fidokit._util.html import Html
from fidokit._version import __version__
from fidokit.exceptions import StoreError
from fidokit.figures.masks import KIND_NAMES, interval_columns
from fidokit.report.answers import answer_section
from fidokit.report.errors import errors_section
from fidokit.report.images import SIGNS, colour_filters, images_section
from fidokit.report.improvement import improvement_section
from fidokit.report.selecting import Selection, selected_ids
from fidokit.report.templating import data_file, limits_of, rendered
from fidokit.study.compare import METRIC_DIRECTIONS
from fidokit.study.metrics.standing import AGAINST_BOX, AGAINST_OBJECT
from fidokit.study.verdicts import verdicts

if TYPE_CHECKING:
    from fidokit.enhance.judging import Improvement
    from fidokit.errors.answer import Answer
    from fidokit.errors.result import ErrorClusters
    from fidokit.study.study import Study

_WHICH_WAY = {
    name: {1: "higher is better", -1: "lower is better", 0: "no direction is good"}[way]
    for name, way in METRIC_DIRECTIONS.items()
} | {"area": "lower at equal scores"}
#: Metrics of the masks alone and of their place; all others say what the classifier makes of them.
_SHAPE = (*AGAINST_OBJECT, *AGAINST_BOX, "total_variation", "entropy", "agreement", "stability", "sanity")
_RANK_HEADS = [
    ("Rank", ""),
    ("Judged", "photographs"),
    ("Right", "higher is better"),
    ("Errors", "that begin here"),
    ("Most frequent", ""),
]
_COSTS = {"evaluations": "a photograph, lower is cheaper", "seconds": "a photograph, lower is cheaper"}


def write_report(
    study: Study,
    path: str | Path,
    errors: ErrorClusters | None = None,
    improvement: Improvement | None = None,
    *,
    answers: Sequence[Answer] = (),
    max_images: int = 200,
    select: Selection | None = None,
) -> Path:
    """Write a study as one HTML file that needs no network, no server and no other file.

    Args:
        study: its masks are drawn over its photographs. One that cannot be read any more is replaced by the reason, and
            if photographs have changed since the study was made, the page says so.
        path: of the file; its folder is made, and a file that is there is replaced only by a complete one.
        errors: of `fidokit.find_error_clusters`; with them the page has a section of systematic errors, with what
            ``errors.verify()`` has shown if it was called before.
        improvement: of `fidokit.classify_with_masks`; with it the page has a section that says whether masks helped.
        answers: to questions about the study; the page has a section for each, with the photographs to look at.
        max_images: photographs shown, the wrong ones first, then those of the lowest margin; the page says how many
            were left out. A photograph takes some 100 kB with the masks of two methods, or 260 kB on a page of at most
            40, whose pictures fill a screen.
        select: only these photographs, for a short page to hand on: their image_ids, in this order; a boolean for each
            row of ``study.predictions()``; or a condition on its columns as `pandas.DataFrame.query` takes it. Tables
            over the whole study are left out.

    Returns:
        The path.

    Raises:
        StoreError: the file cannot be written.
        SettingsError: `max_images` is negative, or `select` is none of these, or selects nothing.

    Example:
        >>> fk.write_report(study, "report.html").name
        'report.html'
        >>> fk.write_report(study, "unsure.html", select="margin < margin.median()").name
        'unsure.html'
    """
    check_number("max_images", max_images, COUNT_OR_ZERO)
    path = Path(path)
    # Names of files that are not UTF-8 hold surrogates; they are shown as escapes.
    content = _document(study, errors, improvement, answers, max_images, select).encode("utf-8", "backslashreplace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {path}: {error.strerror or error}; choose another file, or change its "
            "folder's permissions"
        ) from error
    return path


def _document(
    study: Study,
    errors: ErrorClusters | None,
    improvement: Improvement | None,
    answers: Sequence[Answer],
    max_images: int,
    select: Selection | None,
) -> Html:
    script = data_file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    predictions, failures = study.predictions(), study.failures()
    predictions["state"] = [_state(correct) for correct in predictions["correct"]]
    n, selected = len(predictions), None if select is None else selected_ids(predictions, select)
    if selected is not None:
        predictions = predictions[predictions["image_id"].isin(selected)]
        failures = failures[failures["image_id"].isin(selected)]
    summary, about = study.summary(), study.manifest["classifier"]
    size = " × ".join(str(side) for side in about["preprocessing"]["size"])
    module = f"{about['module']}, " if about["name"] else ""
    return rendered(
        "report.html",
        policy=policy,
        style=Html(data_file("report.css") + data_file("answers.css")),
        script=script,
        classifier=str(about["name"] or about["module"]),
        dataset=Path(study.manifest["dataset"]["root"]).name or "photographs",
        details=f"{module}{len(about['class_names']):,} classes, input {size} pixels, {about['precision']}",
        selection=None if selected is None else (len(selected), n),
        filters=colour_filters(),
        facts=_facts(predictions, len(failures), shares=selected is None),
        manifest=study.manifest,
        path=study.path,
        summary=summary.to_dict("records"),
        summaries=_summaries(summary),
        kind_names=KIND_NAMES,
        verdicts=verdicts(study),
        ranks=_ranks(study, predictions),
        rank_heads=_RANK_HEADS,
        answers=[answer_section(answer, place) for place, answer in enumerate(answers)],
        questions=[answer.question for answer in answers],
        errors=None if errors is None else errors_section(errors),
        improvement=None if improvement is None else improvement_section(improvement),
        images=images_section(study, predictions, failures, max_images, selected),
        failures=failures.to_dict("records"),
        version=__version__,
        now=f"{datetime.now():%Y-%m-%d at %H:%M}",
    )


def _ranks(study: Study, predictions: pd.DataFrame) -> list[dict[Any, Any]]:
    """How often the classifier is right at each rank, and which errors begin there; nothing without a taxonomy."""
    if study.taxonomy is None:
        return []
    errors = study.taxonomy.errors(predictions).rename(columns={"n": "errors"})
    shares = study.taxonomy.accuracy(predictions).rename(columns={"low": "accuracy_low", "high": "accuracy_high"})
    return shares.merge(errors, on="rank").to_dict("records")


def _facts(predictions: pd.DataFrame, n_failures: int, *, shares: bool) -> list[tuple[str, int, str | None]]:
    """Counts; with shares, unless these photographs were selected, of which a share says nothing."""
    counts = predictions["state"].value_counts()
    right, wrong, unknown = (int(counts.get(state, 0)) for state in SIGNS)
    judged = max(1, right + wrong)
    return [
        ("Photographs", len(predictions), None),
        ("✓ Right", right, f"{100 * right / judged:.1f} %" if shares else None),
        ("✗ Wrong", wrong, f"{100 * wrong / judged:.1f} %" if shares else None),
        *([("– Not judged", unknown, "no label that the classifier knows, or no prediction")] if unknown else []),
        ("Failures", n_failures, "listed at the end" if n_failures else None),
    ]


def _summaries(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """A table of what the masks do to the classifier, and one of where and how they are if that was measured."""
    measures = interval_columns(summary)
    tables = [
        ("Summary", [name for name in measures if name not in _SHAPE], [name for name in _COSTS if name in summary]),
        ("Where the masks lie, and how they are made up", [name for name in measures if name in _SHAPE], []),
    ]
    return [
        {
            "id": f"{title.split()[0].lower()}-title",
            "title": title,
            "limits": {name: limits_of(summary, name) for name in own},
            "costs": costs,
            "heads": [
                *(("Method", ""), ("Kind", "")),
                *((_heading(name), _WHICH_WAY.get(name, ""), _key(name)) for name in own),
                ("Photographs", "with a mask"),
                *((_heading(name), _COSTS[name], name) for name in costs),
            ],
        }
        for title, own, costs in tables
        if own or title == "Summary"
    ]


def _key(name: str) -> str:
    """Where a figure of masks stands in the glossary: clusters have a stability too."""
    return "mask_stability" if name == "stability" else name


def _heading(name: str) -> str:
    words = name.replace("_", " ").capitalize()
    return words.upper() if name == "road" else words.replace("Iou", "IoU")


def _state(correct: Any) -> str:
    return "unknown" if pd.isna(correct) else "right" if correct else "wrong"
