"""The layer of a network that still knows where things are, its maps, and the class activation maps made of them.

Captum's ``LayerGradCam`` is not used: it averages gradients over the dimensions from 2 on and sums over dimension 1,
which is right for (B, C, h, w) maps, but averages over the features and sums over the places of the tokens (B, N, D)
of a transformer and of the (B, h, w, C) maps of a Swin. Here every layer is first brought into (B, C, h, w).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.frozen import is_out_of_memory
from fidokit.methods.objective import Goal

if TYPE_CHECKING:
    from fidokit.session import Session, Tally

#: Tokens that may stand before those of the grid: none, class, class and distillation, class and four registers.
PREFIXES = (0, 1, 2, 5)
#: Gradients of float16 are computed at this multiple, so that small ones do not round to zero.
_HALF_SCALE = 256.0
_NO_GRADIENT = "the classifier's logits have no gradient (it detaches, rounds or runs under no_grad); use occlusion"
_POOLING = re.compile(r"pool(ing)?(2d)?(same)?$", re.IGNORECASE)
_NORMALISATION = re.compile(r"norm", re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How a layer's output lies in memory.

    Attributes:
        order: ``channels_first`` (B, C, h, w), ``channels_last`` (B, h, w, C), or ``tokens`` (B, prefix + h * w, C).
        height, width: the grid (h, w).
        prefix: tokens before those of the grid.
    """

    order: Literal["channels_first", "channels_last", "tokens"]
    height: int
    width: int
    prefix: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The output, or its gradient, as (B, C, h, w) maps without the prefix tokens."""
        if self.order == "channels_first":
            return output
        if self.order == "channels_last":
            return output.permute(0, 3, 1, 2)
        tokens = output[:, self.prefix :].transpose(1, 2)
        return tokens.reshape(len(output), -1, self.height, self.width)


@dataclass
class _Call:
    """The last call of one module in a probe."""

    name: str
    module: nn.Module
    output: Tensor
    count: int
    layout: Layout | None = None
    live: bool = False


@dataclass(frozen=True)
class _Probe:
    """What one forward and backward pass tells about a session's module.

    Attributes:
        shapes: name -> shape of the output of each module that was called.
        counts: name -> how often it was called.
        layouts: name -> layout, where the output is a map of the image.
        dead: token layers whose grid tokens the logits do not depend on.
        found: the layer for class activation maps, or None.
        reason: why there is none.
        relu_modules, relu_calls: ReLUs between image and logits, those that are ``nn.ReLU`` modules and all.
    """

    shapes: dict[str, tuple[int, ...]]
    counts: dict[str, int]
    layouts: dict[str, Layout]
    dead: frozenset[str]
    found: str | None
    reason: str
    relu_modules: int
    relu_calls: int


#: By the tally, which all sessions of a classifier share: their modules have the same layers.
_probes: WeakKeyDictionary[Tally, _Probe] = WeakKeyDictionary()


def find_layer(session: Session, normalised: Tensor) -> str:
    """Name of the layer that class activation maps should read; found once a classifier, with at most two evaluations.

    In a convolutional network: the last module executed whose output is a map with more than one cell and smaller than
    the input, pooling aside, which only coarsens the map it reads. In a transformer: the last normalisation or block
    on whose output the logits depend at the tokens of the grid. Where a class token is read, that is the first
    normalisation of the last block, since what follows it reaches the logits through the class token alone.

    Args:
        session: an open session, exact or fast.
        normalised: (B, 3, H, W) images from ``session.normalise``, at least one.

    Raises:
        MethodNotApplicable: no layer keeps a map of the image.
    """
    probe = _probe(session, normalised)
    if probe.found is None:
        raise MethodNotApplicable(probe.reason)
    return probe.found


def layer_maps(session: Session, normalised: Tensor, goal: Goal, layer_name: str) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's maps and the gradient of the explained logit in them: one forward and one backward pass.

    The gradient is that of ``goal.class_logit``. The backward pass ends at the layer.

    Args:
        session: an open session, exact or fast.
        normalised: (B, 3, H, W) from ``session.normalise``, at most ``session.micro_batch`` of them.
        goal: what to explain of these images.
        layer_name: dotted name of a layer whose output is (B, C, h, w), (B, h, w, C) or (B, N, C), or a tuple that
            begins with such a tensor.

    Returns:
        Activations (B, C, h, w), gradients (B, C, h, w) and logits (B, K), all float32 on the session's device.

    Raises:
        MethodNotApplicable: the logits have no gradient.
        SettingsError: no such layer, or one whose output is no map of the image.
    """
    layout = _layout(session, normalised, layer_name)
    remaining = _probe(session, normalised).counts[layer_name]
    held: list[Tensor] = []

    def cut(_module: nn.Module, _args: object, output: Any) -> Any:
        nonlocal remaining
        remaining -= 1
        if remaining > 0:  # a module that is called several times counts with its last call
            return None
        tensor = _first_tensor(output)
        assert tensor is not None
        # Two copies: whatever the network does in place, before or after, neither changes what is read nor touches
        # a leaf.
        leaf = tensor.detach().clone().requires_grad_(True)
        held[:] = [leaf]
        return leaf.clone() if tensor is output else type(output)((leaf.clone(), *output[1:]))

    handle = session.module.get_submodule(layer_name).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            # The images require gradients so that modules with a fast path for inference (nn.TransformerEncoder) run
            # as in the probe.
            logits = session.evaluate(normalised.detach().requires_grad_(True))
            value = class_values(goal.to(session.device), logits)
            scale = _HALF_SCALE if torch.float16 in (session.precision.dtype, session.precision.autocast) else 1.0
            (gradient,) = torch.autograd.grad(value.sum() * scale, held, allow_unused=True) if held else (None,)
    finally:
        handle.remove()
    if gradient is None:
        raise SettingsError(f"the logits do not depend on layer {layer_name!r}; name one that they are computed from")
    activations, gradients = (layout.maps(t.detach().float())[: len(logits)] for t in (held[0], gradient))
    return activations, gradients / scale, logits.detach()


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """(B, h, w) Grad-CAM, signed: channels weighted by their mean gradient (Selvaraju et al., ICCV 2017, eq. 1-2)."""
    return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(1)


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """(B, h, w) HiResCAM, signed: gradient times activation (Draelos, Carin, arXiv 2011.08891, eq. 4)."""
    return (gradients * activations).sum(1)


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """(B, h, w) LayerCAM: positive gradient times activation (Jiang et al., IEEE TIP 2021, eq. 6-8)."""
    return (gradients.relu() * activations).sum(1)


def class_activation_map(session: Session, normalised: Tensor, goal: Goal, layer_name: str) -> Tensor:
    """(B, h, w) raw signed Grad-CAM maps of any number of images; one evaluation an image.

    Args:
        session: an open session, exact or fast.
        normalised: (B, 3, H, W) from ``session.normalise``; more than a micro-batch goes through in parts.
        goal: what to explain of these images.
        layer_name: from `find_layer`, or the user's choice.

    Raises:
        SettingsError: no such layer, or one whose output is no map of the image.
    """

    def maps(rows: slice) -> Tensor:
        activations, gradients, _ = layer_maps(session, normalised[rows], goal[rows], layer_name)
        return grad_cam(activations, gradients)

    return torch.cat([part for _, part in in_micro_batches(session, len(normalised), maps)])


def class_values(goal: Goal, logits: Tensor) -> Tensor:
    """(B,) explained values of (B, K) logits: ``goal.class_logit``, checked.

    Raises:
        MethodNotApplicable: gradients are wanted and the logits have none.
        SettingsError: a user's function that returns another shape, or a result without gradient.
    """
    if torch.is_grad_enabled() and not logits.requires_grad:
        raise MethodNotApplicable(_NO_GRADIENT)
    values = goal.class_logit(logits)
    if values.shape != logits.shape[:1]:
        raise SettingsError(f"the target function returned shape {tuple(values.shape)}; one score an image is needed")
    if torch.is_grad_enabled() and not values.requires_grad:
        raise SettingsError(
            "the target function's score has no gradient; compute it with torch, without detach or argmax"
        )
    return values


def in_micro_batches(session: Session, n: int, run: Callable[[slice], Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """``run`` over n rows, a micro-batch at a time; after an out-of-memory error again with smaller ones."""
    start = 0
    while start < n:
        rows = slice(start, min(start + session.micro_batch, n))
        try:
            result = run(rows)
        except Exception as error:
            if not session.shrink_after(error):
                raise
            continue
        yield rows, result
        start = rows.stop


def count_relus(session: Session, normalised: Tensor) -> tuple[int, int]:
    """How many ReLUs stand between image and logits: ``nn.ReLU`` modules, and all, functional ones included."""
    probe = _probe(session, normalised)
    return probe.relu_modules, probe.relu_calls


def _layout(session: Session, normalised: Tensor, name: str) -> Layout:
    probe = _probe(session, normalised)
    found = f"; the layer found by itself is {probe.found!r}" if probe.found else ""
    if name in probe.layouts:
        if name in probe.dead:
            raise SettingsError(
                f"the logits depend on the output of layer {name!r} only through its class token, so it has no map; "
                f"name an earlier one{found}"
            )
        return probe.layouts[name]
    if name not in dict(session.module.named_modules()):
        raise SettingsError(f"the classifier has no layer {name!r}{found}")
    if name not in probe.shapes:
        raise SettingsError(f"the layer {name!r} gives no tensor when an image is classified{found}")
    raise SettingsError(
        f"the output of layer {name!r} has shape {probe.shapes[name]}; class activation maps need (B, C, h, w), "
        f"(B, h, w, C) or the tokens (B, N, C) of a grid{found}"
    )


def _probe(session: Session, normalised: Tensor) -> _Probe:
    if session.tally not in _probes:
        # Two images, where they fit, tell the batch axis from one that happens to be 1.
        pair = min(2, session.micro_batch)
        spent = session.tally.evaluations + pair
        try:
            _probes[session.tally] = _make_probe(session, normalised, session.padded(pair))
        except Exception as error:
            # All outputs are held at once, which takes more than an evaluation.
            if not is_out_of_memory(error) or session.padded(pair) == pair:
                raise
            _probes[session.tally] = _make_probe(session, normalised, pair)
        session.tally.evaluations = spent
    return _probes[session.tally]


def _make_probe(session: Session, normalised: Tensor, n: int) -> _Probe:
    calls: dict[str, _Call] = {}
    relus = 0

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, _args: object, output: object) -> None:
            nonlocal relus
            tensor = _first_tensor(output)
            if tensor is not None:
                relus += isinstance(module, nn.ReLU) and tensor.requires_grad
                # The last call counts, so it is what the order is by.
                earlier = calls.pop(name, None)
                calls[name] = _Call(name, module, tensor, 1 if earlier is None else earlier.count + 1)

        return record

    handles = [m.register_forward_hook(recorder(name)) for name, m in session.module.named_modules() if name]
    try:
        with torch.enable_grad():
            rows = torch.arange(n, device=normalised.device) % len(normalised)
            images = normalised.detach()[rows].requires_grad_(True)
            logits = session.forward(images)
            if not logits.requires_grad:
                raise MethodNotApplicable(_NO_GRADIENT)
            relu_calls = _count_nodes(logits, "ReluBackward")
            recorded = [call for call in calls.values() if call.output.requires_grad]
            outputs = [call.output for call in recorded]
            gradients = torch.autograd.grad(logits.amax(1).sum(), outputs, allow_unused=True) if outputs else ()
    finally:
        for handle in handles:
            handle.remove()
    size = (images.shape[2], images.shape[3])
    connected = [c for c, gradient in zip(recorded, gradients, strict=True) if gradient is not None]
    _lay_out(list(calls.values()), len(images), size)
    for call, gradient in zip(recorded, gradients, strict=True):
        if call.layout is not None and gradient is not None:
            call.live = bool((call.layout.maps(gradient) != 0).any())
    found = _choose(connected, size)
    return _Probe(
        shapes={name: tuple(call.output.shape) for name, call in calls.items()},
        counts={name: call.count for name, call in calls.items()},
        layouts={name: call.layout for name, call in calls.items() if call.layout is not None},
        dead=frozenset(
            c.name for c in connected if c.name != found and c.layout and c.layout.order == "tokens" and not c.live
        ),
        found=found,
        reason=f"no layer of {type(session.module).__name__} keeps a map of the image, (B, C, h, w), (B, h, w, C) or "
        f"tokens of a grid, smaller than the input and larger than one cell, so there is no class activation map; "
        "integrated-gradients, saliency, smoothgrad and occlusion need no layer",
        relu_modules=relus,
        relu_calls=relu_calls,
    )


def _first_tensor(output: object) -> Tensor | None:
    """The floating-point tensor that a module returned, alone or first in a plain tuple or list."""
    if type(output) in (tuple, list) and output:
        output = output[0]  # type: ignore[index]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def _lay_out(calls: list[_Call], batch: int, size: tuple[int, int]) -> None:
    """Give each call the layout of its output, if it is a map of the image."""
    whole = [call for call in calls if call.output.shape[:1] == (batch,)]
    token_counts = {call.output.shape[1] for call in whole if call.output.ndim == 3}
    for call in whole:
        if call.output.ndim == 4:
            call.layout = _layout_of_map(call, size, token_counts)
    placed = [call for call in reversed(whole) if call.layout is not None]
    grids = [(c.layout.height, c.layout.width) for c in placed if c.layout is not None]
    flattened = {(c.output.shape[1], c.output.shape[2] * c.output.shape[3]) for c in placed}
    for call in whole:
        if call.output.ndim == 3:
            _, tokens, features = call.output.shape
            # (B, C, h * w) is a map with its places flattened, not C tokens.
            if tokens == features or (tokens, features) not in flattened:
                call.layout = _layout_of_tokens(tokens, grids, size)


def _layout_of_map(call: _Call, size: tuple[int, int], token_counts: set[int]) -> Layout | None:
    _, a, b, c = call.output.shape
    if isinstance(call.module, nn.Conv2d | nn.BatchNorm2d):
        return Layout("channels_first", b, c) if b > 1 and c > 1 else None
    if b in token_counts:  # attention: (B, heads, N, N) weights, (B, heads, N, D) queries
        return None
    first, last = _mismatch(b, c, size), _mismatch(a, b, size)
    if first is not None and (last is None or first <= last):
        return Layout("channels_first", b, c)
    return None if last is None else Layout("channels_last", a, b)


def _mismatch(height: int, width: int, size: tuple[int, int]) -> int | None:
    """How far a grid's aspect is from the input's; None if by more than one cell of rounding on each side."""
    gap = abs(height * size[1] - width * size[0])
    return gap if height > 1 and width > 1 and gap <= size[0] + size[1] else None


def _layout_of_tokens(tokens: int, grids: list[tuple[int, int]], size: tuple[int, int]) -> Layout | None:
    """The grid of N tokens: one that a map of the network has (its patch embedding's), or that one halved where tokens
    are merged, else one of the input's aspect.

    The aspect is asked only in networks without any map: in others, three axes can mean anything.
    """
    for height, width in [*grids, *(half for grid in grids for half in _halved(*grid))]:
        if tokens - height * width in PREFIXES:
            return Layout("tokens", height, width, tokens - height * width)
    if grids:
        return None
    for prefix in PREFIXES:
        count = tokens - prefix
        for height in range(2, count // 2 + 1):
            if count % height == 0 and height * size[1] == count // height * size[0]:
                return Layout("tokens", height, count // height, prefix)
    return None


def _halved(height: int, width: int) -> Iterator[tuple[int, int]]:
    while height > 2 and width > 2:
        height, width = -(-height // 2), -(-width // 2)
        yield height, width


def _choose(calls: list[_Call], size: tuple[int, int]) -> str | None:
    pooled = {id(call.output) for call in calls if _POOLING.search(type(call.module).__name__)}
    fitting = [
        call
        for call in calls
        if call.layout is not None
        and call.layout.height < size[0]
        and call.layout.width < size[1]
        and id(call.output) not in pooled
    ]
    # Where everything is dead, as with a head of zeros, any map is all zero; the last layer is as good as another.
    usable = [call for call in fitting if call.live] or fitting
    if not usable:
        return None
    last = usable[-1]
    if last.layout is not None and last.layout.order == "tokens":
        # Inside an attention there are projections of the tokens as well. What is read by practice is the stream of
        # tokens from block to block: a normalisation of it, or the output of a block that has one.
        stream = [c for c in usable if c.layout == last.layout and any(map(_is_normalisation, c.module.modules()))]
        return (stream or usable)[-1].name
    return last.name


def _is_normalisation(module: nn.Module) -> bool:
    return bool(_NORMALISATION.search(type(module).__name__)) and next(module.children(), None) is None


def _count_nodes(output: Tensor, name: str) -> int:
    """Nodes of a computation's graph whose name begins so."""
    stack, seen, count = [output.grad_fn], set(), 0
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        count += node.name().startswith(name)
        stack.extend(parent for parent, _ in node.next_functions)
    return count
