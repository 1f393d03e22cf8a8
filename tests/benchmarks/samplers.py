"""Original against simplified sampler: noise of the gradient, saturation, and what both mean for the masks.

Each at t = 0.1 and 1.0, with 1 to 32 samples a step, on a full-resolution and a 20 x 20 grid, on photographs. Run:
``python tests/benchmarks/samplers.py`` (about an hour on 2 cores; ``--photographs 2 --quick`` takes some minutes).
"""

from __future__ import annotations

import pandas as pd
from material import foreign_infills, report
from paper_claims import noise_gain, saturation
from pictures import arguments, pictures, report_rows
from sampler_study import SAMPLES, noise_table, sampler_quality, sampler_study

from fidokit import samples
from fidokit.study.compare import means_table

#: The whole series of samples is measured at the first and at a later state, saturation at the published number.
PUBLISHED_SAMPLES = 8
METRICS = ("insertion", "deletion", "average_precision", "iou_at_object_area", "total_variation")


def main() -> None:
    parser = arguments(__doc__, most=6)
    parser.add_argument("--quick", action="store_true", help="2 and 8 samples only")
    parser.add_argument("--evaluations", type=int, default=240, help="spent on each mask of the quality table")
    given = parser.parse_args()
    counts = (2, 8) if given.quick else SAMPLES
    classifier = samples.efficientnet_lite0()
    material = pictures(classifier, given.part, given.photographs, given.seeds)
    report(benchmark="samplers", part=given.part, photographs=len(material.ids))

    noise = sampler_study(classifier, material.images, samples=counts, logits=(), image_ids=material.ids)
    report_rows(noise_table(noise), benchmark="samplers", table="noise")
    report_rows(noise_gain(noise), benchmark="samplers", table="gain")

    pushed = sampler_study(
        classifier, material.images, samples=(PUBLISHED_SAMPLES,), steps=(10,), draws=32, image_ids=material.ids,
    )  # fmt: skip
    report_rows(noise_table(pushed), benchmark="samplers", table="noise where logits are large")
    for column in ("zero_share", "zero_share_positive"):
        report_rows(saturation(pushed, column), benchmark="samplers", table=f"saturation, {column}")

    quality = sampler_quality(
        classifier, material.images, samples=counts, evaluations=given.evaluations, objects=material.objects,
        panel=foreign_infills(classifier.size), image_ids=material.ids,
    )  # fmt: skip
    metrics = [name for name in METRICS if name in quality.columns]
    settings = quality[["method", "grid", "sampler", "temperature", "samples", "steps"]].drop_duplicates()
    means: pd.DataFrame = means_table(quality, metrics, unit=material.units)
    report_rows(settings.merge(means, on="method"), benchmark="samplers", table="quality")


if __name__ == "__main__":
    main()
