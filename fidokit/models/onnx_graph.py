"""ONNX graphs brought into the operators that onnx2torch knows.

onnx2torch converts operators up to opset 17; what today's exporters write is newer. Here a graph is rewritten:
operators that are newer are put in their older form, constants are computed, so that weights are found where onnx2torch
looks for them, and half precision becomes float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from fidokit.exceptions import ClassifierError

#: The newest opset whose operators onnx2torch knows.
NEWEST = 17
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger")
#: Operators whose result is not that of their inputs alone, or that have graphs inside.
_NOT_FOLDED = ("RandomNormal", "RandomUniform", "If", "Loop", "Scan")

_Array = np.ndarray[Any, np.dtype[Any]]


def lowered(model: ModelProto, path: str) -> ModelProto:
    """The same function with operators of opset 17 at most, in float32, constants computed.

    Args:
        model: changed in place.
        path: of the file, for messages.

    Raises:
        ClassifierError: the graph is quantised.
    """
    graph = model.graph
    quantised = sorted({node.op_type for node in graph.node if node.op_type in _QUANTISED})
    if quantised:
        raise ClassifierError(
            f"{path} is quantised to 8 bits (its operators {', '.join(quantised)}), and rounding has no gradient; give "
            "the floating-point file that it was made from"
        )
    _in_float32(graph)
    _fold(graph)
    nodes = [new for node in graph.node for new in _older(node, graph)]
    _name(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    for opset in model.opset_import:
        if opset.domain == "" and opset.version > NEWEST:
            opset.version = NEWEST
    return model


def _name(nodes: list[NodeProto]) -> None:
    """Give each node a name of its own, that of a module; what onnx2torch makes up can be there already."""
    taken = {""}
    for node in nodes:
        name = (node.name or f"{node.op_type}/{node.output[0]}").replace(".", "/").lstrip("/")
        others = (f"{name}_{i}" for i in range(1, len(nodes) + 1))
        node.name = next(each for each in (name, *others) if each not in taken)
        taken.add(node.name)


def _in_float32(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        _tensor_in_float32(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _tensor_in_float32(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT


def _tensor_in_float32(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _fold(graph: GraphProto) -> None:
    """Compute what depends on constants alone, and leave out the nodes that change nothing."""
    outputs = {value.name for value in graph.output}
    values = {tensor.name: tensor for tensor in graph.initializer}
    renamed: dict[str, str] = {}
    kept: list[NodeProto] = []
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        while node.input and not node.input[-1]:
            del node.input[-1]
        if node.op_type == "Identity" and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
            continue
        inputs = [name for name in node.input if name]
        known = node.domain in ("", "ai.onnx") and not node.op_type.startswith(_NOT_FOLDED)
        if known and all(name in values for name in inputs) and not outputs & set(node.output):
            computed = _computed(node, [values[name] for name in inputs])
            if computed is not None:
                values |= computed
                graph.initializer.extend(computed.values())
                continue
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _computed(node: NodeProto, inputs: list[TensorProto]) -> dict[str, TensorProto] | None:
    """What a node gives for constants, by name; None where it has to stay a node."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in inputs}
    try:
        results = ReferenceEvaluator(node).run(None, arrays)
        return {
            name: numpy_helper.from_array(np.asarray(result), name)
            for name, result in zip(node.output, results, strict=True)
            if name
        }
    except Exception:
        return None


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _without(node: NodeProto, *names: str) -> NodeProto:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return node


def _older(node: NodeProto, graph: GraphProto) -> list[NodeProto]:
    """The nodes that do what a node does, in the form of opset 17."""
    kind = node.op_type
    if kind.startswith("Reduce") and kind != "ReduceSum":  # whose axes are an input since opset 13
        return [_reduction(node, graph)]
    if kind == "Reshape":
        # It differs for axes of length 0 alone, which no image has.
        return [_without(node, "allowzero")]
    if kind == "Split":
        return [_without(node, "num_outputs")]
    if kind == "Gelu":
        return list(_gelu(node, graph))
    if kind == "Mish":
        soft, bent = (f"{node.output[0]}_{part}" for part in ("softplus", "tanh"))
        return [
            helper.make_node("Softplus", [node.input[0]], [soft]),
            helper.make_node("Tanh", [soft], [bent]),
            helper.make_node("Mul", [node.input[0], bent], [node.output[0]]),
        ]
    return [node]


def _reduction(node: NodeProto, graph: GraphProto) -> NodeProto:
    """Axes as an attribute, as they were before opset 18."""
    if len(node.input) < 2:
        return _without(node, "noop_with_empty_axes")
    axes = _constant(graph, node.input[1])
    if axes is None:
        return node
    if not axes.size and _attributes(node).get("noop_with_empty_axes", 0):
        return helper.make_node("Identity", [node.input[0]], list(node.output), name=node.name)
    del node.input[1]
    _without(node, "noop_with_empty_axes")
    if axes.size:
        node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes.ravel()]))
    return node


def _constant(graph: GraphProto, name: str) -> _Array | None:
    """A constant of the graph; None where it is computed from the image."""
    return next((numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == name), None)


def _gelu(node: NodeProto, graph: GraphProto) -> Iterator[NodeProto]:
    """``x / 2 * (1 + erf(x / sqrt 2))``, or the approximation by a tanh (Hendrycks, Gimpel, arXiv 1606.08415)."""
    (image,), (output,) = node.input, node.output

    def constant(value: float) -> str:
        name = f"{output}_{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def made(kind: str, *inputs: str) -> str:
        name = f"{output}_{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name]))
        return name

    nodes: list[NodeProto] = []
    if _attributes(node).get("approximate", b"none") == b"tanh":
        cubed = made("Mul", made("Mul", image, image), image)
        inner = made("Add", image, made("Mul", cubed, constant(0.044715)))
        bent = made("Tanh", made("Mul", inner, constant(math.sqrt(2 / math.pi))))
    else:
        bent = made("Erf", made("Mul", image, constant(1 / math.sqrt(2))))
    half = made("Mul", image, constant(0.5))
    nodes.append(helper.make_node("Mul", [half, made("Add", bent, constant(1.0))], [output]))
    yield from nodes


def single_input(model: ModelProto, path: str) -> onnx.ValueInfoProto:
    """The graph's input for the image.

    Raises:
        ClassifierError: there are several, or it is no batch of images.
    """
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    shown = ", ".join(f"{value.name} {shape_text(value)}" for value in inputs)
    if len(inputs) != 1:
        raise ClassifierError(
            f"{path} takes {len(inputs)} inputs ({shown}); an image alone is needed. Fix the others to constants "
            "before you export it"
        )
    if len(dimensions(inputs[0])) not in (0, 4):
        raise ClassifierError(f"{path} takes {shown}, which is no batch of images, (B, 3, H, W) or (B, H, W, 3)")
    image: onnx.ValueInfoProto = inputs[0]
    return image


def keep_scores(model: ModelProto, path: str) -> str:
    """Name of the output that holds the scores, the only one or the only one of the shape (B, K); others are taken out.

    Raises:
        ClassifierError: which it is cannot be told.
    """
    outputs = list(model.graph.output)
    fitting = outputs if len(outputs) == 1 else [value for value in outputs if len(dimensions(value)) == 2]
    if len(fitting) != 1:
        shown = ", ".join(f"{value.name} {shape_text(value)}" for value in outputs)
        raise ClassifierError(
            f"{path} gives {len(outputs)} outputs ({shown}), and it cannot be told which holds the scores (B, K). "
            f"Write a file with that one alone: onnx.utils.extract_model({path!r}, 'scores.onnx', [INPUT], [OUTPUT])"
        )
    name: str = fitting[0].name
    for value in outputs:
        if value.name != name:
            model.graph.output.remove(value)
    return name


def dimensions(value: onnx.ValueInfoProto) -> list[int | None]:
    """The shape of a value, None where the file leaves a length open; empty where it says nothing."""
    shape = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in shape]


def type_name(number: int) -> str:
    """ONNX's name of a type of numbers."""
    return TensorProto.DataType.Name(number).lower() if number in TensorProto.DataType.values() else f"type {number}"


def shape_text(value: onnx.ValueInfoProto) -> str:
    """The shape of a value for people."""
    return f"({', '.join('?' if length is None else str(length) for length in dimensions(value))})"


def scaling_at_start(graph: GraphProto, name: str) -> tuple[float, float] | None:
    """The mean scale a and shift b of ``a * image + b``, with which a graph begins; None where it begins otherwise.

    Args:
        graph: lowered.
        name: of its input.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scale, shift, found = np.float64(1), np.float64(0), False
    while True:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1 or len(users[0].output) != 1:
            break
        node = users[0]
        if node.op_type in ("Transpose", "Cast", "Identity"):
            name = node.output[0]
            continue
        others = [other for other in node.input if other != name]
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(others) != 1 or others[0] not in constants:
            break
        value = np.float64(np.mean(numpy_helper.to_array(constants[others[0]]).astype(np.float64)))
        if node.op_type == "Add":
            shift = shift + value
        elif node.op_type == "Sub":
            shift, scale = (shift - value, scale) if node.input[0] == name else (value - shift, -scale)
        elif node.op_type == "Mul":
            scale, shift = scale * value, shift * value
        elif node.input[0] == name and value:
            scale, shift = scale / value, shift / value
        else:
            break
        found, name = True, node.output[0]
    return (float(scale), float(shift)) if found else None
