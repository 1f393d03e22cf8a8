"""What separates two classes: marks found on one half, proved on the other, and nothing where there is nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import fidokit as fk
from fidokit import testbed
from fidokit.errors.features import MapReader
from fidokit.errors.interventions import Infills
from fidokit.errors.marks import candidates, pair
from fidokit.errors.marks.candidates import LikeCells, NamedPart, alike_cells
from fidokit.errors.marks.proof import CONTROLS, Proof, elsewhere, judged
from fidokit.errors.marks.sights import Sight, knows_parts, sights
from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import image_keys
from fidokit.study.compare import sign_flip_p
from fidokit.study.metrics.ranks import soften
from fidokit.testbed.network import Network

A, B = "silt piper", "brine piper"
#: The parts in which they differ.
DIFFER = {"bill", "tail"}
N = 32


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return testbed.load(N, 41, species=[A, B], folder=tmp_path_factory.mktemp("pipers") / "drawn")


@pytest.fixture(scope="module")
def classifier():
    return testbed.classifier(device="cpu", precision="float32", micro_batch=16)


@pytest.fixture(scope="module")
def study(tmp_path_factory, data, classifier):
    return fk.run_study(classifier, data, ["grad-cam"], store=tmp_path_factory.mktemp("s") / "run", progress=False)


@pytest.fixture(scope="module")
def named(study):
    return fk.separate(study, A, B, progress=False)


def relabelled(data, labels):
    return fk.LabelledImages.from_table(data.table.assign(label=labels))


def test_the_parts_that_differ_are_shown_and_come_first(named):
    assert named.marks["mark"].iloc[0] in DIFFER
    assert named.marks["effect"].is_monotonic_decreasing
    first = named.marks.iloc[0]
    assert first["effect_low"] > 0
    assert first["p_value"] <= 0.05
    assert first["effect_low"] < first["effect"]
    assert first["mark"] in named.headline
    assert f"{first['effect']:.1f}" in named.headline
    assert (named.columns["effect_a"], named.columns["effect_b"]) == (f"in {A}", f"in {B}")
    assert named.table["shown"].tolist() == sorted(named.table["shown"], reverse=True)


def test_examples_outline_the_mark_in_the_whole_photograph(named, data, classifier):
    assert set(named.examples["group"]) == set(named.marks["mark"])
    row = named.examples.iloc[0]
    i = data.table["image_id"].tolist().index(row["image_id"])
    part = data.load_part_masks(i, classifier.preprocessing)[row["group"]]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    # The drawn photographs are square, so that the input is all of them.
    expected = np.asarray([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 128
    assert row[["x0", "y0", "x1", "y1"]].to_numpy(float) == pytest.approx(expected)


def test_an_effect_is_the_mean_difference_worked_out_from_the_filled_in_images(study, data, classifier):
    """One photograph, one part, one infill, against the classifier's own logits."""
    image_id = data.table["image_id"].iloc[0]
    own = int(data.table["label"].iloc[0] == B)
    pair = (classifier.class_names.index(A), classifier.class_names.index(B))
    infills = Infills(study, ["neutral"], 0)
    with classifier.session() as session:
        with_tail = Proof(study, session, pair, {image_id: own}, infills, _Bar())
        row = with_tail.measure([image_id], None, [NamedPart("tail", 1.0)]).iloc[0]
        (sight,) = sights(study, [image_id], None)
    generator = np.random.default_rng(int(image_keys(0, [image_id])[0]) & (2**63 - 1))
    regions = [sight.parts["tail"], *(elsewhere(sight.parts["tail"], sight.animal, generator) for _ in range(CONTROLS))]
    grey = torch.full_like(sight.image, 0.5)
    soft = soften(torch.from_numpy(np.stack(regions)))
    changed = torch.stack([sight.image * (1 - one) + grey * one for one in soft])
    logits = classifier.logits(torch.cat([sight.image[None], changed])).double().numpy()
    odds = logits[:, pair[own]] - logits[:, pair[1 - own]]
    assert row["whole"] == pytest.approx(odds[0], abs=1e-3)
    assert row["filled"] == pytest.approx(odds[1], abs=1e-3)
    assert row["control"] == pytest.approx(odds[2:].mean(), abs=1e-3)


class _Bar:
    def __init__(self):
        self.n = 0

    def update(self, n):
        self.n += n


def test_what_is_filled_in_elsewhere_is_as_large_and_lies_on_the_rest_of_the_animal():
    animal = np.zeros((40, 40), bool)
    animal[8:32, 10:30] = True
    region = np.zeros((40, 40), bool)
    region[10:14, 12:18] = True
    for seed in range(20):
        other = elsewhere(region, animal, np.random.default_rng(seed))
        assert other.sum() == region.sum()
        assert not (other & region).any()
        assert (other & animal).sum() >= 0.97 * region.sum()
    # A mark that is most of the animal cannot lie elsewhere on it; what can be is.
    most = animal.copy()
    most[28:32] = False
    assert elsewhere(most, animal, np.random.default_rng(0)).sum() == most.sum()


def measured(effects, own, whole=4.0):
    """A table of one candidate with these effects."""
    return pd.DataFrame(
        {
            "candidate": 0,
            "image_id": [f"i{k}" for k in range(len(effects))],
            "own": own,
            "whole": whole,
            "filled": 0.0,
            "control": effects,
            "x": 0.9,
            "y": 0.1,
        }
    )


def test_effects_that_cancel_between_the_classes_show_nothing():
    own = [0, 1] * 10
    speaks_for_one = measured([3.0 if side == 0 else -3.0 for side in own], own)
    table = judged(speaks_for_one, {f"i{k}": f"i{k}" for k in range(20)})
    assert table["effect"].item() == 0
    assert not table["shown"].item()
    table = judged(measured([3.0] * 20, own), {f"i{k}": f"i{k}" for k in range(20)})
    assert table["shown"].item()
    assert table["share"].item() == 0.75
    assert table["where"].item() == "upper third, right"


def test_photographs_of_a_burst_are_one_unit():
    effects = [1.0, 2.0, 3.0, 2.5, 1.5, 2.0, 2.2, 1.8] * 2
    own = [0, 1] * 8
    alone = judged(measured(effects, own), {f"i{k}": f"i{k}" for k in range(16)})
    bursts = judged(measured(effects, own), {f"i{k}": f"burst {k // 2}" for k in range(16)})
    by_burst = np.asarray(effects).reshape(8, 2).mean(1)
    assert bursts["p_value"].item() == pytest.approx(sign_flip_p(by_burst) / 2)
    assert alone["p_value"].item() < bursts["p_value"].item()
    few = judged(measured(effects, own), {f"i{k}": f"burst {k // 4}" for k in range(16)})
    assert np.isnan(few["p_value"].item())
    assert not few["shown"].item()


def test_marks_without_parts_lie_on_parts_that_differ(study, data, classifier):
    answer = fk.separate(study, A, B, parts=False, progress=False)
    assert answer.marks["mark"].iloc[0] == "mark 1"
    own = answer.marks["seen_in"].iloc[0]
    ids = data.table["image_id"][data.table["label"] == own].tolist()[:6]
    alike = dict.fromkeys(testbed.PARTS, 0.0)
    with classifier.session() as session:
        for sight in sights(study, ids, MapReader(session, classifier)):
            region = answer.candidates[0].find(sight)
            parts = data.load_part_masks(study.positions[sight.image_id], classifier.preprocessing)
            for part, pixels in parts.items():
                if region is not None and pixels.any():
                    alike[part] += np.corrcoef(region[sight.animal], pixels[sight.animal])[0, 1]
    assert max(alike, key=alike.get) in DIFFER


def test_a_class_has_no_mark_that_tells_it_from_itself(tmp_path, data, classifier):
    one = relabelled(data, data.table["label"].where(data.table["label"] == A))
    generator = np.random.default_rng(3)
    rows = np.flatnonzero(one.table["label"].notna().to_numpy())
    labels = one.table["label"].to_numpy(object).copy()
    labels[generator.permutation(rows)[: len(rows) // 2]] = B
    halves = fk.run_study(classifier, relabelled(data, labels), ["grad-cam"], store=tmp_path / "halves", progress=False)
    for parts in (True, False):
        assert fk.separate(halves, A, B, parts=parts, progress=False).marks.empty


def test_a_classifier_with_random_weights_shows_no_mark(tmp_path, data):
    torch.manual_seed(0)
    network = Network(len(testbed.SPECIES)).eval()
    untrained = fk.Classifier(network, testbed.SPECIES, mean=(0.5,) * 3, std=(0.25,) * 3, size=(128, 128), device="cpu")
    study = fk.run_study(untrained, data, ["grad-cam"], store=tmp_path / "random", progress=False)
    answer = fk.separate(study, A, B, progress=False)
    assert answer.marks.empty
    assert "does not tell them apart" in answer.headline


def test_contrastive_masks_of_the_study_are_used(tmp_path, data, classifier, monkeypatch):
    study = fk.run_study(
        classifier, data, {"own": "hires-cam"}, store=tmp_path / "run", targets="label", against=B, progress=False
    )
    asked, explain = [], pair.explain

    def counted(clf, images, *arguments, **options):
        asked.append(options["targets"])
        return explain(clf, images, *arguments, **options)

    monkeypatch.setattr(pair, "explain", counted)
    answer = fk.separate(study, A, B, progress=False)
    # Those of the other class would have been told from itself, and are failures of the study.
    assert set(asked) == {B}
    assert answer.marks["mark"].iloc[0] in DIFFER


def test_points_of_parts_become_discs(tmp_path, data, classifier):
    table = data.table.drop(columns=["part_map", "parts"])
    points = [json.dumps({"bill": [128.0, 64.0], "tail": [20.0, 200.0]})] * len(table)
    pointed = fk.LabelledImages.from_table(table.assign(part_points=points))
    study = fk.run_study(classifier, pointed, ["grad-cam"], store=tmp_path / "run", progress=False)
    assert knows_parts(study)
    (sight,) = sights(study, [table["image_id"].iloc[0]], None)
    assert set(sight.parts) == {"bill", "tail"}
    rows, columns = np.nonzero(sight.parts["bill"])
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((32, 64), abs=0.5)
    radius = 0.12 * sight.animal.sum() ** 0.5
    assert sight.parts["bill"].sum() == pytest.approx(np.pi * radius**2, rel=0.1)


def sight_of(features, name="x"):
    side = features.shape[0] * 8
    whole = np.ones((side, side), bool)
    image = torch.zeros(3, side, side)
    return Sight(name, image, None, whole, (0.0, 0.0, float(side), float(side)), {}, features)


def test_cells_alike_are_grouped_and_found_again(monkeypatch):
    """Two planted kinds of cells, each at random places, on a ground of noise."""
    monkeypatch.setattr(candidates, "_GROUPS", 2)
    generator = np.random.default_rng(0)
    seen, masks, places = [], {}, {}
    for n in range(20):
        features = generator.normal(size=(8, 8, 12)) * 0.5
        cells = generator.permutation(64)[:4]
        mask = np.zeros(64, np.float32)
        for k, cell in enumerate(cells):
            features[cell // 8, cell % 8] = 3 * np.eye(12)[k % 2] + generator.normal(size=12) * 0.2
        mask[cells] = 1
        features /= np.linalg.norm(features, axis=2, keepdims=True)
        seen.append(sight_of(features.astype(np.float32), f"p{n}"))
        masks[f"p{n}"], places[f"p{n}"] = mask.reshape(8, 8), cells
    monkeypatch.setattr(candidates, "_EVIDENCE", 0.9)
    found = alike_cells(seen[:10], masks, dict.fromkeys(masks, 0), seed=0)
    assert len(found) == 2
    assert sum(one.evidence for one in found) == pytest.approx(1)
    right = 0
    for sight in seen[10:]:
        of_kinds = [{tuple(divmod(int(c), 8)) for c in places[sight.image_id][kind::2]} for kind in (0, 1)]
        for one in found:
            region = one.find(sight)
            cells = set() if region is None else {(r // 8, c // 8) for r, c in np.argwhere(region)}
            # A tenth of the own cells is less alike than is asked for.
            right += any(cells and cells <= own for own in of_kinds)
    assert right >= 16
    assert isinstance(found[0], LikeCells)


def test_too_few_photographs_and_wrong_names_are_told(study):
    answer = fk.separate(study, A, "marl tit", progress=False)
    assert answer.marks.empty
    assert "too few photographs, 16 and 0" in answer.headline
    with pytest.raises(SettingsError, match="contrasted with itself"):
        fk.separate(study, A, A)
    with pytest.raises(SettingsError, match="did you mean"):
        fk.separate(study, A, "brine pipper")
    with pytest.raises(SettingsError, match="unknown infill"):
        fk.separate(study, A, B, infills=["plaid"])


def test_photographs_that_are_gone_are_left_out(tmp_path, data, classifier):
    drawn = testbed.load(N, 43, species=[A, B], folder=tmp_path / "drawn")
    study = fk.run_study(classifier, drawn, ["grad-cam"], store=tmp_path / "run", progress=False)
    for path in drawn.table["path"].iloc[::8]:
        Path(path).unlink()
    answer = fk.separate(study, A, B, progress=False)
    assert answer.table["n"].max() <= N // 2
    for path in drawn.table["path"]:
        Path(path).unlink(missing_ok=True)
    assert "too few photographs can be read, 0 and 0" in fk.separate(study, A, B, progress=False).headline


def test_it_says_how_many_evaluations_it_takes_before_it_starts(study, capsys, monkeypatch):
    said, measure, counter = [], Proof.measure, study.classifier.counter
    explain = pair.explain

    def told(*arguments, **options):
        said.append((capsys.readouterr().err, counter.evaluations))
        return explain(*arguments, **options)

    def proved(self, *arguments):
        before = counter.evaluations
        table = measure(self, *arguments)
        said.append(("", counter.evaluations - before))
        return table

    monkeypatch.setattr(pair, "explain", told)
    monkeypatch.setattr(Proof, "measure", proved)
    fk.separate(study, A, B, progress=True)
    # One photograph, to know what a mask costs; then it is said; then the masks of each class, and the proof.
    text, before = said[1]
    proof = said[-1][1]
    masks, most = (int(re.search(pattern, text)[1].replace(",", "")) for pattern in (r": ([\d,]+)", r"up to ([\d,]+)"))
    assert masks == 16 * 4
    assert 0.5 * most < proof <= most
    assert before > 0


def test_without_labels_the_predictions_stand_in(tmp_path, data, classifier):
    bare = relabelled(data, [None] * len(data))
    study = fk.run_study(classifier, bare, ["grad-cam"], store=tmp_path / "run", progress=False)
    answer = fk.separate(study, A, B, progress=False)
    assert answer.marks["mark"].iloc[0] in DIFFER
    assert any("no labels" in note for note in answer.notes)


def test_a_key_has_a_row_for_each_mark_and_says_where_there_is_none(study, named):
    key = fk.identification_key(study, [(A, B), (A, "marl tit")], progress=False)
    own = key.table[key.table["pair"] == f"{A} or {B}"]
    pd.testing.assert_frame_equal(
        own.drop(columns="pair").reset_index(drop=True), named.marks[own.columns[1:]], check_dtype=False
    )
    other = key.table[key.table["pair"] == f"{A} or marl tit"]
    assert other["mark"].tolist() == ["nothing that can be shown"]
    assert "1 of 2 pairs" in key.headline
    assert any("too few" in note for note in key.notes)
    assert set(key.examples["group"]) == {f"{A} or {B}"}
    assert key.examples["caption"].str.startswith(named.marks["mark"].iloc[0]).any()
    assert [one.b for one in key.separations] == [B, "marl tit"]


def test_a_key_takes_the_pairs_that_are_confused(tmp_path, data, classifier, study):
    key = fk.identification_key(study, most=1, progress=False)
    assert any("runner-up" in note for note in key.notes)
    assert len(key.separations) == 1
    labels = data.table["label"].to_numpy(object).copy()
    labels[:3] = "marl tit"
    wrong = fk.run_study(classifier, relabelled(data, labels), ["grad-cam"], store=tmp_path / "run", progress=False)
    pairs = {frozenset((one.a, one.b)) for one in fk.identification_key(wrong, progress=False).separations}
    taken = set(data.table["label"].iloc[:3])
    assert pairs == {frozenset(("marl tit", name)) for name in taken}


def test_a_key_that_is_stopped_keeps_the_pairs_that_were_finished(study, monkeypatch, capsys):
    from fidokit.errors.marks import key as key_module

    def until_stopped(study, a, b, **options):
        if b == "marl tit":
            raise KeyboardInterrupt
        return fk.separate(study, a, b, **options)

    monkeypatch.setattr(key_module, "separate", until_stopped)
    key = fk.identification_key(study, [(A, B), (A, "marl tit")], progress=False)
    assert len(key.separations) == 1
    assert "1 of 2" in capsys.readouterr().err
    assert any("Stopped" in note for note in key.notes)


def test_a_classifier_without_places_needs_parts(tmp_path, data, classifier):
    class Flat(nn.Module):
        """The testbed's classifier behind a module whose layers have no map."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(12, 3 * 16 * 16, generator=torch.Generator().manual_seed(0)))

        def forward(self, x):
            return nn.functional.adaptive_avg_pool2d(x, 16).flatten(1) @ self.weight.T

    flat = fk.Classifier(Flat(), testbed.SPECIES, mean=(0.5,) * 3, std=(0.25,) * 3, size=(128, 128), device="cpu")
    study = fk.run_study(flat, data, ["saliency"], store=tmp_path / "run", progress=False)
    with pytest.raises(fk.FidokitError, match="saliency"):
        fk.separate(study, A, B, parts=False, progress=False)
    assert isinstance(fk.separate(study, A, B, method="saliency", parts=False, progress=False), fk.Separation)
