"""The forest plot of sites shows what stands in the table, and names as they are written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fidokit.exceptions import SettingsError
from fidokit.figures.sites import site_figure

TABLE = pd.DataFrame(
    {
        "camera": ["<b>ridge</b>", "pond", "$x$"],
        "mistrust": [True, False, False],
        "background": [0.7, 0.1, np.nan],
        "background_low": [0.5, 0.0, np.nan],
        "background_high": [0.9, 0.2, np.nan],
        "accuracy": [np.nan, 0.9, 0.8],
        "accuracy_low": [np.nan, 0.8, 0.7],
        "accuracy_high": [np.nan, 1.0, 0.9],
        "forecast": [0.2, 0.95, 0.85],
        "forecast_low": [0.1, 0.9, np.nan],
        "forecast_high": [0.4, 1.0, np.nan],
        "instead": ["<jay> instead of tit (3)", None, None],
    }
)


def test_each_figure_at_its_site():
    figure = site_figure(TABLE)
    background, accuracy, forecast = figure.data
    assert list(background.customdata) == ["<b>ridge</b>", "pond"]
    assert list(background.x) == [0.7, 0.1]
    np.testing.assert_allclose(background.error_x.array, [0.2, 0.1])
    np.testing.assert_allclose(background.error_x.arrayminus, [0.2, 0.1])
    assert list(accuracy.x) == [0.9, 0.8]
    # A forecast stands where there is no accuracy.
    assert list(forecast.customdata) == ["<b>ridge</b>"]
    assert forecast.y[0] != background.y[0]
    assert list(figure.layout.yaxis.ticktext) == ["<b>&lt;b&gt;ridge&lt;/b&gt;</b>", "pond", "&#36;x&#36;"]
    assert "&lt;jay&gt;" in background.text[0]
    assert len({trace.marker.symbol for trace in figure.data}) == 3


def test_other_tables_are_refused():
    with pytest.raises(SettingsError, match="background"):
        site_figure(pd.DataFrame({"site": ["a"]}))
