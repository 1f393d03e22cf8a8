from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fidokit.errors.review.stopping import Batches, errors_left
from fidokit.exceptions import SettingsError
from fidokit.figures.review import review_figure


def test_the_review_as_a_figure():
    left = errors_left(Batches.make(100, 20, 0.25, 0), (np.arange(100) < 12).astype(float))
    figure = review_figure(left)
    assert [trace.name for trace in figure.data] == ["errors found", "errors left, probably", "errors left, at most"]
    for trace, column in zip(figure.data, ("errors_found", "errors_left", "at_most"), strict=True):
        assert list(trace.y) == left[column].tolist()
        assert list(trace.x) == left["looked_at"].tolist()
    bars = figure.data[1].error_y
    assert np.allclose(np.asarray(bars.array) + left["errors_left"], left["errors_left_high"])
    assert figure.data[0].error_y.array is None
    with pytest.raises(SettingsError, match="no column 'looked_at'"):
        review_figure(pd.DataFrame({"batch": [1]}))
