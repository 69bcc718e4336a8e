"""A whole stack in one checkpoint: what each trial would save by itself, by its id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optbench.engine import checkpoint as checkpoints
from optbench.engine.resumability import ResumeCheck, packages_of
from optbench.engine.stacked.stack import Stack


def load(path: Path | None, stack: Stack) -> dict[str, Any] | None:
    """Return the checkpoint of the trials of a fresh stack; None if there is none that can be used."""
    members = [m for member in stack.members for m in member.session.optimizers.members]
    return checkpoints.load(path, path.stem, packages_of(members)) if path is not None else None


class StackCheck:
    """Whether all trials of a stack can resume exactly; made before the first step. One that cannot keeps all from it.

    `problem` is why the stack was not checkpointed the last time that it could not be; `news` is to be shown.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._checks = {member.trial.id: ResumeCheck(member.session) for member in stack.members}
        self.problem, self.blocked, self.news = "", False, ""

    def passes(self) -> bool:
        """Check the state of the moment."""
        self._stack.publish()
        found = ""
        for member in self._stack.members:
            if found := self._checks[member.trial.id].obstacle():
                found = f"{member.trial.label}: {found}"
                break
        if found and not self.problem:
            self.news = f"its stack of trials is not checkpointed ({found}): it starts again from step 0 after an interruption"
        self.problem, self.blocked = found or self.problem, bool(found)
        return not found

    def take_news(self) -> str:
        """Return the news once."""
        news, self.news = self.news, ""
        return news

    def is_whole(self, trial_id: str) -> bool:
        """Return whether the trial's optimizers are saved with all attributes."""
        return self._checks[trial_id].whole


def save(path: Path, stack: Stack, step: int, check: StackCheck) -> None:
    """Whole or absent. Each trial's tally must hold its losses, and `check` must have passed just now."""
    stack.publish()
    members = {
        member.trial.id: member.progress.state(member.session, whole=check.is_whole(member.trial.id))
        | {"own_random": member.random}
        for member in stack.members
    }
    checkpoints.save(path, {"trial_id": path.stem, "step": step, "members": members})


def restore(stack: Stack, state: dict[str, Any]) -> list[Tensor] | None:
    """Into a fresh stack of some or all of the trials that were saved; the losses since the last evaluation, (trials,) a step.

    None if the checkpoint is not of these trials, or damaged in whatever way: then the stack must be made anew.
    """
    try:
        for member in stack.members:
            own = state["members"][member.trial.id]
            member.progress.restore(member.session, own)
            if not isinstance(own["own_random"], list | None):
                return None
            member.random = own["own_random"]
        int(state["step"])
        stack.adopt()
        tallies = [member.progress.statistics.losses for member in stack.members]
        return [torch.stack(row).to(stack.device) for row in zip(*tallies, strict=True)]
    except Exception:
        return None
