"""From scores to a verdict: every image answered by what the other folds chose, compared in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from fidokit._util.display import HtmlDisplay
from fidokit.enhance import evidence
from fidokit.enhance.choosing import (
    ALONE,
    Ints,
    Option,
    Table,
    apply,
    choose,
    cross_validate,
    folds_of,
    options,
    tabulate,
    where_looked,
)
from fidokit.enhance.controls import EQUAL_COST
from fidokit.enhance.evidence import Paired
from fidokit.enhance.scores import calibration_error, margins, opens, ranks_of, right_answers
from fidokit.enhance.settings import GuidedGrid, GuidedSettings
from fidokit.enhance.view_scores import FIRST, MASKS, Measured, ViewScores
from fidokit.exceptions import SettingsError, StoreError

#: Name of the first row of `Improvement.summary`.
_BEFORE = "classifier alone"
#: Gates of `Improvement.gates`; at 1 every image gets a second look.
_GATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_TABLES = ("summary", "classes", "images", "choices", "gates", "failures")


@dataclass(eq=False)
class Improvement(HtmlDisplay):
    """Whether a second look helped, and everything behind the answer.

    Attributes:
        verdict: in one sentence.
        gain: whether masks beat the classifier alone and every control of equal cost.
        summary: a row for the classifier alone, the masks and each control: method, accuracy with its interval
            accuracy_low and accuracy_high, top_k (see `top`), calibration_error; against the classifier alone:
            difference, low, high, p_value, turned_right, turned_wrong; evaluations and (extra) seconds an image;
            equal_cost (whether it could spend as much as the masks; it takes less where more does not help); and what
            the masks have more than the control, masks_minus with _low, _high and _p. All intervals are 95 % bootstrap
            intervals over units.
        classes: class, n, accuracy_before, accuracy, difference, turned_right, turned_wrong.
        images: a row for each: image_id, unit, fold, label, predicted_before, predicted, score_before, score,
            correct_before, correct, turned (``right``, ``wrong`` or None), guided (whether a second look counts),
            evaluations, way, share, paddings, weight, gate, doubt (NaN without a first look), and crop_width,
            crop_height: pixels of the file in the tightest crop of the likeliest candidate's mask.
        choices: what was chosen for each fold, on all others: fold, n, way, share, paddings, weight, gate, doubt.
        gates: what is left of the gain when masks are only made where the classifier's margin is at most `gate`, all
            else as chosen: gate, guided (share of the images), evaluations, evaluations_kept, accuracy, gain,
            gain_kept.
        settings: chosen on all images, for `MaskGuidedClassifier`; its accuracy on new images is estimated by that of
            the masks in `summary`. A weight of 0 means that the classifier alone is best.
        unit: what is independent.
        top: k of top_k.
        notes: what else there is to know.
        failures: image_id and reason of the photographs that could not be measured.
        measured: the scores behind it, for `judge`.

    Example:
        >>> improvement = fk.classify_with_masks(study, fk.GuidedSettings(paddings=(0.1, 0.3)))
        >>> improvement.summary["method"].tolist()[:2]
        ['classifier alone', 'masks']
    """

    verdict: str
    gain: bool
    summary: pd.DataFrame
    classes: pd.DataFrame
    images: pd.DataFrame
    choices: pd.DataFrame
    gates: pd.DataFrame
    settings: GuidedSettings
    unit: str
    top: int
    notes: list[str]
    failures: pd.DataFrame
    measured: Measured = field(repr=False)

    def __repr__(self) -> str:
        return f"Improvement({len(self.images)} images, {self.images['unit'].nunique()} units: {self.verdict})"

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write the tables as CSV files, and verdict, notes and settings as a text; the paths.

        Args:
            folder: made if it is not there.

        Raises:
            StoreError: it cannot be written.
        """
        folder = Path(folder)
        paths = [folder / f"{name}.csv" for name in _TABLES] + [folder / "verdict.txt"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in zip(_TABLES, paths, strict=False):
                getattr(self, name).to_csv(path, index=False, errors="backslashreplace")
            text = "\n".join([self.verdict, *self.notes, repr(self.settings), ""])
            paths[-1].write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error.strerror or error}; choose another folder") from error
        return paths


@dataclass(eq=False)
class _Answers:
    """How one way of looking answered N images, each by the option of its fold."""

    table: Table
    chosen: Ints
    scores: Tensor
    opened: Tensor
    cost: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


def judge(
    measured: Measured,
    labels: Mapping[str, int],
    class_names: Sequence[str],
    settings: GuidedSettings,
    grid: GuidedGrid,
    *,
    folds: int | None = 5,
    units: Mapping[str, object] | None = None,
    unit: str | None = None,
    top: int = 5,
    budget: float | None = None,
    seed: int = 0,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> Improvement:
    """Choose by cross-validation, compare in pairs, and say whether masks gained anything.

    Args:
        measured: the scores of `fidokit.enhance.measure.measure`.
        labels: image_id -> index of its class; K + g for the g-th of the groups.
        class_names: of the scores.
        settings: what was the same for all looks.
        grid: among what to choose.
        folds: of the cross-validation; None chooses nothing and takes the last combination of the grid.
        units: image_id -> what is independent; None makes every image a unit.
        unit: what units are called.
        top: k of the top-k accuracy; fewer where there are fewer classes.
        budget: most evaluations an image, on average, that may be chosen; None for any number.
        seed: of folds, intervals and tests.
        groups: what labels that are coarser than a class mean: name -> indices of the classes inside.

    Raises:
        SettingsError: no image, an image without a label or a unit, or fewer than two folds or units.
    """
    ids = measured.image_ids
    if not ids:
        raise SettingsError("no photograph was measured" + "".join(f"; {why}" for why in measured.failures.values()))
    missing = [image_id for image_id in ids if image_id not in labels or (units is not None and image_id not in units)]
    if missing:
        raise SettingsError(f"image {missing[0]!r} has no label, or no unit; give both to every image")
    label = torch.tensor([int(labels[image_id]) for image_id in ids])
    members = None
    if groups:
        members = torch.zeros(len(groups), len(class_names), dtype=torch.bool)
        for row, own_classes in enumerate(groups.values()):
            members[row, list(own_classes)] = True
    label_names = [*class_names, *(groups or {})]
    names = np.array([str(image_id if units is None else units[image_id]) for image_id in ids], dtype=object)
    codes = pd.factorize(names)[0]
    fold = np.full(len(ids), -1) if folds is None else folds_of(codes, folds, seed)
    answers = {
        name: _answer(measured, name, label, members, grid, codes, fold, budget)
        for name in measured.looks
        if name != FIRST
    }
    own = answers[MASKS]
    before = right_answers(measured.whole, label, members).numpy()
    pairs = {name: evidence.compare(before, one.correct, codes, seed) for name, one in answers.items()}
    leads = {
        name: evidence.compare(one.correct, own.correct, codes, seed) for name, one in answers.items() if name != MASKS
    }
    rivals = {name: leads[name] for name in EQUAL_COST if name in leads}
    gain, sentence = evidence.verdict(float(before.mean()), pairs[MASKS], rivals)
    top = min(top, len(class_names))
    everything = np.ones(len(ids), bool)
    final = len(own.table.options) - 1 if folds is None else choose(own.table, everything, codes, budget)
    return Improvement(
        verdict=sentence,
        gain=gain,
        summary=_summary(measured.whole, label, members, before, codes, answers, pairs, leads, top, seed),
        classes=_classes(label, label_names, before, own.correct),
        images=_images(measured, label, label_names, before, own, names, fold),
        choices=_choices(own, fold),
        gates=_gates(measured, label, members, before, own),
        settings=settings if folds is None else own.table.options[final].settings(settings),
        unit=unit or "photograph",
        top=top,
        notes=_notes(measured, own, rivals, fold),
        failures=pd.DataFrame(list(measured.failures.items()), columns=["image_id", "reason"]),
        measured=measured,
    )


def _answer(
    measured: Measured,
    name: str,
    label: Tensor,
    groups: Tensor | None,
    grid: GuidedGrid,
    units: Ints,
    fold: Ints,
    budget: float | None,
) -> _Answers:
    looks, first = measured.looks[name], measured.looks.get(FIRST) if name == MASKS else None
    choices = options(looks, grid, first)
    table = tabulate(measured.whole, looks, label, choices, first, groups)
    fixed = bool((fold < 0).all())
    chosen = np.full(len(fold), len(choices) - 1) if fixed else cross_validate(table, units, fold, budget)
    scores, opened = measured.whole.clone(), torch.zeros(len(fold), dtype=torch.bool)
    cost, seconds = np.ones(len(fold)), np.zeros(len(fold))
    for place in np.unique(chosen):
        option, rows = choices[place], chosen == place
        made, used, spent = apply(measured.whole, looks, option, first)
        index = torch.from_numpy(rows)
        scores[index], opened[index] = made[index], used[index]
        cost[rows] = spent.numpy()[rows]
        if option.views:
            seconds[rows] = _seconds(measured, name, option, first).numpy()[rows]
    return _Answers(table, chosen, scores, opened, cost, seconds, right_answers(scores, label, groups).numpy())


def _seconds(measured: Measured, name: str, option: Option, first: ViewScores | None) -> Tensor:
    """(N,) seconds that an option's looks take; those of a first look's map are counted as an evaluation's."""
    looks, where = measured.looks[name], where_looked(measured.whole, option, first)
    own = looks.count(option.views).double() * looks.seconds + (measured.seconds if name == MASKS else 0.0)
    took = torch.where(where.masked, own, 0.0)
    if option.doubt is not None and first is not None:
        took = took + where.asked * first.cost(option.first) * first.seconds
    return took


def _summary(
    whole: Tensor,
    label: Tensor,
    groups: Tensor | None,
    before: npt.NDArray[np.bool_],
    units: Ints,
    answers: Mapping[str, _Answers],
    pairs: Mapping[str, Paired],
    leads: Mapping[str, Paired],
    top: int,
    seed: int,
) -> pd.DataFrame:
    ones = np.ones(len(before))
    given = {_BEFORE: (whole, before, ones, 0 * ones)}
    given |= {name: (one.scores, one.correct, one.cost, one.seconds) for name, one in answers.items()}
    rows = []
    for name, (scores, correct, cost, seconds) in given.items():
        low, high = evidence.share_interval(*evidence.per_unit(correct, units), seed)
        pair, lead = pairs.get(name), leads.get(name)
        rows.append(
            {
                "method": name,
                "accuracy": float(correct.mean()),
                "accuracy_low": low,
                "accuracy_high": high,
                "top_k": float((ranks_of(scores, label, groups) < top).double().mean()),
                "calibration_error": calibration_error(scores.amax(1).numpy(), correct),
                "difference": pair.difference if pair else 0.0,
                "low": pair.low if pair else np.nan,
                "high": pair.high if pair else np.nan,
                "p_value": pair.p_value if pair else np.nan,
                "turned_right": pair.turned_right if pair else 0,
                "turned_wrong": pair.turned_wrong if pair else 0,
                "evaluations": float(cost.mean()),
                "seconds": float(seconds.mean()),
                "equal_cost": name in EQUAL_COST,
                "masks_minus": lead.difference if lead else np.nan,
                "masks_minus_low": lead.low if lead else np.nan,
                "masks_minus_high": lead.high if lead else np.nan,
                "masks_minus_p": lead.p_value if lead else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _classes(
    label: Tensor, class_names: Sequence[str], before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    rows = []
    for index in sorted(set(label.tolist())):
        own = (label == index).numpy()
        was, now = before[own], after[own]
        rows.append(
            {
                "class": class_names[index],
                "n": int(own.sum()),
                "accuracy_before": float(was.mean()),
                "accuracy": float(now.mean()),
                "difference": float(now.mean() - was.mean()),
                "turned_right": int((now & ~was).sum()),
                "turned_wrong": int((was & ~now).sum()),
            }
        )
    return pd.DataFrame(rows)


def _described(option: Option) -> dict[str, Any]:
    return {
        "way": option.way,
        "share": option.share,
        "paddings": option.paddings,
        "weight": option.weight,
        "gate": option.gate,
        "doubt": np.nan if option.doubt is None else option.doubt,
    }


def _images(
    measured: Measured,
    label: Tensor,
    class_names: Sequence[str],
    before: npt.NDArray[np.bool_],
    own: _Answers,
    units: npt.NDArray[np.object_],
    fold: Ints,
) -> pd.DataFrame:
    chosen = [own.table.options[place] for place in own.chosen]
    opened = own.opened.numpy()
    crops = [_crop(measured, option, i) if opened[i] else (np.nan, np.nan) for i, option in enumerate(chosen)]
    turned = np.select([own.correct & ~before, before & ~own.correct], ["right", "wrong"], "")
    frame = pd.DataFrame(
        {
            "image_id": measured.image_ids,
            "unit": units,
            "fold": fold,
            "label": [class_names[i] for i in label.tolist()],
            "predicted_before": [class_names[i] for i in measured.whole.argmax(1).tolist()],
            "predicted": [class_names[i] for i in own.scores.argmax(1).tolist()],
            "score_before": measured.whole.amax(1).double().numpy(),
            "score": own.scores.amax(1).double().numpy(),
            "correct_before": before,
            "correct": own.correct,
            "turned": pd.Series([text or None for text in turned.tolist()], dtype=object),
            "guided": opened,
            "evaluations": own.cost.astype(np.int64),
        }
    )
    settings = pd.DataFrame([_described(option) for option in chosen])
    sizes = pd.DataFrame(crops, columns=["crop_width", "crop_height"], dtype=np.float64)
    return pd.concat([frame, settings, sizes], axis=1)


def _crop(measured: Measured, option: Option, i: int) -> tuple[float, float]:
    """(width, height) of an image's tightest crop."""
    sizes = [tuple(measured.crops[key][i].tolist()) for key in option.views if key in measured.crops]
    width, height = min(sizes, default=(np.nan, np.nan))
    return float(width), float(height)


def _choices(own: _Answers, fold: Ints) -> pd.DataFrame:
    rows = []
    for one in np.unique(fold):
        places = own.chosen[fold == one]
        rows.append({"fold": int(one), "n": len(places), **_described(own.table.options[places[0]])})
    return pd.DataFrame(rows)


def _gates(
    measured: Measured, label: Tensor, groups: Tensor | None, before: npt.NDArray[np.bool_], own: _Answers
) -> pd.DataFrame:
    looks, margin = measured.looks[MASKS], margins(measured.whole)
    always = [ALONE if not option.views else replace(option, gate=_GATES[-1]) for option in own.table.options]
    scores, usable, cost = measured.whole.clone(), torch.zeros(len(before), dtype=torch.bool), np.ones(len(before))
    for place in np.unique(own.chosen):
        rows = torch.from_numpy(own.chosen == place)
        made, used, spent = apply(measured.whole, looks, always[place], measured.looks.get(FIRST))
        scores[rows], usable[rows] = made[rows], used[rows]
        cost[rows.numpy()] = spent.numpy()[rows.numpy()]
    after = right_answers(scores, label, groups).numpy()
    rows_of_table = []
    for gate in _GATES:
        asked = opens(margin, gate).numpy()
        rows_of_table.append(
            {
                "gate": gate,
                "guided": float((asked & usable.numpy()).mean()),
                "evaluations": float(np.where(asked, cost, 1.0).mean()),
                "accuracy": float(np.where(asked, after, before).mean()),
            }
        )
    table = pd.DataFrame(rows_of_table)
    table.insert(3, "evaluations_kept", table["evaluations"] / table["evaluations"].iloc[-1])
    table["gain"] = table["accuracy"] - before.mean()
    whole_gain = table["gain"].iloc[-1]
    table["gain_kept"] = table["gain"] / whole_gain if whole_gain else np.nan
    return table


def _notes(measured: Measured, own: _Answers, rivals: Mapping[str, Paired], fold: Ints) -> list[str]:
    notes = list(measured.notes)
    absent = [name for name in EQUAL_COST if name not in rivals]
    if absent:
        notes.append(f"not compared with: {', '.join(absent)}")
    alone = [one for one in np.unique(fold) if (own.chosen[fold == one] == 0).all()]
    if alone:
        several = f"in {len(alone)} of {len(np.unique(fold))} folds "
        notes.append(f"{several if (fold >= 0).all() else ''}the masks were not worth their cost: classifier alone")
    return notes
