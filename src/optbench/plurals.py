"""Counts with their noun, for messages and tables."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 seed", "2 seeds" or "12,000 trials". `plural` is required if it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
