"""What happens before the first mask: within a budget, and only once."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from typing import ClassVar

import pytest
import torch
from nets import ConvNet, photographs
from torch import nn

from fidokit.methods import explain
from fidokit.models import devices, frozen, opening, remembered, tuning
from fidokit.models.classifier import Classifier, with_precision
from fidokit.models.session import Session

SIZE = (32, 32)


class Watched(ConvNet):
    """Notes every batch that any copy gets: dtype and size."""

    batches: ClassVar[list[tuple[torch.dtype, int]]] = []

    def forward(self, x):
        Watched.batches.append((x.dtype, len(x)))
        return super().forward(x)


def spent(dtype=None):
    """Images that went through since the last look, of one dtype or all."""
    images = sum(n for own, n in Watched.batches if dtype in (None, own))
    Watched.batches.clear()
    return images


def net(seed=0, kind=Watched):
    torch.manual_seed(seed)
    return kind().eval()


def make(module=None, **options):
    return Classifier(module or net(), **({"size": SIZE, "device": "cpu"} | options))


@pytest.fixture
def priced(monkeypatch):
    """A machine on which an evaluation takes so many seconds in each precision, and which computes bfloat16 or not.

    `planning` is what the first pass of each size and precision takes in addition.
    """

    def prepare(*, native=True, planning=0.0, **seconds):
        prices = {"float32": 1.0, "bfloat16": 0.4, "bfloat16_autocast": 0.5} | seconds
        current, forward, planned = [], Session.forward, set()

        def noted(session, normalised):
            current[:] = [session.precision.name.replace("-", "_"), len(normalised)]
            return forward(session, normalised)

        def timed(call, _device):
            result = call()
            first = tuple(current) not in planned
            planned.add(tuple(current))
            return prices[current[0]] * current[1] + planning * first, result

        monkeypatch.setattr(Session, "forward", noted)
        monkeypatch.setattr(tuning, "timed", timed)
        monkeypatch.setattr(devices, "native", lambda _device: ["bfloat16"] if native else [])

    Watched.batches.clear()
    return prepare


# Within a budget


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("method", ["fido", "grad-cam", "integrated-gradients"])
def test_all_that_comes_before_the_first_mask_costs_less_than_60_evaluations(priced, native, method):
    priced(native=native)
    classifier = make()
    explain(classifier, photographs(1), method)
    low, first = sum(n for dtype, n in Watched.batches if dtype != torch.float32), spent()
    explain(classifier, photographs(1), method)
    second = spent()
    assert first - second <= 80 + 0.6 * low
    assert classifier.precision == ("bfloat16" if native else "float32")
    assert classifier.micro_batch >= 8


@pytest.mark.parametrize("exact", [False, True])
def test_opening_keeps_to_its_budget(priced, exact):
    priced(native=False)
    classifier = make()
    spent()
    with classifier.session(exact=exact):
        assert 8 <= spent() <= tuning.EVALUATIONS + 6


def test_what_the_cpu_only_emulates_is_not_tried(priced):
    priced(native=False)
    classifier = make()
    classifier.logits(photographs(1))
    assert {dtype for dtype, _ in Watched.batches} == {torch.float32}
    assert (classifier.precision, classifier.precision_reason) == (
        "float32",
        "no lower precision is native to this CPU",
    )


@pytest.mark.parametrize("times", [1.2, 14.0, 33.0])
def test_a_candidate_whose_first_pass_is_slower_is_dropped_after_it(priced, times):
    priced(bfloat16=times)
    classifier = make()
    classifier.logits(photographs(1))
    assert spent(torch.bfloat16) == 4
    assert classifier.precision == ("bfloat16-autocast" if times < 5 else "float32")
    priced(bfloat16=times, bfloat16_autocast=times)
    classifier = make(net(1))
    classifier.logits(photographs(1))
    assert spent(torch.bfloat16) == 4
    assert classifier.precision == "float32"
    assert f"bfloat16: its first pass took {times:.2f} of float32's time" in classifier.precision_reason


def test_a_very_slow_candidate_leaves_no_time_for_the_next(priced):
    priced(bfloat16=100.0)
    classifier = make()
    classifier.logits(photographs(1))
    assert "bfloat16-autocast: not tried, the time for probes was up" in classifier.precision_reason
    assert classifier.micro_batch == 4


def test_a_precision_that_is_asked_for_is_not_tuned_without_end(priced):
    priced(native=False, bfloat16=33.0)
    classifier = make(precision="bfloat16")
    classifier.logits(photographs(1))
    assert classifier.precision == "bfloat16"
    assert classifier.micro_batch == 4
    assert spent(torch.bfloat16) <= 2 * 4 + 1


@pytest.mark.parametrize(("planning", "least"), [(0.0, 1), (2.0, 64), (9.0, None)])
def test_on_a_gpu_one_candidate_is_planned_and_batches_are_few(priced, monkeypatch, planning, least):
    """The device is the CPU under a GPU's name."""
    priced(float32=1e-3, bfloat16=4e-4, planning=planning)
    gpu, begin = torch.device("cuda"), Session.__init__

    def on_the_cpu(session, module, classifier, precision):
        classifier.device = torch.device("cpu")
        begin(session, module, classifier, precision)
        classifier.device = gpu

    monkeypatch.setattr(Session, "__init__", on_the_cpu)
    monkeypatch.setattr(frozen, "frozen_copy", partial(_copy_on_the_cpu, frozen.frozen_copy))
    monkeypatch.setattr(opening, "probe", lambda _classifier, n: 4 * photographs(n) - 2)
    monkeypatch.setattr(tuning, "_has_room", lambda *_: True)
    monkeypatch.setattr(devices, "describe", lambda _device: "a GPU")
    classifier = make()
    classifier.device = gpu
    Watched.batches.clear()
    with classifier.session():
        sizes = {dtype: [n for own, n in Watched.batches if own == dtype] for dtype in (torch.float32, torch.bfloat16)}
    assert set(sizes[torch.float32]) - {1} == {64}  # one image tells classifiers apart, where the module lies
    assert classifier.least_batch == least
    # A plan that took long is not paid for another size; where there was no time, not for another precision.
    assert set(sizes[torch.bfloat16]) == {0.0: {64, 256}, 2.0: {64}, 9.0: set()}[planning]
    assert classifier.micro_batch == {0.0: 256, 2.0: 64, 9.0: 64}[planning]
    assert classifier.precision == ("bfloat16" if planning < 9 else "float32")


def _copy_on_the_cpu(copy, module, _device, *arguments, **options):
    return copy(module, torch.device("cpu"), *arguments, **options)


def test_a_first_pass_that_does_not_fit_is_halved():
    class Full(ConvNet):
        fits = 2

        def forward(self, x):
            if len(x) > self.fits:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
            return super().forward(x)

    classifier = make(net(kind=Full), precision="float32")
    assert classifier.logits(photographs(3)).shape == (3, 4)
    assert classifier.micro_batch == 2


# Remembered


def opened(module=None, **options):
    """A new classifier, as in a new process, and the images that opening it took."""
    classifier = make(module, **options)
    Watched.batches.clear()
    with classifier.session():
        return classifier, spent()


KNOWN = ("precision", "precision_reason", "micro_batch", "memory_format", "folded")


def test_the_second_process_opens_without_tuning(priced, monkeypatch):
    priced()
    first, cost = opened()
    assert cost > 30
    monkeypatch.setattr(tuning, "find_micro_batch", None)
    monkeypatch.setattr(opening, "_found_out", None)
    second, cost = opened()
    assert cost <= 8
    assert {name: getattr(second, name) for name in KNOWN} == {name: getattr(first, name) for name in KNOWN}
    assert len(second.folded) == 2
    images = photographs(3)
    assert torch.equal(first.logits(images), second.logits(images))
    masks = [explain(one, images, steps=3).joint for one in (first, second)]
    assert torch.equal(*masks)


def test_an_exact_session_is_remembered_too(priced, monkeypatch):
    priced()
    with make().session(exact=True) as session:
        found = session.micro_batch
    monkeypatch.setattr(tuning, "find_micro_batch", None)
    with make().session(exact=True) as session:
        assert session.micro_batch == found
    with pytest.raises(TypeError):
        opened()  # precision and the rest are not known by that


def test_the_batch_without_a_backward_pass_is_remembered_too(priced, monkeypatch):
    priced()
    image = photographs(1)[0]
    first = make()
    with first.session() as session:
        found = opening.forward_batch(first, session, image)
        assert first.forward_batches == {"bfloat16": found}
    spent()
    monkeypatch.setattr(tuning, "find_micro_batch", None)
    second = make()
    with second.session() as session:
        assert opening.forward_batch(second, session, image) == found


def test_the_batch_without_a_backward_pass_has_a_budget(priced):
    priced()
    classifier = make(precision="float32", micro_batch=512)
    with classifier.session() as session:
        spent()
        opening.forward_batch(classifier, session, photographs(1)[0])
        assert 0 < spent() <= 3 * tuning.EVALUATIONS


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(torch, "__version__", "9.9"),
        lambda patch: patch.setattr("fidokit.models.remembered.__version__", "9.9"),
        lambda patch: patch.setattr(torch, "get_num_threads", lambda: 99),
        lambda patch: patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX"),
        lambda patch: patch.setattr(devices, "_cpu_model", lambda: "another"),
        lambda patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT"),
        lambda patch: patch.setenv(remembered.VARIABLE, "off"),
    ],
)
def test_nothing_is_known_on_another_machine(priced, change):
    priced()
    opened()
    with pytest.MonkeyPatch.context() as patch:
        change(patch)
        assert opened()[1] > 30
    assert opened()[1] <= 8


@pytest.mark.parametrize(
    "options",
    [{"module": net(7)}, {"size": (40, 32)}, {"precision": "float32"}, {"micro_batch": 6}, {"mean": (0.1, 0.2, 0.3)}],
)
def test_nothing_is_known_of_another_classifier_or_question(priced, options):
    priced()
    opened()
    assert opened(**options)[1] > 10


def test_what_is_given_needs_no_memory(priced, own_cache):
    priced()
    opened(precision="float32", micro_batch=4)
    opened(net(2), precision="bfloat16", micro_batch=600)
    assert not list(own_cache.rglob("*.json"))
    # One that is given goes along with what is found.
    for _ in range(2):
        classifier, _ = opened(micro_batch=600)
        assert (classifier.micro_batch, classifier.precision) == (600, "bfloat16")
    assert opened(micro_batch=600)[1] <= 8


def test_a_resumed_study_looks_nothing_up(priced, own_cache):
    priced()
    opened()
    begun = with_precision(make(), "float32", 3)
    with begun.session() as session:
        assert (session.precision.name, session.micro_batch) == ("float32", 3)


# CorruptPartError, foreign, absurd


def entry(own_cache):
    (path,) = own_cache.rglob("*.json")
    return path


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"null", b"[]", b"7", b'{"key": 1}', b"[" * 100000, b'{"found": {}}', b" " * 10**6],
)
def test_a_damaged_file_changes_nothing_but_the_time(priced, own_cache, content):
    priced()
    first, cost = opened()
    path = entry(own_cache)
    path.write_bytes(content)
    again, cost_again = opened()
    assert cost_again == cost
    assert {name: getattr(again, name) for name in KNOWN} == {name: getattr(first, name) for name in KNOWN}
    assert opened()[1] <= 8  # it was written anew


@pytest.mark.parametrize(
    "wrong",
    [
        {"micro_batch": 10**9},
        {"micro_batch": 0},
        {"micro_batch": -8},
        {"micro_batch": True},
        {"micro_batch": "8"},
        {"micro_batch": 8.0},
        {"micro_batch": None},
        {"precision": "int4"},
        {"precision": "float16"},  # not native here
        {"precision": ["bfloat16"]},
        {"precision": {}},
        {"reason": 7},
        {"reason": "x" * 10**5},
        {"memory_format": "upside down"},
        {"memory_format": 3},
        {"folded": None},
        {"folded": "features.0"},
        {"folded": [["features.0"]]},
        {"folded": [["features.0", "nowhere"]]},
        {"folded": [["features.3", "features.1"]]},
        {"folded": [["head", "features.1"]]},
        {"folded": [[1, 2]]},
        {"least_batch": 10**9},
    ],
)
def test_an_absurd_entry_changes_nothing_but_the_time(priced, own_cache, wrong):
    priced()
    first, cost = opened()
    path = entry(own_cache)
    written = json.loads(path.read_text())
    written["found"] |= wrong
    path.write_text(json.dumps(written))
    again, cost_again = opened()
    assert cost_again >= cost
    assert {name: getattr(again, name) for name in KNOWN} == {name: getattr(first, name) for name in KNOWN}


def test_an_entry_of_another_question_is_not_believed(priced, own_cache):
    priced()
    opened(net(1))
    theirs = entry(own_cache)
    content = theirs.read_text()
    theirs.unlink()
    opened()
    entry(own_cache).write_text(content)
    assert opened()[1] > 30


class Swapped(Watched):
    """The same weights, but what stands behind a convolution is no longer the normalisation."""

    def forward(self, x):
        Watched.batches.append((x.dtype, len(x)))
        conv, norm, act, *others = self.features
        x = norm(act(conv(x)))
        for layer in others:
            x = layer(x)
        return self.head(x.mean(dim=(2, 3)))


def test_what_is_remembered_of_another_module_is_found_out_anew(priced, monkeypatch):
    priced()
    module, other = net(), net(kind=Swapped)
    for one in (module, other):
        one.features[1].running_mean.fill_(0.3)
    monkeypatch.setattr(remembered, "fingerprint_of", lambda _parts: "the same")
    opened(module)
    second, cost = opened(other)
    assert cost > 30
    images = photographs(3)
    expected = Classifier(other, size=SIZE, device="cpu", precision="float32", micro_batch=4).logits(images)
    assert (second.logits(images) - expected).abs().max() < 0.1
    with second.session() as session:
        assert isinstance(session.module.features[1], nn.BatchNorm2d)


def test_a_precision_that_no_longer_agrees_is_not_taken(priced, monkeypatch):
    priced()
    opened()
    forward = Session.forward

    def crooked(session, normalised):
        logits = forward(session, normalised)
        return -logits if session.precision.name.startswith("bfloat16") else logits

    monkeypatch.setattr(Session, "forward", crooked)
    classifier, _ = opened()
    assert classifier.precision == "float32"
    assert "its logits differ" in classifier.precision_reason


@pytest.mark.parametrize("kind", ["a file stands there", "a folder stands there", "no folder can be made", "null byte"])
def test_a_cache_that_cannot_be_written_changes_nothing_but_the_time(priced, tmp_path, monkeypatch, kind):
    priced()
    place = tmp_path / "cache"
    monkeypatch.setenv(remembered.VARIABLE, str(place))
    if kind == "a file stands there":
        place.write_text("mine")
    elif kind == "a folder stands there":
        opened()
        (path,) = place.rglob("*.json")
        path.unlink()
        path.mkdir()
    elif kind == "no folder can be made":
        monkeypatch.setenv(remembered.VARIABLE, "/dev/null/cache")
    else:
        monkeypatch.setattr(remembered, "user_cache_dir", lambda *_, **__: "\0")
        monkeypatch.delenv(remembered.VARIABLE)
    for _ in range(2):
        classifier, cost = opened()
        assert cost > 30
        assert classifier.precision == "bfloat16"
    if kind == "a file stands there":
        assert place.read_text() == "mine"


@pytest.mark.parametrize("value", ["off", "0", "OFF", "none", " no "])
def test_it_can_be_turned_off(priced, monkeypatch, tmp_path, value):
    priced()
    monkeypatch.setenv(remembered.VARIABLE, value)
    monkeypatch.chdir(tmp_path)
    assert remembered.folder() is None
    for _ in range(2):
        assert opened()[1] > 30
    assert not list(tmp_path.iterdir())


def test_by_default_it_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv(remembered.VARIABLE)
    monkeypatch.setattr(remembered, "user_cache_dir", lambda name, **_: str(tmp_path / name))
    assert remembered.folder() == tmp_path / "fidokit" / "opening"


def test_writers_and_readers_do_not_disturb_each_other(own_cache):
    key = {"about": "a test"}
    remembered.keep(key, micro_batch=8, reason="x" * 1500)
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(remembered.recall(key))

    def write(n):
        for _ in range(40):
            remembered.keep(key, micro_batch=n, reason=str(n) * 1500)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(n,)) for n in (1, 2, 3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert seen
    for found in seen:  # never half of one
        assert found["reason"] in ("x" * 1500, *(str(n) * 1500 for n in (1, 2, 3)))
    assert len(list((own_cache / "opening").iterdir())) == 1


def test_old_entries_are_weeded_out(own_cache, monkeypatch):
    monkeypatch.setattr(remembered, "MOST_FILES", 10)
    for i in range(30):
        remembered.keep({"number": i}, micro_batch=8)
        for age, path in enumerate(sorted((own_cache / "opening").iterdir(), key=lambda p: p.stat().st_mtime_ns)):
            os.utime(path, ns=(age, age))
    assert 5 <= len(list((own_cache / "opening").iterdir())) <= 10
    assert remembered.recall({"number": 29}) == {"micro_batch": 8}
    assert remembered.recall({"number": 0}) == {}


def test_more_is_added_to_what_is_known(own_cache):
    key = {"about": "a test"}
    remembered.keep(key, micro_batch=8)
    remembered.keep(key, exact_limit=4, forward_batches={"bfloat16": 4, "float32": 16})
    assert remembered.recall(key) == {
        "micro_batch": 8,
        "exact_limit": 4,
        "forward_batches": {"bfloat16": 4, "float32": 16},
    }
    remembered.keep(key, forward_batches={"int4": 4})
    assert "forward_batches" not in remembered.recall(key)
    assert remembered.recall(None) == {}
    remembered.keep(None, micro_batch=8)
