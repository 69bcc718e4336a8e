"""Cosine annealing without restarts (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983)."""

from __future__ import annotations

import math

RANGES = {"final": (0, 1)}


def multiplier(step: int, steps: int, *, final: float = 0.0) -> float:
    """Decrease from 1 at the first step to `final` (a fraction of the peak) after the last, along half a cosine."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * step / steps))
