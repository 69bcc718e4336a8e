"""Torch's schedulers, and functions that return one, as schedules.

A scheduler steps a shadow of the optimizer, and the shadow's rates are copied: schedulers wrap `step` and add keys to groups, which
would change the optimizer under test and its checkpoints. A scheduler's state is never saved; it is stepped again from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from optbench.catalog import schedulers
from optbench.engine.optimizers import Optimizers
from optbench.engine.schedule_lengths import Lengths
from optbench.errors import OptbenchError
from optbench.suite.types import Schedule

#: what schedulers change: momentum too, in OneCycleLR and CyclicLR
_CHANGED = ("lr", "momentum", "betas")


def torch_rates(
    scheduler: Callable[..., Any], schedule: Schedule, lengths: Lengths, optimizers: Optimizers
) -> tuple[Callable[[int, Sequence[float]], None], bool]:
    """Return a function that sets the rates of a step, and whether the scheduler may change momentum too.

    `per: epoch` steps the scheduler once an epoch, as those defined by epoch want it. ReduceLROnPlateau sees the validation losses.
    Raises `OptbenchError` for arguments that the scheduler refuses.
    """
    shadows = [_Stepped(scheduler, schedule, lengths, member) for member in optimizers.members]

    def set_rates(step: int, observed: Sequence[float]) -> None:
        warm = (step + 1) / lengths.warmup if step < lengths.warmup else 1.0
        turns = lengths.position(step, schedule) // (lengths.epoch if schedule.per == "epoch" else 1)
        for shadow in shadows:
            shadow.bring_to(turns, observed)
            shadow.copy_rates(warm)

    return set_rates, any(shadow.may_change_momentum for shadow in shadows)


class _Shadow(torch.optim.Optimizer):
    """The same groups with the same options, over parameters of no use."""

    def __init__(self, member: torch.optim.Optimizer) -> None:
        groups = [
            {"params": [torch.zeros(1, requires_grad=True)]}
            | {k: _plain(v) for k, v in group.items() if k != "params"}
            for group in member.param_groups
        ]
        super().__init__(groups, {key: _plain(value) for key, value in member.defaults.items()})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing to do; schedulers warn unless it is called before them."""


class _Stepped:
    """One member's shadow with its scheduler, brought to any turn; back to an earlier one by starting over."""

    def __init__(
        self,
        scheduler: Callable[..., Any],
        schedule: Schedule,
        lengths: Lengths,
        member: torch.optim.Optimizer,
    ) -> None:
        if any(group.get("lr") is None for group in member.param_groups):
            raise OptbenchError(f"{type(member).__name__} has no `lr` that a schedule could change")
        self._member, self._scheduler, self._schedule = member, scheduler, schedule
        self._first = _Shadow(member)
        self._length = lengths.rest if schedule.per == "step" else -(-(lengths.rest or 0) // lengths.epoch)
        self._start()

    def _start(self) -> None:
        self._shadow, self._turns = _Shadow(self._first), 0
        self._made: Any = schedulers.build(
            self._scheduler,
            self._schedule.name,
            self._schedule.arguments,
            self._shadow,
            self._length,
            self._schedule.per,
        )

    @property
    def may_change_momentum(self) -> bool:
        """Torch's schedulers mark the groups whose momentum they change; others are not known."""
        is_known = type(self._made).__module__ == "torch.optim.lr_scheduler"
        return not is_known or any("base_momentum" in group for group in self._shadow.param_groups)

    def bring_to(self, turns: int, observed: Sequence[float]) -> None:
        watches = isinstance(self._made, ReduceLROnPlateau)
        wanted = len(observed) if watches else turns
        if wanted < self._turns:
            self._start()
        while self._turns < wanted:
            self._shadow.step()
            self._made.step(*([observed[self._turns]] if watches else []))
            self._turns += 1

    def copy_rates(self, warm: float) -> None:
        for mine, theirs in zip(self._shadow.param_groups, self._member.param_groups, strict=True):
            for key in _CHANGED:
                if key not in mine or key not in theirs:
                    continue
                value = mine[key] * warm if key == "lr" else mine[key]
                if isinstance(theirs[key], Tensor):
                    theirs[key].fill_(value)
                else:
                    theirs[key] = value


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 else value
