"""The only place that reads a clock. Training time runs between `start` and `pause`; nothing else is in it."""

from __future__ import annotations

import time

import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it. Nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Clock:
    """Wall and process CPU seconds of training. The device is synchronised at `start` and `pause`, nowhere else."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wall = self._cpu = 0.0
        self._since: tuple[float, float] | None = None

    def start(self) -> None:
        synchronise(self._device)
        self._since = (time.perf_counter(), time.process_time())

    def pause(self) -> None:
        if self._since is not None:
            synchronise(self._device)
            self._wall, self._cpu = self.train_seconds, self.cpu_seconds
            self._since = None

    @property
    def train_seconds(self) -> float:
        """While running: without waiting for the device, so slightly ahead of it."""
        return self._wall + (time.perf_counter() - self._since[0] if self._since else 0.0)

    @property
    def cpu_seconds(self) -> float:
        return self._cpu + (time.process_time() - self._since[1] if self._since else 0.0)

    def state(self) -> dict[str, float]:
        return {"wall": self._wall, "cpu": self._cpu}

    def load_state(self, state: dict[str, float]) -> None:
        self._wall, self._cpu = state["wall"], state["cpu"]


class Stopwatch:
    """Seconds spent inside `with` blocks, for what is reported apart from training (set-up, evaluation)."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._since = 0.0

    def __enter__(self) -> Stopwatch:
        self._since = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since


def now() -> float:
    """Monotonic seconds, for rates of events and checkpoints; never part of a measurement."""
    return time.monotonic()
