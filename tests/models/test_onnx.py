"""Classifiers in ONNX files."""

from __future__ import annotations

import copy
import json
import pickle
import sys

import numpy as np
import onnx
import pytest
import torch
from nets import conv_net, photographs
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import Before, ChannelsLastNet, OneOnly, Tokens, edited, export, with_metadata
from study_cases import make_data, register_counting
from torch import nn

import fidokit as fk
from fidokit.exceptions import ClassifierError, MissingExtra, StoreError
from fidokit.models.adapting import ChannelsLast
from fidokit.models.classifier import Classifier

FAST = {"device": "cpu", "precision": "float32", "micro_batch": 8}
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
CLASSES = list("abcd")


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


# The same logits


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("any_batch", [False, True])
@pytest.mark.parametrize("net", [conv_net, Tokens])
def test_the_logits_are_those_of_the_module(path, net, modern, any_batch):
    net = net()
    loaded = Classifier.load(export(net, path, modern=modern, any_batch=any_batch), class_names=CLASSES, **FAST)
    assert loaded.size == (32, 32)
    assert loaded.class_names == CLASSES
    assert loaded.name == str(path)
    images = photographs(5)
    close(loaded.logits(images), Classifier(net, size=32, **FAST).logits(images))
    assert "one image" not in repr(loaded)


def test_gradients_are_those_of_the_module(path):
    net = conv_net()
    loaded, own = Classifier.load(export(net, path), **FAST), Classifier(net, size=32, **FAST)
    images = photographs(3)
    for method in ("saliency", "integrated-gradients", "grad-cam"):
        one, other = (fk.explain(classifier, images, method) for classifier in (loaded, own))
        assert not one.failures
        close(one.attribution, other.attribution)
    masks = fk.explain(loaded, images, "fido", steps=3)
    assert not masks.failures
    assert masks.evaluations.min() > 0


def test_the_layer_of_a_transformer_is_found(path):
    net = Tokens()
    images = photographs(3)
    one, other = (
        fk.explain(classifier, images, "grad-cam")
        for classifier in (Classifier.load(export(net, path), **FAST), Classifier(net, size=32, **FAST))
    )
    assert not one.failures
    assert one.attribution.shape == other.attribution.shape == (3, 4, 4)
    assert "Norm" in type(dict(Classifier.load(str(path), **FAST).module.named_modules())[_layer(path)]).__name__


def _layer(path):
    from fidokit.methods.layers import find_layer

    classifier = Classifier.load(str(path), **FAST)
    with classifier.session(exact=True) as session:
        return find_layer(session, session.normalise(photographs(2)))


def test_batch_normalisation_is_folded_in_a_copy_alone(path):
    net = conv_net()
    loaded = Classifier.load(
        export(net, path, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False), **FAST
    )
    before = copy.deepcopy(loaded.module.state_dict())
    images = photographs(4)
    close(loaded.logits(images), Classifier(net, size=32, **FAST).logits(images))
    assert len(loaded.folded) == 2
    assert all(torch.equal(value, before[key]) for key, value in loaded.module.state_dict().items())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in loaded.module.modules()) == 2


def test_it_can_be_sent_to_workers(path):
    loaded = Classifier.load(export(conv_net(), path), **FAST)
    again = pickle.loads(pickle.dumps(loaded))
    assert again.fingerprint() == loaded.fingerprint() == Classifier.load(str(path), **FAST).fingerprint()
    close(again.logits(photographs(3)), loaded.logits(photographs(3)))


def test_precision_and_micro_batch_are_found(path):
    loaded = Classifier.load(export(conv_net(), path), device="cpu")
    assert (
        loaded.logits(photographs(4)) - Classifier(conv_net(), size=32, **FAST).logits(photographs(4))
    ).abs().max() < 0.1
    assert loaded.micro_batch >= 1


def test_float16_is_computed_in_float32(path):
    net = conv_net()
    export(net, path)

    def halve(model):
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
        del model.graph.value_info[:]

    loaded = Classifier.load(edited(str(path), halve), **FAST)
    logits = Classifier(net, size=32, **FAST).logits(photographs(3))
    assert (loaded.logits(photographs(3)) - logits).abs().max() < 0.02
    assert not fk.explain(loaded, photographs(2), "saliency").failures


# Graphs for one image


def test_a_graph_that_cannot_be_opened_gets_one_image_at_a_time(path):
    net = OneOnly()
    loaded = Classifier.load(export(net, path), class_names=CLASSES, device="cpu", precision="float32")
    assert loaded.micro_batch == 1
    assert "its shapes are fixed to one image, so that it gets one at a time" in repr(loaded)
    images = photographs(3)
    normalised = (images - torch.tensor(loaded.preprocessing.mean)[:, None, None]) / torch.tensor(
        loaded.preprocessing.std
    )[:, None, None]
    with torch.no_grad():
        close(loaded.logits(images), torch.cat([net(image[None]) for image in normalised]))
    for method in ("grad-cam", "integrated-gradients"):
        assert not fk.explain(loaded, images, method).failures
    assert not fk.explain(loaded, images, "fido", steps=2).failures
    with pytest.raises(ClassifierError, match=r"made for one image at a time; leave micro_batch=8 out"):
        Classifier.load(str(path), **FAST)
    assert Classifier.load(str(path), **(FAST | {"micro_batch": 1})).micro_batch == 1


# What the file tells


@pytest.mark.parametrize("modern", [False, True])
def test_channels_last(path, modern):
    net = conv_net()
    export(ChannelsLastNet(net), path, (1, 40, 32, 3), modern=modern)
    loaded = Classifier.load(str(path), class_names=CLASSES, **FAST)
    assert loaded.size == (40, 32)
    assert isinstance(loaded.module, ChannelsLast)
    assert "channels last" in repr(loaded)
    images = photographs(3, (40, 32))
    close(loaded.logits(images), Classifier(net, size=(40, 32), **FAST).logits(images))
    assert fk.explain(loaded, images, "grad-cam").attribution.shape == (3, 10, 8)


def test_a_layout_that_the_file_leaves_open(path):
    axes = {"images": dict.fromkeys(range(4), "n") | {i: f"n{i}" for i in range(4)}}
    net = conv_net()
    export(ChannelsLastNet(net), path, (1, 32, 32, 3), dynamic_axes=axes)
    loaded = Classifier.load(str(path), size=48, class_names=CLASSES, **FAST)
    assert loaded.size == (48, 48)
    close(
        loaded.logits(photographs(2, (48, 48))),
        Classifier(net, size=48, **FAST).logits(photographs(2, (48, 48))),
    )


@pytest.mark.parametrize(
    ("scale", "shift", "top"), [(1 / 255, 0.0, 255), (1 / 127.5, -1.0, 255), (2.0, -1.0, 1), (1.0, -120.0, 255)]
)
def test_the_range_of_the_pixels_is_told_by_how_the_graph_begins(path, scale, shift, top):
    net = Before(conv_net(), scale, shift)
    loaded = Classifier.load(export(net, path), class_names=CLASSES, **FAST)
    assert f"it scales its input itself, so that it is given pixels from 0 to {top}" in repr(loaded)
    images = photographs(3)
    with torch.no_grad():
        close(loaded.logits(images), net(images * top))
    given = Classifier.load(str(path), **PLAIN, **FAST)
    assert "scales" not in repr(given)
    with torch.no_grad():
        close(given.logits(images), net(images))


def test_whole_numbers_have_gradients_all_the_same(path):
    class Pixels(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            return self.net(x.float() / 255)

    net = Pixels().eval()
    export(net, path)

    def whole(model):
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        name = model.graph.input[0].name
        for node in model.graph.node:
            node.input[:] = ["pixels" if given == name else given for given in node.input]
        model.graph.node.insert(0, helper.make_node("Cast", [name], ["pixels"], to=TensorProto.FLOAT))

    loaded = Classifier.load(edited(str(path), whole), class_names=CLASSES, **FAST)
    assert "whole numbers, so that it is given pixels from 0 to 255" in repr(loaded)
    with torch.no_grad():
        close(loaded.logits(photographs(3)), net(photographs(3) * 255))
    assert float(fk.explain(loaded, photographs(2), "saliency").attribution.sum()) > 0


def test_a_softmax_at_the_end(path):
    net = nn.Sequential(conv_net(), nn.Softmax(1))
    loaded = Classifier.load(export(net, path), **FAST)
    assert loaded.head == "probabilities"
    own = Classifier(conv_net(), size=32, **FAST).logits(photographs(3)).log_softmax(1)
    close(loaded.logits(photographs(3)).log_softmax(1), own)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("names", "{0: 'owl', 1: 'jay', 2: \"d'Arnaud's barbet\", 3: 'tit'}"),
        ("classes", json.dumps(["owl", "jay", "d'Arnaud's barbet", "tit"])),
        ("id2label", json.dumps({"0": "owl", "1": "jay", "2": "d'Arnaud's barbet", "3": "tit"})),
        ("labels", "owl\njay\nd'Arnaud's barbet\ntit\n"),
        ("labels", "owl, jay, d'Arnaud's barbet, tit"),
    ],
)
def test_names_of_the_classes_in_the_metadata(path, key, text):
    loaded = Classifier.load(with_metadata(export(conv_net(), path), **{key: text}), **FAST)
    assert loaded.class_names == ["owl", "jay", "d'Arnaud's barbet", "tit"]
    assert "from ONNX" not in repr(loaded)
    assert Classifier.load(str(path), class_names=CLASSES, **FAST).class_names == CLASSES


def test_names_that_are_not_there_or_do_not_fit_are_asked_for(path):
    assert "it names no classes: give class_names" in repr(Classifier.load(export(conv_net(), path), **FAST))
    hostile = "__import__('os').system('touch owned')"
    for text in ("['a', 'b']", hostile):
        loaded = Classifier.load(with_metadata(export(conv_net(), path), names=text), **FAST)
        assert loaded.class_names == ["0", "1", "2", "3"]
        assert "the names in it do not fit its 4 outputs and are left out: give class_names" in repr(loaded)


def test_what_ultralytics_exports(path):
    net = nn.Sequential(conv_net(), nn.Softmax(1))
    text = "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}"
    loaded = Classifier.load(with_metadata(export(net, path), author="Ultralytics", names=text), **FAST)
    assert loaded.preprocessing.mean == (0, 0, 0)
    assert loaded.preprocessing.std == (1, 1, 1)
    assert "Ultralytics exported it, so that it is given pixels from 0 to 1" in repr(loaded)


def test_the_scores_among_several_outputs(path):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            maps = self.net.features(x)
            return maps, self.net.head(maps.mean((2, 3)))

    net = Both()
    loaded = Classifier.load(export(net, path, output_names=["maps", "scores"]), class_names=CLASSES, **FAST)
    assert "scores is used of its 2 outputs" in repr(loaded)
    close(loaded.logits(photographs(2)), Classifier(net.net, size=32, **FAST).logits(photographs(2)))


# Refused


def test_several_outputs_that_could_be_the_scores(path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            return self.net(x), self.net(-x)

    export(Two(), path, output_names=["day", "night"])
    with pytest.raises(ClassifierError, match=r"2 outputs \(day \(1, 4\), night .*extract_model"):
        Classifier.load(str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_several_inputs(path):
    class Place(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x, place):
            return self.net(x) + place

    torch.onnx.export(Place(), (torch.rand(1, 3, 32, 32), torch.rand(1, 4)), str(path), dynamo=False)
    with pytest.raises(ClassifierError, match=r"takes 2 inputs \(.*\(1, 3, 32, 32\), .*\(1, 4\)\); an image alone"):
        Classifier.load(str(path))


def test_another_size_than_the_file_has(path):
    export(conv_net(), path)
    with pytest.raises(ClassifierError, match=r"takes 32 x 32 pixels \(height x width\); leave size=\(64, 64\) out"):
        Classifier.load(str(path), size=64)
    assert Classifier.load(str(path), size=32, **FAST).size == (32, 32)


def test_files_that_are_no_classifiers(path, tmp_path):
    with pytest.raises(ClassifierError, match=r"there is no file .*net.onnx"):
        Classifier.load(str(path))
    path.write_bytes(b"no model at all")
    with pytest.raises(ClassifierError, match=r"net.onnx cannot be read as ONNX"):
        Classifier.load(str(path))
    path.write_bytes(b"")
    with pytest.raises(ClassifierError, match=r"net.onnx cannot be read as ONNX"):
        Classifier.load(str(path))
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ClassifierError, match=r"there is no file"):
        Classifier.load(str(tmp_path / "folder.onnx"))


def _graph(path, nodes, initializers=(), shape=(1, 3, 8, 8), made=(1, 3)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


def test_an_operator_without_a_torch_form_is_named(path):
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Det", ["m"], ["y"]),
    ]
    with pytest.raises(ClassifierError, match=r"its operator Det has no torch form; give fidokit the module"):
        Classifier.load(_graph(path, nodes))


def test_a_quantised_graph_is_named_so(path):
    scale, zero = (
        numpy_helper.from_array(np.array(0.1, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.uint8), "z"),
    )
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("ReduceMean", ["d"], ["y"], axes=[2, 3], keepdims=0),
    ]
    with pytest.raises(ClassifierError, match=r"quantised to 8 bits .*give the floating-point file"):
        Classifier.load(_graph(path, nodes, [scale, zero]))


def test_a_torch_form_that_gives_something_else_is_refused(path):
    # onnx2torch knows of one way to find the nearest pixel.
    scales = numpy_helper.from_array(np.array([1, 1, 0.6, 0.6], np.float32), "scales")
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(48, 3)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["r"], mode="nearest", nearest_mode="ceil"),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    with pytest.raises(ClassifierError, match=r"does not give what onnxruntime gives: scores differ by \d"):
        Classifier.load(_graph(path, nodes, [scales, weights]))


@pytest.mark.parametrize("package", ["onnx", "onnx2torch", "onnxruntime"])
def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch, path, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is needed.*pip install 'fidokit\[onnx\]'"):
        Classifier.load(str(path))


# Studies


def test_a_study_loads_its_file_again(path, tmp_path):
    calls = register_counting("counting-onnx")
    try:
        data = make_data(tmp_path / "photographs", 6)
        loaded = Classifier.load(export(conv_net(), path), class_names=["red", "green", "blue", "none"], **FAST)
        store = tmp_path / "store"
        fk.run_study(loaded, data, ["counting-onnx"], store=store, progress=False)
        assert len(calls) == 6
        study = fk.open_study(store)
        assert study.classifier.class_names == loaded.class_names
        assert study.classifier.fingerprint() == loaded.fingerprint()
        fk.run_study(Classifier.load(str(path), class_names=loaded.class_names), data, store=store, progress=False)
        assert len(calls) == 6
        export(conv_net(seed=1), path)
        with pytest.raises(StoreError, match="the weights differ"):
            _ = fk.open_study(store).classifier
    finally:
        from fidokit.methods import _REGISTRY

        del _REGISTRY["counting-onnx"]
