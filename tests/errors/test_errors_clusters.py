"""Groups found without labels, looked up again, and how stable they are."""

from __future__ import annotations

import numpy as np
import pytest
from errors_cases import feature_table
from scipy.cluster.hierarchy import fcluster, linkage

from fidokit.errors import clusters as c


def blobs(seed=0, sizes=(60, 25, 40), centres=((0, 0), (8, 0), (0, 8))):
    """Features of one block with the blobs' numbers."""
    generator = np.random.default_rng(seed)
    points = np.concatenate([generator.normal(m, 0.7, (n, 2)) for n, m in zip(sizes, centres, strict=True)])
    features, _, _ = feature_table(n=len(points))
    features.blocks = {"whole": points.astype(np.float32)}
    return features, np.repeat(np.arange(len(sizes)), sizes)


def jaccard(a, b):
    return (a & b).sum() / (a | b).sum()


def test_components_are_uncorrelated_and_of_half_levelled_variance():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(300, 5)) @ generator.normal(size=(5, 5)) * [1, 10, 100, 1, 1] + 7
    placed = c.PrincipalSpace.fit(values).place(values)
    standard = (values - values.mean(0)) / values.std(0)
    variances = np.linalg.eigvalsh(np.cov(standard.T))[::-1]
    assert np.cov(placed.T) == pytest.approx(np.diag(np.sqrt(variances)), abs=1e-6)


def test_a_constant_block_places_everything_at_one_point():
    assert not c.PrincipalSpace.fit(np.ones((20, 4))).place(np.ones((3, 4))).any()


def test_a_tree_finds_blobs_and_looks_new_images_up():
    features, truth = blobs()
    tree = c.Tree.grow(features, "whole", None, np.arange(len(features)), 0)
    new, new_truth = blobs(seed=1)
    known, typical = tree.look_up(features)
    found, _ = tree.look_up(new)
    for blob in range(3):
        best = int(np.argmax([jaccard(m, truth == blob) for m in known]))
        if blob:
            assert jaccard(known[best], truth == blob) > 0.95
            assert jaccard(found[best], new_truth == blob) > 0.9
            order = np.argsort(-typical[best])
            middle = features.blocks["whole"][truth == blob].mean(0)
            distance = np.linalg.norm(features.blocks["whole"] - middle, axis=1)
            assert distance[order[:5]].mean() < np.sort(distance)[: int((truth == blob).sum())].mean()


def test_stability_tells_blobs_from_noise():
    features, truth = blobs()
    tree = c.Tree.grow(features, "whole", None, np.arange(len(features)), 0)
    members, _ = tree.look_up(features)
    stable = c.stabilities([tree], features, 5, 0)
    blob = int(np.argmax([jaccard(m, truth == 1) for m in members]))
    assert stable[blob] > 0.95
    features.blocks["whole"] = np.random.default_rng(0).normal(size=(len(features), 8)).astype(np.float32)
    noise = c.Tree.grow(features, "whole", None, np.arange(len(features)), 0)
    assert np.median(c.stabilities([noise], features, 5, 0)) < stable[blob] - 0.3


def test_the_best_jaccard_index_is_that_of_all_nodes():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(30, 3))
    merges = linkage(points, "ward")
    groups = generator.random((4, 30)) < 0.3
    best = np.zeros(4)
    for height in np.r_[0, merges[:, 2]]:
        cut = fcluster(merges, height, "distance")
        for value in np.unique(cut):
            best = np.maximum(best, [jaccard(g, cut == value) for g in groups])
    assert c._best_jaccard(merges, groups) == pytest.approx(best)


def test_tails_are_the_ends_of_a_statistic():
    features, _, _ = feature_table()
    tails = c.Tails.cut(features, None, np.arange(len(features)))
    members, typical = tails.look_up(features)
    values = features.named["brightness"].to_numpy()
    for group, inside, order in zip(tails.groups, members, typical, strict=True):
        if group.block == "brightness":
            extreme = values if group.how == "low" else -values
            assert extreme[inside].max() < extreme[~inside].min()
            assert np.argmax(order) == np.argmin(extreme)


def test_a_statistic_without_ends_has_no_tails():
    features, _, _ = feature_table()
    features.named = features.named.assign(brightness=1.0, contrast=np.nan)
    assert not c.Tails.cut(features, None, np.arange(len(features))).groups
    features.named["brightness"] = np.arange(len(features)) % 2
    assert not c.Tails.cut(features, None, np.arange(len(features))).groups


def test_metadata_values_are_groups_over_all_images_only():
    features, _, _ = feature_table()
    values = c.Values.collect(features, np.arange(len(features)))
    assert {(g.block, g.value, g.top) for g in values.groups} == {("genus", "A", None), ("genus", "B", None)}
    members, _ = values.look_up(features)
    assert (members == [features.categories["genus"] == g.value for g in values.groups]).all()


def test_a_typical_image_of_a_value_looks_like_the_others_that_have_it():
    features, truth = blobs()
    features.categories["site"] = np.where(truth == 1, "pond", "wood").astype(object)
    features.categories.loc[0, "site"] = "pond"
    values = c.Values.collect(features, np.arange(len(features)))
    pond = next(g for g, group in enumerate(values.groups) if group.value == "pond")
    members, typical = values.look_up(features)
    inside = np.flatnonzero(members[pond])
    assert inside[np.argmin(typical[pond, inside])] == 0


def test_what_other_images_lack_puts_them_in_no_group():
    features, _ = blobs()
    tree = c.Tree.grow(features, "whole", None, np.arange(len(features)), 0)
    features.blocks = {"light": features.blocks["whole"]}
    members, _ = tree.look_up(features)
    assert members.shape == (len(tree.groups), len(features))
    assert not members.any()


def test_groups_that_are_nearly_the_same_are_named_once():
    features, _, _ = feature_table()
    finders = c.find_groups(features, 0)
    members, _ = c.look_up(finders, features)
    assert len(members) == sum(len(s.groups) for s in finders) > 50
    counts = members.astype(float) @ members.T.astype(float)
    sizes = np.diag(counts)
    alike = counts / (sizes[:, None] + sizes[None] - counts)
    assert np.triu(alike, 1).max() < c.ALIKE
    assert sizes.min() >= c.LEAST


def test_groups_are_the_same_every_time():
    features, _, _ = feature_table()
    first, second = (c.look_up(c.find_groups(features, 3), features) for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()


@pytest.mark.parametrize("n", [0, 1, 5, 11])
def test_too_few_images_have_no_groups(n):
    features, _, _ = feature_table()
    assert c.find_groups(features.take(np.arange(n)), 0) == []


def test_identical_images_have_no_groups():
    features, _, _ = feature_table()
    same = features.take(np.zeros(40, dtype=np.int64))
    assert c.find_groups(same, 0) == []


def test_a_large_tree_is_grown_from_a_part(monkeypatch):
    monkeypatch.setattr(c, "LARGEST_TREE", 60)
    features, truth = blobs()
    tree = c.Tree.grow(features, "whole", None, np.arange(len(features)), 0)
    assert len(tree.points) == 60
    members, _ = tree.look_up(features)
    assert max(jaccard(m, truth == 2) for m in members) > 0.95
