"""Wall time per image: the default settings against the published ones run as a plain user would run them.

The plain run: the module as it comes (default memory layout, float32, parameters not frozen), one image at a time, the
same optimiser otherwise. Both alternate in one run. Run: ``python tests/benchmarks/time_per_image.py``.
"""

from __future__ import annotations

import statistics
import time

import torch
from material import report

import fidokit as fk
from fidokit import samples
from fidokit.methods.concrete import read_out, sample
from fidokit.methods.infill import blur
from fidokit.models.goals import area, log_odds, total_variation

REPEATS = 3


def plain_published(module: torch.nn.Module, image: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> None:
    """The published settings in straightforward PyTorch: 30 steps of 8 samples for each of two masks."""
    settings = fk.FidoSettings.published()
    x, filled = (image - mean) / std, (blur(image) - mean) / std
    with torch.no_grad():
        target = module(x).argmax(1)
    theta = torch.zeros(2, *image.shape[-2:], requires_grad=True)
    adam = torch.optim.AdamW([theta], lr=settings.lr, eps=settings.eps)
    for step in range(settings.steps):
        u = torch.rand(2, settings.samples, *image.shape[-2:])
        z = sample(theta[:, None], u, temperature=settings.temperature)
        kept = torch.stack([z[0], 1 - z[1]])[:, :, None]
        ramp = min(1.0, (step + 1) / settings.ramp_steps)
        loss = torch.zeros(())
        for sign, share in zip((-1, 1), kept, strict=True):
            odds = log_odds(module(share * x + (1 - share) * filled), target.expand(settings.samples))
            loss = loss + sign * odds.mean()
        mask = read_out(theta)
        price = settings.area * area(mask, "sum") + settings.total_variation * total_variation(mask, "sum")
        adam.zero_grad()
        module.zero_grad()
        (loss + ramp * price.sum()).backward()
        adam.step()


def main() -> None:
    classifier = samples.efficientnet_lite0()
    images = torch.rand(16, 3, *classifier.size, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.avg_pool2d(images, 9, 1, 4)
    module = samples.efficientnet_lite0().module.eval().requires_grad_(True)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    with classifier.session():
        start = time.perf_counter()
        fk.explain(classifier, images[:4])
        tuning = time.perf_counter() - start
        ours, plain = [], []
        for repeat in range(REPEATS):
            start = time.perf_counter()
            fk.explain(classifier, images)
            ours.append((time.perf_counter() - start) / len(images))
            start = time.perf_counter()
            plain_published(module, images[repeat : repeat + 1], mean, std)
            plain.append(time.perf_counter() - start)
    report(
        benchmark="time",
        default_seconds=statistics.median(ours),
        published_plain_seconds=statistics.median(plain),
        ratio=statistics.median(plain) / statistics.median(ours),
        ratio_lowest=min(plain) / max(ours),
        ratio_highest=max(plain) / min(ours),
        first_call_seconds=tuning,
        precision=classifier.precision,
        micro_batch=classifier.micro_batch,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
