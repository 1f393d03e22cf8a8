"""The scores of every look at every photograph, by masks and by controls, in one pass; nothing is chosen here."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from fidokit.data.images import LabelledImages
from fidokit.enhance import controls as control
from fidokit.enhance.boxes import seed_of
from fidokit.enhance.controls import CEILING, CONTROLS
from fidokit.enhance.guided import batches_of
from fidokit.enhance.guiding import Guide, first_look, guide_masks, guide_regions
from fidokit.enhance.settings import GuidedGrid, GuidedSettings
from fidokit.enhance.view_scores import FIRST, MASKS, Measured, ViewKey, Views, ViewScores
from fidokit.enhance.views import Read, Source, View, crop_size, read_together, render
from fidokit.exceptions import MethodNotApplicable
from fidokit.methods import get_method
from fidokit.models.apart import logits_of_views
from fidokit.models.classifier import Classifier
from fidokit.models.goals import probabilities
from fidokit.models.isolation import attempt, logits_or_reasons
from fidokit.models.session import Session

#: Photographs that are read and explained together.
_CHUNK = 16
_MAX_THREADS = 4
# Views are evaluated together: enough to fill a device, few enough for memory.
_VIEWS = 256


def measure(
    classifier: Classifier,
    data: LabelledImages,
    settings: GuidedSettings,
    ways: Sequence[str],
    grid: GuidedGrid,
    *,
    ready: Mapping[str, Tensor] | None = None,
    ready_cost: Mapping[str, int] | None = None,
    ready_seconds: Mapping[str, float] | None = None,
    controls: Iterable[str] = CONTROLS,
    seed: int = 0,
    progress: bool = True,
) -> Measured:
    """Scores of whole images and of every look at them, by masks and by controls. No label is read.

    Args:
        classifier: the classifier.
        data: the photographs; their boxes are read for the control ``annotated box`` alone.
        settings: the mask method, the candidates, and what is the same for all looks.
        ways: to look, of `fidokit.enhance.settings.WAYS`.
        grid: its shares and paddings are measured, its weights and gates are left to `choosing`.
        ready: image_id -> (h, w) mask for the predicted class that there is already.
        ready_cost: image_id -> evaluations which that mask took; 0 where it is not told.
        ready_seconds: image_id -> seconds which that mask took; 0 where it is not told.
        controls: names of `fidokit.enhance.controls.CONTROLS`.
        seed: of the random boxes, together with each image's image_id.
        progress: whether to show a progress bar.

    Returns:
        `Measured`. After Ctrl-C: the images that were measured until then, which is printed and noted.

    Raises:
        SettingsError: a control that there is not.
        MethodNotApplicable: the mask method does not suit this classifier.
        KeyboardInterrupt: Ctrl-C before anything was measured.
    """
    asked = control.check_controls(controls)
    chunks = [range(start, min(start + _CHUNK, len(data))) for start in range(0, len(data), _CHUNK)]
    with ExitStack() as stack:
        session = stack.enter_context(classifier.session())
        # Methods that read layers open this one for each chunk; kept open, it is made once.
        stack.enter_context(classifier.session(exact=True))
        pool = stack.enter_context(ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)))
        run = _Run(classifier, session, pool, data, settings, tuple(ways), grid, asked, seed)
        run.ready = (ready or {}, ready_cost or {}, ready_seconds or {})
        bar = stack.enter_context(tqdm(total=len(data), unit="image", disable=not progress))
        try:
            for positions in chunks:
                run.chunk(read_together(run.source, pool, positions))
                bar.update(len(positions))
        except KeyboardInterrupt:
            if not run.rows:
                raise
            n = len(run.rows)
            run.notes.append(f"stopped: {n} images were measured")
            print(f"Stopped. {n} of {len(data)} photographs were measured; what follows is of these.", file=sys.stderr)
    return run.result()


@dataclass(eq=False)
class _Looked:
    """The looks of one image by one way to find them: (K,) mean scores and number of views by key."""

    spent: int
    scores: dict[ViewKey, Tensor]
    views: dict[ViewKey, int]


@dataclass(eq=False)
class _Image:
    """Everything measured of one image."""

    image_id: str
    whole: Tensor
    seconds: float
    looked: dict[str, _Looked]
    crops: dict[ViewKey, tuple[int, int]]


#: Masks of an image's candidates, and the evaluations they took.
_Found = tuple[list[Guide], int]
#: Name -> views of each look, and the evaluations before them.
_Plan = dict[str, tuple[Views, int]]


@dataclass(eq=False)
class _Run:
    """One call of `measure`, see there."""

    classifier: Classifier
    session: Session
    pool: ThreadPoolExecutor
    data: LabelledImages
    settings: GuidedSettings
    ways: tuple[str, ...]
    grid: GuidedGrid
    asked: tuple[str, ...]
    seed: int
    ready: tuple[Mapping[str, Tensor], Mapping[str, int], Mapping[str, float]] = ({}, {}, {})
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    rows: list[_Image] = field(default_factory=list)
    view_seconds: float = 0.0
    views: int = 0

    def __post_init__(self) -> None:
        self.source = Source(self.data, self.classifier.preprocessing)
        self.ids = [str(image_id) for image_id in self.data.table["image_id"]]
        method = get_method(self.settings.method)
        if method.check is not None:
            method.check(self.classifier, self.settings.own_settings)
        self.controls = [name for name in self.asked if self._possible(name)]
        # The boxes of Grad-CAM are found as those of the masks are; the settings of their method are not its own.
        self.cam = replace(self.settings, method="grad-cam", kind=None, method_settings=None, evidence="mask")
        self.first = first_look(self.classifier, self.settings) if set(self.grid.doubts) - {None} else None

    def _possible(self, name: str) -> bool:
        """Whether a control can be had; if not, it is noted why."""
        why = None
        if name == "Grad-CAM crop":
            method = get_method("grad-cam")
            if self.settings.method == "grad-cam":
                why = "the masks are those of Grad-CAM"
            elif method.check is not None:
                try:
                    method.check(self.classifier, method.resolve())
                except MethodNotApplicable as error:
                    why = str(error)
        elif name == CEILING and not self.data.boxed.any():
            why = "the photographs have no boxes"
        if why is not None:
            self.notes.append(f"no {name}: {why}")
        return why is None

    def chunk(self, read: Read) -> None:
        """Measure the photographs of one chunk; of one that is interrupted nothing is kept."""
        failures = {self.ids[position]: reason for position, reason in read.unread.items()}
        logits = torch.full((len(read.positions), len(self.classifier.class_names)), torch.nan)
        for row, own in enumerate(logits_or_reasons(self.session, [image[None] for image in read.images])):
            reason = own if isinstance(own, str) else self.classifier.prediction(own[0])["reason"]
            if reason is not None:
                failures[self.ids[read.positions[row]]] = str(reason)
            elif not isinstance(own, str):
                logits[row] = own[0]
        rows = [row for row, position in enumerate(read.positions) if self.ids[position] not in failures]
        if rows:
            found, seconds = self._masks(read, logits, rows)
            maps: dict[str, dict[int, _Found]] = {}
            if "Grad-CAM crop" in self.controls:
                maps["grad-cam"] = self._guide(read, logits, rows, 0, self.cam)
            if self.first is not None and self.first.method not in maps:
                maps[self.first.method] = self._guide(read, logits, rows, 0, self.first)
            plans = {
                row: self._plan(read, row, found[row], {name: made[row] for name, made in maps.items() if row in made})
                for row in rows
            }
            measured = self._look(read, plans, failures)
            self.rows += [
                _Image(
                    self.ids[read.positions[row]],
                    probabilities(logits[row], self.classifier.head),
                    seconds[row],
                    looked,
                    {
                        key: crop_size(views[0].box, read.geometries[row])
                        for key, views in plans[row][MASKS][0].items()
                        if key[1] is not None
                    },
                )
                for row, looked in measured.items()
            ]
        self.failures |= failures

    def _masks(self, read: Read, logits: Tensor, rows: list[int]) -> tuple[dict[int, _Found], dict[int, float]]:
        """The candidates' masks of each row, and the seconds they took."""
        masks, costs, times = self.ready
        found: dict[int, _Found] = {}
        seconds: dict[int, float] = {}
        for row in rows:
            image_id = self.ids[read.positions[row]]
            there = image_id in masks
            found[row] = ([Guide(masks[image_id])], int(costs.get(image_id, 0))) if there else ([], 0)
            seconds[row] = float(times.get(image_id, 0.0)) if there else 0.0
        lacking = [row for row in rows if not found[row][0]]
        self._cut_ready(read, logits, [row for row in rows if found[row][0]], found)
        for first, several in ((1, [row for row in rows if found[row][0]]), (0, lacking)):
            start = time.perf_counter()
            for row, (made, spent) in self._guide(read, logits, several, first, self.settings).items():
                found[row] = ([*found[row][0], *made], found[row][1] + spent)
                seconds[row] += (time.perf_counter() - start) / len(several)
        return found, seconds

    def _cut_ready(self, read: Read, logits: Tensor, rows: list[int], found: dict[int, _Found]) -> None:
        """Give the masks that were there already their regions, where the settings ask for them."""
        if self.settings.evidence != "region" or not rows:
            return
        masks = [found[row][0][0].mask for row in rows]
        targets = logits[rows].argmax(1)
        regions, costs = guide_regions(self.classifier, read.images[rows], logits[rows], targets, masks, self.settings)
        for row, mask, region, cost in zip(rows, masks, regions, costs.tolist(), strict=True):
            found[row] = ([Guide(mask, region)], found[row][1] + cost)

    def _guide(
        self, read: Read, logits: Tensor, rows: list[int], first: int, settings: GuidedSettings
    ) -> dict[int, _Found]:
        """Masks of the candidates from the `first` one on; none where there are no such candidates."""
        candidates = min(settings.candidates, logits.shape[1])
        if not rows or first >= candidates:
            return {}
        names = [self.ids[read.positions[row]] for row in rows]
        targets = logits[rows].topk(candidates, dim=1).indices[:, first:]
        made = guide_masks(self.classifier, read.images[rows], names, logits[rows], targets, settings, first)
        return {row: (made.guides(i), int(made.evaluations[i])) for i, row in enumerate(rows)}

    def _plan(self, read: Read, row: int, found: _Found, maps: Mapping[str, _Found]) -> _Plan:
        """What to look at in one image; `maps` are those of class activation methods, by method."""
        position, grid, (masks, spent) = read.positions[row], self.grid, found
        nothing: _Found = ([], 0)
        own = control.guided(masks, self.ways, grid, self.settings)
        # The boxes of what is only faded say too how large a crop would be.
        crops = control.guided(masks, ("crop",), grid, self.settings)
        n = spent + (control.most_views(own, grid) if masks else max(map(len, grid.paddings)))
        plan: _Plan = {MASKS: (own, spent)}
        if self.first is not None:
            guides, cost = maps.get(self.first.method, nothing)
            once = GuidedGrid((self.first.share,), grid.paddings)
            plan[FIRST] = control.guided(guides, ("crop",), once, self.first), cost
            n += cost + max(map(len, grid.paddings)) * max(1, len(guides))
        cam = maps.get("grad-cam", nothing)
        for name in self.controls:
            rng = seed_of(f"{self.ids[position]}, {name}", self.seed)
            if name == "random crop":
                plan[name] = control.random_crops(crops, n, rng), 0
            elif name == "centre crop":
                plan[name] = control.centre_crops(crops, n, rng), 0
            elif name == "Grad-CAM crop":
                crops_of_map = control.guided(cam[0], ("crop",), grid, self.cam)
                plan[name] = control.with_more(crops_of_map, max(1, n - cam[1]), rng), cam[1]
            elif name == "multi-crop":
                plan[name] = control.multi_crop(n), 0
            else:
                lies = read.geometries[row]
                plan[name] = control.annotated(self.data.box(position, (lies.width, lies.height)), lies, grid), 0
        return plan

    def _look(self, read: Read, plans: dict[int, _Plan], failures: dict[str, str]) -> dict[int, dict[str, _Looked]]:
        """Render and evaluate what is planned, many views at a time; each view of an image once."""
        views = {row: _distinct(plan) for row, plan in plans.items()}
        settings, preprocessing = self.settings, self.source.preprocessing

        def draw(row: int) -> Tensor:
            photograph, several = self.source.open(read.positions[row]), list(views[row].values())
            return render(photograph, read.geometries[row], several, preprocessing, settings.infill, settings.fade)

        measured: dict[int, dict[str, _Looked]] = {}
        for group in batches_of(list(plans), {row: len(several) for row, several in views.items()}, _VIEWS):
            start = time.perf_counter()
            drawn = list(self.pool.map(attempt, [lambda row=row: draw(row) for row in group]))
            good = [pixels for pixels in drawn if not isinstance(pixels, str)]
            seen = [read.images[row] for row, pixels in zip(group, drawn, strict=True) if not isinstance(pixels, str)]
            logits = iter(logits_of_views(self.classifier, self.session, seen, good))
            for row, pixels in zip(group, drawn, strict=True):
                result = pixels if isinstance(pixels, str) else next(logits)
                if isinstance(result, str):
                    failures[self.ids[read.positions[row]]] = result
                    continue
                scores = dict(zip(views[row], probabilities(result, self.classifier.head), strict=True))
                measured[row] = {name: _averaged(name, plan, scores) for name, plan in plans[row].items()}
            self.view_seconds += time.perf_counter() - start
            self.views += sum(map(len, good))
        return measured

    def _looks(self) -> list[str]:
        return [MASKS, *([] if self.first is None else [FIRST]), *self.controls]

    def result(self) -> Measured:
        """Everything measured so far."""
        k = len(self.classifier.class_names)
        maskless = sum(not row.looked[MASKS].scores for row in self.rows)
        if maskless:
            n = len(self.rows)
            self.notes.append(f"{maskless} of {n} images have no mask: the classifier's own answer stands")
        keys = dict.fromkeys(key for row in self.rows for key in row.crops)
        each = self.view_seconds / max(1, self.views)
        return Measured(
            [row.image_id for row in self.rows],
            torch.stack([row.whole for row in self.rows]) if self.rows else torch.empty(0, k),
            {name: _gathered([row.looked[name] for row in self.rows], k, each) for name in self._looks()},
            torch.tensor([row.seconds for row in self.rows]),
            {key: np.array([row.crops.get(key, (np.nan, np.nan)) for row in self.rows], np.float64) for key in keys},
            self.failures,
            self.notes,
        )


def _identity(view: View) -> tuple[object, ...]:
    return view.box, None if view.mask is None else id(view.mask), view.mirrored


def _distinct(plan: _Plan) -> dict[tuple[object, ...], View]:
    """The views of a plan, each once: the crops of a mask are also the first of those around them."""
    return {_identity(view): view for looks, _ in plan.values() for views in looks.values() for view in views}


def _averaged(name: str, plan: tuple[Views, int], scores: Mapping[tuple[object, ...], Tensor]) -> _Looked:
    looks, spent = plan
    made: dict[ViewKey, Tensor] = {}
    for key, views in looks.items():
        several = torch.stack([scores[_identity(view)] for view in views])
        # Of many crops some may show nothing that can be classified; a mask's must all count, as they will in use.
        made[key] = several.mean(0) if name in (MASKS, FIRST) else several[torch.isfinite(several).all(1)].mean(0)
    return _Looked(spent, made, {key: len(views) for key, views in looks.items()})


def _gathered(rows: list[_Looked], classes: int, seconds: float) -> ViewScores:
    """The looks of all images; NaN, and no views, where an image has none of a key."""
    keys = list(dict.fromkeys(key for row in rows for key in row.scores))
    nothing = torch.full((classes,), torch.nan)
    scores = torch.full((len(rows), len(keys), classes), torch.nan)
    for i, row in enumerate(rows):
        for k, key in enumerate(keys):
            scores[i, k] = row.scores.get(key, nothing)
    counts = [torch.tensor([row.views.get(key, 0) for row in rows], dtype=torch.long) for key in keys]
    return ViewScores(keys, scores, torch.tensor([row.spent for row in rows], dtype=torch.long), counts, seconds)
