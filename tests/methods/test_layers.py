"""The layer that is found, its maps and the class activation maps, against closed forms, Captum and plain autograd."""

from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods.layers import (
    class_activation_map,
    find_layer,
    grad_cam,
    hires_cam,
    layer_cam,
    layer_maps,
)
from fidokit.models.classifier import Classifier

SIZE = (32, 48)


def conv_net(*, inplace=False, classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.Identity()
        self.attn_drop = nn.Dropout(0.1)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = self.attn_drop((self.q_norm(q) @ k.transpose(-2, -1) / (d / self.heads) ** 0.5).softmax(-1))
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.mlp = (
            nn.LayerNorm(dim),
            nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)),
        )

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Patches of 8 pixels; reads the class token, or the mean of the grid's tokens where there is none."""

    def __init__(self, prefix=1, dim=8, classes=3, convolve=True, normed=True, cells=24, heads=2):
        super().__init__()
        self.prefix = prefix
        self.patch = nn.Conv2d(3, dim, 8, 8) if convolve else nn.Linear(3 * 64, dim)
        self.convolve = convolve
        self.tokens = nn.Parameter(torch.randn(1, prefix, dim))
        self.position = nn.Parameter(torch.randn(1, cells + prefix, dim))
        self.blocks = nn.Sequential(Block(dim, heads), Block(dim, heads))
        self.norm = nn.LayerNorm(dim) if normed else nn.Identity()
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        if self.convolve:
            x = self.patch(x).flatten(2).transpose(1, 2)
        else:
            x = self.patch(nn.functional.unfold(x, 8, stride=8).transpose(1, 2))
        x = torch.cat([self.tokens.expand(len(x), -1, -1), x], dim=1) + self.position
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.prefix else x.mean(1))


class ChannelsLast(nn.Module):
    """A Swin's layout: maps are (B, h, w, C) from the patch embedding on."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 8, 8)
        self.mix = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.norm(self.mix(self.patch(x).permute(0, 2, 3, 1)).tanh())
        return self.head(x.square().mean(dim=(1, 2)))


class MergedTokens(nn.Module):
    """Hugging Face's Swin: (B, N, C) throughout, and four neighbouring tokens become one half way."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 4, 4, 4)
        self.first, self.merge, self.last = nn.LayerNorm(4), nn.Linear(16, 8), nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(self.patch(x).flatten(2).transpose(1, 2))
        x = nn.functional.unfold(x.transpose(1, 2).view(-1, 4, 8, 12), 2, stride=2).transpose(1, 2)
        return self.head(self.last(self.merge(x)).square().mean(1))


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1], 8), nn.ReLU(), nn.Linear(8, 3))


class TupleOutput(nn.Module):
    """Its block returns (features, None), as attention layers and Hugging Face's blocks do."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 3, 4, 4))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight, stride=4).tanh(), None

    def __init__(self):
        super().__init__()
        self.inner, self.head = self.Inner(), nn.Linear(8, 3)

    def forward(self, x):
        features, _ = self.inner(x)
        return self.head(features.square().mean(dim=(2, 3)))


class TwiceCalled(nn.Module):
    """One activation module after both convolutions, as in torchvision's residual blocks."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)
        self.act, self.head = nn.Softplus(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.act(self.b(self.act(self.a(x)))).square().mean(dim=(2, 3)))


class InPlaceAddition(nn.Module):
    """Overwrites a layer's input after an Identity has passed it on, and its output right after it."""

    def __init__(self):
        super().__init__()
        self.conv, self.keep, self.head = nn.Conv2d(3, 6, 4, 4), nn.Identity(), nn.Linear(6, 3)

    def forward(self, x):
        features = self.conv(x)
        kept = self.keep(features)
        with torch.no_grad():
            features.mul_(0)
        kept += 1
        return self.head(kept.square().mean(dim=(2, 3)))


def classifier(module, *, micro_batch=4, size=SIZE, seed=0, **options):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
    return Classifier(module, size=size, device="cpu", precision="float32", micro_batch=micro_batch, **options)


def photographs(n=3, size=SIZE, seed=1):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def session_of():
    """(classifier, n) -> an open session without evaluations, n normalised images and their goal."""
    with ExitStack() as stack:

        def make(clf, n=3, *, exact=True, targets=None, against=None):
            images = photographs(n, clf.size)
            session = stack.enter_context(clf.session(exact=exact))
            targets = [i % len(clf.class_names) for i in range(n)] if targets is None else targets
            goal = clf.goal(session.logits(images), targets, against)
            session.counter.evaluations = 0
            return session, session.normalise(images), goal

        yield make


@pytest.mark.parametrize(
    ("module", "layer", "grid"),
    [
        (conv_net(), "4", (8, 12)),
        (conv_net(inplace=True), "4", (8, 12)),
        (nn.Sequential(conv_net()[:4], nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 6, 3)), "0", (8, 12)),
        (ChannelsLast(), "norm", (4, 6)),
        (TupleOutput(), "inner", (8, 12)),
        (TwiceCalled(), "act", (8, 12)),
        (ViT(prefix=0), "norm", (4, 6)),
        (ViT(prefix=1), "blocks.1.norm1", (4, 6)),
        (ViT(prefix=2), "blocks.1.norm1", (4, 6)),
        (ViT(prefix=5), "blocks.1.norm1", (4, 6)),
        (ViT(prefix=1, convolve=False), "blocks.1.norm1", (4, 6)),
        (ViT(prefix=0, normed=False), "blocks", (4, 6)),
        (MergedTokens(), "last", (4, 6)),
    ],
)
def test_the_layer_is_found_and_gives_a_map(session_of, module, layer, grid):
    session, x, goal = session_of(classifier(module))
    assert find_layer(session, x) == layer
    cam = class_activation_map(session, x, goal, layer)
    assert cam.shape == (3, *grid)
    assert cam.dtype == torch.float32
    assert cam.flatten(1).std(1).min() > 0


def test_the_layer_is_found_once_a_session_and_each_map_costs_one_evaluation(session_of):
    session, x, goal = session_of(classifier(conv_net()))
    name = find_layer(session, x)
    assert session.counter.evaluations == 2
    for _ in range(3):
        assert find_layer(session, x) == name
    class_activation_map(session, x, goal, name)
    assert session.counter.evaluations == 2 + len(x)


@pytest.mark.parametrize("micro_batch", [1, 2, 8])
def test_grad_cam_is_captums_on_a_convolutional_net(session_of, micro_batch):
    clf = classifier(conv_net(), micro_batch=micro_batch)
    session, x, goal = session_of(clf, 5)
    theirs = LayerGradCam(session.module, session.module[3]).attribute(x.clone().requires_grad_(), target=goal.target)
    torch.testing.assert_close(class_activation_map(session, x, goal, "3"), theirs[:, 0].detach(), rtol=1e-5, atol=1e-6)


def test_a_contrast_is_the_difference_of_two_maps(session_of):
    clf = classifier(conv_net())
    session, x, goal = session_of(clf, targets=[0, 1, 2], against=[2, 0, 1])
    other = clf.goal(session.logits(photographs()), [2, 0, 1])
    own = clf.goal(session.logits(photographs()), [0, 1, 2])
    difference = class_activation_map(session, x, own, "4") - class_activation_map(session, x, other, "4")
    torch.testing.assert_close(class_activation_map(session, x, goal, "4"), difference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("module", [conv_net(), ViT(), ChannelsLast()])
def test_images_together_are_images_one_at_a_time(session_of, module):
    session, x, goal = session_of(classifier(module, micro_batch=3), 3, targets=[2, 0, 1])
    layer = find_layer(session, x)
    together = class_activation_map(session, x, goal, layer)
    alone = [class_activation_map(session, x[i : i + 1], goal[slice(i, i + 1)], layer) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-6)


def test_closed_form_on_mean_pooled_features(session_of):
    # logits = W mean(A): the gradient is W_c / (h w) everywhere, and all three maps are W_c . A / (h w), LayerCAM with
    # the positive weights alone.
    module = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    session, x, goal = session_of(classifier(module))
    with torch.no_grad():
        features = session.module[0](x)
    weights = session.module[3].weight[goal.target][:, :, None, None] / (8 * 12)
    activations, gradients, logits = layer_maps(session, x, goal, "0")
    torch.testing.assert_close(activations, features)
    torch.testing.assert_close(gradients, weights.expand_as(features))
    torch.testing.assert_close(logits, session.forward(x))
    expected = (weights * features).sum(1)
    torch.testing.assert_close(grad_cam(activations, gradients), expected)
    torch.testing.assert_close(hires_cam(activations, gradients), expected)
    torch.testing.assert_close(layer_cam(activations, gradients), (weights.relu() * features).sum(1))


def test_the_three_maps_differ_as_published():
    activations = torch.tensor([1.0, 2.0, -3.0, 4.0]).view(1, 1, 2, 2)
    gradients = torch.tensor([1.0, -1.0, 2.0, 2.0]).view(1, 1, 2, 2)
    assert grad_cam(activations, gradients).flatten().tolist() == [1, 2, -3, 4]
    assert hires_cam(activations, gradients).flatten().tolist() == [1, -2, -6, 8]
    assert layer_cam(activations, gradients).flatten().tolist() == [1, 0, -6, 8]


def test_tokens_become_maps_in_reading_order_without_the_class_token(session_of):
    session, x, goal = session_of(classifier(ViT(prefix=1)))
    seen = []
    block = session.module.blocks[1].norm1
    handle = block.register_forward_hook(lambda _m, _a, out: seen.append(out))
    logits = session.forward(x.clone().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, goal.target[:, None]).sum(), seen[0])
    activations, gradients, _ = layer_maps(session, x, goal, "blocks.1.norm1")
    for row, column in [(0, 0), (0, 5), (2, 3), (3, 5)]:
        torch.testing.assert_close(activations[:, :, row, column], seen[0][:, 1 + 6 * row + column])
        torch.testing.assert_close(gradients[:, :, row, column], gradient[:, 1 + 6 * row + column])


def test_a_mean_pooled_transformer_has_its_class_activation_map(session_of):
    session, x, goal = session_of(classifier(ViT(prefix=0)))
    activations, gradients, _ = layer_maps(session, x, goal, "norm")
    weights = session.module.head.weight[goal.target] / 24
    torch.testing.assert_close(gradients, weights[:, :, None, None].expand_as(gradients))
    assert activations.shape == (3, 8, 4, 6)


def test_channels_last_maps_are_permuted_not_pooled(session_of):
    session, x, goal = session_of(classifier(ChannelsLast()))
    with torch.no_grad():
        features = session.module.norm(session.module.mix(session.module.patch(x).permute(0, 2, 3, 1)).tanh())
    weights = session.module.head.weight[goal.target][:, None, None, :]
    expected = ((weights * 2 * features / 24).mean(dim=(1, 2), keepdim=True) * features).sum(3)
    torch.testing.assert_close(class_activation_map(session, x, goal, "norm"), expected)


@pytest.mark.parametrize("layer", ["0", "1", "3", "4"])
def test_operations_in_place_change_nothing(session_of, layer):
    maps = []
    for inplace in (False, True):
        session, x, goal = session_of(classifier(conv_net(inplace=inplace)))
        maps.append(layer_maps(session, x, goal, layer))
    for plain, in_place in zip(*maps, strict=True):
        torch.testing.assert_close(plain, in_place)


def test_what_is_overwritten_later_is_read_as_the_layer_gave_it(session_of):
    session, x, goal = session_of(classifier(InPlaceAddition()))
    with torch.no_grad():
        expected = session.module.conv(x)
    activations, _, _ = layer_maps(session, x, goal, "keep")
    torch.testing.assert_close(activations, expected)


def test_the_last_call_of_a_shared_module_counts(session_of):
    session, x, goal = session_of(classifier(TwiceCalled()))
    m = session.module
    with torch.no_grad():
        expected = m.act(m.b(m.act(m.a(x))))
    activations, gradients, _ = layer_maps(session, x, goal, "act")
    torch.testing.assert_close(activations, expected)
    torch.testing.assert_close(gradients, 2 * expected * m.head.weight[goal.target][:, :, None, None] / (8 * 12))
    again, _, _ = layer_maps(session, x[1:], goal[slice(1, 3)], "act")
    torch.testing.assert_close(again, expected[1:])


def test_torchs_own_transformer_with_its_fast_path(session_of):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 8, 8)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.encoder(self.patch(x).flatten(2).transpose(1, 2)).mean(1))

    session, x, goal = session_of(classifier(Encoder()))
    assert find_layer(session, x) == "encoder"
    for layer in ("encoder", "encoder.layers.1.norm2"):
        cam = class_activation_map(session, x, goal, layer)
        assert cam.shape == (3, 4, 6)
        assert cam.abs().max() > 0


def test_outputs_with_logits_sigmoid_heads_and_single_logits(session_of):
    @dataclass
    class Output:
        logits: torch.Tensor

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            return Output(self.net(x))

    session, x, goal = session_of(classifier(Wrapped()))
    plain, x, goal = session_of(classifier(conv_net()))
    expected = class_activation_map(plain, x, goal, "4")
    torch.testing.assert_close(class_activation_map(session, x, goal, find_layer(session, x)), expected)

    sigmoid, x, goal = session_of(classifier(conv_net(), head="sigmoid"))
    torch.testing.assert_close(class_activation_map(sigmoid, x, goal, "4"), expected)

    one, x, goal = session_of(classifier(conv_net(classes=1)), targets=[0, 1, 1])
    _, _, opposite = session_of(classifier(conv_net(classes=1)), targets=[1, 0, 0])
    absent, present = (class_activation_map(one, x, g, find_layer(one, x)) for g in (goal, opposite))
    assert present.abs().max() > 0
    torch.testing.assert_close(absent, -present)


def test_the_fast_session_with_folded_normalisation_and_bfloat16_gives_the_same_map(session_of):
    exact, x, goal = session_of(classifier(conv_net()))
    reference = class_activation_map(exact, x, goal, "4")
    for precision, least in [("float32", 0.99999), ("bfloat16", 0.99), ("bfloat16-autocast", 0.99)]:
        clf = classifier(conv_net())
        clf.precision = precision
        session, x, goal = session_of(clf, exact=False)
        assert isinstance(session.module[1], nn.Identity)
        assert find_layer(session, x) == "4"
        cam = class_activation_map(session, x, goal, "4")
        assert cam.dtype == torch.float32
        cosine = torch.cosine_similarity(cam.flatten(1), reference.flatten(1))
        assert cosine.min() > least, precision


@pytest.mark.parametrize("precision", ["float16", "float16-autocast"])
def test_gradients_too_small_for_float16_are_kept(session_of, precision):
    maps = []
    for name in ("float32", precision):
        clf = classifier(conv_net())
        clf.precision = name
        with torch.no_grad():
            clf.module[7].weight.mul_(3e-5)
        session, x, goal = session_of(clf, exact=False)
        maps.append(class_activation_map(session, x, goal, "4").flatten(1))
    assert torch.cosine_similarity(*maps).min() > 0.9999
    torch.testing.assert_close(maps[1].abs().amax(1), maps[0].abs().amax(1), rtol=0.01, atol=0)


@pytest.mark.parametrize("module", [MLP(), nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * 8 * 12, 3))])
def test_a_net_without_a_map_says_so_and_what_to_use(session_of, module):
    session, x, _ = session_of(classifier(module))
    with pytest.raises(MethodNotApplicable, match=r"keeps a map.*integrated-gradients"):
        find_layer(session, x)


def test_a_head_of_zeros_gives_empty_maps_and_no_error(session_of):
    for module in (conv_net(), ViT()):
        clf = classifier(module)
        nn.init.zeros_(next(p for p in reversed(list(module.parameters())) if p.ndim == 2))
        session, x, goal = session_of(clf)
        assert (class_activation_map(session, x, goal, find_layer(session, x)) == 0).all()


def test_a_layer_of_pixels_is_no_map(session_of):
    session, x, _ = session_of(classifier(nn.Sequential(nn.Identity(), MLP())))
    with pytest.raises(MethodNotApplicable, match="smaller than the input"):
        find_layer(session, x)


@pytest.mark.parametrize(
    ("module", "layer", "message"),
    [
        (conv_net(), "nothing", "has no layer 'nothing'; the layer found by itself is '4'"),
        (conv_net(), "7", r"has shape \(2, 3\)"),
        (conv_net(), "5", r"has shape \(2, 8, 1, 1\)"),
        (MLP(), "1", r"has shape \(2, 8\)"),
        (ViT(), "blocks.1", "only through its class token.*blocks.1.norm1"),
        (ViT(), "blocks.1.attn.attn_drop", r"has shape \(2, 2, 25, 25\)"),
        (ViT(), "blocks.1.attn.q_norm", r"has shape \(2, 2, 25, 4\)"),
    ],
)
def test_a_named_layer_that_will_not_do_is_refused_with_the_reason(session_of, module, layer, message):
    session, x, goal = session_of(classifier(module))
    with pytest.raises(SettingsError, match=message):
        class_activation_map(session, x, goal, layer)


def test_a_layer_that_is_not_run_or_not_used_is_refused(session_of):
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.side, self.idle = conv_net(), nn.Conv2d(3, 4, 8, 8), nn.Conv2d(3, 4, 8, 8)

        def forward(self, x):
            logits = self.net(x)
            self.side(x)
            return logits

    session, x, goal = session_of(classifier(Auxiliary()))
    assert find_layer(session, x) == "net.4"
    with pytest.raises(SettingsError, match="do not depend on layer 'side'"):
        class_activation_map(session, x, goal, "side")
    with pytest.raises(SettingsError, match="'idle' gives no tensor"):
        class_activation_map(session, x, goal, "idle")


def test_modules_that_return_scalars_or_objects_are_passed_over(session_of):
    class Chatty(nn.Module):
        class Odd(nn.Module):
            def __init__(self, result):
                super().__init__()
                self.result = result

            def forward(self, x):
                return self.result(x)

        def __init__(self):
            super().__init__()
            self.net = conv_net()
            results = (torch.sum, lambda x: {"map": x}, lambda x: None, lambda x: (), lambda x: x.argmax(1))
            self.odd = nn.ModuleList(map(self.Odd, results))

        def forward(self, x):
            features = self.net[:5](x)
            for odd in self.odd:
                odd(features)
            return self.net[5:](features)

    session, x, goal = session_of(classifier(Chatty()))
    assert find_layer(session, x) == "net.4"
    for i in range(5):
        with pytest.raises(SettingsError, match=r"odd\.\d' (gives no tensor|has shape)"):
            class_activation_map(session, x, goal, f"odd.{i}")


def test_attention_is_no_map_of_the_image(session_of):
    # 16 tokens and a square input: weights of (B, heads, 16, 16) have the image's aspect.
    session, x, goal = session_of(classifier(ViT(prefix=0, cells=16), size=(32, 32)))
    assert find_layer(session, x) == "norm"
    with pytest.raises(SettingsError, match=r"has shape \(2, 2, 16, 16\)"):
        class_activation_map(session, x, goal, "blocks.1.attn.attn_drop")
    # As many heads as tokens: queries of (B, 4, 4, D) could be channels-last maps.
    session, x, goal = session_of(classifier(ViT(prefix=0, cells=4, heads=4), size=(16, 16)))
    with pytest.raises(SettingsError, match=r"has shape \(2, 4, 4, 2\)"):
        class_activation_map(session, x, goal, "blocks.1.attn.q_norm")


def test_as_many_channels_as_rows_and_columns_are_read_as_torch_lays_them_out(session_of):
    module = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.Flatten(), nn.Linear(512, 3))
    session, x, goal = session_of(classifier(module, size=(32, 32)))
    assert find_layer(session, x) == "1"
    with torch.no_grad():
        expected = module.eval()[:2](x)
    torch.testing.assert_close(layer_maps(session, x, goal, "1")[0], expected)


def test_a_flattened_map_is_not_taken_for_tokens(session_of):
    # (B, 24, 384) between the map and the head: 24 channels, not the 4 x 6 tokens of another map of the net.
    module = nn.Sequential(
        nn.Conv2d(3, 6, 8, 8),
        nn.Upsample(scale_factor=4),
        nn.Conv2d(6, 24, 1),
        nn.Flatten(2),
        nn.Flatten(),
        nn.Linear(9216, 3),
    )
    session, x, _ = session_of(classifier(module))
    assert find_layer(session, x) == "2"


def test_a_classifier_or_score_without_gradient_is_refused(session_of):
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            return self.net(x).detach()

    session, x, _ = session_of(classifier(Detached()))
    with pytest.raises(MethodNotApplicable, match="no gradient"):
        find_layer(session, x)
    clf = classifier(conv_net())
    session, x, goal = session_of(clf, targets=lambda logits: logits.argmax(1).float())
    with pytest.raises(SettingsError, match="no gradient"):
        class_activation_map(session, x, goal, "4")
    goal = clf.goal(session.logits(photographs()), lambda logits: logits)
    with pytest.raises(SettingsError, match="one score an image"):
        class_activation_map(session, x, goal, "4")


def test_a_function_of_the_logits_can_be_explained(session_of):
    clf = classifier(conv_net())
    session, x, goal = session_of(clf, targets=lambda logits: logits[:, 0] - logits[:, 2])
    contrast = clf.goal(session.logits(photographs()), 0, 2)
    torch.testing.assert_close(
        class_activation_map(session, x, goal, "4"), class_activation_map(session, x, contrast, "4")
    )


def test_it_works_where_gradients_are_switched_off(session_of):
    session, x, goal = session_of(classifier(conv_net()))
    with torch.no_grad():
        cam = class_activation_map(session, x, goal, find_layer(session, x))
    assert cam.abs().max() > 0
    assert not cam.requires_grad


def test_memory_is_bounded_and_smaller_parts_are_tried_when_it_runs_out(session_of):
    session, x, goal = session_of(classifier(conv_net(), micro_batch=8), 7)
    expected = class_activation_map(session, x, goal, "4")
    rows = []

    def cramped(_module, args):
        rows.append(len(args[0]))
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    session.module.register_forward_pre_hook(cramped)
    with pytest.warns(RuntimeWarning, match="micro-batch of"):
        cam = class_activation_map(session, x, goal, "4")
    torch.testing.assert_close(cam, expected, rtol=1e-4, atol=1e-6)
    assert rows == [7, 4, 2, 2, 2, 1]
    assert not session.module[4]._forward_hooks


def test_other_errors_are_not_swallowed(session_of):
    session, _, _ = session_of(classifier(conv_net()))

    def fail(_rows):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(session.in_micro_batches(3, fail))


def test_the_users_module_is_as_it_was():
    module = conv_net(inplace=True).train()
    clf = classifier(module)
    module[1].eval()
    module[3].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with clf.session(exact=True) as session:
        x = session.normalise(photographs())
        class_activation_map(session, x, clf.goal(session.logits(photographs())), find_layer(session, x))
        assert not any(m._forward_hooks for m in session.module.modules())
    assert [m.training for m in module] == [True, False, True, True, True, True, True, True]
    assert [p.requires_grad for p in module[3].parameters()] == [False, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
