"""The fast gradient of strided depthwise convolutions against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from fidokit.models.depthwise import FastDepthwise, _strided_depthwise


@pytest.mark.parametrize("size", [(9, 9), (10, 13), (8, 7), (15, 16)])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (2, 3), (1, 1)])
@pytest.mark.parametrize("stride", [2, 3, (2, 1)])
@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_values_and_gradients_are_torchs(size, kernel, stride, padding, dilation):
    reach = [dilation * (k - 1) for k in kernel]
    margins = (padding, padding) if isinstance(padding, int) else padding
    if any(s + 2 * m <= r for s, m, r in zip(size, margins, reach, strict=True)):
        pytest.skip("the kernel is larger than the image")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, *size, dtype=torch.float64, generator=generator)
    weight = torch.randn(4, 1, *kernel, dtype=torch.float64, generator=generator)
    bias = torch.randn(4, dtype=torch.float64, generator=generator)
    results = []
    for mode in (FastDepthwise(), None):
        leaf = x.clone().requires_grad_(True)
        if mode is None:
            y = functional.conv2d(leaf, weight, bias, stride, padding, dilation, 4)
        else:
            with mode:
                y = functional.conv2d(leaf, weight, bias, stride, padding, dilation, 4)
        weights = torch.arange(y.numel(), dtype=torch.float64).view_as(y).sin()
        results.append((y.detach(), torch.autograd.grad((y * weights).sum(), leaf)[0]))
    torch.testing.assert_close(results[0], results[1], atol=1e-10, rtol=1e-10)


def test_it_reaches_convolutions_inside_modules():
    net = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    net.requires_grad_(False)
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    with FastDepthwise():
        y = net(x)
    names = set()
    pending = [y.grad_fn]
    while pending:
        node = pending.pop()
        names.add(node.name())
        pending += [parent for parent, _ in node.next_functions if parent is not None]
    assert any("StridedDepthwise" in name for name in names)


@pytest.mark.parametrize(
    "call",
    [
        {"groups": 2, "stride": 2},
        {"groups": 4, "stride": 1},
        {"groups": 4, "stride": 2, "padding": "valid"},
        {"groups": 4, "stride": 2, "padding": 3},
    ],
)
def test_other_convolutions_are_left_to_torch(call):
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    assert _strided_depthwise(x, torch.randn(4, 4 // call["groups"], 3, 3), None, **call) is None


def test_weights_that_learn_and_images_without_gradient_are_left_to_torch():
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(4, 1, 3, 3)
    assert _strided_depthwise(x, weight, stride=2, groups=4) is None
    x.requires_grad_(True)
    assert _strided_depthwise(x, weight, stride=2, groups=4) is not None
    weight.requires_grad_(True)
    assert _strided_depthwise(x, weight, stride=2, groups=4) is None


def test_under_autocast_the_gradient_has_the_images_type():
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16), FastDepthwise():
        y = functional.conv2d(x, weight, None, 2, 1, 1, 4)
    (fast,) = torch.autograd.grad(y.float().sum(), x)
    (exact,) = torch.autograd.grad(functional.conv2d(x, weight, None, 2, 1, 1, 4).sum(), x)
    assert y.dtype == torch.bfloat16
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, exact, atol=0.1, rtol=0.02)
