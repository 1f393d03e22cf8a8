"""What a manifest names, and when its names are followed: the classifier and the photographs of a study."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fidokit.classifier import Classifier
from fidokit.exceptions import ClassifierError, FidokitError, StoreError
from fidokit.images import LabelledImages
from fidokit.study.manifest import classifier_difference, describe_classifier

if TYPE_CHECKING:
    from fidokit.study.study import Study

# Names of weights that are published under them, and of what comes with fidokit: they mean the same to everybody.
_PUBLISHED = re.compile(
    r"(timm|torchvision):[\w.-]+|python:fidokit\.(samples:efficientnet_lite0|testbed:(classifier|\w+_biased))"
)


def named_classifier(study: Study) -> Classifier:
    """The classifier that a study's manifest names; see `Study.classifier`."""
    recorded = study.manifest["classifier"]
    name = recorded["name"]
    give = f"fidokit.open_study({str(study.path)!r}, classifier=...)"
    if name is None:
        raise StoreError(
            f"the classifier of this study, {recorded['repr']}, has no name to load it by; give it: {give}"
        )
    if not _PUBLISHED.fullmatch(name) and (name.startswith("python:") or not study.is_own):
        what = "the Python function" if name.startswith("python:") else "what somebody else called"
        raise StoreError(
            f"the classifier of this study comes from {what} {name!r}, which is only run if you say so: "
            f"classifier=fidokit.Classifier.load({name!r}) in {give}"
        )
    try:
        return study.check_classifier(loaded(name, recorded))
    except FidokitError as error:
        raise StoreError(f"{error}; give the classifier yourself: {give}") from error


def loaded(name: str, recorded: dict[str, Any]) -> Classifier:
    """The classifier of a command-line name, with the options that make it the recorded one if it is not so by itself.

    Args:
        name: as for `Classifier.load`.
        recorded: as `describe_classifier` has it.
    """
    with suppress(ClassifierError):  # an exported program of another size than the default one
        classifier = Classifier.load(name)
        if classifier_difference(recorded, describe_classifier(classifier)) is None:
            return classifier
    return Classifier.load(name, **_options(recorded))


def named_photographs(study: Study) -> LabelledImages:
    """The photographs that a study's table names; see `Study.data`."""
    give = f"fidokit.open_study({str(study.path)!r}, data=...)"
    if not study.is_own:
        raise StoreError(
            f"{study.path} was not begun by you on this machine, so the photographs that it names are not read. Give "
            f"them, {give}, or, if you know where it comes from, trust=True"
        )
    data = LabelledImages(study.images.copy(), Path(study.manifest["dataset"]["root"]))
    try:
        return study.check_data(data)
    except StoreError as error:
        raise StoreError(
            f"the photographs of this study are not as they were under {data.root}: {error}. If they have moved, give "
            f"them: {give}"
        ) from error


def _options(recorded: dict[str, Any]) -> dict[str, Any]:
    """Options of the constructor with which a classifier becomes the one that was recorded."""
    if recorded["preprocessing"].get("transform") is not None:
        raise StoreError("its classifier has a transform of its own, which is not in the store")
    preprocessing = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recorded["preprocessing"].items()
    }
    return preprocessing | {
        "class_names": recorded["class_names"],
        "head": recorded["head"],
        "layer": recorded["layer"],
    }
