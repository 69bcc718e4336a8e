"""Checkpoints of stacks: one file with the state of each trial, by trial id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optbench.engine import checkpoint as checkpoints
from optbench.engine.resumability import ResumeCheck, packages_of
from optbench.engine.stacked.stack import Stack

_KIND = "stack"  # in place of a trial's id: some trials of a stack may resume from a copy of its checkpoint


def load(path: Path | None, stack: Stack) -> dict[str, Any] | None:
    """Return the checkpoint of the trials of a fresh stack; None if there is none that can be used."""
    members = [m for member in stack.members for m in member.session.optimizers.members]
    return checkpoints.load(path, _KIND, packages_of(members)) if path is not None else None


class StackCheck:
    """Checks whether all trials of a stack can resume exactly. Create it before the first step. If one trial cannot, none is checkpointed.

    `problem`: the most recent reason why the stack could not be checkpointed. `message`: a message to show once.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._checks = {member.trial.id: ResumeCheck(member.session) for member in stack.members}
        self.problem, self.blocked, self.message = "", False, ""

    def passes(self) -> bool:
        """Return whether the present state can be saved exactly."""
        self._stack.write_back_state()
        problem = ""
        for member in self._stack.members:
            if problem := self._checks[member.trial.id].obstacle():
                problem = f"{member.trial.label}: {problem}"
                break
        if problem and not self.problem:
            self.message = f"its stack of trials is not checkpointed ({problem}): it starts again from step 0 after an interruption"
        self.problem, self.blocked = problem or self.problem, bool(problem)
        return not problem

    def take_message(self) -> str:
        """Return the pending message and clear it."""
        message, self.message = self.message, ""
        return message

    def is_whole(self, trial_id: str) -> bool:
        """Return whether the trial's optimizers are saved with all attributes."""
        return self._checks[trial_id].whole


def save(path: Path, stack: Stack, step: int, check: StackCheck) -> None:
    """Write the checkpoint atomically. Each trial's statistics must contain its losses, and `check` must have just passed."""
    stack.write_back_state()
    members = {
        member.trial.id: member.progress.state(member.session, whole=check.is_whole(member.trial.id))
        | {"own_random": member.random}
        for member in stack.members
    }
    checkpoints.save(path, {"trial_id": _KIND, "step": step, "members": members})


def restore(stack: Stack, state: dict[str, Any]) -> list[Tensor] | None:
    """Restore a new stack of some or all of the saved trials. Return the losses since the last evaluation, (trials,) per step.

    Returns None if the checkpoint is damaged or belongs to other trials; the caller must then create the stack again.
    """
    try:
        for member in stack.members:
            saved = state["members"][member.trial.id]
            member.progress.restore(member.session, saved)
            if not isinstance(saved["own_random"], list | None):
                return None
            member.random = saved["own_random"]
        int(state["step"])
        stack.arrange()
        losses = [member.progress.statistics.losses for member in stack.members]
        return [torch.stack(row).to(stack.device) for row in zip(*losses, strict=True)]
    except Exception:
        return None
