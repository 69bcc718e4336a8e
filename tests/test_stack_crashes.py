"""A stack whose process dies, hangs, runs out of memory or is interrupted: every trial gets its records, and none gets another's."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from optbench.store import TrialLog, read
from real_runs import Run

PLUGIN = """
import os, signal, time
from pathlib import Path
import torch

HERE = Path(__file__).parent
made = 0  # optimizers of this process that train

class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})
        self.count = 0

    @torch.no_grad()
    def step(self):
        global made
        self.count += 1
        made += self.count == 1
        if self.count == 20:
            self.at_twenty()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(p.grad, alpha=group["lr"])

    def once(self):
        try:
            (HERE / "happened").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def at_twenty(self):
        FAULT
"""

SUITE = """
title: Tiny
workload:
  model: {name: mlp, hidden: [8]}
  data: {name: synthetic, shape: [6], classes: 3, train: 96, validation: 32, test: 32}
  batch_size: 16
  budget: 10 epochs
seeds: 1
sensitivity: {lr: {factors: [0.01, 0.1, 1, 10, 1000]}}
optimizers:
  Plain: {use: plain.py:Plain, lr: 0.3}
  SGD: {use: torch.optim.SGD, lr: 0.03, momentum: 0.9}
"""


def written(folder: Path, fault: str = "pass") -> Path:
    folder.mkdir()
    (folder / "plain.py").write_text(PLUGIN.replace("FAULT", fault))
    (folder / "tiny.yaml").write_text(SUITE)
    return folder


def run(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    command = Run(folder, ("run", "tiny.yaml", "--threads", "1", "--jobs", "1", *options), environment)
    code, _, said = command.end()
    assert command.survivors() == []
    return code, said


def swept(folder: Path) -> dict[tuple[str, float], TrialLog]:
    logs = read([folder / "results"]).suites[0].logs
    found = {(log.trial["label"], log.trial["point"]["lr"]): log for log in logs if log.trial["point"]}
    assert len(found) == 10
    return found


def scores(log: TrialLog) -> list[Any]:
    assert log.finished is not None
    told = [(event.step, repr(event.train_loss), event.metrics["validation"]) for event in log.evaluations]
    return [log.finished.status, log.finished.final, *told]


def engines(logs: dict[Any, TrialLog]) -> set[str]:
    return {log.started.environment.get("engine", "plain") for log in logs.values() if log.started}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, float], list[Any]]:
    folder = written(tmp_path_factory.mktemp("undisturbed") / "suite")
    code, said = run(folder)
    assert code == 0, said
    logs = swept(folder)
    assert engines(logs) == {"stacked"}
    return {key: scores(log) for key, log in logs.items()}


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("made > 1 and self.once() and os.kill(os.getpid(), signal.SIGKILL)", ()),
        pytest.param("made > 1 and self.once() and os._exit(3)", (), marks=pytest.mark.slow),
        pytest.param(
            "made > 1 and self.once() and time.sleep(600)", ("--stall-timeout", "20"), marks=pytest.mark.slow
        ),
    ],
    ids=["killed", "exits", "hangs"],
)
def test_trials_of_a_stack_that_died_are_trained_one_by_one(tmp_path, undisturbed, fault, options):
    folder = written(tmp_path / "suite", fault)
    code, said = run(folder, *options)
    assert code == 0, said
    logs = swept(folder)
    assert (folder / "happened").exists()
    for key, log in logs.items():
        status, final, *_ = undisturbed[key]
        assert log.finished is not None
        assert log.finished.status == status
        if status == "diverged":  # in the stack, before that died
            continue
        assert engines({key: log}) == {"plain"}
        assert log.finished.final["last"]["loss"] == pytest.approx(final["last"]["loss"], rel=1e-3)
        assert [event.step for event in log.evaluations] == sorted({event.step for event in log.evaluations})


def test_a_stack_that_runs_out_of_memory_is_halved_until_it_fits(tmp_path, undisturbed):
    folder = written(tmp_path / "suite", "made > 3 and torch.empty(1 << 60, dtype=torch.uint8)")
    code, said = run(folder)
    assert code == 0, said
    logs = swept(folder)
    assert engines(logs) == {"stacked"}
    assert {key: scores(log)[0] for key, log in logs.items()} == {k: v[0] for k, v in undisturbed.items()}


def test_an_optimizer_that_raises_ends_its_own_trial_alone(tmp_path, undisturbed):
    folder = written(tmp_path / "suite", "self.param_groups[0]['lr'] == 0.3 and 1 / 0")
    code, said = run(folder)
    assert code == 1, said
    logs = swept(folder)
    failed = {key for key, log in logs.items() if log.finished and log.finished.status == "failed"}
    assert failed == {("Plain", 0.3)}
    assert "ZeroDivisionError" in logs["Plain", 0.3].finished.detail
    for key in logs.keys() - failed:
        assert scores(logs[key])[0] == undisturbed[key][0]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_run_that_ended_in_the_middle_of_a_stack_continues_to_the_same_records(
    tmp_path, undisturbed, number
):
    folder = written(tmp_path / "suite", "made > 1 and self.once() and time.sleep(1.5)")
    first = Run(
        folder,
        ("run", "tiny.yaml", "--threads", "1", "--jobs", "1"),
        {"OPTBENCH_CHECKPOINT_SECONDS": "0"},
    )
    first.until((folder / "happened").exists)
    os.kill(first.process.pid, number)
    code, _, said = first.end()
    assert code == (-9 if number == signal.SIGKILL else 128 + number), said
    assert first.survivors() == []
    left = [json.loads(path.read_text()) for path in (folder / "results/tiny/checkpoints").glob("*.json")]
    assert len(left) == 1
    code, said = run(folder)
    assert code == 0, said
    logs = swept(folder)
    assert engines(logs) == {"stacked"}
    assert {key: scores(log) for key, log in logs.items()} == undisturbed
    assert not list((folder / "results/tiny/checkpoints").iterdir())
