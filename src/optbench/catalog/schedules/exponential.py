"""Exponential decay to a fraction of the peak, the same factor at every step."""

from __future__ import annotations

RANGES = {"final": (1e-12, 1)}


def multiplier(step: int, steps: int, *, final: float = 0.01) -> float:
    """Decrease geometrically from 1 at the first step to `final` (a fraction of the peak, above 0) after the last."""
    return float(final ** (step / steps))
