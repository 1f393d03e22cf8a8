"""Where to look first: the signs of an error, their weights, the order, and when to stop."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import fidokit as fk
from fidokit import testbed
from fidokit.errors.review import filling
from fidokit.errors.review.reading import CHANNELS, GRID, Look, look
from fidokit.errors.review.signals import measure, normal_score, outside_share, reasons
from fidokit.errors.review.stopping import Batches, errors_left, interval
from fidokit.errors.review.weights import FIXED, Weights, _fit, _folds, _of, learn
from fidokit.exceptions import SettingsError

N = 72


def made_look(top, probability, *, evidence=None, animal=None, cells=None, features=None) -> Look:
    """A look at photographs of two classes, from the class and the probability that each has."""
    n = len(top)
    probability = np.asarray(probability, np.float32)
    flat = np.ones((n, CHANNELS, GRID, GRID), np.float16) / CHANNELS**0.5
    return Look(
        positions=np.arange(n),
        top=np.stack([top, 1 - np.asarray(top)], 1),
        probability=np.stack([probability, 1 - probability], 1),
        entropy=np.zeros(n, np.float32),
        logit=np.stack([probability, 1 - probability], 1),
        energy=np.zeros(n, np.float32),
        evidence=np.ones((n, GRID, GRID), np.float32) if evidence is None else evidence,
        cells=flat if cells is None else cells,
        features=np.ones((n, 1), np.float32) if features is None else features,
        animal=np.full((n, GRID, GRID), np.nan, np.float32) if animal is None else animal,
        geometries=[],
        missing=None,
        unread={},
    )


def signs_of(found: Look, site=None, burst=None, photograph=None, whole_frame=True) -> pd.DataFrame:
    burst, photograph = (pd.Series(range(len(found)) if own is None else own) for own in (burst, photograph))
    return measure(found, None if site is None else pd.Series(site), burst, photograph, whole_frame=whole_frame)


def test_a_burst_disagrees_by_the_log_odds_of_the_others():
    signs = signs_of(made_look([0, 0, 1, 1], [0.9, 0.8, 0.6, 0.99]), burst=["a", "a", "a", "b"])
    own = [np.log([0.9, 0.1]), np.log([0.8, 0.2]), np.log([0.4, 0.6])]
    expected = (own[0] + own[1])[0] / 2 - (own[0] + own[1])[1] / 2
    assert signs["burst"][2] == pytest.approx(expected, abs=0.02)
    assert signs["burst"][3] == 0  # alone
    others = (own[1] + own[2]) / 2
    assert signs["burst"][0] == pytest.approx(max(0, others[1] - others[0]), abs=0.02)


def test_animals_of_one_photograph_do_not_disagree():
    found = made_look([0, 1, 1, 0], [0.9, 0.9, 0.9, 0.9])
    assert signs_of(found, burst=["a"] * 4, photograph=["p", "p", "q", "q"])["burst"].tolist() == [0, 0, 0, 0]
    assert signs_of(found, burst=["a"] * 4, photograph=["p"] * 4)["burst"].tolist() == [0, 0, 0, 0]
    assert signs_of(found, burst=["a"] * 4, photograph=["p", "p", "q", "r"])["burst"][0] == 0
    assert signs_of(found, burst=["a", "a", "a", "b"], photograph=["p", "p", "q", "q"])["burst"][0] > 2


def test_evidence_inside_and_outside_the_box():
    evidence = np.zeros((2, GRID, GRID), np.float32)
    evidence[:, 0, 0], evidence[:, 5, 5] = 3, [1, -1]
    animal = np.zeros((2, GRID, GRID), np.float32)
    animal[:, 4:8, 4:8] = 1
    found = made_look([0, 0], [0.9, 0.9], evidence=evidence, animal=animal)
    assert signs_of(found)["outside"].tolist() == [-0.25, 0.25]
    assert outside_share(found).tolist() == [0.75, 1.0]
    assert signs_of(found)["two_regions"].tolist() == pytest.approx([0, 1 / 3])
    without = replace(found, animal=np.full_like(animal, np.nan))
    assert signs_of(without)["outside"].isna().all()


def test_what_stays_in_the_frame_is_told_from_what_comes():
    generator = np.random.default_rng(0)
    n, stump, animal = 24, (2, 2), (9, 9)
    frame = generator.normal(size=(CHANNELS, GRID, GRID))
    cells = np.repeat(frame[None], n, 0) + generator.normal(size=(n, CHANNELS, GRID, GRID)) * 0.1
    cells[:, :, 8:11, 8:11] = generator.normal(size=(n, CHANNELS, 3, 3))
    cells = (cells / np.linalg.norm(cells, axis=1, keepdims=True)).astype(np.float16)
    evidence = np.zeros((n, GRID, GRID), np.float32)
    fooled = np.arange(n) % 3 == 0
    for i in range(n):
        evidence[i][stump if fooled[i] else animal] = 1
    found = made_look(np.zeros(n, int), np.full(n, 0.9), evidence=evidence, cells=cells)
    same_place = signs_of(found, site=["camera"] * n, burst=range(n))["same_place"].to_numpy()
    assert same_place[fooled].min() > same_place[~fooled].max()
    assert signs_of(found, site=None)["same_place"].isna().all()
    assert signs_of(found, site=["camera"] * n, whole_frame=False)["same_place"].isna().all()
    few = signs_of(found, site=["camera"] * n, burst=np.arange(n) // 12)
    assert few["same_place"].isna().all()  # of two bursts nothing usual can be told


def test_neighbours_are_those_called_the_same_in_other_bursts():
    angles = np.asarray([0.0, 0.1, 0.2, 0.3, 1.5, 0.0, 0.1, 0.2])
    features = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    found = made_look([0, 0, 0, 0, 0, 1, 1, 1], np.full(8, 0.9), features=features)
    signs = signs_of(found, burst=[0, 1, 2, 3, 4, 5, 5, 5])
    assert signs["few_neighbours"][:5].argmax() == 4
    # The others of its class are all of its own burst.
    assert np.ptp(signs["few_neighbours"][5:]) == 0
    assert signs["few_neighbours"][5:].min() > signs["few_neighbours"][:5].max()


def test_normal_scores_know_ranks_alone():
    assert normal_score([3.0, 1.0, np.nan, 2.0])[[0, 1, 3]].tolist() == pytest.approx([0.967, -0.967, 0], abs=1e-3)
    assert np.isnan(normal_score([3.0, 1.0, np.nan, 2.0])[2])
    assert normal_score([1.0, 1.0]).tolist() == [0, 0]
    assert np.isnan(normal_score([np.nan])).all()


def test_reasons_are_what_is_unusual():
    table = pd.DataFrame({"doubt": [0.0, 0.0, 3.0, 0.1], "burst": [1.0, 1.0, 2.5, 1.0]})
    said = {name: np.asarray([f"{name} {i}" for i in range(4)], dtype=object) for name in table}
    assert reasons(table, said, 0.7, 2) == ["", "", "doubt 2; burst 2", ""]
    assert reasons(table, said, 0.7, 1)[2] == "doubt 2"
    said["doubt"][2] = None
    assert reasons(table, said, 0.7, 2)[2] == "burst 2"


def weighed(seed, n=600, **true):
    generator = np.random.default_rng(seed)
    signs = pd.DataFrame(generator.normal(size=(n, len(FIXED))), columns=list(FIXED))
    odds = -1.5 + sum(signs[name] * true.get(name, weight) for name, weight in FIXED.items())
    wrong = generator.random(n) < 1 / (1 + np.exp(-odds.to_numpy()))
    return signs, wrong, np.arange(n) % 12, odds


def test_labels_move_the_weights_where_they_say_otherwise():
    signs, wrong, groups, _ = weighed(0, doubt=-1.0)
    learnt, out = learn(signs, wrong, groups)
    assert np.isfinite(learnt.hold)
    assert dict(learnt.values)["doubt"] < 0
    assert dict(learnt.values)["burst"] == pytest.approx(FIXED["burst"], abs=0.7)
    assert np.corrcoef(out, weighed(0, doubt=-1.0)[3])[0, 1] > 0.9


def test_weights_stay_fixed_where_the_labels_agree_with_them():
    assert all(np.isinf(learn(*weighed(seed, 200)[:3])[0].hold) for seed in range(5))
    signs, wrong, groups, odds = weighed(1)
    assert Weights(-1.5).log_odds(signs) == pytest.approx(odds.to_numpy())
    assert Weights().log_odds(signs.assign(burst=np.nan)) == pytest.approx(Weights().log_odds(signs.assign(burst=0.0)))
    assert learn(signs, wrong, groups)[0].intercept == pytest.approx(-1.5, abs=0.3)


def test_no_photograph_is_judged_by_weights_of_its_own_camera():
    signs, wrong, groups, _ = weighed(2, 300, doubt=-1.0)
    flipped = wrong.copy()
    flipped[groups == 0] = ~flipped[groups == 0]
    own = np.asarray(groups == 0)
    folds = _folds(groups)
    assert all(len(set(folds[groups == g])) == 1 for g in range(12))
    rest = folds != folds[own][0]
    x = signs.to_numpy()
    assert np.array_equal(_of(_fit(x[rest], wrong[rest], 4.0), x[own]), _of(_fit(x[rest], flipped[rest], 4.0), x[own]))


@pytest.mark.parametrize(("population", "drawn", "found"), [(12, 5, 2), (12, 5, 0), (9, 9, 4), (7, 1, 1), (5, 0, 0)])
def test_the_interval_by_counting_all_samples(population, drawn, found):
    tail, kept = 0.025, []
    for errors in range(population + 1):
        counts = [sum(i < errors for i in sample) for sample in combinations(range(population), drawn)]
        if np.mean([c <= found for c in counts]) > tail and np.mean([c >= found for c in counts]) > tail:
            kept.append(errors)
    assert interval(population, drawn, found, tail) == (min(kept), max(kept))


def test_batches_hold_every_photograph_once():
    batches = Batches.make(103, 20, 0.25, seed=3)
    assert batches.first == 15
    assert batches.drawn_each == 5
    assert batches.number.min() == 1
    assert np.bincount(batches.number)[1] <= 20
    assert (batches.number[:15] == 1).all()
    drawn = batches.number[batches.drawn]
    assert (np.bincount(drawn)[1:] <= 5).all()
    assert not Batches.make(40, 10, 0.0, 0).drawn.any()
    left = errors_left(Batches.make(40, 10, 0.0, 0), np.zeros(40))
    assert left["errors_left_high"].tolist() == [30, 20, 10, 0]


@pytest.mark.parametrize("worth", [0.0, 3.0])
def test_the_interval_holds_the_truth(worth):
    """Whether the order is any good or not; and the bound for stopping holds at all looks at once."""
    generator = np.random.default_rng(0)
    inside, always = [], []
    for seed in range(150):
        wrong = generator.random(300) < generator.uniform(0.05, 0.3)
        order = np.argsort(-(worth * wrong + generator.normal(size=300)))
        batches = Batches.make(300, 40, 0.25, seed)
        left = errors_left(batches, wrong[order].astype(float))
        truth = np.asarray([wrong[order][batches.number > b].sum() for b in left["batch"]])
        inside.append((left["errors_left_low"] <= truth) & (truth <= left["errors_left_high"]))
        always.append((truth <= left["at_most"]).all())
    assert np.mean([held[:5].mean() for held in inside]) >= 0.95
    assert np.mean(always) >= 0.95


def test_batches_that_were_not_looked_at_whole_do_not_count():
    batches = Batches.make(60, 20, 0.25, 0)
    wrong = np.where(batches.number <= 2, 0.0, np.nan)
    assert errors_left(batches, wrong)["batch"].tolist() == [1, 2]
    wrong[np.flatnonzero(batches.number == 2)[0]] = np.nan
    assert errors_left(batches, wrong)["batch"].tolist() == [1]
    wrong[np.flatnonzero(batches.number == 1)[0]] = np.nan
    assert errors_left(batches, wrong).empty


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("review")


@pytest.fixture(scope="module")
def survey(folder):
    causes = {"hidden_part": 0.1}
    return testbed.survey(N, 11, sites=6, stumps=2, causes=causes, folder=folder / "survey", size=128)


def study_of(folder, data, name):
    classifier = testbed.classifier(device="cpu", precision="float32", micro_batch=8)
    return fk.run_study(classifier, data, ["grad-cam"], store=folder / name, progress=False)


@pytest.fixture(scope="module")
def study(folder, survey):
    return study_of(folder, survey, "labelled")


@pytest.fixture(scope="module")
def unlabelled(folder, survey):
    return study_of(folder, fk.LabelledImages.from_table(survey.table.assign(label=None)), "unlabelled")


@pytest.fixture(scope="module")
def wrong(study):
    table = study.predictions().set_index("image_id")
    return table["correct"].eq(False)


def test_a_look_agrees_with_the_predictions(study):
    found = look(study, np.arange(12))
    table = study.predictions().head(12)
    names = np.asarray(study.classifier.class_names)
    assert names[found.top[:, 0]].tolist() == table["predicted"].tolist()
    assert found.probability[:, 0] == pytest.approx(table["score"].to_numpy(float), abs=1e-4)
    assert np.isfinite(found.animal).all()
    assert np.linalg.norm(found.cells.astype(float), axis=1) == pytest.approx(1, abs=1e-2)


def test_without_labels(unlabelled, wrong):
    order = fk.review_order(unlabelled, batch=20)
    table = order.table
    assert sorted(table["image_id"]) == sorted(wrong.index)
    assert table["expected_error"].is_monotonic_decreasing
    truth = wrong[table["image_id"]].to_numpy()
    margin = wrong[unlabelled.predictions().sort_values("margin", kind="stable")["image_id"]].to_numpy()
    fifth = round(0.2 * N)
    assert truth[:fifth].sum() >= margin[:fifth].sum()
    assert truth[:fifth].mean() > 2 * truth.mean()
    assert "weights are fixed" in " ".join(order.notes)
    assert not any(name.startswith("planted_") for name in table)
    assert "expected" not in order.headline  # no number that labels did not confirm
    why = table["why"].head(fifth)
    assert why.str.contains("scores are close").any()
    assert why.str.contains(r"sees every night|outside the animal's box|its burst is called").any()
    assert len(order.examples)
    assert order.examples["x0"].between(0, 1).all()
    assert order._repr_html_()


def test_the_order_in_a_widget(unlabelled):
    order = fk.review_order(unlabelled)
    widget = fk.AnswerWidget(order)
    assert widget.row is None
    widget.row = 30
    assert widget.error is None
    assert [shown["image"] for shown in widget._shown] == [order.table["image_id"][30]]


def test_what_was_planted_is_not_read(unlabelled, survey, folder):
    kept = [name for name in survey.table if not name.startswith("planted_")]
    plain = study_of(folder, fk.LabelledImages.from_table(survey.table[kept].assign(label=None)), "plain")
    pd.testing.assert_frame_equal(fk.review_order(plain).table, fk.review_order(unlabelled).table)


def test_all_labelled_are_ranked_across_cameras(study, wrong):
    order = fk.review_order(study)
    assert len(order.table) == N
    assert "72 judged photographs" in " ".join(order.notes)
    assert "are expected to be wrong" in order.headline
    assert order.table["expected_error"].mean() == pytest.approx(wrong.mean(), abs=0.1)
    fixed = fk.review_order(study, learn_from_labels=False)
    assert fixed.weights == Weights()
    assert any("weights are fixed, as asked for" in note for note in fixed.notes)


def test_cameras_may_number_their_bursts_alike(unlabelled, survey, folder):
    numbered = survey.table.assign(label=None, sequence=survey.table["sequence"].str[-4:])
    alike = study_of(folder, fk.LabelledImages.from_table(numbered), "numbered")
    pd.testing.assert_frame_equal(fk.review_order(alike).table, fk.review_order(unlabelled).table)


def test_photographs_that_are_judged_are_left_out(folder, survey, wrong):
    labels = survey.table["label"].where(np.arange(N) % 2 == 0, None)
    half = study_of(folder, fk.LabelledImages.from_table(survey.table.assign(label=labels)), "half")
    order = fk.review_order(half)
    assert sorted(order.table["image_id"]) == sorted(survey.table["image_id"][1::2])
    assert any("36 photographs are judged by their label" in note for note in order.notes)
    written = pd.read_csv(order.to_timelapse(folder / "half.csv"))
    assert written["FidokitRank"].tolist()[:36] == list(range(1, 37))
    assert written["FidokitRank"][36:].isna().all()


def test_filling_in_is_done_for_the_first(unlabelled):
    order = fk.review_order(unlabelled, interventions=10)
    assert order.table["filled_in"].notna().sum() == 10
    assert order.table["filled_in"].dropna().isin([0.0, 0.5, 1.0]).all()
    assert any("20 evaluations" in note for note in order.notes)
    without = fk.review_order(unlabelled)
    assert set(order.table["image_id"][order.table["filled_in"].notna()]) == set(without.table["image_id"].head(10))


def test_masks_of_the_label_are_not_used(folder, survey):
    data = fk.LabelledImages.from_table(survey.table.head(6))
    classifier = testbed.classifier(device="cpu")
    store = folder / "of-labels"
    study = fk.run_study(classifier, data, ["grad-cam"], store=store, targets="label", progress=False)
    assert len(fk.review_order(study).table) == 6
    with pytest.raises(SettingsError, match="explain the label"):
        fk.review_order(study, interventions=2)


def test_ctrl_c_keeps_what_was_filled_in(unlabelled, monkeypatch):
    real, calls = filling.local, []

    def stop(images):
        calls.append(len(images))
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(images)

    monkeypatch.setattr(filling, "_INFILLS", (filling.mean, stop))
    monkeypatch.setattr(filling, "_CHUNK", 8)
    notes: list[str] = []
    changed = filling.fill_in(unlabelled, ("grad-cam", "attribution"), np.arange(20), notes)
    assert np.isfinite(changed).tolist() == [True] * 8 + [False] * 12
    assert notes[0].startswith("stopped after 8 of 20")


def test_the_order_as_files(unlabelled, tmp_path):
    order = fk.review_order(unlabelled)
    table = pd.read_csv(order.to_csv(tmp_path / "order.csv"))
    assert table["image_id"].tolist() == order.table["image_id"].tolist()
    written = pd.read_csv(order.to_timelapse(tmp_path / "timelapse.csv"))
    assert written["FidokitRank"].tolist() == list(range(1, N + 1))
    names = order.table["path"].str.rsplit("/", n=1).str[-1]
    assert written["File"].tolist() == names.tolist()
    assert written["FidokitWhy"].fillna("").tolist() == order.table["why"].tolist()
    plain = pd.read_csv(unlabelled.to_timelapse(tmp_path / "plain.csv"))
    assert not {"FidokitRank", "FidokitWhy"} & set(plain)
    assert plain["File"].is_monotonic_increasing


def test_errors_left_of_a_review(unlabelled, wrong):
    order = fk.review_order(unlabelled, batch=20, sample=0.25)
    own = order.batch(1)
    assert 0 < len(own) <= 20
    review = own[["image_id"]].assign(
        review=wrong[own["image_id"]].map({True: "corrected", False: "confirmed"}).to_numpy()
    )
    left = order.errors_left(review)
    assert left["errors_found"].tolist() == [wrong[own["image_id"]].sum()]
    truth = wrong.sum() - left["errors_found"][0]
    assert left["errors_left_low"][0] <= truth <= left["errors_left_high"][0] <= left["at_most"][0]
    unsure = order.errors_left(review.assign(review="unsure"))
    assert unsure["errors_found"].tolist() == [len(own)]
    assert order.errors_left(review.assign(review="open")).empty
    assert order.batch(99).empty
    with pytest.raises(SettingsError, match="no column 'review'"):
        order.errors_left(own)
    with pytest.raises(SettingsError, match="says 'yes' of a photograph; it must say open, confirmed, corrected"):
        order.errors_left(order.batch(1).assign(review="yes"))
    with pytest.raises(SettingsError, match="twice; keep the row"):
        order.errors_left(pd.concat([review, review]))
    with pytest.raises(SettingsError, match="no photograph 'nobody'"):
        order.errors_left(pd.DataFrame({"image_id": ["nobody"], "review": ["confirmed"]}))


def test_a_study_without_cameras_bursts_and_boxes(folder, survey):
    table = survey.table[["image_id", "path"]].head(12)
    bare = study_of(folder, fk.LabelledImages.from_table(table), "bare")
    order = fk.review_order(bare)
    assert len(order.table) == 12
    said = " ".join(order.notes)
    assert "no column says at which camera" in said
    assert "no column tells the bursts apart" in said
    assert "no photograph has a box" in said
    assert order.table[["outside", "same_place"]].isna().all(axis=None)
    assert order.table["burst"].eq(0).all()
    with pytest.raises(SettingsError, match="no column 'camera'"):
        fk.review_order(bare, by="camera")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 1}, "batch is 1; it must be"),
        ({"sample": 1.5}, "sample is 1.5; it must be"),
        ({"interventions": -1}, "interventions is -1; it must be"),
        ({"by": "planted_site"}, "no column 'planted_site'"),
    ],
)
def test_bad_arguments(unlabelled, options, message):
    with pytest.raises(SettingsError, match=message):
        fk.review_order(unlabelled, **options)


def test_a_photograph_that_is_gone_is_not_in_the_order(folder, survey):
    import shutil

    copies = folder / "copies"
    copies.mkdir()
    table = survey.table[["image_id", "path", "site", "sequence"]].head(9)
    table = table.assign(path=[shutil.copy(path, copies) for path in table["path"]])
    study = study_of(folder, fk.LabelledImages.from_table(table), "gone")
    (copies / "00004.png").unlink()
    order = fk.review_order(study)
    assert len(order.table) == 8
    assert "1 photographs have no prediction or cannot be read" in " ".join(order.notes)
