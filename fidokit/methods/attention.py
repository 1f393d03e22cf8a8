"""The attention of a transformer, opened: its weights where a fused kernel would hide them, and the blocks around it.

Nothing is asked of the classes of a network. Attention is what goes through ``scaled_dot_product_attention``, or a
softmax over the last axis of square matrices, while an image is classified; a block is the largest module around one
attention that takes and gives the tokens. So timm's, torchvision's and transformers' networks, and a user's own, are
read alike, whichever implementation of attention they were built with.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fidokit.exceptions import MethodNotApplicable
from fidokit.methods.layers import class_values, needs_gradient, token_layout
from fidokit.methods.layouts import Layout
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session
    from fidokit.models.state import EvaluationCounter

_FUSED = functional.scaled_dot_product_attention
_SIGNATURE = inspect.signature(functional.multi_head_attention_forward)
#: Options of multi-head attention that no vision transformer uses; with them its weights stay hidden.
_RARE = ("bias_k", "bias_v", "add_zero_attn", "static_k", "static_v")
_SOFTMAX = (torch.softmax, Tensor.softmax, functional.softmax)


class Opened(TorchFunctionMode):
    """While active, attention is computed step by step, and `seen` is told its weights.

    Args:
        seen: called with the (B, h, Q, N) weights of h heads: the shares of N tokens in each of Q. What it returns is
            what the network goes on with.
        batch: B; heads that are merged with it are taken apart.
    """

    def __init__(self, seen: Callable[[Tensor], Tensor], batch: int) -> None:
        super().__init__()
        self._tell, self._batch = seen, batch

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _FUSED:
            weights, value = weights_of(*args, **kwargs)
            return self._seen(weights).to(value.dtype) @ value
        if func is functional.multi_head_attention_forward:
            # It hands itself to a mode as a whole, and what it calls is then out of the mode's sight.
            call = _SIGNATURE.bind(*args, **kwargs)
            call.apply_defaults()
            if all(call.arguments[name] is None or call.arguments[name] is False for name in _RARE):
                return self._multi_head(**call.arguments)
        output = func(*args, **kwargs)
        if func in _SOFTMAX and isinstance(output, Tensor) and _is_attention(output, *args[1:], **kwargs):
            return self._seen(output)
        return output

    def _multi_head(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        **other: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """`functional.multi_head_attention_forward` of (L, B, E) tokens, or of (L, E) without a batch."""
        single = query.ndim == 2
        query, key, value = (t[:, None] if single else t for t in (query, key, value))
        separate = (other["q_proj_weight"], other["k_proj_weight"], other["v_proj_weight"])
        matrices = in_proj_weight.chunk(3) if in_proj_weight is not None else separate
        biases = in_proj_bias.chunk(3) if in_proj_bias is not None else (None,) * 3
        heads = [
            functional.linear(t, w, b).reshape(*t.shape[:2], num_heads, -1).permute(1, 2, 0, 3)
            for t, w, b in zip((query, key, value), matrices, biases, strict=True)
        ]
        mask = None if attn_mask is None else _allowed(attn_mask, heads[0])
        if mask is not None and mask.ndim == 3:
            mask = mask.view(-1, num_heads, *mask.shape[1:])
        if key_padding_mask is not None:
            padding = _allowed(key_padding_mask, heads[0]).view(-1, 1, 1, key_padding_mask.shape[-1])
            mask = padding if mask is None else mask + padding
        weights, values = weights_of(heads[0], heads[1], heads[2], mask)
        weights = self._seen(weights)
        mixed = (weights.to(values.dtype) @ values).permute(2, 0, 1, 3).flatten(2)
        output = functional.linear(mixed, out_proj_weight, out_proj_bias)
        told = weights.mean(1) if other["average_attn_weights"] else weights
        if single:
            output, told = output[:, 0], told[0]
        return output, told if other["need_weights"] else None

    def _seen(self, weights: Tensor) -> Tensor:
        apart = weights
        if weights.ndim == 3 and len(weights) % self._batch == 0:
            apart = weights.view(self._batch, -1, *weights.shape[1:])
        return self._tell(apart).reshape(weights.shape)


def _allowed(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of `nn.MultiheadAttention`, where True forbids, as what is added to the scores."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


def weights_of(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    _dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_other: Any,
) -> tuple[Tensor, Tensor]:
    """(..., h, Q, N) weights and (..., h, N, D) values of an attention; its arguments are torch's, without dropout."""
    if enable_gqa:
        key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1), value


def _is_attention(output: Tensor, axis: Any = None, *_args: Any, dim: Any = None, **_kwargs: Any) -> bool:
    axis = dim if axis is None else axis
    return output.ndim in (3, 4) and output.shape[-1] == output.shape[-2] > 1 and axis in (-1, output.ndim - 1)


@dataclass(frozen=True)
class Transformer:
    """What one pass of an image tells about a session's module.

    Attributes:
        blocks: dotted names of the modules around each attention, in order; empty where they were not found.
        layout: where the places of the image lie among the tokens.
        grid_is_read: whether the logits are read from the tokens of the grid; else from the first one, a class token.
    """

    blocks: tuple[str, ...]
    layout: Layout
    grid_is_read: bool


@dataclass
class _Trace:
    """Which modules run while attention is computed, and what they take and give."""

    running: list[str] = field(default_factory=list)
    around: list[tuple[str, ...]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    keeps: dict[str, bool] = field(default_factory=dict)

    @contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Watch the modules inside."""

        def enter(name: str) -> Callable[..., None]:
            return lambda *_: self.running.append(name)

        def leave(name: str) -> Callable[..., None]:
            def left(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                self.running.pop()
                given, made = _tokens(args, kwargs), _first(output)
                self.keeps[name] = given is not None and made is not None and given.shape == made.shape

            return left

        handles: list[Any] = []
        try:
            for name, part in module.named_modules():
                if not isinstance(part, torch.jit.ScriptModule):
                    handles.append(part.register_forward_pre_hook(enter(name), prepend=True))
                    handles.append(part.register_forward_hook(leave(name), with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def seen(self, weights: Tensor) -> Tensor:
        """An attention."""
        self.around.append(tuple(self.running))
        self.shapes.append(tuple(weights.shape))
        return weights

    def block(self, around: Sequence[str]) -> str | None:
        """The largest module around one attention, and no other, that gives tokens as it takes them."""
        alone = (name for name in around if sum(name in names for names in self.around) == 1)
        return next((name for name in alone if name and self.keeps.get(name)), None)


#: By the counter, which all sessions of a classifier share: their modules are the same.
_transformers: WeakKeyDictionary[EvaluationCounter, Transformer] = WeakKeyDictionary()


def find_transformer(session: Session, normalised: Tensor) -> Transformer:
    """Blocks and tokens of a session's module; found once a classifier, with one evaluation and those of `find_layer`.

    Args:
        session: an open session.
        normalised: (B, 3, H, W) images from ``session.normalise``, at least one.

    Raises:
        MethodNotApplicable: no attention, or one that does not reach from each place of the image to every other.
    """
    if session.counter not in _transformers:
        trace = _Trace()
        with trace.of(session.module):
            _classified(session, normalised[:1], trace.seen)
        _transformers[session.counter] = _understood(session, normalised, trace)
    return _transformers[session.counter]


def _understood(session: Session, normalised: Tensor, trace: _Trace) -> Transformer:
    name = type(session.module).__name__
    square = [i for i, shape in enumerate(trace.shapes) if shape[-1] == shape[-2]]
    if not square:
        raise MethodNotApplicable(
            f"{name} has no attention between the places of an image; use a method for any network, such as grad-cam"
        )
    shapes = [trace.shapes[i] for i in square]
    if any(len(shape) != 4 or shape[0] != session.padded(1) for shape in shapes):
        raise MethodNotApplicable(
            f"{name} attends within windows, not from each place of the image to every other; use grad-cam"
        )
    lengths = sorted({shape[-1] for shape in shapes})
    if len(lengths) > 1:
        raise MethodNotApplicable(
            f"{name} merges tokens between its blocks (sequences of {', '.join(map(str, lengths))}), so that attention "
            "cannot be followed back to the places of the image; use grad-cam"
        )
    layout, grid_is_read = token_layout(session, normalised, lengths[0])
    trace.around = [trace.around[i] for i in square]
    blocks = [block for block in map(trace.block, trace.around) if block is not None]
    complete = len(blocks) == len(square)
    return Transformer(tuple(blocks) if complete else (), layout, grid_is_read or not layout.prefix)


def has_attention(classifier: Classifier, _settings: Any = None) -> None:
    """A `Method.check`: whether the attention of the classifier can be followed.

    Raises:
        MethodNotApplicable: it cannot; the message says why.
    """
    _check(classifier, find_transformer)


def has_blocks(classifier: Classifier, _settings: Any = None) -> None:
    """A `Method.check`: `has_attention`, and whether the blocks around it can be told apart.

    Raises:
        MethodNotApplicable: they cannot; the message says why.
    """
    _check(classifier, blocks_of)


def _check(classifier: Classifier, look: Callable[[Session, Tensor], object]) -> None:
    needs_gradient(classifier)
    session = classifier.any_session()
    look(session, session.normalise(torch.full((1, 3, *classifier.size), 0.5)))


def attention_maps(session: Session, normalised: Tensor) -> tuple[list[Tensor], Tensor | None, Tensor]:
    """The weights of every attention, from one evaluation.

    Args:
        session: an open session.
        normalised: (B, 3, H, W) from ``session.normalise``, at most ``session.micro_batch`` of them.

    Returns:
        (B, h, N, N) weights of each block; (B, h, 1, N) weights by which the tokens are read in the end, if a network
        pools them by attention; and (B, K) logits.
    """
    square: list[Tensor] = []
    pooling: list[Tensor] = []

    def seen(weights: Tensor) -> Tensor:
        if weights.shape[-1] == weights.shape[-2]:
            square.append(weights.detach().float()[: len(normalised)])
        elif weights.shape[-2] == 1:
            pooling.append(weights.detach().float()[: len(normalised)])
        return weights

    logits = _classified(session, normalised, seen).detach()
    length = square[0].shape[-1] if square else 0
    return square, next((w for w in reversed(pooling) if w.shape[-1] == length), None), logits


def blocks_of(session: Session, normalised: Tensor) -> tuple[str, ...]:
    """Dotted names of the blocks around each attention; arguments and errors as in `find_transformer`.

    Raises:
        MethodNotApplicable: they could not be told apart, as where one module is used for all of them.
    """
    found = find_transformer(session, normalised).blocks
    if not found:
        raise MethodNotApplicable(
            f"the blocks of {type(session.module).__name__} around its attention could not be told apart; use "
            "attention-rollout or grad-cam"
        )
    return found


def attention_gradients(
    session: Session, normalised: Tensor, goal: Goal, last: int | None
) -> tuple[list[Tensor], Tensor]:
    """The gradient of what the network would say after each block, in the attention of that block alone.

    The classifier's own reading of the tokens (its last normalisation, pooling and head) is applied to those that each
    block gives: the blocks behind it are left out. Blocks before it are not computed again. So all blocks together cost
    about two evaluations an image, which is what is counted.

    Args:
        session: an open session, exact.
        normalised: (B, 3, H, W) from ``session.normalise``, at most ``session.micro_batch`` of them.
        goal: what to explain of these images.
        last: how many of the last blocks; None for all.

    Returns:
        (B, h, N, N) gradients of each of these blocks, in order; and (B, K) logits.

    Raises:
        MethodNotApplicable: the blocks could not be told apart.
    """
    names = blocks_of(session, normalised)
    spent = session.counter.evaluations + 2 * len(normalised)
    blocks = [session.module.get_submodule(name) for name in names]
    outputs: list[Any] = [None] * len(blocks)

    def keep(i: int) -> Callable[..., None]:
        def kept(_module: nn.Module, _args: Any, output: Any) -> None:
            outputs[i] = _detached(output)

        return kept

    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    try:
        logits = _classified(session, normalised, lambda weights: weights).detach()
    finally:
        for handle in handles:
            handle.remove()
    gradients = []
    for i in range(len(blocks))[-last if last is not None else 0 :]:
        leaves: list[Tensor] = []

        def cut(weights: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
            if weights.shape[-1] != weights.shape[-2]:
                return weights
            leaves[:] = [weights.detach().requires_grad_(True)]
            return leaves[0].clone()

        with _only(blocks, i, outputs):
            said = _classified(session, normalised, cut)
            value = class_values(goal.to(session.device), said).sum()
            (gradient,) = torch.autograd.grad(value, leaves)
        gradients.append(gradient.float()[: len(normalised)])
    session.counter.evaluations = spent
    return gradients, logits


@contextmanager
def _only(blocks: Sequence[nn.Module], i: int, outputs: Sequence[Any]) -> Iterator[None]:
    """Of the blocks only the i-th computes: those before it give what they gave, those behind it what they get."""

    def given_before(j: int) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: outputs[j]

    def passed_on(j: int) -> Callable[..., Any]:
        return lambda *args, **kwargs: _with_first(outputs[j], _tokens(args, kwargs))

    changed = [(block, given_before(j) if j < i else passed_on(j)) for j, block in enumerate(blocks) if j != i]
    try:
        for block, forward in changed:
            block.forward = forward
        yield
    finally:
        for block, _ in changed:
            del block.forward


def _classified(session: Session, normalised: Tensor, seen: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, K) logits, with attention open.

    The images require gradients so that modules with a fast path for inference do not take it: it is one kernel.
    """
    with torch.enable_grad(), Opened(seen, session.padded(len(normalised))):
        return session.evaluate(normalised.detach().requires_grad_(True))


def _first(output: Any) -> Tensor | None:
    """The tokens (B, N, D), or (B, h, w, D), that a module returned, alone or first in a tuple or list."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.ndim in (3, 4) else None


def _tokens(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first tokens (B, N, D), or (B, h, w, D), that a module was given."""
    given = (*args, *kwargs.values())
    return next((one for one in given if isinstance(one, Tensor) and one.ndim in (3, 4)), None)


def _with_first(output: Any, tokens: Any) -> Any:
    """What a module returned with other tokens in it."""
    return tokens if isinstance(output, Tensor) else type(output)((tokens, *output[1:]))


def _detached(output: Any) -> Any:
    """What a module returned, its tokens a leaf that requires gradients."""
    tokens = _first(output)
    return output if tokens is None else _with_first(output, tokens.detach().requires_grad_(True))
