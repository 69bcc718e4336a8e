"""Trials to units of work: stacks of trials that train as one program, and single trials.

A list of the trials of a stack is stored with its checkpoint. An interrupted stack resumes from it with the trials that are not complete.
Without a usable checkpoint its trials start again from step 0 in new files: a file never contains two training runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optbench.executor.stack_partition import split_into_stacks
from optbench.store import SuiteFolder
from optbench.store.files import write_whole
from optbench.store.input_files import read_file
from optbench.suite.types import Trial


@dataclass(frozen=True)
class Single:
    """One trial. `attempt` is the number of its measurement: only the first resumes from a checkpoint.

    `losses`: how often it was lost with its host in this run.
    """

    trial: Trial
    attempt: int = 1
    losses: int = 0

    @property
    def trials(self) -> tuple[Trial, ...]:
        return (self.trial,)


@dataclass(frozen=True)
class Stack:
    """Trials to train as one stack. `resumes`: they have a checkpoint. `losses`: how often it was lost with its host in this run."""

    trials: tuple[Trial, ...]
    name: str
    resumes: bool = False
    losses: int = 0

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Stack:
        digest = hashlib.sha256(" ".join(trial.id for trial in trials).encode()).hexdigest()
        return cls(tuple(trials), f"stack-{digest[:12]}")

    def checkpoint(self, folder: SuiteFolder) -> Path:
        return folder.checkpoints / f"{self.name}.pt"

    def remove_checkpoint(self, folder: SuiteFolder) -> None:
        self._members(folder).unlink(missing_ok=True)
        remove_checkpoint(self.checkpoint(folder), self.name)

    def begin(self, folder: SuiteFolder) -> None:
        """Store the list of trials, and archive their records unless they resume."""
        if not self.resumes:
            archive_records(self.trials, folder)
            self.write_members([trial.id for trial in self.trials], folder)

    def write_members(self, ids: Sequence[str], folder: SuiteFolder) -> None:
        """Store the list of the trials that the checkpoint belongs to."""
        write_whole(self._members(folder), json.dumps(ids) + "\n")

    def halves(self) -> tuple[Stack, Stack]:
        half = (len(self.trials) + 1) // 2
        return Stack.of(self.trials[:half]), Stack.of(self.trials[half:])

    def _members(self, folder: SuiteFolder) -> Path:
        return folder.checkpoints / f"{self.name}.json"


Work = Single | Stack


def divide(
    trials: Sequence[Trial], folder: SuiteFolder, slots: int, left_out: Collection[str] = ()
) -> list[Work]:
    """Return stacks and single trials of sweeps. Stacks come first: single trials are short and fill the slots at the end.

    `left_out`: ids of planned trials that this run does not train, whose checkpoints are kept.
    """
    stackable = [trial for trial in trials if trial.engine == "stacked"]
    single = [trial for trial in trials if trial.engine != "stacked"]
    resuming = _interrupted_stacks(stackable, folder, left_out)
    resuming_ids = {trial.id for stack in resuming for trial in stack.trials}
    new = split_into_stacks([trial for trial in stackable if trial.id not in resuming_ids], slots)
    return [*resuming, *map(Stack.of, new), *map(Single, single)]


def archive_records(trials: Sequence[Trial], folder: SuiteFolder) -> None:
    """Archive records of training that cannot be resumed, so that each file contains one training run."""
    for trial in trials:
        started = folder.reopen_trial(trial)
        if started is not None:
            with started as file:
                has_records = file.last_step is not None
            if has_records:
                folder.set_aside(trial)


def remove_checkpoint(path: Path, unit: str) -> None:
    """Remove the checkpoint of a unit, and incomplete files of it that killed processes left, also those of earlier attempts."""
    for file in (path, *path.parent.glob(f".{unit}.*")):
        file.unlink(missing_ok=True)


def _interrupted_stacks(
    pending: Sequence[Trial], folder: SuiteFolder, left_out: Collection[str]
) -> list[Stack]:
    """Return the stacks that resume from a checkpoint, with their pending trials. Checkpoints that are not needed are removed.

    While trials have not reached their rung, paused stacks are kept: some of their trials may continue. The trials of a stack that
    also has trials of `left_out` resume as a separate stack.
    """
    may_be_paused = any(trial.rung is not None for trial in pending)
    wanted = {trial.id: trial for trial in pending}
    stacks = []
    for path in sorted(folder.checkpoints.glob("stack-*.json")):
        ids: list[str] = []
        with contextlib.suppress(OSError, ValueError, TypeError):
            ids = list(map(str, json.loads(read_file(path, folder.path))))
        stack = Stack(tuple(wanted[i] for i in ids if i in wanted), path.stem, resumes=True)
        others = [i for i in ids if i in left_out]
        if (
            stack.trials
            and stack.checkpoint(folder).exists()
            and all(_has_started(t, folder) for t in stack.trials)
        ):
            stacks.append(_split_off(stack, folder) if others else stack)
            for trial in stack.trials:
                del wanted[trial.id]
        elif not others and (stack.trials or not may_be_paused):
            stack.remove_checkpoint(folder)
        if others:
            stack.write_members(others, folder)
    return stacks


def _split_off(stack: Stack, folder: SuiteFolder) -> Stack:
    """Return the trials of an interrupted stack as a stack with a copy of its checkpoint."""
    part = replace(Stack.of(stack.trials), resumes=True)
    write_whole(part.checkpoint(folder), stack.checkpoint(folder).read_bytes())
    part.write_members([trial.id for trial in part.trials], folder)
    return part


def _has_started(trial: Trial, folder: SuiteFolder) -> bool:
    file = folder.reopen_trial(trial)
    if file is None:
        return False
    with file:
        return file.started is not None
