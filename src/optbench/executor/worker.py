"""What runs inside a trial's process. It trains, tells, and waits for the answer after each event.

The answer is whether to stop. Waiting for it is what keeps records ahead of checkpoints. A stop may also be asked for at any
other moment, through the lifeline, which ends this process when the one that started it is gone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from optbench.errors import OptbenchError, Problem, first_line
from optbench.executor.descendants import adopt_orphans, end_children
from optbench.executor.limits import memory_limits
from optbench.suite.types import Trial

_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGTTIN", "SIGTTOU")


@dataclass(frozen=True)
class Settings:
    """Where and how trials run: no part of their identity, all of it recorded."""

    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    data_root: Path = Path()
    threads: int | None = None  # of the CPU; None: torch's own choice, which is recorded
    command: str = ""
    stall_seconds: float = 1800.0  # without any sign of life a trial is considered hung


def work(
    connection: Connection,
    lifeline: Connection,
    trial: Trial,
    settings: Settings,
    checkpoint: Path | None,
    output: Path,
) -> None:
    """Entry point of a trial's process: send each event, read whether to stop, end with None, or with the problems because of
    which no further trial can run either (a full disk)."""
    stop = live_alone(lifeline)
    redirect_output(output)
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    last: Any = None
    try:
        with _starting():
            from optbench.engine.loop import CHECKPOINT_SECONDS, train

            device = set_up(settings, trial.folder)
        events = train(
            trial,
            device,
            data_root=settings.data_root,
            checkpoint=checkpoint,
            should_stop=stop.is_set,
            checkpoint_seconds=float(os.environ.get("OPTBENCH_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS)),
        )
        for event in events:
            if exchange(connection, event):
                stop.set()
    except OptbenchError as error:
        last = error.problems
    exchange(connection, last)
    flush_and_exit()


def prepare(
    connection: Connection, lifeline: Connection, trials: Sequence[Trial], settings: Settings
) -> None:
    """Entry point of the process that goes first: every data set the trials name is loaded once, so that downloads and
    decoding are over before anything is timed. Sends lines of text meanwhile, then the environment that the trials will
    record, or the problems that prevent them."""
    live_alone(lifeline)
    os.dup2(2, 1)  # standard output is for results
    logging.getLogger("optbench.data").addHandler(_Teller(connection))
    logging.getLogger("optbench.data").setLevel(logging.INFO)
    problems: list[Problem] = []
    try:
        with _starting():
            from optbench.catalog.data_sets import load_data
            from optbench.engine.environment import environment

            device = set_up(settings, trials[0].folder)
        for trial in {(t.workload.data.model_dump_json(), t.folder): t for t in trials}.values():
            where = f"data of workload '{trial.workload_name}'"
            try:
                splits = load_data(trial.workload.data, settings.data_root, trial.folder)
                for note in splits.notes:
                    exchange(connection, f"note: {where}: {note}")
            except OSError as error:
                problems.append(Problem(f"cannot be read: {error}", where=where))
            except OptbenchError as error:
                problems += [replace(problem, where=problem.where or where) for problem in error.problems]
        answer: Any = tuple(problems) or environment(device, trials[0].folder)
    except OptbenchError as error:
        answer = error.problems
    exchange(connection, answer)
    flush_and_exit()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Raise `OptbenchError` if PyTorch cannot be loaded or used here: no other trial can run either."""
    try:
        yield
    except OptbenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise OptbenchError(f"a worker process cannot start: {reason}{memory_limits()}") from error


class _Teller(logging.Handler):
    """Passes on what the data sets log about downloads and decoding."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        exchange(self._connection, record.getMessage())


def exchange(connection: Connection, message: Any) -> bool:
    try:
        connection.send(message)
        return bool(connection.recv())
    except (EOFError, OSError):
        _end_all()  # the parent is gone; what was measured is on disk


def live_alone(lifeline: Connection) -> threading.Event:
    """In a process group of its own, deaf to signals: the process that started this one decides. The event is set when it asks for
    a stop; when it is gone, so is this process with all that it started.

    No session of its own: Linux shares processors among sessions before it does among threads (autogroups), and would leave all
    threads of a trial on one core while a neighbour of the run has the other, ninety times as slow where they wait for each other.
    """
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    ignore_signals()
    adopt_orphans()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # if the kernel must kill something for memory, this and not the run
    stop = threading.Event()

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            while lifeline.recv_bytes():
                stop.set()
        _end_all()

    threading.Thread(target=watch, daemon=True, name="lifeline").start()
    return stop


def ignore_signals() -> None:
    """Ignore what asks a program to stop: the run gets the same signals and decides."""
    numbers = {getattr(signal, name) for name in _IGNORED if hasattr(signal, name)}
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)  # blocked until they are ignored


def _end_all() -> NoReturn:
    """This process and what it started."""
    end_children(os.getpid())
    if os.getpgid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def redirect_output(path: Path) -> None:
    """What a plug-in prints goes to a file, not into the live display; into nothing where no file can be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)  # no link, and no wait for a FIFO
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def set_up(settings: Settings, folder: str) -> Any:
    """Threads and device as asked for. Raises `OptbenchError` for a device that is not there.

    A plug-in's file may import its neighbours, as in a script: the suite's folder comes last on the import path.
    """
    import torch

    from optbench.engine.allocator import tune
    from optbench.engine.devices import pick

    sys.path.append(folder)

    os.environ["OPTBENCH_COMMAND"] = settings.command
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = pick(settings.device)
    tune(device.type)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def flush_and_exit() -> None:
    """Skips the interpreter's slow tear-down of torch."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a plug-in may have closed it
            stream.flush()
    os._exit(0)
