"""Trials one after another, each in a process of its own, so that every trial is alone on its device and none can harm the rest."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError
from optbench.events import Event, Finished, Status
from optbench.executor.worker import Settings, work
from optbench.executor.worker import prepare as work_ahead
from optbench.store import SuiteFolder, TrialFile
from optbench.suite.types import Trial

Listener = Callable[[Trial, Event], None]


@dataclass
class StopRequest:
    """Set from a signal handler; the running trial then writes a checkpoint and ends as `interrupted`."""

    signal: int | None = None

    @property
    def asked(self) -> bool:
        return self.signal is not None


@dataclass
class Summary:
    """How the trials of one run ended. `left` were not started because the run was stopped."""

    ended: dict[Status, int] = field(default_factory=dict)
    left: int = 0

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
    with _process(work_ahead, trials, settings) as (process, connection):
        while True:
            while not connection.poll(0.2):
                if stop.asked:
                    process.kill()
                    return None
            answer = _receive(process, connection)
            if isinstance(answer, _Died):
                raise OptbenchError(f"while getting the data ready: {answer.reason}")
            connection.send(False)
            if isinstance(answer, dict):
                return answer
            if not isinstance(answer, str):
                raise OptbenchError(*answer)
            say(answer)


def run(
    trials: Sequence[Trial], folder: SuiteFolder, settings: Settings, listen: Listener, stop: StopRequest
) -> Summary:
    """Run every trial that is not complete, storing each event before the trial goes on. Hold the folder's lock.

    Raises `OptbenchError` if the store can't be written; nothing measured before is lost.
    """
    summary = Summary()
    for position, trial in enumerate(trials):
        if stop.asked:
            summary.left = len(trials) - position
            break
        status = _run_one(trial, folder, settings, listen, stop)
        summary.ended[status] = summary.ended.get(status, 0) + 1
    return summary


def _run_one(
    trial: Trial, folder: SuiteFolder, settings: Settings, listen: Listener, stop: StopRequest
) -> Status:
    checkpoint = folder.checkpoint_path(trial)
    output = folder.path / "output" / f"{folder.trial_path(trial).stem}.log"
    with (
        folder.open_trial(trial) as file,
        _process(work, trial, settings, checkpoint, output) as (process, connection),
    ):
        ended = _follow(trial, file, process, connection, listen, stop, output)
    if file.is_complete:
        checkpoint.unlink(missing_ok=True)
    if output.exists() and output.stat().st_size == 0:
        output.unlink()
    return ended.status


def _follow(
    trial: Trial,
    file: TrialFile,
    process: BaseProcess,
    connection: Connection,
    listen: Listener,
    stop: StopRequest,
    output: Path,
) -> Finished:
    """Store and pass on the trial's events until it ends, in whatever way."""
    ended: Finished | None = None
    while True:
        event = _receive(process, connection)
        if isinstance(event, _Died):
            if ended is None:
                ended = _death(event, output, file)
                file.append(ended)
                listen(trial, ended)
            return ended
        if event is None:
            with contextlib.suppress(OSError):
                connection.send(stop.asked)
            assert ended is not None
            return ended
        file.append(event)
        listen(trial, event)
        if isinstance(event, Finished):
            ended = event
        with contextlib.suppress(OSError):
            connection.send(stop.asked)


@dataclass(frozen=True)
class _Died:
    reason: str
    signal: int | None = None


def _receive(process: BaseProcess, connection: Connection) -> Any:
    """The next message, or how the process died instead."""
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        process.join(10)
        code = process.exitcode
        if code is not None and code < 0:
            return _Died(f"the trial's process was ended by {_signal_name(-code)}", -code)
        return _Died(f"the trial's process ended with exit code {code} and said nothing")


def _death(died: _Died, output: Path, file: TrialFile) -> Finished:
    """A crash of the program is a failed trial; a kill from outside is nobody's fault and will be tried again (decision 9)."""
    from_outside = died.signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
    last_words = output.read_text(errors="replace")[-4000:] if output.exists() else ""
    return Finished(
        status="failed",
        detail=f"{died.reason}\n{last_words}".strip(),
        step=file.last_step or 0,
        at_fault="infrastructure" if from_outside else "",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _process(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """A started process and the connection to it; on the way out it is gone, by force if it must be."""
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    except BaseException:
        process.kill()
        raise
    finally:
        ours.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _context() -> Any:
    """Processes that start in milliseconds because torch is loaded once, in a server that has used no device."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["optbench.engine.loop"])
    return context
