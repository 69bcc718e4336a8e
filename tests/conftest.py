"""Tests share the machine with whatever else runs: one thread each."""

from __future__ import annotations

import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# drawing after every run would take minutes; tests/test_figures.py draws
os.environ.setdefault("OPTBENCH_FIGURES", "off")
# caches of the user who runs the tests stay as they are; tests of a cache place it elsewhere
os.environ.setdefault("OPTBENCH_CACHE", "off")
# whatever disturbs the tests' trials, they run once; tests/test_reruns.py runs them again
os.environ.setdefault("OPTBENCH_RERUNS", "0")
# A shell that starts pytest in the background has it ignore Ctrl-C, and so would the runs under test, which respect that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
