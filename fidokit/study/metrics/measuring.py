"""The loop over the chunks of a study that lack metrics: photographs read once, metrics written as they are made."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit._util.checks import COUNT_OR_ZERO, check_number
from fidokit._util.warning import warn
from fidokit._util.wording import either
from fidokit.data.reading import Chunk, read_chunks
from fidokit.exceptions import SettingsError
from fidokit.methods.base import Batch
from fidokit.methods.concrete import image_keys
from fidokit.models import opening
from fidokit.models.classifier import Classifier
from fidokit.models.isolation import raise_if_general, reason_of
from fidokit.study.metrics import parts as part_tests
from fidokit.study.metrics import repeats
from fidokit.study.metrics import standing as metrics
from fidokit.study.metrics.agreement import Agreement
from fidokit.study.metrics.panel import Panel
from fidokit.study.metrics.road import imputation_noise
from fidokit.study.metrics.sanity import RANDOM_CLASSIFIERS, randomised
from fidokit.study.metrics.standing import Reasons, Subject, Values, find_place, row
from fidokit.study.metrics.table import MetricTables
from fidokit.study.store.manifest import Entry
from fidokit.study.store.store import mask_arrays
from fidokit.study.stored import StoredStudy

_THREADS = 4
_EFFECT = ("image_id", "target", "against", "part", "effect")
# Fewer masks are measured before the fastest batch is found.
_WORTH_TUNING = 16
#: (image_id, kind) of a mask.
Key = tuple[str, str]
#: image_id, target and what it is told from.
Asked = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class Request:
    """What is asked for beside the standing metrics; see `Study.metrics`."""

    stability: int = 0
    sanity: bool = False
    parts: bool = False
    removal: part_tests.Removal | None = None

    def __post_init__(self) -> None:
        check_number("stability", self.stability, COUNT_OR_ZERO)
        if self.removal is not None and not callable(self.removal):
            raise SettingsError(
                f"removal must be a function (data, position, part) -> picture or None, not {self.removal!r}"
            )

    def groups(self) -> list[str]:
        """The groups of metrics to measure with photographs at hand."""
        asked = {"stability": self.stability > 0, "sanity": self.sanity, "parts": self.parts}
        return ["standing", *(group for group, wanted in asked.items() if wanted)]


@dataclass(frozen=True)
class Mask:
    """One mask of the table."""

    image_id: str
    kind: str
    values: Tensor
    target: str
    against: str | None

    @property
    def asked(self) -> Asked:
        """What it explains: methods may ask for taxa of several ranks."""
        return self.image_id, self.target, self.against


class Measuring:
    """One call of `Study.metrics`: what is missing, and its computation.

    Args:
        study: the study.
        labels: of the methods to measure.
        kinds: of masks to measure.
        request: what is asked for.
    """

    def __init__(self, study: StoredStudy, labels: Sequence[str], kinds: Sequence[str], request: Request) -> None:
        self.study, self.labels, self.kinds, self.request = study, list(labels), list(kinds), request
        self.tables = MetricTables(study.store)
        self.removal_name = part_tests.removal_name(request.removal)
        self.missing = {
            (group, label): self._lacking(group, label) for group in request.groups() for label in self.labels
        }
        self.agreement = Agreement(study, self.tables, self.labels, self.kinds)
        self.unread: dict[str, str] = {}

    def _lacking(self, group: str, label: str) -> set[Key]:
        done = self.tables.read(group, label)
        if group == "stability":
            done = done[done["seeds"] == self.request.stability]
        if group == "parts":
            done = done[done["removal"] == self.removal_name]
        return self.study.mask_keys(label, self.kinds) - set(zip(done["image_id"], done["kind"], strict=True))

    def run(self, progress: bool) -> None:
        """Measure and write chunk by chunk; on Ctrl-C, say how to go on."""
        total = sum(map(len, self.missing.values())) + len(self.agreement)
        if not total:
            return
        with (
            self.study.store.locked_to_add("metrics"),
            tqdm(total=total, unit="metric", disable=not progress) as self.bar,
        ):
            try:
                if any(self.missing.values()):
                    self._measure()
                self.agreement.run(self.bar)
            except KeyboardInterrupt:
                print(
                    f"Stopped. What was measured is safe in {self.study.path}; "
                    f"{either('call study.metrics() again', 'run the same command again')} to go on "
                    "from there.",
                    file=sys.stderr,
                )

    def _measure(self) -> None:
        study = self.study
        self.classifier, self.data = study.classifier, study.data
        self.protocol = self.tables.protocol(study)
        self.panel = Panel(
            self.protocol["panel"], self.data, self.classifier.preprocessing, self.classifier.label_groups
        )
        self.member_logits: dict[tuple[str | int, tuple[int, ...]], Tensor] = {}
        predictions = study.predictions()
        self.shown = {
            image_id: names
            for image_id, *names in predictions[["image_id", "label", "predicted"]].itertuples(index=False, name=None)
        }
        self.entries: dict[str, Entry | str] = {}
        for label in self.labels:
            try:
                self.entries[label] = repeats.restore(study.manifest["methods"][label])
            except SettingsError as error:
                self.entries[label] = str(error)
        if self.request.parts:
            stored = self.tables.read("effects")
            self.known_effects: defaultdict[Asked, dict[str, Any]] = defaultdict(dict)
            stored = stored[stored["removal"] == self.removal_name]
            columns = (stored[name].astype(object).where(stored[name].notna(), None) for name in _EFFECT)
            for image_id, target, against, part, effect in zip(*columns, strict=True):
                self.known_effects[image_id, target, against][part] = effect
        with ExitStack() as stack:
            self.session = stack.enter_context(self.classifier.session())
            if self.request.parts or self.request.stability:
                stack.enter_context(self.classifier.session(exact=True))
            if self.request.sanity:
                self.random = [randomised(self.classifier, seed) for seed in range(RANDOM_CLASSIFIERS)]
            todo = study.chunks_to_read({image_id for keys in self.missing.values() for image_id, _ in keys})
            with closing(read_chunks(self.data, self.classifier.preprocessing, todo)) as chunks:
                for chunk in chunks:
                    self._chunk(chunk)
                    del chunk  # before the next one is there
        self.panel.tell()
        if self.unread:
            warn(
                f"{len(self.unread)} photographs cannot be read any more, their masks were not measured: "
                f"{next(iter(self.unread.values()))}"
            )

    def _chunk(self, chunk: Chunk) -> None:
        ids = list(self.study.positions)
        self.unread |= {ids[position]: reason for position, reason in chunk.unread.items()}
        images = {ids[position]: chunk.images[i] for i, position in enumerate(chunk.positions)}
        self.images, self.geometries = images, dict(zip(images, chunk.geometries, strict=True))
        self.subjects: dict[Asked, Subject] = {}
        self.effects: dict[Asked, dict[str, Any]] = {}
        self.part_masks: dict[str, dict[str, Tensor]] = {}
        logits = self.session.logits(chunk.images)
        self.whole = {image_id: logits[i : i + 1] for i, image_id in enumerate(images)}
        self.left_out = dict(zip(images, self.classifier.left_out(chunk.images), strict=True))
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="fidokit-places") as pool:
            arguments = [
                (self.data, self.study.positions[image_id], self.geometries[image_id], self.classifier.preprocessing)
                for image_id in images
            ]
            self.places = dict(zip(images, pool.map(lambda four: find_place(*four), arguments), strict=True))
        groups: dict[str, Callable[[str, list[Mask]], list[dict[str, Any]]]] = {
            "standing": self._standing,
            "stability": self._stability,
            "sanity": self._sanity,
            "parts": self._parts,
        }
        for label in self.labels:
            masks = self._masks(label, chunk.number)
            for group in self.request.groups():
                lacking = self.missing[group, label]
                chosen = [mask for mask in masks if (mask.image_id, mask.kind) in lacking]
                if chosen:
                    self.bar.set_description(f"{group}, {label[:30]}", refresh=False)
                    if group == "parts":
                        self._find_effects(label, chunk.number, chosen)
                    rows = groups[group](label, chosen)
                    self.tables.add(group, label, chunk.number, rows)
                    self.bar.update(len(chosen))

    def _masks(self, label: str, number: int) -> list[Mask]:
        """The masks of one method for the images of the chunk in work."""
        table = self.study.store.mask_part(label, number)
        if not len(table):
            return []
        columns = (table[name].to_pylist() for name in ("image_id", "kind", "target", "against"))
        made = zip(*columns, mask_arrays(table), strict=True)
        return [
            Mask(image_id, kind, torch.from_numpy(array.copy()), target, against)
            for image_id, kind, target, against, array in made
            if image_id in self.images and kind in self.kinds
        ]

    def _subject(self, mask: Mask) -> Subject:
        """The image of a mask with its infills; made once for all methods that explain the same of it."""
        image_id = mask.image_id
        if mask.asked not in self.subjects:
            taxonomy, against = self.classifier.taxonomy, mask.against
            rest = None if taxonomy is None or against is None else taxonomy.rest(against)
            classes = [*self.shown[image_id], mask.target, against, rest]
            members = self.panel.members(image_id, classes)
            infills = self.panel.infills(image_id, classes)
            left_out = self.left_out[image_id]
            for member, infill in zip(members, infills, strict=True):
                if (member, left_out) not in self.member_logits:
                    with self.classifier.leaving_out(left_out):
                        self.member_logits[member, left_out] = self.session.logits(infill[None])
            whole = self.whole[image_id]
            noise = imputation_noise(image_keys(0, [image_id]), self.classifier.size)
            self.subjects[mask.asked] = Subject(
                image=self.images[image_id].to(self.session.device),
                goal=self.classifier.goal(whole, [mask.target], [against]),
                whole=whole,
                infills=infills.to(self.session.device),
                empty=torch.cat([self.member_logits[member, left_out] for member in members]),
                noise=noise.to(self.session.device),
                place=self.places[image_id],
            )
        return self.subjects[mask.asked]

    def _standing(self, label: str, masks: list[Mask]) -> list[dict[str, Any]]:
        rows = []
        for own in _by_image(masks):
            try:
                subject = self._subject(own[0])
                with self.classifier.leaving_out(self.left_out[own[0].image_id]):
                    found = metrics.standing(
                        self.session,
                        subject,
                        torch.stack([mask.values for mask in own]),
                        self.protocol["shares"],
                        self.protocol["road_shares"],
                        self._at_once(),
                    )
            except Exception as error:
                raise_if_general(error)
                why = reason_of(error)
                found = [({}, dict.fromkeys(metrics.STANDING, why)) for _ in own]
            for mask, (values, reasons) in zip(own, found, strict=True):
                rows.append(row(mask.image_id, label, mask.kind, values, reasons))
        return rows

    def _at_once(self) -> int:
        """The fastest batch without a backward pass, found once for a classifier; on CPUs it is the smaller one."""
        many = sum(len(keys) for (group, _), keys in self.missing.items() if group == "standing") >= _WORTH_TUNING
        if many and self.session.device.type == "cpu":
            return opening.forward_batch(self.classifier, self.session, next(iter(self.images.values())))
        return self.session.micro_batch

    def _stability(self, label: str, masks: list[Mask]) -> list[dict[str, Any]]:
        entry, seeds = self.entries[label], self.request.stability
        again: list[repeats.Again] = []
        general = entry if isinstance(entry, str) else None
        if not isinstance(entry, str):
            try:
                others = [repeats.with_seed(entry, step) for step in range(1, seeds + 1)]
                batch = self._batch(self.classifier, torch.cat([*self.whole.values()]), masks)
                again = [repeats.compute_again(self.classifier, other, batch) for other in others]
            except SettingsError as error:
                general = str(error)
        return [
            row(mask.image_id, label, mask.kind, *_compared("stability", mask, again, general), seeds=seeds)
            for mask in masks
        ]

    def _sanity(self, label: str, masks: list[Mask]) -> list[dict[str, Any]]:
        entry = self.entries[label]
        if isinstance(entry, str):
            return [row(mask.image_id, label, mask.kind, {}, {"sanity": entry}) for mask in masks]
        again = [self._randomly(classifier, entry, masks) for classifier in self.random]
        return [row(mask.image_id, label, mask.kind, *_compared("sanity", mask, again, None)) for mask in masks]

    def _randomly(self, classifier: Classifier, entry: Entry, masks: list[Mask]) -> repeats.Again:
        """Masks of the same images and classes by a classifier with random parameters."""
        try:
            with classifier.session() as session:
                logits = session.logits(torch.stack([*self.images.values()]))
                return repeats.compute_again(classifier, entry, self._batch(classifier, logits, masks))
        except Exception as error:
            raise_if_general(error)
            return {}, {mask.image_id: f"with random parameters, {type(error).__name__}: {error}" for mask in masks}

    def _batch(self, classifier: Classifier, logits: Tensor, masks: list[Mask]) -> Batch:
        """The images of these masks, as a method gets them; `logits` are of all images of the chunk."""
        first = {mask.image_id: mask for mask in reversed(masks)}
        ids = [image_id for image_id in self.images if image_id in first]
        places = list(self.images)
        own = logits[[places.index(image_id) for image_id in ids]]
        contrasts = [first[image_id].against for image_id in ids]
        goal = classifier.goal(own, [first[image_id].target for image_id in ids], contrasts)
        return Batch(torch.stack([self.images[image_id] for image_id in ids]), ids, goal, own)

    def _parts(self, label: str, masks: list[Mask]) -> list[dict[str, Any]]:
        rows = []
        for mask in masks:
            found = part_tests.correlation_row(mask.values, self.part_masks[mask.image_id], self.effects[mask.asked])
            keys = {"image_id": mask.image_id, "method": label, "kind": mask.kind}
            rows.append({**keys, **found, "removal": self.removal_name})
        return rows

    def _find_effects(self, label: str, number: int, masks: list[Mask]) -> None:
        """The effects of the parts of these images: from the store, or measured now; no method changes them."""
        lacking = {mask.asked: mask for mask in masks if mask.asked not in self.effects}
        rows: list[dict[str, Any]] = []
        for asked, mask in lacking.items():
            image_id = mask.image_id
            self.part_masks[image_id], effects = {}, {}
            # Stores of before there were ranks name no target: there was one an image.
            before = {} if self.study.is_of_taxa(label) else self.known_effects.get((image_id, None, None), {})
            known = self.known_effects.get(asked, before)
            try:
                position = self.study.positions[image_id]
                found = part_tests.visible(self.data.load_part_masks(position, self.classifier.preprocessing))
                self.part_masks[image_id] = found
                if found and known.keys() >= found.keys():
                    effects = known
                elif len(found) >= part_tests.LEAST_PARTS:
                    effects = self._measure_effects(position, mask, found)
            except Exception as error:
                raise_if_general(error)
                effects = {"": reason_of(error)}
            self.effects[asked] = effects
            keys = dict(zip(("image_id", "target", "against"), asked, strict=True))
            rows += [
                {**keys, "part": part, "removal": self.removal_name, "reason": None, "effect": effect}
                for part, effect in effects.items()
                if part and effects is not known
            ]
        self.tables.add("effects", None, number, rows)

    def _measure_effects(self, position: int, mask: Mask, found: dict[str, Tensor]) -> dict[str, Any]:
        subject, left_out = self._subject(mask), self.left_out[mask.image_id]
        with self.classifier.session(exact=True) as session, self.classifier.leaving_out(left_out):
            if self.request.removal is None:
                image, infills = subject.image, subject.infills
                effects = part_tests.filled_effects(session, image, subject.goal, found, infills)
            else:
                removed = {part: self.request.removal(self.data, position, part) for part in found}
                geometry, preprocessing = self.geometries[mask.image_id], self.classifier.preprocessing
                image = subject.image
                effects = part_tests.removed_effects(session, image, subject.goal, removed, geometry, preprocessing)
        return dict(zip(found, effects.tolist(), strict=True))


def _by_image(masks: list[Mask]) -> list[list[Mask]]:
    """The masks of each image and grid, in order."""
    groups: dict[tuple[Any, ...], list[Mask]] = defaultdict(list)
    for mask in masks:
        groups[mask.image_id, *mask.values.shape].append(mask)
    return list(groups.values())


def _compared(
    name: str,
    mask: Mask,
    again: list[repeats.Again],
    general: str | None,
) -> tuple[Values, Reasons]:
    """Mean rank correlation of a mask to those computed again, for `sanity` its size, or why there is none."""
    if general is not None:
        return {}, {name: general}
    others = [made[mask.image_id][mask.kind] for made, _ in again if mask.image_id in made]
    if len(others) < len(again):
        return {}, {name: next(why.get(mask.image_id, "no mask was made") for _, why in again if why)}
    # In the precision of the store, or a mask would differ from itself.
    stored = [other.half().float() for other in others]
    value, reason = repeats.mean_similarity(mask.values, stored, size=name == "sanity")
    return ({name: value}, {}) if reason is None and np.isfinite(value) else ({}, {name: reason or "not a number"})
