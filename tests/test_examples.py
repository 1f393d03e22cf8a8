"""The examples in docstrings: everything exported has some, and all that there are run."""

from __future__ import annotations

import ast
import doctest
import inspect
import json
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

import fidokit as fk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
NAMES = [*fk.__all__, *fk._WIDGETS]
PACKAGE = Path(fk.__file__).parent


def others() -> list[str]:
    """``module:name`` of everything else whose docstring has an example."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>>" in text:
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            found += [f"{module}:{name}" for name in with_examples(ast.parse(text).body)]
    return [name for name in found if name.partition(":")[2] not in NAMES]


def with_examples(body: list[ast.stmt], within: str = "") -> list[str]:
    """Names of the classes, methods and functions whose docstrings have an example."""
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found += [within + node.name] if ">>>" in (ast.get_docstring(node) or "") else []
            found += with_examples(node.body, f"{within}{node.name}.") if isinstance(node, ast.ClassDef) else []
    return found


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What examples take as given: a classifier, eight photographs and a study of them."""
    folder = tmp_path_factory.mktemp("examples")
    clf = fk.testbed.classifier(device="cpu", precision="float32", micro_batch=16)
    data = fk.testbed.load(8, causes={"habitat": 0.5}, folder=folder / "data")
    study = fk.run_study(clf, data, ["fido", "grad-cam"], store=folder / "study", progress=False)
    return {"fk": fk, "torch": torch, "clf": clf, "data": data, "study": study}


@pytest.fixture
def material(tmp_path, monkeypatch):
    """What examples take as theirs: a folder of birds, and the files of a detector and of Timelapse."""
    monkeypatch.chdir(tmp_path)
    for file in ("birds/jay/1.png", "birds/tit/1.png", "site/IMG_1.jpg", "1.jpg", "2.jpg"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(tmp_path / file)
    boxes = {0.97: [0.2, 0.2, 0.5, 0.5], 0.64: [0, 0, 0.2, 0.2]}
    found = [{"category": "1", "conf": conf, "bbox": box} for conf, box in boxes.items()]
    images = [{"file": "site/IMG_1.jpg", "detections": found}]
    content = {"info": {"format_version": "1.5"}, "detection_categories": {"1": "animal"}, "images": images}
    Path("detections.json").write_text(json.dumps(content), encoding="utf-8")
    Path("TimelapseData.csv").write_text("File,RelativePath,Species\n1.jpg,,fox\n2.jpg,,hare\n", encoding="utf-8")


def run(text: str, name: str, given: dict[str, object]) -> None:
    """Run the examples of a docstring; what they print must be what stands there."""
    example = doctest.DocTestParser().get_doctest(text, dict(given), name, None, None)
    assert example.examples
    for part in example.examples:
        compile(part.source, name, "single")
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_of_everything_exported(name, given, material):
    if name in fk._WIDGETS:
        pytest.importorskip("anywidget", reason="needs anywidget, the extra `widgets`")
    text = inspect.getdoc(getattr(fk, name))
    assert "Example:\n" in text
    run(text, name, given)


@pytest.mark.parametrize("name", others())
def test_every_other_example(name, given, material):
    module, _, qualified = name.partition(":")
    found = import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    run(inspect.getdoc(found), name, given | {"pd": pd})
