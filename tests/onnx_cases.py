"""Nets in ONNX files, and folders like those in which SpeciesNet is published."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import onnx
import torch
from nets import conv_net
from onnx2torch import convert
from torch import Tensor, nn

TAXA = [
    "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank",
    "e2895ed5-780b-48f6-8a11-9e27cb594511;;;;;;vehicle",
    "5c7ce479-8a45-40b3-ae21-7c97dfae22f5;mammalia;artiodactyla;cervidae;odocoileus;virginianus;white-tailed deer",
    "e588253d-d61d-4149-a96c-8c245927a80f;mammalia;carnivora;felidae;;;felidae family",
]
NAMES = ["blank", "vehicle", "Odocoileus virginianus (white-tailed deer)", "Felidae family"]


class ChannelsLastNet(nn.Module):
    """Takes (B, H, W, 3), as what comes from Keras does."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.permute(0, 3, 1, 2))


class Before(nn.Module):
    """``x * scale + shift`` before a net."""

    def __init__(self, net: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.net, self.scale, self.shift = net, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x * self.scale + self.shift)


class Tokens(nn.Module):
    """A small transformer as exporters write it: a class token, and reshapes that put the batch into other axes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.qkv = nn.LayerNorm(16), nn.Linear(16, 48)
        self.last, self.head = nn.LayerNorm(16), nn.Linear(16, 4)
        nn.init.normal_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(b, 1, 16), x], 1)
        q, k, v = self.qkv(self.norm(x)).reshape(b, 17, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        q, k, v = (part.reshape(b * 2, 17, 8) for part in (q, k, v))
        mixed = (q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v
        x = x + mixed.reshape(b, 2, 17, 8).transpose(1, 2).reshape(b, 17, 16)
        return self.head(nn.functional.gelu(self.last(x))[:, 0])


class OneOnly(nn.Module):
    """A norm over what a reshape makes of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.norm = conv_net(16), nn.LayerNorm(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.net(x).reshape(16)).reshape(1, 16))


def export(
    net: nn.Module,
    path: Path,
    shape: tuple[int, ...] = (1, 3, 32, 32),
    *,
    modern: bool = False,
    any_batch: bool = False,
    **options,
) -> str:
    """Write a net as ONNX by torch's present exporter, or by that before it."""
    images = torch.rand(2 if any_batch else shape[0], *shape[1:])
    if modern:
        if any_batch:
            options["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=1, max=1024)},)
        options = {"dynamo": True, "external_data": False, "verbose": False} | options
    else:
        if any_batch:
            options["dynamic_axes"] = {"images": {0: "batch"}}
        options = {"dynamo": False, "input_names": ["images"]} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (images,), str(path), **options)
    return str(path)


def edited(path: str, change) -> str:
    """An ONNX file after a change of its model."""
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


def with_metadata(path: str, **metadata: str) -> str:
    """An ONNX file with entries in its metadata."""

    def change(model):
        for key, value in metadata.items():
            entry = model.metadata_props.add()
            entry.key, entry.value = key, value

    return edited(path, change)


def release(folder: Path, net: nn.Module, *, kind: str = "always_crop", taxa=TAXA, **info) -> Path:
    """A folder as SpeciesNet's: a net for (B, 480, 480, 3), by way of ONNX a graph that is pickled whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = export(ChannelsLastNet(net), folder / "way.onnx", (1, 480, 480, 3), any_batch=True, opset_version=13)
    weights = f"{kind}_22x8.pt"
    torch.save(convert(path), folder / weights)
    Path(path).unlink()
    (folder / "labels.txt").write_text("\n".join(taxa) + "\n")
    described = {"version": "4.0.1a", "type": kind, "classifier": weights, "classifier_labels": "labels.txt"}
    described |= {
        "detector": "https://example.org/detector.pt",
        "taxonomy": "taxonomy.txt",
        "geofence": "geofence.json",
    }
    (folder / "info.json").write_text(json.dumps(described | info))
    return folder
