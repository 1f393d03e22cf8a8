"""Models by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fidokit._util.wording import given
from fidokit.exceptions import ClassifierError, MissingExtra, SettingsError
from fidokit.models import onnx_file, speciesnet, weights_file
from fidokit.models.adapting import SwappedChannels
from fidokit.models.class_names import read_class_names
from fidokit.models.configuration import own_configuration
from fidokit.models.processors import read_processor
from fidokit.models.prompts import Names, Prompts, Templates
from fidokit.models.state import ClassifierState
from fidokit.models.taxonomy import Taxonomy
from fidokit.models.two_towers import OpenClipTowers, TransformersTowers, of_module, transformers_tokenizer

FORMS = (
    "timm:NAME, torchvision:NAME, hf:PATH, openclip:NAME, FILE.pt2, FILE.onnx, speciesnet:FOLDER or "
    "python:module:function"
)


#: What a name stands for: a module, with the options of `Classifier` that belong to it; or a ready classifier, with the
#: options that it should have been made with.
_Loaded = tuple[object, dict[str, Any]]


@dataclass(frozen=True)
class _Asked:
    """What the classes are called, as the options of a name say it.

    Attributes:
        names, templates: see `Prompts.of`; None where they were not given.
        tokenizer: the user's own, for models of images and texts.
    """

    names: Names | None = None
    templates: Templates | None = None
    tokenizer: Any = None

    def prompts(self, name: str) -> Prompts:
        """For a model of images and texts.

        Raises:
            SettingsError: there are no names.
        """
        if self.names is None:
            raise SettingsError(
                f"{name} compares images with texts and has no classes of its own; give {given(names=...)}, "
                "those to choose from"
            )
        return Prompts.of(self.names, self.templates)

    def class_names(self, name: str) -> dict[str, Any]:
        """For a model that has classes: their names, as an option of `fidokit.Classifier`.

        Raises:
            SettingsError: prompts, templates or a tokenizer, which mean nothing to it.
        """
        if self.templates is not None or self.tokenizer is not None:
            raise SettingsError(
                f"{name} is a classifier with classes of its own, which takes no texts; leave out templates and "
                "tokenizer"
            )
        if self.names is None:
            return {}
        called = Prompts.of(self.names).names
        if other := [each for each, texts in called.items() if texts != (each,)]:
            raise SettingsError(
                f"{name} is a classifier with classes of its own, which takes no prompts, but names has some for "
                f"{other[0]!r}; give the names alone, in the order of its logits"
            )
        return {"class_names": list(called)}


def load(name: str, *, trust: bool = False, **options: Any) -> _Loaded:
    """What a command-line name stands for; see `fidokit.Classifier.load`.

    Args:
        name: in one of the `FORMS`.
        trust: whether a file may be loaded that runs code.
        options: of `fidokit.Classifier`.

    Raises:
        MissingExtra: the library it needs is not installed.
        ClassifierError: nothing can be loaded under this name.
        SettingsError: names or templates that do not fit what is loaded.
    """
    asked = _Asked(*(options.pop(key, None) for key in ("names", "templates", "tokenizer")))
    scheme, colon, rest = name.partition(":")
    with_texts: dict[str, Callable[..., _Loaded]] = {"hf": _load_transformers, "openclip": _load_open_clip}
    loaders: dict[str, Callable[..., _Loaded]] = {
        "timm": _load_timm,
        "torchvision": _load_torchvision,
        "python": _load_python,
        "speciesnet": partial(_load_speciesnet, trust=trust),
    }
    if colon and scheme in with_texts:
        return with_texts[scheme](rest, asked, **options)
    options |= asked.class_names(name)
    if colon and scheme in loaders:
        return loaders[scheme](rest, **options)
    if name.endswith(".pt2"):
        return _load_exported(name, **options)
    if name.endswith(".onnx"):
        return _load_onnx(name, **options)
    if Path(name).is_file() and Path(name).suffix.lower() in weights_file.SUFFIXES:
        raise ClassifierError(weights_file.how_to_load(Path(name)))
    missing = "; there is no such file" if Path(name).suffix.lower() in weights_file.SUFFIXES else ""
    raise ClassifierError(f"{name!r} names no model{missing}; the forms are {FORMS}")


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


def _load_transformers(path: str, asked: _Asked, **options: Any) -> _Loaded:
    transformers = _needs("transformers", "transformers")
    if _has_two_towers(transformers, path):
        return _load_two_towers(transformers, path, asked, **options)
    options |= asked.class_names(f"hf:{path}")
    module = _from_transformers(
        transformers.AutoModelForImageClassification,
        path,
        "it is no trained classifier, and transformers would fill them in at random. Load one that was trained with a "
        "head, or train a head on its embeddings and give that module to fidokit.Classifier.",
    )
    reading = read_processor(transformers.AutoImageProcessor.from_pretrained(path), options)
    return SwappedChannels(module) if reading.bgr else module, reading.options | options


def _has_two_towers(transformers: Any, path: str) -> bool:
    """Whether it is a model of images and texts, by its configuration: a CLIP with a head was made a classifier."""
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    made_as = getattr(config, "architectures", None) or []
    if any("ForImageClassification" in name for name in made_as):
        return False
    return type(config) in transformers.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING


def _load_two_towers(transformers: Any, path: str, asked: _Asked, **options: Any) -> _Loaded:
    prompts = asked.prompts(f"hf:{path}")
    processor = transformers.AutoImageProcessor.from_pretrained(path)
    tokenizer = transformers_tokenizer(path) if asked.tokenizer is None else asked.tokenizer
    module = _from_transformers(
        transformers.AutoModelForZeroShotImageClassification,
        path,
        "transformers would fill them in at random. Load one whose weights are whole.",
    )
    towers = TransformersTowers(module, tokenizer, processor, options, f"hf:{path}")
    return towers.prompted(prompts), {"class_names": list(prompts.names)} | options


def _from_transformers(auto: Any, path: str, remedy: str) -> Any:
    module, report = auto.from_pretrained(path, use_safetensors=True, output_loading_info=True)
    if untrained := sorted(report["missing_keys"]):
        raise ClassifierError(
            f"hf:{path} has no weights for {', '.join(untrained[:3])}{', …' if len(untrained) > 3 else ''}: {remedy}"
        )
    return module


def _load_open_clip(name: str, asked: _Asked, **options: Any) -> _Loaded:
    open_clip = _needs("open_clip", "openclip")
    prompts = asked.prompts(f"openclip:{name}")
    model_name, pretrained = _open_clip_name(open_clip, name)
    tokenizer = _open_clip_tokenizer(open_clip, model_name) if asked.tokenizer is None else asked.tokenizer
    module = open_clip.create_model_from_pretrained(model_name, pretrained, return_transform=False)
    return OpenClipTowers(module, tokenizer, options).prompted(prompts), {"class_names": list(prompts.names)} | options


def _open_clip_tokenizer(open_clip: Any, name: str) -> Any:
    """A model's tokenizer, as long as no code comes with it.

    Raises:
        ClassifierError: its configuration wants such code to be run.
    """
    config = open_clip.get_model_config(name) or {}
    if (config.get("text_cfg", {}).get("tokenizer_kwargs") or {}).get("trust_remote_code"):
        raise ClassifierError(
            f"the tokenizer of {name} comes with code of its own (trust_remote_code in its configuration), which "
            f"fidokit does not run; if you trust it, give it: {given(tokenizer=...)}, as "
            "open_clip.get_tokenizer(NAME) returns it"
        )
    return open_clip.get_tokenizer(name)


def _open_clip_name(open_clip: Any, name: str) -> tuple[str, str | None]:
    """Name and pretrained tag by which open_clip knows a model.

    Raises:
        ClassifierError: an architecture without weights, or nothing that could be one.
    """
    if name.startswith(("hf-hub:", "local-dir:")):
        return name, None
    if name and Path(name).is_dir():
        return f"local-dir:{name}", None
    architecture, _, tag = name.partition("/")
    if architecture in open_clip.list_models():
        if tag:
            return architecture, tag
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise ClassifierError(
            f"openclip:{name} names no weights; write openclip:{name}/TAG with one of {tags or 'your own files'}"
        )
    if tag and "/" not in tag and architecture not in ("", ".", ".."):
        return f"hf-hub:{name}", None
    raise ClassifierError(
        f"openclip:{name} is no folder, no name on the hub (OWNER/NAME) and none of open_clip's architectures with a "
        "tag (such as ViT-B-32/laion2b_s34b_b79k); open_clip.list_pretrained() lists these"
    )


def prompted(model: torch.nn.Module, prompts: Prompts, tokenizer: Any, options: Mapping[str, Any]) -> _Loaded:
    """A model that somebody has loaded or made; see `fidokit.Classifier.from_prompts`."""
    module = of_module(model, tokenizer, options).prompted(prompts)
    return module, {"class_names": list(prompts.names)} | dict(options)


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
