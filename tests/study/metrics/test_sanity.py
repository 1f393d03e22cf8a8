from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import conv_net, photographs
from study_cases import make_data
from torch import nn

import fidokit as fk
from fidokit.methods import register_method
from fidokit.models.classifier import Classifier
from fidokit.study.metrics.sanity import LIMIT, passes, randomised


def make(module=None, size=32) -> Classifier:
    module = conv_net() if module is None else module
    return Classifier(module, size=(size, size), device="cpu", precision="float32", micro_batch=8)


def test_the_users_module_stays_as_it_is():
    classifier = make()
    before = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    other = randomised(classifier)
    for name, value in classifier.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    parameters = dict(other.module.named_parameters())
    for name, value in classifier.module.named_parameters():
        # What is 0 everywhere has no scale to be drawn with.
        assert torch.equal(parameters[name], value) == (not value.any()), name
    assert other.fingerprint() != classifier.fingerprint()
    assert not any(module.training for module in other.module.modules())


def test_the_parameters_keep_their_scale_and_are_the_same_again():
    classifier = make()
    one, again, other = randomised(classifier), randomised(classifier), randomised(classifier, seed=1)
    weight = "features.3.weight"
    for twin in (one, other):
        drawn, own = dict(twin.module.named_parameters())[weight], classifier.module.features[3].weight
        assert drawn.std().item() == pytest.approx(own.std().item(), rel=0.1)
    assert torch.equal(one.module.features[3].weight, again.module.features[3].weight)
    assert not torch.equal(one.module.features[3].weight, other.module.features[3].weight)


def test_parameters_of_a_single_value_are_drawn_too():
    net = conv_net()
    nn.init.constant_(net.features[0].weight, 0.25)
    nn.init.zeros_(net.features[3].bias)
    drawn = randomised(make(net)).module
    assert float(drawn.features[0].weight.std()) == pytest.approx(0.25, rel=0.2)
    assert not drawn.features[3].bias.any()


def test_a_random_network_still_tells_images_apart():
    logits = randomised(make()).logits(photographs(12))
    assert torch.isfinite(logits).all()
    assert (logits.std(0) > 1e-3).all()


def test_what_passes():
    assert passes([0.1, LIMIT - 1e-6, LIMIT, 1.0, np.nan]) == [True, True, False, False, None]


def blob(_classifier, images, _targets):
    """A centred blob, whatever the classifier."""
    line = torch.linspace(-1, 1, images.shape[-1])
    return torch.exp(-2 * (line[:, None] ** 2 + line**2)).expand(len(images), -1, -1)


def edges(_classifier, images, _targets):
    """Edges of the image, whatever the classifier."""
    grey = nn.functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    steps = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]).abs() + (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]).abs()
    return steps[:, 0] / steps.amax(dim=(2, 3))[..., None].clamp(min=1e-6)


def noisy_blob(classifier, images, targets):
    """A centred blob with a little of what the classifier says."""
    shift = classifier.logits(images).std(1)[:, None, None] * 1e-3
    return (blob(classifier, images, targets) * (1 - torch.sigmoid(shift))).clamp(0, 1)


def test_methods_that_ignore_the_classifier_fail_and_gradient_methods_pass(tmp_path, quick):
    for name, method in {"blob": blob, "edges": edges, "noisy blob": noisy_blob}.items():
        register_method(name, method)
    methods = ["blob", "edges", "noisy blob", "saliency", "grad-cam", "integrated-gradients"]
    data = make_data(tmp_path / "data", 8)
    store = tmp_path / "s"
    classifier = make(conv_net(classes=6), 16)
    with pytest.warns(RuntimeWarning, match="does not know 3 of 3 labels"):
        study = fk.run_study(classifier, data, methods, store=store, progress=False)
    assert study.sanity().empty or study.sanity()["passes_sanity"].isna().all()
    study.metrics(sanity=True, progress=False)
    table = study.sanity().set_index("method")
    assert list(table.index) == methods
    assert table["n"].tolist() == [8] * 6
    assert table["passes_sanity"].tolist() == [False, False, False, True, True, True]
    assert table["sanity"]["blob"] == table["sanity"]["edges"] == pytest.approx(1)
    summary = study.summary().set_index("method")
    assert summary["passes_sanity"].tolist() == table["passes_sanity"].tolist()
    np.testing.assert_allclose(summary["sanity_high"], table["sanity_high"])
