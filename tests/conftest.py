"""Tests share the machine with whatever else runs: one thread each."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPTBENCH_FIGURES", "off")  # drawing after every run would take minutes; tests/test_figures.py draws


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
