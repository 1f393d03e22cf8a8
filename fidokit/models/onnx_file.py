"""Classifiers in ONNX files, as torch modules, so that there are gradients."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from fidokit._util.checks import is_whole
from fidokit._util.wording import given
from fidokit.data.geometry import Preprocessing
from fidokit.exceptions import ClassifierError
from fidokit.models import frozen
from fidokit.models.adapting import ChannelsLast, InputAdapter
from fidokit.models.any_batch import Sliced, open_batch
from fidokit.models.class_names import read_class_names

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

#: Types of the input, by their numbers in ONNX, and what share of the spread of the scores the torch form may be off.
_TYPES = {1: "float32", 10: "float16", 2: "uint8"}
_TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "uint8": 1e-3}
#: A graph that begins with a scale below this, or a shift beyond that, takes pixels from 0 to 255 and not from 0 to 1.
_SCALE_OF_BYTES, _SHIFT_OF_BYTES = 0.1, 10.0
#: Keys under which exporters write the names of the classes.
_NAME_KEYS = ("names", "class_names", "classes", "labels", "id2label", "categories")
_MOST_TEXT = 1 << 22
_UNKNOWN_OPERATOR = re.compile(r"operation_type='(\w+)'")
_GIVE = "give fidokit the module that it was exported from, or that module as FILE.pt2 (torch.export)"


class FromOnnx(InputAdapter):
    """A graph that was read from an ONNX file, with what was found out about it."""

    def __init__(self, module: nn.Module, note: str) -> None:
        super().__init__(module)
        self.note = note

    def forward(self, images: Tensor) -> object:
        return self.module(images)


@dataclass(frozen=True)
class _Input:
    """What a graph takes.

    Attributes:
        name: of the input in the graph.
        kind: its type, a value of `_TYPES`.
        channels: how many it has.
        size: (H, W) in pixels.
        last: whether the channels come last; None where the file does not tell.
        top: the brightest value of a pixel, 255 or 1; None where it is not known.
        why: what that was told by.
    """

    name: str
    kind: str
    channels: int
    size: tuple[int, int]
    last: bool | None
    top: float | None = None
    why: str = ""

    def images(self, n: int) -> Tensor:
        """Smooth random images as the graph takes them."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(n, self.channels, 12, 12, generator=generator)
        pixels = nn.functional.interpolate(coarse, self.size, mode="bilinear") * (self.top or 1)
        pixels = pixels.round() if self.kind == "uint8" else pixels
        return pixels.permute(0, 2, 3, 1).contiguous() if self.last else pixels


def load(path: str, options: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The module of an ONNX file, and options of `Classifier` that the file tells, under those given.

    The graph is converted by onnx2torch, and must give for an image what onnxruntime gives. Size, layout, the range of
    the pixels and the names of the classes are taken from the file where it has them. A graph whose shapes are fixed to
    one image is opened for batches; where that does not work it gets one image at a time, and `repr` says so.

    Raises:
        ClassifierError: no such file, no ONNX, several inputs, a graph that cannot be converted or is quantised, one
            whose torch form gives something else, or options that the file cannot be run with.
    """
    from fidokit.models import onnx_graph

    model = _read(path)
    taken = _input(onnx_graph.single_input(model, path), path, options)
    outputs = len(model.graph.output)
    scores = onnx_graph.keep_scores(model, path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    model = onnx_graph.lowered(model, path)
    taken = _with_range(taken, onnx_graph.scaling_at_start(model.graph, taken.name), metadata)
    graph = _converted(model, path)
    if taken.last is None:
        taken = replace(taken, last=_is_channels_last(graph, taken))

    notes = [f"{scores} is used of its {outputs} outputs"] if outputs > 1 else []
    own: dict[str, Any] = {"size": taken.size}
    if taken.top is not None and options.get("mean") is None and options.get("std") is None:
        own |= {"mean": (0.0, 0.0, 0.0), "std": (1 / taken.top,) * 3}
        notes.append(f"{taken.why}, so that it is given pixels from 0 to {taken.top:g}")
    logits, unchecked = _checked(path, graph, taken, scores)
    notes += unchecked
    if not open_batch(graph, taken.images(2)):
        notes.append("its shapes are fixed to one image, so that it gets one at a time")
        own["micro_batch"] = _one_at_a_time(path, options)
    if options.get("class_names") is None:
        names, said = _names(metadata, logits.shape[1])
        own |= {} if names is None else {"class_names": names}
        notes += said
    module = ChannelsLast(graph) if taken.last else graph
    return FromOnnx(module, f"from ONNX: {'; '.join(notes)}") if notes else module, own | dict(options)


def _read(path: str) -> ModelProto:
    import onnx

    if not Path(path).is_file():
        raise ClassifierError(f"there is no file {path}")
    try:
        model = onnx.load(path)
    except Exception as error:
        raise ClassifierError(f"{path} cannot be read as ONNX: {_first_line(error)}") from error
    if not model.graph.node:
        raise ClassifierError(f"{path} cannot be read as ONNX: there is no graph in it")
    return model


def _input(value: ValueInfoProto, path: str, options: Mapping[str, Any]) -> _Input:
    from fidokit.models import onnx_graph

    number = value.type.tensor_type.elem_type
    if number not in _TYPES:
        raise ClassifierError(
            f"{path} takes {value.name} as {onnx_graph.type_name(number)}; {', '.join(_TYPES.values())} can be given"
        )
    lengths = onnx_graph.dimensions(value) or [None] * 4
    first, last = lengths[1] in (1, 3), lengths[3] in (1, 3)
    sides = lengths[1:3] if last and not first else lengths[2:]
    channels = (lengths[3] if last and not first else lengths[1]) or 3
    asked = options.get("size")
    asked = (asked, asked) if is_whole(asked) else asked
    size = tuple(own or default for own, default in zip(sides, asked or Preprocessing().size, strict=True))
    if asked is not None and size != tuple(asked):
        raise ClassifierError(
            f"{path} takes {size[0]} x {size[1]} pixels (height x width); leave {given(size=asked)} out"
        )
    known = None if first == last and None in lengths[1:] else last and not first
    return _Input(value.name, _TYPES[number], channels, (int(size[0]), int(size[1])), known)


def _with_range(taken: _Input, scaling: tuple[float, float] | None, metadata: Mapping[str, str]) -> _Input:
    """The input with the range of its pixels, where the file tells it."""
    if taken.kind == "uint8":
        return replace(taken, top=255.0, why="it takes whole numbers")
    if scaling is not None:
        of_bytes = abs(scaling[0]) < _SCALE_OF_BYTES or abs(scaling[1]) > _SHIFT_OF_BYTES
        return replace(taken, top=255.0 if of_bytes else 1.0, why="it scales its input itself")
    if metadata.get("author") == "Ultralytics":
        return replace(taken, top=1.0, why="Ultralytics exported it")
    return taken


def _converted(model: ModelProto, path: str) -> fx.GraphModule:
    from onnx2torch import convert
    from onnx2torch.node_converters.slice import OnnxSlice

    try:
        with warnings.catch_warnings():
            # What they say, that results may differ, is found out by `_checked`.
            warnings.simplefilter("ignore")
            graph: fx.GraphModule = convert(model)
    except Exception as error:
        operator = _UNKNOWN_OPERATOR.search(str(error))
        what = f"its operator {operator[1]} has no torch form" if operator else _first_line(error)
        raise ClassifierError(f"{path} cannot be turned into torch, which gradients need: {what}; {_GIVE}") from error
    for name, module in list(graph.named_children()):
        if isinstance(module, OnnxSlice):
            graph.add_submodule(name, Sliced())  # theirs takes places in a list, which torch gives up
        if isinstance(module, nn.LayerNorm):
            # It was read from the shapes that onnx infers, which may be unknown.
            module.normalized_shape = tuple(module.weight.shape)
    graph.eval()
    return graph


def _is_channels_last(graph: fx.GraphModule, taken: _Input) -> bool:
    try:
        _logits(graph, replace(taken, last=False).images(1))
    except Exception:
        return True
    return False


@torch.no_grad()
def _logits(graph: nn.Module, images: Tensor) -> Tensor:
    with frozen.frozen_in_place(graph):
        return frozen.logits_of(graph(images)).float()


def _checked(path: str, graph: fx.GraphModule, taken: _Input, scores: str) -> tuple[Tensor, list[str]]:
    """(1, K) outputs of the torch form, if they are those of onnxruntime; a note where that cannot run the file.

    Raises:
        ClassifierError: they are not, or the torch form cannot be run.
    """
    image = taken.images(1)
    try:
        logits = _logits(graph, image)
    except ClassifierError:
        raise
    except Exception as error:
        raise ClassifierError(
            f"the torch form of {path} cannot be run on {tuple(image.shape)}: {_first_line(error)}; {_GIVE}"
        ) from error
    try:
        reference = _by_onnxruntime(path, image.to(getattr(torch, taken.kind)), scores)
    except Exception as error:
        return logits, [f"onnxruntime cannot run it, so that its torch form was not checked ({_first_line(error)})"]
    spread = max(float(reference.std()), 1e-3 * float(reference.abs().max()), 1e-6)
    gap = float((logits - reference).abs().max()) if logits.shape == reference.shape else float("inf")
    if not gap <= _TOLERANCE[taken.kind] * spread:
        raise ClassifierError(
            f"the torch form of {path} does not give what onnxruntime gives: scores differ by {gap:.3g}, and their "
            f"spread is {spread:.3g}; {_GIVE}"
        )
    return logits, []


def _by_onnxruntime(path: str, image: Tensor, scores: str) -> Tensor:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (found,) = session.run([scores], {given.name: image.numpy()})
    return torch.from_numpy(found).float()


def _one_at_a_time(path: str, options: Mapping[str, Any]) -> int:
    if options.get("micro_batch") not in (None, 1):
        raise ClassifierError(
            f"{path} is made for one image at a time; leave {given(micro_batch=options['micro_batch'])} out, "
            "or export it with a dynamic batch size"
        )
    return 1


def _names(metadata: Mapping[str, str], outputs: int) -> tuple[list[str] | None, list[str]]:
    """The names of the classes in a file's metadata, and a note where there are none that fit."""
    for key in _NAME_KEYS:
        if not metadata.get(key):
            continue
        for names in _readings(metadata[key]):
            if len(names) == outputs or (outputs == 1 and len(names) == 2):
                return names, []
        return None, [f"the {key} in it do not fit its {outputs} outputs and are left out: give class_names"]
    return None, ["it names no classes: give class_names"]


def _readings(text: str) -> Iterator[list[str]]:
    """What a text that names classes can mean: JSON, Python's way of writing a dict or list, lines, commas."""
    for read in (json.loads, ast.literal_eval, str.splitlines, lambda text: text.split(",")):
        try:
            yield read_class_names(read(text[:_MOST_TEXT]))
        except (ClassifierError, ValueError, SyntaxError, MemoryError, RecursionError):
            continue


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
