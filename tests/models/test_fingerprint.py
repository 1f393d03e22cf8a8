"""What a fingerprint tells apart, and what it must not: rounding, hooks, places of memory."""

from __future__ import annotations

import json

import pytest
import torch
from nets import conv_net
from study_cases import make_classifier, make_data, register_counting
from torch import nn

import fidokit as fk
from fidokit.exceptions import ClassifierError, StoreError
from fidokit.models.classifier import Classifier
from fidokit.models.fingerprint import N_PROJECTIONS, fingerprint_parts, fixed_image, parts_difference, same_probe


def make(module, **options) -> Classifier:
    return Classifier(
        module, **({"size": (32, 32), "device": "cpu", "precision": "float32", "micro_batch": 4} | options)
    )


class Changed(nn.Module):
    """The same weights, answered with in another way; nothing of it shows in `repr` or in the state."""

    def __init__(self, net, temperature=1.0, activation=torch.relu, noise=0.0):
        super().__init__()
        self.net, self.temperature, self.activation, self.noise = net, temperature, activation, noise

    def forward(self, x):
        x = self.net.features[:5](x)
        logits = self.net.head(self.activation(x).mean(dim=(2, 3))) / self.temperature
        return logits + self.noise * torch.randn(logits.shape)


class Negated(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return -self.net(x)


class Same(Negated):
    def forward(self, x):
        return self.net(x)


def tanh_net():
    net = conv_net()
    net.features[5] = nn.Tanh()
    return net


def scaled_by_a_hook(net):
    net.register_forward_hook(lambda _module, _args, output: 2 * output)
    return net


CHANGES = {
    "activation module": (conv_net, tanh_net),
    "option of a module": (conv_net, lambda: _with_slope(conv_net())),
    "functional activation": (lambda: Changed(conv_net()), lambda: Changed(conv_net(), activation=torch.tanh)),
    "negated logits": (lambda: Same(conv_net()), lambda: Negated(conv_net())),
    "temperature": (lambda: Changed(conv_net()), lambda: Changed(conv_net(), temperature=2.0)),
    "slight temperature": (lambda: Changed(conv_net()), lambda: Changed(conv_net(), temperature=1.1)),
    "hook on the logits": (conv_net, lambda: scaled_by_a_hook(conv_net())),
}


def _with_slope(net):
    net.features[2] = nn.LeakyReLU(0.0, inplace=True)
    return net


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_answers_changes_the_fingerprint(change):
    before, after = (build() for build in CHANGES[change])
    one, other = make(before), make(after)
    assert one.fingerprint() == make(CHANGES[change][0]()).fingerprint()
    assert one.fingerprint() != other.fingerprint()
    assert fingerprint_parts(one)["weights"] == fingerprint_parts(other)["weights"]
    assert parts_difference(fingerprint_parts(one), fingerprint_parts(one)) is None
    assert parts_difference(fingerprint_parts(one), fingerprint_parts(other))


def test_a_module_that_changes_between_calls_has_another_fingerprint():
    module = Changed(conv_net())
    classifier = make(module)
    before = classifier.fingerprint()
    module.temperature = 3.0
    warm = classifier.fingerprint()
    module.net.head.weight.data[0, 0] += 1e-6
    assert len({before, warm, classifier.fingerprint()}) == 3


def test_places_of_memory_are_no_part_of_it():
    class Holds(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.thing = conv_net(), object()

        def extra_repr(self):
            return f"thing={self.thing!r}"

        def forward(self, x):
            return self.net(x)

    kept = [make(Holds()) for _ in range(3)]
    assert len({repr(classifier.module) for classifier in kept}) == 3
    assert len({classifier.fingerprint() for classifier in kept}) == 1


def test_a_device_in_the_repr_is_no_part_of_it():
    class OnDevice(nn.Module):
        def __init__(self, place):
            super().__init__()
            self.net, self.place = conv_net(), place

        def extra_repr(self):  # as nn.ParameterList has it
            return f"(0): Parameter containing: [torch.float32 of size 4{self.place}]"

        def forward(self, x):
            return self.net(x)

    assert len({make(OnDevice(place)).fingerprint() for place in ("", " (cuda:0)", " (cuda:1)")}) == 1


def test_logits_at_random_are_no_part_of_it():
    def noisy():
        return make(Changed(conv_net(), noise=1.0))

    assert fingerprint_parts(noisy())["probe"] is None
    assert noisy().fingerprint() == noisy().fingerprint() != make(Changed(conv_net())).fingerprint()
    assert "logits" in parts_difference(fingerprint_parts(noisy()), fingerprint_parts(make(Changed(conv_net()))))


def test_the_random_stream_and_the_module_stay_as_they_were():
    module = conv_net().train()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    classifier = make(module)
    torch.manual_seed(3)
    classifier.fingerprint()
    assert torch.equal(torch.rand(2), expected)
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_nothing_is_tuned_and_no_session_opened(monkeypatch):
    classifier = Classifier(conv_net(), size=(32, 32), device="cpu")
    monkeypatch.setattr(Classifier, "session", lambda *_args, **_options: pytest.fail("a session was opened"))
    classifier.fingerprint()
    assert (classifier.precision, classifier.micro_batch, classifier.counter.evaluations) == ("auto", None, 0)


def test_non_finite_logits_have_a_fingerprint():
    class Broken(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean(dim=(1, 2, 3)), torch.full((len(x),), torch.nan)], 1)

    parts = fingerprint_parts(make(Broken()))
    assert parts["probe"] == [None] * N_PROJECTIONS
    assert json.loads(json.dumps(parts)) == parts
    assert parts_difference(parts, fingerprint_parts(make(Broken()))) is None
    assert make(Broken()).fingerprint() == make(Broken()).fingerprint()


def test_a_module_that_cannot_be_run_any_more_says_so():
    module = conv_net()
    classifier = make(module)
    module.head = nn.Linear(7, 4)
    with pytest.raises(ClassifierError, match=r"cannot be run on a \(1, 3, 32, 32\) image, so it has no fingerprint"):
        classifier.fingerprint()


def test_rounding_is_no_difference():
    probe = fingerprint_parts(make(conv_net()))["probe"]
    most = max(map(abs, probe))
    assert same_probe(probe, [number + 0.01 * most for number in probe])
    assert not same_probe(probe, [number + 0.05 * most for number in probe])
    assert not same_probe(probe, [-number for number in probe])
    assert not same_probe(probe, [*probe[:-1], None])
    assert not same_probe(probe, probe[:-1])
    assert same_probe([0.0, 0.0], [0.0, 0.0])


def test_the_fixed_image_shows_every_scale_and_colour():
    image = fixed_image((33, 48))
    assert image.shape == (1, 3, 33, 48)
    assert 0 <= float(image.min()) < 0.2 < 0.8 < float(image.max()) <= 1
    assert (image[0, 0] - image[0, 1]).abs().mean() > 0.1 < (image[0, 1] - image[0, 2]).abs().mean()
    assert image.diff(dim=-1).abs().amax() > 0.1


# In stores


class Warm(nn.Module):
    def __init__(self, net, temperature):
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, x):
        return self.net(x) / self.temperature


def warm(temperature):
    inner = make_classifier()
    return Classifier(
        Warm(inner.module, temperature), inner.class_names, mean=(0, 0, 0), std=(1, 1, 1), size=inner.size,
        device="cpu", precision="float32", micro_batch=8,
    )  # fmt: skip


@pytest.fixture
def begun(tmp_path):
    register_counting("counting")
    data = make_data(tmp_path / "data", 3)
    fk.run_study(warm(1.0), data, "counting", store=tmp_path / "s", progress=False)
    return data, tmp_path / "s"


def change_manifest(store, change):
    manifest = json.loads((store / "study.json").read_text())
    change(manifest["classifier"])
    (store / "study.json").write_text(json.dumps(manifest))


def test_a_study_is_not_resumed_at_another_temperature(begun):
    data, store = begun
    assert len(fk.open_study(store, classifier=warm(1.0), data=data)) == 3
    with pytest.raises(StoreError, match=r"weights are the same, but not the logits of a fixed image"):
        fk.open_study(store, classifier=warm(2.0), data=data)


def test_a_study_from_another_machine_is_not_refused_for_rounding(begun):
    data, store = begun

    def rounded_otherwise(classifier):
        parts = classifier["fingerprint_parts"]
        parts["probe"] = [number * 1.005 for number in parts["probe"]]
        classifier["fingerprint"] = "f" * 64

    change_manifest(store, rounded_otherwise)
    assert fk.open_study(store, classifier=warm(1.0), data=data).classifier is not None


def test_a_store_from_before_there_was_a_probe_is_resumed(begun):
    data, store = begun

    def as_before(classifier):
        classifier["fingerprint"] = classifier.pop("fingerprint_parts")["weights"]

    change_manifest(store, as_before)
    register_counting("another")
    study = fk.run_study(warm(1.0), data, ["counting", "another"], store=store, progress=False)
    assert study.status()["finished"].tolist() == [3, 3]
    other = warm(1.0)
    other.module.net.gain.data += 1
    with pytest.raises(StoreError, match="the weights differ"):
        fk.open_study(store, classifier=other, data=data)


@pytest.mark.parametrize("parts", ["x", {}, {"weights": "a", "structure": "b", "probe": "c"}, {"weights": 1}])
def test_parts_that_are_none_are_damage(begun, parts):
    change_manifest(begun[1], lambda classifier: classifier.update(fingerprint_parts=parts))
    with pytest.raises(StoreError, match=r"damaged: classifier\.fingerprint_parts"):
        fk.open_study(begun[1])


class Given(nn.Module):
    def forward(self, x):
        return 10 * x[:, 0, 0, :3]


def test_the_form_that_old_stores_hold_stays_as_it_was():
    parts = fingerprint_parts(make(Given(), mean=(0, 0, 0), std=(1, 1, 1)))
    assert parts["weights"] == "9a2b501df90cd3b93f4f746edfc069ea60b584bcfe7b968f139368d22702f99c"
