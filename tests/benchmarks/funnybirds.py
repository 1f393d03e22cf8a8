"""The FunnyBirds protocol for methods of the registry, and what each infill shows of a part that is really gone.

One JSON line a method, with 95 % bootstrap intervals over pictures; only pictures that are classified right count. The
reference lines are an oracle (the true drops), random importances, and a constant map. Then FIDO's effects less every
other mask, occlusion at each of its baselines included, resampled alike. Then, for each infill: the share
of the true drop of the target's logit that filling the part in shows, and the correlation of the two for each part.
Run: ``python tests/benchmarks/funnybirds.py`` (about three minutes on 2 cores); ``--folder`` takes the published
dataset, ``--model`` a classifier by its command-line name, ``--settings`` fields of the methods' settings as JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import funnybirds_material as material
import funnybirds_protocol as protocol
import numpy as np
import torch
from material import report
from torch import Tensor

import fidokit as fk
from fidokit.methods import infill
from fidokit.methods.base import resize_masks
from fidokit.methods.concrete import image_keys
from fidokit.methods.gradient_settings import BASELINES, OcclusionSettings

METHODS = ("fido", "grad-cam", "layer-cam", "integrated-gradients", "occlusion")
MEASURES = ("score", "single_deletion", "pairs")
DRAWS = 8
#: What FIDO's figures are compared with, one line each.
REFERENCE = "fido effect"


class Pictures:
    """Pictures that are classified right, with the truth about them and the classes to contrast."""

    def __init__(self, folder: Path, classifier: fk.Classifier, most: int | None = None) -> None:
        self.classifier, self.classes = classifier, material.classes(folder)
        made = [(case, case.truth(classifier)) for case in material.cases(folder, most)]
        self.cases, self.truths = map(
            list, zip(*[(case, truth) for case, truth in made if truth.whole.argmax() == truth.target], strict=True)
        )
        self.images = torch.stack([case.image for case in self.cases])
        self.targets = [truth.target for truth in self.truths]
        self.contrasts: list[tuple[int, int] | None] = []
        for truth in self.truths:
            pair = protocol.contrast_classes(self.classes, truth.target)
            holds = pair is not None and protocol.contrast_holds(truth, *pair, self.classes)
            self.contrasts.append(pair if holds else None)

    def importances(self, i: int, attribution: Tensor) -> protocol.Importances:
        """Of one picture, from its (h, w) mask."""
        case = self.cases[i]
        whole = resize_masks(attribution[None].float(), tuple(self.images.shape[-2:]))[0].double().numpy()
        return protocol.part_importances(whole, case.part_map, case.parts, list(case.background))

    def scores(
        self,
        own: Sequence[protocol.Importances],
        contrasts: Mapping[int, tuple[protocol.Importances, protocol.Importances]],
    ) -> protocol.Scores:
        """The measures, from the importances for the pictures' own classes and for the contrasted ones."""
        sensitivity = np.full(len(self.cases), np.nan)
        for i, (first, second) in contrasts.items():
            pair = self.contrasts[i]
            assert pair is not None
            sensitivity[i] = protocol.target_sensitivity(first, second, pair, self.truths[i], self.classes)
        both = list(zip(own, self.truths, strict=True))
        return protocol.Scores(
            np.array([protocol.single_deletion(*one) for one in both]),
            np.stack([protocol.completeness_parts(*one, self.classes) for one in both]),
            sensitivity,
            [protocol.ordered_pairs(*one) for one in both],
        )

    def explain(self, method: str, **overrides: Any) -> tuple[dict[str, protocol.Scores], float]:
        """The scores of every kind that a method makes, and of its signed values; and its evaluations a picture."""
        with_pair = [i for i, pair in enumerate(self.contrasts) if pair is not None]
        masks = fk.explain(self.classifier, self.images, method, self.targets, **overrides)
        others = [
            fk.explain(
                self.classifier, self.images[with_pair], method, [self.contrasts[i][side] for i in with_pair],
                **overrides,
            )
            for side in (0, 1)
        ]  # fmt: skip
        made = [_values(masks), *map(_values, others)]
        scores = {}
        for kind in made[0]:
            own = [self.importances(i, made[0][kind][i]) for i in range(len(self.cases))]
            contrasts = {
                i: (self.importances(i, made[1][kind][n]), self.importances(i, made[2][kind][n]))
                for n, i in enumerate(with_pair)
            }
            scores[kind] = self.scores(own, contrasts)
        return scores, float(masks.evaluations.float().mean())

    def reference(self, name: str, seed: int = 0) -> protocol.Scores:
        """An ``oracle``, ``random`` importances, or a ``constant`` map."""
        generator = np.random.default_rng(seed)

        def of(i: int, target: int) -> protocol.Importances:
            truth = self.truths[i]
            if name == "constant":
                return self.importances(i, torch.ones(1, 1))
            if name == "oracle":
                parts, objects = truth.drops(target), truth.background_drops()
            else:
                parts, objects = (generator.random(n) for n in (len(truth.parts), len(truth.background)))
            return protocol.Importances(parts, objects, float(np.clip(np.concatenate([parts, objects]), 0, None).sum()))

        return self.scores(
            [of(i, target) for i, target in enumerate(self.targets)],
            {i: (of(i, pair[0]), of(i, pair[1])) for i, pair in enumerate(self.contrasts) if pair is not None},
        )


def _values(masks: fk.Masks) -> dict[str, Tensor]:
    """Kind -> (B, h, w); ``signed`` is what a method says before it becomes a mask in [0, 1], in its own units."""
    found: dict[str, Tensor] = {str(kind): mask for kind, mask in masks.kinds.items()}
    if masks.raw is not None:
        # The second channel of effects is their standard error.
        found["signed"] = masks.raw[:, 0] if "effect" in masks.kinds else masks.raw.sum(1)
    return found


def infill_rows(pictures: Pictures, names: Sequence[str] = infill.INFILLS) -> list[dict[str, Any]]:
    """For each infill: share of the true drop shown over all parts, and the correlation with it for each part."""
    rows, shown = [], [(i, part) for i, case in enumerate(pictures.cases) for part in case.parts]
    true = np.concatenate([truth.drops() for truth in pictures.truths])
    images = pictures.images[[i for i, _ in shown]]
    hole = torch.stack(
        [
            torch.nn.functional.max_pool2d(torch.from_numpy(pictures.cases[i].part(part))[None].float(), 3, 1, 1)
            for i, part in shown
        ]
    )
    whole = np.array([pictures.truths[i].whole[pictures.targets[i]] for i, _ in shown])
    keys = image_keys(0, [str(i) for i, _ in shown])
    for name in names:
        found = []
        for draw in range(DRAWS if name in infill.RANDOM else 1):
            filled = infill.fill(name, images, 1 - hole, keys, -1 - draw)
            logits = pictures.classifier.logits(torch.lerp(images, filled, hole)).double().numpy()
            found.append(whole - logits[np.arange(len(shown)), [pictures.targets[i] for i, _ in shown]])
        rows.append(infill_row(name, np.mean(found, axis=0), true, [protocol.PARTS[part] for _, part in shown]))
    return rows


def infill_row(name: str, drops: protocol.Array, true: protocol.Array, parts: Sequence[str]) -> dict[str, Any]:
    """What an infill shows of (N,) true drops: their share, and the correlation with them, over all and for each part.

    Args:
        name: of the infill.
        drops: (N,) where the part is filled in.
        true: (N,) where it is gone.
        parts: N names.
    """
    with np.errstate(invalid="ignore"):
        rows = {part: np.flatnonzero(np.array(parts) == part) for part in dict.fromkeys(parts)}
        by_part = {
            f"correlation_{part}": float(np.corrcoef(drops[own], true[own])[0, 1])
            for part, own in rows.items()
            if len(own) > 2
        }
        correlation = float(np.corrcoef(drops, true)[0, 1])
    return {"infill": name, "share_of_drop": float(drops.sum() / true.sum()), "correlation": correlation} | by_part


@dataclass(frozen=True)
class Told:
    """What was said of a mask: each measure, and (resamples,) values of it; the same pictures are drawn for all."""

    summary: dict[str, float]
    drawn: dict[str, protocol.Array]


def tell(name: str, scores: protocol.Scores, evaluations: float | None = None) -> Told:
    """One JSON line."""
    told = Told(scores.summary(), protocol.bootstrap([scores])[0])
    intervals = {
        f"{measure}_{end}": float(np.nanpercentile(told.drawn[measure], percentile))
        for measure in MEASURES
        for end, percentile in (("low", 2.5), ("high", 97.5))
    }
    report(
        benchmark="funnybirds", masks=name, pictures=len(scores.single), evaluations=evaluations, **told.summary,
        **intervals,
    )  # fmt: skip
    return told


def tell_differences(told: Mapping[str, Told]) -> None:
    """By how much the effects are better than every other mask, one line each."""
    own = told[REFERENCE]
    for name, other in told.items():
        if other is own:
            continue
        row: dict[str, Any] = {}
        for measure in MEASURES:
            row[measure] = own.summary[measure] - other.summary[measure]
            low, high = np.nanpercentile(own.drawn[measure] - other.drawn[measure], [2.5, 97.5])
            row |= {f"{measure}_low": float(low), f"{measure}_high": float(high)}
        report(benchmark="funnybirds", difference=f"{REFERENCE} - {name}", **row)


def runs(methods: Sequence[str], settings: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """(label, method, fields of its settings); occlusion stands there once for each of its baselines."""
    found = []
    for method in methods:
        given = settings.get(method, {})
        found.append((method, method, given))
        if method == "occlusion" and "baseline" not in given:
            others = [name for name in BASELINES if name != OcclusionSettings().baseline]
            found += [(f"{method} {name}", method, given | {"baseline": name}) for name in others]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=material.SHARED)
    parser.add_argument("--model", help="command-line name of a classifier; default: the one of the prepared cases")
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--settings", type=json.loads, default={}, help='such as {"fido": {"steps": 5}}')
    parser.add_argument("--pictures", type=int, help="at most so many")
    parser.add_argument("--no-infills", action="store_true")
    given = parser.parse_args()
    classifier = material.classifier() if given.model is None else fk.Classifier.load(given.model)
    pictures = Pictures(given.folder, classifier, given.pictures)
    references = {name: tell(name, pictures.reference(name)) for name in ("oracle", "random", "constant")}
    told = {}
    for label, method, overrides in runs(given.methods, given.settings):
        scores, evaluations = pictures.explain(method, **overrides)
        for kind, one in scores.items():
            name = label if kind == "attribution" else f"{label} {kind}"
            told[name] = tell(name, one, evaluations)
    if REFERENCE in told:
        tell_differences(told | {"constant": references["constant"]})
    for row in [] if given.no_infills else infill_rows(pictures):
        report(benchmark="funnybirds", **row)


if __name__ == "__main__":
    main()
