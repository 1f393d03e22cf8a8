"""The claim "finer and more coherent masks": the original sampler, the simplified one, and fidokit's defaults.

Total variation at equal grid and equal area, and average precision against the object, paired by photograph. Run:
``python tests/benchmarks/coherence.py`` (about 20 minutes on 2 cores).
"""

from __future__ import annotations

from material import foreign_infills, report
from paper_claims import finer_and_more_coherent
from pictures import arguments, pictures, report_rows
from sampler_study import mask_quality

import fidokit as fk
from fidokit import samples
from fidokit.study.compare import compare, means_table

METHODS = {
    "original t = 0.1": fk.FidoSettings.published(sampler="original", temperature=0.1),
    "original t = 1": fk.FidoSettings.published(sampler="original"),
    "simplified t = 0.1": fk.FidoSettings.published(temperature=0.1),
    "simplified t = 1": fk.FidoSettings.published(),
    "default": fk.FidoSettings(),
}
#: Ours and theirs: the published comparison, the same at equal temperature, and the default against both.
CLAIMS = [
    ("simplified t = 1", "original t = 0.1"),
    ("simplified t = 1", "original t = 1"),
    ("simplified t = 0.1", "original t = 0.1"),
    ("default", "simplified t = 1"),
    ("default", "original t = 0.1"),
]


def main() -> None:
    given = arguments(__doc__, most=None).parse_args()
    classifier = samples.efficientnet_lite0()
    material = pictures(classifier, given.part, given.photographs, given.seeds)
    table = mask_quality(
        classifier, material.images, {label: ("fido", settings) for label, settings in METHODS.items()},
        objects=material.objects, panel=foreign_infills(classifier.size), image_ids=material.ids,
    )  # fmt: skip
    report(benchmark="coherence", part=given.part, photographs=len(material.ids))
    metrics = [name for name in table.columns if name not in ("image_id", "method", "kind", "evaluations", "seconds")]
    report_rows(means_table(table, metrics, unit=material.units), benchmark="coherence", table="means")
    report_rows(
        compare(table, metrics, ("default", "joint"), unit=material.units), benchmark="coherence", table="differences"
    )
    for ours, theirs in CLAIMS:
        verdicts = finer_and_more_coherent(table, (ours, "joint"), (theirs, "joint"), unit=material.units)
        report_rows(verdicts, benchmark="coherence", table="verdicts")


if __name__ == "__main__":
    main()
