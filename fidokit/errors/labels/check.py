"""`check_labels`: labels and reasons that are suspect, with what speaks against them in words."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fidokit.data.names import shorten
from fidokit.errors.answer import CORNERS, EXAMPLE, Answer, no_examples
from fidokit.errors.labels.cameras import Cameras
from fidokit.errors.labels.evidence import OF_DOUBTFUL, OF_EACH, boxes, measure
from fidokit.exceptions import SettingsError
from fidokit.study.study import Study

#: Scores from which on a label or a reason is suspect, a frame blank, and a label has evidence in a region.
_SUSPECT = 0.5
_VERDICTS = ("label suspect", "reason suspect", "both", "neither")
_COLUMNS = {
    "image_id": "",
    "path": "",
    "verdict": "on the label, the reason, or both",
    "label": "",
    "suggested": "instead",
    "predicted": "",
    "why": "",
    "label_score": "another class is ahead by",
    "label_evidence": "the most, whatever is kept",
    "reason_score": "beside the animal",
    "blank_score": "1: as the camera always sees",
}
_BLANK = "blank"
#: Examples of each kind.
_MOST_EXAMPLES = 24


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LabelCheck(Answer):
    """Labels and reasons that are suspect; made by `check_labels`.

    Its `table` has a row for each photograph whose label the classifier knows, the most suspect first: image_id, path;
    verdict: ``label suspect``, ``reason suspect``, ``both`` or ``neither``; label; suggested: another class, or
    ``blank``, None where the label is not suspect; predicted; why, in words; label_score in [-1, 1], label_evidence and
    reason_score in [0, 1]; and blank_score in [0, 1], NaN where the camera is not known. See `check_labels`.

    Example:
        >>> check = fk.check_labels(study, progress=False)
        >>> set(check.table["verdict"]) <= {"label suspect", "reason suspect", "both", "neither"}
        True
        >>> len(check.of("label suspect")) <= len(study)
        True
    """

    def of(self, verdict: str) -> pd.DataFrame:
        """The rows with a verdict; those of ``both`` belong to ``label suspect`` and to ``reason suspect`` too.

        Raises:
            SettingsError: there is no such verdict.
        """
        if verdict not in _VERDICTS:
            raise SettingsError(f"there is no verdict {verdict!r}; there are: {', '.join(_VERDICTS)}")
        wanted = [verdict, "both"] if verdict.endswith("suspect") else [verdict]
        return self.table[self.table["verdict"].isin(wanted)]


def check_labels(
    study: Study, *, site: str | None = None, sequence: str | None = None, progress: bool = True
) -> LabelCheck:
    """Which labels are wrong, and which answers are given for a wrong reason.

    A score alone cannot tell a wrong label from a classifier that errs. So the animal is kept (its box, else the
    strongest quarter of a mask) and all else is filled in, with two blurred photographs of other classes and with a
    flat colour:

    - A label is suspect if another class is ahead of it by 0.5 or more (`label_score`) in the mean of two
      probabilities, of the whole photograph and of the animal alone, and if the label stays below 0.5 whatever is kept:
      the whole, the animal, what is beside it, the mask's region, each of nine windows (`label_evidence`).
    - A reason is suspect if the answer's probability is high in the whole photograph and low with the animal alone:
      `reason_score` is the first times one minus the second, suspect from 0.5 on. So it is if another class is ahead
      on the animal and the label has its evidence elsewhere. Whether the answer is right does not matter.
    - A frame is blank (`blank_score` from 0.5 on) if it differs less from what its camera usually sees than most frames
      do, and lacks what others of its burst show; its label, which came with its sequence, is suspect. It takes nine
      frames or more of a camera, in three bursts, and a study in which most frames have an animal.

    `ErrorClusters.wrong_labels` ranks by the probability of the whole photograph alone (confident learning) and needs
    no intervention; the thresholds here were found on drawn birds (`fidokit.testbed.survey`).

    Args:
        study: with predictions. Its masks stand in for boxes where there is none, and say where to look.
        site: the column that names the camera; None for the one that the readers give, if there is one.
        sequence: the column that names the burst; None likewise.
        progress: whether to show a progress bar, and to say before how many evaluations it takes: 4 a photograph, and
            33 more of each whose label is in doubt. After Ctrl-C there is the answer for what was done.

    Raises:
        SettingsError: a column that there is not.
        StoreError: classifier or photographs cannot be found; the message says how to give them.

    Example:
        >>> check = fk.check_labels(study, progress=False)
        >>> check.to_csv("labels.csv").name
        'labels.csv'
    """
    cameras = Cameras.of(study, site, sequence)
    predictions = study.predictions()
    known = np.flatnonzero(predictions["correct"].notna())
    if progress:
        print(
            f"Checking {len(known):,} labels: {OF_EACH * len(known):,} evaluations, and at most {OF_DOUBTFUL} more for "
            "each in doubt.",
            file=sys.stderr,
        )
    evidence = measure(study, known.tolist(), cameras, progress=progress)
    notes = evidence.notes
    if left := len(predictions) - len(known):
        notes.append(f"{left:,} photographs were passed over: they have no label that the classifier knows.")
    rows = _judged(evidence.rows, cameras)
    return LabelCheck(
        study=study,
        question="Which labels are wrong",
        headline=_headline(rows),
        table=rows[list(_COLUMNS)],
        columns=_COLUMNS,
        examples=_examples(rows),
        notes=(*notes, *cameras.notes),
    )


def _judged(found: list[dict[str, Any]], cameras: Cameras) -> pd.DataFrame:
    """The rows of the table, the most suspect first, with the boxes of what to look at."""
    if not found:
        return pd.DataFrame(columns=[*_COLUMNS, "blank", "animal", "beside", "elsewhere"])
    rows = pd.DataFrame(found)
    rows["label_score"], rows["label_evidence"] = rows["ahead"], rows["evidence"]
    rows["reason_score"] = rows["whole"] * (1 - rows["alone"])
    rows["blank_score"] = cameras.scores(rows["image_id"])
    blank = rows["blank_score"] >= _SUSPECT
    behind, nowhere = rows["label_score"] >= _SUSPECT, rows["label_evidence"] < _SUSPECT
    label, reason = blank | (behind & nowhere), (rows["reason_score"] >= _SUSPECT) | (behind & ~nowhere)
    rows["verdict"] = np.select([label & reason, label, reason], ["both", "label suspect", "reason suspect"], "neither")
    rows["blank"] = blank
    rows["suggested"] = rows["other"].astype(object).where(label, None).mask(blank, _BLANK)
    rows["why"] = [_why(row) for row in rows.to_dict("records")]
    # Suspect labels before suspect reasons: a wrong label also spoils what is learnt from it.
    strength = rows[["label_score", "reason_score", "blank_score"]].max(axis=1)
    return rows.iloc[np.lexsort((strength, reason, label))[::-1]].reset_index(drop=True)


def _why(row: dict[Any, Any]) -> str:
    said = []
    if row["blank"]:
        said.append("little in it differs from what its camera usually sees")
    if row["label_score"] >= _SUSPECT:
        ahead = f"{shorten(row['other'])} is ahead, in the whole photograph and with the animal alone"
        elsewhere = row["label_evidence"] >= _SUSPECT
        where = (
            f"the label has its evidence elsewhere ({row['label_evidence']:.2f})"
            if elsewhere
            else (f"the label reaches {row['label_evidence']:.2f} at most, whatever is kept")
        )
        said += [ahead, where]
    if row["reason_score"] >= _SUSPECT:
        called = f"{shorten(row['predicted'])} falls from {row['whole']:.2f} to {row['alone']:.2f}"
        said.append(f"{called} when all but the animal is filled in")
    return "; ".join(said)


def _headline(rows: pd.DataFrame) -> str:
    if not len(rows):
        return "No photograph has a label that the classifier knows, so that none could be checked."
    labels, reasons = (rows["verdict"].isin([f"{what} suspect", "both"]) for what in ("label", "reason"))
    n, blanks = int(labels.sum()), int(rows["blank"].sum())
    r, verb = int(reasons.sum()), "is" if n == 1 else "are"
    if not n and not r:
        return f"None of {len(rows):,} labels is suspect, and no answer rests on something beside the animal."
    of_them = f"{blanks:,} of them of frames that look" if n > 1 else "of a frame that looks"
    empty = f", {of_them} empty" if blanks else ""
    return (
        f"{n:,} of {len(rows):,} labels {verb} suspect{empty}; {r:,} answer{'s rest' if r != 1 else ' rests'} on "
        "something beside the animal. Look at suspect labels by hand, from the top of the table; where only the reason "
        "is suspect, the label may stay, but do not trust such answers at another place."
    )


def _examples(rows: pd.DataFrame) -> pd.DataFrame:
    label, reason = (rows["verdict"].isin([f"{what} suspect", "both"]) for what in ("label", "reason"))
    blank = rows["blank"].astype(bool)
    parts = [no_examples()]
    for group, own, where in [
        ("The label is suspect", label & ~blank, "animal"),
        ("Looks empty, labelled by its sequence", blank, None),
        ("The reason is suspect", reason & ~label, "beside"),
    ]:
        shown = rows[own].head(_MOST_EXAMPLES)
        records = shown.to_dict("records")
        captions = [f"labelled {shorten(r['label'])}, called {shorten(r['predicted'])}: {r['why']}" for r in records]
        part = shown[["image_id"]].assign(group=group, caption=captions)
        if where is not None:
            place = shown["elsewhere"].combine_first(shown[where]) if where == "beside" else shown[where]
            part[CORNERS] = boxes(place)
        parts.append(part.reindex(columns=[*EXAMPLE, *CORNERS]))
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else no_examples()
