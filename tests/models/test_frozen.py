from __future__ import annotations

import pytest
import torch
from nets import conv_net, photographs
from torch import nn

from fidokit.exceptions import ClassifierError
from fidokit.models import devices, frozen
from fidokit.models.classifier import Classifier

CPU = torch.device("cpu")


def probe(n=4, size=(32, 32)):
    return (photographs(n, size) - 0.5) * 4


# Borrowing and copying


def test_a_borrowed_module_is_frozen_and_comes_back():
    net = conv_net().train()
    net.features[1].eval()
    net.head.bias.requires_grad_(False)
    training = [m.training for m in net.modules()]
    trainable = [p.requires_grad for p in net.parameters()]

    def use():
        with frozen.frozen_in_place(net) as lent:
            assert lent is net
            assert not any(m.training for m in net.modules())
            assert not any(p.requires_grad for p in net.parameters())
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        use()
    assert [m.training for m in net.modules()] == training
    assert [p.requires_grad for p in net.parameters()] == trainable


def test_a_frozen_copy_shares_nothing_but_hooks():
    net = conv_net().train()
    twin = frozen.frozen_copy(net, CPU)
    ours = {t.data_ptr() for t in (*net.parameters(), *net.buffers())}
    assert ours.isdisjoint(t.data_ptr() for t in (*twin.parameters(), *twin.buffers()))
    assert not any(m.training for m in twin.modules())
    assert not any(p.requires_grad for p in twin.parameters())
    for weight, own in zip(twin.parameters(), net.parameters(), strict=True):
        assert torch.equal(weight, own)
    assert twin.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert not net.features[3].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_frozen_copy_takes_another_precision_and_layout():
    net = conv_net()
    twin = frozen.frozen_copy(net, CPU, torch.bfloat16, torch.contiguous_format)
    assert {p.dtype for p in twin.parameters()} == {torch.bfloat16}
    assert twin.features[3].weight.is_contiguous()
    assert twin.features[1].num_batches_tracked.dtype == torch.int64


def test_weights_that_are_tied_stay_tied():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    net[1].weight = net[0].weight
    twin = frozen.frozen_copy(net, CPU)
    assert twin[0].weight is twin[1].weight


# Memory format


class Picky(nn.Module):
    def __init__(self, wanted) -> None:
        super().__init__()
        self.conv, self.wanted = nn.Conv2d(3, 4, 3), wanted

    def forward(self, x):
        if not x.is_contiguous(memory_format=self.wanted):
            raise RuntimeError("not in that layout")
        return self.conv(x).mean(dim=(2, 3))


@pytest.mark.parametrize("wanted", [torch.channels_last, torch.contiguous_format])
def test_the_memory_format_is_one_that_works(wanted):
    net = frozen.frozen_copy(Picky(wanted), CPU)
    assert frozen.find_memory_format(net, probe()) == wanted
    assert net.conv.weight.is_contiguous(memory_format=wanted)


def test_no_memory_format_helps_a_module_that_cannot_be_run():
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError("Guard failed: x.size()[0] == 1")

    with pytest.raises(
        ClassifierError, match=r"Never cannot be run on a batch of 4 images: Guard failed.*dynamic_shapes"
    ):
        frozen.find_memory_format(Never(), probe())

    class Full(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        frozen.find_memory_format(Full(), probe())


# Folding


def folded_by_a_session(net, size=(32, 32)):
    """The module of a fast session."""
    with Classifier(net, size=size, device="cpu", precision="float32", micro_batch=4).session() as session:
        return session.module


def in_two_steps(net, x):
    with torch.no_grad():
        return net(x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folding_is_exact(bias, affine):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 8, 3, stride=2, groups=1, bias=bias), nn.BatchNorm2d(8, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    net = frozen.frozen_copy(nn.Sequential(conv, norm, nn.AdaptiveAvgPool2d(1), nn.Flatten()), CPU)
    folded = folded_by_a_session(net)
    assert folded is not net
    assert isinstance(folded[1], nn.Identity)
    assert isinstance(net[1], nn.BatchNorm2d)
    other = probe(2, (40, 24))
    torch.testing.assert_close(in_two_steps(folded, other), in_two_steps(net, other), rtol=1e-5, atol=1e-5)
    scale = (norm.weight if affine else 1) / torch.sqrt(norm.running_var + norm.eps)
    torch.testing.assert_close(folded[0].weight, (conv.weight * (scale * torch.ones(8)).view(-1, 1, 1, 1)))


def test_grouped_convolutions_are_folded_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    nn.init.uniform_(net[1].running_var, 0.2, 3)
    folded = folded_by_a_session(net)
    assert isinstance(folded[1], nn.Identity)
    torch.testing.assert_close(in_two_steps(folded, probe(3)), in_two_steps(net, probe(3)))


def test_a_fold_that_changes_the_logits_is_taken_back():
    class InBetween(nn.Module):
        """What stands between the two works in place, so the tensor is the same and its values are not."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            x += 1
            return self.norm(x).mean(dim=(2, 3))

    net = InBetween().eval()
    nn.init.uniform_(net.norm.running_var, 0.2, 3)
    assert isinstance(folded_by_a_session(net).norm, nn.BatchNorm2d)
    torch.testing.assert_close(in_two_steps(folded_by_a_session(net), probe()), in_two_steps(net, probe()))


def test_nothing_to_fold_is_left_as_it_is():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert isinstance(folded_by_a_session(net)[2], nn.BatchNorm2d)
    nan = conv_net()
    nan.head.bias.data[0] = torch.nan
    assert any(isinstance(m, nn.BatchNorm2d) for m in folded_by_a_session(nan).modules())


def test_only_pairs_are_folded():
    net = conv_net()
    for names in (("features.0", "features.3"), ("features.1", "features.1"), ("features.2", "features.1")):
        with pytest.raises(TypeError, match="cannot be folded into"):
            frozen.fold_pairs(net, (names,))
    with pytest.raises(AttributeError):
        frozen.fold_pairs(net, (("features.0", "elsewhere"),))


def test_folding_leaves_no_hook_behind():
    net = conv_net()
    folded = folded_by_a_session(net)
    for module in (*net.modules(), *folded.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# Precision


@pytest.mark.parametrize(
    ("native", "names"),
    [
        ([], []),
        (["bfloat16"], ["bfloat16", "bfloat16-autocast"]),
        (["bfloat16", "float16"], ["bfloat16", "bfloat16-autocast", "float16", "float16-autocast"]),
    ],
)
def test_candidates_are_what_the_device_computes_natively(monkeypatch, native, names):
    monkeypatch.setattr(devices, "native", lambda _device: native)
    assert [p.name for p in frozen.candidates(CPU)] == names
    assert all(name == p.name for name, p in frozen.PRECISIONS.items())


def test_forward_and_input_gradient_of_a_linear_map():
    weight = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]])
    images = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0]).view(2, 3, 1, 1)
    logits, gradient = frozen.forward_and_input_gradient(lambda x: x.flatten(1) @ weight.T, images)
    assert logits.tolist() == [[6.0, -0.5], [-6.0, 0.5]]
    assert gradient.flatten(1).tolist() == [[1, 2, 3], [0.5, -1, 0]]  # of the larger logit of each image
    with torch.no_grad():
        again = frozen.forward_and_input_gradient(lambda x: x.flatten(1) @ weight.T, images)
    assert torch.equal(again[1], gradient)


def test_no_gradient_is_a_gradient_of_zero():
    logits, gradient = frozen.forward_and_input_gradient(lambda x: x.detach().mean((2, 3)), probe())
    assert not gradient.any()
    assert frozen.disagreement((logits, gradient), (logits, gradient)) is None


def test_disagreement_says_what_differs():
    torch.manual_seed(0)
    logits, gradient = torch.randn(8, 10), torch.randn(8, 3, 28, 28)
    spread = logits.std()
    assert frozen.disagreement((logits, gradient), (logits, gradient)) is None
    near = logits + 0.09 * spread
    far = logits + 0.11 * spread
    assert frozen.disagreement((logits, gradient), (near, gradient)) is None
    assert "logits differ by 0.11 of their spread" in frozen.disagreement((logits, gradient), (far, gradient))
    assert "cosine of -1.00" in frozen.disagreement((logits, gradient), (logits, -gradient))
    nan = gradient.clone()
    nan[0, 0, 0, 0] = torch.nan
    assert "non-finite" in frozen.disagreement((logits, gradient), (logits, nan))
    assert "non-finite" in frozen.disagreement((logits, gradient), (logits / 0, gradient))
    # Pixel noise that averages out over a cell of a mask is no reason: what counts is the pooled gradient.
    blocks = torch.randn(8, 3, 14, 14).repeat_interleave(4, 2).repeat_interleave(4, 3)
    checkered = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(28, 28)
    assert frozen.disagreement((logits, blocks), (logits, blocks + 10 * checkered)) is None


# Memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_is_out_of_memory(error, expected):
    assert frozen.is_out_of_memory(error) is expected


def test_logits_of():
    assert frozen.logits_of(torch.ones(2, 3)).shape == (2, 3)
    assert frozen.logits_of(torch.ones(2)).shape == (2, 1)
    with pytest.raises(ClassifierError, match="list"):
        frozen.logits_of([torch.ones(2, 3)])
