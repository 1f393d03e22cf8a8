"""Whether the mask of a genus foretells what the genus depends on, and that of a species what the species depends on.

On drawn birds (12 species in 3 genera) every part is really taken away; its effects on the log-odds of the genus, told
from all others, and of the species, told from the others of its genus, are compared with the masks of both ranks. Run:
``python tests/benchmarks/ranks.py --photographs 60``
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import numpy.typing as npt
from material import report
from torch import Tensor

import fidokit as fk
from fidokit.study.metrics.parts import LEAST_PARTS, part_correlation, removed_effects, visible
from fidokit.study.summary import bootstrap_means, percentile_interval
from fidokit.testbed.species import GENERA

Floats = npt.NDArray[np.float64]
RANKS = ("genus", "species")
KINDS = {"fido": ("joint", "effect"), "grad-cam": ("attribution",), "integrated-gradients": ("attribution",)}
SEED = 41
"""Of photographs that nothing was tuned on."""


def effects_of(classifier: fk.Classifier, data: fk.LabelledImages, i: int, parts: dict[str, Tensor]) -> list[Tensor]:
    """(N,) true effects of the parts of a photograph, at each rank."""
    image, geometry = data.load(i, classifier.preprocessing)
    removed = {part: fk.testbed.without_part(data, i, part) for part in parts}
    found = []
    with classifier.session(exact=True) as session:
        logits = session.logits(image[None])
        for rank in RANKS:
            goal = classifier.goal(logits, rank=rank)
            found.append(removed_effects(session, image, goal, removed, geometry, classifier.preprocessing))
    return found


def compared(found: dict[tuple[str, str], Floats]) -> dict[str, Floats]:
    """What is said of (N,) correlations of the masks of a rank with the effects of a rank: of those that are known."""
    whole = np.isfinite(np.stack([*found.values()])).all(0)
    found = {key: values[whole] for key, values in found.items()}
    genus, species = found["genus", "genus"], found["species", "species"]
    return {
        "genus mask, genus effects": genus,
        "species mask, species effects": species,
        # The same effects by the masks of both ranks, so that the sizes of the parts count alike ...
        "genus effects: genus mask less species mask": genus - found["species", "genus"],
        "species effects: species mask less genus mask": species - found["genus", "species"],
        # ... and the same mask with the effects of both ranks.
        "genus mask: genus effects less species effects": genus - found["genus", "species"],
        "species mask: species effects less genus effects": species - found["species", "genus"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--methods", nargs="+", choices=[*KINDS], default=[*KINDS])
    given = parser.parse_args()
    genus_of = {species: name for name, genus in GENERA.items() for species in genus.species}
    taxonomy = fk.Taxonomy.from_mapping(genus_of, rank="genus")
    classifier = fk.testbed.classifier().with_taxonomy(taxonomy)
    with tempfile.TemporaryDirectory() as folder:
        data = fk.testbed.load(given.photographs, seed=SEED, folder=folder)
        right = classifier.predict(data)["correct"].fillna(False).to_numpy(bool)
        data = data.subset(np.flatnonzero(right))
        parts = [visible(data.load_part_masks(i, classifier.preprocessing)) for i in range(len(data))]
        enough = [i for i, own in enumerate(parts) if len(own) >= LEAST_PARTS]
        truth = {i: effects_of(classifier, data, i, parts[i]) for i in enough}
        for method in given.methods:
            masks = {rank: fk.explain(classifier, data, method, rank=rank) for rank in RANKS}
            for kind in KINDS[method]:
                # (mask of a rank, effects of a rank) -> (N,) correlations
                found = {
                    (mask, effect): np.array(
                        [part_correlation(masks[mask][kind][i], parts[i], truth[i][k], "sum") for i in enough]
                    )
                    for mask in RANKS
                    for k, effect in enumerate(RANKS)
                }
                for what, values in compared(found).items():
                    low, high = percentile_interval(bootstrap_means(values[None]))
                    report(
                        benchmark="ranks", method=method, kind=kind, what=what, photographs=len(values),
                        value=float(values.mean()), low=float(low[0]), high=float(high[0]),
                    )  # fmt: skip


if __name__ == "__main__":
    main()
