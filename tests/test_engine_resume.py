"""Resume is exact: stopped anywhere and continued, a trial gives the records of one that never stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optbench.engine.loop import train
from optbench.events import Evaluated, Event, Finished, Resumed
from optbench.suite.types import Trial
from trials import CPU, finished, run, trials, untimed

DROPOUT = """
from torch import nn

def net(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, classes))
"""
WORKLOAD = {"model": "net.py:net", "evaluate": {"every": "4 steps"}}
CASES: dict[str, dict[str, Any]] = {
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


def the_trial(folder: Path, case: str) -> Trial:
    (folder / "net.py").write_text(DROPOUT)
    (trial,) = trials(folder, workload=WORKLOAD, **CASES[case])
    return trial


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("polls", [1, 3, 7])
def test_stopping_every_few_steps_changes_no_record(case: str, polls: int, tmp_path: Path) -> None:
    trial = the_trial(tmp_path, case)
    whole = records(run(trial, tmp_path))
    parts = list(stopped_after(trial, tmp_path, polls, tmp_path / "trial.pt"))
    assert any(isinstance(event, Resumed) and event.step > 0 for event in parts)
    assert repr(records(parts)) == repr(whole)


@pytest.mark.parametrize("killed_at", range(1, 7))
def test_a_generator_dropped_after_any_record_continues_exactly(killed_at: int, tmp_path: Path) -> None:
    trial = the_trial(tmp_path, "adam with everything")
    whole = records(run(trial, tmp_path))
    checkpoint = tmp_path / "trial.pt"
    first = []
    for event in train(trial, CPU, data_root=tmp_path, checkpoint=checkpoint, checkpoint_seconds=0):
        first.append(event)
        if len(first) == killed_at:
            break
    rest = run(trial, tmp_path, checkpoint=checkpoint, checkpoint_seconds=0)
    assert repr(records([*first, *rest])) == repr(whole)


def test_no_record_is_behind_a_checkpoint(tmp_path: Path) -> None:
    trial = the_trial(tmp_path, "sgd")
    checkpoint = tmp_path / "trial.pt"
    for event in train(trial, CPU, data_root=tmp_path, checkpoint=checkpoint, checkpoint_seconds=0):
        if isinstance(event, Evaluated) and event.step == 8:
            break  # killed before the record is stored
    again = run(trial, tmp_path, checkpoint=checkpoint)
    assert 8 in [event.step for event in again if isinstance(event, Evaluated)]


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_means_starting_again(damage: bytes, tmp_path: Path) -> None:
    trial = the_trial(tmp_path, "sgd")
    whole = records(run(trial, tmp_path))
    (tmp_path / "trial.pt").write_bytes(damage)
    assert repr(records(run(trial, tmp_path, checkpoint=tmp_path / "trial.pt"))) == repr(whole)


def test_a_checkpoint_runs_no_code_when_it_is_read(tmp_path: Path) -> None:
    import pickle

    marker = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    trial = the_trial(tmp_path, "sgd")
    (tmp_path / "trial.pt").write_bytes(pickle.dumps({"trial_id": trial.id, "x": Trap()}))
    assert finished(run(trial, tmp_path, checkpoint=tmp_path / "trial.pt")).status == "completed"
    assert not marker.exists()
