"""The learning rate of every parameter group at each step: warmup, then the named schedule over the rest of the horizon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optbench.catalog import lookup, schedulers
from optbench.engine.optimizers import Optimizers
from optbench.engine.schedule_lengths import Lengths
from optbench.engine.torch_schedule import torch_rates
from optbench.suite.types import Schedule

#: sets the rates for a step, from 0, given the validation losses observed so far
SetRates = Callable[[int, Sequence[float]], None]


@dataclass
class Rates:
    """Sets every group's learning rate. `observed` is all that it goes on from: rates depend on it and on the step only."""

    set_rates: SetRates
    observed: list[float] = field(default_factory=list)
    may_change_momentum: bool = False

    def apply(self, step: int) -> None:
        self.set_rates(step, self.observed)

    def observe(self, validation_loss: float) -> None:
        """After each evaluation."""
        self.observed.append(validation_loss)


def rates(
    schedule: Schedule, horizon: int | None, steps_per_epoch: int, folder: str, optimizers: Optimizers
) -> Rates:
    """`horizon` in steps, None for a schedule without one.

    Warmup rises linearly: (step + 1) / warmup of each group's own first rate, so the first step moves and the last warmup step has
    the full rate. The schedule proper begins with the step after it.
    """
    warmup = schedule.warmup.steps(horizon or 1, steps_per_epoch) if schedule.warmup else 0
    warmup = min(warmup, horizon) if horizon else warmup
    lengths = Lengths(warmup, None if horizon is None else max(1, horizon - warmup), steps_per_epoch)
    found = lookup.load(lookup.resolve("schedules", schedule.name, folder))
    if schedulers.kind_of(found, schedule.name) == "scheduler":
        set_rates, may_change_momentum = torch_rates(found, schedule, lengths, optimizers)
        return Rates(set_rates, may_change_momentum=may_change_momentum)
    return Rates(_scaled(getattr(found, "multiplier", found), schedule, lengths, optimizers))


def _scaled(
    shape: Callable[..., float], schedule: Schedule, lengths: Lengths, optimizers: Optimizers
) -> SetRates:
    observes = "observed" in schedulers.parameters(shape)

    def set_rates(step: int, observed: Sequence[float]) -> None:
        if step < lengths.warmup:
            optimizers.scale_rates((step + 1) / lengths.warmup)
            return
        given: dict[str, Any] = {**schedule.arguments, **({"observed": observed} if observes else {})}
        position = lengths.position(step, schedule)
        optimizers.scale_rates(float(shape(position, lengths.rest or 1, **given)))

    return set_rates
