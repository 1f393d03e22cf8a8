"""One classifier in several threads at once: the results are those of one call after the other."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from nets import conv_net, photographs
from study_cases import make_classifier, make_data
from torch import nn

from fidokit.enhance.guided import MaskGuidedClassifier
from fidokit.methods import explain
from fidokit.models import frozen, tuning
from fidokit.models.classifier import Classifier, with_precision

THREADS = 4
OVERRIDES = {
    "fido": {"steps": 4},
    "grad-cam": {},
    "guided-grad-cam": {},
    "integrated-gradients": {"n_steps": 8},
    "smoothgrad": {"samples": 4},
    "rise": {"samples": 12},
    "extremal-perturbation": {"steps": 4},
    "occlusion": {},
}


class Net(nn.Module):
    """With ReLUs that are not in place, as guided Grad-CAM wants them."""

    def __init__(self):
        super().__init__()
        self.net = conv_net()
        for module in self.net.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False

    def forward(self, x):
        return self.net(x)


def make(module=None, **options) -> Classifier:
    defaults = {"size": (32, 32), "device": "cpu", "precision": "float32", "micro_batch": 4}
    return Classifier(Net() if module is None else module, **(defaults | options))


def at_once(tasks):
    """The results of functions without arguments, `THREADS` of them at a time, all begun together."""
    n = min(THREADS, len(tasks))
    with ThreadPoolExecutor(n, initializer=threading.Barrier(n).wait) as pool:
        return [future.result(60) for future in [pool.submit(task) for task in tasks]]


def test_explanations_in_threads_are_those_one_after_the_other():
    classifier, images = make(), photographs(6)
    calls = [(method, i) for i in range(3) for method in OVERRIDES]

    def call(method, i):
        return explain(classifier, images[2 * i : 2 * i + 2], method, **OVERRIDES[method])

    alone = [call(*one) for one in calls]
    together = at_once([lambda one=one: call(*one) for one in calls])
    for (method, _), one, other in zip(calls, alone, together, strict=True):
        assert one.kinds.keys() == other.kinds.keys(), method
        for kind in one.kinds:
            assert torch.equal(one.kinds[kind], other.kinds[kind]), method
            assert torch.equal(one.score_kept[kind], other.score_kept[kind]), method
        assert other.failures == {}
    assert classifier._open == {}


@pytest.mark.parametrize("method", ["fido", "rise", "integrated-gradients"])
def test_evaluations_are_counted_for_each_call_by_itself(method):
    classifier, images = make(), photographs(4)
    explain(classifier, images, method, **OVERRIDES[method])
    wanted = explain(classifier, images, method, **OVERRIDES[method]).evaluations
    spent = classifier.counter.evaluations

    def call():
        explain(classifier, images, method, **OVERRIDES[method])  # what is found out once a thread
        return explain(classifier, images, method, **OVERRIDES[method]).evaluations

    assert all(torch.equal(found, wanted) for found in at_once([call] * 8))
    assert classifier.counter.evaluations == spent


def test_predictions_and_logits_in_threads(tmp_path):
    classifier, data = make_classifier(), make_data(tmp_path, 9)
    images = photographs(3, (16, 16))
    table, logits = classifier.predict(data), classifier.logits(images)
    for k, result in enumerate(at_once([lambda: classifier.predict(data), lambda: classifier.logits(images)] * 6)):
        assert result.equals(table) if k % 2 == 0 else torch.equal(result, logits)


def test_the_guided_classifier_in_threads(tmp_path):
    data = make_data(tmp_path, 6)
    guided = MaskGuidedClassifier(make_classifier(), gate=1.0, method="grad-cam")
    alone = guided.look(data)
    for look in at_once([lambda: guided.look(data)] * 8):
        assert torch.equal(look.logits, alone.logits)
        assert look.evaluations.sum() >= alone.evaluations.sum() - 2


def test_precision_and_micro_batch_are_found_once(monkeypatch):
    found = []

    def find(*_args, **_options):
        found.append(threading.get_ident())
        return 4

    monkeypatch.setattr(tuning, "find_micro_batch", find)
    classifier = Classifier(Net(), size=(32, 32), device="cpu")
    images = photographs(3)
    at_once([lambda: classifier.logits(images)] * 8)
    assert len(found) == 1
    assert (classifier.micro_batch, classifier.precision in frozen.PRECISIONS) == (4, True)


def test_threads_have_sessions_of_their_own():
    classifier = make()
    with classifier.session() as here:
        (there,) = set(at_once([lambda: _module_of_a_session(classifier)])) - {None}
        assert here.module is not there
        with classifier.session() as again:
            assert again is here
    assert classifier._open == {}


def _module_of_a_session(classifier):
    with classifier.session() as session:
        assert session is classifier.any_session()
        return session.module


def test_a_session_may_be_closed_by_another_thread():
    classifier = make()
    context = classifier.session()
    context.__enter__()
    at_once([lambda: context.__exit__(None, None, None)])
    assert classifier._open == {}
    classifier.logits(photographs(1))


class Small(nn.Module):
    """Fails with more than so many images, as one does that does not fit into memory."""

    def __init__(self, most):
        super().__init__()
        self.net, self.most = conv_net(), most

    def forward(self, x):
        if len(x) > self.most:
            raise RuntimeError("out of memory")
        return self.net(x)


def test_what_does_not_fit_in_one_thread_is_known_to_all_of_them():
    classifier, images = make(Small(3), micro_batch=8), photographs(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = at_once([lambda: classifier.logits(images)] * 8)
    assert all(torch.equal(result, results[0]) for result in results)
    assert len(results[0]) == 8
    assert classifier.micro_batch == 2


def test_copies_count_and_lock_for_themselves():
    classifier = make()
    with classifier.session():
        copies = [copy.copy(classifier), copy.deepcopy(classifier), pickle.loads(pickle.dumps(classifier))]
        for other in copies:
            assert other._open == {}
            assert other.counter.evaluations == 0
            assert other._lock is not classifier._lock
    classifier.logits(photographs(2))
    for other in copies:
        with other.session():
            spent = other.counter.evaluations
            assert torch.equal(other.logits(photographs(2)), classifier.logits(photographs(2)))
            assert other.counter.evaluations - spent == 2
    twin = with_precision(classifier, "float32", 2)
    assert (twin.counter, twin._open) == (classifier.counter, {})
