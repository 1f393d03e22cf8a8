"""Models by name, and what a model's own configuration says about its preprocessing and classes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fidokit.exceptions import ClassifierError, FidokitError, MissingExtra

if TYPE_CHECKING:
    from fidokit.classifier import Classifier

FORMS = "timm:NAME, torchvision:NAME, hf:PATH, FILE.pt2 or python:module:function"


@dataclass
class OwnConfiguration:
    """What a module knows about itself; empty where it knows nothing."""

    preprocessing: dict[str, Any] = field(default_factory=dict)
    class_names: Sequence[str] | None = None
    multi_label: bool = False


def own_configuration(module: nn.Module) -> OwnConfiguration:
    """Preprocessing, class names and head from a timm ``pretrained_cfg`` or a transformers ``config``."""
    timm_config = getattr(module, "pretrained_cfg", None)
    if isinstance(timm_config, dict) and "mean" in timm_config:
        return _from_timm(timm_config)
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, "id2label"):
        return _from_transformers(config)
    return OwnConfiguration()


def _from_timm(config: dict[str, Any]) -> OwnConfiguration:
    preprocessing = {
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "size": tuple(config["input_size"][1:]),
        "crop_share": float(config.get("crop_pct") or 1.0),
        "fit": "squash" if config.get("crop_mode") == "squash" else "crop",
        "interpolation": "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
    }
    return OwnConfiguration(preprocessing, config.get("label_names"))


def _from_transformers(config: Any) -> OwnConfiguration:
    preprocessing: dict[str, Any] = {}
    size = getattr(config, "image_size", None)
    if size:
        preprocessing["size"] = (size, size) if isinstance(size, int) else tuple(size)
    names = [str(config.id2label[i]) for i in sorted(config.id2label)] if config.id2label else None
    return OwnConfiguration(preprocessing, names, config.problem_type == "multi_label_classification")


def load(name: str, **options: Any) -> Classifier:
    """The classifier that a command-line name stands for; see `fidokit.Classifier.load`."""
    scheme, colon, rest = name.partition(":")
    loaders: dict[str, Callable[..., Classifier]] = {
        "timm": _load_timm,
        "torchvision": _load_torchvision,
        "hf": _load_transformers,
        "python": _load_python,
    }
    try:
        if colon and scheme in loaders:
            classifier = loaders[scheme](rest, **options)
        elif name.endswith(".pt2"):
            classifier = _load_exported(name, **options)
        else:
            raise ClassifierError(f"{name!r} names no model; the forms are {FORMS}")
    except FidokitError:
        raise
    except Exception as error:
        raise ClassifierError(f"{name!r} could not be loaded: {error}") from error
    classifier.name = name
    return classifier


def _load_timm(name: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    timm = _needs("timm", "timm")
    module = timm.create_model(name, pretrained=True)
    if "class_names" not in options and not own_configuration(module).class_names and module.num_classes == 1000:
        options["class_names"] = imagenet_classes()
    return Classifier(module, **options)


def _load_torchvision(name: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    torchvision = _needs("torchvision", "torchvision")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    resize, crop = transforms.resize_size[0], transforms.crop_size[0]
    own = {
        "mean": transforms.mean,
        "std": transforms.std,
        "size": crop,
        "crop_share": min(1.0, crop / resize),
        "class_names": weights.meta["categories"],
    }
    return Classifier(torchvision.models.get_model(name, weights=weights), **(own | options))


def _load_transformers(path: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    transformers = _needs("transformers", "transformers")
    module = transformers.AutoModelForImageClassification.from_pretrained(path, use_safetensors=True)
    processor = transformers.AutoImageProcessor.from_pretrained(path)
    own: dict[str, Any] = {"mean": processor.image_mean, "std": processor.image_std}
    size = processor.size
    if "height" in size:
        own["size"] = (size["height"], size["width"])
    return Classifier(module, **(own | options))


def _load_exported(path: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    if not Path(path).is_file():
        raise ClassifierError(f"there is no file {path}")
    module = torch.export.load(path).module()
    # An exported module refuses train() and eval(), since its mode is part of the graph: the wrapper swallows them.
    return Classifier(_Exported(module), **options)


class _Exported(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.exported = module

    def train(self, mode: bool = True) -> _Exported:
        self.training = mode
        return self

    def forward(self, images: torch.Tensor) -> Any:
        return self.exported(images)


def _load_python(path: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    module_name, _, function_name = path.partition(":")
    if not function_name:
        raise ClassifierError(f"python:{path} lacks the function; the form is python:module:function")
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise ClassifierError(f"module {module_name!r} has no function {function_name!r}")
    takes_options = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    made = function(**options) if takes_options else function()
    if isinstance(made, Classifier):
        return made
    return Classifier(made, **({} if takes_options else options))


def _needs(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(package, extra) from error


def imagenet_classes() -> list[str]:
    """The 1000 class names of ImageNet-1k, in the order of its logits."""
    from importlib.resources import files

    return (files("fidokit") / "data" / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
