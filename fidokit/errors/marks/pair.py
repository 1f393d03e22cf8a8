"""`separate`: what separates one class from another in a study's photographs, proved by changing pixels."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from fidokit.data.names import shorten
from fidokit.errors.answer import Answer
from fidokit.errors.features import PREFERRED, MapReader
from fidokit.errors.find import bursts_of
from fidokit.errors.groups import halves
from fidokit.errors.interventions import DEFAULT_INFILLS, Infills, check_infills
from fidokit.errors.marks.candidates import MOST, Candidate, alike_cells, named_parts
from fidokit.errors.marks.proof import ALPHA, LEAST, Proof, evaluations, judged
from fidokit.errors.marks.sights import Floats, knows_parts, sights
from fidokit.errors.survey import sequence_column
from fidokit.errors.verify import more_often
from fidokit.exceptions import SettingsError
from fidokit.methods import explain
from fidokit.models.apart import rows_apart
from fidokit.models.goals import against_itself, class_index
from fidokit.study.study import Study

#: What computes contrastive masks that the study has not: at the classifier's last places, for hardly any evaluations.
_METHOD = "hires-cam"
#: Photographs that masks are computed of together.
_TOGETHER = 8
#: Photographs of each class, at most; of more, so many are drawn.
MOST_PHOTOGRAPHS = 200
#: Blurred photographs of other classes that stand in for a mark, beside flat colours.
_PHOTOGRAPHS = 1
#: Photographs that show a mark as an example.
_EXAMPLES = 4
COLUMNS = {
    "mark": "",
    "seen_in": "photographs of",
    "where": "in the animal's box",
    "effect": "of filling it in, log-odds",
    "effect_low": "",
    "effect_high": "",
    "share": "of the log-odds",
    "p_value": "of all marks together",
    "shown": "as a mark",
    "n": "photographs held out",
    "effect_a": "in the first class",
    "effect_b": "in the second class",
}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Separation(Answer):
    """What separates two classes; made by `separate`.

    Attributes:
        a, b: the classes.
        candidates: what each row of the table is looked up with in a photograph.

    Example:
        >>> pair = fk.separate(study, "marl tit", "hollow tit", progress=False)
        >>> pair.headline
        'Nothing that can be shown separates marl tit from hollow tit: there are too few photographs, 1 and 1.'
    """

    a: str
    b: str
    candidates: tuple[Candidate, ...] = ()

    @property
    def marks(self) -> pd.DataFrame:
        """The rows of the table that were shown, in order."""
        return self.table[self.table["shown"].astype(bool)].reset_index(drop=True)


def separate(
    study: Study,
    a: str,
    b: str,
    *,
    method: str = _METHOD,
    parts: bool | None = None,
    infills: Sequence[str] = DEFAULT_INFILLS,
    burst: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Separation:
    """What separates class A from class B for the classifier, over all photographs of the two.

    On one half of the photographs (discovery), contrastive masks say what speaks for A against B in photographs of A,
    and for B against A in those of B. They are brought into one frame, and what recurs is a mark: a part on which they
    are strong, where the dataset has maps or points of parts; else a group of places in the animal's box that look
    alike to the classifier (its last map of places, by cosine similarity). On the other half each mark is filled in,
    and as much elsewhere on the same animal. A mark is shown if filling it in takes more of the log-odds than that
    (sign flips, one-sided, 0.05 after Holm's correction for the marks of the pair), and at least 5 % of them: less is
    nothing to tell a species by. What speaks for A in photographs of A and of B alike cancels.

    Where the classifier does not tell the photographs of A from those of B better than chance (Fisher's exact test, on
    the discovery half), nothing is filled in.

    Args:
        study: with photographs of both classes, by their labels; where it has no labels at all, by predictions.
        a, b: names of two classes.
        method: what makes contrastive masks, where the study has none of all these photographs. Default hires-cam: 4
            evaluations a photograph. Others, such as ``occlusion`` with 229, tell places by what covering them does.
        parts: whether marks are parts of the dataset; None: where it has them.
        infills: what marks are filled in with; see `fidokit.errors.verify.verify`.
        burst: a column that names what belongs together: it stays in one half, and is one unit of interval and test.
            None: the column sequence, or else the photograph that several animals were found in.
        seed: of everything random.
        progress: whether to say how many evaluations it takes, and to show a progress bar.

    Raises:
        SettingsError: a class, method, infill or column that there is not, or twice the same class.
        MethodNotApplicable: the classifier lacks what the method needs.
        StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.

    Example:
        >>> fk.separate(study, "marl tit", "hollow tit", progress=False).marks.empty
        True
    """
    names = study.manifest["classifier"]["class_names"]
    pair = class_index(a, names), class_index(b, names)
    if pair[0] == pair[1]:
        raise SettingsError(against_itself(a))
    checked = check_infills(infills)
    notes: list[str] = []
    found = _Pair.gather(study, (a, b), burst, seed, notes)
    if min(found.counts(held_out=False) + found.counts(held_out=True)) < LEAST:
        n, m = (sum(side) for side in zip(found.counts(held_out=False), found.counts(held_out=True), strict=True))
        return _nothing(study, a, b, f"there are too few photographs, {n} and {m}", notes)
    named = knows_parts(study) if parts is None else parts
    held = found.of(0, held_out=True) + found.of(1, held_out=True)
    right = found.told_apart(pair)
    hits = [[right[i] for i in found.of(side, held_out=False) if i in right] for side in (0, 1)]
    if min(map(len, hits)) < LEAST:
        return _nothing(study, a, b, f"too few photographs can be read, {len(hits[0])} and {len(hits[1])}", notes)
    if more_often(sum(hits[0]), len(hits[0]), hits[1].count(False), len(hits[1])) > ALPHA:
        told = f"{sum(hits[0])} of {len(hits[0])} {a} and {sum(hits[1])} of {len(hits[1])} {b}"
        return _nothing(study, a, b, f"the classifier does not tell them apart (it gets {told} right)", notes)
    maps = found.contrast(right, method, evaluations(len(held), MOST, len(checked)), progress)
    with study.classifier.session() as session:
        reader = None if named else MapReader(session, study.classifier)
        seen = sights(study, list(maps), reader)
        candidates = named_parts(seen, maps) if named else alike_cells(seen, maps, found.classes, seed)
        if reader is not None and reader.missing:
            return _nothing(study, a, b, f"no parts are known, and no places: {reader.missing}", notes)
        bank = Infills(study, checked, seed, _PHOTOGRAPHS)
        total = evaluations(len(held), len(candidates), len(checked))
        with tqdm(
            total=total, unit="evaluation", desc=f"{a} or {b}"[:40], disable=None if progress else True, leave=False
        ) as bar:
            measured = Proof(study, session, pair, found.classes, bank, bar).measure(held, reader, candidates)
    return _answer(study, found, candidates, measured, notes)


@dataclass(frozen=True)
class _Pair:
    """The photographs of two classes.

    Attributes:
        study: whose photographs they are.
        names: of the two classes.
        classes: image_id -> 0 or 1.
        held_out: image_id -> whether it is of the held-out half.
        units: image_id -> what is independent of the others.
    """

    study: Study
    names: tuple[str, str]
    classes: dict[str, int]
    held_out: dict[str, bool]
    units: dict[str, str]

    @classmethod
    def gather(cls, study: Study, names: tuple[str, str], burst: str | None, seed: int, notes: list[str]) -> _Pair:
        """The photographs of the study, at most `MOST_PHOTOGRAPHS` of a class."""
        table = study.predictions()
        labelled = bool(table["label"].notna().any())
        if not labelled:
            notes.append("The photographs have no labels: those of a class are the ones that were taken for it.")
        shown = table["label"] if labelled else table["predicted"]
        generator = np.random.default_rng(seed)
        classes: dict[str, int] = {}
        for side, name in enumerate(names):
            own = table["image_id"][(shown == name) & table["predicted"].notna()].tolist()
            if len(own) > MOST_PHOTOGRAPHS:
                notes.append(f"Of {len(own)} photographs of {name}, {MOST_PHOTOGRAPHS} were drawn.")
            # Whatever comes first is a random part.
            own = [own[i] for i in generator.permutation(len(own))[:MOST_PHOTOGRAPHS]]
            classes |= dict.fromkeys(own, side)
        ids = list(classes)
        bursts = bursts_of(study, ids, sequence_column(study.images, burst)) or [None] * len(ids)
        out = halves(ids, np.asarray([classes[i] for i in ids], np.int64), seed, bursts)
        units = {i: f"photograph {i}" if own is None else f"burst {own}" for i, own in zip(ids, bursts, strict=True)}
        return cls(study, names, classes, dict(zip(ids, out.tolist(), strict=True)), units)

    def of(self, side: int, *, held_out: bool) -> list[str]:
        """The photographs of one class and half."""
        return [i for i, own in self.classes.items() if own == side and self.held_out[i] == held_out]

    def counts(self, *, held_out: bool) -> list[int]:
        """How many photographs each class has in a half."""
        return [len(self.of(side, held_out=held_out)) for side in (0, 1)]

    def told_apart(self, pair: tuple[int, int]) -> dict[str, bool]:
        """image_id -> whether the classifier has the photograph nearer to its class than to the other; of those of the
        discovery half that can be read."""
        classifier, right = self.study.classifier, dict[str, bool]()
        ids = [*self.of(0, held_out=False), *self.of(1, held_out=False)]
        at = {self.study.positions[image_id]: image_id for image_id in ids}
        with classifier.session() as session, self.study.reading(list(at), _TOGETHER) as reading:
            for chunk in reading:
                for rows, left_out in rows_apart(classifier, chunk.images):
                    with classifier.leaving_out(left_out):
                        logits = session.logits(chunk.images[rows])
                    for row, own in zip(rows, logits, strict=True):
                        side = self.classes[at[chunk.positions[row]]]
                        right[at[chunk.positions[row]]] = bool(own[pair[side]] > own[pair[1 - side]])
                del chunk  # before the next one is there
        return right

    def contrast(self, readable: Collection[str], method: str, proof: int, progress: bool) -> dict[str, Floats]:
        """image_id -> (h, w) mask of the photograph's class against the other; discovery half.

        Args:
            readable: the photographs that can be read.
            method: what makes those that the study has not.
            proof: evaluations that come after these, at most.
            progress: whether to say how many there will be.
        """
        found: dict[str, Floats] = {}
        lacking: list[tuple[str, int]] = []
        for side in (0, 1):
            ids = [image_id for image_id in self.of(side, held_out=False) if image_id in readable]
            stored = self._stored(ids, side)
            found |= stored or {}
            lacking += [] if stored else [(image_id, side) for image_id in ids]
        if progress:
            each = self._explained([lacking[0][0]], lacking[0][1], method)[1] if lacking else 0
            masks = f"{each * len(lacking):,} for {len(lacking)} masks by {method} and " if lacking else ""
            print(f"{' or '.join(self.names)}: {masks}up to {proof:,} evaluations to prove marks", file=sys.stderr)
        with tqdm(total=len(lacking), unit="mask", disable=None if progress else True, leave=False) as bar:
            for side in (0, 1):
                own = [image_id for image_id, other in lacking if other == side]
                for start in range(0, len(own), _TOGETHER):
                    found |= self._explained(own[start : start + _TOGETHER], side, method)[0]
                    bar.update(len(own[start : start + _TOGETHER]))
        return found

    def _explained(self, ids: Sequence[str], side: int, method: str) -> tuple[dict[str, Floats], int]:
        """The masks of photographs of a class, and evaluations of each."""
        data = self.study.data.subset([self.study.positions[image_id] for image_id in ids])
        masks = explain(self.study.classifier, data, method, targets=self.names[side], against=self.names[1 - side])
        kind = next(name for name in PREFERRED if name in masks.kinds)
        found = zip(masks.image_ids, masks.kinds[kind].numpy(), strict=True)
        return dict(found), int(masks.evaluations.max()) if len(masks) else 0

    def _stored(self, ids: Sequence[str], side: int) -> dict[str, Floats] | None:
        """Masks that the study has of all these photographs of a class, of one method and kind."""
        frame = self.study.masks(columns=["image_id", "method", "kind", "target", "against"], image_ids=ids)
        frame = frame[(frame["target"] == self.names[side]) & (frame["against"] == self.names[1 - side])]
        counts = frame.groupby(["method", "kind"]).size().to_dict()
        whole = [(m, kind) for kind in PREFERRED for m in self.study.methods if counts.get((m, kind)) == len(ids)]
        if not whole:
            return None
        own = self.study.masks(*whole[0], ["image_id", "mask"], ids)
        return dict(zip(own["image_id"], own["mask"], strict=True))


def _answer(
    study: Study, found: _Pair, candidates: Sequence[Candidate], measured: pd.DataFrame, notes: list[str]
) -> Separation:
    a, b = found.names
    table = judged(measured, found.units)
    order = table["candidate"].tolist()
    table["mark"] = [candidates[i].name or f"mark {k}" for k, i in enumerate(order, start=1)]
    held = found.counts(held_out=True)
    share_a, share_b = table["n_a"] / held[0], table["n_b"] / held[1]
    mostly = np.where(share_a >= share_b, a, b)
    table["seen_in"] = np.where(np.minimum(share_a, share_b) >= 0.5, "both", mostly)
    shown = table[table["shown"]]
    if shown.empty:
        why = f"no mark of {len(table)} takes more of the log-odds than as much elsewhere on the animal"
        headline = f"Nothing that can be shown separates {a} from {b}: {why}."
    else:
        first = shown.iloc[0]
        count = "1 mark separates" if len(shown) == 1 else f"{len(shown)} marks separate"
        interval = f"95 % interval {first['effect_low']:.1f} to {first['effect_high']:.1f}"
        headline = (
            f"{count} {a} from {b}. Look first at {_described(first)}: filling it in takes {first['effect']:.1f} "
            f"({interval}) of the log-odds, {100 * first['share']:.0f} % of them, beyond what as much elsewhere on the "
            "animal takes."
        )
    pairs = zip(shown["candidate"], shown["mark"], strict=True)
    examples = [row for i, mark in pairs for row in _examples(measured, i, mark)]
    return Separation(
        study=study,
        question=_question(a, b),
        headline=headline,
        table=table[list(COLUMNS)],
        columns={name: text for name, text in COLUMNS.items() if text}
        | {"effect_a": f"in {shorten(a)}", "effect_b": f"in {shorten(b)}"},
        examples=pd.DataFrame(examples, columns=["group", "image_id", "caption", "x0", "y0", "x1", "y1"]),
        notes=tuple(notes),
        a=a,
        b=b,
        candidates=tuple(candidates[i] for i in order),
    )


def _examples(measured: pd.DataFrame, candidate: int, mark: str) -> list[dict[str, Any]]:
    """The photographs in which a mark bears most."""
    own = measured[measured["candidate"] == candidate]
    best = own.assign(effect=own["control"] - own["filled"]).nlargest(_EXAMPLES, "effect")
    return [
        {
            "group": mark,
            "caption": f"log-odds {row['whole']:.1f}, without {mark} {row['filled']:.1f}",
            **{name: row[name] for name in ("image_id", "x0", "y0", "x1", "y1")},
        }
        for row in best.to_dict("records")
    ]


def _described(row: pd.Series[Any]) -> str:
    seen = "" if row["seen_in"] == "both" else f" of {row['seen_in']}"
    return (
        f"the {row['mark']}{seen}"
        if not str(row["mark"]).startswith("mark ")
        else f"{row['mark']}{seen} ({row['where']})"
    )


def _question(a: str, b: str) -> str:
    return f"What separates {a} from {b}"


def _nothing(study: Study, a: str, b: str, why: str, notes: Sequence[str]) -> Separation:
    return Separation(
        study=study,
        question=_question(a, b),
        headline=f"Nothing that can be shown separates {a} from {b}: {why}.",
        table=pd.DataFrame(columns=list(COLUMNS)),
        columns={name: text for name, text in COLUMNS.items() if text},
        notes=tuple(notes),
        a=a,
        b=b,
    )
