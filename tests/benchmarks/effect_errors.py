"""Whether the standard errors of effects are right: how often 95 % intervals hold the effects of 100 times the windows.

The effects of 100 seeds are averaged, each seed with windows and masks of its own; a cell's interval is the effect of
one seed and 1.96 times its error. Pictures are others than those that the errors were tuned on: of FunnyBirds' tuning
half, and drawn birds of a fresh seed. Run: ``python tests/benchmarks/effect_errors.py`` (about five minutes).
"""

from __future__ import annotations

import argparse

import funnybirds_material as material
import torch
from funnybirds import Pictures
from material import report
from regions import drawn
from torch import Tensor

import fidokit as fk
from fidokit import testbed

#: Pictures of FunnyBirds that the errors were tuned on.
TUNED = (0, 9, 18, 27)


def funnybirds(most: int) -> tuple[fk.Classifier, Tensor, list[int]]:
    """Classifier, (B, 3, H, W) images and their classes."""
    pictures = Pictures(material.SHARED, material.classifier())
    rows = [i for i in range(len(pictures.images)) if i not in TUNED][:most]
    return pictures.classifier, pictures.images[rows], [pictures.targets[i] for i in rows]


def birds(most: int) -> tuple[fk.Classifier, Tensor, None]:
    """The same of drawn birds, which the classifier's own answers are explained of."""
    classifier = testbed.classifier()
    return classifier, drawn(classifier, most), None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=6, help="of each kind")
    parser.add_argument("--seeds", type=int, default=100)
    given = parser.parse_args()
    for name, load in (("funnybirds", funnybirds), ("testbed", birds)):
        try:
            classifier, images, targets = load(given.pictures)
        except FileNotFoundError as error:
            report(benchmark="effect_errors", material=name, skipped=str(error))
            continue
        raw = torch.stack(
            [fk.explain(classifier, images, "fido", targets, seed=seed).raw for seed in range(given.seeds)]
        )
        effect, error = raw[:, :, 0], raw[:, :, 1]
        mean = effect.mean(0)
        held = ((effect - mean).abs() <= 1.96 * error).float()
        large = mean.abs() > mean.abs().flatten(1).quantile(0.8, 1)[:, None, None]
        own = held.mean((0, 2, 3))
        report(
            benchmark="effect_errors", material=name, pictures=len(images), seeds=given.seeds, held=float(held.mean()),
            least=float(own.min()), most=float(own.max()), of_the_largest_fifth=float(held[:, large].mean()),
        )  # fmt: skip


if __name__ == "__main__":
    main()
