"""What a module's outputs are: logits, probabilities or an embedding, as far as a few images tell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fidokit._util.warning import warn
from fidokit.exceptions import ClassifierError, SettingsError
from fidokit.models import frozen
from fidokit.models.adapting import EMBEDDING_REMEDY, Fitted, plain_module
from fidokit.models.configuration import OwnConfiguration
from fidokit.models.goals import Head

HEADS = ("auto", "softmax", "sigmoid", "probabilities", "independent-probabilities")
#: How far from 1 a row of probabilities may sum up, in float32 and in the formats of 16 bits.
_SUM_TOLERANCE = {True: 1e-3, False: 2e-2}
#: Names under which classifiers keep their last layer, where an nn.Identity takes it out.
_HEAD_NAMES = {"fc", "head", "heads", "classifier", "classif", "last_linear", "logits", "linear", "output", "cls"}


def resolved_head(asked: str, fit: Fitted, *, multi_label: bool) -> Head:
    """What the outputs are, which a few images decide where it was not said.

    Args:
        asked: one of `HEADS`. ``probabilities`` means those of one class an image where the rows sum to 1, else
            independent ones.
        fit: the module's outputs for the probes.
        multi_label: whether the module's own configuration says that its classes are independent.

    Raises:
        SettingsError: an unknown head, or a softmax of a single logit.
        ClassifierError: outputs that are no probabilities, or that are always 1.
    """
    if asked not in HEADS:
        raise SettingsError(f"unknown head {asked!r}; choose {', '.join(HEADS[:-1])} or {HEADS[-1]}")
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
        raise SettingsError("a single logit has no softmax; use head='sigmoid' or 'auto'")
    head: Head = "sigmoid" if asked == "sigmoid" or (asked == "auto" and (single or multi_label)) else "softmax"
    if inside and varies:
        rows_say = "its rows sum to 1, as after a softmax" if sums_to_one else "as after a sigmoid"
        warn(
            f"all outputs of {name} lie in [0, 1], {rows_say}, but are read as logits. If it ends in a softmax or a "
            "sigmoid, its outputs are probabilities: say so with head='probabilities'.",
            UserWarning,
        )
    return head


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
    widths = {getattr(source, name, None) for name in ("num_features", "head_hidden_size", "embed_dim")}
    if getattr(source, "num_classes", None) == 0 and (source is module or width in widths):
        return "its num_classes is 0"
    config = getattr(source, "config", None)
    has_head = "Classification" in type(source).__name__ and getattr(config, "id2label", None)
    if config is None or not hasattr(config, "id2label") or has_head:
        return None
    sizes = getattr(config, "hidden_sizes", None) or [0]
    if width in (getattr(config, "hidden_size", None), getattr(config, "projection_dim", None), sizes[-1]):
        return "its configuration names no classes for them"
    return None


def _embedding_by_length(fit: Fitted) -> str | None:
    """Rows of length 1 are what `normalize` leaves; rows that a softmax saturated have it too, but sum to 1."""
    rows, tolerance = fit.outputs, _SUM_TOLERANCE[fit.exact]
    if rows.shape[1] < 2 or bool(((rows.sum(1) - 1).abs() <= tolerance).all()):
        return None
    unit = bool(((torch.linalg.vector_norm(rows, dim=1) - 1).abs() <= tolerance).all())
    return "every row has length 1" if unit else None


def _embedding_by_layers(fit: Fitted) -> str | None:
    """Whether an nn.Identity that stands where the head was gives the output, and no linear layer made it."""
    module = plain_module(fit.module)
    heads: dict[nn.Module, str] = {
        submodule: name
        for name, submodule in module.named_modules()
        if type(submodule) is nn.Identity and _HEAD_NAMES & set(name.split("."))
    }
    if not heads:
        return None
    seen: dict[nn.Module, Tensor] = {}
    scores: list[Tensor] = []

    def after(submodule: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            if submodule in heads:
                seen[submodule] = output
            else:
                scores.append(output)

    made = (nn.Linear, nn.LazyLinear, nn.Conv2d, nn.Bilinear)
    watched = [m for m in module.modules() if m in heads or isinstance(m, made)]
    handles = [m.register_forward_hook(after) for m in watched]
    try:
        with frozen.frozen_in_place(fit.module), torch.no_grad():
            parameter = next(fit.module.parameters(), fit.images)
            probe = fit.images[:1].to(parameter.device, parameter.dtype)
            logits = frozen.logits_of(fit.module(probe))
    finally:
        for handle in handles:
            handle.remove()
    for submodule, output in seen.items():
        if _same(output, logits) and not any(_same(output, score) for score in scores):
            return f"its {heads[submodule]} is an nn.Identity"
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.data_ptr() == other.data_ptr() and one.numel() == other.numel())
