"""The map of images: what the classifier sees alike lies together, and other images find their place."""

from __future__ import annotations

import numpy as np
import pytest
from errors_cases import feature_table

from fidokit.errors import layout
from fidokit.errors.layout import Layout


def two_kinds(n=60, seed=0):
    generator = np.random.default_rng(seed)
    features, _, _ = feature_table(n=n)
    kind = np.arange(n) % 2
    features.blocks = {"whole": (generator.normal(size=(n, 6)) + 9 * kind[:, None]).astype(np.float32)}
    return features, kind


def test_what_is_alike_lies_together():
    features, kind = two_kinds()
    places = Layout.fit(features, 0).places
    middles = np.stack([places[kind == k].mean(0) for k in (0, 1)])
    nearer = np.linalg.norm(places[:, None] - middles, axis=2).argmin(1)
    assert (nearer == kind).all()


def test_an_image_is_found_again_and_a_new_one_is_put_to_its_like():
    features, kind = two_kinds()
    found = Layout.fit(features, 0)
    assert np.array_equal(found.look_up(features), found.places)
    new, new_kind = two_kinds(seed=1)
    places = found.look_up(new)
    for i in range(len(places)):
        own = np.flatnonzero((found.places == places[i]).all(1))
        assert (kind[own] == new_kind[i]).all()


def test_many_images_stand_beside_landmarks(monkeypatch):
    monkeypatch.setattr(layout, "LANDMARKS", 20)
    features, _ = two_kinds()
    found = Layout.fit(features, 0)
    assert len(found.points) == 20
    assert len(np.unique(found.places, axis=0)) == 20


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_few_images_have_places_too(n):
    features, _ = two_kinds()
    places = Layout.fit(features.take(np.arange(n)), 0).places
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()


def test_identical_images_lie_at_one_point():
    features, _ = two_kinds()
    places = Layout.fit(features.take(np.zeros(30, dtype=np.int64)), 0).places
    assert len(np.unique(places, axis=0)) == 1
