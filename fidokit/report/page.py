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
from fidokit.report.images import SIGNS, images_section
from fidokit.report.improvement import improvement_section
from fidokit.report.templating import data_file, limits_of, rendered
from fidokit.study.compare import METRIC_DIRECTIONS
from fidokit.study.metrics.standing import AGAINST_BOX, AGAINST_OBJECT
from fidokit.study.verdicts import verdicts

if TYPE_CHECKING:
    from fidokit.enhance.judging import Improvement
    from fidokit.errors.answer import Answer
    from fidokit.errors.result import ErrorClusters
    from fidokit.study.study import Study

_READING = {
    "SSR": "Smallest sufficient region: keep it, fill in the rest, and the class survives. “Kept” should stay high.",
    "SDR": "Smallest destroying region: fill it in, keep the rest, and the class dies. “Dropped” should become low.",
    "Joint": "√(SSR × SDR): the places that are both sufficient and needed.",
    "Attribution": "What a gradient baseline such as Grad-CAM calls important; no region was optimised.",
    "One sign for all": "In every mask of every method, bright means that the place belongs to the region, clear that "
    "it does not.",
    "Darkened": "Outside the classifier's input: it did not see that, and cannot know an animal there. If that "
    "happens, let it crop to boxes (use_boxes=True) or take whole photographs (fit='squash').",
    "Enough, needed": "A mask is enough if what it keeps has 0.9 of the whole photograph's score or more, needed if at "
    "most 0.1 of it is left when its region is filled in. A mask that is neither explains little.",
    "Verified region": "The smallest cut through a mask of which the claim is true, checked under fill-ins that "
    "nothing was optimised with; outlined where “fidokit regions” or “study.regions()” has cut it.",
    "Whole, kept, dropped": "The score of the explained class, from 0 to 1: for the whole photograph, with only the "
    "mask's region kept, and with it dropped; what is missing is blurred.",
}
_WHICH_WAY = {
    name: "higher is better" if way > 0 else "lower is better" for name, way in METRIC_DIRECTIONS.items() if way
} | {"area": "smaller says more"}
#: Metrics of the masks alone and of their place; all others say what the classifier makes of them.
_SHAPE = (*AGAINST_OBJECT, *AGAINST_BOX, "total_variation", "entropy", "agreement", "stability", "sanity")
_RANK_HEADS = [
    ("Rank", ""),
    ("Judged", "photographs"),
    ("Right", "higher is better"),
    ("Errors", "that begin here"),
    ("Most frequent", ""),
]
_COSTS = {"evaluations": "a photograph", "seconds": "a photograph"}


def write_report(
    study: Study,
    path: str | Path,
    errors: ErrorClusters | None = None,
    improvement: Improvement | None = None,
    *,
    answers: Sequence[Answer] = (),
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
        answers: to questions about the study; the page has a section for each, with the photographs to look at.
        max_images: photographs shown, the wrong ones first, then those of the lowest margin; the page says how many
            were left out. A photograph takes 30 to 80 kB with the masks of three methods, so 200 of them open at once.

    Returns:
        The path.

    Raises:
        StoreError: the file cannot be written.
        SettingsError: `max_images` is negative.

    Example:
        >>> fk.write_report(study, "report.html").name
        'report.html'
    """
    check_number("max_images", max_images, COUNT_OR_ZERO)
    path = Path(path)
    # Names of files that are not UTF-8 hold surrogates; they are shown as escapes.
    content = _document(study, errors, improvement, answers, max_images).encode("utf-8", "backslashreplace")
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
) -> Html:
    script = data_file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    predictions, failures = study.predictions(), study.failures()
    predictions["state"] = [_state(correct) for correct in predictions["correct"]]
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
        facts=_facts(predictions, len(failures)),
        manifest=study.manifest,
        path=study.path,
        summary=summary.to_dict("records"),
        summaries=_summaries(summary),
        kind_names=KIND_NAMES,
        verdicts=verdicts(study),
        ranks=_ranks(study, predictions),
        rank_heads=_RANK_HEADS,
        answers=[answer_section(answer, place) for place, answer in enumerate(answers)],
        errors=None if errors is None else errors_section(errors),
        improvement=None if improvement is None else improvement_section(improvement),
        reading=_READING,
        images=images_section(study, predictions, failures, max_images),
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


def _facts(predictions: pd.DataFrame, n_failures: int) -> list[tuple[str, int, str | None]]:
    counts = predictions["state"].value_counts()
    right, wrong, unknown = (int(counts.get(state, 0)) for state in SIGNS)
    judged = max(1, right + wrong)
    return [
        ("Photographs", len(predictions), None),
        ("✓ Right", right, f"{100 * right / judged:.1f} %"),
        ("✗ Wrong", wrong, f"{100 * wrong / judged:.1f} %"),
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
                *((_heading(name), _WHICH_WAY.get(name, "")) for name in own),
                ("Photographs", ""),
                *((_heading(name), _COSTS[name]) for name in costs),
            ],
        }
        for title, own, costs in tables
        if own or title == "Summary"
    ]


def _heading(name: str) -> str:
    words = name.replace("_", " ").capitalize()
    return words.upper() if name == "road" else words.replace("Iou", "IoU")


def _state(correct: Any) -> str:
    return "unknown" if pd.isna(correct) else "right" if correct else "wrong"
