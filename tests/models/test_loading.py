from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from nets import ConvNet, conv_net, photographs
from PIL import Image
from torch import nn

import fidokit as fk
from fidokit.exceptions import ClassifierError, FidokitError, MissingExtra
from fidokit.models.classifier import Classifier
from fidokit.models.configuration import own_configuration
from fidokit.models.loading import FORMS, imagenet_classes
from fidokit.models.processors import options_of

FAST = {"device": "cpu", "precision": "float32", "micro_batch": 8}


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


# Names


@pytest.mark.parametrize("name", ["resnet50", "", "onnx:model", "model.pt", "Timm:resnet18", ":", "model.pt2.zip"])
def test_a_wrong_name_gives_the_list_of_forms(name):
    with pytest.raises(ClassifierError) as caught:
        Classifier.load(name)
    assert FORMS in str(caught.value)
    assert repr(name) in str(caught.value)
    for form in ("timm:", "torchvision:", "hf:", "openclip:", ".pt2", "python:"):
        assert form in FORMS


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("timm:resnet18", "timm", "timm"),
        ("torchvision:resnet18", "torchvision", "torchvision"),
        ("hf:some/model", "transformers", "transformers"),
        ("openclip:some/model", "open_clip", "openclip"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is needed.*pip install 'fidokit\[{extra}\]'"):
        Classifier.load(name)
    assert issubclass(MissingExtra, FidokitError)
    assert issubclass(MissingExtra, ImportError)


def test_a_library_that_is_broken_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("import a_library_that_timm_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(ClassifierError, match="a_library_that_timm_needs"):
        Classifier.load("timm:resnet18")


# python:

MODELS = """
import torch
from nets import conv_net
from fidokit import Classifier

def module():
    return conv_net()

def with_options(**options):
    return Classifier(conv_net(), ["a", "b", "c", "d"], size=(32, 32), **options)

def rigid():
    return Classifier(conv_net(), size=(32, 32), device="cpu", precision="float32", mean=[0, 0, 0])

def grey(**options):
    net = conv_net()
    net.features[0] = torch.nn.Conv2d(1, 8, 3)
    return Classifier(net, size=(32, 32), **options)

def one(**options):
    return Classifier(conv_net(1), size=(32, 32), **options)

def sigmoids(**options):
    net = torch.nn.Sequential(conv_net(), torch.nn.Sigmoid())
    return Classifier(net, size=(32, 32), mean=0.5, head="probabilities")

def fails():
    raise OSError("weights.pth is gone")

def text():
    return "a classifier"

number = 7
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_models", None)


@pytest.mark.usefixtures("models")
def test_python_functions():
    classifier = Classifier.load("python:my_models:module", size=(32, 32), class_names=list("wxyz"), **FAST)
    assert classifier.class_names == list("wxyz")
    assert classifier.name == "python:my_models:module"
    torch.testing.assert_close(
        classifier.logits(photographs(2)), Classifier(conv_net(), size=(32, 32), **FAST).logits(photographs(2))
    )
    classifier = Classifier.load("python:my_models:with_options", precision="bfloat16", device="cpu")
    assert classifier.precision == "bfloat16"
    assert classifier.class_names == list("abcd")
    assert Classifier.load("python:my_models:rigid").name == "python:my_models:rigid"


@pytest.mark.usefixtures("models")
def test_options_that_a_function_passes_over_are_an_error():
    with pytest.raises(
        ClassifierError, match=r"with precision=float32, not bfloat16; let its function take \*\*options"
    ):
        Classifier.load("python:my_models:rigid", precision="bfloat16")
    with pytest.raises(ClassifierError, match=r"with crop_share=1.0, not 0.5"):
        Classifier.load("python:my_models:rigid", crop_share=0.5)
    same = {"precision": "float32", "device": "cpu", "size": 32, "mean": (0, 0, 0), "class_names": list("0123")}
    assert Classifier.load("python:my_models:rigid", **same).precision == "float32"


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:my_models", "lacks the function; the form is python:module:function"),
        ("python:my_models:", "lacks the function"),
        ("python:my_models:nothing", "no function 'nothing'"),
        ("python:my_models:number", "no function 'number'"),
        ("python:my_models:fails", "could not be loaded: weights.pth is gone"),
        ("python:my_models:text", "torch.nn.Module is needed, not str"),
        ("python:no_such_module:make", "could not be loaded: No module named 'no_such_module'"),
        ("python::make", "could not be loaded"),
    ],
)
def test_python_functions_that_cannot_be_used(name, message):
    with pytest.raises(ClassifierError, match=message):
        Classifier.load(name)


# FILE.pt2


class Pooled(ConvNet):
    """As exported by users: a view on the way, which needs contiguous images."""

    def forward(self, x):
        return self.head(nn.functional.adaptive_avg_pool2d(self.features(x), 1).view(x.shape[0], 16))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    net = Pooled().eval()
    batch = torch.export.Dim("batch", min=1, max=1024)
    images = torch.rand(2, 3, 32, 32)
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / "dynamic.pt2")
    torch.export.save(torch.export.export(net, (images[:1],)), folder / "one.pt2")
    (folder / "text.pt2").write_text("no model")
    torch.save(net.state_dict(), folder / "weights.pt2")
    return folder, net


def test_an_exported_program(exported):
    folder, net = exported
    path = str(folder / "dynamic.pt2")
    classifier = Classifier.load(path, size=(32, 32), class_names=list("abcd"), **FAST)
    assert classifier.name == path
    images = photographs(5)
    torch.testing.assert_close(
        classifier.logits(images), Classifier(net, size=(32, 32), **FAST).logits(images), rtol=0, atol=1e-4
    )
    assert Classifier.load(folder / "dynamic.pt2", size=(32, 32), **FAST).fingerprint() != classifier.fingerprint()
    assert Classifier.load(path, size=(32, 32), class_names=list("abcd")).fingerprint() == classifier.fingerprint()


@pytest.mark.parametrize("method", ["fido", "integrated-gradients", "saliency"])
def test_an_exported_program_is_explained_as_its_module(exported, method):
    folder, net = exported
    images = photographs(3)
    own, loaded = (
        fk.explain(classifier, images, method, **({"start": "flat"} if method == "fido" else {}))
        for classifier in (
            Classifier(net, size=(32, 32), **FAST),
            Classifier.load(str(folder / "dynamic.pt2"), size=(32, 32), **FAST),
        )
    )
    assert not loaded.failures
    assert loaded.target == own.target
    for kind in own.kinds:
        # The steps of an optimiser magnify rounding: a program's layers are not folded.
        torch.testing.assert_close(loaded[kind], own[kind], rtol=0, atol=1e-2 if method == "fido" else 1e-3)


def test_an_exported_program_finds_precision_and_micro_batch(exported):
    folder, net = exported
    classifier = Classifier.load(str(folder / "dynamic.pt2"), size=(32, 32), device="cpu")
    masks = fk.explain(classifier, photographs(2), "fido", steps=2)
    assert classifier.precision in ("float32", "bfloat16", "bfloat16-autocast")
    assert classifier.micro_batch >= 1
    assert masks.joint.shape == (2, *fk.FidoSettings().grid_size((32, 32)))
    assert (
        classifier.logits(photographs(2)) - Classifier(net, size=(32, 32), **FAST).logits(photographs(2))
    ).abs().max() < 0.1


def test_a_program_exported_for_one_image_says_what_to_do(exported):
    folder, net = exported
    path = str(folder / "one.pt2")
    with pytest.raises(ClassifierError, match=r"dynamic batch dimension \(dynamic_shapes .*micro_batch=1"):
        Classifier.load(path, size=(32, 32), device="cpu").logits(photographs(1))
    one = Classifier.load(path, size=(32, 32), **(FAST | {"micro_batch": 1}))
    torch.testing.assert_close(
        one.logits(photographs(3)), Classifier(net, size=(32, 32), **FAST).logits(photographs(3)), rtol=0, atol=1e-4
    )
    masks = fk.explain(one, photographs(2), "fido", steps=2)
    assert not masks.failures


@pytest.mark.parametrize("name", ["text.pt2", "weights.pt2"])
def test_a_file_that_is_no_exported_program(exported, name):
    with pytest.raises(ClassifierError, match=rf"{name} holds no exported program .*torch.export.save\("):
        Classifier.load(str(exported[0] / name))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ClassifierError, match=r"no file .*gone.pt2"):
        Classifier.load(str(tmp_path / "gone.pt2"))
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(ClassifierError, match=r"no file .*folder.pt2"):
        Classifier.load(str(tmp_path / "folder.pt2"))


# What a module knows about itself


class Configured(ConvNet):
    def __init__(self, classes=4, **attributes) -> None:
        super().__init__(classes)
        for name, value in attributes.items():
            setattr(self, name, value)


TIMM = {
    "mean": (0.1, 0.2, 0.3),
    "std": [0.4, 0.5, 0.6],
    "input_size": (3, 40, 48),
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "crop_mode": "center",
    "num_classes": 4,
}


def test_a_timm_configuration():
    classifier = Classifier(Configured(pretrained_cfg=TIMM))
    p = classifier.preprocessing
    assert (p.mean, p.std, p.size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (40, 48))
    assert (p.crop_share, p.fit, p.interpolation) == (0.9, "crop", "bicubic")
    assert classifier.class_names == ["0", "1", "2", "3"]
    named = Classifier(Configured(pretrained_cfg=TIMM | {"label_names": list("abcd"), "crop_mode": "squash"}))
    assert named.class_names == list("abcd")
    assert named.preprocessing.fit == "squash"
    odd = TIMM | {"interpolation": "random", "crop_pct": None}
    assert Classifier(Configured(pretrained_cfg=odd)).preprocessing.interpolation == "bilinear"
    assert Classifier(Configured(pretrained_cfg=odd)).preprocessing.crop_share == 1.0


def test_what_the_user_says_comes_first():
    net = Configured(pretrained_cfg=TIMM | {"label_names": list("abcd")})
    classifier = Classifier(net, list("wxyz"), mean=(0, 0, 0), size=32, crop_share=0.5, fit="squash")
    p = classifier.preprocessing
    assert (p.mean, p.std, p.size) == ((0.0, 0.0, 0.0), (0.4, 0.5, 0.6), (32, 32))
    assert (p.crop_share, p.fit, classifier.class_names) == (0.5, "squash", list("wxyz"))


def transformers_config(**options):
    return SimpleNamespace(**({"id2label": {0: "a", 1: "b", 2: "c", 3: "d"}, "problem_type": None} | options))


def test_a_transformers_configuration():
    classifier = Classifier(Configured(config=transformers_config(image_size=40)))
    assert classifier.class_names == list("abcd")
    assert classifier.size == (40, 40)
    assert classifier.head == "softmax"
    multi = transformers_config(image_size=[40, 48], problem_type="multi_label_classification")
    classifier = Classifier(Configured(config=multi))
    assert classifier.size == (40, 48)
    assert classifier.head == "sigmoid"
    assert Classifier(Configured(config=multi), head="softmax").head == "softmax"
    many = Configured(12, config=transformers_config(id2label={str(i): f"name {i}" for i in reversed(range(12))}))
    assert Classifier(many).class_names == [f"name {i}" for i in range(12)]
    bare = Configured(config=SimpleNamespace(id2label={}))
    assert Classifier(bare, size=32).class_names == ["0", "1", "2", "3"]


def test_a_configuration_of_something_else_is_ignored():
    for attributes in ({"config": {"lr": 1}}, {"pretrained_cfg": "resnet"}, {"pretrained_cfg": {"url": ""}}, {}):
        own = own_configuration(Configured(**attributes))
        assert own.preprocessing == {}
        assert own.class_names is None


def test_names_of_a_head_that_was_replaced_are_not_used():
    net = Configured(pretrained_cfg=TIMM | {"label_names": [f"name {i}" for i in range(1000)]})
    assert Classifier(net).class_names == ["0", "1", "2", "3"]
    assert Classifier(Configured(1, config=transformers_config())).class_names == ["0", "1"]


def test_a_models_own_names_that_stand_there_twice_are_told_apart():
    config = transformers_config(id2label={0: "crane", 1: "jay", 2: "crane", 3: "maillot"})
    assert Classifier(Configured(config=config), size=32).class_names == ["crane (0)", "jay", "crane (2)", "maillot"]


def test_imagenet_has_a_thousand_different_names():
    names = imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"
    assert all(name.strip() == name and name for name in names)


# The libraries, with stand-ins for what they would download


def stand_in(monkeypatch, name, **attributes):
    module = ModuleType(name)
    for key, value in attributes.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


def test_timm_models(monkeypatch):
    asked = []

    def create_model(name, pretrained):
        asked.append((name, pretrained))
        net = Configured(1000 if name == "imagenet" else 4, pretrained_cfg=TIMM)
        net.num_classes = net.head.out_features
        return net

    stand_in(monkeypatch, "timm", create_model=create_model)
    classifier = Classifier.load("timm:imagenet", **FAST)
    assert asked == [("imagenet", True)]
    assert classifier.class_names == imagenet_classes()
    assert classifier.size == (40, 48)
    assert classifier.name == "timm:imagenet"
    assert Classifier.load("timm:moths", **FAST).class_names == ["0", "1", "2", "3"]
    assert Classifier.load("timm:imagenet", class_names=list(map(str, range(1000)))).class_names[5] == "5"


def test_torchvision_models(monkeypatch):
    transforms = SimpleNamespace(
        resize_size=[64], crop_size=[48], mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6),
        interpolation=SimpleNamespace(value="bicubic"),
    )  # fmt: skip
    weights = SimpleNamespace(transforms=lambda: transforms, meta={"categories": list("abcd")})

    def get_model(name, weights):
        assert name == "mynet"
        return conv_net()

    def get_model_weights(name):
        if name != "mynet":
            raise ValueError(f"Unknown model {name}")
        return SimpleNamespace(DEFAULT=weights)

    stand_in(
        monkeypatch, "torchvision", models=SimpleNamespace(get_model_weights=get_model_weights, get_model=get_model)
    )
    classifier = Classifier.load("torchvision:mynet", **FAST)
    p = classifier.preprocessing
    assert (p.mean, p.std, p.size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (48, 48))
    assert (p.crop_share, p.interpolation, classifier.class_names) == (0.75, "bicubic", list("abcd"))
    assert Classifier.load("torchvision:mynet", size=32, **FAST).size == (32, 32)
    with pytest.raises(ClassifierError, match="'torchvision:yournet' could not be loaded: Unknown model yournet"):
        Classifier.load("torchvision:yournet")


def processor(**options):
    return SimpleNamespace(
        **({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"height": 40, "width": 48}} | options)
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"size": (40, 48), "fit": "squash"}),
        ({"resample": 3}, {"size": (40, 48), "fit": "squash", "interpolation": "bicubic"}),
        ({"resample": 2}, {"size": (40, 48), "fit": "squash", "interpolation": "bilinear"}),
        ({"size": {"shortest_edge": 256}}, {"size": (256, 256), "crop_share": 1.0}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"size": (224, 224), "crop_share": 0.875}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"size": (384, 384), "fit": "squash"}),
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            {"size": (224, 224), "crop_share": 0.875},
        ),
        ({"size": 256, "do_center_crop": True, "crop_size": 224}, {"size": (224, 224), "crop_share": 0.875}),
        (
            {
                "size": {"height": 346, "width": 346},
                "do_center_crop": False,
                "crop_size": {"height": 289, "width": 289},
            },
            {"size": (346, 346), "fit": "squash"},
        ),
        ({"do_normalize": False}, {"size": (40, 48), "fit": "squash", "mean": (0, 0, 0), "std": (1, 1, 1)}),
    ],
)
def test_transformers_processors(options, expected):
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]} | expected
    assert options_of(processor(**options)) == own


class CallableProcessor:
    """Squashes to 40 x 48 pixels, as a transformers image processor with these attributes does."""

    image_mean, image_std, size = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], {"height": 40, "width": 48}

    def __call__(self, images, return_tensors):
        assert return_tensors == "pt"
        pixels = np.asarray(images.resize((48, 40), Image.Resampling.BILINEAR), np.float32) / 255
        normalised = (pixels - np.float32(self.image_mean)) / np.float32(self.image_std)
        return {"pixel_values": normalised.transpose(2, 0, 1)[None]}


def test_transformers_models(monkeypatch):
    asked = []

    def from_pretrained(path, **options):
        asked.append((path, options))
        return Configured(config=transformers_config(image_size=24)), {"missing_keys": set()}

    stand_in(
        monkeypatch,
        "transformers",
        AutoConfig=SimpleNamespace(
            from_pretrained=lambda _path, **_: transformers_config(architectures=["ViTForImageClassification"])
        ),
        AutoModelForImageClassification=SimpleNamespace(from_pretrained=from_pretrained),
        AutoImageProcessor=SimpleNamespace(from_pretrained=lambda _path: CallableProcessor()),
    )
    classifier = Classifier.load("hf:me/moths", **FAST)
    assert asked == [("me/moths", {"use_safetensors": True, "output_loading_info": True})]
    assert classifier.class_names == list("abcd")
    assert classifier.size == (40, 48)
    assert classifier.preprocessing.mean == (0.1, 0.2, 0.3)
    assert Classifier.load("hf:me/moths", mean=(0, 0, 0), **FAST).preprocessing.mean == (0, 0, 0)


# The real libraries, where they are installed; nothing is downloaded


@needs("timm")
def test_a_real_timm_model(monkeypatch):
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name, pretrained=False, num_classes=4))
    classifier = Classifier.load("timm:resnet18", size=64, **FAST)
    assert classifier.preprocessing.interpolation == "bicubic"
    assert 0.8 < classifier.preprocessing.crop_share <= 1
    assert classifier.logits(photographs(2, (64, 64))).shape == (2, 4)


@needs("torchvision")
def test_a_real_torchvision_model(monkeypatch):
    import torchvision

    get_model = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: get_model(name, weights=None))
    classifier = Classifier.load("torchvision:resnet18", **FAST)
    assert len(classifier.class_names) == 1000
    assert classifier.preprocessing.crop_share == pytest.approx(224 / 256)


@needs("transformers")
def test_a_real_transformers_model(tmp_path):
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        id2label={0: "moth", 1: "moth", 2: "deer"},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    classifier = Classifier.load(f"hf:{tmp_path}", **FAST)
    assert classifier.class_names == ["moth (0)", "moth (1)", "deer"]
    assert classifier.preprocessing.fit == "squash"
    assert classifier.preprocessing.mean == (0.5, 0.5, 0.5)
    assert not fk.explain(classifier, photographs(2), "fido", steps=2).failures


@pytest.mark.usefixtures("models")
def test_options_that_a_function_kept_in_other_words_are_no_error():
    load = "python:my_models:"
    assert Classifier.load(load + "rigid", class_names={3: "3", 1: "1", 0: "0", 2: "2"}, mean=0).size == (32, 32)
    assert Classifier.load(load + "grey", layer="features.3", class_names=list("abcd")).layer == "module.features.3"
    assert Classifier.load(load + "one", class_names=["deer"]).class_names == ["not deer", "deer"]
    asked = Classifier.load(load + "sigmoids", head="probabilities", mean=(0.5,))
    assert asked.head == "independent-probabilities"
    with pytest.raises(ClassifierError, match="with head=independent-probabilities, not softmax"):
        Classifier.load(load + "sigmoids", head="softmax")
