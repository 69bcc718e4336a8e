"""Trials on the slots of an executor: every event is stored before it is acknowledged, and an older execution is ignored."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import optbench
from fake_executor import FINISHED, FakeExecutor, events
from optbench.errors import OptbenchError, Problem
from optbench.executor.api import (
    CannotStack,
    Ended,
    Message,
    Refused,
    Settings,
    Slot,
    SlotLost,
    StopRequest,
    split_slots,
)
from optbench.executor.dispatch import Dispatcher
from optbench.runner import suite_run
from optbench.store import SuiteFolder
from optbench.store.read import read_log
from optbench.suite.load import load
from optbench.suite.plan import plan
from real_runs import SUITE, a_suite
from results_builder import ENVIRONMENT, curve, finished, started

WHOLE = [started(), *curve([0.5, 0.95])[1:-1], finished(0.95)]


class Bench:
    """Three planned trials and an executor without processes."""

    def __init__(self, root: Path, script: Any, slots: int = 1) -> None:
        root.mkdir(exist_ok=True)
        self.trials = plan(load(a_suite(root, {"SGD": "torch.optim.SGD"}), ("seeds=3",)))
        self.folder = SuiteFolder.of(root / "results", "tiny")
        self.folder.create()
        self.executor = FakeExecutor(script, tuple(Slot(f"slot{n}", host=f"slot{n}") for n in range(slots)))
        self.stop = StopRequest()
        self.heard: list[tuple[int, str]] = []
        self.dispatcher = Dispatcher(self.executor, self.folder, Settings(), self.stop, stall_seconds=1e9)

    def listen(self, trial: Any, event: Any) -> None:
        assert trial.folder  # the run's own trial, not the copy that travels
        stored = read_log(self.folder.trial_path(trial))
        if event.kind == "finished":
            assert stored.finished == event
        self.heard.append((trial.seed, event.kind))

    def run(self) -> Any:
        return self.dispatcher.run_timed(self.trials, self.executor.slots, self.listen)

    def ends(self) -> list[Any]:
        paths = [self.folder.trial_path(trial) for trial in self.trials]
        return [read_log(path).finished for path in paths if path.exists()]


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_all_slots_are_used_and_every_event_is_stored(tmp_path: Path, slots: int) -> None:
    bench = Bench(tmp_path, lambda unit: events(unit.trials[0].id, WHOLE), slots)
    assert bench.run().ended == {"completed": 3}
    assert bench.executor.most_at_once == min(slots, 3)
    assert [end.status for end in bench.ends()] == ["completed"] * 3
    assert len(bench.heard) == 3 * len(WHOLE)


def test_a_unit_contains_no_path_of_this_machine(tmp_path: Path) -> None:
    seen = []
    bench = Bench(tmp_path, lambda unit: seen.append(unit) or events(unit.trials[0].id, WHOLE))
    bench.run()
    assert str(tmp_path) not in repr(seen)
    assert [unit.trials[0].id for unit in seen] == [trial.id for trial in bench.trials]


def test_messages_of_an_earlier_execution_are_dropped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda unit: events(unit.trials[0].id, WHOLE))
    receive = bench.executor.receive
    stale: list[Message] = []

    def with_a_second_writer(seconds: float) -> list[Message]:
        messages = receive(seconds)
        if messages and not stale:
            first = messages[0]
            stale.append(Message(first.unit, first.execution - 1, ((bench.trials[0].id, finished(0.1)),)))
            return [stale[0]]
        return messages

    bench.executor.receive = with_a_second_writer  # type: ignore[method-assign]
    bench.executor.waiting.clear()
    acknowledged = bench.executor.acknowledge

    def acknowledge(message: Message, *, stop: bool) -> None:
        if message is stale[0]:
            assert stop
            bench.executor.waiting.discard(message.unit)
            return
        acknowledged(message, stop=stop)

    bench.executor.acknowledge = acknowledge  # type: ignore[method-assign]
    assert bench.run().ended == {"completed": 3}
    assert {end.final["last"]["accuracy"] for end in bench.ends()} == {0.95}


@pytest.mark.parametrize(
    ("end", "status", "fault", "detail"),
    [
        (Ended("died", "it died", output="stack"), "failed", "", "it died\nstack"),
        (Ended("died", "killed", signal.SIGKILL), "failed", "infrastructure", "killed"),
        (Ended("lost", "the host is gone"), "failed", "infrastructure", "the host is gone"),
        (Ended("memory", "no memory", signal.SIGKILL), "out_of_memory", "", "no memory"),
        (FINISHED, "failed", "", "the trial's process ended without a result\nprinted"),
    ],
)
def test_the_end_of_a_worker_is_recorded_as_what_it_is(
    tmp_path: Path, end: Ended, status: str, fault: str, detail: str
) -> None:
    bench = Bench(tmp_path, lambda unit: [((unit.trials[0].id, started()),), end])
    assert bench.run().ended == {status: 3}
    assert {(e.status, e.at_fault, e.detail) for e in bench.ends()} == {(status, fault, detail)}


def test_a_trial_that_was_lost_with_its_host_starts_again(tmp_path: Path) -> None:
    executions: list[int] = []

    def script(unit: Any) -> Any:
        trial = unit.trials[0]
        executions.append(unit.execution)
        if trial.seed == 0 and len(executions) == 1:
            return [((trial.id, started()),), Ended("host", "node a was lost")]
        return events(trial.id, WHOLE)

    bench = Bench(tmp_path, script)
    summary = bench.run()
    assert (summary.ended, summary.left) == ({"completed": 3}, 0)
    assert len(set(executions)) == 4
    assert sorted(executions) == executions
    assert [kind for seed, kind in bench.heard if seed == 0].count("finished") == 2


def test_a_trial_that_is_lost_again_and_again_is_left_to_the_next_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda unit: [Ended("host", "node a was lost")])
    assert bench.run().ended == {"failed": 3}
    assert {(end.status, end.at_fault) for end in bench.ends()} == {("failed", "infrastructure")}
    assert len([call for call in bench.executor.calls if call[0] == "start"]) == 3 * 6


def test_a_stack_that_was_lost_with_its_host_starts_again_as_a_stack(tmp_path: Path) -> None:
    sizes: list[int] = []

    def script(unit: Any) -> Any:
        sizes.append(len(unit.trials))
        if len(sizes) == 1:
            first = tuple((trial.id, started()) for trial in unit.trials)
            return [first, Ended("host", "node a was lost")]
        return [*(tuple((trial.id, event) for trial in unit.trials) for event in WHOLE), FINISHED]

    bench = Bench(tmp_path, script)
    stacked = [trial.model_copy(update={"engine": "stacked", "point": {"lr": 0.1}}) for trial in bench.trials]
    summary = bench.dispatcher.run_sweep(stacked, bench.executor.slots, lambda trial, event: None)
    assert (summary.ended, sizes) == ({"completed": 3}, [3, 3])


@pytest.mark.parametrize("is_stacked", [False, True])
def test_trials_lost_with_their_host_after_a_stop_are_interrupted_and_keep_their_checkpoint(
    tmp_path: Path, is_stacked: bool
) -> None:
    def script(unit: Any) -> Any:
        (bench.folder.checkpoints / unit.checkpoint).touch()
        bench.stop.signal = signal.SIGINT
        return [tuple((trial.id, started()) for trial in unit.trials), Ended("host", "node a was lost")]

    bench = Bench(tmp_path, script, slots=3)
    if is_stacked:
        bench.trials = tuple(
            trial.model_copy(update={"engine": "stacked", "point": {"lr": 0.1}}) for trial in bench.trials
        )
        summary = bench.dispatcher.run_sweep(bench.trials, bench.executor.slots, bench.listen)
    else:
        summary = bench.run()
    assert summary.ended == {"interrupted": len(bench.ends())}
    assert {(end.status, end.at_fault) for end in bench.ends()} == {("interrupted", "infrastructure")}
    assert {end.detail for end in bench.ends()} == {"node a was lost; it resumes from its last checkpoint"}
    assert list(bench.folder.checkpoints.glob("*.pt"))


def test_lost_slots_are_not_used_and_without_any_the_run_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda unit: events(unit.trials[0].id, WHOLE), slots=2)
    start = bench.executor.start

    def start_except_on(lost: set[str], unit: Any, slot: Slot) -> None:
        if slot.host in lost:
            raise SlotLost(slot.host)
        start(unit, slot)

    lost = {"slot0"}
    bench.executor.start = partial(start_except_on, lost)  # type: ignore[method-assign]
    assert bench.run().ended == {"completed": 3}
    other = Bench(tmp_path / "other", lambda unit: [])
    other.executor.start = partial(start_except_on, {"slot0"})  # type: ignore[method-assign]
    with pytest.raises(OptbenchError, match="all nodes were lost"):
        other.run()


def test_a_problem_of_all_trials_starts_no_other_and_is_raised_when_the_running_ones_ended(
    tmp_path: Path,
) -> None:
    def script(unit: Any) -> Any:
        if unit.trials[0].seed == 0:
            return [Refused((Problem("the disk is full"),))]
        return events(unit.trials[0].id, WHOLE)

    bench = Bench(tmp_path, script, slots=2)
    with pytest.raises(OptbenchError, match="the disk is full"):
        bench.run()
    assert [end.status for end in bench.ends() if end] == ["completed"]
    assert [call for call in bench.executor.calls if call[0] == "start"][2:] == []


def test_a_stop_is_passed_on_and_the_rest_is_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda unit: events(unit.trials[0].id, [started(), finished(0.5, "interrupted")]))
    bench.stop.signal = None
    listen = bench.listen

    def stop_at_the_first(trial: Any, event: Any) -> None:
        listen(trial, event)
        bench.stop.signal = signal.SIGINT

    bench.listen = stop_at_the_first  # type: ignore[method-assign]
    summary = bench.run()
    assert (summary.ended, summary.left) == ({"interrupted": 1}, 2)
    assert bench.executor.calls[1][-1] == "stop"


def test_a_unit_that_sends_nothing_is_killed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda unit: [])
    object.__setattr__(bench.dispatcher, "stall_seconds", -1.0)
    assert bench.run().ended == {"failed": 3}
    assert {end.detail.splitlines()[-1] for end in bench.ends()} == {"printed"}


def test_a_stack_that_cannot_be_trained_is_halved_then_trained_one_by_one(tmp_path: Path) -> None:
    sizes = []

    def script(unit: Any) -> Any:
        sizes.append(len(unit.trials))
        if len(unit.trials) > 1:
            return [CannotStack("no memory", "smaller")]
        return events(unit.trials[0].id, WHOLE)

    bench = Bench(tmp_path, script)
    stacked = [trial.model_copy(update={"engine": "stacked", "point": {"lr": 0.1}}) for trial in bench.trials]
    summary = bench.dispatcher.run_sweep(stacked, bench.executor.slots, lambda trial, event: None)
    assert summary.ended == {"completed": 3}
    assert sizes == [3, 2, 1, 1, 1]
    assert not list(bench.folder.checkpoints.iterdir())


def test_incomplete_checkpoints_of_killed_processes_are_removed_when_the_trial_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda unit: events(unit.trials[0].id, WHOLE))
    for name in (f".{bench.trials[0].id}.pt.4711", f".{bench.trials[1].id}.1.pt.4711"):
        (bench.folder.checkpoints / name).touch()
    assert bench.run().ended == {"completed": 3}
    assert not list(bench.folder.checkpoints.iterdir())


def test_a_run_of_some_entries_keeps_the_checkpoints_of_the_stacks_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks: list[tuple[set[str], bool]] = []
    ends = [finished(0.5, "interrupted")]

    def script(unit: Any) -> Any:
        checkpoint = folder.checkpoints / unit.checkpoint
        if unit.is_stack:
            stacks.append(({trial.label for trial in unit.trials}, checkpoint.exists()))
            checkpoint.touch()
        story = [started(), *ends]
        return [*(tuple((trial.id, event) for trial in unit.trials) for event in story), FINISHED]

    text = SUITE.replace("seeds: 1", "seeds: 1\nsensitivity: {lr: [0.5, 1, 2]}")
    suite = a_suite(tmp_path, {"SGD": "sgd", "Adam": "adam"}, text=text)
    folder = SuiteFolder.of(tmp_path / "results", "tiny")
    slots = (Slot("cpu", "cpu", ENVIRONMENT),)
    monkeypatch.setattr(suite_run, "_executor", lambda *_: FakeExecutor(script, slots))
    monkeypatch.setenv("OPTBENCH_FIGURES", "off")
    run = partial(optbench.run, suite, results=tmp_path / "results", jobs=1, reruns=0)
    run()
    ends[:] = [finished(0.9)]
    run(only=["SGD"])
    run()
    assert stacks == [({"SGD", "Adam"}, False), ({"SGD"}, True), ({"Adam"}, True)]
    assert not list(folder.checkpoints.iterdir())


def test_split_slots_share_the_cores() -> None:
    slots = split_slots([Slot("cpu", "cpu", {"threads": 8})], 2, 4, range(8))
    assert [(slot.threads, slot.cores) for slot in slots] == [(4, (0, 1, 2, 3)), (4, (4, 5, 6, 7))]
    assert {slot.environment["threads"] for slot in slots} == {4}
    assert len({slot.name for slot in slots}) == 2
