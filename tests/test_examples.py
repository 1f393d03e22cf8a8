"""The examples in the docstrings of everything exported: there are some, and they run."""

from __future__ import annotations

import doctest
import inspect

import pytest
import torch
from PIL import Image

import fidokit as fk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
NAMES = [*fk.__all__, *fk._WIDGETS]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What examples take as given: a classifier, eight photographs and a study of them."""
    folder = tmp_path_factory.mktemp("examples")
    clf = fk.testbed.classifier(device="cpu", precision="float32", micro_batch=16)
    data = fk.testbed.load(8, causes={"habitat": 0.5}, folder=folder / "data")
    study = fk.run_study(clf, data, ["fido", "grad-cam"], store=folder / "study", progress=False)
    return {"fk": fk, "torch": torch, "clf": clf, "data": data, "study": study}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_of_everything_exported(name, given, tmp_path, monkeypatch):
    if name in fk._WIDGETS:
        pytest.importorskip("anywidget", reason="needs anywidget, the extra `widgets`")
    monkeypatch.chdir(tmp_path)
    for label in ("jay", "tit"):
        (tmp_path / "birds" / label).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "birds" / label / "1.png")
    text = inspect.getdoc(getattr(fk, name))
    assert "Example:\n" in text
    example = doctest.DocTestParser().get_doctest(text, dict(given), name, None, None)
    assert example.examples
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)
