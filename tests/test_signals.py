"""Ctrl-C and its like: a checkpoint, a record, out within seconds, and the words for going on; in every phase of a run."""

from __future__ import annotations

import os
import pty
import signal
import time
from pathlib import Path

import pytest

from optbench.engine import loop
from optbench.engine.loop import train
from optbench.events import Evaluated, Finished, Resumed
from optbench.executor.api import Ended, StopRequest
from optbench.executor.process import child, receive
from real_runs import SUITE, Run, a_suite, ends, records
from trials import CPU, finished, run, trials, untimed

SLOW = """
import time, torch
class Slow(torch.optim.SGD):
    def step(self, closure=None):
        time.sleep(0.05)
        return super().step(closure)
"""
SLOW_DATA = """
import time
from optbench.catalog.types import DataInfo
def describe(root):
    return DataInfo(96, 32, 32, (6,), 3)
def load(root):
    print("at it", flush=True)
    time.sleep(1000)
"""
STUCK = """
import pathlib, time, torch
class Stuck(torch.optim.SGD):
    steps = 0
    def step(self, closure=None):
        self.steps += 1
        if self.steps == 9:
            pathlib.Path(__file__).with_name("stuck").touch()
            time.sleep(1000)
        return super().step(closure)
"""


def long_run(folder: Path, *, nohup: bool = False, **streams: object) -> Run:
    """A run that would take minutes, past its first evaluation."""
    (folder / "slow.py").write_text(SLOW)
    suite = a_suite(folder, {"Slow": "'slow.py:Slow'", "Next": "torch.optim.SGD"}, budget=5000)
    started = Run(folder, ("run", str(suite)), streams=dict(streams), nohup=nohup)
    trials = folder / "results/tiny/trials"
    started.until(lambda: any('"evaluated"' in path.read_text() for path in trials.glob("*.jsonl")))
    return started


@pytest.mark.parametrize("name", ["SIGHUP", pytest.param("SIGUSR1", marks=pytest.mark.slow)])
def test_a_signal_to_the_run_alone_is_a_clean_stop(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    stopped = long_run(tmp_path)
    os.kill(stopped.process.pid, number)
    code, _, errors = stopped.end()
    assert code == 128 + number
    assert "2 unfinished trials. To resume: optbench run" in errors
    (end,) = ends(tmp_path)
    assert end["status"] == "interrupted"
    assert end["detail"].startswith("stopped on request")  # not: did not stop within 20 s
    assert len(list((tmp_path / "results/tiny/checkpoints").iterdir())) == 1
    assert stopped.survivors() == []


@pytest.mark.parametrize(
    "name",
    [
        "SIGINT",
        "SIGTERM",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGHUP", "SIGUSR2", "SIGXCPU")),
    ],
)
def test_a_signal_to_every_process_of_the_job_is_a_clean_stop(name: str, tmp_path: Path) -> None:
    """As a terminal, SLURM, systemd and Kubernetes stop a job."""
    number = getattr(signal, name)
    stopped = long_run(tmp_path)
    for pid in stopped.marked():
        os.kill(pid, number)
    code, _, errors = stopped.end()
    assert code == 128 + number
    assert "2 unfinished trials. To resume: optbench run" in errors
    (end,) = ends(tmp_path)
    assert end["status"] == "interrupted"
    assert end["detail"].startswith("stopped on request")
    assert len(list((tmp_path / "results/tiny/checkpoints").iterdir())) == 1
    assert stopped.survivors() == []


def test_a_signal_to_every_process_while_they_start_is_a_clean_stop(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"}, budget=5000)
    starting = Run(tmp_path, ("run", str(suite)))
    starting.until(lambda: any("forkserver" in words for words in starting.marked().values()))
    for pid in starting.marked():
        os.kill(pid, signal.SIGTERM)
    code, _, errors = starting.end()
    assert code == 143
    assert "unfinished trial" in errors
    assert "Traceback" not in errors
    assert starting.survivors() == []


def test_a_closed_terminal_is_a_clean_stop_too(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    stopped = long_run(tmp_path, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    os.kill(stopped.process.pid, signal.SIGHUP)
    assert stopped.end()[0] == 128 + signal.SIGHUP
    assert [end["status"] for end in ends(tmp_path)] == ["interrupted"]


def test_nohup_is_respected(tmp_path: Path) -> None:
    going_on = long_run(tmp_path, nohup=True)
    os.kill(going_on.process.pid, signal.SIGHUP)
    before = len(records(tmp_path))
    going_on.until(lambda: len(records(tmp_path)) > before + 4)  # a stop takes less than one evaluation
    os.kill(going_on.process.pid, signal.SIGTERM)
    assert going_on.end()[0] == 143


def test_several_signals_at_once_are_one_request(tmp_path: Path) -> None:
    stopped = long_run(tmp_path)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        os.killpg(stopped.process.pid, number)
    code, _, errors = stopped.end()
    assert code in (143, 129)
    assert "To resume: optbench run" in errors
    assert [end["status"] for end in ends(tmp_path)] == ["interrupted"]


def test_a_second_ctrl_c_ends_at_once_and_leaves_a_consistent_store_and_no_process(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    suite = a_suite(tmp_path, {"Stuck": "'stuck.py:Stuck'"})
    said = tmp_path / "said"
    with said.open("w") as errors:
        stuck = Run(tmp_path, ("run", str(suite)), streams={"stderr": errors})
        stuck.until((tmp_path / "stuck").exists)
        os.killpg(stuck.process.pid, signal.SIGINT)
        stuck.until(lambda: "stopping: writing a checkpoint" in said.read_text())
        time.sleep(0.7)  # what comes within half a second is the same request
        assert stuck.process.poll() is None  # it waits for the trial's last word
        os.killpg(stuck.process.pid, signal.SIGINT)
        assert stuck.end()[0] == 130
    assert "Stopped immediately" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert stuck.survivors() == []
    # had it waited for the trial as long as after one Ctrl-C, it would have written how that ended
    assert [record["record"] for record in records(tmp_path)] == ["trial", "started", "evaluated"]


def test_a_stop_while_data_are_being_prepared(tmp_path: Path) -> None:
    (tmp_path / "slow_data.py").write_text(SLOW_DATA)
    text = SUITE.replace(
        "{name: synthetic, shape: [6], classes: 3, train: 96, validation: 32, test: 32}", "'slow_data.py'"
    )
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"}, text=text)
    with (tmp_path / "said").open("w+") as said:
        preparing = Run(tmp_path, ("run", str(suite)), streams={"stderr": said})
        preparing.until(lambda: "at it" in (tmp_path / "said").read_text())
        os.killpg(preparing.process.pid, signal.SIGINT)
        assert preparing.end()[0] == 130
    assert "1 unfinished trial. To resume: optbench run" in (tmp_path / "said").read_text()
    assert preparing.survivors() == []


def mute(connection: object, lifeline: object, seconds: float) -> None:
    time.sleep(seconds)


def test_a_process_that_does_not_stop_in_time_is_ended() -> None:
    with child(mute, 1000.0) as process:
        ended = receive(process, StopRequest(signal.SIGINT), patience=1000, stop_patience=0.3)
    assert isinstance(ended, Ended)
    assert ended.cause == "stopped"
    assert process.process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("mode", ["plain", "ema", "schedule-free"])
@pytest.mark.parametrize("look", [9, 21, 30, 35, 40])
def test_an_evaluation_given_up_for_a_stop_is_done_again_exactly(
    mode: str, look: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three evaluations of five batches each, then the test split twice: given up in each of them, and nowhere else."""
    use = {"use": "schedulefree.SGDScheduleFree"} if mode == "schedule-free" else {"use": "torch.optim.SGD"}
    data = {"name": "synthetic", "shape": [6], "classes": 3, "train": 96, "validation": 1200, "test": 1200}
    rate = {"plain": 5.0, "ema": 3.0, "schedule-free": 0.1}[
        mode
    ]  # the best weights are not the last, or are tested anew anyway
    (trial,) = trials(
        tmp_path,
        workload={"data": data},
        optimizers={"A": {**use, "lr": rate}},
        **({"ema": {"decay": 0.8}} if mode == "ema" else {}),
    )
    whole = [untimed(event) for event in run(trial, tmp_path)]
    monkeypatch.setattr(loop, "EVALUATION_SECONDS", -1.0)
    looks = 0

    def stop_in_an_evaluation() -> bool:
        """Asked after each of the six steps of an epoch, and after each batch of an evaluation."""
        nonlocal looks
        looks += 1
        return looks == look

    checkpoint = tmp_path / "trial.pt"
    options = {"data_root": tmp_path, "checkpoint": checkpoint, "checkpoint_seconds": 0.0}
    first = list(train(trial, CPU, should_stop=stop_in_an_evaluation, **options))  # type: ignore[arg-type]
    assert finished(first).status == "interrupted"
    assert "in the evaluation" in finished(first).detail
    second = list(train(trial, CPU, **options))  # type: ignore[arg-type]
    assert isinstance(second[0], Resumed)
    together: dict[object, object] = {}
    for event in [*first, *second]:
        if isinstance(event, Evaluated):
            together.setdefault(event.step, untimed(event))
            assert together[event.step] == untimed(event)
        elif isinstance(event, Finished) and event.status == "completed":
            together["end"] = untimed(event)
    assert list(together.values()) == whole[1:]
