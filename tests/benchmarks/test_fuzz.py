"""A short sample of the campaign in benchmarks/fuzz.py: every kind of input, always the same damage."""

import fuzz
import pytest

INPUTS = {"image": 80, "csv": 60, "coco": 60, "camtrap": 40, "cub": 40, "nabirds": 40}
INPUTS |= {"detections": 80, "timelapse": 40} | dict.fromkeys(("manifest", "part", "table"), 20)


@pytest.mark.long
@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_inputs_are_refused_with_our_own_errors(kind):
    result = fuzz.fuzz(kind, seed=7, n=INPUTS[kind])
    assert result["findings"] == []
    assert result["refused"] > INPUTS[kind] // 10
    assert result["peak_mb"] < 2048
