"""A file of weights is no classifier yet: the lines that make one of it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fidokit._util.wording import either

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
#: Architectures that are told by the names and shapes of their weights. Each is laid out without values, in 0.1 s.
_TIMM = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "efficientnet_b0", "efficientnet_b3", "mobilenetv3_large_100"),
    *("convnext_tiny", "convnext_base", "vit_small_patch16_224", "vit_base_patch16_224"),
    *("swin_tiny_patch4_window7_224", "densenet121"),
)
_TORCHVISION = ("efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large", "convnext_tiny", "vit_b_16", "densenet121")
_OWN = "YourNetwork(...)  # the class and options that it was trained with"


def how_to_load(path: Path) -> str:
    """What a file of weights lacks, and a module of five lines that makes a classifier of it; nothing in it is run."""
    name, module = str(path), "my_model"
    model = f"python:{module}:load"
    use = either(f"fidokit.Classifier.load({model!r})", f"--model {model}")
    imports, lines, what = _recipe(path, name)
    body = "\n".join(f"    {line}" for line in [*lines, "return fidokit.Classifier(net, **options)"])
    return (
        f"{name} holds {what}. Write these lines into {module}.py, and give {use}, with the names of the classes "
        f"({either('class_names=', '--names FILE')}), which are 0, 1, 2 without:\n\n"
        f"import fidokit, {imports}\ndef load(**options):\n{body}\n"
    )


def _recipe(path: Path, name: str) -> tuple[str, list[str], str]:
    """What is to be imported, the lines that make the network, and what the file holds."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.endswith("constants.pkl") for entry in archive.namelist()):
                return "torch", [f"net = torch.jit.load({name!r}, map_location='cpu')"], "a TorchScript program"
    try:
        held = _read(path)
    except Exception:
        line = f"net = torch.load({name!r}, map_location='cpu', weights_only=False)  # runs code that is in the file"
        return "torch", [line], "a whole module as a pickle, to be loaded only if you know where it comes from, or none"
    key = next((key for key in ("state_dict", "model_state_dict", "model") if isinstance(held.get(key), Mapping)), None)
    weights: Mapping[str, Any] = held if key is None else held[key]
    prefix = next((p for p in ("module.", "model.") if weights and all(name.startswith(p) for name in weights)), "")
    shapes = {k.removeprefix(prefix): tuple(v.shape) for k, v in weights.items() if isinstance(v, Tensor)}
    heads = [shape[0] for shape in shapes.values() if len(shape) == 2]
    classes = heads[-1] if heads else None
    architecture = None if classes is None else _recognised(shapes, classes)
    read = f"torch.load({name!r}, map_location='cpu', weights_only=True)"
    library = "torch"
    if path.suffix == ".safetensors":
        read, library = f"safetensors.torch.load_file({name!r})", "safetensors.torch"
    read += "" if key is None else f"[{key!r}]"
    if prefix:
        read = f"{{k.removeprefix({prefix!r}): v for k, v in {read}.items()}}"
    imports = library if architecture is None else f"{architecture.partition('.')[0]}, {library}"
    of = f" of a network of {classes:,} classes" if classes is not None else ""
    lines = [f"net = {architecture or _OWN}", f"net.load_state_dict({read})"]
    return imports, lines, f"the weights{of}, not the network itself"


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    held = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(held, Mapping):
        raise TypeError(type(held))
    return dict(held)


def _recognised(shapes: Mapping[str, tuple[int, ...]], classes: int) -> str | None:
    """The call that makes a network with just these weights, if it is one of the usual ones."""
    calls: list[tuple[str, Any]] = []
    try:
        import timm

        calls += [(f"timm.create_model({name!r}, num_classes={classes})", timm.create_model) for name in _TIMM]
    except ImportError:
        pass
    try:
        import torchvision

        make = torchvision.models.get_model
        calls += [(f"torchvision.models.get_model({name!r}, num_classes={classes})", make) for name in _TORCHVISION]
    except ImportError:
        pass
    for call, make in calls:
        with torch.device("meta"):
            made = make(call.split("'")[1], num_classes=classes).state_dict()
        if {key: tuple(value.shape) for key, value in made.items()} == dict(shapes):
            return call
    return None
