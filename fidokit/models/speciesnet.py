"""Google's SpeciesNet classifier, from the folder in which it is published.

The folder holds ``info.json`` (version, type, and the names of the files), a pickled torch graph that onnx2torch made,
which gives logits for (B, 480, 480, 3) pixels in [0, 1], and a text file with a taxon a line:
``uuid;class;order;family;genus;species;common name``, empty from the rank on that a taxon is not determined to.
There are two types (Gadot et al., IET Computer Vision 2024, https://doi.org/10.1049/cvi2.12318): ``always_crop`` takes
what a detector found, cropped to its box; ``full_image`` takes the photograph without strips at its top and bottom.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fidokit._util.wording import given
from fidokit.exceptions import ClassifierError
from fidokit.models.adapting import ChannelsLast

SIZE = (480, 480)
_FIELDS = 7
#: How a photograph becomes the input; theirs is resampled bilinearly without anti-aliasing.
_PREPROCESSING: dict[str, dict[str, Any]] = {
    "always_crop": {"fit": "squash", "use_boxes": True, "box_padding": 0.0},
    "full_image": {"fit": "trim", "use_boxes": False},
}
_NOTES = {
    "always_crop": "it was trained on a detector's boxes, and a photograph without one goes in whole",
    "full_image": "it takes whole photographs without strips at top and bottom, boxes are not looked at",
}


class SpeciesNetInput(ChannelsLast):
    """A permute before SpeciesNet's classifier, which takes (B, H, W, 3)."""

    def __init__(self, module: nn.Module, note: str) -> None:
        super().__init__(module)
        self.note = note


@dataclass(frozen=True)
class Release:
    """The files of a release that a classifier needs.

    Attributes:
        folder: where it is.
        version: such as 4.0.1a.
        kind: ``always_crop`` or ``full_image``.
        weights: the pickled graph.
        labels: the taxa in the order of the logits.
    """

    folder: Path
    version: str
    kind: str
    weights: Path
    labels: Path


def read_release(folder: str, *, trust: bool) -> Release:
    """What ``info.json`` says of a folder; nothing is loaded.

    Raises:
        ClassifierError: no such folder, no release in it, or nobody said that it can be trusted.
    """
    place = Path(folder)
    path = place / "info.json"
    if not folder or not path.is_file():
        raise ClassifierError(
            f"{folder or 'speciesnet:'} is no folder with SpeciesNet's info.json; download a release for PyTorch "
            "(https://www.kaggle.com/models/google/speciesnet) and give speciesnet:FOLDER"
        )
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        kind, version = info["type"], str(info["version"])
        weights, labels = (_inside(place, info[key], path) for key in ("classifier", "classifier_labels"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClassifierError(
            f"{path} is no description of a SpeciesNet release: {type(error).__name__} {error}; it needs version, "
            "type, classifier and classifier_labels"
        ) from error
    if kind not in _PREPROCESSING:
        raise ClassifierError(f"{path} has type {kind!r}; {' and '.join(_PREPROCESSING)} are known")
    if weights.suffix == ".keras":
        raise ClassifierError(f"{weights} is a release for Keras; download the one for PyTorch, from 4.0.1 on")
    if not trust:
        raise ClassifierError(
            f"{weights} is a pickle: to load it is to run whatever code is in it, with your rights, on your files. If "
            f"you know that it is what Google published, say so with {given(option='trust_model', trust=True)}"
        )
    return Release(place, version, kind, weights, labels)


def _inside(folder: Path, name: object, path: Path) -> Path:
    file = folder / str(name)
    if not isinstance(name, str) or Path(name).name != name:
        raise ClassifierError(f"{path} names {name!r}, which is no file beside it")
    if not file.is_file():
        raise ClassifierError(f"{path} names {name}, which is not there; download the whole release")
    return file


def load(release: Release) -> tuple[nn.Module, dict[str, Any]]:
    """The classifier of a release that is trusted, and the options of `Classifier` that belong to it.

    Raises:
        ClassifierError: the pickle cannot be loaded or holds no module, or the labels cannot be read.
    """
    taxa = read_taxa(release.labels)
    try:
        graph = torch.load(release.weights, map_location="cpu", weights_only=False)
    except Exception as error:
        raise ClassifierError(f"{release.weights} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(graph, nn.Module):
        raise ClassifierError(f"{release.weights} holds a {type(graph).__name__}, not a module of torch")
    own: dict[str, Any] = {
        "size": SIZE,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bilinear-aliased",
        "class_names": class_names(taxa),
        **_PREPROCESSING[release.kind],
    }
    note = f"SpeciesNet {release.version}, {release.kind}: {_NOTES[release.kind]}"
    return SpeciesNetInput(graph.eval(), note), own


def read_taxa(path: Path) -> list[tuple[str, ...]]:
    """The taxa of a file of labels, in the order of the logits: (uuid, class, order, family, genus, species, name).

    Raises:
        ClassifierError: it cannot be read, or a line is no taxon.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClassifierError(f"{path} with the taxa cannot be read: {error}") from error
    taxa = [tuple(field.strip() for field in line.split(";")) for line in lines]
    for number, taxon in enumerate(taxa, 1):
        if len(taxon) != _FIELDS or not any(taxon[1:]):
            raise ClassifierError(
                f"{path}, line {number}, is no taxon: {lines[number - 1][:80]!r}; it has the form "
                "uuid;class;order;family;genus;species;common name"
            )
    return taxa


def class_names(taxa: list[tuple[str, ...]]) -> list[str]:
    """Names of classes for taxa, readable and different from each other.

    The scientific name of the finest rank with the common name, "Odocoileus virginianus (white-tailed deer)" or
    "Felidae (cat family)"; the common name alone where there is no taxon, as of "blank" and "vehicle". What is the same
    for several has the beginning of its uuid behind it.
    """
    names = [_class_name(taxon) for taxon in taxa]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} [{taxon[0][:8]}]" for name, taxon in zip(names, taxa, strict=True)]


def _class_name(taxon: tuple[str, ...]) -> str:
    ranks, common = taxon[1:-1], taxon[-1]
    if set(ranks) == {common}:  # "no cv result" stands in all of them
        return common
    genus, species = ranks[-2:]
    finest = next((name for name in reversed(ranks) if name), "")
    scientific = f"{genus} {species}" if genus and species else finest
    if not scientific or scientific.lower() == common.lower():
        return common or scientific
    capitalised = scientific[0].upper() + scientific[1:]
    if not common:
        return capitalised
    # Higher taxa are called "felidae family", "canis species".
    repeats = common.lower().startswith(f"{scientific.lower()} ")
    return capitalised + common[len(scientific) :] if repeats else f"{capitalised} ({common})"
