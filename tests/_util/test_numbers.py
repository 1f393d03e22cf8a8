"""Figures as people read them."""

import math

import pytest

from fidokit._util.numbers import number, percentage, signed, with_interval

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.5, "0.50"),
        (0.9996, "1.00"),
        (0.01, "0.01"),
        (0.0034, "0.0034"),
        (0.0003, "0.00030"),
        (-0.0021, "-0.0021"),
        (2.1e-7, "2.1e-7"),
        (3e-12, "3.0e-12"),
        (0, "0"),
        (12.345, "12.35"),
        (1234.5, "1,234"),
        (None, "–"),
        (NAN, "–"),
        (math.inf, "–"),
    ],
)
def test_small_figures_keep_their_digits(value, written):
    assert number(value) == written


def test_no_small_figure_is_written_as_nought():
    for exponent in range(1, 60):
        for value in (1.04, 4.96, 9.96):
            written = number(value * 10**-exponent)
            assert float(written) == pytest.approx(value * 10**-exponent, rel=0.06)


def test_an_interval_is_left_out_where_there_is_none():
    assert with_interval(0.15, 0.1, 0.2) == "0.15 [0.10, 0.20]"
    assert with_interval(0.15, NAN, NAN) == with_interval(0.15, None, None) == "0.15"
    assert with_interval(0.5, 0.25, 0.75, percentage) == "50.0 % [25.0 %, 75.0 %]"
    assert [signed(0.004), signed(-0.2), signed(0.0), signed(NAN)] == ["+0.0040", "-0.20", "0", "–"]
