"""The code blocks of the README and of the documentation's pages, and what they take as the reader's own."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fidokit import testbed

ROOT = Path(__file__).parent.parent
SITE = ROOT / "notebooks"
PAGES = [ROOT / "README.md", *sorted(path for path in SITE.rglob("*.md") if ".ipynb_checkpoints" not in path.parts)]

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: where it stands.
        line: of its first line, from 1.
        language: as the fence says; ``{name}`` of directives.
        code: what is in it.
        reason: why it is not run, None if it is.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start("code")) + 1, match["language"], match["code"], match["reason"])
        for match in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[str]:
    """The lines of a block of shell, one a command."""
    text = block.code.replace("\\\n", " ")
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return [command.strip() for line in lines if line for command in line.split(" && ")]


def lay_out(folder: Path) -> None:
    """What the pages take as the reader's: photographs, weights, and the files of other programs."""
    data = testbed.load(24, seed=7, folder=folder / "drawn-first")
    for path, label in zip(data.table["path"], data.table["label"], strict=True):
        (folder / "birds" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "birds" / label)
    (folder / "photographs").mkdir()
    for i, path in enumerate(data.table["path"][:6]):
        shutil.copy(path, folder / "photographs" / f"IMG_{i}.png")
    names = [f"IMG_{i}.png" for i in range(6)]
    labels = data.table["label"][:6].tolist()
    _weights(folder, testbed.classifier(device="cpu").class_names)
    _detections(folder, names, labels)
    _camtrap(folder, names, labels)


def _weights(folder: Path, classes: list[str]) -> None:
    """`names.txt`, and `best.pth` of a ResNet-18 that has learnt nothing."""
    import timm
    import torch

    (folder / "names.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18", num_classes=len(classes)).state_dict(), folder / "best.pth")


def _detections(folder: Path, names: list[str], labels: list[str]) -> None:
    """MegaDetector's and SpeciesNet's JSON, and a table of labels."""
    box = {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.8, 0.8]}
    second = box | {"conf": 0.6, "bbox": [0.0, 0.0, 0.5, 0.5]}
    images = [{"file": name, "detections": [box, second][: 1 + i % 2]} for i, name in enumerate(names)]
    info = {"format_version": "1.5", "detector": "md_v5a.0.0"}
    found = {"info": info, "detection_categories": {"1": "animal"}, "images": images}
    (folder / "detections.json").write_text(json.dumps(found), encoding="utf-8")
    pd.DataFrame({"path": names, "label": labels}).to_csv(folder / "labels.csv", index=False)
    taxon = "a;aves;passeriformes;turdidae;turdus;{};{}"
    answers = [taxon.format(label.lower(), label) for label in labels]
    predictions = [
        {
            "filepath": name,
            "detections": [box],
            "classifications": {"classes": [answer], "scores": [0.8]},
            "prediction": answer,
            "prediction_score": 0.8,
            "prediction_source": "classifier",
        }
        for name, answer in zip(names, answers, strict=True)
    ]
    (folder / "predictions.json").write_text(json.dumps({"predictions": predictions}), encoding="utf-8")


def _camtrap(folder: Path, names: list[str], labels: list[str]) -> None:
    """A Camtrap DP of the photographs."""
    package = folder / "camtrap-dp"
    shutil.copytree(folder / "photographs", package / "media")
    when = [f"2024-05-30T0{i}:00:00Z" for i in range(len(names))]
    ids = [f"m{i}" for i in range(len(names))]
    media = {"mediaID": ids, "deploymentID": "d1", "captureMethod": "activityDetection", "timestamp": when}
    media |= {"filePath": [f"media/{name}" for name in names], "filePublic": "true", "fileMediatype": "image/png"}
    seen = {"observationID": [f"o{i}" for i in range(len(names))], "deploymentID": "d1", "mediaID": ids}
    seen |= {"eventID": ids, "eventStart": when, "eventEnd": when, "observationLevel": "media"}
    seen |= {"observationType": "animal", "scientificName": labels, "classificationMethod": "human"}
    place = {"deploymentID": ["d1"], "locationID": "l1", "latitude": 51.5, "longitude": 4.8}
    place |= {"deploymentStart": when[0], "deploymentEnd": when[-1]}
    for name, table in (("deployments", place), ("media", media), ("observations", seen)):
        pd.DataFrame(table).to_csv(package / f"{name}.csv", index=False)
    resources = [
        {"name": name, "path": f"{name}.csv", "profile": "tabular-data-resource"}
        for name in ("deployments", "media", "observations")
    ]
    profile = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.1/camtrap-dp-profile.json"
    described = {"profile": profile, "name": "birds", "resources": resources}
    (package / "datapackage.json").write_text(json.dumps(described), encoding="utf-8")


def lay_out_speciesnet(folder: Path) -> None:
    """A folder in the form in which SpeciesNet's classifier is published, with a net that has learnt nothing."""
    from nets import conv_net
    from onnx_cases import release

    release(folder / "speciesnet", conv_net(), kind="full_image")
