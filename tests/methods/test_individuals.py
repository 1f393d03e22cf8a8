"""Masks on both photographs of a match, and ranks that fall without a region."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import ConvNet
from torch import nn

import fidokit as fk
from fidokit import testbed
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.individuals import _ranks
from fidokit.methods.regions import check_infills, cut
from fidokit.study.metrics.localisation import precision_of_ranks
from fidokit.study.metrics.ranks import ranks

OPTIONS = {**testbed.EMBEDDER_INPUT, "device": "cpu", "precision": "float32", "micro_batch": 16}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    return testbed.individuals(12, 21, 6, folder=tmp_path_factory.mktemp("references") / "drawn")


@pytest.fixture(scope="module")
def queries(tmp_path_factory):
    return testbed.individuals(6, 22, 6, folder=tmp_path_factory.mktemp("queries") / "drawn")


@pytest.fixture(scope="module")
def gallery(references):
    return fk.Gallery(testbed.embedder(), references, **OPTIONS)


@pytest.fixture(scope="module")
def pairs(gallery, queries):
    return fk.explain_pair(gallery, queries, "fido", steps=16, samples=2)


def marks(data, ids, gallery):
    place = {image_id: i for i, image_id in enumerate(data.table["image_id"])}
    found = [data.load_part_masks(place[image_id], gallery.preprocessing)["mark"] for image_id in ids]
    return torch.from_numpy(np.stack(found))


def test_the_query_side_is_explain(gallery, queries, pairs):
    predicted = gallery.predict(queries)
    alone = fk.explain(
        gallery,
        queries,
        targets=predicted["predicted"].tolist(),
        against=predicted["runner_up"].tolist(),
        steps=16,
        samples=2,
    )
    assert torch.equal(alone.joint, pairs.query.joint)
    assert pairs.table["individual"].tolist() == predicted["predicted"].tolist() == pairs.query.target
    assert pairs.table["runner_up"].tolist() == predicted["runner_up"].tolist() == pairs.query.against


def test_the_table_names_the_nearest_references(gallery, queries, references, pairs):
    cosines = gallery.similarities(queries)
    labels = references.table["label"].to_numpy()
    for i, row in enumerate(pairs.table.itertuples()):
        for name, reference_id, similarity in (
            (row.individual, row.reference_id, row.similarity),
            (row.runner_up, row.runner_up_reference_id, row.runner_up_similarity),
        ):
            own = np.flatnonzero(labels == name)
            best = own[int(cosines[i, own].argmax())]
            assert references.table["image_id"].iloc[best] == reference_id
            assert float(cosines[i, best]) == pytest.approx(similarity)


def test_both_sides_begin_with_the_same_score(pairs):
    assert pairs.reference.image_ids == pairs.query.image_ids
    assert pairs.reference.target == pairs.query.target
    assert pairs.reference.against == pairs.query.against
    assert torch.allclose(pairs.reference.score_full, pairs.query.score_full, atol=1e-4)


def test_both_sides_find_the_mark(gallery, queries, references, pairs):
    for data, ids, masks in (
        (queries, pairs.query.image_ids, pairs.query),
        (references, pairs.table["reference_id"], pairs.reference),
    ):
        found = precision_of_ranks(ranks(masks.at("joint")), marks(data, ids, gallery)).mean()
        assert found > 0.35
        # A mask that knows nothing has the mark's share of the picture, 0.02.


def test_the_reference_side_explains_the_references_photograph(gallery, references, pairs):
    photograph, _ = pairs.reference.photograph(1)
    place = references.table["image_id"].tolist().index(pairs.table["reference_id"].iloc[1])
    assert photograph.tobytes() == references.open(place).tobytes()
    # Its score, by hand: the similarity of the changed reference to the query.
    image = references.load(place, gallery.preprocessing)[0][None]
    query = pairs.query.inputs()[1:2]
    grey = image * 0.5 + 0.25
    with torch.no_grad():
        one, other = (nn.functional.normalize(testbed.embedder()((x - 0.5) / 0.25), dim=1) for x in (grey, query))
    logits = gallery.logits(query)
    runner_up = float(logits[0, gallery.class_names.index(pairs.table["runner_up"].iloc[1])])
    classifier = gallery.reversed(query, torch.tensor([runner_up]))
    expected = float((one * other).sum()) / gallery.temperature - runner_up
    assert float(classifier.log_odds(grey, 0, 1)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.filterwarnings("ignore:photographs that the gallery")
def test_a_query_among_the_references(gallery, references):
    pairs = fk.explain_pair(gallery, references.subset([0, 1]), "grad-cam")
    assert (pairs.table["reference_id"] != pairs.table["image_id"]).all()
    assert len(pairs.reference) == 2
    few = fk.Gallery(testbed.embedder(), references.subset(slice(0, 6)), **OPTIONS)
    one = references.subset([0, 7])
    own = list(one.table["label"])
    lonely = fk.explain_pair(few, one, "grad-cam", individual=own)
    assert lonely.query.image_ids == one.table["image_id"].tolist()
    assert lonely.reference.image_ids == [one.table["image_id"].iloc[1]]
    assert "no reference beside the photograph itself" in lonely.reference.failures[one.table["image_id"].iloc[0]]
    with pytest.raises(ImageError, match="no pair to explain"):
        fk.explain_pair(few, one.subset([0]), "grad-cam", individual=own[0])


def test_chosen_individuals_and_photographs_that_cannot_be_read(gallery, queries, tmp_path):
    table = queries.table.copy()
    table.loc[1, "path"] = str(tmp_path / "nowhere.png")
    data = fk.LabelledImages(table, queries.root)
    one, other = gallery.class_names[:2]
    pairs = fk.explain_pair(gallery, data, "grad-cam", individual=one, against=[other] * 6)
    broken = table["image_id"].iloc[1]
    assert broken in pairs.query.failures
    assert broken in pairs.reference.failures
    assert set(pairs.table["individual"]) == {one}
    assert set(pairs.table["runner_up"]) == {other}
    assert len(pairs.query) == len(pairs.reference) == len(pairs.table) == 5
    paths = [queries.table["path"].iloc[i] for i in range(2)]
    assert fk.explain_pair(gallery, paths, "grad-cam").table["image_id"].tolist() == ["0", "1"]
    tensor = fk.explain_pair(gallery, pairs.query.inputs(), "grad-cam")
    assert torch.isfinite(tensor.reference.attribution).all()
    for options, message in (
        ({"individual": "bird 99"}, "knows no class"),
        ({"individual": one, "against": one}, "contrasted with itself"),
        ({"individual": [one]}, "1 individuals for 6 images"),
    ):
        with pytest.raises(SettingsError, match=message):
            fk.explain_pair(gallery, queries, "grad-cam", **options)
    with pytest.raises(SettingsError, match=r"fidokit\.Gallery is needed"):
        fk.explain_pair(fk.Classifier(ConvNet(), size=64, mean=0.5, std=0.5), queries)


def test_ranks_count_from_one_and_share_ties():
    logits = torch.tensor([[3.0, 2.0, 1.0], [0.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    assert _ranks(logits, 0).tolist() == [1, 3, 2]
    assert _ranks(logits, 1).tolist() == [2, 1.5, 2]


class Places(nn.Module):
    """Four classes; the k-th logit is the brightness of the k-th quarter of the picture."""

    def forward(self, x):
        half = x.shape[-1] // 2
        quarters = [x[:, :, :half, :half], x[:, :, :half, half:], x[:, :, half:, :half], x[:, :, half:, half:]]
        return torch.stack([quarter.mean((1, 2, 3)) for quarter in quarters], dim=1)


def test_a_rank_falls_by_what_its_region_holds():
    classifier = fk.Classifier(Places(), list("abcd"), mean=0, std=1, size=32, device="cpu", precision="float32")
    images = torch.zeros(1, 3, 32, 32)
    for value, rows, columns in ((0.8, 0, 0), (0.6, 0, 16), (0.4, 16, 0), (0.2, 16, 16)):
        images[:, :, rows : rows + 16, columns : columns + 16] = value
    masks = fk.explain(classifier, images, "occlusion", targets="a")
    mask = torch.zeros(1, 32, 32)
    mask[:, :16, :16] = 1
    masks.kinds["attribution"] = mask
    black = torch.zeros(1, 3, 32, 32)
    falls = fk.rank_falls(classifier, masks, area=0.25, infills=black, controls=16)
    row = falls.iloc[0]
    # Without its own quarter "a" is last; without another one it stays first. Shifts by a quarter are three, and those
    # that lie between quarters take from several.
    assert row[["individual", "rank_before", "rank_after", "fall"]].tolist() == ["a", 1, 4, 3]
    assert row["area"] == 0.25
    assert row["control_rank"] == 1
    second = fk.rank_falls(classifier, masks, ["b"], area=0.25, infills=black, controls=4).iloc[0]
    # "b" was second; without the quarter of "a" it is first.
    assert second[["rank_before", "rank_after", "fall"]].tolist() == [2, 1, -1]


def test_rank_falls_by_hand(gallery, queries, pairs):
    falls = fk.rank_falls(gallery, pairs.query, kinds=["joint"], area=0.03, controls=3)
    assert falls["image_id"].tolist() == pairs.query.image_ids
    assert falls["individual"].tolist() == queries.table["label"].tolist()
    assert np.allclose(falls["fall"], falls["rank_after"] - falls["rank_before"])
    region = cut(pairs.query.at("joint"), 0.03)
    assert region[0].float().mean() == pytest.approx(falls["area"].iloc[0])
    image, infills = pairs.query.inputs()[0], check_infills((128, 128))
    hard = torch.where(region[0], infills, image)
    own = gallery.class_names.index(queries.table["label"].iloc[0])
    by_hand = _ranks(gallery.logits(hard), own).mean()
    # Edges are softened there, so that single ranks may differ.
    assert float(by_hand) == pytest.approx(falls["rank_after"].iloc[0], abs=1.5)
    assert falls["fall"].mean() > falls["control_fall"].mean()
    again = fk.rank_falls(gallery, pairs.query, kinds=["joint"], area=0.03, controls=3)
    assert again.equals(falls)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": 0}, "area"),
        ({"controls": 0}, "controls"),
        ({"labels": ["bird 01"]}, "one an image of the masks, 6"),
        ({"labels": ["nobody"] * 6}, "knows no class 'nobody'"),
        ({"infills": torch.zeros(1, 3, 8, 8)}, "infills must be"),
        ({"kinds": ["attribution"]}, "makes no 'attribution' masks"),
    ],
)
def test_options_of_rank_falls(gallery, pairs, options, message):
    with pytest.raises(SettingsError, match=message):
        fk.rank_falls(gallery, pairs.query, **options)


def test_a_studys_table_is_no_masks(gallery, pairs):
    table = pairs.query.to_frame()
    with pytest.raises(SettingsError, match=r"must be Masks, .*, not DataFrame; .* study\.rank_falls\(\)"):
        fk.rank_falls(gallery, table)
    with pytest.raises(SettingsError, match=r"not DataFrame; .* study\.regions\(\)"):
        fk.find_regions(gallery, table)
    with pytest.raises(SettingsError, match=r"not str; .* CompareWidget\(study\)"):
        fk.MaskOverlay.from_masks(table)


def test_rank_falls_of_a_study(gallery, queries, tmp_path):
    study = fk.run_study(gallery, queries, ["grad-cam", "occlusion"], store=tmp_path / "s", part_size=4, progress=False)
    falls = study.rank_falls("occlusion", controls=2, progress=False)
    assert falls["image_id"].tolist() == queries.table["image_id"].tolist()
    assert set(falls["method"]) == {"occlusion"}
    masks = fk.explain(gallery, queries, "occlusion")
    masks.kinds = {kind: mask.half().float() for kind, mask in masks.kinds.items()}
    assert falls.equals(fk.rank_falls(gallery, masks, controls=2))
    assert len(study.rank_falls(progress=False)) == 2 * len(queries)
    Path(queries.table["path"].iloc[1]).rename(tmp_path / "moved.png")
    try:
        with pytest.warns(RuntimeWarning, match="the ranks of 1 photographs are not known"):
            assert len(study.rank_falls("occlusion", controls=1, progress=False)) == len(queries) - 1
    finally:
        (tmp_path / "moved.png").rename(queries.table["path"].iloc[1])
    with pytest.raises(SettingsError, match="no method 'fido'"):
        study.rank_falls("fido")


@pytest.mark.filterwarnings("ignore:photographs that the gallery")
def test_rank_falls_leave_the_query_out(gallery, references):
    """A changed reference is not compared with itself as it was."""
    few = references.subset([0, 1])
    masks = fk.explain(gallery, few, "grad-cam")
    falls = fk.rank_falls(gallery, masks, area=0.05, controls=2)
    for row in range(2):
        others = references.subset([i for i in range(len(references)) if i != row])
        without = fk.Gallery(testbed.embedder(), others, temperature=gallery.temperature, **OPTIONS)
        alone = fk.rank_falls(without, fk.explain(without, few.subset([row]), "grad-cam"), area=0.05, controls=2)
        assert np.allclose(
            falls.iloc[row][["rank_before", "rank_after", "control_rank"]].to_numpy(float),
            alone.iloc[0][["rank_before", "rank_after", "control_rank"]].to_numpy(float),
        )
