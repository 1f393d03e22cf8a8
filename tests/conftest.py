"""Fixtures that several files of study tests share."""

from __future__ import annotations

import os

import pytest
import torch
from enhance_cases import make_spotted, register_spots
from lab import lab as lab
from lab import tab as tab
from study_cases import make_classifier, make_data, register_counting

from fidokit import methods

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes share the cores: each with as many threads as there are cores would only wait for the others.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What drives a browser takes long."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True, scope="module")
def registry():
    """The methods that a file registers are not there in the next one."""
    before = dict(methods._REGISTRY)
    yield
    methods._REGISTRY.clear()
    methods._REGISTRY.update(before)


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory):
    """The list of studies that were begun here is that of this run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("user")))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_users_cache(tmp_path_factory):
    """What tests find out about classifiers does not go into the user's cache, also where a wider fixture does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIDOKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_cache(no_users_cache, tmp_path_factory, monkeypatch):
    """Nor to another test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FIDOKIT_CACHE", str(folder))
    return folder


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


@pytest.fixture
def spotted(tmp_path):
    return make_spotted(tmp_path / "spots")


@pytest.fixture
def spots():
    return register_spots()
