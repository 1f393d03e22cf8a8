"""What every method meets: `Masks`, the result, and `Method`, the protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from fidokit._util.display import PictureDisplay
from fidokit._util.function_names import function_name
from fidokit.data.names import there_are
from fidokit.exceptions import SettingsError
from fidokit.methods.verdicts import Claim, Holds, Verdict, mask_verdict
from fidokit.models.goals import Goal

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from fidokit.data.geometry import Geometry, Preprocessing
    from fidokit.data.images import LabelledImages
    from fidokit.models.classifier import Classifier

Kind = Literal["ssr", "sdr", "joint", "effect", "attribution"]
KINDS: tuple[Kind, ...] = ("ssr", "sdr", "joint", "effect", "attribution")


@dataclass(frozen=True)
class Snapshot:
    """The state of the images in work, given to ``on_progress`` every few steps.

    Attributes:
        image_ids: images in work, B of them.
        masks: kind -> (B, h, w) masks so far.
        score_kept, score_dropped: (B,) mean score of the last step's samples with the SSR kept, the SDR dropped.
        evaluations: evaluations spent so far, on all images of the call.
        total: evaluations that the call will need at most.
        finished: images of the call that are finished.
        loss: (B,) what is minimised, at the last step; None for methods that minimise nothing.
    """

    image_ids: list[str]
    masks: dict[Kind, Tensor]
    score_kept: Tensor
    score_dropped: Tensor
    evaluations: int
    total: int
    finished: int
    loss: Tensor | None = None


class Checked(Protocol):
    """What `Masks.to_frame` reads of a region of `fidokit.find_regions`."""

    @property
    def image_id(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def claim(self) -> Claim: ...
    @property
    def holds(self) -> Holds: ...


#: Called with a snapshot; anything truthy it returns asks to stop, and the masks so far are kept.
OnProgress = Callable[[Snapshot], object]


@dataclass(frozen=True)
class Batch:
    """Images and what to explain of them, as a method gets them.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        image_ids: B names; they seed each image's own random stream.
        goal: what to explain.
        logits: (B, K) of the whole images.
    """

    images: Tensor
    image_ids: Sequence[str]
    goal: Goal
    logits: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | list[int]) -> Batch:
        index = torch.arange(len(self))[rows]
        ids = [self.image_ids[row] for row in index.tolist()]
        return Batch(self.images[rows], ids, self.goal[rows if isinstance(rows, slice) else index], self.logits[rows])


@dataclass
class Masks(PictureDisplay):
    """Masks of B images by one method, one entry per kind; the tensors live on the CPU.

    Attributes:
        method: name of the method.
        image_ids: B names.
        kinds: kind -> (B, h, w) float32 in [0, 1], 1 = the place belongs to the region that the kind names.
        size: (H, W) of the input.
        target: names of the explained classes.
        against: names of the classes they are contrasted with; None for all others.
        evaluations: (B,) evaluations spent on each image.
        seconds: (B,) wall time spent on each image: the batch's time shared out.
        converged: (B,) whether the mask had come to rest before its steps were used up, as the method's settings say
            (FIDO's ``tolerance``, the areas of extremal perturbation); True for methods that do not iterate. False is
            no failure: a mask that used all of its steps, which is how FIDO's default is meant, is as good as its
            scores kept and dropped say.
        finished: (B,) False for a mask that was stopped on its way.
        score_full: (B,) score of the whole image.
        score_kept: kind -> (B,) score with the mask's region kept and the rest blurred.
        score_dropped: kind -> (B,) score with the mask's region blurred and the rest kept.
        settings_id: names the settings that made these masks.
        explained: the value that they explain, ``log-odds``, ``logit`` or ``contrast``, see `FidoSettings`; against
            another class, and for a function of the logits, it is ``log-odds``; None for methods without that choice.
        raw: (B, C, h, w) signed attribution before it became a mask, for gradient baselines; of FIDO's effects
            (B, 2, h, w), the effects and their standard errors in units of what is explained; else None.
        notes: image_id -> what else there is to know, such as a start without Grad-CAM.
        failures: image_id -> why there is no mask; these images are in no other field.
        images: what was explained, as it was given and not copied; None for masks that come from elsewhere.
        preprocessing: how the photographs of `images` became the classifier's input.

    Example:
        >>> masks = fk.explain(clf, data, steps=2)
        >>> masks
        Masks(fido: ssr (8, 20, 20), sdr (8, 20, 20), joint (8, 20, 20), effect (8, 20, 20))
        >>> masks.at("joint").shape
        torch.Size([8, 128, 128])
        >>> len(masks.to_frame())
        32
        >>> masks.save("first.svg").name
        'first.svg'
    """

    method: str
    image_ids: list[str]
    kinds: dict[Kind, Tensor]
    size: tuple[int, int]
    target: list[str]
    against: list[str | None]
    evaluations: Tensor
    seconds: Tensor
    converged: Tensor
    finished: Tensor
    score_full: Tensor
    score_kept: dict[Kind, Tensor] = field(default_factory=dict)
    score_dropped: dict[Kind, Tensor] = field(default_factory=dict)
    settings_id: str = ""
    explained: str | None = None
    raw: Tensor | None = None
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    images: LabelledImages | Tensor | None = None
    preprocessing: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{kind} {tuple(mask.shape)}" for kind, mask in self.kinds.items())
        return f"Masks({self.method}: {shapes}{f', {len(self.failures)} failed' if self.failures else ''})"

    def __getitem__(self, kind: Kind) -> Tensor:
        """(B, h, w) masks of a kind.

        Raises:
            SettingsError: the method makes no such kind.
        """
        if kind not in self.kinds:
            raise SettingsError(f"{self.method} makes no {kind!r} masks, only {', '.join(self.kinds)}")
        return self.kinds[kind]

    @property
    def ssr(self) -> Tensor:
        """(B, h, w) smallest sufficient regions."""
        return self["ssr"]

    @property
    def sdr(self) -> Tensor:
        """(B, h, w) smallest destroying regions."""
        return self["sdr"]

    @property
    def joint(self) -> Tensor:
        """(B, h, w) ``sqrt(ssr * sdr)``: places both sufficient and needed."""
        return self["joint"]

    @property
    def effect(self) -> Tensor:
        """(B, h, w) what each place is worth, where it speaks for the class, scaled to 1; `raw` has it as it is."""
        return self["effect"]

    @property
    def attribution(self) -> Tensor:
        """(B, h, w) masks of a gradient baseline."""
        return self["attribution"]

    def at(self, kind: Kind, size: tuple[int, int] | None = None) -> Tensor:
        """(B, H, W) masks of a kind, at `size`, by default the input's; see `resize_masks`."""
        return resize_masks(self[kind], size or self.size)

    def photograph(self, i: int) -> tuple[Image.Image, Geometry]:
        """The photograph of the i-th mask, upright and in full resolution, and where the masks lie in it.

        Raises:
            SettingsError: these masks do not know what was explained.
            ImageError: the file cannot be read any more.
        """
        from fidokit.data.geometry import Geometry, from_input

        image_id = self.image_ids[i]
        if self.images is None or self.preprocessing is None:
            raise SettingsError(f"these masks of {self.method} do not know their photographs; pass the image yourself")
        if isinstance(self.images, Tensor):
            picture = from_input(self.images[int(image_id)])
            return picture, Geometry.whole(*picture.size)
        position = self.images.table["image_id"].tolist().index(image_id)
        return self.images.shown(position, self.preprocessing)

    def unseen_words(self, i: int, geometry: Geometry) -> str:
        """What the classifier does not see of the i-th photograph, see `LabelledImages.unseen_words`; may be empty.

        Args:
            i: position.
            geometry: of its input, as `photograph` gives it.
        """
        if self.images is None or isinstance(self.images, Tensor):
            return ""
        return self.images.unseen_words(self.images.table["image_id"].tolist().index(self.image_ids[i]), geometry)

    def inputs(self) -> Tensor:
        """(B, 3, H, W) in [0, 1]: the classifier's inputs that were explained, read again from their files if need be.

        Raises:
            SettingsError: these masks do not know what was explained.
            ImageError: a photograph cannot be read any more.
        """
        if self.images is None or self.preprocessing is None:
            raise SettingsError(f"these masks of {self.method} do not know their photographs; pass the images yourself")
        if isinstance(self.images, Tensor):
            return self.images[[int(image_id) for image_id in self.image_ids]]
        places = {str(image_id): i for i, image_id in enumerate(self.images.table["image_id"])}
        read = [self.images.load(places[image_id], self.preprocessing)[0] for image_id in self.image_ids]
        return torch.stack(read) if read else torch.empty(0, 3, *self.size)

    def select(self, rows: Tensor | slice) -> Masks:
        """The masks of some images, by positions or a boolean mask."""
        index = torch.arange(len(self))[rows].reshape(-1)

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in index.tolist()]

        return replace(
            self,
            image_ids=pick(self.image_ids),
            target=pick(self.target),
            against=pick(self.against),
            kinds={kind: mask[index] for kind, mask in self.kinds.items()},
            score_kept={kind: values[index] for kind, values in self.score_kept.items()},
            score_dropped={kind: values[index] for kind, values in self.score_dropped.items()},
            raw=None if self.raw is None else self.raw[index],
            **{name: getattr(self, name)[index] for name in _PER_IMAGE},
        )

    def to_frame(self, regions: Iterable[Checked] | None = None) -> pd.DataFrame:
        """One row per image and kind: image_id, method, kind, target, against, mask (an (h, w) float32 array), height,
        width, evaluations, seconds, converged, score_full, score_kept, score_dropped, settings_id; explained, see
        `FidoSettings`, None for methods without such a choice; verdict, what the scores say: ``enough and needed``,
        ``enough only``, ``needed only``, ``explains little``, or ``not judged`` where they are missing.

        Args:
            regions: of these masks, from `fidokit.find_regions`; with them there are two columns more, holds_sufficient
                and holds_destroying: ``yes``, ``no`` or ``only under some infills``, None where none was cut.
        """
        import pandas as pd

        rows = []
        for i, image_id in enumerate(self.image_ids):
            for kind, mask in self.kinds.items():
                array: np.ndarray[Any, np.dtype[np.float32]] = mask[i].numpy()
                rows.append(
                    {
                        "image_id": image_id,
                        "method": self.method,
                        "kind": kind,
                        "target": self.target[i],
                        "against": self.against[i],
                        "mask": array,
                        "height": array.shape[0],
                        "width": array.shape[1],
                        "evaluations": int(self.evaluations[i]),
                        "seconds": float(self.seconds[i]),
                        "converged": bool(self.converged[i]),
                        "score_full": float(self.score_full[i]),
                        "score_kept": _item(self.score_kept, kind, i),
                        "score_dropped": _item(self.score_dropped, kind, i),
                        "settings_id": self.settings_id,
                        "explained": self.explained,
                        "verdict": self.verdict(kind, i),
                    }
                )
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        if regions is None:
            return frame
        found = {(one.image_id, one.kind, one.claim): one.holds for one in regions}
        for claim in ("sufficient", "destroying"):
            cells = [found.get((*key, claim)) for key in zip(frame["image_id"], frame["kind"], strict=True)]
            frame[f"holds_{claim}"] = pd.Series(cells, dtype=object)
        return frame

    def verdict(self, kind: Kind, i: int) -> Verdict:
        """What the scores say of the i-th mask of a kind, see `to_frame`."""
        kept, dropped = (_item(scores, kind, i) for scores in (self.score_kept, self.score_dropped))
        return mask_verdict(float(self.score_full[i]), kept, dropped)


def joined(several: Sequence[Masks], order: Sequence[str]) -> Masks:
    """Masks of several batches of one method as one, in an order of their image_ids; all know the same images.

    Args:
        several: one at least.
        order: all image_ids, those without masks too.
    """
    first, place = several[0], {image_id: i for i, image_id in enumerate(order)}
    made = [masks for masks in several if len(masks)]

    def together(values: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(values))

    def of_kinds(name: str) -> dict[Kind, Tensor]:
        kinds = getattr((made or [first])[0], name)
        return {kind: together([getattr(masks, name)[kind] for masks in made or [first]]) for kind in kinds}

    raws = [masks.raw for masks in made or [first]]
    per_image: dict[str, Any] = {name: together([getattr(masks, name) for masks in several]) for name in _PER_IMAGE}
    whole = replace(
        first,
        image_ids=[image_id for masks in several for image_id in masks.image_ids],
        target=[name for masks in several for name in masks.target],
        against=[name for masks in several for name in masks.against],
        kinds=of_kinds("kinds"),
        score_kept=of_kinds("score_kept"),
        score_dropped=of_kinds("score_dropped"),
        raw=None if None in raws else together([raw for raw in raws if raw is not None]),
        notes={image_id: note for masks in several for image_id, note in masks.notes.items()},
        failures={image_id: why for masks in several for image_id, why in masks.failures.items()},
        **per_image,
    )
    rows = sorted(range(len(whole)), key=lambda row: place[whole.image_ids[row]])
    return whole.select(torch.tensor(rows, dtype=torch.int64))


def check_masks(masks: object, of_study: str) -> None:
    """See that these are masks, not a study's table of them.

    Args:
        masks: as given.
        of_study: what does the same for a study.

    Raises:
        SettingsError: they are something else.
    """
    if not isinstance(masks, Masks):
        raise SettingsError(
            f"the masks must be Masks, as fidokit.explain gives them, not {type(masks).__name__}; for a study's there "
            f"is {of_study}"
        )


COLUMNS = [
    *("image_id", "method", "kind", "target", "against", "mask", "height", "width", "evaluations", "seconds"),
    *("converged", "score_full", "score_kept", "score_dropped", "settings_id", "explained", "verdict"),
]
_PER_IMAGE = ("evaluations", "seconds", "converged", "finished", "score_full")


def _item(scores: dict[Kind, Tensor], kind: Kind, i: int) -> float:
    return float(scores[kind][i]) if kind in scores else float("nan")


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., h, w) masks at (..., H, W): bilinear along an axis that gets finer, averaged along a coarser one.

    Bilinear interpolation has cell centres aligned to pixel areas. An average is over exactly the area of the new
    cell, so that the mean of the mask stays as it is.

    Returns:
        Floating point of the masks' dtype; the masks themselves if they are of that size.
    """
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    if not masks.numel():
        return masks.new_zeros(*masks.shape[:-2], *size)
    if masks.dtype in (torch.float16, torch.bfloat16):
        return resize_masks(masks.float(), size).to(masks.dtype)
    (height, width), (h, w) = size, masks.shape[-2:]
    if height < h or width < w:
        # In double precision, so that a mask of ones stays one.
        exact = masks.double()
        if height < h:
            exact = _area_weights(h, height, masks.device) @ exact
        if width < w:
            exact = exact @ _area_weights(w, width, masks.device).T
        masks = exact.to(masks.dtype)
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    flat = masks.reshape(-1, 1, *masks.shape[-2:])
    # Only with `antialias` do cells of one value stay so to the last bit, on which ranks depend.
    finer = torch.nn.functional.interpolate(flat, size=size, mode="bilinear", antialias=True)
    return finer.reshape(*masks.shape[:-2], *size)


def _area_weights(n: int, fewer: int, device: torch.device) -> Tensor:
    """(fewer, n) share of each of the n old cells in each new one."""
    edges = torch.arange(fewer + 1, dtype=torch.float64, device=device) * (n / fewer)
    cells = torch.arange(n, dtype=torch.float64, device=device)
    low, high = edges[:-1, None].clamp(min=cells), edges[1:, None].clamp(max=cells + 1)
    return (high - low).clamp(min=0) * (fewer / n)


class MaskFunction(Protocol):
    """Computes masks; see `Method`."""

    def __call__(
        self, classifier: Classifier, batch: Batch, settings: Any, on_progress: OnProgress | None, /
    ) -> Computed: ...


@dataclass
class Computed:
    """What a method's function returns: masks of the batch's images, in their order.

    Attributes:
        kinds: kind -> (B, h, w) in [0, 1].
        evaluations: (B,) evaluations spent by the method itself, or None to have them counted and shared out evenly.
        converged, finished: (B,) bool, None for all True. Images with ``finished`` False and no step done are dropped
            by setting their masks to NaN.
        raw: (B, C, h, w) signed attribution, or None.
        notes: image_id -> remark.
        failures: image_id -> why there is no mask; what stands in `kinds` for it is ignored.
        interrupted: whether Ctrl-C ended it early.
    """

    kinds: dict[Kind, Tensor]
    evaluations: Tensor | None = None
    converged: Tensor | None = None
    finished: Tensor | None = None
    raw: Tensor | None = None
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


@dataclass(frozen=True)
class Method:
    """A way to make masks.

    Attributes:
        compute: ``(classifier, batch, settings, on_progress) -> Computed``.
        settings: the dataclass of its settings; ``settings()`` are the defaults.
        kinds: the kinds it makes, in order.
        summary: one line for listings.
        check: ``(classifier, settings) -> None``, raises `MethodNotApplicable` saying why this classifier will not do.
        kinds_of: ``(settings) -> kinds``, for a method that makes only some of its kinds with some settings.

    Example:
        >>> from fidokit.methods.base import Computed, NoSettings
        >>> def half(classifier, batch, settings, on_progress):
        ...     return Computed({"attribution": torch.full((len(batch), 4, 4), 0.5)})
        >>> fk.register_method("half", fk.Method(half, NoSettings, ("attribution",), "half everywhere"))
        >>> fk.explain(clf, data, "half")
        Masks(half: attribution (8, 4, 4))
    """

    compute: MaskFunction
    settings: type[Any]
    kinds: tuple[Kind, ...]
    summary: str = ""
    check: Callable[[Classifier, Any], None] | None = None
    kinds_of: Callable[[Any], tuple[Kind, ...]] | None = None

    def kinds_with(self, settings: Any) -> tuple[Kind, ...]:
        """The kinds that it makes with these settings, in order."""
        return self.kinds if self.kinds_of is None else self.kinds_of(settings)

    def resolve(self, settings: Any = None, overrides: dict[str, Any] | None = None) -> Any:
        """The settings object, single fields replaced by `overrides`.

        Raises:
            SettingsError: settings of another method, or a field that does not exist.
        """
        chosen = self.settings() if settings is None else settings
        if not isinstance(chosen, self.settings):
            raise SettingsError(f"settings must be {self.settings.__name__}, not {type(chosen).__name__}")
        known = [f.name for f in fields(self.settings)]
        for name in overrides or {}:
            if name not in known:
                raise SettingsError(
                    f"{self.settings.__name__} has no field {name!r}{there_are(name, known, 'its fields are')}"
                )
        return replace(chosen, **overrides) if overrides else chosen


@dataclass(frozen=True)
class NoSettings:
    """Settings of a method that has none."""


#: Metadata of a field of settings that came later: the value that stands for how it was before. Settings with that
#: value are described without the field, so that ids from before stay and old descriptions can be read.
BEFORE = "before"


def settings_dict(settings: Any) -> dict[str, Any]:
    """Settings as JSON-ready values; functions by names that tell them apart, see `function_name`.

    Raises:
        SettingsError: a function needs a name, see there.
    """

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return plain(asdict(value))
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            return value.item()
        if callable(value):
            return function_name(value)
        return value

    return {
        f.name: plain(getattr(settings, f.name))
        for f in fields(settings)
        if not (BEFORE in f.metadata and getattr(settings, f.name) == f.metadata[BEFORE])
    }


def settings_from(method: Method, described: Mapping[str, Any]) -> Any | None:
    """The settings object that `settings_dict` described; None where that does not give them all, as of functions."""
    before = {f.name: f.metadata[BEFORE] for f in fields(method.settings) if BEFORE in f.metadata}
    try:
        made = method.settings(**(before | {name: _tuples(value) for name, value in described.items()}))
    except (SettingsError, TypeError, ValueError):
        return None
    return made if settings_dict(made) == described else None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def settings_id(method: str, settings: Any) -> str:
    """Twelve hexadecimal digits that name a method's settings: equal settings, equal id."""
    text = json.dumps([method, settings_dict(settings)], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
