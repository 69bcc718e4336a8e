"""Stacked trials, trained in one process: one record file per trial, one checkpoint per stack.

A list of the stack's trials is stored with its checkpoint. An interrupted stack resumes from it with the trials that are not complete.
Without a usable checkpoint its trials start again from step 0 in new files: a file never contains two training runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from optbench.errors import OptbenchError, Problem
from optbench.events import Event, Finished, Resumed, Started, Status
from optbench.executor.local import Listener, StopRequest, count_memory_kills
from optbench.executor.process import Child, Ended, child, receive
from optbench.executor.worker import (
    Settings,
    exchange,
    flush_and_exit,
    set_up,
    start_worker,
)
from optbench.store import SuiteFolder, TrialFile
from optbench.store.files import write_whole
from optbench.store.input_files import read_file
from optbench.suite.types import Trial

_SETUP_SECONDS = 2.0  # time limit to stop before the first step: there is nothing to save


@dataclass(frozen=True)
class Stack:
    """Trials to train as one stack. `resumes`: they have a checkpoint."""

    trials: tuple[Trial, ...]
    name: str
    resumes: bool = False

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Stack:
        digest = hashlib.sha256(" ".join(trial.id for trial in trials).encode()).hexdigest()
        return cls(tuple(trials), f"stack-{digest[:12]}")

    def checkpoint(self, folder: SuiteFolder) -> Path:
        return folder.checkpoints / f"{self.name}.pt"

    def members(self, folder: SuiteFolder) -> Path:
        return folder.checkpoints / f"{self.name}.json"

    def remove_checkpoint(self, folder: SuiteFolder) -> None:
        self.members(folder).unlink(missing_ok=True)
        self.checkpoint(folder).unlink(missing_ok=True)


@dataclass
class StackEnd:
    """Final statuses of the trials of a stack. `left`: trials to train again; `then`: in smaller stacks or as plain trials."""

    statuses: list[Status] = field(default_factory=list)
    left: tuple[Trial, ...] = ()
    then: Literal["", "smaller", "plain"] = ""


@dataclass(frozen=True)
class _CannotTrain:
    """Message of a stack's process that cannot train these trials as one stack. `then`: how to train them instead."""

    reason: str
    then: Literal["smaller", "plain"]


def work(
    connection: Connection,
    lifeline: Connection,
    trials: tuple[Trial, ...],
    settings: Settings,
    checkpoint: Path,
    output: Path,
) -> None:
    """Entry point of a stack's process. As `worker.work`, but each message is a list of (trial id, event)."""
    stop = start_worker(lifeline, output)
    last: object = None
    from optbench.engine.checkpoint import NoSpace
    from optbench.engine.memory import is_out_of_memory

    try:
        from optbench.engine.stacked.loop import CHECKPOINT_SECONDS, train_stack

        device = set_up(settings, trials[0].folder)
        for events in train_stack(
            trials,
            device,
            data_root=settings.data_root,
            checkpoint=checkpoint,
            should_stop=stop.is_set,
            checkpoint_seconds=float(os.environ.get("OPTBENCH_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS)),
        ):
            if exchange(connection, events):
                stop.set()
    except NoSpace as error:
        last = error.problems
    except Exception as error:
        last = _CannotTrain(str(error), "smaller" if is_out_of_memory(error) else "plain")
    exchange(connection, last)
    flush_and_exit()


def run_stack(
    stack: Stack, folder: SuiteFolder, settings: Settings, listen: Listener, stop: StopRequest
) -> StackEnd:
    """Train the stack in its own process. Each event is stored before training continues.

    If the process dies, the trials that had not ended are to be trained again as plain trials, or in two smaller stacks if it ran out
    of memory. Raises `OptbenchError` for a problem that ends the run.
    """
    output = folder.path / "output" / f"{stack.name}.log"
    if not stack.resumes:
        _archive_records(stack.trials, folder)
        write_whole(stack.members(folder), json.dumps([trial.id for trial in stack.trials]) + "\n")
    killed_before = count_memory_kills()
    with contextlib.ExitStack() as files:
        opened = {trial.id: files.enter_context(folder.open_trial(trial)) for trial in stack.trials}
        follower = _Follower({trial.id: trial for trial in stack.trials}, opened, listen)
        checkpoint = stack.checkpoint(folder)
        with child(work, stack.trials, settings, checkpoint, output) as process:
            end = _follow(process, follower, settings, stop)
            if isinstance(end, Ended):
                process.end()
        left = tuple(trial for trial in stack.trials if trial.id not in follower.finished)
        if isinstance(end, Ended) and end.cause == "stopped":
            restart = (
                "resumes from its last checkpoint" if checkpoint.exists() else "starts again from step 0"
            )
            follower.interrupt(left, f"{end.reason}; it {restart}")
            left = ()
    with contextlib.suppress(OSError):
        if output.stat().st_size == 0:
            output.unlink()
    if "interrupted" not in follower.finished.values():
        stack.remove_checkpoint(folder)
    then: Literal["", "smaller", "plain"] = "plain" if left else ""
    if left and isinstance(end, _CannotTrain):
        then = end.then
    elif left and isinstance(end, Ended) and end.signal == signal.SIGKILL:
        then = "smaller" if count_memory_kills() > killed_before else "plain"
    return StackEnd(list(follower.finished.values()), left, then)


@dataclass
class _Follower:
    """Stores the events of the trials and passes them to the listener."""

    trials: dict[str, Trial]
    files: dict[str, TrialFile]
    listen: Listener
    finished: dict[str, Status] = field(default_factory=dict)
    started: bool = False

    def take(self, events: list[tuple[str, Event]]) -> None:
        for trial, event in events:
            self.files[trial].append(event)
        for trial, event in events:
            self.started = self.started or isinstance(event, (Started, Resumed))
            if isinstance(event, Finished):
                self.finished[trial] = event.status
            self.listen(self.trials[trial], event)

    def interrupt(self, left: Sequence[Trial], detail: str) -> None:
        self.take(
            [
                (t.id, Finished("interrupted", detail=detail, step=self.files[t.id].last_step or 0))
                for t in left
            ]
        )


def _follow(
    process: Child, follower: _Follower, settings: Settings, stop: StopRequest
) -> Ended | _CannotTrain | None:
    while True:
        patience = {} if follower.started else {"stop_patience": _SETUP_SECONDS}
        message = receive(process, stop, settings.stall_seconds, **patience)
        if isinstance(message, Ended):
            if message.cause == "silent":
                process.show_stacks()
            return message
        if isinstance(message, tuple) and message and all(isinstance(item, Problem) for item in message):
            process.answer(True)
            raise OptbenchError(*message)
        if message is None or isinstance(message, _CannotTrain):
            process.answer(stop.asked)
            return message
        if not isinstance(message, list):
            return Ended("died", "the stack's process sent an invalid message")
        follower.take(message)
        process.answer(stop.asked)


def _archive_records(trials: Sequence[Trial], folder: SuiteFolder) -> None:
    """Archive records of training that cannot be resumed, so that each file contains one training run."""
    for trial in trials:
        started = folder.reopen_trial(trial)
        if started is not None:
            with started as file:
                has_records = file.last_step is not None
            if has_records:
                folder.set_aside(trial)


def prepare_plain_run(trial: Trial, folder: SuiteFolder) -> None:
    """Archive records of a stacked trial before it is trained as a plain trial."""
    _archive_records([trial], folder)


def interrupted_stacks(pending: Sequence[Trial], folder: SuiteFolder) -> list[Stack]:
    """Return the stacks that resume from a checkpoint, with their pending trials. Checkpoints of other stacks are removed."""
    wanted = {trial.id: trial for trial in pending}
    stacks = []
    for path in sorted(folder.checkpoints.glob("stack-*.json")):
        stack = Stack((), path.stem)
        with contextlib.suppress(OSError, ValueError, TypeError):
            ids = json.loads(read_file(path, folder.path))
            stack = Stack(tuple(wanted[i] for i in ids if i in wanted), path.stem, resumes=True)
        if (
            stack.trials
            and stack.checkpoint(folder).exists()
            and all(_has_started(t, folder) for t in stack.trials)
        ):
            stacks.append(stack)
        else:
            stack.remove_checkpoint(folder)
    return stacks


def _has_started(trial: Trial, folder: SuiteFolder) -> bool:
    file = folder.reopen_trial(trial)
    if file is None:
        return False
    with file:
        return file.started is not None
