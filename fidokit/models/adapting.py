"""What stands between normalised RGB images and a module: one channel, channels last; else what to write oneself."""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fidokit._util.warning import warn
from fidokit.exceptions import ClassifierError
from fidokit.models import frozen
from fidokit.models.prompted import has_text_tower
from fidokit.models.uncompiled import plain_name

#: Input sides in pixels that are tried, to name the right one, where a module cannot be run: the usual ones first.
_SIDES: tuple[int, ...] = (224, 256, 384, 299, 32, 64, 28, 96, 112, 128, 160, 192, 240, 260, 288, 300, 320, 336, 380)
_SIDES += (448, 456, 480, 512, 518, 528, 560, 600, 640)
#: So long may the search for the right side take.
_SEARCH_SECONDS = 10.0
_PROBES = 4
_MISSING = re.compile(
    r"forward\(\) (?:missing \d+ required positional arguments?: (.+)|is missing value for argument ('\w+'))"
)
_CHANNELS = re.compile(r"to have (\d+) channels, but got 3 channels")
_SIZE = re.compile(
    r"shapes cannot be multiplied|size mismatch|input image size|input (?:height|width|image size)", re.I
)
_MOST_SHOWN = 300
#: Share of their spread by which outputs may differ from call to call.
_MOST_NOISE = 0.05


class InputAdapter(nn.Module):
    """A module behind a change of its input; takes (B, 3, H, W) normalised images."""

    #: What is done, for `repr`.
    note: str

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class OneChannel(InputAdapter):
    """The luminance (ITU-R BT.601, as PIL's mode "L") before a module that takes (B, 1, H, W)."""

    note = "one channel: the luminance is put before it"
    weight: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.register_buffer("weight", torch.tensor([0.299, 0.587, 0.114], dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> object:
        return self.module((images * self.weight).sum(1, keepdim=True))


class ChannelsLast(InputAdapter):
    """A permute before a module that takes (B, H, W, C), as those converted from Keras do."""

    note = "channels last: a permute to (B, H, W, C) is put before it"

    def forward(self, images: Tensor) -> object:
        return self.module(images.permute(0, 2, 3, 1).contiguous())


class SwappedChannels(InputAdapter):
    """Red and blue exchanged before a module that was trained on BGR."""

    note = "BGR: red and blue are exchanged before it"

    def forward(self, images: Tensor) -> object:
        return self.module(images.flip(1))


@dataclass(frozen=True)
class Fitted:
    """A module that takes (B, 3, H, W) images, and what it gave for some.

    Attributes:
        module: the module that was given, or an adapter around it.
        images: (N, 3, H, W) normalised probes.
        outputs: (N, K) its outputs for them, each image sent by itself, float32.
        exact: whether the module computed them in float32 or better.
    """

    module: nn.Module
    images: Tensor
    outputs: Tensor
    exact: bool


def runnable(module: nn.Module) -> nn.Module:
    """The module without `DataParallel` or `DistributedDataParallel`, which pin it to their devices."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return module


def plain_module(module: nn.Module) -> nn.Module:
    """The module behind its adapters."""
    while isinstance(module, InputAdapter):
        module = module.module
    return module


def notes_of(module: nn.Module) -> list[str]:
    """What the adapters around a module do."""
    notes = []
    while isinstance(module, InputAdapter):
        notes.append(module.note)
        module = module.module
    return notes


def takes_one_channel(module: nn.Module) -> bool:
    """Whether an adapter gives the module one channel."""
    return any(isinstance(submodule, OneChannel) for submodule in module.modules())


def renamed_layer(layer: str, given: nn.Module, run: nn.Module) -> str | None:
    """The name that a layer of one module has in another, which wraps it or is wrapped by it; None if it has none."""
    wanted = {plain_name(name): submodule for name, submodule in given.named_modules()}.get(plain_name(layer))
    names = {id(submodule): name for name, submodule in run.named_modules()}
    return None if wanted is None else names.get(id(wanted))


def fitted(module: nn.Module, size: tuple[int, int]) -> Fitted:
    """The module so that it takes (B, 3, H, W) images, with what is needed put before it.

    Raises:
        ClassifierError: it cannot be run; the message says what it wants, and the line to write, where that is known.
    """
    images = probe_images(size)
    try:
        fit = Fitted(module, images, run(module, images), _is_exact(module))
    except Exception as error:
        if has_text_tower(module):
            raise ClassifierError(
                f"{type(module).__name__} compares images with texts and has no classes of its own; name some: "
                "fidokit.Classifier.from_prompts(module, names)"
            ) from error
        if isinstance(error, ClassifierError):
            raise
        if frozen.is_out_of_memory(error):
            raise ClassifierError(
                f"{type(module).__name__} runs out of memory with a single image of {size[0]} x {size[1]} pixels "
                f"({error}); give a smaller `size`, or move it to a device with more memory"
            ) from error
        adapted = _adapted(module, size)
        if adapted is None:
            raise ClassifierError(_refusal(module, size, error)) from error
        fit = Fitted(adapted, images, run(adapted, images), _is_exact(module))
    _warn_of_company(fit)
    return fit


def _warn_of_company(fit: Fitted) -> None:
    """Warn where the outputs for an image depend on the images beside it, or on chance."""
    images, alone = fit.images[-2:], fit.outputs[-2:]
    try:
        together = _outputs(fit.module, images)
    except Exception:
        return  # It takes one image at a time, so that none stands beside it.
    if not _differs(together, alone):
        return
    again = run(fit.module, images)
    name = type(plain_module(fit.module)).__name__
    if _differs(again, alone):
        warn(
            f"{name} gives other outputs for the same image each time, so scores and masks are partly chance. Dropout "
            "that is not turned off by eval() does that: F.dropout(x, p, self.training) is, F.dropout(x, p) is not.",
            UserWarning,
        )
    else:
        warn(
            f"what {name} gives for an image depends on the other images in the batch, so its scores and masks do. "
            "Batch normalisation without running statistics does that, and a softmax over the batch, such as "
            "softmax(0).",
            UserWarning,
        )


def _differs(one: Tensor, other: Tensor) -> bool:
    """Whether outputs differ by more than 16 bits and a quantised layer can explain."""
    if one.shape != other.shape or not bool(torch.isfinite(one).all() and torch.isfinite(other).all()):
        return False
    spread = max(float(other.std()) if other.numel() > 1 else 0.0, 1e-2 * float(other.abs().max()), 1e-6)
    return float((one - other).abs().max()) > _MOST_NOISE * spread


def run(module: nn.Module, images: Tensor) -> Tensor:
    """(N, K) float32 outputs on the CPU, each image sent by itself, since some modules take only one at a time.

    Raises:
        ClassifierError: what comes out is not (1, K).
    """
    rows = []
    for image in images:
        logits = _outputs(module, image[None])
        if len(logits) != 1:
            raise ClassifierError(
                f"{type(plain_module(module)).__name__} returned {len(logits)} rows for one image; fidokit needs a "
                "(B, K) tensor. A squeeze() without a dimension also drops a batch of one: use squeeze(dim)."
            )
        rows.append(logits)
    return torch.cat(rows)


def _outputs(module: nn.Module, images: Tensor) -> Tensor:
    """(N, K) float32 outputs on the CPU, in the module's own device and dtype."""
    parameter = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
    with frozen.frozen_in_place(module), torch.no_grad():
        output = module(images if parameter is None else images.to(parameter.device, parameter.dtype))
        _refuse_features(module, output)
        return frozen.logits_of(output).float().cpu()


def probe_images(size: tuple[int, int]) -> Tensor:
    """(N, 3, H, W) normalised images that differ much: a flat one, and smooth noise of several contrasts."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((_PROBES, 3, *size), 0.5, dtype=torch.float32)
    for i in range(1, _PROBES):
        for cells in (3, 12, 48):
            noise = torch.randn(1, 3, cells, cells, generator=generator, dtype=torch.float32)
            images[i] += 0.3 * i * nn.functional.interpolate(noise, size=size, mode="bilinear")[0]
    return images


def _is_exact(module: nn.Module) -> bool:
    return not any(p.dtype in (torch.float16, torch.bfloat16) for p in module.parameters())


def _refuse_features(module: nn.Module, output: object) -> None:
    if isinstance(output, Tensor) or isinstance(getattr(output, "logits", None), Tensor):
        return
    found = [name for name in ("pooler_output", "image_embeds", "last_hidden_state") if hasattr(output, name)]
    if found:
        raise ClassifierError(
            f"{type(plain_module(module)).__name__} gives embeddings (`.{found[0]}`), not scores of classes; "
            + EMBEDDING_REMEDY
        )


EMBEDDING_REMEDY = (
    "there is no class to explain in them. Put a head on it and give that to fidokit: a linear probe, "
    "nn.Sequential(module, nn.Linear(width, classes)) trained on your labels. Or give labelled reference photographs, "
    "fidokit.Gallery(module, references): the similarities to those of each label are the scores."
)


def _layouts(module: nn.Module) -> Iterator[InputAdapter]:
    yield OneChannel(module)
    yield ChannelsLast(module)
    yield OneChannel(ChannelsLast(module))


def _adapted(module: nn.Module, size: tuple[int, int]) -> InputAdapter | None:
    """An adapter with which the module can be run, if there is one."""
    for adapter in _layouts(module):
        if _problem(adapter, size) is None:
            return adapter
    return None


def _problem(module: nn.Module, size: tuple[int, int]) -> Exception | None:
    """Why a module cannot be run on (1, 3, H, W), or None."""
    try:
        run(module, probe_images(size)[:1])
    except Exception as error:
        return error
    return None


def _refusal(module: nn.Module, size: tuple[int, int], error: Exception) -> str:
    """What a module that cannot be run wants."""
    name = type(plain_module(module)).__name__
    text = str(error).strip().split("\n")[0] or type(error).__name__
    text = text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
    if missing := _MISSING.search(text):
        return _several_inputs(name, missing[1] or missing[2])
    if _accepts(module, size, lambda x: ([x[0]],)):
        return f"{name} takes a list of images, not a tensor. " + _wrapper("self.net(list(x))")
    if argument := _only_by_name(module):
        return f"{name} takes its image by name alone. " + _wrapper(f"self.net({argument}=x)")
    if _accepts(module, size, lambda x: (x[:, None],)):
        return f"{name} takes several images at once, (B, T, 3, H, W). " + _wrapper("self.net(x[:, None])")
    if key := _key_of_a_dict(module, size):
        return f"{name} takes a dict, not a tensor. " + _wrapper(f"self.net({{{key!r}: x}})")
    grey = _problem(OneChannel(module), size)
    if isinstance(grey, ClassifierError):
        return f"{name} takes one channel, and with the luminance as input, {grey}"
    if found := _integer_input(module, size):
        dtype, order = found
        offset = " - 128" if dtype == "int8" else ""
        return (
            f"{name} takes {dtype} pixels, not floating-point ones. "
            + _wrapper(f"self.net((x{order} * 255{offset}).round().to(torch.{dtype}))")
            + "\nGive it to fidokit with mean=(0, 0, 0) and std=(1, 1, 1). Rounding has no gradient, which leaves the "
            "methods occlusion and rise; the floating-point module, if you have it, allows all."
        )
    if _quantised(module) or "quantized::" in str(error):
        return (
            f"{name} is quantised and takes quantised tensors ({text}). Give fidokit the floating-point module, if you "
            "have it. "
            + _wrapper("self.net(torch.quantize_per_tensor(x, SCALE, ZERO_POINT, torch.quint8)).dequantize()")
        )
    if said := _CHANNELS.search(text):
        channels = int(said[1])
        if channels != 1:
            return f"{name} takes {channels} channels, photographs have 3 (red, green, blue). " + _wrapper(
                f"self.net(torch.cat([x, ...], 1))  # ...: the other {channels - 3}, (B, {channels - 3}, H, W)"
                if channels > 3
                else f"self.net(x[:, :{channels}])  # the {channels} that it was trained on"
            )
    if side := _other_side(module, size):
        return (
            f"{name} cannot be run on {size[0]} x {size[1]} pixels: {text}. It can on {side} x {side}: is `size` "
            f"right? Give size={side}, or the one it was trained with."
        )
    message = f"{name} cannot be run on a (1, 3, {size[0]}, {size[1]}) image: {text}"
    if _SIZE.search(text):
        message += ". No usual input size was found to fit either; give the `size` (height, width) it was trained with"
    return message


def _wrapper(call: str) -> str:
    return (
        "Wrap it, and give the wrapper to fidokit:\n"
        "class Wrapped(torch.nn.Module):\n"
        "    def __init__(self, net): super().__init__(); self.net = net\n"
        f"    def forward(self, x): return {call}\n"
    ).rstrip()


def _several_inputs(name: str, missing: str) -> str:
    names = re.findall(r"'(\w+)'", missing)
    arguments = ", ".join(f"{each}=self.{each}.expand(len(x), -1)" for each in names)
    kept = "; ".join(f"self.{each} = {each}" for each in names)
    return (
        f"{name} takes more than an image: also {', '.join(names)}. Fix what is not the image, in a wrapper, and give "
        "that to fidokit:\n"
        "class OneInput(torch.nn.Module):\n"
        f"    def __init__(self, net, {', '.join(names)}): super().__init__(); self.net = net; {kept}\n"
        f"    def forward(self, x): return self.net(x, {arguments})\n"
        "where each has the values of one photograph, as a (1, N) tensor"
    )


def _accepts(module: nn.Module, size: tuple[int, int], form: Callable[[Tensor], tuple[object, ...]]) -> bool:
    """Whether the module gives logits for an image in another form."""
    parameter = next(module.parameters(), None)
    image = probe_images(size)[:1]
    try:
        with frozen.frozen_in_place(module), torch.no_grad():
            frozen.logits_of(module(*form(image if parameter is None else image.to(parameter.device, parameter.dtype))))
    except Exception:
        return False
    return True


def _only_by_name(module: nn.Module) -> str | None:
    """The only argument of a module that takes none by position."""
    try:
        arguments = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return None
    needed = [a for a in arguments if a.kind is a.KEYWORD_ONLY and a.default is a.empty]
    by_place = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD, a.VAR_POSITIONAL)]
    return needed[0].name if len(needed) == 1 and not by_place else None


class _Asked(dict[str, Tensor]):
    """A dict that has whatever it is asked for, and keeps what that was."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image, self.names = image, set[str]()

    def __missing__(self, name: str) -> Tensor:
        self.names.add(name)
        return self.image


def _key_of_a_dict(module: nn.Module, size: tuple[int, int]) -> str | None:
    parameter = next(module.parameters(), None)
    image = probe_images(size)[:1]
    asked = _Asked(image if parameter is None else image.to(parameter.device, parameter.dtype))
    try:
        with frozen.frozen_in_place(module), torch.no_grad():
            frozen.logits_of(module(asked))
    except Exception:
        return None
    return next(iter(asked.names)) if len(asked.names) == 1 else None


def _integer_input(module: nn.Module, size: tuple[int, int]) -> tuple[str, str] | None:
    """The integer type that it takes, and what brings the channels into its order."""
    pixels = (probe_images(size)[:1].sigmoid() * 127).round()
    for dtype in ("uint8", "int8"):
        for layout, order in ((pixels, ""), (pixels.permute(0, 2, 3, 1).contiguous(), ".permute(0, 2, 3, 1)")):
            try:
                with frozen.frozen_in_place(module), torch.no_grad():
                    frozen.logits_of(module(layout.to(getattr(torch, dtype))))
            except Exception:
                continue
            return dtype, order
    return None


def _quantised(module: nn.Module) -> bool:
    return any("quantized" in type(submodule).__module__ for submodule in module.modules())


def _other_side(module: nn.Module, size: tuple[int, int]) -> int | None:
    """Another side in pixels at which the module can be run, as far as `_SEARCH_SECONDS` allow to look."""
    until = time.monotonic() + _SEARCH_SECONDS
    linear = next((m.in_features for m in module.modules() if isinstance(m, nn.Linear)), 0)
    flat = [math.isqrt(linear // c) for c in (3, 1) if linear % c == 0 and math.isqrt(linear // c) ** 2 * c == linear]
    for side in (*flat, *_SIDES):
        if time.monotonic() > until:
            return None
        if side < 1 or (side, side) == tuple(size):
            continue
        for layout in (module, *_layouts(module)):
            if _problem(layout, (side, side)) is None:
                return side
    return None
