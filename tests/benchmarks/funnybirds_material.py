"""FunnyBirds pictures and a classifier for them: the prepared half in ``../shared/funnybirds``, or the whole dataset.

Source of the dataset: visinf/funnybirds. A prepared case is one file with the picture and all its interventions.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from funnybirds_protocol import BACKGROUND, PART_OF_VALUE, PARTS, Truth, part_importances
from PIL import Image
from torch import Tensor

import fidokit as fk

SHARED = Path(__file__).resolve().parents[3] / "shared" / "funnybirds"
#: The published part maps' colours -> the values of the prepared ones; background objects are (204, 204, 204 + number).
COLOURS = {
    (255, 255, 0): 2,
    (255, 255, 253): 3,
    (255, 255, 254): 4,
    (255, 0, 1): 5,
    (255, 0, 2): 6,
    (0, 0, 255): 7,
    (0, 255, 1): 8,
    (0, 255, 2): 9,
}


@dataclass(frozen=True)
class Case:
    """One picture at the classifier's size, with what is left when something is taken out.

    Attributes:
        image: (3, H, W) in [0, 1].
        target: its class.
        part_map: (H, W) values as in the protocol's `PART_OF_VALUE`.
        parts: indices of the visible parts.
        without: set of parts, as bits -> (3, H, W).
        background: number of a background object -> (3, H, W) without it.
    """

    image: Tensor
    target: int
    part_map: npt.NDArray[np.uint8]
    parts: tuple[int, ...]
    without: dict[int, Tensor]
    background: dict[int, Tensor]

    def part(self, part: int) -> npt.NDArray[np.bool_]:
        """(H, W) pixels of a part."""
        return np.isin(self.part_map, [value for value, index in PART_OF_VALUE.items() if index == part])

    def truth(self, classifier: fk.Classifier) -> Truth:
        """What the classifier says of it, from as many evaluations as there are pictures."""
        images = torch.stack([self.image, *self.without.values(), *self.background.values()])
        logits = classifier.logits(images).double().numpy()
        split = 1 + len(self.without)
        return Truth(
            self.target,
            self.parts,
            logits[0],
            dict(zip(self.without, logits[1:split], strict=True)),
            dict(zip(self.background, logits[split:], strict=True)),
            part_importances(np.ones(self.part_map.shape), self.part_map, self.parts, ()).parts,
        )


def classes(folder: Path) -> list[dict[str, int]]:
    """Part variants of each class."""
    listed = json.loads((folder / "classes.json").read_text())
    return [one["parts"] for one in sorted(listed, key=lambda one: one["class_idx"])]


def cases(folder: Path, most: int | None = None) -> list[Case]:
    """The pictures of a prepared folder, or of the published dataset's test part, in order."""
    made = _prepared(folder) if (folder / "cases").is_dir() else _published(folder)
    return [case for case, _ in zip(made, range(most if most is not None else 1 << 30), strict=False)]


def classifier(folder: Path = SHARED) -> fk.Classifier:
    """The network that comes with the prepared cases."""
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("funnybirds_network", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    network = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(network)
    net = network.Net()
    net.load_state_dict(load_file(folder / "net.safetensors"))
    names = [str(k) for k in range(net.head.out_features)]
    return fk.Classifier(net, names, mean=network.MEAN, std=network.STD, size=(96, 96), precision="float32")


def _image(array: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float() / 255


def _prepared(folder: Path) -> Iterator[Case]:
    middle = (slice(16, 112), slice(16, 112))
    for path in sorted((folder / "cases").glob("*.npz")):
        with np.load(path) as held:
            removed, objects = held["removed"], held["bg_removed"]
            yield Case(
                _image(held["picture"][middle]),
                int(held["target"]),
                held["map"][middle],
                tuple(held["seen"].tolist()),
                {int(code): _image(one[middle]) for code, one in zip(held["codes"], removed, strict=True)},
                {int(number): _image(one[middle]) for number, one in zip(held["bg"], objects, strict=True)},
            )


def _published(folder: Path) -> Iterator[Case]:
    listed = json.loads((folder / "dataset_test.json").read_text())
    for index, parameters in enumerate(listed):
        target = int(parameters["class_idx"])
        inside = Path(str(target)) / f"{index:06d}"
        part_map = _values(np.asarray(Image.open(folder / "test_part_map" / inside.with_suffix(".png")).convert("RGB")))
        interventions = folder / "test_interventions" / inside
        without = {}
        for count in range(1, len(PARTS) + 1):
            for gone in combinations(range(len(PARTS)), count):
                kept = sorted(name for part, name in enumerate(PARTS) if part not in gone)
                without[sum(1 << part for part in gone)] = _open(interventions / f"{'_'.join(['body', *kept])}.png")
        objects = sorted((interventions / "background_interventions").glob("*.png"), key=lambda path: int(path.stem))
        yield Case(
            _open(folder / "test" / inside.with_suffix(".png")),
            target,
            part_map,
            tuple(range(len(PARTS))),
            without,
            {int(path.stem): _open(path) for path in objects},
        )


def _open(path: Path) -> Tensor:
    return _image(np.asarray(Image.open(path).convert("RGB")))


def _values(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    values = np.zeros(colours.shape[:2], np.uint8)
    for colour, value in COLOURS.items():
        values[(colours == colour).all(2)] = value
    objects = (colours[..., 0] == 204) & (colours[..., 1] == 204) & (colours[..., 2] >= 204)
    values[objects] = BACKGROUND + (colours[..., 2][objects] - 204)
    return values
