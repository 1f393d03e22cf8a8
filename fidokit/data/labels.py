"""Where the labels of a dataset meet the class names of a classifier."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from fidokit._util.warning import warn
from fidokit.data.names import folded, nearest_names, number_before, shorten, without_number

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10
NOT_JUDGED = "count neither as right nor as wrong"
"""What becomes of photographs whose label means no class, where answers are judged."""
#: Name -> the classes inside.
Groups = Mapping[str, Set[str]]
NO_GROUPS: Groups = {}


@dataclass(frozen=True)
class LabelMatch:
    """Which class each label means, or which group of classes.

    Attributes:
        classes: label -> name of a class or a group, for every label that means one; equal names mean each other.
        unknown: the other labels, sorted.
        class_names: of the classifier.
        groups: of its classes.
    """

    classes: dict[str, str]
    unknown: list[str]
    class_names: Sequence[str]
    groups: Groups = field(default_factory=dict)

    def __getitem__(self, label: str | None) -> str | None:
        """The class that a label means; the label itself where there is none."""
        return self.classes.get(label, label) if isinstance(label, str) else None

    @property
    def renamed(self) -> dict[str, str]:
        """The labels that are written otherwise than their classes."""
        return {label: name for label, name in self.classes.items() if label != name}

    def told_renamed(self) -> str:
        """Which labels were matched although they are written otherwise; empty if there are none."""
        renamed = self.renamed
        if not renamed:
            return ""
        shown = [f"{shorten(label)!r} is {shorten(name)!r}" for label, name in list(renamed.items())[:3]]
        return (
            f"{len(renamed)} of {len(self.classes) + len(self.unknown)} labels are written otherwise than the "
            f"classifier's classes and were matched: {', '.join(shown)}{', ...' if len(renamed) > 3 else ''}"
        )

    def told_unknown(self, counts: Counter[str], effect: str) -> str:
        """Which labels mean no class, the nearest class names, and what can be done; empty if there are none.

        Args:
            counts: photographs of each label.
            effect: what becomes of these photographs.
        """
        if not self.unknown:
            return ""
        total = len(self.classes) + len(self.unknown)
        n = sum(counts[label] for label in self.unknown)
        named = ", ".join(f"{shorten(label)!r} ({counts[label]})" for label in self.unknown[:_SHOWN])
        more = ", ..." if len(self.unknown) > _SHOWN else ""
        alarm = "" if self.classes else ", so that no label is the name of a class"
        return (
            f"the classifier does not know {len(self.unknown)} of {total} labels{alarm}; photographs so "
            f"labelled ({n} in all) {effect}: {named}{more}. {self._remedy()}"
        )

    def _remedy(self) -> str:
        near = {label: self.nearest(label) for label in self.unknown[:3]}
        hints = [
            f"{shorten(label)!r}: {', '.join(repr(shorten(name)) for name in names)}"
            for label, names in near.items()
            if names
        ]
        classes = ", ".join(repr(shorten(name)) for name in self.class_names[:3])
        nearest = (
            f"The classes nearest in spelling are {'; '.join(hints)}"
            if hints
            else f"Its classes are {classes}{', ...' if len(self.class_names) > 3 else ''}"
        )
        return (
            f"{nearest}; rename the labels, or give the classifier other class_names, or a taxonomy where a label is "
            "coarser than its classes"
        )

    def nearest(self, label: str, n: int = 3) -> list[str]:
        """The class names that are written most alike, the nearest first."""
        return nearest_names(label, [*self.class_names, *self.groups], n)


def match_labels(labels: Iterable[str | None], class_names: Sequence[str], groups: Groups = NO_GROUPS) -> LabelMatch:
    """Which class of a classifier each label means, or, if none, which group of its classes.

    A label means the class of the same name. Without such a class it means the only one whose name differs in case,
    in the form of accents and in what stands between the words, or else in a number before it as well, as in
    "001.Black_footed_Albatross"; or, if it is a whole number, the only class with that number as, or before, its name.
    Where several classes are called alike in this sense, it means none of them. What a label means does not depend on
    the other labels.

    Args:
        labels: of a dataset; repetitions and what is no text, such as None and NaN, are passed over.
        class_names: of the classifier.
        groups: name -> the classes inside, such as the taxa of a taxonomy; they may be written as loosely as classes.
    """
    exact = set(class_names)
    classes: dict[str, str] = {}
    unknown: list[str] = []
    for label in dict.fromkeys(label for label in labels if isinstance(label, str)):
        found = label if label in exact else _Alike.of(tuple(class_names)).find(label)
        if found is None and groups:
            found = label if label in groups else _Alike.of(tuple(groups)).find(label)
        if found is None:
            unknown.append(label)
        else:
            classes[label] = found
    return LabelMatch(classes, sorted(unknown), class_names, groups)


def label_notes(
    labels: Iterable[str | None], class_names: Sequence[str], effect: str, groups: Groups = NO_GROUPS
) -> list[str]:
    """What there is to say where the labels of photographs are not just the names of a classifier's classes.

    Args:
        labels: of the photographs.
        class_names: of the classifier.
        effect: what becomes of photographs whose label means no class.
        groups: see `match_labels`.
    """
    counts = Counter(label for label in labels if isinstance(label, str))
    match = match_labels(counts, class_names, groups)
    return [note for note in (match.told_renamed(), match.told_unknown(counts, effect)) if note]


def judged(predictions: pd.DataFrame, class_names: Sequence[str], groups: Groups = NO_GROUPS) -> pd.DataFrame:
    """Predictions with what each label means as their label, and the column correct after predicted.

    A prediction is right if it is the class that the label means, or lies inside the group that it means.

    Args:
        predictions: image_id, path, label, predicted and others.
        class_names: of the classifier.
        groups: see `match_labels`.
    """
    import pandas as pd

    match = match_labels(predictions["label"], class_names, groups)
    known = predictions["predicted"].notna() & predictions["label"].isin(list(match.classes))
    table = predictions.assign(label=pd.Series([match[label] for label in predictions["label"]], dtype=object))
    pairs = zip(table["label"], table["predicted"], strict=True)
    right = pd.Series([is_right(label, predicted, groups) for label, predicted in pairs], table.index, dtype="boolean")
    table.insert(4, "correct", right.where(known))
    return table


def is_right(label: object, predicted: object, groups: Groups) -> bool:
    """Whether a predicted class is what a label means: that class, or one inside that group."""
    return predicted in groups[label] if isinstance(label, str) and label in groups else predicted == label


def with_members(names: Iterable[object], groups: Groups) -> set[str]:
    """Names of classes and groups, and the classes inside those groups; what is no text is passed over."""
    named = {name for name in names if isinstance(name, str)}
    return named.union(*(groups[name] for name in named if name in groups))


def warn_of_labels(labels: Iterable[str | None], class_names: Sequence[str], groups: Groups = NO_GROUPS) -> None:
    """Warn of `label_notes`, in the name of the caller's caller, where answers are judged by the labels."""
    for note in label_notes(labels, class_names, NOT_JUDGED, groups):
        warn(note)


@dataclass(frozen=True)
class _Alike:
    """The class that is meant by a name as it is reduced, where there is only one."""

    by_key: dict[str, str]
    by_number: dict[str, str]
    by_bare_key: dict[str, str]

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, class_names: tuple[str, ...]) -> _Alike:
        numbers = [_number(name) for name in class_names]
        numbered = [(number, name) for number, name in zip(numbers, class_names, strict=True) if number is not None]
        return cls(
            _unique((_key(name), name) for name in class_names),
            _unique(numbered) if len(numbered) == len(class_names) else {},
            _unique((_key(without_number(name)), name) for name in class_names),
        )

    def find(self, label: str) -> str | None:
        key = _key(label)
        number = str(int(key)) if key.isdecimal() and key.isascii() else ""
        return self.by_key.get(key) or self.by_number.get(number) or self.by_bare_key.get(_key(without_number(label)))


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Key -> name, for the keys of one name alone; the empty key is none."""
    found: dict[str, str | None] = {}
    for key, name in pairs:
        found[key] = None if key in found else name
    return {key: name for key, name in found.items() if name is not None and key}


def _key(name: str) -> str:
    return folded(name, accents=True)


def _number(name: str) -> str | None:
    """The number that a name is, or that stands before it."""
    text = unicodedata.normalize("NFKC", name).strip()
    if text.isdecimal() and text.isascii():
        return str(int(text))
    found = number_before(text)
    return None if found is None else str(int(found[1]))
