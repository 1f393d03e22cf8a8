"""Class names as people have them: in the order of the logits, whatever they come in."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict

import numpy as np
import pandas as pd
import pytest
import torch
from nets import conv_net

from fidokit.exceptions import ClassifierError
from fidokit.models.class_names import read_class_names
from fidokit.models.classifier import Classifier

ANIMALS = ["deer", "fox", "badger", "hare"]


class Positions(enum.Enum):
    """Not in their order."""

    hare = 3
    deer = 0
    fox = 1
    badger = 2


class Numbers(enum.IntEnum):
    deer = 0
    fox = 1
    badger = 2
    hare = 3


class Words(enum.StrEnum):
    ROE = "deer"
    RED = "fox"
    BAD = "badger"
    BROWN = "hare"


@pytest.mark.parametrize(
    "given",
    [
        {0: "deer", 1: "fox", 2: "badger", 3: "hare"},
        {3: "hare", 1: "fox", 0: "deer", 2: "badger"},
        {"3": "hare", "1": "fox", "0": "deer", "2": "badger"},
        json.loads(json.dumps({0: "deer", 1: "fox", 2: "badger", 3: "hare"})),
        {np.int64(1): "fox", np.int64(0): "deer", np.int64(3): "hare", np.int64(2): "badger"},
        {0.0: "deer", 1.0: "fox", 3.0: "hare", 2.0: "badger"},
        {"badger": 2, "deer": 0, "fox": 1, "hare": 3},
        {"badger": "2", "deer": "0", "fox": "1", "hare": "3"},
        OrderedDict([("hare", torch.tensor(3).item()), ("fox", 1), ("deer", 0), ("badger", 2)]),
        pd.Series({"badger": 2, "deer": 0, "fox": 1, "hare": 3}),
        pd.Series(ANIMALS),
        pd.Series(ANIMALS, index=["Capreolus capreolus", "Vulpes vulpes", "Meles meles", "Lepus europaeus"]),
        pd.Index(ANIMALS),
        pd.Categorical(ANIMALS),
        np.array(ANIMALS),
        np.array(ANIMALS, dtype=object),
        np.array([name.encode() for name in ANIMALS]),
        tuple(ANIMALS),
        {0: "deer", 1: "fox", 2: "badger", 3: "hare"}.values(),
        {"deer": 0, "fox": 0, "badger": 0, "hare": 0}.keys(),
        (name for name in ANIMALS),
        [" deer", "fox\n", "badger\t ", "hare"],
        ["\ufeffdeer", "fox\u200b", "badger", " \u2060hare"],
        Positions,
        Numbers,
        Words,
        list(Words),
        [Numbers(0), Numbers(1), Numbers(2), Numbers(3)],
        {member: member.value for member in Positions},
        {0: "deer ", 1: " fox", 2: "badger", 3: "hare\r\n"},
    ],
)
def test_names_are_read_in_the_order_of_the_logits(given):
    assert read_class_names(given) == ANIMALS


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({0: "10", 1: "12"}, ["10", "12"]),
        ({"10": 0, "12": 1}, ["10", "12"]),
        ({"0": 0, "1": 1, "10": 2, "2": 3}, ["0", "1", "10", "2"]),
        ({"0": "7", "1": "9"}, ["7", "9"]),
        ({0: 1, 1: 0}, ["1", "0"]),
        ([3, 7], ["3", "7"]),
        ([np.str_("a"), "b"], ["a", "b"]),
    ],
)
def test_names_may_be_numbers(given, names):
    assert read_class_names(given) == names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"deer", "fox", "badger", "hare"}, "cannot be a set, which has another order in every process; give a list"),
        (frozenset(ANIMALS), "cannot be a set"),
        (set(), "cannot be a set"),
        ({0: "deer", 1: "fox", 5: "hare"}, r"positions 0 to 2, as the logits have, but there is no name for 2, 3, 4"),
        ({1: "deer", 2: "fox"}, r"positions 0 to 1.* there is no name for 0"),
        ({"deer": 0, "fox": 0}, "gives position 0 to 'deer' and to 'fox'"),
        ({"0": "deer", 0: "fox"}, "gives position 0 to 'deer' and to 'fox'"),
        ({-1: "deer", 0: "fox"}, "there are negative ones"),
        ({"deer": "Capreolus", "fox": "Vulpes"}, "a mapping without positions"),
        ({"deer": True, "fox": False}, "a mapping without positions"),
        ({0: 1, 1: 2, 2: 0}, "can be read both ways"),
        ({}, "empty mapping"),
        ({0: "deer", 1: ""}, "empty name for class 1"),
        (["deer", " "], "empty name for class 1"),
        (["deer", None], "has None where the name of class 1 should be"),
        (["deer", float("nan")], "has nan where"),
        (["deer", pd.NA], "has <NA> where"),
        ([pd.NaT, "deer"], "has NaT where"),
        ({0: "deer", 1: pd.NA}, "has <NA> where"),
        ([np.float32("nan"), "deer"], "has .*nan.* where"),
        (["deer", "\ufeff"], "empty name for class 1"),
        ([{"id": 0, "name": "deer"}], r"has \{'id': 0, 'name': 'deer'\} where"),
        ([("deer", 0)], "where the name of class 0"),
        (np.array([["deer"], ["fox"]]), "not an array of 2 dimensions"),
        (pd.DataFrame({"name": ANIMALS}), "cannot be a whole table"),
        (pd.Series(["deer", "fox"], index=[1, 0]), r"dict\(column\) if the index holds .* column.tolist\(\)"),
        (pd.Series(ANIMALS).drop(1), "whose index is not 0, 1, 2"),
        ("deer", "not the text 'deer'"),
        (b"deer", "not the text"),
        (4, "must be a list of names, not 4"),
    ],
)
def test_names_that_cannot_be_ordered_are_refused(given, message):
    with pytest.raises(ClassifierError, match=message):
        read_class_names(given)


def test_a_classifier_takes_them():
    options = {"size": (32, 32), "mean": (0, 0, 0), "std": (1, 1, 1), "device": "cpu"}
    given = Classifier(conv_net(), {"hare": 3, "fox": 1, "deer": 0, "badger": 2}, **options)
    assert given.class_names == ANIMALS
    assert given.goal(torch.zeros(1, 4), "badger").target.tolist() == [2]
    with pytest.raises(ClassifierError, match="gives 4 logits, but there are 2 class names"):
        Classifier(conv_net(), {0: "deer", 1: "fox"}, **options)
    with pytest.raises(ClassifierError, match="must differ, 'deer' is there twice"):
        Classifier(conv_net(), ["deer", "deer ", "fox", "hare"], **options)
    with pytest.raises(ClassifierError, match="cannot be a set"):
        Classifier(conv_net(), set(ANIMALS), **options)
    assert Classifier(conv_net(1), {0: "deer"}, **options).class_names == ["not deer", "deer"]
