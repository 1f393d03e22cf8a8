"""Images in, masks out: the registry of methods and `explain`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fidokit.exceptions import FidokitError, ImageError, SettingsError
from fidokit.images import LabelledImages
from fidokit.methods.base import Batch, Computed, Masks, Method, NoSettings, OnProgress, Snapshot, settings_id
from fidokit.methods.objective import Targets
from fidokit.methods.scoring import kept_and_dropped

if TYPE_CHECKING:
    from fidokit.classifier import Classifier

#: How far a mask may lie outside [0, 1] by rounding, such as float16's.
_SLACK = 1e-3
_REGISTRY: dict[str, Method] = {}
SimpleFunction = Callable[["Classifier", Tensor, Tensor], Tensor]


def _built_in() -> dict[str, Method]:
    from fidokit.methods import effect, fido, gradient, perturbation

    return {"fido": fido.METHOD, "effect": effect.METHOD, **gradient.METHODS, **perturbation.METHODS}


def methods() -> dict[str, Method]:
    """All methods by name, the built-in ones first."""
    return _built_in() | _REGISTRY


def is_built_in(name: str) -> bool:
    """Whether the method of a name comes with fidokit."""
    return name in _built_in()


def list_methods() -> list[str]:
    """Names of all methods."""
    return list(methods())


def get_method(name: str) -> Method:
    """The method of a name.

    Raises:
        SettingsError: no such method; the message lists all.
    """
    known = methods()
    if name not in known:
        raise SettingsError(f"unknown method {name!r}; the methods are {', '.join(known)}")
    return known[name]


def register_method(name: str, method: Method | SimpleFunction) -> None:
    """Add a method of your own; it then appears in studies, tables and widgets.

    Args:
        name: a new name.
        method: a `Method`, or simply a function ``(classifier, images (B, 3, H, W), targets (B,)) -> masks (B, h, w)``
            in [0, 1], whose masks get the kind ``attribution``.

    Raises:
        SettingsError: the name belongs to a built-in method, or `method` is neither of the two.
    """
    if is_built_in(name):
        raise SettingsError(f"{name!r} is a built-in method; choose another name")
    if not isinstance(method, Method) and not callable(method):
        raise SettingsError(f"a function or a `Method` is needed, not {type(method).__name__}")
    if not isinstance(method, Method):
        function = method

        def compute(classifier: Classifier, batch: Batch, _settings: Any, _on_progress: OnProgress | None) -> Computed:
            if batch.goal.target is None or batch.goal.against is not None:
                raise SettingsError(f"{name!r} explains single classes, not a function or a contrast")
            masks: Any = function(classifier, batch.images, batch.goal.target)
            return Computed({"attribution": torch.from_numpy(masks) if isinstance(masks, np.ndarray) else masks})

        summary = (function.__doc__ or "").strip().partition("\n")[0]
        method = Method(compute, NoSettings, ("attribution",), summary)
    _REGISTRY[name] = method


def explain(
    classifier: Classifier,
    images: Tensor | LabelledImages,
    method: str = "fido",
    targets: Targets = None,
    against: Targets = None,
    settings: Any = None,
    on_progress: OnProgress | None = None,
    **overrides: Any,
) -> Masks:
    """Masks that explain a classifier's decisions.

    Args:
        classifier: the classifier.
        images: (B, 3, H, W) in [0, 1] at the classifier's size, or `LabelledImages`. Of labelled images, one that
            cannot be read goes to ``failures``. The mask of a tensor's image does not depend on its position.
        method: a name from `list_methods`.
        targets: None for the predicted classes; an index or a name, for all images or one an image (unreadable ones
            included); or a function from logits (B, K) to scores (B,), read as log-odds.
        against: class or classes to contrast with: why the target *rather than* that one.
        settings: the method's settings object; None for its defaults.
        on_progress: called with a `Snapshot` every few steps; a truthy result asks to stop.
        **overrides: single fields of the settings.

    Returns:
        `Masks`. After Ctrl-C or a stop: of the images that were finished or in work.

    Raises:
        SettingsError: an unknown method, class or setting.
        ImageError: images of the wrong shape, size or range.
        MethodNotApplicable: the classifier lacks what the method needs.
    """
    chosen = get_method(method)
    resolved = chosen.resolve(settings, overrides)
    unread: dict[str, str] = {}
    names: dict[str, str] = {}
    explained = images
    if isinstance(images, LabelledImages):
        images, image_ids, unread, read = _read(images, classifier)
    else:
        images = classifier.check_images(images)
        image_ids, read = identities(images), list(range(len(images)))
        names = {identity: str(i) for i, identity in enumerate(image_ids)}
    targets, against = (_rows_of(classes, read, len(read) + len(unread)) for classes in (targets, against))
    if not len(images):
        raise ImageError("there is no image to explain" + "".join(f"; {reason}" for reason in unread.values()))
    with classifier.session() as session:
        if chosen.check is not None:
            chosen.check(classifier, resolved)
        start = time.perf_counter()
        logits = session.logits(images)
        goal = classifier.goal(logits, targets, against)
        watch = _renaming(on_progress, names)
        masks = compute_masks(method, classifier, Batch(images, image_ids, goal, logits), resolved, watch)
        masks.evaluations += 1  # the prediction
        masks.seconds += (time.perf_counter() - start - float(masks.seconds.sum())) / max(1, len(masks))
    masks.image_ids = [names.get(image_id, image_id) for image_id in masks.image_ids]
    masks.notes = {names.get(image_id, image_id): note for image_id, note in masks.notes.items()}
    masks.images, masks.preprocessing = explained, classifier.preprocessing
    masks.failures = unread | {names.get(image_id, image_id): why for image_id, why in masks.failures.items()}
    return masks


def compute_masks(
    name: str,
    classifier: Classifier,
    batch: Batch,
    settings: Any,
    on_progress: OnProgress | None = None,
    *,
    scores: bool = True,
) -> Masks:
    """Masks of a batch whose logits are known, with their scores kept and dropped; resolved settings.

    What `explain` and a study share. Images with non-finite logits or masks become failures. Without `scores`, two
    evaluations an image and kind are saved, and `score_kept` and `score_dropped` stay empty.

    Raises:
        SettingsError: a user's target function does not give one score an image.
        FidokitError: the method returned something else than masks.
    """
    method = get_method(name)
    start = time.perf_counter()
    if batch.goal.function is not None:
        given: Any = batch.goal.function(batch.logits)
        if not isinstance(given, Tensor) or given.shape != (len(batch),):
            raise SettingsError("the target function must turn logits (B, K) into a tensor (B,), one score an image")
    usable = torch.isfinite(batch.logits).all(1)
    failures = {
        batch.image_ids[i]: "the classifier gives NaN or infinite logits for this image"
        for i in (~usable).nonzero().flatten().tolist()
    }
    if failures:
        rows = usable.nonzero().flatten()
        ids = [batch.image_ids[i] for i in rows.tolist()]
        batch = Batch(batch.images[rows], ids, batch.goal[rows], batch.logits[rows])
    with classifier.session() as fast:
        before = classifier.tally.evaluations
        nothing = Computed({kind: torch.empty(0, 1, 1) for kind in method.kinds})
        computed = method.compute(classifier, batch, settings, on_progress) if len(batch) else nothing
        spent = classifier.tally.evaluations - before
        masks = _assemble(name, classifier, batch, settings, computed, spent)
        masks.failures |= failures
        if len(masks) and scores:
            made = set(masks.image_ids)
            index = torch.tensor([i for i, image_id in enumerate(batch.image_ids) if image_id in made])
            for kind, mask in masks.kinds.items():
                masks.score_kept[kind], masks.score_dropped[kind] = kept_and_dropped(
                    fast, batch.images[index], batch.goal[index], mask
                )
                masks.evaluations += 2
    masks.seconds = torch.full((len(masks),), (time.perf_counter() - start) / max(1, len(masks)))
    return masks


def _assemble(name: str, classifier: Classifier, batch: Batch, settings: Any, computed: Computed, spent: int) -> Masks:
    n = len(batch)
    failures = dict(computed.failures)
    finite = torch.ones(n, dtype=torch.bool)
    inside = torch.ones(n, dtype=torch.bool)
    for kind, mask in computed.kinds.items():
        if not isinstance(mask, Tensor) or mask.ndim != 3 or len(mask) != n or not (n == 0 or mask.numel()):
            shape = f"of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else f"as {type(mask).__name__}"
            raise FidokitError(f"method {name!r} returned {kind} masks {shape}; a tensor ({n}, h, w) is needed")
        cells = mask.detach().flatten(1).float().cpu()
        finite &= torch.isfinite(cells).all(1)
        inside &= ~((cells < -_SLACK) | (cells > 1 + _SLACK)).any(1)
    finished = torch.ones(n, dtype=torch.bool) if computed.finished is None else computed.finished
    for i in ((~finite) & finished).nonzero().flatten().tolist():
        failures.setdefault(batch.image_ids[i], f"{name} gave NaN or infinite values for this image")
    for i in (finite & ~inside).nonzero().flatten().tolist():
        failures.setdefault(batch.image_ids[i], f"{name} gave values outside [0, 1] for this image; scale its masks")
    kept = torch.tensor(
        [bool(finite[i]) and image_id not in failures for i, image_id in enumerate(batch.image_ids)], dtype=torch.bool
    )
    even = torch.full((n,), spent // n if n else 0)
    masks = Masks(
        method=name,
        image_ids=list(batch.image_ids),
        kinds={kind: mask.detach().float().cpu().clamp(0, 1) for kind, mask in computed.kinds.items()},
        size=classifier.size,
        target=batch.goal.target_names(n),
        against=batch.goal.against_names(n),
        evaluations=(even if computed.evaluations is None else computed.evaluations).clone(),
        seconds=torch.zeros(n),
        converged=torch.ones(n, dtype=torch.bool) if computed.converged is None else computed.converged,
        finished=finished,
        score_full=batch.goal.score(batch.logits) if n else torch.zeros(0),
        settings_id=settings_id(name, settings),
        raw=None if computed.raw is None else computed.raw.detach().float().cpu(),
        notes=computed.notes,
        failures=failures,
    )
    return masks.select(kept)


def _read(data: LabelledImages, classifier: Classifier) -> tuple[Tensor, list[str], dict[str, str], list[int]]:
    images, image_ids, failures, read = [], [], {}, []
    for i, image_id in enumerate(data.table["image_id"]):
        try:
            images.append(data.load(i, classifier.preprocessing)[0])
        except ImageError as error:
            failures[str(image_id)] = str(error)
            continue
        image_ids.append(str(image_id))
        read.append(i)
    return (torch.stack(images) if images else torch.empty(0, 3, *classifier.size)), image_ids, failures, read


def _rows_of(classes: Targets, rows: Sequence[int], n: int) -> Targets:
    """The classes of those rows, where one of each of n images is given, in whatever kind of sequence."""
    if isinstance(classes, Tensor) and classes.ndim > 1:
        classes = classes.reshape(-1)
    listed = getattr(classes, "tolist", None)
    if listed is not None:
        classes = listed()
    if isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes) == n:
        return [classes[row] for row in rows]
    return classes


def identities(images: Tensor) -> list[str]:
    """A hash of each image's pixels; a further copy of the same image gets a number, so that they can be told apart."""
    seen: dict[str, int] = {}
    names = []
    for image in images.cpu().contiguous().numpy():
        digest = hashlib.blake2b(image, digest_size=16).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        names.append(digest if seen[digest] == 1 else f"{digest}#{seen[digest]}")
    return names


def _renaming(on_progress: OnProgress | None, names: Mapping[str, str]) -> OnProgress | None:
    """Lets `on_progress` see images by these names."""
    if on_progress is None or not names:
        return on_progress
    return lambda snapshot: on_progress(_renamed(snapshot, names))


def _renamed(snapshot: Snapshot, names: Mapping[str, str]) -> Snapshot:
    return replace(snapshot, image_ids=[names.get(image_id, image_id) for image_id in snapshot.image_ids])
