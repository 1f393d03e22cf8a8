"""The FunnyBirds protocol on toys whose values can be worked out by hand, and its references on real cases."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import funnybirds
import funnybirds_material as material
import funnybirds_protocol as protocol

#: Beak, eye, foot, tail, wing; class 1 shares beak and eye with class 0, class 2 shares tail and wing.
CLASSES = [
    dict(zip(protocol.PARTS, variants, strict=True))
    for variants in ((0, 0, 0, 0, 0), (0, 0, 1, 1, 1), (1, 1, 2, 0, 0), (2, 2, 0, 2, 2))
]
WORTH = np.array([4.0, 1.0, 0.0, 2.0, 0.5])


def truth(sizes=(1, 2, 3, 4, 5), background=(0.0, 3.0), target=0):
    """Each part of the target is worth its own logits to it, and to a class the parts that it shares."""
    whole = np.array([6.0, 0, 0, 0])
    whole[1], whole[2] = WORTH[:2].sum(), WORTH[3:].sum()
    without = {}
    for code in range(1, 32):
        gone = np.array([bool(code >> part & 1) for part in range(5)])
        logits = whole.copy()
        logits[0] -= WORTH[gone].sum()
        logits[1] -= WORTH[:2][gone[:2]].sum()
        logits[2] -= WORTH[3:][gone[3:]].sum()
        without[code] = logits
    objects = {n: whole - np.array([drop, 0, 0, 0]) for n, drop in enumerate(background)}
    return protocol.Truth(target, (0, 1, 2, 3, 4), whole, without, objects, np.array(sizes, float))


def importances(parts=WORTH, background=(0.0, 3.0)):
    both = np.concatenate([np.asarray(parts, float), np.asarray(background, float)])
    return protocol.Importances(both[:5], both[5:], float(both.clip(min=0).sum()))


def test_drops_are_those_of_each_part_alone():
    np.testing.assert_allclose(truth().drops(), WORTH)
    np.testing.assert_allclose(truth().drops(1), [4, 1, 0, 0, 0])
    np.testing.assert_allclose(truth().background_drops(), [0, 3])


def test_what_is_not_visible_cannot_be_taken_out():
    case = truth()
    seen = protocol.Truth(0, (0, 1), case.whole, case.without, {}, case.sizes[:2])
    np.testing.assert_allclose(seen.logits_without([4]), case.whole)
    np.testing.assert_allclose(seen.logits_without([0, 4]), case.without[1])


def test_a_part_gets_the_attribution_on_its_dilated_pixels_and_both_its_pieces():
    part_map = np.zeros((20, 20), np.uint8)
    part_map[5, 5], part_map[15, 15], part_map[5, 15], part_map[15, 5] = 3, 4, 2, 107
    found = protocol.part_importances(np.ones((20, 20)), part_map, (0, 1), (7, 8))
    np.testing.assert_allclose(found.parts, [25, 50])
    np.testing.assert_allclose(found.background, [25, 0])
    assert found.total == 400


@pytest.mark.parametrize(("parts", "expected"), [(WORTH, 1.0), (-WORTH, 0.0), (np.square(WORTH), 1.0)])
def test_single_deletion_is_a_rank_correlation_in_0_to_1(parts, expected):
    assert protocol.single_deletion(importances(parts), truth()) == pytest.approx(expected)


def test_single_deletion_of_a_constant_is_not_defined():
    assert math.isnan(protocol.single_deletion(importances(np.ones(5)), truth()))


def test_sufficient_sets_are_the_smallest_that_no_other_class_has():
    found = protocol.sufficient_sets(CLASSES, 0)
    # No part is class 0's own; beak or eye excludes all but class 1, which any of foot, tail and wing excludes.
    assert {frozenset(one) for one in found} >= {frozenset(("beak", "foot")), frozenset(("eye", "tail"))}
    assert all(len(one) == 2 for one in found)
    assert frozenset(("beak", "eye")) not in found
    assert frozenset(("tail", "wing")) not in found


@pytest.mark.parametrize(("important", "expected"), [((0, 2), 1.0), ((0,), 0.5), ((0, 1), 0.5), ((), 0.0)])
def test_data_check_is_the_share_of_the_best_sufficient_set(important, expected):
    assert protocol.data_check(important, protocol.sufficient_sets(CLASSES, 0)) == expected


def test_preservation_and_deletion_ask_the_classifier():
    case = truth()
    assert protocol.preserved([0, 3], case)
    assert protocol.preserved(range(5), case)
    assert not protocol.deleted([], case)
    assert not protocol.deleted([2], case)
    assert protocol.deleted([0], case)  # 6 - 4 of class 0 against 2.5 of class 2


def test_distractibility_counts_what_is_irrelevant_and_called_important():
    case = truth()
    # Irrelevant: the foot and object 0 (under 0.3 logits); the wing is worth 0.5.
    assert protocol.undistracted(importances(), case, 0.01) == 1
    assert protocol.undistracted(importances(background=(9.0, 3.0)), case, 0.01) == 0.5
    assert protocol.undistracted(importances(np.ones(5), (9.0, 3.0)), case, 0.01) == 0


def test_completeness_takes_the_threshold_that_serves_the_method_best():
    rows = np.zeros((1, 3, 4))
    rows[0] = [[1, 1, 1, 0], [0.9, 0.9, 0.9, 0.9], [0, 0, 0, 1]]
    means, best = protocol.completeness(rows)
    assert best == 1
    np.testing.assert_allclose(means, 0.9)


def test_contrast_classes_share_two_parts_each_and_not_the_same():
    assert protocol.contrast_classes(CLASSES, 0) == (1, 2)
    assert protocol.contrast_classes(CLASSES[:2], 0) is None
    assert protocol.shared_parts(CLASSES, 0, 1) == [0, 1]
    assert protocol.contrast_holds(truth(), 1, 2, CLASSES)
    assert not protocol.contrast_holds(truth(), 2, 1, [CLASSES[0], CLASSES[2], CLASSES[1]])


def test_target_sensitivity_compares_the_two_explanations():
    case = truth()
    first, second = importances(case.drops(1)), importances(case.drops(2))
    assert protocol.target_sensitivity(first, second, (1, 2), case, CLASSES) == 1
    assert protocol.target_sensitivity(second, first, (1, 2), case, CLASSES) == 0
    assert protocol.target_sensitivity(first, first, (1, 2), case, CLASSES) == 0


def test_pairs_balance_the_size_and_count_ties_half():
    # Drops 4, 1, 0, 2, 0.5 with sizes 1 .. 5: the larger part matters more only in (eye, tail) and (foot, tail) and
    # (foot, wing).
    case = truth()
    right = protocol.ordered_pairs(importances(), case)
    assert sum(larger for larger, _ in right) == 3
    assert protocol.pairs(right) == 1
    assert protocol.pairs(protocol.ordered_pairs(importances(case.sizes), case)) == 0.5
    assert protocol.pairs(protocol.ordered_pairs(importances(np.ones(5)), case)) == 0.5
    assert protocol.pairs(protocol.ordered_pairs(importances(-WORTH), case)) == 0
    assert protocol.ordered_pairs(importances(), case, least=5) == []


def test_summary_and_bootstrap_hold_together():
    case, n = truth(), 6
    parts = protocol.completeness_parts(importances(), case, CLASSES)
    scores = protocol.Scores(
        np.full(n, 1.0), np.stack([parts] * n), np.full(n, 0.5), [protocol.ordered_pairs(importances(), case)] * n
    )
    summary = scores.summary()
    assert summary["score"] == pytest.approx((1 + 0.5 + summary["completeness"]) / 3)
    (drawn,) = protocol.bootstrap([scores], resamples=20)
    np.testing.assert_allclose(drawn["score"], summary["score"])


def test_the_published_layout_is_read(tmp_path):
    rng = np.random.default_rng(0)

    def save(name, values=None):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) if values is None else values
        Image.fromarray(drawn).save(path)
        return drawn

    (tmp_path / "classes.json").write_text(json.dumps([{"class_idx": k, "parts": c} for k, c in enumerate(CLASSES)]))
    (tmp_path / "dataset_test.json").write_text(json.dumps([{"class_idx": 3}]))
    picture = save("test/3/000000.png")
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[0, 0], colours[1, 1], colours[2, 2] = (255, 255, 254), (204, 204, 209), (0, 255, 1)
    save("test_part_map/3/000000.png", colours)
    kept = {}
    for code in range(1, 32):
        names = sorted(name for part, name in enumerate(protocol.PARTS) if not code >> part & 1)
        kept[code] = save(f"test_interventions/3/000000/{'_'.join(['body', *names])}.png")
    objects = [save(f"test_interventions/3/000000/background_interventions/{n}.png") for n in (0, 5)]
    (case,) = material.cases(tmp_path)
    assert material.classes(tmp_path) == CLASSES
    assert (case.target, case.parts) == (3, (0, 1, 2, 3, 4))
    assert torch.equal(case.image, torch.from_numpy(picture).permute(2, 0, 1) / 255)
    assert (case.part_map[0, 0], case.part_map[1, 1], case.part_map[2, 2], case.part_map[7, 7]) == (4, 105, 8, 0)
    for code, one in kept.items():
        assert torch.equal(case.without[code], torch.from_numpy(one).permute(2, 0, 1) / 255)
    assert list(case.background) == [0, 5]
    assert torch.equal(case.background[5], torch.from_numpy(objects[1]).permute(2, 0, 1) / 255)


needs_material = pytest.mark.skipif(not material.SHARED.is_dir(), reason=f"{material.SHARED} is not there")


@pytest.fixture(scope="module")
def pictures():
    torch.set_num_threads(1)
    return funnybirds.Pictures(material.SHARED, material.classifier())


@needs_material
def test_references_are_where_they_belong(pictures):
    assert len(pictures.cases) > 30
    oracle, random, constant = (pictures.reference(name).summary() for name in ("oracle", "random", "constant"))
    assert oracle["score"] > 0.95
    assert oracle["pairs"] == 1
    assert 0.5 < random["score"] < 0.62
    assert random["single_deletion"] == pytest.approx(0.5, abs=0.1)
    assert random["pairs"] == pytest.approx(0.5, abs=0.15)
    assert constant["pairs"] == 0.5
    assert constant["single_deletion"] > 0.8
    assert constant["target_sensitivity"] == 0


@needs_material
def test_a_method_is_measured_and_an_infill_that_drops_nothing_shows_nothing(pictures):
    scores, evaluations = pictures.explain("grad-cam")
    assert set(scores) == {"attribution", "signed"}
    assert scores["attribution"].summary()["score"] > 0.7
    assert 1 <= evaluations <= 5
    rows = {row["infill"]: row for row in funnybirds.infill_rows(pictures, ("original", "mean"))}
    assert abs(rows["original"]["share_of_drop"]) < 1e-3
    assert rows["mean"]["share_of_drop"] > 0.8
    assert rows["mean"]["correlation"] > 0.7
