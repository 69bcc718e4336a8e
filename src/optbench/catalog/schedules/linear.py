"""Linear decay from the peak to a fraction of it."""

from __future__ import annotations

RANGES = {"final": (0, 1)}


def multiplier(step: int, steps: int, *, final: float = 0.0) -> float:
    """Decrease linearly from 1 at the first step to `final` (a fraction of the peak) after the last."""
    return final + (1 - final) * (1 - step / steps)
