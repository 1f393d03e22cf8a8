"""Changed photographs of a gallery's own references are not compared with what they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from tqdm.auto import tqdm

import fidokit as fk
from fidokit import testbed
from fidokit.errors.interventions import Interventions
from fidokit.errors.regions import RULES
from fidokit.study.metrics.ranks import soften

SIDE = 64
OPTIONS = {"mean": 0.5, "std": 0.25, "size": SIDE, "device": "cpu", "precision": "float32", "micro_batch": 8}


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_interventions_leave_the_query_out(tmp_path):
    data = testbed.individuals(40, 41, 4, size=SIDE, folder=tmp_path / "drawn")
    gallery = fk.Gallery(network(), data, temperature=0.05, **OPTIONS)
    study = fk.run_study(gallery, data, ["grad-cam"], store=tmp_path / "study", progress=False)
    errors = fk.find_error_clusters(study, progress=False)
    rule = next(rule for rule in RULES if rule.name == "the strongest 10 % of the evidence")
    with tqdm(disable=True) as bar, Interventions(errors, ("neutral",), 0, bar) as changes:
        answers = changes.answers(range(6), [rule])
    asked = 0
    for row in range(6):
        image_id = errors.features.image_ids[row]
        position = study.positions[image_id]
        region = rule.find(errors.features.contrast[row], None, (SIDE, SIDE))
        if region is None:
            continue
        asked += 1
        image = data.load(position, gallery.preprocessing)[0]
        changed = torch.lerp(image, torch.full_like(image, 0.5), soften(torch.from_numpy(np.stack([region])))[0])
        without = fk.Gallery(
            network(), data.subset([i for i in range(40) if i != position]), temperature=0.05, **OPTIONS
        )
        scores = without.logits(changed[None]).softmax(1)[0]
        assert answers[row, rule].said == without.class_names[int(scores.argmax())]
    assert asked
