"""Functions in settings: what makes two of them different, and that the same one is so in another process."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from nets import conv_net, photographs
from study_cases import make_classifier, make_data, register_counting
from torch import nn

import fidokit as fk
from fidokit._util.function_names import function_name
from fidokit.exceptions import SettingsError
from fidokit.methods.base import settings_dict, settings_id
from fidokit.methods.gradient_settings import IntegratedGradientsSettings
from fidokit.methods.infill import blur
from fidokit.models.classifier import Classifier

STRENGTH = 0.5


def identity(infill):
    return settings_id("fido", fk.FidoSettings(infill=infill))


def scaled(strength):
    return lambda x, _kept: x * strength


def with_default(strength):
    def infill(x, _kept, by=strength):
        return x * by

    return infill


def keyword_default(strength):
    def infill(x, _kept, *, by=strength):
        return x * by

    return infill


class Infill:
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, x, _kept):
        return x * self.strength

    def method(self, x, _kept):
        return x * self.strength


@dataclass
class Options:
    strength: float


class Layer(nn.Module):
    def __init__(self, strength, plain=0.0):
        super().__init__()
        self.strength, self.plain = nn.Parameter(torch.tensor(strength)), plain

    def forward(self, x, _kept):
        return x * self.strength + self.plain


def nested(strength):
    return lambda x, kept: sum(scaled(strength)(x, kept) for _ in range(1))


PAIRS = {
    "constants": (lambda x, _k: x * 0.5, lambda x, _k: x * 0.25),
    "names": (lambda x, _k: x.exp(), lambda x, _k: x.sin()),
    "operators": (lambda x, _k: x + 1, lambda x, _k: x - 1),
    "arguments": (lambda x, _k: x, lambda _x, k: k),
    "two on one line": ((lambda x, _k: x * 2), (lambda x, _k: x * 3)),
    "constants in an inner function": (lambda x, _k: (lambda y: y * 2)(x), lambda x, _k: (lambda y: y * 3)(x)),
    "closures": (scaled(0.5), scaled(0.25)),
    "closures in closures": (nested(0.5), nested(0.25)),
    "closures of dictionaries": (scaled({"a": 1, "b": 2}), scaled({"a": 1, "b": 3})),
    "closures of sets": (scaled({1, 2}), scaled({1, 3})),
    "closures of tensors": (scaled(torch.zeros(3)), scaled(torch.ones(3))),
    "closures of arrays": (scaled(np.zeros(3)), scaled(np.ones(3))),
    "closures of dataclasses": (scaled(Options(0.5)), scaled(Options(0.25))),
    "defaults": (with_default(0.5), with_default(0.25)),
    "keyword defaults": (keyword_default(0.5), keyword_default(0.25)),
    "partials": (functools.partial(Infill.__call__, Infill(0.5)), functools.partial(Infill.__call__, Infill(0.25))),
    "arguments of partials": (functools.partial(blur, sigma=1.0), functools.partial(blur, sigma=2.0)),
    "callable objects": (Infill(0.5), Infill(0.25)),
    "bound methods": (Infill(0.5).method, Infill(0.25).method),
    "modules": (Layer(0.5), Layer(0.25)),
    "attributes of modules": (Layer(0.5, 0.0), Layer(0.5, 1.0)),
    "classifiers": (scaled(make_classifier(1.0)), scaled(make_classifier(2.0))),
    "decorated": (torch.no_grad()(scaled(0.5)), torch.no_grad()(scaled(0.25))),
}
AGAIN = {
    "closures": lambda: scaled(0.5),
    "closures in closures": lambda: nested(0.5),
    "closures of dictionaries": lambda: scaled({"b": 2, "a": 1}),
    "closures of sets": lambda: scaled({2, 1}),
    "closures of tensors": lambda: scaled(torch.zeros(3)),
    "closures of arrays": lambda: scaled(np.zeros(3)),
    "closures of dataclasses": lambda: scaled(Options(0.5)),
    "defaults": lambda: with_default(0.5),
    "arguments of partials": lambda: functools.partial(blur, sigma=1.0),
    "callable objects": lambda: Infill(0.5),
    "bound methods": lambda: Infill(0.5).method,
    "modules": lambda: Layer(0.5),
    "classifiers": lambda: scaled(make_classifier(1.0)),
    "decorated": lambda: torch.no_grad()(scaled(0.5)),
}


@pytest.mark.parametrize("what", PAIRS)
def test_functions_that_differ_have_other_ids(what):
    one, other = PAIRS[what]
    assert identity(one) != identity(other)
    assert identity(one) == identity(one)


@pytest.mark.parametrize("what", AGAIN)
def test_a_function_made_again_has_the_same_id(what):
    assert identity(AGAIN[what]()) == identity(PAIRS[what][0])


def test_what_a_function_reads_from_its_module_counts(monkeypatch):
    def infill(x, _kept):
        return helped(x) * STRENGTH

    before = identity(infill)
    monkeypatch.setitem(globals(), "STRENGTH", 0.25)
    after = identity(infill)
    monkeypatch.setitem(globals(), "helped", lambda x: x + 2)
    assert len({before, after, identity(infill)}) == 3
    monkeypatch.undo()
    assert identity(infill) == before


def helped(x):
    return x + 1


def test_a_docstring_does_not_count():
    def documented(x, _kept):
        """Something."""
        return x

    before = identity(documented)
    namespace = {"__name__": __name__}
    source = "def documented(x, _kept):\n    '''Something else.'''\n    return x\n"
    exec(source, namespace)
    other = namespace["documented"]
    other.__qualname__ = documented.__qualname__
    assert identity(other) == before


def test_settings_without_functions_keep_their_ids():
    assert settings_id("fido", fk.FidoSettings()) == "2386eaa0e5d4"
    # The defaults of before.
    before = fk.FidoSettings(steps=10, samples=2, area=30.0, explained="log-odds", windows=0)
    assert settings_id("fido", before) == "694d7f479183"
    assert settings_id("fido", replace(before, infill="blur")) == "c36c3061dd82"
    assert settings_id("fido", fk.FidoSettings.published()) == "00a1428a5b94"
    assert settings_id("integrated-gradients", IntegratedGradientsSettings()) == "94777d878c0f"
    assert settings_dict(fk.FidoSettings(infill=blur))["infill"] == "fidokit.methods.infill.blur"


def test_functions_of_libraries_go_by_their_names():
    assert function_name(torch.nn.functional.relu) == "torch.nn.functional.relu"
    assert function_name(np.linalg.norm) == "numpy.linalg.norm"
    assert function_name(nn.ReLU) == "torch.nn.modules.activation.ReLU"
    assert function_name(helped).startswith(f"{__name__}.helped ")


def test_functions_that_read_themselves_end():
    def infill(x, kept):
        return infill(x, kept) if len(x) > 10 else x

    holder = Infill(0.5)
    holder.strength = [holder]
    assert identity(infill) == identity(infill)
    assert identity(holder) == identity(holder)


def test_an_unknown_state_demands_a_name():
    lock = threading.Lock()

    def infill(x, _kept):
        with lock:
            return x

    with pytest.raises(SettingsError, match=r"infill in the settings reads a lock.*function\.fidokit_name = '\.\.\.'"):
        identity(infill)
    with pytest.raises(SettingsError, match="fidokit_name"):
        fk.explain(classifier(), photographs(1), infill=infill, steps=1)
    infill.fidokit_name = "locked, 1"
    first = identity(infill)
    infill.fidokit_name = "locked, 2"
    assert identity(infill) != first
    assert len(fk.explain(classifier(), photographs(1), infill=infill, steps=1)) == 1


def test_a_name_stands_for_the_code():
    one, other = (lambda x, _k: x * 2), (lambda x, _k: x * 3)
    one.fidokit_name = other.fidokit_name = "mine"
    assert settings_dict(fk.FidoSettings(infill=one))["infill"] == "named mine"
    assert identity(one) == identity(other)


def classifier():
    return Classifier(conv_net(), size=(32, 32), device="cpu", precision="float32", micro_batch=8)


PROGRAM = """
    import functools, torch
    import fidokit as fk
    from fidokit.methods.base import settings_id
    WORDS = {"a", "bc", "def", "ghij"}
    def made(strength):
        return lambda x, kept: x * strength if str(kept) in {"a", "bc", "def", "ghij"} else x * len(WORDS)
    for infill in (made(0.5), functools.partial(made(2), torch.arange(3))):
        print(settings_id("fido", fk.FidoSettings(infill=infill)))
"""


def test_the_same_in_another_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PROGRAM))
    printed = {
        subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=environment).stdout
        for environment in ({**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2", "3"))
    }
    (lines,) = printed
    assert len(set(lines.split())) == 2


def test_a_study_is_not_resumed_with_another_function(tmp_path):
    register_counting("counting")
    data = make_data(tmp_path / "data", 3)

    def run(strength):
        settings = fk.FidoSettings(infill=scaled(strength), steps=1, grid=4)
        return fk.run_study(make_classifier(), data, {"fido": ("fido", settings)}, store=tmp_path / "s", progress=False)

    run(0.5)
    assert len(run(0.5)) == 3
    with pytest.raises(fk.FidokitError, match="infill was"):
        run(0.25)
