"""Where to look again: crops to class activation maps, to masks, to verified regions, and the cascade of two of them.

Of every way, as `MaskGuidedClassifier` looks with its settings: share right, evaluations a photograph, and the
difference to the classifier alone, to the Grad-CAM crop, and of the cascade to all; 95 % intervals paired by photograph
(composites of one animal are resampled together). One JSON line each. Materials: ``small`` and ``fill``, composites of
the animals that chose the defaults, or of the others with ``--stamps report``; ``mammals`` (EfficientNet-Lite0; a label
is coarser than its classes) and ``birds`` (a classifier of 964 species), real photographs in ``../shared/field``.
Run: ``python tests/benchmarks/crops.py small fill mammals birds`` (about five seconds a photograph on one core).
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import enhance
import pandas as pd
import torch
from material import paired_interval, report
from torch import Tensor

import fidokit as fk
from fidokit import samples
from fidokit.data.images import LabelledImages
from fidokit.enhance import GuidedGrid
from fidokit.enhance.choosing import apply, options, where_looked
from fidokit.enhance.measure import measure
from fidokit.enhance.view_scores import FIRST, MASKS
from fidokit.models.classifier import Classifier

FIELD = Path(__file__).resolve().parents[3] / "shared" / "field"
ALONE, CAM, CASCADE = "alone", "grad-cam crop", "cascade"
#: Paddings before they were chosen on small and filling animals alike.
_NEAR = (0.0, 0.15, 0.3, 0.5)
_ALL: dict[str, Any] = {"first": None, "gate": 1.0}
_FULL = fk.FidoSettings()
WAYS: dict[str, fk.GuidedSettings] = {
    CAM: fk.GuidedSettings(method="grad-cam", gate=1.0),
    "grad-cam crop, near paddings": fk.GuidedSettings(method="grad-cam", gate=1.0, paddings=_NEAR),
    "fido joint, near paddings": fk.GuidedSettings(kind="joint", method_settings=_FULL, paddings=_NEAR, **_ALL),
    "fido sdr, near paddings": fk.GuidedSettings(method_settings=_FULL, paddings=_NEAR, **_ALL),
    "fido sdr": fk.GuidedSettings(method_settings=_FULL, **_ALL),
    "fido ssr region": fk.GuidedSettings(method_settings=_FULL, evidence="region", **_ALL),
    CASCADE: fk.GuidedSettings(),
    "cascade, full masks": fk.GuidedSettings(method_settings=_FULL, gate=1.0, doubt=0.05),
    "cascade, ssr region": fk.GuidedSettings(evidence="region"),
}
#: ImageNet classes that a label of the field means, those between the two named included; other labels name a class.
COARSE = {
    "cat": ("tabby", "Egyptian cat"),
    "dog": ("Chihuahua", "Mexican hairless"),
    "wolf": ("timber wolf", "red wolf"),
    "fox": ("red fox", "grey fox"),
    "deer": ("hartebeest", "gazelle"),
}


@contextmanager
def composites(part: str, stamps: str) -> Iterator[LabelledImages]:
    """Composites of one part; see `enhance`."""
    with tempfile.TemporaryDirectory() as folder:
        yield enhance.composites(Path(folder), part, 1, stamps, 7000)


@contextmanager
def field(kind: str) -> Iterator[LabelledImages]:
    """Real photographs of a kind."""
    table = pd.read_csv(FIELD / "photos.csv")
    table = table[table["kind"] == kind]
    named = {"image_id": table["path"], "path": [str(FIELD / p) for p in table["path"]], "label": table["label"]}
    yield LabelledImages.from_table(pd.DataFrame(named).assign(photograph=table["path"]).reset_index(drop=True))


def bird_classifier() -> Classifier:
    """The classifier of 964 species and background."""
    spec = importlib.util.spec_from_file_location("species_classifier", FIELD / "species_classifier.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{FIELD / 'species_classifier.py'} cannot be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network, names = module.load("bird", FIELD)
    return Classifier(network, names, mean=module.MEAN, std=module.STD, size=(224, 224))


def accepted(label: str, names: Sequence[str]) -> set[int]:
    """The classes that a label means."""
    first, last = COARSE.get(label, (label, label)) if len(names) == 1000 else (label, label)
    return set(range(names.index(first), names.index(last) + 1))


def answered(classifier: Classifier, data: LabelledImages) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Way -> (N, K) scores, (N,) evaluations, and the share of photographs that got masks; each mask is made once."""
    made: dict[str, tuple[Tensor, Tensor, float]] = {}
    explained: dict[str, fk.Masks] = {}
    for name, settings in WAYS.items():
        ready, cost = {}, {}
        guided = settings.method == "fido"
        if guided:
            own = str(settings.own_settings)
            if own not in explained:
                explained[own] = fk.explain(classifier, data, settings=settings.own_settings)
            masks = explained[own]
            ready = dict(zip(masks.image_ids, masks[settings.mask_kind], strict=True))
            # The prediction, and the scores of each kind, guide nothing.
            spent_beside = 1 + 2 * len(masks.kinds)
            cost = {i: n - spent_beside for i, n in zip(masks.image_ids, masks.evaluations.tolist(), strict=True)}
        grid = GuidedGrid.of(settings)
        found = measure(
            classifier, data, settings, ("crop",), grid, ready=ready, ready_cost=cost, controls=(), progress=False
        )
        if found.image_ids != [str(i) for i in data.table["image_id"]]:
            raise SystemExit(f"not all photographs were measured: {found.failures}")
        looks, first = found.looks[MASKS], found.looks.get(FIRST)
        option = options(looks, grid, first)[-1]
        scores, _, spent = apply(found.whole, looks, option, first)
        masked = where_looked(found.whole, option, first).masked
        made.setdefault(ALONE, (found.whole, torch.ones(len(data)), 0.0))
        made[name] = scores, spent, float(masked.double().mean()) if guided else 0.0
    return made


def compare(material: str, classifier: Classifier, data: LabelledImages, stamps: str) -> None:
    """All ways on one material."""
    made = answered(classifier, data)
    names = list(classifier.class_names)
    wanted = [accepted(label, names) for label in data.table["label"]]
    units = list(data.table["photograph"])
    right = {
        way: torch.tensor([int(best) in classes for best, classes in zip(scores.argmax(1), wanted, strict=True)])
        for way, (scores, _, _) in made.items()
    }
    for way, (_, spent, masked) in made.items():
        against = [name for name in (ALONE, CAM, *(made if way == CASCADE else ())) if name != way]
        differences = {
            name: [round(x, 4) for x in paired_interval(right[way].double() - right[name].double(), units)]
            for name in dict.fromkeys(against)
        }
        report(
            benchmark="crops", material=material, stamps=stamps, photographs=len(data), way=way,
            right=float(right[way].double().mean()), evaluations=float(spent.double().mean()), with_masks=masked,
            minus=differences,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("materials", nargs="+", choices=("small", "fill", "mammals", "birds"))
    parser.add_argument("--stamps", choices=("tuning", "report", "all"), default="tuning", help="of the composites")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    opened: dict[str, Callable[[], Classifier]] = {"birds": bird_classifier}
    for material in given.materials:
        real = material in ("mammals", "birds")
        if real and not FIELD.is_dir():
            report(benchmark="crops", material=material, skipped=f"{FIELD} is not there")
            continue
        with field(material.rstrip("s")) if real else composites(material, given.stamps) as data:
            classifier = opened.get(material, samples.efficientnet_lite0)()
            compare(material, classifier, data, "" if real else given.stamps)


if __name__ == "__main__":
    main()
