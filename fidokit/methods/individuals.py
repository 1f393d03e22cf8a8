"""What a gallery's answers rest on: masks on both photographs of a pair, and ranks that fall without a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fidokit._util.ambient import unaffected
from fidokit._util.checks import COUNT, Number, check_number
from fidokit._util.display import PictureDisplay
from fidokit.data.images import LabelledImages
from fidokit.data.inputs import Images, given_images
from fidokit.data.labels import match_labels
from fidokit.data.reading import read_chunks
from fidokit.exceptions import ImageError, SettingsError
from fidokit.methods import explain
from fidokit.methods.base import Kind, Masks, OnProgress, check_masks, resize_masks
from fidokit.methods.concrete import image_keys
from fidokit.methods.regions import check_infills, control_region, cut, softened
from fidokit.models.apart import logits_of_views
from fidokit.models.gallery import Gallery
from fidokit.models.goals import class_index, taken

if TYPE_CHECKING:
    import pandas as pd

    from fidokit.models.classifier import Classifier
    from fidokit.models.session import Session

_COLUMNS = [
    *("image_id", "label", "individual", "reference_id", "similarity"),
    *("runner_up", "runner_up_reference_id", "runner_up_similarity"),
]
RANK_COLUMNS = ("individual", "area", "rank_before", "rank_after", "fall", "control_rank", "control_fall")


@dataclass
class Pairs(PictureDisplay):
    """Queries and the references that decided, with a mask on each.

    Attributes:
        query: masks on the queries: what of the photograph makes it this individual rather than the runner-up.
        reference: masks on the references, under the image_ids of their queries: what of the reference does. Their
            photographs are the references'.
        table: one row a query: image_id, label, individual (that is explained), reference_id (the most similar of its
            references) and its similarity (cosine), runner_up, runner_up_reference_id and runner_up_similarity.

    Example:
        >>> references = fk.testbed.individuals(24, folder="references")
        >>> gallery = fk.Gallery(fk.testbed.embedder(), references, **fk.testbed.EMBEDDER_INPUT)
        >>> pairs = fk.explain_pair(gallery, fk.testbed.individuals(2, seed=1, folder="two"), "grad-cam")
        >>> photograph, geometry = pairs.reference.photograph(0)
        >>> photograph.size
        (256, 256)
        >>> pairs.save("match.png").name
        'match.png'
    """

    query: Masks
    reference: Masks
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"Pairs({len(self)} queries; query: {self.query!r}; reference: {self.reference!r})"


@unaffected()
def explain_pair(
    gallery: Gallery,
    images: Images,
    method: str = "fido",
    *,
    individual: str | Sequence[str] | None = None,
    against: str | Sequence[str] | None = None,
    settings: Any = None,
    on_progress: OnProgress | None = None,
    **overrides: Any,
) -> Pairs:
    """Masks on both sides of a match: on the query, and on the reference that decided.

    On the query's side it is `explain` of the individual against the runner-up. On the reference's side the query stays
    as it is and the reference is changed: its similarity to the query over the temperature, against the logit that the
    runner-up has. Where the rule is ``nearest``, both sides begin with the same log-odds.

    Args:
        gallery: the gallery.
        images: as for `explain`. One that cannot be read, or whose individual has no reference beside the query itself,
            goes to ``failures`` of the masks.
        method, settings, on_progress, overrides: as for `explain`.
        individual: whom to explain, one for all or one an image; None for the predicted one.
        against: whom to contrast it with; None for the individual with the largest logit beside it.

    Raises:
        SettingsError: no `Gallery`, or an unknown individual, method or setting.
        ImageError: there is no image to explain.

    Example:
        >>> references = fk.testbed.individuals(48, folder="references")
        >>> gallery = fk.Gallery(fk.testbed.embedder(), references, **fk.testbed.EMBEDDER_INPUT)
        >>> pairs = fk.explain_pair(gallery, fk.testbed.individuals(2, seed=1, folder="two"), "grad-cam")
        >>> pairs.query.attribution.shape == pairs.reference.attribution.shape
        True
        >>> sorted(set(pairs.table["reference_id"]) - set(references.table["image_id"]))
        []
    """
    if not isinstance(gallery, Gallery):
        raise SettingsError(f"a fidokit.Gallery is needed, not {type(gallery).__name__}; it has the references")
    data = given_images(images, gallery.check_images)
    names = gallery.class_names
    (chunk,) = read_chunks(data, gallery.preprocessing, [(0, range(len(data)))])
    if not chunk.positions:
        raise ImageError("there is no image to explain" + "".join(f"; {why}" for why in chunk.unread.values()))
    with gallery.session():
        logits, cosines = gallery.logits(chunk.images), gallery.similarities(chunk.images)
        rows = _asked(individual, against, data, chunk.positions, logits, names)
        # Of photographs that cannot be read nothing is asked, but `explain` counts them.
        targets, contrasts = [names[0]] * len(data), [names[1]] * len(data)
        for position, (own, other) in zip(chunk.positions, rows, strict=True):
            targets[position], contrasts[position] = names[own], names[other]
        query = explain(gallery, images, method, targets, contrasts, settings, on_progress, **overrides)
        table, lonely = _table(gallery, data, chunk.positions, rows, cosines)
        reference = _reference_side(
            gallery, table, chunk.images, logits, rows, method, settings, on_progress, overrides
        )
    reference.failures |= query.failures | lonely
    return Pairs(query, reference, table)


def _asked(
    individual: str | Sequence[str] | None,
    against: str | Sequence[str] | None,
    data: LabelledImages,
    positions: Sequence[int],
    logits: Tensor,
    names: Sequence[str],
) -> list[tuple[int, int]]:
    """(individual, runner-up) of each image that was read."""

    def of(given: str | Sequence[str] | None, what: str, position: int) -> int | None:
        if given is None:
            return None
        if isinstance(given, str):
            return class_index(taken(given, names), names)
        if len(given) != len(data):
            raise SettingsError(
                f"{what}: {len(given)} individuals for {len(data)} images; give one for all or one each"
            )
        return class_index(taken(given[position], names), names)

    rows = []
    for row, position in enumerate(positions):
        own, other = of(individual, "individual", position), of(against, "against", position)
        left = logits[row].clone()
        if own is None:
            if other is not None:
                left[other] = -torch.inf
            own = int(left.argmax())
        if other is None:
            left[own] = -torch.inf
            other = int(left.argmax())
        if own == other:
            raise SettingsError(
                f"{names[own]!r} cannot be contrasted with itself; give another individual as `against`"
            )
        rows.append((own, other))
    return rows


def _table(
    gallery: Gallery,
    data: LabelledImages,
    positions: Sequence[int],
    rows: Sequence[tuple[int, int]],
    cosines: Tensor,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row a query, and image_id -> why there is no reference to it."""
    import pandas as pd

    ids = gallery.references.table["image_id"].tolist()
    whose = gallery.references.table["label"].to_numpy()
    made, lonely = [], {}
    for position, (own, other), cosine in zip(positions, rows, cosines, strict=True):
        image_id, label = str(data.table["image_id"].iloc[position]), data.table["label"].iloc[position]
        found: list[Any] = []
        for number in (own, other):
            theirs = torch.from_numpy(whose == gallery.class_names[number]) & ~torch.isnan(cosine)
            best = int(cosine.masked_fill(~theirs, -torch.inf).argmax()) if bool(theirs.any()) else None
            found += [
                gallery.class_names[number],
                *((None, np.nan) if best is None else (ids[best], float(cosine[best]))),
            ]
        if found[1] is None:
            lonely[image_id] = f"{found[0]!r} has no reference beside the photograph itself"
        made.append([image_id, label, *found])
    return pd.DataFrame(made, columns=_COLUMNS), lonely


def _reference_side(
    gallery: Gallery,
    table: pd.DataFrame,
    queries: Tensor,
    logits: Tensor,
    rows: Sequence[tuple[int, int]],
    method: str,
    settings: Any,
    on_progress: OnProgress | None,
    overrides: dict[str, Any],
) -> Masks:
    """Masks on the references of a table, under the image_ids of their queries."""
    paired = np.flatnonzero(table["reference_id"].notna())
    if not len(paired):
        raise ImageError("no photograph has a reference beside itself, so there is no pair to explain")
    n, index = len(paired), torch.from_numpy(paired)
    runners_up = torch.stack([logits[row, rows[row][1]] for row in paired.tolist()])
    classifier = gallery.reversed(queries[index], runners_up)
    places = {image_id: i for i, image_id in enumerate(gallery.references.table["image_id"])}
    own = gallery.references.table.iloc[[places[i] for i in table["reference_id"].iloc[paired]]].reset_index(drop=True)
    own["reference_id"], own["image_id"] = own["image_id"], table["image_id"].iloc[paired].tolist()
    photographs = LabelledImages(own, gallery.references.root)
    masks = explain(
        classifier, photographs, method, list(range(n)), list(range(n, 2 * n)), settings, on_progress, **overrides
    )
    by_id = table.set_index("image_id")
    return replace(
        masks,
        target=[str(by_id["individual"][image_id]) for image_id in masks.image_ids],
        against=[str(by_id["runner_up"][image_id]) for image_id in masks.image_ids],
    )


@unaffected()
def rank_falls(
    classifier: Classifier,
    masks: Masks,
    labels: Sequence[str | None] | None = None,
    *,
    kinds: Sequence[Kind] | None = None,
    area: float = 0.05,
    controls: int = 8,
    infills: Tensor | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """How many ranks the right individual falls when a mask's region is gone.

    The region is the most important share of a mask's pixels. It is filled in, with soft edges, by infills that no
    method optimises with; so are control regions of the same size and shapes elsewhere in the same image. Ranks count
    from 1 and are means over the infills, and over the controls. `Study.rank_falls` does this for a study.

    Args:
        classifier: a `Gallery`, or any classifier.
        masks: of it, from `explain` or `explain_pair`; they must know their photographs.
        labels: the right individuals, one an image of the masks; None for the labels of the photographs, and for the
            explained individual where there is none.
        kinds: which masks; default all.
        area: share of the image in the region. Default 0.05: room for the whole of a distinctive mark.
        controls: number of control regions an image.
        infills: (P, 3, H, W) in [0, 1]; None for those with which `find_regions` checks.
        seed: of the control regions.

    Returns:
        One row a mask: image_id, method, kind, individual, area, rank_before, rank_after, fall (``rank_after -
        rank_before``), control_rank, control_fall, of images that can be evaluated.

    Raises:
        SettingsError: a number or kind that cannot be used, labels that no individual has, or masks without images.

    Example:
        >>> falls = fk.rank_falls(clf, fk.explain(clf, data, "grad-cam"), controls=2)
        >>> len(falls), bool((falls["rank_after"] >= 1).all())
        (8, True)
    """
    import pandas as pd

    check_masks(masks, "study.rank_falls()")
    images = classifier.check_images(masks.inputs())
    right = _right(classifier, masks, labels)
    made = []
    with classifier.session() as session:
        filling = Filling.of(classifier, session, infills, area, controls, seed)
        for kind in masks.kinds if kinds is None else kinds:
            whole = resize_masks(masks[kind], classifier.size)
            for image_id, image, mask, own in zip(masks.image_ids, images, whole, right, strict=True):
                found = filling.falls(image_id, image, mask, own)
                if not isinstance(found, str):
                    made.append({"image_id": image_id, "method": masks.method, "kind": kind, **found})
    return pd.DataFrame(made, columns=["image_id", "method", "kind", *RANK_COLUMNS])


@dataclass(frozen=True)
class Filling:
    """How regions are filled in, to see who is how far from the first rank then.

    Attributes:
        classifier, session: the classifier and an open session of it.
        infills: (P, 3, H, W) in [0, 1].
        area, controls, seed: see `rank_falls`.
    """

    classifier: Classifier
    session: Session
    infills: Tensor
    area: float
    controls: int
    seed: int

    @classmethod
    def of(
        cls, classifier: Classifier, session: Session, infills: Tensor | None, area: float, controls: int, seed: int
    ) -> Filling:
        """The arguments of `rank_falls`, checked.

        Raises:
            SettingsError: one that cannot be used.
        """
        check_number("area", area, Number(above=0, below=1))
        check_number("controls", controls, COUNT)
        height, width = classifier.size
        bank = check_infills((height, width)) if infills is None else infills
        if bank.ndim != 4 or bank.shape[1:] != (3, height, width) or not len(bank):
            raise SettingsError(f"infills must be (P, 3, {height}, {width}) in [0, 1], not {tuple(bank.shape)}")
        return cls(classifier, session, bank, float(area), int(controls), int(seed))

    def falls(self, image_id: str, image: Tensor, mask: Tensor, right: int) -> dict[str, object] | str:
        """`RANK_COLUMNS` of one image, or why there are none.

        Args:
            image_id: seeds the control regions.
            image: (3, H, W) in [0, 1].
            mask: (H, W).
            right: index of the right class.
        """
        generator = np.random.default_rng(int(image_keys(self.seed, [image_id])[0]) & (2**63 - 1))
        region = cut(mask[None], self.area)[0].numpy()
        changed = np.stack([region, *(control_region(region, generator) for _ in range(self.controls))])
        soft = softened(torch.from_numpy(changed))[:, None, None]
        views = torch.cat([image[None], torch.lerp(image, self.infills[None], soft).flatten(0, 1)])
        (logits,) = logits_of_views(self.classifier, self.session, [image], [views])
        if isinstance(logits, str):
            return logits
        ranks = _ranks(logits, right)
        before, own, others = (part.mean().item() for part in ranks.tensor_split([1, 1 + len(self.infills)]))
        name, area = self.classifier.class_names[right], float(region.mean())
        return dict(zip(RANK_COLUMNS, (name, area, before, own, own - before, others, others - before), strict=True))


def _right(classifier: Classifier, masks: Masks, labels: Sequence[str | None] | None) -> list[int]:
    """Index of the right class of each mask's image."""
    names = classifier.class_names
    if labels is not None and (isinstance(labels, str) or len(labels) != len(masks)):
        raise SettingsError(f"labels must be one an image of the masks, {len(masks)}")
    if labels is None and isinstance(masks.images, LabelledImages):
        known = dict(zip(masks.images.table["image_id"].astype(str), masks.images.table["label"], strict=True))
        match = match_labels(known.values(), names)
        means = {image_id: match.classes.get(label) for image_id, label in known.items() if isinstance(label, str)}
        labels = [means.get(image_id) for image_id in masks.image_ids]
    given = [None] * len(masks) if labels is None else list(labels)
    return [class_index(own if label is None else label, names) for label, own in zip(given, masks.target, strict=True)]


def _ranks(logits: Tensor, right: int) -> Tensor:
    """(N,) ranks of a class among (N, K) logits, 1 = the first; those that are equal count half."""
    own = logits[:, right, None]
    return 1 + (logits > own).double().sum(1) + ((logits == own).double().sum(1) - 1) / 2
