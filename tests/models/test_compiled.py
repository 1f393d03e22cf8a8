"""TorchScript, compiled and exported modules, and modules that let no gradient through: what they can, or a word."""

import warnings

import pytest
import torch
from nets import ConvNet, conv_net, photographs
from torch import nn

import fidokit as fk
from fidokit.exceptions import MethodNotApplicable, SettingsError
from fidokit.models.classifier import Classifier

pytestmark = [
    pytest.mark.usefixtures("quick"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]

IMAGES = photographs(2)
QUICK = {
    "fido": {"steps": 3, "samples": 2},
    "rise": {"samples": 12},
    "extremal-perturbation": {"steps": 2},
    "integrated-gradients": {"n_steps": 3},
    "smoothgrad": {"samples": 2},
    "occlusion": {"window": 0.5, "stride": 0.5},
}
CAMS = ("grad-cam", "hires-cam", "layer-cam", "guided-grad-cam")
METHODS = [*QUICK, "saliency", *CAMS]


def opened(module, **options):
    options = {"device": "cpu", "precision": "float32", "micro_batch": 4} | options
    return Classifier(module, size=(32, 32), **options)


def explained(module, method, **options):
    return fk.explain(opened(module), IMAGES, method, **QUICK.get(method, {}), **options)


def exported():
    batch = torch.export.Dim("batch", min=1, max=64)
    return torch.export.export(conv_net(), (IMAGES,), dynamic_shapes=({0: batch},)).module()


def partly_scripted():
    net = conv_net()
    net.features = torch.jit.script(net.features)
    return net


SEALED = {
    "scripted": lambda: torch.jit.script(conv_net()),
    "traced": lambda: torch.jit.trace(conv_net(), IMAGES),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(conv_net())),
    "exported": exported,
    "partly scripted": partly_scripted,
    "within a module": lambda: nn.Sequential(torch.jit.script(conv_net()), nn.Identity()),
}


@pytest.mark.parametrize("kind", SEALED)
def test_a_program_without_layers_is_explained_by_all_that_need_none(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = SEALED[kind]()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for method in METHODS:
        if method in CAMS:
            with pytest.raises(MethodNotApplicable, match=r"TorchScript|exported or traced program|nn\.ReLU modules"):
                explained(module, method)
            continue
        found = explained(module, method)
        if method == "fido":
            assert all(note.startswith("flat start: no layer of") for note in found.notes.values())
            assert found.notes.keys() == {"0", "1"}
        expected = explained(conv_net(), method, **({"start": "flat"} if method == "fido" else {}))
        for name, mask in expected.kinds.items():
            # Rounding may turn the sign of a gradient near zero, and with it one of Adam's first steps.
            assert (found.kinds[name] - mask).abs().mean() < 1e-3, method
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def compiled_in_place():
    net = conv_net()
    net.compile(backend="eager")
    return net


def compiled_forward():
    net = conv_net()
    net.forward = torch.compile(net.forward, backend="eager")
    return net


def compiled_part():
    net = conv_net()
    net.features = torch.compile(net.features, backend="eager")
    return net


def compiled_and_shared():
    net = conv_net()
    net.features[2] = net.features[5] = torch.compile(nn.ReLU(inplace=True), backend="eager")
    return net


COMPILED = {
    "compiled": lambda: torch.compile(conv_net(), backend="eager"),
    "in place": compiled_in_place,
    "its forward": compiled_forward,
    "a part": compiled_part,
    "a shared part": compiled_and_shared,
}


@pytest.mark.parametrize("kind", COMPILED)
def test_a_compiled_module_is_read_as_it_is_written(kind, caplog):
    module = COMPILED[kind]()
    for method in METHODS:
        found = explained(module, method)
        assert found.notes == {}
        expected = explained(conv_net(), method)
        assert all(torch.equal(found.kinds[name], mask) for name, mask in expected.kinds.items()), method
    assert "recompile_limit" not in caplog.text
    # The user's own is still compiled.
    compiled = [m for m in module.modules() if hasattr(m, "_orig_mod") or m._compiled_call_impl is not None]
    assert compiled or hasattr(module.forward, "_torchdynamo_orig_callable")


def test_layers_of_a_compiled_module_are_named_either_way():
    expected = fk.explain(opened(conv_net(), layer="features.2"), IMAGES, "grad-cam").attribution
    for layer in ("features.2", "_orig_mod.features.2"):
        clf = opened(torch.compile(conv_net(), backend="eager"), layer=layer)
        assert torch.equal(fk.explain(clf, IMAGES, "grad-cam").attribution, expected)
        clf = opened(torch.compile(conv_net(), backend="eager"))
        assert torch.equal(fk.explain(clf, IMAGES, "grad-cam", layer=layer).attribution, expected)
        assert (
            fk.explain(opened(torch.compile(conv_net(), backend="eager"), layer=layer), IMAGES, "fido", steps=2).notes
            == {}
        )
    with pytest.raises(SettingsError, match=r"no layer 'features\.9'"):
        opened(torch.compile(conv_net(), backend="eager"), layer="features.9")


# Without gradient.


class Detached(ConvNet):
    def forward(self, x):
        return super().forward(x).detach()


class Data(ConvNet):
    def forward(self, x):
        return super().forward(x.data)


class NoGrad(ConvNet):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class Inference(ConvNet):
    @torch.inference_mode()
    def forward(self, x):
        return super().forward(x)


class Numpy(ConvNet):
    def forward(self, x):
        return torch.from_numpy(super().forward(torch.from_numpy(x.numpy())).detach().numpy())


class ItsOwn(ConvNet):
    """Its logits have a gradient, which does not come from the image."""

    def forward(self, x):
        return super().forward(x.detach()) + torch.zeros((), requires_grad=True)


def of_kind(kind):
    net = kind()
    net.load_state_dict(conv_net().state_dict())
    return net.eval()


@pytest.mark.parametrize("kind", [Detached, Data, NoGrad, Inference, Numpy, ItsOwn])
@pytest.mark.parametrize("method", METHODS)
def test_a_module_without_gradient_is_explained_by_occlusion_and_rise(kind, method):
    if method in ("occlusion", "rise"):
        found, expected = explained(of_kind(kind), method), explained(conv_net(), method)
        torch.testing.assert_close(found.attribution, expected.attribution, rtol=1e-3, atol=1e-4)
        assert torch.equal(found.score_full, expected.score_full)
    else:
        with pytest.raises(MethodNotApplicable, match=r"have no gradient.*use occlusion"):
            explained(of_kind(kind), method)


@pytest.mark.parametrize("kind", [Detached, Inference, Numpy])
def test_precision_and_micro_batch_are_found_without_gradient(kind):
    clf = opened(of_kind(kind), precision="auto", micro_batch=None)
    assert clf.logits(IMAGES).shape == (2, 4)
    assert clf.micro_batch >= 1


def test_an_error_of_the_module_is_its_own():
    class Broken(ConvNet):
        def forward(self, x):
            if len(x) > 1:
                raise ArithmeticError("two are too many")
            return super().forward(x)

    with pytest.raises(fk.FidokitError, match="two are too many"):
        explained(of_kind(Broken), "saliency")
