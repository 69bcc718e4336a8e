"""Small trials for engine tests, made through the suite's own door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from msgspec import structs

from optbench.catalog.task_defaults import complete
from optbench.engine.loop import train
from optbench.events import Evaluated, Event, Finished, Progressed, Started
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

#: a net whose training draws random numbers
DROPOUT = """
from torch import nn

def net(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, classes))
"""
#: settings with state that a resumed trial must restore, on this net
RESUME_CASES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizers": {"A": {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9}}},
    "adam with everything": {
        "optimizers": {"A": {"use": "torch.optim.AdamW", "lr": 1e-2, "amsgrad": True}},
        "schedule": {"name": "cosine", "warmup": "3 steps"},
        "clip": {"norm": 0.5},
        "ema": {"decay": 0.8},
    },
    "fp16 with its scaler": {
        "optimizers": {"A": {"use": "torch.optim.SGD", "lr": 0.05}},
        "precision": "fp16",
    },
    "lbfgs": {"optimizers": {"A": {"use": "torch.optim.LBFGS", "lr": 0.1, "max_iter": 3}}},
}


def trials(folder: Path, **changes: Any) -> tuple[Trial, ...]:
    """The trials of `TINY` with top-level keys replaced; `workload` is merged key by key."""
    suite = {**TINY, **changes, "workload": {**TINY["workload"], **changes.get("workload", {})}}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return plan(load(path, complete=complete))


def run(trial: Trial, folder: Path, **options: Any) -> list[Event]:
    """Train. Reports of progress are left out: their number depends on the speed of the machine."""
    events = train(trial, CPU, data_root=folder, **options)
    return [event for event in events if not (isinstance(event, Progressed) and not event.note)]


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


def records(events: list[Event] | Iterator[Event]) -> list[dict[str, Any]]:
    """Evaluations by step (a repeated one must repeat itself exactly), then the end."""
    by_step: dict[int, dict[str, Any]] = {}
    end: list[dict[str, Any]] = []
    for event in events:
        if isinstance(event, Evaluated):
            again = by_step.setdefault(event.step, untimed(event))
            assert repr(again) == repr(untimed(event))
        elif isinstance(event, Finished) and event.status != "interrupted":
            end.append(untimed(event))
    return [*by_step.values(), *end]


def stopped_after(trial: Trial, folder: Path, polls: int, checkpoint: Path) -> Iterator[Event]:
    """Stops whenever it has been asked `polls` times whether to, and goes on, until the end."""
    for _ in range(100):
        asked = iter(range(1, 10_000))
        events = list(
            train(
                trial,
                CPU,
                data_root=folder,
                checkpoint=checkpoint,
                should_stop=lambda asked=asked: next(asked) >= polls,  # type: ignore[misc]
            )
        )
        yield from events
        if finished(events).status != "interrupted":
            return
    raise AssertionError("never finished")
