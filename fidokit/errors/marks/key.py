"""`identification_key`: what separates the classes that a study confuses, pair by pair."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fidokit._util.checks import COUNT, check_number
from fidokit.errors.answer import Answer, no_examples
from fidokit.errors.marks.pair import COLUMNS, Separation, separate
from fidokit.study.study import Study

NOTHING = "nothing that can be shown"
#: Pairs that are looked at where none are given, the most confused first.
MOST_PAIRS = 12
#: Columns of `IdentificationKey.table`, beside the pair.
_KEY = ["mark", "seen_in", "where", "effect", "effect_low", "effect_high", "share", "p_value", "n"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class IdentificationKey(Answer):
    """What separates the classes of each pair; made by `identification_key`.

    Attributes:
        separations: of each pair, in order.

    Example:
        >>> key = fk.identification_key(study, [("marl tit", "hollow tit")], progress=False)
        >>> key.table["mark"].tolist()
        ['nothing that can be shown']
    """

    separations: tuple[Separation, ...]


def identification_key(
    study: Study,
    pairs: Sequence[tuple[str, str]] | None = None,
    *,
    most: int = MOST_PAIRS,
    progress: bool = True,
    **options: Any,
) -> IdentificationKey:
    """What separates the classes that the study confuses, as `separate` finds it of each pair.

    Each pair is tested by itself: p-values are corrected for the marks of a pair, not for the number of pairs.

    Args:
        study: with photographs of the classes.
        pairs: of names of classes; None: those of which photographs of one were taken for the other, the most confused
            first. Where no photograph was taken for another class, those that were the runner-up most often.
        most: pairs, at most, where none are given.
        progress: whether to say how many evaluations each pair takes, and to show progress.
        **options: of `separate`.

    Returns:
        The table has a row for each mark that was shown, in the order of pairs and of effects, and one that says so for
        each pair without. After Ctrl-C: the pairs that were finished.

    Raises:
        SettingsError: a class or an option that there is not.

    Example:
        >>> key = fk.identification_key(study, [("marl tit", "hollow tit")], progress=False)
        >>> key.to_csv("key.csv").name
        'key.csv'
    """
    check_number("most", most, COUNT)
    notes: list[str] = []
    chosen = _confused(study, most, notes) if pairs is None else list(pairs)
    done: list[Separation] = []
    try:
        for a, b in chosen:
            done.append(separate(study, a, b, progress=progress, **options))
    except KeyboardInterrupt:
        notes.append(f"Stopped: {len(done)} of {len(chosen)} pairs were looked at.")
        print(f"Stopped. The key has the {len(done)} of {len(chosen)} pairs that were finished.", file=sys.stderr)
    columns = ["pair", *_KEY]
    return IdentificationKey(
        study=study,
        question="How to tell apart the classes that are confused",
        headline=_headline(done),
        table=pd.concat([_rows(one) for one in done] or [pd.DataFrame(columns=columns)], ignore_index=True),
        columns={name: text for name, text in COLUMNS.items() if text and name in _KEY},
        examples=pd.concat([_photographs(one) for one in done] or [no_examples()], ignore_index=True),
        notes=(*notes, *(f"{_name(one)}: {note}" for one in done for note in (*_why(one), *one.notes))),
        separations=tuple(done),
    )


def _confused(study: Study, most: int, notes: list[str]) -> list[tuple[str, str]]:
    """The pairs of classes of which photographs were taken for each other, the most first."""
    table = study.predictions()
    classes = set(study.manifest["classifier"]["class_names"])
    known = table[table["label"].isin(classes)]
    for column, note in (
        ("predicted", ""),
        ("runner_up", "No photograph was taken for another class: the pairs are those of class and runner-up."),
    ):
        named = known[known[column].isin(classes) & (known[column] != known["label"])]
        pairs = Counter(tuple(sorted(pair)) for pair in zip(named["label"], named[column], strict=True))
        if pairs:
            notes += [note] if note else []
            if len(pairs) > most:
                notes.append(f"Of {len(pairs)} pairs, the {most} most frequent were looked at; `most` asks for more.")
            return [(a, b) for (a, b), _ in pairs.most_common(most)]
    notes.append("No photograph has a label that the classifier knows, so that no class was confused; give pairs.")
    return []


def _name(one: Separation) -> str:
    return f"{one.a} or {one.b}"


def _rows(one: Separation) -> pd.DataFrame:
    marks = one.marks if len(one.marks) else pd.DataFrame([{"mark": NOTHING}])
    return marks.reindex(columns=_KEY).assign(pair=_name(one))[["pair", *_KEY]]


def _photographs(one: Separation) -> pd.DataFrame:
    """Those of the pair's marks, the mark in the caption."""
    return one.examples.assign(group=_name(one), caption=one.examples["group"] + ": " + one.examples["caption"])


def _why(one: Separation) -> list[str]:
    """Why nothing can be shown."""
    return [one.headline] if one.marks.empty else []


def _headline(done: Sequence[Separation]) -> str:
    shown = [one for one in done if len(one.marks)]
    if not done:
        return "There is no pair to look at."
    without = len(done) - len(shown)
    count = f"{len(shown)} of {len(done)} pairs have marks that filling in proves."
    nothing = (
        f" Of {'one' if without == 1 else without} nothing can be shown: see the notes for why." if without else ""
    )
    return count + (" For each, look at its marks in their order." if shown else "") + nothing
