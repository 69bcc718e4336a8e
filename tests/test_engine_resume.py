"""Resume is exact: stopped anywhere and continued, a trial gives the records of one that never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optbench.engine.loop import train
from optbench.events import Evaluated, Resumed
from optbench.suite.types import Trial
from trials import CPU, DROPOUT, RESUME_CASES, finished, records, run, stopped_after, trials

WORKLOAD = {"model": "net.py:net", "evaluate": {"every": "4 steps"}}


def the_trial(folder: Path, case: str) -> Trial:
    (folder / "net.py").write_text(DROPOUT)
    (trial,) = trials(folder, workload=WORKLOAD, **RESUME_CASES[case])
    return trial


@pytest.mark.parametrize("case", RESUME_CASES)
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
