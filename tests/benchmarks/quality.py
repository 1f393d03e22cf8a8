"""Quality for cost on real photographs: FIDO's named settings against Grad-CAM and integrated gradients.

Masks of the report part are judged with infills that no method optimised with; differences are paired by image, with
95 % bootstrap intervals. Run: ``python tests/benchmarks/quality.py`` (about 5 minutes on 2 cores); with
``--seeds 0 1 2 --methods default grad-cam``, two of them on three composites of every photograph.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from material import foreign_infills, paired_interval, photographs, report

import fidokit as fk
from fidokit import samples
from fidokit.methods.infill import blur
from fidokit.study.metrics.curves import insertion_and_deletion
from fidokit.study.metrics.localisation import iou_at_object_area, pixel_average_precision

#: What the default was before each kind had an infill of its own, and FIDO effects.
BEFORE = fk.FidoSettings(steps=10, samples=2, area=30.0, infill="blur", explained="log-odds", windows=0)
FIDO = {
    "default": fk.FidoSettings(),
    "before": BEFORE,
    "fast": fk.FidoSettings.fast(),
    "quality": fk.FidoSettings.quality(),
    "published": fk.FidoSettings.published(),
}
BASELINES = ("grad-cam", "integrated-gradients")
METRICS = ("insertion", "deletion", "average_precision", "iou")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("tuning", "report"), default="report")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=[*FIDO, *BASELINES], choices=[*FIDO, *BASELINES])
    arguments = parser.parse_args()
    part = arguments.part
    classifier = samples.efficientnet_lite0()
    counted: list[int] = []
    classifier.module.register_forward_hook(lambda _module, args, _output: counted.append(len(args[0])))
    scores: dict[str, dict[str, torch.Tensor]] = {}
    with classifier.session() as session:
        material = photographs(classifier, part, arguments.seeds)
        images, objects = material.images, material.objects
        panel = foreign_infills(classifier.size)
        goal = classifier.goal(session.logits(images))
        fk.explain(classifier, images[:1])  # the one-time tuning and the search for the layer

        def judge(name: str, masks: torch.Tensor) -> None:
            insertion, deletion = insertion_and_deletion(session, images, goal, masks, panel)
            found = pixel_average_precision(masks, objects), iou_at_object_area(masks, objects)
            scores[name] = dict(zip(METRICS, (insertion, deletion, *found), strict=True))
            means = {metric: float(values.mean()) for metric, values in scores[name].items()}
            report(benchmark="quality", part=part, photographs=len(images), masks=name, **means)

        def run(name: str, explain: Callable[[], fk.Masks]) -> fk.Masks:
            counted.clear()
            masks = explain()
            report(
                benchmark="quality",
                masks=name,
                evaluations=sum(counted) / len(images),
                most_evaluations=int(masks.evaluations.max()),
                seconds=float(masks.seconds.mean()),
            )
            return masks

        for name, settings in FIDO.items():
            if name not in arguments.methods:
                continue
            masks = run(name, lambda settings=settings: fk.explain(classifier, images, settings=settings))
            for kind in ("joint", "ssr"):
                judge(f"{name} {kind}", masks[kind])
        for name in BASELINES:
            if name not in arguments.methods:
                continue
            masks = run(name, lambda name=name: fk.explain(classifier, images, name))
            judge(name, masks.attribution)
            if name == "integrated-gradients":
                # A rank of scattered pixels keeps no connected region, so the rival also gets its smoothed form.
                judge(f"{name} smoothed", blur(masks.attribution[:, None], 0.03)[:, 0])

    rivals = ("published joint", "grad-cam", "integrated-gradients", "integrated-gradients smoothed")
    pairs = [("default joint", rival) for rival in rivals]
    pairs += [("quality ssr", rival) for rival in rivals[2:]]
    pairs += [("default joint", "before joint"), ("fast joint", "before joint")]
    pairs += [("quality joint", "default joint"), ("quality joint", "published joint")]
    for ours, rival in (pair for pair in pairs if scores.keys() >= set(pair)):
        for metric in METRICS:
            mean, low, high = paired_interval(scores[ours][metric] - scores[rival][metric], material.names)
            report(benchmark="quality", difference=f"{ours} - {rival}", metric=metric, mean=mean, low=low, high=high)


if __name__ == "__main__":
    main()
