"""Regions that are verified: the smallest cut through a mask of which its claim is true, and under what it holds.

A mask ranks the places of an image. A *sufficient* region, kept alone, keeps the target's score; a *destroying* region,
filled in, destroys it. The cut is found by bisection over the area under infills that no method optimises with, and is
then checked under others, which took no part in the search: only what was checked is said to hold.

Default masks of 10 composites of the tuning part and 10 photographs of mammals, EfficientNet-Lite0, checked with three
photographs of textures and a mosaic: sufficient regions held in all of both (area 0.84, 0.84; Grad-CAM's in all and in
nine, 0.89, 0.92), destroying ones in nine of both (0.14, 0.46; Grad-CAM's in eight of both, 0.15, 0.52). Strange
surroundings cost a class more than the loss of most of the animal: sufficient regions that hold are large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fidokit._util.display import PictureDisplay
from fidokit.exceptions import SettingsError
from fidokit.methods.base import Kind, Masks, check_masks, resize_masks
from fidokit.methods.concrete import uniform
from fidokit.methods.infill import blur
from fidokit.methods.verdicts import DROPPED, KEPT, Claim, Holds, is_whole, region_words
from fidokit.models.apart import rows_apart

if TYPE_CHECKING:
    import pandas as pd

    from fidokit.models.classifier import Classifier
    from fidokit.models.goals import Goal, Targets
    from fidokit.models.session import Session

#: What the mask of a kind claims; a map that ranks places for no claim of its own is cut for both.
_CLAIMS: dict[Kind, tuple[Claim, ...]] = {"ssr": ("sufficient",), "sdr": ("destroying",)}
_BOTH: tuple[Claim, ...] = ("sufficient", "destroying")
#: Of `Regions.to_frame`, and of what a study keeps.
REGION_COLUMNS = (
    *("image_id", "method", "kind", "claim", "holds", "area", "score", "worst", "scores"),
    *("region", "evaluations", "verdict"),
)
#: Shares of the image among which the cut is looked for, a sixth larger each: five halvings find one of 32.
AREAS: tuple[float, ...] = tuple(float(area) for area in np.geomspace(0.008, 1.0, 32))
_HALVINGS = 5
#: Infills of the search.
_SEARCHED = 3
#: Areas by which the region is larger than the smallest one that was found, and the share of the way to the whole
#: score (or to none) that the search asks for beyond the claim: the check is under infills that are new. With these all
#: of FIDO's own regions held on 18 composites of the tuning part (areas 0.86 and 0.17); one area less for sufficient
#: ones is too few for one of them, one more for destroying ones only makes them larger (0.20).
MARGIN: dict[Claim, int] = {"sufficient": 3, "destroying": 2}
_STRICTER = 0.75
#: Standard deviation of a region's softened edge, as a share of the shorter side.
_EDGE = 0.01
# Shifts that count as equally far away, as a share of the region beyond the smallest overlap.
_SLACK = 0.02


@dataclass(frozen=True)
class _Region:
    """One region of one image.

    Attributes:
        image_id, method, kind: of the mask that it was cut from.
        claim: what was asked of it.
        region: (H, W) bool at the input's size, True inside.
        area: share of the image.
        scores: (P,) under each infill of the check: the target's score with the region kept (sufficient) or filled in
            (destroying), as a share of the whole image's.
        holds: whether the claim is true under all of these infills, under none, or only under some.
        evaluations: spent on search and check.
    """

    image_id: str
    method: str
    kind: Kind
    claim: Claim
    region: npt.NDArray[np.bool_]
    area: float
    scores: tuple[float, ...]
    holds: Holds
    evaluations: int

    @property
    def verdict(self) -> str:
        """What was found, in words; see `region_words`."""
        return region_words(self.claim, self.holds, self.scores, self.area)


class Regions(PictureDisplay, Sequence[_Region]):
    """Regions of several images: a sequence, and a table by `to_frame`; a notebook shows the first of them.

    Args:
        found: the regions.
        masks: whose regions they are, for their photographs.
    """

    def __init__(self, found: Sequence[_Region], masks: Masks | None = None) -> None:
        self._found = list(found)
        self.masks = masks

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> _Region: ...
    @overload
    def __getitem__(self, index: slice) -> Regions: ...
    def __getitem__(self, index: int | slice) -> _Region | Regions:
        return Regions(self._found[index], self.masks) if isinstance(index, slice) else self._found[index]

    def __repr__(self) -> str:
        parts, whole = [], 0
        for claim in _BOTH:
            own = [one for one in self._found if one.claim == claim]
            hold = [one for one in own if one.holds == "yes"]
            smaller = [one for one in hold if not is_whole(one.area)]
            whole += len(hold) - len(smaller)
            parts += [f"{len(smaller)} of {len(own)} {claim}"] if own else []
        more = f", {whole} only as the whole picture" if whole else ""
        return f"Regions({', '.join(parts)} hold{more})"

    def to_frame(self) -> pd.DataFrame:
        """One row a region: image_id, method, kind, claim, holds, area, score (mean over the check's infills), worst
        (the score furthest from the claim), scores (a tuple, under each of the infills), region (an (H, W) bool array),
        evaluations, verdict (in words)."""
        import pandas as pd

        columns = REGION_COLUMNS
        rows = [
            {
                **{name: getattr(one, name) for name in columns if name not in ("score", "worst")},
                "score": float(np.mean(one.scores)),
                "worst": min(one.scores) if one.claim == "sufficient" else max(one.scores),
            }
            for one in self._found
        ]
        return pd.DataFrame(rows, columns=list(columns))


def mosaic(size: tuple[int, int], *, cells: int = 12, seed: int = 0) -> Tensor:
    """(3, H, W) mosaic of flat random colours, cells x cells of them: an infill that no method optimises with."""
    colours = uniform(torch.tensor([seed]), 0, (3, cells, cells))
    return functional.interpolate(colours, size=size, mode="nearest")[0]


def cloud(size: tuple[int, int], *, seed: int = 0, octaves: int = 6) -> Tensor:
    """(3, H, W) coloured noise of all scales, the coarser the stronger, as in photographs of textures."""
    total = torch.zeros(1, 3, *size)
    for octave in range(octaves):
        noise = uniform(torch.tensor([seed]), 1 + octave, (3, 2 << octave, 2 << octave)) - 0.5
        total += functional.interpolate(noise, size=size, mode="bilinear") * 0.7**octave
    return (0.5 + total[0]).clamp(0, 1)


def _weave(size: tuple[int, int], *, seed: int = 0) -> Tensor:
    """(3, H, W) grey waves in a random direction, 8 to 24 across, bent by a `cloud`: a texture of strong contrast."""
    u = uniform(torch.tensor([seed]), 0, (3,))[0]
    angle, waves = torch.pi * u[0], 8 + 16 * u[1]
    down, across = (torch.linspace(0, 1, side) for side in size)
    phase = waves * (torch.cos(angle) * across[None] + torch.sin(angle) * down[:, None]) + u[2]
    bend = cloud(size, seed=seed + 1).mean(0)
    return (0.5 + 0.5 * torch.sin(2 * torch.pi * (phase + 2 * bend))).expand(3, *size)


def search_infills(size: tuple[int, int]) -> Tensor:
    """(3, 3, H, W) infills that the cut is looked for with."""
    return torch.stack([mosaic(size, cells=9, seed=101), cloud(size, seed=102), _weave(size, seed=103)])


def check_infills(size: tuple[int, int]) -> Tensor:
    """(3, 3, H, W) infills that the cut is checked with where no others are given."""
    return torch.stack([mosaic(size), _weave(size, seed=3), cloud(size, seed=5)])


def cut(mask: Tensor, area: float) -> Tensor:
    """(B, H, W) bool: the most important share of the pixels of (B, H, W) masks, at least one.

    Ties are broken at random, but always alike: in the order of their memory they would favour a corner.
    """
    flat = mask.flatten(1)
    shuffled = uniform(torch.zeros(1, dtype=torch.int64), 0, (flat.shape[1],)).argsort(1).expand(len(flat), -1)
    order = shuffled.gather(1, flat.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))
    count = max(1, round(area * flat.shape[1]))
    inside = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order[:, :count], True)
    return inside.view(mask.shape)


def softened(regions: Tensor) -> Tensor:
    """(B, H, W) regions of bool with soft edges, in [0, 1]: hard edges are features themselves."""
    return blur(regions[:, None].float(), _EDGE).clamp(0, 1)[:, 0]


def control_region(region: npt.NDArray[np.bool_], generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """(H, W) as many pixels, of the same shapes, elsewhere: the region shifted around the edges.

    Of all shifts one of those is drawn that share the fewest pixels with the region, within 2 % of its size. A region
    of more than half of the input cannot help but share some; what it leaves out then lies elsewhere.
    """
    spectrum = np.fft.rfft2(region.astype(np.float64))
    shared = np.fft.irfft2(np.abs(spectrum) ** 2, s=region.shape)
    near = np.flatnonzero(shared.ravel() <= shared.min() + _SLACK * region.sum() + 0.5)
    down, across = divmod(int(generator.choice(near)), region.shape[1])
    return np.roll(region, (down, across), (0, 1))


def find_regions(
    classifier: Classifier,
    masks: Masks,
    images: Tensor | None = None,
    *,
    targets: Targets = None,
    kinds: Sequence[Kind] | None = None,
    claims: Sequence[Claim] | None = None,
    kept: float = KEPT,
    dropped: float = DROPPED,
    infills: Tensor | None = None,
) -> Regions:
    """The verified regions of masks.

    An image's region depends on nothing but its own mask. A region costs ``5 * 3`` evaluations for the search and one
    for each infill of the check.

    Args:
        classifier: that the masks explain.
        masks: from `fidokit.explain`.
        images: (B, 3, H, W) in [0, 1] that they are of; None for those that the masks know.
        targets: what they explain, where that was a function; else it is taken from the masks.
        kinds: which masks to cut, by default all. ``ssr`` masks are cut for a sufficient region, ``sdr`` masks for a
            destroying one, all others for both.
        claims: only these, of ``sufficient`` and ``destroying``; None for all that a kind makes.
        kept: least share of the whole image's score that a sufficient region must keep.
        dropped: largest share of it that may be left without a destroying region.
        infills: (P, 3, H, W) in [0, 1] to check with, such as photographs of other places; None for mosaics and clouds
            of colours.

    Returns:
        `Regions`, for each kind and claim one an image.

    Raises:
        SettingsError: shares or infills out of range, a kind that there is not, or a function that was not given.

    Example:
        >>> regions = fk.find_regions(clf, fk.explain(clf, data), kinds=["ssr", "sdr"])
        >>> table = regions.to_frame()
        >>> sorted(set(table["holds"]) - {"yes", "no", "only under some infills"})
        []
    """
    check_masks(masks, "study.regions()")
    for name, share in (("kept", kept), ("dropped", dropped)):
        if not 0 < share < 1:
            raise SettingsError(f"{name} is a share of the whole image's score, in (0, 1), not {share!r}")
    for claim in claims or ():
        if claim not in _BOTH:
            raise SettingsError(f"there is no claim {claim!r}; there are {', '.join(_BOTH)}")
    images = classifier.check_images(masks.inputs() if images is None else images)
    if len(images) != len(masks):
        raise SettingsError(f"{len(masks)} masks need as many images, not {len(images)}; pass those that they are of")
    size = (images.shape[-2], images.shape[-1])
    check = check_infills(size) if infills is None else infills
    if check.ndim != 4 or check.shape[1:] != images.shape[1:] or not len(check):
        raise SettingsError(f"infills must be (P, 3, {size[0]}, {size[1]}) in [0, 1], not {tuple(check.shape)}")
    goal = _goal(classifier, masks, targets)
    found: list[_Region] = []
    with classifier.session() as session:
        subject = Subjects(masks.image_ids, images, goal, masks.score_full)
        for kind in masks.kinds if kinds is None else kinds:
            for claim in claims_of(kind):
                if claims is None or claim in claims:
                    needed = kept if claim == "sufficient" else dropped
                    found += cut_regions(
                        classifier, session, subject, masks.method, kind, masks[kind], claim, needed, check
                    )
    return Regions(found, masks)


@dataclass(frozen=True)
class Subjects:
    """Images that regions are cut of, and what their masks explain.

    Attributes:
        image_ids: B names.
        images: (B, 3, H, W) in [0, 1].
        goal: what the masks explain.
        score_full: (B,) scores of the whole images.
    """

    image_ids: Sequence[str]
    images: Tensor
    goal: Goal
    score_full: Tensor


def claims_of(kind: Kind) -> tuple[Claim, ...]:
    """What the mask of a kind is cut for."""
    return _CLAIMS.get(kind, _BOTH)


def cut_regions(
    classifier: Classifier,
    session: Session,
    subjects: Subjects,
    method: str,
    kind: Kind,
    masks: Tensor,
    claim: Claim,
    needed: float,
    check: Tensor,
) -> list[_Region]:
    """One region an image: cut from (B, h, w) masks, and checked under (P, 3, H, W) infills; see `find_regions`."""
    regions, scores, true = _verified(classifier, session, subjects, masks, claim, needed, check)
    made = []
    for i, image_id in enumerate(subjects.image_ids):
        holds: Holds = "yes" if bool(true[i].all()) else "only under some infills" if bool(true[i].any()) else "no"
        region, of_check = regions[i].numpy(), tuple(scores[i].tolist())
        cost = _cost(len(check))
        made.append(_Region(image_id, method, kind, claim, region, float(region.mean()), of_check, holds, cost))
    return made


def sufficient_regions(
    classifier: Classifier, session: Session, subjects: Subjects, masks: Tensor, kept: float = KEPT
) -> tuple[Tensor, Tensor, int]:
    """The sufficient regions of one mask an image, for whoever has no use for the table of `find_regions`.

    Args:
        classifier: that the masks explain.
        session: an open one of it.
        subjects: the B images.
        masks: (B, h, w).
        kept: least share of the whole image's score that a region must keep.

    Returns:
        (B, H, W) bool; (B,) bool, whether each holds under all infills of the check; evaluations spent on each image.
    """
    check = check_infills((subjects.images.shape[-2], subjects.images.shape[-1]))
    regions, _, true = _verified(classifier, session, subjects, masks, "sufficient", kept, check)
    return regions, true.all(1), _cost(len(check))


def _verified(
    classifier: Classifier,
    session: Session,
    subjects: Subjects,
    masks: Tensor,
    claim: Claim,
    needed: float,
    check: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(B, H, W) bool regions; (B, P) scores under each infill of the check, and whether the claim is true under it."""
    size = (subjects.images.shape[-2], subjects.images.shape[-1])
    whole = resize_masks(masks.float(), size)
    regions = torch.zeros(whole.shape, dtype=torch.bool)
    scores = torch.full((len(whole), len(check)), torch.nan)
    true = torch.zeros(scores.shape, dtype=torch.bool)
    searched = search_infills(size)
    for rows, left_out in rows_apart(classifier, subjects.images):
        index = torch.tensor(rows)
        own, full = subjects.images[index], subjects.score_full[index]
        work = _Work(session, own, subjects.goal[index], full, whole[index], claim, needed)
        with classifier.leaving_out(left_out):
            places = work.search(searched)
            found = work.scores(places, check)
        regions[index], scores[index], true[index] = work.regions(places), found, work.true(found)
    return regions, scores, true


def _cost(checked: int) -> int:
    """Evaluations of one region that is checked under so many infills."""
    return _HALVINGS * _SEARCHED + checked


def _goal(classifier: Classifier, masks: Masks, targets: Targets) -> Goal:
    if targets is None and any(name.startswith("function:") for name in masks.target):
        raise SettingsError("these masks explain a function of the logits; pass it as `targets`")
    nothing = torch.zeros(len(masks), len(classifier.class_names))
    against = masks.against if any(name is not None for name in masks.against) else None
    return classifier.goal(nothing, masks.target if targets is None else targets, against)


@dataclass(frozen=True)
class _Work:
    """One kind's masks and one claim; every image is at an area of its own."""

    session: Session
    images: Tensor
    goal: Goal
    score_full: Tensor
    masks: Tensor
    claim: Claim
    needed: float

    def search(self, infills: Tensor) -> Tensor:
        """(B,) positions in `AREAS`: the smallest where the claim is true under all infills, plus the margin."""
        low, high = torch.zeros(len(self.images), dtype=torch.int64), torch.full((len(self.images),), len(AREAS) - 1)
        while bool((low < high).any()):
            middle = (low + high) // 2
            true, looking = self.true(self.scores(middle, infills), _STRICTER).all(1), low < high
            high, low = torch.where(looking & true, middle, high), torch.where(looking & ~true, middle + 1, low)
        return (high + MARGIN[self.claim]).clamp(max=len(AREAS) - 1)

    def true(self, scores: Tensor, stricter: float = 0.0) -> Tensor:
        """Where the claim is true, or a stricter one."""
        if self.claim == "sufficient":
            return scores >= self.needed + stricter * (1 - self.needed)
        return scores <= self.needed * (1 - stricter)

    def regions(self, places: Tensor) -> Tensor:
        """(B, H, W) bool."""
        return torch.cat([cut(self.masks[i : i + 1], AREAS[place]) for i, place in enumerate(places.tolist())])

    def scores(self, places: Tensor, infills: Tensor) -> Tensor:
        """(B, P) scores as shares of the whole image's, at each image's own area under each infill."""
        soft = softened(self.regions(places))[:, None]
        inside = soft if self.claim == "sufficient" else 1 - soft
        count, logits = len(infills), []
        several = max(1, self.session.micro_batch // count)
        for start in range(0, len(inside), several):
            image, share = self.images[start : start + several, None], inside[start : start + several, None]
            logits.append(self.session.logits((infills + share * (image - infills)).flatten(0, 1)))
        scores = self.goal.repeat(count).score(torch.cat(logits)).view(-1, count)
        return scores / self.score_full[:, None].clamp(min=torch.finfo(torch.float32).tiny)
