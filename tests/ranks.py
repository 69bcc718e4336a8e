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
from trials import DROPOUT, finished, trials

NORM = """
from torch import nn

def net(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, classes))
"""
FAULTY = """
import os, signal, time
import torch
import torch.distributed as dist

class Sgd(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 10 and dist.get_rank() == 1:
            self.fail()
        return super().step(closure)

class Killed(Sgd):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Hangs(Sgd):
    def fail(self):
        time.sleep(1000)

class Raises(Sgd):
    def fail(self):
        raise ValueError("on one rank only")

class Memory(Sgd):
    def fail(self):
        torch.empty(10**15)

class Drifts(Sgd):
    def fail(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(0.01)

class OnAll(Sgd):
    def step(self, closure=None):
        raise ValueError("on every rank")
"""
UNUSED = """
from torch import nn

class net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.used, self.unused = nn.Linear(shape[0], classes), nn.Linear(3, 3)

    def forward(self, x):
        return self.used(x)
"""
MASKED = """
import torch
from torch.nn.functional import cross_entropy

class Task:
    metrics = {"loss": {"higher_is_better": False}}

    def _mask(self, batch):
        return (batch.inputs[:, 0] > -1).float()

    def units(self, batch):
        return self._mask(batch).sum()

    def loss(self, model, batch):
        losses = cross_entropy(model(batch.inputs), batch.targets, reduction="none")
        return (losses * self._mask(batch)).sum() / self.units(batch)

    def evaluate(self, model, batch):
        return {"loss": self.loss(model, batch) * self.units(batch)}
"""
PLAIN = {"evaluate": {"every": "4 steps"}}


def one_trial(folder: Path, devices: int, workload: dict[str, Any], **changes: Any) -> Trial:
    for name, text in (("norm", NORM), ("net", DROPOUT), ("unused", UNUSED), ("task", MASKED)):
        (folder / f"{name}.py").write_text(text)
    workload = {**PLAIN, **workload} | ({"devices": devices} if devices > 1 else {})
    if devices == 1:
        workload.pop("sync_batch_norm", None)
    (trial,) = trials(folder, workload=workload, **changes)
    return trial


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
    context.set_forkserver_preload(["optbench.executor.preload"])
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


def stopped_often(trial: Trial, folder: Path, checkpoint: Path) -> Iterator[Event]:
    """Stops at the first step after each start, until the trial ends."""
    for _ in range(100):
        events = list(train_in_processes(trial, folder, checkpoint=checkpoint, stop=True))
        yield from events
        if finished(events).status != "interrupted":
            return
    raise AssertionError("never finished")


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
