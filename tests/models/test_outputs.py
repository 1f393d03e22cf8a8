"""Probabilities, logits and embeddings are told apart; what is read otherwise than one might think is said."""

from __future__ import annotations

import collections
import importlib.util
import warnings

import pandas as pd
import pytest
import study_cases
import torch
from nets import conv_net, photographs
from torch import nn

import fidokit as fk
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models.adapting import probe_images, run
from fidokit.models.classifier import Classifier
from fidokit.models.goals import log_odds, probabilities, to_logits
from fidokit.study.metrics.curves import held
from fidokit.study.store.manifest import describe_classifier
from fidokit.study.store.manifest_check import _CHECKS

OPTIONS = {
    "size": (32, 32), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
    "device": "cpu", "precision": "float32", "micro_batch": 4,
}  # fmt: skip


def make(module, names=None, **options) -> Classifier:
    return Classifier(module, names, **(OPTIONS | options))


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


class Then(nn.Module):
    """A net, and a function of what it gives."""

    def __init__(self, function, net=None) -> None:
        super().__init__()
        self.net, self.function = conv_net() if net is None else net, function

    def forward(self, x):
        return self.function(self.net(x))


# Probabilities


@pytest.mark.parametrize(
    "ending",
    [
        nn.Softmax(1),
        lambda y: torch.softmax(y / 2.5, 1),
        lambda y: torch.softmax(y, -1).double(),
        lambda y: (torch.softmax(y, 1) + torch.softmax(1.5 * y, 1)) / 2,
        lambda y: torch.softmax(50 * y, 1),
    ],
    ids=["Softmax", "temperature", "float64", "ensemble", "saturated"],
)
def test_a_module_that_ends_in_a_softmax_is_read_as_probabilities(ending):
    net = nn.Sequential(conv_net(), ending) if isinstance(ending, nn.Module) else Then(ending)
    images = photographs(6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = make(net)
    assert classifier.head == "probabilities"
    assert "head=probabilities" in repr(classifier)
    assert "of which the module gives probabilities" in classifier._repr_html_()
    with torch.no_grad():
        mean, std = (torch.tensor(OPTIONS[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        own = net((images - mean) / std).float()
    torch.testing.assert_close(torch.softmax(classifier.logits(images), 1), own, rtol=0, atol=1e-5)
    top = own.max(1).values
    score = [classifier.prediction(row)["score"] for row in classifier.logits(images)]
    torch.testing.assert_close(torch.tensor(score), top, rtol=0, atol=1e-5)


def test_scores_and_masks_are_those_of_the_bare_net():
    bare, images = make(conv_net()), photographs(3)
    softmaxed = make(nn.Sequential(conv_net(), nn.Softmax(1)))
    torch.testing.assert_close(softmaxed.log_odds(images), bare.log_odds(images), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        softmaxed.log_odds(images, 0, against=1), bare.log_odds(images, 0, against=1), rtol=0, atol=1e-3
    )
    for explained in ("log-odds", "contrast"):
        given = {"steps": 4, "start": "flat", "explained": explained}
        one, other = (fk.explain(c, images, "fido", **given) for c in (softmaxed, bare))
        assert one.target == other.target
        assert (one.joint - other.joint).abs().mean() < 1e-3
    # What the logits share is lost in the softmax.
    logit = fk.explain(softmaxed, images, "fido", **(given | {"explained": "logit"}))
    assert logit.explained == "contrast"
    torch.testing.assert_close(logit.joint, one.joint)


@pytest.mark.parametrize("ending", [nn.LogSoftmax(1), nn.Identity(), nn.Softmax(1)], ids=lambda m: type(m).__name__)
def test_log_odds_do_not_depend_on_how_the_module_ends(ending):
    images = photographs(3)
    expected = make(conv_net()).log_odds(images, 2)
    torch.testing.assert_close(make(nn.Sequential(conv_net(), ending)).log_odds(images, 2), expected, rtol=0, atol=1e-3)


def test_a_softmax_in_sixteen_bits_is_recognised():
    for dtype in (torch.bfloat16, torch.float16):
        many = nn.Sequential(conv_net(60), nn.Softmax(1)).to(dtype)
        assert make(many).head == "probabilities"


@pytest.mark.parametrize(
    ("ending", "classes"),
    [(nn.Sigmoid(), 4), (nn.Sigmoid(), 1), (lambda y: torch.softmax(y, 1)[:, :-1], 5)],
    ids=["several", "one", "a softmax with a class left out"],
)
def test_independent_probabilities_are_read_as_such_when_it_is_said(ending, classes):
    net = Then(ending, conv_net(classes))
    with pytest.warns(UserWarning, match=r"all outputs of Then lie in \[0, 1\], as after a sigmoid.*head='probabili"):
        unsaid = make(net)
    assert unsaid.head in ("softmax", "sigmoid")
    images = photographs(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = make(net, head="probabilities")
    assert classifier.head == "independent-probabilities"
    assert make(net, head=classifier.head).head == classifier.head
    logits = classifier.logits(images)
    with torch.no_grad():
        mean, std = (torch.tensor(OPTIONS[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        own = net((images - mean) / std)
    torch.testing.assert_close(torch.sigmoid(logits)[:, -1], own[:, -1], rtol=0, atol=1e-5)
    torch.testing.assert_close(classifier.log_odds(images, classifier.class_names[-1]), torch.logit(own[:, -1]))
    assert len(classifier.class_names) == max(2, own.shape[1])


def test_a_sigmoid_head_that_was_asked_for_still_warns_of_probabilities():
    with pytest.warns(UserWarning, match="head='probabilities'"):
        assert make(nn.Sequential(conv_net(), nn.Sigmoid()), head="sigmoid").head == "sigmoid"
    with pytest.warns(UserWarning, match="its rows sum to 1, as after a softmax"):
        assert make(nn.Sequential(conv_net(), nn.Softmax(1)), head="softmax").head == "softmax"


@pytest.mark.parametrize(
    "net",
    [conv_net(), Then(lambda y: y.abs() / y.abs().sum(1, keepdim=True) - 0.5), Then(lambda y: torch.zeros_like(y))],
    ids=["logits", "below 0", "always 0"],
)
def test_logits_stay_logits_without_a_word(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(net).head == "softmax"


def test_rows_that_sum_to_one_for_some_images_only_are_logits():
    first = run(conv_net(), probe_images((32, 32)))[:, :1]
    middle = float(first.median())
    assert (first > middle).any()
    net = Then(lambda y: torch.where(y[:, :1] > middle, y.softmax(1), y))
    assert make(net).head == "softmax"


@pytest.mark.parametrize("net", [nn.Sequential(conv_net(1), nn.Softmax(1)), Then(lambda y: torch.ones_like(y[:, 0]))])
def test_a_softmax_over_one_class_is_refused(net):
    with pytest.raises(ClassifierError, match=r"gives 1.0 for every image, as a softmax over a single class does"):
        make(net)


def test_probabilities_that_are_none_are_refused():
    for head in ("probabilities", "independent-probabilities"):
        with pytest.raises(ClassifierError, match=rf"head='{head}' was asked for, but ConvNet gives values from -"):
            make(conv_net(), head=head)
    with pytest.raises(SettingsError, match="choose auto, softmax, sigmoid, probabilities or independent-prob"):
        make(conv_net(), head="prob")


@pytest.mark.parametrize("head", ["probabilities", "independent-probabilities"])
def test_logits_of_certain_probabilities_are_finite_with_finite_gradients(head):
    scores = torch.tensor([[0.0, 1.0, 0.0], [1e-45, 1 - 1e-7, 1e-30], [0.2, 0.3, 0.5]], requires_grad=True)
    logits = to_logits(scores, head)
    values = log_odds(logits, torch.tensor([0, 1, 2]), head=head)
    (gradient,) = torch.autograd.grad(values.sum(), scores)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(probabilities(logits, head), scores.detach(), rtol=1e-5, atol=1e-6)


def test_the_rest_of_the_package_knows_probabilities(tmp_path):
    classifier = make(nn.Sequential(conv_net(), nn.Softmax(1)))
    logits = classifier.logits(photographs(4))
    goal = classifier.goal(logits)
    # Of three classes or more, the most probable one may have less than a half.
    assert held(goal, torch.tensor([[0.4, 0.3, 0.2, 0.1]] * 4).log()).tolist() == (goal.target == 0).tolist()
    described = describe_classifier(classifier)
    assert described["head"] == "probabilities"
    for head in ("softmax", "sigmoid", "probabilities", "independent-probabilities"):
        assert _CHECKS["classifier.head"](head)
    assert not _CHECKS["classifier.head"]("auto")
    guided = fk.MaskGuidedClassifier(classifier, method="saliency", gate=0.0)
    torch.testing.assert_close(guided.scores(photographs(4)).sum(1), torch.ones(4))
    assert make(nn.Sequential(conv_net(), nn.Softmax(1))).fingerprint() == classifier.fingerprint()
    with pytest.warns(UserWarning, match="head='probabilities'"):
        other = make(nn.Sequential(conv_net(), nn.Softmax(1)), head="softmax")
    assert other.fingerprint() != classifier.fingerprint()


@pytest.mark.parametrize("ending", ["softmax", "sigmoid"])
def test_a_study_of_probabilities_is_that_of_the_logits(tmp_path, ending):
    data = study_cases.make_data(tmp_path / "data", 6)
    tables = []
    settings = fk.FidoSettings(steps=4, start="flat", explained="log-odds")  # which are the same
    for name in ("logits", "probabilities"):
        options = {} if ending == "softmax" else {"head": {"logits": "sigmoid"}.get(name, name)}
        colours = study_cases.Colours()
        module = Then(nn.Softmax(1) if ending == "softmax" else nn.Sigmoid(), colours)
        classifier = Classifier(
            colours if name == "logits" else module, study_cases.CLASSES, mean=0, std=1, size=study_cases.SIZE,
            device="cpu", precision="float32", micro_batch=8, **options,
        )  # fmt: skip
        assert classifier.head in ("softmax", "sigmoid", "probabilities", "independent-probabilities")
        study = fk.run_study(classifier, data, methods={"fido": ("fido", settings)}, store=tmp_path / name)
        tables.append((study.predictions(), study.metrics(), study.mask_array("fido", "joint")))
        again = fk.open_study(tmp_path / name, classifier=classifier, data=data)
        pd.testing.assert_frame_equal(again.predictions(), tables[-1][0])
        report = tmp_path / f"{name}.html"
        fk.write_report(again, report)
        assert report.stat().st_size > 1000
    (predictions, metrics, masks), (others, other_metrics, other_masks) = tables
    pd.testing.assert_frame_equal(predictions, others, rtol=1e-4, atol=1e-5)
    numbers = metrics.select_dtypes("number").columns.drop("seconds", errors="ignore")
    pd.testing.assert_frame_equal(metrics[numbers], other_metrics[numbers], rtol=0, atol=0.05)  # ranks of equal cells
    assert abs(masks - other_masks).mean() < 1e-2


# Percentages, indices and other forms


@pytest.mark.parametrize("scale", [100, 255, 2.5])
def test_scaled_probabilities_are_said(scale):
    with pytest.warns(UserWarning, match=rf"its rows sum to {scale}, as percentages do, but are read as logits"):
        assert make(Then(lambda y: scale * y.softmax(1))).head == "softmax"


@pytest.mark.parametrize("form", ["dict", "with more", "named tuple", "OrderedDict"])
def test_logits_may_lie_in_a_dict(form):
    Named = collections.namedtuple("Named", "logits features")
    net = Then(
        {
            "dict": lambda y: {"logits": y.softmax(1)},
            "with more": lambda y: {"features": y[:, :2], "logits": y.softmax(1)},
            "named tuple": lambda y: Named(y.softmax(1), y),
            "OrderedDict": lambda y: collections.OrderedDict(logits=y.softmax(1)),
        }[form]
    )
    classifier, images = make(net), photographs(3)
    assert classifier.head == "probabilities"
    torch.testing.assert_close(classifier.log_odds(images), make(conv_net()).log_odds(images), rtol=0, atol=1e-3)
    assert not fk.explain(classifier, images, "fido", steps=2, start="flat").failures


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            lambda y: (y, y[:, :2, None]),
            r"returned tuple.*self.net\(x\)\[0\]`: \[0\] is \(1, 4\); \[1\] is \(1, 2, 1",
        ),
        (lambda y: [y[0], y], r"returned list.*`return self.net\(x\)\[1\]`"),
        (lambda y: {"loss": y.sum(), "out": y}, r"returned dict.*`return self.net\(x\)\['out'\]`"),
        (lambda y: {"scores": y.detach().numpy()}, r"returned dict.*Wrap your module in one that returns them"),
        (lambda y: y.argmax(1), r"returned int64 values of shape \(1, 1\); the index of a class, as argmax"),
        (lambda y: y.argmax(1, keepdim=True).int(), "returned int32 values.*argmax"),
        (lambda y: y > 0, "returned bool values.*floating-point logits"),
        (lambda y: torch.complex(y, y), "returned complex64 values of.*these are no scores"),
    ],
    ids=["tuple", "list", "dict", "numpy", "argmax", "int32", "bool", "complex"],
)
def test_outputs_that_are_no_logits_are_refused_with_what_to_write(form, message):
    with pytest.raises(ClassifierError, match=message):
        make(Then(form))


# Company and chance


class WithoutStatistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return 5 * self.norm(self.conv(x)).relu().mean((2, 3))


@pytest.mark.parametrize(
    "net", [WithoutStatistics(), Then(lambda y: y.softmax(0)), Then(lambda y: y - y.mean(0, keepdim=True) + 0.1 * y)]
)
def test_outputs_that_depend_on_other_images_are_said(net):
    with pytest.warns(UserWarning, match="for an image depends on the other images in the batch"):
        make(net)


@pytest.mark.parametrize(
    "noise", [lambda y: nn.functional.dropout(y, 0.5), lambda y: y + torch.randn_like(y)], ids=["dropout", "noise"]
)
def test_outputs_at_random_are_said(noise):
    with pytest.warns(UserWarning, match="gives other outputs for the same image each time"):
        make(Then(noise))


def test_a_module_that_takes_one_image_at_a_time_has_no_company():
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            if len(x) != 1:
                raise ValueError("one at a time")
            return self.net(x)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = make(One(), micro_batch=1)
    assert classifier.logits(photographs(2)).shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_in_the_forward_is_named(dtype):
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv_net().to(dtype)

        def forward(self, x):
            return self.net(x.to(dtype)).float()

    classifier = make(Casting())
    with pytest.raises(ClassifierError, match=r"was run in float32\. A module that turns its input or its features"):
        classifier.logits(photographs(2))


# Embeddings


def without_head(name):
    net = conv_net()
    net.head = nn.Identity()
    if name == "dropout":
        net.head = nn.Sequential(nn.Dropout(0.2), nn.Identity())
    return net


@needs("timm")
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
@pytest.mark.parametrize("way", ["num_classes=0", "reset_classifier", "wrapped"])
def test_timms_embeddings_are_refused_without_names(name, way):
    import timm

    net = timm.create_model(name, pretrained=False, num_classes=0 if way != "reset_classifier" else 3)
    if way == "reset_classifier":
        net.reset_classifier(0)
    net = nn.Sequential(net, nn.Flatten()) if way == "wrapped" else net
    with pytest.raises(ClassifierError, match=r"gives embeddings of \d+ values.*num_classes is 0.*[Ll]inear probe"):
        Classifier(net, device="cpu")


@needs("timm")
def test_a_head_on_an_embedding_is_a_classifier():
    import timm

    body = timm.create_model("resnet18", pretrained=False, num_classes=0)
    probe = Classifier(nn.Sequential(body, nn.Linear(512, 3)), size=64, device="cpu")
    assert probe.class_names == ["0", "1", "2"]
    named = Classifier(body, [f"direction {i}" for i in range(512)], size=64, device="cpu")
    assert len(named.class_names) == 512

    class Prompted(nn.Module):
        """Similarities to one reference a class, as zero-shot models give."""

        def __init__(self):
            super().__init__()
            self.body = body
            self.register_buffer("references", nn.functional.normalize(torch.randn(6, 512), dim=1))

        def forward(self, x):
            return 100 * nn.functional.normalize(self.body(x), dim=1) @ self.references.T

    assert len(Classifier(Prompted(), size=64, device="cpu").class_names) == 6


@needs("torchvision")
@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet18", "fc"), ("vit_b_32", "heads"), ("convnext_tiny", "classifier.2"), ("squeezenet1_1", None)],
)
def test_torchvision_models_whose_head_was_taken_out(name, head):
    import torchvision

    net = torchvision.models.get_model(name, weights=None)
    if head is None:  # a classifier whose last layers are pooling and flattening
        assert len(make(net, size=64).class_names) == 1000
        return
    parent, _, last = head.rpartition(".")
    owner = net.get_submodule(parent)
    if last.isdigit():
        owner[int(last)] = nn.Identity()
    else:
        setattr(owner, last, nn.Identity())
    with pytest.raises(ClassifierError, match=rf"gives embeddings of \d+ values.*its {head} is an nn.Identity"):
        make(net, size=224)
    assert make(net, [str(i) for i in range({"fc": 512}.get(head, 768))], size=224).head == "softmax"


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (without_head("plain"), "its head is an nn.Identity"),
        (without_head("dropout"), "its head.1 is an nn.Identity"),
        (Then(lambda y: nn.functional.normalize(y, dim=1)), "every row has length 1"),
        (nn.Sequential(conv_net(64), Then(lambda y: y / y.norm(dim=1, keepdim=True), nn.Identity())), "length 1"),
    ],
)
def test_features_are_recognised(net, why):
    with pytest.raises(ClassifierError, match=rf"gives embeddings of \d+ values.*{why}.*give class_names"):
        make(net)
    width = {4: 4, 64: 64, 16: 16}[int(net(torch.rand(1, 3, 32, 32)).shape[1])]
    assert len(make(net, [f"class {i}" for i in range(width)]).class_names) == width


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(conv_net(), nn.Identity()),
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        Then(lambda y: torch.softmax(60 * y, 1)),
        nn.ModuleDict({"head": nn.Sequential(conv_net(), nn.Identity())})["head"],
    ],
    ids=["identity after a linear layer", "pooled scores", "one-hot", "a head of its own"],
)
def test_classifiers_are_not_taken_for_embeddings(net):
    assert len(make(net).class_names) in (4, 5)


def trunk(ending):
    """A network of which the head was left out in one of the ways that tutorials show."""
    norm = nn.BatchNorm2d(24)
    body = nn.Sequential(nn.Conv2d(3, 24, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return {
        "children": body,
        "neck": nn.Sequential(body, nn.Linear(24, 20), nn.BatchNorm1d(20)),
        "layer norm": nn.Sequential(body, nn.LayerNorm(24), nn.Identity()),
        "penultimate": nn.Sequential(body, nn.Linear(24, 40), nn.ReLU(), nn.Dropout(0.2)),
        "hardswish": nn.Sequential(body, nn.Linear(24, 40), nn.Hardswish()),
    }[ending]


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("children", "the last of its layers that has weights is 1, a BatchNorm2d"),
        ("neck", "the last of its layers that has weights is 2, a BatchNorm1d"),
        ("layer norm", "the last of its layers that has weights is 1, a LayerNorm"),
        ("penultimate", "it ends in a ReLU after a linear layer"),
        ("hardswish", "it ends in a Hardswish after a linear layer"),
    ],
)
def test_networks_whose_head_was_left_out_are_recognised(ending, why):
    net = trunk(ending).eval()
    with pytest.raises(ClassifierError, match=rf"gives embeddings of \d+ values.*{why}.*give class_names"):
        make(net)
    width = net(torch.rand(1, 3, 32, 32)).shape[1]
    assert len(make(net, [f"class {i}" for i in range(width)]).class_names) == width
    assert len(make(nn.Sequential(net, nn.Linear(width, 30))).class_names) == 30

    class Compared(nn.Module):
        """A head of its own, without a layer: cosine similarities."""

        def __init__(self) -> None:
            super().__init__()
            self.net, self.weight = net, nn.Parameter(torch.randn(30, width))

        def forward(self, x):
            return 10 * nn.functional.normalize(self.net(x)) @ nn.functional.normalize(self.weight).T

    assert len(make(Compared()).class_names) == 30


@needs("torchvision")
@pytest.mark.parametrize("way", ["children", "forward_features"])
def test_trunks_of_libraries_are_recognised(way):
    import torchvision

    net = torchvision.models.resnet18(weights=None)
    body = nn.Sequential(*list(net.children())[:-1], nn.Flatten())
    module = body if way == "children" else Then(lambda y: y, body)
    with pytest.raises(ClassifierError, match=r"embeddings of 512 values.*a BatchNorm2d"):
        make(module, size=64)


@needs("timm")
def test_a_model_of_several_branches_is_opened():
    import timm

    assert len(Classifier(timm.create_model("crossvit_9_240"), device="cpu").class_names) == 1000
    with pytest.raises(ClassifierError, match="num_classes is 0"):
        Classifier(timm.create_model("crossvit_9_240", num_classes=0), device="cpu")


@needs("transformers")
@pytest.mark.parametrize("way", ["AutoModel", "pooled", "num_labels=0"])
def test_transformers_backbones_are_refused(way):
    import transformers

    small = {
        "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    config = transformers.ViTConfig(**small)
    if way == "num_labels=0":
        net = transformers.ViTForImageClassification(transformers.ViTConfig(**small, num_labels=0))
    else:
        net = transformers.AutoModel.from_config(config)
    if way == "pooled":
        net = Then(lambda y: y.last_hidden_state[:, 0], net)
    with pytest.raises(ClassifierError, match=r"gives embeddings.*Put a head on it"):
        make(net)
    if way == "pooled":
        assert len(make(nn.Sequential(net, nn.Linear(24, 3))).class_names) == 3
