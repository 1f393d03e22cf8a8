from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from study_cases import CLASSES, SIZE, make_classifier, make_data, register_counting

import fidokit as fk
from fidokit.data.images import LabelledImages
from fidokit.exceptions import SettingsError, StoreError
from fidokit.methods import register_method
from fidokit.methods.base import Computed, Method, resize_masks
from fidokit.study.metrics import measuring
from fidokit.study.metrics import standing as metrics
from fidokit.study.metrics.ranks import rank_correlation
from fidokit.study.metrics.standing import STANDING
from fidokit.study.metrics.table import MetricTables
from fidokit.study.summary import bootstrap_means, percentile_interval

pytestmark = pytest.mark.usefixtures("quick")

COLUMNS = ["image_id", "method", "kind", *STANDING, "agreement", "reason"]
PARTS = ["head", "wing", "tail", "hidden"]


def bright(_classifier, images, _targets):
    """Brightness of the pixels."""
    return images.mean(1)


def even(_classifier, images, _targets):
    """The same everywhere."""
    return torch.full((len(images), 4, 4), 0.5)


def columns(_classifier, images, _targets):
    """Rising from left to right."""
    return torch.linspace(0, 1, SIZE).expand(len(images), SIZE, SIZE)


register_method("bright", bright)
register_method("columns", columns)
register_method("even", even)


def study_of(folder, data=None, methods=("counting", "bright"), classifier=None, **options):
    register_counting("counting")
    data = make_data(folder / "data", 10) if data is None else data
    classifier = make_classifier() if classifier is None else classifier
    options = {"part_size": 4, "progress": False} | options
    return fk.run_study(classifier, data, list(methods), store=folder / "s", **options)


def measure(study, *arguments, **options):
    return study.metrics(*arguments, progress=False, **options)


def annotated(folder, n=6):
    """Photographs with boxes and part maps: head, wing and tail are columns of 2, 4 and 2 pixels."""
    data = make_data(folder / "data", n)
    table = data.table[["path", "label"]].copy()
    table["path"] = [Path(path).relative_to(folder).as_posix() for path in table["path"]]
    table["box"] = ["2 0 14 16"] * n
    for i in range(n):
        pixels = np.zeros((SIZE, SIZE), np.uint8)
        pixels[:, 2:4], pixels[:, 6:10], pixels[:, 12:14] = 1, 2, 3
        Image.fromarray(pixels).save(folder / f"parts{i}.png")
    table["part_map"] = [f"parts{i}.png" for i in range(n)]
    table["parts"] = json.dumps(PARTS)
    return LabelledImages.from_table(table, root=folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    study = study_of(folder, annotated(folder), ["counting", "bright", "even"])
    return study, measure(study)


def test_a_row_for_each_mask_and_a_column_for_each_metric(made):
    study, table = made
    assert list(table.columns) == COLUMNS
    masks = study.masks(columns=["image_id", "method", "kind"])
    pd.testing.assert_frame_equal(table[["image_id", "method", "kind"]], masks)
    informative = table[table["method"] != "even"]
    assert informative[[*STANDING, "agreement"]].notna().all(axis=None)
    assert informative["reason"].isna().all()
    bounded = table[[name for name in STANDING if name not in ("road", "total_variation")]]
    assert ((bounded.min() >= 0) & (bounded.max() <= 1)).all()


def test_a_mask_that_is_the_same_everywhere_has_reasons(made):
    even_rows = made[1][made[1]["method"] == "even"]
    assert len(even_rows) == 6
    assert even_rows[["area", "entropy"]].notna().all(axis=None)
    assert even_rows[["insertion", "road", "average_precision", "agreement"]].isna().all(axis=None)
    for reason in even_rows["reason"]:
        assert "insertion, deletion" in reason
        assert "the mask is the same everywhere" in reason
        assert "agreement: a mask that is the same everywhere agrees with none" in reason


def test_values_are_those_of_the_mask(made):
    study, table = made
    classifier, data = study.classifier, study.data
    row = table[(table["method"] == "counting") & (table["kind"] == "ssr")].iloc[4]
    mask = study.masks("counting", "ssr")["mask"].iloc[4]
    i = study.positions[row["image_id"]]
    image = data.load(i, classifier.preprocessing)[0]
    with classifier.session() as session:
        whole = session.logits(image[None])
        goal = classifier.goal(whole, [study.predictions()["predicted"][i]])
        protocol = MetricTables(study.store).protocol(study)
        panel = measuring.Panel(protocol["panel"], data, classifier.preprocessing)
        shown = study.predictions().iloc[i]
        infills = panel.infills(row["image_id"], [shown["label"], shown["predicted"]])
        key = measuring.image_keys(0, [row["image_id"]])
        noise = measuring.imputation_noise(key, classifier.size)
        box = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        box[:, 2:14] = True
        place = metrics.Place(box, box)
        subject = metrics.Subject(image, goal, whole, infills, session.logits(infills), noise, place)
        [(values, _)] = metrics.standing(session, subject, torch.from_numpy(mask)[None])
    for name in STANDING:
        assert row[name] == pytest.approx(values[name], rel=1e-4, abs=1e-5), name


def test_agreement_is_the_mean_rank_correlation_with_the_others(made):
    study, table = made
    bright_mask, own = study.masks("bright")["mask"].iloc[2], study.masks("counting", "sdr")["mask"].iloc[2]
    one, other = (resize_masks(torch.from_numpy(m)[None], (28, 28)).flatten(1) for m in (bright_mask, own))
    expected = float(rank_correlation(one, other))
    rows = table[(table["image_id"] == study.masks("bright")["image_id"].iloc[2])].set_index(["method", "kind"])
    # `even` has nothing to agree with; against another method without that kind, its last one is taken.
    assert rows["agreement"]["counting", "sdr"] == pytest.approx(expected)
    assert rows["agreement"]["bright", "attribution"] == pytest.approx(expected)
    assert rows["agreement"]["counting", "ssr"] == pytest.approx(-expected, abs=1e-3)


def test_a_second_call_reads(made, monkeypatch):
    study, table = made
    before = {path: path.stat().st_mtime_ns for path in study.path.rglob("*")}
    # A classifier without a name cannot be loaded: neither it nor the photographs are needed.
    alone = fk.open_study(study.path)
    pd.testing.assert_frame_equal(measure(alone), table)
    assert before == {path: path.stat().st_mtime_ns for path in study.path.rglob("*")}
    some = measure(alone, "counting", ["sdr"])
    chosen = table[(table["method"] == "counting") & (table["kind"] == "sdr")].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, chosen)


def test_only_what_is_missing_is_measured(tmp_path):
    study = study_of(tmp_path, methods=["counting"])
    tally = study.classifier.counter
    start = tally.evaluations
    first = measure(study, kinds="ssr")
    spent = tally.evaluations - start
    assert first["agreement"].isna().all()
    assert first["reason"].str.contains("agreement: the study has no other method").all()
    start = tally.evaluations
    both = measure(study)
    assert tally.evaluations - start <= spent + 40
    pd.testing.assert_frame_equal(both[both["kind"] == "ssr"].reset_index(drop=True), first)
    study = study_of(tmp_path, study.data, ["counting", "bright"])
    start = study.classifier.counter.evaluations
    table = measure(study)
    assert study.classifier.counter.evaluations - start <= spent + 40
    same = ["image_id", "kind", *STANDING]
    pd.testing.assert_frame_equal(
        table.loc[table["method"] == "counting", same].reset_index(drop=True), both[same].reset_index(drop=True)
    )
    assert table["agreement"].notna().all()


def test_the_manifest_lists_the_panel(made):
    study = made[0]
    listed = json.loads((study.path / "study.json").read_text())["metrics"]
    labels = dict(zip(study.images["image_id"], study.images["label"], strict=True))
    assert {labels[entry["image_id"]] for entry in listed["panel"]["photographs"]} == set(CLASSES)
    assert listed["panel"]["mosaic_seeds"] == [0, 1]
    assert listed["shares"] == list(metrics.STANDING_SHARES)
    # Another method later does not change it.
    assert fk.open_study(study.path).manifest["metrics"] == listed


def test_after_ctrl_c_a_second_call_goes_on(tmp_path, monkeypatch, capsys):
    study = study_of(tmp_path, methods=["counting"])
    standing, calls = metrics.standing, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return standing(*arguments)

    monkeypatch.setattr(metrics, "standing", stop)
    table = measure(study)
    assert "call study.metrics() again" in capsys.readouterr().err
    assert len(table) == 20
    done = table["area"].notna()
    assert done.sum() == 8  # the four photographs of the first part
    assert table["reason"][~done].str.contains("not measured yet").all()
    assert not [path for path in study.path.rglob("*") if path.suffix == ".tmp"]
    finished = measure(study)
    assert len(calls) == 7 + 6
    assert finished["area"].notna().all()
    pd.testing.assert_frame_equal(finished[done], table[done])


def test_one_mask_that_cannot_be_measured_costs_only_itself(tmp_path, monkeypatch):
    study = study_of(tmp_path, methods=["counting"])
    standing = metrics.standing

    def fail(session, subject, masks, *others):
        if float(subject.image.mean()) == float(study.data.load(3, study.classifier.preprocessing)[0].mean()):
            raise RuntimeError("no such thing")
        return standing(session, subject, masks, *others)

    monkeypatch.setattr(metrics, "standing", fail)
    table = measure(study)
    bad = table["image_id"] == study.images["image_id"][3]
    assert table.loc[bad, list(STANDING)].isna().all(axis=None)
    assert table.loc[bad, "reason"].str.contains("RuntimeError: no such thing").all()
    assert table.loc[~bad, "insertion"].notna().all()


def test_photographs_that_are_gone_are_told_and_tried_again(tmp_path):
    study = study_of(tmp_path, methods=["counting"])
    lost = next(
        i
        for i, image_id in enumerate(study.images["image_id"])
        if image_id not in {entry["image_id"] for entry in metric_panel(study)}
    )
    path = Path(study.images["path"][lost])
    kept = path.read_bytes()
    path.write_bytes(b"broken" + kept[6:])
    with pytest.warns(RuntimeWarning, match="1 photographs cannot be read any more"):
        table = measure(study)
    assert table["area"].isna().tolist() == [image_id == study.images["image_id"][lost] for image_id in table.image_id]
    path.write_bytes(kept)
    assert measure(study)["area"].notna().all()


def metric_panel(study):
    return MetricTables(study.store).protocol(study)["panel"]["photographs"]


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path, monkeypatch):
    study = study_of(tmp_path, methods=["counting"])

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=r"No space left.*call study\.metrics\(\) again"):
        measure(study)


def test_labelled_targets_the_classifier_gets_wrong(tmp_path):
    data = make_data(tmp_path / "data", 4)
    data.table["label"] = pd.Series(["green", "red", "blue", None], dtype=object)
    with pytest.warns(RuntimeWarning):
        study = study_of(tmp_path, data, ["counting"], targets="label")
    table = measure(study)
    assert len(table) == 6  # one photograph has no label to explain
    wrong = study.predictions().set_index("image_id")["correct"][table["image_id"]].to_numpy() == False  # noqa: E712
    assert wrong.any()
    assert table.loc[wrong, ["sufficient_area", "destroying_area"]].isna().all(axis=None)
    assert table.loc[wrong, "reason"].str.contains("not what the classifier decides").all()
    assert table["insertion"].notna().all()


def test_a_species_with_one_image_and_no_other(tmp_path):
    study = study_of(tmp_path, make_data(tmp_path / "data", 1), ["counting"])
    with pytest.warns(RuntimeWarning, match="no photograph of another class"):
        table = measure(study)
    assert table["insertion"].notna().all()
    summary = study.summary()
    assert summary["insertion"].notna().all()
    assert summary["insertion_low"].isna().all()  # one photograph has no interval


def test_an_empty_study(tmp_path):
    data = make_data(tmp_path / "data", 2)
    for path in data.table["path"]:
        Path(path).write_bytes(b"broken")
    with pytest.warns(RuntimeWarning):
        study = study_of(tmp_path, data, ["counting"])
    table = measure(study)
    assert table.empty
    assert list(table.columns) == COLUMNS
    assert study.sanity().empty


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": "rise"}, "no method 'rise'"),
        ({"kinds": "SSR"}, "no kind 'SSR'"),
        ({"stability": -1}, "stability is -1"),
        ({"stability": 0.5}, "stability is 0.5"),
        ({"part_score": "max"}, "part_score must be one of sum, mean"),
        ({"removal": "none"}, "removal must be a function"),
    ],
)
def test_options_there_are_not(made, options, message):
    with pytest.raises(SettingsError, match=message):
        measure(made[0], **options)


# On request


@dataclass(frozen=True)
class SeededSettings:
    seed: int = 0
    noise: float = 0.5


def seeded(_classifier, batch, settings, _on_progress):
    noise = torch.rand(8, 8, generator=torch.Generator().manual_seed(settings.seed))
    mask = (1 - settings.noise) * torch.linspace(0, 1, 8) + settings.noise * noise
    return Computed({"attribution": mask.expand(len(batch), 8, 8)})


def test_stability_over_seeds(tmp_path):
    register_method("seeded", Method(seeded, SeededSettings, ("attribution",)))
    levels = {"still": 0.0, "noisy": 0.5, "wild": 1.0}
    methods = {label: ("seeded", {"noise": noise}) for label, noise in levels.items()} | {"bright": "bright"}
    data = make_data(tmp_path / "data", 6)
    study = fk.run_study(make_classifier(), data, methods, store=tmp_path / "s", part_size=4, progress=False)
    table = measure(study, stability=2)
    means = table.groupby("method")["stability"].mean()
    assert means["still"] == pytest.approx(1)
    assert 0.2 < means["noisy"] < 0.95
    assert abs(means["wild"]) < 0.4
    bright_rows = table[table["method"] == "bright"]
    assert bright_rows["stability"].isna().all()
    assert bright_rows["reason"].str.contains("stability: it has no random part").all()
    generator = [torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(seed)).half().float() for seed in range(3)]
    expected = np.mean([float(rank_correlation(generator[0].flatten(1), g.flatten(1))) for g in generator[1:]])
    assert means["wild"] == pytest.approx(expected, abs=1e-3)
    # It is in the table from then on, and another number of seeds measures anew.
    assert "stability" in measure(study).columns
    before = study.classifier.counter.evaluations
    measure(study, stability=2)
    assert study.classifier.counter.evaluations == before
    assert measure(study, stability=1)["stability"].notna().sum() == 18
    assert study.classifier.counter.evaluations > before


def test_part_correlations(tmp_path):
    data = annotated(tmp_path)
    study = study_of(tmp_path, data, ["bright", "even", "columns"])
    table = measure(study, parts=True).set_index("method")
    effects = MetricTables(study.store).read("effects")
    assert sorted(effects["part"].unique()) == ["head", "tail", "wing"]
    assert len(effects) == 18
    assert table.loc["bright", "part_correlation"].notna().all()
    assert table.loc["even", "part_correlation"].notna().all()  # a larger part has a larger sum
    mean = measure(study, parts=True, part_score="mean").set_index("method")
    assert mean.loc["even", "part_correlation"].isna().all()
    assert mean.loc["even", "reason"].str.contains("all parts have the same score or effect").all()
    before = study.classifier.counter.evaluations
    measure(study, parts=True)
    assert study.classifier.counter.evaluations == before


def test_effects_of_a_users_removal(tmp_path):
    asked = []

    def paint(data, i, part):
        asked.append((i, part))
        pixels = np.asarray(data.open(i)).copy()
        columns = {"head": slice(2, 4), "wing": slice(6, 10), "tail": slice(12, 14)}[part]
        strength = {"head": 20, "wing": 40, "tail": 120}[part]
        pixels[:, columns, CLASSES.index(data.table["label"][i])] -= strength
        return Image.fromarray(pixels)

    study = study_of(tmp_path, annotated(tmp_path), ["columns"])
    measure(study, parts=True)
    table = measure(study, parts=True, removal=paint)
    assert len(asked) == 18
    assert MetricTables(study.store).read("effects")["removal"].unique().tolist() == [
        f"{__name__}.test_effects_of_a_users_removal.<locals>.paint"
    ]
    # Taken away are 2 * 20 from the head, 4 * 40 from the wing and 2 * 120 from the tail. The mask rises across the
    # columns: its mean is in that order, its sum is largest on the wing.
    assert table["part_correlation"].tolist() == pytest.approx([0.5] * 6)
    table = measure(study, parts=True, removal=paint, part_score="mean")
    assert table["part_correlation"].tolist() == pytest.approx([1.0] * 6)
    assert len(asked) == 18


def test_parts_with_reasons(tmp_path):
    data = annotated(tmp_path, 3)
    few = np.zeros((SIZE, SIZE), np.uint8)
    few[:, 2:4], few[:, 6:8] = 1, 2
    Image.fromarray(few).save(tmp_path / "parts0.png")
    (tmp_path / "parts1.png").write_bytes(b"broken")
    study = study_of(tmp_path, data, ["bright"])
    table = measure(study, parts=True)
    assert table["part_correlation"].isna().tolist() == [True, True, False]
    assert "2 visible parts, at least 3 are needed" in table["reason"][0]
    assert "parts1.png" in table["reason"][1]

    def fails(_data, i, _part):
        if i == 2:
            raise ValueError("cannot draw")
        raise AssertionError("not asked for these")

    table = measure(study, parts=True, removal=fails)
    assert "part_correlation: ValueError: cannot draw" in table["reason"][2]


# Over the dataset


def test_the_summary_has_every_metric_with_a_paired_interval(made):
    study, table = made
    summary = study.summary(n_resamples=200, seed=3).set_index(["method", "kind"])
    for name in ("insertion", "road", "average_precision", "agreement"):
        own = table[(table["method"] == "counting") & (table["kind"] == "ssr")].set_index("image_id")[name]
        values = own.reindex(study.images["image_id"]).to_numpy(np.float64)[None]
        low, high = percentile_interval(bootstrap_means(values, 200, 3))
        row = summary.loc[("counting", "ssr")]
        np.testing.assert_allclose([row[name], row[f"{name}_low"], row[f"{name}_high"]], [values.mean(), *low, *high])
    assert summary.loc[("even", "attribution")]["insertion":"insertion_high"].isna().all()
    head = ["n", *(f"{m}{end}" for m in ("score_kept", "score_dropped", "area") for end in ("", "_low", "_high"))]
    assert list(summary.columns)[: len(head) + 3] == [*head, "evaluations", "seconds", "converged"]
    assert not summary.columns.duplicated().any()
