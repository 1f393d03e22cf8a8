"""What classes are called in texts: names, templates, and files of names."""

from __future__ import annotations

import json
from enum import Enum

import pandas as pd
import pytest

from fidokit.exceptions import SettingsError
from fidokit.models.prompts import TEMPLATES, Prompts, read_names


def texts(names, templates=None):
    found: dict[str, list[str]] = {}
    for name, text in Prompts.of(names, templates).texts():
        found.setdefault(name, []).append(text)
    return found


class Bird(Enum):
    JAY = 0
    TIT = 1


@pytest.mark.parametrize(
    "names",
    [
        ["jay", "tit"], ("jay ", "tit"), pd.Series(["jay", "tit"]), iter(["jay", "tit"]), {0: "jay", 1: "tit"},
        {"jay": 0, "tit": 1}, {"jay": "jay", "tit": ["tit"]}, {"jay": ["jay", "jay"], "tit": ("tit", " tit ")},
    ],
)  # fmt: skip
def test_names_as_people_have_them(names):
    assert texts(names) == {"jay": ["a photo of jay."], "tit": ["a photo of tit."]}
    assert TEMPLATES == ("a photo of {}.",)


def test_every_name_in_every_template():
    names = {"jay": ["Eurasian jay", "Garrulus glandarius"], "tit": "Parus major"}
    found = texts(names, ["{}", lambda name: f"a drawing of {name}!"])
    assert found["jay"] == ["Eurasian jay", "a drawing of Eurasian jay!", "Garrulus glandarius",
                            "a drawing of Garrulus glandarius!"]  # fmt: skip
    assert found["tit"] == ["Parus major", "a drawing of Parus major!"]
    assert texts(["jay"], "{}: the {}") == {"jay": ["jay: the jay"]}
    assert list(texts(Bird)) == ["JAY", "TIT"]


def test_braces_in_a_strangers_name_are_only_shown():
    assert texts(["{0.__class__}", "{}", "{x!r}"])["{0.__class__}"] == ["a photo of {0.__class__}."]


def test_prompts_say_what_they_are_and_come_back_from_json():
    prompts = Prompts.of({"jay": ["jay", "Garrulus"], "tit": "tit"}, ["a {}", "{}"])
    assert prompts.note == "6 prompts such as 'tit'"
    described = json.loads(json.dumps(prompts.describe()))
    assert Prompts.of(**described) == prompts
    assert Prompts.of(["jay"], "{}").note == "1 prompt such as 'jay'"


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ([], None, "there are no names"),
        ({}, None, "there are no names"),
        (["jay", "jay"], None, "'jay' is there twice"),
        (["jay", " "], None, "empty name for class 1"),
        (["jay", None], None, "where the name of class 1 should be"),
        ("jay", None, "names must be a list of names, not the text 'jay'"),
        ({"jay", "tit"}, None, "names cannot be a set"),
        ({"jay": "jay", "tit": []}, None, "the class 'tit' has no prompt"),
        ({"jay": "jay", "tit": None}, None, "the class 'tit' has no prompt"),
        ({"jay": "jay", "tit": ["", "  "]}, None, "the class 'tit' has no prompt"),
        ({"jay": "jay", "tit": [3]}, None, "a prompt of 'tit' must be a text, not 3"),
        ({"jay": "jay", "tit": 3}, None, "a prompt of 'tit' must be a text, not 3"),
        ({"jay": "jay", "tit": {"en": "tit"}}, None, "a prompt of 'tit' must be a text"),
        ({"jay": "jay", "": "tit"}, None, "a class name must be a text, not ''"),
        ({"jay": "bird", "tit": "bird"}, None, r"'a photo of bird.' stands for two classes, 'jay' and 'tit'"),
        ({"jay": "a", " jay": "b"}, None, "'jay' is there twice"),
        (["jay"], [], "there are no templates"),
        (["jay", "tit"], "a photo", r"the template 'a photo' has no \{\}"),
        (["jay", "tit"], ["{}", 3], r"the template 3 has no \{\}"),
    ],
)
def test_what_cannot_be_used(names, templates, message):
    with pytest.raises(SettingsError, match=message):
        Prompts.of(names, templates)


def test_files_of_names(tmp_path):
    def written(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_names(tmp_path / name)

    assert written("names.txt", "\ufeffjay\r\n  Paridae sp., a tit \n\n") == ["jay", "Paridae sp., a tit"]
    numbered = written("numbered.txt", "0  Parus major (Great Tit)\n1: 2 owls\n2,jay\n")
    assert numbered == ["Parus major (Great Tit)", "2 owls", "jay"]
    assert written("numbers.txt", "1 owl\n2 owls\n") == ["1 owl", "2 owls"]
    tabs = written("tabs.txt", "jay\tEurasian jay\tGarrulus glandarius\ntit\nowl\t\tBubo\n")
    assert tabs == {"jay": ["Eurasian jay", "Garrulus glandarius"], "tit": ["tit"], "owl": ["Bubo"]}
    assert written("list.json", '["jay", "tit"]') == ["jay", "tit"]
    assert written("mapping.json", '{"jay": "a jay", "tit": ["t", "u"]}') == {"jay": ["a jay"], "tit": ["t", "u"]}
    for name, text, message in [
        ("empty.txt", "\n \n", "empty.txt is empty"),
        ("twice.txt", "jay\ta\njay\tb\n", r"twice.txt, line 2: 'jay' is there twice"),
        ("nameless.txt", "jay\ta\n\tb\n", "line 2: the name is empty"),
        ("gap.txt", "jay\n\ntit\n", "line 2: the name is empty"),
        ("bad.json", "[", "bad.json is no JSON"),
        ("number.json", "3", "number.json must hold a list of names"),
        ("table.csv", "jay,tit", "one name a line .*or from JSON"),
    ]:
        with pytest.raises(SettingsError, match=message):
            written(name, text)
    with pytest.raises(SettingsError, match=r"gone.txt cannot be read: No such file"):
        read_names(tmp_path / "gone.txt")
    (tmp_path / "latin.txt").write_bytes("Rötel".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"latin.txt cannot be read"):
        read_names(tmp_path / "latin.txt")
