"""Where the places of the image lie in a layer's output: maps of either order, and the grid among a sequence's tokens.

How many tokens stand before or behind those of a grid (class, distillation and register tokens) is never looked up. It
follows from a pair of images that differ everywhere, by noise that grows over the image as a `ramp`: a token that is
the same for both does not come from the image, and the tokens of a grid change the more the further along the ramp
their patch lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

#: Natural logarithm by which the noise grows over the height and over the width. They differ so that a grid read
#: column by column is told from one read row by row.
_SLOPES = (1.0, 4.0)
#: Least noise, in standard deviations of the images that the classifier was trained with.
_LEAST_NOISE = 0.03
#: A token whose change is below this share of the largest does not come from the image.
_STILL = 1e-4
#: Rank correlation with the ramp from which on tokens count as a grid. Behind convolutions and local attention it is
#: 0.99, for channels and hidden units about 0, and for tokens in another order than row by row in between.
_LEAST = 0.6
#: A grid of the network's own with so few cells, at the end of a pyramid, is believed without.
_FEW_CELLS = 50
#: Tokens beside the grid that are considered where none is the same for both images: all that was ever published.
_MOST_EXTRA = 16

_Grid = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """How a layer's output lies in memory.

    Attributes:
        order: ``channels_first`` (B, C, h, w), ``channels_last`` (B, h, w, C), or ``tokens`` (B, N, C).
        height, width: the grid (h, w).
        prefix: tokens before those of the grid; what is left of the N behind them is no part of it either.
    """

    order: Literal["channels_first", "channels_last", "tokens"]
    height: int
    width: int
    prefix: int = 0

    @property
    def grid(self) -> _Grid:
        """(h, w)."""
        return self.height, self.width

    def maps(self, output: Tensor) -> Tensor:
        """The output, or its gradient, as (B, C, h, w) maps without what is no part of the grid."""
        if self.order == "channels_first":
            return output
        if self.order == "channels_last":
            return output.permute(0, 3, 1, 2)
        tokens = output[:, self.prefix : self.prefix + self.height * self.width].transpose(1, 2)
        return tokens.reshape(len(output), -1, self.height, self.width)


@dataclass
class Call:
    """The last call of one module in a probe.

    Attributes:
        name, module: the module.
        output: its output, or the first tensor of it.
        count: how often it was called.
        change: mean change of the output from one image of the pair to the other, over the last axis of (B, N, C), the
            first of (C, h, w) and the last of (h, w, C): (N,) or ((h, w), (h, w)); None where they were not compared.
        pooled: whether the output is that of a pooling.
        layout: where its output is a map of the image.
        live: whether the logits depend on the map.
    """

    name: str
    module: nn.Module
    output: Tensor
    count: int
    change: tuple[Tensor, ...] | None = None
    pooled: bool = False
    layout: Layout | None = None
    live: bool = False


def pair(image: Tensor) -> Tensor:
    """(2, 3, H, W): a normalised (3, H, W) image, and the same with noise that grows down and, faster, to the right."""
    height, width = image.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(image.shape, generator=generator).to(image)
    loudness = _LEAST_NOISE * ramp((height, width)).exp().to(image)
    return torch.stack([image, image + loudness * noise])


def ramp(grid: _Grid) -> Tensor:
    """(h, w) logarithms of how much louder the noise of `pair` is in a cell of a grid than at the top left."""
    down, across = ((torch.arange(n) + 0.5) / n * slope for n, slope in zip(grid, _SLOPES, strict=True))
    return down[:, None] + across


def change_of(one: Tensor, other: Tensor) -> tuple[Tensor, ...] | None:
    """`Call.change` of the outputs for the two images of a pair, each without its batch axis."""
    if one.shape != other.shape or one.ndim not in (2, 3):
        return None
    gap = (one.detach().float() - other.detach().float()).abs()
    return (gap.mean(1).cpu(),) if one.ndim == 2 else (gap.mean(0).cpu(), gap.mean(2).cpu())


def lay_out(calls: Sequence[Call], batch: int, size: _Grid) -> None:
    """Give each call, in the order of the calls, the layout of its output, if it is a map of the image.

    Args:
        calls: of one probe.
        batch: images that went through at once.
        size: (H, W) of the images.
    """
    whole = [call for call in calls if call.output.shape[:1] == (batch,)]
    token_counts = {call.output.shape[1] for call in whole if call.output.ndim == 3}
    for call in whole:
        if call.output.ndim == 4:
            call.layout = _layout_of_map(call, size, token_counts)
    placed = [call for call in reversed(whole) if call.layout is not None]
    grids = list(dict.fromkeys(c.layout.grid for c in placed if c.layout is not None))
    flattened = {(c.output.shape[1], c.output.shape[2] * c.output.shape[3]) for c in placed}
    found = _Grids(grids, size)
    for call in whole:
        if call.output.ndim == 3:
            _, tokens, features = call.output.shape
            # (B, C, h * w) is a map with its places flattened, not C tokens.
            if tokens == features or (tokens, features) not in flattened:
                call.layout = found.layout(call)


def _layout_of_map(call: Call, size: _Grid, token_counts: set[int]) -> Layout | None:
    _, a, b, c = call.output.shape
    if isinstance(call.module, nn.Conv2d | nn.BatchNorm2d):
        return Layout("channels_first", b, c) if b > 1 and c > 1 else None
    if b in token_counts:  # attention: (B, heads, N, N) weights, (B, heads, N, D) queries
        return None
    first, last = _mismatch((b, c), size), _mismatch((a, b), size)
    if first is None or last is None or first != last:
        if first is not None and (last is None or first < last):
            return Layout("channels_first", b, c)
        return None if last is None else Layout("channels_last", a, b)
    # As many channels as rows or columns.
    layouts = [Layout("channels_first", b, c), Layout("channels_last", a, b)]
    if call.change is None:
        return layouts[0]
    agreements = [
        _rank_correlation(change.flatten(), ramp(layout.grid).flatten())
        for change, layout in zip(call.change, layouts, strict=True)
    ]
    return layouts[agreements.index(max(agreements))]


def _mismatch(grid: _Grid, size: _Grid) -> int | None:
    """How far a grid's aspect is from the input's; None if by more than one cell of rounding on each side."""
    (height, width) = grid
    gap = abs(height * size[1] - width * size[0])
    return gap if height > 1 and width > 1 and gap <= size[0] + size[1] else None


@dataclass
class _Grids:
    """The grids of a network's sequences, one for each number of tokens: that of the first call that shows one.

    Later calls of as many tokens have the same, where attention has let class tokens see the image as well.

    Attributes:
        known: grids of the network's maps, the last one first; its patch embedding's is among them.
        size: (H, W) of the images.
    """

    known: Sequence[_Grid]
    size: _Grid
    found: dict[int, Layout] = field(default_factory=dict)

    def layout(self, call: Call) -> Layout | None:
        """The layout of (B, N, C) tokens."""
        count = call.output.shape[1]
        if count not in self.found:
            layout = self._judge(count, None if call.change is None else call.change[0])
            if layout is None:
                return None
            self.found[count] = layout
        return self.found[count]

    def _judge(self, count: int, change: Tensor | None) -> Layout | None:
        before, behind = (0, 0) if change is None else _still(change)
        left = count - before - behind
        known = list(dict.fromkeys([*self.known, *(half for grid in self.known for half in _halved(grid))]))
        if before or behind:
            exact = [Layout("tokens", *grid, before) for grid in known if math.prod(grid) == left]
            others = [Layout("tokens", *grid, before) for grid in _factors(left)]
        else:
            exact = [Layout("tokens", *grid) for grid in known if math.prod(grid) == count]
            spare = [(grid, count - math.prod(grid)) for grid in known if 0 < count - math.prod(grid) <= _MOST_EXTRA]
            # Behind attention all tokens differ, those that were added too.
            exact = exact or [Layout("tokens", *grid, start) for grid, extra in spare for start in (extra, 0)]
            others = [
                Layout("tokens", *grid, start)
                for extra in range(min(_MOST_EXTRA, count) + 1)
                for grid in _factors(count - extra)
                for start in dict.fromkeys((extra, 0))
            ]
        if change is None:
            return next(iter(exact), None)
        others = [layout for layout in others if _mismatch(layout.grid, self.size) is not None]
        if not (before or behind) and exact and count < _FEW_CELLS and math.prod(exact[0].grid) == count:
            return exact[0]
        return _best(exact, change) or _best(others, change)


def _best(layouts: Iterable[Layout], change: Tensor) -> Layout | None:
    """The layout whose tokens follow the ramp best, if they do."""
    scored = [(_agreement(layout, change), layout) for layout in layouts]
    if not scored:
        return None
    score, best = max(scored, key=lambda entry: entry[0])
    return best if score >= _LEAST else None


def _agreement(layout: Layout, change: Tensor) -> float:
    """Rank correlation of the tokens' changes with the ramp."""
    cells = layout.height * layout.width
    return _rank_correlation(change[layout.prefix : layout.prefix + cells], ramp(layout.grid).flatten())


def _rank_correlation(one: Tensor, other: Tensor) -> float:
    ranks = torch.stack([values.argsort().argsort().float() for values in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1]) if len(one) > 1 else 0.0


def _still(change: Tensor) -> tuple[int, int]:
    """How many tokens at the front and at the back of a sequence are the same for two images that differ everywhere."""
    still = (change <= _STILL * change.max()).tolist()
    if all(still):
        return 0, 0
    before = still.index(False)
    behind = still[::-1].index(False)
    return before, behind


def _factors(count: int) -> Iterator[_Grid]:
    for height in range(2, count // 2 + 1):
        if count % height == 0:
            yield height, count // height


def _halved(grid: _Grid) -> Iterator[_Grid]:
    """What is left of a grid where tokens are merged by twos, once and again."""
    height, width = grid
    while height > 2 and width > 2:
        height, width = -(-height // 2), -(-width // 2)
        yield height, width
