"""Clocks of a trial; no other module of the engine reads one for its records. Training time runs between `start` and `pause` only."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import torch

from optbench.cpu_cores import cores


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all submitted work. Returns immediately on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def queued_nanoseconds(process: int | None = None) -> dict[str, int] | None:
    """Return the nanoseconds that each thread of a process (default: this one) was runnable without a processor, by thread id.

    From Linux's scheduler statistics; None where the system has none, and for a process that has ended.
    """
    nanoseconds = {}
    try:
        with os.scandir(f"/proc/{process or 'self'}/task") as threads:
            for thread in threads:
                with (
                    contextlib.suppress(FileNotFoundError, ProcessLookupError),  # the thread has ended
                    open(f"{thread.path}/schedstat", "rb", buffering=0) as file,
                ):
                    nanoseconds[thread.name] = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):  # not Linux
        return None
    return nanoseconds or None


class Clock:
    """Wall and CPU seconds of training, and the seconds in which its threads waited for a processor.

    The device is synchronised at `start` and `pause` only.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wall = self._cpu = 0.0
        # with more threads than processors, the threads wait for each other even on an idle machine
        is_measurable = device.type == "cpu" and torch.get_num_threads() <= cores()
        self._queued: float | None = 0.0 if is_measurable else None
        self._since: tuple[float, float] | None = None
        self._queued_since: dict[str, int] | None = None

    def start(self) -> None:
        """Start or continue counting. Waits for the device."""
        if self._queued is not None:
            self._queued_since = queued_nanoseconds()
        synchronise(self._device)
        self._since = (time.perf_counter(), time.process_time())

    def pause(self) -> None:
        """Stop counting; no effect while paused. Waits for the device."""
        if self._since is not None:
            synchronise(self._device)
            self._wall, self._cpu = self.train_seconds, self.cpu_seconds
            self._since = None
            self._count_queued()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Pause within the block; after an exception the clock stays paused."""
        self.pause()
        yield
        self.start()

    def _count_queued(self) -> None:
        if self._queued is None:
            return
        before, after = self._queued_since, queued_nanoseconds()
        if before is None or after is None:
            self._queued = None
        else:
            self._queued += sum(after[thread] - before.get(thread, 0) for thread in after) / 1e9

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far; while running, without synchronising, so slightly ahead of the device."""
        return self._wall + (time.perf_counter() - self._since[0] if self._since else 0.0)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this process during training so far, summed over threads."""
        return self._cpu + (time.process_time() - self._since[1] if self._since else 0.0)

    @property
    def queued_seconds(self) -> float | None:
        """Seconds that threads waited for a processor, summed over threads, up to the last pause: 0 to threads x wall seconds.

        None on other devices than the CPU, with more threads than processors, or where the system does not report it.
        """
        return self._queued

    def state(self) -> dict[str, float | None]:
        """Return the seconds so far, for a checkpoint. The clock must be paused."""
        return {"wall": self._wall, "cpu": self._cpu, "queued": self._queued}

    def load_state(self, state: dict[str, Any]) -> None:
        """Set the seconds that `state` returned."""
        self._wall, self._cpu, self._queued = state["wall"], state["cpu"], state.get("queued")


class Stopwatch:
    """Seconds spent inside `with` blocks, for times reported separately from training (set-up, evaluation)."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._since = 0.0

    def __enter__(self) -> Stopwatch:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since


def now() -> float:
    """Return monotonic seconds, for the intervals of events and checkpoints; never part of a measurement."""
    return time.monotonic()
