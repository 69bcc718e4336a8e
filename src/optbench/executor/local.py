"""Trials run one after another, one process per trial: each has the device to itself, and a crash affects no other trial."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.events import Event, Fault, Finished, Resumed, Started, Status
from optbench.executor.limits import memory_limits
from optbench.executor.process import Child, Ended, StopRequest, child, receive
from optbench.executor.worker import Settings, work
from optbench.executor.worker import prepare as work_ahead
from optbench.store import SuiteFolder, TrialFile
from optbench.store.input_files import read_file
from optbench.suite.types import Trial

__all__ = ["Listener", "StopRequest", "Summary", "prepare", "run"]

Listener = Callable[[Trial, Event], None]
_OUTPUT_TAIL_BYTES = 16_000  # kept in the record of a crash
_MAX_OUTPUT_BYTES = 32_000_000  # of a trial's output log, which is truncated beyond it
_SETUP_SECONDS = 2.0  # time limit to stop before the first step: there is nothing to save


@dataclass
class Summary:
    """Counts of trials by final status. `left`: trials not started because the run was stopped."""

    ended: dict[Status, int] = field(default_factory=dict)
    left: int = 0

    def add(self, other: Summary) -> None:
        for status, n in other.ended.items():
            self.ended[status] = self.ended.get(status, 0) + n
        self.left += other.left

    @property
    def trouble(self) -> bool:
        """Whether a trial failed or ran out of memory (exit code 1). A diverged trial is an outcome, not a failure."""
        return bool(self.ended.get("failed") or self.ended.get("out_of_memory"))


def prepare(
    trials: Sequence[Trial], settings: Settings, report: Callable[[str], None], stop: StopRequest
) -> dict[str, Any] | None:
    """Download and decode the trials' data. Return the environment that the trials will record, or None after a stop request.

    `report` is called with lines about downloads and decoding. Raises `OptbenchError` if data or device are not available.
    """
    with child(work_ahead, trials, settings) as helper:
        while True:
            answer = receive(helper, stop, patience=float("inf"), stop_patience=_SETUP_SECONDS)
            if stop.asked:
                helper.end()
                return None
            if isinstance(answer, Ended):
                raise OptbenchError(f"while preparing the data: {answer.reason}{memory_limits()}")
            helper.answer(False)
            if isinstance(answer, dict):
                return answer
            if not isinstance(answer, str):
                raise OptbenchError(*answer)
            report(answer)


def run(
    trials: Sequence[Trial],
    folder: SuiteFolder,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    attempts: Mapping[str, int] = MappingProxyType({}),
) -> Summary:
    """Run the trials; each event is stored before the trial continues. The caller must hold the folder's lock.

    `attempts`: number of the attempt by trial id, by default 1. The first attempt resumes from its checkpoint.
    Raises `OptbenchError` if the store cannot be written; records stored before are intact.
    """
    summary = Summary()
    for position, trial in enumerate(trials):
        if stop.asked:
            summary.left = len(trials) - position
            break
        status = run_one(trial, folder, settings, listen, stop, attempts.get(trial.id, 1))
        summary.ended[status] = summary.ended.get(status, 0) + 1
    return summary


def run_one(
    trial: Trial,
    folder: SuiteFolder,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    attempt: int = 1,
) -> Status:
    """Run one trial in its own process and return its status. Each event is stored before the trial continues."""
    checkpoint = folder.checkpoint_path(trial) if attempt == 1 else None
    output = folder.path / "output" / f"{folder.trial_path(trial, attempt).stem}.log"
    killed_before = count_memory_kills()
    with (
        folder.open_trial(trial, attempt) as file,
        child(work, trial, settings, checkpoint, output) as process,
    ):
        end = _follow(trial, file, process, settings, listen, stop, output)
        if isinstance(end, Ended):
            process.end()
            resumes = checkpoint is not None and checkpoint.exists()
            end = _final_event(end, file, output, resumes, out_of_memory=count_memory_kills() > killed_before)
            file.append(end)
            listen(trial, end)
    if file.is_complete and checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        if output.stat().st_size == 0:
            output.unlink()
    return end.status


def _follow(
    trial: Trial,
    file: TrialFile,
    process: Child,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    output: Path,
) -> Finished | Ended:
    """Store the trial's events and pass them to `listen` until the trial or its process ends.

    Raises `OptbenchError` if the trial reports a problem that ends the run, such as a full disk.
    """
    finished: Finished | None = None
    started = False
    while True:
        event = receive(
            process, stop, settings.stall_seconds, **({} if started else {"stop_patience": _SETUP_SECONDS})
        )
        _limit_size(output)
        if isinstance(event, Ended):
            if event.cause == "silent":
                process.show_stacks()
            return finished or event
        if isinstance(event, tuple) and event and all(isinstance(item, Problem) for item in event):
            process.answer(True)
            raise OptbenchError(*event)
        if event is None:
            process.answer(stop.asked)
            return finished or Ended("died", "the trial's process ended without a result")
        file.append(event)
        listen(trial, event)
        started = started or isinstance(event, (Started, Resumed))
        finished = event if isinstance(event, Finished) else finished
        process.answer(stop.asked)


def _final_event(
    ended: Ended, file: TrialFile, output: Path, resumes: bool, *, out_of_memory: bool
) -> Finished:
    """Return the last event of a trial whose process ended without one.

    A crash or a hang is a failed trial. A kill from outside is an infrastructure fault, and the trial is retried (decision 9).
    """
    step = file.last_step or 0
    status: Status = "failed"
    fault: Fault = ""
    detail = ended.reason
    if ended.cause == "stopped":
        status = "interrupted"
        detail += "; it resumes from its last checkpoint" if resumes else "; it starts again from step 0"
    elif ended.signal == signal.SIGKILL and out_of_memory:
        status = "out_of_memory"
        detail += f": the kernel ran out of memory ({_memory_of_machine()})"
    elif ended.cause == "lost" or ended.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        fault = "infrastructure"
    else:
        detail = f"{detail}\n{_read_output_tail(output)}".strip()
    return Finished(status=status, detail=detail, step=step, at_fault=fault)


def _read_output_tail(output: Path) -> str:
    """Return the end of what the trial printed: long enough for the stacks of a crash, whose reason comes first."""
    try:
        return read_file(output, output.parent)[-_OUTPUT_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""


def _limit_size(output: Path) -> None:
    """Truncate the output log if it is too long: a plug-in that prints in each step must not fill the disk."""
    with contextlib.suppress(OSError):
        if output.lstat().st_size > _MAX_OUTPUT_BYTES:
            with output.open("r+b") as file:
                file.truncate(0)


def count_memory_kills() -> int:
    """Return the number of processes that the kernel has killed because memory ran out; 0 if it does not report it."""
    try:
        words = Path("/proc/vmstat").read_text(encoding="ascii").split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return 0


def _memory_of_machine() -> str:
    try:
        words = Path("/proc/meminfo").read_text(encoding="ascii").split()
        return f"{int(words[words.index('MemTotal:') + 1]) / 1e6:.1f} GB in this machine"
    except (OSError, ValueError, IndexError):
        return "memory size unknown"
