"""One bad image costs only itself: a batch that raises goes through once more, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from fidokit.exceptions import FidokitError, ImageError

if TYPE_CHECKING:
    from fidokit.models.session import Session

T = TypeVar("T")


class GpuLost(FidokitError):
    """An error of the GPU that stays until the process ends."""


def raise_if_general(error: Exception) -> None:
    """Raise what would hit every image alike; what may be the fault of one image is left to be isolated."""
    if isinstance(error, FidokitError) and not isinstance(error, ImageError):
        raise error
    if "CUDA error" in str(error):
        # All images after it would fail for no reason of their own.
        raise GpuLost(
            f"the GPU gave up ({str(error).splitlines()[0]}); restart Python and run the same command again, what is "
            "finished is safe"
        ) from error


def reason_of(error: Exception) -> str:
    """Why an image failed, as it stands in tables."""
    return str(error) if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"


def together_or_alone(run: Callable[[slice], T], n: int) -> Iterator[tuple[slice, T | str]]:
    """What ``run`` gives for n images: all rows at once or, if that raises, row by row, with the reason for a bad one.

    Raises:
        FidokitError: what would hit every image alike, see `raise_if_general`.
    """
    if n == 0:
        return
    try:
        together = run(slice(0, n))
    except Exception as error:
        raise_if_general(error)
        if n == 1:
            yield slice(0, 1), reason_of(error)
            return
    else:
        yield slice(0, n), together
        return
    for row in range(n):
        try:
            alone: T | str = run(slice(row, row + 1))
        except Exception as error:
            raise_if_general(error)
            alone = reason_of(error)
        yield slice(row, row + 1), alone


def logits_or_reasons(session: Session, groups: Sequence[Tensor]) -> list[Tensor | str]:
    """(V, K) logits of each group of (V, 3, H, W) images, or why there are none."""
    found: list[Tensor | str] = []
    for rows, logits in together_or_alone(lambda rows: session.logits(torch.cat(list(groups[rows]))), len(groups)):
        found += [logits] if isinstance(logits, str) else torch.split(logits, [len(group) for group in groups[rows]])
    return found


def attempt(compute: Callable[[], T]) -> T | str:
    """What it gives, or the reason why it failed for one photograph."""
    try:
        return compute()
    except Exception as error:
        return reason_of(error)
