"""The claim "smaller mini-batches without loss": 2 samples a step against 16, at equal evaluations and equal steps.

Samples are per kind and step, so that 480 evaluations are 120 steps of 2 samples or 15 of 16. Run:
``python tests/benchmarks/mini_batches.py`` (about 30 minutes on 2 cores).
"""

from __future__ import annotations

from dataclasses import replace

from material import foreign_infills, report
from paper_claims import small_mini_batches
from pictures import arguments, pictures, report_rows
from sampler_study import mask_quality

import fidokit as fk
from fidokit import samples
from fidokit.study.compare import means_table

SMALL, LARGE = COUNTS = (2, 16)
EVALUATIONS, STEPS = 480, 30
METRICS = ("insertion", "deletion", "average_precision")
SETTINGS = {
    "published": fk.FidoSettings.published(),
    "original t = 0.1": fk.FidoSettings.published(sampler="original", temperature=0.1),
    # All steps are taken: a mask that stops early would not have spent as much.
    "default": fk.FidoSettings(tolerance=0.0),
}


def main() -> None:
    parser = arguments(__doc__, most=None)
    parser.add_argument("--settings", nargs="+", choices=[*SETTINGS], default=["published", "default"])
    given = parser.parse_args()
    classifier = samples.efficientnet_lite0()
    material = pictures(classifier, given.part, given.photographs, given.seeds)
    report(benchmark="mini_batches", part=given.part, photographs=len(material.ids))
    for name in given.settings:
        base = SETTINGS[name]
        for budget in ("equal evaluations", "equal steps"):
            steps = {count: EVALUATIONS // (2 * count) if budget == "equal evaluations" else STEPS for count in COUNTS}
            labels = {count: f"{name}, {steps[count]} steps of {count}" for count in COUNTS}
            methods = {labels[n]: ("fido", replace(base, samples=n, steps=steps[n])) for n in COUNTS}
            table = mask_quality(
                classifier, material.images, methods, objects=material.objects, panel=foreign_infills(classifier.size),
                image_ids=material.ids,
            )  # fmt: skip
            metrics = [metric for metric in METRICS if metric in table.columns]
            means = means_table(table, metrics, unit=material.units)
            report_rows(means, benchmark="mini_batches", budget=budget, table="means")
            verdicts = small_mini_batches(
                table, (labels[SMALL], "joint"), (labels[LARGE], "joint"), metrics, unit=material.units
            )
            report_rows(verdicts, benchmark="mini_batches", budget=budget, table="verdicts")


if __name__ == "__main__":
    main()
