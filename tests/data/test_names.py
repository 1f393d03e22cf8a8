"""Which name is meant by what is typed."""

from pathlib import Path

import pytest

from fidokit.data.names import fitting_names, meant_name, nearest_names, there_are
from fidokit.exceptions import SettingsError

BIRDS = [
    "Athene cunicularia (Burrowing Owl)",
    "Athene noctua (Little Owl)",
    "Ardea herodias (Great Blue Heron)",
    "Ardea herodias occidentalis (Great White Heron)",
    "Cyanocitta stelleri (Steller's Jay)",
    "Cyanocitta cristata (Blue Jay)",
    "Porzana carolina (Sora)",
    "Psorophora sorata (Marsh Fly)",
    "Rupornis magnirostris",
    "Crax rubra (Hocofaisán)",
    "background",
]
FIELD = Path(__file__).parents[3] / "shared/field/inat_bird_labels.txt"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("background", "background"),
        ("burrowing", BIRDS[0]),
        ("BURROWING  owl", BIRDS[0]),
        ("owl burrowing", BIRDS[0]),
        ("burr", BIRDS[0]),
        ("noctua", BIRDS[1]),
        # The whole of one of several names comes before longer ones that it begins.
        ("ardea herodias", BIRDS[2]),
        ("sora", BIRDS[6]),
        ("stellers jay", BIRDS[4]),
        ("steller's", BIRDS[4]),
        # A word comes before a part of one.
        ("blue jay", BIRDS[5]),
        ("magnirostris", BIRDS[8]),
        ("hocofaisan", BIRDS[9]),
    ],
)
def test_a_part_that_no_other_name_has_is_enough(typed, meant):
    assert meant_name(typed, BIRDS, "class") == meant


def test_what_fits_several_lists_them():
    with pytest.raises(SettingsError) as error:
        meant_name("athene", BIRDS, "class")
    assert str(error.value) == (
        "'athene' fits 2 names: 'Athene cunicularia (Burrowing Owl)', 'Athene noctua (Little Owl)'; write more of the "
        "one that is meant"
    )
    many = [f"wren {i}" for i in range(30)]
    with pytest.raises(SettingsError, match=r"fits 30 names: 'wren 0', .*'wren 9' and 20 more"):
        meant_name("wren", many, "class")


def test_numbers_are_no_parts_of_numbers():
    assert fitting_names("bird 9", ["bird 99", "bird 19"]) == []
    assert meant_name("9", ["bird 99", "bird 9"], "class") == "bird 9"


@pytest.mark.parametrize("typed", ["", "  ", "'", "ostrich"])
def test_what_fits_nothing_is_said(typed):
    with pytest.raises(SettingsError, match="the classifier knows no class"):
        meant_name(typed, BIRDS, "class")


def test_the_nearest_are_near_in_a_word_too():
    assert nearest_names("burowing", BIRDS)[0] == BIRDS[0]
    with pytest.raises(
        SettingsError, match=r"no class 'burowing'; did you mean 'Athene cunicularia \(Burrowing Owl\)'"
    ):
        meant_name("burowing", BIRDS, "class")
    assert there_are("gradcam", ["fido", "grad-cam"], "the methods are") == (
        "; did you mean 'grad-cam'? The methods are fido, grad-cam"
    )


@pytest.mark.skipif(not FIELD.is_file(), reason=f"{FIELD} is not there")
def test_burrowing_finds_the_owl_among_hundreds():
    names = [line.split(" ", 1)[1] for line in FIELD.read_text(encoding="utf-8").splitlines()]
    assert meant_name("burrowing", names, "class") == BIRDS[0]
    assert nearest_names("burowing owl", names)[0] == BIRDS[0]
