"""What separates one species from another on the testbed: marks judged by exchanging parts, and pairs without any.

Run: ``python tests/benchmarks/marks.py --problems 4 --seed 5000 --jobs 2``. Settings were tuned with seeds below 1000.
A problem is a set of drawn photographs of all species and its 18 pairs within a genus.

Exchanging a part for the other species' version, every other pixel equal, says which parts truly differ: the log-odds
between the two move. A named mark is right if it is such a part. A mark without a name lies on the part with whose
pixels its own agree most over the bird (phi coefficient, for which neither large nor tiny parts have an advantage);
the pixels of a part that differs are all that exchanging it changes. Beside it stands the part of which the mark covers
the largest share, where tiny parts win over their neighbours: a cell has 64 pixels, an eye 9.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from functools import partial, wraps
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from material import report

import fidokit as fk
from fidokit import testbed
from fidokit.data.geometry import to_input
from fidokit.errors.features import MapReader
from fidokit.errors.marks import Separation, separate
from fidokit.errors.marks.sights import sights
from fidokit.study.summary import mean_and_interval
from fidokit.testbed.network import MEAN, SIZE, STD, Network

PAIRS = [
    pair for first in range(0, len(testbed.SPECIES), 4) for pair in combinations(testbed.SPECIES[first : first + 4], 2)
]
#: A part that differs: exchanging it moves the log-odds by this share of what the most telling part does.
DIFFERS = 0.25
#: Photographs of each species that parts are exchanged in.
EXCHANGED = 3
#: Change of a pixel (sum over the channels, of 765) that exchanging a part makes.
CHANGED = 12


def remembered(method):
    """A method whose results are kept with its object."""

    @wraps(method)
    def looked_up(self, *arguments):
        key = (method.__name__, *arguments)
        if key not in self.known:
            self.known[key] = method(self, *arguments)
        return self.known[key]

    return looked_up


class Truth:
    """Which parts truly differ, by exchanging them."""

    def __init__(self, data: fk.LabelledImages, classifier: fk.Classifier) -> None:
        self.data, self.classifier, self.known = data, classifier, {}
        self.labels = data.table["label"].to_numpy(object)

    @remembered
    def exchange(self, i: int, part: str, species: str) -> tuple[np.ndarray, np.ndarray]:
        """(K,) logits with the part exchanged, and (H, W) the pixels of the input that change."""
        pre = self.classifier.preprocessing
        changed = testbed.intervene(self.data, i, exchange=(part, species))
        own = self.data.open(i)
        different = np.abs(np.asarray(changed, np.int64) - np.asarray(own, np.int64)).sum(2) > CHANGED
        geometry = self.data.geometry(i, pre, own.size)
        rows = different.reshape(SIZE, own.height // SIZE, SIZE, own.width // SIZE).any((1, 3))
        return self.classifier.logits(to_input(changed, geometry)[None])[0].numpy(), rows

    @remembered
    def logits(self, i: int) -> np.ndarray:
        """(K,) logits of a photograph."""
        return self.classifier.logits(self.data.load(i, self.classifier.preprocessing)[0][None])[0].numpy()

    @remembered
    def effects(self, a: str, b: str) -> dict[str, float]:
        """Part -> how far exchanging it moves the log-odds between two species, over photographs of both."""
        a_b = [testbed.SPECIES.index(name) for name in (a, b)]
        found = {}
        for part in testbed.DIAGNOSTIC_PARTS[a]:
            moved = []
            for own, other in ((a, b), (b, a)):
                sign = 1 if own == a else -1
                for i in np.flatnonzero(self.labels == own)[:EXCHANGED]:
                    before, after = self.logits(int(i))[a_b], self.exchange(int(i), part, other)[0][a_b]
                    moved.append(sign * ((before[0] - before[1]) - (after[0] - after[1])))
            found[part] = float(np.mean(moved))
        return found

    def differing(self, a: str, b: str) -> list[str]:
        """The parts that truly differ, the most telling first."""
        effects = self.effects(a, b)
        return [p for p in sorted(effects, key=lambda p: -effects[p]) if effects[p] > DIFFERS * max(effects.values())]

    def parts_of(self, answer: Separation) -> tuple[str | None, str | None]:
        """The part that the first mark agrees most with, and the one of which it covers most, in photographs of the
        class that it is seen in."""
        if answer.marks.empty:
            return None, None
        study, mark = answer.study, answer.candidates[0]
        own = answer.b if answer.marks["seen_in"].iloc[0] == answer.b else answer.a
        other = answer.a if own == answer.b else answer.b
        rows = [int(i) for i in np.flatnonzero(self.labels == own)[: 2 * EXCHANGED]]
        ids = study.data.table["image_id"].iloc[rows].tolist()
        alike: dict[str, float] = {}
        covered: dict[str, float] = {}
        with study.classifier.session() as session:
            for i, sight in zip(rows, sights(study, ids, MapReader(session, study.classifier)), strict=True):
                region = mark.find(sight)
                if region is None:
                    continue
                for part, pixels in self._parts(i, own, other).items():
                    alike[part] = alike.get(part, 0.0) + correlation(region, pixels, sight.animal)
                    covered[part] = covered.get(part, 0.0) + (region & pixels).sum() / max(1, pixels.sum())
        return tuple(max(own, key=own.get) if own else None for own in (alike, covered))

    def _parts(self, i: int, own: str, other: str) -> dict[str, np.ndarray]:
        """Part -> (H, W): what exchanging it changes, where that is anything, else its own pixels without those."""
        parts = self.data.load_part_masks(i, self.classifier.preprocessing)
        changed = {p: self.exchange(i, p, other)[1] for p in testbed.DIAGNOSTIC_PARTS[own]}
        changed = {p: pixels for p, pixels in changed.items() if pixels.any()}
        taken = np.logical_or.reduce(list(changed.values()))
        return {p: pixels & ~taken for p, pixels in parts.items() if p not in changed} | changed


def correlation(one: np.ndarray, other: np.ndarray, animal: np.ndarray) -> float:
    """Phi coefficient of two regions over the pixels of the bird; 0 where one of them has all or none."""
    one, other = one[animal].astype(float), other[animal].astype(float)
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else 0.0


def random_classifier(seed: int) -> fk.Classifier:
    """The testbed's network before any training."""
    torch.manual_seed(seed)
    network = Network(len(testbed.SPECIES)).eval()
    return fk.Classifier(network, testbed.SPECIES, mean=MEAN, std=STD, size=(SIZE, SIZE))


def halved(data: fk.LabelledImages, seed: int) -> fk.LabelledImages:
    """The photographs of two species of each genus, a random half of each under the name of another."""
    generator = np.random.default_rng(seed)
    table = data.table.copy()
    for own, other in HALVED:
        rows = generator.permutation(np.flatnonzero((data.table["label"] == own).to_numpy()))
        table.loc[table["label"].eq(other).to_numpy(), "label"] = None
        table.iloc[rows[: len(rows) // 2], table.columns.get_loc("label")] = other
    return fk.LabelledImages.from_table(table)


#: Species -> the congener under whose name half of its photographs go.
HALVED = [pair for first in range(0, len(testbed.SPECIES), 2) for pair in [tuple(testbed.SPECIES[first : first + 2])]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--photographs", type=int, default=30, help="of each species")
    parser.add_argument("--jobs", type=int, default=1, help="problems at once")
    parser.add_argument("--method", default="hires-cam", help="of contrastive masks")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="only the first so many pairs of each problem")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.problems)
    lines: dict[str, list[float]] = {}
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for found in pool.imap(partial(problem, arguments=arguments), seeds):
            for line, value in found.items():
                lines.setdefault(line, []).append(value)
    for line, values in lines.items():
        mean, low, high = (float(v[0]) for v in mean_and_interval(np.asarray([values])))
        report(line=line, problems=len(values), share=mean, low=low, high=high)


def problem(seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Shares of the pairs of one problem."""
    torch.set_num_threads(1)
    data = testbed.load(len(testbed.SPECIES) * arguments.photographs, seed)
    classifier = testbed.classifier(device="cpu", precision="float32", micro_batch=16)
    truth = Truth(data, classifier)
    options = {"method": arguments.method, "progress": False, "seed": seed}
    right: dict[str, list[bool]] = {}
    with tempfile.TemporaryDirectory() as folder:

        def study_of(name: str, model: fk.Classifier, photographs: fk.LabelledImages) -> fk.Study:
            return fk.run_study(model, photographs, ["grad-cam"], store=Path(folder) / name, progress=False)

        fair = study_of("fair", classifier, data)
        for a, b in PAIRS[: arguments.pairs]:
            differing = truth.differing(a, b)
            for line, parts in (("part maps", True), ("matched features", False)):
                answer = separate(fair, a, b, parts=parts, **options)
                if parts:
                    first = None if answer.marks.empty else answer.marks["mark"].iloc[0]
                else:
                    first, covered = truth.parts_of(answer)
                    right.setdefault(f"{line}: the part covered most", []).append(covered in differing)
                right.setdefault(line, []).append(first in differing)
                right.setdefault(f"{line}: the most telling part", []).append(first == differing[0])
                right.setdefault(f"{line}: all shown", []).append(not answer.marks.empty)
                report(line=f"pair, {line}", seed=seed, a=a, b=b, first=first, differing=differing)
        untrained = study_of("random", random_classifier(seed), data)
        halves = study_of("halves", classifier, halved(data, seed))
        for name, study, pairs in (("random weights", untrained, PAIRS), ("a class with itself", halves, HALVED)):
            for a, b in pairs[: arguments.pairs]:
                for parts in (True, False):
                    answer = separate(study, a, b, parts=parts, **options)
                    right.setdefault(f"no mark shown: {name}", []).append(answer.marks.empty)
                    if not answer.marks.empty:
                        report(line=f"false mark, {name}", seed=seed, a=a, b=b, headline=answer.headline)
    return {line: float(np.mean(values)) for line, values in right.items()}


if __name__ == "__main__":
    main()
