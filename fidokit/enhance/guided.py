"""`MaskGuidedClassifier`: a classifier that looks again where its own masks point."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fidokit.data.geometry import Geometry
from fidokit.data.inputs import GivenImages, Images, given_images
from fidokit.data.labels import warn_of_labels
from fidokit.data.names import there_are
from fidokit.enhance.guiding import GuideMasks, first_look, guide_masks, views_of
from fidokit.enhance.scores import combine, margins, opens
from fidokit.enhance.settings import GuidedSettings
from fidokit.enhance.views import Source, View, crop_size, read_together, render
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods import identities
from fidokit.models.apart import logits_of_views
from fidokit.models.classifier import Classifier, ProgressBar
from fidokit.models.goals import probabilities, to_logits
from fidokit.models.isolation import attempt, logits_or_reasons
from fidokit.models.session import Session

if TYPE_CHECKING:
    import pandas as pd

    from fidokit.models.goals import Head

#: Photographs that are read and explained together, at least.
_CHUNK = 32
# A few threads keep decoding ahead of any device, and photographs of many megapixels stay few.
_MAX_THREADS = 4


@dataclass
class GuidedScores:
    """Answers for N photographs, and what they cost.

    Attributes:
        logits: (N, K); where there was no second look the classifier's own, NaN where it has none.
        guided: (N,) bool: whether the second look counts.
        evaluations: (N,) spent: the whole image, its masks and its views.
        crop_width, crop_height: (N,) pixels of the photograph in the tightest crop of the likeliest candidate; NaN
            where nothing was cropped.
        unanswered: position -> why the photograph could not be read or sent through the classifier.
        failures: position -> what failed of the second look; without any mask or view, the classifier's own answer
            stands.
    """

    logits: Tensor
    guided: Tensor
    evaluations: Tensor
    crop_width: Tensor
    crop_height: Tensor
    unanswered: dict[int, str]
    failures: dict[int, str]

    @classmethod
    def empty(cls, n: int, classes: int) -> GuidedScores:
        """Of n photographs, before any was looked at."""
        nothing = torch.full((n,), torch.nan)
        return cls(
            torch.full((n, classes), torch.nan),
            torch.zeros(n, dtype=torch.bool),
            torch.zeros(n, dtype=torch.int64),
            nothing,
            nothing.clone(),
            {},
            {},
        )


class MaskGuidedClassifier:
    """Predicts like the classifier it is made of, but looks again where that one is unsure.

    A class activation map says first where the evidence lies: the photograph is cropped there from its file's own
    pixels, so that a small animal in a large photograph is seen in detail, and the scores of the crops are averaged
    with those of the whole image. Where that leaves doubt, masks of the likeliest classes say where to look instead.
    `GuidedSettings` has all of it; ``first=None`` makes masks of every photograph. Nothing is trained. Whether it helps
    is for labelled photographs to say: `classify_with_masks`.

    Args:
        classifier: the classifier.
        settings: how to look again; None for the defaults.
        **overrides: single fields of the settings.

    Attributes:
        classifier, settings: as given.
        class_names, head, size: those of the classifier.

    Raises:
        SettingsError: no `Classifier`, a field that does not exist, or a value outside its range.

    Example:
        >>> guided = fk.MaskGuidedClassifier(clf, fk.GuidedSettings(method="grad-cam"))
        >>> len(guided.predict(data)) == len(data)
        True
    """

    def __init__(self, classifier: Classifier, settings: GuidedSettings | None = None, **overrides: Any) -> None:
        if not isinstance(classifier, Classifier):
            raise SettingsError(f"a fidokit Classifier is needed, not {type(classifier).__name__}; see Classifier.load")
        self.classifier = classifier
        self.settings = resolve(settings, overrides)

    def __repr__(self) -> str:
        return f"MaskGuidedClassifier({self.classifier!r}, {self.settings!r})"

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the scores."""
        return self.classifier.class_names

    @property
    def head(self) -> Head:
        """What the scores are made of: the classifier's own head."""
        return self.classifier.head

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the classifier's input in pixels."""
        return self.classifier.size

    def __call__(self, images: Images) -> Tensor:
        """(N, K) scores, see `scores`."""
        return self.scores(images)

    def scores(self, images: Images) -> Tensor:
        """(N, K) probabilities: the softmax over the classes, or one sigmoid a class.

        Args:
            images: as for `explain`; the crops of a (N, 3, H, W) tensor can only show the pixels that it has.

        Raises:
            ImageError: an image cannot be read or is of the wrong shape, size or range; `predict` and `look` go on.
        """
        return probabilities(self.logits(images), self.head)

    def logits(self, images: Images) -> Tensor:
        """(N, K) logits of the scores; where there was no second look the classifier's own. See `scores`."""
        answers = self.look(images)
        if answers.unanswered:
            position, reason = next(iter(answers.unanswered.items()))
            raise ImageError(
                f"{len(answers.unanswered)} of {len(answers.logits)} images have no scores; image {position}: {reason}"
            )
        return answers.logits

    def predict(self, images: Images, *, on_image: ProgressBar | None = None) -> pd.DataFrame:
        """One row an image: the columns of `Classifier.predict`, and guided, evaluations, crop_width, crop_height.

        `reason` says why there is no prediction, or what failed of the second look; the classifier's own answer stands
        then. Images that are no `LabelledImages` have their positions as `image_id` and no labels.

        Args:
            images: as for `scores`.
            on_image: called with the number of images done since the last call.
        """
        data = given_images(images, self.classifier.check_images)
        warn_of_labels(data.table["label"], self.class_names, self.classifier.label_groups)
        answers = self.look(data, on_image=on_image)
        rows = [self.classifier.prediction(answers.logits[i], answers.unanswered.get(i)) for i in range(len(data))]
        for i, reason in answers.failures.items():
            rows[i]["reason"] = reason
        table = self.classifier.prediction_table(data, rows)
        return table.assign(
            guided=answers.guided.numpy(),
            evaluations=answers.evaluations.numpy(),
            crop_width=answers.crop_width.numpy(),
            crop_height=answers.crop_height.numpy(),
        )

    def look(self, images: Images, *, on_image: ProgressBar | None = None) -> GuidedScores:
        """Logits, and what was done to get them, image by image; one that fails does not stop the others.

        Args:
            images: as for `scores`.
            on_image: called with the number of images done since the last call.
        """
        source = self._source(images)
        answers = GuidedScores.empty(len(source), len(self.class_names))
        with ExitStack() as stack:
            session = stack.enter_context(self.classifier.session())
            if self._may_look() and len(source):
                # Methods that read layers open this one for each chunk; kept open, it is made once.
                stack.enter_context(self.classifier.session(exact=True))
            pool = stack.enter_context(ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)))
            first = first_look(self.classifier, self.settings) if self._may_look() and len(source) else None
            rounds = [self.settings] if first is None else [first, self.settings]
            # Whole micro-batches, so that the classifier's own logits come from the same batches as its `predict`.
            size = session.micro_batch * max(1, _CHUNK // session.micro_batch)
            for start in range(0, len(source), size):
                chunk = range(start, min(start + size, len(source)))
                _Chunk(self, session, pool, source, answers, rounds).look(chunk)
                if on_image is not None:
                    on_image(len(chunk))
        return answers

    def _source(self, images: Images) -> Source:
        return Source(given_images(images, self.classifier.check_images), self.classifier.preprocessing)

    def _may_look(self) -> bool:
        return self.settings.weight > 0 and self.settings.gate >= 0


class _Chunk:
    """The work on some photographs of a source, written into a `GuidedScores`."""

    def __init__(
        self,
        guided: MaskGuidedClassifier,
        session: Session,
        pool: ThreadPoolExecutor,
        source: Source,
        answers: GuidedScores,
        rounds: Sequence[GuidedSettings],
    ) -> None:
        self.guided, self.session, self.pool, self.source, self.answers = (
            guided,
            session,
            pool,
            source,
            answers,
        )
        self.rounds, self.head = rounds, guided.head

    def look(self, positions: Sequence[int]) -> None:
        read = read_together(self.source, self.pool, positions)
        self.answers.unanswered |= read.unread
        inputs = dict(zip(read.positions, read.images, strict=True))
        geometries = dict(zip(read.positions, read.geometries, strict=True))
        for i, logits in zip(inputs, logits_or_reasons(self.session, [x[None] for x in inputs.values()]), strict=True):
            if isinstance(logits, str):
                self.answers.unanswered[i] = logits
            else:
                self.answers.logits[i] = logits[0]
                self.answers.evaluations[i] = 1
        self.whole = {i: self.answers.logits[i].clone() for i in inputs if i not in self.answers.unanswered}
        if not self.guided._may_look():
            return
        wanted = self._unsure(list(self.whole), self.guided.settings.gate)
        for settings in self.rounds:
            self._look_again(wanted, settings, inputs, geometries)
            doubtful = self._unsure(wanted, settings.doubt)
            wanted = [i for i in wanted if i in doubtful or not self.answers.guided[i]]

    def _unsure(self, positions: list[int], gate: float) -> list[int]:
        """Those whose answer, as it is so far, is unsure."""
        if not positions:
            return []
        margin = margins(probabilities(self.answers.logits[positions], self.head))
        return [i for i, wanted in zip(positions, opens(margin, gate).tolist(), strict=True) if wanted]

    def _look_again(
        self, positions: list[int], settings: GuidedSettings, inputs: dict[int, Tensor], geometries: dict[int, Geometry]
    ) -> None:
        if not positions:
            return
        masks = self._masks(positions, settings, torch.stack([inputs[i] for i in positions]))
        views: dict[int, list[View]] = {}
        for row, i in enumerate(positions):
            self.answers.evaluations[i] += masks.evaluations[row]
            asked = [views_of(guide, settings) for guide in masks.guides(row)]
            if asked:
                views[i] = [view for some in asked for view in some]
        for group in batches_of(list(views), {i: len(views[i]) for i in views}, self.session.micro_batch):
            self._count_views(group, settings, views, inputs, geometries)

    def _masks(self, positions: list[int], settings: GuidedSettings, images: Tensor) -> GuideMasks:
        data = self.source.images
        names = (
            identities(images)
            if isinstance(data, GivenImages)
            else [str(data.table["image_id"].iloc[i]) for i in positions]
        )
        logits = torch.stack([self.whole[i] for i in positions])
        targets = logits.topk(min(settings.candidates, logits.shape[1]), dim=1).indices
        masks = guide_masks(self.guided.classifier, images, names, logits, targets, settings)
        at = dict(zip(names, positions, strict=True))
        self.answers.failures.update({at[name]: reason for name, reason in masks.failures.items()})
        return masks

    def _count_views(
        self,
        positions: list[int],
        settings: GuidedSettings,
        views: dict[int, list[View]],
        inputs: dict[int, Tensor],
        geometries: dict[int, Geometry],
    ) -> None:
        """Make the mean of the scores of these photographs' views, and of the whole ones, their answers."""
        preprocessing = self.source.preprocessing

        def draw(i: int) -> Tensor:
            return render(self.source.open(i), geometries[i], views[i], preprocessing, settings.infill, settings.fade)

        drawn = dict(zip(positions, self.pool.map(attempt, [lambda i=i: draw(i) for i in positions]), strict=True))
        good = {i: pixels for i, pixels in drawn.items() if not isinstance(pixels, str)}
        results: dict[int, Tensor | str] = {i: pixels for i, pixels in drawn.items() if isinstance(pixels, str)}
        seen = logits_of_views(self.guided.classifier, self.session, [inputs[i] for i in good], list(good.values()))
        results |= zip(good, seen, strict=True)
        for i, logits in results.items():
            if not isinstance(logits, str) and bool(torch.isfinite(logits).all()):
                guided = probabilities(logits, self.head).mean(0)
                whole = probabilities(self.whole[i], self.head)
                self.answers.logits[i] = to_logits(combine(whole, guided, settings.weight), self.head)
                self.answers.guided[i] = True
                self.answers.evaluations[i] += len(logits)
                # Of the likeliest candidate, whose views come first.
                sizes = [crop_size(view.box, geometries[i]) for view in views[i][: settings.views]]
                nothing = (torch.nan, torch.nan)
                size = nothing if settings.way == "fade" else min(sizes)
                self.answers.crop_width[i], self.answers.crop_height[i] = size
                continue
            nan = "the classifier gives NaN or infinite logits for a crop of this image"
            self.answers.failures[i] = logits if isinstance(logits, str) else nan


def resolve(settings: GuidedSettings | None, overrides: dict[str, Any]) -> GuidedSettings:
    """The settings, single fields replaced.

    Raises:
        SettingsError: no `GuidedSettings`, or a field that does not exist.
    """
    chosen = GuidedSettings() if settings is None else settings
    if not isinstance(chosen, GuidedSettings):
        raise SettingsError(f"settings must be GuidedSettings, not {type(chosen).__name__}")
    known = [f.name for f in fields(GuidedSettings)]
    for name in overrides:
        if name not in known:
            raise SettingsError(f"GuidedSettings has no field {name!r}{there_are(name, known, 'its fields are')}")
    return replace(chosen, **overrides) if overrides else chosen


def batches_of(positions: list[int], sizes: dict[int, int], most: int) -> Iterator[list[int]]:
    """Positions in order, as many together as have at most so many views, one at least."""
    group: list[int] = []
    total = 0
    for i in positions:
        if group and total + sizes[i] > most:
            yield group
            group, total = [], 0
        group.append(i)
        total += sizes[i]
    if group:
        yield group
