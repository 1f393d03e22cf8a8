"""How often the regions of each method hold, and how small they are, under infills that no method optimises with.

The check's infills are photographs of textures and a mosaic; the search has others. Last, the area of FIDO's own kind
of each claim less that of every other mask's region, over the photographs in which both hold, with 95 % intervals. Run:
``python tests/benchmarks/regions.py composites``, ``field`` (real photographs of mammals in ``../shared/field``) or
``testbed`` (drawn birds).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from material import foreign_infills, inputs, photographs, report

import fidokit as fk
from fidokit import samples, testbed
from fidokit.data.images import LabelledImages
from fidokit.study.summary import bootstrap_means, percentile_interval

FIELD = Path(__file__).resolve().parents[3] / "shared" / "field"
BIRDS, SEED = 48, 6000
METHODS = {
    "fido": ("fido", {}),
    "grad-cam": ("grad-cam", {}),
    "integrated-gradients": ("integrated-gradients", {}),
}


def field(classifier: fk.Classifier, most: int | None) -> torch.Tensor:
    """Photographs of mammals that the classifier has a decision for, whole."""
    table = pd.read_csv(FIELD / "photos.csv")
    table = table[table["kind"] == "mammal"].reset_index(drop=True)
    data = LabelledImages.from_table(
        pd.DataFrame(
            {"image_id": table["path"], "path": [str(FIELD / p) for p in table["path"]], "label": table["label"]}
        )
    )
    images = inputs(classifier, data)
    sure = (classifier.logits(images).softmax(1).amax(1) > 0.3).nonzero().flatten()
    return images[sure[torch.linspace(0, len(sure) - 1, min(most or len(sure), len(sure))).round().long()]]


def drawn(classifier: fk.Classifier, most: int) -> torch.Tensor:
    """Drawn birds of a seed that nothing was tuned on."""
    with tempfile.TemporaryDirectory() as folder:
        data = testbed.load(most, seed=SEED, folder=folder)
        return inputs(classifier, data)


#: FIDO's kind that is made for a claim.
OWN = {"sufficient": ("fido", "ssr"), "destroying": ("fido", "sdr")}


def smaller(found: dict[tuple[str, str, str], pd.DataFrame]) -> None:
    """By how much FIDO's regions are smaller; `found`: (masks, kind, claim) -> regions, a photograph a row."""
    for (name, kind, claim), rows in found.items():
        own = found.get((*OWN[claim], claim))
        if own is None or own is rows:
            continue
        both = own.merge(rows, on="image_id", suffixes=("", "_other"))
        both = both[both["holds"].eq("yes") & both["holds_other"].eq("yes")]
        less = (both["area"] - both["area_other"]).to_numpy(float)
        low, high = (float(bound[0]) for bound in percentile_interval(bootstrap_means(less[None])))
        report(
            benchmark="regions", difference=f"fido {own['kind'].iloc[0]} - {name} {kind}", claim=claim,
            photographs=len(both), area=float(less.mean()), area_low=low, area_high=high,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("material", choices=("composites", "field", "testbed"))
    parser.add_argument("--part", choices=("tuning", "report"), default="report", help="of the composites")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--photographs", type=int, help="at most so many")
    given = parser.parse_args()
    classifier = testbed.classifier() if given.material == "testbed" else samples.efficientnet_lite0()
    if given.material == "testbed":
        images = drawn(classifier, given.photographs or BIRDS)
    elif given.material == "field":
        images = field(classifier, given.photographs)
    else:
        images = photographs(classifier, given.part).images[: given.photographs]
    panel = foreign_infills(classifier.size)
    found: dict[tuple[str, str, str], pd.DataFrame] = {}
    for name in given.methods:
        method, settings = METHODS[name]
        masks = fk.explain(classifier, images, method, **settings)
        table = fk.find_regions(classifier, masks, infills=panel).to_frame()
        for (kind, claim), rows in table.groupby(["kind", "claim"], sort=False):
            found[name, str(kind), str(claim)] = rows
            holds = rows["holds"].eq("yes").to_numpy(float)
            low, high = (float(bound[0]) for bound in percentile_interval(bootstrap_means(holds[None])))
            report(
                benchmark="regions", material=given.material, part=given.part, photographs=len(rows), masks=name,
                kind=kind, claim=claim, holds=float(holds.mean()), holds_low=low, holds_high=high,
                under_some=float(rows["holds"].ne("no").mean()), area=float(rows["area"].mean()),
                area_where_it_holds=float(rows["area"][holds > 0].mean()) if holds.any() else None,
                median_score=float(np.median(rows["worst"])),
            )  # fmt: skip
    smaller(found)


if __name__ == "__main__":
    main()
