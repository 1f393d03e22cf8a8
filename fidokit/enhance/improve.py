"""`classify_with_masks`: whether the masks of a study make its classifier right more often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor, from_numpy

from fidokit._util.checks import COUNT, NOT_NEGATIVE, check_number
from fidokit._util.warning import warn
from fidokit._util.wording import argument, given
from fidokit.data.labels import match_labels
from fidokit.enhance.choosing import FOLDS, folds_of
from fidokit.enhance.controls import CONTROLS, check_controls
from fidokit.enhance.judging import Improvement as Improvement
from fidokit.enhance.judging import judge as judge
from fidokit.enhance.measure import measure
from fidokit.enhance.settings import WAYS, Evidence, GuidedGrid, GuidedSettings
from fidokit.exceptions import SettingsError
from fidokit.methods import list_methods
from fidokit.study.compare import units_of
from fidokit.study.metrics.repeats import restore

if TYPE_CHECKING:
    from fidokit.data.images import LabelledImages
    from fidokit.study.study import Study

#: Columns that often name what is not independent: a note asks about them where they are not used.
_USUAL_UNITS = ("photograph", "file", "sequence", "burst", "event", "individual")


def classify_with_masks(
    study: Study,
    how: str | Sequence[str] | GuidedSettings = "crop",
    *,
    unit: str | Mapping[str, object] | None = None,
    folds: int = 5,
    grid: GuidedGrid | None = None,
    controls: Iterable[str] = CONTROLS,
    candidates: int = 1,
    first: str | None = "grad-cam",
    evidence: Evidence = "mask",
    budget: float | None = None,
    method: str | None = None,
    top: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> Improvement:
    """Classify the photographs of a study again, guided by masks, and say honestly whether that helped.

    What a second look is made of is chosen by cross-validation: for the images of each fold on those of all others, by
    the same rule for masks and controls. Labels are read for that and for the report, and by nothing else.

    Args:
        study: masks that it has of the predicted classes are used; those that know the label never are.
        how: ``crop``, ``fade`` or ``crop+fade``, or several of them, among which to choose too; or `GuidedSettings`:
            then nothing is chosen.
        unit: what is independent: a column of the dataset, or image_id -> unit. Frames of one burst, or composites of
            one photograph, are one unit: they are in one fold, and are resampled and tested together. None (default)
            makes every photograph one.
        folds: of the cross-validation.
        grid: values among which to choose; None for the defaults of `GuidedGrid`.
        controls: what else to measure, see `fidokit.enhance.controls.CONTROLS`. Each costs as much as the masks; a gain
            is only claimed against all that were measured. () measures the masks alone, and claims nothing.
        candidates: number of likeliest classes that have a mask each; with `GuidedSettings`, theirs count.
        first: method of a look before the masks, after which masks are made only where doubt is left; whether, and how
            much doubt, is chosen too. None leaves it out. With `GuidedSettings`, theirs counts; see there.
        evidence: what crops enclose, ``mask`` or ``region``, see `GuidedSettings`; with these, theirs counts.
        budget: most evaluations an image, on average, that may be chosen; None (default) for any number.
        method: label of the study's method, or the name of another one, whose masks are computed; None takes the first
            of the study that has the kind ``sdr``, else its first.
        top: k of the top-k accuracy.
        seed: of random boxes, folds, intervals and tests.
        progress: whether to show a progress bar.

    Returns:
        `Improvement`. After Ctrl-C: of the photographs that were measured until then.

    Raises:
        SettingsError: an option that cannot be used, no labels, or fewer than two units.
        StoreError: the classifier or the photographs are needed and cannot be found; the message says how to give them.
        MethodNotApplicable: the mask method does not suit the classifier.

    Example:
        >>> improvement = fk.classify_with_masks(study, "crop", folds=2)
        >>> isinstance(improvement.gain, bool)
        True
    """
    if isinstance(how, GuidedSettings) and grid is not None:
        raise SettingsError("`how` with settings is what to do, `grid` is what to choose from; give one of the two")
    check_number("folds", folds, FOLDS)
    check_controls(controls := tuple([controls] if isinstance(controls, str) else controls))
    check_number("top", top, COUNT)
    check_number("budget", budget, NOT_NEGATIVE, or_none="no limit")
    options = {"candidates": candidates, "first": first, "evidence": evidence}
    label, settings = _method_of(study, how, method, options)
    ways = (settings.way,) if isinstance(how, GuidedSettings) else _ways(how)
    chosen_grid = GuidedGrid.of(settings) if isinstance(how, GuidedSettings) else grid or GuidedGrid()
    data = _judged(study)
    units = {str(image_id): value for image_id, value in units_of(data.table, unit).items()}
    folds_of(pd.factorize(pd.Series(list(units.values())).astype(str))[0], folds)
    known = {name: i for i, name in enumerate(study.classifier.class_names)}
    taxa = study.classifier.label_groups
    match = match_labels(data.table["label"], study.classifier.class_names, taxa)
    coarse = {name: sorted(known[own] for own in taxa[name]) for name in match.classes.values() if name in taxa}
    known |= {name: len(known) + position for position, name in enumerate(coarse)}
    labels = {
        str(i): known[match.classes[label]]
        for i, label in zip(data.table["image_id"], data.table["label"], strict=True)
    }
    masks, costs, seconds, notes = _ready(study, label, settings)
    measured = measure(
        study.classifier,
        data,
        settings,
        ways,
        chosen_grid,
        ready=masks,
        ready_cost=costs,
        ready_seconds=seconds,
        controls=controls,
        seed=seed,
        progress=progress,
    )
    measured.notes += notes + _unit_notes(data.table, unit)
    return judge(
        measured,
        labels,
        study.classifier.class_names,
        settings,
        chosen_grid,
        folds=None if isinstance(how, GuidedSettings) else folds,
        units=units,
        unit=unit if isinstance(unit, str) else None if unit is None else "unit",
        top=top,
        budget=budget,
        seed=seed,
        groups=coarse,
    )


def _ways(how: object) -> tuple[str, ...]:
    ways = (how,) if isinstance(how, str) else tuple(how) if isinstance(how, Iterable) else ()
    if not ways or any(way not in WAYS for way in ways):
        raise SettingsError(f"how is {how!r}; it must be GuidedSettings, or one or several of {', '.join(WAYS)}")
    return tuple(dict.fromkeys(ways))


def _method_of(
    study: Study, how: object, method: str | None, options: dict[str, Any]
) -> tuple[str | None, GuidedSettings]:
    """The label of the study's masks, None where new ones are needed, and the settings that name their method."""
    recorded: dict[str, dict[str, Any]] = study.manifest["methods"]
    if isinstance(how, GuidedSettings):
        label = _label_of(study, how, method)
        # What is reported must say which masks were measured.
        own = restore(recorded[label]).settings if label is not None else how.method_settings
        return label, replace(how, method_settings=own)
    of_classes = [label for label in study.methods if not study.is_of_taxa(label)] or study.methods
    label = method or next((label for label in of_classes if "sdr" in study.kinds(label)), of_classes[0])
    if label not in recorded:
        if label not in list_methods():
            raise SettingsError(
                f"there is no method {label!r} in this study, which has {', '.join(study.methods)}, nor among "
                f"{', '.join(list_methods())}"
            )
        return None, GuidedSettings(method=label, **options)
    entry = restore(recorded[label])
    return label, GuidedSettings(method=entry.name, method_settings=entry.settings, **options)


def _label_of(study: Study, settings: GuidedSettings, method: str | None) -> str | None:
    """The study's method with exactly these settings; where they leave them open, the first with any."""
    if method is not None and method not in study.methods:
        raise SettingsError(f"there is no method {method!r} in this study; there are {', '.join(study.methods)}")
    for label in study.methods if method is None else [method]:
        if study.manifest["methods"][label]["name"] == settings.method and not study.is_of_taxa(label):
            entry = restore(study.manifest["methods"][label])
            if settings.method_settings is None or entry.settings == settings.method_settings:
                return label
    if method is not None:
        raise SettingsError(
            f"the masks of {method!r} were not made by {settings.method!r} with its settings in "
            f"`{argument('how')}`; leave "
            f"`{argument('method')}` out to have new ones made"
        )
    return None


def _judged(study: Study) -> LabelledImages:
    """The photographs whose label the classifier knows."""
    data = study.data
    match = match_labels(data.table["label"], study.classifier.class_names, study.classifier.label_groups)
    judged = data.table["label"].isin(list(match.classes)).to_numpy()
    if not judged.any():
        told = match.told_unknown(Counter(data.table["label"].dropna()), "cannot be judged")
        raise SettingsError(
            "no photograph has a label that the classifier knows; labels are needed to judge answers"
            + (f": {told}" if told else "")
        )
    if not judged.all():
        warn(
            f"{int((~judged).sum())} of {len(data)} photographs have no label that the classifier knows and are left "
            "out"
        )
        data = data.subset(np.flatnonzero(judged))
    return data


def _ready(
    study: Study, label: str | None, settings: GuidedSettings
) -> tuple[dict[str, Tensor], dict[str, int], dict[str, float], list[str]]:
    """The study's masks with what they cost, and a note where they may not be used."""
    if label is None:
        return {}, {}, {}, []
    made_for = study.manifest["options"]
    if made_for["targets"] is not None or made_for["against"] is not None or study.is_of_taxa(label):
        why = "know the label" if made_for["targets"] is not None else "contrast with another class"
        why = "explain taxa" if study.is_of_taxa(label) else why
        return {}, {}, {}, [f"the masks of the study {why}; others were made of the predicted classes"]
    columns = ["image_id", "mask", "evaluations", "seconds"]
    table = study.masks(label, settings.mask_kind, columns)
    ids = [str(image_id) for image_id in table["image_id"]]
    # The prediction is counted with the whole image, and the scores kept and dropped guide nothing.
    beside = 1 + 2 * len(study.kinds(label))
    return (
        {i: from_numpy(np.asarray(mask, np.float32).copy()) for i, mask in zip(ids, table["mask"], strict=True)},
        {i: max(0, int(spent) - beside) for i, spent in zip(ids, table["evaluations"], strict=True)},
        {i: float(value) for i, value in zip(ids, table["seconds"], strict=True)},
        [],
    )


def _unit_notes(table: pd.DataFrame, unit: object) -> list[str]:
    if unit is not None:
        return []
    several = [name for name in _USUAL_UNITS if name in table.columns and table[name].dropna().duplicated().any()]
    return [
        f"every photograph counted as independent; if those of one {name!r} are not, give {given(unit=name)}"
        for name in several
    ]
