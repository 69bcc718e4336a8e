"""Torch's schedulers, and functions that return one, as schedules.

A scheduler is attached to a stand-in for the optimizer, whose rates are copied: schedulers wrap `step` and add keys to groups, which
would change the optimizer under test and its checkpoints. A scheduler's state is never saved; it is replayed from the start.
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

    `per: epoch` steps the scheduler once per epoch, for schedulers defined in epochs. ReduceLROnPlateau gets the validation losses.
    Raises `OptbenchError` for arguments that the scheduler rejects.
    """
    attached = [_AttachedScheduler(scheduler, schedule, lengths, member) for member in optimizers.members]

    def set_rates(step: int, observed: Sequence[float]) -> None:
        warmup_factor = (step + 1) / lengths.warmup if step < lengths.warmup else 1.0
        position = lengths.position(step, schedule) // (lengths.epoch if schedule.per == "epoch" else 1)
        for each in attached:
            each.move_to(position, observed)
            each.copy_rates(warmup_factor)

    return set_rates, any(each.may_change_momentum for each in attached)


class _StandIn(torch.optim.Optimizer):
    """An optimizer with the same groups and options, over dummy parameters."""

    def __init__(self, member: torch.optim.Optimizer) -> None:
        groups = [
            {"params": [torch.zeros(1, requires_grad=True)]}
            | {k: _plain(v) for k, v in group.items() if k != "params"}
            for group in member.param_groups
        ]
        super().__init__(groups, {key: _plain(value) for key, value in member.defaults.items()})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing; schedulers warn unless it is called before them."""


class _AttachedScheduler:
    """A scheduler on the stand-in for one optimizer, at any position; it restarts to reach an earlier one."""

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
        self._initial = _StandIn(member)
        self._length = lengths.rest if schedule.per == "step" else -(-(lengths.rest or 0) // lengths.epoch)
        self._start()

    def _start(self) -> None:
        self._stand_in, self._position = _StandIn(self._initial), 0
        self._attached: Any = schedulers.build(
            self._scheduler,
            self._schedule.name,
            self._schedule.arguments,
            self._stand_in,
            self._length,
            self._schedule.per,
        )

    @property
    def may_change_momentum(self) -> bool:
        """Whether the scheduler may change momentum. Torch's mark the groups in which they do; others are unknown."""
        is_torchs_own = type(self._attached).__module__ == "torch.optim.lr_scheduler"
        return not is_torchs_own or any("base_momentum" in group for group in self._stand_in.param_groups)

    def move_to(self, position: int, observed: Sequence[float]) -> None:
        """Step the scheduler to `position`; ReduceLROnPlateau to the number of observed validation losses."""
        takes_losses = isinstance(self._attached, ReduceLROnPlateau)
        target = len(observed) if takes_losses else position
        if target < self._position:
            self._start()
        while self._position < target:
            self._stand_in.step()
            self._attached.step(*([observed[self._position]] if takes_losses else []))
            self._position += 1

    def copy_rates(self, warmup_factor: float) -> None:
        """Copy learning rates, times `warmup_factor`, and momentum to the optimizer's groups."""
        for source, target in zip(self._stand_in.param_groups, self._member.param_groups, strict=True):
            for key in _CHANGED:
                if key not in source or key not in target:
                    continue
                value = source[key] * warmup_factor if key == "lr" else source[key]
                if isinstance(target[key], Tensor):
                    target[key].fill_(value)
                else:
                    target[key] = value


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 else value
