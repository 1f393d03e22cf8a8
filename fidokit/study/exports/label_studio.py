"""Label tasks for Label Studio: photographs with what the classifier said of them, to be checked by people.

Formats: https://labelstud.io/guide/predictions (tasks with predictions), https://labelstud.io/tags (regions).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fidokit._util.checks import SHARE, check_number
from fidokit.data.geometry import Geometry
from fidokit.data.photographs import photograph_size
from fidokit.data.readers.cells import file_of
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.base import resize_masks
from fidokit.methods.regions import cut
from fidokit.study.exports.brush import packed
from fidokit.study.exports.results import plain_labels, relative_boxes, relative_paths, rows_of
from fidokit.study.exports.writing import check_free, write_whole
from fidokit.study.selection import Selection
from fidokit.study.stored import StoredStudy

#: Where Label Studio serves files of its own machine from; the path is relative to its document root.
LOCAL_FILES = "/data/local-files/?d={path}"
SHAPES = ("brush", "rectangle", "none")
#: Names of the tags in the labelling configuration.
_CHOICE, _BOX, _REGION, _IMAGE = "species", "animal", "region", "image"
#: What the region that a decision rests on is called.
_EVIDENCE = "evidence"


@dataclass(frozen=True)
class _Shapes:
    """What is drawn of masks.

    Attributes:
        shape: one of `SHAPES`.
        share: of the input's pixels that a region covers.
        method, kind: of the masks.
    """

    shape: str
    share: float
    method: str
    kind: str


def to_label_studio(
    study: StoredStudy,
    file: Path,
    results: pd.DataFrame,
    *,
    mask: tuple[str, str],
    url: str,
    root: str | Path | None,
    shape: str,
    share: float,
    only: Sequence[str] | None,
    overwrite: bool,
) -> list[Path]:
    """See `Study.to_label_studio`."""
    configuration = file.with_suffix(".xml")
    if configuration == file:
        raise SettingsError(f"{file}: tasks are JSON; give a name that ends in .json (the configuration becomes .xml)")
    for path in (file, configuration):
        check_free(path, overwrite)
    if url.count("{path}") != 1:
        raise SettingsError(f"url is {url!r}; it must hold {{path}} once, such as {LOCAL_FILES}")
    if shape not in SHAPES:
        raise SettingsError(f"shape must be one of {', '.join(SHAPES)}, not {shape!r}")
    check_number("share", share, SHARE)
    chosen = _chosen(results, only)
    plain = plain_labels(study)
    shapes = _Shapes(shape, float(share), *mask)
    paths = relative_paths(study, root)
    groups: dict[str, list[int]] = {}
    for i in chosen:
        groups.setdefault(paths[i], []).append(i)
    rows = rows_of(study, results)
    drawer = _Drawer(study, shapes)
    tasks = [
        {
            "data": _data(url.replace("{path}", quote(path)), [rows[i] for i in places]),
            "predictions": drawer.predictions(places, rows),
        }
        for path, places in groups.items()
    ]
    names = [plain.get(name, name) for name in study.manifest["classifier"]["class_names"]]
    names += [str(label) for label in results["label"].dropna()]
    write_whole(configuration, _configuration(list(dict.fromkeys(names))).encode(), overwrite)
    # One task a line: a brush has thousands of numbers.
    text = "[\n" + ",\n".join(json.dumps(task) for task in tasks) + "\n]\n"
    write_whole(file, text.encode("ascii"), overwrite)
    return [file, configuration]


def _chosen(results: pd.DataFrame, only: Sequence[str] | None) -> list[int]:
    """Positions of the rows that become tasks.

    Raises:
        SettingsError: an image_id that there is not, or nothing at all.
    """
    if only is None:
        return list(range(len(results)))
    positions = {image_id: i for i, image_id in enumerate(results["image_id"])}
    wanted = [only] if isinstance(only, str) else list(only)
    unknown = next((image_id for image_id in wanted if image_id not in positions), None)
    if unknown is not None:
        raise SettingsError(f"only: there is no photograph {unknown!r}; study.images lists the image_ids")
    if not wanted:
        raise SettingsError("only names no photograph, so that there is nothing to label; leave it out for all")
    return [positions[image_id] for image_id in dict.fromkeys(wanted)]


def _data(url: str, rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """What a task says of its photograph beside the picture; Label Studio shows it in its table of tasks."""
    data: dict[str, Any] = {_IMAGE: url, "image_id": "; ".join(str(row["image_id"]) for row in rows)}
    for name, key in (("label", "label"), ("state", "state"), ("mask", "verdict"), ("note", "note")):
        texts = [str(row[key]) for row in rows if isinstance(row[key], str)]
        if texts:
            data[name] = "; ".join(dict.fromkeys(texts))
    clusters = sorted({k for row in rows for k in row["clusters"] or []})
    if clusters:
        data["clusters"] = "; ".join(map(str, clusters))
        data["sentences"] = "; ".join(dict.fromkeys(text for row in rows for text in row["sentences"]))
    return data


class _Drawer:
    """Predictions of tasks; the masks of a photograph are read when they are drawn."""

    def __init__(self, study: StoredStudy, shapes: _Shapes) -> None:
        self._study, self._shapes = study, shapes
        self._boxes = relative_boxes(study)
        self._preprocessing = study.preprocessing
        classifier = study.manifest["classifier"]
        self._first, self._masks = -1, dict[str, npt.NDArray[np.float32]]()
        self._model = str(classifier["name"] or classifier["module"])

    def predictions(self, places: Sequence[int], rows: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
        """None where nothing was predicted."""
        own = [(i, rows[i]) for i in places if isinstance(rows[i]["predicted"], str)]
        if not own:
            return []
        size = self._size(places[0])
        names = list(dict.fromkeys(str(row["predicted"]) for _, row in own))
        result: list[dict[str, Any]] = [
            {"id": "species", "from_name": _CHOICE, "to_name": _IMAGE, "type": "choices", "value": {"choices": names}}
        ]
        for i, row in own:
            result += self._box(i, row, size)
            result += self._region(i, row, size)
        score = min(float(row["score"]) for _, row in own)
        return [{"model_version": self._model, "score": round(score, 5), "result": result}]

    def _size(self, i: int) -> tuple[int, int] | None:
        """(width, height) of the upright photograph; None where it cannot be read."""
        try:
            return photograph_size(file_of(str(self._study.data.table["path"].iloc[i])))
        except ImageError:
            return None

    def _box(self, i: int, row: Mapping[Any, Any], size: tuple[int, int] | None) -> list[dict[str, Any]]:
        box = self._boxes[i]
        if box is None or size is None:
            return []
        return [_rectangle(f"box-{i}", _BOX, box, [str(row["predicted"])], size, float(row["score"]))]

    def _region(self, i: int, row: Mapping[Any, Any], size: tuple[int, int] | None) -> list[dict[str, Any]]:
        """The most important places of the mask, laid over the photograph."""
        if self._shapes.shape == "none" or size is None or row["method"] is None:
            return []
        mask, geometry = self._mask(i), self._geometry(i, size)
        if mask is None or geometry is None:
            return []
        inside = _laid(mask, self._shapes.share, geometry)
        if not inside.any():
            return []
        if self._shapes.shape == "brush":
            value = {"format": "rle", "rle": packed(inside), "brushlabels": [_EVIDENCE]}
            return [_of_region(f"region-{i}", _REGION, "brushlabels", value, size)]
        down, across = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        width, height = size
        box = (across[0] / width, down[0] / height, (across[-1] + 1) / width, (down[-1] + 1) / height)
        return [_rectangle(f"region-{i}", _BOX, box, [_EVIDENCE], size, None)]

    def _mask(self, i: int) -> npt.NDArray[np.float32] | None:
        """The (h, w) mask of a photograph; those of its part are kept, since neighbours are asked for next."""
        ids, size = self._study.images["image_id"], int(self._study.manifest["options"]["part_size"])
        first = i - i % size
        if first != self._first:
            wanted = ids.iloc[first : first + size].tolist()
            labels, kinds = [self._shapes.method], [self._shapes.kind]
            frame = Selection(self._study, labels, kinds, ["image_id", "mask"], wanted).frame()
            self._first, self._masks = first, dict(zip(frame["image_id"], frame["mask"], strict=True))
        return self._masks.get(ids.iloc[i])

    def _geometry(self, i: int, size: tuple[int, int]) -> Geometry | None:
        """Where the input lies; None where that is not known."""
        try:
            return self._study.data.geometry(i, self._preprocessing, size)
        except ImageError:
            return None


def _laid(mask: npt.NDArray[np.float32], share: float, geometry: Geometry) -> npt.NDArray[np.bool_]:
    """(height, width) bool: a share of the input's pixels, the most important ones, on the photograph."""
    whole = resize_masks(torch.from_numpy(np.ascontiguousarray(mask))[None], geometry.size)
    region = cut(whole, share)[0].float()
    return geometry.mask_to_photograph(region) >= 0.5


def _rectangle(
    key: str,
    name: str,
    box: Sequence[float],
    labels: list[str],
    size: tuple[int, int],
    score: float | None,
) -> dict[str, Any]:
    x0, y0, x1, y1 = (100 * float(edge) for edge in box)
    value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": labels}
    region = _of_region(key, name, "rectanglelabels", value, size)
    return region if score is None else region | {"score": round(score, 5)}


def _of_region(key: str, name: str, kind: str, value: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": key,
        "from_name": name,
        "to_name": _IMAGE,
        "type": kind,
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
        "value": value,
    }


def _configuration(names: Sequence[str]) -> str:
    """The labelling configuration that the tasks are for."""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in names)
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in names)
    return f"""<View>
  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>
  <Choices name="{_CHOICE}" toName="{_IMAGE}" choice="multiple" showInline="true">
{choices}
  </Choices>
  <RectangleLabels name="{_BOX}" toName="{_IMAGE}">
    <Label value="{_EVIDENCE}"/>
{labels}
  </RectangleLabels>
  <BrushLabels name="{_REGION}" toName="{_IMAGE}">
    <Label value="{_EVIDENCE}"/>
  </BrushLabels>
</View>
"""
