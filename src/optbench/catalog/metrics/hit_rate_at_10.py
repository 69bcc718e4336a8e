"""Hit rate@10: the share of samples whose chosen item is among the ten highest scores of all items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optbench.catalog.metrics.ndcg_at_10 import rank

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, 1.0
HIGHER_IS_BETTER = True
UNIT = "fraction"


def total(outputs: Tensor, targets: Tensor, loss: Tensor) -> Tensor:
    """Return the number of hits."""
    return (rank(outputs, targets) <= 10).sum()
