"""Masks at the ranks of a taxonomy: where a classifier sees the genus, and where the species."""

from __future__ import annotations

import pytest
import torch
from nets import LEFT, PATCH_SIZE, RIGHT, TwoRanks, two_marks

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods import _built_in, register_method

SPECIES = ["Aa alba", "Aa nigra", "Bb alba", "Bb nigra"]
#: Every pair of genus and species.
IMAGES = torch.cat([two_marks(genus, species) for genus in (0, 1) for species in (0, 1)])


@pytest.fixture(scope="module")
def clf() -> fk.Classifier:
    taxonomy = fk.Taxonomy.from_binomials(SPECIES)
    return fk.Classifier(
        TwoRanks(), SPECIES, mean=0.0, std=1.0, size=PATCH_SIZE, device="cpu", precision="float32", taxonomy=taxonomy
    )


@pytest.mark.parametrize("method", ["fido", "grad-cam"])
@pytest.mark.parametrize(("rank", "own", "other"), [("genus", LEFT, RIGHT), ("species", RIGHT, LEFT)])
def test_each_rank_is_seen_at_its_own_patch(clf, method, rank, own, other):
    masks = fk.explain(clf, IMAGES, method, rank=rank)
    for kind in masks.kinds:
        for mask in masks.at(kind):
            # A class activation map is smooth at the patch's border, where the mean over all of the patch is lower.
            # Windows are larger than the patch, so that effects are too.
            least = 0.6 if kind == "effect" else 0.9
            assert float(mask[own].mean()) > least, (kind, float(mask[own].mean()))
            assert float(mask[other].mean()) < 0.1, (kind, float(mask[other].mean()))


def test_what_the_ranks_explain(clf):
    genus, species = (fk.explain(clf, IMAGES, "saliency", rank=rank) for rank in ("genus", "species"))
    assert genus.target == ["Aa", "Aa", "Bb", "Bb"]
    assert genus.against == [None] * 4
    assert species.target == SPECIES
    assert species.against == ["rest of Aa", "rest of Aa", "rest of Bb", "rest of Bb"]
    p = clf.logits(IMAGES).double().softmax(1)
    torch.testing.assert_close(genus.score_full[0].double(), p[0, :2].sum())
    torch.testing.assert_close(species.score_full[0].double(), p[0, 0] / p[0, :2].sum())


def test_a_taxon_by_its_name_is_the_taxon_at_its_rank(clf):
    by_name = fk.explain(clf, IMAGES[:1], "integrated-gradients", targets="Aa")
    by_rank = fk.explain(clf, IMAGES[:1], "integrated-gradients", rank="genus")
    torch.testing.assert_close(by_name.attribution, by_rank.attribution)
    contrast = fk.explain(clf, IMAGES[:1], "integrated-gradients", targets="Aa", against="Bb")
    torch.testing.assert_close(contrast.attribution, by_name.attribution)  # they are all there is
    rest = fk.explain(clf, IMAGES[:1], "integrated-gradients", targets=SPECIES[0], against="rest of Aa")
    within = fk.explain(clf, IMAGES[:1], "integrated-gradients", rank="species", within="genus")
    torch.testing.assert_close(rest.attribution, within.attribution)


def test_every_method_explains_a_taxon(clf):
    fast: dict[str, dict[str, int]] = {"fido": {"steps": 3}}
    # Other tests register methods of their own; the last two read the attention of a transformer.
    for method in set(_built_in()) - {"legrad", "attention-rollout"}:
        masks = fk.explain(clf, IMAGES[:2], method, rank="genus", **fast.get(method, {}))
        assert masks.target == ["Aa", "Aa"], method
        assert not masks.failures, (method, masks.failures)


def test_the_regions_of_a_taxon_are_checked_against_the_taxon(clf):
    masks = fk.explain(clf, IMAGES[[0, 3]], "fido", rank="genus")
    table = fk.find_regions(clf, masks, IMAGES[[0, 3]]).to_frame()
    assert len(table) == 12  # two images, two claims of the joint mask and of the effects, one of the others
    assert "no" not in set(table["holds"])


def test_a_method_of_ones_own_that_takes_classes_refuses_a_taxon(clf):
    register_method("own", lambda classifier, images, target: torch.zeros(len(images), 4, 4), replace=True)
    assert len(fk.explain(clf, IMAGES[:1], "own")) == 1
    with pytest.raises(SettingsError, match="single classes, not a function, a contrast or a taxon"):
        fk.explain(clf, IMAGES[:1], "own", rank="genus")
