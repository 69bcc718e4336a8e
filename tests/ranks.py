"""Trains one trial in several processes for tests, as the worker of a run does, and returns the events of rank 0."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from optbench.events import Event, Started
from optbench.executor.api import Settings, Slot, Unit
from optbench.executor.rank_processes import train_on_ranks
from optbench.executor.worker import Place, WorkerEnded
from optbench.suite.types import Trial


def train_in_processes(
    trial: Trial,
    folder: Path,
    *,
    checkpoint: Path | None = None,
    stop: bool = False,
    kill: bool = False,
    checkpoint_seconds: float | None = None,
) -> Iterator[Event]:
    """Yield the events. `stop`: the trial is asked to stop at once. `kill`: the second process is killed when training starts.

    The processes are forked by a worker, not by the process of the tests, which has used autograd's threads: these forbid a fork.
    """
    settings = Settings(
        threads=trial.workload.devices, allocator="default", checkpoint_seconds=checkpoint_seconds
    )
    place = Place(trial.folder, folder, checkpoint, folder / "output.log")
    unit = Unit("unit", (trial.model_copy(update={"folder": ""}),), settings)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    connection, own = context.Pipe()
    worker = context.Process(target=_train, args=(own, unit, place, stop, kill))
    worker.start()
    own.close()
    try:
        while (message := connection.recv()) is not None:
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, tuple):
                ended, children = message
                assert children == 0, "processes were left"
                raise WorkerEnded(ended)
            yield message
    finally:
        connection.close()
        worker.join(30)


def _train(connection: Connection, unit: Unit, place: Place, stop: bool, kill: bool) -> None:
    result: Any = None
    try:
        for events in train_on_ranks(unit, Slot("cpu", "cpu"), place, lambda: stop):
            for _, event in events:
                connection.send(event)
                if kill and isinstance(event, Started):
                    (victim,) = (p for p in multiprocessing.active_children() if p.name == "rank 1 of 2")
                    os.kill(victim.pid or 0, signal.SIGKILL)
    except WorkerEnded as error:
        result = (error.ended, len(multiprocessing.active_children()))
    except Exception as error:
        result = error
    connection.send(result)
