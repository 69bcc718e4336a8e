"""Faults are results: whatever a trial's process does, it is recorded, ended, and no other trial is touched."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from optbench.errors import OptbenchError
from optbench.executor import process, worker
from optbench.executor.api import StopRequest
from optbench.executor.process import child, receive
from optbench.executor.worker import exchange, flush_and_exit, isolate_process
from program import optbench
from real_runs import Run, a_suite, ends, table

FAULTY = """
import os, resource, signal, subprocess, sys, threading, time
import torch

class _Counting(torch.optim.SGD):
    count = 0
    def step(self, closure=None):
        super().step()
        self.count += 1
        self.at(self.count)

class NanAfter100(_Counting):
    def at(self, count):
        if count == 100:
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

class HostMemory(_Counting):
    def at(self, count):
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        torch.empty(20 << 30, dtype=torch.uint8)

class PythonMemory(_Counting):
    def at(self, count):
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        bytearray(20 << 30)

class ExitsQuietly(_Counting):
    def at(self, count):
        os._exit(0)

class SysExit(_Counting):
    def at(self, count):
        sys.exit("I am done")

class Interrupt(_Counting):
    def at(self, count):
        raise KeyboardInterrupt

class Generator(_Counting):
    def at(self, count):
        raise GeneratorExit("closed")

class Base(_Counting):
    def at(self, count):
        print("about to raise")
        raise BaseException("no Exception")

class InEval(_Counting):
    def at(self, count):
        pass
    def train(self):
        pass
    def eval(self):
        raise KeyboardInterrupt

class Hangs(_Counting):
    def at(self, count):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60))
        while True:
            time.sleep(1)

class ForksAndDies(_Counting):
    def at(self, count):
        subprocess.Popen(["sleep", "1000"])
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(3)

class Noisy(_Counting):
    def at(self, count):
        print("x" * 1_000_000)

class Threads(_Counting):
    def at(self, count):
        if count == 1:
            threading.Thread(target=time.sleep, args=(1000,)).start()
            subprocess.Popen(["sleep", "1000"])

class Daemon(_Counting):
    def at(self, count):
        if count == 1 and os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execvp("sleep", ["sleep", "1000"])
            os._exit(0)

class CrashWithChild(Daemon):
    def at(self, count):
        super().at(count)
        if count == 2:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGSEGV)

class ClosesOutput(_Counting):
    def at(self, count):
        if count == 1:
            sys.stdout.close()
            os.close(1)
            os.close(2)

class CannotBeTold(_Counting):
    def at(self, count):
        class Odd(Exception):
            def __str__(self):
                raise ValueError("no words")
        raise Odd
"""
CLASSES = [line.split()[1].partition("(")[0] for line in FAULTY.splitlines() if line.startswith("class ")][1:]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One run of all of them, with a healthy trial at the end; its folder, what it said, and what was left of it."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faulty.py").write_text(FAULTY)
    uses = {name: f"'faulty.py:{name}'" for name in CLASSES}
    suite = a_suite(folder, {**uses, "Healthy": "torch.optim.SGD"}, budget=20)
    run = Run(folder, ("run", str(suite), "--threads", "1", "--stall-timeout", "10"))
    code, _, errors = run.end(300)
    assert code == 1, errors
    assert "Traceback" not in errors
    return folder, run


@pytest.mark.parametrize(
    ("label", "status", "fault", "words"),
    [
        ("NanAfter100", "diverged", "", "at step 101"),
        ("HostMemory", "out_of_memory", "", "21474836480 bytes"),
        ("PythonMemory", "out_of_memory", "", "an allocation outside of torch failed"),
        ("ExitsQuietly", "failed", "", "exit code 0 and without a result"),
        ("SysExit", "failed", "optimizer", "I am done"),
        ("Interrupt", "failed", "optimizer", "KeyboardInterrupt"),
        ("Generator", "failed", "optimizer", "GeneratorExit: closed"),
        ("Base", "failed", "optimizer", "BaseException: no Exception"),
        ("InEval", "failed", "optimizer", "KeyboardInterrupt"),
        ("Hangs", "failed", "", "no progress reported for 10 s"),
        ("ForksAndDies", "failed", "", "exit code 3"),
        ("CannotBeTold", "failed", "optimizer", "Odd"),
        ("Noisy", "completed", "", ""),
        ("Threads", "completed", "", ""),
        ("Daemon", "completed", "", ""),
        ("CrashWithChild", "failed", "", "SIGSEGV"),
        ("ClosesOutput", "completed", "", ""),
        ("Healthy", "completed", "", ""),
    ],
)
def test_a_fault_is_recorded_as_what_it_is(ran: Any, label: str, status: str, fault: str, words: str) -> None:
    (end,) = ends(ran[0], label)
    assert (end["status"], end["at_fault"]) == (status, fault), end["detail"]
    assert words in end["detail"]
    row = table(ran[0])[label]
    assert row[status] == "1"


def test_the_record_of_a_hang_shows_where_it_hung(ran: Any) -> None:
    (end,) = ends(ran[0], "Hangs")
    assert "faulty.py" in end["detail"]


def test_nothing_that_a_trial_started_survives_the_run(ran: Any) -> None:
    assert ran[1].survivors() == []


def test_what_a_trial_prints_is_kept_and_bounded(ran: Any) -> None:
    output = ran[0] / "results/tiny/output"
    sizes = [path.stat().st_size for path in output.iterdir()]
    assert 0 < max(sizes) < 70_000_000
    [path] = output.glob("*--Base--*")
    assert "about to raise" in path.read_text()


def test_a_fault_of_the_program_is_not_run_again_and_one_of_the_machine_is(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(
        "import os, pathlib, signal, torch\n"
        "class Once(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        if not pathlib.Path(__file__).with_name('again').exists():\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().step(closure)\n"
        "class Never(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    suite = a_suite(tmp_path, {"Once": "'faulty.py:Once'", "Never": "'faulty.py:Never'"})
    assert optbench("run", suite, cwd=tmp_path).returncode == 1
    assert ends(tmp_path, "Once")[0]["at_fault"] == "infrastructure"
    assert "Segmentation fault" in ends(tmp_path, "Never")[0]["detail"]
    (tmp_path / "again").touch()
    again = optbench("run", suite, cwd=tmp_path)
    assert again.returncode == 1  # what the program failed at stays failed, and is told again
    assert [end["status"] for end in ends(tmp_path, "Once")] == ["failed", "completed"]
    assert [end["status"] for end in ends(tmp_path, "Never")] == ["failed"]


def test_the_server_of_processes_may_be_killed_too(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time, torch\n"
        "class Slow(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        time.sleep(0.5)\n"
        "        return super().step(closure)\n"
    )
    suite = a_suite(tmp_path, {"Slow": "'slow.py:Slow'", "Next": "torch.optim.SGD"})
    run = Run(tmp_path, ("run", str(suite)))
    run.until(lambda: any(r["record"] == "evaluated" for r in safe_records(tmp_path)))
    (server,) = (
        pid for pid, words in run.marked().items() if "forkserver" in words and not is_leaf(pid, run)
    )
    os.kill(server, signal.SIGKILL)
    code, _, errors = run.end()
    assert code == 1, errors
    (slow,) = ends(tmp_path, "Slow")
    assert (slow["status"], slow["at_fault"]) == ("failed", "infrastructure")
    assert "server" in slow["detail"]
    assert [end["status"] for end in ends(tmp_path, "Next")] == ["completed"]
    assert run.survivors() == []


def test_a_server_that_dies_while_it_starts_is_started_again(tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    run = Run(tmp_path, ("run", str(suite)))
    for _ in range(2):
        server = run.until(lambda: [pid for pid, words in run.marked().items() if "forkserver" in words])
        os.kill(server[0], signal.SIGKILL)
        run.until(lambda killed=server[0]: killed not in run.marked())
    code, _, errors = run.end()
    assert code == 0, errors
    assert [end["status"] for end in ends(tmp_path)] == ["completed"]


def test_a_daemon_of_a_trial_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(
        FAULTY + "class Stays(Daemon):\n    def at(self, count):\n        super().at(count)\n"
        "        if count > 1:\n            time.sleep(1000)\n"
    )
    suite = a_suite(tmp_path, {"Stays": "'faulty.py:Stays'"})
    run = Run(tmp_path, ("run", str(suite)))
    run.until(lambda: any("sleep" in words for words in run.marked().values()))
    run.process.kill()
    run.end()
    assert run.survivors(20) == []


@pytest.mark.parametrize("megabytes", [200, 700])
def test_too_little_memory_for_pytorch_is_one_line_that_reports_it(megabytes: int, tmp_path: Path) -> None:
    suite = a_suite(tmp_path, {"SGD": "torch.optim.SGD"})
    line = f"ulimit -v {megabytes * 1000}; exec {sys.executable} -m optbench run {suite}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert f"the memory limit of {megabytes * 1.024:.0f} MB (ulimit -v)" in error


def test_a_worker_that_cannot_start_is_an_error_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(forkserver, "ensure_running", fail)
    monkeypatch.setattr(process, "_PAUSES", (0.0, 0.0, 0.0))
    with pytest.raises(OptbenchError, match=r"a worker process cannot start: .*Cannot allocate memory"):
        child(_standing).__enter__()
    assert len(attempts) == 3


def test_what_keeps_a_worker_from_loading_pytorch_is_reported_with_the_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda number: (300_000_000, resource.RLIM_INFINITY))
    words = "a worker process cannot start: ImportError: no room. .* the memory limit of 300 MB"
    with pytest.raises(OptbenchError, match=words), worker.startup_errors():
        raise ImportError("no room\nmore")


def safe_records(folder: Path) -> list[dict[str, Any]]:
    from real_runs import records

    try:
        return records(folder)
    except (OSError, ValueError):
        return []


def is_leaf(pid: int, run: Run) -> bool:
    """Whether no marked process is a child of this one."""
    parents = []
    for other in run.marked():
        try:
            parents.append(int(Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[1]))
        except OSError:
            continue
    return pid not in parents


def _standing(connection: Connection, lifeline: Connection) -> None:
    isolate_process(lifeline)
    exchange(connection, (os.getsid(0), os.getpgid(0) == os.getpid()))
    flush_and_exit()


def test_a_trial_leads_a_group_in_the_session_of_its_run() -> None:
    """A group ends as one. A session of its own would share processors as one, however many threads it has."""
    with child(_standing) as started:
        told = receive(started, StopRequest(), patience=60)
        started.answer(False)
    assert told == (os.getsid(0), True)
