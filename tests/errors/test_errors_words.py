"""What a cluster's errors have in common, and the sentence that says it."""

from __future__ import annotations

import numpy as np
import pytest
from errors_cases import feature_table

from fidokit.errors.clusters import Group
from fidokit.errors.regions import PLACE
from fidokit.errors.statistics import _WORDS
from fidokit.errors.words import (
    Describer,
    Property,
    _chance_above,
    advice,
    cluster_name,
    own_words,
    pairs,
    sentence,
)


def describe(features, members, wrong, codes):
    return Describer(features, codes, np.arange(len(features))).properties(members, wrong)


@pytest.fixture
def table():
    features, _, _ = feature_table(n=200)
    return features, np.arange(200) % 2


def test_how_often_a_value_is_above_others():
    ranks, others, weights = np.array([0.5, 0.9]), np.array([0.1, 0.5, 0.8]), np.array([1.0, 1.0, 2.0])
    by_hand = np.mean([(1 + 0.5) / 4, 1.0])
    assert _chance_above(ranks, others, weights) == pytest.approx(by_hand)


def test_what_is_named_is_what_the_errors_have_and_their_class_has_not(table):
    features, codes = table
    members = np.arange(200) < 30
    features.named.loc[members, "brightness"] -= 9
    features.categories["habitat"] = np.where(members, "reeds", "meadow").astype(object)
    words = [p.words for p in describe(features, members, members, codes)]
    assert words == ["habitat: reeds", "dark photographs"]


def test_values_that_together_are_more_frequent_are_named_together(table):
    features, codes = table
    members = np.arange(200) < 30
    features.categories["site"] = np.where(members, np.where(np.arange(200) % 3, "reeds", "snow"), "rock").astype(
        object
    )
    assert [p.words for p in describe(features, members, members, codes)] == ["site: reeds or snow"]


def test_hidden_parts_are_one_property_and_parts_in_view_none(table):
    features, codes = table
    members = np.arange(200) < 30
    generator = np.random.default_rng(0)
    for part, change in (("cap", -9), ("throat", -9), ("legs", 9)):
        features.named[f"visible {part}"] = generator.normal(size=200) + change * members
    assert [p.words for p in describe(features, members, members, codes)] == ["the cap and throat hidden"]


def test_of_two_statistics_that_say_the_same_one_is_named(table):
    features, codes = table
    members = np.arange(200) < 30
    features.named.loc[members, "brightness"] -= 9
    features.named["glare"] = 2 * features.named["brightness"]
    assert [p.words for p in describe(features, members, members, codes)] == ["dark photographs"]


def test_what_the_class_explains_is_not_named(table):
    features, codes = table
    features.categories["family"] = np.where(codes == 1, "tits", "finches").astype(object)
    features.named["contrast"] += 9.0 * codes
    members = (codes == 1) & (np.arange(200) < 60)
    found = {p.name for p in describe(features, members, members, codes)}
    assert not found & {"family", "contrast"}


def test_a_few_errors_name_nothing(table):
    features, codes = table
    members = np.arange(200) < 30
    assert describe(features, members, np.arange(200) < 2, codes) == []


def test_a_cluster_that_is_everything_names_nothing(table):
    features, codes = table
    everything = np.ones(200, dtype=bool)
    assert describe(features, everything, everything, codes) == []


def test_pairs_are_counted():
    assert pairs(["a", "a", "b"], ["b", "b", "c"]) == [("a", "b", 2), ("b", "c", 1)]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group("brightness", "low", None, 0.1), "dark photographs"),
        (Group("habitat", "value", None, "reeds"), "habitat: reeds"),
        (Group("column depth", "high", None, 0.1), "high depth"),
        (
            Group("around animal", "tree", 1),
            "alike in what the classifier sees around the animal and taken for willow tit",
        ),
    ],
)
def test_a_group_in_words(group, words):
    assert own_words(group, ["marsh tit", "willow tit"]) == words


COUNTS = {
    "size": 38,
    "n_errors": 31,
    "expected_rate": 4 / 38,
    "q_value": 1e-9,
    "holdout_p": 1e-6,
    "holdout_size": 30,
    "holdout_n_errors": 24,
    "stability": 0.9,
    "systematic": True,
}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "Confirmed on the held-out half (24 of 30 wrong)"),
        ({"systematic": False, "q_value": 0.3}, "No more than chance explains (q = 0.3): leave it"),
        ({"systematic": False, "holdout_p": 0.3}, "Not confirmed on the held-out half (24 of 30 wrong): leave it"),
        ({"systematic": False, "stability": 0.2}, "Not found again when photographs are drawn anew (stability 0.20)"),
        (
            {"systematic": False},
            "Seen on the held-out half too (24 of 30 wrong), and told already by a clearer cluster",
        ),
    ],
)
def test_the_sentence(changes, end):
    group = Group("mask outside", "high", None, 0.7)
    text = sentence(group, [], COUNTS | changes, [("marsh tit", "willow tit", 29), ("coot", "rail", 2)], [])
    assert text.startswith(
        "31 of 38 photographs (the classifier looks beside the animal) are wrong, where 4.0 would be expected from "
        "their classes: marsh tit taken for willow tit (29), coot taken for rail (2). "
    )
    assert end in text


def test_the_sentence_of_a_cluster_without_errors():
    text = sentence(Group("brightness", "high", None, 0.7), [], COUNTS | {"n_errors": 0}, [], [])
    assert text == "None of 38 photographs (bright photographs) is wrong"


def test_long_names_are_cut():
    text = own_words(Group("x" * 200, "value", None, "y" * 200), [])
    assert len(text) < 130


HIDDEN = Property("visible bill", "the bill hidden", 0.9)
BESIDE = Property("mask outside", "the classifier looks beside the animal", 0.9)
OUTSIDE = {"verdict": "proved", "rule": "everything outside the animal"}
TREE, DARK = Group("light", "tree", None, 3.0), Group("brightness", "low", None, 0.1)


def test_a_cluster_is_called_by_what_it_is_and_renamed_by_what_is_proved():
    assert cluster_name("dark photographs", [HIDDEN], None) == "dark photographs"
    assert cluster_name("alike in light and colour", [HIDDEN], None) == "the bill hidden"
    assert cluster_name("alike in light and colour", [], None) == "alike in light and colour"
    assert cluster_name("dark photographs", [], OUTSIDE) == "misled by the surroundings (dark photographs)"
    assert cluster_name("dark photographs", [], OUTSIDE | {"verdict": "not shown"}) == "dark photographs"
    place = {"verdict": "supported", "rule": PLACE}
    assert cluster_name("dark photographs", [], place) == "misled by one place of the picture (dark photographs)"


def test_advice_follows_what_is_known_best():
    assert "have a person check" in advice(DARK, [BESIDE], None)
    assert "Crop to the animal" in advice(DARK, [], OUTSIDE)
    assert "Crop to the animal" in advice(TREE, [BESIDE], None)
    assert "hidden" in advice(TREE, [HIDDEN, BESIDE], None)
    assert "time stamp" in advice(TREE, [], {"verdict": "proved", "rule": PLACE})
    assert "train with more" in advice(Group("site", "value", None, "A3"), [], None)
    assert "most typical photographs" in advice(Group("whole", "tree", None, 3.0), [], None)
    told = {name: advice(Group(name, "low", None, 0.1), [], None) for name in _WORDS}
    assert all(text[0].isupper() and text.endswith(".") for text in told.values())
    assert {n for n, text in told.items() if "most typical" in text} == {"mask area", "mask x", "mask y"}
