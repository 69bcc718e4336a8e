"""NDCG@10: the discounted gain of the chosen item's rank among all items (Järvelin and Kekäläinen 2002), 0 beyond rank 10."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LOW, HIGH = 0.0, 1.0
HIGHER_IS_BETTER = True


def rank(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the rank of each target from 1, (n,); among equal scores the mean rank. `outputs`: (n, items)."""
    own = outputs.gather(1, targets[:, None])
    return 1 + (outputs > own).sum(1) + ((outputs == own).sum(1) - 1) / 2


def total(outputs: Tensor, targets: Tensor, loss: Tensor) -> Tensor:
    """Return the sum over the samples. With one relevant item the ideal gain is 1."""
    ranks = rank(outputs, targets)
    return ((ranks <= 10) / (ranks + 1).log2()).sum()
