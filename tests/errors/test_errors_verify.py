"""Proof by changing pixels, on photographs whose cause of error is known, and on groups that have none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from errors_cases import drawn_data, drawn_study
from scipy.stats import fisher_exact

from fidokit.errors import find_error_clusters, interventions, regions
from fidokit.errors import verify as verify_module
from fidokit.errors.verification import VERDICTS
from fidokit.errors.verify import more_often, paired_interval, sign_test, verify, verify_groups
from fidokit.exceptions import SettingsError
from fidokit.methods.infill import blur, zeros
from fidokit.methods.regions import control_region
from fidokit.study.metrics.ranks import soften

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    return find_error_clusters(drawn_study(folder, drawn_data(folder / "data", 240, wrong_labels=24)))


def test_the_sign_test_by_hand():
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(2, 1) == pytest.approx(4 / 8)
    assert sign_test(0, 0) == 1


def test_more_often_is_fishers_test():
    assert more_often(8, 10, 3, 12) == pytest.approx(fisher_exact([[8, 2], [3, 9]], alternative="greater").pvalue)


def test_the_interval_of_a_paired_difference_by_hand():
    # All hit in the first and none in the second: by Wilson 1 - z^2 / (n + z^2) and z^2 / (n + z^2), uncorrelated.
    z2 = 1.959964**2
    low, high = paired_interval(0, 5, 0, 0)
    assert low == pytest.approx(1 - np.sqrt(2) * z2 / (5 + z2))
    assert high == pytest.approx(1)
    assert paired_interval(3, 9, 2, 4) == pytest.approx([-x for x in reversed(paired_interval(3, 2, 9, 4))])
    assert np.isnan(paired_interval(0, 0, 0, 0)).all()


def test_the_interval_of_a_paired_difference_covers_it():
    generator = np.random.default_rng(0)
    for shares in ([0.1, 0.5, 0.1, 0.3], [0.05, 0.05, 0.05, 0.85], [0.4, 0.3, 0.0, 0.3]):
        intervals = np.asarray([paired_interval(*own) for own in generator.multinomial(15, shares, 1000).tolist()])
        truth = shares[1] - shares[2]
        assert ((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).mean() >= 0.92


def test_everything_outside_the_animal_leaves_a_margin():
    animal = np.zeros((64, 64), dtype=bool)
    animal[20:40, 20:40] = True
    region = regions.outside_animal(np.ones((8, 8), np.float32), animal, (64, 64))
    assert not region[19:41, 21:39].any()
    assert region[:16].all()
    assert regions.outside_animal(np.ones((8, 8), np.float32), None, (64, 64)) is None


def test_the_strongest_evidence_takes_its_share():
    contrast = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    region = regions._strongest(0.1, outside=False)(contrast, None, (56, 56))
    assert region.mean() == pytest.approx(0.1, abs=0.01)
    flat = np.ones((28, 28), np.float32)
    assert regions._strongest(0.1, outside=False)(flat, None, (56, 56)) is None


def test_a_place_that_masks_have_in_common_is_found():
    generator = np.random.default_rng(0)
    own, others = (generator.random((20, 28, 28)).astype(np.float32) for _ in range(2))
    own[:, 2:6, 20:27] += 6
    place = regions.common_place(own, others)
    assert place[2:6, 20:27].all()
    assert place.mean() < 0.12
    assert regions.common_place(own[:2], others) is None


def test_a_control_is_as_many_other_pixels():
    region = np.zeros((40, 40), dtype=bool)
    region[:10, :20] = True
    control = control_region(region, np.random.default_rng(0))
    assert control.sum() == region.sum()
    assert (control & region).sum() < 0.2 * region.sum()
    large = ~region
    assert control_region(large, np.random.default_rng(0)).sum() == large.sum()


def test_a_planted_cause_is_proved(errors):
    table = errors.verify(infills=("zeros",))
    row = table.iloc[0]
    assert row["verdict"] == "proved"
    assert row["rule"] == "everything outside the animal"
    assert row["turned_right"] == row["n_errors"] > row["turned_right_control"]
    assert row["turned_right_other"] < row["n_other_errors"]
    assert row["effect_low"] > 0
    assert row["effect_p"] == pytest.approx(max(row["p_control"], row["p_other"], row["p_net"]) * len(table), abs=0.05)
    clusters = errors.clusters.set_index("cluster")
    assert clusters.loc[row["cluster"], "verdict"] == "proved"
    assert clusters["verdict"].isna().sum() == len(clusters) - len(table)
    images = errors.verification.images
    assert set(images["role"]) <= {"error", "right", "other error"}
    own = images[(images["cluster"] == row["cluster"]) & (images["role"] == "error")]
    assert (own["after"] > 0.5).sum() == row["turned_right"]


def test_an_infill_that_keeps_the_colours_proves_nothing(errors):
    """The classifier reads mean colours: what keeps them changes no answer."""
    table = verify(errors, infills=("mean",)).table
    assert not set(table["verdict"]) & {"proved", "supported"}


def test_groups_of_errors_at_random_are_not_proved(errors):
    generator = np.random.default_rng(0)
    wrong = np.flatnonzero(errors.outcome.wrong)
    members = {}
    for g in range(20):
        members[g] = np.isin(np.arange(len(errors.features)), generator.choice(wrong, len(wrong) // 2, replace=False))
    table = verify_groups(errors, members, {}, infills=("zeros",)).table
    assert (table["verdict"] == "proved").sum() <= 1


def test_too_few_errors_show_nothing(errors):
    members = np.zeros(len(errors.features), dtype=bool)
    members[np.flatnonzero(errors.outcome.wrong)[:3]] = True
    row = verify_groups(errors, {0: members}, {}).table.iloc[0]
    assert row["verdict"] == "not shown"
    assert "too few errors" in row["sentence"]


def test_what_cannot_be_filled_in_is_said(errors):
    """Images with a wrong label stay wrong whatever is filled in; were darkness their mark, it would be the reason."""
    members = errors.outcome.wrong & (errors.outcome.predicted != "green")
    text = {0: "dark photographs and called blue", 1: "alike in the place of the mask"}
    table = verify_groups(errors, dict.fromkeys(text, members), text, infills=("zeros",)).table
    assert table["verdict"].tolist() == [VERDICTS[3], "not shown"]


def test_verifying_twice_gives_the_same(errors):
    first, second = (verify(errors, infills=("noise", "shuffle")) for _ in range(2))
    assert first.table.equals(second.table)


@pytest.mark.parametrize("options", [{"infills": ()}, {"infills": ("nonsense",)}, {"infills": ("original",)}])
def test_an_unknown_infill_is_named(errors, options):
    with pytest.raises(SettingsError, match="blur"):
        errors.verify(**options)


def test_an_unknown_cluster_is_named(errors):
    with pytest.raises(SettingsError, match="numbered from 1"):
        errors.verify(clusters=[10**6])


def test_nothing_to_verify_is_an_empty_table(errors):
    table = errors.verify(clusters=[])
    assert len(table) == 0
    assert "verdict" in table
    assert errors.clusters["verdict"].isna().all()


def changes(errors, infills):
    bar = SimpleNamespace(total=0, refresh=lambda: None, update=lambda n: None)
    return interventions.Interventions(errors, interventions.check_infills(infills), 0, bar)


def test_an_answer_is_the_largest_probability_over_all_infills(errors):
    """By hand, with the classifier itself: black, and the blurred photographs of the class that is neither."""
    rule = regions.RULES[-1]
    row = int(np.flatnonzero(errors.outcome.wrong & (errors.outcome.predicted == "green"))[0])
    study, classifier = errors.study, errors.study.classifier
    with changes(errors, ("zeros", "photographs")) as made:
        answer = made.answers([row], [rule])[row, rule]
        panel = made._infills._panel
    shown = {errors.outcome.label[row], errors.outcome.predicted[row]}
    others = [image_id for image_id, classes, _ in panel if shown.isdisjoint(classes)]
    assert 0 < len(others) < len(panel)
    image, photographs = (
        torch.stack([study.data.load(study.positions[name], classifier.preprocessing)[0] for name in names])
        for names in ([errors.features.image_ids[row]], others)
    )
    animal = np.zeros((16, 16), dtype=bool)
    animal[4:12, 4:12] = True
    changed = soften(torch.from_numpy(rule.find(errors.features.contrast[row], animal, (16, 16)))[None])[:, None]
    bank = torch.cat([zeros(image), blur(photographs)])
    scores = classifier.logits(image * (1 - changed) + bank * changed).softmax(1)
    names = np.asarray(classifier.class_names)
    assert answer.said == names[scores.mean(0).argmax()]
    assert answer.share == pytest.approx(np.mean(names[scores.argmax(1)] == errors.outcome.label[row]))


def test_an_answer_does_not_depend_on_what_else_is_asked(errors):
    rows = np.flatnonzero(errors.outcome.wrong)[:6]
    with changes(errors, ("noise",)) as made, changes(errors, ("noise",)) as alone:
        together = made.answers(rows, regions.RULES)
        assert all(alone.answers([row], [rule])[row, rule] == together[row, rule] for row, rule in together)


def test_an_image_that_no_rule_reaches_keeps_its_answer(errors):
    nowhere = regions.Rule("nowhere", lambda *_: None)
    row = int(np.flatnonzero(errors.outcome.wrong)[0])
    with changes(errors, ("zeros",)) as made:
        answer = made.answers([row], [nowhere])[row, nowhere]
    assert not answer.changed
    assert not answer.right
    assert answer.said == errors.outcome.predicted[row]


def test_the_rule_is_chosen_without_the_held_out_half(errors):
    """With other labels in the held-out half the same rules are chosen; only what they are counted on changes."""
    outcome, holdout = errors.outcome, errors.found.holdout
    label = outcome.label.copy()
    label[holdout] = np.random.default_rng(0).permutation(label[holdout])
    members = {0: outcome.wrong | (np.arange(len(label)) % 3 == 0)}
    other = SimpleNamespace(
        study=errors.study,
        features=errors.features,
        found=errors.found,
        outcome=replace(outcome, label=label, wrong=label != outcome.predicted),
    )
    one, two = (verify_groups(e, members, {}, infills=("zeros",)).table for e in (errors, other))
    assert one["rule"].tolist() == two["rule"].tolist()
    assert one["n_errors"].tolist() != two["n_errors"].tolist()


def test_other_errors_are_none_of_the_same_cause(errors):
    """Errors of a cluster that another one makes superfluous are not held against that one."""
    number = int(errors.clusters.loc[errors.clusters["systematic"], "cluster"].iloc[0])
    verified = verify(errors, [number], infills=("zeros",))
    rows = errors.found.cause_of(number)
    same = {errors.features.image_ids[i] for i in np.flatnonzero(rows)}
    others = verified.images.loc[verified.images["role"] == "other error", "image_id"]
    assert len(others) > 0
    assert not same & set(others)
    assert verified.table["n_other_errors"].tolist() == [len(others)]


def test_without_other_errors_the_sentence_says_so(errors):
    table = verify_groups(errors, {0: errors.outcome.wrong}, {}, infills=("zeros",)).table
    assert np.isnan(table["p_other"].iloc[0])
    assert "there are no other errors to compare with" in table["sentence"].iloc[0]


def test_other_errors_that_could_show_nothing_are_left_out(errors):
    """Of 5 and 1, even 5 and 0 turned right are no difference: 1 in 6; of 5 and 3, they are: 1 in 56."""
    assert not verify_module._can_tell(5, 1)
    assert verify_module._can_tell(5, 3)
    wrong = np.flatnonzero(errors.outcome.wrong)
    members = np.isin(np.arange(len(errors.features)), wrong[1:])
    row = verify_groups(errors, {0: members}, {}, infills=("zeros",)).table.iloc[0]
    assert row["n_other_errors"] == 1
    assert np.isfinite(row["p_other"]) == (row["n_errors"] >= 19)
    assert ("too few to compare with" in row["sentence"]) == (row["n_errors"] < 19)


def test_ctrl_c_keeps_the_clusters_that_are_verified(errors, monkeypatch, capsys):
    counted, calls = verify_module._counted, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return counted(*arguments)

    wrong = errors.outcome.wrong & (errors.outcome.predicted == "green")
    members = dict.fromkeys(range(3), wrong)
    whole = verify_groups(errors, members, {}, infills=("zeros",)).table
    monkeypatch.setattr(verify_module, "_counted", stop)
    table = verify_groups(errors, members, {}, infills=("zeros",)).table
    assert table["cluster"].tolist() == [0]
    assert "1 of 3 clusters are verified" in capsys.readouterr().err
    # It is corrected for all that were asked for, as if nothing had been found in the others.
    worst = whole[["p_control", "p_other", "p_net"]].max(axis=1).iloc[0]
    assert table["effect_p"].iloc[0] == pytest.approx(min(1, 3 * worst))


def test_a_control_of_everything_is_everything():
    assert control_region(np.ones((8, 8), dtype=bool), np.random.default_rng(0)).all()


def test_a_place_is_left_out_where_the_animal_is():
    place = np.zeros((4, 4), dtype=bool)
    place[0, 0] = True
    animal = np.zeros((16, 16), dtype=bool)
    animal[:2] = True
    region = regions.at_place(place)(np.ones((4, 4), np.float32), animal, (16, 16))
    assert region.any()
    assert not region[:2].any()
    assert not region[6:].any()


def test_one_cluster_after_the_other_proves_no_more_than_all_at_once(errors):
    numbers = errors.clusters["cluster"].tolist()[:3]
    together = verify(errors, numbers, infills=("zeros",))
    step = None
    for number in numbers:
        step = verify(errors, [number], infills=("zeros",), before=step)
    pd.testing.assert_frame_equal(step.table, together.table)
    assert len(step.images) == len(together.images)
    # What was found with other infills cannot be corrected together with it.
    assert verify(errors, numbers[:1], infills=("mean",), before=step).table["cluster"].tolist() == numbers[:1]
    again = verify(errors, numbers[:1], infills=("zeros",), before=step).table
    pd.testing.assert_frame_equal(again.set_index("cluster").loc[numbers], together.table.set_index("cluster"))


def test_the_result_keeps_what_it_verified_before(errors):
    first, second = errors.clusters["cluster"].tolist()[:2]
    assert errors.verify([first], infills=("zeros",))["cluster"].tolist() == [first]
    assert errors.verify([second], infills=("zeros",))["cluster"].tolist() == [second]
    assert errors.verification.table["cluster"].tolist() == [first, second]
    assert errors.clusters.set_index("cluster").loc[[first, second], "verdict"].notna().all()


def test_progress_is_told_and_may_stop(errors):
    number = int(errors.clusters["cluster"].iloc[0])
    told = []
    whole = verify(errors, [number], infills=("zeros",), on_progress=lambda *counts: told.append(counts))
    assert len(whole.table) == 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]
    stopped = verify(errors, [number], infills=("zeros",), on_progress=lambda done, _total: done > 0)
    assert len(stopped.table) == 0
