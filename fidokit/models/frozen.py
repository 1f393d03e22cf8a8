"""Copies of a user's module that are ready for many evaluations: frozen, folded, cast; the original untouched."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from fidokit._util.wording import given
from fidokit.exceptions import ClassifierError
from fidokit.models import devices
from fidokit.models.uncompiled import uncompiled

#: A low precision is used where the root mean square error of its logits is within this share of their spread, ...
_LOGIT_TOLERANCE = 0.10
#: ... where its input gradients, pooled to a grid like a mask's, point the same way (the sampling noise of a mask's
#: gradient is as large as the gradient, so an angle of this size is lost in it), ...
_GRADIENT_COSINE = 0.80
_GRADIENT_GRID = 14
#: ... and where it takes at most this share of float32's time.
_FASTER = 0.9
#: What torch says where two tensors differ in their dtype.
_DTYPES = re.compile(r"same dtype|should be the same|expected scalar type|expected .* dtype", re.IGNORECASE)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def frozen_in_place(module: nn.Module) -> Iterator[nn.Module]:
    """The module in eval mode with frozen parameters; training flags and requires_grad are restored, also on error."""
    # A frozen TorchScript module has no flag: there is nothing in it that could train.
    training = [(m, m.training) for m in module.modules() if hasattr(m, "training")]
    # Parameters that were made in inference mode have no gradient outside it, whatever their flag says.
    trainable = [(p, p.requires_grad) for p in module.parameters() if not p.is_inference()]
    try:
        _to_eval(module)
        for parameter, _ in trainable:
            parameter.requires_grad_(False)
        yield module
    finally:
        for submodule, flag in training:
            submodule.training = flag
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)


def _to_eval(module: nn.Module) -> None:
    if not hasattr(module, "training"):
        return
    try:
        module.eval()
    except NotImplementedError:
        # An exported program refuses, since its mode is part of the graph; what stands around it may have one.
        for submodule in module.modules():
            submodule.training = False


def frozen_copy(
    module: nn.Module,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
) -> nn.Module:
    """A deep copy in eval mode, frozen, in a memory format, on a device and in a precision.

    The user's hooks are shared with the copy, not copied: a hook that counts or logs keeps doing so in one place. Only
    hooks that belong to the module itself belong to the copy then.

    Raises:
        ClassifierError: the module cannot be copied.
    """
    try:
        twin = _duplicate(module)
    except Exception as error:
        raise ClassifierError(
            f"{type(module).__name__} cannot be copied with copy.deepcopy ({error}). fidokit works on a frozen copy so "
            "that your module stays as it is; keep tensors that need gradients out of its attributes."
        ) from error
    _to_eval(twin)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    twin = twin.to(device=device, dtype=dtype)
    _lay_out(twin, memory_format)
    return twin


def _duplicate(module: nn.Module) -> nn.Module:
    own = {id(m) for m in module.modules()}
    memo: dict[int, object] = {}
    for submodule in module.modules():
        for name in _HOOKS:
            for hook in getattr(submodule, name).values():
                if not _belongs_to(hook, own):
                    memo[id(hook)] = hook
    with torch.no_grad():  # without it, scripted modules are copied into a graph
        return uncompiled(copy.deepcopy(module, memo))


def _belongs_to(hook: object, modules: set[int]) -> bool:
    """Whether a hook is a method of one of these modules, or a partial of one or over one."""
    if isinstance(hook, functools.partial):
        return any(id(arg) in modules for arg in (*hook.args, *hook.keywords.values())) or _belongs_to(
            hook.func, modules
        )
    return id(getattr(hook, "__self__", None)) in modules


def _lay_out(module: nn.Module, memory_format: torch.memory_format) -> None:
    # Not `module.to(memory_format=...)`, which fails on parameters of five dimensions.
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=memory_format)


def find_memory_format(
    module: nn.Module, images: Tensor, run: Callable[[Tensor, torch.memory_format], object] | None = None
) -> torch.memory_format:
    """Lay a frozen copy out in a memory format in which it can be run, channels-last if possible.

    Channels-last is several times faster for convolutions on CPUs, but ``x.view(len(x), -1)`` fails on it.

    Args:
        module: a frozen copy; its weights are laid out anew where needed.
        images: (B, 3, H, W) normalised probe.
        run: sends such images through, forward and backward; by default the module alone.

    Raises:
        ClassifierError: it cannot be run in any.
    """
    for memory_format in (torch.channels_last, torch.contiguous_format):
        _lay_out(module, memory_format)
        probe = images.contiguous(memory_format=memory_format)
        try:
            if run is None:
                forward_and_input_gradient(lambda x: logits_of(module(x)), probe)
            else:
                run(probe, memory_format)
        except ClassifierError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            problem = error
        else:
            return memory_format
    remedy = (
        "An exported program needs a dynamic batch dimension (dynamic_shapes in torch.export.export); of one without, "
        f"give {given(micro_batch=1)}."
    )
    if _DTYPES.search(str(problem)):
        remedy = (
            "It was run in float32. A module that turns its input or its features into another dtype by itself, as "
            "with `.half()` in its forward, fits only weights of that dtype: take these casts out, or write "
            "`x.to(self.layer.weight.dtype)`."
        )
    raise ClassifierError(
        f"{type(module).__name__} cannot be run on a batch of {len(images)} images: {problem}. {remedy}"
    ) from problem


def logits_of(output: object) -> Tensor:
    """The (B, K) logits of a module's output: the tensor itself, its ``.logits``, or what a dict holds as "logits".

    Raises:
        ClassifierError: neither, not two-dimensional, or no numbers that could be scores; the message says what to
            write.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ClassifierError(
            f"the classifier returned {type(output).__name__}; fidokit needs a (B, K) tensor of logits or an object "
            f"with `.logits`. {_way_in(output)}"
        )
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim != 2:
        raise ClassifierError(f"the classifier returned logits of shape {tuple(logits.shape)}; (B, K) is needed")
    whole = not logits.is_floating_point() and not logits.is_complex()
    if logits.is_complex() or logits.dtype == torch.bool or (whole and logits.shape[1] == 1):
        what = "the index of a class, as argmax gives it, is no score" if whole else "these are no scores"
        raise ClassifierError(
            f"the classifier returned {str(logits.dtype).removeprefix('torch.')} values of shape "
            f"{tuple(logits.shape)}; {what}. Return the (B, K) floating-point logits from which they were made."
        )
    return logits


def _way_in(output: object) -> str:
    """Which part of a dict, list or tuple could be the logits, as the line to write."""
    parts = output.items() if isinstance(output, Mapping) else enumerate(output) if _is_sequence(output) else ()
    shapes = {key: tuple(part.shape) for key, part in parts if isinstance(part, Tensor)}
    fitting = [key for key, shape in shapes.items() if len(shape) == 2]
    if not fitting:
        return "Wrap your module in one that returns them."
    found = "; ".join(f"[{key!r}] is {shape}" for key, shape in shapes.items())
    return (
        f"Wrap your module in one whose forward(self, x) returns the logits alone, such as "
        f"`return self.net(x)[{fitting[0]!r}]`: {found}"
    )


def _is_sequence(output: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return isinstance(output, list | tuple)


Pairs = tuple[tuple[str, str], ...]


@contextmanager
def watched_pairs(module: nn.Module) -> Iterator[list[tuple[str, str]]]:
    """Names of (convolution, batch normalisation) that can be folded, known after a forward pass inside the context.

    A pair is found by watching the pass: a batch normalisation that reads exactly what a convolution returned. That
    needs no tracing, so it works with any control flow.
    """
    found: list[tuple[str, str]] = []
    produced: list[tuple[Tensor, nn.Module]] = []
    pairs: list[tuple[nn.Module, nn.Module]] = []
    calls: dict[nn.Module, int] = {}

    def after_conv(conv: nn.Module, _: object, output: object) -> None:
        calls[conv] = calls.get(conv, 0) + 1
        if isinstance(output, Tensor):
            produced.append((output, conv))

    def before_norm(norm: nn.Module, args: tuple[object, ...]) -> None:
        calls[norm] = calls.get(norm, 0) + 1
        pairs.extend((conv, norm) for output, conv in produced if args and output is args[0])

    handles = [m.register_forward_hook(after_conv) for m in module.modules() if isinstance(m, nn.Conv2d)]
    # Subclasses may add an activation to the normalisation (timm does), so only the plain class is folded.
    handles += [m.register_forward_pre_hook(before_norm) for m in module.modules() if type(m) is nn.BatchNorm2d]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    names = {m: name for name, m in module.named_modules()}
    found += [
        (names[conv], names[norm])
        for conv, norm in pairs
        if calls[conv] == 1 and calls[norm] == 1 and _foldable(conv, norm)
    ]


def fold_pairs(module: nn.Module, pairs: Pairs) -> None:
    """Fold batch normalisations into the convolutions before them, in place; right for any input where they are pairs.

    Raises:
        AttributeError, TypeError: the module has no such pair.
    """
    for conv, norm in pairs:
        _fold_pair(module, conv, norm)


def same_logits(before: Tensor, after: Tensor) -> bool:
    """Whether logits are finite and the same to 1e-4 of their spread."""
    return bool(torch.isfinite(before).all() and (after - before).abs().max() <= 1e-4 * _spread(before))


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the pair has plain weights and running statistics, and nobody listens to what comes between or after."""
    heard = any(getattr(m, name) for m in (conv, norm) for name in _HOOKS)
    # A weight that is parametrised (weight norm, spectral norm) is no parameter, it is computed anew in each pass.
    return not heard and conv._parameters.get("weight") is not None and norm.running_mean is not None


def _fold_pair(module: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
    if not isinstance(conv, nn.Conv2d) or type(norm) is not nn.BatchNorm2d or not _foldable(conv, norm):
        raise TypeError(f"{norm_name} cannot be folded into {conv_name}")
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    shift = -norm.running_mean * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    weight = conv.weight * scale[:, None, None, None]
    bias = shift if conv.bias is None else shift + conv.bias * scale
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    parent, _, child = norm_name.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())


def _spread(logits: Tensor) -> float:
    return max(float(logits.std()), float(logits.abs().max()) * 1e-3, 1e-6)


@dataclass(frozen=True)
class Precision:
    """A numeric format for evaluations: a dtype of weights and activations, or autocast around float32 weights."""

    name: str
    dtype: torch.dtype = torch.float32
    autocast: torch.dtype | None = None


PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision("float32"),
        Precision("bfloat16", torch.bfloat16),
        Precision("bfloat16-autocast", autocast=torch.bfloat16),
        Precision("float16", torch.float16),
        Precision("float16-autocast", autocast=torch.float16),
    )
}


def candidates(device: torch.device) -> list[Precision]:
    """The low precisions worth probing on a device: those that it computes natively, emulated ones are slow."""
    return [PRECISIONS[name] for low in devices.native(device) for name in (low, f"{low}-autocast")]


_Forward = Callable[[Tensor], Tensor]


def forward_and_input_gradient(forward: _Forward, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, K) and the gradient of each image's largest logit with respect to the image, both float32.

    The gradient is zero where there is none: such a classifier can still be predicted with and explained by occlusion.
    """
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = recorded(forward, images)
        if not logits.requires_grad:
            return logits.float(), torch.zeros_like(images).float()
        (gradient,) = torch.autograd.grad(logits.amax(1).sum(), images, allow_unused=True)
    gradient = torch.zeros_like(images) if gradient is None else gradient
    return logits.detach().float(), gradient.float()


def recorded(forward: _Forward, images: Tensor) -> Tensor:
    """Logits (B, K) of images that require gradients: with a graph where the module lets there be one.

    A module that goes through numpy fails on such images, and runs on those that require none.
    """
    try:
        with torch.enable_grad():
            return forward(images)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        try:
            with torch.no_grad():
                return forward(images.detach())
        except Exception:
            raise error from None


def disagreement(reference: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> str | None:
    """Why (logits, input gradient) of a low precision differ too much from float32's, or None if they agree."""
    logits, gradient = other
    if not bool(torch.isfinite(logits).all() and torch.isfinite(gradient).all()):
        return "it gives non-finite values"
    gap = float((logits - reference[0]).square().mean().sqrt()) / _spread(reference[0])
    if gap > _LOGIT_TOLERANCE:
        return f"its logits differ by {gap:.2f} of their spread"
    if not bool(gradient.any() or reference[1].any()):
        return None
    one, two = (nn.functional.adaptive_avg_pool2d(g, _GRADIENT_GRID).flatten(1) for g in (gradient, reference[1]))
    cosine = float(torch.cosine_similarity(one, two).mean())
    if cosine < _GRADIENT_COSINE:
        return f"its input gradients agree only to a cosine of {cosine:.2f}"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a batch did not fit, on a GPU or in main memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def repeated(images: Tensor, n: int) -> Tensor:
    """(n, 3, H, W) images, the given ones over and over: making new ones can take longer than evaluating them."""
    return images.repeat(-(-n // len(images)), 1, 1, 1)[:n]
