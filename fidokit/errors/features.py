"""What describes one image's explanation, and never its label: what the classifier used, where, and in what light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional
from tqdm.auto import tqdm

from fidokit._util.wording import argument
from fidokit.data.reading import Chunk
from fidokit.errors import statistics
from fidokit.exceptions import FidokitError, MethodNotApplicable, SettingsError
from fidokit.methods.base import resize_masks
from fidokit.methods.layers import find_layer, layer_maps
from fidokit.models.goals import Goal
from fidokit.study.metrics.standing import find_place

if TYPE_CHECKING:
    from fidokit.data.geometry import Geometry
    from fidokit.data.images import LabelledImages
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session
    from fidokit.study.study import Study

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
#: Cells along each side of the masks that are kept.
GRID = 28
#: The classifier's channels are projected to at most so many: distances change by some 6 %, and blocks stay small.
CHANNELS = 128
#: Kinds of masks, the preferred ones first: both sufficient and needed, needed, sufficient, and what gradients say.
PREFERRED = ("joint", "sdr", "ssr", "effect", "attribution")
#: Columns that tell the label by another name; a cluster of theirs would be a cluster of a label.
_TAXONOMY = frozenset(
    [
        *("label", "class", "order", "family", "genus", "species", "kingdom", "phylum", "tribe", "subfamily"),
        *("taxon", "taxon_id", "taxonomy", "scientific_name", "scientificname", "common_name", "vernacular_name"),
        *("category", "category_id", "category_name", "supercategory", "parent", "group", "target", "class_name"),
        *("recorded_label", "recorded_taxon", "recorded_classifications", "detection_category"),
    ]
)
#: A column names things if its values come up this often, on average.
_REPEATED = 4
_LIGHT = ("brightness", "contrast", "sharpness", "saturation", "warmth", "greenness")
_FRAMING = (
    *("animal size", "animal x", "animal y", "mask area", "mask outside", "mask x", "mask y", "mask at edge"),
    *("evidence outside", "evidence at edge"),
)
_THREADS = 4


@dataclass
class Features:
    """What describes the explanations of N images.

    Attributes:
        image_ids: N names, in the order of the study.
        top: (N,) indices of the predicted classes.
        blocks: name -> (N, D) float32, numbers that describe one aspect together; images are grouped in each.
        named: a row an image, a column for each statistic that a person would name; NaN where an image has none.
            Columns of numbers of the user's own table are called ``column NAME``.
        categories: a row an image, the columns of the user's own table that name things, as text; None where empty.
        masks: (N, 28, 28) masks of the study, or `contrast` where an image has none.
        contrast: (N, 28, 28) in [0, 1]: what speaks for the predicted class against the runner-up, largest 1 an image.
        notes: what there is to know about all of it.
        failures: image_id -> why it could not be described; these images are in no other field.
    """

    image_ids: list[str]
    top: npt.NDArray[np.int64]
    blocks: dict[str, Floats]
    named: pd.DataFrame
    categories: pd.DataFrame
    masks: Floats
    contrast: Floats
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """The features of some images, by position."""
        return replace(
            self,
            image_ids=[self.image_ids[i] for i in rows],
            top=self.top[rows],
            blocks={name: values[rows] for name, values in self.blocks.items()},
            named=self.named.iloc[rows].reset_index(drop=True),
            categories=self.categories.iloc[rows].reset_index(drop=True),
            masks=self.masks[rows],
            contrast=self.contrast[rows],
        )


def extract(study: Study, method: str | None = None, kind: str | None = None, *, progress: bool = False) -> Features:
    """Read every photograph of a study once, and describe what the classifier used in it.

    One evaluation with a backward pass to a late layer an image. Nothing here knows the label: masks that explain the
    label, and columns that tell it by another name (`_TAXONOMY`), are not read.

    Args:
        study: with predictions.
        method: whose masks to describe; None: the first with the preferred kind.
        kind: of these masks; None: the first of `PREFERRED` that there is.
        progress: whether to show a progress bar.

    Returns:
        The features of all images that have a prediction and can be read, in the order of the study.

    Raises:
        SettingsError: a method or kind that there is not, or whose masks explain the label.
        StoreError: classifier or photographs are needed and cannot be found; the message says how to give them.
    """
    notes: list[str] = []
    chosen = choose_masks(study, method, kind, notes)
    predictions = study.predictions()
    predicted = predictions["predicted"].notna().to_numpy()
    failures = {
        str(image_id): str(reason)
        for image_id, reason in predictions.loc[~predicted, ["image_id", "reason"]].itertuples(index=False, name=None)
    }
    positions = np.flatnonzero(predicted)
    masks = np.full((len(study), GRID, GRID), np.nan, np.float32)
    if chosen is not None:
        masks = study.mask_array(*chosen, size=(GRID, GRID))
        lacking = int((~np.isfinite(masks[positions]).all(axis=(1, 2))).sum())
        if lacking:
            notes.append(f"{lacking} images have no mask of {chosen[0]}; what speaks for the predicted class stands in")
    reading = _Reading(study.classifier, study.data, masks)
    size = int(study.manifest["options"]["part_size"])
    ids = predictions["image_id"].tolist()
    with study.classifier.session() as session, tqdm(total=len(positions), unit="image", disable=not progress) as bar:
        reader = MapReader(session, study.classifier)
        with study.reading(positions.tolist(), size) as parts:
            for chunk in parts:
                failures |= {ids[position]: reason for position, reason in chunk.unread.items()}
                reading.add(chunk, reader)
                bar.update(len(chunk.positions) + len(chunk.unread))
                del chunk  # before the next one is there
    if reading.rows and reader.missing:
        notes.append(f"without the classifier's own features: {reader.missing}")
    index = {name: i for i, name in enumerate(study.manifest["classifier"]["class_names"])}
    read = np.asarray(reading.positions, dtype=np.int64)
    top = predictions["predicted"].map(index).fillna(-1).to_numpy(np.int64)[read]
    return reading.features([ids[i] for i in read], top, notes, failures)


def choose_masks(study: Study, method: str | None, kind: str | None, notes: list[str]) -> tuple[str, str] | None:
    """Label and kind of the masks to describe, None where none may be used."""
    if method is not None and method not in study.methods:
        raise SettingsError(f"there is no method {method!r}; there are {', '.join(study.methods)}")
    # What explains the class itself comes before what explains a taxon of it.
    labels = sorted(study.methods, key=study.is_of_taxa) if method is None else [method]
    wanted = PREFERRED if kind is None else (kind,)
    pairs = [(label, name) for name in wanted for label in labels if name in study.kinds(label)]
    if not pairs:
        kinds = dict.fromkeys(name for label in labels for name in study.kinds(label))
        raise SettingsError(f"there are no {kind!r} masks; there are {', '.join(kinds)}")
    if study.manifest["options"]["targets"] == "label":
        if method is not None or kind is not None:
            raise SettingsError(
                "the masks of this study explain the label, so a cluster of them would know which image is wrong; run "
                "the study with the predicted classes as targets, or leave out "
                f"{argument('method' if method is not None else 'kind')}"
            )
        notes.append(
            "the masks of this study explain the label, so they are not used; what speaks for the predicted class "
            "stands in for them"
        )
        return None
    return pairs[0]


class _Reading:
    """The rows of the features, as they come."""

    def __init__(self, classifier: Classifier, data: LabelledImages, masks: Floats) -> None:
        self.classifier, self.data, self.masks = classifier, data, masks
        self.positions: list[int] = []
        self.rows: list[dict[str, float]] = []
        self.parts: dict[str, list[Floats]] = defaultdict(list)

    def add(self, chunk: Chunk, reader: MapReader) -> None:
        """Describe the images of a chunk."""
        if not chunk.positions:
            return
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="fidokit-places") as pool:
            arguments = zip(chunk.positions, chunk.geometries, strict=True)
            coming = pool.map(lambda pair: self._place(*pair), arguments)
            maps, used, contributions, _ = reader.read(chunk.images)
            places = list(coming)
        contrast = _scaled(used)
        masks = self.masks[chunk.positions]
        without = ~np.isfinite(masks).all(axis=(1, 2))
        masks[without] = contrast[without]
        images = chunk.images.numpy()
        for i, (animal, parts) in enumerate(places):
            row = statistics.image_statistics(images[i], animal) | statistics.mask_statistics(masks[i], animal, parts)
            row["evidence at edge"] = statistics.edge_share(contrast[i])
            if animal is not None:
                row["evidence outside"] = statistics.outside_share(contrast[i], animal)
            self.rows.append(row)
        self.positions += chunk.positions
        self.parts["masks"].append(masks)
        self.parts["contrast"].append(contrast)
        self.parts["evidence"].append(contributions.numpy())
        self.parts["place"].append(np.stack([statistics.place(mask) for mask in masks]))
        self._pool(maps, torch.from_numpy(masks), [animal for animal, _ in places])

    def _place(self, position: int, geometry: Geometry) -> tuple[Bools | None, dict[str, Bools]]:
        """Where the animal is, and its parts, as far as that is annotated and can be read."""
        found = find_place(self.data, position, geometry, self.classifier.preprocessing).object
        try:
            parts = self.data.load_part_masks(position, self.classifier.preprocessing)
        except FidokitError:
            parts = {}
        return None if found is None else found.numpy(), parts

    def _pool(self, maps: Tensor, masks: Tensor, animals: Sequence[Bools | None]) -> None:
        """The maps averaged over the whole image, under and outside the mask, on and around the animal."""
        size = (maps.shape[2], maps.shape[3])
        whole = maps.mean(dim=(2, 3))
        self.parts["whole"].append(whole.numpy())
        self.parts["strongest"].append(maps.amax(dim=(2, 3)).numpy())
        under = resize_masks(masks, size)
        self.parts["under mask"].append(_average(maps, under, whole))
        self.parts["outside mask"].append(_average(maps, under.amax(dim=(1, 2), keepdim=True) - under, whole))
        covered = torch.full((len(maps), *size), torch.nan)
        for i, animal in enumerate(animals):
            if animal is not None:
                covered[i] = resize_masks(torch.from_numpy(animal).float(), size)
        self.parts["on animal"].append(_average(maps, covered, whole))
        self.parts["around animal"].append(_average(maps, 1 - covered, whole))
        self.parts["known"].append(np.asarray([animal is not None for animal in animals], np.float32))

    def features(
        self, image_ids: list[str], top: npt.NDArray[np.int64], notes: list[str], failures: dict[str, str]
    ) -> Features:
        """All rows together; with the user's own columns."""
        together = {name: np.concatenate(parts) for name, parts in self.parts.items()}
        named = pd.DataFrame(self.rows, index=range(len(self.rows))).astype(np.float32)
        metadata = self.data.metadata().iloc[self.positions].reset_index(drop=True)
        empty = np.zeros((0, GRID, GRID), np.float32)
        masks, contrast = together.pop("masks", empty), together.pop("contrast", empty)
        if not together.pop("known", np.zeros(1)).any():
            together.pop("on animal", None), together.pop("around animal", None)
        blocks = together | {
            "light": _filled(named, [c for c in named if c in _LIGHT or str(c).startswith(("animal b", "surr"))]),
            "framing": _filled(named, [c for c in named if c in _FRAMING]),
            "parts": _filled(named, [c for c in named if str(c).startswith("visible ")]),
        }
        return Features(
            image_ids=image_ids,
            top=top,
            blocks={name: values for name, values in blocks.items() if values.shape[1]},
            named=pd.concat([named, numbers_of(metadata)], axis=1),
            categories=categories_of(metadata),
            masks=masks,
            contrast=contrast,
            notes=notes,
            failures=failures,
        )


class MapReader:
    """The maps of a classifier's last layer that knows places, and what they add to the decision."""

    def __init__(self, session: Session, classifier: Classifier) -> None:
        self.session, self.layer = session, classifier.layer
        self.goal = Goal(classifier.class_names, classifier.head, None, None, _margin)
        #: Why there are no maps, or None.
        self.missing: str | None = None

    def read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps (B, C, h, w), signed use (B, h, w), contributions (B, C), logits (B, K) of images in [0, 1]."""
        done = [found for _, found in self.session.in_micro_batches(len(images), lambda rows: self._maps(images[rows]))]
        maps, used, contributions, logits = (torch.cat([part[k] for part in done]) for k in range(4))
        return maps, used, contributions, logits

    def _maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps (B, C, h, w), their use (B, h, w) for the margin, contributions of the channels (B, C), logits (B, K).

        The use of a place is the sum over the channels of gradient times activation, with the gradient of the margin of
        the decision over the runner-up (HiResCAM of a contrast; Draelos, Carin, arXiv 2011.08891, eq. 4). Where the
        logits are linear in the pooled maps, it sums to the margin, up to the biases. A channel's contribution is the
        same sum over the places.
        """
        normalised = self.session.normalise(images)
        if self.missing is None:
            try:
                self.layer = self.layer or find_layer(self.session, normalised)
                activations, gradients, logits = layer_maps(self.session, normalised, self.goal, self.layer)
            except MethodNotApplicable as error:
                self.missing = str(error)
            else:
                product = activations * gradients
                contributions = _projected(product.sum(dim=(2, 3))[:, :, None, None])[:, :, 0, 0]
                return _projected(activations).cpu(), product.sum(1).cpu(), contributions.cpu(), logits.cpu()
        # What a small picture shows stands in for maps, and nothing is known of their use.
        logits = self.session.logits(images)
        small = functional.adaptive_avg_pool2d(images.float(), statistics.PLACES)
        return small, torch.zeros(len(images), *small.shape[2:]), torch.zeros(len(images), 1), logits


def _margin(logits: Tensor) -> Tensor:
    """(B,) how far the largest of (B, K) logits is ahead of the next; of a single logit, itself."""
    if logits.shape[1] < 2:
        return logits[:, 0]
    two = logits.topk(2, dim=1).values
    return two[:, 0] - two[:, 1]


def _projected(maps: Tensor) -> Tensor:
    """(B, C, h, w) maps with at most `CHANNELS` channels: a random projection, always the same, that keeps distances
    (Johnson and Lindenstrauss 1984)."""
    channels = maps.shape[1]
    if channels <= CHANNELS:
        return maps
    generator = torch.Generator().manual_seed(channels)
    directions = torch.linalg.qr(torch.randn(channels, CHANNELS, generator=generator)).Q * (channels / CHANNELS) ** 0.5
    return torch.einsum("bchw,cd->bdhw", maps, directions.to(maps))


def _average(maps: Tensor, weights: Tensor, instead: Tensor) -> Floats:
    """(B, C) means of (B, C, h, w) maps under (B, h, w) weights; `instead` (B, C) where they are 0 or NaN."""
    total = weights.sum(dim=(1, 2))
    known = total > 1e-6
    means = torch.einsum("bchw,bhw->bc", maps, torch.where(known[:, None, None], weights, 0.0))
    result: Floats = torch.where(known[:, None], means / total.clamp_min(1e-6)[:, None], instead).numpy()
    return result


def _scaled(used: Tensor) -> Floats:
    """(B, 28, 28) positive part of (B, h, w), its largest value 1 in every image that has one."""
    positive = resize_masks(used.float().relu(), (GRID, GRID))
    scaled: Floats = (positive / positive.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)).numpy()
    return scaled


def _filled(named: pd.DataFrame, columns: list[Any]) -> Floats:
    """(N, D) columns as a block: what is missing is the column's median, and a column of nothing is left out."""
    own = named[[c for c in columns if named[c].notna().any()]]
    return own.fillna(own.median()).to_numpy(np.float32)


def categories_of(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a user's table that name things, as text: those whose values come up again.

    Columns that tell the label by another name (`_TAXONOMY`) are left out, by their names alone.
    """
    own = {}
    for name in _own_columns(table):
        values = table[name]
        n = int(values.notna().sum())
        if 2 <= values.map(str).where(values.notna()).nunique() <= n / _REPEATED:
            texts = values.map(_text).astype(object)
            own[name] = texts.where(values.notna(), None)
    return pd.DataFrame(own, index=range(len(table)))


def numbers_of(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a user's table that are numbers and do not name things, called ``column NAME``."""
    taken = set(categories_of(table))
    own = {}
    for name in _own_columns(table):
        values = table[name]
        if name not in taken and pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            numbers = values.astype("Float64").to_numpy(np.float64, na_value=np.nan)
            if len(np.unique(numbers[np.isfinite(numbers)])) > 2:
                own[f"column {name}"] = np.where(np.isfinite(numbers), numbers, np.nan)
    return pd.DataFrame(own, index=range(len(table)))


def _own_columns(table: pd.DataFrame) -> list[Any]:
    return [name for name in table.columns if name != "image_id" and str(name).lower().strip() not in _TAXONOMY]


def _text(value: Any) -> str:
    """A value as text; whole numbers without a decimal point, which a column with gaps would give them."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
