"""What a module knows about itself: preprocessing, class names and head of timm's and transformers' models, also of
those that are wrapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fidokit._util.warning import warn
from fidokit.data.geometry import Preprocessing
from fidokit.models import frozen
from fidokit.models.adapting import Fitted, notes_of, plain_module, takes_one_channel
from fidokit.models.prompted import Prompted

#: Types of modules of which it was already said in this process that ImageNet's mean and std are assumed.
_said: set[str] = set()


@dataclass
class OwnConfiguration:
    """What a module knows about itself; empty where it knows nothing.

    Attributes:
        preprocessing: options of `fidokit.Preprocessing`.
        class_names: names of the classes, which may be those of a head that the module had before.
        multi_label: whether several classes may be in one image.
        source: the module, or the one inside it, that the configuration belongs to.
        is_all: whether all weights are the source's, so that what it gives is what the module gives.
    """

    preprocessing: dict[str, Any] = field(default_factory=dict)
    class_names: object = None
    multi_label: bool = False
    source: nn.Module | None = None
    is_all: bool = False


def own_configuration(module: nn.Module) -> OwnConfiguration:
    """Preprocessing, class names and head from a timm ``pretrained_cfg``, a transformers ``config`` or a `Prompted`.

    Of a wrapper (`nn.DataParallel`, `torch.compile`, an `nn.Sequential` with a softmax, a LightningModule, an ensemble)
    it is that of the models inside, as far as they agree. The names are those of the pretrained model; the module may
    have been given another head since.
    """
    found = list(_configured(module))
    if not found:
        return OwnConfiguration()
    first = found[0]
    known = [own.preprocessing for own in found if own.preprocessing]
    weights = {id(p) for own in found if own.source is not None for p in own.source.parameters()}
    is_all = all(id(p) in weights for p in module.parameters())
    same_names = is_all and all(_names_equal(own.class_names, first.class_names) for own in found)
    return OwnConfiguration(
        known[0] if known and all(other == known[0] for other in known) else {},
        first.class_names if same_names else None,
        is_all and all(own.multi_label for own in found),
        first.source if len(found) == 1 else None,
        is_all,
    )


def _configured(module: nn.Module) -> Iterator[OwnConfiguration]:
    """Those of the outermost modules that have one."""
    own = _own(module)
    if own is not None:
        own.source = module
        yield own
        return
    for child in module.children():
        yield from _configured(child)


def _own(module: nn.Module) -> OwnConfiguration | None:
    if isinstance(module, Prompted):
        return OwnConfiguration(module.preprocessing, list(module.prompts.names), module.independent)
    timm_config = getattr(module, "pretrained_cfg", None)
    if isinstance(timm_config, dict) and "mean" in timm_config:
        return OwnConfiguration(from_timm(timm_config), timm_config.get("label_names"))
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, "id2label"):
        return _from_transformers(config, module)
    return None


def from_timm(config: dict[str, Any]) -> dict[str, Any]:
    """Options of `fidokit.Preprocessing` from a timm configuration."""
    return {
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "size": tuple(config.get("input_size", (3, 224, 224))[1:]),
        "crop_share": float(config.get("crop_pct") or 1.0),
        "fit": "squash" if config.get("crop_mode") == "squash" else "crop",
        "interpolation": "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
    }


def _from_transformers(config: Any, module: nn.Module) -> OwnConfiguration:
    preprocessing: dict[str, Any] = {}
    size = getattr(config, "image_size", None)
    if isinstance(size, int | list | tuple):
        preprocessing["size"] = (size, size) if isinstance(size, int) else tuple(size)
    for child in module.children():  # a timm model in transformers' wrapper
        for inner in _configured(child):
            if "mean" in inner.preprocessing:
                preprocessing = inner.preprocessing
    names = [str(config.id2label[i]) for i in sorted(config.id2label, key=int)] if config.id2label else None
    multi_label = getattr(config, "problem_type", None) == "multi_label_classification"
    return OwnConfiguration(preprocessing, names, multi_label)


def _names_equal(one: object, other: object) -> bool:
    return one is other or (isinstance(one, list | tuple) and isinstance(other, list | tuple) and [*one] == [*other])


def settled(
    preprocessing: Preprocessing, own: OwnConfiguration, fit: Fitted, given: Set[str]
) -> tuple[Preprocessing, list[str]]:
    """The preprocessing with the mean and std that the module turned out to need, and what to say about it.

    Args:
        preprocessing: as given and found.
        own: the module's configuration.
        fit: how the module is run.
        given: those of ``mean`` and ``std`` that the user gave, which stay.
    """
    notes = notes_of(fit.module)
    if isinstance(prompted := plain_module(fit.module), Prompted):
        notes += prompted.notes
    assumed = [name for name in ("mean", "std") if name not in given and name not in own.preprocessing]
    if not given and _normalises_itself(fit.module, own, fit.images):
        notes.append("it normalises its input itself: mean 0 and std 1 are used")
        return replace(preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), notes
    if assumed:
        notes.append(f"ImageNet's {' and '.join(assumed)} assumed")
        _say_once(fit.module, assumed)
    if takes_one_channel(fit.module):
        # One channel has one mean: that of the three, which nobody chose for it.
        one: dict[str, Any] = {
            name: (sum(getattr(preprocessing, name)) / 3,) * 3 for name in ("mean", "std") if name not in given
        }
        preprocessing = replace(preprocessing, **one)
    return preprocessing, notes


def _normalises_itself(module: nn.Module, own: OwnConfiguration, images: Tensor) -> bool:
    """Whether a wrapper normalises its input, with the mean and std of the model inside, before that sees it.

    It warns where the wrapper does something else to its input, so that the model's own mean and std may not apply.

    Args:
        module: takes (B, 3, H, W) images.
        own: its configuration.
        images: (N, 3, H, W) probes.
    """
    if own.source is None or own.source is plain_module(module) or "mean" not in own.preprocessing:
        return False
    seen: list[Tensor] = []

    def before(_: nn.Module, args: tuple[object, ...], options: dict[str, object]) -> None:
        seen.extend(arg for arg in (*args, *options.values()) if isinstance(arg, Tensor) and arg.ndim == 4)

    parameter = next(module.parameters(), images)
    probe = images[-1:].to(parameter.device, parameter.dtype)
    handle = own.source.register_forward_pre_hook(before, with_kwargs=True)
    try:
        with frozen.frozen_in_place(module), torch.no_grad():
            module(probe)
    finally:
        handle.remove()
    if not seen or seen[0].shape != probe.shape or torch.allclose(seen[0].float(), probe.float(), atol=1e-3):
        return False
    shape = (1, -1, 1, 1)
    mean, std = (torch.tensor(own.preprocessing[key], device=probe.device).view(shape) for key in ("mean", "std"))
    if torch.allclose(seen[0].float(), (probe.float() - mean) / std, rtol=1e-2, atol=1e-2):
        return True
    warn(
        f"{type(plain_module(module)).__name__} changes its input before {type(own.source).__name__} sees it, so it is "
        "not known whether that one's own mean and std fit; give mean and std as the wrapper wants them.",
        UserWarning,
    )
    return False


def _say_once(module: nn.Module, assumed: Sequence[str]) -> None:
    plain = plain_module(module)
    kind = f"{type(plain).__module__}.{type(plain).__qualname__}"
    if kind in _said:
        return
    _said.add(kind)
    config = getattr(plain, "config", None)
    from_hub = config is not None and hasattr(config, "id2label")
    where = " transformers keeps them in the processor, which Classifier.load('hf:...') reads." if from_hub else ""
    values = " and ".join(f"{name} {getattr(Preprocessing(), name)}" for name in assumed)
    warn(
        f"{type(plain).__name__} does not say how its input is normalised: ImageNet's {values} are assumed. Give "
        f"mean and std if it was trained otherwise.{where}",
        UserWarning,
    )
