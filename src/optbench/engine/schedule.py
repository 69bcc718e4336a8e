"""Learning rate of every parameter group at each step: warmup, then the named schedule over the rest of the horizon."""

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
    """Sets every group's learning rate. Rates depend only on the step and on `observed`, the validation losses so far."""

    set_rates: SetRates
    observed: list[float] = field(default_factory=list)
    may_change_momentum: bool = False

    def apply(self, step: int) -> None:
        """Set the rates of step `step`, counted from 0 without skipped updates."""
        self.set_rates(step, self.observed)

    def observe(self, validation_loss: float) -> None:
        """Add a validation loss; called after each evaluation."""
        self.observed.append(validation_loss)


def rates(
    schedule: Schedule, horizon: int | None, steps_per_epoch: int, folder: str, optimizers: Optimizers
) -> Rates:
    """Return the rates of a schedule. `horizon` is in steps; None for a schedule without one.

    Warmup is linear: (step + 1) / warmup of each group's initial rate, so the first step has a rate above 0 and the last warmup step
    the full rate. The schedule itself begins with the next step.
    """
    warmup = schedule.warmup.steps(horizon or 1, steps_per_epoch) if schedule.warmup else 0
    warmup = min(warmup, horizon) if horizon else warmup
    lengths = Lengths(warmup, None if horizon is None else max(1, horizon - warmup), steps_per_epoch)
    loaded = lookup.load(lookup.resolve("schedules", schedule.name, folder))
    if schedulers.kind_of(loaded, schedule.name) == "scheduler":
        set_rates, may_change_momentum = torch_rates(loaded, schedule, lengths, optimizers)
        return Rates(set_rates, may_change_momentum=may_change_momentum)
    return Rates(_scaled(getattr(loaded, "multiplier", loaded), schedule, lengths, optimizers))


def _scaled(
    shape: Callable[..., float], schedule: Schedule, lengths: Lengths, optimizers: Optimizers
) -> SetRates:
    observes = "observed" in schedulers.parameters(shape)

    def set_rates(step: int, observed: Sequence[float]) -> None:
        if step < lengths.warmup:
            optimizers.scale_rates((step + 1) / lengths.warmup)
            return
        arguments: dict[str, Any] = {**schedule.arguments, **({"observed": observed} if observes else {})}
        position = lengths.position(step, schedule)
        optimizers.scale_rates(float(shape(position, lengths.rest or 1, **arguments)))

    return set_rates
