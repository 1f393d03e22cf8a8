"""A sample of ``benchmarks/faults.py``, one fault of each kind."""

import pytest
from fault_cases import KINDS, Campaign, Fault

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("quick"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_fault_a_plain_rerun_ends_with_the_undisturbed_table(kind, campaign):
    if kind.startswith("worker"):
        pytest.importorskip("distributed", reason="needs dask and distributed, the extra `cluster`")
    try:
        end, problems = campaign.suffer(Fault(kind, seed=101))
    except NotImplementedError as error:
        pytest.skip(str(error))
    assert problems == []
    assert "UNEXPECTED" not in end


def test_a_table_that_is_not_the_undisturbed_one_is_noticed(campaign):
    study = campaign.whole
    lost = next((study.path / "masks").glob("*.parquet"))
    content = lost.read_bytes()
    lost.unlink()
    try:
        assert len(campaign.differences(study)) >= 4
    finally:
        lost.write_bytes(content)
    assert campaign.differences(study) == []
