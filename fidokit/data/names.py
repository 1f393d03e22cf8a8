"""Names as people type them: which of many names is meant by a part of one, and which are written most alike."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from fidokit.exceptions import SettingsError

#: Pieces of names among which the nearest are looked for; beyond that it would take seconds.
_MOST_PIECES = 60_000
_SHOWN = 10
_LONGEST = 40
#: Of a name that is to be chosen: it must be seen whole.
_LONGEST_OFFERED = 100
#: What stands between the names of one class: "Athene cunicularia (Burrowing Owl)", "tench, Tinca tinca".
_BETWEEN_NAMES = re.compile(r"[()\[\],;/|]")
_NUMBERED = re.compile(r"\s*(\d+)\s*[._\-:)\s]\s*(?=\S)")
#: A word that is shorter is like too many others.
_LEAST_WORD = 4


def meant_name(typed: str, names: Sequence[str], what: str) -> str:
    """The name that is meant by what was typed: the name itself, or a part that no other name has.

    Args:
        typed: a name, or any part of one; case, accents and what stands between words do not matter.
        names: those that there are.
        what: they are, in the singular: ``class``.

    Raises:
        SettingsError: several names fit, which are listed, or none does; the nearest are listed then.
    """
    if typed in names:
        return typed
    fits = fitting_names(typed, names)
    if len(fits) == 1:
        return fits[0]
    if fits:
        shown = ", ".join(_offered(fits[:_SHOWN]))
        more = f" and {len(fits) - _SHOWN} more" if len(fits) > _SHOWN else ""
        raise SettingsError(f"{typed!r} fits {len(fits)} names: {shown}{more}; write more of the one that is meant")
    raise unknown_class(typed, names, what)


def unknown_class(typed: str, names: Sequence[str], what: str = "class") -> SettingsError:
    """The error on a name that the classifier does not know; it tells the nearest of those that there are."""
    return SettingsError(f"the classifier knows no {what} {typed!r}{did_you_mean(typed, names)}")


def fitting_names(typed: str, names: Sequence[str]) -> list[str]:
    """The names that what was typed fits best, in their order.

    They are those of which it is all, or the whole of one of several names ("Burrowing Owl"); without any, those in
    which its words occur as words, in any order; and else as parts of words, but for numbers: 9 is no part of 99.
    """
    return _Searched.of(tuple(names)).fitting(folded(typed))


def nearest_names(typed: str, names: Sequence[str], n: int = 3, least: float = 0.5) -> list[str]:
    """The names that are written most like what was typed, wholly or in a part or word of theirs, the nearest first.

    Args:
        typed: a name that there is not.
        names: those that there are.
        n: how many at most.
        least: how alike they must be: 2 x letters in common / letters of both (`difflib`).
    """
    by_piece: dict[str, list[str]] = defaultdict(list)
    for piece, name in islice(_pieces(names), _MOST_PIECES):
        by_piece[piece].append(name)
    near = difflib.get_close_matches(folded(without_number(typed)), by_piece, n=n, cutoff=least)
    return list(dict.fromkeys(name for piece in near for name in by_piece[piece]))[:n]


def did_you_mean(typed: object, names: Sequence[str]) -> str:
    """The end of a message on a name that there is not: the nearest ones, or nothing."""
    near = nearest_names(str(typed), names, least=0.6)
    return f"; did you mean {', '.join(_offered(near))}?" if near else ""


def there_are(typed: object, names: Sequence[str], lead: str) -> str:
    """The end of a message on a name that there is not, where there are few: the nearest, and all of them.

    Args:
        typed: the name.
        names: those that there are.
        lead: the words before them: ``the methods are``.
    """
    near, all_of_them = did_you_mean(typed, names), f"{lead} {', '.join(names)}" if names else "it has none"
    return f"{near} {all_of_them[0].upper()}{all_of_them[1:]}" if near else f"; {all_of_them}"


def _offered(names: Sequence[str]) -> list[str]:
    return [repr(shorten(name, _LONGEST_OFFERED)) for name in names]


def folded(text: str, *, accents: bool = False) -> str:
    """A text by which names are compared: small letters, its words one blank apart; with accents where they count."""
    text = unicodedata.normalize("NFKC" if accents else "NFKD", text).casefold()
    if not accents:
        text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"['’`´]", "", unicodedata.normalize("NFKC", text))
    return re.sub(r"[\W_]+", " ", text).strip()


def number_before(name: str) -> re.Match[str] | None:
    """The number before a name as the first group of a match, as in "001.Black_footed_Albatross", "12 fox"."""
    return _NUMBERED.match(name)


def without_number(name: str) -> str:
    """A name without the number before it, if letters follow."""
    rest = _NUMBERED.sub("", name, count=1)
    return rest if any(character.isalpha() for character in rest) else name


def shorten(label: str, longest: int = _LONGEST) -> str:
    """A label for a message: labels may be of any length."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


@dataclass(frozen=True)
class _Searched:
    """Names, and what each is searched by: all of it with blanks around, and the single names in it."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    parts: tuple[frozenset[str], ...]

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, names: tuple[str, ...]) -> _Searched:
        texts = tuple(f" {folded(name)} " for name in names)
        return cls(names, texts, tuple(frozenset(_names_in(name)) for name in names))

    def fitting(self, typed: str) -> list[str]:
        words = typed.split()
        if not words:
            return []
        found = [name for name, parts in zip(self.names, self.parts, strict=True) if typed in parts]
        for around in (" ", ""):
            if not found:
                wanted = [f" {word} " if word.isdecimal() else f"{around}{word}{around}" for word in words]
                pairs = zip(self.names, self.texts, strict=True)
                found = [name for name, text in pairs if all(word in text for word in wanted)]
        return found


def _names_in(name: str) -> list[str]:
    """All of a name, and each of several in it, folded."""
    bare = without_number(name)
    every = (folded(part) for part in (name, bare, *_BETWEEN_NAMES.split(bare)))
    return list(dict.fromkeys(part for part in every if part))


def _pieces(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What names are found by, and the names: first all of each, then the names in it, then the words."""
    each = [_names_in(without_number(name)) for name in names]
    for parts, name in zip(each, names, strict=True):
        yield from ((part, name) for part in parts[:1])
    for parts, name in zip(each, names, strict=True):
        words = (word for word in (parts[0].split() if parts else ()) if len(word) >= _LEAST_WORD)
        yield from ((piece, name) for piece in dict.fromkeys([*parts[1:], *words]) if piece != parts[0])
