"""Looking at a run of another process by reading alone: who runs it, what is under way, when it is over."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from optbench.cli.commands import watch as command
from optbench.cli.commands.watch import _state, _Watcher, follow_run
from optbench.cli.live.follow import Follower, new_events
from optbench.store import SuiteFolder
from optbench.store.holder import holder
from results_builder import (
    a_suite,
    curve,
    diverged,
    evaluated,
    finished,
    started,
    trials_of,
    write,
    write_trials,
)

NOBODY = 2**22 + 12345  # no process has such a number
HALF = [started(), *(evaluated(k, 0.1 * k) for k in range(1, 6))]


def lock(folder: SuiteFolder, pid: int, host: str | None = None) -> None:
    (folder.path / "run.lock").write_text(
        json.dumps({"pid": pid, "host": host or socket.gethostname(), "started": "now"})
    )


def half_way(root: Path, name: str = "digits") -> SuiteFolder:
    """One trial of six is done and one is at its middle."""
    return write(root, a_suite(), {("SGD", 0): curve([0.1] * 10), ("Adam", 0): HALF}, name)


@contextmanager
def unchanged(root: Path) -> Iterator[None]:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    before = state()
    yield
    assert state() == before


def test_a_held_lock_names_a_living_process(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    assert holder(folder.path) is None
    with folder.lock():
        held = holder(folder.path)
        assert held is not None
        assert (held.pid, held.is_alive) == (os.getpid(), True)
    assert holder(folder.path) is None  # it said goodbye


def test_a_killed_process_is_distinguished_from_a_living_one(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    lock(folder, NOBODY)
    held = holder(folder.path)
    assert held is not None
    assert held.is_alive is False


def test_a_younger_process_with_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes have no age here")
    folder = half_way(tmp_path)
    lock(folder, os.getpid())
    os.utime(folder.path / "run.lock", (1e9, 1e9))
    held = holder(folder.path)
    assert held is not None
    assert held.is_alive is False


def test_the_age_of_a_process_of_another_user_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = half_way(tmp_path)
    lock(folder, os.getppid())

    def refused(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    found = holder(folder.path)
    assert found is not None
    assert found.is_alive
    if Path("/proc/self/stat").exists():
        os.utime(folder.path / "run.lock", (1, 1))
        found = holder(folder.path)
        assert found is not None
        assert not found.is_alive


def test_processes_of_another_machine_are_unknown(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    lock(folder, 1, "elsewhere")
    held = holder(folder.path)
    assert held is not None
    assert held.is_alive is None
    assert Follower(tmp_path).snapshot().is_running


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": "x"}', '{"pid": 1}', "\x00\xff"])
def test_a_damaged_lock_has_no_holder(tmp_path: Path, text: str) -> None:
    folder = half_way(tmp_path)
    (folder.path / "run.lock").write_text(text)
    assert holder(folder.path) is None


def test_a_look_shows_what_is_done_and_what_runs(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    with folder.lock(), unchanged(tmp_path):
        snapshot = Follower(folder.path).snapshot()
    assert snapshot.is_running
    assert snapshot.board is not None
    assert (snapshot.board.done, snapshot.board.planned) == (1, 6)
    [progress] = snapshot.board.running
    assert (progress.trial.label, progress.fraction) == ("Adam", 0.5)
    assert snapshot.board.seconds_left() == pytest.approx(2 * 6.2 + 2 * 6.0 + 3.0, abs=1.0)


def test_untimed_trials_run_at_the_same_time(tmp_path: Path) -> None:
    suite = a_suite(seeds=1, timed=False)
    trials = [trial.model_copy(update={"timed": False}) for trial in trials_of(suite)]
    folder = write_trials(tmp_path, suite, trials, {trial.id: HALF for trial in trials})
    with folder.lock():
        board = Follower(folder.path).snapshot().board
    assert board is not None
    assert sorted(progress.trial.label for progress in board.running) == ["Adam", "SGD"]


def test_nothing_runs_after_a_kill(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    lock(folder, NOBODY)
    snapshot = Follower(folder.path).snapshot()
    assert snapshot.board is not None
    assert snapshot.board.running == []
    assert (
        "probably killed: waiting for the run to be resumed, for example with: optbench run digits"
        in _state(snapshot, tmp_path)
    )


def test_of_several_suites_the_running_one_is_followed(tmp_path: Path) -> None:
    first, second = half_way(tmp_path, "first"), half_way(tmp_path, "second")
    os.utime(first.path / "plan.json", (1e9, 1e9))
    follower = Follower(tmp_path)
    assert follower.snapshot().name == "second"  # written last
    with first.lock():
        assert follower.snapshot().name == "first"
        assert follower.snapshot().held is not None
    with second.lock():
        assert follower.snapshot().name == "second"


def test_nothing_there_yet_is_waited_for(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "results")
    snapshot = follower.snapshot()
    assert snapshot.board is None
    assert "No results in" in _state(snapshot, tmp_path)
    half_way(tmp_path / "results")
    assert follower.snapshot().board is not None


def test_a_damaged_record_does_not_end_the_watching(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    [path] = folder.trials.glob("*Adam*")
    whole = path.read_bytes()
    for length in (len(whole) - 10, 20, 0):  # as a reader meets it that comes between two writes
        path.write_bytes(whole[:length])
        Follower(folder.path).snapshot()


def test_only_what_is_new_is_reported(tmp_path: Path) -> None:
    folder = half_way(tmp_path)
    follower = Follower(folder.path)
    before = follower.snapshot()
    assert list(new_events(before, follower.snapshot())) == []
    write(tmp_path, a_suite(), {("SGD", 1): diverged()})
    told = [(trial.label, trial.seed, event.kind) for trial, event in new_events(before, follower.snapshot())]
    assert told == [("SGD", 1, "evaluated"), ("SGD", 1, "finished")]


def test_a_warning_is_reported_once_where_a_trial_ends_between_two_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = half_way(tmp_path)
    watcher = _Watcher(Follower(folder.path), 1.0, folder.path, lines=True)
    before = watcher.follower.snapshot()
    watcher._print_changes(None, before)
    write(tmp_path, a_suite(), {("SGD", 1): diverged()})
    watcher._print_changes(before, watcher.follower.snapshot())
    assert capsys.readouterr().err.count("! SGD seed 1: diverged") == 1


def test_a_finished_run_is_shown_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = a_suite(seeds=1)
    write(tmp_path, suite, {("SGD", 0): curve([0.5, 0.95]), ("Adam", 0): curve([0.5, 0.6])})
    with unchanged(tmp_path):
        assert follow_run(tmp_path, 0.01) == 0
    said = capsys.readouterr()
    assert "SGD" in said.out
    assert "All trials are complete" in said.err
    assert "unfinished trial" not in said.err


def test_a_run_that_ends_early_states_how_to_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = half_way(tmp_path)
    lock(folder, os.getpid())
    os.utime(folder.path / "run.lock")

    def pause(_: float) -> None:
        (folder.path / "run.lock").write_text("")  # stopped by its Ctrl-C

    monkeypatch.setattr(time, "sleep", pause)
    assert follow_run(folder.path, 0.01) == 0
    assert "5 unfinished trials. To resume: optbench run digits" in capsys.readouterr().err


def test_ctrl_c_ends_the_watching_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = half_way(tmp_path)

    def pause(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", pause)
    with folder.lock(), unchanged(tmp_path):
        assert follow_run(folder.path, 0.01) == 130
    assert "The run is not affected" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(30, 3), (80, 24), (200, 50)])
def test_the_watched_board_fits_the_terminal(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = half_way(tmp_path)
    watcher = _Watcher(Follower(folder.path), 1.0, folder.path)
    assert len(watcher.draw(*size)) <= size[1]  # before the first snapshot
    with folder.lock():
        watcher.now = watcher.follower.snapshot()
        lines = ["".join(text for text, _ in line) for line in watcher.draw(*size)]
    assert len(lines) <= size[1]
    assert all(len(line) <= size[0] for line in lines)
    assert any("Adam" in line for line in lines)


def test_a_trial_that_was_interrupted_is_not_done(tmp_path: Path) -> None:
    stopped = [*HALF, finished(status="interrupted", epochs=5)]
    folder = write(tmp_path, a_suite(seeds=1), {("SGD", 0): stopped, ("Adam", 0): curve([0.5, 0.6])})
    snapshot = Follower(folder.path).snapshot()
    assert not snapshot.is_complete
    assert snapshot.board is not None
    assert (snapshot.board.done, snapshot.board.running) == (1, [])
