"""What the tests of the report and the command line share: a small real study with names that mean harm."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import study_cases
import torch
from PIL import Image
from torch import nn

from fidokit.data.images import LabelledImages
from fidokit.methods import methods, register_method
from fidokit.methods.base import Computed, Method, NoSettings
from fidokit.models.classifier import Classifier
from fidokit.study.run import run_study
from fidokit.study.study import Study

HARM = "<img src=x onerror=window.harmed=1>"
LONG = "Long-" + "l" * 300
NAMES = [HARM, LONG, "Grauspecht"]
SCRIPT_FILE = '"><script>window.harmed=2</script>.png'


def _left_half(_classifier, batch, _settings, _on_progress):
    mask = torch.zeros(len(batch), 2, 2)
    mask[:, :, 0] = 1
    return Computed({"attribution": mask})


def _fails_on_last(classifier, batch, settings, on_progress):
    computed = _left_half(classifier, batch, settings, on_progress)
    for image_id in batch.image_ids:
        if image_id.startswith("b5"):
            computed.failures[image_id] = "no mask of this one, because 1 < 2 & 2 > 1"
    return computed


def register() -> None:
    for name, compute in {"left-half": _left_half, "fails-once": _fails_on_last}.items():
        if name not in methods():
            register_method(name, Method(compute, NoSettings, ("attribution",), "a test's method"))
    if "counting" not in methods():
        study_cases.register_counting("counting")


def make_table(folder: Path) -> pd.DataFrame:
    """Six photographs of 48 x 32 pixels: the first is named after a script, the second has no label, and the third is
    of another class than its tint."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows = []
    for i in range(6):
        pixels = generator.integers(20, 120, (32, 48, 3))
        pixels[..., i % 3] += 100 - 3 * i
        path = folder / f"{i}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        label = {1: None, 2: NAMES[0]}.get(i, NAMES[i % 3])
        rows.append({"path": str(path), "label": label, "image_id": SCRIPT_FILE if i == 0 else f"b{i}.png"})
    return pd.DataFrame(rows)


class Highlights(nn.Module):
    """Logits from the brightest pixels of each channel, so that blurring a region changes the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(40.0))

    def forward(self, x):
        return self.gain * (x - 0.6).relu().mean(dim=(2, 3))


def classifier(**options):
    """What ``--model python:report_cases:classifier`` loads."""
    options = {"precision": "float32", "micro_batch": 8, "device": "cpu"} | options
    return Classifier(Highlights(), NAMES, mean=(0, 0, 0), std=(1, 1, 1), size=(16, 16), **options)


def make_study(folder: Path, **options) -> Study:
    """A finished study of three methods; one mask failed, and one photograph was never there."""
    register()
    table = make_table(folder / "photographs")
    missing = pd.DataFrame([{"path": str(folder / "gone.png"), "label": NAMES[2], "image_id": "gone <i>.png"}])
    data = LabelledImages.from_table(pd.concat([table, missing], ignore_index=True), root=folder)
    with pytest.warns(RuntimeWarning, match="could not be computed"):
        return run_study(
            classifier(),
            data,
            {"counting": "counting", f"left {HARM}": "left-half", "fails-once": "fails-once"},
            store=folder / "run",
            progress=False,
            **options,
        )


class Element:
    """An element of a parsed page."""

    def __init__(self, name: str, attributes: dict[str, str | None], parent: Element | None) -> None:
        self.name, self.attributes, self.parent = name, attributes, parent
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()

    def find(self, name: str | None = None, class_: str | None = None, **attributes: str) -> list[Element]:
        found = []
        for child in self.children:
            if isinstance(child, Element):
                wanted = (name is None or child.name == name) and (class_ is None or class_ in child.classes)
                if wanted and all(child.attributes.get(key) == value for key, value in attributes.items()):
                    found.append(child)
                found += child.find(name, class_, **attributes)
        return found


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("#document", {}, None)

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in ("img", "input", "meta"):
            self.at = element

    def handle_endtag(self, tag):
        assert self.at.name == tag, f"</{tag}> closes <{self.at.name}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.children.append(data)


def parse(page: str) -> Element:
    """The page as a tree; an element that is not closed where it should be is an error."""
    builder = _Builder()
    builder.feed(page)
    builder.close()
    assert builder.at is builder.root
    return builder.root
