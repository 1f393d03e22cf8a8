from __future__ import annotations

import pytest
import torch
from nets import conv_net, photographs
from study_cases import make_classifier, register_counting

import fidokit as fk
from fidokit.exceptions import SettingsError
from fidokit.methods import get_method, register_method
from fidokit.methods.base import Batch
from fidokit.models.classifier import Classifier
from fidokit.study.metrics.repeats import compute_again, mean_similarity, restore, similarity, with_seed
from fidokit.study.store.manifest import Entry


def entry(name, **settings):
    method = get_method(name)
    return Entry(name, method, method.resolve(None, settings))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fido", {}),
        # As studies have it that were begun when nothing else could be explained and no effects were made.
        ("fido", {"explained": "log-odds", "windows": 0}),
        ("fido", {"grid": (5, 7), "infill": (("blur", 2.0), ("noise", 1.0)), "seed": 3}),
        ("integrated-gradients", {}),
        ("grad-cam", {}),
    ],
)
def test_methods_come_back_from_the_manifest(name, settings):
    given = entry(name, **settings)
    assert restore(given.describe()).settings == given.settings


def test_what_cannot_come_back():
    described = entry("fido", infill=lambda images, kept: images * kept).describe()
    with pytest.raises(SettingsError, match="cannot be made again"):
        restore(described)
    register_method("passing", lambda _classifier, images, _targets: images.mean(1))
    described = entry("passing").describe()
    assert restore(described).name == "passing"
    with pytest.raises(SettingsError, match="the method 'gone' is not registered"):
        restore(described | {"name": "gone"})


def test_seeds_go_on_from_the_methods_own():
    assert with_seed(entry("fido", seed=4), 2).settings == fk.FidoSettings(seed=6)
    with pytest.raises(SettingsError, match="no random part"):
        with_seed(entry("grad-cam"), 1)


def batch(classifier, images):
    logits = classifier.logits(images)
    return Batch(images, [str(i) for i in range(len(images))], classifier.goal(logits), logits)


def test_masks_come_again():
    classifier = Classifier(conv_net(), size=(32, 32), device="cpu", precision="float32", micro_batch=8)
    made, failures = compute_again(classifier, entry("saliency"), batch(classifier, photographs(3)))
    expected = fk.explain(classifier, photographs(3), "saliency").attribution
    assert not failures
    torch.testing.assert_close(torch.stack([made[str(i)]["attribution"] for i in range(3)]), expected)


def test_one_bad_image_costs_only_itself():
    def spoil(given):
        if "1" in given.image_ids:
            raise ValueError("no such thing")

    register_counting("spoilt", spoil=spoil)
    classifier = make_classifier()
    made, failures = compute_again(classifier, entry("spoilt"), batch(classifier, photographs(3, (16, 16))))
    assert sorted(made) == ["0", "2"]
    assert failures == {"1": "ValueError: no such thing"}


def test_similarity_by_hand():
    mask = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert similarity(mask, mask**2) == pytest.approx(1)
    assert similarity(mask, -mask) == pytest.approx(-1)
    swapped = torch.tensor([[2.0, 1.0], [3.0, 4.0]])  # 1 - 6 * 2 / (4 * 15)
    assert similarity(mask, swapped) == pytest.approx(0.8)
    assert mean_similarity(mask, [mask, swapped]) == (pytest.approx(0.9), None)
    assert mean_similarity(mask, [mask, -mask]) == (pytest.approx(0), None)
    assert mean_similarity(mask, [mask, -mask], size=True) == (pytest.approx(1), None)


def test_why_there_is_no_similarity():
    mask = torch.rand(3, 3)
    assert mean_similarity(mask, [torch.rand(2, 2)])[1] == "the masks computed again have another grid"
    assert mean_similarity(mask, [torch.ones(3, 3)])[1] == "a mask is the same everywhere"
