"""Step decay: divide the learning rate at fixed fractions of the horizon (He et al. 2015, https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence

RANGES = {"at": (0, 1), "gamma": (0, None)}


def multiplier(
    step: int, steps: int, *, at: Sequence[float] = (1 / 3, 2 / 3, 8 / 9), gamma: float = 0.1
) -> float:
    """Return `gamma` to the power of the number of passed fractions `at` of the horizon. Default: 30, 60 and 80 of 90 epochs."""
    return gamma ** sum(step >= round(fraction * steps, 6) for fraction in at)  # 0.07 x 100 is 7
