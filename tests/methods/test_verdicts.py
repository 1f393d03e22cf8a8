"""What the scores of a mask say in words, and where tables carry it."""

from __future__ import annotations

import pytest
from study_cases import make_classifier, make_data

import fidokit as fk
from fidokit.methods.verdicts import mask_verdict, verdict_words

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(
    ("whole", "kept", "dropped", "expected"),
    [
        (0.8, 0.73, 0.07, "enough and needed"),
        (0.8, 0.9, 0.2, "enough only"),
        (0.22, 0.21, 0.22, "explains little"),
        (0.8, 0.71, 0.0, "needed only"),
        (0.374, 0.153, 0.325, "explains little"),
        (0.8, float("nan"), 0.0, "not judged"),
        (0.0, 0.0, 0.0, "not judged"),
    ],
)
def test_a_verdict_by_hand(whole, kept, dropped, expected):
    assert mask_verdict(whole, kept, dropped) == expected
    assert verdict_words(whole, kept, dropped).startswith(expected)


def test_words_give_the_shares():
    assert (
        verdict_words(0.5, 0.1, 0.4)
        == "explains little: alone it keeps 20 % of the score; without it 80 % of the score is left"
    )


def test_a_part_that_scores_higher_than_the_whole_is_said_so():
    words = verdict_words(0.3, 0.66, 0.01)
    assert words.startswith("enough and needed: alone it scores 2.2 times as high as the whole photograph")
    assert "without it the score is 1.5 times as high" in verdict_words(0.4, 0.4, 0.6)
    # What rounds to the whole is the whole.
    assert "alone it keeps 100 % of the score" in verdict_words(0.5, 0.51, 0.4)


def test_tables_carry_the_verdict_and_what_is_explained(tmp_path):
    classifier, data = make_classifier(), make_data(tmp_path, 3)
    masks = fk.explain(classifier, data, steps=2)
    frame = masks.to_frame()
    assert set(frame["explained"]) == {"logit"}
    for row in frame.to_dict("records"):
        assert row["verdict"] == mask_verdict(row["score_full"], row["score_kept"], row["score_dropped"])
    assert set(fk.explain(classifier, data, steps=2, explained="contrast").to_frame()["explained"]) == {"contrast"}
    against = fk.explain(classifier, data, steps=2, targets="red", against="blue")
    assert set(against.to_frame()["explained"]) == {"log-odds"}
    assert fk.explain(classifier, data, "grad-cam").to_frame()["explained"].isna().all()
    assert not {"holds_sufficient", "holds_destroying"} & set(frame)


def test_a_table_says_what_holds_where_regions_were_cut(tmp_path):
    classifier, data = make_classifier(), make_data(tmp_path, 3)
    masks = fk.explain(classifier, data, steps=2)
    regions = fk.find_regions(classifier, masks, kinds=["ssr", "joint"])
    frame = masks.to_frame(regions).set_index(["image_id", "kind"])
    for one in regions:
        assert frame.loc[(one.image_id, one.kind), f"holds_{one.claim}"] == one.holds
    assert frame.xs("sdr", level="kind")[["holds_sufficient", "holds_destroying"]].isna().all(axis=None)


def test_a_study_keeps_what_is_explained_and_old_parts_open(tmp_path):
    import pyarrow.parquet as pq

    from fidokit.study.store import checksummed

    data = make_data(tmp_path / "photos", 3)
    methods = {
        "odds": ("fido", fk.FidoSettings(steps=2, explained="log-odds")),
        "logit": ("fido", fk.FidoSettings(steps=2)),
    }
    study = fk.run_study(make_classifier(), data, methods, store=tmp_path / "run", progress=False)
    table = study.masks()
    for row in table.to_dict("records"):
        assert row["verdict"] == mask_verdict(row["score_full"], row["score_kept"], row["score_dropped"])
    assert study.masks(columns=["verdict"])["verdict"].tolist() == table["verdict"].tolist()
    explained = table[["method", "explained"]].drop_duplicates()
    assert dict(explained.itertuples(index=False)) == {"odds": "log-odds", "logit": "logit"}
    page = fk.write_report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("Explains the log-odds") == 3 * 4
    # A part as it was written before the column was there.
    for path in (tmp_path / "run" / "masks").glob("*.parquet"):
        path.write_bytes(checksummed.encode(pq.read_table(path).drop_columns(["explained"]), study.store.study_id))
    old = fk.open_study(tmp_path / "run", make_classifier())
    assert old.masks(columns=["explained"])["explained"].isna().all()
    assert set(old.check()["state"]) == {"intact"}
    assert "Explains the" not in fk.write_report(old, tmp_path / "old.html").read_text(encoding="utf-8")
