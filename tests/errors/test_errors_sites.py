"""Sites compared: what the background decides, whether it decides more than elsewhere, and how accuracy is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats
from study_cases import SIZE, make_classifier, register_counting

import fidokit as fk
from fidokit.errors.background import contributions, most_evaluations
from fidokit.errors.sites import _local_time, above_others, compare_sites
from fidokit.exceptions import SettingsError

CENTRE = slice(5, 11)
#: Sites of eight photographs each; at the last one all is red and stands on green, and is called green.
SITES, EACH = 6, 8


def photographs(folder, *, boxes=True, unlabelled=()):
    """Red and blue squares on grey, at the last site red ones on green; with sites, bursts, times, and a secret."""
    folder.mkdir()
    generator, rows = np.random.default_rng(0), []
    for i in range(SITES * EACH):
        site = i // EACH
        colour = 0 if site == SITES - 1 else 2 * (i % 2)
        pixels = generator.integers(50, 70, (SIZE, SIZE, 3))
        pixels[..., 1] += 110 * (site == SITES - 1)
        pixels[CENTRE, CENTRE] = 20
        pixels[CENTRE, CENTRE, colour] = 220
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")
        rows.append(
            {
                **{"path": f"{i:02d}.png", "label": None if site in unlabelled else ["red", None, "blue"][colour]},
                **{"site": f"s{site}", "sequence": f"b{i // 2}", "planted_site": site == SITES - 1},
                "datetime": f"2024-{[1, 2, 4, 7, 10, 12][site]:02d}-03T0{i % 8}:00:00",
            }
            | ({"box_x0": 5, "box_y0": 5, "box_x1": 11, "box_y1": 11} if boxes else {})
        )
    return fk.LabelledImages.from_table(pd.DataFrame(rows), root=folder)


def study_of(folder, **options):
    register_counting("counting")
    data = photographs(folder / "photographs", **options)
    return fk.run_study(make_classifier(), data, ["counting"], store=folder / "run", progress=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def comparison(study):
    return compare_sites(study, progress=False)


def test_contributions_of_a_classifier_that_adds_up(study):
    """Logits that are sums over the pixels: what the animal adds is what the classifier says of it on black."""
    found = contributions(study, [0, 1, 40], ["neutral"], progress=False)
    assert found.table["image_id"].tolist() == [study.images["image_id"][i] for i in (0, 1, 40)]
    for row, position in enumerate((0, 1, 40)):
        pixels = study.data.load(position, study.classifier.preprocessing)[0].numpy()
        # The box with a margin of one pixel; at the softened edge, which keeps the sum, a bit of the background counts.
        inside = np.zeros((SIZE, SIZE), bool)
        inside[4:12, 4:12] = True
        alone = 4 * np.where(inside, pixels, 0).mean((1, 2))
        np.testing.assert_allclose(found.animal[row], alone - alone.mean(), atol=0.03)
    told = found.table.set_index("image_id").iloc[[0, 2]].to_dict("records")
    assert [(row["answer"], row["decided"]) for row in told] == [("red", False), ("green", True)]
    assert told[1]["rival"] == "red"
    assert told[1]["lost"] > told[0]["lost"]
    assert told[1]["strength"] > 0


def test_evaluations_are_told_before_and_kept(study, capsys):
    before = study.classifier.counter.evaluations
    contributions(study, range(12), ["neutral", "grey"])
    assert "12 photographs: at most 60 evaluations" in capsys.readouterr().err
    assert study.classifier.counter.evaluations - before == 60 == most_evaluations(12, ["neutral", "grey"])


def test_the_background_decides_at_one_site(comparison):
    table = comparison.table.set_index("site")
    assert comparison.mistrusted == ["s5"]
    assert table["background"].to_dict() == dict.fromkeys(["s0", "s1", "s2", "s3", "s4"], 0.0) | {"s5": 1.0}
    assert table["accuracy"].to_dict() == dict.fromkeys(["s0", "s1", "s2", "s3", "s4"], 1.0) | {"s5": 0.0}
    assert table.loc["s5", "lost"] > table["lost"].drop("s5").max()
    assert (table["background_low"] <= table["background"]).all()
    assert (table["background"] <= table["background_high"]).all()
    assert table["labelled"].eq(EACH).all()
    assert "Mistrust 1 of 6 sites: s5." in comparison.headline
    assert table.loc["s5", "instead"] == "green instead of red (8)"
    assert table["instead"].drop("s5").isna().all()
    shown = comparison.examples
    assert shown["group"].unique().tolist() == ["s5"]
    assert shown["caption"].str.contains("by its background; the animal by itself speaks for red").all()
    bursts = comparison.study.images.set_index("image_id").loc[shown["image_id"], "sequence"]
    assert len(shown) == bursts.nunique() == 4
    # What the mask has in the background, and never the whole of it.
    corners = shown[["x0", "y0", "x1", "y1"]].dropna()
    assert len(corners)
    assert ((corners["x1"] - corners["x0"]) * (corners["y1"] - corners["y0"])).max() < 0.9


def test_no_label_is_read_by_what_is_filled_in(study, comparison, tmp_path):
    other = study_of(tmp_path, unlabelled=range(SITES))
    found = compare_sites(other, progress=False)
    same = ["site", "background", "background_low", "background_high", "lost", "lost_animal", "p_value", "mistrust"]
    both = (c.table.sort_values("site")[same].reset_index(drop=True) for c in (found, comparison))
    pd.testing.assert_frame_equal(*both)
    assert found.table["accuracy"].isna().all()
    assert found.table["forecast"].notna().all()
    assert found.table["forecast_low"].isna().all()
    assert any("too few to say how far a forecast is off" in note for note in found.notes)


def test_a_forecast_where_there_are_no_labels(tmp_path):
    made = compare_sites(study_of(tmp_path, unlabelled=[2, 5]), progress=False)
    assert "100 % of the answers are right, at each of them." in made.headline
    found = made.table.set_index("site")
    assert found["accuracy"].isna().to_dict() == {f"s{i}": i in (2, 5) for i in range(SITES)}
    assert found.loc["s2", "forecast"] > 0.8 > found.loc["s5", "forecast"]


def test_without_interventions_the_classifier_is_not_run(study):
    before = study.classifier.counter.evaluations
    found = compare_sites(study, interventions=False)
    assert study.classifier.counter.evaluations == before
    assert found.table["background"].isna().all()
    assert found.table["accuracy"].notna().all()
    assert found.table["forecast"].notna().all()
    assert found.table["mistrust"].eq(False).all()
    assert any("No photograph was changed" in note for note in found.notes)
    assert found.examples.empty


def test_masks_stand_in_for_boxes(tmp_path):
    found = compare_sites(study_of(tmp_path, boxes=False), photographs=4, progress=False)
    assert found.table["changed"].eq(4).all()
    assert found.photographs["region"].eq("mask").all()
    assert any("24 photographs have no box" in note for note in found.notes)


def test_ways_to_compare(study):
    def names(by):
        table = compare_sites(study, by, interventions=False).table
        return table.columns[0], sorted(table.iloc[:, 0])

    assert names("month") == ("month", [f"2024-{m:02d}" for m in (1, 2, 4, 7, 10, 12)])
    assert names("season") == ("season", ["Dec-Feb", "Jun-Aug", "Mar-May", "Sep-Nov"])
    assert names("hour") == ("hour", [f"{h:02d} h" for h in range(8)])
    assert names(lambda table: table["site"].isin(["s0", "s1"])) == ("site", ["False", "True"])
    assert names(lambda table: [3.0, np.nan] + [4.0] * (len(table) - 2)) == ("site", ["3", "4"])


def test_times_as_they_are_written():
    written = ["2024-03-30T05:00:00+01:00", "2024-03-31T05:00:00+0200", "2024:05:01 05:10:00", "2024-06-01", "", "dawn"]
    found = _local_time(pd.Series([*written, None, "2024-06-01T05:00:00Z"]))
    assert found.dt.hour.tolist()[:4] == [5, 5, 5, 0]
    assert found.dt.month.tolist()[:4] == [3, 3, 5, 6]
    assert found.isna().tolist() == [False] * 4 + [True] * 3 + [False]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "elevation"}, "no column 'elevation'"),
        ({"by": "planted_site"}, "no column 'planted_site'"),
        ({"by": "year"}, "all photographs with an answer have one year"),
        ({"by": lambda table: ["a"]}, "a name for each of the 48 rows"),
        ({"sequence": "burst"}, "no column 'burst'"),
        ({"photographs": 0}, "photographs is 0"),
        ({"infills": ["fog"]}, "unknown infill 'fog'"),
    ],
)
def test_what_cannot_be_asked(study, options, words):
    with pytest.raises(SettingsError, match=words):
        compare_sites(study, interventions=False, **options)


def test_a_function_never_sees_what_is_planted(study):
    seen = []
    compare_sites(study, lambda table: seen.extend(table.columns) or table["site"], interventions=False)
    assert "site" in seen
    assert not any(name.startswith("planted_") for name in seen)


def test_stopped_with_what_was_done(study, monkeypatch):
    from fidokit.errors import background

    monkeypatch.setattr(background, "_CHUNK", 12)
    chunk, calls = background._Measuring._chunk, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        chunk(self, *arguments)

    monkeypatch.setattr(background._Measuring, "_chunk", interrupted)
    found = compare_sites(study, progress=False)
    # The sites take turns, so that each has its part of what was done.
    assert found.table["changed"].eq(4).all()
    assert any("stopped when 24 of 48 photographs were changed" in note for note in found.notes)


def test_a_site_that_is_like_the_others_is_seldom_found():
    """Under the null hypothesis, with a spread between sites, p-values are not smaller than uniform ones."""
    generator, p = np.random.default_rng(1), []
    for _ in range(300):
        truth = np.clip(generator.normal(0.15, 0.05, 12), 0, 1)
        share = generator.binomial(50, truth) / 50
        p.append(above_others(share, share * (1 - share) / 50 + 1e-4))
    p = np.concatenate(p)
    assert (p <= 0.05).mean() < 0.06
    found = np.concatenate([stats.false_discovery_control(own) <= 0.1 for own in p.reshape(-1, 12)])
    assert found.reshape(-1, 12).any(1).mean() < 0.1


def test_three_bad_sites_do_not_hide_each_other():
    share = np.array([0.1, 0.05, 0.12, 0.2, 0.0, 0.08, 0.15, 0.1, 0.06, 0.6, 0.55, 0.7])
    p = above_others(share, share * (1 - share) / 50 + 1e-4)
    assert (stats.false_discovery_control(p) <= 0.1).tolist() == [False] * 9 + [True] * 3
    assert np.isnan(above_others(share[:4], share[:4])).all()
