"""Which columns tell the camera, the burst and the time."""

from __future__ import annotations

import pandas as pd
import pytest

from fidokit.errors.survey import sequence_column, site_column, time_column
from fidokit.exceptions import SettingsError

TABLE = pd.DataFrame(
    {
        "image_id": list("abcd"),
        "path": list("abcd"),
        "label": ["jay"] * 4,
        "location": [None] * 4,
        "site": ["A", "A", "B", "B"],
        "deployment": ["d1", "d1", "d2", "d3"],
        "camera": ["x", "x", "y", "y"],
        "note": list("pqrs"),
        "planted_site": ["s", "s", "t", "t"],
    }
)


def test_the_first_that_is_not_empty():
    assert site_column(TABLE) == "site"
    assert site_column(TABLE.assign(location=["p", "q", "r", None])) == "location"
    assert site_column(TABLE, "camera") == "camera"
    assert sequence_column(TABLE) is None
    assert time_column(TABLE.assign(datetime="2024-05-01")) == "datetime"
    assert sequence_column(TABLE, "deployment") == "deployment"


def test_errors_list_the_columns_that_would_do():
    bare = TABLE.drop(columns=["location", "site", "deployment"])
    with pytest.raises(SettingsError, match=r"no column says at which camera .*; name one with by=\.\.\.: camera$"):
        site_column(bare)
    with pytest.raises(
        SettingsError, match=r"no column 'burst' that could name the sequence; name one with by=\.\.\.: site, dep"
    ):
        sequence_column(TABLE, "burst")
    with pytest.raises(SettingsError, match="add one to the dataset's table"):
        site_column(TABLE[["image_id", "path", "note", "planted_site"]])
    with pytest.raises(SettingsError, match="no column 'planted_site'"):
        site_column(TABLE, "planted_site")
