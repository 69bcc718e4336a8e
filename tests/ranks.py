"""Trains one trial in several processes for tests, as the worker of a run does, and returns the events of rank 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from optbench.events import Event
from optbench.executor.api import Settings, Slot, Unit
from optbench.executor.rank_processes import train_on_ranks
from optbench.executor.worker import Place
from optbench.suite.types import Trial


def train_in_processes(
    trial: Trial,
    folder: Path,
    *,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float | None = None,
) -> Iterator[Event]:
    settings = Settings(
        threads=trial.workload.devices, allocator="default", checkpoint_seconds=checkpoint_seconds
    )
    place = Place(trial.folder, folder, checkpoint, folder / "output.log")
    unit = Unit("unit", (trial.model_copy(update={"folder": ""}),), settings)
    for events in train_on_ranks(unit, Slot("cpu", "cpu"), place, should_stop):
        for _, event in events:
            yield event
