"""One table of every registered method, all at their default settings: what it foretells, and what it costs.

One JSON line a method and kind:

- ``score``, ``single_deletion``, ``pairs``: FunnyBirds' measures on its tuning half, as in `funnybirds.py`, with 95 %
  bootstrap intervals over pictures;
- ``insertion``, ``deletion``, ``average_precision``, ``iou``: on composites of real photographs of the report part,
  under infills that no method optimises with, as in `quality.py`;
- evaluations and seconds a picture on either, the prediction and the scores kept and dropped included.

A method that does not fit a classifier (attention, of a network that has none) has the reason instead. A part whose
material is absent is skipped, with the reason.

Run: ``python tests/benchmarks/rivals.py`` (some hours on 2 cores: the searches take 2000 evaluations a picture, and
FunnyBirds asks for three maps of each); ``--pictures 12 --photographs 4`` take a sample; ``--methods`` some of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import funnybirds_material
import numpy as np
import torch
from funnybirds import MEASURES, Pictures
from funnybirds_protocol import bootstrap
from material import foreign_infills, photographs, report
from quality import METRICS
from torch import Tensor

import fidokit as fk
from fidokit import samples
from fidokit.exceptions import MethodNotApplicable
from fidokit.study.metrics.curves import insertion_and_deletion
from fidokit.study.metrics.localisation import iou_at_object_area, pixel_average_precision

#: Values that a method's row has for each kind.
Rows = dict[str, dict[str, Any]]


class FunnyBirds:
    """The measures of FunnyBirds' tuning half."""

    def __init__(self, most: int | None) -> None:
        self.pictures = Pictures(funnybirds_material.SHARED, funnybirds_material.classifier(), most)
        self.images = len(self.pictures.cases)
        # What is found out once a classifier is no cost of the method that comes first.
        fk.explain(self.pictures.classifier, self.pictures.images[:1], "grad-cam")

    def rows(self, method: str) -> Rows:
        """Of each kind, and of the signed values."""
        explained = self.images + 2 * sum(pair is not None for pair in self.pictures.contrasts)
        start = time.perf_counter()
        scores, evaluations = self.pictures.explain(method)
        seconds = (time.perf_counter() - start) / explained
        found: Rows = {}
        for kind, score in scores.items():
            summary, bounds = score.summary(), bootstrap([score])[0]
            found[kind] = {name: summary[name] for name in MEASURES} | {
                f"{name}_{end}": float(np.nanpercentile(bounds[name], percentile))
                for name in MEASURES
                for end, percentile in (("low", 2.5), ("high", 97.5))
            }
            found[kind] |= {"funnybirds_evaluations": evaluations, "funnybirds_seconds": seconds}
        return found


class Photographs:
    """Insertion, deletion and localisation on composites of real photographs."""

    def __init__(self, most: int | None) -> None:
        self.classifier = samples.efficientnet_lite0()
        self.material = photographs(self.classifier, "report")
        rows = slice(0, most)
        self.shown, self.objects = self.material.images[rows], self.material.objects[rows]
        self.images = len(self.shown)
        self.panel = foreign_infills(self.classifier.size)
        fk.explain(self.classifier, self.shown[:1], "grad-cam")

    def rows(self, method: str) -> Rows:
        """Of each kind."""
        masks = fk.explain(self.classifier, self.shown, method)
        cost = {
            "photograph_evaluations": float(masks.evaluations.float().mean()),
            "photograph_seconds": float(masks.seconds.mean()),
        }
        return {str(kind): self._judged(mask) | cost for kind, mask in masks.kinds.items()}

    def _judged(self, mask: Tensor) -> dict[str, Any]:
        with self.classifier.session() as session:
            goal = self.classifier.goal(session.logits(self.shown))
            curves = insertion_and_deletion(session, self.shown, goal, mask, self.panel)
        found = pixel_average_precision(mask, self.objects), iou_at_object_area(mask, self.objects)
        return {name: float(values.mean()) for name, values in zip(METRICS, (*curves, *found), strict=True)}


def made(name: str, make: Callable[[], FunnyBirds | Photographs]) -> FunnyBirds | Photographs | None:
    """A part of the table, or None, with the reason as a line, where what it needs is absent."""
    try:
        return make()
    except (FileNotFoundError, ImportError, fk.FidokitError) as error:
        report(benchmark="rivals", part=name, skipped=f"{type(error).__name__}: {error}")
        return None


def rows(method: str, parts: Mapping[str, FunnyBirds | Photographs]) -> Rows:
    """What all parts say of a method, by kind; of a part that it does not fit, the reason."""
    found: Rows = {}
    refused: dict[str, str] = {}
    for name, part in parts.items():
        try:
            for kind, values in part.rows(method).items():
                found.setdefault(kind, {}).update(values)
        except MethodNotApplicable as error:
            refused[f"{name}_not_applicable"] = str(error)
    return {kind: values | refused for kind, values in (found or {"": {}}).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=fk.list_methods(), choices=fk.list_methods())
    parser.add_argument("--pictures", type=int, help="of FunnyBirds, at most so many; 0 for none")
    parser.add_argument("--photographs", type=int, help="at most so many; 0 for none")
    given = parser.parse_args()
    makers: dict[str, tuple[int | None, Callable[[], FunnyBirds | Photographs]]] = {
        "funnybirds": (given.pictures, lambda: FunnyBirds(given.pictures)),
        "photographs": (given.photographs, lambda: Photographs(given.photographs)),
    }
    parts = {
        name: part for name, (most, make) in makers.items() if most != 0 and (part := made(name, make)) is not None
    }
    sizes = {name: part.images for name, part in parts.items()}
    if parts:
        for method in given.methods:
            for kind, values in rows(method, parts).items():
                report(benchmark="rivals", method=method, kind=kind, **sizes, threads=torch.get_num_threads(), **values)


if __name__ == "__main__":
    main()
