"""Tests share the machine with whatever else runs: one thread, and nothing outside the test's own folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    yield


@pytest.fixture(autouse=True, scope="session")
def _quiet_torch() -> Iterator[None]:
    import torch

    torch.set_num_threads(1)
    yield
