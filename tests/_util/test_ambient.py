"""What a program has set for its own torch code changes no mask, and is as it was afterwards."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from nets import conv_net, photographs, vision_transformer
from torch import nn

import fidokit as fk
from fidokit._util.ambient import unaffected
from fidokit.models.classifier import Classifier

QUICK = {
    "fido": {"steps": 3, "samples": 2},
    "rise": {"samples": 12},
    "extremal-perturbation": {"steps": 2},
    "integrated-gradients": {"n_steps": 3},
    "smoothgrad": {"samples": 2},
    "occlusion": {"window": 0.5, "stride": 0.5},
    "expected-gradients": {"samples": 2},
    "kernel-shap": {"regions": 4, "samples": 10},
    "lima": {"regions": 4},
    "smdl": {"regions": 4},
    "igos++": {"iterations": 1, "steps": 2},
}
METHODS = sorted(fk.list_methods())


@contextmanager
def default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def several():
    with default_dtype(), deterministic(), torch.inference_mode(), torch.autocast("cpu", torch.float16):
        yield


STATES = {
    "default dtype": default_dtype,
    "default device": default_device,
    "a device's context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "deterministic": deterministic,
    "anomaly": torch.autograd.detect_anomaly,
    "several": several,
}
IMAGES, NET, TRANSFORMER = photographs(2), conv_net(), vision_transformer()


def net_for(method):
    return TRANSFORMER if method in ("legrad", "attention-rollout") else NET


def everything(method, images=IMAGES, module=None):
    """All that is computed of two images, from opening the classifier on."""
    clf = Classifier(module or net_for(method), size=(32, 32), device="cpu", precision="float32", micro_batch=4)
    masks = fk.explain(clf, images, method, **QUICK.get(method, {}))
    results = {**masks.kinds, **{f"kept {kind}": values for kind, values in masks.score_kept.items()}}
    results |= {"logits": clf.logits(images), "log-odds": clf.log_odds(images), "full": masks.score_full}
    if masks.raw is not None:
        results["raw"] = masks.raw
    return results, clf.fingerprint(), masks.target


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("method", METHODS)
def test_masks_are_as_without(method, state):
    expected, fingerprint, targets = everything(method)
    images = IMAGES.clone()
    with STATES[state]():
        found, *rest = everything(method, images)
    assert rest == [fingerprint, targets]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name
        assert found[name].dtype == values.dtype
        assert not found[name].is_inference() or state in ("inference_mode", "several")
    assert all(torch.isfinite(values).all() for values in expected.values())


@pytest.mark.parametrize("method", METHODS)
def test_torchs_random_numbers_go_on_as_if_nothing_had_been(method):
    clf = Classifier(net_for(method), size=(32, 32), device="cpu", precision="float32")
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one = fk.explain(clf, IMAGES, method, **QUICK.get(method, {}))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpys  # noqa: NPY002
    torch.manual_seed(8)
    other = fk.explain(clf, IMAGES, method, **QUICK.get(method, {}))
    assert all(torch.equal(mask, other.kinds[kind]) for kind, mask in one.kinds.items())


def test_a_module_in_double_precision_where_that_is_the_default():
    expected, *_ = everything("fido")
    images, module = IMAGES.double(), conv_net().double()
    with default_dtype():
        found, *_ = everything("fido", images, module)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-4)


def test_images_targets_and_modules_that_were_made_in_inference_mode():
    expected, *_ = everything("fido")
    with torch.inference_mode():
        images, module, targets = IMAGES.clone(), conv_net(), torch.tensor([1, 2])
    assert images.is_inference()
    assert module.head.weight.is_inference()
    found, *_ = everything("fido", images, module)
    assert all(torch.equal(found[name], values) for name, values in expected.items())
    assert module.head.weight.is_inference()
    assert module.head.weight.requires_grad
    clf = Classifier(conv_net(), size=(32, 32), device="cpu", precision="float32")
    for method in ("saliency", "fido", "grad-cam"):
        named = fk.explain(clf, images, method, targets=targets, against=torch.tensor([0, 0]), **QUICK.get(method, {}))
        assert named.target == ["1", "2"]


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("state", STATES)
def test_all_is_as_it_was_afterwards_also_after_an_error(state):
    def now():
        return (
            torch.get_default_dtype(),
            torch.empty(0).device,
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_anomaly_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    plain = now()
    with STATES[state]():
        before = now()
        assert before != plain
        with unaffected():
            # Who asked for deterministic algorithms gets them, as far as there are any.
            assert now()[:7] == (*plain[:5], now()[5], plain[6])
        assert now() == before
        with pytest.raises(ZeroDivisionError), unaffected():
            raise ZeroDivisionError
        assert now() == before
        with unaffected(gradients=False):
            assert torch.is_grad_enabled() == before[2]
            assert not torch.is_inference_mode_enabled()
        assert now() == before
    assert now() == plain


def test_a_session_records_gradients_only_where_its_user_does():
    clf = Classifier(conv_net(), size=(32, 32), device="cpu", precision="float32")
    with clf.session() as session:
        x = session.normalise(IMAGES).requires_grad_(True)
        assert session.forward(x).requires_grad
        with torch.no_grad():
            assert not session.forward(x).requires_grad
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(session.forward(x), session.forward(x.detach()))


def test_a_study_is_as_without(tmp_path):
    from study_cases import comparable, make_classifier, make_data, run

    data = make_data(tmp_path / "data", 4)
    methods = {"fido": ("fido", {"steps": 2, "samples": 2}), "saliency": "saliency"}
    expected = run(make_classifier(), data, tmp_path / "one", methods)
    with several():
        found = run(make_classifier(), data, tmp_path / "other", methods)
        measured = found.metrics(progress=False)
        array = found.mask_array("fido", "ssr", (16, 16))
    assert comparable(found.masks()).equals(comparable(expected.masks()))
    np.testing.assert_array_equal(
        measured.select_dtypes("number"), expected.metrics(progress=False).select_dtypes("number")
    )
    np.testing.assert_array_equal(array, expected.mask_array("fido", "ssr", (16, 16)))


def test_an_operation_without_a_deterministic_form_does_not_end_the_run():
    class Refuses(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = conv_net()

        def forward(self, x):
            # What an operation without a deterministic form does.
            torch._C._get_deterministic_algorithms()
            if (
                torch.are_deterministic_algorithms_enabled()
                and not torch.is_deterministic_algorithms_warn_only_enabled()
            ):
                raise RuntimeError("this has no deterministic implementation")
            return self.net(x)

    with deterministic():
        masks = fk.explain(Classifier(Refuses(), size=(32, 32), device="cpu", precision="float32"), IMAGES, "saliency")
    assert torch.isfinite(masks.attribution).all()
