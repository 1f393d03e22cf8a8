"""Budgets, and the micro-batch that is found within one."""

from __future__ import annotations

import math
import time

import pytest
import torch

from fidokit.models import tuning
from fidokit.models.tuning import Budget, find_micro_batch

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Machine:
    """A machine where a batch of n takes `seconds(n)`, and `first` times as much when it meets the size anew."""

    def __init__(self, monkeypatch, seconds, limit=10**9, first=1.0) -> None:
        self.seconds, self.limit, self.first = seconds, limit, first
        self.tried: list[int] = []
        self.spent = 0.0
        monkeypatch.setattr(tuning, "timed", self._timed)

    def _timed(self, call, _device):
        result = call()
        new = self.tried.count(self.tried[-1]) == 1
        took = self.seconds(self.tried[-1]) * (self.first if new else 1)
        self.spent += took
        return took, result

    def evaluate(self, size):
        self.tried.append(size)
        if size > self.limit:
            raise torch.OutOfMemoryError("full")

    def best(self, budget=None, **options):
        return find_micro_batch(self.evaluate, CPU, budget or Budget(CPU, math.inf), **options)

    @property
    def sizes(self):
        return sorted(set(self.tried))


def test_the_micro_batch_with_the_least_time_per_evaluation_wins(monkeypatch):
    machine = Machine(monkeypatch, lambda n: n * (1 + abs(n - 16) / 64))
    assert machine.best() == 16
    assert machine.sizes == [4, 8, 16, 24, 32]  # two worse ones in a row end it


def test_a_much_worse_size_ends_it_at_once(monkeypatch):
    machine = Machine(monkeypatch, lambda n: n * (1 if n <= 8 else 2))
    assert machine.best() == 8
    assert machine.sizes == [4, 8, 16]


def test_a_fixed_cost_favours_large_batches_until_the_gain_is_small(monkeypatch):
    machine = Machine(monkeypatch, lambda n: 5 + n)
    assert machine.best() == 512
    assert machine.tried[-1] == 512


@pytest.mark.parametrize(("share", "best"), [(1.02, 16), (1.04, 8)])
def test_the_larger_of_two_equal_sizes_is_taken(monkeypatch, share, best):
    assert Machine(monkeypatch, lambda n: n * (1.0 if n <= 8 else share if n == 16 else 2)).best() == best


@pytest.mark.parametrize(("limit", "best"), [(100, 64), (8, 8), (3, 2), (1, 1), (0, 1)])
def test_sizes_that_do_not_fit_are_not_taken(monkeypatch, limit, best):
    assert Machine(monkeypatch, lambda n: 100 + n, limit).best() == best


def test_other_errors_are_not_mistaken_for_a_full_memory():
    def evaluate(_size):
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        find_micro_batch(evaluate, CPU, Budget(CPU))


@pytest.mark.parametrize("evaluations", [0, 8, 24, 40, 100])
@pytest.mark.parametrize("first", [1.0, 2.0])
def test_float32_evaluations_are_counted(monkeypatch, evaluations, first):
    machine = Machine(monkeypatch, lambda n: 10 + n, first=first)
    budget = Budget(CPU, evaluations)
    best = machine.best(budget, seen=[(4, 14.0 * first, None)])
    assert sum(machine.tried) == budget.spent <= evaluations
    # What is tried does not depend on how busy the machine is.
    assert machine.tried == {0: [], 8: [8], 24: [8, 16], 40: [8, 8, 16], 100: [8, 8, 16, 16, 24]}[evaluations]
    assert best == max([4, *machine.sizes])


@pytest.mark.parametrize(
    ("share", "evaluations", "sizes"),
    [(0.4, 0, []), (0.4, 20, [8, 16]), (1.0, 20, [8]), (1.0, 100, [8, 16, 24]), (3.0, 20, [])],
)
def test_other_precisions_cost_their_time(monkeypatch, share, evaluations, sizes):
    machine = Machine(monkeypatch, lambda n: share * n)
    budget = Budget(CPU, evaluations)
    budget.unit = 1.0
    assert machine.best(budget, seen=[(4, 4 * share, None)], counted=False) == max([4, *sizes])
    assert machine.spent == pytest.approx(budget.spent)
    assert budget.spent <= evaluations
    assert machine.sizes == sizes


def test_a_price_that_was_seen_in_a_busy_moment_buys_little(monkeypatch):
    machine = Machine(monkeypatch, lambda n: 1e-6 * n)
    budget = Budget(CPU, 40)
    budget.unit = 1.0
    machine.best(budget, seen=[(4, 4e-6, None)], counted=False)
    assert sum(machine.tried) <= 40 / tuning.LEAST_SHARE


def test_a_slow_machine_is_not_tuned_at_all(monkeypatch):
    """One pass of an emulated precision would take longer than the whole budget."""
    machine = Machine(monkeypatch, lambda n: 30 * n)
    budget = Budget(CPU)
    budget.unit = 1.0
    assert machine.best(budget, seen=[(4, 120.0, None)], counted=False) == 4
    assert machine.tried == []


def test_sizes_without_a_second_pass_are_compared_fairly(monkeypatch):
    """First passes take twice as long; the last size has no other, and is the best all the same."""
    machine = Machine(monkeypatch, lambda n: 12 + n, first=2.0)
    assert machine.best(Budget(CPU, 8), seen=[(4, 32.0, 16.0)]) == 8
    assert machine.tried == [8]


def test_seconds_are_those_of_the_call_and_its_result_comes_back():
    took, result = tuning.timed(lambda: time.sleep(0.02) or 7, CPU)
    assert 0.02 <= took < 5
    assert result == 7


@pytest.mark.parametrize(("planning", "sizes"), [(0.0, [256]), (2.5, [256]), (3.5, []), (7.0, [])])
def test_a_gpus_budget_is_in_seconds(monkeypatch, planning, sizes):
    """Where one size was planned for seconds, the next one will be too."""
    machine = Machine(monkeypatch, lambda n: 1e-5 * n)
    monkeypatch.setattr(tuning, "_has_room", lambda *_: True)
    budget = Budget(GPU)
    budget.spent = planning
    best = find_micro_batch(machine.evaluate, GPU, budget, seen=[(64, planning + 64e-5, 64e-5)])
    assert machine.sizes == sizes
    assert best == max([64, *sizes])


@pytest.mark.parametrize(
    ("device", "most", "n"), [("cpu", None, 4), ("cpu", 3, 3), ("cpu", 99, 4), ("cuda", None, 64), ("mps", 24, 24)]
)
def test_first_passes_are_of_few_images(device, most, n):
    assert tuning.first_images(torch.device(device), most) == n


@pytest.mark.parametrize(("fits", "most", "n"), [(100, 64, 64), (40, 64, 32), (3, 64, 2), (100, 24, 24), (0, 8, 1)])
def test_the_largest_half_that_fits(fits, most, n):
    def evaluate(size):
        if size > fits:
            raise torch.OutOfMemoryError("full")

    assert tuning.fitting(evaluate, CPU, most) == n
