"""The verified regions of a study: kept, gone on with after a stop, and the same that `find_regions` gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from study_cases import SIZE, make_classifier, make_data, register_counting, run

import fidokit as fk
from fidokit.exceptions import SettingsError, StoreError
from fidokit.methods import regions as method_regions
from fidokit.methods import verdicts
from fidokit.study import regions as study_regions

pytestmark = pytest.mark.usefixtures("quick")
CUT = 5 * 3 + 3


@pytest.fixture
def study(tmp_path):
    register_counting("counting")
    return run(make_classifier(), make_data(tmp_path / "photos"), tmp_path / "run", ["counting", "grad-cam"])


def test_regions_are_those_of_find_regions(study):
    table = study.regions(progress=False)
    assert len(table) == 10 * (1 + 1 + 2)
    assert list(table["image_id"].unique()) == list(study.images["image_id"])
    masks = fk.explain(study.classifier, study.data, "grad-cam")
    expected = fk.find_regions(study.classifier, masks).to_frame().set_index(["image_id", "claim"])
    own = table[table["method"] == "grad-cam"].set_index(["image_id", "claim"])
    for key, row in own.iterrows():
        assert row["holds"] == expected.loc[key, "holds"]
        assert row["area"] == pytest.approx(expected.loc[key, "area"], abs=0.02)
        assert row["scores"] == pytest.approx(expected.loc[key, "scores"], abs=0.02)
        assert row["verdict"].partition(":")[0] == expected.loc[key, "verdict"].partition(":")[0]
        assert row["region"].shape == (SIZE, SIZE)
        assert row["region"].dtype == bool
        assert row["region"].mean() == pytest.approx(row["area"])
    assert set(table["evaluations"]) == {CUT}
    assert set(table.loc[table["kind"] == "ssr", "claim"]) == {"sufficient"}
    assert set(table.loc[table["kind"] == "sdr", "claim"]) == {"destroying"}


def test_what_was_cut_is_read(study, monkeypatch):
    table = study.regions(progress=False)
    monkeypatch.setattr(study_regions, "cut_regions", None)
    pd.testing.assert_frame_equal(study.regions(progress=False), table)
    # Neither classifier nor photographs are needed.
    pd.testing.assert_frame_equal(fk.open_study(study.path).regions(progress=False), table)
    first = study.images["image_id"].iloc[0]
    assert set(study.regions("grad-cam", image_ids=[first], progress=False)["image_id"]) == {first}


def test_only_what_is_asked_for_is_cut(study):
    ids = list(study.images["image_id"])
    some = study.regions("counting", "ssr", image_ids=ids[2:5], progress=False)
    assert list(some["image_id"]) == ids[2:5]
    before = study.classifier.counter.evaluations
    study.regions("counting", progress=False)
    assert study.classifier.counter.evaluations - before == (7 + 10) * CUT
    with pytest.raises(SettingsError, match="nowhere"):
        study.regions(image_ids=["nowhere"])
    with pytest.raises(SettingsError, match="kind"):
        study.regions(kinds="best")


def test_after_ctrl_c_it_goes_on(study, monkeypatch, capsys):
    expected = study.regions("grad-cam", progress=False).drop(columns="method")
    cut, calls = study_regions.cut_regions, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return cut(*arguments)

    other = run(study.classifier, study.data, study.path.parent / "other", {"again": "grad-cam"})
    monkeypatch.setattr(study_regions, "cut_regions", stop)
    part = other.regions(progress=False)
    assert "goes on" in capsys.readouterr().err
    # Both claims of the first chunk of four.
    assert len(part) == 8
    monkeypatch.setattr(study_regions, "cut_regions", cut)
    before = study.classifier.counter.evaluations
    whole = other.regions(progress=False).drop(columns="method")
    assert study.classifier.counter.evaluations - before == 6 * 2 * CUT
    pd.testing.assert_frame_equal(whole, expected)


def test_one_bad_image_costs_only_itself(study, monkeypatch):
    ids, cut = list(study.images["image_id"]), study_regions.cut_regions

    def spoil(classifier, session, subjects, *rest):
        if ids[1] in subjects.image_ids:
            raise RuntimeError("no room")
        return cut(classifier, session, subjects, *rest)

    monkeypatch.setattr(study_regions, "cut_regions", spoil)
    table = study.regions("counting", "ssr", progress=False)
    bad = table[table["image_id"] == ids[1]].iloc[0]
    assert bad["holds"] is None
    assert bad["region"] is None
    assert "no room" in bad["reason"]
    assert bad["verdict"].startswith("not checked")
    assert table["holds"].notna().sum() == 9
    assert study.summary()["n"].eq(10).all()


def test_a_full_disk_is_told_and_costs_nothing_that_is_written(study, monkeypatch):
    add, calls = type(study.store).add_regions, []

    def fill(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        add(self, *arguments)

    monkeypatch.setattr(type(study.store), "add_regions", fill)
    with pytest.raises(StoreError, match=r"regions cannot be written to .*No space left.*call study.regions\(\) again"):
        study.regions("counting", "ssr", progress=False)
    before = study.classifier.counter.evaluations
    table = study.regions("counting", "ssr", progress=False)
    assert len(table) == 10
    # The first chunk of four was safe.
    assert study.classifier.counter.evaluations - before == 6 * CUT


def test_a_photograph_that_is_gone_is_told(study):
    (study.data.root / study.images["path"].iloc[3]).unlink()
    with pytest.warns(RuntimeWarning, match="1 photographs cannot be read"):
        table = study.regions("counting", progress=False)
    assert study.images["image_id"].iloc[3] not in set(table["image_id"])


def test_the_summary_has_the_share_that_holds(study):
    assert "sufficient_holds" not in study.summary()
    table = study.regions(progress=False)
    summary = study.summary().set_index(["method", "kind"])
    for (method, kind, claim), rows in table.groupby(["method", "kind", "claim"]):
        line = summary.loc[(method, kind)]
        assert line[f"{claim}_holds"] == pytest.approx((rows["holds"].eq("yes") & (rows["area"] < 1)).mean())
        assert line[f"{claim}_holds_low"] <= line[f"{claim}_holds"] <= line[f"{claim}_holds_high"]
        assert line[f"{claim}_region_area"] == pytest.approx(rows["area"].mean())
    assert np.isnan(summary.loc[("counting", "sdr"), "sufficient_holds"])


def test_check_counts_the_parts(study):
    study.regions(progress=False)
    found = study.check()
    parts = found[found["part"].str.startswith("regions/")]
    assert len(parts) == 2 * 3
    assert set(parts["state"]) == {"intact"}
    damaged = study.path / parts["part"].iloc[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    (study.path / "regions" / "stranger.parquet").write_bytes(b"?")
    states = study.check(set_aside=True).set_index("part")["state"]
    assert states[parts["part"].iloc[0]] == "damaged"
    assert states["regions/stranger.parquet"] == "foreign"
    assert len(study.regions(progress=False)) == 40


def test_a_store_without_the_folder_opens(study):
    (study.path / "regions").rmdir()
    old = fk.open_study(study.path, study.classifier)
    assert set(old.check()["state"]) == {"intact"}
    assert len(old.regions("counting", "ssr", progress=False)) == 10


def test_words_say_what_was_found():
    words = verdicts.region_words
    assert words("sufficient", "yes", (0.93, 0.93, 0.93), 0.214) == (
        "enough by itself: alone it keeps 93 % of the score under 3 other fill-ins, it takes 21 % of the picture"
    )
    assert words("sufficient", "no", (0.2,), 0.5).startswith(
        "not enough: alone it keeps 20 % of the score under 1 other fill-in,"
    )
    assert words("destroying", "only under some infills", (0.05, 0.4), 0.5) == (
        "needed only under some fill-ins: without it 5 to 40 % of the score is left under 2 other fill-ins, "
        "it takes 50 % of the picture"
    )
    assert words("destroying", "yes", (0.0,), 1.0) == (
        "no cut of the mask is needed under other fill-ins, only the whole picture"
    )
    assert words("sufficient", "yes", (1.0,), 0.999) == (
        "no cut of the mask is enough under other fill-ins, only the whole picture"
    )
    for holds in ("no", "only under some infills"):
        assert words("destroying", holds, (0.05, 0.53), 1.0) == (
            "none found: even with the whole picture filled in, 5 to 53 % of the score is left under 2 other fill-ins"
        )
    assert words("destroying", "yes", (0.0, 0.0), 0.1).startswith("needed: without it 0 % of the score is left")
    assert "alone it scores 2.2 times as high" in words("sufficient", "yes", (2.2, 2.2), 0.1)


def test_sufficient_regions_are_those_of_find_regions(study):
    masks = fk.explain(study.classifier, study.data, "grad-cam")
    found = fk.find_regions(study.classifier, masks, claims=["sufficient"])
    images = masks.inputs()
    with study.classifier.session() as session:
        goal = study.classifier.goal(session.logits(images), masks.target)
        subjects = method_regions.Subjects(masks.image_ids, images, goal, masks.score_full)
        regions, holds, cost = method_regions.sufficient_regions(study.classifier, session, subjects, masks.attribution)
    assert cost == CUT
    for i, one in enumerate(found):
        assert one.claim == "sufficient"
        assert torch.equal(torch.from_numpy(one.region), regions[i])
        assert bool(holds[i]) == (one.holds == "yes")
    with pytest.raises(SettingsError, match="claim"):
        fk.find_regions(study.classifier, masks, claims=["best"])
