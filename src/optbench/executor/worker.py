"""What runs inside a trial's process. It trains, tells, and waits for the answer after each event.

The answer is whether to stop. Waiting for it is what keeps records ahead of checkpoints, and what ends this process when the
one that started it is gone.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
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

    device = _prepare(settings)
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


def describe(connection: Connection, settings: Settings, folder: str) -> None:
    """Entry point of a short process: the environment that trials will record, or the `OptbenchError` that prevents them."""
    _leave_signals_to_parent()
    from optbench.engine.environment import environment

    try:
        answer: Any = environment(_prepare(settings), folder)
    except OptbenchError as error:
        answer = error.problems
    _exchange(connection, answer)
    _flush_and_exit()


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


def _prepare(settings: Settings) -> Any:
    """Threads and device as asked for. Raises `OptbenchError` for a device that is not there."""
    import torch

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
