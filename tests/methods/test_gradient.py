"""Gradient baselines and occlusion, against closed forms, Captum called by hand and slow second implementations."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass

import captum.attr
import pytest
import torch
from torch import nn

from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods import compute_masks
from fidokit.methods.base import Batch
from fidokit.methods.gradient import (
    METHODS,
    CamSettings,
    IntegratedGradientsSettings,
    OcclusionSettings,
    SmoothGradSettings,
    attribution_to_mask,
    scale_to_mask,
    sensitivity_to_mask,
)
from fidokit.methods.infill import blur
from fidokit.methods.layers import find_layer
from fidokit.models import tuning
from fidokit.models.classifier import Classifier

SIZE = (16, 24)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PIXEL_METHODS = ("integrated-gradients", "saliency", "smoothgrad", "occlusion")


def conv_net(*, inplace=False, classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


class Linear(nn.Sequential):
    """Logits are <W_c, x>: the gradient is W_c everywhere."""

    def __init__(self, classes=3):
        super().__init__(nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1], classes))

    def weights(self):
        return self[1].weight.detach().view(-1, 3, *SIZE)


class Quadratic(nn.Module):
    """Two logits, -f and f with f = |x|^2 / 2, whose gradient is the image itself."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        value = self.scale * x.square().flatten(1).sum(1, keepdim=True) / 2
        return torch.cat([-value, value], dim=1)


def classifier(module, *, micro_batch=4, seed=0, **options):
    torch.manual_seed(seed)
    if not isinstance(module, Quadratic):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=1.0 if parameter.ndim == 2 else 0.3)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
    return Classifier(
        module, size=SIZE, mean=MEAN, std=STD, device="cpu", precision="float32", micro_batch=micro_batch, **options
    )


def photographs(n, seed=1):
    return torch.rand(n, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def batch_of(clf, n=3, targets=None, against=None, names="abcdefghij"):
    images = photographs(n)
    logits = clf.logits(images)
    targets = [i % len(clf.class_names) for i in range(n)] if targets is None else targets
    return Batch(images, list(names[:n]), clf.goal(logits, targets, against), logits)


#: Settings that cost little where the number of evaluations does not matter.
CHEAP = {
    "integrated-gradients": {"n_steps": 7},
    "smoothgrad": {"samples": 5},
    "occlusion": {"window": 0.3, "stride": 0.2},
}


def computed(clf, name, batch=None, on_progress=None, **settings):
    method = METHODS[name]
    batch = batch_of(clf) if batch is None else batch
    return method.compute(clf, batch, method.settings(**CHEAP.get(name, {}) | settings), on_progress)


def normalised(images):
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def differ(actual, expected):
    """(B,) whether the images differ by more than a hundredth of the largest value."""
    return (actual - expected).flatten(1).abs().amax(1) > 0.01 * expected.abs().max()


# Every method


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("inplace", [False, True])
def test_every_method_gives_masks_of_one_kind(name, inplace):
    clf = classifier(conv_net(inplace=inplace))
    assert METHODS[name].kinds == ("attribution",)
    result = computed(clf, name)
    mask = result.kinds["attribution"]
    assert list(result.kinds) == ["attribution"]
    assert mask.shape == (3, *((8, 12) if name.endswith("cam") and "guided" not in name else SIZE))
    assert mask.min() >= 0
    torch.testing.assert_close(mask.flatten(1).amax(1), torch.ones(3))
    assert result.raw.shape == (3, result.raw.shape[1], *mask.shape[1:])
    assert result.finished.all()
    assert not result.raw.requires_grad
    assert result.evaluations is None


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("against", [None, [1, 2, 0, 1, 2]])
def test_different_targets_in_one_batch_are_images_one_at_a_time(name, against):
    # Five images in parts of three: also the last, smaller part, and Captum's repeated rows, must keep their targets.
    clf = classifier(conv_net(), micro_batch=3)
    batch = batch_of(clf, 5, [2, 1, 1, 0, 0], against)
    together = computed(clf, name, batch)
    alone = [computed(clf, name, batch[i : i + 1]) for i in range(5)]
    close(together.raw, torch.cat([c.raw for c in alone]))
    assert differ(computed(clf, name, batch_of(clf, 5, [0, 2, 0, 1, 2])).raw, together.raw).any()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("micro_batch", [1, 2, 5, 64])
def test_no_forward_pass_exceeds_the_micro_batch(name, micro_batch):
    clf = classifier(conv_net(), micro_batch=micro_batch)
    rows = []
    handle = clf.module.register_forward_pre_hook(lambda _m, args: rows.append(len(args[0])))
    batch = batch_of(clf)
    rows.clear()
    before = clf.counter.evaluations
    result = computed(clf, name, batch)
    assert clf.counter.evaluations - before == sum(rows)
    handle.remove()
    assert 0 < max(rows) <= micro_batch
    close(result.raw, computed(classifier(conv_net(), micro_batch=3), name, batch).raw)


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [
        ("grad-cam", 3),
        ("saliency", 3),
        ("smoothgrad", 3 * 16),
        ("integrated-gradients", 3 * 50),
        ("guided-grad-cam", 2 * 3),
        ("occlusion", 3 * (1 + 15 * 12)),
    ],
)
def test_evaluations_are_those_the_documentation_names(name, evaluations):
    clf = classifier(conv_net())
    with clf.session(exact=True) as session:
        find_layer(session, session.normalise(photographs(1)))
        batch = batch_of(clf)
        before = clf.counter.evaluations
        METHODS[name].compute(clf, batch, METHODS[name].settings(), None)
        assert clf.counter.evaluations - before == evaluations


@pytest.mark.parametrize("name", METHODS)
def test_outputs_with_logits_sigmoid_heads_and_single_logits(name):
    @dataclass
    class Output:
        logits: torch.Tensor

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            return Output(self.net(x))

    expected = computed(classifier(conv_net()), name).raw
    close(computed(classifier(Wrapped()), name).raw, expected)
    close(computed(classifier(conv_net(), head="sigmoid"), name).raw, expected)
    one = classifier(conv_net(classes=1))
    present = computed(one, name, batch_of(one, 3, 1)).raw
    assert present.abs().amax() > 0
    if "guided" not in name and name != "layer-cam":  # these cut the gradient's sign on the way
        close(computed(one, name, batch_of(one, 3, 0)).raw, -present)


@pytest.mark.parametrize("name", METHODS)
def test_a_net_without_maps_is_explained_by_what_needs_none(name):
    clf = classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 24, 5), nn.ReLU(), nn.Linear(5, 3)))
    if name in PIXEL_METHODS:
        assert computed(clf, name).kinds["attribution"].shape == (3, *SIZE)
    else:
        with pytest.raises(MethodNotApplicable, match="no layer of Sequential keeps a map"):
            computed(clf, name)


@pytest.mark.parametrize("name", METHODS)
def test_the_users_module_is_as_it_was(name):
    module = conv_net(inplace=True)
    clf = classifier(module)
    module.train()
    module[1].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with clf.session(exact=True) as session:
        computed(clf, name)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in session.module.modules())
    assert module.training
    assert not module[1].training
    assert module[0].weight.requires_grad
    assert all(m.inplace for m in module if isinstance(m, nn.ReLU))
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_gradients_may_be_switched_off_outside(name):
    clf = classifier(conv_net())
    expected = computed(clf, name).raw
    with torch.no_grad():
        close(computed(clf, name).raw, expected)


def test_progress_is_reported_after_each_part_and_may_stop():
    clf = classifier(conv_net(), micro_batch=2)
    batch = batch_of(clf, 5)
    seen = []
    whole = computed(clf, "saliency", batch, seen.append)
    assert [(s.image_ids, s.finished, s.evaluations, s.total) for s in seen] == [
        (["a", "b"], 2, 2, 5),
        (["c", "d"], 4, 4, 5),
        (["e"], 5, 5, 5),
    ]
    close(torch.cat([s.masks["attribution"] for s in seen]), whole.kinds["attribution"])

    stopped = computed(clf, "saliency", batch, lambda snapshot: snapshot.finished == 4)
    assert stopped.finished.tolist() == [True] * 4 + [False]
    assert not stopped.interrupted
    close(stopped.kinds["attribution"][:4], whole.kinds["attribution"][:4])
    assert stopped.kinds["attribution"][4].isnan().all()
    assert stopped.raw.shape == whole.raw.shape

    masks = compute_masks("saliency", clf, batch, METHODS["saliency"].settings(), lambda snapshot: True)
    assert masks.image_ids == ["a", "b"]
    assert not masks.failures


def test_masks_of_a_batch_count_every_evaluation():
    clf = classifier(conv_net())
    masks = compute_masks("grad-cam", clf, batch_of(clf, 2), CamSettings())
    assert masks.evaluations.tolist() == [1 + 1 + 2, 1 + 1 + 2]  # map, probe, kept and dropped
    assert masks.attribution.shape == (2, 8, 12)
    assert masks.at("attribution").shape == (2, *SIZE)


def test_nothing_heavy_is_imported_until_it_is_used():
    code = "import fidokit, fidokit.methods.gradient, sys; print('captum' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_layer_is_looked_for_without_tuning(monkeypatch):
    def refuse(*_):
        raise AssertionError("the fastest micro-batch is looked for")

    monkeypatch.setattr(tuning, "find_micro_batch", refuse)
    METHODS["grad-cam"].check(Classifier(conv_net(), size=SIZE, device="cpu"), CamSettings())
    with pytest.raises(MethodNotApplicable, match="layer"):
        METHODS["grad-cam"].check(Classifier(Linear(), size=SIZE, device="cpu"), CamSettings())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_gives_the_same_maps(name):
    clf = classifier(conv_net())
    batch = batch_of(clf)
    there = Classifier(clf.module, size=SIZE, mean=MEAN, std=STD, device="cuda", micro_batch=4)
    result = computed(there, name, batch)
    assert result.raw.device.type == result.kinds["attribution"].device.type == "cpu"
    # Convolutions on a GPU may compute in TF32.
    cosine = torch.cosine_similarity(result.raw.flatten(1), computed(clf, name, batch).raw.flatten(1))
    assert cosine.min() > 0.999


# Masks


def test_a_mask_is_the_positive_part_of_the_channels_sum():
    raw = torch.tensor([[1.0, -3.0], [2.0, 4.0]]).view(1, 1, 2, 2).repeat(1, 2, 1, 1)
    raw[0, 1, 1, 0] = -3.0  # 2 - 3 < 0
    assert attribution_to_mask(raw).flatten().tolist() == [0.25, 0, 0, 1]


def test_a_sensitivity_is_the_largest_magnitude_of_the_channels():
    raw = torch.tensor([[1.0, -4.0], [2.0, 0.0]]).view(1, 2, 1, 2).clone()
    assert sensitivity_to_mask(raw).flatten().tolist() == [0.5, 1]


def test_images_without_positive_attribution_have_an_empty_mask_and_no_nan():
    raw = torch.stack([torch.zeros(3, 4, 4), -torch.rand(3, 4, 4), torch.full((3, 4, 4), 1e-42), torch.rand(3, 4, 4)])
    mask = attribution_to_mask(raw)
    assert (mask[:2] == 0).all()
    assert mask.isfinite().all()
    assert mask[3].max() == 1


def test_values_that_are_not_finite_stay_visible():
    raw = torch.rand(2, 1, 4, 4)
    raw[0, 0, 1, 2] = torch.nan
    mask = attribution_to_mask(raw)
    assert mask[0].isnan().any()
    assert mask[1].isfinite().all()


def test_outliers_neither_darken_the_map_nor_lose_their_order():
    values = torch.linspace(0, 1, 1000)
    values[-5:] = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0])
    mask = scale_to_mask(values.view(1, 25, 40)).flatten()
    assert (mask.diff() > 0).all()
    # 999 positive values, 4 of them outliers; 10 is the end of the bulk.
    assert mask[995] == pytest.approx(0.9)
    assert mask[-1] == 1
    assert mask[500] == pytest.approx(0.9 * values[500].item() / 10)
    assert mask[997] == pytest.approx(0.9 + 0.1 * (30 - 10) / 40)


def test_a_coarse_map_is_divided_by_its_maximum():
    values = torch.rand(4, 14, 14)
    torch.testing.assert_close(scale_to_mask(values), values / values.amax(dim=(1, 2), keepdim=True))


def test_a_map_of_one_value_is_one_everywhere():
    assert (scale_to_mask(torch.full((1, 40, 40), 0.3)) == 1).all()


def test_a_factor_changes_no_mask():
    values = torch.rand(2, 40, 40) ** 4
    torch.testing.assert_close(scale_to_mask(values), scale_to_mask(values * 1e-6))


# Integrated gradients


@pytest.mark.parametrize("baseline", ["mean", "black", "white", "blur"])
def test_integrated_gradients_of_a_linear_net_are_weights_times_distance(baseline):
    module = Linear()
    clf = classifier(module)
    batch = batch_of(clf)
    start = {
        "mean": torch.zeros(1, 3, 1, 1),
        "black": normalised(torch.zeros(1, 3, 1, 1)),
        "white": normalised(torch.ones(1, 3, 1, 1)),
        "blur": normalised(blur(batch.images)),
    }[baseline]
    result = computed(clf, "integrated-gradients", batch, baseline=baseline, n_steps=3)
    expected = module.weights()[batch.goal.target] * (normalised(batch.images) - start)
    close(result.raw, expected)
    close(result.kinds["attribution"], attribution_to_mask(expected))


@pytest.mark.parametrize("micro_batch", [2, 7, 200])
def test_integrated_gradients_are_captums_by_hand(micro_batch):
    clf = classifier(conv_net(), micro_batch=micro_batch)
    batch = batch_of(clf, 4)
    theirs = captum.attr.IntegratedGradients(clf.module.eval())
    expected = theirs.attribute(normalised(batch.images), target=batch.goal.target, n_steps=20)
    result = computed(clf, "integrated-gradients", batch, n_steps=20)
    torch.testing.assert_close(result.raw, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["gausslegendre", "riemann_trapezoid", "riemann_middle"])
def test_integrated_gradients_are_complete(method):
    clf = classifier(conv_net())
    batch = batch_of(clf)
    result = computed(clf, "integrated-gradients", batch, n_steps=200, method=method)
    start = torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, *SIZE)
    gain = batch.goal.class_logit(batch.logits) - batch.goal.class_logit(clf.logits(start).expand(3, -1))
    torch.testing.assert_close(result.raw.sum(dim=(1, 2, 3)), gain, rtol=0.02, atol=0.01)


# Saliency and SmoothGrad


def test_saliency_of_a_linear_net_is_its_weights():
    module = Linear()
    clf = classifier(module)
    batch = batch_of(clf, 3, [2, 0, 1])
    result = computed(clf, "saliency", batch)
    close(result.raw, module.weights()[[2, 0, 1]])
    close(result.kinds["attribution"], sensitivity_to_mask(module.weights()[[2, 0, 1]]))
    contrast = computed(clf, "saliency", batch_of(clf, 3, [2, 0, 1], [1, 1, 0]))
    close(contrast.raw, module.weights()[[2, 0, 1]] - module.weights()[[1, 1, 0]])


def test_smoothgrad_with_one_sample_and_no_noise_is_the_gradient():
    clf = classifier(conv_net())
    close(computed(clf, "smoothgrad", samples=1, noise=0.0).raw, computed(clf, "saliency").raw)
    close(computed(clf, "smoothgrad", samples=5, noise=0.0).raw, computed(clf, "saliency").raw)


def test_smoothgrad_noise_is_normal_with_the_share_of_the_images_range():
    # The gradient of |x|^2 / 2 is x, so the mean over noisy copies is x plus the mean of the noise.
    clf = classifier(Quadratic())
    batch = batch_of(clf, 3, 1)
    x = normalised(batch.images)
    spread = x.amax(dim=(1, 2, 3)) - x.amin(dim=(1, 2, 3))
    for samples in (1, 16):
        error = computed(clf, "smoothgrad", batch, samples=samples, noise=0.2).raw - x
        share = error.flatten(1) / spread[:, None]
        n = share.shape[1]
        expected = 0.2 / math.sqrt(samples)
        torch.testing.assert_close(share.std(1), torch.full((3,), expected), rtol=5 / math.sqrt(2 * n), atol=0)
        assert (share.mean(1).abs() < 5 * expected / math.sqrt(n)).all()
        assert torch.corrcoef(share).fill_diagonal_(0).abs().max() < 5 / math.sqrt(n)
    one = computed(clf, "smoothgrad", batch, samples=1, noise=1.0).raw - x
    quantiles = (one.flatten(1) / spread[:, None]).quantile(torch.tensor([0.1587, 0.5, 0.8413]), dim=1)
    torch.testing.assert_close(quantiles, torch.tensor([-1.0, 0.0, 1.0])[:, None].expand(3, 3), rtol=0, atol=0.2)


def test_smoothgrad_depends_on_image_and_seed_and_on_nothing_else():
    clf = classifier(conv_net(), micro_batch=5)
    batch = batch_of(clf, 3)
    torch.manual_seed(1)
    first = computed(clf, "smoothgrad", batch).raw
    torch.manual_seed(2)
    close(computed(clf, "smoothgrad", batch).raw, first)
    close(computed(clf, "smoothgrad", batch[1:]).raw, first[1:])
    other_name = computed(clf, "smoothgrad", batch_of(clf, 3, names="axc")).raw
    assert differ(other_name, first).tolist() == [False, True, False]
    assert differ(computed(clf, "smoothgrad", batch, seed=1).raw, first).all()


# Class activation maps


@pytest.mark.parametrize("name", ["grad-cam", "hires-cam", "layer-cam"])
def test_class_activation_maps_against_plain_autograd(name):
    clf = classifier(conv_net())
    batch = batch_of(clf)
    module = clf.module.eval()
    features = module[:5](normalised(batch.images)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(batch.goal.class_logit(module[5:](features)).sum(), features)
    expected = {
        "grad-cam": torch.einsum("bc,bchw->bhw", gradient.mean(dim=(2, 3)), features),
        "hires-cam": torch.einsum("bchw,bchw->bhw", gradient, features),
        "layer-cam": torch.einsum("bchw,bchw->bhw", gradient.clamp_min(0), features),
    }[name].detach()
    result = computed(clf, name, batch)
    close(result.raw[:, 0], expected)
    close(result.kinds["attribution"], expected.relu() / expected.relu().amax(dim=(1, 2), keepdim=True))


def test_the_layer_is_the_settings_or_the_classifiers_or_the_one_found():
    batch = batch_of(classifier(conv_net()))
    found = computed(classifier(conv_net()), "grad-cam", batch).raw
    of_classifier = computed(classifier(conv_net(), layer="3"), "grad-cam", batch).raw
    of_settings = computed(classifier(conv_net(), layer="4"), "grad-cam", batch, layer="3").raw
    theirs = captum.attr.LayerGradCam(classifier(conv_net()).module.eval(), None)
    theirs.layer = theirs.forward_func[3]
    expected = theirs.attribute(normalised(batch.images), target=batch.goal.target).detach()
    close(of_classifier, expected)
    close(of_settings, expected)
    assert differ(found, expected).all()
    with pytest.raises(SettingsError, match="no layer 'head'"):
        computed(classifier(conv_net()), "grad-cam", batch, layer="head")


# Guided Grad-CAM


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("inplace", [False, True])
def test_guided_grad_cam_is_captums(inplace):
    clf = classifier(conv_net(inplace=inplace))
    batch = batch_of(clf)
    reference = classifier(conv_net()).module.eval()
    theirs = captum.attr.GuidedGradCam(reference, reference[4])
    expected = theirs.attribute(
        normalised(batch.images).requires_grad_(), target=batch.goal.target, interpolate_mode="bilinear"
    )
    close(computed(clf, "guided-grad-cam", batch).raw, expected.detach())


def test_guided_grad_cam_needs_relu_modules():
    check = METHODS["guided-grad-cam"].check
    check(classifier(conv_net()), CamSettings())
    for activation in (nn.ReLU6(), nn.GELU()):
        module = nn.Sequential(nn.Conv2d(3, 4, 4, 4), activation, nn.Flatten(), nn.Linear(4 * 4 * 6, 3))
        with pytest.raises(MethodNotApplicable, match=r"nn\.ReLU modules, and Sequential has none"):
            check(classifier(module), CamSettings())


def test_guided_grad_cam_refuses_relus_that_the_image_does_not_reach():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(3, 4, 4, 4), nn.ReLU(), nn.Linear(4, 3)
            self.bias = nn.Parameter(torch.randn(4))

        def forward(self, x):
            return self.head(self.conv(x).tanh().mean(dim=(2, 3)) + self.relu(self.bias))

    clf = classifier(Constant())
    METHODS["guided-grad-cam"].check(clf, CamSettings())
    with pytest.raises(MethodNotApplicable, match="none between image and logits"):
        computed(clf, "guided-grad-cam")


def test_guided_grad_cam_refuses_a_net_that_is_guided_in_part():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.last = conv_net()[:5], nn.Linear(8, 3)

        def forward(self, x):
            return self.last(nn.functional.relu(self.net(x) - 0.1).mean(dim=(2, 3)))

    with pytest.raises(MethodNotApplicable, match="1 of 3 ReLUs of this classifier are functional"):
        computed(classifier(Mixed()), "guided-grad-cam")


# Occlusion


@pytest.mark.parametrize(
    ("window", "stride", "baseline"),
    [(0.25, 0.125, "mean"), (0.3, 0.2, "black"), (1.0, 1.0, "white"), (0.25, 0.25, "blur")],
)
def test_occlusion_is_the_mean_loss_over_the_squares_that_cover_a_pixel(window, stride, baseline):
    clf = classifier(conv_net())
    batch = batch_of(clf, 2)
    filled = {
        "mean": torch.tensor(MEAN).view(1, 3, 1, 1).expand(2, 3, *SIZE),
        "black": torch.zeros(2, 3, *SIZE),
        "white": torch.ones(2, 3, *SIZE),
        "blur": blur(batch.images),
    }[baseline]
    (h, w), (dy, dx) = ([max(1, round(share * side)) for side in SIZE] for share in (window, stride))
    loss, count = torch.zeros(2, *SIZE), torch.zeros(SIZE)
    full = batch.goal.class_logit(batch.logits)
    for i in range(math.ceil((SIZE[0] - h) / dy) + 1):
        for j in range(math.ceil((SIZE[1] - w) / dx) + 1):
            square = (slice(i * dy, i * dy + h), slice(j * dx, j * dx + w))
            images = batch.images.clone()
            images[:, :, *square] = filled[:, :, *square]
            loss[:, *square] += (full - batch.goal.class_logit(clf.logits(images)))[:, None, None]
            count[square] += 1
    result = computed(clf, "occlusion", batch, window=window, stride=stride, baseline=baseline)
    assert count.min() >= 1
    close(result.raw[:, 0], loss / count)


def test_occlusion_needs_no_gradient():
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            return self.net(x).detach()

    clf = classifier(Rounded())
    close(computed(clf, "occlusion").raw, computed(classifier(conv_net()), "occlusion").raw)
    for name in METHODS:
        if name != "occlusion":
            with pytest.raises(MethodNotApplicable, match="use occlusion"):
                computed(clf, name)


# Settings


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        (CamSettings, "layer", 3),
        (IntegratedGradientsSettings, "n_steps", 1),
        (IntegratedGradientsSettings, "n_steps", 2.5),
        (IntegratedGradientsSettings, "baseline", "grey"),
        (IntegratedGradientsSettings, "method", "simpson"),
        (SmoothGradSettings, "samples", 0),
        (SmoothGradSettings, "samples", True),
        (SmoothGradSettings, "noise", -0.1),
        (SmoothGradSettings, "noise", math.nan),
        (SmoothGradSettings, "seed", 0.5),
        (OcclusionSettings, "window", 0),
        (OcclusionSettings, "window", 1.5),
        (OcclusionSettings, "stride", 0.5),
        (OcclusionSettings, "stride", "1/16"),
        (OcclusionSettings, "baseline", "grey"),
    ],
)
def test_settings_are_checked_where_they_are_made(settings, field, value):
    with pytest.raises(SettingsError, match=field):
        settings(**{field: value})


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_frozen_and_resolved_by_name(name):
    settings = METHODS[name].resolve()
    with pytest.raises((FrozenInstanceError, AttributeError)):
        settings.seed = 3
    with pytest.raises(SettingsError, match="nonsense"):
        METHODS[name].resolve(None, {"nonsense": 1})
