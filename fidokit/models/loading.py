"""Models by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fidokit.exceptions import ClassifierError, MissingExtra
from fidokit.models import onnx_file, speciesnet
from fidokit.models.adapting import SwappedChannels
from fidokit.models.class_names import read_class_names
from fidokit.models.configuration import own_configuration
from fidokit.models.processors import read_processor
from fidokit.models.state import ClassifierState
from fidokit.models.taxonomy import Taxonomy

FORMS = "timm:NAME, torchvision:NAME, hf:PATH, FILE.pt2, FILE.onnx, speciesnet:FOLDER or python:module:function"


#: What a name stands for: a module, with the options of `Classifier` that belong to it; or a ready classifier, with the
#: options that it should have been made with.
_Loaded = tuple[object, dict[str, Any]]


def load(name: str, *, trust: bool = False, **options: Any) -> _Loaded:
    """What a command-line name stands for; see `fidokit.Classifier.load`.

    Args:
        name: in one of the `FORMS`.
        trust: whether a file may be loaded that runs code.
        options: of `fidokit.Classifier`.

    Raises:
        MissingExtra: the library it needs is not installed.
        ClassifierError: nothing can be loaded under this name.
    """
    scheme, colon, rest = name.partition(":")
    loaders: dict[str, Callable[..., _Loaded]] = {
        "timm": _load_timm,
        "torchvision": _load_torchvision,
        "hf": _load_transformers,
        "python": _load_python,
        "speciesnet": partial(_load_speciesnet, trust=trust),
    }
    if colon and scheme in loaders:
        return loaders[scheme](rest, **options)
    if name.endswith(".pt2"):
        return _load_exported(name, **options)
    if name.endswith(".onnx"):
        return _load_onnx(name, **options)
    raise ClassifierError(f"{name!r} names no model; the forms are {FORMS}")


def _load_timm(name: str, **options: Any) -> _Loaded:
    timm = _needs("timm", "timm")
    module = timm.create_model(name, pretrained=True)
    if "class_names" not in options and not own_configuration(module).class_names and module.num_classes == 1000:
        options["class_names"] = imagenet_classes()
    return module, options


def _load_torchvision(name: str, **options: Any) -> _Loaded:
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
    return torchvision.models.get_model(name, weights=weights), own | options


def _load_transformers(path: str, **options: Any) -> _Loaded:
    transformers = _needs("transformers", "transformers")
    module, report = transformers.AutoModelForImageClassification.from_pretrained(
        path, use_safetensors=True, output_loading_info=True
    )
    if untrained := sorted(report["missing_keys"]):
        raise ClassifierError(
            f"hf:{path} has no weights for {', '.join(untrained[:3])}{', …' if len(untrained) > 3 else ''}: it is no "
            "trained classifier, and transformers would fill them in at random. Load one that was trained with a head, "
            "or train a head on its embeddings and give that module to fidokit.Classifier."
        )
    reading = read_processor(transformers.AutoImageProcessor.from_pretrained(path), options)
    return SwappedChannels(module) if reading.bgr else module, reading.options | options


def _load_exported(path: str, **options: Any) -> _Loaded:
    if not Path(path).is_file():
        raise ClassifierError(f"there is no file {path}")
    try:
        module = torch.export.load(path).module()
    except Exception as error:
        raise ClassifierError(
            f"{path} holds no exported program ({str(error).splitlines()[0]}); write one with "
            "torch.export.save(torch.export.export(module.eval(), (images,), dynamic_shapes=...), path)"
        ) from error
    return module, options


def _load_onnx(path: str, **options: Any) -> _Loaded:
    for package in ("onnx", "onnx2torch", "onnxruntime"):
        _needs(package, "onnx")
    return onnx_file.load(path, options)


def _load_speciesnet(folder: str, *, trust: bool, **options: Any) -> _Loaded:
    release = speciesnet.read_release(folder, trust=trust)
    _needs("onnx2torch", "onnx")
    module, own = speciesnet.load(release)
    # Names of one's own may be in another order, or of other classes.
    taxonomy = {} if "class_names" in options else {"taxonomy": Taxonomy.from_speciesnet(release.labels)}
    return module, own | taxonomy | options


def _load_python(path: str, **options: Any) -> _Loaded:
    module_name, _, function_name = path.partition(":")
    if not function_name:
        raise ClassifierError(f"python:{path} lacks the function; the form is python:module:function")
    function = getattr(importlib.import_module(module_name), function_name, None)
    if not callable(function):
        raise ClassifierError(f"module {module_name!r} has no function {function_name!r}")
    takes_options = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    made = function(**options) if takes_options else function()
    if isinstance(made, ClassifierState):
        _check_made_with(made, options, path)
    elif takes_options:
        options = {}
    return made, options


def _check_made_with(classifier: ClassifierState, options: Mapping[str, Any], path: str) -> None:
    """An option that the user's function passed over must not be passed over in silence."""

    def plain(value: Any) -> Any:
        return tuple(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value

    for name, value in options.items():
        made = plain(getattr(classifier, name, getattr(classifier.preprocessing, name, None)))
        asked = tuple(read_class_names(value)) if name == "class_names" else plain(value)
        one = asked[0] if isinstance(asked, tuple) and len(asked) == 1 else asked
        # One number stands for two sides or three channels, one name for a single logit.
        if made in (asked, (one,) * 2, (one,) * 3, (f"not {one}", one)):
            continue
        # A probe settles which probabilities they are, and an adapter goes before the names of layers.
        if name in ("head", "layer") and str(made).endswith(str(asked)):
            continue
        if str(made) not in (str(asked), f"{asked}:0"):
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

    return files("fidokit.models").joinpath("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
