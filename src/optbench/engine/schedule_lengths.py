"""Lengths of a schedule in optimizer steps, and the position of a step in it."""

from __future__ import annotations

from dataclasses import dataclass

from optbench.suite.types import Schedule


@dataclass(frozen=True)
class Lengths:
    """Lengths in optimizer steps. `rest` is the horizon after warmup; None for a schedule without a length."""

    warmup: int
    rest: int | None
    epoch: int

    def position(self, step: int, schedule: Schedule) -> int:
        """Return the step's position after warmup, limited to the horizon; with `per: epoch`, that of the epoch's first step."""
        position = max(0, step - self.warmup)
        if self.rest is not None:
            position = min(position, self.rest - 1)
        return position // self.epoch * self.epoch if schedule.per == "epoch" else position
