"""Small trials for engine tests, made through the suite's own door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from msgspec import structs

from optbench.catalog.task_defaults import complete
from optbench.engine.loop import train
from optbench.events import Evaluated, Event, Finished, Started
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Trial

CPU = torch.device("cpu")

TINY: dict[str, Any] = {
    "workload": {
        "model": {"name": "mlp", "hidden": [16]},
        "data": {"name": "synthetic", "shape": [12], "classes": 3, "train": 96, "validation": 32, "test": 32},
        "batch_size": 16,
        "budget": {"epochs": 3},
    },
    "seeds": 1,
    "optimizers": {"SGD": {"use": "torch.optim.SGD", "lr": 0.1}},
}


def trials(folder: Path, **changes: Any) -> tuple[Trial, ...]:
    """The trials of `TINY` with top-level keys replaced; `workload` is merged key by key."""
    suite = {**TINY, **changes, "workload": {**TINY["workload"], **changes.get("workload", {})}}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return plan(load(path, complete=complete))


def run(trial: Trial, folder: Path, **options: Any) -> list[Event]:
    return list(train(trial, CPU, data_root=folder, **options))


def evaluations(events: list[Event]) -> list[Evaluated]:
    return [event for event in events if isinstance(event, Evaluated)]


def started(events: list[Event]) -> Started:
    return next(event for event in events if isinstance(event, Started))


def finished(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def untimed(event: Event) -> dict[str, Any]:
    """A record without what was told by a clock, or by the allocator about temporaries."""
    measured = (
        "train_seconds",
        "cpu_seconds",
        "evaluation_seconds",
        "setup_seconds",
        "environment",
        "step_peak_bytes",
        "data_wait_seconds",
        "queued_seconds",
        "resources",
    )
    return {key: value for key, value in structs.asdict(event).items() if key not in measured}
