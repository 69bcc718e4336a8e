"""Trials that are trained as one program, in one process: as many trial files, one checkpoint.

Beside the checkpoint of a stack lies a list of its trials. A stack that was interrupted goes on from there with those that are not
complete. Without a usable checkpoint its trials begin anew in new files: a file never holds evaluations of two trainings.
"""

from __future__ import annotations

import contextlib
import faulthandler
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
from optbench.executor.local import Listener, StopRequest, kills_for_memory
from optbench.executor.process import Child, Ended, child, receive
from optbench.executor.worker import (
    Settings,
    exchange,
    flush_and_exit,
    live_alone,
    redirect_output,
    set_up,
)
from optbench.store import SuiteFolder, TrialFile
from optbench.store.files import write_whole
from optbench.store.input_files import read_file
from optbench.suite.types import Trial

_SETUP_SECONDS = 2.0  # a stack that was asked to stop before its first step has nothing to save


@dataclass(frozen=True)
class Stack:
    """Trials to train as one; `resumes` if they have a checkpoint."""

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

    def forget(self, folder: SuiteFolder) -> None:
        self.members(folder).unlink(missing_ok=True)
        self.checkpoint(folder).unlink(missing_ok=True)


@dataclass
class StackEnd:
    """How the trials of one stack ended, and which did not: `then` says how those are to be trained instead."""

    statuses: list[Status] = field(default_factory=list)
    left: tuple[Trial, ...] = ()
    then: Literal["", "smaller", "plain"] = ""


@dataclass(frozen=True)
class _Unable:
    """What a stack's process says instead of events: these trials can't be trained like this."""

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
    """Entry point of a stack's process: as `worker.work`, but each message is a list of events with their trials' ids."""
    stop = live_alone(lifeline)
    redirect_output(output)
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, all_threads=True)
    last: object = None
    from optbench.engine.checkpoint import NoSpace
    from optbench.engine.memory import is_out_of_memory

    try:
        from optbench.engine.stacked.loop import CHECKPOINT_SECONDS, train_stack

        device = set_up(settings, trials[0].folder)
        for told in train_stack(
            trials,
            device,
            data_root=settings.data_root,
            checkpoint=checkpoint,
            should_stop=stop.is_set,
            checkpoint_seconds=float(os.environ.get("OPTBENCH_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS)),
        ):
            if exchange(connection, told):
                stop.set()
    except NoSpace as error:
        last = error.problems
    except Exception as error:
        last = _Unable(str(error), "smaller" if is_out_of_memory(error) else "plain")
    exchange(connection, last)
    flush_and_exit()


def run_stack(
    stack: Stack, folder: SuiteFolder, settings: Settings, listen: Listener, stop: StopRequest
) -> StackEnd:
    """Train the stack in a process of its own, every event stored before it goes on.

    A process that dies takes its own trials with it, and no others: those that had not ended are to be trained again, each by
    itself. Out of memory, they are to be trained in two smaller stacks. Raises `OptbenchError` if the run can't go on.
    """
    output = folder.path / "output" / f"{stack.name}.log"
    if not stack.resumes:
        _begin_anew(stack.trials, folder)
        write_whole(stack.members(folder), json.dumps([trial.id for trial in stack.trials]) + "\n")
    killed_before = kills_for_memory()
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
            how = "resumes from its last checkpoint" if checkpoint.exists() else "starts again from step 0"
            follower.interrupt(left, f"{end.reason}; it {how}")
            left = ()
    with contextlib.suppress(OSError):
        if output.stat().st_size == 0:
            output.unlink()
    if "interrupted" not in follower.finished.values():
        stack.forget(folder)
    then: Literal["", "smaller", "plain"] = "plain" if left else ""
    if left and isinstance(end, _Unable):
        then = end.then
    elif left and isinstance(end, Ended) and end.signal == signal.SIGKILL:
        then = "smaller" if kills_for_memory() > killed_before else "plain"
    return StackEnd(list(follower.finished.values()), left, then)


@dataclass
class _Follower:
    """Stores and passes on what the trials tell."""

    trials: dict[str, Trial]
    files: dict[str, TrialFile]
    listen: Listener
    finished: dict[str, Status] = field(default_factory=dict)
    begun: bool = False

    def take(self, told: list[tuple[str, Event]]) -> None:
        for trial, event in told:
            self.files[trial].append(event)
        for trial, event in told:
            self.begun = self.begun or isinstance(event, (Started, Resumed))
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
) -> Ended | _Unable | None:
    while True:
        patience = {} if follower.begun else {"stop_patience": _SETUP_SECONDS}
        message = receive(process, stop, settings.stall_seconds, **patience)
        if isinstance(message, Ended):
            if message.cause == "silent":
                process.show_stacks()
            return message
        if isinstance(message, tuple) and message and all(isinstance(item, Problem) for item in message):
            process.answer(True)
            raise OptbenchError(*message)
        if message is None or isinstance(message, _Unable):
            process.answer(stop.asked)
            return message
        if not isinstance(message, list):
            return Ended("died", "the stack's process said something unreadable")
        follower.take(message)
        process.answer(stop.asked)


def _begin_anew(trials: Sequence[Trial], folder: SuiteFolder) -> None:
    """Records of a training that can't go on are set aside: the trials' files will hold one training each."""
    for trial in trials:
        begun = folder.reopen_trial(trial)
        if begun is not None:
            with begun as file:
                has_records = file.last_step is not None
            if has_records:
                folder.set_aside(trial)


def run_plain_after_all(trial: Trial, folder: SuiteFolder) -> None:
    """Before a trial of a stack is trained by itself."""
    _begin_anew([trial], folder)


def interrupted_stacks(pending: Sequence[Trial], folder: SuiteFolder) -> list[Stack]:
    """Stacks that go on from a checkpoint, with their trials that are still to run. Leftovers of others are removed."""
    wanted = {trial.id: trial for trial in pending}
    found = []
    for path in sorted(folder.checkpoints.glob("stack-*.json")):
        stack = Stack((), path.stem)
        with contextlib.suppress(OSError, ValueError, TypeError):
            ids = json.loads(read_file(path, folder.path))
            stack = Stack(tuple(wanted[i] for i in ids if i in wanted), path.stem, resumes=True)
        if (
            stack.trials
            and stack.checkpoint(folder).exists()
            and all(_is_begun(t, folder) for t in stack.trials)
        ):
            found.append(stack)
        else:
            stack.forget(folder)
    return found


def _is_begun(trial: Trial, folder: SuiteFolder) -> bool:
    file = folder.reopen_trial(trial)
    if file is None:
        return False
    with file:
        return file.started is not None
