"""Workers in a real SLURM array: they share the trials, and preemption, time limits and killed jobs lose nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.slurm_cluster import cluster, why_not
from optbench.store import read
from real_runs import Run, a_suite, ends, records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=f"no SLURM cluster: {why_not()}"),
]
SLOW = """
import time, torch
class Slow(torch.optim.SGD):
    def step(self, closure=None):
        time.sleep(0.1)
        return super().step(closure)
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    with cluster() as environment:
        yield {"SLURM_CONF": environment["SLURM_CONF"]}


@pytest.fixture
def command(slurm: dict[str, str]) -> Callable[..., str]:
    def run(*words: str) -> str:
        done = subprocess.run(
            words, env={**slurm, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def submitted(folder: Path, slurm: dict[str, str], *options: str, budget: int = 8) -> Run:
    (folder / "slow.py").write_text(SLOW)
    suite = a_suite(folder, {"Slow": "'slow.py:Slow'"}, budget=budget)
    suite.write_text(suite.read_text().replace("seeds: 1", "seeds: 2"))
    options = ("--threads", "1", "--executor", "slurm", *options)
    return Run(folder, ("run", "tiny.yaml", *options), slurm)


def in_training(folder: Path) -> bool:
    return any('"evaluated"' in path.read_text() for path in (folder / "results/tiny/trials").glob("*.jsonl"))


def job_of(folder: Path) -> str:
    return str(json.loads((folder / "results/tiny/slurm.json").read_text())["job"])


def completed(folder: Path, head: Run) -> Any:
    code, output, said = head.end(400)
    logs = "\n".join(path.read_text() for path in (folder / "results/tiny/output").glob("slurm-*.log"))
    assert code == 0, said + logs
    assert "Slow" in output
    assert [end["status"] for end in ends(folder) if end["status"] != "interrupted"] == ["completed"] * 2
    assert not (folder / "results/tiny/leases").exists()
    return read([folder / "results"]).suites[0].logs


def test_an_array_of_workers_shares_the_trials(tmp_path: Path, slurm: dict[str, str]) -> None:
    completed(tmp_path, submitted(tmp_path, slurm, "--workers", "2%2"))
    assert len(list((tmp_path / "results/tiny/output").glob("slurm-*_[12].log"))) == 2


def test_a_preempted_worker_is_requeued_and_resumes(
    tmp_path: Path, slurm: dict[str, str], command: Callable[..., str]
) -> None:
    head = submitted(tmp_path, slurm, budget=20)
    head.until(lambda: in_training(tmp_path))
    command("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
    logs = completed(tmp_path, head)
    assert any(log.resumed and log.resumed[0].step > 0 for log in logs)


def test_before_the_time_limit_a_worker_writes_a_checkpoint_and_requeues_its_job(
    tmp_path: Path, slurm: dict[str, str], command: Callable[..., str]
) -> None:
    head = submitted(tmp_path, slurm, budget=20)
    head.until(lambda: in_training(tmp_path))
    command("scancel", "--batch", "--signal=USR1", f"{job_of(tmp_path)}_1")  # as --signal=B:USR1@60 does
    logs = completed(tmp_path, head)
    assert any(log.resumed and log.resumed[0].step > 0 for log in logs)


def test_a_killed_job_leaves_its_trials_to_the_next_run(
    tmp_path: Path, slurm: dict[str, str], command: Callable[..., str]
) -> None:
    head = submitted(tmp_path, slurm, budget=20)
    head.until(lambda: in_training(tmp_path))
    command("scancel", "--full", "--signal=KILL", job_of(tmp_path))
    code, _, said = head.end(120)
    assert "2 unfinished trials" in said
    assert code == 1
    time.sleep(1)
    (lease,) = (tmp_path / "results/tiny/leases").glob("*.json")
    os.utime(lease, (0, 0))  # instead of waiting for the lease timeout
    logs = completed(tmp_path, submitted(tmp_path, slurm, budget=20))
    assert {log.attempts for log in logs} == {1}
    assert any(record["record"] == "resumed" for record in records(tmp_path))


def test_a_dry_run_prints_the_script_and_submits_nothing(tmp_path: Path, slurm: dict[str, str]) -> None:
    code, output, _ = submitted(
        tmp_path, slurm, "--workers", "64%8", "--sbatch=--time=2:00:00", "--dry-run"
    ).end()
    assert code == 0
    assert "#SBATCH --array=1-64%8\n" in output
    assert "#SBATCH --time=2:00:00\n" in output
    assert "optbench work" in output
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[dict[str, str]]:
    with cluster(nodes=2) as environment:
        yield {"SLURM_CONF": environment["SLURM_CONF"]}


def on_two_nodes(folder: Path, slurm: dict[str, str], budget: int = 20) -> Run:
    (folder / "slow.py").write_text(SLOW)
    suite = a_suite(folder, {"Slow": "'slow.py:Slow'"}, budget=budget)
    suite.write_text(suite.read_text().replace("  batch_size: 16\n", "  batch_size: 16\n  nodes: 2\n"))
    options = ("--threads", "1", "--executor", "slurm", "--checkpoint-interval", "0.3")
    return Run(folder, ("run", "tiny.yaml", *options), slurm)


def values(folder: Path) -> Any:
    """Return what the trial computed, and the steps from which it resumed."""
    [log] = read([folder / "results"]).suites[0].logs
    assert log.finished is not None
    computed = [(event.step, repr(event.train_loss), event.metrics) for event in log.evaluations]
    return [computed, log.finished.status, log.finished.final], [event.step for event in log.resumed]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results of an undisturbed run with two devices on this machine."""
    folder = tmp_path_factory.mktemp("devices")
    (folder / "slow.py").write_text(SLOW)
    suite = a_suite(folder, {"Slow": "'slow.py:Slow'"}, budget=20)
    suite.write_text(suite.read_text().replace("  batch_size: 16\n", "  batch_size: 16\n  devices: 2\n"))
    code, _, errors = Run(folder, ("run", "tiny.yaml", "--threads", "2")).end(300)
    assert code == 0, errors
    return values(folder)[0]


def ended_well(folder: Path, head: Run) -> None:
    code, _, errors = head.end(400)
    logs = "\n".join(path.read_text() for path in (folder / "results/tiny/output").glob("*.log"))
    assert code == 0, errors + logs
    assert not (folder / "results/tiny/leases").exists()


def test_a_trial_on_two_nodes_computes_what_two_devices_compute(
    tmp_path: Path, two_nodes: dict[str, str], expected: Any
) -> None:
    ended_well(tmp_path, on_two_nodes(tmp_path, two_nodes))
    assert values(tmp_path) == (expected, [])


@pytest.mark.parametrize("event", ["preemption", "time limit", "killed node"])
def test_a_trial_on_two_nodes_resumes_exactly(
    tmp_path: Path, two_nodes: dict[str, str], expected: Any, event: str
) -> None:
    def command(*words: str) -> None:
        subprocess.run(words, env={**two_nodes, "PATH": "/usr/bin:/bin"}, check=True, capture_output=True)

    head = on_two_nodes(tmp_path, two_nodes)
    head.until(lambda: in_training(tmp_path))
    if event == "preemption":
        wrap = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1"]
        command("sbatch", *wrap)
    elif event == "time limit":
        command("scancel", "--batch", "--signal=USR1", f"{job_of(tmp_path)}_1")
    else:  # all processes of the second node
        [joined] = [pid for pid, line in processes().items() if "optbench.executor.joined_nodes" in line]
        os.kill(joined, signal.SIGKILL)
        code, _, errors = head.end(120)
        assert "unfinished trial" in errors
        assert code == 1
        head = on_two_nodes(tmp_path, two_nodes)
    ended_well(tmp_path, head)
    computed, resumed = values(tmp_path)
    assert computed == expected
    assert resumed
    assert all(step > 0 for step in resumed)


def processes() -> dict[int, str]:
    """Return the command lines of all processes but those of srun."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(entry.name)] = "" if line.startswith("srun") else line
    return found
