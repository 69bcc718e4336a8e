"""Trials one after another, each in a process of its own, so that every trial is alone on its device and none can harm the rest."""

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
_MAX_OUTPUT_BYTES = 32_000_000  # of what a trial prints; beyond it the log begins anew
_SETUP_SECONDS = 2.0  # a trial that was asked to stop before its first step has nothing to save


@dataclass
class Summary:
    """How the trials of one run ended. `left` were not started because the run was stopped."""

    ended: dict[Status, int] = field(default_factory=dict)
    left: int = 0

    def add(self, other: Summary) -> None:
        for status, n in other.ended.items():
            self.ended[status] = self.ended.get(status, 0) + n
        self.left += other.left

    @property
    def trouble(self) -> bool:
        """Whether some trial failed, which is exit code 1; a diverged trial is an outcome."""
        return bool(self.ended.get("failed") or self.ended.get("out_of_memory"))


def prepare(
    trials: Sequence[Trial], settings: Settings, say: Callable[[str], None], stop: StopRequest
) -> dict[str, Any] | None:
    """Fetch and decode the trials' data; the environment that trials will record here, None if a stop was asked for.

    `say` gets lines about downloads and decoding. Raises `OptbenchError` if the data or the device can't be had.
    """
    with child(work_ahead, trials, settings) as helper:
        while True:
            answer = receive(helper, stop, patience=float("inf"), stop_patience=_SETUP_SECONDS)
            if stop.asked:
                helper.end()
                return None
            if isinstance(answer, Ended):
                raise OptbenchError(f"while getting the data ready: {answer.reason}{memory_limits()}")
            helper.answer(False)
            if isinstance(answer, dict):
                return answer
            if not isinstance(answer, str):
                raise OptbenchError(*answer)
            say(answer)


def run(
    trials: Sequence[Trial],
    folder: SuiteFolder,
    settings: Settings,
    listen: Listener,
    stop: StopRequest,
    attempts: Mapping[str, int] = MappingProxyType({}),
) -> Summary:
    """Run every trial, storing each event before the trial goes on. Hold the folder's lock.

    By a trial's id, `attempts` says which attempt at it this is; else it is the first, which goes on from its checkpoint.
    Raises `OptbenchError` if the store can't be written; nothing measured before is lost.
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
    """One trial in a process of its own, every event stored before it goes on; how it ended."""
    checkpoint = folder.checkpoint_path(trial) if attempt == 1 else None
    output = folder.path / "output" / f"{folder.trial_path(trial, attempt).stem}.log"
    killed_before = kills_for_memory()
    with (
        folder.open_trial(trial, attempt) as file,
        child(work, trial, settings, checkpoint, output) as process,
    ):
        end = _follow(trial, file, process, settings, listen, stop, output)
        if isinstance(end, Ended):
            process.end()
            resumes = checkpoint is not None and checkpoint.exists()
            end = _told(end, file, output, resumes, out_of_memory=kills_for_memory() > killed_before)
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
    """Store and pass on the trial's events until its end, or until it will say no more.

    Raises `OptbenchError` where the trial says that the run can't go on.
    """
    finished: Finished | None = None
    begun = False
    while True:
        event = receive(
            process, stop, settings.stall_seconds, **({} if begun else {"stop_patience": _SETUP_SECONDS})
        )
        _bound(output)
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
        begun = begun or isinstance(event, (Started, Resumed))
        finished = event if isinstance(event, Finished) else finished
        process.answer(stop.asked)


def _told(ended: Ended, file: TrialFile, output: Path, resumes: bool, *, out_of_memory: bool) -> Finished:
    """A crash of the program or a hang is a failed trial; a kill from outside is nobody's fault and will be tried again
    (decision 9)."""
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
        detail = f"{detail}\n{_last_words(output)}".strip()
    return Finished(status=status, detail=detail, step=step, at_fault=fault)


def _last_words(output: Path) -> str:
    try:
        return read_file(output, output.parent)[-4000:].decode(errors="replace")
    except OSError:
        return ""


def _bound(output: Path) -> None:
    """A plug-in that prints in every step must not fill the disk."""
    with contextlib.suppress(OSError):
        if output.lstat().st_size > _MAX_OUTPUT_BYTES:
            with output.open("r+b") as file:
                file.truncate(0)


def kills_for_memory() -> int:
    """How many processes the kernel has killed for want of memory; 0 where it does not tell."""
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
        return "its size is unknown here"
