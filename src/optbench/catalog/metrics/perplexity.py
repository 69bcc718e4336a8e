"""Perplexity: the exponential of the cross-entropy of the next token."""

from __future__ import annotations

import math

from optbench.catalog.metrics.bits_per_token import total

__all__ = ["HIGH", "HIGHER_IS_BETTER", "LOW", "final", "total"]

LOW, HIGH = 1.0, None
HIGHER_IS_BETTER = False


def final(mean: float) -> float:
    """Return exp(mean); infinity if that overflows."""
    return math.exp(mean) if mean < 700 else math.inf
