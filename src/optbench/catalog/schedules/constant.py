"""Constant: the same learning rate at every step."""

from __future__ import annotations


def multiplier(step: int, steps: int) -> float:
    """Return 1."""
    return 1.0
