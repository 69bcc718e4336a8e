"""Workers of a shared folder: each trial runs once, a dead worker's trial is taken over, and a cut-off worker writes nothing more."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from msgspec import structs
from typer.testing import CliRunner

from fake_executor import FakeExecutor, events
from optbench.api.functions import _Observer
from optbench.cli.app import app
from optbench.cli.commands import work
from optbench.errors import OptbenchError
from optbench.events import Finished, Resumed
from optbench.executor.api import Slot, StopRequest
from optbench.executor.dispatch import Summary
from optbench.runner import on_workers, shared_work, slurm
from optbench.runner.job import create_job
from optbench.runner.options import RunOptions
from optbench.runner.shared_work import WorkList, planned_trials, refuse_held
from optbench.store import SuiteFolder, make_plan, read
from optbench.store.leases import LeasedFolder, LeaseLost, Leases
from optbench.suite.load import load
from optbench.suite.plan import plan
from program import optbench
from real_runs import Run, a_suite, ends
from results_builder import curve, evaluated, finished, started
from torture import TIMED

SLOW = """
import time, torch
class Slow(torch.optim.SGD):
    def step(self, closure=None):
        time.sleep(0.03)
        return super().step(closure)
"""


@pytest.fixture
def planned(tmp_path: Path) -> tuple[SuiteFolder, Any]:
    (tmp_path / "slow.py").write_text(SLOW)
    loaded = load(a_suite(tmp_path, {"Slow": "'slow.py:Slow'"}), ("seeds=2",))
    trials = plan(loaded)
    folder = SuiteFolder.of(tmp_path / "results", "tiny")
    folder.create()
    folder.write_plan(make_plan("tiny", loaded.suite, trials))
    WorkList.of(trials, folder, RunOptions(), loaded.suite.resources).write(folder)
    return folder, trials


def aged(leases: Leases, lease: Any) -> None:
    """Let the lease look as if its holder had died long ago."""
    past = time.time() - 10 * leases.seconds
    os.utime(lease.path, (past, past))


def test_a_lease_has_one_holder_until_it_is_stale_or_released(planned: Any) -> None:
    leases = Leases(planned[0], seconds=60)
    first = leases.claim("unit")
    assert first is not None
    assert (first.attempt, leases.claim("unit")) == (1, None)
    assert list(leases.held()) == ["unit"]
    aged(leases, first)
    second = leases.claim("unit")
    assert second is not None
    assert (second.attempt, first.is_lost, second.is_lost) == (2, True, False)
    first.release()  # of a holder that is too late: no effect on the second
    assert leases.claim("unit") is None
    second.release()
    third = leases.claim("unit")
    assert third is not None
    assert third.attempt == 3


def test_one_of_many_workers_gets_the_lease(planned: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from optbench.store import SuiteFolder; from optbench.store.leases import Leases\n"
        "leases = Leases(SuiteFolder(Path(sys.argv[1])))\n"
        "print(sum(leases.claim(f'unit{n}') is not None for n in range(50)))"
    )
    command = [sys.executable, "-c", code, str(planned[0].path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert sum(int(worker.communicate()[0]) for worker in workers) == 50


def test_a_lease_is_kept_alive_while_its_holder_lives(planned: Any) -> None:
    leases = Leases(planned[0], seconds=60)
    lease = leases.claim("unit")
    assert lease is not None
    with lease.kept(0.3):
        for _ in range(2):
            aged(leases, lease)
            while lease.path.stat().st_mtime < time.time() - 60:  # until the next sign of life
                time.sleep(0.05)
            assert leases.claim("unit") is None
    assert leases.claim("unit") is not None


def test_a_worker_that_was_cut_off_changes_neither_records_nor_checkpoint(planned: Any) -> None:
    folder, (trial, _) = planned
    leases = Leases(folder, seconds=60)
    first = leases.claim(trial.id)
    assert first is not None
    old = LeasedFolder(folder.path, first)
    with old.open_trial(trial) as cut_off:
        cut_off.append(started())
        cut_off.append(evaluated(1, 0.5))
        old.checkpoint_path(trial).write_bytes(b"of step 1")
        aged(leases, first)
        second = leases.claim(trial.id)
        assert second is not None
        new = LeasedFolder(folder.path, second)
        new.adopt_checkpoint(trial)
        with new.open_trial(trial) as file:
            with pytest.raises(LeaseLost):
                cut_off.append(evaluated(2, 0.1))
            super(type(cut_off), cut_off).append(
                evaluated(2, 0.1)
            )  # before it could see that it lost the lease
            old.checkpoint_path(trial).write_bytes(b"too late")
            old.hand_over_checkpoint(trial)
            file.append(evaluated(2, 0.9))
            assert new.checkpoint_path(trial).read_bytes() == b"of step 1"
            file.append(finished(0.9))
    [log] = read([folder.path]).suites[0].logs
    assert [event.metrics["validation"]["accuracy"] for event in log.evaluations] == [0.5, 0.9]


def test_a_checkpoint_passes_from_run_to_worker_and_back(planned: Any) -> None:
    folder, (trial, _) = planned
    leases = Leases(folder)
    folder.checkpoint_path(trial).write_bytes(b"state")
    lease = leases.claim(trial.id)
    assert lease is not None
    leased = LeasedFolder(folder.path, lease)
    leased.adopt_checkpoint(trial)
    assert not folder.checkpoint_path(trial).exists()
    with pytest.raises(OptbenchError, match="run 1 of its trials"):
        refuse_held(folder)
    lease.release()
    refuse_held(folder)  # as if the worker had been killed before it handed over
    assert folder.checkpoint_path(trial).read_bytes() == b"state"
    assert not (folder.path / "leases").exists()


def test_a_run_for_workers_removes_checkpoints_of_ended_trials_and_changes_no_file_that_may_be_written(
    planned: Any, tmp_path: Path
) -> None:
    folder, (first, second) = planned
    options = RunOptions(results=tmp_path / "results", executor="shared")
    folder.write_trial(first, curve([0.5]))
    folder.checkpoint_path(first).touch()
    with folder.open_trial(second) as file:
        file.append(started())
    with folder.trial_path(second).open("a") as torn:
        torn.write('{"record": "eval')
    messages: list[str] = []
    job = create_job(load(tmp_path / "tiny.yaml", ("seeds=2",)), options)
    summary, observer = Summary(), _Observer(messages.append, None)
    on_workers.run_on_workers(job, options, StopRequest(signal.SIGINT), observer, summary)
    assert summary.ended == {"interrupted": 1}
    assert WorkList.read(folder).trials == ((second.config_id, second.seed),)
    assert folder.trial_path(second).read_text().endswith("eval")
    assert not folder.checkpoint_path(first).exists()


def test_trials_come_from_the_plan_with_their_ids(planned: Any) -> None:
    folder, trials = planned
    known = planned_trials(folder, WorkList.read(folder))
    assert [trial.id for trial in known] == [trial.id for trial in trials]
    assert str(folder.path) not in (folder.path / "work.json").read_text()


def test_a_changed_plug_in_is_one_clear_error(planned: Any, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW + "\n")
    with pytest.raises(OptbenchError, match=r"slow\.py.*changed since the suite was planned"):
        planned_trials(planned[0], WorkList.read(planned[0]))


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no work list"), ("{", "damaged"), ('{"no": 1}', "damaged"), ("[]", "damaged")],
)
def test_a_folder_without_a_work_list_is_one_clear_error(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "work.json").write_text(content)
    done = optbench("work", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


class _FakeWorkers(FakeExecutor):
    """Completes each trial, without a process. `software`: versions of the worker that differ from the stored ones."""

    software: Mapping[str, str] = MappingProxyType({})

    def __init__(self, *_: Any) -> None:
        whole = [started(), evaluated(1, 0.5), finished(0.9)]
        slot = Slot("cpu", "cpu", started().environment | self.software)
        super().__init__(lambda unit: events(unit.trials[0].id, whole), (slot,))


def test_a_worker_with_other_versions_refuses_to_start(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, (first, second) = planned
    folder.write_trial(first, curve([0.5]))
    monkeypatch.setattr(shared_work, "LocalExecutor", _FakeWorkers)
    monkeypatch.setattr(_FakeWorkers, "software", {"torch": "1.0"})
    worker = shared_work.Worker(folder, StopRequest(), lambda text: None, lambda trial, event: None)
    with pytest.raises(OptbenchError, match=r"now '1\.0'.*Use a machine with equal devices and versions"):
        worker.run()
    assert not folder.trial_path(second).exists()


def interrupted(step: int, resume_note: str = "") -> Finished:
    return structs.replace(finished(0.5, "interrupted"), step=step, resume_note=resume_note)


@pytest.mark.parametrize(
    ("story", "requeues"),
    [
        ([started(), interrupted(0)], False),
        ([started(), interrupted(3)], True),
        ([started(), interrupted(3, "the state cannot be restored")], False),
        ([started(), Resumed(5), interrupted(5)], False),
        ([started(), Resumed(5), interrupted(6)], True),
        ([started(), evaluated(1, 0.5), finished(0.9)], True),
    ],
)
def test_a_job_whose_limit_is_too_short_for_any_progress_is_not_requeued(
    planned: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    story: list[Any],
    requeues: bool,
) -> None:
    folder, _ = planned
    stop, jobs = StopRequest(), []

    class Stopped(_FakeWorkers):
        def start(self, unit: Any, slot: Slot) -> None:
            stop.signal = signal.SIGUSR1
            self.script = lambda unit: events(unit.trials[0].id, story)
            super().start(unit, slot)

    monkeypatch.setattr(shared_work, "LocalExecutor", Stopped)
    monkeypatch.setattr(work, "stop_requests", lambda: nullcontext(stop))
    monkeypatch.setattr(slurm, "requeue", jobs.append)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert work.run_worker(folder.path, 120, slurm_requeue=True) == 128 + signal.SIGUSR1
    assert jobs == ["7"] * requeues
    assert ("a longer limit" in capsys.readouterr().err) is not requeues


@pytest.mark.parametrize("number", range(1, 8))
def test_a_worker_waits_for_a_folder_that_does_not_answer(
    planned: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """`number`: the write that fails, like those after it until the worker looks for the folder again."""
    folder, trials = planned
    monkeypatch.setattr(shared_work, "LocalExecutor", _FakeWorkers)
    writes, sync, said, is_away = count(1), os.fsync, [], [True]

    def failing(descriptor: int) -> None:
        if next(writes) >= number and is_away[0]:
            raise OSError(errno.ESTALE, "Stale file handle")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(shared_work, "sleep", lambda seconds: is_away.__setitem__(0, False))
    worker = shared_work.Worker(folder, StopRequest(), said.append, lambda trial, event: None)
    assert worker.run() == {"completed": 2}
    assert [line for line in said if "waiting for it" in line and "Stale file handle" in line]
    assert [line for line in said if "can be reached again" in line]
    logs = read([folder.path]).suites[0].logs
    assert [(log.id, log.is_complete, len(log.evaluations)) for log in logs] == [
        (trial.id, True, 1) for trial in sorted(trials, key=lambda trial: trial.seed)
    ]


def test_a_worker_gives_up_a_folder_that_stays_away(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = planned
    monkeypatch.setattr(shared_work, "LocalExecutor", _FakeWorkers)
    monkeypatch.setattr(shared_work, "_AWAY_SECONDS", 0)
    monkeypatch.setattr(shared_work, "sleep", lambda seconds: None)
    gone = folder.path.with_name("gone")
    monkeypatch.setattr(Leases, "claim", lambda self, unit: (folder.path.rename(gone), None)[1])
    worker = shared_work.Worker(folder, StopRequest(), lambda text: None, lambda trial, event: None)
    with pytest.raises(OSError, match="no such folder"):
        worker.run()
    assert not folder.path.exists()


def test_a_worker_shows_the_settings_of_a_sweep_trial(
    planned: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (trial, _) = planned
    work._show(trial, finished())
    work._show(trial.model_copy(update={"point": {"lr": 0.3}}), finished())
    assert capsys.readouterr().err.splitlines() == [
        f"{trial.workload_name}, Slow seed 0: completed",
        f"{trial.workload_name}, Slow (sweep) lr=0.3 seed 0: completed",
    ]


def test_a_folder_that_stays_away_is_one_clear_error(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(worker: shared_work.Worker) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(shared_work.Worker, "run", lost)
    done = CliRunner().invoke(app, ["work", str(planned[0].path)])
    assert isinstance(done.exception, OptbenchError)
    [problem] = done.exception.problems
    assert (problem.message, problem.file) == ("cannot be reached: Stale file handle", str(planned[0].path))


def test_a_folder_that_workers_use_is_not_packed(planned: Any) -> None:
    folder, (trial, _) = planned
    lease = Leases(folder).claim(trial.id)
    assert lease is not None
    for options in ((), ("--unpack",)):
        done = optbench("pack", folder.path, *options, cwd=folder.path)
        assert done.returncode == 2
        assert "run 1 of its trials: wait until they end" in " ".join(done.stderr.split())
    assert (folder.path / "plan.json").exists()
    lease.release()
    done = optbench("pack", folder.path, cwd=folder.path)
    assert done.returncode == 0, done.stderr
    assert shared_work._why_away(None, folder) == ""  # a packed folder is there


def test_a_run_whose_job_ended_before_its_trials_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    monkeypatch.setattr(slurm, "submit", lambda folder, text: "1")
    monkeypatch.setattr(slurm, "is_active", lambda job: False)
    done = optbench("run", "tiny.yaml", "--executor", "slurm", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "1 unfinished trial" in done.stderr


def test_a_worker_that_starts_while_its_folder_is_packed_changes_nothing(
    planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (trial, other) = planned
    folder.write_trial(other, curve([0.5]))
    monkeypatch.setattr(shared_work, "LocalExecutor", _FakeWorkers)
    claim = Leases.claim

    def packing(self: Leases, unit: str) -> Any:
        assert optbench("pack", folder.path, cwd=folder.path).returncode == 0
        return claim(self, unit)

    monkeypatch.setattr(Leases, "claim", packing)
    worker = shared_work.Worker(folder, StopRequest(), lambda text: None, lambda trial, event: None)
    assert worker.run() == {}
    assert not folder.trial_path(trial).exists()
    assert not (folder.path / "leases").exists()


def test_a_folder_is_not_packed_if_a_worker_claims_a_trial_meanwhile(
    planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, (trial, _) = planned
    held = Leases.held

    def claiming(self: Leases) -> Any:
        before = held(self)
        self.claim(trial.id)
        return before

    monkeypatch.setattr(Leases, "held", claiming)
    done = optbench("pack", folder.path, cwd=folder.path)
    assert done.returncode == 2
    assert "run 1 of its trials" in " ".join(done.stderr.split())
    assert WorkList.read(folder).trials
    assert (folder.path / "plan.json").exists()


def test_a_folder_that_is_not_mounted_for_a_while_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    suite = a_suite(tmp_path, {"Slow": "'slow.py:Slow'"}, budget=12)
    suite.write_text(suite.read_text().replace("seeds: 1", "seeds: 3"))
    (tmp_path / "server").mkdir()
    mount = tmp_path / "results"
    mount.symlink_to("server")
    options = ("--threads", "1", "--checkpoint-interval", "0")
    head = Run(tmp_path, ("run", "tiny.yaml", *options, "--executor", "shared"))
    head.until((mount / "tiny/work.json").exists)
    log = (tmp_path / "worker.log").open("wb")
    worker = Run(tmp_path, ("work", "results/tiny"), streams={"stderr": log})
    worker.until(lambda: any('"evaluated"' in path.read_text() for path in mount.glob("tiny/trials/*.jsonl")))
    mount.unlink()
    worker.until(lambda: b"waiting for it" in Path(log.name).read_bytes())
    mount.symlink_to("server")
    assert worker.end()[0] == 0, Path(log.name).read_text()
    assert head.end()[0] == 0
    assert [end["status"] for end in ends(tmp_path) if end["status"] != "failed"][-3:] == ["completed"] * 3


def measured(results: Path) -> list[Any]:
    kept = []
    for path in sorted((results / "tiny/trials").glob("*.jsonl")):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        kept += [
            {key: value for key, value in record.items() if key not in TIMED}
            for record in records
            if record["record"] != "resumed" and record.get("status") != "interrupted"
        ]
    return kept


def test_two_workers_of_which_one_is_killed_give_the_records_of_one_run(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    suite = a_suite(tmp_path, {"Slow": "'slow.py:Slow'", "SGD": "torch.optim.SGD"}, budget=12)
    suite.write_text(suite.read_text().replace("seeds: 1", "seeds: 2"))
    options = ("--threads", "1", "--checkpoint-interval", "0")
    assert optbench("run", suite, *options, "--results", "alone", cwd=tmp_path).returncode == 0
    here = tmp_path
    head = Run(here, ("run", "tiny.yaml", *options, "--executor", "shared"))
    head.until((here / "results/tiny/work.json").exists)
    work = ("work", "results/tiny", "--lease-timeout", "3")
    workers = [Run(here, work)]
    trials = here / "results/tiny/trials"
    workers[0].until(
        lambda: any('"evaluated"' in path.read_text() for path in trials.glob("*--Slow--*.jsonl"))
    )
    workers.append(Run(here, work))
    os.killpg(workers[0].process.pid, signal.SIGKILL)
    workers[0].end()
    assert workers[0].survivors() == []
    code, _, said = workers[1].end()
    assert code == 0, said
    assert "attempt 2" in said
    code, output, said = head.end()
    assert code == 0, said
    assert "Slow" in output
    assert [end["status"] for end in ends(here)] == ["completed"] * 4
    assert measured(here / "results") == measured(here / "alone")
    assert not list((here / "results/tiny/checkpoints").iterdir())
    assert not (here / "results/tiny/leases").exists()


def test_a_worker_that_is_stopped_hands_over_and_a_local_run_resumes(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    a_suite(tmp_path, {"Slow": "'slow.py:Slow'"}, budget=12)
    head = Run(tmp_path, ("run", "tiny.yaml", "--threads", "1", "--executor", "shared"))
    head.until((tmp_path / "results/tiny/work.json").exists)
    worker = Run(tmp_path, ("work", "results/tiny"))
    trials = tmp_path / "results/tiny/trials"
    worker.until(lambda: any('"evaluated"' in path.read_text() for path in trials.glob("*.jsonl")))
    refused = optbench("run", "tiny.yaml", "--results", tmp_path / "results", cwd=tmp_path)
    assert refused.returncode == 2  # the first has the lock
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.end()[0] == 143
    os.kill(head.process.pid, signal.SIGINT)
    assert head.end()[0] == 130
    done = optbench("run", "tiny.yaml", "--threads", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [end["status"] for end in ends(tmp_path)] == ["interrupted", "completed"]
    assert any('"resumed"' in path.read_text() for path in trials.glob("*.jsonl"))
