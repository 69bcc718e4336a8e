"""Gradient norms of all steps: how large they are, and whether they explode or vanish."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

WINDOW = 100  # norms whose median is "usual"
LEAST = 20  # norms before anything can be unusual
EXPLODED = 10.0  # times the running median
VANISHED = 1e-3  # of the first median, while the loss has not halved


@dataclass
class GradientMonitor:
    """Counts since step 0. An explosion is relative to the running median: a fixed threshold would fit no other model.

    A norm vanishes below a thousandth of the first `WINDOW` norms' median while the interval's mean loss is above half of the first
    interval's: a gradient that is small because the model has learned is none.
    """

    recent: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    first_loss: float = math.nan
    exploded: int = 0
    vanished: int = 0

    def take(self, norms: Sequence[float], mean_loss: float) -> None:
        """The norms of an interval's steps, in order, before clipping."""
        learned = not mean_loss >= 0.5 * self.first_loss  # in the first interval nobody can tell
        if math.isnan(self.first_loss):
            self.first_loss = mean_loss
        for norm in norms:
            usual = median(self.recent) if len(self.recent) >= LEAST else math.inf
            self.exploded += not norm <= EXPLODED * usual
            if len(self.first) == WINDOW and not learned:
                self.vanished += norm < VANISHED * median(self.first)
            if math.isfinite(norm):
                self.recent = [*self.recent[-(WINDOW - 1) :], norm]
                if len(self.first) < WINDOW:
                    self.first.append(norm)

    def state(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
