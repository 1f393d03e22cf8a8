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

from fidokit._util.ambient import unaffected
from fidokit._util.function_names import function_name
from fidokit._util.warning import warn
from fidokit.data.images import LabelledImages
from fidokit.data.inputs import GivenImages, Images, as_tensor, given_images
from fidokit.data.names import there_are
from fidokit.data.reading import read_chunks
from fidokit.exceptions import FidokitError, ImageError, SettingsError
from fidokit.methods.base import (
    Batch,
    Computed,
    Masks,
    Method,
    NoSettings,
    OnProgress,
    Snapshot,
    joined,
    settings_id,
)
from fidokit.methods.scoring import kept_and_dropped
from fidokit.models.apart import rows_apart
from fidokit.models.goals import Explained, Goal, Targets

if TYPE_CHECKING:
    from fidokit.models.classifier import Classifier

#: How far a mask may lie outside [0, 1] by rounding, such as float16's.
_SLACK = 1e-3
_REGISTRY: dict[str, Method] = {}
SimpleFunction = Callable[["Classifier", Tensor, Tensor], Tensor]


def _built_in() -> dict[str, Method]:
    from fidokit.methods import (
        attention_rollout,
        expected_gradients,
        fido,
        finer_cam,
        gradient,
        igos,
        kernel_shap,
        legrad,
        perturbation,
        submodular,
    )

    return {
        "fido": fido.METHOD,
        **gradient.METHODS,
        **perturbation.METHODS,
        "finer-cam": finer_cam.METHOD,
        "expected-gradients": expected_gradients.METHOD,
        "kernel-shap": kernel_shap.METHOD,
        **submodular.METHODS,
        "legrad": legrad.METHOD,
        "attention-rollout": attention_rollout.METHOD,
        "igos++": igos.METHOD,
    }


def methods() -> dict[str, Method]:
    """All methods by name, the built-in ones first."""
    return _built_in() | _REGISTRY


def is_built_in(name: str) -> bool:
    """Whether the method of a name comes with fidokit."""
    return name in _built_in()


def list_methods() -> list[str]:
    """Names of all methods.

    Example:
        >>> "fido" in fk.list_methods()
        True
    """
    return list(methods())


def get_method(name: str) -> Method:
    """The method of a name.

    Raises:
        SettingsError: no such method; the message lists all.
    """
    known = methods()
    if not isinstance(name, str) or name not in known:
        raise SettingsError(f"unknown method {name!r}{there_are(name, list(known), 'the methods are')}")
    return known[name]


def register_method(name: str, method: Method | SimpleFunction, *, replace: bool = False) -> None:
    """Add a method of your own; it then appears in studies, tables and widgets.

    Args:
        name: a new name, not empty and without blanks around it. A cell of a notebook may be run again: a function that
            was defined under the same name in the same place takes the place of the one before.
        method: a `Method`, or simply a function ``(classifier, images (B, 3, H, W), targets (B,)) -> masks (B, h, w)``
            in [0, 1], whose masks get the kind ``attribution``.
        replace: whether another method of this name, if there is one, is given up. Masks that a study made with it stay
            in its store.

    Raises:
        SettingsError: the name is none, belongs to a built-in method or to another one of yours, or `method` is neither
            of the two.

    Example:
        >>> def brightness(classifier, images, targets):
        ...     return images.mean(1)
        >>> fk.register_method("brightness", brightness)
        >>> fk.explain(clf, data, "brightness")
        Masks(brightness: attribution (8, 128, 128))
    """
    if not isinstance(name, str) or not name or name != name.strip():
        raise SettingsError(f"a method needs a name of at least one character, without blanks around it, not {name!r}")
    if is_built_in(name):
        raise SettingsError(f"{name!r} is a built-in method; choose another name")
    if not isinstance(method, Method) and not callable(method):
        raise SettingsError(f"a function or a `Method` is needed, not {type(method).__name__}")
    known = _REGISTRY.get(name)
    if known is not None and not replace and not _is_again(_function_of(known), _function_of(method)):
        raise SettingsError(
            f"there is a method {name!r} already, {_place_of(_function_of(known))}; choose another name, or, to give "
            f"that one up, register_method({name!r}, ..., replace=True)"
        )
    if not isinstance(method, Method):
        simple = method

        def compute(classifier: Classifier, batch: Batch, _settings: Any, _on_progress: OnProgress | None) -> Computed:
            if batch.goal.target is None or batch.goal.against is not None or batch.goal.groups is not None:
                raise SettingsError(f"{name!r} explains single classes, not a function, a contrast or a taxon")
            masks: Any = simple(classifier, batch.images, batch.goal.target)
            return Computed({"attribution": torch.from_numpy(masks) if isinstance(masks, np.ndarray) else masks})

        compute.__wrapped__ = simple  # type: ignore[attr-defined]
        summary = (simple.__doc__ or "").strip().partition("\n")[0]
        method = Method(compute, NoSettings, ("attribution",), summary)
    _REGISTRY[name] = method


def _function_of(method: Method | SimpleFunction) -> Callable[..., Any]:
    """What the user wrote."""
    compute = method.compute if isinstance(method, Method) else method
    found: Callable[..., Any] = getattr(compute, "__wrapped__", compute)
    return found


def _place_of(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _is_again(known: Callable[..., Any], function: Callable[..., Any]) -> bool:
    """Whether a function is the known one, or what its definition gives when it is run again, perhaps edited."""
    if known is function:
        return True
    if _place_of(known) != _place_of(function):
        return False
    if "<lambda>" not in _place_of(function):
        return True
    # All lambdas of a module share a name.
    try:
        return function_name(known) == function_name(function)
    except SettingsError:
        return False


@unaffected()
def explain(
    classifier: Classifier,
    images: Images,
    method: str = "fido",
    targets: Targets = None,
    against: Targets = None,
    settings: Any = None,
    on_progress: OnProgress | None = None,
    *,
    rank: str | None = None,
    within: str | None = None,
    **overrides: Any,
) -> Masks:
    """Masks that explain a classifier's decisions.

    Args:
        classifier: the classifier.
        images: `LabelledImages`; a (B, 3, H, W) tensor or array in [0, 1] at the classifier's size; or photographs of
            any size: paths, PIL images or (H, W, 3) arrays, one or a list of them. One that cannot be read goes to
            ``failures``. Unless it comes from `LabelledImages`, an image's mask does not depend on its position.
        method: a name from `list_methods`.
        targets: None for the predicted classes; an index or a name, for all images or one an image (unreadable ones
            included); or a function from logits (B, K) to scores (B,), read as log-odds. With a taxonomy, the name may
            be a taxon's. A part of a name is enough where it fits no other, ``"burrowing"`` for ``"Athene cunicularia
            (Burrowing Owl)"``; a warning says what was taken.
        against: class or classes to contrast with: why the target *rather than* that one; ``"runner-up"`` is the best
            class beside the target. With a taxonomy, the name may be that of a taxon that does not overlap the target,
            or ``"rest of TAXON"``: the other classes of a taxon that the target lies in.
        settings: the method's settings object; None for its defaults.
        on_progress: called with a `Snapshot` every few steps; a truthy result asks to stop.
        rank: explain the target's taxon at this rank: ``"family"`` shows where the classifier sees an owl. A taxon is
            told from everything outside it. At ``"species"``, or the rank of the classes, the target is told from the
            rest of the finest coarser taxon that has others: where it sees that it is *this* owl. (Without a rank, a
            class is told from all others, so its mask shows both.)
        within: a coarser rank: tell the taxon at `rank` from the rest of the one that it lies in there; ``"all"``: from
            everything outside it, at every rank.
        **overrides: single fields of the settings.

    Returns:
        `Masks`. After Ctrl-C or a stop: of the images that were finished or in work.

    Raises:
        SettingsError: an unknown method, class, taxon, rank or setting, or a target that overlaps what it is told
            from.
        ImageError: images of the wrong shape, size or range.
        MethodNotApplicable: the classifier lacks what the method needs.

    Example:
        >>> masks = fk.explain(clf, data, "fido", steps=2)
        >>> masks.joint.shape
        torch.Size([8, 20, 20])
        >>> contrast = fk.explain(clf, data, "grad-cam", targets=clf.class_names[0], against=clf.class_names[1])
    """
    chosen = get_method(method)
    resolved = chosen.resolve(settings, overrides)
    unread: dict[str, str] = {}
    names: dict[str, str] = {}
    tensor = as_tensor(images)
    if tensor is not None:
        explained: LabelledImages | Tensor = tensor
        images = classifier.check_images(tensor)
        image_ids, read = [str(i) for i in range(len(images))], list(range(len(images)))
    else:
        explained = given_images(images, classifier.check_images)
        for note in explained.box_notes(classifier.preprocessing):
            warn(note)
        images, image_ids, unread, read = _read(explained, classifier)
    if isinstance(explained, Tensor | GivenImages):
        names = dict(zip(identities(images), image_ids, strict=True))
        image_ids = list(names)
    targets, against = (_rows_of(classes, read, len(read) + len(unread)) for classes in (targets, against))
    if not len(images):
        raise ImageError("there is no image to explain" + "".join(f"; {reason}" for reason in unread.values()))
    with classifier.session() as session:
        if chosen.check is not None:
            chosen.check(classifier, resolved)
        start = time.perf_counter()
        logits = session.logits(images)
        goal = classifier.goal(logits, targets, against, rank=rank, within=within)
        watch = _renaming(on_progress, names)
        masks = compute_masks(method, classifier, Batch(images, image_ids, goal, logits), resolved, watch)
        masks.evaluations += 1  # the prediction
        masks.seconds += (time.perf_counter() - start - float(masks.seconds.sum())) / max(1, len(masks))
    masks.image_ids = [names.get(image_id, image_id) for image_id in masks.image_ids]
    masks.notes = {names.get(image_id, image_id): note for image_id, note in masks.notes.items()}
    masks.images, masks.preprocessing = explained, classifier.preprocessing
    masks.failures = unread | {names.get(image_id, image_id): why for image_id, why in masks.failures.items()}
    return masks


@unaffected()
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
    evaluations an image and kind are saved, and `score_kept` and `score_dropped` stay empty. Images for which something
    else of the classifier is left out (see `Classifier.left_out`) are computed apart.

    Raises:
        SettingsError: a user's target function does not give one score an image, or a function in the settings needs a
            name, see `function_name`.
        FidokitError: the method returned something else than masks.
    """
    groups = rows_apart(classifier, batch.images)
    if len(groups) > 1:
        made: list[Masks] = []
        for rows, _ in groups:
            made.append(compute_masks(name, classifier, batch[rows], settings, on_progress, scores=scores))
            # A method that was stopped leaves out images, or hands them over unfinished.
            if len(made[-1]) + len(made[-1].failures) < len(rows) or not bool(made[-1].finished.all()):
                break
        return joined(made, batch.image_ids)
    with classifier.leaving_out(groups[0][1] if groups else ()):
        return _compute(name, classifier, batch, settings, on_progress, scores)


def _compute(
    name: str, classifier: Classifier, batch: Batch, settings: Any, on_progress: OnProgress | None, scores: bool
) -> Masks:
    """`compute_masks` of images that may be sent through together."""
    method = get_method(name)
    start = time.perf_counter()
    # Before the work: a function in the settings may need a name.
    identity = settings_id(name, settings)
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
        before = classifier.counter.evaluations
        nothing = Computed({kind: torch.empty(0, 1, 1) for kind in method.kinds_with(settings)})
        computed: Any = method.compute(classifier, batch, settings, on_progress) if len(batch) else nothing
        if not isinstance(computed, Computed) or not isinstance(computed.kinds, Mapping):
            given = computed.kinds if isinstance(computed, Computed) else computed
            raise FidokitError(
                f"method {name!r} returned {type(given).__name__}; "
                "`fidokit.methods.base.Computed`, with a dict of masks, is needed"
            )
        spent = classifier.counter.evaluations - before
        masks = _assemble(name, classifier, batch, identity, computed, spent)
        masks.failures |= failures
        masks.explained = _explained(settings, batch.goal)
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


def _explained(settings: Any, goal: Goal) -> str | None:
    """The value that masks explain, see `Masks.explained`."""
    chosen: Explained | None = getattr(settings, "explained", None)
    return None if chosen is None else "log-odds" if goal.against is not None else goal.explains(chosen)


def _assemble(name: str, classifier: Classifier, batch: Batch, identity: str, computed: Computed, spent: int) -> Masks:
    n = len(batch)
    expected: dict[str, Any] = {"failures": Mapping, "notes": Mapping, "raw": Tensor | None}
    for what, needed in expected.items():
        given = getattr(computed, what)
        if not isinstance(given, needed) or (isinstance(given, Tensor) and len(given) != n):
            raise FidokitError(
                f"method {name!r} returned `{what}` as {type(given).__name__}; `fidokit.methods.base.Computed` says "
                "what is needed"
            )
    failures = {image_id: str(why) for image_id, why in computed.failures.items()}
    unknown = sorted(failures.keys() - set(batch.image_ids))
    if unknown:
        raise FidokitError(f"method {name!r} reports a failure of {unknown[0]!r}, which is no image of this batch")
    finite = torch.ones(n, dtype=torch.bool)
    inside = torch.ones(n, dtype=torch.bool)
    for kind, mask in computed.kinds.items():
        if not isinstance(mask, Tensor) or mask.ndim != 3 or len(mask) != n or not (n == 0 or mask.numel()):
            shape = f"of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else f"as {type(mask).__name__}"
            raise FidokitError(f"method {name!r} returned {kind} masks {shape}; a tensor ({n}, h, w) is needed")
        if mask.is_complex():
            raise FidokitError(f"method {name!r} returned {kind} masks of {mask.dtype}; real numbers are needed")
        cells = mask.detach().flatten(1).float().cpu()
        finite &= torch.isfinite(cells).all(1)
        inside &= ~((cells < -_SLACK) | (cells > 1 + _SLACK)).any(1)
    yes = torch.ones(n, dtype=torch.bool)
    finished = _of_each(name, "finished", computed.finished, yes)
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
        evaluations=_of_each(name, "evaluations", computed.evaluations, even).clone(),
        seconds=torch.zeros(n),
        converged=_of_each(name, "converged", computed.converged, yes),
        finished=finished,
        score_full=batch.goal.score(batch.logits) if n else torch.zeros(0),
        settings_id=identity,
        raw=None if computed.raw is None else computed.raw.detach().float().cpu(),
        notes=computed.notes,
        failures=failures,
    )
    return masks.select(kept)


def _of_each(name: str, what: str, values: Any, otherwise: Tensor) -> Tensor:
    """One value an image, as a method gave it, on the CPU; `otherwise` where it gave none."""
    if values is None:
        return otherwise
    try:
        given = torch.as_tensor(values).detach().cpu().to(otherwise.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise FidokitError(f"method {name!r} returned `{what}` that is no tensor: {error}") from error
    if given.shape != otherwise.shape:
        raise FidokitError(
            f"method {name!r} returned `{what}` of shape {tuple(given.shape)}; one value an image, "
            f"{tuple(otherwise.shape)}, is needed"
        )
    return given


def _read(data: LabelledImages, classifier: Classifier) -> tuple[Tensor, list[str], dict[str, str], list[int]]:
    ids = [str(image_id) for image_id in data.table["image_id"]]
    (chunk,) = read_chunks(data, classifier.preprocessing, [(0, range(len(data)))])
    unread = {ids[position]: reason for position, reason in chunk.unread.items()}
    return chunk.images, [ids[position] for position in chunk.positions], unread, chunk.positions


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
