"""How many errors are left among photographs that nobody has looked at, by those that were looked at at random."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hypergeom

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
LEVEL = 0.95


@dataclass(frozen=True)
class Batches:
    """Which photographs are looked at together, in the order of the table.

    Attributes:
        number: (N,) of the batch, from 1.
        drawn: (N,) whether a photograph is there because it was drawn, and not for its place in the order.
        lot: (N,) its place in a random order of all photographs.
        first: photographs from the front of the order in each batch.
        drawn_each: lots in each batch.
    """

    number: Ints
    drawn: Bools
    lot: Ints
    first: int
    drawn_each: int

    @classmethod
    def make(cls, n: int, size: int, sample: float, seed: int) -> Batches:
        """Batch b has the b-th so many photographs of the order and the b-th so many lots, each photograph once.

        How far a batch goes in either is fixed before anything is known of any photograph: what the bound needs.
        """
        drawn_each = min(size - 1, max(1, round(size * sample))) if sample > 0 else 0
        first = size - drawn_each
        lot = np.random.default_rng([seed, n]).permutation(n)
        by_order = np.arange(n) // first + 1
        by_lot = lot // drawn_each + 1 if drawn_each else np.full(n, n + 1)
        return cls(np.minimum(by_order, by_lot), by_lot < by_order, lot, first, drawn_each)


def errors_left(batches: Batches, wrong: npt.NDArray[np.float64]) -> pd.DataFrame:
    """What is known after each batch that was looked at whole.

    Of the photographs behind those that were taken from the front of the order, the ones drawn are a simple random
    sample, whatever the order is worth; so the number of errors there has an exact hypergeometric interval (the one of
    Clopper and Pearson, Biometrika 1934, for sampling without replacement). Errors already found are taken off.

    Args:
        batches: of N photographs.
        wrong: (N,) 1 wrong, 0 right, NaN not looked at; in the order of the table.

    Returns:
        batch, looked_at, errors_found, not_looked_at, errors_left (the estimate), errors_left_low and errors_left_high
        (95 % for this look), and at_most: an upper bound that holds at all looks at once with 95 %, so that it may
        decide when to stop. It spends 1 / (b (b + 1)) of the 5 % on batch b.
    """
    n, rows = len(wrong), []
    for batch in range(1, int(batches.number.max(initial=0)) + 1):
        looked = batches.number <= batch
        if not np.isfinite(wrong[looked]).all():
            break
        behind = np.arange(n) >= batch * batches.first
        sample = behind & (batches.lot < batch * batches.drawn_each)
        population, drawn, found = int(behind.sum()), int(sample.sum()), int(wrong[sample].sum())
        known, most = int(wrong[behind & looked].sum()), int((~looked).sum())
        low, high = interval(population, drawn, found, (1 - LEVEL) / 2)
        at_most = interval(population, drawn, found, (1 - LEVEL) / (batch * (batch + 1)))[1]
        estimate = population * found / drawn if drawn else population
        left = [float(min(max(errors - known, 0), most)) for errors in (estimate, low, high, at_most)]
        rows.append([batch, int(looked.sum()), int(wrong[looked].sum()), most, *left])
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = [
    *("batch", "looked_at", "errors_found", "not_looked_at"),
    *("errors_left", "errors_left_low", "errors_left_high", "at_most"),
]


def interval(population: int, drawn: int, found: int, tail: float) -> tuple[int, int]:
    """The numbers of errors in a population under which as few, or as many, in a sample are no rarer than `tail`.

    Args:
        population, drawn: sizes of the population and of the sample, drawn without replacement.
        found: errors in the sample.
        tail: chance on either side.
    """
    least, most = found, population - (drawn - found)
    if drawn == population:
        return least, most

    def rare_so_many(errors: int) -> bool:
        return bool(hypergeom.sf(found - 1, population, errors, drawn) <= tail)

    def common_so_few(errors: int) -> bool:
        return bool(hypergeom.cdf(found, population, errors, drawn) > tail)

    # Both change once, from true to false, as the number of errors grows.
    every = range(least, most + 1)
    low = bisect_left(every, True, key=lambda errors: not rare_so_many(errors))
    high = bisect_left(every, True, key=lambda errors: not common_so_few(errors))
    return min(least + low, most), least + high - 1
