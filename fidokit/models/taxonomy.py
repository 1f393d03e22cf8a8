"""`Taxonomy`: which taxa a classifier's classes belong to, rank by rank."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from fidokit._util.display import HtmlDisplay
from fidokit._util.shares import wilson
from fidokit.data.labels import match_labels
from fidokit.data.names import did_you_mean, shorten, there_are
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.speciesnet import class_names, read_taxa

#: Ranks from the coarsest to the finest, as far as their names alone say which encloses which.
RANKS = (
    *("domain", "kingdom", "phylum", "subphylum", "superclass", "class", "subclass", "infraclass", "superorder"),
    *("order", "suborder", "infraorder", "superfamily", "family", "subfamily", "tribe", "subtribe", "genus"),
    *("subgenus", "species", "subspecies", "variety"),
)
THRESHOLD = 0.65
"""Score from which a taxon is named in a roll-up: that of SpeciesNet, whose roll-ups field teams know. Above one half,
the taxa of a softmax that pass lie within one another, so that there is one finest of them."""
#: What the classes of camera-trap and iNaturalist models are called that are no organism.
NO_TAXON = frozenset(
    ("background", "blank", "empty", "no cv result", "none", "nothing", "other", "unknown", "unidentified", "vehicle")
)
_SPECIESNET_RANKS = ("kingdom", "class", "order", "family", "genus", "species")
_BINOMIAL = re.compile(r"([A-Z][a-zë-]+)[ _]((?:[a-zë]+-)*[a-zë]{2,})(?![\w.])")
REST_OF = "rest of "
"""Before the name of a taxon: its classes but those that are explained."""
_SHOWN = 5
#: class -> the taxon that it belongs to at each rank, None where there is none.
Lineages = Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class Taxon:
    """A group of classes.

    Attributes:
        name: by which it can be asked for.
        rank: its level.
        members: indices of its classes, rising.
    """

    name: str
    rank: str
    members: tuple[int, ...]


class Taxonomy(HtmlDisplay):
    """The taxa of a classifier's classes.

    Given to a `Classifier`, every taxon can be asked for wherever a class can (``targets="Strigidae"``), labels coarser
    than a class are judged at their rank, and predictions are rolled up to the finest taxon that is sure enough.

    A class without a taxon, such as "blank", stays a taxon of its own at every rank. A class that is itself a taxon
    above the others' level, such as SpeciesNet's "cat family", has nothing below its own rank: as a label it is right
    with every class inside.

    Args:
        lineages: class -> its taxon at each rank, None where it has none. What one class leaves open and another one of
            the same taxon says is filled in.
        ranks: from the coarsest to the finest.
        heads: classes that are a taxon themselves; each is that of its finest rank.
        aliases: other names of the classes, by which a classifier may call them.

    Raises:
        SettingsError: a taxon stands in two places of the tree, or there are no classes or ranks.

    Example:
        >>> owls = fk.Taxonomy.from_binomials(["Strix aluco (Tawny Owl)", "Strix nebulosa", "Bubo bubo", "blank"])
        >>> owls.members("Strix")
        ['Strix aluco (Tawny Owl)', 'Strix nebulosa']
        >>> owls.at("Bubo bubo", "genus"), owls.without_taxon
        ('Bubo', ['blank'])
    """

    def __init__(
        self,
        lineages: Lineages,
        ranks: Sequence[str],
        *,
        heads: Iterable[str] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.ranks = tuple(ranks)
        self.classes = list(lineages)
        if not self.ranks or not self.classes:
            raise SettingsError("a taxonomy needs at least one class and one rank")
        twice = next((rank for rank in self.ranks if self.ranks.count(rank) > 1), None)
        if twice is not None:
            raise SettingsError(f"the rank {twice!r} stands twice in the taxonomy; give each rank once")
        self._lineages = _filled(lineages, self.ranks)
        self._heads = frozenset(name for name in heads if any(self._lineages[name]))
        self._aliases = dict(aliases or {})
        self._index = {name: i for i, name in enumerate(self.classes)}
        self._taxa = self._found()

    # --- constructors ---------------------------------------------------------------------------------------------

    @classmethod
    def from_table(cls, table: pd.DataFrame | str | Path, *, ranks: Sequence[str] | None = None) -> Taxonomy:
        """From a table: the first column is the class, each other one a rank.

        Ranks with the usual names ("family", "genus") are ordered by them; columns of other names, such as "guild", by
        how many taxa they have. An empty cell means that the class has no taxon at that rank; a class that is called
        like one of its taxa is that taxon itself ("Felidae" in a row whose family is Felidae).

        Args:
            table: a DataFrame, or the path of a CSV or TSV file.
            ranks: the columns to read as ranks, from the coarsest to the finest. None: all but the first.

        Raises:
            SettingsError: the file cannot be read, a column is missing, a class stands twice with different taxa, or a
                taxon stands in two places of the tree.

        Example:
            >>> table = pd.DataFrame({"class": ["jay", "crow", "tit"], "family": ["Corvidae", "Corvidae", "Paridae"]})
            >>> fk.Taxonomy.from_table(table).members("Corvidae")
            ['jay', 'crow']
        """
        what = "the taxonomy's table" if isinstance(table, pd.DataFrame) else str(table)
        frame = table if isinstance(table, pd.DataFrame) else _read_table(Path(table))
        frame = frame[[column for column in frame.columns if not str(column).startswith("Unnamed:")]]
        if frame.shape[1] < 2 or not len(frame):
            raise SettingsError(
                f"{what}: a taxonomy needs rows with a class in the first column and ranks in the others"
            )
        names: dict[str, Hashable] = {str(column).strip().casefold(): column for column in frame.columns[1:]}
        for rank in ranks or ():
            if rank.casefold() not in names:
                raise SettingsError(f"{what} has no column {rank!r}; it has {', '.join(map(str, frame.columns))}")
        columns: list[Hashable] = (
            [names[rank.casefold()] for rank in ranks] if ranks is not None else list(names.values())
        )
        cells = {column: [_text(cell) for cell in frame[column]] for column in columns}
        if ranks is None:
            columns = _ordered([column for column in columns if any(cells[column])], cells)
        if not columns:
            raise SettingsError(f"{what}: no column but the first one has an entry; name the taxa of the classes there")
        lineages: dict[str, tuple[str | None, ...]] = {}
        for row, name in enumerate(map(_text, frame.iloc[:, 0])):
            if name is None:
                raise SettingsError(f"{what}: row {row + 1} has no class; name one, or take the row out")
            lineage = tuple(cells[column][row] for column in columns)
            if lineages.setdefault(name, lineage) != lineage:
                raise SettingsError(f"{what}: the class {name!r} stands in two rows with different taxa; keep one")
        heads = [name for name, lineage in lineages.items() if _same(_last(lineage), name)]
        return cls(lineages, [str(column).strip() for column in columns], heads=heads)

    @classmethod
    def from_speciesnet(cls, path: str | Path) -> Taxonomy:
        """From SpeciesNet's label file: a line ``uuid;class;order;family;genus;species;common name`` a class.

        The classes are the lines; a classifier may call them by line, uuid, common name, binomial, or as
        ``speciesnet:FOLDER`` does. Scientific names are capitalised. Lines without a species are the taxa that they
        name ("mammalia;carnivora;felidae;;;cat family"), "animal" is the kingdom of all organisms, and "blank",
        "vehicle" and the like have no taxon.

        Raises:
            ClassifierError: the file cannot be read, or a line has not seven fields.
        """
        rows = read_taxa(Path(path))
        lineages: dict[str, tuple[str | None, ...]] = {}
        heads: list[str] = []
        aliases: defaultdict[str, set[str]] = defaultdict(set)
        for (uuid, *taxa, common), called in zip(rows, class_names(rows), strict=True):
            line = ";".join((uuid, *taxa, common))
            determined = [] if common.casefold() in NO_TAXON else taxa
            *coarser, species = [taxon or None for taxon in determined] or [None] * len(taxa)
            organism = any(determined) or common.casefold() == "animal"
            genus = coarser[-1]
            binomial = f"{genus} {species}" if species and genus else species
            lineages[line] = ("animal" if organism else None, *map(_capitalised, (*coarser, binomial)))
            if organism and not species:
                heads.append(line)
            for alias in {uuid, common, binomial, called} - {None, ""}:
                aliases[str(alias)].add(line)
        alone = {alias: next(iter(own)) for alias, own in aliases.items() if len(own) == 1}
        return cls(lineages, _SPECIESNET_RANKS, heads=heads, aliases=alone)

    @classmethod
    def from_binomials(cls, names: Iterable[str]) -> Taxonomy:
        """From class names that begin with a binomial, as "Athene cunicularia (Burrowing Owl)": genus and species.

        What follows the binomial is no part of it, so that subspecies of one species are a taxon of their own. Names
        such as "background" or "blank" have no taxon, see `NO_TAXON`.

        Raises:
            SettingsError: a name is neither a binomial nor one of those.
        """
        lineages: dict[str, tuple[str | None, ...]] = {}
        unclear: list[str] = []
        for name in names:
            found = _BINOMIAL.match(name.strip())
            if found is None and name.strip().casefold() not in NO_TAXON:
                unclear.append(name)
            lineages[name] = (None, None) if found is None else (found[1], f"{found[1]} {found[2]}")
        if unclear:
            raise SettingsError(
                f"{_listed(unclear)} {'is no binomial' if len(unclear) == 1 else 'are no binomials'} such as 'Strix "
                "aluco'; give a table with the genus of each class, fidokit.Taxonomy.from_table, whose row is left "
                "empty for a class without a taxon"
            )
        return cls(lineages, ("genus", "species"))

    @classmethod
    def from_mapping(cls, groups: Mapping[str, str], *, rank: str = "group") -> Taxonomy:
        """From a mapping, class -> group. Of a classifier's classes, those that it leaves out stay by themselves.

        Args:
            groups: class -> the name of its group.
            rank: what the level of the groups is called.

        Example:
            >>> breeds = dict.fromkeys(["beagle", "pug"], "dog") | dict.fromkeys(["Siamese cat", "tabby"], "cat")
            >>> fk.Taxonomy.from_mapping(breeds).members("cat")
            ['Siamese cat', 'tabby']
        """
        for name, group in groups.items():
            if not isinstance(name, str) or not isinstance(group, str) or not group.strip():
                raise SettingsError(f"a taxonomy's mapping is class name -> name of its group, not {name!r}: {group!r}")
        made = cls({name: (group.strip(),) for name, group in groups.items()}, (rank,))
        made._open = True
        return made

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """From a file: SpeciesNet's labels, a CSV or TSV with a class and its ranks, or a list of binomials.

        The first line says which of them it is: seven fields with semicolons between them that are no names of ranks,
        several columns, or one.

        Raises:
            SettingsError: the file cannot be read, or is none of these.
        """
        text = _read_text(Path(path))
        first = next((line for line in text.splitlines() if line.strip()), "")
        heads = {field.strip().casefold() for field in first.split(";")}
        if first.count(";") == len(_SPECIESNET_RANKS) and heads.isdisjoint(("order", "family", "genus", "species")):
            return cls.from_speciesnet(path)
        if re.search(r"[,;\t]", first):
            return cls.from_table(path)
        return cls.from_binomials(re.sub(r"^\s*\d+\s+", "", line).strip() for line in text.splitlines() if line.strip())

    @classmethod
    def of(cls, given: TaxonomyLike) -> Taxonomy:
        """A taxonomy from whatever a `Classifier` is given as one: itself, a table, a mapping or a file."""
        if isinstance(given, Taxonomy):
            return given
        if isinstance(given, pd.DataFrame):
            return cls.from_table(given)
        if isinstance(given, Mapping):
            return cls.from_mapping(given)
        if isinstance(given, str | os.PathLike):
            return cls.load(os.fspath(given))
        raise SettingsError(
            f"a taxonomy is a fidokit.Taxonomy, a DataFrame, a mapping or a file, not {type(given).__name__}"
        )

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Taxonomy:
        """The taxonomy that `to_dict` describes.

        Raises:
            SettingsError: it is damaged.
        """
        try:
            lineages = {name: tuple(described["lineages"][i]) for i, name in enumerate(described["classes"])}
            return cls(lineages, described["ranks"], heads=described["heads"])
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise SettingsError(f"the description of a taxonomy is damaged: {error!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can have it; `from_dict` reads it."""
        return {
            "ranks": list(self.ranks),
            "classes": list(self.classes),
            "lineages": [list(self._lineages[name]) for name in self.classes],
            "heads": [name for name in self.classes if name in self._heads],
        }

    #: Whether classes that it does not name stay by themselves; of a table they would be an oversight.
    _open = False

    def bound(self, class_names: Sequence[str]) -> Taxonomy:
        """The taxonomy of just these classes, in their order and under these names.

        A class is found under its name, another name of it, or one that differs only in case and in what stands between
        the words, or in brackets after it. One that is called as in `NO_TAXON` may be missing: it has none.

        Raises:
            ClassifierError: classes are not in the taxonomy, or, of a mapping, it names classes that there are not.
        """
        names = [*self.classes, *self._aliases]
        match = match_labels(class_names, names)
        bare = {name: re.sub(r"\s*\([^()]*\)\s*$", "", name) for name in match.unknown}
        again = match_labels(bare.values(), names)
        found: dict[str, str] = dict(match.classes)
        found |= {name: again.classes[text] for name, text in bare.items() if text and text in again.classes}
        missing = [name for name in class_names if name not in found]
        if missing and not self._open:
            named = [name for name in missing if name.strip().casefold() not in NO_TAXON]
            if named:
                raise ClassifierError(
                    f"{len(named)} of {len(class_names)} classes are not in the taxonomy: {_listed(named)}; add them "
                    "to it, with empty cells for a class without a taxon"
                )
        own = {name: self._aliases.get(found[name], found[name]) for name in class_names if name in found}
        if self._open and len(set(own.values())) < len(self.classes):
            stray = [name for name in self.classes if name not in set(own.values())]
            raise ClassifierError(
                f"the taxonomy names {_listed(stray)}, which the classifier does not know"
                + did_you_mean(stray[0], class_names)
            )
        nothing: tuple[str | None, ...] = (None,) * len(self.ranks)
        lineages = {name: self._lineages[own[name]] if name in own else nothing for name in class_names}
        return Taxonomy(lineages, self.ranks, heads=[name for name in own if own[name] in self._heads])

    # --- what there is --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Taxonomy) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = [f"{len({t for t in self._column(rank) if t})} {rank}" for rank in self.ranks]
        without = f", {len(self.without_taxon)} without a taxon" if self.without_taxon else ""
        return f"Taxonomy({len(self)} classes; {', '.join(counts)}{without})"

    @property
    def class_rank(self) -> str:
        """What the level of the classes themselves is called."""
        if "genus" in self.ranks and "species" not in self.ranks:
            return "species"
        return "class" if "class" not in self.ranks else "label"

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """The ranks, and the level of the classes where it is finer than the finest rank."""
        finest = [self._place(i, len(self.ranks) - 1) for i in range(len(self)) if self.classes[i] not in self._heads]
        return self.ranks if len(set(finest)) == len(finest) else (*self.ranks, self.class_rank)

    @cached_property
    def without_taxon(self) -> list[str]:
        """The classes without any taxon."""
        return [name for name in self.classes if not any(self._lineages[name])]

    @property
    def taxa(self) -> Mapping[str, Taxon]:
        """Name -> taxon, from the coarsest rank to the finest."""
        return self._taxa

    def named(self, name: str) -> str:
        """A class or taxon; of a class that is a taxon, the taxon."""
        return self._own_taxon(name).name if name in self._heads else name

    def members(self, taxon: str) -> list[str]:
        """The classes inside a taxon.

        Raises:
            SettingsError: there is no such taxon.
        """
        return [self.classes[i] for i in self._taxon(taxon).members]

    def table(self) -> pd.DataFrame:
        """One row a class: class, and its taxon at each rank, None where it has none."""
        frame = pd.DataFrame([self._lineages[name] for name in self.classes], columns=list(self.ranks), dtype=object)
        if "class" in self.ranks:
            frame = frame.rename(columns={"class": "class (rank)"})
        frame.insert(0, "class", pd.Series(self.classes, dtype=object))
        return frame

    def at(self, name: str, rank: str) -> str | None:
        """The taxon at a rank that a class or a finer taxon belongs to.

        A class that has no taxon there stands by its next finer one, at last by itself; where the class or taxon is
        coarser than the rank, None.

        Raises:
            SettingsError: there is no such class, taxon or rank.
        """
        level = self.level(rank)
        if name in self._index:
            return self._place(self._index[name], level)
        taxon = self._taxon(name)
        own = self.ranks.index(taxon.rank)
        return self._first_taxon(taxon.members[0], range(level, own + 1))

    def level(self, rank: str) -> int:
        """The position of a rank, the coarsest is 0; the classes' own level comes after the finest rank.

        Raises:
            SettingsError: there is no such rank.
        """
        if rank in self.ranks:
            return self.ranks.index(rank)
        if rank in (self.class_rank, "species", "class"):
            return len(self.ranks)
        raise SettingsError(f"the taxonomy has no rank {rank!r}{there_are(rank, self.levels, 'it has')}")

    def is_lowest(self, rank: str) -> bool:
        """Whether a rank is that of species, or finer, or the classes' own: what is there is one of a kind."""
        lowest = self.ranks.index("species") if "species" in self.ranks else len(self.levels) - 1
        return self.level(rank) >= lowest

    @cached_property
    def groups(self) -> Mapping[str, frozenset[str]]:
        """What a label may mean beside a class: name of a taxon, or of a class that is one -> the classes inside."""
        found = {name: frozenset(self.classes[i] for i in taxon.members) for name, taxon in self._taxa.items()}
        for name in self.classes:
            if name in self._heads:
                found[name] = frozenset(self.classes[i] for i in self._own_taxon(name).members)
        return found

    @cached_property
    def flat(self) -> tuple[list[str], list[str], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """All taxa, and each class by itself, for sums over their classes.

        Returns:
            Names, ranks, numbers of classes, the classes' indices one after the other, and where each taxon's begin.
        """
        single = [Taxon(name, self.levels[-1], (i,)) for i, name in enumerate(self.classes) if name not in self._heads]
        every = [*(taxon for taxon in self._taxa.values() if len(taxon.members) > 1 or self._is_head(taxon)), *single]
        sizes = np.array([len(taxon.members) for taxon in every], np.int64)
        members = np.concatenate([np.array(taxon.members, np.int64) for taxon in every])
        names, ranks = [taxon.name for taxon in every], [taxon.rank for taxon in every]
        return names, ranks, sizes, members, np.r_[0, np.cumsum(sizes)[:-1]]

    # --- who is asked ---------------------------------------------------------------------------------------------

    def indices(self, name: str) -> tuple[int, ...] | None:
        """Indices of the classes inside a taxon; None where there is no such taxon."""
        taxon = self._taxa.get(name)
        return None if taxon is None else taxon.members

    def asked(self, name: str, rank: str, within: str | None = None) -> tuple[str, str | None]:
        """What is asked of a class, or of a finer taxon, at a rank: the taxon, and what it is told from.

        A taxon is told from everything outside it. At the rank of species or of the classes themselves, the question is
        what makes it this one *of its kind*: it is told from the rest of the finest coarser taxon that has others.

        Args:
            name: of a class or a taxon. One that is coarser than the rank is asked for as it is.
            rank: of the taxon to ask for.
            within: a coarser rank: the taxon is told from the rest of the one that encloses it there, or at the next
                coarser rank where that one holds nothing else. ``"all"``: from everything outside it, at every rank.
                None: as above.

        Returns:
            Name of the class or taxon, and ``"rest of TAXON"``, or None for everything else.

        Raises:
            SettingsError: there is no such name or rank, or `within` is not coarser than `rank`.
        """
        level = self.level(rank)
        limit = level - 1 if within in (None, "all") else self.level(str(within))
        if within not in (None, "all") and limit >= level:
            raise SettingsError(f"within={within!r} must be a coarser rank than {rank!r}; {', '.join(self.levels)}")
        own = self.named(name)
        target = self.at(own, rank) or own
        if self.is_lowest(rank) and target in self._taxa and len(self._taxa[target].members) == 1:
            target = self.classes[self._taxa[target].members[0]]  # "Strix aluco" of "Strix aluco (Tawny Owl)"
        if within == "all" or (within is None and not self.is_lowest(rank)):
            return target, None
        inside = {self._index[target]} if target in self._index else set(self._taxon(target).members)
        first = next(iter(inside))
        for place in range(min(limit, len(self.ranks) - 1), -1, -1):
            enclosing = self._lineages[self.classes[first]][place]
            if enclosing is None:
                continue
            others = set(self._at_place(enclosing, place).members)
            if inside < others and len(others) < len(self):
                return target, REST_OF + self._at_place(enclosing, place).name
        return target, None

    def rest(self, name: str) -> str | None:
        """The taxon that a name of the form "rest of TAXON" means the rest of; None for other names."""
        taxon = name.removeprefix(REST_OF)
        return taxon if taxon != name and taxon in self._taxa else None

    def wrong_at(self, label: str, predicted: str) -> str | None:
        """The coarsest rank at which a prediction goes wrong: right genus, wrong species is "species".

        None where it is right, which for a label coarser than a class means that it lies inside.
        """
        inside = self.groups.get(label, {label})
        if predicted in inside:
            return None
        names = [self.named(label), self.named(predicted)]
        for rank in self.levels:
            true, answered = (self.at(name, rank) for name in names)
            if true is not None and true != answered:
                return rank
        return self.levels[-1]

    def accuracy(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """How often predictions are right at each rank: the label's taxon there is that of the predicted class.

        Labels that are coarser than a rank say nothing at it and are not counted there.

        Args:
            predictions: of `Classifier.predict` or `Study.predictions`.

        Returns:
            One row a rank, the coarsest first: rank, n (photographs judged), right, accuracy, and its 95 % interval low
            and high (Wilson 1927), which takes the photographs to be independent.
        """
        judged = predictions[predictions["correct"].notna()]
        pairs = [(self.named(a), self.named(b)) for a, b in zip(judged["label"], judged["predicted"], strict=True)]
        rows = []
        for rank in self.levels:
            both = [(self.at(label, rank), self.at(predicted, rank)) for label, predicted in pairs]
            known = [(true, answered) for true, answered in both if true is not None]
            n, right = len(known), sum(true == answered for true, answered in known)
            low, high = wilson([right], [n], 1.96)
            row = {"rank": rank, "n": n, "right": right, "accuracy": right / n if n else np.nan}
            rows.append({**row, "low": float(low[0]), "high": float(high[0])})
        return pd.DataFrame(rows)

    def errors(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The errors by the coarsest rank at which they go wrong.

        Args:
            predictions: of `Classifier.predict` or `Study.predictions`.

        Returns:
            One row a rank, the coarsest first: rank, n (errors that go wrong there first, so that they are right at
            every coarser rank), share (of all errors), and pairs (the most frequent, label and predicted class).
        """
        wrong = predictions[predictions["correct"].eq(False).fillna(False).astype(bool)]
        pairs = list(zip(wrong["label"], wrong["predicted"], strict=True))
        places = [self.wrong_at(label, predicted) for label, predicted in pairs]
        rows = []
        for rank in self.levels:
            own = [pair for pair, place in zip(pairs, places, strict=True) if place == rank]
            counts = Counter(own).most_common(_SHOWN)
            told = ", ".join(f"{a} taken for {b} ({n})" for (a, b), n in counts)
            rows.append({"rank": rank, "n": len(own), "share": len(own) / len(wrong) if len(wrong) else np.nan})
            rows[-1]["pairs"] = told
        return pd.DataFrame(rows)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _column(self, rank: str) -> list[str | None]:
        place = self.ranks.index(rank)
        return [self._lineages[name][place] for name in self.classes]

    def _place(self, index: int, level: int) -> str | None:
        """Name of the taxon of a class at a level: the next finer one where it has none there, at last its own name;
        None below a class that is a taxon."""
        name = self.classes[index]
        found = self._first_taxon(index, range(level, len(self.ranks)))
        return found if found is not None or name in self._heads else name

    def _first_taxon(self, index: int, places: range) -> str | None:
        """The coarsest taxon of a class at some ranks, if it has one there."""
        lineage = self._lineages[self.classes[index]]
        return next((self._at_place(str(lineage[i]), i).name for i in places if lineage[i] is not None), None)

    def _at_place(self, taxon: str, level: int) -> Taxon:
        return self._taxa[self._display[taxon, level]]

    def _own_taxon(self, name: str) -> Taxon:
        """The taxon that a class is."""
        lineage = self._lineages[name]
        place = max(i for i, taxon in enumerate(lineage) if taxon is not None)
        return self._at_place(str(lineage[place]), place)

    def _is_head(self, taxon: Taxon) -> bool:
        return self.classes[taxon.members[0]] in self._heads

    def _taxon(self, name: str) -> Taxon:
        if name not in self._taxa:
            raise SettingsError(f"the taxonomy has no taxon {name!r}{did_you_mean(name, list(self._taxa))}")
        return self._taxa[name]

    def _found(self) -> dict[str, Taxon]:
        """All taxa. A taxon that is called like a class and holds more than it is named with its rank."""
        members: dict[tuple[str, int], list[int]] = defaultdict(list)
        for i, name in enumerate(self.classes):
            for place, taxon in enumerate(self._lineages[name]):
                if taxon is not None:
                    members[taxon, place].append(i)
        seen: dict[str, tuple[int, list[int]]] = {}
        self._display: dict[tuple[str, int], str] = {}
        taxa: dict[str, Taxon] = {}
        for (taxon, place), own in sorted(members.items(), key=lambda item: item[0][1]):
            before = seen.setdefault(taxon, (place, own))
            if before[1] != own:
                raise SettingsError(
                    f"the taxon {taxon!r} stands in two places of the tree: as {self.ranks[before[0]]} it holds "
                    f"{_listed([self.classes[i] for i in before[1]])}, as {self.ranks[place]} "
                    f"{_listed([self.classes[i] for i in own])}; write one of them otherwise"
                )
            clash = taxon in self._index and own != [self._index[taxon]]
            name = f"{self.ranks[place]} {taxon}" if clash else taxon
            self._display[taxon, place] = name
            taxa[name] = Taxon(name, self.ranks[place], tuple(own))
        return taxa


#: What a taxonomy is made from.
TaxonomyLike = Taxonomy | pd.DataFrame | Mapping[str, str] | str | os.PathLike[str]


def _filled(lineages: Lineages, ranks: Sequence[str]) -> dict[str, tuple[str | None, ...]]:
    """The lineages with one spelling of each taxon, and what one row leaves open filled in from others of its taxon.

    Raises:
        SettingsError: a taxon has two different taxa above it.
    """
    spelling: dict[Hashable, str] = {}
    rows: dict[str, list[str | None]] = {}
    for name, lineage in lineages.items():
        if len(lineage) != len(ranks):
            raise SettingsError(f"the class {name!r} has {len(lineage)} taxa for {len(ranks)} ranks")
        texts = [_text(taxon) for taxon in lineage]
        rows[name] = [text and spelling.setdefault((place, text.casefold()), text) for place, text in enumerate(texts)]
    above: dict[tuple[int, str, int], tuple[str, str]] = {}
    filled = True
    while filled:
        for name, row in rows.items():
            for fine, taxon, coarse in _determined(row):
                found = row[coarse]
                if found is None:
                    continue
                parent, first = above.setdefault((fine, taxon, coarse), (found, name))
                if parent != found:
                    raise SettingsError(
                        f"the taxon {taxon!r} ({ranks[fine]}) stands in two places of the tree: in {parent!r} for the "
                        f"class {first!r} and in {found!r} for {name!r}; correct one of them, or, if they are two taxa "
                        "of one name, write them differently"
                    )
        # What is filled in may say more of other rows.
        filled = False
        for row in rows.values():
            for fine, taxon, coarse in _determined(row):
                if row[coarse] is None and (fine, taxon, coarse) in above:
                    row[coarse], filled = above[fine, taxon, coarse][0], True
    return {name: tuple(row) for name, row in rows.items()}


def _determined(row: Sequence[str | None]) -> Iterator[tuple[int, str, int]]:
    """(rank, taxon, coarser rank) for each taxon that a row names, the finest first."""
    for fine in range(len(row) - 1, 0, -1):
        taxon = row[fine]
        if taxon is not None:
            yield from ((fine, taxon, coarse) for coarse in range(fine))


def _ordered(columns: Sequence[Hashable], cells: Mapping[Hashable, Sequence[str | None]]) -> list[Hashable]:
    """The columns from the coarsest rank to the finest: by the usual names, else by how many taxa they have."""
    known = [str(column).strip().casefold() for column in columns]
    if all(name in RANKS for name in known):
        return sorted(columns, key=lambda column: RANKS.index(str(column).strip().casefold()))

    def key(column: Hashable) -> tuple[int, int]:
        name = str(column).strip().casefold()
        return len({cell for cell in cells[column] if cell}), RANKS.index(name) if name in RANKS else len(RANKS)

    return sorted(columns, key=key)


def _capitalised(taxon: str | None) -> str | None:
    return taxon and taxon[0].upper() + taxon[1:]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else f"it is no UTF-8 text ({error})"
        raise SettingsError(f"the taxonomy {path} cannot be read: {reason}") from error


def _read_table(path: Path) -> pd.DataFrame:
    text = _read_text(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        import io

        return pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise SettingsError(f"the taxonomy {path} cannot be read as a table: {error}") from error


def _text(cell: object) -> str | None:
    if cell is None or cell is pd.NA or cell != cell:
        return None
    return " ".join(str(cell).split()) or None


def _same(one: str | None, other: str) -> bool:
    return one is not None and one.casefold() == other.casefold()


def _last(lineage: Sequence[str | None]) -> str | None:
    return next((taxon for taxon in reversed(lineage) if taxon is not None), None)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(shorten(name)) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
