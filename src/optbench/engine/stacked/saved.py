"""A whole stack in one checkpoint: what each trial would save by itself, by its id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optbench.engine import checkpoint as checkpoints
from optbench.engine.stacked.stack import Stack


def load(path: Path | None) -> dict[str, Any] | None:
    """None if there is none, or none that can be used. The file's name is what it is of."""
    return checkpoints.load(path, path.stem) if path is not None else None


def save(path: Path, stack: Stack, step: int) -> None:
    """Whole or absent. Each trial's tally must hold its losses."""
    stack.publish()
    members = {
        member.trial.id: member.progress.state(member.session) | {"own_random": member.random}
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
        tallies = [member.progress.tally.losses for member in stack.members]
        return [torch.stack(row).to(stack.device) for row in zip(*tallies, strict=True)]
    except Exception:
        return None
