from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from nets import ConvNet, conv_net, photographs
from PIL import Image
from torch import nn

from fidokit.data.images import LabelledImages
from fidokit.exceptions import ClassifierError, ImageError, SettingsError
from fidokit.methods import explain
from fidokit.models import frozen, tuning
from fidokit.models.classifier import Classifier, with_precision
from fidokit.models.session import Session

SIZE = (32, 32)


def make(module=None, names=None, **options) -> Classifier:
    defaults = {"size": SIZE, "device": "cpu", "precision": "float32", "micro_batch": 4}
    return Classifier(conv_net() if module is None else module, names, **(defaults | options))


class Given(nn.Module):
    """Logits that are read off the image's first pixels: (B, K) of the values 10 * x[:, 0, 0, :K]."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return 10 * x[:, 0, 0, : self.classes]


def given(logits, size=SIZE):
    """Images in [0, 1] for which `Given` returns the logits, which must be in [0, 10]."""
    logits = torch.as_tensor(logits, dtype=torch.float32)
    images = torch.zeros(len(logits), 3, *size)
    images[:, 0, 0, : logits.shape[1]] = logits / 10
    return images


def plain(classes=3, names=None, **options) -> Classifier:
    return make(Given(classes), names, mean=(0, 0, 0), std=(1, 1, 1), **options)


# The module is handed back as it was


def state_of(module: nn.Module):
    """All that a user could see of a module."""
    return {
        "training": [m.training for m in module.modules()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "identity": [id(t) for t in (*module.parameters(), *module.buffers())],
        "layout": [(t.stride(), t.dtype, t.device, t.data_ptr()) for t in (*module.parameters(), *module.buffers())],
        "values": [t.detach().clone() for t in (*module.parameters(), *module.buffers())],
        "grads": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
        "hooks": [{name: list(getattr(m, name).values()) for name in frozen._HOOKS} for m in module.modules()],
        "types": [(name, type(m)) for name, m in module.named_modules()],
    }


def assert_same_state(before, after):
    for key in before:
        if key in ("values", "grads"):
            for one, other in zip(before[key], after[key], strict=True):
                assert (one is None) == (other is None)
                assert one is None or torch.equal(one, other)
        else:
            assert before[key] == after[key], key


def busy_net() -> nn.Module:
    """A net in the middle of its training: mixed flags, gradients, hooks, a layout of its own."""
    net = conv_net()
    net.train()
    net.features[1].eval()
    net.features[0].weight.requires_grad_(False)
    net.features[3].weight.data = net.features[3].weight.data.contiguous(memory_format=torch.channels_last)
    net(torch.rand(2, 3, *SIZE)).sum().backward()
    net.features[2].register_forward_hook(lambda *_: None)
    net.head.register_full_backward_hook(lambda *_: None)
    net.register_forward_pre_hook(lambda *_: None)
    return net


class Breaks(ConvNet):
    """Raises in the forward pass once it is told to."""

    broken = False

    def forward(self, x):
        if Breaks.broken:
            raise ValueError("broken")
        return super().forward(x)


def test_the_module_comes_back_as_it_was():
    net = busy_net()
    before = state_of(net)
    classifier = make(net, precision="auto", micro_batch=None)
    assert_same_state(before, state_of(net))
    images = photographs(3)
    with classifier.session() as fast, classifier.session(exact=True):
        assert_same_state(before, state_of(net))
        fast.logits(images)
    classifier.logits(images)
    for method in ("fido", "grad-cam", "integrated-gradients", "guided-grad-cam"):
        explain(classifier, images, method)
        assert_same_state(before, state_of(net))
    net.train()
    net(images)  # training goes on, statistics and all
    assert not torch.equal(before["values"][-1], state_of(net)["values"][-1])


@pytest.mark.parametrize("exact", [False, True])
def test_the_module_comes_back_as_it_was_after_an_error(exact, monkeypatch):
    net = Breaks()
    net.train()
    before = state_of(net)
    classifier = make(net)
    with pytest.raises(RuntimeError, match="mine"), classifier.session(exact=exact):
        raise RuntimeError("mine")
    assert classifier._open == {}
    monkeypatch.setattr(Breaks, "broken", True)
    with pytest.raises(ClassifierError, match="broken"):
        make(net)
    assert_same_state(before, state_of(net))
    with pytest.raises((ClassifierError, ValueError), match="broken"):
        classifier.logits(photographs(1))
    monkeypatch.setattr(Breaks, "broken", False)
    with classifier.session(), classifier.session(exact=True):
        monkeypatch.setattr(Breaks, "broken", True)
        for method in ("fido", "saliency", "grad-cam"):
            with pytest.raises(ValueError, match="broken"):
                explain(classifier, photographs(1), method)
    assert_same_state(before, state_of(net))
    assert classifier._open == {}


def test_float64_and_half_modules_are_computed_in_float32():
    reference = make().logits(photographs(2))
    for dtype in (torch.float64, torch.bfloat16):
        net = conv_net().to(dtype)
        logits = make(net).logits(photographs(2))
        assert logits.dtype == torch.float32
        assert all(p.dtype == dtype for p in net.parameters())
        torch.testing.assert_close(logits, reference, rtol=0.05, atol=0.2 if dtype == torch.bfloat16 else 1e-4)


def test_hooks_are_shared_with_the_copies_not_copied():
    class Counter:
        def __init__(self):
            self.calls = 0

        def __call__(self, *_):
            self.calls += 1

        def count(self, *_):
            self.calls += 1

    net = conv_net()
    called, counter = Counter(), Counter()
    net.head.register_forward_hook(called)
    net.features[0].register_forward_hook(counter.count)
    classifier = make(net)
    for calls in (called, counter):
        calls.calls = 0
    with classifier.session() as session:
        called.calls = counter.calls = 0
        session.logits(photographs(4))
    assert called.calls == counter.calls == 1


class Remembers(nn.Module):
    """Logits from what its own hook kept of a layer."""

    def __init__(self, method: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.kept = None
        self.conv.register_forward_hook(self.keep if method else _partial_of(self))

    def keep(self, _module, _args, output):
        self.kept = output

    def forward(self, x):
        self.conv(x)
        return self.kept.mean(dim=(2, 3))


def _partial_of(module):
    from functools import partial

    return partial(_keep_in, module)


def _keep_in(module, _module, _args, output):
    module.kept = output


@pytest.mark.parametrize("method", [True, False])
def test_a_modules_own_hooks_write_into_the_copy(method):
    net = Remembers(method)
    classifier = make(net, precision="auto")
    kept = net.kept
    images = photographs(2)
    logits = classifier.logits(images)
    assert net.kept is kept
    with torch.no_grad():
        expected = net(
            (images - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            / torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        )
    torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.05)


# Logits


def own_logits(net, images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (mean, std))
    with torch.no_grad():
        return copy.deepcopy(net).eval()((images - mean) / std)


class PreActivation(nn.Module):
    """A convolution whose output is read by a batch normalisation and by a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)

    def forward(self, x):
        x = self.conv(x)
        return (x + self.norm(x).relu()).mean(dim=(2, 3))


class Views(nn.Module):
    """What many tutorials do, and what fails on channels-last images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4 * 32 * 32, 3)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().view(x.size(0), -1))


class FiveDimensions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(2, 4, 3, 3, 3))

    def forward(self, x):
        return nn.functional.conv2d(x, self.kernels.mean(0)).mean(dim=(2, 3))


def normed(wrapped):
    return nn.Sequential(wrapped, nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETS = {
    "plain": conv_net,
    "preactivation": PreActivation,
    "views": Views,
    "five dimensions": FiveDimensions,
    "weight norm": lambda: normed(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))),
    "spectral norm": lambda: normed(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))),
    "scripted": lambda: torch.jit.script(conv_net()),
    "no statistics": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "not affine": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", NETS)
def test_the_logits_are_the_modules_own(name):
    torch.manual_seed(1)
    net = NETS[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    net.eval()
    images = photographs(5)
    classifier = make(net, micro_batch=8)
    expected = own_logits(net, images)
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    with classifier.session(exact=True) as session:
        torch.testing.assert_close(session.logits(images), expected, rtol=0, atol=1e-4)


def test_a_weight_norm_of_the_old_kind_works_too():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = normed(nn.utils.weight_norm(nn.Conv2d(3, 4, 3))).eval()
    images = photographs(3)
    with torch.no_grad():
        net(images)
    torch.testing.assert_close(make(net).logits(images), own_logits(net, images), rtol=0, atol=1e-4)


def test_a_module_that_views_is_explained():
    classifier = make(Views().eval(), micro_batch=6)
    for method in ("fido", "saliency", "integrated-gradients"):
        assert not explain(classifier, photographs(2), method).failures
    assert classifier.memory_format == torch.contiguous_format
    assert make().memory_format is None
    with (classifier := make()).session() as session:
        assert session.memory_format == torch.channels_last
        assert session.normalise(photographs(1)).is_contiguous(memory_format=torch.channels_last)
        weight = session.module.features[0].weight
        assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("strided", ["channels_last", "permuted", "sliced"])
def test_the_layout_of_the_users_images_does_not_matter(strided):
    images = photographs(3)
    other = {
        "channels_last": images.contiguous(memory_format=torch.channels_last),
        "permuted": images.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1),
        "sliced": torch.cat([images, images], dim=3)[:, :, :, :32],
    }[strided]
    for net in (conv_net(), Views().eval()):
        classifier = make(net)
        torch.testing.assert_close(classifier.logits(other), classifier.logits(images), rtol=0, atol=1e-5)


def test_micro_batches_do_not_change_the_logits():
    images = photographs(7)
    one, all_at_once = make(micro_batch=1).logits(images), make(micro_batch=64).logits(images)
    torch.testing.assert_close(one, all_at_once, rtol=0, atol=1e-5)
    assert one.shape == (7, 4)
    assert make().logits(images[:0]).shape == (0, 4)


def test_images_that_need_gradients_keep_nothing():
    images = photographs(2).requires_grad_(True)
    assert not make().logits(images).requires_grad
    assert not explain(make(), images, "fido").ssr.requires_grad
    assert images.grad is None


@dataclass
class Output:
    logits: torch.Tensor


class Wrapped(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.wrap, self.net = wrap, conv_net()

    def forward(self, x):
        return self.wrap(self.net(x))


def test_an_output_object_with_logits():
    images = photographs(2)
    torch.testing.assert_close(make(Wrapped(Output)).logits(images), make().logits(images))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda y: {"scores": y}, "returned dict.*Wrap your module"),
        (lambda y: (y, y), "returned tuple"),
        (lambda y: y[:, :, None, None], r"logits of shape \(1, 4, 1, 1\)"),
        (lambda _: None, "returned NoneType"),
    ],
)
def test_outputs_without_logits_are_named(wrap, message):
    with pytest.raises(ClassifierError, match=message):
        make(Wrapped(wrap))


def test_a_module_that_cannot_be_run_says_so():
    with pytest.raises(ClassifierError, match=r"Sequential cannot be run on a \(1, 3, 32, 32\) image.*`size`"):
        make(nn.Sequential(conv_net(), nn.Linear(7, 2)))
    with pytest.raises(ClassifierError, match=r"torch.nn.Module is needed, not function"):
        make(lambda x: x)

    class One(ConvNet):
        def forward(self, x):
            return super().forward(x.reshape(1, 3, 32, 32))

    with pytest.raises(ClassifierError, match=r"batch of 4 images.*micro_batch=1"):
        make(One()).logits(photographs(1))
    assert make(One(), micro_batch=1).logits(photographs(2)).shape == (2, 4)

    class Stubborn(ConvNet):
        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    with pytest.raises(ClassifierError, match=r"copy.deepcopy \(no copies\)"):
        make(Stubborn()).logits(photographs(1))


# Folding


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def test_batch_norm_is_folded_away_in_the_fast_session_only():
    with (classifier := make()).session() as session:
        assert norms(session.module) == []
        with classifier.session(exact=True) as exact:
            assert len(norms(exact.module)) == 2
    assert len(norms(classifier.module)) == 2


class NormAct(nn.BatchNorm2d):
    """As in timm: the activation is part of the normalisation."""

    def forward(self, x):
        return super().forward(x).relu()


def test_subclasses_of_batch_norm_are_left_alone_and_stop_no_other_fold():
    plain_pair = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
    net = nn.Sequential(*plain_pair, nn.Conv2d(4, 4, 3), NormAct(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with make(net).session() as session:
        assert [type(m) for m in norms(session.module)] == [NormAct]


@pytest.mark.parametrize("name", ["preactivation", "weight norm", "spectral norm", "no statistics"])
def test_what_cannot_be_folded_is_left_alone(name):
    net = NETS[name]().eval()
    net.apply(lambda m: nn.init.uniform_(m.weight, 0.5, 2) if isinstance(m, nn.BatchNorm2d) else None)
    with make(net).session() as session:
        assert len(norms(session.module)) == 1


def test_a_layer_that_somebody_listens_to_is_left_alone():
    net = conv_net()
    heard = []
    net.features[1].register_forward_hook(lambda *_: heard.append(1))
    with make(net).session() as session:
        assert len(norms(session.module)) == 1
        heard.clear()
        session.logits(photographs(2))
    assert heard == [1]


def test_a_norm_used_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return (self.norm(self.one(x)) + self.norm(self.two(x))).mean(dim=(2, 3))

    with make(Twice().eval()).session() as session:
        assert len(norms(session.module)) == 1


# Heads, names, options


def test_classes_are_numbered_by_default_and_named_if_wanted():
    assert make().class_names == ["0", "1", "2", "3"]
    assert make(names=("a", "b", "c", 4)).class_names == ["a", "b", "c", "4"]
    assert make(names=np.array(["a", "b", "c", "d"])).class_names == ["a", "b", "c", "d"]
    assert make(names=pd.Index(list("abcd"))).class_names == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b"], "4 logits, but there are 2 class names"),
        (["a", "b", "c", "d", "e"], "4 logits, but there are 5"),
        ([], "4 logits, but there are 0"),
        (["a", "b", "c", "b"], "'b' is there twice"),
        ("abcd", "a list of names, not the text 'abcd'"),
    ],
)
def test_names_that_do_not_fit_are_refused(names, message):
    with pytest.raises(ClassifierError, match=message):
        make(names=names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(None, ["0", "1"]), (["deer"], ["not deer", "deer"]), (["empty", "animal"], ["empty", "animal"])],
)
def test_a_single_logit_makes_two_classes(names, expected):
    classifier = plain(1, names)
    assert classifier.class_names == expected
    assert classifier.single_logit
    assert classifier.head == "sigmoid"
    logits = classifier.logits(given([[3.0], [0.5]]))
    torch.testing.assert_close(logits, torch.tensor([[-3.0, 3.0], [-0.5, 0.5]]))
    torch.testing.assert_close(classifier.log_odds(given([[3.0]]), expected[1]), torch.tensor([3.0]))
    torch.testing.assert_close(classifier.log_odds(given([[3.0]]), 0), torch.tensor([-3.0]))


def test_a_single_logit_has_no_softmax_and_no_three_names():
    with pytest.raises(SettingsError, match="no softmax"):
        plain(1, head="softmax")
    with pytest.raises(ClassifierError, match="2 logits, but there are 3"):
        plain(1, ["a", "b", "c"])

    class Flat(Given):
        def forward(self, x):
            return super().forward(x)[:, 0]

    flat = make(Flat(1), mean=(0, 0, 0), std=(1, 1, 1))
    assert flat.logits(given([[2.0], [1.0]])).tolist() == [[-2.0, 2.0], [-1.0, 1.0]]


def test_log_odds_by_hand():
    logits = [[1.0, 2.0, 4.0], [5.0, 0.0, 3.0]]
    classifier = plain(3, ["a", "b", "c"])
    images = given(logits)

    def others(*values):
        return math.log(sum(math.exp(v) for v in values))

    predicted = classifier.log_odds(images)
    torch.testing.assert_close(predicted, torch.tensor([4 - others(1, 2), 5 - others(0, 3)]))
    torch.testing.assert_close(classifier.log_odds(images, "b"), torch.tensor([2 - others(1, 4), 0 - others(5, 3)]))
    torch.testing.assert_close(classifier.log_odds(images, ["a", 1]), torch.tensor([1 - others(2, 4), -others(5, 3)]))
    torch.testing.assert_close(classifier.log_odds(images, "c", "b"), torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(classifier.log_odds(images, "c", ["a", 1]), torch.tensor([3.0, 3.0]))
    probabilities = torch.softmax(torch.tensor(logits), 1).amax(1)
    torch.testing.assert_close(torch.sigmoid(predicted), probabilities)


def test_log_odds_of_a_sigmoid_head_are_the_logits():
    classifier = plain(3, head="sigmoid")
    images = given([[1.0, 2.0, 4.0]])
    torch.testing.assert_close(classifier.log_odds(images), torch.tensor([4.0]))
    torch.testing.assert_close(classifier.log_odds(images, 0), torch.tensor([1.0]))
    torch.testing.assert_close(classifier.log_odds(images, 0, 1), torch.tensor([-1.0]))
    assert plain(3).head == "softmax"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "soft"}, "auto, softmax, sigmoid, probabilities or"),
        ({"precision": "int8"}, "choose auto or one of float32, bfloat16"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"layer": "nothing"}, "no layer 'nothing'"),
        ({"micro_batch": 0}, "at least 1"),
        ({"micro_batch": -3}, "at least 1"),
        ({"micro_batch": 2.5}, "whole number"),
        ({"size": (32,)}, "size must be"),
        ({"size": 0}, "size must be"),
        ({"std": (1, 1, 0)}, "std must be above 0"),
        ({"mean": (1, 1)}, "mean must be three"),
        ({"fit": "stretch"}, "fit must be one of"),
        ({"crop_share": 0}, "crop_share"),
        ({"interpolation": "lanczos"}, "interpolation must be"),
        ({"box_padding": -1}, "box_padding"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        make(**options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(SettingsError, match=r"no CUDA device; give device='auto'"):
        make(device="cuda")
    assert make(device="auto").device == torch.device("cpu")


def test_mean_std_and_size_may_be_arrays_and_one_number():
    classifier = make(mean=np.array([0.1, 0.2, 0.3]), std=[1, 2, 3], size=40)
    assert classifier.preprocessing.mean == (0.1, 0.2, 0.3)
    assert classifier.preprocessing.std == (1.0, 2.0, 3.0)
    assert classifier.size == (40, 40)
    with classifier.session() as session:
        images = photographs(2, (40, 40))
        normalised = session.normalise(images)
        expected = (images - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)) / torch.tensor([1, 2, 3.0]).view(
            1, 3, 1, 1
        )
        torch.testing.assert_close(normalised, expected)
        torch.testing.assert_close(session.denormalise(normalised), images)
    assert make(mean=(0, 0, 0)).preprocessing.mean == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 32, 32), r"not \(3, 32, 32\); of one image, pass image\[None\]"),
        (torch.rand(1, 1, 32, 32), r"not \(1, 1, 32, 32\)"),
        (torch.rand(1, 32, 32, 3), r"must be a \(B, 3, H, W\)"),
        (np.zeros((1, 3, 32, 32), np.uint8), "not torch.uint8; divide by 255"),
        (5, "images must be LabelledImages.*not int"),
        (torch.rand(1, 3, 16, 32), r"are \(16, 32\) pixels.*is \(32, 32\); resize"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"not torch.uint8; divide by 255"),
        (torch.rand(1, 3, 32, 32) * 255, r"reach from .*; do not normalise them"),
        (torch.randn(1, 3, 32, 32), "do not normalise them"),
        (torch.full((1, 3, 32, 32), torch.nan), "finite"),
        (torch.full((1, 3, 32, 32), torch.inf), "finite"),
    ],
)
def test_bad_images_are_refused(images, message):
    for call in (make().logits, lambda x: explain(make(), x, "saliency")):
        with pytest.raises(ImageError, match=message):
            call(images)


def test_images_of_other_float_types_are_taken():
    images = photographs(2)
    for dtype in (torch.float64, torch.float16):
        torch.testing.assert_close(make().logits(images.to(dtype)), make().logits(images), rtol=0, atol=0.05)


# Precision and micro-batch


def rigged(monkeypatch, seconds, names=("bfloat16", "bfloat16-autocast"), spoil=None):
    """An `auto` classifier on a machine where each precision takes the time given."""
    current = []
    original = Session.forward

    def forward(session, normalised):
        current[:] = [session.precision.name]
        if spoil is not None and session.precision.name in spoil:
            return spoil[session.precision.name](original(session, normalised))
        return original(session, normalised)

    def timed(call, _device):
        result = call()
        return seconds[current[0]], result

    monkeypatch.setenv("FIDOKIT_CACHE", "off")
    monkeypatch.setattr(Session, "forward", forward)
    monkeypatch.setattr(tuning, "timed", timed)
    monkeypatch.setattr(frozen, "candidates", lambda _: [frozen.PRECISIONS[name] for name in names])
    return make(precision="auto")


def test_the_fastest_precision_that_agrees_wins(monkeypatch):
    times = {"float32": 1.0, "bfloat16": 0.5, "bfloat16-autocast": 0.4}
    classifier = rigged(monkeypatch, times)
    assert classifier.precision_reason == "not probed yet"
    assert classifier.logits(photographs(2)).dtype == torch.float32
    assert classifier.precision == "bfloat16-autocast"
    assert "agrees with float32" in classifier.precision_reason
    assert "0.40 of its time" in classifier.precision_reason
    assert "bfloat16-autocast" in repr(classifier)
    times |= {"bfloat16-autocast": 2.0}
    with rigged(monkeypatch, times).session() as session:
        assert session.precision.name == "bfloat16"
        assert {p.dtype for p in session.module.parameters()} == {torch.bfloat16}
        assert session.normalise(photographs(1)).dtype == torch.bfloat16


def test_a_low_precision_that_gains_little_loses(monkeypatch):
    classifier = rigged(monkeypatch, {"float32": 1.0, "bfloat16": 0.95, "bfloat16-autocast": 1.5})
    classifier.logits(photographs(1))
    assert classifier.precision == "float32"
    assert classifier.precision_reason == (
        "bfloat16-autocast: its first pass took 1.50 of float32's time; bfloat16: takes 0.95 of float32's time"
    )


def test_a_low_precision_that_disagrees_loses(monkeypatch):
    def flipped(logits):
        return -logits

    def crooked(logits):
        return logits + torch.where(logits > -1e9, torch.nan, 0)

    spoil = {"bfloat16": flipped, "bfloat16-autocast": crooked}
    times = {"float32": 1.0, "bfloat16": 0.1, "bfloat16-autocast": 0.1}
    classifier = rigged(monkeypatch, times, spoil=spoil)
    classifier.logits(photographs(1))
    assert classifier.precision == "float32"
    assert "bfloat16: its logits differ by" in classifier.precision_reason
    assert "bfloat16-autocast: it gives non-finite values" in classifier.precision_reason


def test_a_low_precision_with_other_gradients_loses(monkeypatch):
    spoil = {"bfloat16": lambda logits: logits.detach() - (logits - logits.detach())}
    classifier = rigged(monkeypatch, {"float32": 1.0, "bfloat16": 0.1}, names=["bfloat16"], spoil=spoil)
    classifier.logits(photographs(1))
    assert classifier.precision == "float32"
    assert "input gradients agree only to a cosine of -" in classifier.precision_reason


def test_a_low_precision_that_raises_loses(monkeypatch):
    def fail(_logits):
        raise RuntimeError("not implemented for 'BFloat16'\nand a long trace")

    times = {"float32": 1.0, "bfloat16": 0.1, "bfloat16-autocast": 0.2}
    classifier = rigged(monkeypatch, times, spoil={"bfloat16": fail})
    classifier.logits(photographs(1))
    assert classifier.precision == "bfloat16-autocast"
    classifier = rigged(monkeypatch, times, names=["bfloat16"], spoil={"bfloat16": fail})
    classifier.logits(photographs(1))
    assert classifier.precision_reason == "bfloat16: not implemented for 'BFloat16'"


def test_a_classifier_without_gradients_can_be_used():
    class NoGradient(ConvNet):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    torch.manual_seed(0)
    net = NoGradient().eval()
    classifier = make(net, precision="auto", micro_batch=None)
    images = photographs(2)
    assert (classifier.logits(images) - own_logits(net, images)).abs().max() < 0.1
    assert explain(classifier, images, "occlusion").attribution.shape == (2, 32, 32)


@pytest.mark.parametrize("precision", ["bfloat16", "bfloat16-autocast"])
def test_a_precision_that_is_asked_for_is_taken(precision):
    classifier = make(precision=precision)
    assert classifier.precision_reason == "asked for"
    logits = classifier.logits(photographs(3))
    assert logits.dtype == torch.float32
    exact = make().logits(photographs(3))
    assert 0 < (logits - exact).abs().max() < 0.1
    with classifier.session(exact=True) as session:
        assert session.precision.name == "float32"
        torch.testing.assert_close(session.logits(photographs(3)), exact, rtol=0, atol=1e-4)


def test_the_micro_batch_is_found_once_and_kept(monkeypatch):
    asked = []

    def find(evaluate, _device, _budget, **_options):
        asked.append(evaluate)
        evaluate(5)
        return 12

    monkeypatch.setattr(tuning, "find_micro_batch", find)
    classifier = make(micro_batch=None)
    assert classifier.micro_batch is None
    classifier.logits(photographs(1))
    explain(classifier, photographs(1), "saliency")
    assert classifier.micro_batch == 12
    assert len(asked) == 1
    other = make(micro_batch=None)
    for _ in range(2):
        with other.session(exact=True) as session:
            assert session.micro_batch == 12
    assert len(asked) == 2
    assert other.micro_batch is None


def test_an_open_session_is_used_again():
    classifier = make()
    with classifier.session() as one, classifier.session() as two, classifier.session(exact=True) as exact:
        assert one is two
        assert exact is not one
        assert classifier.any_session() is one
        classifier.logits(photographs(1))
    with classifier.session() as three:
        assert three is not one


def test_every_image_is_counted():
    classifier = make(micro_batch=3)
    with classifier.session() as session:
        before = classifier.counter.evaluations
        session.logits(photographs(7))
        assert classifier.counter.evaluations - before == 7
        with classifier.session(exact=True) as exact:
            exact.forward(exact.normalise(photographs(2)))
    assert classifier.counter.evaluations - before == 9


class Full(ConvNet):
    """Runs out of memory above a number of images."""

    fits = 3

    def forward(self, x):
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_running_out_of_memory_halves_the_micro_batch_for_good():
    torch.manual_seed(0)
    net = Full().eval()
    classifier = make(net, micro_batch=3)
    classifier.logits(photographs(1))
    classifier.micro_batch = 8
    images = photographs(9)
    with classifier.session(exact=True) as session:
        with pytest.warns(RuntimeWarning, match="micro-batch of"):
            logits = session.logits(images)
        torch.testing.assert_close(logits, torch.cat([own_logits(net, images[i : i + 1]) for i in range(9)]))
        assert session.micro_batch == 2
    assert classifier.micro_batch == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with classifier.session(exact=True) as session:
            session.logits(images)
            assert not session.shrink_after(RuntimeError("something else"))
            assert session.micro_batch == 2


def test_the_fast_session_remembers_what_did_not_fit():
    classifier = make(micro_batch=8)
    with classifier.session() as session, pytest.warns(RuntimeWarning, match="micro-batch of 4"):
        assert session.shrink_after(MemoryError())
    assert classifier.micro_batch == 4
    with classifier.session() as session:
        with pytest.warns(RuntimeWarning, match="micro-batch of 2"):
            assert session.shrink_after(MemoryError())
        with pytest.warns(RuntimeWarning, match="micro-batch of 1"):
            assert session.shrink_after(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        assert session.micro_batch == 1
        assert not session.shrink_after(MemoryError())
    assert classifier.micro_batch == 1


def test_one_image_that_does_not_fit_is_an_error():
    class Never(ConvNet):
        fits = True

        def forward(self, x):
            if not self.fits:
                raise MemoryError("no room")
            return super().forward(x)

    with make(Never()).session() as session:
        session.module.fits = False
        with pytest.raises(MemoryError, match="no room"), pytest.warns(RuntimeWarning):
            session.logits(photographs(4))


def test_a_resumed_study_computes_as_it_began():
    classifier = make(precision="auto", micro_batch=None)
    twin = with_precision(classifier, "bfloat16", 3)
    assert (twin.precision, twin.micro_batch, twin.precision_reason) == ("bfloat16", 3, "as the study began")
    assert (classifier.precision, classifier.micro_batch) == ("auto", None)
    assert twin.fingerprint() == classifier.fingerprint()
    assert twin.module is classifier.module
    with twin.session() as session, classifier.session() as own:
        assert session.precision.name == "bfloat16"
        assert session.micro_batch == 3
        assert own is not session


# Prediction


@pytest.fixture
def folder(tmp_path):
    """Two classes that `by_colour` knows, one that it does not, one file without a label, one that is no image."""
    for name, colour in (("red/a.png", (250, 10, 10)), ("red/b.png", (10, 250, 10)), ("blue/c.png", (10, 10, 250))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    (tmp_path / "newt").mkdir()
    Image.new("RGB", (40, 30), (250, 10, 10)).save(tmp_path / "newt" / "d.png")
    (tmp_path / "red" / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (40, 30), (255, 255, 255)).save(tmp_path / "unlabelled.png")
    return LabelledImages.from_folder(tmp_path)


class ByColour(nn.Module):
    def forward(self, x):
        colour = x.mean(dim=(2, 3))
        return torch.where((colour > 0.99).all(1, keepdim=True), torch.nan, 4 * colour)


def by_colour(**options) -> Classifier:
    return make(ByColour(), ["red", "green", "blue"], mean=(0, 0, 0), std=(1, 1, 1), **options)


@pytest.mark.parametrize("micro_batch", [1, 2, 64])
def test_predict(folder, micro_batch):
    done = []
    table = by_colour(micro_batch=micro_batch).predict(folder, on_image=done.append)
    columns = "image_id path label predicted correct score margin runner_up reason"
    assert list(table.columns) == columns.split()
    assert sum(done) == len(folder)
    assert list(table["image_id"]) == list(folder.table["image_id"])
    table = table.set_index("image_id")
    assert table["predicted"].dropna().to_dict() == {
        "red/a.png": "red", "red/b.png": "green", "blue/c.png": "blue", "newt/d.png": "red",
    }  # fmt: skip
    assert table["correct"].dropna().to_dict() == {"red/a.png": True, "red/b.png": False, "blue/c.png": True}
    assert "broken.png" in table.loc["red/broken.png", "reason"]
    assert "NaN" in table.loc["unlabelled.png", "reason"]
    assert table["reason"].notna().sum() == 2
    logits = 4 * torch.tensor([250, 10, 10]) / 255
    scores = torch.softmax(logits, 0)
    assert table.loc["red/a.png", "score"] == pytest.approx(float(scores[0]), abs=1e-6)
    assert table.loc["red/a.png", "margin"] == pytest.approx(float(scores[0] - scores[1]), abs=1e-6)
    assert table.loc["red/a.png", "runner_up"] in ("green", "blue")
    assert np.isnan(table.loc["red/broken.png", "score"])


def test_predict_of_nothing_is_an_empty_table(folder):
    nothing = folder.subset([])
    table = by_colour().predict(nothing)
    assert len(table) == 0
    assert "correct" in table.columns
    broken = by_colour().predict(folder.subset(["red/broken.png"]))
    assert broken["predicted"].isna().all()
    assert broken["correct"].isna().all()


def test_predictions_of_sigmoid_heads():
    several = plain(3, ["a", "b", "c"], head="sigmoid").prediction(torch.tensor([2.0, -1.0, 1.0]))
    sigmoid = torch.sigmoid(torch.tensor([2.0, 1.0])).tolist()
    assert several["predicted"] == "a"
    assert several["runner_up"] == "c"
    assert several["score"] == pytest.approx(sigmoid[0])
    assert several["margin"] == pytest.approx(sigmoid[0] - sigmoid[1])
    single = plain(1, ["deer"]).prediction(torch.tensor([3.0, -3.0]))
    assert single["predicted"] == "not deer"
    assert single["score"] == pytest.approx(1 / (1 + math.exp(-3)))
    only = plain(3, head="sigmoid").prediction(torch.tensor([torch.inf, 0, 0]))
    assert "infinite" in only["reason"]


def test_boxes_are_cropped_to(tmp_path):
    image = Image.new("RGB", (100, 100), (10, 250, 10))
    image.paste((250, 10, 10), (60, 60, 90, 90))
    image.save(tmp_path / "animal.png")
    (tmp_path / "t.csv").write_text("path,label,x0,y0,x1,y1\nanimal.png,red,65,65,85,85\n")
    data = LabelledImages.from_csv(tmp_path / "t.csv")
    assert by_colour().predict(data)["predicted"].tolist() == ["green"]
    boxed = by_colour(use_boxes=True, box_padding=0.0)
    assert boxed.preprocessing.use_boxes
    assert boxed.predict(data)["predicted"].tolist() == ["red"]
    assert boxed.fingerprint() != by_colour().fingerprint()
    (tmp_path / "t.csv").write_text("path,label,x0,y0,x1,y1\nanimal.png,red,165,165,185,185\n")
    outside = boxed.predict(LabelledImages.from_csv(tmp_path / "t.csv"))
    assert "outside" in outside["reason"].iloc[0]


# Fingerprint


def test_the_fingerprint_is_stable():
    net = conv_net()
    classifier = make(net)
    fingerprint = classifier.fingerprint()
    assert len(fingerprint) == 64
    classifier.logits(photographs(2))
    explain(classifier, photographs(1), "fido")
    assert classifier.fingerprint() == fingerprint
    assert make(conv_net()).fingerprint() == fingerprint
    assert make(net, precision="bfloat16", micro_batch=9, name="mine", layer="features").fingerprint() == fingerprint
    assert make(conv_net().to(memory_format=torch.channels_last)).fingerprint() == fingerprint
    assert make(conv_net().train().requires_grad_(False)).fingerprint() == fingerprint


def test_the_fingerprint_changes_with_what_changes_the_answers():
    seen = {make().fingerprint()}
    weight = conv_net()
    weight.head.weight.data[0, 0] += 1e-6
    statistics = conv_net()
    statistics.features[1].running_mean[0] += 1e-6
    for other in (
        make(weight),
        make(statistics),
        make(names=["a", "b", "c", "d"]),
        make(names=["a", "b", "d", "c"]),
        make(head="sigmoid"),
        make(size=(32, 40)),
        make(mean=(0.4, 0.4, 0.4)),
        make(std=(0.4, 0.4, 0.4)),
        make(fit="squash"),
        make(crop_share=0.5),
        make(interpolation="bicubic"),
        make(use_boxes=True),
        make(use_boxes=True, box_padding=0.2),
    ):
        seen.add(other.fingerprint())
    assert len(seen) == 14


# On a GPU

cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("home", [pytest.param("cpu", marks=cuda), pytest.param("cuda", marks=cuda)])
@pytest.mark.parametrize("images_on", ["cpu", "cuda"])
def test_on_a_gpu_wherever_module_and_images_are(home, images_on):
    net = conv_net().to(home)
    before = state_of(net)
    images = photographs(5)
    expected = make().logits(images)
    classifier = make(net, device="cuda", micro_batch=None)
    logits = classifier.logits(images.to(images_on))
    assert logits.device.type == "cpu"
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-2)  # TF32, where it is switched on
    masks = explain(classifier, images.to(images_on), "fido", targets=torch.tensor([0, 1, 2, 3, 0]), steps=2)
    assert not masks.failures
    assert masks.joint.device.type == "cpu"
    assert classifier.micro_batch >= 4
    torch.testing.assert_close(make(net, device="cpu").logits(images), expected, rtol=0, atol=1e-4)
    assert_same_state(before, state_of(net))


@pytest.mark.parametrize("precision", [pytest.param(name, marks=cuda) for name in [*frozen.PRECISIONS, "auto"]])
def test_every_precision_on_a_gpu(precision):
    classifier = make(device="cuda", precision=precision, micro_batch=None)
    assert (classifier.logits(photographs(5)) - make().logits(photographs(5))).abs().max() < 0.2
    assert classifier.precision in frozen.PRECISIONS
    assert classifier.precision_reason


def test_the_whole_frame_is_one_option_away():
    from fidokit.cli.options import FITS
    from fidokit.data.geometry import Fit

    classifier = Classifier(ConvNet(3), list("abc"), size=(32, 32), crop_share=0.8)
    whole = classifier.with_fit("squash")
    assert (whole.preprocessing.fit, whole.preprocessing.crop_share) == ("squash", 1.0)
    assert (classifier.preprocessing.fit, classifier.preprocessing.crop_share) == ("crop", 0.8)
    assert whole.preprocessing.geometry(400, 300).unseen_words() is None
    with pytest.raises(SettingsError, match="fit must be one of"):
        classifier.with_fit("glimpse")
    assert get_args(Fit) == FITS
