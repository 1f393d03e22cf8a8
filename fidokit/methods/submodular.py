"""SMDL and LiMA: superpixels in the order in which a greedy search adds them, by forward passes alone.

Sources: SMDL: Chen, Zhang, Liang, Li, Cao, "Less is more: fewer interpretable region via submodular subset selection",
ICLR 2024 (arXiv 2402.09164). LiMA: Chen, Liang, Li, Liu, Liu, Zhang, Cao, "Less is more: efficient black-box
attribution via minimal interpretable subset selection", 2025 (arXiv 2504.00470).

Both look for the set S of superpixels with the largest ``F(S) = w1 consistency + w2 collaboration + w3 confidence
+ w4 effectiveness``: S alone looks like the class, the image without S does not, the prediction for S is certain, and
the superpixels in S differ. What they call consistency is the similarity of the classifier's features to the class in
SMDL, and the class's score in LiMA for classifiers. SMDL adds the best superpixel until none is left. LiMA also takes
away the worst one in each step, looked for among the few that would have gained least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fidokit._util.checks import COUNT, NOT_NEGATIVE, Number, require_choice, require_numbers
from fidokit.methods.base import Batch, Computed, Method, OnProgress, Snapshot
from fidokit.methods.gradient_settings import BASELINES, Baseline
from fidokit.methods.pyramid import baseline_images
from fidokit.methods.superpixels import superpixels
from fidokit.models.goals import Goal, independent, inside, probabilities

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session

#: Values of F closer than this share of the weights count as equal; the superpixel with the smaller number goes first.
#: Rounding errors, which depend on the neighbours in a batch, would otherwise choose where a score is saturated.
_TIE = 1e-5
#: Of the range of a map, this share falls evenly from place to place in the order, so that no two places are equal.
_ORDER = 0.01


@dataclass(frozen=True)
class LimaSettings:
    """Settings of LiMA.

    An image of 49 superpixels costs 1612 evaluations, two for each set that is tried.

    Attributes:
        regions: superpixels, about 50 as in the paper.
        consistency, collaboration, confidence: weights of the three terms: those that the authors take for classifiers,
            where the fourth, effectiveness, is left out.
        pending: superpixels among which the worst one is looked for in each step: the authors' 8. With 0 all are added
            one by one and none is taken away, which costs 2452 for 49: 1.5 times as many (the authors: 1.6 times the
            time).
        baseline: what stands in for the superpixels that are out, see `IntegratedGradientsSettings`. ``black`` as
            published.

    Raises:
        SettingsError: a value outside its range.
    """

    regions: int = 50
    consistency: float = 20.0
    collaboration: float = 5.0
    confidence: float = 0.01
    pending: int = 8
    baseline: Baseline = "black"

    def __post_init__(self) -> None:
        require_numbers(self, regions=COUNT, pending=Number(least=0, whole=True))
        require_numbers(self, consistency=NOT_NEGATIVE, collaboration=NOT_NEGATIVE, confidence=NOT_NEGATIVE)
        require_choice(self, "baseline", BASELINES)


@dataclass(frozen=True)
class SmdlSettings:
    """Settings of SMDL.

    An image of 49 superpixels costs 2502 evaluations. Two things differ from the paper. It groups patches by a first
    saliency map; superpixels, which the authors offer too, need none and were better in their own comparison. And its
    confidence comes from a network trained for evidential uncertainty; here it is that of LiMA, from the entropy.

    Attributes:
        regions: superpixels, about.
        consistency, collaboration, confidence, effectiveness: weights of the four terms, 1 as in the paper.
        baseline: what stands in for the superpixels that are out, see `IntegratedGradientsSettings`. ``black`` as
            published.

    Raises:
        SettingsError: a value outside its range.
    """

    regions: int = 50
    consistency: float = 1.0
    collaboration: float = 1.0
    confidence: float = 1.0
    effectiveness: float = 1.0
    baseline: Baseline = "black"

    def __post_init__(self) -> None:
        require_numbers(self, regions=COUNT, consistency=NOT_NEGATIVE, collaboration=NOT_NEGATIVE)
        require_numbers(self, confidence=NOT_NEGATIVE, effectiveness=NOT_NEGATIVE)
        require_choice(self, "baseline", BASELINES)


def certainty(logits: Tensor, goal: Goal) -> Tensor:
    """(E,) 1 less the entropy of the prediction as a share of the largest possible: 1 where the classifier is certain.

    Where classes are judged one by one, the mean over the classes of the entropy of yes and no.
    """
    score = probabilities(logits.double(), goal.head)
    entropy: Tensor = torch.special.entr(score)
    if independent(goal.head):
        no: Tensor = torch.special.entr(1 - score)
        return 1 - (entropy + no).mean(1) / math.log(2)
    return 1 - entropy.sum(1) / math.log(max(2, logits.shape[1]))


def effectiveness(distance: Tensor, inside: Tensor) -> Tensor:
    """(E,) sum over the members of sets of the distance to the nearest other member; 0 for fewer than two.

    Args:
        distance: (M, M).
        inside: (E, M) bool.
    """
    alone = torch.eye(len(distance), dtype=torch.bool, device=distance.device)
    other = torch.where(inside[:, None, :] & ~alone, distance, torch.inf).amin(2)
    return torch.where(inside & other.isfinite(), other, 0.0).sum(1)


class _Features:
    """While active, keeps the input of the linear layer that gives the logits; where there is none, the logits serve.

    The class of an image is a row of that layer's weights, a taxon the mean of the rows of its classes.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.held: Tensor | None = None
        self.layer: nn.Linear | None = None

    def __enter__(self) -> _Features:
        linear = [m for m in self.session.module.modules() if isinstance(m, nn.Linear)]
        self._handles = [layer.register_forward_pre_hook(self._keep) for layer in linear]
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, layer: nn.Linear, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim == 2:
            self.held, self.layer = inputs[0], layer

    def of(self, logits: Tensor) -> Tensor:
        """(E, D) features of the images whose logits came last."""
        if self._head(logits.shape[1]) is None or self.held is None:
            return (logits - logits.mean(1, keepdim=True)).cpu().double()
        return self.held[: len(logits)].cpu().double()

    def _head(self, classes: int) -> Tensor | None:
        if self.layer is None:
            return None
        weight = self.layer.weight.detach().cpu().double()
        # A single logit z was made into (-z, z).
        weight = torch.cat([-weight, weight]) if len(weight) == 1 else weight
        return weight if len(weight) == classes else None

    def goals(self, logits: Tensor, goal: Goal, whole: Tensor) -> Tensor:
        """(B, D) what features are compared with: those of the class, or of the whole images if there is no class."""
        weight = self._head(logits.shape[1])
        if weight is None or goal.target is None:
            return whole
        own = _mean_rows(weight, goal.target, goal.groups)
        return own if goal.against is None else own - _mean_rows(weight, goal.against, goal.groups)


def _mean_rows(weight: Tensor, asked: Tensor, groups: Tensor | None) -> Tensor:
    """(B, D) mean of the (K, D) rows of what is asked for, see `log_odds`; 0 where that is -1."""
    groups = torch.zeros(0, len(weight), dtype=torch.bool) if groups is None else groups.cpu()
    members = inside(asked.cpu(), groups).to(weight)
    return members @ weight / members.sum(1, keepdim=True).clamp_min(1)


@dataclass
class _Search:
    """The search of one image.

    Attributes:
        image: position in the batch.
        x, baseline: (3, H, W), normalised.
        labels: (H, W) superpixels.
        n: how many there are.
        first: superpixels in the order in which they were added.
        last: superpixels that were taken away, the worst first.
        values: F after each of `first`.
        values_without: F of all superpixels without the first one of `last`, without the first two, and so on.
        whole: F of all superpixels.
        distance: (n, n) between the features of single superpixels; of SMDL.
        concept: (D,) what features are compared with; of SMDL.
        nan: whether a value was.
    """

    image: int
    x: Tensor
    baseline: Tensor
    labels: Tensor
    n: int
    first: list[int]
    last: list[int]
    values: list[float]
    values_without: list[float]
    whole: float = 0.0
    distance: Tensor | None = None
    concept: Tensor | None = None
    nan: bool = False

    @property
    def left(self) -> list[int]:
        """Superpixels that are in neither list."""
        gone = {*self.first, *self.last}
        return [i for i in range(self.n) if i not in gone]

    def sets(self, members: Sequence[Sequence[int]]) -> Tensor:
        """(E, n) bool, on the CPU, where all is computed but for the logits."""
        inside = torch.zeros(len(members), self.n, dtype=torch.bool)
        for row, names in zip(inside, members, strict=True):
            row[list(names)] = True
        return inside

    def attribution(self) -> Tensor:
        """(n,) attribution of each superpixel: that of the one before it in the order, less the change of F it brings.

        The last one has 0. Superpixels that are left, while the search goes on, count as one with what was taken away.
        """
        order = [*self.first, *reversed(self.last)]
        # Without all of `last` is the same set as all of `first`.
        values = [*self.values, *reversed(self.values_without[: len(self.last) - 1])]
        values += [self.whole] * (len(order) - len(values))
        steps = torch.tensor(values, dtype=torch.float64).diff().abs()
        found = torch.zeros(self.n, dtype=torch.float64)
        found[order] = torch.cat([steps.flip(0).cumsum(0).flip(0), steps.new_zeros(1)])
        if self.last:
            found[self.left] = float(found[self.last[-1]])
        return found

    def place(self) -> Tensor:
        """(n,) 1 for the first in the order, falling to 0 for the last; superpixels that are left lie between."""
        found = torch.full((self.n,), 0.5, dtype=torch.float64)
        whole = max(1, self.n - 1)
        for i, name in enumerate(self.first):
            found[name] = 1 - i / whole
        for i, name in enumerate(self.last):
            found[name] = i / whole
        return found


class _Run:
    """One call: a few images at a time, in step, so that the candidates of all of them share batches."""

    def __init__(self, session: Session, batch: Batch, settings: LimaSettings | SmdlSettings) -> None:
        self.session, self.batch, self.settings = session, batch, settings
        self.smdl = isinstance(settings, SmdlSettings)
        self.pending = settings.pending if isinstance(settings, LimaSettings) else 0
        n, size = len(batch), (batch.images.shape[-2], batch.images.shape[-1])
        self.raw = torch.full((n, 1, *size), torch.nan)
        self.masks = torch.full((n, *size), torch.nan)
        self.finished = torch.zeros(n, dtype=torch.bool)
        self.evaluations = torch.zeros(n, dtype=torch.int64)
        terms = ("consistency", "collaboration", "confidence", "effectiveness")
        self.weights = {term: float(getattr(settings, term, 0.0)) for term in terms}
        self.features = _Features(session)

    @torch.no_grad()
    def explain(self, on_progress: OnProgress | None) -> bool:
        """Explain all images; True if Ctrl-C ended it early."""
        at_once = max(1, self.session.micro_batch // 8)
        try:
            with self.features:
                for first in range(0, len(self.batch), at_once):
                    if self._group(range(first, min(first + at_once, len(self.batch))), on_progress):
                        break
        except KeyboardInterrupt:
            return True
        return False

    def _group(self, images: range, on_progress: OnProgress | None) -> bool:
        """Search of a few images; True if a stop was asked for. What Ctrl-C leaves behind is kept."""
        searches: list[_Search] = []
        try:
            searches = [self._search(image) for image in images]
            self._begin(searches)
            while any(search.left for search in searches):
                self._step([search for search in searches if search.left])
                more = any(search.left for search in searches)
                if more and on_progress is not None and on_progress(self._snapshot(searches)):
                    return True
        finally:
            self._keep(searches)
        return bool(on_progress is not None and on_progress(self._snapshot(searches)))

    def _search(self, image: int) -> _Search:
        device = self.session.device
        picture = self.batch.images[image : image + 1].to(device)
        labels = superpixels(picture[0], self.settings.regions).to(device)
        x, baseline = self.session.normalise(picture), baseline_images(self.session, picture, self.settings.baseline)
        return _Search(image, x[0], baseline[0], labels, int(labels.max()) + 1, [], [], [], [])

    def _begin(self, searches: list[_Search]) -> None:
        """What is needed of each image before the first step."""
        if self.smdl:
            members = [[[i] for i in range(s.n)] + [list(range(s.n))] for s in searches]
            found = self._evaluate([(s, s.sets(sets)) for s, sets in zip(searches, members, strict=True)])
            for search, (logits, features) in zip(searches, found, strict=True):
                single = functional.normalize(features[:-1], dim=1)
                search.distance = 1 - single @ single.T
                goal = self._goal(search, 1)
                search.concept = self.features.goals(logits[-1:], goal, features[-1:])[0]
        ends = self._values([(search, search.sets([[]])) for search in searches])
        for search, (_, without_none) in zip(searches, ends, strict=True):
            search.whole = float(without_none[0])

    def _step(self, searches: list[_Search]) -> None:
        """Add the best superpixel of each image, and take the worst one away."""
        candidates = [search.left for search in searches]
        tried = [(s, s.sets([[*s.first, i] for i in left])) for s, left in zip(searches, candidates, strict=True)]
        added: list[tuple[int, float]] = []
        doubtful: list[tuple[_Search, list[int]]] = []
        for search, left, (gained, _) in zip(searches, candidates, self._values(tried), strict=True):
            best = self._largest(gained)
            added.append((left[best], float(gained[best])))
            if 0 < self.pending < len(left):
                least = self._rounded(gained).argsort(stable=True)[: self.pending].tolist()
                doubtful.append((search, [left[i] for i in least if i != best]))
        doubtful = [(search, names) for search, names in doubtful if names]
        taken: list[tuple[_Search, int, float]] = []
        sets = [(search, search.sets([[*search.last, i] for i in names])) for search, names in doubtful]
        for (search, names), (worth, without) in zip(doubtful, self._values(sets), strict=True):
            worst = self._largest(-worth)
            taken.append((search, names[worst], float(without[worst])))
        # Ctrl-C comes before this or after it, not in between.
        for search, (name, value) in zip(searches, added, strict=True):
            search.first.append(name)
            search.values.append(value)
        for search, name, value in taken:
            search.last.append(name)
            search.values_without.append(value)

    def _rounded(self, values: Tensor) -> Tensor:
        unit = _TIE * max(sum(self.weights.values()), torch.finfo(torch.float32).tiny)
        return (values / unit).round()

    def _largest(self, values: Tensor) -> int:
        """Position of the first of the largest values."""
        rounded = self._rounded(values.nan_to_num())
        return int((rounded == rounded.max()).nonzero()[0])

    def _values(self, tried: list[tuple[_Search, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """F of sets, and of what is left without them: for each image's (E, n) sets, two (E,) tensors on the CPU."""
        both = [(search, torch.cat([sets, ~sets])) for search, sets in tried]
        found = []
        for (search, sets), (logits, features) in zip(both, self._evaluate(both), strict=True):
            like, certain = self._likeness(search, logits, features), certainty(logits, self.batch.goal)
            opposite = like.roll(len(like) // 2)
            w = self.weights
            value = w["consistency"] * like + w["collaboration"] * (1 - opposite) + w["confidence"] * certain
            if search.distance is not None and w["effectiveness"]:
                value = value + w["effectiveness"] * effectiveness(search.distance, sets)
            search.nan |= bool(value.isnan().any())
            inside, outside = value.chunk(2)
            found.append((inside, outside))
        return found

    def _likeness(self, search: _Search, logits: Tensor, features: Tensor) -> Tensor:
        """(E,) how much images look like what is explained."""
        if search.concept is not None:
            return functional.cosine_similarity(features, search.concept[None], dim=1)
        return self._goal(search, len(logits)).score(logits).double()

    def _goal(self, search: _Search, n: int) -> Goal:
        return self.batch.goal[search.image : search.image + 1].repeat(n)

    def _evaluate(self, asked: list[tuple[_Search, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """(E, K) logits, and (E, D) features for SMDL, of the images in which only a set of superpixels is left."""
        order = [(search, row) for search, sets in asked for row in sets.to(self.session.device)]

        def run(rows: slice) -> tuple[Tensor, Tensor]:
            logits = self.session.evaluate(
                torch.stack([torch.where(row[s.labels], s.x, s.baseline) for s, row in order[rows]])
            )
            return logits.cpu(), self.features.of(logits) if self.smdl else logits[:, :0].cpu()

        parts = [pair for _, pair in self.session.in_micro_batches(len(order), run)]
        if not parts:
            return []
        logits, features = (torch.cat(part) for part in zip(*parts, strict=True))
        found, start = [], 0
        for search, sets in asked:
            found.append((logits[start : start + len(sets)], features[start : start + len(sets)]))
            self.evaluations[search.image] += len(sets)
            start += len(sets)
        return found

    def _keep(self, searches: list[_Search]) -> None:
        """Maps of what was found so far; none of an image whose search has not begun or met NaN."""
        for search in searches:
            if search.first:
                labels = search.labels.cpu()
                raw = torch.full((search.n,), torch.nan) if search.nan else search.attribution().float()
                self.raw[search.image, 0] = raw[labels]
                self.masks[search.image] = self._mask(raw, search.place().float())[labels]
                self.finished[search.image] = not search.left

    @staticmethod
    def _mask(raw: Tensor, place: Tensor) -> Tensor:
        """(n,) in [0, 1]: the attribution, scaled, and a little of the order where attributions are equal."""
        gap = raw.max() - raw.min()
        scaled = (raw - raw.min()) / gap if gap != 0 else torch.zeros_like(raw)
        return (1 - _ORDER) * scaled + _ORDER * place

    def _snapshot(self, searches: list[_Search]) -> Snapshot:
        self._keep(searches)
        nothing = torch.full((len(searches),), torch.nan)
        # An upper bound: no search tries more sets than this.
        most = sum(2 * s.n * (s.n + 3) for s in searches) // max(1, len(searches))
        return Snapshot(
            image_ids=[self.batch.image_ids[search.image] for search in searches],
            masks={"attribution": self.masks[[search.image for search in searches]].clone()},
            score_kept=nothing,
            score_dropped=nothing,
            evaluations=int(self.evaluations.sum()),
            total=max(int(self.evaluations.sum()), len(self.batch) * most),
            finished=int(self.finished.sum()),
        )


def _compute(
    classifier: Classifier, batch: Batch, settings: LimaSettings | SmdlSettings, on_progress: OnProgress | None = None
) -> Computed:
    """Masks of a batch; ``raw`` holds the attributions as the papers define them. See `Method`."""
    with classifier.session(exact=True) as session:
        run = _Run(session, batch, settings)
        interrupted = run.explain(on_progress)
    return Computed(
        kinds={"attribution": run.masks},
        evaluations=run.evaluations,
        finished=run.finished,
        raw=run.raw,
        interrupted=interrupted,
    )


METHODS: dict[str, Method] = {
    "smdl": Method(
        _compute,
        SmdlSettings,
        ("attribution",),
        "superpixels in the order in which a greedy search adds them, by how the classifier's features resemble the "
        "class",
    ),
    "lima": Method(
        _compute,
        LimaSettings,
        ("attribution",),
        "superpixels in the order of a greedy search from both ends, by the score of the class",
    ),
}
