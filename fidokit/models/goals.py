"""What a mask explains, and what it is charged for: log-odds, area and total variation."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fidokit._util.checks import is_whole
from fidokit.exceptions import SettingsError

Head = Literal["softmax", "sigmoid", "probabilities", "independent-probabilities"]
"""What a classifier's outputs are: logits of one class an image (``softmax``) or of independent classes (``sigmoid``),
or a module that ends in a softmax (``probabilities``) or in sigmoids (``independent-probabilities``) itself."""
Explained = Literal["log-odds", "logit", "contrast"]
EXPLAINED: tuple[Explained, ...] = ("log-odds", "logit", "contrast")
ScoreFunction = Callable[[Tensor], Tensor]
Targets = None | str | int | Sequence[str | int] | Tensor | ScoreFunction

_TINY = torch.finfo(torch.float32).tiny


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


def log_odds(logits: Tensor, target: Tensor, against: Tensor | None = None, *, head: Head = "softmax") -> Tensor:
    """Log-odds of the target classes.

    Args:
        logits: (B, K).
        target: (B,) class indices.
        against: (B,) class indices to contrast with, or None for all other classes together.
        head: of one class an image: ``logit_c - logsumexp(other logits)``; of independent classes: the logit itself.

    Returns:
        (B,) float32. ``sigmoid`` of it is the target's probability (against the one other class, if given).
    """
    logits = logits.float()
    own = logits.gather(1, target[:, None]).squeeze(1)
    if against is not None:
        return own - logits.gather(1, against[:, None]).squeeze(1)
    if independent(head):
        return own
    others = logits.scatter(1, target[:, None], -torch.inf)
    return own - torch.logsumexp(others, dim=1)


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
    """Index of a class given by index or name.

    Raises:
        SettingsError: out of range or unknown; the message lists the nearest names.
    """
    if isinstance(name, str):
        if name in class_names:
            return list(class_names).index(name)
        near = difflib.get_close_matches(name, class_names, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
        raise SettingsError(f"the classifier knows no class {name!r}{hint}")
    index = int(name)
    if not 0 <= index < len(class_names):
        raise SettingsError(f"class index {index} is out of range: the classifier has {len(class_names)} classes")
    return index


def against_itself(name: str) -> str:
    """What is said where a class would be contrasted with itself."""
    return f"{name!r} is the class that is explained and cannot be contrasted with itself; contrast it with another one"


def _indices(names: str | int | Sequence[str | int] | Tensor, n: int, class_names: Sequence[str], what: str) -> Tensor:
    if hasattr(names, "tolist"):  # a tensor, a numpy array or a pandas column
        names = names.tolist()
    if isinstance(names, str) or is_whole(names):
        names = [names] * n
    if not isinstance(names, Sequence) or not all(isinstance(name, str) or is_whole(name) for name in names):
        raise SettingsError(f"{what} must be class names or indices, one for all images or one an image, not {names!r}")
    if len(names) != n:
        raise SettingsError(f"{what}: {len(names)} classes for {n} images; give one for all or one an image")
    return torch.tensor([class_index(name, class_names) for name in names], dtype=torch.int64)


@dataclass(frozen=True)
class Goal:
    """What is explained for each image of a batch: a class, a class against another, or a user's own score.

    Attributes:
        class_names: names of the K classes.
        head: how logits become log-odds.
        target: (B,) class indices, or None with a `function`.
        against: (B,) class indices to contrast with, or None.
        function: a user's score, logits (B, K) -> (B,), read as log-odds.
    """

    class_names: Sequence[str]
    head: Head
    target: Tensor | None
    against: Tensor | None = None
    function: ScoreFunction | None = None

    @classmethod
    def resolve(
        cls,
        targets: Targets,
        against: Targets,
        *,
        logits: Tensor,
        class_names: Sequence[str],
        head: Head,
    ) -> Goal:
        """The goal for images with these (B, K) logits; ``targets=None`` means the predicted classes.

        Raises:
            SettingsError: a class that does not exist, a wrong number of classes, or a class against itself.
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
        target = logits.argmax(1).cpu() if targets is None else _indices(targets, n, class_names, "targets")
        other = None if against is None else _indices(against, n, class_names, "against")
        if other is not None and bool((other == target).any()):
            first = int((other == target).nonzero()[0])
            where = f" (image {first + 1} of {n})" if n > 1 else ""
            raise SettingsError(against_itself(class_names[int(target[first])]) + where)
        return cls(class_names, head, target, other)

    def log_odds(self, logits: Tensor) -> Tensor:
        """(B,) float32 log-odds of these images from their (B, K) logits."""
        if self.function is not None:
            return self.function(logits).float()
        assert self.target is not None
        return log_odds(logits, self.target, self.against, head=self.head)

    def value(self, logits: Tensor, explained: Explained) -> Tensor:
        """(B,) float32 values that a mask explains, from (B, K) logits.

        Args:
            logits: (B, K).
            explained: ``log-odds`` as in `log_odds`; ``logit``: the target's logit by itself, which says nothing of the
                other classes; ``contrast``: the target's logit less the mean of all others. With a class to contrast
                with, all three are the difference of the two logits; of a user's function, its value.
        """
        if self.function is not None or self.against is not None or explained == "log-odds":
            return self.log_odds(logits)
        own = self.class_logit(logits)
        if explained == "logit" or logits.shape[1] < 2:
            return own
        return own - (logits.float().sum(1) - own) / (logits.shape[1] - 1)

    def score(self, logits: Tensor) -> Tensor:
        """(B,) scores in [0, 1]: the sigmoid of the log-odds, that is the probability of the target."""
        return torch.sigmoid(self.log_odds(logits))

    def class_logit(self, logits: Tensor) -> Tensor:
        """(B,) values that gradient baselines differentiate: the class logit, or a difference of two."""
        if self.function is not None:
            return self.function(logits)
        assert self.target is not None
        return class_logit(logits, self.target, self.against)

    def __getitem__(self, rows: Tensor | slice) -> Goal:
        """The goal of some rows."""

        def pick(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows]

        return Goal(self.class_names, self.head, pick(self.target), pick(self.against), self.function)

    def repeat(self, times: int) -> Goal:
        """The goal of each image ``times`` over, copies of one image next to each other."""

        def spread(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.repeat_interleave(times)

        return Goal(self.class_names, self.head, spread(self.target), spread(self.against), self.function)

    def to(self, device: torch.device) -> Goal:
        """The goal with its indices on a device."""

        def move(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.to(device)

        return Goal(self.class_names, self.head, move(self.target), move(self.against), self.function)

    def target_names(self, n: int) -> list[str]:
        """Names of the targets; of a user's function, its own name, marked as one."""
        if self.function is not None:
            return [f"function:{getattr(self.function, '__name__', type(self.function).__name__)}"] * n
        assert self.target is not None
        return [self.class_names[i] for i in self.target.tolist()]

    def against_names(self, n: int) -> list[str | None]:
        """Names of the contrasted classes, None where there is none."""
        return [None] * n if self.against is None else [self.class_names[i] for i in self.against.tolist()]
