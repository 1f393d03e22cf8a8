import re

import pytest

from fidokit._util.glossary import GLOSSARY, anchor
from fidokit.methods.base import KINDS
from fidokit.study.compare import METRIC_DIRECTIONS


@pytest.mark.parametrize("key", GLOSSARY)
def test_entries_are_sentences(key):
    term = GLOSSARY[key]
    for text in filter(None, (term.meaning, term.use)):
        assert text[0] == text[0].upper()
        assert re.search(r"[.”]$", text)
    assert re.fullmatch(r"word-[a-z0-9-]+", anchor(key))


def test_anchors_differ():
    assert len({anchor(key) for key in GLOSSARY}) == len(GLOSSARY)


def test_every_kind_and_every_metric_is_explained_and_says_which_direction_is_good():
    assert {"effect_map" if kind == "effect" else kind for kind in KINDS} <= set(GLOSSARY)
    for name, direction in METRIC_DIRECTIONS.items():
        term = GLOSSARY["mask_stability" if name == "stability" else name]
        if direction:
            assert re.search(r"higher|lower" if direction > 0 else r"lower", term.use, re.IGNORECASE), name
