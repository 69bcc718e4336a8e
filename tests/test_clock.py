"""What the training clock says of a processor that others have."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from optbench.engine.clock import Clock

needs_linux = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the system does not tell how long threads waited"
)


@pytest.fixture
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def busy(seconds: float) -> Clock:
    """A clock that ran while this thread did."""
    clock = Clock(torch.device("cpu"))
    clock.start()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    clock.pause()
    return clock


@needs_linux
@pytest.mark.usefixtures("one_core")
def test_time_without_a_processor_is_counted():
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:  # on the same core
        assert other.stdout is not None
        other.stdout.readline()
        clock = busy(1.0)
        other.kill()
    assert clock.queued_seconds is not None
    assert 0.2 < clock.queued_seconds < clock.train_seconds + 0.5


def test_where_the_processor_is_not_what_is_timed_nothing_is_reported():
    assert Clock(torch.device("meta")).queued_seconds is None
