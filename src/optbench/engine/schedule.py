"""The learning rate's multiplier at each step: warmup, then the named schedule over the rest of the horizon."""

from __future__ import annotations

from collections.abc import Callable

from optbench.catalog import lookup
from optbench.suite.types import Schedule


def multiplier(
    schedule: Schedule, horizon: int | None, steps_per_epoch: int, folder: str
) -> Callable[[int], float]:
    """`multiplier(step)` for step = 0, 1, ...; `horizon` in steps, None for a schedule without one (constant).

    Warmup rises linearly: (step + 1) / warmup, so the first step moves and the last warmup step has the full rate. Past the horizon the
    last value holds.
    """
    target = lookup.load(lookup.resolve("schedules", schedule.name, folder))
    shape = getattr(target, "multiplier", target)
    total = horizon or 1
    warmup = schedule.warmup.steps(total, steps_per_epoch) if schedule.warmup else 0
    warmup = min(warmup, total) if horizon else warmup
    rest = max(1, total - warmup)

    def value(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        position = step - warmup if horizon is None else min(step - warmup, rest - 1)
        return float(shape(position, rest, **schedule.arguments))

    return value
