"""Coefficient of determination: 1 minus the squared error over the variance of the targets, averaged over the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = None, 1.0
HIGHER_IS_BETTER = True


class Accumulator:
    """Sums over batches, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | None = None  # of error^2, target and target^2, (3, outputs)

    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: `outputs` and `targets` (n, outputs)."""
        import torch

        wide = targets.double()
        sums = torch.stack([(outputs.double() - wide).square().sum(0), wide.sum(0), wide.square().sum(0)])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(targets)

    def compute(self) -> float:
        """Return the mean over the outputs."""
        assert self.sums is not None
        error, total, square = self.sums
        return float((1 - error / (square - total.square() / self.count)).mean())
