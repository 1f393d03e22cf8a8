"""Copies of a user's module that are ready for many evaluations: frozen, folded, cast; the original untouched."""

from __future__ import annotations

import copy
import functools
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fidokit.exceptions import ClassifierError
from fidokit.uncompiled import uncompiled

#: A low precision is used where the root mean square error of its logits is within this share of their spread, ...
LOGIT_TOLERANCE = 0.10
#: ... where its input gradients, pooled to a grid like a mask's, point the same way (the sampling noise of a mask's
#: gradient is as large as the gradient, so an angle of this size is lost in it), ...
GRADIENT_COSINE = 0.80
GRADIENT_GRID = 14
#: ... and where it takes at most this share of float32's time.
FASTER = 0.9
#: Images at once with which precisions are compared on a GPU.
GPU_IMAGES = 64
#: Micro-batches that are tried. On CPUs the caches are full at some size. A GPU needs enough to do, but cuDNN plans
#: each layer anew for each size that it meets, which took 3.5 s a size for EfficientNet-Lite0 on an H100.
MICRO_BATCHES: dict[str, tuple[int, ...]] = {
    "cpu": (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512),
    "cuda": (16, GPU_IMAGES, 256),
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
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


def find_memory_format(module: nn.Module, images: Tensor) -> torch.memory_format:
    """Lay a frozen copy out in a memory format in which it can be run, channels-last if possible.

    Channels-last is several times faster for convolutions on CPUs, but ``x.view(len(x), -1)`` fails on it.

    Args:
        module: a frozen copy; its weights are laid out anew where needed.
        images: (B, 3, H, W) normalised probe.

    Raises:
        ClassifierError: it cannot be run in any.
    """
    for memory_format in (torch.channels_last, torch.contiguous_format):
        _lay_out(module, memory_format)
        probe = images.contiguous(memory_format=memory_format)
        try:
            forward_and_input_gradient(lambda x: logits_of(module(x)), probe)
        except (ClassifierError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            problem = error
        else:
            return memory_format
    raise ClassifierError(
        f"{type(module).__name__} cannot be run on a batch of {len(images)} images: {problem}. An exported program "
        "needs a dynamic batch dimension (dynamic_shapes in torch.export.export); of one without, use micro_batch=1."
    ) from problem


def logits_of(output: object) -> Tensor:
    """The (B, K) logits of a module's output: the tensor itself, or its ``.logits``.

    Raises:
        ClassifierError: neither, or not two-dimensional.
    """
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ClassifierError(
            f"the classifier returned {type(output).__name__}; fidokit needs a (B, K) tensor of logits or an object "
            "with `.logits`. Wrap your module in one that returns them."
        )
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.ndim != 2:
        raise ClassifierError(f"the classifier returned logits of shape {tuple(logits.shape)}; (B, K) is needed")
    return logits


def fold_batch_norm(module: nn.Module, images: Tensor) -> nn.Module:
    """The module with batch normalisation folded into the convolutions before it, where that changes nothing.

    A pair is found by watching a forward pass: a batch normalisation that reads exactly what a convolution returned.
    That needs no tracing, so it works with any control flow. The folded copy must reproduce the logits to 1e-4 of
    their spread, else the module comes back as it was.

    Args:
        module: a frozen float32 copy.
        images: (B, 3, H, W) normalised probe.
    """
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
        with torch.no_grad():
            before = logits_of(module(images))
    finally:
        for handle in handles:
            handle.remove()
    pairs = [(conv, norm) for conv, norm in pairs if calls[conv] == 1 and calls[norm] == 1 and _foldable(conv, norm)]
    if not pairs:
        return module
    names = {m: name for name, m in module.named_modules()}
    twin = _duplicate(module)
    for conv, norm in pairs:
        _fold_pair(twin, names[conv], names[norm])
    with torch.no_grad():
        after = logits_of(twin(images))
    if not torch.isfinite(before).all() or (after - before).abs().max() > 1e-4 * _spread(before):
        return module
    return twin


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether the pair has plain weights and running statistics, and nobody listens to what comes between or after."""
    heard = any(getattr(m, name) for m in (conv, norm) for name in _HOOKS)
    # A weight that is parametrised (weight norm, spectral norm) is no parameter, it is computed anew in each pass.
    return not heard and conv._parameters.get("weight") is not None and norm.running_mean is not None


def _fold_pair(module: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
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
    """The low precisions worth probing on a device: float16 is emulated, hence slow, on CPUs."""
    names = ["bfloat16", "bfloat16-autocast"]
    if device.type == "cuda":
        names += ["float16", "float16-autocast"]
    return [PRECISIONS[name] for name in names]


Forward = Callable[[Tensor], Tensor]


def forward_and_input_gradient(forward: Forward, images: Tensor) -> tuple[Tensor, Tensor]:
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


def recorded(forward: Forward, images: Tensor) -> Tensor:
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
    if gap > LOGIT_TOLERANCE:
        return f"its logits differ by {gap:.2f} of their spread"
    if not bool(gradient.any() or reference[1].any()):
        return None
    one, two = (nn.functional.adaptive_avg_pool2d(g, GRADIENT_GRID).flatten(1) for g in (gradient, reference[1]))
    cosine = float(torch.cosine_similarity(one, two).mean())
    if cosine < GRADIENT_COSINE:
        return f"its input gradients agree only to a cosine of {cosine:.2f}"
    return None


def seconds_per_call(call: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Least wall time of a call after one warm-up, waiting for the device: whatever else runs can only add to it."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a batch did not fit, on a GPU or in main memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


def repeated(images: Tensor, n: int) -> Tensor:
    """(n, 3, H, W) images, the given ones over and over: making new ones can take longer than evaluating them."""
    return images.repeat(-(-n // len(images)), 1, 1, 1)[:n]


def enough(forward: Forward, images: Tensor, most: int | None) -> Tensor:
    """Images that keep a GPU busy, which takes as long for one as for dozens, in any precision.

    Args:
        forward: of float32, which needs the most memory.
        images: (B, 3, H, W), repeated up to `GPU_IMAGES` as far as they fit.
        most: a smaller number that was asked for.
    """
    n = min(GPU_IMAGES, most or GPU_IMAGES)
    if n <= len(images):
        return images
    fits = _fitting(lambda size: forward_and_input_gradient(forward, repeated(images, size)), n)
    return repeated(images, max(fits, len(images)))


def find_micro_batch(
    evaluate: Callable[[int], object],
    device: torch.device,
    sizes: Sequence[int] | None = None,
) -> int:
    """The batch size with the least time per evaluation, found by growing it until that stops to pay.

    Larger is not better: beyond the caches each evaluation takes longer. On CUDA a size is only tried where the
    memory it would take, extrapolated from the size before, fits into 80 % of what is free.

    Args:
        evaluate: runs one forward and backward pass of a batch of the given size.
        device: where it runs.
        sizes: candidates in rising order; None for `MICRO_BATCHES` of the device.

    Returns:
        The largest size within 3 % of the best time per evaluation. Where even the smallest does not fit, it is halved
        until it does.
    """
    sizes = MICRO_BATCHES.get(device.type, MICRO_BATCHES["cpu"]) if sizes is None else sizes
    costs: dict[int, float] = {}
    worse = 0
    for size in sizes:
        if costs and device.type == "cuda":
            largest = max(costs)
            need = torch.cuda.max_memory_allocated(device) / largest * size
            if need > 0.8 * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)):
                break
        try:
            costs[size] = seconds_per_call(lambda size=size: evaluate(size), device, 3) / size  # type: ignore[misc]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            gc.collect()
            break
        worse = worse + 1 if costs[size] > 1.05 * min(costs.values()) else 0
        if worse == 2:
            break
    if not costs:
        return _fitting(evaluate, sizes[0] // 2)
    best = min(costs.values())
    return max(size for size, cost in costs.items() if cost <= 1.03 * best)


def _fitting(evaluate: Callable[[int], object], size: int) -> int:
    """The size, or the largest half, quarter and so on of it that fits into memory; at least 1, which is not tried."""
    while size > 1:
        try:
            evaluate(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            gc.collect()
            torch.cuda.empty_cache()
            size //= 2
        else:
            return size
    return 1
