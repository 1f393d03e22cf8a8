"""Graphs that were made for one image, so that they take several at once.

Exporters write the batch size of their example into the shapes of reshapes, and into constants such as class tokens.
Where a reshape puts the batch follows from its input: the elements before the batch axis stay before it. So each
reshape is given the shape that it has for one image, with the length of the batch's axis left open.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from fidokit.models import frozen

_Shape = tuple[int, ...]


class Reshaped(nn.Module):
    """A reshape to a shape that is known, but for one length: -1."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        return values.reshape(self.shape)

    def extra_repr(self) -> str:
        return f"shape={self.shape}"


class Joined(nn.Module):
    """A concatenation of parts, of which some are the same for all images.

    Args:
        axis: along which they are joined.
        batch_axis: of the batch, along which such a part has the length 1.
    """

    def __init__(self, axis: int, batch_axis: int) -> None:
        super().__init__()
        self.axis, self.batch_axis = axis, batch_axis

    def forward(self, *parts: Tensor) -> Tensor:
        n = max(part.shape[self.batch_axis] for part in parts)
        sizes = [[n if i == self.batch_axis else -1 for i in range(part.ndim)] for part in parts]
        return torch.cat([part.expand(size) for part, size in zip(parts, sizes, strict=True)], self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}, batch_axis={self.batch_axis}"


class Sliced(nn.Module):
    """Slices along some axes, as ONNX means them.

    Args:
        slices: (axis, start, end, step) each; None where they come with the values.
    """

    def __init__(self, slices: tuple[tuple[int, int, int, int], ...] | None = None) -> None:
        super().__init__()
        self.slices = slices

    def forward(self, values: Tensor, *given: Tensor) -> Tensor:
        index = [slice(None)] * values.ndim
        for axis, start, end, step in self.slices or _slices([numbers.tolist() for numbers in given]):
            if step < 0:
                values, start, end = values.flip(axis), -start - 1, -end - 1
            index[axis] = slice(start, end, abs(step))
        return values[tuple(index)]

    def extra_repr(self) -> str:
        return f"slices={self.slices}"


def _slices(given: list[list[int]]) -> tuple[tuple[int, int, int, int], ...]:
    """Slices from starts, ends and, if they are there, axes and steps."""
    starts, ends, *rest = given
    axes = rest[0] if rest else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    return tuple(zip(axes, starts, ends, steps, strict=True))


def open_batch(module: fx.GraphModule, images: Tensor) -> bool:
    """Have a graph made by onnx2torch take any number of images, and say whether it does; each alone gives the same.

    Args:
        module: changed in place.
        images: two that differ, (2, 3, H, W) or as the graph takes them.
    """
    with frozen.frozen_in_place(module), torch.no_grad():
        alone = [frozen.logits_of(module(image[None])) for image in images]
        try:
            at_one = _Watched(module)
            at_one.run(images[:1])
            at_two = _Batched(module, at_one)
            at_two.run(images)
        except Exception:
            return False  # A part of it is fixed to one image in another way.
        _replace(module, at_two.replaced)
        return frozen.same_logits(torch.cat(alone), frozen.logits_of(module(images)))


def _replace(module: fx.GraphModule, replaced: dict[fx.Node, nn.Module]) -> None:
    for node, new in replaced.items():
        module.add_submodule(str(node.target), new)
        if not isinstance(new, Joined):
            node.args, node.kwargs = node.args[:1], {}
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()


class _Watched(fx.Interpreter):
    """Runs a graph and keeps the shapes of all its values, and the whole numbers among them."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, _Shape] = {}
        self.numbers: dict[fx.Node, list[int]] = {}

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if isinstance(value, Tensor):
            self.shapes[node] = tuple(value.shape)
            if value.dtype in (torch.int32, torch.int64) and value.ndim == 1:
                self.numbers[node] = value.tolist()
        return value


class _Batched(fx.Interpreter):
    """Runs a graph on two images, and finds what stands in the way of that.

    Args:
        module: the graph.
        alone: the same after it has run on one.
    """

    def __init__(self, module: fx.GraphModule, alone: _Watched) -> None:
        from onnx2torch.node_converters.concat import OnnxConcat
        from onnx2torch.node_converters.reshape import OnnxReshape

        super().__init__(module)
        self.alone = alone
        self.makers: dict[type[nn.Module], Callable[[Any, fx.Node, Any], nn.Module | None]] = {
            OnnxReshape: self._reshape,
            OnnxConcat: self._concatenation,
            Sliced: self._slice,
        }
        self.replaced: dict[fx.Node, nn.Module] = {}

    def run_node(self, node: fx.Node) -> Any:
        submodule = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        make = self.makers.get(type(submodule)) if isinstance(submodule, nn.Module) else None
        if make is None or not isinstance(submodule, nn.Module):
            return super().run_node(node)
        args, _ = self.fetch_args_kwargs_from_env(node)
        new = make(submodule, node, args)
        if new is None:
            return super().run_node(node)
        self.replaced[node] = new
        return new(*(args if isinstance(new, Joined) else args[:1]))

    def _reshape(self, _: Any, node: fx.Node, args: Any) -> nn.Module:
        # One whose shape is computed from the image is fixed too: a GPU would have to wait for it.
        (given, *_rest), made = node.args, self.alone.shapes[node]
        assert isinstance(given, fx.Node)
        shape = self.alone.shapes[given]
        return Reshaped(_open_shape(shape, _batch_axis(shape, args[0].shape), made))

    def _concatenation(self, module: Any, node: fx.Node, args: Any) -> nn.Module | None:
        sources = [source for source in node.args if isinstance(source, fx.Node)]
        axes = [_batch_axis(self.alone.shapes[source], arg.shape) for source, arg in zip(sources, args, strict=True)]
        found = {axis for axis in axes if axis is not None}
        return Joined(module.axis, found.pop()) if len(found) == 1 and None in axes else None

    def _slice(self, _: Any, node: fx.Node, args: Any) -> nn.Module | None:
        """One whose places are computed from the image is fixed too, if they are the same for each number of images."""
        given = [self.alone.numbers.get(source) for source in node.args[1:] if isinstance(source, fx.Node)]
        if node.kwargs or any(one is None or one != arg.tolist() for one, arg in zip(given, args[1:], strict=True)):
            return None
        return Sliced(_slices([numbers for numbers in given if numbers is not None]))


def _batch_axis(alone: _Shape, together: _Shape) -> int | None:
    """The axis that holds the batch; None where there is none."""
    if len(alone) != len(together):
        raise ValueError("the number of axes depends on the batch")
    axes = [i for i, (one, two) in enumerate(zip(alone, together, strict=True)) if one != two]
    if len(axes) > 1 or any(together[i] != 2 * alone[i] for i in axes):
        raise ValueError("the batch lies in several axes")
    return axes[0] if axes else None


def _open_shape(given: _Shape, axis: int | None, made: _Shape) -> _Shape:
    """The shape that a reshape makes of one image, -1 at the axis that has the batch, which is `axis` of its input."""
    if axis is None:
        return made
    before = math.prod(given[:axis])
    for i in range(len(made)):
        if math.prod(made[:i]) == before:
            return (*made[:i], -1, *made[i + 1 :])
    raise ValueError("the reshape tears the batch apart")
