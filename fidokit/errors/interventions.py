"""Images with a region filled in, sent through the classifier: each region, each infill, each with its control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fidokit.data.geometry import Geometry
from fidokit.data.labels import is_right, with_members
from fidokit.data.reading import Chunk
from fidokit.errors.regions import Rule
from fidokit.errors.tables import ClusterTables
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods.concrete import image_keys
from fidokit.methods.infill import INFILLS, KEPT, Mixture, blur, mean
from fidokit.methods.regions import control_region
from fidokit.models.goals import probabilities
from fidokit.study.metrics.panel import choose_panel
from fidokit.study.metrics.ranks import soften
from fidokit.study.metrics.standing import find_place
from fidokit.study.study import Study

#: Infills beside those of masks. ``photographs``: the blurred photographs of other classes that the study's panel
#: chooses; ``neutral``: the classifier's mean colour, which it sees as zero; ``grey``: the image's own brightness.
_OWN_INFILLS = ("photographs", "neutral", "grey")
_KNOWN_INFILLS = (*_OWN_INFILLS, *(name for name in INFILLS if name not in ("original", *KEPT)))
#: What speaks for one class in one blurred photograph speaks for another in the next, so that it averages out, and with
#: too few classes for that there are flat colours.
DEFAULT_INFILLS = _OWN_INFILLS
#: Photographs read together, and evaluations held at once, in micro-batches.
_CHUNK, _HELD = 32, 4
# Luma of ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class _Answer:
    """What became of one image.

    Attributes:
        said: the class of the largest probability, averaged over the infills, with the region filled in.
        right: whether that is the label.
        control: whether it would be with as many other pixels filled in.
        share, share_control: the shares of infills under which the answer is right.
        changed: whether the rule had a region to fill in; without one, the answer is as before.
    """

    said: str
    right: bool
    control: bool
    share: float
    share_control: float
    changed: bool


def check_infills(infills: Sequence[str]) -> tuple[str, ...]:
    """The names of infills, each once.

    Raises:
        SettingsError: none, or one that there is not.
    """
    names = (infills,) if isinstance(infills, str) else tuple(dict.fromkeys(infills))
    unknown = [name for name in names if name not in _KNOWN_INFILLS]
    if unknown or not names:
        what = f"unknown infill {unknown[0]!r}" if unknown else "no infill"
        raise SettingsError(f"{what}; pass one or more of {', '.join(_KNOWN_INFILLS)}")
    return names


class Infills:
    """The infills of a study's images, by their names.

    Args:
        study: whose images they are.
        names: see `check_infills`.
        seed: of random infills.
        most_photographs: so many of the ``photographs`` for one image, the first of the study's panel that suit it.
        labels: whether labels say what ``photographs`` show; if not, the predicted classes alone do.
    """

    def __init__(
        self,
        study: Study,
        names: Sequence[str],
        seed: int,
        most_photographs: int | None = None,
        *,
        labels: bool = True,
    ) -> None:
        self.study, self.names, self.seed = study, tuple(names), seed
        self.most_photographs, self.labels = most_photographs, labels

    def bank(self, image: Tensor, image_id: str, shown: tuple[object, object]) -> Tensor:
        """(M, 3, H, W) infills of one (3, H, W) image.

        Args:
            image: in [0, 1].
            image_id: of the image.
            shown: its label and predicted class, neither of which a photograph that stands in may show.
        """
        key = image_keys(self.seed, [image_id])
        made = [image[None][:0]]
        for name in self.names:
            if name == "photographs":
                made += [blurred[None] for blurred in self._of_other_classes(image_id, shown)]
            elif name == "neutral":
                colour = torch.tensor(self.study.classifier.preprocessing.mean).view(1, 3, 1, 1)
                made.append(colour.expand(1, *image.shape))
            elif name == "grey":
                luma = (mean(image[None]) * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
                made.append(luma.expand(1, *image.shape))
            else:
                made.append(Mixture.parse(name).bank(image[None], key, 1)[0])
        return torch.cat(made)

    def _of_other_classes(self, image_id: str, shown: tuple[object, object]) -> list[Tensor]:
        """The blurred photographs of the panel that show neither what the image is nor what it was called."""
        classes = with_members(shown, self.study.classifier.label_groups)
        suitable = [made for other, own, made in self._panel if other != image_id and classes.isdisjoint(own)]
        return suitable[: self.most_photographs]

    @cached_property
    def _panel(self) -> list[tuple[str, set[str], Tensor]]:
        """(image_id, label and predicted class, blurred photograph), spread over the classes of the study."""
        study, made = self.study, []
        predictions = study.predictions() if self.labels else study.predictions().assign(label=None)
        for entry in choose_panel(predictions)["photographs"]:
            with suppress(ImageError):
                image = study.data.load(study.positions[entry["image_id"]], study.classifier.preprocessing)[0]
                shown = with_members((entry["label"], entry["predicted"]), study.classifier.label_groups)
                made.append((entry["image_id"], shown, blur(image[None])[0]))
        return made


class Stopped(Exception):
    """The function that is told of the progress asked to stop."""


class Interventions:
    """The classifier's answers to changed images, each computed once; a context, in which the session is open.

    Args:
        errors: whose images they are.
        infills: names.
        seed: of random infills and of where controls lie.
        bar: a progress bar that counts images.
        on_progress: called with the images done and those known of so far, after every few; a truthy result stops.
    """

    def __init__(
        self,
        errors: ClusterTables,
        infills: Sequence[str],
        seed: int,
        bar: Any,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self.errors, self.infills, self.seed, self.bar = errors, tuple(infills), seed, bar
        self.on_progress, self.done, self.total = on_progress, 0, 0
        self.known: dict[tuple[int, Rule], _Answer] = {}
        self._infills = Infills(errors.study, infills, seed)
        self._stack = ExitStack()
        self._session: Any = None

    def __enter__(self) -> Interventions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def answers(self, rows: Sequence[int] | Any, rules: Sequence[Rule]) -> dict[tuple[int, Rule], _Answer]:
        """The answers to each image, a row of ``errors.features``, under each rule.

        A photograph that cannot be read any more keeps its answer.
        """
        wanted = [int(row) for row in rows if any((int(row), rule) not in self.known for rule in rules)]
        positions = [self.errors.study.positions[self.errors.features.image_ids[row]] for row in wanted]
        place = dict(zip(positions, wanted, strict=True))
        self.total += len(wanted)
        self.bar.total = self.total
        self.bar.refresh()
        if positions:
            study = self.errors.study
            self.classifier, self.data = study.classifier, study.data
            if self._session is None:
                self._session = self._stack.enter_context(self.classifier.session())
            with study.reading(positions, _CHUNK) as reading:
                for chunk in reading:
                    self._chunk(chunk, place, rules)
                    for position in chunk.unread:
                        for rule in rules:
                            self.known.setdefault((place[position], rule), self._as_before(place[position]))
                    self._tell(len(chunk.positions) + len(chunk.unread))
        return {(int(row), rule): self.known[int(row), rule] for row in rows for rule in rules}

    def _tell(self, images: int) -> None:
        self.done += images
        self.bar.update(images)
        if self.on_progress is not None and self.on_progress(self.done, self.total):
            raise Stopped

    def _chunk(self, chunk: Chunk, place: dict[int, int], rules: Sequence[Rule]) -> None:
        held: list[tuple[int, Rule, int]] = []
        variants: list[Tensor] = []
        own: tuple[int, ...] = ()
        left_out = self.classifier.left_out(chunk.images)
        most = _HELD * self._session.micro_batch
        for i, (image, position, geometry) in enumerate(
            zip(chunk.images, chunk.positions, chunk.geometries, strict=True)
        ):
            row = place[position]
            if left_out[i] != own:
                self._evaluate(held, variants, own)
                own = left_out[i]
            animal = self._animal(position, geometry)
            size = (image.shape[-2], image.shape[-1])
            bank = self._bank(image, row)
            for rule in rules:
                if (row, rule) in self.known:
                    continue
                region = rule.find(self.errors.features.contrast[row], animal, size)
                if region is None or not len(bank):
                    self.known[row, rule] = self._as_before(row)
                    continue
                generator = np.random.default_rng([self._number(row, rule.name), self.seed])
                regions = [region, *(control_region(region, generator) for _ in bank)]
                changed = soften(torch.from_numpy(np.stack(regions)))[:, None]
                variants += [torch.lerp(image, bank, changed[:1]), torch.lerp(image, bank, changed[1:])]
                held.append((row, rule, len(bank)))
                if sum(2 * n for _, _, n in held) >= most:
                    self._evaluate(held, variants, own)
        self._evaluate(held, variants, own)

    def _animal(self, position: int, geometry: Geometry) -> Any:
        """(H, W) bool where the animal is in the input, None where that is not known."""
        found = find_place(self.data, position, geometry, self.classifier.preprocessing).object
        return None if found is None else found.numpy()

    def changed(self, row: int, rule: Rule) -> tuple[Tensor, Tensor, Any] | None:
        """One image before and after: (3, H, W) each, and the (H, W) region; None where the rule fills in nothing.

        Of the infills, the last is shown: the answers are averages over all of them.

        Raises:
            ImageError: the photograph cannot be read any more.
        """
        study = self.errors.study
        self.classifier, self.data = study.classifier, study.data
        position = study.positions[self.errors.features.image_ids[row]]
        image, geometry = self.data.load(position, self.classifier.preprocessing)
        size = (image.shape[-2], image.shape[-1])
        region = rule.find(self.errors.features.contrast[row], self._animal(position, geometry), size)
        bank = self._bank(image, row)
        if region is None or not len(bank):
            return None
        return image, torch.lerp(image, bank[-1], soften(torch.from_numpy(region)[None])[0]), region

    def _evaluate(self, held: list[tuple[int, Rule, int]], variants: list[Tensor], left_out: tuple[int, ...]) -> None:
        """Send what is held through the classifier, for all of which the same is left out, and hold it no longer."""
        if not held:
            return
        with self.classifier.leaving_out(left_out):
            logits = self._session.logits(torch.cat(variants))
        scores = probabilities(logits, self.classifier.head).nan_to_num(nan=0.0)
        names, labels, groups = self.classifier.class_names, self.errors.outcome.label, self.classifier.label_groups
        for (row, rule, n), own in zip(held, torch.split(scores, [2 * n for _, _, n in held]), strict=True):
            said, control = (names[int(part.mean(0).argmax())] for part in torch.split(own, n))
            share, share_control = (
                float(np.mean([is_right(labels[row], names[k], groups) for k in part.argmax(1).tolist()]))
                for part in torch.split(own, n)
            )
            right, control_right = (is_right(labels[row], name, groups) for name in (said, control))
            self.known[row, rule] = _Answer(said, right, control_right, share, share_control, True)
        held.clear()
        variants.clear()

    def _bank(self, image: Tensor, row: int) -> Tensor:
        """(M, 3, H, W) infills of one image."""
        outcome = self.errors.outcome
        shown = (outcome.label[row], outcome.predicted[row])
        return self._infills.bank(image, self.errors.features.image_ids[row], shown)

    def _as_before(self, row: int) -> _Answer:
        outcome = self.errors.outcome
        right = bool(not outcome.wrong[row])
        return _Answer(str(outcome.predicted[row]), right, right, float(right), float(right), False)

    def _number(self, row: int, text: str) -> int:
        image_id = self.errors.features.image_ids[row]
        return int(image_keys(self.seed, [f"{image_id}\0{text}"])[0]) & (2**63 - 1)
