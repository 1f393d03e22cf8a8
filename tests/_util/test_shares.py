"""P-values in words."""

import math

import pytest

from fidokit._util.shares import p_words, with_interval


@pytest.mark.parametrize(
    ("p", "words"), [(1.0, "1"), (0.21875, "0.22"), (0.001, "0.001"), (4.8e-07, "< 0.001"), (math.nan, "")]
)
def test_p_values_are_read_by_people(p, words):
    assert p_words(p) == words


def test_a_figure_stands_alone_where_it_has_no_interval():
    nan = float("nan")
    assert with_interval(0.152, 0.1, 0.2) == "0.15 [0.10, 0.20]"
    assert with_interval(0.15, nan, nan) == "0.15"
    assert with_interval(nan, nan, nan) == "–"
    assert with_interval(12.34, 10, 15, "+.1f", " %") == "+12.3 % [+10.0, +15.0]"
