"""What the tests of error clusters share: tables of features with a planted cause, and drawn photographs with one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from study_cases import CLASSES, SIZE, make_classifier, register_counting

import fidokit as fk
from fidokit.errors import ErrorClusters, find_error_clusters
from fidokit.errors.features import Features
from fidokit.errors.groups import Outcome

#: Edge of the animal's box in the drawn photographs.
CENTRE = slice(4, 12)


def feature_table(seed: int = 0, n: int = 480, k: int = 4, *, cause: str | None = None, noise: float = 0.06):
    """(features, outcome, planted): k classes whose animals differ, in surroundings that do not.

    Of the images a share of `noise` has another label, at random. With a cause, 35 % of one class are dark, or stand in
    front of the surroundings that one other class has, and are taken for it.
    """
    generator = np.random.default_rng(seed)
    classes = np.arange(n) % k
    around = generator.normal(size=(6, 12))[np.where(generator.random(n) < 0.8, classes, generator.integers(0, 6, n))]
    around = around + generator.normal(size=(n, 12)) * 0.6
    animal = generator.normal(size=(k, 12))[classes] + generator.normal(size=(n, 12)) * 0.6
    light = generator.normal(size=(n, 3))
    label, top, planted = classes.copy(), classes.copy(), np.zeros(n, dtype=bool)
    if cause is not None:
        own = np.flatnonzero(classes == 1)
        planted[generator.choice(own, round(0.35 * len(own)), replace=False)] = True
        top[planted & (generator.random(n) < 0.9)] = 2
        if cause == "dark":
            light[planted, 0] -= 5
        else:
            around[planted] = 3 + generator.normal(size=(int(planted.sum()), 12)) * 0.6
    flipped = generator.random(n) < noise
    label[flipped] = (label[flipped] + generator.integers(1, k, int(flipped.sum()))) % k
    blocks = {"whole": 0.5 * animal + 0.5 * around, "on animal": animal, "around animal": around, "light": light}
    features = Features(
        image_ids=[f"{seed}-{i}" for i in range(n)],
        top=top,
        blocks={name: values.astype(np.float32) for name, values in blocks.items()},
        named=pd.DataFrame({"brightness": light[:, 0], "contrast": light[:, 1]}),
        categories=pd.DataFrame({"genus": np.where(classes < 2, "A", "B").astype(object)}),
        masks=np.ones((n, 2, 2), np.float32),
        contrast=np.ones((n, 2, 2), np.float32),
    )
    return features, outcome_of(label, top, generator.random(n)), planted


def outcome_of(label, top, score) -> Outcome:
    names = np.asarray([f"class {i}" for i in range(int(max(label.max(), top.max())) + 1)], dtype=object)
    return Outcome(names[label], names[top], np.ones(len(label), bool), label != top, score)


def drawn_data(folder: Path, n: int = 180, *, cause: float = 0.4, wrong_labels: int = 8, seed: int = 0):
    """n photographs of 16 x 16 pixels: a tinted square, the class, on grey; of the red ones a share stands on green.

    Columns beside path and label: the box of the square, `site` ("meadow" where it is green, mostly), `hour`, and
    `planted_cause`.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    green = set(generator.choice(np.arange(0, n, 3), round(cause * n / 3), replace=False).tolist())
    for i in range(n):
        pixels = generator.integers(50, 80, (SIZE, SIZE, 3))
        if i in green:
            pixels[..., 1] += 110
        tint = generator.integers(20, 50, (8, 8, 3))
        tint[..., i % 3] += 150
        pixels[CENTRE, CENTRE] = tint
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03d}.png")
        shown = CLASSES[i % 3]
        label = CLASSES[(i + 1) % 3] if n - 1 - wrong_labels <= i < n - 1 else shown
        rows.append(
            {
                "path": f"{i:03d}.png",
                "label": label,
                "image_id": f"p{i:03d}",
                **{"box_x0": 4, "box_y0": 4, "box_x1": 12, "box_y1": 12},
                "site": "meadow" if (i in green) != (generator.random() < 0.05) else "gravel",
                "hour": int(generator.integers(0, 12)),
                "planted_cause": "habitat" if i in green else "none",
            }
        )
    return fk.LabelledImages.from_table(pd.DataFrame(rows), root=folder)


def drawn_study(folder: Path, data=None, **options):
    data = drawn_data(folder / "data", **options) if data is None else data
    register_counting("counting")
    classifier = make_classifier()
    return fk.run_study(classifier, data, ["counting"], store=folder / "run", progress=False)


def drawn_errors(folder: Path, **options) -> ErrorClusters:
    return find_error_clusters(drawn_study(folder, **options))


class ManyErrors(ErrorClusters):
    """Error clusters whose images stand there several times, so that a map is full without a day's work.

    Args:
        errors: of few images.
        times: how often each of them stands there.
    """

    def __init__(self, errors: ErrorClusters, times: int) -> None:
        # Described while the images are few.
        assert len(errors.clusters)
        vars(self).update(vars(errors))
        features, found = errors.features, errors.found
        ids = [f"{image_id}-{k}" for k in range(times) for image_id in features.image_ids]
        positions = errors.study.positions
        self.study = copy.copy(errors.study)
        self.study.positions = {name: positions[name.rpartition("-")[0]] for name in ids}
        self.features = replace(features, image_ids=ids, masks=np.tile(features.masks, (times, 1, 1)))
        self.found = replace(found, members=np.tile(found.members, (1, times)))
        table = pd.concat([errors.map] * times, ignore_index=True).assign(image_id=ids)
        generator = np.random.default_rng(0)
        self._many = table.assign(**{axis: table[axis] + generator.normal(0, 0.15, len(table)) for axis in "xy"})

    @property
    def map(self) -> pd.DataFrame:
        return self._many
