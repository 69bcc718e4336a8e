"""Reduce on plateau: multiply the rate by a factor when the validation loss has stopped falling, as torch's ReduceLROnPlateau."""

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
    """`factor` to the power of how often `observed`, the validation losses so far, stayed for more than `patience`
    evaluations without falling below (1 - `threshold`) x the best; never below `final`, a fraction of the peak.

    After a reduction `cooldown` evaluations are not counted. The rule of `torch.optim.lr_scheduler.ReduceLROnPlateau`
    (mode min, relative threshold); a loss that is not a number is no improvement.
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
