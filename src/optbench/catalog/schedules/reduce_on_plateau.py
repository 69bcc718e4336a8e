"""Reduce on plateau: multiply the learning rate by a factor when the validation loss stops decreasing, as torch's ReduceLROnPlateau."""

from __future__ import annotations

import math
from collections.abc import Sequence

RANGES = {
    "factor": (0, 1),
    "patience": (0, None),
    "threshold": (0, 1),
    "cooldown": (0, None),
    "final": (0, 1),
}


def multiplier(
    step: int,
    steps: int,
    *,
    observed: Sequence[float],
    factor: float = 0.5,
    patience: int = 3,
    threshold: float = 1e-4,
    cooldown: int = 0,
    final: float = 0.0,
) -> float:
    """Return `factor` to the power of the number of plateaus, but at least `final`, a fraction of the peak.

    A plateau is more than `patience` evaluations of `observed`, the validation losses, without a value below
    (1 - `threshold`) x the best.

    After a reduction, `cooldown` evaluations are not counted. This is the rule of `torch.optim.lr_scheduler.ReduceLROnPlateau`
    (mode min, relative threshold); a loss that is NaN is no improvement.
    """
    best, bad, resting, value = math.inf, 0, 0, 1.0
    for loss in observed:
        if loss < best * (1 - threshold):
            best, bad = loss, 0
        else:
            bad += 1
        if resting > 0:
            resting, bad = resting - 1, 0
        if bad > patience:
            value, bad, resting = max(final, value * factor), 0, cooldown
    return value
