"""Images in, masks out: the registry of methods and `explain`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fidokit.exceptions import FidokitError, ImageError, SettingsError
from fidokit.images import LabelledImages
from fidokit.methods.base import Batch, Computed, Masks, Method, NoSettings, OnProgress, settings_id
from fidokit.methods.objective import Targets
from fidokit.methods.scoring import kept_and_dropped

if TYPE_CHECKING:
    from fidokit.classifier import Classifier

_REGISTRY: dict[str, Method] = {}
SimpleFunction = Callable[["Classifier", Tensor, Tensor], Tensor]


def _built_in() -> dict[str, Method]:
    from fidokit.methods import fido, gradient

    return {"fido": fido.METHOD, **gradient.METHODS}


def methods() -> dict[str, Method]:
    """All methods by name, the built-in ones first."""
    return _built_in() | _REGISTRY


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
        SettingsError: the name belongs to a built-in method.
    """
    if name in _built_in():
        raise SettingsError(f"{name!r} is a built-in method; choose another name")
    if not isinstance(method, Method):
        function = method

        def compute(classifier: Classifier, batch: Batch, _settings: Any, _on_progress: OnProgress | None) -> Computed:
            if batch.goal.target is None or batch.goal.against is not None:
                raise SettingsError(f"{name!r} explains single classes, not a function or a contrast")
            return Computed({"attribution": function(classifier, batch.images, batch.goal.target)})

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
            cannot be read goes to ``failures``.
        method: a name from `list_methods`.
        targets: None for the predicted classes; an index or a name, for all images or one an image; or a function
            from logits (B, K) to scores (B,), read as log-odds.
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
    if chosen.check is not None:
        chosen.check(classifier)
    unread: dict[str, str] = {}
    if isinstance(images, LabelledImages):
        images, image_ids, unread = _read(images, classifier)
    else:
        images = classifier.check_images(images)
        image_ids = [str(i) for i in range(len(images))]
    if not len(images):
        raise ImageError("there is no image to explain" + "".join(f"; {reason}" for reason in unread.values()))
    with classifier.session() as session:
        start = time.perf_counter()
        logits = session.logits(images)
        goal = classifier.goal(logits, targets, against)
        masks = compute_masks(method, classifier, Batch(images, image_ids, goal, logits), resolved, on_progress)
        masks.evaluations += 1  # the prediction
        masks.seconds += (time.perf_counter() - start - float(masks.seconds.sum())) / max(1, len(masks))
    masks.failures = unread | masks.failures
    return masks


def compute_masks(
    name: str, classifier: Classifier, batch: Batch, settings: Any, on_progress: OnProgress | None = None
) -> Masks:
    """Masks of a batch whose logits are known, with their scores kept and dropped; resolved settings.

    What `explain` and a study share. Images with non-finite logits or masks become failures.
    """
    method = get_method(name)
    start = time.perf_counter()
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
        computed = method.compute(classifier, batch, settings, on_progress) if len(batch) else Computed({})
        spent = classifier.tally.evaluations - before
        masks = _assemble(name, classifier, batch, settings, computed, spent)
        masks.failures |= failures
        if len(masks):
            kept = [i for i, image_id in enumerate(batch.image_ids) if image_id in set(masks.image_ids)]
            index = torch.tensor(kept)
            for kind, mask in masks.kinds.items():
                masks.score_kept[kind], masks.score_dropped[kind] = kept_and_dropped(
                    fast, batch.images[index], batch.goal[index], mask
                )
                masks.evaluations += 2
    masks.seconds = torch.full((len(masks),), (time.perf_counter() - start) / max(1, len(masks)))
    return masks


def _assemble(
    name: str, classifier: Classifier, batch: Batch, settings: Any, computed: Computed, spent: int
) -> Masks:
    n = len(batch)
    failures = dict(computed.failures)
    finite = torch.ones(n, dtype=torch.bool)
    for kind, mask in computed.kinds.items():
        if mask.ndim != 3 or len(mask) != n:
            raise FidokitError(f"method {name!r} returned {kind} masks of shape {tuple(mask.shape)}; ({n}, h, w) is needed")
        finite &= torch.isfinite(mask).flatten(1).all(1).cpu()
    finished = torch.ones(n, dtype=torch.bool) if computed.finished is None else computed.finished
    for i in ((~finite) & finished).nonzero().flatten().tolist():
        failures.setdefault(batch.image_ids[i], f"{name} gave NaN or infinite values for this image")
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


def _read(data: LabelledImages, classifier: Classifier) -> tuple[Tensor, list[str], dict[str, str]]:
    images, image_ids, failures = [], [], {}
    for i, image_id in enumerate(data.table["image_id"]):
        try:
            images.append(data.load(i, classifier.preprocessing)[0])
            image_ids.append(str(image_id))
        except ImageError as error:
            failures[str(image_id)] = str(error)
    return (torch.stack(images) if images else torch.empty(0, 3, *classifier.size)), image_ids, failures
