"""The stacked engine against the plain one: the same records, whatever else is in the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optbench.engine.stacked.loop import train_stack
from optbench.events import Event, Resumed
from optbench.suite.types import Trial
from trials import CPU, evaluations, finished, run, started, trials, untimed

ENTRIES: dict[str, Any] = {
    "SGD": {"use": "torch.optim.SGD", "lr": 0.1},
    "Momentum": {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
    "Nesterov": {"use": "torch.optim.SGD", "lr": 0.05, "momentum": 0.8, "nesterov": True},
    "Adam": {"use": "torch.optim.Adam", "lr": 1e-3},
    "Adam, faster": {"use": "torch.optim.Adam", "lr": 1e-2, "weight_decay": 1e-3},
    "AMSGrad": {"use": "torch.optim.Adam", "lr": 1e-3, "amsgrad": True},
    "AdamW": {"use": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 0.1, "no_weight_decay": ["biases"]},
    "RMSprop": {"use": "torch.optim.RMSprop", "lr": 1e-3},
    "RMSprop, all on": {"use": "torch.optim.RMSprop", "lr": 1e-3, "momentum": 0.5, "centered": True},
    "Adagrad": {"use": "torch.optim.Adagrad", "lr": 0.02, "initial_accumulator_value": 0.1, "lr_decay": 1e-3},
    "NAdam": {"use": "torch.optim.NAdam", "lr": 1e-3},  # stepped individually, on its row
    "Two rules": {
        "use": [
            {"parameters": "matrices", "use": "torch.optim.Muon", "lr": 0.01},
            {"parameters": "rest", "use": "torch.optim.AdamW", "lr": 1e-3},
        ]
    },
}


def stacked(many: tuple[Trial, ...], folder: Path, **options: Any) -> dict[str, list[Event]]:
    events_by_trial: dict[str, list[Event]] = {trial.id: [] for trial in many}
    for batch in train_stack(many, CPU, data_root=folder, **options):
        for trial, event in batch:
            events_by_trial[trial].append(event)
    return events_by_trial


def assert_agree(stacked_events: list[Event], single_events: list[Event], relative: float = 1e-5) -> None:
    assert started(stacked_events).initial_weights == started(single_events).initial_weights
    assert [e.step for e in evaluations(stacked_events)] == [e.step for e in evaluations(single_events)]
    for one, other in zip(evaluations(stacked_events), evaluations(single_events), strict=True):
        for name in ("train_loss", "learning_rate", "gradient_norm"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=relative)
        assert one.metrics["validation"]["loss"] == pytest.approx(
            other.metrics["validation"]["loss"], rel=relative
        )
        assert one.metrics["validation"]["accuracy"] == other.metrics["validation"]["accuracy"]
        assert (one.epoch, one.samples, one.loss_rises) == (other.epoch, other.samples, other.loss_rises)
        assert one.gradient_evaluations == other.gradient_evaluations == one.step
    end, single = finished(stacked_events), finished(single_events)
    assert (end.status, end.step, end.best_step) == (single.status, single.step, single.best_step)
    assert end.state_bytes == single.state_bytes
    assert end.final.keys() == single.final.keys()
    for estimand, metrics in end.final.items():
        assert metrics["accuracy"] == single.final[estimand]["accuracy"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_records_are_those_of_single_runs(tmp_path: Path, seeds: int) -> None:
    many = trials(tmp_path, optimizers=ENTRIES, seeds=seeds, schedule={"name": "cosine", "warmup": "3 steps"})
    events_by_trial = stacked(many, tmp_path)
    for trial in many:
        assert_agree(events_by_trial[trial.id], run(trial, tmp_path))


def test_a_diverging_trial_ends_without_changing_the_others(tmp_path: Path) -> None:
    wild = {"Wild": {"use": "torch.optim.SGD", "lr": 1e9}}
    both = trials(tmp_path, optimizers={**ENTRIES, **wild})
    events_by_trial = stacked(both, tmp_path)
    without = stacked(tuple(trial for trial in both if trial.label != "Wild"), tmp_path)
    lost = next(trial for trial in both if trial.label == "Wild")
    single = finished(run(lost, tmp_path))
    assert finished(events_by_trial[lost.id]).status == single.status == "diverged"
    assert finished(events_by_trial[lost.id]).detail == single.detail
    for trial, events in without.items():
        assert_agree(events_by_trial[trial], events)


def test_float64_agrees_over_the_whole_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\nSTACKABLE = True\n"
        "class Double(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()\n"
        "    def forward(self, inputs):\n"
        "        return self.body(inputs.double())\n"
    )
    chosen = {label: ENTRIES[label] for label in ("Momentum", "Adam", "RMSprop, all on")}
    workload = {"model": {"name": "own.py:Double"}, "budget": {"epochs": 60}}
    many = trials(tmp_path, optimizers=chosen, workload=workload)
    events_by_trial = stacked(many, tmp_path)
    for trial in many:
        assert_agree(events_by_trial[trial.id], run(trial, tmp_path), relative=1e-6)


def test_a_stopped_stack_resumes_to_the_same_records(tmp_path: Path) -> None:
    many = trials(tmp_path, optimizers={**ENTRIES, "Wild": {"use": "torch.optim.SGD", "lr": 1e9}})
    whole = stacked(many, tmp_path)
    looks = iter(range(1000))
    checkpoint = tmp_path / "stack-x.pt"
    first = stacked(many, tmp_path, checkpoint=checkpoint, should_stop=lambda: next(looks) >= 8)
    left = tuple(trial for trial in many if finished(first[trial.id]).status == "interrupted")
    assert {trial.label for trial in many} - {trial.label for trial in left} == {"Wild"}
    second = stacked(left, tmp_path, checkpoint=checkpoint)
    for trial in left:
        gone = [untimed(event) for event in evaluations(first[trial.id]) + evaluations(second[trial.id])]
        assert gone == [untimed(event) for event in evaluations(whole[trial.id])]
        assert finished(second[trial.id]).final == finished(whole[trial.id]).final


def test_some_trials_of_a_stopped_stack_resume_from_a_copy_of_its_checkpoint(tmp_path: Path) -> None:
    many = trials(tmp_path, optimizers=ENTRIES)
    checkpoint, part = tmp_path / "stack-x.pt", tmp_path / "stack-y.pt"
    looks = iter(range(1000))
    first = stacked(many, tmp_path, checkpoint=checkpoint, should_stop=lambda: next(looks) >= 8)
    part.write_bytes(checkpoint.read_bytes())
    second = stacked(many[::2], tmp_path, checkpoint=part) | stacked(
        many[1::2], tmp_path, checkpoint=checkpoint
    )
    for trial in many:
        [resumed, *_] = second[trial.id]
        assert isinstance(resumed, Resumed)
        assert resumed.step == finished(first[trial.id]).step > 0
