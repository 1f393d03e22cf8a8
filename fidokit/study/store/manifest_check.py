"""A manifest from a stranger: whether it says what manifests say, in numbers that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from fidokit.data.geometry import Preprocessing
from fidokit.exceptions import FidokitError, StoreError
from fidokit.methods.base import KINDS
from fidokit.models.frozen import PRECISIONS
from fidokit.models.goals import Head
from fidokit.models.taxonomy import Taxonomy

_Check = Callable[[Any], bool]
_MOST_IMAGES = 10**9
_MOST_AT_ONCE = 2**20
# Pixels of a classifier's input: forty times as many as any has.
_MOST_INPUT = 2**26


def checked(manifest: dict[str, Any], where: str) -> dict[str, Any]:
    """The manifest, with None for what may be None and is not in it.

    Raises:
        StoreError: something is missing, of another type, or absurd; the message names it.
    """
    for path, check in _CHECKS.items():
        _require(_at(manifest, path), check, path, where)
    for label, entry in manifest["methods"].items():
        for name, check in _METHOD_CHECKS.items():
            _require(
                entry.get(name) if isinstance(entry, dict) else None, check, f"methods[{label[:40]!r}].{name}", where
            )
    if "metrics" in manifest:
        for path, check in _METRICS_CHECKS.items():
            _require(_at(manifest, path), check, path, where)
    for path in _CHECKS:
        parent, _, name = path.rpartition(".")
        if parent:
            manifest[parent].setdefault(name, None)
    return manifest


def _at(manifest: Any, path: str) -> Any:
    value = manifest
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _require(value: Any, check: _Check, path: str, where: str) -> None:
    if not check(value):
        shown = repr(value)
        raise StoreError(
            f"{where}/study.json is damaged: {path} cannot be {shown if len(shown) <= 80 else shown[:79] + '…'}; put "
            "back a copy of it, or begin anew elsewhere"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _up_to(most: int) -> _Check:
    return lambda value: type(value) is int and 1 <= value <= most


def _is_preprocessing(value: Any) -> bool:
    try:
        height, width = Preprocessing(**value).size
    except (TypeError, ValueError, OverflowError):
        return False
    return {"size", "mean", "std"} <= value.keys() and height * width <= _MOST_INPUT


def _are_fingerprint_parts(value: Any) -> bool:
    # None in stores that were written before there were parts.
    return value is None or (
        isinstance(value, dict)
        and _is_text(value.get("weights"))
        and _is_text(value.get("structure"))
        and (value.get("probe") is None or _are_numbers_or_none(value["probe"]))
    )


def _are_numbers_or_none(value: Any) -> bool:
    return isinstance(value, list) and all(
        number is None or (type(number) in (int, float) and abs(number) < 1e300) for number in value
    )


def _are_prompts(value: Any) -> bool:
    # None for classifiers with classes of their own, and in stores that were written before there were prompts.
    return value is None or (
        isinstance(value, dict)
        and _are_texts(value.get("templates"))
        and isinstance(value.get("names"), dict)
        and len(value["names"]) > 0
        and all(map(_are_texts, value["names"].values()))
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_text, value))


def _are_shares(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 1000 and all(map(_is_share, value))


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _are_photographs(value: Any) -> bool:
    names = ("image_id", "label", "predicted")
    return isinstance(value, list) and all(
        isinstance(item, dict) and all(_is_text(item.get(name)) for name in names) for item in value
    )


def _is_taxonomy(value: Any) -> bool:
    try:
        return value is None or (isinstance(value, dict) and len(Taxonomy.from_dict(value)) > 0)
    except FidokitError:
        return False


def _are_kinds(value: Any) -> bool:
    return _are_texts(value) and set(value) <= set(KINDS) and len(set(value)) == len(value)


_CHECKS: dict[str, _Check] = {
    "classifier.name": _is_text_or_none,
    "classifier.repr": _is_text,
    "classifier.module": _is_text,
    "classifier.fingerprint": _is_text,
    "classifier.fingerprint_parts": _are_fingerprint_parts,
    "classifier.head": lambda value: value in get_args(Head),
    "classifier.layer": _is_text_or_none,
    "classifier.precision": lambda value: _is_text(value) and value in ("auto", *PRECISIONS),
    "classifier.micro_batch": lambda value: value is None or _up_to(_MOST_AT_ONCE)(value),
    "classifier.class_names": _are_texts,
    "classifier.taxonomy": _is_taxonomy,
    "classifier.prompts": _are_prompts,
    "classifier.preprocessing": _is_preprocessing,
    "dataset.fingerprint": _is_text,
    "dataset.n": _up_to(_MOST_IMAGES),
    "dataset.root": _is_text,
    "methods": lambda value: isinstance(value, dict) and len(value) > 0,
    "options.targets": lambda value: value in (None, "label"),
    "options.against": _is_text_or_none,
    "options.part_size": _up_to(_MOST_AT_ONCE),
}
_METHOD_CHECKS: dict[str, _Check] = {
    "name": _is_text,
    "settings": lambda value: isinstance(value, dict),
    "settings_id": _is_text,
    "kinds": _are_kinds,
    "rank": _is_text_or_none,
    "within": _is_text_or_none,
}
_METRICS_CHECKS: dict[str, _Check] = {
    "metrics.shares": _are_shares,
    "metrics.road_shares": _are_shares,
    "metrics.panel.infills": _up_to(64),
    "metrics.panel.photographs": _are_photographs,
    "metrics.panel.mosaic_seeds": lambda value: isinstance(value, list) and all(type(seed) is int for seed in value),
}
