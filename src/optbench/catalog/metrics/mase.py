"""MASE: mean absolute error over that of the naive forecast within the training series (Hyndman and Koehler 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from optbench.catalog.types import DataInfo

LOW, HIGH = 0.0, None
HIGHER_IS_BETTER = False
#: what the data set states
FACTS = ("naive_error",)


class Accumulator:
    """Sum of absolute errors, and the scale that the data set states."""

    def __init__(self) -> None:
        self.sum, self.count, self.scale = 0.0, 0, 1.0

    def describe(self, info: DataInfo) -> None:
        """Take the naive error: the mean absolute difference of consecutive values of the training series."""
        self.scale = float(info.facts["naive_error"])

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch."""
        self.sum += float((outputs - targets).abs().sum())
        self.count += targets.numel()

    def compute(self) -> float:
        """Return the scaled error."""
        return self.sum / self.count / self.scale
