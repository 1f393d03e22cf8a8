"""What a mask explains, and what it is charged for: log-odds, area and total variation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fidokit._util.checks import is_whole
from fidokit._util.warning import warn
from fidokit._util.wording import argument, given
from fidokit.data.names import meant_name, unknown_class
from fidokit.exceptions import SettingsError
from fidokit.models.taxonomy import REST_OF, Taxonomy

Head = Literal["softmax", "sigmoid", "probabilities", "independent-probabilities"]
"""What a classifier's outputs are: logits of one class an image (``softmax``) or of independent classes (``sigmoid``),
or a module that ends in a softmax (``probabilities``) or in sigmoids (``independent-probabilities``) itself."""
Explained = Literal["log-odds", "logit", "contrast"]
EXPLAINED: tuple[Explained, ...] = ("log-odds", "logit", "contrast")
#: What masks explain unless told otherwise.
USUALLY_EXPLAINED: Explained = "logit"
ScoreFunction = Callable[[Tensor], Tensor]
RUNNER_UP = "runner-up"
"""What stands for the best class beside what is explained, as something to contrast it with."""
Targets = None | str | int | Sequence[str | int | None] | Tensor | ScoreFunction

_TINY = torch.finfo(torch.float32).tiny
#: Below it, ``log(softplus(x))`` and ``log(expm1(exp(x)))`` are x to the precision of float32.
_LOW = -16.0


def independent(head: Head) -> bool:
    """Whether the classes are judged one by one, so that their probabilities need not sum to 1."""
    return head in ("sigmoid", "independent-probabilities")


def of_probabilities(head: Head) -> bool:
    """Whether the module gives probabilities, not logits."""
    return head in ("probabilities", "independent-probabilities")


def probabilities(logits: Tensor, head: Head) -> Tensor:
    """(..., K) scores in [0, 1] of (..., K) logits: the softmax, or each logit's sigmoid where independent."""
    return torch.sigmoid(logits) if independent(head) else torch.softmax(logits, -1)


def to_logits(scores: Tensor, head: Head) -> Tensor:
    """(..., K) finite logits whose `probabilities` are these scores (which sum to 1 unless independent).

    Scores of 0 and 1 have no logit: they are clamped to the nearest float32 that has one, where the gradient is 0.
    """
    if independent(head):
        return torch.logit(scores.clamp(_TINY, 1 - 2**-24))
    return scores.clamp_min(_TINY).log()


def log_odds(
    logits: Tensor,
    target: Tensor,
    against: Tensor | None = None,
    *,
    head: Head = "softmax",
    groups: Tensor | None = None,
) -> Tensor:
    """Log-odds of the target classes or groups of classes.

    Args:
        logits: (B, K).
        target: (B,) class indices; with `groups`, K + g is the g-th of them.
        against: (B,) the same of what to contrast with, or None for all other classes together; with `groups`, -1 says
            so of a single image.
        head: of one class an image: ``logit_c - logsumexp(other logits)``, of a group
            ``logsumexp(inside) - logsumexp(outside)``, and ``logsumexp(inside one) - logsumexp(inside the other)`` with
            something to contrast with. Of independent classes: the logit itself; of a group, the log-odds that any of
            its classes is there, ``log(1 / prod(1 - p) - 1)``, and the difference of two.
        groups: (G, K) bool, the classes inside each group. Groups that are told from one another must not overlap.

    Returns:
        (B,) float32. ``sigmoid`` of it is the target's probability (against the one other class, if given).
    """
    logits = logits.float()
    if groups is not None:
        return _log_odds_of_groups(logits, target, against, head, groups)
    own = logits.gather(1, target[:, None]).squeeze(1)
    if against is not None:
        return own - logits.gather(1, against[:, None]).squeeze(1)
    if independent(head):
        return own
    others = logits.scatter(1, target[:, None], -torch.inf)
    return own - torch.logsumexp(others, dim=1)


def inside(asked: Tensor, groups: Tensor) -> Tensor:
    """(B, K) bool: the classes of what is asked for, (B,) indices of classes or K + g for the g-th of (G, K) groups."""
    k = groups.shape[1]
    single = torch.arange(k, device=asked.device) == asked[:, None]
    return single | groups[(asked - k).clamp_min(0)] & (asked >= k)[:, None] if len(groups) else single


def _log_odds_of_groups(logits: Tensor, target: Tensor, against: Tensor | None, head: Head, groups: Tensor) -> Tensor:
    own = inside(target, groups)
    if against is None:
        against = torch.full_like(target, -1)
    alone = (against < 0)[:, None]
    if not independent(head):
        return _logsumexp_of(logits, own) - _logsumexp_of(logits, torch.where(alone, ~own, inside(against, groups)))
    # Where there is nothing to contrast with, the first class stands in, so that no gradient is NaN.
    first = torch.zeros_like(own)
    first[:, 0] = True
    contrast = any_of(logits, torch.where(alone, first, inside(against, groups)))
    return any_of(logits, own) - torch.where(alone.squeeze(1), 0.0, contrast)


def _logsumexp_of(logits: Tensor, members: Tensor) -> Tensor:
    return torch.logsumexp(logits.masked_fill(~members, -torch.inf), dim=1)


def any_of(logits: Tensor, members: Tensor) -> Tensor:
    """(B,) log-odds that any of some independent classes is there: ``log(expm1(sum(softplus(logits))))``.

    Args:
        logits: (B, K) log-odds of the single classes.
        members: (B, K) bool, at least one a row. Of one class it is its own logit.
    """
    # log(softplus(x)) is x for very negative x, where the softplus itself would be 0.
    low = logits < _LOW
    log_each = torch.where(low, logits, torch.nn.functional.softplus(logits.clamp_min(_LOW)).log())
    log_none = _logsumexp_of(log_each, members)  # the logarithm of -log(probability that none is there)
    small = log_none < _LOW
    none = log_none.clamp_min(_LOW).exp()
    return torch.where(small, log_none, none + torch.log(-torch.expm1(-none)))


def class_logit(logits: Tensor, target: Tensor, against: Tensor | None = None) -> Tensor:
    """The (B,) target logits, or their difference to the contrasted class: what gradient baselines differentiate.

    Of a module that ends in a softmax they are the logarithms of its probabilities, which fall where others rise.
    """
    logits = logits.float()
    own = logits.gather(1, target[:, None]).squeeze(1)
    return own if against is None else own - logits.gather(1, against[:, None]).squeeze(1)


def area(mask: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Area of (..., h, w) masks: the mean over the cells, or their sum."""
    return mask.mean(dim=(-2, -1)) if reduction == "mean" else mask.sum(dim=(-2, -1))


def total_variation(mask: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """Anisotropic total variation of (..., h, w) masks: absolute differences of neighbours, down plus across.

    ``mean`` averages over the neighbour pairs of each direction, so that the weight does not depend on the grid.
    """
    total = mask.new_zeros(mask.shape[:-2])
    for axis in (-2, -1):
        if mask.shape[axis] > 1:
            step = mask.diff(dim=axis).abs()
            total = total + (step.mean(dim=(-2, -1)) if reduction == "mean" else step.sum(dim=(-2, -1)))
    return total


def class_index(name: str | int, class_names: Sequence[str]) -> int:
    """Index of a class given by index or by its very name.

    Raises:
        SettingsError: out of range or unknown; the message lists the nearest names.
    """
    if isinstance(name, str):
        if name in class_names:
            return list(class_names).index(name)
        raise unknown_class(name, class_names)
    index = int(name)
    if not 0 <= index < len(class_names):
        raise SettingsError(f"class index {index} is out of range: the classifier has {len(class_names)} classes")
    return index


def meant(name: str | int, class_names: Sequence[str], taxonomy: Taxonomy | None = None) -> str | int:
    """The class or taxon, or rest of a taxon, that is meant by its name or by a part that no other one has.

    Args:
        name: as a user gives it; an index is handed back.
        class_names: of the classifier.
        taxonomy: whose taxa may be meant too.

    Raises:
        SettingsError: several names fit, which are listed, or none does; the nearest are listed then.
    """
    taxa = {} if taxonomy is None else taxonomy.taxa
    if not isinstance(name, str) or name in taxa or name in class_names:
        return name
    if taxa and name.startswith(REST_OF):
        return REST_OF + meant_name(name.removeprefix(REST_OF), list(taxa), "taxon")
    return meant_name(name, [*class_names, *taxa], "class or taxon" if taxa else "class")


def taken(name: str | int, class_names: Sequence[str], taxonomy: Taxonomy | None = None) -> str | int:
    """See `meant`; where a part of a name was given, a warning says what was taken."""
    found = meant(name, class_names, taxonomy)
    if found != name:
        warn(f"{name!r} is taken to mean {found!r}")
    return found


def asked_classes(name: str | int, class_names: Sequence[str], taxonomy: Taxonomy | None) -> tuple[int, ...]:
    """Indices of the classes that are asked for by the name of a class or a taxon, or by the index of a class.

    Raises:
        SettingsError: out of range or unknown; the message lists the nearest names.
    """
    if taxonomy is not None and isinstance(name, str) and name not in class_names:
        found = taxonomy.indices(name)
        if found is not None:
            return found
    return (class_index(name, class_names),)


def check_asked(
    target: str | int | None,
    against: str | int | None,
    class_names: Sequence[str],
    taxonomy: Taxonomy | None,
    head: Head,
) -> None:
    """See that a target, None for whatever is predicted, and what it is contrasted with can be asked for.

    The runner-up can, since there is always one.

    Raises:
        SettingsError: an unknown name, the two are the same or overlap, or there is nothing outside the target.
    """
    asked = _Asked(class_names, taxonomy)
    own = None if target is None else asked.target(target)
    if against == RUNNER_UP:
        against = None
    if against is not None and own is not None:
        asked.against(against, own, "")
    elif own is not None:
        asked.alone(own, head)
    elif against is not None:
        asked.any(against)


def against_itself(name: str) -> str:
    """What is said where a class would be contrasted with itself."""
    return f"{name!r} is the class that is explained and cannot be contrasted with itself; contrast it with another one"


def _one_each(names: object, n: int, what: str) -> list[str | int | None]:
    """Names or indices, one an image; None only where something stands for others."""
    if hasattr(names, "tolist"):  # a tensor, a numpy array or a pandas column
        names = names.tolist()
    if isinstance(names, str) or is_whole(names):
        names = [names] * n
    may_be_none = what == "against"
    if not isinstance(names, Sequence) or not all(
        isinstance(name, str) or is_whole(name) or (may_be_none and name is None) for name in names
    ):
        raise SettingsError(f"{what} must be class names or indices, one for all images or one an image, not {names!r}")
    if len(names) != n:
        raise SettingsError(f"{what}: {len(names)} classes for {n} images; give one for all or one an image")
    return list(names)


def at_rank(
    targets: Targets,
    against: Targets,
    rank: str | None,
    within: str | None,
    logits: Tensor,
    class_names: Sequence[str],
    taxonomy: Taxonomy | None,
) -> tuple[Targets, Targets]:
    """Targets, by default the predicted classes, as their taxa at a rank, and what each is told from.

    Args:
        targets: names or indices of classes or taxa.
        against: what the taxa are contrasted with; it takes the place of `within`.
        rank, within: see `Taxonomy.asked`.
        logits: (B, K).
        class_names: of the K classes.
        taxonomy: of the classes.

    Raises:
        SettingsError: there is no taxonomy, rank or class, or two options that do not go together.
    """
    if taxonomy is None:
        raise SettingsError(
            f"`{argument('rank')}` needs a classifier with a taxonomy; give one: "
            f"{given('Classifier(...', taxonomy=...)}"
        )
    if rank is None:
        raise SettingsError(
            f"`{argument('within')}` needs a `{argument('rank')}`: what to explain within the coarser taxon"
        )
    if callable(targets):
        raise SettingsError("`rank` needs classes as targets, not a function")
    if against is not None and within is not None:
        raise SettingsError(
            f"`{argument('within')}` and `{argument('against')}` both say what the target is told from; give "
            "one of them"
        )
    chosen = logits.argmax(1).tolist() if targets is None else _one_each(targets, len(logits), "targets")
    whole = [taken(name or 0, class_names, taxonomy) for name in chosen]
    names = [name if isinstance(name, str) else class_names[class_index(name, class_names)] for name in whole]
    pairs = [taxonomy.asked(name, rank, "all" if against is not None else within) for name in names]
    if against is None:
        return [name for name, _ in pairs], [other for _, other in pairs]
    others = _one_each(against, len(logits), "against")
    for i, (taxon, _) in enumerate(pairs):
        if others[i] == RUNNER_UP:
            best = runner_up(logits[i], taxon, class_names, taxonomy)
            others[i] = taxonomy.asked(class_names[best], rank, "all")[0]
    return [name for name, _ in pairs], others


def runner_up(logits: Tensor, target: str | int, class_names: Sequence[str], taxonomy: Taxonomy | None) -> int:
    """Index of the best class outside a class or taxon, by (K,) logits.

    Raises:
        SettingsError: an unknown target, or one that holds all classes.
    """
    others = logits.clone()
    others[list(asked_classes(target, class_names, taxonomy))] = -torch.inf
    if not bool(torch.isfinite(others).any()):
        raise SettingsError(f"{target!r} holds all classes, so there is no runner-up outside it")
    return int(others.argmax())


class _Asked:
    """Numbers for what is asked for: a class has its index; a group, also of a single class, one after all classes."""

    def __init__(self, class_names: Sequence[str], taxonomy: Taxonomy | None) -> None:
        self.class_names, self.taxonomy = class_names, taxonomy
        self.names: list[str] = []
        self.members: list[tuple[int, ...]] = []
        self._numbers: dict[tuple[str, tuple[int, ...]], int] = {}

    def target(self, name: str | int) -> int:
        name = taken(name, self.class_names, self.taxonomy)
        return self._number(name, asked_classes(name, self.class_names, self.taxonomy))

    def any(self, name: str | int) -> None:
        """See that something can be contrasted with, whatever the target is."""
        name = taken(name, self.class_names, self.taxonomy)
        if not (isinstance(name, str) and self.rest(name)):
            asked_classes(name, self.class_names, self.taxonomy)

    def against(self, name: str | int, target: int, where: str) -> int:
        """What the target is contrasted with; "rest of TAXON" leaves out the target itself."""
        name = taken(name, self.class_names, self.taxonomy)
        own = set(self.classes(target))
        enclosing = self.rest(name) if isinstance(name, str) else None
        if enclosing is not None:
            assert self.taxonomy is not None
            around = self.taxonomy.taxa[enclosing].members
            others = tuple(i for i in around if i not in own)
            if not own < set(around):
                raise SettingsError(
                    f"{self.name(target)!r} is not inside {enclosing!r}, or is all of it, so that there is no {name!r} "
                    f"to contrast it with{where}"
                )
            return self._number(name, others)
        others = asked_classes(name, self.class_names, self.taxonomy)
        if set(others) == own:
            raise SettingsError(against_itself(self.name(target)) + where)
        if own.intersection(others):
            outer, inner = (str(name), self.name(target))[:: 1 if len(others) > len(own) else -1]
            raise SettingsError(
                f"{outer!r} contains {inner!r}, so the one cannot be contrasted with the other{where}"
                + (f"; {given(against=REST_OF + outer)} are the other classes in it" if outer == str(name) else "")
            )
        return self._number(name, others)

    def alone(self, target: int, head: Head) -> int:
        """A target that is told from everything else, for which -1 stands."""
        n = len(self.class_names)
        if not independent(head) and len(self.classes(target)) == n > 1:
            raise SettingsError(
                f"{self.name(target)!r} holds all {n} classes, so there is nothing to tell it from; ask for a taxon "
                "below it"
            )
        return -1

    def runner_up(self, target: int, logits: Tensor) -> int:
        return runner_up(logits, self.name(target), self.class_names, self.taxonomy)

    def rest(self, name: str) -> str | None:
        """The taxon whose rest is meant by a name, if that is no class."""
        return None if self.taxonomy is None or name in self.class_names else self.taxonomy.rest(name)

    def classes(self, number: int) -> tuple[int, ...]:
        k = len(self.class_names)
        return (number,) if number < k else self.members[number - k]

    def name(self, number: int) -> str:
        k = len(self.class_names)
        return self.class_names[number] if number < k else self.names[number - k]

    def groups(self) -> Tensor:
        """(G, K) bool, the classes inside each group."""
        groups = torch.zeros(len(self.members), len(self.class_names), dtype=torch.bool, device="cpu")
        for row, members in enumerate(self.members):
            groups[row, list(members)] = True
        return groups

    def _number(self, name: str | int, members: tuple[int, ...]) -> int:
        if not isinstance(name, str) or name == self.class_names[members[0]]:
            return members[0]
        found = self._numbers.setdefault((name, members), len(self.names))
        if found == len(self.names):
            self.names.append(name)
            self.members.append(members)
        return len(self.class_names) + found


@dataclass(frozen=True)
class Goal:
    """What is explained for each image of a batch: a class or taxon, one against another, or a user's own score.

    Attributes:
        class_names: names of the K classes.
        head: how logits become log-odds.
        target: (B,) class indices, K + g for the g-th group, or None with a `function`.
        against: (B,) the same of what to contrast with, -1 for nothing where others have something, or None.
        function: a user's score, logits (B, K) -> (B,), read as log-odds.
        groups: (G, K) bool, the classes inside each taxon that is asked for; None where only classes are.
        group_names: G names.
    """

    class_names: Sequence[str]
    head: Head
    target: Tensor | None
    against: Tensor | None = None
    function: ScoreFunction | None = None
    groups: Tensor | None = None
    group_names: tuple[str, ...] = ()

    @classmethod
    def resolve(
        cls,
        targets: Targets,
        against: Targets,
        *,
        logits: Tensor,
        class_names: Sequence[str],
        head: Head,
        taxonomy: Taxonomy | None = None,
    ) -> Goal:
        """The goal for images with these (B, K) logits; ``targets=None`` means the predicted classes.

        Raises:
            SettingsError: a class or taxon that does not exist, a wrong number of them, one against itself or one that
                overlaps it, or, with classes that exclude each other, a taxon that holds all of them.
        """
        if callable(targets):
            if against is not None:
                raise SettingsError(
                    "`against` needs a class as target; put the contrast into your own function instead"
                )
            return cls(class_names, head, None, None, targets)
        if callable(against):
            raise SettingsError("`against` takes classes, not a function; give the function as `targets`")
        n = logits.shape[0]
        asked = _Asked(class_names, taxonomy)
        # A column of a study's table, with None where an image is told from everything else.
        others = [None] * n if against is None else _one_each(against, n, "against")
        if targets is None:
            target = logits.argmax(1).tolist()
        else:
            target = [asked.target(name) for name in _one_each(targets, n, "targets") if name is not None]
        contrast: list[int] = []
        for i, (own, other) in enumerate(zip(target, others, strict=True)):
            where = f" (image {i + 1} of {n})" if n > 1 else ""
            if other == RUNNER_UP:
                other = asked.runner_up(own, logits[i])
            contrast.append(asked.alone(own, head) if other is None else asked.against(other, own, where))
        mixed = any(number < 0 for number in contrast) and any(number >= 0 for number in contrast)
        return cls(
            class_names,
            head,
            torch.tensor(target, dtype=torch.int64, device="cpu"),
            torch.tensor(contrast, dtype=torch.int64, device="cpu")
            if mixed or any(number >= 0 for number in contrast)
            else None,
            groups=asked.groups() if asked.names or mixed else None,
            group_names=tuple(asked.names),
        )

    def log_odds(self, logits: Tensor) -> Tensor:
        """(B,) float32 log-odds of these images from their (B, K) logits."""
        if self.function is not None:
            return self.function(logits).float()
        assert self.target is not None
        return log_odds(logits, self.target, self.against, head=self.head, groups=self.groups)

    def value(self, logits: Tensor, explained: Explained) -> Tensor:
        """(B,) float32 values that a mask explains, from (B, K) logits.

        Args:
            logits: (B, K).
            explained: ``log-odds`` as in `log_odds`; ``logit``: the target's logit by itself, which says nothing of the
                other classes; ``contrast``: the target's logit less the mean of all others. With something to contrast
                with, all three are the difference of the two; of a taxon, which has no logit of its own, they are its
                log-odds; of a user's function, its value. See `explains`.
        """
        explained = self.explains(explained)
        if explained == "log-odds":
            return self.log_odds(logits)
        own = self.class_logit(logits)
        if explained == "logit" or logits.shape[1] < 2:
            return own
        contrasted = own - (logits.float().sum(1) - own) / (logits.shape[1] - 1)
        return contrasted if self.groups is None else torch.where(self.alone(logits), contrasted, own)

    def explains(self, asked: Explained) -> Explained:
        """What is explained where a value was asked for.

        A module that ends in a softmax gives its logits up to what all classes share: the contrast, in which that
        cancels, stands in for the logit.
        """
        if self.function is not None or (self.against is not None and self.groups is None):
            return "log-odds"
        return "contrast" if asked == "logit" and self.head == "probabilities" else asked

    def score(self, logits: Tensor) -> Tensor:
        """(B,) scores in [0, 1]: the sigmoid of the log-odds, that is the probability of the target."""
        return torch.sigmoid(self.log_odds(logits))

    def class_logit(self, logits: Tensor) -> Tensor:
        """(B,) values that gradient baselines differentiate: the class logit, or a difference of two.

        Of a taxon they are its log-odds: ``logsumexp(inside)`` by itself rises with whatever tells its classes from one
        another.
        """
        if self.function is not None:
            return self.function(logits)
        assert self.target is not None
        if self.groups is None:
            return class_logit(logits, self.target, self.against)
        single = self.target.clamp_max(logits.shape[1] - 1)
        return torch.where(self.alone(logits), class_logit(logits, single), self.log_odds(logits))

    def alone(self, logits: Tensor) -> Tensor:
        """(B,) bool: the images whose target is a single class with nothing to contrast it with."""
        assert self.target is not None
        single = self.target < logits.shape[1]
        return single if self.against is None else single & (self.against < 0)

    def __getitem__(self, rows: Tensor | slice) -> Goal:
        """The goal of some rows."""
        return self._with(lambda values: values[rows])

    def repeat(self, times: int) -> Goal:
        """The goal of each image ``times`` over, copies of one image next to each other."""
        return self._with(lambda values: values.repeat_interleave(times))

    def to(self, device: torch.device) -> Goal:
        """The goal with its indices on a device."""
        moved = self._with(lambda values: values.to(device))
        return moved if self.groups is None else replace(moved, groups=self.groups.to(device))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Goal:
        target, against = (None if of is None else change(of) for of in (self.target, self.against))
        return replace(self, target=target, against=against)

    def target_names(self, n: int) -> list[str]:
        """Names of the targets; of a user's function, its own name, marked as one."""
        if self.function is not None:
            return [f"function:{getattr(self.function, '__name__', type(self.function).__name__)}"] * n
        assert self.target is not None
        names = [*self.class_names, *self.group_names]
        return [names[i] for i in self.target.tolist()]

    def against_names(self, n: int) -> list[str | None]:
        """Names of what is contrasted with, None where there is nothing."""
        names = [*self.class_names, *self.group_names]
        return [None] * n if self.against is None else [None if i < 0 else names[i] for i in self.against.tolist()]
