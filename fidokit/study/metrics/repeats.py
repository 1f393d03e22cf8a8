"""Masks computed again: with other seeds, for their stability, and of a random classifier, for the sanity check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fidokit.exceptions import SettingsError
from fidokit.methods import compute_masks, methods
from fidokit.methods.base import Batch, settings_from
from fidokit.models.isolation import together_or_alone
from fidokit.study.metrics.ranks import rank_correlation
from fidokit.study.store.manifest import Entry

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier

#: image_id -> kind -> (h, w) mask, and image_id -> why there is none.
Again = tuple[dict[str, dict[str, Tensor]], dict[str, str]]


def restore(described: Mapping[str, Any]) -> Entry:
    """The method and settings that a manifest describes.

    Raises:
        SettingsError: the method is not registered, or its settings cannot be made from what was written down.
    """
    name = described["name"]
    method = methods().get(name)
    if method is None:
        raise SettingsError(f"the method {name!r} is not registered; call fidokit.register_method before")
    settings = settings_from(method, described["settings"])
    if settings is not None:
        entry = Entry(name, method, settings, described.get("rank"), described.get("within"))
        if entry.describe() == described:
            return entry
    raise SettingsError(
        "its settings cannot be made again from the manifest, which names functions but does not keep them"
    )


def with_seed(entry: Entry, step: int) -> Entry:
    """The method with a seed that is `step` further.

    Raises:
        SettingsError: it has no random part.
    """
    if not hasattr(entry.settings, "seed"):
        raise SettingsError("it has no random part")
    return replace(entry, settings=replace(entry.settings, seed=entry.settings.seed + step))


def compute_again(classifier: Classifier, entry: Entry, batch: Batch) -> Again:
    """image_id -> masks of a batch, and image_id -> why there are none; a batch that raises is computed one by one.

    Raises:
        KeyboardInterrupt: a method that ends early on Ctrl-C has masks that are not finished.
    """
    made: dict[str, dict[str, Tensor]] = {}
    failures: dict[str, str] = {}
    for rows, found in together_or_alone(lambda rows: _computed(classifier, entry, batch[rows]), len(batch)):
        if isinstance(found, str):
            failures[batch.image_ids[rows.start]] = found
        else:
            made |= found[0]
            failures |= found[1]
    return made, failures


def _computed(classifier: Classifier, entry: Entry, batch: Batch) -> Again:
    masks = compute_masks(entry.name, classifier, batch, entry.settings)
    if not bool(masks.finished.all()) or len(masks) + len(masks.failures) < len(batch):
        raise KeyboardInterrupt
    made = {
        image_id: {str(kind): values[i] for kind, values in masks.kinds.items()}
        for i, image_id in enumerate(masks.image_ids)
    }
    return made, masks.failures


def similarity(one: Tensor, other: Tensor) -> float:
    """Spearman rank correlation of two (h, w) masks of one grid; NaN where one is constant."""
    return float(rank_correlation(one.reshape(1, -1).float(), other.reshape(1, -1).float()))


def mean_similarity(mask: Tensor, others: list[Tensor], *, size: bool = False) -> tuple[float, str | None]:
    """Mean `similarity` of a mask to others, with `size` of its absolute value, or NaN and the reason."""
    found = [similarity(mask, other) for other in others if other.shape == mask.shape]
    if not found:
        return float("nan"), "the masks computed again have another grid"
    known = [abs(value) if size else value for value in found if value == value]
    if not known:
        return float("nan"), "a mask is the same everywhere"
    return sum(known) / len(known), None
