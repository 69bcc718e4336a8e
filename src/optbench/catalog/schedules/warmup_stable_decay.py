"""Warmup-stable-decay: constant, then linear decay over the last part (Hu et al. 2024, https://arxiv.org/abs/2404.06395)."""

from __future__ import annotations

RANGES = {"decay": (1e-6, 1), "final": (0, 1)}


def multiplier(step: int, steps: int, *, decay: float = 0.2, final: float = 0.0) -> float:
    """Return 1 until the last `decay` (a fraction of the horizon above 0), then decrease linearly to `final`. The warmup is `warmup:`."""
    return final + (1 - final) * min(1.0, (1 - step / steps) / decay)
