"""Fixtures that several files of study tests share."""

from __future__ import annotations

import pytest
import torch
from lab import lab as lab
from lab import tab as tab
from study_cases import make_classifier, make_data, register_counting

from fidokit import methods


@pytest.fixture(autouse=True, scope="module")
def registry():
    """The methods that a file registers are not there in the next one."""
    before = dict(methods._REGISTRY)
    yield
    methods._REGISTRY.clear()
    methods._REGISTRY.update(before)


@pytest.fixture
def quick(monkeypatch):
    """One thread: tiny nets only lose time to more."""
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def classifier():
    return make_classifier()


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "data")


@pytest.fixture
def calls():
    return register_counting("counting")
