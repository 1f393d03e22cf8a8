"""Devices that are there or not, what they compute natively, and what ``device="auto"`` stands for."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import ClassVar

import pytest
import torch
from nets import conv_net, photographs

from fidokit.exceptions import SettingsError
from fidokit.methods.concrete import normal
from fidokit.models import device_choice, devices, opening, remembered
from fidokit.models.classifier import Classifier
from fidokit.models.session import Session, padded_size

CPU = torch.device("cpu")
SIZE = (32, 32)


def make(net=None, **options):
    return Classifier(net or conv_net(), **({"size": SIZE, "precision": "float32", "micro_batch": 4} | options))


def machine(monkeypatch, **there):
    """A machine with so many devices of each kind."""
    monkeypatch.setattr(devices, "count", lambda kind: {"cpu": 1, **there}.get(kind, 0))
    monkeypatch.setattr(device_choice, "_warned", set())


# Asked for by name


@pytest.mark.parametrize("name", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_cpu_is_always_there(name):
    assert devices.asked_for(name) == CPU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "unknown device 'gpu'; use auto, cpu, cuda"),
        ("cuda:one", "unknown device 'cuda:one'"),
        ("", "unknown device ''"),
        (None, "unknown device None"),
        (1.5, "unknown device 1.5"),
        ("meta", "cannot compute on device 'meta'"),
        ("vulkan", "cannot compute on device 'vulkan'"),
        (torch.device("meta"), "cannot compute on device 'meta'"),
        ("cuda", "torch sees no CUDA device; give device='auto'"),
        ("cuda:7", "'cuda:7' was asked for, but torch sees no CUDA device"),
        ("mps", "torch sees no MPS device"),
        ("xpu", "torch sees no XPU device"),
        (torch.device("xpu", 1), "torch sees no XPU device"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, name, message):
    machine(monkeypatch)
    with pytest.raises(SettingsError, match=message):
        make(device=name)


@pytest.mark.parametrize(
    ("name", "there", "message"),
    [("cuda:7", 2, "torch sees cuda:0 to cuda:1"), ("cuda:1", 1, "torch sees only cuda:0"), ("xpu:3", 3, "to xpu:2")],
)
def test_so_is_one_beyond_the_last(monkeypatch, name, there, message):
    machine(monkeypatch, **{name.partition(":")[0]: there})
    with pytest.raises(SettingsError, match=message):
        devices.asked_for(name)
    last = f"{name.partition(':')[0]}:{there - 1}"
    assert devices.asked_for(last) == torch.device(last)


@pytest.mark.parametrize(
    ("device", "described", "label"),
    [
        ("cpu", "cpu x", "CPU"),
        ("mps", "mps x", "MPS"),
        ("cuda", "NVIDIA H100 (9, 0)", "NVIDIA H100"),
        ("xpu", "Arc", "Arc"),
    ],
)
def test_labels_for_people(monkeypatch, device, described, label):
    monkeypatch.setattr(devices, "describe", lambda _device: described)
    assert devices.label(torch.device(device)) == label


# What is native


@pytest.mark.parametrize(
    ("capability", "names"),
    [((9, 0), ["bfloat16", "float16"]), ((8, 0), ["bfloat16", "float16"]), ((7, 5), ["float16"]), ((6, 1), [])],
)
def test_low_precisions_of_nvidias_gpus(monkeypatch, capability, names):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert devices.native(torch.device("cuda")) == names


def test_low_precisions_of_others():
    assert devices.native(torch.device("mps")) == ["float16"]
    assert devices.native(torch.device("xpu")) == ["bfloat16"]


class Cpu:
    """A CPU as torch and the environment describe it."""

    def __init__(self, monkeypatch, *, onednn=True, capability="AVX512", flags="", machine="x86_64", cap=None) -> None:
        def supported():
            if onednn is None:
                raise AttributeError("an old torch")
            return onednn

        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", supported, raising=False)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(devices.platform, "machine", lambda: machine)
        monkeypatch.setattr(devices, "_cpuinfo", lambda field: flags if field == "flags" else "a CPU")
        # torch 2.4 has none of these.
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
            monkeypatch.delenv(name, raising=False)
        if cap is not None:
            monkeypatch.setenv(*cap)
        devices._cpu_instructions_for_bfloat16.cache_clear()


@pytest.fixture
def cpu(monkeypatch):
    yield lambda **options: Cpu(monkeypatch, **options)
    devices._cpu_instructions_for_bfloat16.cache_clear()


@pytest.mark.parametrize(
    "options",
    [
        {"flags": "avx2 avx512f avx512_bf16"},
        {"flags": "avx512f amx_bf16 amx_tile"},
        {"flags": "avx512_bf16", "cap": ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")},
        {"flags": "avx512_bf16", "cap": ("ONEDNN_MAX_CPU_ISA", "all")},
        {"machine": "aarch64", "capability": "SVE256"},
        {"machine": "arm64", "capability": "DEFAULT"},
    ],
)
def test_cpus_with_instructions_for_bfloat16(cpu, options):
    cpu(**options)
    assert devices.native(CPU) == ["bfloat16"]


@pytest.mark.parametrize(
    "options",
    [
        {"flags": "avx2 fma", "capability": "AVX2", "onednn": False},
        {"flags": "avx512f avx512bw avx512_vnni"},  # oneDNN says yes to any AVX-512
        {"flags": "avx512f avx512_bf16", "onednn": False},
        {"flags": "avx512f avx512_bf16", "onednn": None},
        {"flags": "avx512f avx512_bf16", "capability": "AVX2"},
        {"flags": "avx512f amx_bf16", "capability": "DEFAULT"},
        {"flags": "avx512_bf16", "cap": ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")},
        {"flags": "avx512_bf16", "cap": ("ONEDNN_MAX_CPU_ISA", "avx2")},
        {"flags": "amx_bf16", "cap": ("DNNL_MAX_CPU_ISA", "AVX512_CORE")},
        {"machine": "aarch64", "onednn": False},
        {"machine": "arm64", "onednn": None},
    ],
)
def test_cpus_that_emulate_bfloat16(cpu, options):
    cpu(**options)
    assert devices.native(CPU) == []


def test_torchs_own_word_is_enough_where_linuxs_is_missing(cpu, monkeypatch):
    cpu(flags="")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert devices.native(CPU) == ["bfloat16"]


def test_without_onednn_nothing_is_native(cpu, monkeypatch):
    cpu(flags="avx512_bf16")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert devices.native(CPU) == []


@pytest.mark.parametrize(
    "cap", [{"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"ATEN_CPU_CAPABILITY": "avx2"}, {"ATEN_CPU_CAPABILITY": "default"}]
)
def test_the_environment_caps_this_machine(cap):
    code = "import torch; from fidokit.models import devices; print(devices.native(torch.device('cpu')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | cap, check=True
    )
    assert done.stdout.strip() == "[]"


# Auto


@pytest.fixture
def fake(monkeypatch):
    """A machine with accelerators whose (logits, gradient) are the CPU's, after `spoil`."""

    def prepare(*kinds, spoil=None, method=None):
        machine(monkeypatch, **dict.fromkeys(kinds, 1))
        real, asked = opening.passed_on, []

        def passed_on(classifier, device):
            asked.append(device.type)
            logits, gradient = real(classifier, CPU)
            return (logits, gradient) if device == CPU or spoil is None else spoil(device.type, logits, gradient)

        monkeypatch.setattr(device_choice, "passed_on", passed_on)
        monkeypatch.setattr(device_choice, "_operations_differ_on", method or (lambda _device: None))
        monkeypatch.setattr(devices, "describe", lambda device: f"a {device.type}")
        return asked

    return prepare


def test_without_an_accelerator_it_is_the_cpu(fake):
    asked = fake()
    classifier = make(device="auto")
    assert (classifier.device, classifier.device_reason) == (CPU, "torch sees no CUDA, MPS or XPU device")
    assert "device=cpu," in repr(classifier)
    assert asked == []


@pytest.mark.parametrize(
    ("kinds", "taken"), [(["cuda"], "cuda"), (["mps"], "mps"), (["xpu"], "xpu"), (["xpu", "cuda"], "cuda")]
)
def test_an_accelerator_that_agrees_is_taken(fake, kinds, taken):
    fake(*kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = Classifier(conv_net(), size=SIZE)
    assert classifier.device == torch.device(taken)
    assert classifier.device_reason == f"{taken.upper()} agrees with the CPU on a probe"
    assert f"device={taken}," in repr(classifier)
    assert classifier.counter.evaluations == 0
    assert classifier.memory_format is None


def wrong_logits(_kind, logits, gradient):
    return -logits, gradient


def wrong_gradient(_kind, logits, gradient):
    return logits, -gradient


def nan(_kind, logits, gradient):
    return logits / 0, gradient


def broken(_kind, _logits, _gradient):
    raise NotImplementedError("aten::whatever is not implemented for it\nand more")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (wrong_logits, "its logits differ by"),
        (wrong_gradient, "its input gradients agree only to a cosine of -1.00"),
        (nan, "it gives non-finite values"),
        (broken, "it fails: aten::whatever is not implemented for it"),
    ],
)
def test_one_that_does_not_agree_is_passed_over_aloud_once(fake, spoil, why):
    fake("mps", spoil=spoil)
    with pytest.warns(RuntimeWarning, match=f"MPS is there, but {why}.*The CPU is used.*ask for it by name"):
        classifier = make(device="auto")
    assert classifier.device == CPU
    assert f"device=cpu (MPS is there, but {why}" in repr(classifier)
    assert f"MPS is there, but {why}" in classifier._repr_html_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(classifier.module, device="auto").device == CPU
    torch.testing.assert_close(
        classifier.logits(photographs(2)), make(classifier.module, device="cpu").logits(photographs(2))
    )


def test_a_module_that_the_cpu_cannot_run_goes_where_it_runs(fake, monkeypatch):
    fake("cuda")
    real = device_choice.passed_on

    def only_there(classifier, device):
        if device == CPU:
            raise RuntimeError("Expected all tensors to be on the same device")
        return real(classifier, device)

    monkeypatch.setattr(device_choice, "passed_on", only_there)
    classifier = make(device="auto")
    assert classifier.device == torch.device("cuda")
    assert "could not be compared with the CPU, where the module does not run: Expected" in classifier.device_reason


def test_the_next_one_is_asked_then(fake):
    fake("cuda", "xpu", spoil=lambda kind, *result: broken(kind, *result) if kind == "cuda" else result)
    classifier = make(device="auto")
    assert classifier.device == torch.device("xpu")
    assert classifier.device_reason.startswith("CUDA is there, but it fails")
    assert classifier.device_reason.endswith("XPU agrees with the CPU on a probe")


def test_the_methods_own_operations_must_be_right_too(fake):
    fake("mps", method=lambda _device: "operations that masks are made with differ by 0.5")
    with pytest.warns(RuntimeWarning, match="operations that masks are made with differ by 0.5"):
        assert make(device="auto").device == CPU
    fake("cuda", method=lambda _device: "never asked there")
    assert make(conv_net().double().float(), device="auto").device == torch.device("cuda")


def test_operations_give_the_same_on_the_same_device():
    assert device_choice._operations_differ_on(CPU) is None


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_any_operation_that_is_off_is_found(monkeypatch, place):
    right = device_choice._operations(CPU)
    wrong = [tensor * (1.1 if i == place else 1.0) for i, tensor in enumerate(right)]
    monkeypatch.setattr(device_choice, "_operations", lambda device: right if device == CPU else wrong)
    device_choice._operations_differ_on.cache_clear()
    assert "differ by 0.1 of their size" in device_choice._operations_differ_on(torch.device("meta"))
    device_choice._operations_differ_on.cache_clear()


def test_the_answer_is_remembered(fake):
    net = conv_net()
    asked = fake("mps")
    make(net, device="auto")
    assert set(asked) == {"mps", "cpu"}
    asked = fake("mps", spoil=broken)
    assert make(net, device="auto").device == torch.device("mps")
    assert asked == []


def test_a_failure_is_not(fake, own_cache):
    net = conv_net()
    fake("mps", spoil=broken)
    with pytest.warns(RuntimeWarning, match="it fails"):
        make(net, device="auto")
    fake("mps")
    assert make(net, device="auto").device == torch.device("mps")
    assert remembered.folder() == own_cache / "opening"


def test_a_device_that_torch_cannot_use_after_all(monkeypatch):
    """Here nothing is faked but that there is one."""
    if torch.xpu.is_available():
        pytest.skip("there is an XPU")
    machine(monkeypatch, xpu=1)
    with pytest.warns(RuntimeWarning, match="XPU is there, but it fails: "):
        assert make(device="auto").device == CPU


def test_a_device_that_is_asked_for_is_not_probed(fake):
    asked = fake("cuda", "mps", spoil=wrong_logits)
    assert make(device="cpu").device_reason == "asked for"
    assert devices.asked_for("mps") == torch.device("mps")
    assert asked == []


def test_normal_noise_is_the_same_everywhere():
    u = torch.tensor([0.025, 0.5, 0.975])
    torch.testing.assert_close(normal(u), torch.tensor([-1.96, 0.0, 1.96]), rtol=0, atol=1e-3)


# Batches of few sizes


@pytest.mark.parametrize(
    ("least", "most", "sizes"),
    [
        (16, 64, {1: 16, 16: 16, 17: 32, 33: 64, 64: 64}),
        (64, 256, {1: 64, 64: 64, 65: 128, 200: 256}),
        (16, 50, {3: 16, 40: 50, 50: 50}),
        (64, 8, {1: 8, 8: 8}),
        (1, 8, {1: 1, 3: 4, 5: 8}),
        (16, 8, {12: 12}),  # more than a micro-batch goes through as it is
    ],
)
def test_sizes_that_batches_are_padded_to(least, most, sizes):
    assert {n: padded_size(n, most, least) for n in sizes} == sizes


class Sizes(torch.nn.Module):
    """Notes the sizes of all batches that any copy of it gets."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.net = conv_net()

    def forward(self, x):
        Sizes.seen.append(len(x))
        return self.net(x)


@pytest.fixture
def padding(monkeypatch):
    """Sessions on the CPU pad as they do on CUDA."""
    begin = Session.__init__

    def padded(self, module, classifier, precision):
        begin(self, module, classifier, precision)
        self.least_batch = 4

    monkeypatch.setattr(Session, "__init__", padded)


@pytest.mark.parametrize("method", ["fido", "grad-cam", "integrated-gradients", "smoothgrad", "occlusion", "rise"])
def test_masks_and_counts_are_the_same_in_padded_batches(padding, method):
    from fidokit.methods import explain

    settings = {"fido": {"steps": 3}, "rise": {"samples": 50}, "extremal-perturbation": {"steps": 3}}.get(method, {})
    net, images = Sizes().eval(), photographs(3)
    padded = make(net, micro_batch=16, device="cpu")
    Sizes.seen.clear()
    masks = explain(padded, images, method, **settings)
    # What tells classifiers apart is asked of a single image, where the module lies.
    assert set(Sizes.seen) <= {1, 4, 8, 16}
    plain = make(net.net, micro_batch=16, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "padded", lambda _self, n: n)
        expected = explain(plain, images, method, **settings)
    for kind, values in expected.kinds.items():
        torch.testing.assert_close(masks[kind], values, rtol=0, atol=2e-3)
    assert masks.evaluations.tolist() == expected.evaluations.tolist()


def test_only_cuda_pads():
    with make(device="cpu").session() as session:
        assert session.least_batch is None
        assert [session.padded(n) for n in (0, 1, 3)] == [0, 1, 3]


def test_a_padded_batch_gives_back_what_was_asked(padding):
    net = Sizes().eval()
    classifier = make(net, micro_batch=16, device="cpu")
    with classifier.session() as session:
        Sizes.seen.clear()
        before = classifier.counter.evaluations
        images = session.normalise(photographs(5)).requires_grad_(True)
        logits = session.evaluate(images)
        assert Sizes.seen == [8]
        assert logits.shape == (5, 4)
        assert classifier.counter.evaluations - before == 5
        (gradient,) = torch.autograd.grad(logits.amax(1).sum(), images)
        expected = session.forward(images)
        (alone,) = torch.autograd.grad(expected.amax(1).sum(), images)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(gradient, alone)
        assert session.logits(photographs(0)).shape == (0, 4)
