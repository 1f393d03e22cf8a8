"""The layer of a network that still knows where things are, its maps, and the class activation maps made of them.

Captum's ``LayerGradCam`` is not used: it averages gradients over the dimensions from 2 on and sums over dimension 1,
which is right for (B, C, h, w) maps, but averages over the features and sums over the places of the tokens (B, N, D)
of a transformer and of the (B, h, w, C) maps of a Swin. Here every layer is first brought into (B, C, h, w).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.methods.layouts import Call, Layout, change_of, lay_out, pair
from fidokit.models.frozen import is_out_of_memory, recorded
from fidokit.models.goals import Goal
from fidokit.models.uncompiled import plain_name

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session
    from fidokit.models.state import EvaluationCounter

#: Gradients of float16 are computed at this multiple, so that small ones do not round to zero.
_HALF_SCALE = 256.0
NO_GRADIENT = "the classifier's logits have no gradient (it detaches, rounds or runs under no_grad); use occlusion"
_POOLING = re.compile(r"pool(ing)?(2d)?(same)?$", re.IGNORECASE)
_NORMALISATION = re.compile(r"norm", re.IGNORECASE)


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


#: By the counter, which all sessions of a classifier share: their modules have the same layers.
_differentiable: WeakKeyDictionary[EvaluationCounter, bool] = WeakKeyDictionary()
_probes: WeakKeyDictionary[EvaluationCounter, _Probe] = WeakKeyDictionary()


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


def token_layout(session: Session, normalised: Tensor, count: int) -> tuple[Layout, bool]:
    """Where the places of the image lie in sequences of so many tokens, and whether the logits are read from them.

    Args:
        session: an open session, exact or fast.
        normalised: (B, 3, H, W) images from ``session.normalise``, at least one.
        count: of the tokens in a sequence.

    Returns:
        The layout, and True if the logits depend on the last tokens of the grid, False if on a class token alone.

    Raises:
        MethodNotApplicable: the logits have no gradient, or no sequence of that length is known to hold a grid.
    """
    probe = _probe(session, normalised)
    names = [
        name for name, layout in probe.layouts.items() if layout.order == "tokens" and probe.shapes[name][1] == count
    ]
    if not names:
        raise MethodNotApplicable(
            f"the places of the image could not be found among the {count} tokens of this transformer; use grad-cam"
        )
    return probe.layouts[names[-1]], names[-1] not in probe.dead


def check_layer(session: Session, normalised: Tensor, layer_name: str) -> None:
    """See that class activation maps can be made of a layer that was named.

    Raises:
        MethodNotApplicable: the logits have no gradient.
        SettingsError: no such layer, or one whose output is no map of the image.
    """
    _layout(session, normalised, plain_name(layer_name))


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
    layer_name = plain_name(layer_name)
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
        return _with_first(output, leaf.clone())

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

    return torch.cat([part for _, part in session.in_micro_batches(len(normalised), maps)])


def needs_gradient(classifier: Classifier, _settings: Any = None) -> None:
    """A `Method.check`: whether the logits can be differentiated; looked up once a classifier, with one evaluation.

    Raises:
        MethodNotApplicable: they cannot.
    """
    if classifier.counter not in _differentiable:
        session = classifier.any_session()
        image = session.normalise(torch.full((1, 3, *classifier.size), 0.5)).requires_grad_(True)
        logits = recorded(session.evaluate, image)
        with torch.enable_grad():
            gradient = (
                torch.autograd.grad(logits.amax(1).sum(), image, allow_unused=True)[0] if logits.requires_grad else None
            )
        _differentiable[classifier.counter] = gradient is not None
    if not _differentiable[classifier.counter]:
        raise MethodNotApplicable(NO_GRADIENT)


def class_values(goal: Goal, logits: Tensor) -> Tensor:
    """(B,) explained values of (B, K) logits: ``goal.class_logit``, from `checked_values`."""
    return checked_values(goal.class_logit(logits), logits)


def checked_values(values: Tensor, logits: Tensor) -> Tensor:
    """(B,) values computed from (B, K) logits, as they are, if they are what can be explained.

    Raises:
        MethodNotApplicable: gradients are wanted and the logits have none.
        SettingsError: a user's function that returns another shape, or a result without gradient.
    """
    if torch.is_grad_enabled() and not logits.requires_grad:
        raise MethodNotApplicable(NO_GRADIENT)
    if values.shape != logits.shape[:1]:
        raise SettingsError(f"the target function returned shape {tuple(values.shape)}; one score an image is needed")
    if torch.is_grad_enabled() and not values.requires_grad:
        raise SettingsError(
            "the target function's score has no gradient; compute it with torch, without detach or argmax"
        )
    return values


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
    if session.counter not in _probes:
        spent = session.counter.evaluations + 2
        fewest = min(2, session.micro_batch)
        n = session.padded(fewest)
        try:
            _probes[session.counter] = _make_probe(session, normalised, n)
        except Exception as error:
            # All outputs are held at once, which takes more than an evaluation.
            if not is_out_of_memory(error) or n == fewest:
                raise
            _probes[session.counter] = _make_probe(session, normalised, fewest)
        session.counter.evaluations = spent
    return _probes[session.counter]


def _make_probe(session: Session, normalised: Tensor, n: int) -> _Probe:
    images = pair(normalised.detach()[0])
    images = images[torch.arange(max(n, 2), device=images.device) % 2].contiguous(memory_format=session.memory_format)
    other: _Record | None = None
    if n == 1:  # there are programs that take one image and no more
        other = _Record(session.module)
        with other, torch.no_grad():
            session.forward(images[1:])
        images = images[:1]
    record = _Record(session.module, other)
    with record, torch.enable_grad():
        logits = session.forward(images.requires_grad_(True))
        if not logits.requires_grad:
            raise MethodNotApplicable(NO_GRADIENT)
        relu_calls = _count_nodes(logits, "ReluBackward")
        calls = list(record.calls.values())
        recorded = [call for call in calls if call.output.requires_grad]
        outputs = [call.output for call in recorded]
        gradients = torch.autograd.grad(logits.amax(1).sum(), outputs, allow_unused=True) if outputs else ()
    size = (images.shape[2], images.shape[3])
    connected = [c for c, gradient in zip(recorded, gradients, strict=True) if gradient is not None]
    lay_out(calls, len(images), size)
    for call, gradient in zip(recorded, gradients, strict=True):
        if call.layout is not None and gradient is not None:
            call.live = bool((call.layout.maps(gradient) != 0).any())
    found = _choose(connected, size)
    return _Probe(
        shapes={call.name: tuple(call.output.shape) for call in calls},
        counts={call.name: call.count for call in calls},
        layouts={call.name: call.layout for call in calls if call.layout is not None},
        dead=frozenset(
            c.name for c in connected if c.name != found and c.layout and c.layout.order == "tokens" and not c.live
        ),
        found=found,
        reason=_no_layer(session.module),
        relu_modules=record.relus,
        relu_calls=relu_calls,
    )


def _no_layer(module: nn.Module) -> str:
    sealed = next((m for m in module.modules() if not _can_be_read(m)), None)
    why = ""
    if sealed is not None:
        why = f" (its {type(sealed).__name__} is TorchScript, whose layers cannot be read: give what it was made of)"
    elif isinstance(module, torch.fx.GraphModule):
        why = " (it is an exported or traced program, whose layers are gone: give the module it was made of)"
    return (
        f"no layer of {type(module).__name__} keeps a map of the image, (B, C, h, w), (B, h, w, C) or tokens of a "
        f"grid, smaller than the input and larger than one cell, so there is no class activation map{why}; "
        "integrated-gradients, saliency, smoothgrad and occlusion need no layer"
    )


def _can_be_read(module: nn.Module) -> bool:
    """Whether hooks can be put on a module: TorchScript refuses them."""
    return not isinstance(module, torch.jit.ScriptModule)


class _Record(AbstractContextManager[None]):
    """The last call of each module, as long as the context is open.

    Modules get views of their outputs back, so that a gradient is that of what follows this module alone: one that
    returns what it was given would else be taken for the layer that made it.

    Args:
        module: what is called.
        other: of the second image of a pair, if it went through alone; else two images go through at once.
    """

    def __init__(self, module: nn.Module, other: _Record | None = None) -> None:
        self.calls: dict[str, Call] = {}
        self.relus = 0
        self._module, self._other = module, other
        self._pooled: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> None:
        self._handles = [
            module.register_forward_hook(partial(self._keep, name))
            for name, module in self._module.named_modules()
            if name and _can_be_read(module)
        ]

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, name: str, module: nn.Module, _args: object, output: Any) -> Any:
        tensor = _first_tensor(output)
        if tensor is None:
            return None
        self.relus += isinstance(module, nn.ReLU) and tensor.requires_grad
        pooled = id(tensor) in self._pooled or bool(_POOLING.search(type(module).__name__))
        held = tensor.view_as(tensor) if tensor.requires_grad else tensor
        if pooled:
            self._pooled[id(held)] = held
        # The last call counts, so it is what the order is by.
        earlier = self.calls.pop(name, None)
        count = 1 if earlier is None else earlier.count + 1
        self.calls[name] = Call(name, module, held, count, self._change(name, tensor), pooled)
        return None if held is tensor else _with_first(output, held)

    def _change(self, name: str, tensor: Tensor) -> tuple[Tensor, ...] | None:
        if len(tensor) == 2 and self._other is None:
            return change_of(tensor[0], tensor[1])
        earlier = None if self._other is None else self._other.calls.get(name)
        return None if earlier is None else change_of(tensor[0], earlier.output[0])


def _first_tensor(output: object) -> Tensor | None:
    """The floating-point tensor that a module returned, alone or first in a plain tuple or list."""
    if type(output) in (tuple, list) and output:
        output = output[0]  # type: ignore[index]
    return output if isinstance(output, Tensor) and output.is_floating_point() and output.ndim else None


def _with_first(output: Any, tensor: Tensor) -> Any:
    """What a module returned with another tensor in the place of `_first_tensor`."""
    return tensor if isinstance(output, Tensor) else type(output)((tensor, *output[1:]))


def _choose(calls: Sequence[Call], size: tuple[int, int]) -> str | None:
    fitting = [
        call
        for call in calls
        if call.layout is not None and call.layout.height < size[0] and call.layout.width < size[1] and not call.pooled
    ]
    # Where everything is dead, as with a head of zeros, any map is all zero; the last layer is as good as another.
    usable = [call for call in fitting if call.live] or fitting
    if not usable:
        return None
    last = usable[-1]
    if last.layout is not None and last.layout.order == "tokens":
        # Inside an attention there are projections of the tokens as well. What is read by practice is the stream of
        # tokens from block to block: a normalisation of it, or the output of a block that has one.
        tokens = [c for c in usable if c.layout and (c.layout.order, c.layout.grid) == ("tokens", last.layout.grid)]
        stream = [c for c in tokens if any(map(_is_normalisation, c.module.modules()))]
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
