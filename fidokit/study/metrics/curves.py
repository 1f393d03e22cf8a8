"""Causal curves: what is left of the target as the most important pixels are kept, or filled in, share by share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fidokit.methods.base import resize_masks
from fidokit.models.goals import Goal, independent, inside
from fidokit.study.metrics.ranks import most_important, ranks

if TYPE_CHECKING:
    from fidokit.models.session import Session

#: Shares of the image at which `insertion_and_deletion` reads the curves; denser where masks differ, at small shares.
SHARES: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


@dataclass(frozen=True)
class Curves:
    """The curves of one mask under each infill of a panel.

    Attributes:
        shares: N + 2 shares of the image, from 0 to 1.
        kept, dropped: (P, N + 2) ``p(target) / p(target | whole image)`` in [0, 1] with the most important share kept,
            or filled in; NaN where p of the whole image is 0.
        kept_held, dropped_held: (P, N + 2) bool, whether the target is still the classifier's decision; see `held`.
    """

    shares: Tensor
    kept: Tensor
    dropped: Tensor
    kept_held: Tensor
    dropped_held: Tensor

    def insertion(self) -> Tensor:
        """Area under the curve of what is kept, by the trapezoid rule, mean over the panel."""
        return torch.trapezoid(self.kept.mean(0), self.shares)

    def deletion(self) -> Tensor:
        """Area under the curve of what is dropped, by the trapezoid rule, mean over the panel."""
        return torch.trapezoid(self.dropped.mean(0), self.shares)

    def informative(self) -> Tensor:
        """(P,) bool: the infills that alone do not hold the class."""
        return ~self.kept_held[:, 0]

    def sufficient_area(self) -> Tensor:
        """Smallest share kept at which the class is held, mean over the `informative` infills; NaN if there is none."""
        return self._first(self.kept_held)

    def destroying_area(self) -> Tensor:
        """Smallest share dropped at which the class is lost, mean over `informative` infills; NaN if there is none."""
        return self._first(~self.dropped_held)

    def _first(self, reached: Tensor) -> Tensor:
        # The whole image holds the class and an informative infill does not, so the last share always reaches it.
        return self.shares[reached[self.informative()].float().argmax(1)].mean()


def held(goal: Goal, logits: Tensor) -> Tensor:
    """(B,) bool: whether the target is the decision.

    Of one class an image, the class with the largest logit, which for a taxon lies inside it; of independent classes,
    against something else or for a score of the user's own, log-odds of at least 0, that is a probability of at least
    one half.
    """
    if independent(goal.head) or goal.target is None or (goal.against is not None and goal.groups is None):
        return goal.log_odds(logits) >= 0
    top = logits.argmax(1)
    if goal.groups is None:
        return top == goal.target
    within = inside(goal.target, goal.groups).gather(1, top[:, None]).squeeze(1)
    return within if goal.against is None else torch.where(goal.against < 0, within, goal.log_odds(logits) >= 0)


def variants(image: Tensor, infills: Tensor, rank: Tensor, shares: Sequence[float]) -> Tensor:
    """(2 * P * N, 3, H, W): the image with each share kept under each infill, then with each share filled in.

    Args:
        image: (3, H, W).
        infills: (P, 3, H, W).
        rank: (H, W) from `ranks`.
        shares: N of them.
    """
    keep = torch.cat([most_important(rank[None], share) for share in shares])[:, None]
    kept = torch.cat([torch.lerp(infill, image, keep) for infill in infills])
    dropped = torch.cat([torch.lerp(image.expand_as(infill), infill, keep) for infill in infills])
    return torch.cat([kept, dropped])


def curves(goal: Goal, whole: Tensor, empty: Tensor, logits: Tensor, shares: Sequence[float]) -> Curves:
    """The curves of one mask from what the classifier said.

    Args:
        goal: of the one image.
        whole: (1, K) logits of the image.
        empty: (P, K) logits of the infills alone.
        logits: (2 * P * N, K) logits of the `variants`.
        shares: N, rising, inside (0, 1).
    """
    p, n = len(empty), len(shares)
    everything = torch.cat([whole, empty, logits])
    own = goal.repeat(len(everything))
    scores = own.score(everything)
    relative = (scores[1:] / scores[0]).clamp(0, 1) if scores[0] > 0 else torch.full_like(scores[1:], torch.nan)
    keeps = held(own, everything)
    start = torch.ones(p, 1, device=relative.device)
    return Curves(
        torch.tensor([0.0, *shares, 1.0]),
        *_ends(relative, p, n, start),
        *_ends(keeps[1:], p, n, keeps[0].expand(p, 1)),
    )


def _ends(values: Tensor, p: int, n: int, whole: Tensor) -> tuple[Tensor, Tensor]:
    """(P, N + 2) values along both curves: one end of each is the whole image, the other one the infill alone."""
    empty, kept, dropped = values[:p, None], *values[p:].view(2, p, n)
    return torch.cat([empty, kept, whole], 1), torch.cat([whole, dropped, empty], 1)


@torch.no_grad()
def insertion_and_deletion(
    session: Session, images: Tensor, goal: Goal, masks: Tensor, panel: Tensor, shares: Sequence[float] = SHARES
) -> tuple[Tensor, Tensor]:
    """Areas under the insertion and the deletion curve, mean over a panel of infills.

    At a share f, insertion keeps the f most important pixels and fills in the rest, deletion the other way round; both
    read ``p(target) / p(target | whole image)``, clipped to [0, 1], and are integrated over f from 0 to 1 by the
    trapezoid rule. It takes ``P * (2 * len(shares) + 1) + 1`` evaluations an image: one end of both curves is the whole
    image, the other one the infill alone.

    Args:
        session: an open session of the classifier.
        images: (B, 3, H, W) in [0, 1].
        goal: what the masks explain.
        masks: (B, h, w).
        panel: (P, 3, H, W), or (B, P, 3, H, W) for a panel of each image's own.
        shares: the shares f, rising, inside (0, 1).

    Returns:
        Two (B,) tensors in [0, 1]; high insertion and low deletion are good. NaN where p of the whole image is 0.
    """
    size = (images.shape[-2], images.shape[-1])
    rank = ranks(resize_masks(masks.float(), size))
    whole = session.logits(images)
    own_panels = panel if panel.ndim == 5 else panel.expand(len(images), *panel.shape)
    insertion, deletion = [], []
    for i, infills in enumerate(own_panels):
        logits = session.logits(torch.cat([infills, variants(images[i], infills, rank[i], shares)]))
        p = len(infills)
        curve = curves(goal[slice(i, i + 1)], whole[i : i + 1], logits[:p], logits[p:], shares)
        insertion.append(curve.insertion())
        deletion.append(curve.deletion())
    return torch.stack(insertion), torch.stack(deletion)
