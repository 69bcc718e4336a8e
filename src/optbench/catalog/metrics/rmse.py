"""Root mean squared error, over all values of all samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, None
HIGHER_IS_BETTER = False
UNIT = "unit of the target"


def total(outputs: Tensor, targets: Tensor, loss: Tensor) -> Tensor:
    """Return the sum over the samples of their mean squared errors."""
    return (
        (outputs - targets).square().flatten(1).mean(1).sum()
        if outputs.ndim > 1
        else (outputs - targets).square().sum()
    )


def final(mean: float) -> float:
    """Return the square root."""
    return math.sqrt(mean)
