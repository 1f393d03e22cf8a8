"""P-values in words."""

import math

import pytest

from fidokit._util.shares import p_words


@pytest.mark.parametrize(
    ("p", "words"), [(1.0, "1"), (0.21875, "0.22"), (0.001, "0.001"), (4.8e-07, "< 0.001"), (math.nan, "")]
)
def test_p_values_are_read_by_people(p, words):
    assert p_words(p) == words
