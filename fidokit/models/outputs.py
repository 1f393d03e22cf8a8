"""What a module's outputs are: logits, probabilities or an embedding, as far as a few images tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from fidokit._util.warning import warn
from fidokit._util.wording import given
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models import frozen
from fidokit.models.adapting import EMBEDDING_REMEDY, Fitted, plain_module
from fidokit.models.configuration import OwnConfiguration
from fidokit.models.goals import Head

_HEADS = ("auto", "softmax", "sigmoid", "probabilities", "independent-probabilities")
#: How far from 1 a row of probabilities may sum up, in float32 and in the formats of 16 bits.
_SUM_TOLERANCE = {True: 1e-3, False: 2e-2}
#: Names under which classifiers keep their last layer, where an nn.Identity takes it out.
_HEAD_NAMES = {"fc", "head", "heads", "classifier", "classif", "last_linear", "logits", "linear", "output", "cls"}

#: Narrower outputs than this are scores, whatever made them: nobody has features of so few values.
_NARROWEST = 16
_LINEAR = (nn.Linear, nn.LazyLinear, nn.Conv2d, nn.Bilinear)
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish, nn.SiLU, nn.GELU)
_WITHOUT_EFFECT = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)


def resolved_head(asked: str, fit: Fitted, *, multi_label: bool) -> Head:
    """What the outputs are, which a few images decide where it was not said.

    Args:
        asked: one of `_HEADS`. ``probabilities`` means those of one class an image where the rows sum to 1, else
            independent ones.
        fit: the module's outputs for the probes.
        multi_label: whether the module's own configuration says that its classes are independent.

    Raises:
        SettingsError: an unknown head, or a softmax of a single logit.
        ClassifierError: outputs that are no probabilities, or that are always 1.
    """
    if asked not in _HEADS:
        raise SettingsError(f"unknown head {asked!r}; choose {', '.join(_HEADS[:-1])} or {_HEADS[-1]}")
    name = type(plain_module(fit.module)).__name__
    rows = fit.outputs[torch.isfinite(fit.outputs).all(1)]
    single = fit.outputs.shape[1] == 1
    tolerance = _SUM_TOLERANCE[fit.exact]
    inside = len(rows) > 0 and bool((rows >= -1e-6).all() and (rows <= 1 + tolerance).all())
    varies = bool((rows != rows[:1]).any())
    if single and inside and bool((rows == 1).all()):
        raise ClassifierError(
            f"{name} gives 1.0 for every image, as a softmax over a single class does; take the softmax off, or use a "
            "sigmoid"
        )
    sums_to_one = inside and not single and bool(((rows.sum(1) - 1).abs() <= tolerance).all())
    if asked in ("probabilities", "independent-probabilities"):
        if not inside:
            low, high = (float(v) for v in fit.outputs.aminmax())
            raise ClassifierError(
                f"head={asked!r} was asked for, but {name} gives values from {low:.3g} to {high:.3g}, which are no "
                "probabilities; leave `head` out, or give 'softmax' or 'sigmoid' for logits"
            )
        return "probabilities" if sums_to_one and asked == "probabilities" else "independent-probabilities"
    if asked == "auto" and sums_to_one and varies:
        return "probabilities"
    if single and asked == "softmax":
        raise SettingsError(f"a single logit has no softmax; give {given(head='sigmoid')} or 'auto'")
    head: Head = "sigmoid" if asked == "sigmoid" or (asked == "auto" and (single or multi_label)) else "softmax"
    if inside and varies:
        rows_say = "its rows sum to 1, as after a softmax" if sums_to_one else "as after a sigmoid"
        warn(
            f"all outputs of {name} lie in [0, 1], {rows_say}, but are read as logits. If it ends in a softmax or a "
            f"sigmoid, its outputs are probabilities: say so with {given(head='probabilities')}.",
            UserWarning,
        )
    elif total := _common_sum(rows):
        warn(
            f"all outputs of {name} are positive, and its rows sum to {total:.4g}, as percentages do, but are read as "
            "logits. If it ends in a softmax, take off what scales its probabilities: they must sum to 1.",
            UserWarning,
        )
    return head


def _common_sum(rows: Tensor) -> float | None:
    """What rows of values that are all at least 0 sum up to, if that is the same for several different rows."""
    if len(rows) < 2 or rows.shape[1] < 2 or bool((rows < 0).any()) or not bool((rows != rows[:1]).any()):
        return None
    sums = rows.double().sum(1)
    total = float(sums.mean())
    return total if total > 0 and bool(((sums - total).abs() <= 1e-3 * total).all()) else None


def refuse_embedding(fit: Fitted, own: OwnConfiguration) -> None:
    """Raise where the outputs are recognisably features; asked only where nobody has named classes.

    Raises:
        ClassifierError: with the reason, and what to do with embeddings.
    """
    why = _embedding_by_configuration(fit, own) or _embedding_by_length(fit) or _embedding_by_layers(fit)
    if why:
        raise ClassifierError(
            f"{type(plain_module(fit.module)).__name__} gives embeddings of {fit.outputs.shape[1]} values, not scores "
            f"of classes ({why}): {EMBEDDING_REMEDY} If the values are scores of classes after all, give class_names."
        )


def _embedding_by_configuration(fit: Fitted, own: OwnConfiguration) -> str | None:
    module, width = plain_module(fit.module), fit.outputs.shape[1]
    source = own.source if own.source is not None and own.is_all else module
    # A list: some models have several branches, each with a width of its own.
    widths = [getattr(source, name, None) for name in ("num_features", "head_hidden_size", "embed_dim")]
    if getattr(source, "num_classes", None) == 0 and (source is module or width in _flat(widths)):
        return "its num_classes is 0"
    config = getattr(source, "config", None)
    has_head = "Classification" in type(source).__name__ and getattr(config, "id2label", None)
    if config is None or not hasattr(config, "id2label") or has_head:
        return None
    sizes = getattr(config, "hidden_sizes", None) or [0]
    if width in (getattr(config, "hidden_size", None), getattr(config, "projection_dim", None), sizes[-1]):
        return "its configuration names no classes for them"
    return None


def _flat(widths: Iterable[object]) -> Iterator[object]:
    """Each width, and the sum of those that come as a list, since branches are put side by side."""
    for width in widths:
        if isinstance(width, list | tuple):
            yield from width
            yield sum(each for each in width if isinstance(each, int))
        else:
            yield width


def _embedding_by_length(fit: Fitted) -> str | None:
    """Rows of length 1 are what `normalize` leaves; rows that a softmax saturated have it too, but sum to 1."""
    rows, tolerance = fit.outputs, _SUM_TOLERANCE[fit.exact]
    if rows.shape[1] < 2 or bool(((rows.sum(1) - 1).abs() <= tolerance).all()):
        return None
    unit = bool(((torch.linalg.vector_norm(rows, dim=1) - 1).abs() <= tolerance).all())
    return "every row has length 1" if unit else None


def _embedding_by_layers(fit: Fitted) -> str | None:
    """Whether the layers that made the output are those that stand before a head, and none that is one."""
    calls = _calls(fit)
    if not calls:
        return None
    output = calls[-1][1]
    scores = [made for submodule, made in calls if isinstance(submodule, _LINEAR)]
    names = {submodule: name for name, submodule in plain_module(fit.module).named_modules()}
    for submodule, made in calls[:-1]:
        is_head = type(submodule) is nn.Identity and _HEAD_NAMES & set(names.get(submodule, "").split("."))
        if is_head and _same(made, output) and not any(_same(made, score) for score in scores):
            return f"its {names[submodule]} is an nn.Identity"
    width = fit.outputs.shape[1]
    if width < _NARROWEST:
        return None
    with_weights = [submodule for submodule, _ in calls[:-1] if next(submodule.parameters(False), None) is not None]
    if with_weights and "Norm" in type(with_weights[-1]).__name__:
        norm = with_weights[-1]
        if any(parameter.numel() == width for parameter in norm.parameters(False)):
            return f"the last of its layers that has weights is {names.get(norm) or 'one'}, a {type(norm).__name__}"
    at_work = [submodule for submodule, _ in calls[:-1] if not isinstance(submodule, _WITHOUT_EFFECT)]
    before, last = at_work[-2:] if len(at_work) > 1 else (None, None)
    if isinstance(last, _RECTIFIERS) and isinstance(before, nn.Linear) and before.out_features == width:
        return f"it ends in a {type(last).__name__} after a linear layer, as what stands before a head does"
    return None


def _calls(fit: Fitted) -> list[tuple[nn.Module, Tensor]]:
    """The modules without children that run, in order, with what they give, and at last the module and its logits.

    Empty where that cannot be watched, as in a program that was scripted or compiled.
    """
    module = plain_module(fit.module)
    if any(isinstance(m, torch.jit.ScriptModule) or hasattr(m, "_orig_mod") for m in module.modules()):
        return []
    calls: list[tuple[nn.Module, Tensor]] = []

    def after(submodule: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            calls.append((submodule, output))

    handles = [m.register_forward_hook(after) for m in module.modules() if next(m.children(), None) is None]
    try:
        with frozen.frozen_in_place(fit.module), torch.no_grad():
            parameter = next(fit.module.parameters(), fit.images)
            probe = fit.images[:1].to(parameter.device, parameter.dtype)
            logits = frozen.logits_of(fit.module(probe))
    finally:
        for handle in handles:
            handle.remove()
    return [*calls, (module, logits)]


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.data_ptr() == other.data_ptr() and one.numel() == other.numel())
