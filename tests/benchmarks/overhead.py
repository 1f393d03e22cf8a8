"""Overhead of the step loop: its wall time over a bare forward and backward pass of as many evaluations.

Same micro-batch, same precision, alternating in one run. Run: ``python tests/benchmarks/overhead.py``.
"""

from __future__ import annotations

import statistics
import time

import torch
from material import report

import fidokit as fk
from fidokit import samples
from fidokit.methods.concrete import image_keys
from fidokit.methods.optimiser import Optimiser

ROUNDS = 7
STEPS = 8


def main() -> None:
    classifier = samples.efficientnet_lite0()
    for name, settings in (("default", fk.FidoSettings()), ("quality", fk.FidoSettings.quality())):
        with classifier.session() as session:
            width = max(1, session.micro_batch // (2 * settings.samples))
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(width, 3, *classifier.size, generator=generator)
            goal = classifier.goal(session.logits(images))
            optimiser = Optimiser(session, settings, goal)
            slots = optimiser.fill(images, image_keys(0, [str(i) for i in range(width)]), goal, None)
            evaluations = width * optimiser.evaluations_per_step
            inputs = session.normalise(torch.rand(evaluations, 3, *classifier.size, generator=generator))
            step_goal = goal.repeat(optimiser.evaluations_per_step)

            def step(optimiser=optimiser, slots=slots) -> None:
                optimiser.step(slots)

            def bare(inputs=inputs, session=session, step_goal=step_goal) -> None:
                leaf = inputs.requires_grad_(True)
                torch.autograd.grad(step_goal.log_odds(session.forward(leaf)).sum(), leaf)

            times: dict[str, list[float]] = {"step": [], "bare": []}
            step()
            bare()
            for _ in range(ROUNDS):
                for key, run in (("step", step), ("bare", bare)):
                    start = time.perf_counter()
                    for _ in range(STEPS):
                        run()
                    times[key].append(time.perf_counter() - start)
            ratios = [s / b for s, b in zip(times["step"], times["bare"], strict=True)]
            report(
                benchmark="overhead",
                settings=name,
                ratio=statistics.median(ratios),
                ratio_lowest=min(ratios),
                ratio_highest=max(ratios),
                milliseconds_per_evaluation=1e3 * statistics.median(times["step"]) / (STEPS * evaluations),
                precision=classifier.precision,
                micro_batch=session.micro_batch,
            )


if __name__ == "__main__":
    main()
