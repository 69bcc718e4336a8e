"""Small, realistic results written through the store's own door, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optbench.events import Evaluated, Event, Finished, Started, Status
from optbench.store import SuiteFolder, make_plan
from optbench.suite.dump import dump_text
from optbench.suite.load import load
from optbench.suite.plan import plan
from optbench.suite.types import Optimizer, Rule, Suite, Trial

STEPS_PER_EPOCH = 10
ENVIRONMENT: dict[str, Any] = {
    "optbench": "0.1.0",
    "torch": "2.15.0",
    "python": "3.11.9",
    "device": "cpu",
    "device_name": "Test CPU",
    "threads": 1,
    "precision": "fp32",
    "implementation": "default",
}

#: labels that break a careless report
HOSTILE = [
    "🚀 rocket 🔥",
    "=cmd|' /C calc'!A0",
    "AdamW with decoupled weight decay, betas 0.9 and 0.95, warmed",
    "مُحسِّن آدم",
    "<script>alert(1)</script> | **b** [x](y)",
    "漢字のオプティマイザ",
    "[bold red]markup[/] `code` $x$ a_b _c_",
]


def a_suite(labels: Sequence[str] = ("SGD", "Adam"), seeds: int = 3, **changes: Any) -> Suite:
    """A suite of one workload `main` with a target of 0.9; `changes` go to the workload or to the suite."""
    workload: dict[str, Any] = {
        "model": "small_cnn",
        "data": "digits",
        "batch_size": 64,
        "budget": {"epochs": 10},
        "target": {"metric": "accuracy", "at_least": 0.9},
    }
    of_suite = {key: changes.pop(key) for key in list(changes) if key in Suite.model_fields}
    content: dict[str, Any] = {
        "workloads": {"main": workload | changes},
        "optimizers": {label: Optimizer(rules=(Rule(use="torch.optim.SGD"),)) for label in labels},
        "seeds": tuple(range(seeds)),
    }
    return Suite.model_validate(content | of_suite)


def trials_of(suite: Suite, name: str = "digits") -> tuple[Trial, ...]:
    return tuple(
        Trial(suite=name, workload_name=key, workload=workload, label=label, entry=entry, seed=seed)
        for key, workload in suite.workloads.items()
        for seed in suite.seeds
        for label, entry in suite.optimizers.items()
    )


def started(**changes: Any) -> Started:
    values: dict[str, Any] = {
        "environment": ENVIRONMENT,
        "parameters": 1000,
        "parameter_bytes": 4000,
        "initial_weights": "abc",
        "hyperparameters": [{"lr": 0.1}],
        "splits": {"train": 640, "validation": 100, "test": 100},
        "steps": 100,
        "steps_per_epoch": STEPS_PER_EPOCH,
        "precision": "fp32",
    }
    return Started(**values | changes)


def evaluated(epoch: int, accuracy: float, **changes: Any) -> Evaluated:
    """Evaluation after `epoch` epochs of 10 steps of 64 samples, half a second each."""
    values: dict[str, Any] = {
        "step": epoch * STEPS_PER_EPOCH,
        "epoch": float(epoch),
        "samples": epoch * STEPS_PER_EPOCH * 64,
        "train_seconds": epoch * 0.5,
        "cpu_seconds": epoch * 0.49,
        "evaluation_seconds": epoch * 0.1,
        "train_loss": 1.0 / epoch,
        "learning_rate": 0.1,
        "metrics": {"validation": {"accuracy": accuracy, "loss": 1.0 - accuracy}},
    }
    return Evaluated(**values | changes)


def finished(
    accuracy: float = 0.95, status: Status = "completed", epochs: int = 10, **changes: Any
) -> Finished:
    scores = {"accuracy": accuracy, "loss": 1.0 - accuracy}
    values: dict[str, Any] = {
        "status": status,
        "step": epochs * STEPS_PER_EPOCH,
        "final": {"last": scores, "best_validation": scores} if status == "completed" else {},
        "best_step": epochs * STEPS_PER_EPOCH,
        "train_seconds": epochs * 0.5,
        "cpu_seconds": epochs * 0.49,
        "evaluation_seconds": epochs * 0.1,
        "setup_seconds": 0.2,
        "state_bytes": 8000,
        "step_peak_bytes": 1000,
        "at_fault": "" if status in ("completed", "stopped", "interrupted") else "optimizer",
    }
    return Finished(**values | changes)


def curve(accuracies: Sequence[float], final: float | None = None) -> list[Event]:
    """A completed trial that evaluates once an epoch; the final metric is the last unless given."""
    evaluations = [evaluated(epoch, accuracy) for epoch, accuracy in enumerate(accuracies, start=1)]
    return [
        started(),
        *evaluations,
        finished(accuracies[-1] if final is None else final, epochs=len(accuracies)),
    ]


def reaching(epoch: int, final: float = 0.95, epochs: int = 10) -> list[Event]:
    """A trial that meets a target of 0.9 at `epoch` for the first time."""
    return curve([0.5] * (epoch - 1) + [0.91] * (epochs - epoch + 1), final)


def diverged(epochs: int = 2) -> list[Event]:
    evaluations = [evaluated(epoch, 0.1, train_loss=float("inf")) for epoch in range(1, epochs + 1)]
    return [started(), *evaluations, finished(status="diverged", epochs=epochs, detail="loss is not finite")]


def failed(at_fault: str = "optimizer") -> list[Event]:
    return [started(), finished(status="failed", epochs=0, at_fault=at_fault, detail="Traceback: boom")]


def write(
    root: Path,
    suite: Suite,
    events: dict[tuple[str, int], Iterable[Event]],
    name: str = "digits",
    workload: str | None = None,
) -> SuiteFolder:
    """Write the plan and, for each (label, seed) in `events`, that trial's file, of one workload or all."""
    folder = SuiteFolder.of(root, name)
    folder.create()
    trials = trials_of(suite, name)
    folder.write_plan(make_plan(name, suite, trials, command=f"optbench run {name}"))
    for trial in trials:
        if workload in (None, trial.workload_name) and (trial.label, trial.seed) in events:
            with folder.open_trial(trial) as file:
                for event in events[trial.label, trial.seed]:
                    file.append(event)
    return folder


def swept_twice(
    root: Path, labels: Sequence[str] = ("SGD", "Adam"), seeds: int = 2, **of_plan: Any
) -> SuiteFolder:
    """A sweep of three rates by two momenta, better with more momentum; at the highest rate the last seed diverges."""
    optimizers = {label: {"use": "sgd", "lr": 0.1, "momentum": 0.9} for label in labels}
    grids = {"momentum": {"values": [0.0, 0.9]}, "lr": [0.1, 1, 10]}
    suite = a_suite((), seeds, optimizers=optimizers, sensitivity=grids)
    (root / "digits.yaml").write_text(dump_text(suite), encoding="utf-8")
    trials = plan(load(root / "digits.yaml"))
    events = {}
    for trial in trials:
        lost = trial.point.get("lr") == 1.0 and trial.seed == seeds - 1
        accuracy = (0.9 if trial.point.get("momentum", 0.9) else 0.8) + trial.seed / 100
        events[trial.id] = diverged() if lost else curve([0.5, accuracy])
    return write_trials(root / "results", suite, trials, events, **of_plan)


def write_trials(
    root: Path,
    suite: Suite,
    trials: Sequence[Trial],
    events: dict[str, list[Event]],
    name: str = "digits",
    **of_plan: Any,
) -> SuiteFolder:
    """Write a plan of these trials and, for each trial id in `events`, that trial's file."""
    folder = SuiteFolder.of(root, name)
    folder.create()
    folder.write_plan(make_plan(name, suite, trials, command=f"optbench run {name}", **of_plan))
    for trial in trials:
        if trial.id in events:
            folder.write_trial(trial, events[trial.id])
    return folder
