"""What a module knows about itself is found behind wrappers, and what was assumed is said."""

from __future__ import annotations

import importlib.util
import warnings

import pytest
import torch
from nets import ConvNet, conv_net, photographs
from torch import nn

from fidokit.models import configuration
from fidokit.models.classifier import Classifier
from fidokit.models.configuration import own_configuration

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
CONFIG = {
    "mean": MEAN, "std": STD, "input_size": (3, 32, 32), "crop_pct": 0.9, "interpolation": "bicubic",
    "label_names": ["deer", "fox", "badger", "hare"],
}  # fmt: skip
ASSUMED = "does not say how its input is normalised: ImageNet's"


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


class Configured(ConvNet):
    def __init__(self, seed=0, **changed) -> None:
        super().__init__()
        self.load_state_dict(conv_net(seed=seed).state_dict())
        self.pretrained_cfg = CONFIG | changed


class Lightning(nn.Module):
    """As LightningModules are written: the model, a loss with weights, a metric with state."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.loss = Configured(), nn.CrossEntropyLoss(weight=torch.ones(4))
        self.register_buffer("seen", torch.zeros(4, dtype=torch.int64))

    def forward(self, x):
        return self.model(x)


class Ensemble(nn.Module):
    def __init__(self, *members) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        return torch.stack([member(x) for member in self.members]).mean(0)


WRAPPERS = {
    "DataParallel": lambda: nn.DataParallel(Configured()),
    "DataParallel twice": lambda: nn.DataParallel(nn.DataParallel(Configured())),
    "AveragedModel": lambda: torch.optim.swa_utils.AveragedModel(Configured()),
    "compiled": lambda: torch.compile(Configured(), backend="eager"),
    "compiled in DataParallel": lambda: nn.DataParallel(torch.compile(Configured(), backend="eager")),
    "Sequential": lambda: nn.Sequential(Configured()),
    "with a softmax": lambda: nn.Sequential(Configured(), nn.Softmax(1)),
    "with a temperature": lambda: nn.Sequential(nn.Sequential(Configured()), nn.Hardtanh(-100, 100)),
    "LightningModule": Lightning,
    "ensemble": lambda: Ensemble(Configured(), Configured(1)),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_does_not_hide_the_configuration(name):
    net = WRAPPERS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        classifier = Classifier(net, device="cpu", precision="float32", micro_batch=4)
    p = classifier.preprocessing
    assert (p.mean, p.std, p.size, p.crop_share, p.interpolation) == (MEAN, STD, (32, 32), 0.9, "bicubic")
    assert classifier.class_names == CONFIG["label_names"]
    assert "assumed" not in repr(classifier)
    logits = classifier.logits(photographs(2))
    if name != "ensemble":
        bare = Classifier(Configured(), device="cpu", precision="float32", micro_batch=4)
        torch.testing.assert_close(logits.softmax(1), bare.logits(photographs(2)).softmax(1), rtol=0, atol=1e-4)


def test_names_of_an_inner_model_are_only_used_where_they_fit():
    probe = Classifier(nn.Sequential(Configured(), nn.Linear(4, 4)), device="cpu")
    assert probe.class_names == ["0", "1", "2", "3"]
    assert probe.preprocessing.mean == MEAN
    fewer = Classifier(nn.Sequential(Configured(), nn.Linear(4, 3)), device="cpu")
    assert fewer.class_names == ["0", "1", "2"]
    others = Ensemble(Configured(), Configured(label_names=["a", "b", "c", "d"]))
    assert Classifier(others, device="cpu").class_names == ["0", "1", "2", "3"]
    assert own_configuration(Ensemble(Configured(), Configured(mean=(0.9, 0.9, 0.9)))).preprocessing == {}


@needs("timm")
def test_timm_with_one_channel():
    import timm

    net = timm.create_model("resnet18", pretrained=False, num_classes=3, in_chans=1)
    classifier = Classifier(nn.DataParallel(net), size=64, device="cpu")
    assert classifier.preprocessing.mean == pytest.approx((0.449,) * 3)
    assert classifier.preprocessing.crop_share == 0.95
    assert "one channel" in repr(classifier)


@needs("timm")
def test_timm_in_data_parallel():
    import timm

    bare = timm.create_model("resnet18", pretrained=False, num_classes=3)
    one, other = (Classifier(net, device="cpu").preprocessing for net in (bare, nn.DataParallel(bare)))
    assert one == other
    assert one.crop_share < 1


class Normalised(nn.Module):
    """A wrapper that changes its input: ``how`` of it reaches the net."""

    def __init__(self, how, by_name=False) -> None:
        super().__init__()
        self.how, self.net, self.by_name = how, Configured(), by_name

    def forward(self, x):
        return self.net(x=self.how(x)) if self.by_name else self.net(self.how(x))


def normalise(x):
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
    return (x - mean) / std


@pytest.mark.parametrize("by_name", [False, True])
def test_a_wrapper_that_normalises_itself_is_not_normalised_twice(by_name):
    classifier = Classifier(Normalised(normalise, by_name), device="cpu", precision="float32", micro_batch=4)
    assert (classifier.preprocessing.mean, classifier.preprocessing.std) == ((0, 0, 0), (1, 1, 1))
    assert "normalises its input itself" in repr(classifier)
    bare = Classifier(Configured(), device="cpu", precision="float32", micro_batch=4)
    images = photographs(3)
    torch.testing.assert_close(classifier.logits(images), bare.logits(images), rtol=0, atol=1e-4)
    given = Classifier(Normalised(normalise), mean=MEAN, std=STD, device="cpu")
    assert given.preprocessing.mean == MEAN
    with pytest.warns(UserWarning, match="Normalised changes its input before Configured sees it.*give mean and std"):
        Classifier(Normalised(lambda x: 2 * x - 1), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(Normalised(lambda x: nn.functional.interpolate(x, size=40)), device="cpu")


# What is assumed


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch):
    monkeypatch.setattr(configuration, "_said", set())


@pytest.mark.parametrize(
    "net", [conv_net(), nn.DataParallel(conv_net()), nn.Sequential(conv_net(), nn.Softmax(1))], ids=lambda n: type(n)
)
def test_that_imagenets_values_are_assumed_is_said_once(net):
    with pytest.warns(UserWarning, match=ASSUMED) as caught:
        classifier = Classifier(net, size=32, device="cpu")
    assert len([w for w in caught if ASSUMED in str(w.message)]) == 1
    assert caught[0].filename == __file__
    assert "ImageNet's mean and std assumed" in repr(classifier)
    assert "ImageNet&#x27;s mean and std assumed" in classifier._repr_html_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(net, size=32, device="cpu")


def test_only_what_is_missing_is_assumed():
    with pytest.warns(UserWarning, match=r"ImageNet's std \(0.229, 0.224, 0.225\) are assumed"):
        assert "ImageNet's std assumed" in repr(Classifier(conv_net(), mean=(0, 0, 0), size=32, device="cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = Classifier(conv_net(), mean=(0, 0, 0), std=(1, 1, 1), size=32, device="cpu")
    assert "assumed" not in repr(both)


@needs("transformers")
def test_transformers_models_point_to_their_processor():
    import transformers

    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    with pytest.warns(UserWarning, match=r"ViTForImageClassification does not say.*Classifier.load\('hf:...'\)"):
        classifier = Classifier(transformers.ViTForImageClassification(config), device="cpu")
    assert classifier.size == (32, 32)


# Layers


def test_layers_keep_the_names_that_they_have_in_the_module_given():
    net = nn.DataParallel(conv_net())
    options = {"size": 32, "mean": MEAN, "std": STD, "device": "cpu"}
    assert Classifier(net, layer="module.features.3", **options).layer == "features.3"
    assert Classifier(conv_net(), layer="features.3", **options).layer == "features.3"
    assert Classifier(nn.Sequential(conv_net()), layer="0.features.3", **options).layer == "0.features.3"
