"""The classifier that a manifest names, made as it was recorded."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from fidokit.exceptions import ClassifierError, SettingsError, StoreError
from fidokit.models.classifier import Classifier
from fidokit.models.taxonomy import Taxonomy
from fidokit.study.store.manifest import classifier_difference, describe_classifier

# Names of weights that are published under them, and of what comes with fidokit: they mean the same to everybody.
_PUBLISHED = re.compile(
    r"(timm|torchvision):[\w.-]+|python:fidokit\.(samples:efficientnet_lite0|testbed:(classifier|\w+_biased))"
)


def is_published(name: str) -> bool:
    """Whether a name means the same to everybody: published weights, and what comes with fidokit."""
    return _PUBLISHED.fullmatch(name) is not None


def load_recorded(name: str, recorded: dict[str, Any]) -> Classifier:
    """The classifier of a command-line name, with the options that make it the recorded one if it is not so by itself.

    Args:
        name: as for `Classifier.load`.
        recorded: as `describe_classifier` has it.
    """
    described = recorded.get("taxonomy")
    taxonomy: dict[str, Any] = {} if described is None else {"taxonomy": Taxonomy.from_dict(described)}
    with suppress(ClassifierError, SettingsError):  # a program of another size, a model without classes of its own
        classifier = Classifier.load(name, **taxonomy)
        if classifier_difference(recorded, describe_classifier(classifier)) is None:
            return classifier
    return Classifier.load(name, **taxonomy, **_options(recorded))


def _options(recorded: dict[str, Any]) -> dict[str, Any]:
    """Options of the constructor with which a classifier becomes the one that was recorded."""
    if recorded["preprocessing"].get("transform") is not None:
        raise StoreError("its classifier has a transform of its own, which is not in the store")
    preprocessing = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recorded["preprocessing"].items()
    }
    return (
        (recorded["prompts"] or {})
        | preprocessing
        | {
            "class_names": recorded["class_names"],
            "head": recorded["head"],
            "layer": recorded["layer"],
        }
    )
