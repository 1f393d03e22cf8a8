"""Modules that take something else than (B, 3, H, W): adapted and said, or refused with the line to write."""

from __future__ import annotations

import re

import pytest
import torch
from nets import ConvNet, conv_net, photographs
from torch import nn

import fidokit as fk
from fidokit.exceptions import ClassifierError
from fidokit.models.adapting import ChannelsLast, OneChannel, SwappedChannels
from fidokit.models.classifier import Classifier
from fidokit.study.store.manifest import describe_classifier

OPTIONS = {"size": (32, 32), "device": "cpu", "precision": "float32", "micro_batch": 4}
PLAIN = OPTIONS | {"mean": 0, "std": 1}


def first_conv(channels: int, seed: int = 0) -> ConvNet:
    net = conv_net(seed=seed)
    torch.manual_seed(seed)
    net.features[0] = nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False)
    return net


class Permuted(nn.Module):
    """As converters from Keras write it: the input is (B, H, W, C)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.net = first_conv(channels)

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2))


class DenseLast(nn.Module):
    """Channels last all the way: a linear layer at each pixel, then a mean."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pixel, self.head = nn.Linear(channels, 8), nn.Linear(8, 4)

    def forward(self, x):
        if x.shape[-1] != self.pixel.in_features:
            raise ValueError("channels must come last")
        return self.head(self.pixel(x).relu().mean(dim=(1, 2)))


def luminance(x):
    return (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def digits():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 16), nn.ReLU(), nn.Linear(16, 4))


@pytest.mark.parametrize(
    ("net", "own_input", "said"),
    [
        (first_conv(1), luminance, "one channel: the luminance"),
        (digits(), luminance, "one channel: the luminance"),
        (Permuted(), lambda x: x.permute(0, 2, 3, 1), r"channels last: a permute to (B, H, W, C)"),
        (DenseLast(), lambda x: x.permute(0, 2, 3, 1), "channels last"),
        (Permuted(1), lambda x: luminance(x).permute(0, 2, 3, 1), "one channel: the luminance is put before it; chan"),
        (DenseLast(1), lambda x: luminance(x).permute(0, 2, 3, 1), "channels last"),
    ],
    ids=["one channel", "one channel, flattened", "NHWC", "NHWC all the way", "NHW1", "NHW1 all the way"],
)
def test_one_channel_and_channels_last_work_and_are_said(net, own_input, said):
    net.eval()
    classifier = Classifier(net, list("abcd"), **PLAIN)
    assert said in repr(classifier)
    assert repr(classifier).startswith(f"Classifier({type(net).__name__}, 4 classes")
    assert describe_classifier(classifier)["module"] == type(net).__name__
    images = photographs(5)
    with torch.no_grad():
        expected = net(own_input(images))
    torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    for method in ("fido", "saliency"):
        assert not fk.explain(classifier, images[:2], method).failures
    assert [p.requires_grad for p in net.parameters()] == [True] * len(list(net.parameters()))


def test_mean_and_std_of_one_channel():
    images = photographs(3)
    net = first_conv(1)
    with torch.no_grad():
        expected = net((luminance(images) - 0.13) / 0.31)
    for mean, std in (((0.13,), [0.31]), (0.13, 0.31), ((0.13, 0.13, 0.13), (0.31, 0.31, 0.31))):
        classifier = Classifier(net, mean=mean, std=std, **OPTIONS)
        torch.testing.assert_close(classifier.logits(images), expected, rtol=0, atol=1e-4)
    assumed = Classifier(net, **OPTIONS).preprocessing
    assert assumed.mean == pytest.approx((0.449,) * 3)
    assert assumed.std == pytest.approx((0.226,) * 3)


def test_layers_of_an_adapted_module_keep_their_names():
    classifier = Classifier(first_conv(1), layer="features.3", **PLAIN)
    assert classifier.layer == "module.features.3"
    assert not fk.explain(classifier, photographs(2), "grad-cam").failures


def test_adapters_change_the_fingerprint():
    net = conv_net()
    assert Classifier(SwappedChannels(net), **PLAIN).fingerprint() != Classifier(net, **PLAIN).fingerprint()
    images = photographs(2)
    torch.testing.assert_close(
        Classifier(SwappedChannels(net), **PLAIN).logits(images), Classifier(net, **PLAIN).logits(images.flip(1))
    )


# What cannot be adapted


class WithMeta(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.head = conv_net(), nn.Linear(3, 4)

    def forward(self, image, meta):
        return self.net(image) + self.head(meta)


class WithTwo(WithMeta):
    def forward(self, image, meta, place):
        return super().forward(image, meta + place)


class OfADict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = conv_net()

    def forward(self, batch):
        return self.net(batch["pixels"])


class OfAList(OfADict):
    def forward(self, images):
        assert isinstance(images, list)
        return self.net(torch.stack(images))


class OfAVideo(OfADict):
    def forward(self, clips):
        b, t, c, h, w = clips.shape
        return self.net(clips.reshape(-1, c, h, w)).view(b, t, -1).mean(1)


class ByName(OfADict):
    def forward(self, *, pixel_values):
        return self.net(pixel_values)


class OfIntegers(nn.Module):
    """Takes pixels of one dtype only, and scales them itself."""

    def __init__(self, dtype, last=False) -> None:
        super().__init__()
        self.net, self.dtype, self.last = conv_net(), dtype, last

    def forward(self, x):
        if x.dtype != self.dtype:
            raise TypeError(f"expected {self.dtype}")
        x = x.permute(0, 3, 1, 2) if self.last else x
        return self.net(x.float() / 255)


def quantised():
    from torch.ao.nn.quantized import Conv2d

    return nn.Sequential(Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: first_conv(4), r"takes 4 channels, photographs have 3.*self.net\(torch.cat\(\[x, ...\], 1\)\)  # "),
        (lambda: first_conv(10), r"takes 10 channels.*the other 7, \(B, 7, H, W\)"),
        (lambda: first_conv(2), r"takes 2 channels.*self.net\(x\[:, :2\]\)"),
        (WithMeta, r"takes more than an image: also meta\..*self.net\(x, meta=self.meta.expand\(len\(x\), -1\)\)"),
        (WithTwo, r"also meta, place\..*def __init__\(self, net, meta, place\)"),
        (lambda: nn.Sequential(WithMeta()), r"also meta\."),
        (lambda: torch.jit.script(WithMeta()), r"also meta\."),
        (OfADict, r"takes a dict, not a tensor.*return self.net\(\{'pixels': x\}\)"),
        (OfAList, r"takes a list of images, not a tensor.*return self.net\(list\(x\)\)"),
        (OfAVideo, r"takes several images at once, \(B, T, 3, H, W\).*return self.net\(x\[:, None\]\)"),
        (ByName, r"takes its image by name alone.*return self.net\(pixel_values=x\)"),
        (lambda: OfIntegers(torch.uint8), r"takes uint8 pixels.*self.net\(\(x \* 255\).round\(\).to\(torch.uint8\)\)"),
        (lambda: OfIntegers(torch.uint8, last=True), r"takes uint8 pixels.*permute\(0, 2, 3, 1\)"),
        (lambda: OfIntegers(torch.int8), r"takes int8 pixels.*\(\(x \* 255 - 128\).round\(\).to\(torch.int8\)\)"),
        (quantised, r"is quantised and takes quantised tensors.*torch.quantize_per_tensor\(x, SCALE, ZERO_POINT"),
    ],
    ids=[
        "4 channels", "10 channels", "2 channels", "metadata", "two more", "metadata inside", "scripted", "dict",
        "list", "video", "by name",
        "uint8", "uint8 NHWC", "int8", "quantised",
    ],
)  # fmt: skip
def test_what_cannot_be_adapted_is_refused_with_the_line_to_write(make, message):
    with pytest.raises(ClassifierError, match=re.compile(message, re.DOTALL)) as caught:
        Classifier(make(), **PLAIN)
    assert "size" not in str(caught.value).replace("quantised", "")
    assert "class " in str(caught.value)


def test_the_lines_to_write_work():
    class Wrapped(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net((x * 255).round().to(torch.uint8))

    class OneInput(nn.Module):
        def __init__(self, net, meta):
            super().__init__()
            self.net = net
            self.meta = meta

        def forward(self, x):
            return self.net(x, meta=self.meta.expand(len(x), -1))

    for net in (Wrapped(OfIntegers(torch.uint8)), OneInput(WithMeta(), torch.rand(1, 3))):
        classifier = Classifier(net, **PLAIN)
        assert classifier.logits(photographs(3)).shape == (3, 4)
        assert not fk.explain(classifier, photographs(1), "occlusion").failures


# The size


def flat(side, channels=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 4))


class Fixed(nn.Module):
    """Refuses any size but its own, as vision transformers do."""

    def __init__(self, side) -> None:
        super().__init__()
        self.net, self.side = conv_net(), side

    def forward(self, x):
        if x.shape[-1] != self.side:
            raise AssertionError(f"Input height ({x.shape[-1]}) doesn't match model ({self.side})")
        return self.net(x)


@pytest.mark.parametrize(
    ("net", "side"),
    [(flat(28, 1), 28), (flat(48), 48), (Fixed(96), 96), (nn.Sequential(nn.ReLU(), flat(64)), 64)],
    ids=["digits", "an unusual size", "fixed", "behind something"],
)
def test_a_wrong_size_is_named(net, side):
    with pytest.raises(
        ClassifierError, match=rf"cannot be run on 32 x 32 pixels: .*is `size` right\? Give size={side},"
    ):
        Classifier(net, **PLAIN)
    assert Classifier(net, **(PLAIN | {"size": side})).size == (side, side)


class Fails(ConvNet):
    def forward(self, x):
        raise KeyError("weights of stage 3")


class FailsWithoutAWord(ConvNet):
    def forward(self, x):
        raise AssertionError


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (FailsWithoutAWord(), r"cannot be run on a \(1, 3, 32, 32\) image: AssertionError$"),
        (Fails(), r"Fails cannot be run on a \(1, 3, 32, 32\) image: 'weights of stage 3'$"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), r"takes one channel, and with the luminance as input, .*logits of sh"),
        (Fixed(97), r"doesn't match model \(97\)\. No usual input size was found to fit either; give the `size`"),
        (nn.Sequential(conv_net(), nn.Linear(7, 2)), r"cannot be multiplied.*No usual input size"),
    ],
)  # fmt: skip
def test_the_size_is_not_blamed_for_something_else(net, message):
    with pytest.raises(ClassifierError, match=message):
        Classifier(net, **PLAIN)


def test_a_squeezed_batch_is_named():
    class Squeezed(ConvNet):
        def forward(self, x):
            return super().forward(x).squeeze()

    with pytest.raises(ClassifierError, match=r"returned 4 rows for one image.*squeeze\(dim\)"):
        Classifier(Squeezed(), **PLAIN)


def test_adapters_pass_what_the_module_wants():
    x = torch.rand(2, 3, 5, 7)
    assert OneChannel(nn.Identity())(x).shape == (2, 1, 5, 7)
    assert ChannelsLast(nn.Identity())(x).shape == (2, 5, 7, 3)
    assert torch.equal(SwappedChannels(nn.Identity())(x)[:, 0], x[:, 2])
