"""Models by name, and what a model's own configuration says about its preprocessing and classes."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
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
    """Preprocessing, class names and head from a timm ``pretrained_cfg`` or a transformers ``config``.

    The names are those of the pretrained model; the module may have been given another head since.
    """
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
        "size": tuple(config.get("input_size", (3, 224, 224))[1:]),
        "crop_share": float(config.get("crop_pct") or 1.0),
        "fit": "squash" if config.get("crop_mode") == "squash" else "crop",
        "interpolation": "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
    }
    return OwnConfiguration(preprocessing, config.get("label_names"))


def _from_transformers(config: Any) -> OwnConfiguration:
    preprocessing: dict[str, Any] = {}
    size = getattr(config, "image_size", None)
    if isinstance(size, int | list | tuple):
        preprocessing["size"] = (size, size) if isinstance(size, int) else tuple(size)
    names = [str(config.id2label[i]) for i in sorted(config.id2label, key=int)] if config.id2label else None
    multi_label = getattr(config, "problem_type", None) == "multi_label_classification"
    return OwnConfiguration(preprocessing, names, multi_label)


def _from_processor(processor: Any) -> dict[str, Any]:
    """What a transformers image processor does, as options of `Classifier`."""
    own: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    if getattr(processor, "do_normalize", True):
        own = {"mean": processor.image_mean, "std": processor.image_std}
    resample = getattr(processor, "resample", None)
    if resample is not None:
        own["interpolation"] = "bicubic" if int(resample) == 3 else "bilinear"
    resized = _sides(processor.size)
    cropped = _sides(processor.crop_size) if getattr(processor, "do_center_crop", False) else None
    edge = resized[0] if len(resized) == 1 else None
    if edge is None:
        own["fit"] = "squash"
    if cropped is not None:
        own["size"] = (cropped[0], cropped[-1])
        own["crop_share"] = min(1.0, cropped[0] / resized[0])
    elif edge is None:
        own["size"] = resized
    else:
        own["size"] = (edge, edge)
        share = getattr(processor, "crop_pct", None)
        # ConvNeXT crops small inputs and squashes large ones.
        own |= {"fit": "squash"} if share and edge >= 384 else {"crop_share": share or 1.0}
    return own


def _sides(size: Any) -> tuple[int, ...]:
    """(height, width), or the shorter side alone."""
    if isinstance(size, int):
        return (size,)
    return (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],)


def load(name: str, **options: Any) -> Classifier:
    """The classifier that a command-line name stands for; see `fidokit.Classifier.load`."""
    name = os.fspath(name)
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
        "interpolation": "bicubic" if transforms.interpolation.value == "bicubic" else "bilinear",
        "class_names": weights.meta["categories"],
    }
    return Classifier(torchvision.models.get_model(name, weights=weights), **(own | options))


def _load_transformers(path: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    transformers = _needs("transformers", "transformers")
    module = transformers.AutoModelForImageClassification.from_pretrained(path, use_safetensors=True)
    processor = transformers.AutoImageProcessor.from_pretrained(path)
    return Classifier(module, **(_from_processor(processor) | options))


def _load_exported(path: str, **options: Any) -> Classifier:
    from fidokit.classifier import Classifier

    if not Path(path).is_file():
        raise ClassifierError(f"there is no file {path}")
    try:
        module = torch.export.load(path).module()
    except Exception as error:
        raise ClassifierError(
            f"{path} holds no exported program ({str(error).splitlines()[0]}); write one with "
            "torch.export.save(torch.export.export(module.eval(), (images,), dynamic_shapes=...), path)"
        ) from error
    return Classifier(module, **options)


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
        _check_made_with(made, options, path)
        return made
    return Classifier(made, **({} if takes_options else options))


def _check_made_with(classifier: Classifier, options: Mapping[str, Any], path: str) -> None:
    """An option that the user's function passed over must not be passed over in silence."""

    def plain(value: Any) -> Any:
        return tuple(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value

    for name, value in options.items():
        made = plain(getattr(classifier, name, getattr(classifier.preprocessing, name, None)))
        asked = plain(value)
        if made not in (asked, (asked, asked)) and str(made) not in (str(asked), f"{asked}:0"):
            raise ClassifierError(
                f"python:{path} makes a classifier with {name}={made}, not {value}; let its function take **options "
                "and pass them on to fidokit.Classifier, or leave the option out"
            )


def _needs(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is there, but lacks something itself
            raise
        raise MissingExtra(package, extra) from error


def imagenet_classes() -> list[str]:
    """The 1000 class names of ImageNet-1k, in the order of its logits."""
    from importlib.resources import files

    return (files("fidokit") / "data" / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
