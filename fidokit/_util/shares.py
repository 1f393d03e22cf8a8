"""Intervals of shares, and figures with intervals and p-values as people read them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def wilson(found: npt.ArrayLike, n: npt.ArrayLike, z: float) -> tuple[Floats, Floats]:
    """Lower and upper bounds of shares found / n (Wilson 1927), z standard errors away; 0 and 1 where n is 0."""
    found, n = np.asarray(found, np.float64), np.asarray(n, np.float64)
    share = np.divide(found, n, out=np.zeros(n.shape), where=n > 0)
    safe = np.maximum(n, 1.0)
    middle = share + z**2 / (2 * safe)
    spread = z * np.sqrt(share * (1 - share) / safe + z**2 / (4 * safe**2))
    low, high = ((middle + sign * spread) / (1 + z**2 / safe) for sign in (-1, 1))
    return np.where(n > 0, np.maximum(low, 0.0), 0.0), np.where(n > 0, np.minimum(high, 1.0), 1.0)


def p_words(p: float) -> str:
    """A p-value to two digits, "< 0.001" where it is less; empty where there is none."""
    return "" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.2g}"
