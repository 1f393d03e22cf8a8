"""Where images lie in a block of features: uncorrelated directions, and distances in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

#: Principal components of a block.
_DIMENSIONS = 16


@dataclass(frozen=True)
class PrincipalSpace:
    """Standardised columns turned to their principal components, with their variance half levelled.

    Unscaled components leave a group no say that differs in a few channels; whitened ones give noise the same say as
    everything else. Dividing by the fourth root of the variance stands between.

    Attributes:
        mean, spread: (D,) of the columns.
        axes: (D, d) directions, scaled.
    """

    mean: Floats
    spread: Floats
    axes: Floats

    @classmethod
    def fit(cls, values: npt.ArrayLike, dimensions: int = _DIMENSIONS) -> PrincipalSpace:
        """The space of (N, D) values, with at most so many dimensions."""
        own = np.asarray(values, np.float64)
        mean, spread = own.mean(0), own.std(0)
        constant = spread <= 1e-6 * np.maximum(1e-6, np.abs(mean))
        spread = np.where(constant, np.inf, spread)
        standard = (own - mean) / spread
        variances, directions = np.linalg.eigh(standard.T @ standard / max(1, len(own) - 1))
        order = np.argsort(variances)[::-1][:dimensions]
        variances, directions = variances[order], directions[:, order]
        some = variances > 1e-9 * max(1.0, float(variances[0])) if len(order) else np.zeros(0, bool)
        # The sign of a direction is arbitrary; its largest entry is made positive.
        directions = directions[:, some]
        if directions.size:
            directions = directions * np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
        axes = directions * np.power(variances[some], -0.25) if some.any() else np.zeros((own.shape[1], 1))
        return cls(mean, spread, axes)

    def place(self, values: npt.ArrayLike) -> Floats:
        """(N, d) positions of (N, D) values."""
        placed: Floats = ((np.asarray(values, np.float64) - self.mean) / self.spread) @ self.axes
        return placed


def squared(one: Floats, other: Floats) -> Floats:
    """(A, B) squared distances of (A, d) and (B, d) points."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    result: Floats = np.maximum(squares, 0)
    return result


def nearest(points: Floats, known: Floats) -> Ints:
    """(N,) position of the known point nearest to each of (N, d)."""
    step = max(1, 4_000_000 // len(known))
    found = [squared(points[start : start + step], known).argmin(1) for start in range(0, len(points), step)]
    return np.concatenate(found)


def typicality(points: Floats, middles: Floats, others: Floats) -> Singles:
    """(G, N) how much nearer (N, d) points are to the (G, d) middle of a group than to that of the rest, in [-1, 1]."""
    near, far = np.sqrt(squared(middles, points)), np.sqrt(squared(others, points))
    result: Singles = ((far - near) / np.maximum(far + near, 1e-12)).astype(np.float32)
    return result
