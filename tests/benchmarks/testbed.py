"""The drawn species: accuracy of each classifier on fresh pictures with and without causes, and the time to draw.

Run: ``python tests/benchmarks/testbed.py`` (about 4 minutes on 2 cores).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from material import report
from PIL import Image

from fidokit import testbed
from fidokit.study.summary import bootstrap_means, percentile_interval
from fidokit.testbed.causes import plan
from fidokit.testbed.network import BIASES
from fidokit.testbed.raster import Stream
from fidokit.testbed.scene import Scene

#: Settings are tuned on seeds below 1000 and classifiers trained on seeds from 1,000,000.
SEED = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=480, help="pictures of each kind")
    n = parser.parse_args().n
    classifiers = {bias or "fair": testbed.classifier(bias) for bias in (None, *BIASES)}
    anywhere = [
        replace(scene, habitat=Stream(scene.index, "anywhere").pick(testbed.HABITATS)) for scene in plan(n, SEED + 1)
    ]
    kinds = {"clean": plan(n, SEED), "any habitat": anywhere}
    kinds |= {cause: plan(n, SEED + 2, {cause: 1.0}) for cause in testbed.CAUSES}
    for kind, scenes in kinds.items():
        images = inputs(scenes)
        for name, classifier in classifiers.items():
            predicted = torch.cat([classifier.logits(part).argmax(1) for part in images.split(48)]).tolist()
            right = np.asarray(
                [classifier.class_names[k] == s.species for k, s in zip(predicted, scenes, strict=True)], float
            )
            low, high = (float(bound[0]) for bound in percentile_interval(bootstrap_means(right[None])))
            accuracy = float(right.mean())
            report(benchmark="testbed", classifier=name, pictures=kind, n=n, accuracy=accuracy, low=low, high=high)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        testbed.load(1000, seed=SEED + 3, causes=dict.fromkeys(testbed.CAUSES, 0.1), folder=Path(folder) / "drawn")
        report(benchmark="testbed", seconds_for_1000=time.perf_counter() - begun)


def inputs(scenes: list[Scene]) -> torch.Tensor:
    small = [
        np.asarray(Image.fromarray(testbed.render(s).pixels).resize((128, 128), Image.Resampling.BILINEAR))
        for s in scenes
    ]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    main()
