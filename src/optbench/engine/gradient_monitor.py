"""Count exploding and vanishing gradients from the gradient norms of all steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

WINDOW = 100  # norms in the running median
MIN_NORMS = 20  # norms before an explosion can be detected
EXPLODED = 10.0  # times the running median
VANISHED = 1e-3  # times the first median, while the loss has not halved


@dataclass
class GradientMonitor:
    """Counts since step 0. An explosion is relative to the running median, since a fixed threshold would not fit all models.

    A norm counts as vanished below a thousandth of the median of the first `WINDOW` norms, while the interval's mean loss is above
    half of the first interval's: a gradient that is small because the model has converged does not count.
    """

    recent: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    first_loss: float = math.nan
    exploded: int = 0
    vanished: int = 0

    def add(self, norms: Sequence[float], mean_loss: float) -> None:
        """Add the norms of an interval's steps, in order, before clipping."""
        # True in the first interval, where `first_loss` is NaN
        has_learned = not mean_loss >= 0.5 * self.first_loss
        if math.isnan(self.first_loss):
            self.first_loss = mean_loss
        for norm in norms:
            running_median = median(self.recent) if len(self.recent) >= MIN_NORMS else math.inf
            self.exploded += not norm <= EXPLODED * running_median
            if len(self.first) == WINDOW and not has_learned:
                self.vanished += norm < VANISHED * median(self.first)
            if math.isfinite(norm):
                self.recent = [*self.recent[-(WINDOW - 1) :], norm]
                if len(self.first) < WINDOW:
                    self.first.append(norm)

    def state(self) -> dict[str, Any]:
        """Return the counts and norms, for a checkpoint."""
        return dict(vars(self))

    def load_state(self, state: dict[str, Any]) -> None:
        """Set what `state` returned."""
        vars(self).update(state)
