"""LeGrad and attention rollout: by hand on small transformers, and against attention that the libraries hand out."""

import pytest
import torch
from nets import conv_net, photographs, vision_transformer
from torch import nn

import fidokit as fk
from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods.attention import Opened, find_transformer, weights_of
from fidokit.methods.attention_rollout import AttentionRolloutSettings, between_ends, rollout
from fidokit.methods.legrad import LegradSettings

pytestmark = pytest.mark.usefixtures("quick")

IMAGES = photographs(3)
TARGETS = [0, 3, 1]


def classifier(module, size=(32, 32), micro_batch=8):
    return fk.Classifier(
        module, mean=(0, 0, 0), std=(1, 1, 1), size=size, device="cpu", precision="float32", micro_batch=micro_batch
    )


def attention_of(block, tokens):
    query, key, value = block.attend(tokens)
    return (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1), value


def after(block, tokens, attention, value):
    """What a block gives with an attention of ours."""
    tokens = tokens + block.out((attention @ value).transpose(1, 2).flatten(2))
    return tokens + block.mlp(block.norm2(tokens))


def by_hand(net, images):
    """Attention of every block, and the gradient in it of the target's logit read from what the block gives."""
    tokens, maps, gradients = net.embed(images).detach(), [], []
    for block in net.blocks:
        attention, value = attention_of(block, tokens)
        attention = attention.detach().requires_grad_(True)
        made = after(block, tokens, attention, value)
        value = net.read(made)[torch.arange(len(images)), TARGETS].sum()
        gradients.append(torch.autograd.grad(value, attention)[0])
        maps.append(attention.detach())
        tokens = made.detach()
    return maps, gradients


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("layers", [None, 1, 2])
def test_legrad_is_the_papers_formula(class_token, fused, layers):
    net = vision_transformer(class_token=class_token, fused=fused)
    masks = fk.explain(classifier(net), IMAGES, "legrad", TARGETS, layers=layers)
    gradients = by_hand(net, IMAGES)[1][-layers if layers else 0 :]
    wanted = sum(gradient.clamp(min=0).mean((1, 2)) for gradient in gradients) / len(gradients)
    wanted = wanted[:, int(class_token) :].view(3, 1, 4, 4)
    torch.testing.assert_close(masks.raw, wanted, rtol=1e-4, atol=1e-7)
    low, high = wanted.amin((1, 2, 3)), wanted.amax((1, 2, 3))
    torch.testing.assert_close(masks.attribution[1], (wanted[1, 0] - low[1]) / (high[1] - low[1]), rtol=1e-3, atol=1e-4)
    assert masks.evaluations.tolist() == [2 + 3] * 3


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_rollout_is_the_product_of_the_blocks(class_token, fused, residual):
    net = vision_transformer(class_token=class_token, fused=fused)
    masks = fk.explain(classifier(net), IMAGES, "attention-rollout", residual=residual)
    flow = torch.eye(16 + class_token)
    for attention in by_hand(net, IMAGES)[0]:
        mixed = residual * torch.eye(16 + class_token) + (1 - residual) * attention.mean(1)
        flow = torch.einsum("bij,bjk->bik", mixed, flow.expand(3, -1, -1))
    wanted = flow[:, 0, 1:] if class_token else flow.mean(1)
    torch.testing.assert_close(masks.raw, wanted.view(3, 1, 4, 4), rtol=1e-4, atol=1e-6)
    assert masks.evaluations.tolist() == [1 + 3] * 3
    assert masks.attribution.amax((1, 2)).tolist() == [1, 1, 1]
    assert masks.attribution.amin((1, 2)).tolist() == [0, 0, 0]


def test_rollout_by_hand():
    one = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]])
    # The mean head is [[.5, .5], [.5, .5]]; with half of the residual [[.75, .25], [.25, .75]].
    torch.testing.assert_close(rollout([one], 0.5), torch.tensor([[[0.75, 0.25], [0.25, 0.75]]]))
    torch.testing.assert_close(rollout([one, one], 0.5), torch.tensor([[[0.625, 0.375], [0.375, 0.625]]]))
    torch.testing.assert_close(rollout([one] * 5, 0.3).sum(2), torch.ones(1, 2))


def test_legrad_tells_classes_apart_and_rollout_does_not():
    clf = classifier(vision_transformer())
    legrad = [fk.explain(clf, IMAGES, "legrad", target).attribution for target in (0, 1)]
    flow = [fk.explain(clf, IMAGES, "attention-rollout", target).attribution for target in (0, 1)]
    assert (legrad[0] - legrad[1]).abs().max() > 0.1
    assert torch.equal(*flow)
    against = fk.explain(clf, IMAGES, "legrad", 0, against=1)
    own = fk.explain(clf, IMAGES, "legrad", lambda logits: logits[:, 0] - logits[:, 1])
    torch.testing.assert_close(against.raw, own.raw)


def test_the_module_is_as_it_was():
    net = vision_transformer()
    clf = classifier(net)
    before = clf.logits(IMAGES)
    with clf.session(exact=True) as session:
        for name in ("legrad", "attention-rollout"):
            fk.explain(clf, IMAGES, name)
        for module in (*net.modules(), *session.module.modules()):
            assert "forward" not in vars(module)
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
    assert torch.equal(clf.logits(IMAGES), before)


@pytest.mark.parametrize("how", ["plain", "causal", "bool", "bias", "scale", "grouped"])
def test_opened_attention_is_the_fused_one(how):
    generator = torch.Generator().manual_seed(0)
    heads = 2 if how == "grouped" else 4
    query = torch.randn(2, 4, 5, 8, generator=generator)
    key, value = (torch.randn(2, heads, 5, 8, generator=generator) for _ in range(2))
    options = {
        "plain": {},
        "causal": {"is_causal": True},
        "bool": {"attn_mask": torch.eye(5).bool() | (torch.rand(5, 5, generator=generator) < 0.5)},
        "bias": {"attn_mask": torch.randn(5, 5, generator=generator)},
        "scale": {"scale": 0.7},
        "grouped": {"enable_gqa": True},
    }[how]
    fused = nn.functional.scaled_dot_product_attention(query, key, value, **options)
    weights, values = weights_of(query, key, value, **options)
    torch.testing.assert_close(weights @ values, fused)
    seen = []
    with Opened(lambda weights: seen.append(weights) or 2 * weights, 2):
        doubled = nn.functional.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(doubled, 2 * fused)
    torch.testing.assert_close(seen[0], weights)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}, {"kdim": 6, "vdim": 10}])
@pytest.mark.parametrize("masked", ["", "bias", "bool", "padding", "heads"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_torchs_multi_head_attention_opened_is_itself(options, masked, need_weights):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 4, **options).eval()
    b, n, m = 2, 5, 7
    shapes = (n, 16), (m, options.get("kdim", 16)), (m, options.get("vdim", 16))
    query, key, value = (torch.randn(b, length, width, requires_grad=True) for length, width in shapes)
    if "batch_first" not in options:
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    forbidden = torch.zeros(n, m, dtype=torch.bool)
    forbidden[1, 2:] = True
    masks = {
        "": {},
        "bias": {"attn_mask": torch.randn(n, m)},
        "bool": {"attn_mask": forbidden},
        "padding": {"key_padding_mask": torch.arange(m).expand(b, m) > 4, "attn_mask": forbidden},
        "heads": {"attn_mask": torch.randn(b * 4, n, m)},
    }[masked]
    wanted, weights = attention(query, key, value, need_weights=need_weights, average_attn_weights=False, **masks)
    seen = []
    with Opened(lambda weights: seen.append(weights) or weights, b):
        found, told = attention(query, key, value, need_weights=need_weights, average_attn_weights=False, **masks)
    torch.testing.assert_close(found, wanted)
    assert [tuple(one.shape) for one in seen] == [(b, 4, n, m)]
    assert (told is None) is not need_weights
    if need_weights:
        torch.testing.assert_close(told, weights)
        torch.testing.assert_close(seen[0], weights)
        with Opened(lambda weights: weights, b):
            _, mean = attention(query, key, value, **masks)
        torch.testing.assert_close(mean, weights.mean(1))


def test_attention_is_told_from_other_softmaxes():
    seen = []
    with Opened(lambda weights: seen.append(tuple(weights.shape)) or weights, 2):
        torch.rand(2, 5, 5).softmax(1)  # over the queries
        torch.rand(2, 5).softmax(1)  # probabilities
        torch.rand(2, 3, 5, 4).softmax(-1)
        torch.rand(2, 1, 1).softmax(-1)
        torch.softmax(torch.rand(2, 3, 5, 5), dim=3)
        nn.functional.softmax(torch.rand(6, 5, 5), dim=-1)
        torch.rand(2, 5, 5).softmax(-1)
    assert seen == [(2, 3, 5, 5), (2, 3, 5, 5), (2, 1, 5, 5)]


class Encoder(nn.Module):
    """torch's own encoder, whose fast path is one kernel without attention to be seen."""

    def __init__(self, depth=3):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("depth", [1, 3])
def test_torchs_own_encoder(depth):
    torch.manual_seed(0)
    net = Encoder(depth).eval()
    clf = classifier(net)
    masks = fk.explain(clf, IMAGES, "attention-rollout")
    tokens, flow = net.patches(IMAGES).flatten(2).transpose(1, 2), torch.eye(16)
    for layer in net.encoder.layers:
        _, weights = layer.self_attn(tokens, tokens, tokens, need_weights=True)
        flow = (torch.eye(16) + weights) / 2 @ flow
        tokens = layer(tokens)
    torch.testing.assert_close(masks.raw[:, 0].flatten(1), flow.mean(1).detach(), rtol=1e-4, atol=1e-6)
    assert fk.explain(clf, IMAGES, "legrad").attribution.shape == (3, 4, 4)


def test_torchvision():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=4)
    nn.init.normal_(net.heads.head.weight)
    clf = classifier(net.eval())
    with clf.session(exact=True) as session:
        found = find_transformer(session, session.normalise(IMAGES))
    assert found.blocks == tuple(f"encoder.layers.encoder_layer_{i}" for i in range(3))
    assert (found.layout.prefix, found.layout.grid, found.grid_is_read) == (1, (4, 4), False)
    weights = []
    handles = [
        layer.self_attention.register_forward_pre_hook(
            lambda _module, args, kwargs: (args, kwargs | {"need_weights": True}), with_kwargs=True
        )
        for layer in net.encoder.layers
    ] + [
        layer.self_attention.register_forward_hook(lambda _module, _args, output: weights.append(output[1]))
        for layer in net.encoder.layers
    ]
    with torch.no_grad():
        net(IMAGES)
    for handle in handles:
        handle.remove()
    wanted = rollout([w[:, None] for w in weights], 0.5)[:, 0, 1:].view(3, 1, 4, 4)
    masks = fk.explain(clf, IMAGES, "attention-rollout")
    torch.testing.assert_close(masks.raw, wanted, rtol=1e-4, atol=1e-6)
    assert fk.explain(clf, IMAGES, "legrad").attribution.amax((1, 2)).tolist() == [1, 1, 1]


TIMM = [
    *("vit_tiny_patch16_224", "vit_base_patch16_clip_224", "deit_tiny_distilled_patch16_224"),
    *("vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224"),
]


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    patch = 14 if "patch14" in name else 16
    net = timm.create_model(name, img_size=4 * patch, embed_dim=24, depth=3, num_heads=2, num_classes=4).eval()
    for parameter in net.parameters():
        if parameter.abs().max() < 1e-3:
            nn.init.normal_(parameter, std=0.3)
    images = photographs(2, (4 * patch, 4 * patch))
    clf = classifier(net, (4 * patch, 4 * patch))
    flow = fk.explain(clf, images, "attention-rollout").raw
    opened = [block.attn for block in net.blocks]
    for attention in opened:
        attention.fused_attn = False
    weights = []
    handles = [
        attention.attn_drop.register_forward_hook(lambda _m, _a, out: weights.append(out)) for attention in opened
    ]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    whole = rollout(weights, 0.5)
    prefix = net.num_prefix_tokens
    if "siglip" not in name:  # which reads its tokens by an attention of its own
        torch.testing.assert_close(flow, whole[:, 0, prefix:].view(2, 1, 4, 4), rtol=1e-4, atol=1e-6)
    # Written out, it is the same.
    again = classifier(net, (4 * patch, 4 * patch))
    torch.testing.assert_close(fk.explain(again, images, "attention-rollout").raw, flow, rtol=1e-4, atol=1e-6)
    one, other = (fk.explain(c, images, "legrad", 1).raw for c in (clf, again))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-8)
    assert (one > 0).any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_transformers(attention):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        num_labels=4, attn_implementation=attention,
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config).eval()
    clf = classifier(net)
    masks = fk.explain(clf, IMAGES, "attention-rollout")
    config._attn_implementation = "eager"
    given = transformers.ViTForImageClassification(config).eval()
    given.load_state_dict(net.state_dict())
    with torch.no_grad():
        weights = given(IMAGES, output_attentions=True).attentions
    wanted = rollout(list(weights), 0.5)[:, 0, 1:].view(3, 1, 4, 4)
    torch.testing.assert_close(masks.raw, wanted, rtol=1e-4, atol=1e-6)
    assert (fk.explain(clf, IMAGES, "legrad", TARGETS).raw > 0).any()


class Map(nn.Module):
    """A block whose tokens come as a map (B, h, w, D), with something before it, in a tuple."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, *, shift, tokens):
        return self.block(tokens.flatten(1, 2)).view(tokens.shape) + shift, shift


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = vision_transformer(class_token=False)
        self.blocks = nn.ModuleList(Map(block) for block in self.net.blocks)

    def forward(self, x):
        tokens = self.net.embed(x).view(-1, 4, 4, 16)
        for block in self.blocks:
            tokens, _ = block(shift=0.0, tokens=tokens)
        return self.net.read(tokens.flatten(1, 2))


def test_tokens_that_lie_in_a_map():
    for name in ("legrad", "attention-rollout"):
        plain = fk.explain(classifier(vision_transformer(class_token=False)), IMAGES, name, TARGETS)
        torch.testing.assert_close(fk.explain(classifier(Maps().eval()), IMAGES, name, TARGETS).raw, plain.raw)


class Windows(nn.Module):
    """Attention within quarters of the image."""

    def __init__(self):
        super().__init__()
        self.net = vision_transformer(class_token=False, side=16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        quarters = x.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        tokens = self.net.blocks(self.net.embed(quarters)).mean(1)
        return self.head(tokens.view(len(x), 4, -1).mean(1))


class Shared(nn.Module):
    """One block, used three times."""

    def __init__(self):
        super().__init__()
        self.net = vision_transformer(class_token=False)

    def forward(self, x):
        tokens = self.net.embed(x)
        for _ in range(3):
            tokens = self.net.blocks[0](tokens)
        return self.net.read(tokens)


class Merging(nn.Module):
    """Half of the tokens are left behind."""

    def __init__(self):
        super().__init__()
        self.net = vision_transformer(class_token=False)

    def forward(self, x):
        tokens = self.net.blocks[0](self.net.embed(x))
        return self.net.read(self.net.blocks[1](tokens[:, ::2] + tokens[:, 1::2]))


@pytest.mark.parametrize("name", ["legrad", "attention-rollout"])
@pytest.mark.parametrize(
    ("module", "why"),
    [(conv_net, "no attention"), (Windows, "within windows"), (Merging, r"merges tokens between its blocks.*8, 16")],
)
def test_networks_that_do_not_fit_are_refused(name, module, why):
    with pytest.raises(MethodNotApplicable, match=why):
        fk.explain(classifier(module().eval()), IMAGES, name)


def test_a_block_that_is_used_again_and_again_has_a_rollout_only():
    clf = classifier(Shared().eval())
    assert fk.explain(clf, IMAGES, "attention-rollout").attribution.shape == (3, 4, 4)
    with pytest.raises(MethodNotApplicable, match="could not be told apart; use attention-rollout"):
        fk.explain(clf, IMAGES, "legrad")


def test_a_map_between_its_ends():
    raw = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]], [[[4.0, 4.0], [4.0, 4.0]]], [[[torch.nan, 1], [2, 3]]]])
    found = between_ends(raw)
    torch.testing.assert_close(found[0], torch.tensor([[0, 0.25], [0.5, 1]]))
    assert found[1].tolist() == [[0, 0], [0, 0]]
    assert found[2].isnan().any()


def test_settings():
    for made, wrong in ((LegradSettings, {"layers": 0}), (AttentionRolloutSettings, {"residual": 1.0})):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            made(**wrong)
