"""What runs inside a trial's process. It trains, tells, and waits for the answer after each event.

The answer is whether to stop. Waiting for it is what keeps records ahead of checkpoints, and what ends this process when the
one that started it is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from optbench.errors import OptbenchError, Problem
from optbench.suite.types import Trial


@dataclass(frozen=True)
class Settings:
    """Where and how trials run: no part of their identity, all of it recorded."""

    device: str = "auto"  # auto, cpu, cuda, cuda:N, mps
    data_root: Path = Path()
    threads: int | None = None  # of the CPU; None: torch's own choice, which is recorded
    command: str = ""


def work(connection: Connection, trial: Trial, settings: Settings, checkpoint: Path, output: Path) -> None:
    """Entry point of a trial's process: send each event, read whether to stop, end with None."""
    _leave_signals_to_parent()
    _redirect_output(output)
    from optbench.engine.loop import train

    device = _prepare(settings, trial.folder)
    answers = [False]
    events = train(
        trial,
        device,
        data_root=settings.data_root,
        checkpoint=checkpoint,
        should_stop=lambda: answers[-1],
    )
    for event in events:
        answers[-1] = _exchange(connection, event)
    _exchange(connection, None)
    _flush_and_exit()


def prepare(connection: Connection, trials: Sequence[Trial], settings: Settings) -> None:
    """Entry point of the process that goes first: every data set the trials name is loaded once, so that downloads and
    decoding are over before anything is timed. Sends lines of text meanwhile, then the environment that the trials will
    record, or the problems that prevent them."""
    _leave_signals_to_parent()
    from optbench.catalog.data_sets import load_data
    from optbench.engine.environment import environment

    logging.getLogger("optbench.data").addHandler(_Teller(connection))
    logging.getLogger("optbench.data").setLevel(logging.INFO)
    problems: list[Problem] = []
    try:
        device = _prepare(settings, trials[0].folder)
        for trial in {(t.workload.data.model_dump_json(), t.folder): t for t in trials}.values():
            try:
                load_data(trial.workload.data, settings.data_root, trial.folder)
            except OptbenchError as error:
                where = f"data of workload '{trial.workload_name}'"
                problems += [replace(problem, where=problem.where or where) for problem in error.problems]
        answer: Any = tuple(problems) or environment(device, trials[0].folder)
    except OptbenchError as error:
        answer = error.problems
    _exchange(connection, answer)
    _flush_and_exit()


class _Teller(logging.Handler):
    """Passes on what the data sets log about downloads and decoding."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        _exchange(self._connection, record.getMessage())


def _exchange(connection: Connection, message: Any) -> bool:
    try:
        connection.send(message)
        return bool(connection.recv())
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone; what was measured is on disk


def _leave_signals_to_parent() -> None:
    """Ctrl-C reaches the whole process group; the parent decides, and asks for a stop."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _redirect_output(path: Path) -> None:
    """What a plug-in prints goes to a file, not into the live display."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _prepare(settings: Settings, folder: str) -> Any:
    """Threads and device as asked for. Raises `OptbenchError` for a device that is not there.

    A plug-in's file may import its neighbours, as in a script: the suite's folder comes last on the import path.
    """
    import torch

    sys.path.append(folder)

    os.environ["OPTBENCH_COMMAND"] = settings.command
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    wanted = settings.device
    there = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else there[-1]
    if wanted == "cuda" and len(there) > 1 and torch.cuda.is_available():
        wanted = "cuda:0"
    if wanted not in there:
        raise OptbenchError(
            Problem(f"no such device here: '{wanted}'; there is {', '.join(there)}", where="--device")
        )
    device = torch.device(wanted)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _flush_and_exit() -> None:
    """Skips the interpreter's slow tear-down of torch."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
