"""Which tokens are a grid, and which layer's output is its own: any number of tokens before and behind, any order."""

from collections import namedtuple
from contextlib import ExitStack

import pytest
import torch
from nets import photographs
from torch import nn

import fidokit as fk
from fidokit.methods import layers
from fidokit.methods.layers import class_activation_map, find_layer
from fidokit.methods.layouts import Layout
from fidokit.models.classifier import Classifier

SIZE = (32, 48)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(x)


class Tokens(nn.Module):
    """A transformer of 8 x 8 pixel patches with any number of extra tokens, read from the first one or from the grid.

    With `silent`, no module sees the tokens before attention has mixed them.
    """

    def __init__(self, before=0, behind=0, cells=24, dim=12, pool="grid", order="rows", unfold=False, silent=False):
        super().__init__()
        self.before, self.behind, self.cells = before, behind, cells
        self.pool, self.order, self.unfold, self.silent = pool, order, unfold, silent
        self.patch = nn.Linear(3 * 64, dim) if unfold else nn.Conv2d(3, dim, 8, 8)
        self.front, self.back = (nn.Parameter(torch.randn(1, n, dim)) for n in (before, behind))
        self.position = nn.Parameter(0.3 * torch.randn(1, before + cells + behind, dim))
        self.drop = nn.Dropout(0.1)
        self.blocks = nn.Sequential(Block(dim), Block(dim))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 3)

    def forward(self, x):
        if self.unfold:
            x = self.patch(nn.functional.unfold(x, 8, stride=8).transpose(1, 2))
        else:
            x = self.patch(x)
            x = (x.mT if self.order == "columns" else x).flatten(2).transpose(1, 2)
        n = len(x)
        x = torch.cat([self.front.expand(n, -1, -1), x, self.back.expand(n, -1, -1)], dim=1) + self.position
        if self.silent:
            weights = (x @ x.mT).softmax(-1)
            x = x + 0.2 * weights @ x
        else:
            x = self.drop(x)
        x = self.norm(self.blocks(x))
        return self.head(x[:, 0] if self.pool == "first" else x[:, self.before : self.before + self.cells].mean(1))


def classifier(module, size=SIZE, **options):
    options = {"micro_batch": 4, "device": "cpu", "precision": "float32"} | options
    return Classifier(module.eval(), size=size, **options)


@pytest.fixture
def probed():
    """(module, ...) -> an open exact session of it and the normalised image that its layers were looked up with."""
    with ExitStack() as stack:

        def make(module, size=SIZE, **options):
            clf = classifier(module, size, **options)
            session = stack.enter_context(clf.session(exact=True))
            return clf, session, session.normalise(photographs(1, size))

        torch.manual_seed(0)
        yield make


def layout_of(session, x, name):
    find_layer(session, x)
    return layers._probes[session.counter].layouts.get(name)


@pytest.mark.parametrize(
    ("options", "layer"),
    [
        ({"before": 0}, "norm"),
        ({"before": 4}, "norm"),
        ({"before": 8}, "norm"),
        ({"before": 9}, "norm"),
        ({"before": 1, "pool": "first"}, "blocks.1.norm"),
        ({"before": 10, "pool": "first"}, "blocks.1.norm"),
        ({"before": 17}, "norm"),
        ({"before": 36}, "norm"),
        ({"behind": 4}, "norm"),
        ({"before": 1, "behind": 8, "pool": "first"}, "blocks.1.norm"),
        ({"before": 3, "behind": 2, "unfold": True}, "norm"),
        ({"before": 25, "unfold": True}, "norm"),
    ],
)
def test_the_tokens_beside_the_grid_are_those_that_do_not_come_from_the_image(probed, options, layer):
    clf, session, x = probed(Tokens(**options))
    assert find_layer(session, x) == layer
    assert layout_of(session, x, layer) == Layout("tokens", 4, 6, options.get("before", 0))
    with torch.no_grad():
        held = []
        handle = session.module.get_submodule(layer).register_forward_hook(lambda _m, _a, out: held.append(out))
        session.forward(x)
        handle.remove()
    start = options.get("before", 0)
    activations, _, _ = layers.layer_maps(session, x, clf.goal(session.logits(photographs(1, SIZE)), 0), layer)
    torch.testing.assert_close(activations[0, :, 1, 2], held[0][0, start + 8])
    assert class_activation_map(session, x, clf.goal(session.logits(photographs(1, SIZE)), 0), layer).std() > 0


def test_one_image_at_a_time_finds_the_same(probed):
    for options, layer in [({"before": 9, "pool": "first"}, "blocks.1.norm"), ({"behind": 4}, "norm")]:
        _, session, x = probed(Tokens(**options), micro_batch=1)
        assert find_layer(session, x) == layer
        assert layout_of(session, x, layer) == Layout("tokens", 4, 6, options.get("before", 0))


@pytest.mark.parametrize("size", [(32, 32), (64, 16), (16, 64), (24, 64)])
@pytest.mark.parametrize("unfold", [False, True])
def test_grids_of_any_shape(probed, size, unfold):
    grid = (size[0] // 8, size[1] // 8)
    cells = grid[0] * grid[1]
    # 16 + 9 tokens are 5 x 5, and 24 + 1 are as well.
    _, session, x = probed(Tokens(before=25 - cells if cells < 25 else 4, cells=cells, unfold=unfold), size)
    assert layout_of(session, x, "norm") == Layout("tokens", *grid, 25 - cells if cells < 25 else 4)


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (4, 0), (0, 4), (1, 0)])
def test_where_attention_has_mixed_all_tokens_the_grid_follows_the_ramp(probed, before, behind):
    _, session, x = probed(Tokens(before, behind, silent=True))
    assert layout_of(session, x, "norm") == Layout("tokens", 4, 6, before)


def test_tokens_column_by_column_are_no_grid_that_is_read_row_by_row(probed):
    _, session, x = probed(Tokens(before=1, cells=64, order="columns"), (64, 64))
    assert layout_of(session, x, "norm") is None
    assert find_layer(session, x) == "patch"


def test_a_map_with_as_many_channels_as_rows_is_told_by_what_follows_the_ramp(probed):
    class Square(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.patch, self.mix, self.last, self.head = nn.Conv2d(3, 8, 4, 4), nn.Softplus(), last, nn.Linear(512, 3)

        def forward(self, x):
            x = self.patch(x)
            return self.head(self.mix(x.permute(0, 2, 3, 1) if self.last else x).flatten(1))

    for last, order in [(True, "channels_last"), (False, "channels_first")]:
        _, session, x = probed(Square(last), (32, 32))
        assert layout_of(session, x, "mix") == Layout(order, 8, 8)


# Outputs that are not the layer's own.


class Pair(nn.Module):
    """Returns the first of two maps as it is, and the second changed by it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, a, b):
        return a, b + self.conv(a)


class Net(nn.Module):
    """A convolution, one more stage, and the mean of what it gives."""

    def __init__(self, stage, read):
        super().__init__()
        self.stem, self.stage, self.read, self.head = nn.Conv2d(3, 8, 4, 4), stage, read, nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.read(self.stage, self.stem(x)).square().mean((2, 3)))


class Returns(nn.Module):
    """A convolution whose result is wrapped up."""

    def __init__(self, wrap):
        super().__init__()
        self.conv, self.wrap = nn.Conv2d(8, 8, 3, padding=1), wrap

    def forward(self, x):
        return self.wrap(x, self.conv(x))


class InPlace(nn.Module):
    def forward(self, x):
        return x.mul_(2).relu_()


class Reshapes(nn.Module):
    """Works on windows: (B, C, h, w) -> (B, N, C) -> (B, C, h, w)."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(8, 8)

    def forward(self, x):
        return self.mix(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


Two = namedtuple("Two", "first second")


@pytest.mark.parametrize(
    ("stage", "read", "layer"),
    [
        (Pair(), lambda stage, x: stage(x, x + 1)[1], "stage.conv"),
        (Pair(), lambda stage, x: sum(stage(x, x + 1)), "stage"),
        (Returns(lambda x, y: (x, y)), lambda stage, x: stage(x)[1], "stage.conv"),
        (Returns(lambda x, y: [x, x, y]), lambda stage, x: stage(x)[2], "stage.conv"),
        (Returns(lambda x, y: [y, x]), lambda stage, x: stage(x)[0], "stage"),
        (Returns(lambda x, y: {"map": y}), lambda stage, x: stage(x)["map"], "stage.conv"),
        (Returns(lambda x, y: Two(x, y)), lambda stage, x: stage(x).second, "stage.conv"),
        (Returns(lambda x, y: None), lambda stage, x: (stage(x), x)[1], "stem"),
        (nn.Identity(), lambda stage, x: (stage(x), x)[1], "stem"),
        (InPlace(), lambda stage, x: stage(x), "stage"),
        (InPlace(), lambda stage, x: (stage(x), x)[1], "stem"),
        (Reshapes(), lambda stage, x: stage(x), "stage"),
    ],
)
def test_only_what_the_logits_are_computed_from_is_taken(probed, stage, read, layer):
    clf, session, x = probed(Net(stage, read))
    assert find_layer(session, x) == layer
    cam = class_activation_map(session, x, clf.goal(session.logits(photographs(1, SIZE)), 0), layer)
    assert cam.std() > 0
    masks = fk.explain(clf, photographs(1, SIZE), "fido", steps=2)
    assert masks.notes == {}


def test_fido_never_fails_for_want_of_a_layer(monkeypatch):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3, 8, 8))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight, stride=8).tanh().mean((2, 3))

    images = photographs(2, SIZE)
    masks = fk.explain(classifier(Functional()), images, "fido", steps=2)
    assert {"0", "1"} == masks.notes.keys()
    assert masks.notes["0"].startswith("flat start: no layer of Functional keeps a map of the image")

    def fail(*_):
        raise IndexError("hooked too often")

    monkeypatch.setattr(layers, "_make_probe", fail)
    clf = classifier(Net(nn.Identity(), lambda stage, x: stage(x)))
    masks = fk.explain(clf, images, "fido", steps=2)
    assert masks.notes["1"] == "flat start: IndexError: hooked too often"
    flat = fk.explain(clf, images, "fido", steps=2, start="flat")
    assert torch.equal(masks.ssr, flat.ssr)


def test_a_layer_that_was_named_may_fail():
    clf = classifier(Net(Pair(), lambda stage, x: stage(x, x + 1)[1]), layer="stage")
    with pytest.raises(fk.FidokitError, match="do not depend on layer 'stage'"):
        fk.explain(clf, photographs(1, SIZE), "fido", steps=2)
